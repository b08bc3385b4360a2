"""How a set is searched for: greedily, one sample after the other.

A selector takes an objective and a limit and returns samples in the order they were picked, each with what it added.
Both break ties by the lower index, so whoever calls decides by the order of the pool.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zipspark.core.objectives import Floats, Objective
from zipspark.errors import UsageError

Indices = npt.NDArray[np.int64]


class Limit:
    """A budget while it is spent. No pick exceeds it, unless ``overshoot`` lets the last one (or the last round).

    ``units`` (n,) is what each sample takes of it: ones when rows are counted, bytes when bytes are.
    """

    def __init__(self, amount: float, units: Floats, overshoot: bool = False) -> None:
        self.amount = amount
        self.units = units
        self.overshoot = overshoot
        self.left = amount

    @property
    def reached(self) -> bool:
        return self.left <= 0

    def fits(self, index: int) -> bool:
        return self.overshoot or bool(self.units[index] <= self.left)

    def spend(self, index: int) -> None:
        self.left -= self.units[index]


@dataclass
class Picks:
    """Samples in the order they were picked, and the gain of each at that moment."""

    indices: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)

    def append(self, index: int, gain: float) -> None:
        self.indices.append(index)
        self.gains.append(gain)


class Selector(Protocol):
    """Fills a limit from the pool of an objective; ``costs`` (n,) is what gain is divided by."""

    def __call__(self, objective: Objective, costs: Floats, limit: Limit) -> Picks: ...


class Lazy:
    """Lazy greedy (Minoux 1978): always the sample with the highest gain per cost, asking as few as possible.

    What a sample added to a smaller set bounds what it adds now, so only the best-looking is measured again, until one
    stays best. Exact where the objective is submodular; otherwise the bounds are heuristic (see the objective).
    A sample that no longer fits the limit is left out for good, so what remains unspent is less than any of these.
    """

    def __call__(self, objective: Objective, costs: Floats, limit: Limit) -> Picks:
        picks = Picks()
        gains = objective.gains_alone()
        cost = costs.tolist()  # a list answers one index faster than an array
        # (minus an upper bound of gain per cost, index, picks made when that was exact or -1, the bound of gain)
        heap = list(zip((-gains / costs).tolist(), range(len(gains)), repeat(-1), gains.tolist()))
        heapq.heapify(heap)
        while heap and not limit.reached:
            _, index, measured_at, gain = heap[0]
            if not limit.fits(index):
                heapq.heappop(heap)
            elif measured_at == len(picks.indices):
                heapq.heappop(heap)
                picks.append(index, gain)
                objective.add(index)
                limit.spend(index)
            else:
                # Whoever follows has this bound: once x is known to be worth less, its exact gain does not matter now.
                rival = -min(heap[1:3], default=(0.0,))[0]
                gain, exact = objective.gain(index, rival * cost[index] * _STRICTLY_LESS)
                entry = (-gain / cost[index], index, len(picks.indices) if exact else -1, gain)
                heapq.heapreplace(heap, entry)
        return picks


@dataclass(frozen=True)
class MultiStage:
    """ZIP's rounds (arXiv 2407.06645, Algorithm 1): K1 re-scored, K2 short-listed, K3 picked.

    A round takes the ``k1`` samples with the lowest ratio as last known, re-scores them as additions to the set, keeps
    the ``k2`` lowest, and among these builds a group of ``k3`` greedily, starting from nothing; it then joins the set.

    ``drop_rejects`` and ``single_precision`` are how the released program differs from the paper: what a short list did
    not yield never returns, and ratios are compared as float32; it also finishes the round in which the budget is met.
    """

    k1: int = 10000
    k2: int = 200
    k3: int = 100
    drop_rejects: bool = False
    single_precision: bool = False

    def __call__(self, objective: Objective, costs: Floats, limit: Limit) -> Picks:
        picks = Picks()
        # (n,) ratio of the set with x added, as last measured: at first, of x alone
        ratios = self._rounded(objective.emptied().set_ratios(range(len(costs))))
        alive = np.ones(len(costs), dtype=bool)
        while not limit.reached:
            candidates = np.flatnonzero(alive & (limit.overshoot | (limit.units <= limit.left)))
            if self.drop_rejects and 0 < len(picks.indices) < len(costs) and len(candidates) < self.k1:
                raise UsageError(
                    "k1 must be <= the samples left in every round with preset reference: after "
                    f"{len(picks.indices):,} picks {len(candidates):,} are left, k1 is {self.k1:,}; the released "
                    "program would pick samples again from here on. Lower k1 or the budget, or use preset paper"
                )
            if not len(candidates):
                break
            top = _lowest(ratios, candidates, self.k1)
            ratios[top] = self._rounded(objective.set_ratios(top))
            shortlist = np.sort(_lowest(ratios, top, self.k2))
            group = self._group(objective.emptied(), shortlist, limit)
            alive[shortlist if self.drop_rejects else group] = False
            for index in group:
                gain, _ = objective.gain(index)
                picks.append(index, gain)
                objective.add(index)
                limit.spend(index)
        return picks

    def _group(self, group: Objective, shortlist: Indices, limit: Limit) -> list[int]:
        """Greedily up to k3 of ``shortlist`` (ascending) that together have the lowest ratio and fit the limit."""
        picked: list[int] = []
        left = limit.left
        while len(picked) < self.k3:
            if not limit.overshoot:
                shortlist = shortlist[limit.units[shortlist] <= left]
            if not len(shortlist):
                break
            best = int(np.argmin(self._rounded(group.set_ratios(shortlist))))
            index = int(shortlist[best])
            shortlist = np.delete(shortlist, best)
            group.add(index)
            picked.append(index)
            left -= limit.units[index]
        return picked

    def _rounded(self, ratios: Floats) -> Floats:
        return ratios.astype(np.float32).astype(np.float64) if self.single_precision else ratios


def _lowest(ratios: Floats, among: Indices, count: int) -> Indices:
    """The ``count`` of ``among`` (ascending) with the lowest ratio, lowest first, ties by lower index."""
    among = np.sort(among)
    return among[np.argsort(ratios[among], kind="stable")[:count]]


# Keeps a bound that is "below the rival" from rounding up to it, which would measure the same sample for ever.
_STRICTLY_LESS = 1 - 1e-12


def rounds_cost(picks: int, pool: int, k1: int, k2: int, k3: int) -> int:
    """Candidates that `MultiStage` compresses for ``picks`` samples of a pool: k1 and about k2 x k3 a round.

    >>> rounds_cost(500, 5000, k1=1000, k2=200, k3=100)
    85250
    """
    k1, k2, k3 = min(k1, pool), min(k2, pool), min(k3, pool)
    rounds = -(-picks // k3)
    return pool + rounds * (k1 + sum(k2 - done for done in range(k3)))


# Bytes of candidates that one core puts through zlib 9 in a second, copying its state for each (measured: 12 to 15 MB).
MULTISTAGE_RATE = 12e6
