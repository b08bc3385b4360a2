"""`select`: from samples in memory to a ranking, and `rank`, the one function that Spark applies to part after part."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from zipspark.config import Choice
from zipspark.core.codecs import Sizes
from zipspark.core.lens import Lens
from zipspark.core.limit import Limit
from zipspark.core.objectives import Both, Coverage, Floats, Objective
from zipspark.core.presets import make_objective, make_selector
from zipspark.core.selectors import Judge, Verdict
from zipspark.limits import Until


@dataclass(frozen=True)
class Ranking:
    """Samples in the order they were picked; every prefix is itself a subset.

    ``len(ranking)`` is the number of picks k, and iterating gives their positions in the samples that were offered.
    With a mix groups take turns (`by_turns`), each with its picks in order, so that every prefix holds the mix.
    """

    indices: npt.NDArray[np.int64]  # (k,) positions in the samples, best first
    # (k,) what each added when it was picked: bytes, C(x|S); with objective ``coverage`` the weight of its new features
    gains: npt.NDArray[np.float64]
    # With a mix S is whatever had been picked by then, so gains sum to the whole's value, but not to that of a prefix.
    sizes: npt.NDArray[np.int64]  # (k,) bytes of each
    objective: Literal["both", "ratio", "coverage"] = "ratio"
    header: bytes = field(default=b"", repr=False)  # the literal statistics that were used (see `select`)
    guarded: Mapping[int, str] = field(default_factory=dict)  # position of a sample the guard left out -> reason

    @property
    def marginal_ratios(self) -> npt.NDArray[np.float64]:
        """(k,) bytes of each pick over the compressed bytes it added, higher is more redundant; ``coverage``: NaN."""
        if self.objective == "coverage":
            return np.full(len(self), np.nan)
        return self.sizes / np.maximum(self.gains, 1.0)

    @property
    def ratio(self) -> float:
        """The set's own compression ratio under the codec that chose it: bytes over compressed bytes."""
        return float(self.sizes.sum() / max(self.gains.sum(), 1.0)) if self.objective != "coverage" else float("nan")

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices.tolist())


@dataclass(frozen=True)
class Offer:
    """n samples as a selection sees them, one entry each."""

    views: Sequence[bytes]  # what the objective looks at (`zipspark.core.views`)
    sizes: Sizes  # (n,) bytes of rendered text
    ids: Sequence[str] | None = None  # unique names that decide ties, lowest first; none: as they stand
    tokens: Sizes | None = None  # (n,) where a budget or cost counts them
    groups: Sequence[str] | None = None  # where quotas are by group
    worth: Floats | None = None  # (n,) what gain is multiplied by, 0 or more; none: 1
    kept: npt.NDArray[np.bool_] | None = None  # (n,) must be picked, and first

    def taken(self, unit: Literal["rows", "bytes", "tokens"]) -> Floats:
        """(n,) what each sample takes of a budget in ``unit``."""
        if unit == "rows":
            return np.ones(len(self.sizes))
        if unit == "bytes":
            return self.sizes.astype(np.float64)
        assert self.tokens is not None
        return self.tokens.astype(np.float64)


@dataclass(frozen=True)
class Quota:
    """How much may be picked, and of some groups how much at least and at most, all in one unit."""

    unit: Literal["rows", "bytes", "tokens"]
    amount: float
    floors: Mapping[str, float] = field(default_factory=dict)  # group -> amount; a group not named: 0
    caps: Mapping[str, float] = field(default_factory=dict)  # a group not named: no cap

    @property
    def named(self) -> list[str]:
        """The groups with a floor or a cap."""
        return sorted({*self.floors, *self.caps})

    def scaled(self, factor: float) -> Quota:
        """All amounts times ``factor``."""
        floors, caps = ({group: factor * amount for group, amount in of.items()} for of in (self.floors, self.caps))
        return Quota(self.unit, factor * self.amount, floors, caps)

    def is_mix(self, groups: Sequence[str] | None) -> bool:
        """Whether each of ``groups`` that may be picked at all has an amount of its own, with nothing free."""
        if groups is None or not self.floors or self.floors != self.caps:
            return False
        return self.amount - sum(self.floors.values()) < 1e-6 or self.caps.keys() >= set(groups)

    def limit(self, units: Floats, groups: Sequence[str] | None, overshoot: bool = False) -> Limit:
        """It, to be spent on samples that take ``units`` (n,); groups are as in `named`, then one for all others."""
        named = self.named
        if not named:
            return Limit(units, self.amount, overshoot=overshoot)
        assert groups is not None
        codes = {group: code for code, group in enumerate(named)}
        floors = [*(self.floors.get(group, 0.0) for group in codes), 0.0]
        caps = [*(self.caps.get(group, math.inf) for group in codes), math.inf]
        members = np.fromiter((codes.get(group, len(codes)) for group in groups), np.int64, len(groups))
        return Limit(units, self.amount, members, floors, caps, overshoot)


@dataclass(frozen=True)
class Reach:
    """The weight that the whole pool covers: what shares in `Until` are of."""

    coverage: float = 0.0
    target_coverage: float = 0.0


