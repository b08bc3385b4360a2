"""An early warning: whether a new version of a data set is likely to train a worse model, before it has trained one.

After the entropy law (arXiv 2407.06645, section 3), two rules, each against all past versions of the log:

ratio  R is above the range of the past by more than its spread (standard deviation): the set repeats itself more, and
       with consistency held a higher R goes with a worse score.
loss   L is above the band that R suggests (`zipspark.entropy.bands`): at the same R the set teaches less, which is what
       contradictions do.

One of them fires: watch. Both: risk. Where the ratio rule fires, R is beyond the past, so the band is extrapolated; a
finding says so wherever it is. R is bytes / compressed bytes, by one codec; L nats per token, of the first epoch or of
as much of it as the past's. Neither sees quality: a version that is ok here can still be a bad one.

How often a version that is like the past is watched for its ratio, if ratios are normal: 12 % after 3 versions, 8 %
after 4, 5 % after 6, 2 % after 10. For its loss: half of 1 - confidence, 2.5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from zipspark.entropy.bands import FEWEST_BAND, loss_given_ratio
from zipspark.entropy.fits import Expected, Floats, plain
from zipspark.entropy.policy import Policy
from zipspark.entropy.versions import Version, merged
from zipspark.errors import InputError
from zipspark.units import format_bytes

Level = Literal["ok", "watch", "risk"]
EXIT_CODES: Mapping[Level, int] = {"ok": 0, "watch": 10, "risk": 20}


@dataclass(frozen=True)
class Finding:
    """A rule that fired."""

    rule: Literal["ratio", "loss"]
    value: float  # R, or L in nats per token
    limit: float  # that it is above
    text: str  # one sentence with the numbers


@dataclass(frozen=True)
class Moved:
    """A group whose ratio is outside the range of the past by more than its spread, as the ratio rule has it."""

    group: str
    change: Literal["up", "down", "new", "gone"]  # new, gone: in no past version, in all of them and not in this
    ratio: float | None  # R of its samples; None: gone
    low: float | None  # smallest R of the past; None: new
    high: float | None  # largest

    def __str__(self) -> str:
        past = "" if self.low is None else f" (past {self.low:.3f} to {self.high:.3f})"
        return f"{self.group}: {self.change}{'' if self.ratio is None else f' at {self.ratio:.3f}'}{past}"


@dataclass(frozen=True)
class Verdict:
    """What the past says of a version."""

    version: str
    level: Level
    judged: bool  # whether there was enough past to judge by; without, the level is ok
    findings: tuple[Finding, ...]  # rules that fired
    notes: tuple[str, ...]  # what was not judged, and what else to know, a sentence each
    moved: tuple[Moved, ...]  # groups, the furthest outside first
    past: tuple[str, ...]  # versions that it was compared with: all before it with a ratio by the same codec
    codec: str  # that measured R
    ratio: float  # R of the version
    ratio_low: float | None  # of the past
    ratio_high: float | None
    ratio_spread: float | None  # standard deviation of the past
    ratio_limit: float | None  # above which the rule fires
    loss: float | None  # L, nats per token; None: not logged
    loss_expected: Expected | None  # what R suggests; None: not enough past with a loss

    @property
    def exit_code(self) -> int:
        """For schedulers: 0 ok, 10 watch, 20 risk."""
        return EXIT_CODES[self.level]

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        values = asdict(self) | {"exit_code": self.exit_code}
        return {name: plain(value) for name, value in values.items()}

    def __str__(self) -> str:
        said = "" if self.judged else " (nothing to judge by yet)"
        lines = [f"{self.version}: {self.level}{said}"]
        lines += [f"  {found.rule}: {found.text}" for found in self.findings]
        lines += [f"  group {moved}" for moved in self.moved]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def check(versions: Iterable[Version], name: str | None = None, policy: Policy | None = None) -> Verdict:
    """Judge version ``name`` (None: the last) against all versions before it in the log; it needs no score.

    Ratios of another codec are not compared. With fewer than `Policy.least_past` past versions nothing can be judged:
    that is ok, not watch, or the first refreshes of every schedule would warn; `Verdict.judged` and a note say so.

    Raises `InputError` for a name that is not in the log, and for a version without a ratio.

    >>> past = [Version(f"v{n}", ratio=r) for n, r in enumerate([3.90, 3.95, 3.85, 3.92])]
    >>> print(check([*past, Version("v4", ratio=4.6)]))
    v4: watch
      ratio: 4.600 is above all 4 past versions (3.850 to 3.950) by 0.650, where 0.042 is allowed (1 x their \
standard deviation): the set repeats itself more.
      note: v4 has no loss: whether the set teaches less at its ratio is not judged, so this is watch at most; log it \
