"""What deduplication takes for near copies: samples whose sets of word 5-grams overlap by Jaccard 0.7 or more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from datasketch import MinHash

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
