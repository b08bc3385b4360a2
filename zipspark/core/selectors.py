"""How a set is searched for: greedily, one sample after the other.

A selector takes an objective and a limit and returns samples in the order they were picked, each with what it added.
Both break ties by the lower index, so whoever calls decides by the order of the pool.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from zipspark.core.limit import Limit
from zipspark.core.objectives import Both, Coverage, Floats, Objective
from zipspark.errors import UsageError

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]  # (n,) of each sample
Verdict = Literal["take", "skip", "end"]
Judge = Callable[[int, float], Verdict]  # (the best sample that is left, its gain) -> what is done with it
_NONE: Indices = np.empty(0, dtype=np.int64)


@dataclass
class Picks:
    """Samples in the order they were picked, and the gain of each at that moment."""

    indices: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)

    def append(self, index: int, gain: float) -> None:
        self.indices.append(index)
        self.gains.append(gain)


def _always(index: int, gain: float) -> Verdict:
    return "take"


Kind = TypeVar("Kind", bound=Objective | Both, contravariant=True)


class Selector(Protocol[Kind]):
    """Fills a limit from the pool of an objective.

    ``costs`` (n,) is what gain is divided by. Samples of ``kept``, ascending, come first, whatever the limit and
    ``judge`` say; they spend of the limit like any other.
    """

    def __call__(
        self, objective: Kind, costs: Floats, limit: Limit, kept: Indices = _NONE, judge: Judge = _always
    ) -> Picks: ...


class Lazy:
    """Lazy greedy (Minoux 1978): always the sample with the highest gain per cost, asking as few as possible.

    What a sample added to a smaller set bounds what it adds now, so only the best-looking is measured again, until one
    stays best. Exact where the objective is submodular; otherwise the bounds are heuristic (see the objective).
    A sample that no longer fits the limit is left out for good, so what remains unspent is less than any of these.
    """

    def __call__(
        self, objective: Objective, costs: Floats, limit: Limit, kept: Indices = _NONE, judge: Judge = _always
    ) -> Picks:
        gains = objective.gains_alone()

        def best(waiting: Flags, picks: Picks) -> Iterator[tuple[int, float]]:
            return _lazily(objective, gains, costs, waiting, picks)

        return _greedily(best, objective, limit, kept, judge)


class Greedy:
    """Greedy over an objective that keeps all gains up to date (`Coverage`): the picks of `Lazy`, without asking."""

    def __call__(
        self, objective: Coverage, costs: Floats, limit: Limit, kept: Indices = _NONE, judge: Judge = _always
    ) -> Picks:
        def best(waiting: Flags, picks: Picks) -> Iterator[tuple[int, float]]:
            gains = objective.gains()
            for index in _best_first(gains, costs, waiting):
                yield index, float(gains[index])
            for index in np.flatnonzero(waiting).tolist():  # they add nothing
                if waiting[index]:
                    yield index, 0.0

        return _greedily(best, objective, limit, kept, judge)


class InTurns:
    """Greedy by two values in turns: next is the one that has spent less than its share so far, and it sees all picks.

    `RATIO_SHARE` goes by the ratio, as `Lazy` picks, the rest by coverage, as `Greedy` does, and all by the ratio once
    nothing is left to cover. What a pick added is its C(x|S), by whichever it was picked.
    """

    def __call__(
        self, objective: Both, costs: Floats, limit: Limit, kept: Indices = _NONE, judge: Judge = _always
    ) -> Picks:
        gains = objective.ratio.gains_alone()

        def best(waiting: Flags, picks: Picks) -> Iterator[tuple[int, float]]:
            by_coverage = _best_first(objective.coverage.gains(), costs, waiting)
            by_ratio = _lazily(objective.ratio, gains, costs, waiting, picks)
            spent, of_ratio = 0.0, 0.0
            while True:
                ratios_turn = of_ratio < RATIO_SHARE * spent
                index = None if ratios_turn else next(by_coverage, None)
                if index is None:
                    found = next(by_ratio, None)
                    if found is None:
                        return
                    index, gain = found
                else:
                    gain = objective.ratio.gain(index)[0]
                yield index, gain
                if picks.indices and picks.indices[-1] == index:
                    spent += float(limit.units[index])
                    of_ratio += float(limit.units[index]) if ratios_turn else 0.0

        return _greedily(best, objective, limit, kept, judge)


def _greedily(
    best: Callable[[Flags, Picks], Iterator[tuple[int, float]]],
    objective: Objective | Both,
    limit: Limit,
    kept: Indices,
    judge: Judge,
) -> Picks:
    """Picks of what ``best`` gives: of those waiting always the best, which then no longer waits, with its gain."""
    picks = Picks()
    first = np.zeros(len(limit.units), dtype=bool)
    first[kept] = True
    others = ~first
    for index, gain in best(first, picks):
        _pick(index, gain, picks, objective, limit)
    for index, gain in best(others, picks):
        if limit.reached:
            break
        if not limit.fits(index):
            others &= limit.fitting()  # what no longer fits never will
            continue
        verdict = judge(index, gain)
        if verdict == "end":
            break
        if verdict == "take":
            _pick(index, gain, picks, objective, limit)
    return picks


def _lazily(
    objective: Objective, gains: Floats, costs: Floats, waiting: Flags, picks: Picks
) -> Iterator[tuple[int, float]]:
    """Each index that is ``waiting``, the best first, and its gain, as both are when it is asked for.

    ``gains`` (n,) are upper bounds of what each adds. Others may stop waiting meanwhile, and be picked.
    """
    among = np.flatnonzero(waiting)
    cost = costs.tolist()  # a list answers one index faster than an array
    # (minus an upper bound of gain per cost, index, picks made when that was exact or -1, the bound of gain)
    bounds = (-gains[among] / costs[among]).tolist()
    heap = list(zip(bounds, among.tolist(), repeat(-1), gains[among].tolist(), strict=False))
    heapq.heapify(heap)
    while heap:
        _, index, measured_at, gain = heap[0]
        if not waiting[index]:
            heapq.heappop(heap)
        elif measured_at == len(picks.indices):
            heapq.heappop(heap)
            waiting[index] = False
            yield index, gain
        else:
            # Whoever follows has this bound: once x is known to be worth less, its exact gain does not matter now.
            rival = -min(heap[1:3], default=(0.0,))[0]
            gain, exact = objective.gain(index, rival * cost[index] * _STRICTLY_LESS)
            entry = (-gain / cost[index], index, len(picks.indices) if exact else -1, gain)
            heapq.heapreplace(heap, entry)


def _best_first(gains: Floats, costs: Floats, waiting: Flags) -> Iterator[int]:
    """Each index that is ``waiting`` and adds something, the best first, by ``gains`` as they are when it is asked for.

    They may only fall meanwhile, and others may stop waiting. So a few hundred of the best are watched at a time: what
    is above the bar that all others are below need not be compared with these.
    """
    while len(among := np.flatnonzero(waiting)):
        scores = gains[among] / costs[among]
        if not scores.max() > 0:
            return
        watched, bar = among, 0.0
        if len(among) > _WATCHED:
            bar = float(np.partition(scores, len(among) - _WATCHED)[len(among) - _WATCHED])
            watched = among[scores >= bar]
        watched_costs = costs[watched]
        while True:
            now = np.where(waiting[watched], gains[watched] / watched_costs, -1.0)
            at = int(now.argmax())
            if now[at] < bar or now[at] <= 0:
                break
            waiting[watched[at]] = False
            yield int(watched[at])


@dataclass(frozen=True)
class MultiStage:
    """ZIP's rounds (arXiv 2407.06645, Algorithm 1): K1 re-scored, K2 short-listed, K3 picked.

    A round takes the ``k1`` samples with the lowest ratio as last known, re-scores them as additions to the set, keeps
    the ``k2`` lowest, and among these builds a group of ``k3`` greedily, starting from nothing; it then joins the set.
    Costs are not asked for: a ratio is per cost already.

    ``drop_rejects`` and ``single_precision`` are how the released program differs from the paper: what a short list did
    not yield never returns, and ratios are compared as float32; it also finishes the round in which the budget is met.
    """

    k1: int = 10000
    k2: int = 200
    k3: int = 100
    drop_rejects: bool = False
    single_precision: bool = False

    def __call__(
        self, objective: Objective, costs: Floats, limit: Limit, kept: Indices = _NONE, judge: Judge = _always
    ) -> Picks:
        picks = Picks()
        # (n,) ratio of the set with x added, as last measured: at first, of x alone
        ratios = self._rounded(objective.emptied().set_ratios(range(len(costs))))
        alive = np.ones(len(costs), dtype=bool)
        alive[kept] = False
        for index in kept.tolist():
            _pick(index, objective.gain(index)[0], picks, objective, limit)
        while not limit.reached:
            candidates = np.flatnonzero(alive & limit.fitting())
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
            group = self._group(objective.emptied(), shortlist, limit.copy())
            alive[shortlist if self.drop_rejects else group] = False
            for index in group:
                gain, _ = objective.gain(index)
                verdict = judge(index, gain)
                if verdict == "end":
                    return picks
                alive[index] = False
                if verdict == "take":
                    _pick(index, gain, picks, objective, limit)
        return picks

    def _group(self, group: Objective, shortlist: Indices, limit: Limit) -> list[int]:
        """Greedily up to k3 of ``shortlist`` (ascending) that together have the lowest ratio and fit the limit."""
        picked: list[int] = []
        while len(picked) < self.k3:
            if not self.drop_rejects:  # the released program finishes the round, whatever is left
                shortlist = shortlist[limit.fitting()[shortlist]]
            if not len(shortlist):
                break
            best = int(np.argmin(self._rounded(group.set_ratios(shortlist))))
            index = int(shortlist[best])
            shortlist = np.delete(shortlist, best)
            group.add(index)
            picked.append(index)
            limit.spend(index)
        return picked

    def _rounded(self, ratios: Floats) -> Floats:
        return ratios.astype(np.float32).astype(np.float64) if self.single_precision else ratios


def _pick(index: int, gain: float, picks: Picks, objective: Objective | Both, limit: Limit) -> None:
    picks.append(index, gain)
    objective.add(index)
    limit.spend(index)


def _lowest(ratios: Floats, among: Indices, count: int) -> Indices:
    """The ``count`` of ``among`` (ascending) with the lowest ratio, lowest first, ties by lower index."""
    among = np.sort(among)
    return among[np.argsort(ratios[among], kind="stable")[:count]]


RATIO_SHARE = 0.25  # of the limit; `benchmarks/tried.py` shows what other shares come to
_WATCHED = 512  # samples: their scores are compared within microseconds, and hold for a hundred picks or so

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
