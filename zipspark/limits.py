"""What each group may hold of the budget, and when to stop: ``--mix``, ``--floor``, ``--cap``, ``--until``.

Only what people write is read here, before any data is seen; `zipspark.core.mixture` turns it into quotas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zipspark.errors import UsageError
from zipspark.units import Budget, parse_budget

NO_GROUP = "(none)"  # the group of rows whose group is null

_MIX_FORMS = "natural, equal, power=P with P from 0 to 1, or weights (code=0.3,chat=0.7)"
_MEASURES = ("coverage", "target-coverage", "marginal-ratio")
_UNTIL_FORMS = "coverage=0.9, target-coverage=0.95 (shares, 90% too) or marginal-ratio=6, or several with commas"


@dataclass(frozen=True)
class Mix:
    """How groups share the budget: as their size to a power, or by weights. ``str()`` gives what `parse_mix` reads.

    >>> parse_mix("natural")
    Mix(power=1.0, weights=())
    >>> str(parse_mix({"code": 3, "chat": 7}))
    'chat=7,code=3'
    """

    power: float | None  # shares are size ** power: 1 natural, 0 equal; None where weights decide
    weights: tuple[tuple[str, float], ...] = ()  # (group, weight >= 0) by name, not normalised

    def __str__(self) -> str:
        if self.power is None:
            return ",".join(f"{group}={_plain(weight)}" for group, weight in self.weights)
        return {1.0: "natural", 0.0: "equal"}.get(self.power) or f"power={_plain(self.power)}"


def parse_mix(value: str | Mapping[Any, Any] | Mix, field: str = "mix") -> Mix:
    """Read a mix, from text or from a mapping of a YAML file; the rows without a group are called ``(none)``.

    >>> parse_mix("code=0.3, chat=0.7")
    Mix(power=None, weights=(('chat', 0.7), ('code', 0.3)))

    Raises:
        UsageError: none of the forms, a power outside 0 to 1, or weights that are negative, all zero or named twice.
    """
    if isinstance(value, Mix):
        return value
    if value in ("natural", "equal"):
        return Mix(power=1.0 if value == "natural" else 0.0)
    pairs = _pairs(value, field, _MIX_FORMS)
    if list(pairs) == ["power"]:
        power = _number(pairs["power"])
        if power is None or not 0 <= power <= 1:
            raise UsageError(f"{field} must have a power from 0 (equal) to 1 (natural), got power={pairs['power']}")
        return Mix(power)
    weights = {group: _number(weight) for group, weight in pairs.items()}
    for group, weight in weights.items():
        if weight is None or weight < 0:
            raise UsageError(f"{field} must have weights of 0 or more, got {group}={pairs[group]}")
    if not any(weights.values()):
        raise UsageError(f"{field} must have a weight above 0, got {value!r}")
    return Mix(power=None, weights=tuple(sorted((group, weight or 0.0) for group, weight in weights.items())))


def parse_group_limits(value: str | Iterable[str] | Mapping[Any, Any], field: str) -> dict[str, Budget]:
    """Read ``--floor`` or ``--cap``: of each group an amount in the budget's unit or a share of the budget, by name.

    >>> parse_group_limits(["code=100", "chat=10%"], "floor")
    {'chat': Budget(unit='share', amount=0.1), 'code': Budget(unit='rows', amount=100)}

    Raises:
        UsageError: not GROUP=AMOUNT, a group named twice, or an amount that is none.
    """
    pairs = _pairs(value, field, "GROUP=AMOUNT (code=100, code=5MB, code=2Mtok, code=10%)")
    return {
        group: parse_budget(pairs[group], f"{field} of {group!r}", whole="the budget", zero=True)
        for group in sorted(pairs)
    }


def resolve_limits(limits: Mapping[str, Budget], budget: Budget, field: str) -> dict[str, tuple[int, int]]:
    """Each limit in the unit of ``budget``, a share rounded (down, up): floors take the first, caps the second.

    So floors that come to 100 % still fit the budget, and caps that come to 100 % still fill it.

    >>> resolve_limits({"code": Budget("share", 0.1)}, Budget("rows", 105), "floor")
    {'code': (10, 11)}

    Raises:
        UsageError: a limit in another unit than the budget's.
    """
    resolved = {}
    for group, limit in limits.items():
        if limit.unit == "share":
            amount = limit.amount * budget.amount
            resolved[group] = (math.floor(amount + 1e-9), math.ceil(amount - 1e-9))
        elif limit.unit == budget.unit:
            resolved[group] = (int(limit.amount), int(limit.amount))
        else:
            raise UsageError(
                f"{field} of {group!r} must be in the budget's unit ({budget.unit}) or a share (10%), got {limit}"
            )
    return resolved


def check_limits(floors: Mapping[str, Budget], caps: Mapping[str, Budget], budget: Budget) -> None:
    """Refuse floors and caps that fit no pool whatsoever; a budget that is a share counts rows yet unknown.

    >>> check_limits({"code": Budget("rows", 60)}, {"code": Budget("rows", 50)}, Budget("rows", 100))
    Traceback (most recent call last):
    zipspark.errors.UsageError: floor of 'code' must be <= its cap (50 rows), got 60 rows

    Raises:
        UsageError: a limit in another unit than the budget's, a floor above its cap, floors that exceed the budget.
    """
    rows_unknown = budget.unit == "share"
    budget = Budget("rows", 0) if rows_unknown else budget
    least = {group: down for group, (down, _) in resolve_limits(floors, budget, "floor").items()}
    most = {group: up for group, (_, up) in resolve_limits(caps, budget, "cap").items()}
    if rows_unknown:
        return
    for group in sorted(least.keys() & most.keys()):
        if least[group] > most[group]:
            raise UsageError(
                f"floor of {group!r} must be <= its cap ({most[group]:,} {budget.unit}), "
                f"got {least[group]:,} {budget.unit}"
            )
    if sum(least.values()) > budget.amount:
        raise UsageError(f"floor must sum to at most the budget ({budget}), got {sum(least.values()):,} {budget.unit}")


@dataclass(frozen=True)
class Until:
    """When to stop besides a budget: at whichever is reached first. ``str()`` gives what `parse_until` reads.

    >>> str(parse_until("marginal-ratio=6, coverage=90%"))
    'coverage=0.9,marginal-ratio=6'
    """

    coverage: float | None = None  # share of the pool's coverage, (0, 1]
    target_coverage: float | None = None  # share of the target's coverage, (0, 1]
    marginal_ratio: float | None = None  # stop before a sample whose |x| / C(x|S) is above this, > 0

    @property
    def by_share(self) -> bool:
        """Whether it asks for a share of what the pool, or the target, covers."""
        return self.coverage is not None or self.target_coverage is not None

    def __str__(self) -> str:
        values = zip(_MEASURES, (self.coverage, self.target_coverage, self.marginal_ratio), strict=True)
        return ",".join(f"{measure}={_plain(value)}" for measure, value in values if value is not None)


def parse_until(value: str | Iterable[str] | Mapping[Any, Any] | Until, field: str = "until") -> Until:
    """Read stop rules: one or several, separated by commas, repeated, or a mapping of a YAML file.

    >>> parse_until("coverage=0.9")
    Until(coverage=0.9, target_coverage=None, marginal_ratio=None)

    Raises:
        UsageError: an unknown measure, one given twice, a share outside (0, 1], or a ratio not above 0.
    """
    if isinstance(value, Until):
        return value
    limits: dict[str, float] = {}
    for measure, given in _pairs(value, field, _UNTIL_FORMS).items():
        if measure not in _MEASURES:
            raise UsageError(f"{field} must name one of {', '.join(_MEASURES)}, got {measure!r}")
        text = str(given).strip()
        number = _number(text.removesuffix("%"))
        if measure == "marginal-ratio":
            if number is None or text.endswith("%") or number <= 0:
                raise UsageError(f"{field} must have a {measure} above 0, got {measure}={text}")
        else:
            number = number / 100 if number is not None and text.endswith("%") else number
            if number is None or not 0 < number <= 1:
                raise UsageError(f"{field} must have a {measure} above 0 and at most 1, got {measure}={text}")
        limits[measure.replace("-", "_")] = number
    return Until(**limits)


def _pairs(value: Any, field: str, forms: str) -> dict[str, Any]:
    """NAME=VALUE, however many and however given: text with commas, several such texts, or a mapping."""
    if isinstance(value, Mapping):
        items = [(NO_GROUP if name is None else str(name), given) for name, given in value.items()]
    else:
        texts = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        parts = [part.rpartition("=") for text in texts for part in str(text).split(",")]
        if not all(equals for _, equals, _ in parts):
            raise UsageError(f"{field} must be {forms}, got {value!r}")
        items = [(name, given.strip()) for name, _, given in parts]
    pairs: dict[str, Any] = {}
    for name, given in items:
        name = name.strip()
        if not name or "," in name:  # a comma could not be told from the next pair when the text is read back
            raise UsageError(f"{field} must have names that are not empty and hold no comma, got {name!r}")
        if name in pairs:
            raise UsageError(f"{field} must have each name once, got {name!r} again")
        pairs[name] = given
    return pairs


def _number(value: Any) -> float | None:
    """The finite number that ``value`` is, or None."""
    try:
        number = float(str(value))  # through str, for to Python True is a 1
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _plain(number: float) -> str:
    """``6.0`` → ``'6'``; every digit is kept, so that it reads back as the same number."""
    return repr(float(number)).removesuffix(".0")
