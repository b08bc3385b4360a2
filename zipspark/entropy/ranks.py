"""Rank correlations of two short series, with p-values that are exact for few points.

Spearman's rho is the Pearson correlation of the ranks (ties share their mean rank); Kendall's tau-b is the surplus of
pairs in the same order over pairs in opposite order, over the pairs that are not tied. Both are in [-1, 1].

The p-value is two-sided: of all orders that one series could have, the share with a correlation at least as far from 0.
Up to `EXACT` points every order is tried, so ties do no harm; beyond, it is scipy's (exact for tau without ties,
otherwise asymptotic).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from zipspark.errors import InputError
from zipspark.extras import needs

Floats = npt.NDArray[np.float64]

EXACT = 8  # points, so 40,320 orders: a tenth of a second


@dataclass(frozen=True)
class Ranks:
    """How two series of n values rise together."""

    spearman: float  # rho, -1 to 1
    spearman_p: float  # two-sided
    kendall: float  # tau-b, -1 to 1
    kendall_p: float  # two-sided
    exact: bool  # whether both p-values come from all orders

    def __str__(self) -> str:
        kind = "exact" if self.exact else "asymptotic"
        return (
            f"Spearman {self.spearman:+.2f} (p {self.spearman_p:.3f}), "
            f"Kendall {self.kendall:+.2f} (p {self.kendall_p:.3f}), p {kind}"
        )


def ranks(first: npt.ArrayLike, second: npt.ArrayLike) -> Ranks:
    """Rank correlations of two series of the same length, (n,) each.

    Raises `InputError` for fewer than 3 values or a series that is constant.

    >>> found = ranks([1, 2, 3, 4], [8.1, 6.0, 5.5, 2.0])
    >>> found.spearman, round(found.spearman_p, 4), found.exact
    (-1.0, 0.0833, True)
    """
    with needs("rank correlations need scipy", "entropy"):
        from scipy import stats  # type: ignore[import-untyped,unused-ignore]
    x, y = (np.asarray(values, dtype=float) for values in (first, second))
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise InputError(f"a rank correlation needs at least 3 values that differ, got {len(x)}")
    rho, tau = stats.spearmanr(x, y), stats.kendalltau(x, y)
    if len(x) > EXACT:
        return Ranks(float(rho.statistic), float(rho.pvalue), float(tau.statistic), float(tau.pvalue), exact=False)
    orders = _orders(len(x))
    low, high = np.triu_indices(len(x), 1)
    signs_x, signs_y = (np.sign(values[:, None] - values[None, :]) for values in (x, y))
    rank_x, rank_y = (stats.rankdata(values) - (len(x) + 1) / 2 for values in (x, y))
    # Only the sums change with the order; what they are divided by does not.
    of_rho = _share_beyond(rank_y[orders] @ rank_x, float(rank_x @ rank_y))
    of_tau = _share_beyond(
        signs_y[orders[:, low], orders[:, high]] @ signs_x[low, high], float(signs_x[low, high] @ signs_y[low, high])
    )
    return Ranks(float(rho.statistic), of_rho, float(tau.statistic), of_tau, exact=True)


@cache
def _orders(count: int) -> npt.NDArray[np.int64]:
    """(count!, count) all orders of the numbers below ``count``."""
    return np.array(list(permutations(range(count))))


def _share_beyond(sums: Floats, observed: float) -> float:
    return float(np.mean(np.abs(sums) >= abs(observed) - 1e-9))
