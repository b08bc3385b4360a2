"""Grams: the short pieces of text that two samples can have in common, as numbers, for a whole Arrow buffer at once.

At each sampled position two grams start: a short one (5 bytes), which is hashed to a feature, and a long one (8 bytes),
which tells whether this piece of text is worth anything: chance repeats 5 bytes, hardly ever 8. Both come from one
unaligned 8-byte load, so no rolling hash is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEATURE_BITS = 22
FEATURES = 2**FEATURE_BITS  # buckets that short grams are hashed to
EVERY = 4  # one gram in so many is looked at, chosen by its own hash: the same ones in every sample
WORD = 8  # bytes of the longest gram: one load
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))  # of splitmix64
_CHUNK = 2**17  # positions hashed at once: 1 MiB of hashes stays in a core's own cache


@dataclass(frozen=True)
class Grams:
    """The sampled grams of n samples, m in all, in the order of the text."""

    rows: npt.NDArray[np.int64]  # (n + 1,) ascending; sample i has entries ``rows[i]:rows[i + 1]`` of the arrays below
    positions: npt.NDArray[np.int64]  # (m,) byte of the data a gram starts at, ascending
    buckets: npt.NDArray[np.uint32]  # (m,) feature of the short gram, below FEATURES
    longs: npt.NDArray[np.uint64]  # (m,) hash of the long gram, all of its bits well mixed


def grams(data: bytes | memoryview, offsets: npt.NDArray[np.int64], gram: int = 5, supported_gram: int = WORD) -> Grams:
    """The sampled grams of each sample.

    Args:
        data: all samples, one after the other (an Arrow array's value buffer).
        offsets: (n + 1,) ascending; sample i is ``data[offsets[i]:offsets[i + 1]]``.
        gram: bytes of the short gram, from 2.
        supported_gram: bytes of the long one, from ``gram`` to 8. It must lie within the sample: a sample of fewer
            bytes has no grams.

    Raises:
        ValueError: the lengths of the grams are not 2 <= gram <= supported_gram <= 8.

    >>> found = grams(b"to be or not to be", np.array([0, 18]), supported_gram=5)
    >>> found.positions.tolist(), len(set(found.buckets.tolist()))
    ([0, 1, 9, 10, 11, 13], 5)
    """
    check_lengths(gram, supported_gram)
    offsets = np.asarray(offsets, dtype=np.int64)
    begin, end = int(offsets[0]), int(offsets[-1])
    scratch = np.zeros(_CHUNK + WORD - 1, dtype=np.uint8)
    positions, buckets, longs = [_NONE], [_NONE.astype(np.uint32)], [_NONE.astype(np.uint64)]
    for low in range(begin, end - supported_gram + 1, _CHUNK):
        count = min(_CHUNK, end - low)
        size = min(_CHUNK + WORD - 1, end - low)
        scratch[:size] = np.frombuffer(data, dtype=np.uint8, count=size, offset=low)
        words = np.ndarray((count,), dtype="<u8", buffer=scratch, strides=(1,))
        hashes = words & _low_bytes(gram)
        hashes *= _MULTIPLIERS[0]
        hashes[_crossing(offsets, low, count, supported_gram)] = _NEVER
        sampled = np.flatnonzero(hashes < _SAMPLED)
        positions.append(sampled + low)
        buckets.append((_mixed(hashes[sampled]) >> np.uint64(64 - FEATURE_BITS)).astype(np.uint32))
        long = mix(words[sampled] & _low_bytes(supported_gram))
        long ^= long >> np.uint64(31)
        longs.append(long)
    found = np.concatenate(positions)
    return Grams(np.searchsorted(found, offsets), found, np.concatenate(buckets), np.concatenate(longs))


def check_lengths(gram: int, supported_gram: int) -> None:
    """Raises ValueError unless both grams fit one load, the short one within the long one."""
    if not 2 <= gram <= supported_gram <= WORD:
        raise ValueError(f"grams must be 2 <= gram <= supported_gram <= {WORD}, got {gram} and {supported_gram}")


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64, less its last shift: the high bits are well mixed, the low ones are not."""
    return _mixed(values * _MULTIPLIERS[0])


def distinct(keys: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """Each value once, ascending; sorts ``keys`` in place (ten times faster than `numpy.unique`)."""
    keys.sort()
    new = np.empty(len(keys), dtype=bool)
    new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return keys[new]


def blocks(offsets: npt.NDArray[np.int64], rows: int, size: int) -> Iterator[slice]:
    """Cuts samples into runs of at most ``rows`` and about ``size`` (at least one sample); for n samples n + 1 offsets.

    >>> list(blocks(np.array([0, 5, 10, 30, 31]), rows=3, size=10))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    first, count = 0, len(offsets) - 1
    while first < count:
        fitting = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
        last = min(max(fitting, first + 1), first + rows, count)
        yield slice(first, last)
        first = last


def _mixed(multiplied: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    multiplied ^= multiplied >> np.uint64(30)
    multiplied *= _MULTIPLIERS[1]
    return multiplied


def _low_bytes(count: int) -> np.uint64:
    return np.uint64(2 ** (8 * count) - 1)


def _crossing(offsets: npt.NDArray[np.int64], low: int, count: int, gram: int) -> npt.NDArray[np.int64]:
    """Positions of the chunk, from 0, at which a gram would reach over the end of a sample.

    Whatever lies less than a gram before any end does, also where a short sample lies between: no case to distinguish.
    """
    ends = offsets[np.searchsorted(offsets, low, side="right") : np.searchsorted(offsets, low + count + gram)] - low
    positions: npt.NDArray[np.int64] = (ends[:, None] - np.arange(1, gram)).ravel()
    return positions[(positions >= 0) & (positions < count)]


_NONE = np.empty(0, dtype=np.int64)
_SAMPLED = np.uint64(2**64 // EVERY)  # hashes below it are sampled: this reads their high bits, the well mixed ones
_NEVER = np.uint64(2**64 - 1)
