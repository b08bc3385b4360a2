"""Pictures of learning curves, skills and scaling laws; each function returns a matplotlib `Figure`.

All raise `UsageError` where matplotlib is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zipspark.entropy.curves import Comparison, falling
from zipspark.entropy.grokking import Skill
from zipspark.entropy.scaling import Scaling, ScalingByRatio
from zipspark.entropy.scaling_law import FARTHEST, Prediction
from zipspark.entropy.training import Curve
from zipspark.errors import InputError, UsageError
from zipspark.extras import needs
from zipspark.units import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLACES = 80  # along a law, at which it is drawn
_NAMED = 12  # lines up to so many have a legend of their names


def figure_of_curves(curves: Sequence[Curve], comparison: Comparison | None = None) -> Figure:
    """Loss against tokens, as logged and made to fall; with a comparison of them, when each reached its loss.

    Against steps where a curve has no tokens. Raises `UsageError` for no curves.
    """
    if not curves:
        raise UsageError("a picture of curves needs at least one curve, got none")
    figure, axes = _figure()
    by_tokens = all(curve.tokens is not None for curve in curves)
    timed = {row.name: row.speed for row in comparison.rows} if comparison else {}
    for at, curve in enumerate(curves):
        done = curve.tokens if by_tokens and curve.tokens is not None else curve.steps
        there = done > 0  # the axis is one of logs
        color = f"C{at % 10}"
        axes.plot(done[there], curve.losses[there], color=color, alpha=0.35, linewidth=0.8)
        axes.plot(done[there], falling(curve)[there], color=color, linewidth=1.8, label=shortened(curve.name))
        speed = timed.get(curve.name)
        if by_tokens and speed and speed.tokens_to_loss:
            axes.plot([speed.tokens_to_loss], [speed.loss], "o", color=color, markersize=7, zorder=5)
    target = next((speed.loss for speed in timed.values() if speed), None)
    if target is not None and by_tokens:
        axes.axhline(target, color="0.4", linewidth=0.9, linestyle=":")
        axes.annotate(
            f"loss {target:.3g}",
            (0.01, target),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=9,
            color="0.3",
        )
    axes.set_xscale("log")
    axes.set_xlabel("tokens seen" if by_tokens else "steps")
    axes.set_ylabel("training loss, nats per token")
    axes.set_title("How fast each data set is learned" if len(curves) > 1 else "How fast the data is learned")
    _legend(axes, len(curves))
    return figure


def figure_of_ratios(comparison: Comparison) -> Figure:
    """The ratio that each training amounts to, next to those of the codecs.

    Raises `InputError` where no curve has one: it needs tokens in the log and the bytes of the data set.
    """
    rows = [row for row in comparison.rows if row.code is not None and row.code.ratio is not None]
    if not rows:
        raise InputError("no curve has a ratio: it needs tokens in its log, and the bytes of its data set")
    codecs = list(dict.fromkeys(codec for row in rows for codec in row.ratios))
    figure, axes = _figure(height=1.6 + 0.32 * len(rows) * (1 + len(codecs)))
    thick = 0.8 / (1 + len(codecs))
    names = ["the model, as it learns", *codecs]
    for at, name in enumerate(names):
        values = [(row.code.ratio or 0.0) if not at and row.code else row.ratios.get(name, 0.0) for row in rows]
        places = np.arange(len(rows)) + (at - (len(names) - 1) / 2) * thick
        bars = axes.barh(places, values, thick * 0.92, label=name, color=f"C{at % 10}")
        axes.bar_label(bars, [f"{value:.2f}" if value else "" for value in values], padding=3, fontsize=9)
    axes.set_yticks(range(len(rows)), [shortened(row.name) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("bytes / compressed bytes (higher: more redundant)")
    axes.set_title("One data set, several compressors")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def figure_of_skills(curve: Curve, found: Sequence[Skill]) -> Figure:
    """Each metric of a run over its steps, and the step from which on it stayed at its threshold.

    Raises `UsageError` for no skills.
    """
    if not found:
        raise UsageError("a picture of skills needs at least one, got none: name thresholds of metrics")
    figure, axes = _figure()
    for at, skill in enumerate(found):
        steps, values = curve.metrics[skill.metric]
        color = f"C{at % 10}"
        when = "not reached" if skill.step is None else f"step {skill.step:,}"
        axes.plot(steps, values, color=color, label=f"{shortened(skill.metric)}: {when}")
        if skill.step is not None:
            axes.plot([skill.step], [values[np.searchsorted(steps, skill.step)]], "o", color=color, markersize=7)
    for threshold in sorted({skill.threshold for skill in found}):
        axes.axhline(threshold, color="0.4", linewidth=0.9, linestyle=":")
    if all(steps[0] > 0 for steps, _ in (curve.metrics[skill.metric] for skill in found)):
        axes.set_xscale("log")
    axes.set_xlabel("steps")
    axes.set_ylabel("metric (dotted: threshold)")
    axes.set_title(f"When skills came to stay: {shortened(curve.name)}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def figure_of_scaling(law: Scaling) -> Figure:
    """The points, the law, and the band in which a run's loss will lie, up to as far as it predicts."""
    figure, axes = _figure()
    places = np.geomspace(law.tokens.min(), FARTHEST * law.tokens.max(), _PLACES)
    _draw_band(axes, places, [law.predict(float(n)) for n in places], "C0", law.level)
    axes.plot(law.tokens, law.losses, "o", color="black", markersize=5, label="runs", zorder=5)
    if law.E.value > 0:
        axes.axhline(law.E.value, color="0.4", linewidth=0.9, linestyle=":", label=f"floor E = {law.E.value:.3g}")
    formula = f"L = {law.E.value:.3g} + {law.A.value:.3g} N^-{law.alpha.value:.3g}"
    _finish(axes, law, formula)
    return figure


