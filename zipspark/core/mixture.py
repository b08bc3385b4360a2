"""Quotas: how many rows, bytes or tokens of the budget each group gets (issue 4, item 3).

Every mix is the same rule with other weights: raise one level until ``level x weight``, held between what a group must
and what it may get, sums to the budget. Weights are sizes (natural), ones (equal), sizes to a power, or given. A group
that is full stands still while the others rise, which is how they share what it leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType

from zipspark.errors import InputError
from zipspark.limits import Mix, check_limits, resolve_limits
from zipspark.units import Budget


def bounds(
    mix: Mix | None,
    floors: Mapping[str, Budget],
    caps: Mapping[str, Budget],
    budget: Budget,
    sizes: Mapping[str, float],
    kept: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """(least, most) of each group that is bound; arguments and errors are those of `quotas`.

    With a mix both are the quota. Without one they are the floors and the caps, and what these leave is free.

    >>> bounds(None, {"code": Budget("share", 0.1)}, {}, Budget("rows", 100), {"code": 900, "chat": 500})
    ({'code': 10}, {})
    """
    whole = {g: int(size) for g, size in sizes.items()}
    if mix is not None:
        quota = quotas(mix, floors, caps, budget, whole, kept)
        return quota, quota
    budget = budget.resolve(sum(whole.values()))
    least, most = _limits((), floors, caps, budget, whole)
    for g, amount in kept.items():
        least[g] = max(least.get(g, 0), math.ceil(amount))
        if g in most:
            most[g] = max(most[g], least[g])
    check_kept(kept, budget, sum(least.values()))
    _check_room(sum(min(size, most.get(g, size)) for g, size in whole.items()), budget, whole)
    return least, most


def quotas(
    mix: Mix,
    floors: Mapping[str, Budget],
    caps: Mapping[str, Budget],
    budget: Budget,
    sizes: Mapping[str, int],
    kept: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, int]:
    """Quota of every group in the budget's unit; they sum to the budget and do not depend on the order of ``sizes``.

    Args:
        mix: how groups share the budget. By weights, a group without one gets none but its floor.
        floors, caps: least and most of a group, in the budget's unit or as a share of the budget.
        budget: a share is of the rows that ``sizes`` sum to. A budget above the pool takes all that caps allow.
        sizes: what can be chosen of each group, in the budget's unit (rows for a share).
        kept: what must be chosen of each group, whatever its share would be.

    Raises:
        UsageError: floors and caps fit no pool (`zipspark.limits.check_limits`).
        InputError: they or the weights do not fit this pool: an unknown group, a floor or a weight that asks for more
            than a group holds, or caps that cannot fill the budget.

    >>> quotas(Mix(power=0), {}, {}, Budget("rows", 100), {"code": 900, "chat": 500, "math": 10})
    {'chat': 45, 'code': 45, 'math': 10}
    """
    budget = budget.resolve(sum(sizes.values()))
    asked, groups, given = int(budget.amount), sorted(sizes), dict(mix.weights)
    least, most = _limits(given, floors, caps, budget, sizes)
    lowest = {g: least.get(g, 0) for g in groups}
    if mix.power is not None:
        weights = {g: _power(sizes[g], mix.power) for g in groups}
        highest = {g: min(sizes[g], most.get(g, asked)) for g in groups}  # a group too small is taken whole
        _check_room(sum(highest.values()), budget, sizes)
    else:
        # 0.3 is three tenths, as it was written. A group too small for its weight is refused below, not made up for.
        weights = {g: Fraction(repr(float(given.get(g, 0)))) for g in groups}
        highest = {g: most.get(g, asked) if weights[g] else lowest[g] for g in groups}
        _check_room(sum(highest.values()), budget)
    for g, amount in kept.items():
        lowest[g] = max(lowest[g], math.ceil(amount))
        highest[g] = max(highest[g], lowest[g])
    check_kept(kept, budget, sum(lowest.values()))
    quota = _whole(_filled(min(asked, sum(highest.values())), weights, lowest, highest))
    hint = f"; the budget is {asked:,}"
    if given and not floors and not caps:
        hint += f", the largest for these weights {_most(weights, sizes):,}"
    _check_held("mix", quota, sizes, budget.unit, hint)
    return quota


def check_kept(kept: Mapping[str, float], budget: Budget, reserved: float) -> None:
    """Raises `InputError` where what must be chosen, with what floors reserve beside it, exceeds the budget."""
    if kept and reserved > budget.amount:
        beside = f", {reserved:,.0f} with the floors" if reserved > sum(kept.values()) else ""
        raise InputError(f"keep must fit the budget ({budget}), got {sum(kept.values()):,.0f} {budget.unit}{beside}")


def _limits(
    mixed: Iterable[str],
    floors: Mapping[str, Budget],
    caps: Mapping[str, Budget],
    budget: Budget,
    sizes: Mapping[str, int],
) -> tuple[dict[str, int], dict[str, int]]:
    """(floors, caps) in the budget's unit, checked against each other, the budget, and what the groups hold."""
    for field, named in (("mix", mixed), ("floor", floors), ("cap", caps)):
        _check_known(named, sizes, field)
    check_limits(floors, caps, budget)
    least = {g: down for g, (down, _) in resolve_limits(floors, budget, "floor").items()}
    _check_held("floor", least, sizes, budget.unit)
    return least, {g: up for g, (_, up) in resolve_limits(caps, budget, "cap").items()}


