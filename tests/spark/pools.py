"""Small pools that look like the real thing: templates, near-copies, exact copies and texts of their own."""

from __future__ import annotations

import random
from typing import Any

WORDS = [
    "amber",
    "basin",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
    "north",
    "ocean",
    "prairie",
    "quarry",
    "ridge",
    "slope",
    "tundra",
    "upland",
    "valley",
    "wharf",
    "yonder",
    "zephyr",
]


def texts(count: int, seed: int = 0) -> list[str]:
    """``count`` texts, a third of them near-copies of one template, a few exact copies."""
    noise = random.Random(seed)
    made = []
    for number in range(count):
        if number % 3 == 0:
            made.append(
                f"Please translate the sentence about the {noise.choice(WORDS)} into French, number {number % 40}."
            )
        elif number % 17 == 0 and made:
            made.append(noise.choice(made))
        else:
            made.append(" ".join(noise.choices(WORDS, k=noise.randint(4, 40))) + f" {number}")
    return made


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Records with ``id``, ``source`` and ``text``."""
    return [
        {"id": f"row-{number:05d}", "source": ("web", "books", None)[number % 3], "text": text}
        for number, text in enumerate(texts(count, seed))
    ]
