"""How a pool is cut into parts: by content, so that look-alikes meet, and of even size, whatever is common in the pool.

Samples are counted in fine buckets of their min-hash; the buckets are packed into parts. A bucket that is larger than a
part (one template can be a third of a pool) is split by content hash.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

PART_BYTES = 24 * 10**6  # text one task holds; a Python worker needs three to seven times that to rank it


def pack(bucket_bytes: Mapping[int, int], parts: int) -> dict[int, list[int]]:
    """``{bucket: [part of its first slice, ...]}``; slice s of a bucket holds the contents with hash % slices == s.

    Largest slice first into the emptiest part (longest processing time, Graham 1969: at most 4/3 of the best possible).

    >>> pack({0: 10, 1: 60, 2: 30}, parts=2)
    {1: [0, 1], 2: [0], 0: [1]}
    """
    share = sum(bucket_bytes.values()) / parts
    slices = [
        (size / count, bucket)
        for bucket, size in bucket_bytes.items()
        for count in [max(1, math.ceil(size / share)) if share else 1]
        for _ in range(count)
    ]
    filled = [(0.0, part) for part in range(parts)]  # a heap of (bytes so far, part)
    placed: dict[int, list[int]] = {}
    for size, bucket in sorted(slices, key=lambda item: (-item[0], item[1])):
        load, part = filled[0]
        heapq.heapreplace(filled, (load + size, part))
        placed.setdefault(bucket, []).append(part)
    return placed
