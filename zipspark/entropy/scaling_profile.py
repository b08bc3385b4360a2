"""The least-squares side of `scaling`: every floor, height and exponent that the points do not rule out.

For a given shape the law is linear in all else, so shapes are searched on a grid and the rest is solved. With
residuals r = 1 - predicted / measured (about those of the logarithm), p parameters and n points, the region is

    sum of r² <= smallest sum of r² * (1 + t² / (n - p)),    t: Student's, n - p degrees of freedom, two-sided

(profile likelihood; Bates & Watts 1988, section 6.1), and the interval of any number is its range over the region.
Nothing is assumed to be normal in the parameters: where points do not show a floor, the interval of E reaches 0, and
where they fit any steepness, that of the exponent is open. Floors and heights below 0 are outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, product
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Part = Literal["E", "A", "alpha"]

STEEPEST, FLATTEST = 10.0, 1e-3  # exponents that are tried; laws of language models have 0.05 to 0.5
TALLEST = 7.0  # log of how much the height may differ between the ends of u: a thousandfold
_GRID = {1: 240, 2: 40, 3: 20}  # points along each axis of a grid of so many
_ZOOMS = 5  # of the grid onto the region
_EXACT = 1e-9  # relative residuals below are those of arithmetic


@dataclass(frozen=True, eq=False)
class Profile:
    """Points, and what is free in the law: E(u) + B(u) exp(-alpha(u) x), with E, alpha and log B constant or linear.

    What is linear is held as its values at u = 0 and u = 1, so that it is above 0 between where both are. The law has
    k = 1 or 2 floors and a height at u = 0, which are solved for, and a shape, which is searched: 1 or 2 exponents and
    perhaps the log of how much higher B is at u = 1.
    """

    x: Floats  # (n,) log tokens, less their mean
    u: Floats  # (n,) covariate, 0 at the least and 1 at the largest
    losses: Floats  # (n,)
    varies: tuple[Part, ...]  # parts of the law that depend on u
    t: float  # Student's quantile for the level of the intervals

    @property
    def exponents(self) -> int:
        return 1 + ("alpha" in self.varies)

    @property
    def shape(self) -> int:
        """Parameters of the shape."""
        return self.exponents + ("A" in self.varies)

    @property
    def floors(self) -> int:
        return 1 + ("E" in self.varies)

    @property
    def parameters(self) -> int:
        return self.floors + 1 + self.shape

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """(least, largest) shape that is tried, (s,) each."""
        low, high = np.full(self.shape, FLATTEST), np.full(self.shape, STEEPEST)
        low[self.exponents :], high[self.exponents :] = -TALLEST, TALLEST
        return low, high

    def columns(self, shapes: Floats, x: Floats, u: Floats) -> Floats:
        """(m, n, k) what floors and height are multiplied by at n places, for m shapes (m, s)."""
        alphas = shapes[:, : self.exponents]
        exponent = alphas[:, :1] + (alphas[:, -1:] - alphas[:, :1]) * u
        taller = shapes[:, -1:] * u if "A" in self.varies else 0.0
        height = np.exp(taller - np.maximum(exponent, 0.0) * x)[:, :, None]
        floor = np.stack([1 - u, u], axis=-1) if self.floors == 2 else np.ones((len(u), 1))
        return np.concatenate([np.broadcast_to(floor, (len(shapes), *floor.shape)), height], axis=2)

    def rank(self) -> int:
        """How many of the parameters these points could tell apart, were there no noise."""
        shape = np.where(np.arange(self.shape) < self.exponents, 0.5, 0.0)
        given = self.columns(shape[None], self.x, self.u)[0]
        moves = [self.x, *([self.x * self.u] * (self.exponents - 1)), *([self.u] * (self.shape - self.exponents))]
        return int(np.linalg.matrix_rank(np.column_stack([given, *(move * given[:, -1] for move in moves)]), tol=1e-6))

    @cached_property
    def region(self) -> tuple[Floats, float, bool]:
        """(shapes (m, s) of the region, largest sum of squares in it, whether its exponents end below `STEEPEST`)."""
        is_exponent = np.arange(self.shape) < self.exponents
        ends = [np.where(is_exponent, np.log(np.maximum(end, FLATTEST)), end) for end in self.bounds]
        low, high = ends
        count = _GRID[self.shape]
        largest = np.inf
        for _ in range(_ZOOMS):
            axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
            grid = np.array(list(product(*axes)))
            sums = self._best(_shapes(grid, is_exponent))[0]
            largest = min(largest, self._largest(float(sums.min())))
            inside = grid[sums <= largest]
            steps = (high - low) / (count - 1)
            if not len(inside):
                inside, largest = grid[[int(sums.argmin())]], float(sums.min())
            low = np.maximum(inside.min(axis=0) - steps, ends[0])
            high = np.minimum(inside.max(axis=0) + steps, ends[1])
        shapes = _shapes(inside, is_exponent)
        return shapes, largest, bool((shapes[:, is_exponent] < 0.999 * STEEPEST).all())

    @property
    def least_squares(self) -> tuple[Floats, Floats]:
        """(floors and height (k,), shape (s,)) of the smallest sum of squares."""
        shapes = self.region[0]
        sums, thetas = self._best(shapes)
        at = int(sums.argmin())
        return thetas[at], shapes[at]

    @property
    def spread(self) -> float:
        """Standard deviation of measured over predicted, on n - p degrees of freedom."""
        squares = float(self._best(self.region[0])[0].min())
        return float(np.sqrt(squares / max(1, len(self.x) - self.parameters)))

    @property
    def criterion(self) -> float:
        """Akaike's for few points (AICc; Hurvich & Tsai 1989), lower is better; nan where there are too few."""
        n, q = len(self.x), self.parameters + 1
        if n - q - 1 <= 0:
            return float("nan")
        squares = max(float(self._best(self.region[0])[0].min()), n * _EXACT**2)
        return float(n * np.log(squares / n) + 2 * q + 2 * q * (q + 1) / (n - q - 1))

    def range_at(self, x: float, u: float) -> tuple[float, float]:
        """(low, high) of the law at a place."""
        return self.range_of(self.columns(self.region[0], np.array([x]), np.array([u]))[:, 0, :])

    def range_of(self, factors: Floats) -> tuple[float, float]:
        """(low, high) of the sum of floors and height times ``factors`` (k,) or (m, k), one row a shape of the region.

        The ends lie on the edge of the region: for each set of floors and height that are above 0, where the others
        are 0, the ends of an ellipsoid, as long as they are above 0 there.
        """
        shapes, largest, _ = self.region
        factors = np.broadcast_to(factors, (len(shapes), self.parameters - self.shape))
        found = []
        for chosen, theta, inverse, squares in self._laws:
            c = factors[:, chosen]
            shift = np.einsum("mij,mj->mi", inverse, c)
            variance = np.einsum("mi,mi->m", c, shift)
            slack = np.maximum(largest - squares, 0.0)
            scale = np.sqrt(slack / np.where(variance > 0, variance, np.inf))[:, None]
            for end in (theta - scale * shift, theta + scale * shift):
                kept = (squares <= largest) & (end >= 0).all(axis=1)
                found.append(np.einsum("mi,mi->m", c, end)[kept])
        values = np.concatenate(found)
        return float(values.min()), float(values.max())

    def _largest(self, squares: float) -> float:
        n = len(self.x)
        return max(squares, n * _EXACT**2) * (1 + self.t**2 / max(1, n - self.parameters))

    @cached_property
    def _laws(self) -> list[tuple[list[int], Floats, Floats, Floats]]:
        """`_solved` in the region: every interval needs it."""
        return self._solved(self.region[0])

    def _best(self, shapes: Floats) -> tuple[Floats, Floats]:
        """(sums of squares (m,), floors and height (m, k)) of the best laws with none below 0."""
        sums = np.full(len(shapes), np.inf)
        thetas = np.zeros((len(shapes), self.parameters - self.shape))
        for chosen, theta, _, squares in self._solved(shapes):
            better = (theta >= 0).all(axis=1) & (squares < sums)
            sums[better] = squares[better]
            filled = np.zeros_like(thetas)
            filled[:, chosen] = theta
            thetas[better] = filled[better]
        return sums, thetas

    def _solved(self, shapes: Floats) -> list[tuple[list[int], Floats, Floats, Floats]]:
        """Of each set of columns: (the set, least squares (m, s), inverse of its matrix (m, s, s), sums (m,))."""
        weighed = self.columns(shapes, self.x, self.u) / self.losses[:, None]
        every = range(weighed.shape[2])
        sets = chain.from_iterable(combinations(every, size) for size in range(1, len(every) + 1))
        solved = []
        for chosen in map(list, sets):
            part = weighed[:, :, chosen]
            size = np.sqrt((part**2).sum(axis=1))  # (m, s); a steep height is many orders above a floor
            equal = part / size[:, None, :]
            inverse = np.linalg.pinv(np.einsum("mni,mnj->mij", equal, equal), rcond=1e-14, hermitian=True)
            inverse /= size[:, :, None] * size[:, None, :]
            theta = np.einsum("mij,mnj->mi", inverse, part)
            left = 1 - np.einsum("mni,mi->mn", part, theta)
            solved.append((chosen, theta, inverse, (left**2).sum(axis=1)))
        return solved


def _shapes(grid: Floats, is_exponent: npt.NDArray[np.bool_]) -> Floats:
    """A grid's points with exponents, which it holds as logs, as they are."""
    made: Floats = np.where(is_exponent, np.exp(grid), grid)
    return made
