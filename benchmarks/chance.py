"""Random subsets of as many bytes: what every choice is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pools import Split


def at_random(split: Split, draw: int) -> list[int]:
    """Positions drawn from all samples until the budget is full."""
    return within(split, order(split, draw), split.budget)


def at_random_equal(split: Split, draw: int) -> list[int]:
    """Positions drawn so that every source gets the same bytes."""
    shuffled = order(split, draw)
    return [
        row
        for source, quota in equal_shares(split).items()
        for row in within(split, [row for row in shuffled if split.sources[row] == source], quota)
    ]


def within(split: Split, ranking: Sequence[int], budget: float) -> list[int]:
    """Those of ``ranking`` that fit, one after the other; what does not is passed over, as `zipspark.select` does."""
    rows = []
    for row in ranking:
        if (size := len(split.samples[row])) <= budget:
            rows.append(row)
            budget -= size
    return rows


def equal_shares(split: Split) -> dict[str, float]:
    """Bytes of each source: the same of all; one that has less is taken whole, and the others share the rest."""
    held: dict[str, int] = {}
    for text, source in zip(split.samples, split.sources, strict=True):
        held[source] = held.get(source, 0) + len(text)
    shares: dict[str, float] = {}
    left = float(split.budget)
    for source in sorted(held, key=held.__getitem__):
        shares[source] = min(held[source], left / (len(held) - len(shares)))
        left -= shares[source]
    return shares


def order(split: Split, draw: int) -> list[int]:
    """All positions, shuffled."""
    shuffled: list[int] = np.random.default_rng((split.seed, draw)).permutation(len(split.samples)).tolist()
    return shuffled
