"""Near copies among samples, as deduplication has them: sets of word 5-grams that overlap by Jaccard 0.7 or more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from datasketch import MinHash, MinHashLSH

WORDS = 5  # of a shingle
THRESHOLD = 0.7  # Jaccard similarity from which two samples are near copies, as in text-dedup
PERMUTATIONS = 128  # of a MinHash: datasketch's own default
_WORD = re.compile(r"\w+")


def shingles(text: bytes) -> set[bytes]:
    """The runs of five words in ``text``, case and punctuation aside; of a shorter text itself.

    >>> sorted(shingles(b"To be, or not to be")), shingles(b"To be")
    ([b'be or not to be', b'to be or not to'], {b'to be'})
    """
    words = _WORD.findall(text.decode(errors="replace").lower())
    return {" ".join(words[at : at + WORDS]).encode() for at in range(max(1, len(words) - WORDS + 1))}


def sketches(texts: Sequence[bytes], seed: int) -> list[MinHash]:
    """(n,) A MinHash of each text's shingles."""
    return MinHash.bulk(map(shingles, texts), num_perm=PERMUTATIONS, seed=seed)


class Twins:
    """A pool in which near copies are looked for.

    MinHash only proposes, at a threshold low enough to miss one pair in a hundred at most; shingles decide. The seed is
    not the one that others.py deduplicates with, whose misses would be missed again.
    """

    def __init__(self, samples: Sequence[bytes], seed: int = 7) -> None:
        self._sketches = sketches(samples, seed)
        self._shingles = cache(lambda row: shingles(samples[row]))  # of those that had to be compared

    def share(self, rows: Sequence[int]) -> float:
        """The share of the samples at ``rows`` that have a near copy at another of them."""
        index = MinHashLSH(threshold=THRESHOLD - 0.2, num_perm=PERMUTATIONS)
        for row in rows:
            index.insert(row, self._sketches[row])
        have: set[int] = set()
        for row in rows:
            if row in have:
                continue
            here = self._sketches[row]
            near = ((here.jaccard(self._sketches[other]), other) for other in index.query(here) if other != row)
            for _, other in sorted(near, reverse=True):  # the likeliest first: one is enough
                one, two = (self._shingles(at) for at in (row, other))
                if len(one & two) >= THRESHOLD * len(one | two):
                    have |= {row, other}
                    break
        return len(have) / max(1, len(rows))
