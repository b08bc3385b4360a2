"""Where a ranking begins to add little."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zipspark.report.facts import Point

LEAST = 0.02  # of both axes: what bends less than this is called straight


def added_bytes(points: Sequence[Point]) -> list[float]:
    """(n,) Compressed bytes that the ranking has added up to each point."""
    added, total, before = [], 0.0, 0
    for point in points:
        ratio = point.marginal_ratio
        total += (point.bytes - before) / ratio if ratio > 0 and math.isfinite(ratio) else 0.0
        added.append(total)
        before = point.bytes
    return added


def knee(points: Sequence[Point]) -> int | None:
    """Index of the point that lies farthest above the chord of added bytes over chosen bytes; None where none does.

    Kneedle (Satopää, Albrecht, Irwin, Raghavan 2011): both axes are scaled to 0..1 first, so neither the size of the
    pool nor its ratio matters. Before the knee a chosen byte adds more than in the mean of the ranking, after it less.

    >>> knee([Point(1, 100, 2.0), Point(2, 200, 2.0), Point(3, 300, 8.0), Point(4, 400, 8.0)])
    1
    >>> knee([Point(1, 100, 3.0), Point(2, 200, 3.0), Point(3, 300, 3.0)]) is None
    True
    """
    added = added_bytes(points)
    if len(points) < 3 or not points[-1].bytes or not added[-1]:
        return None
    above = [height / added[-1] - point.bytes / points[-1].bytes for point, height in zip(points, added, strict=True)]
    best = max(range(len(above)), key=above.__getitem__)
    return best if above[best] >= LEAST else None
