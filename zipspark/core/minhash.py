"""Min-hash: one number per sample that look-alikes tend to share, so that they can be brought into the same part.

Two samples have the same min-hash with a probability equal to the share of byte 8-grams they have in common (Broder
1997, with one permutation).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zipspark.core.grams import mix

GRAM = 8  # bytes: as many as one machine word holds, so a gram is read by one unaligned load
_CHUNK = 2**20  # bytes hashed at once: 8 MiB of hashes stay in the cache of most machines


def min_hashes(data: bytes | memoryview, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """The lowest hash among the 8-grams of each sample.

    Args:
        data: all samples, one after the other (an Arrow array's value buffer).
        offsets: (n + 1,) ascending; sample i is ``data[offsets[i]:offsets[i + 1]]``.

    Returns:
        (n,) hashes. A sample of fewer than 8 bytes counts as one gram, filled up with zeros; an empty one gives 0.
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    hashes = np.empty(len(offsets) - 1, dtype=np.uint64)
    first = 0
    while first < len(hashes):
        last = int(np.searchsorted(offsets, offsets[first] + _CHUNK, side="left"))
        last = min(max(last, first + 1), len(hashes))
        low, high = int(offsets[first]), int(offsets[last])
        if high - low > 2 * _CHUNK and last == first + 1:
            hashes[first] = _hash_of_long(memoryview(data)[low:high])
            first = last
            continue
        # Zeros behind the chunk let every position of it start a gram.
        buffer = np.zeros(high - low + GRAM - 1, dtype=np.uint8)
        buffer[: high - low] = np.frombuffer(data, dtype=np.uint8, count=high - low, offset=low)
        hashes[first:last] = _chunk_hashes(buffer, offsets[first : last + 1] - low)
        first = last
    return hashes


def _hash_of_long(sample: memoryview) -> np.uint64:
    """That of one sample, in stretches that overlap so that no gram is missed: hashes take eight times its bytes."""
    lowest = np.uint64(np.iinfo(np.uint64).max)
    for low in range(0, len(sample) - GRAM + 1, _CHUNK):
        stretch = sample[low : low + _CHUNK + GRAM - 1]
        lowest = min(lowest, min_hashes(stretch, np.array([0, len(stretch)]))[0])
    return lowest


def _chunk_hashes(buffer: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    starts, ends = offsets[:-1], offsets[1:]
    grams = np.ndarray((len(buffer) - GRAM + 1,), dtype="<u8", buffer=buffer, strides=(1,))
    hashed = mix(grams)
    # Grams that reach into the next sample do not count; but the first of a short sample does, cut to its length.
    for back in range(1, GRAM):
        cut = ends - back
        hashed[cut[cut >= starts]] = np.iinfo(np.uint64).max
    sizes = ends - starts
    short = np.flatnonzero((sizes > 0) & (sizes < GRAM))
    bits = (8 * sizes[short]).astype(np.uint64)
    hashed[starts[short]] = mix(grams[starts[short]] & ((np.uint64(1) << bits) - np.uint64(1)))
    lowest = np.zeros(len(starts), dtype=np.uint64)
    filled = sizes > 0
    if filled.any():  # reduceat would give an empty sample its neighbour's first gram
        lowest[filled] = np.minimum.reduceat(hashed, starts[filled])
    return lowest