def rank(
    offer: Offer,
    quota: Quota,
    choice: Choice,
    *,
    lens: Lens | None = None,
    header: bytes = b"",
    until: Until | None = None,
    reach: Reach | None = None,
    overshoot: bool = False,
) -> Ranking:
    """Rank what is offered, until the quota is met or a stop rule is. Parts, nodes and the driver all call this.

    The order is that of the picks. Where the quota is a mix, a greedy choice may leave most of a group for the end; so
    then groups take turns after what is kept, in proportion to their amounts, and every prefix holds the mix. Preset
    ``reference`` keeps the released program's order, and with ``overshoot`` candidates stand as they were picked.

    Args:
        lens: what the pool says of grams; objective ``coverage`` needs it.
        header: zstd's entropy tables, the same in every part.
        until, reach: when to stop before that; shares are of ``reach``.
        overshoot: let the last pick of a group exceed its amount (what a part does, so that it never comes back empty).
    """
    ids = offer.ids
    order = np.asarray(
        range(len(offer.sizes)) if ids is None else sorted(range(len(ids)), key=ids.__getitem__), np.int64
    )
    sizes = offer.sizes[order]
    costs = offer.taken(_UNITS[choice.cost])[order]
    costs = np.maximum(costs, 1.0)  # a tokenizer may give none
    if offer.worth is not None:
        worth = offer.worth[order]
        worth = np.where(worth > 0, np.clip(worth, *_WORTH), 0.0)
        with np.errstate(divide="ignore"):
            costs = costs / worth  # worth nothing: infinitely dear, so it comes last
    groups = None if offer.groups is None else [offer.groups[index] for index in order]
    limit = quota.limit(offer.taken(quota.unit)[order], groups, overshoot or choice.preset == "reference")
    objective = make_objective(choice, [offer.views[at] for at in order.tolist()], sizes, header, lens)
    kept = np.flatnonzero(offer.kept[order]) if offer.kept is not None else np.empty(0, np.int64)
    alike = offer.worth is None or bool((offer.worth == 1).all())
    by_ratio = choice.cost == "byte" and alike and choice.selector == "lazy" and choice.objective == "ratio"
    coverage = objective.coverage if isinstance(objective, Both) else objective
    judge = _judge(until or Until(), reach or Reach(), coverage, sizes, by_ratio)
    picks = make_selector(choice)(objective, costs, limit, kept, judge)
    picked = np.asarray(picks.indices, dtype=np.int64)
    count = len(picked)
    if choice.preset == "reference":  # it finishes the round in which the budget is met
        count = int(np.searchsorted(np.cumsum(limit.units[picked]), quota.amount)) + 1
    picked, gains = picked[:count], np.asarray(picks.gains[:count], dtype=np.float64)
    if quota.is_mix(groups) and not limit.overshoot:
        assert groups is not None
        turns = by_turns([groups[index] for index in picked], limit.units[picked], quota.floors, first=len(kept))
        picked, gains = picked[turns], gains[turns]
    return Ranking(
        indices=order[picked],
        gains=gains,
        sizes=sizes[picked],
        objective=choice.objective,
        header=header,
    )


def by_turns(
    groups: Sequence[str], units: Floats, amounts: Mapping[str, float], first: int = 0
) -> npt.NDArray[np.int64]:
    """An order of picks in which every prefix holds each group's share: next is whose amount is spent least, in parts.

    Ties go to the lower name. What a group has spent is counted in units: of a prefix in bytes, long samples must not
    get more than their group's share. So at any time no group is more than one sample ahead of the one furthest behind.

    Args:
        groups, units: (k,) of each pick, in the order they were picked; those of a group stay in that order.
        amounts: of each group; one without comes last.
        first: so many stay where they are, and are spent already.

    Returns (k,) positions.

    >>> by_turns("aaaabb", np.array([1, 1, 1, 1, 2, 2]), {"a": 4, "b": 4}).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    spent: defaultdict[str, float] = defaultdict(float)
    for group, unit in zip(groups[:first], units[:first].tolist(), strict=True):
        spent[group] += unit
    waiting: defaultdict[str, list[int]] = defaultdict(list)  # group -> its picks, the next one last
    for index in range(len(groups) - 1, first - 1, -1):
        waiting[groups[index]].append(index)

    def level(group: str) -> float:
        return spent[group] / amounts[group] if amounts.get(group) else math.inf

    order = list(range(first))
    heap = [(level(group), group) for group in waiting]
    heapq.heapify(heap)
    while heap:
        group = heap[0][1]
        index = waiting[group].pop()
        order.append(index)
        spent[group] += float(units[index])
        if waiting[group]:
            heapq.heapreplace(heap, (level(group), group))
        else:
            heapq.heappop(heap)
    return np.asarray(order, dtype=np.int64)


_WORTH = (2.0**-200, 2.0**200)  # beyond, gain per cost would be infinite or none, which have no order
_UNITS: dict[str, Literal["rows", "bytes", "tokens"]] = {"row": "rows", "byte": "bytes", "token": "tokens"}


def _judge(until: Until, reach: Reach, coverage: Objective, sizes: Sizes, by_ratio: bool) -> Judge:
    """What is done with the best sample that is left, ``index`` with ``gain``, so that ``until`` holds.

    ``coverage`` is what shares in ``until`` are of, if it is one.
    ``by_ratio``: samples come in the order of their marginal ratio, so behind one that is too redundant all are.
    """

    def judge(index: int, gain: float) -> Verdict:
        if until.marginal_ratio is not None and sizes[index] > until.marginal_ratio * max(gain, 1.0):
            return "end" if by_ratio else "skip"
        if isinstance(coverage, Coverage):
            if until.coverage is not None and coverage.covered >= until.coverage * reach.coverage:
                return "end"
            if until.target_coverage is not None:
                reached = coverage.target_covered >= until.target_coverage * reach.target_coverage
                return "end" if reached else "take"
        return "take"

    return judge
