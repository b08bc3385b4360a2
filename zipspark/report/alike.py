"""What two near-copies share, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import groupby

MOST_WORDS = 400  # of each text; the time of the comparison grows with their square, and worse in bad cases

_WORD = re.compile(r"\S+\s*|\s+")

Runs = list[tuple[bool, str]]  # (whether the other text has it too, text); joined they are the text that was compared


def compared(one: str, other: str) -> tuple[Runs, Runs]:
    """Both texts, up to `MOST_WORDS`, as runs that are the same in both or differ. Space does not count.

    >>> compared("the cat sat", "the dog sat")
    ([(True, 'the '), (False, 'cat '), (True, 'sat')], [(True, 'the '), (False, 'dog '), (True, 'sat')])
    """
    sides = [_first_words(text) for text in (one, other)]
    keys = [[word.rstrip() for word in side] for side in sides]
    matcher = SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    same = [[False] * len(side) for side in sides]
    for at_one, at_other, size in matcher.get_matching_blocks():
        same[0][at_one : at_one + size] = [True] * size
        same[1][at_other : at_other + size] = [True] * size
    return _runs(sides[0], same[0]), _runs(sides[1], same[1])


def _first_words(text: str) -> list[str]:
    return [match.group() for match, _ in zip(_WORD.finditer(text), range(MOST_WORDS), strict=False)]


def _runs(words: list[str], same: list[bool]) -> Runs:
    pairs = groupby(zip(same, words, strict=True), key=lambda pair: pair[0])
    return [(is_same, "".join(word for _, word in run)) for is_same, run in pairs]
