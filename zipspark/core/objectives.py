"""What a good set is. An objective values a set S; selectors only ever ask it what one more sample adds.

An objective and a selector meet in `gain` (and its bounds) and `add`; the paper's multi-stage selector also asks for
the ratio the whole set would have, `set_ratios`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zipspark.core.codecs import Context, Indices, Sizes, lengths
from zipspark.core.grams import FEATURE_BITS, FEATURES, blocks
from zipspark.core.lens import Weights

Floats = npt.NDArray[np.float64]
_FEATURES_AT_ONCE = 2**18  # a few MB with what is made of them


class Objective(Protocol):
    """A value f(S) over sets of one pool, grown one sample at a time."""

    def gains_alone(self) -> Floats:
        """About f({x}) of every sample, shape (n,): the first bounds of what it can add."""

    def gain(self, index: int, enough: float = 0.0) -> tuple[float, bool]:
        """(f(S + [x]) - f(S), True); or (an upper bound of it below ``enough``, False) as soon as one is known."""

    def set_ratios(self, indices: Indices) -> Floats:
        """Cost of S + [x] over f(S + [x]) for each x of ``indices``; lower is better."""

    def add(self, index: int) -> None:
        """S becomes S + [x]."""

    def emptied(self) -> Objective:
        """The same objective with nothing chosen."""


class Ratio:
    """The compression ratio: f(S) = C(S), bytes the compressed set needs; what x adds is C(x|S).

    Cost is bytes, so gain per cost is C(x|S) / |x|, the inverse of the marginal ratio, and the ratio of a set is
    |S| / C(S) (arXiv 2407.06645, section 3). C is not submodular: a compressor that has forgotten x can value it higher
    later. Bounds are therefore heuristic, which lazy greedy bears well.

    ``unseen`` (n,) are the bytes of each sample that its view in ``context`` lacks: they cost, and gain nothing.
    """

    def __init__(self, context: Context, unseen: Sizes | None = None) -> None:
        self._context = context
        self._unseen = unseen  # None: nothing
        self._unseen_of_set = 0

    def gains_alone(self) -> Floats:
        return self._context.bounds_alone().astype(np.float64)

    def gain(self, index: int, enough: float = 0.0) -> tuple[float, bool]:
        return self._context.conditional_size(index, enough)

    def set_ratios(self, indices: Indices) -> Floats:
        raw = self._context.raw_with(indices)
        if self._unseen is not None:
            raw = raw + self._unseen_of_set + self._unseen[np.asarray(indices, dtype=np.int64)]
        ratios: Floats = raw / self._context.sizes_with(indices)
        return ratios

    def add(self, index: int) -> None:
        self._context.add(index)
        if self._unseen is not None:
            self._unseen_of_set += int(self._unseen[index])

    def emptied(self) -> Ratio:
        return Ratio(self._context.emptied(), self._unseen)


class Coverage:
    """f(S) = sum of the weights of the distinct features that the samples of S hold.

    This is how zstd chooses the text of a dictionary (COVER: Liao, Petri, Moffat and Wirth 2016), at the grain of
    samples: S is the set that would make the best dictionary for the pool. f is submodular, so what a sample added to a
    smaller set bounds what it adds now, and lazy greedy picks exactly what asking about all of them every time would.

    What each sample adds is kept up to date: a feature that S comes to hold is taken from all of its holders. That
    happens once to a feature, so all picks together cost a few passes over the features, however many there are.

    Args:
        views: (n,) the distinct features of each sample, packed as '<u4' (`lens.Look.features`).
        weights: (FEATURES,) what each feature is worth. Those of `lens.Lens.weights` add up without rounding, so that
            no gain depends on the order of picks, and nothing left to add is exactly 0.
        sizes: (n,) bytes, the cost in `set_ratios`.
        target_weights: (FEATURES,) what each feature is worth to a target, if there is one, for `target_covered`.

    >>> weights = np.zeros(FEATURES, dtype=np.float32)
    >>> weights[[3, 5, 8]] = 1, 2, 4
    >>> views = [np.array(view, dtype="<u4").tobytes() for view in ([3, 5], [5, 8])]
    >>> coverage = Coverage(views, weights, np.array([10, 10]))
    >>> coverage.add(1)
    >>> coverage.covered, coverage.gain(0)
    (6.0, (1.0, True))
    """

    def __init__(
        self, views: Sequence[bytes], weights: Weights, sizes: Sizes, target_weights: Weights | None = None
    ) -> None:
        self._sizes = sizes
        self._ends = np.concatenate([[0], np.cumsum(lengths(views) // 4)])  # sample i has features ends[i]:ends[i + 1]
        # A pool holds few of all features: numbered anew, what is known of each stays in the processor's cache.
        present, self._features = _renumbered(views, self._ends)
        self._weights = weights[present]
        self._target_weights = None if target_weights is None else target_weights[present]
        # The samples that hold each feature, feature after feature: those of feature j are starts[j]:starts[j + 1].
        self._starts, self._holders = _inverted(self._features, self._ends, len(present))
        self._alone = np.zeros(len(views))  # (n,) f of each sample
        for block in blocks(self._ends, len(views), _FEATURES_AT_ONCE):
            bounds = self._ends[block.start : block.stop + 1]
            # reduceat would give a sample without features its neighbour's first weight.
            some = bounds[:-1] < bounds[1:]
            if some.any():
                found = self._weights[self._features[bounds[0] : bounds[-1]]].astype(np.float64)
                self._alone[block][some] = np.add.reduceat(found, bounds[:-1][some] - bounds[0])
        self._start()

    def _start(self) -> None:
        self._gains = self._alone.copy()  # (n,) what each sample adds to S
        self._held = np.zeros(len(self._weights), dtype=bool)  # of each feature: whether S holds it
        self._size = 0  # bytes of S
        self.covered = 0.0  # f(S)
        self.target_covered = 0.0  # f(S) under the target's weights

    def gains_alone(self) -> Floats:
        return self._alone.copy()

    def gains(self) -> Floats:
        """(n,) what each sample adds now."""
        return self._gains

    def gain(self, index: int, enough: float = 0.0) -> tuple[float, bool]:
        return float(self._gains[index]), True

    def set_ratios(self, indices: Indices) -> Floats:
        """Bytes over f; infinite where f is 0."""
        rows = np.asarray(indices, dtype=np.int64)
        sizes, covered = self._size + self._sizes[rows], self.covered + self._gains[rows]
        ratios: Floats = np.divide(sizes, covered, out=np.full(len(rows), np.inf), where=covered > 0)
        return ratios

    def add(self, index: int) -> None:
        features = self._features[self._ends[index] : self._ends[index + 1]]
        new = features[~self._held[features]]
        self._held[new] = True
        self.covered += float(self._gains[index])
        if self._target_weights is not None:
            self.target_covered += float(self._target_weights[new].sum(dtype=np.float64))
        self._size += int(self._sizes[index])
        starts = self._starts[new]
        counts = self._starts[new + 1] - starts
        # Positions starts[0], starts[0] + 1, ... of counts[0] holders, then those of the next feature.
        skipped = starts - np.cumsum(counts) + counts
        holders = self._holders[np.repeat(skipped, counts) + np.arange(counts.sum())]
        np.subtract.at(self._gains, holders, np.repeat(self._weights[new].astype(np.float64), counts))

    def emptied(self) -> Coverage:
        empty = copy(self)  # shares all that never changes
        empty._start()
        return empty


class Both:
    """Two values of one set: what its samples say that it lacks (`Ratio`), and that the pool repeats (`Coverage`).

    Neither is worth much in terms of the other, so they are not added up: `selectors.InTurns` asks one, then the other.
    """

    def __init__(self, ratio: Ratio, coverage: Coverage) -> None:
        self.ratio = ratio
        self.coverage = coverage

    def add(self, index: int) -> None:
        self.ratio.add(index)
        self.coverage.add(index)


def _renumbered(views: Sequence[bytes], ends: npt.NDArray[np.int64]) -> tuple[Indices, npt.NDArray[np.uint32]]:
    """(which features there are, ascending; those of each view, one view after the other, as positions in these)."""
    held = np.zeros(FEATURES, dtype=bool)
    numbers = np.empty(FEATURES, dtype=np.uint32)
    features = np.empty(ends[-1], dtype=np.uint32)
    pieces = list(blocks(ends, len(views), _FEATURES_AT_ONCE))  # whole, indexing by them would take 8 bytes for each
    for piece in pieces:
        found = np.frombuffer(b"".join(views[piece]), dtype="<u4")
        features[ends[piece.start] : ends[piece.stop]] = found
        held[found] = True
    present = np.flatnonzero(held)
    numbers[present] = np.arange(len(present))
    for piece in pieces:
        part = slice(ends[piece.start], ends[piece.stop])
        features[part] = numbers[features[part]]
    return present, features


def _inverted(
    features: npt.NDArray[np.uint32], ends: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """From features by sample to samples by feature: a counting sort, in blocks so that it needs no room beside them.

    Returns:
        (count + 1,) where each feature's samples start, and the samples, as many as there are ``features``.
    """
    starts = np.zeros(count + 1, dtype=np.int64)
    np.add.at(starts[1:], features, 1)
    np.cumsum(starts, out=starts)
    free = starts[:-1].copy()  # (count,) where the next sample of each feature goes
    holders = np.empty(len(features), dtype=np.uint32)
    # A feature and a row of the block make 32 bits, which sort twice as fast as 64.
    for block in blocks(ends, 2 ** (32 - FEATURE_BITS), _FEATURES_AT_ONCE):
        bounds = ends[block.start : block.stop + 1]
        rows = np.repeat(np.arange(len(bounds) - 1, dtype=np.uint32), np.diff(bounds))
        pairs = features[bounds[0] : bounds[-1]] << np.uint32(32 - FEATURE_BITS) | rows
        pairs.sort()
        feature = (pairs >> np.uint32(32 - FEATURE_BITS)).astype(np.int64)
        first = np.flatnonzero(np.diff(feature, prepend=-1))  # of each feature's samples in this block
        found = np.diff(first, append=len(pairs))  # how many these are
        here = feature[first]
        rows = (pairs & np.uint32(2 ** (32 - FEATURE_BITS) - 1)) + np.uint32(block.start)
        holders[np.repeat(free[here] - first, found) + np.arange(len(pairs))] = rows
        free[here] += found
    return starts, holders
