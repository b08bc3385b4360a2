"""Algorithm 1 of "Entropy Law" (arXiv 2407.06645) as an oracle: every set is compressed afresh, so it is quadratic.

Written from the paper (`paper`) and from what its released program does (`released`); imports nothing from zipspark.
Ties go to the lower row. `chat_texts` and `chat_records` are pools worth asking it about.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence


class PoolExhausted(Exception):
    """The released program would from here on look at rows again that it has picked or dropped."""


def paper(
    samples: Sequence[bytes],
    budget: float,
    k1: int,
    k2: int,
    k3: int,
    cost: Callable[[bytes], int] = lambda sample: 1,
) -> list[int]:
    """Rows in the order Algorithm 1 picks them until no row fits what is left of ``budget``."""
    state = {row: ratio(sample) for row, sample in enumerate(samples)}
    chosen: list[int] = []
    left = budget

    def fitting(rows):
        return [row for row in rows if row not in chosen and cost(samples[row]) <= left]

    while fitting(state):
        top = lowest(state, fitting(state), k1)
        state |= {row: ratio(b"".join(samples[x] for x in [*chosen, row])) for row in top}
        shortlist = lowest(state, top, k2)
        group_start = len(chosen)
        while len(chosen) - group_start < k3 and fitting(shortlist):
            group = chosen[group_start:]
            best = min(fitting(shortlist), key=lambda row: (ratio(b"".join(samples[x] for x in [*group, row])), row))
            chosen.append(best)
            left -= cost(samples[best])
    return chosen


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def released(
    records: Sequence[Mapping[str, object]],
    budget: int,
    k1: int,
    k2: int,
    k3: int,
    rounded: Callable[[float], float] = float32,
) -> list[int]:
    """Rows the released program picks, in order; as it does, whole rounds, so up to ``k3`` - 1 more than ``budget``."""

    def ratio_of(rows):
        return rounded(ratio(str([records[row] for row in rows]).encode()))

    state = {row: ratio_of([row]) for row in range(len(records))}
    alive = set(state)
    chosen: list[int] = []
    while len(chosen) < budget:
        if chosen and len(alive) < k1:
            raise PoolExhausted(len(chosen))
        top = lowest(state, alive, k1)
        state |= {row: ratio_of([*chosen, row]) for row in top}
        shortlist = lowest(state, top, k2)
        alive -= set(shortlist)
        group: list[int] = []
        for _ in range(k3):
            rest = [row for row in shortlist if row not in group]
            group.append(min(rest, key=lambda row: (ratio_of([*group, row]), row)))
        chosen += group
    return chosen


def ratio(text: bytes) -> float:
    return len(text) / len(zlib.compress(text, 9))


def lowest(state, rows, count):
    return sorted(rows, key=lambda row: (state[row], row))[:count]


_TEXT = """
apple river music engine window silver planet garden market letter doctor winter bridge yellow thunder history kernel
vector gradient matrix compile return function integer pointer lambda buffer socket thread module explain translate
summarize describe compare why how when because therefore however sometimes never always
"""
_WORDS = re.findall(r"\w+", _TEXT)
_TEMPLATES = (
    "Translate the following sentence into French: the {} is near the {}.",
    "Write a short poem about the {} and the {}.\nRoses are red, violets are blue.",
    "What is the difference between a {} and a {}? Explain step by step, with examples.",
)


def chat_texts(count: int, seed: int = 0) -> list[bytes]:
    """Free text, filled templates, near copies, exact copies, and texts of equal length and ratio (ties)."""
    rng = random.Random(seed)
    texts: list[str] = []
    while len(texts) < count:
        kind = rng.choices(("free", "template", "near", "copy", "tie"), (40, 30, 12, 8, 10))[0] if texts else "free"
        if kind == "free":
            text = " ".join(rng.choices(_WORDS, k=rng.randint(5, 90)))
        elif kind == "template":
            text = rng.choice(_TEMPLATES).format(*rng.choices(_WORDS, k=2))
        elif kind == "near":
            words = rng.choice(texts).split(" ")
            words[rng.randrange(len(words))] = rng.choice(_WORDS)
            text = " ".join(words)
        elif kind == "copy":
            text = rng.choice(texts)
        else:
            text = "".join(rng.sample("abcdefghijklmnopqrstuvwxyz", 26))
        texts.append(text)
    return [text.encode() for text in texts]


def chat_records(count: int, seed: int = 0) -> list[dict[str, object]]:
    """`chat_texts` as ShareGPT records; an answer repeats part of its question, quotes of both kinds are there."""
    return [
        {
            "source": "demo" if len(text) % 3 else "it's",
            "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": f'"{text[:40]}", naïve'}],
        }
        for text in (sample.decode() for sample in chat_texts(count, seed))
    ]
