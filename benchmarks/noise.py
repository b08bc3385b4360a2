"""Noise as it turns up in scraped pools, made from a seed: what a guard must refuse and an objective must not pick.

Every kind is made to given lengths (those of real samples), so that length alone never tells noise from text.
"""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random

KINDS = (
    "base64",
    "hex",
    "uuids",
    "word_salad",
    "junk_block",
    "mojibake",
    "lorem",
    "digit_frames",
    "float_tables",
)
VOCABULARY = 20_000  # words of the pool that a salad is made of, the most frequent
JUNK_CHANGES = 0.02  # share of a junk block's characters that differ from copy to copy
_LINE = 76  # characters of a line of base64 or hex (RFC 2045)
_LOREM = """
lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua
enim ad minim veniam quis nostrud exercitation ullamco laboris nisi aliquip ex ea commodo consequat duis aute irure in
reprehenderit voluptate velit esse cillum eu fugiat nulla pariatur excepteur sint occaecat cupidatat non proident sunt
culpa qui officia deserunt mollit anim id est laborum"""
_FRAMES = (
    "The value of item {} was {} in {}.",
    "On {} there were {} units left, {} more than before.",
    "Room {} costs {} a night for {} guests.",
    "If {} is added to {}, the result is {}.",
    "Order {} was shipped {} days ago and weighs {} grams.",
    "Between {} and {} the price rose by {} percent.",
)
# Latin letters to Cyrillic ones that sound about the same: the pool's prose in a script of two bytes a letter.
_CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувщжыз")


def noise(pool: Sequence[bytes], count: int, seed: int = 0) -> dict[str, list[bytes]]:
    """``count`` samples, shared evenly among `KINDS`, as long as samples drawn from ``pool``.

    >>> {kind: len(samples) for kind, samples in noise([b"some words of a real text"] * 9, 18).items()}["hex"]
    2
    """
    rng = Random(seed)
    words = Counter(word for sample in pool for word in sample.decode(errors="ignore").split())
    common = dict(words.most_common(VOCABULARY))
    weights = list(accumulate(common.values()))
    vocabulary = list(common)
    block = "".join(chr(rng.randint(33, 126)) for _ in range(max(map(len, pool))))
    makers: dict[str, Callable[[int], str]] = {
        "base64": lambda size: _wrapped(base64.b64encode(rng.randbytes(size * 3 // 4 + 3)).decode()),
        "hex": lambda size: _wrapped(rng.randbytes(size // 2 + 1).hex()),
        "uuids": lambda size: "\n".join(_uuid(rng) for _ in range(size // 37 + 1)),
        "word_salad": lambda size: " ".join(rng.choices(vocabulary, cum_weights=weights, k=size // 3 + 1)),
        "junk_block": lambda size: _changed(block[:size], rng),
        "mojibake": lambda size: _mojibake(rng.choice(pool).decode(errors="ignore"), size),
        "lorem": lambda size: _sentences(rng.choices(_LOREM.split(), k=size // 4 + 1), rng),
        "digit_frames": lambda size: " ".join(_frame(rng) for _ in range(size // 20 + 1)),
        "float_tables": lambda size: "\n".join(_row(rng) for _ in range(size // 30 + 1)),
    }
    made: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        size = max(len(rng.choice(pool)), 40)
        made[kind].append(makers[kind](size).encode()[:size].decode(errors="ignore").encode())
    return made


def _wrapped(text: str) -> str:
    return "\n".join(text[start : start + _LINE] for start in range(0, len(text), _LINE))


def _uuid(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _changed(block: str, rng: Random) -> str:
    """``block`` with a few characters replaced by others."""
    letters = list(block)
    for _ in range(1 + int(len(letters) * JUNK_CHANGES)):
        letters[rng.randrange(len(letters))] = chr(rng.randint(33, 126))
    return "".join(letters)


def _mojibake(text: str, size: int) -> str:
    """``text`` in Cyrillic, its UTF-8 read as Latin-1: what a wrong charset header leaves."""
    broken = text.lower().translate(_CYRILLIC).encode().decode("latin-1")
    return broken * (1 + size // max(len(broken), 1))


def _sentences(words: list[str], rng: Random) -> str:
    """``words`` with a capital and a full stop every few words."""
    parts, start = [], 0
    while start < len(words):
        length = rng.randint(5, 14)
        parts.append(" ".join(words[start : start + length]).capitalize() + ".")
        start += length
    return " ".join(parts)


def _frame(rng: Random) -> str:
    return rng.choice(_FRAMES).format(*(rng.randint(0, 10 ** rng.randint(1, 6)) for _ in range(3)))


def _row(rng: Random) -> str:
    return "\t".join(f"{rng.gauss(0, 10):.6f}" for _ in range(5))
