"""What a good set is. An objective values a set S; selectors only ever ask it what one more sample adds.

An objective and a selector meet in `gain` (and its bounds) and `add`; the paper's multi-stage selector also asks for
the ratio the whole set would have, `set_ratios`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from zipspark.core.codecs import Context, Indices

Floats = npt.NDArray[np.float64]


class Objective(Protocol):
    """A value f(S) over sets of one pool, grown one sample at a time."""

    def gains_alone(self) -> Floats:
        """f({x}) of every sample, shape (n,): the first upper bounds of what it can add."""

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
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def gains_alone(self) -> Floats:
        return self._context.sizes_alone().astype(np.float64)

    def gain(self, index: int, enough: float = 0.0) -> tuple[float, bool]:
        return self._context.conditional_size(index, enough)

    def set_ratios(self, indices: Indices) -> Floats:
        ratios: Floats = self._context.raw_with(indices) / self._context.sizes_with(indices)
        return ratios

    def add(self, index: int) -> None:
        self._context.add(index)

    def emptied(self) -> Ratio:
        return Ratio(self._context.emptied())