after the first epoch.
    """
    policy = policy or Policy()
    rows = merged(versions)
    if not rows:
        raise InputError("the log holds no version; log at least one")
    names = [row.version for row in rows]
    name = names[-1] if name is None else name
    if name not in names:
        shown = ", ".join(names[-10:])
        raise InputError(
            f"version must be one of the log's ({'..., ' if len(names) > 10 else ''}{shown}), got {name!r}"
        )
    new, before = rows[names.index(name)], rows[: names.index(name)]
    if new.ratio is None:
        raise InputError(f"version {name} has no ratio: measure its data (zipspark entropy log --data), or give it")
    past = [row for row in before if row.ratio is not None and row.codec == new.codec]
    notes = _left_out(before, new)
    findings: list[Finding] = []
    ratios = np.array([row.ratio for row in past], dtype=float)
    judged = len(past) >= policy.least_past
    margin = _margin(ratios, policy) if judged else None
    if margin is None:
        notes.append(
            f"{len(past)} past versions with a ratio by {new.codec}, at least {policy.least_past} are needed: nothing "
            "can be judged yet."
        )
    elif new.ratio > ratios.max() + margin:
        findings.append(_ratio_finding(new.ratio, ratios, margin, policy))
    expected = None
    if judged:
        expected, found, said = _loss_rule(new, past, policy)
        findings += found
        notes += said + _caveats(new, past, policy)
    return Verdict(
        version=name,
        level=("ok", "watch", "risk")[len(findings)],
        judged=judged,
        findings=tuple(findings),
        notes=tuple(notes),
        moved=_moved(new, past, policy) if judged else (),
        past=tuple(row.version for row in past),
        codec=new.codec,
        ratio=new.ratio,
        ratio_low=float(ratios.min()) if past else None,
        ratio_high=float(ratios.max()) if past else None,
        ratio_spread=float(ratios.std(ddof=1)) if len(past) > 1 else None,
        ratio_limit=None if margin is None else float(ratios.max() + margin),
        loss=new.loss,
        loss_expected=expected,
    )


def from_history(history: pa.Table) -> list[Version]:
    """The versions of a subset by its refresh history (`zipspark.storage.refreshes.HISTORY`): ``refresh-0``, and so on.

    Their ratios are zstd's (``ratio_after``), and there is no loss, so a check says watch at most; a log whose versions
    have the same names adds losses: ``merged([*from_history(table), *read_log(path)])``. Raises `InputError` where
    columns ``refresh``, ``at`` or ``ratio_after`` are missing.
    """
    needed = ("refresh", "at", "ratio_after")
    if missing := [name for name in needed if name not in history.column_names]:
        raise InputError(
            f"a refresh history has columns {', '.join(needed)}, here is no {missing[0]}: give the table "
            "<subset>_history that zipspark refresh writes"
        )
    rows = sorted(history.to_pylist(), key=lambda row: int(row["refresh"]))
    return [
        Version(
            f"refresh-{row['refresh']}",
            at=row["at"],
            ratio=row["ratio_after"],
            codec="zstd",
            rows=row.get("rows"),
            bytes=row.get("bytes"),
            data=row.get("corpus"),
        )
        for row in rows
    ]


def _margin(ratios: Floats, policy: Policy) -> float:
    """How far R may be outside the range of ``ratios``."""
    return max(policy.spreads * float(ratios.std(ddof=1)), policy.least_rise * float(ratios.mean()))


def _ratio_finding(ratio: float, ratios: Floats, margin: float, policy: Policy) -> Finding:
    low, high = float(ratios.min()), float(ratios.max())
    of_spread = policy.spreads * float(ratios.std(ddof=1)) >= margin
    allowed = (
        f"{policy.spreads:g} x their standard deviation" if of_spread else f"{policy.least_rise:.1%} of their mean"
    )
    return Finding(
        "ratio",
        ratio,
        high + margin,
        f"{ratio:.3f} is above all {len(ratios)} past versions ({low:.3f} to {high:.3f}) by {ratio - high:.3f}, where "
        f"{margin:.3f} is allowed ({allowed}): the set repeats itself more.",
    )


def _loss_rule(
    new: Version, past: Sequence[Version], policy: Policy
) -> tuple[Expected | None, list[Finding], list[str]]:
    """What loss R suggests (None: cannot be said), the rule if it fired, and notes."""
    with_loss = [row for row in past if row.loss is not None]
    assert new.ratio is not None
    if new.loss is None:
        bits = [row.held_out_bits for row in past if row.held_out_bits is not None]
        said = [
            f"{new.version} has no loss: whether the set teaches less at its ratio is not judged, so this is watch at "
            "most; log it after the first epoch."
        ]
        if new.held_out_bits is not None and bits:
            said.append(
                f"stand-in for it: held-out text takes {new.held_out_bits:.3f} bits per byte given the set, the past "
                f"{min(bits):.3f} to {max(bits):.3f}."
            )
        return None, [], said
    if len(with_loss) < FEWEST_BAND:
        said = [
            f"{len(with_loss)} past versions have ratio and loss, at least {FEWEST_BAND} are needed: the loss is not "
            "judged yet."
        ]
        return None, [], said
    band = loss_given_ratio(with_loss, policy.confidence)
    expected = band.at(new.ratio)
    said = list(band.notes)
    beyond = (
        f" The band is extrapolated: past ratios are {min(band.ratios):.3f} to {max(band.ratios):.3f}."
        if expected.extrapolated
        else ""
    )
    between = (
        f"the band of {expected.low:.3f} to {expected.high:.3f} nats per token that ratio {new.ratio:.3f} suggests"
    )
    if new.loss > expected.high + policy.least_excess:
        text = (
            f"{new.loss:.3f} is above {between} ({policy.confidence:.0%}, {len(with_loss)} past versions): the same "
            f"ratio teaches less, as where samples contradict each other.{beyond}"
        )
        return expected, [Finding("loss", new.loss, expected.high + policy.least_excess, text)], said
    if new.loss < expected.low - policy.least_excess:
        said.append(
            f"loss {new.loss:.3f} is below {between}: no warning, but repeated or leaked text makes it low.{beyond}"
        )
    elif beyond:
        said.append(f"loss {new.loss:.3f} is within {between}.{beyond}")
    return expected, [], said


def _left_out(before: Sequence[Version], new: Version) -> list[str]:
    """What of the past is not compared."""
    said = []
    if without := [row.version for row in before if row.ratio is None]:
        said.append(f"not compared, for want of a ratio: {', '.join(without)}.")
    if others := [row for row in before if row.ratio is not None and row.codec != new.codec]:
        named = ", ".join(f"{row.version} ({row.codec})" for row in others)
        said.append(f"not compared, as {new.version} was measured by {new.codec}: {named}; measure all with one codec.")
    return said


def _caveats(new: Version, past: Sequence[Version], policy: Policy) -> list[str]:
    """What makes a comparison unequal."""
    said = []
    tokens = [row.tokens for row in past if row.tokens is not None and row.loss is not None]
    if new.loss is not None and new.tokens and tokens and new.tokens < (1 - policy.tokens_within) * min(tokens):
        said.append(
            f"the loss is the mean over {new.tokens:,} tokens, the past's over {min(tokens):,} or more; a loss falls "
            "as it is trained, so it is higher for that alone: compare losses over as many tokens."
        )
    sizes = [row.bytes for row in past if row.bytes]
    # zlib sees 32 KiB and so does not care; another codec finds more in a larger set.
    near = (
        not new.bytes or not sizes or min(sizes) <= new.bytes * policy.size_within <= max(sizes) * policy.size_within**2
    )
    if new.codec != "zlib" and not near:
        said.append(
            f"the set has {format_bytes(new.bytes or 0)}, the past {format_bytes(min(sizes))} to "
            f"{format_bytes(max(sizes))}: a ratio by {new.codec} grows with the set, compare equal sizes."
        )
    return said


def _moved(new: Version, past: Sequence[Version], policy: Policy) -> tuple[Moved, ...]:
    if not new.groups:  # not measured, rather than all gone
        return ()
    known = [row for row in past if row.groups]
    found: list[tuple[float, Moved]] = []
    for group in sorted({*new.groups, *(group for row in known for group in row.groups)}):
        ratios = np.array([row.groups[group] for row in known if group in row.groups])
        ratio = new.groups.get(group)
        if ratio is None:
            if len(ratios) == len(known):
                found.append((0.0, Moved(group, "gone", None, float(ratios.min()), float(ratios.max()))))
        elif not len(ratios):
            if known:
                found.append((0.0, Moved(group, "new", ratio, None, None)))
        elif len(ratios) >= policy.least_past:
            low, high, margin = float(ratios.min()), float(ratios.max()), _margin(ratios, policy)
            if ratio > high + margin:
                found.append(((ratio - high) / high, Moved(group, "up", ratio, low, high)))
            elif ratio < low - margin:
                found.append(((low - ratio) / low, Moved(group, "down", ratio, low, high)))
    return tuple(moved for _, moved in sorted(found, key=lambda item: (-item[0], item[1].group)))
