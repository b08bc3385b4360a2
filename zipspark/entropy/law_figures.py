"""Pictures of the entropy law: scores against what the plane says, losses against what ratios suggest, and the log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zipspark.entropy.bands import Band
from zipspark.entropy.law import Law
from zipspark.entropy.policy import Policy
from zipspark.entropy.versions import Version, merged
from zipspark.entropy.warning import Verdict, check
from zipspark.errors import InputError
from zipspark.extras import needs
from zipspark.units import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 40  # points that have room for a name
LATEST = 60  # versions that stand side by side
TICKS = 15  # of them that are named
_COLORS = {"ok": "tab:green", "watch": "tab:orange", "risk": "tab:red"}
_FITTED, _NEW = "tab:blue", "tab:gray"


def figure_of_law(law: Law, versions: Iterable[Version] = ()) -> Figure:
    """Left: Z against R, with the law's line at three losses; right: Z against what the law predicts.

    ``versions`` with R and L that are not in the fit, for want of a score, stand at the predicted Z with their
    prediction interval. Raises `UsageError` where matplotlib is not installed.
    """
    figure = _figure(width=12.0)
    left, right = figure.subplots(1, 2)
    ratios, losses, scores = (np.array(values) for values in (law.ratios, law.losses, law.scores))
    points = left.scatter(ratios, scores, c=losses, cmap="viridis", s=55, edgecolors="black", linewidths=0.5, zorder=3)
    figure.colorbar(points, ax=left, label="L, nats per token")
    ends = np.array([ratios.min(), ratios.max()])
    for loss in (losses.min(), float(np.median(losses)), losses.max()):
        color = points.cmap(points.norm(loss))
        line = law.intercept + law.ratio.value * ends + law.loss.value * loss
        left.plot(ends, line, color=color, linewidth=1.5, label=f"the law at L = {loss:.3g}")
    _name(left, ratios, scores, law.versions)
    left.set_xlabel(f"R, bytes / compressed bytes ({law.codec}; higher: more redundant)")
    left.set_ylabel("Z, score (higher is better)")
    left.set_title("Score against ratio")
    left.legend()

    predicted = [law.predict(ratio, loss) for ratio, loss in zip(law.ratios, law.losses, strict=True)]
    middles = np.array([expected.middle for expected in predicted])
    right.scatter(middles, scores, color=_FITTED, s=45, zorder=3, label="in the fit")
    _name(right, middles, scores, law.versions)
    waiting = [row for row in merged(versions) if row.missing == ("score",) and row.codec == law.codec]
    for number, row in enumerate(waiting):
        assert row.ratio is not None
        assert row.loss is not None
        expected = law.predict(row.ratio, row.loss)
        reach = expected.high - expected.middle
        label = f"no score yet, with its {law.confidence:.0%} interval" if not number else None
        right.errorbar(
            expected.middle, expected.middle, reach, fmt="D", color=_NEW, mfc="white", capsize=4, label=label
        )
        _name(right, [expected.middle], [expected.middle], [row.version], " (extrapolated)" * expected.extrapolated)
    low, high = min(*middles, *scores), max(*middles, *scores)
    right.axline((low, low), (high, high) if high > low else None, slope=None if high > low else 1, color="black", lw=1)
    right.set_xlabel("Z that the law predicts")
    right.set_ylabel("Z, score")
    right.set_title(f"Z = {law.intercept:.4g} {law.ratio.value:+.4g} R {law.loss.value:+.4g} L,  R² {law.r2:.2f}")
    right.legend()
    return figure


def figure_of_band(band: Band, versions: Iterable[Version] = (), verdict: Verdict | None = None) -> Figure:
    """L against R: the line, the band (dashed where it is extrapolated), each version, and the one that was judged.

    ``versions`` that the band was not fitted on stand as hollow points. The vertical line of a verdict is the ratio
    above which its rule fires. Raises `UsageError` where matplotlib is not installed.
    """
    figure = _figure(width=8.5)
    axes = figure.add_subplot()
    others = [
        row
        for row in merged(versions)
        if row.ratio is not None
        and row.loss is not None
        and row.codec == band.codec
        and row.version not in band.versions
    ]
    judged = verdict.version if verdict else None
    others = [row for row in others if row.version != judged]
    at = [*band.ratios, *(row.ratio for row in others if row.ratio is not None)]
    at += [verdict.ratio, *([verdict.ratio_limit] if verdict.ratio_limit else [])] if verdict else []
    low, high = min(band.ratios), max(band.ratios)
    pad = 0.08 * (max(at) - min(at)) or 0.05 * high
    for start, end, inside in ((min(at) - pad, low, False), (low, high, True), (high, max(at) + pad, False)):
        grid = np.linspace(start, end, 60)
        expected = [band.at(float(ratio)) for ratio in grid]
        lows, highs = [one.low for one in expected], [one.high for one in expected]
        style: dict[str, Any] = {"color": _FITTED, "linestyle": "-" if inside else "--"}
        label = "what R suggests" if inside else None
        axes.plot(grid, [one.middle for one in expected], linewidth=1.5, label=label, **style)
        label = f"{band.confidence:.0%} of new versions" if inside else None
        axes.fill_between(grid, lows, highs, color=_FITTED, alpha=0.18 if inside else 0.07, linewidth=0, label=label)
        axes.plot(grid, lows, linewidth=0.8, **style)
        axes.plot(grid, highs, linewidth=0.8, **style)
    axes.scatter(band.ratios, band.losses, color=_FITTED, s=45, zorder=3, label="past versions")
    _name(axes, band.ratios, band.losses, band.versions)
    if others:
        x, y = [row.ratio or 0.0 for row in others], [row.loss or 0.0 for row in others]
        axes.scatter(x, y, facecolors="white", edgecolors=_NEW, s=45, zorder=3, label="not in the band")
        _name(axes, x, y, [row.version for row in others])
    if verdict:
        _judged(axes, verdict)
    # A band of three versions reaches far beyond every point: the points decide what is seen.
    seen = [*band.losses, *(row.loss for row in others if row.loss is not None), *_loss_of(verdict)]
    axes.set_ylim(*_around(seen))
    axes.set_xlabel(f"R, bytes / compressed bytes ({band.codec}; higher: more redundant)")
    axes.set_ylabel("L, mean loss of the first epoch, nats per token")
    axes.set_title("First-epoch loss against ratio" if verdict is None else f"{verdict.version}: {verdict.level}")
    axes.legend()
    return figure


def figure_of_versions(versions: Iterable[Version], policy: Policy | None = None) -> Figure:
    """R version by version, each with what `check` said of it as it came; L below, where any is logged.

    The line above the points is the ratio from which the rule fires, by all versions before; the bars of L are what R
    suggested. Versions by another codec than the last one's are left out, and of many the last `LATEST` are drawn.
    Raises `InputError` where no version has a ratio, `UsageError` where matplotlib is not installed.
    """
    rows = [row for row in merged(versions) if row.ratio is not None]
    if not rows:
        raise InputError("no version has a ratio: there is nothing to draw")
    codec = rows[-1].codec
    rows = [row for row in rows if row.codec == codec]
    first = max(0, len(rows) - LATEST)
    verdicts = [check(rows[: number + 1], policy=policy) for number in range(first, len(rows))]
    at, names = range(len(verdicts)), [shortened(verdict.version) for verdict in verdicts]
    has_losses = any(verdict.loss is not None for verdict in verdicts)
    figure = _figure(width=8.5, height=6.4 if has_losses else 4.2)
    panels = figure.subplots(2 if has_losses else 1, 1, sharex=True, squeeze=False)[:, 0]

    axes = panels[0]
    axes.plot(at, [verdict.ratio for verdict in verdicts], color=_FITTED, linewidth=1.2, zorder=2)
    limits = [(x, verdict.ratio_limit) for x, verdict in enumerate(verdicts) if verdict.ratio_limit is not None]
    if limits:
        where, heights = (np.array(values) for values in zip(*limits, strict=True))
        axes.hlines(heights, where - 0.5, where + 0.5, _NEW, linestyles=":", label="beyond the past's spread")
        axes.legend()
    axes.set_ylabel(f"R ({codec})")
    axes.set_title("Each version against all before it")
    for x, verdict in enumerate(verdicts):
        _point(axes, x, verdict.ratio, verdict, "ratio")
    for x, verdict in enumerate(verdicts):
        if verdict.loss is not None:
            axes = panels[-1]
            if (expected := verdict.loss_expected) is not None:
                reach = [[expected.middle - expected.low], [expected.high - expected.middle]]
                axes.errorbar(x, expected.middle, reach, color=_NEW, capsize=4, marker="_", zorder=1)
            axes.set_ylabel("L, nats per token\n(bars: what R suggests)")
            _point(axes, x, verdict.loss, verdict, "loss")
    for axes in panels:
        axes.margins(x=0.06, y=0.2)
    if losses := [verdict.loss for verdict in verdicts if verdict.loss is not None]:
        panels[-1].set_ylim(*_around(losses))
    every = max(1, math.ceil(len(names) / TICKS))
    turned: dict[str, Any] = {}
    if sum(map(len, names[::every])) > 70:
        turned = {"rotation": 50, "ha": "right", "rotation_mode": "anchor"}
    named = list(at)[::-every]  # counted from the end: the newest is the one that is asked about
    panels[-1].set_xticks(named, [names[x] for x in named], **turned)
    return figure


def _point(axes: Axes, x: float, y: float, verdict: Verdict, rule: str) -> None:
    """Green, or in the colour of the level that ``rule`` has led to, which is written beside; hollow: not judged."""
    fired = any(found.rule == rule for found in verdict.findings)
    is_judged = verdict.loss_expected is not None if rule == "loss" else verdict.judged
    color = _COLORS[verdict.level if fired else "ok"] if is_judged else _NEW
    axes.scatter([x], [y], s=50, zorder=3, edgecolors=color, facecolors=color if is_judged else "white")
    if fired:
        place: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
        axes.annotate(verdict.level, (x, y), weight="bold", fontsize=9, zorder=5, **place)


def _judged(axes: Axes, verdict: Verdict) -> None:
    color = _COLORS[verdict.level]
    if verdict.ratio_limit is not None:
        axes.axvline(verdict.ratio_limit, color="gray", linestyle=":", label="R beyond the past's spread")
    if verdict.loss is None:
        axes.axvline(verdict.ratio, color=color, linewidth=2, label=f"{verdict.version}, no loss yet: {verdict.level}")
        return
    label = f"{verdict.version}: {verdict.level}"
    axes.scatter([verdict.ratio], [verdict.loss], color=color, marker="*", s=220, zorder=4, label=label)
    _name(axes, [verdict.ratio], [verdict.loss], [verdict.version])


def _loss_of(verdict: Verdict | None) -> list[float]:
    return [verdict.loss] if verdict and verdict.loss is not None else []


def _around(losses: Sequence[float]) -> tuple[float, float]:
    """What is seen of the axis of losses."""
    margin = 0.6 * (max(losses) - min(losses)) or 0.05 * max(losses) or 0.1
    return max(0.0, min(losses) - margin), max(losses) + margin


def _name(axes: Axes, x: Iterable[float], y: Iterable[float], names: Sequence[str], after: str = "") -> None:
    axes.margins(x=0.12)  # a name stands to the right of its point
    if len(names) <= NAMED:
        for across, up, name in zip(x, y, names, strict=True):
            axes.annotate(
                shortened(name) + after,
                (across, up),
                xytext=(6, 5),
                textcoords="offset points",
                fontsize=9,
                zorder=5,
            )


def _figure(width: float, height: float = 5.2) -> Figure:
    with needs("a picture needs matplotlib", "entropy"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")