def figure_of_scaling_by_ratio(law: ScalingByRatio, most: int = 5) -> Figure:
    """The points, and the law with its band at ``most`` of the ratios that were fitted, from lowest to highest."""
    figure, axes = _figure()
    distinct = np.unique(law.ratios)
    shown = distinct[np.unique(np.linspace(0, len(distinct) - 1, min(most, len(distinct))).round().astype(int))]
    from matplotlib import colormaps

    # The light end of the scale cannot be read on white.
    shades = {float(r): colormaps["viridis"](0.85 * (r - distinct[0]) / np.ptp(distinct)) for r in distinct}
    places = np.geomspace(law.tokens.min(), FARTHEST * law.tokens.max(), _PLACES // 2)
    for ratio in map(float, shown):
        predicted = [law.predict(float(n), ratio) for n in places]
        _draw_band(axes, places, predicted, shades[ratio], None, f"R = {ratio:.3g}")
    for ratio, color in shades.items():
        own = law.ratios == ratio
        axes.plot(law.tokens[own], law.losses[own], "o", color=color, markeredgecolor="black", markersize=5, zorder=5)
    _finish(axes, law, f"{' and '.join(law.varies)} moving with 1 / R")
    return figure


def _draw_band(
    axes: Axes,
    places: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    predicted: Sequence[Prediction],
    color: object,
    level: float | None,
    label: str = "law",
) -> None:
    beyond = np.array([one.extrapolated for one in predicted])
    middle = np.array([one.middle for one in predicted])
    within = np.where(beyond, np.nan, middle)
    outside = np.where(beyond | np.append(beyond[1:], False), middle, np.nan)  # joined to the line within
    axes.plot(places, within, color=color, label=label)
    axes.plot(places, outside, color=color, linestyle="--")
    band = f"{level:.0%} band of a run" if level is not None else None
    low, high = [one.low for one in predicted], [one.high for one in predicted]
    axes.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0, label=band)


def _finish(axes: Axes, law: Scaling | ScalingByRatio, formula: str) -> None:
    axes.axvspan(law.tokens.max(), FARTHEST * law.tokens.max(), color="0.93", zorder=0)
    axes.annotate(
        "extrapolated",
        (law.tokens.max() * 1.1, 0.98),
        xycoords=("data", "axes fraction"),
        va="top",
        fontsize=9,
        color="0.3",
    )
    axes.set_xscale("log")
    axes.set_xlim(law.tokens.min() / 1.2, FARTHEST * law.tokens.max())
    axes.set_xlabel("tokens N")
    axes.set_ylabel("loss, nats per token")
    axes.set_title(formula)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _figure(height: float = 4.6) -> tuple[Figure, Axes]:
    with needs("a picture needs matplotlib", "entropy"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(8.0, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(axes: Axes, lines: int) -> None:
    if lines <= _NAMED:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