def _filled(
    amount: int, weights: Mapping[str, Fraction], lowest: Mapping[str, int], highest: Mapping[str, int]
) -> dict[str, Fraction]:
    """``level x weight`` within [lowest, highest], at the level where they sum to ``amount``: exact, in O(n log n).

    Needs sum(lowest) <= amount <= sum(highest), where a group without weight has highest = lowest.
    """
    # (level at which a group starts or stops rising, what that adds to the part that stands still, and to the slope)
    events = [(lowest[g] / w, -lowest[g], w) for g, w in weights.items() if w]
    events += [(highest[g] / w, highest[g], -w) for g, w in weights.items() if w]
    still, slope = sum(lowest.values()), Fraction(0)  # the sum at a level is still + slope x level
    for level, standing, rising in sorted(events):
        if still + slope * level >= amount:
            break
        still += standing
        slope += rising
    level = (amount - still) / slope if slope else Fraction(0)  # no slope: the floors are the budget
    return {g: min(max(level * w, Fraction(lowest[g])), Fraction(highest[g])) for g, w in weights.items()}


def _whole(shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole numbers with the same (whole) sum: the largest remainders are rounded up, ties by name."""
    down = {g: math.floor(share) for g, share in shares.items()}
    left = int(sum(shares.values())) - sum(down.values())
    up = set(sorted(shares, key=lambda g: (down[g] - shares[g], g))[:left])
    return {g: down[g] + (g in up) for g in shares}


def _power(size: int, power: float) -> Fraction:
    return Fraction(size) if power == 1 else Fraction(float(size) ** power)


def _most(weights: Mapping[str, Fraction], sizes: Mapping[str, int]) -> int:
    """The largest budget of which no group's weight asks for more than it holds."""
    return math.floor(min(sizes[g] * sum(weights.values()) / w for g, w in weights.items() if w))


def _check_known(named: Iterable[str], sizes: Mapping[str, int], field: str) -> None:
    unknown = sorted(set(named) - set(sizes))
    if unknown:
        raise InputError(
            f"{field} must name groups of the pool ({_listed(map(repr, sorted(sizes)))}), got {unknown[0]!r}"
        )


def _check_room(reachable: int, budget: Budget, sizes: Mapping[str, int] | None = None) -> None:
    """Refuse caps that keep the budget from being met, unless the whole pool of ``sizes`` could not meet it either."""
    if reachable < budget.amount and (sizes is None or sum(sizes.values()) > budget.amount):
        raise InputError(
            f"cap must leave room for the budget ({budget}), got {reachable:,} {budget.unit} with every cap reached"
        )


def _check_held(field: str, asked: Mapping[str, int], sizes: Mapping[str, int], unit: str, hint: str = "") -> None:
    short = [f"{amount:,} of {sizes[g]:,} {unit} of {g!r}" for g, amount in asked.items() if amount > sizes[g]]
    if short:
        raise InputError(f"{field} must not ask for more than a group holds, got {_listed(short)}{hint}")


def _listed(names: Iterable[str], most: int = 20) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
