"""Skills: from which step on a model can do what a metric of its evaluations measures.

A skill is there from the step on which its metric stays at a threshold to the end of the log. "Grokking" (Power et al.
2022, arXiv 2201.02177) is one that comes long after the training loss has fallen; the order in which skills come is
what a curriculum can change.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zipspark.entropy.training import Curve
from zipspark.errors import InputError, UsageError

FALLING = ("loss", "perplexity", "ppl", "error", "nll", "bpb", "wer", "cer")  # ends of names of what is better low


@dataclass(frozen=True)
class Skill:
    """When a metric reached a threshold."""

    metric: str
    threshold: float
    falls: bool  # reached from above, as an error rate is
    step: int | None  # the first from which on it stayed there to the end of the log; None: it did not
    tokens: float | None  # trained on by then; None where the log has no tokens
    touched: int | None  # the first step at which it was there at all
    best: float
    last: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def skills(curve: Curve, thresholds: float | Mapping[str, float], falls: Collection[str] = ()) -> tuple[Skill, ...]:
    """When each metric came to stay at its threshold, in the order they did; those that did not come last, by name.

    Args:
        thresholds: metric -> value; or one value for all metrics that are better high.
        falls: metrics that are better low, besides those whose names end in one of `FALLING`.

    Raises:
        InputError: the curve has no such metric.
        UsageError: a threshold that is no number.

    >>> steps, accuracy = [10, 20, 30, 40], [0.9, 0.2, 0.8, 0.9]
    >>> [found] = skills(Curve("v1", steps, [3, 2, 1, 1], metrics={"accuracy": (steps, accuracy)}), 0.8)
    >>> found.step, found.touched
    (30, 10)
    """
    named = isinstance(thresholds, Mapping)
    if isinstance(thresholds, Mapping):
        wanted = dict(thresholds)
    else:
        wanted = {metric: thresholds for metric in curve.metrics if not _falls(metric, falls)}
    if not wanted or (missing := sorted(set(wanted) - set(curve.metrics))):
        there = ", ".join(sorted(curve.metrics)) or "none"
        what = missing[0] if wanted and named else "that is better high"
        raise InputError(
            f"{curve.name} has no metric {what}; it has {there}: log the results of evaluations with steps"
        )
    for metric, value in wanted.items():
        if not math.isfinite(value):
            raise UsageError(f"the threshold of {metric} must be a number, got {value!r}")
    found = [_skill(curve, metric, value, _falls(metric, falls)) for metric, value in wanted.items()]
    return tuple(sorted(found, key=lambda skill: (skill.step is None, skill.step, skill.metric)))


def skills_in_common(
    curve: Curve, thresholds: float | Mapping[str, float] | None, falls: Collection[str]
) -> tuple[Skill, ...]:
    """`skills`, of those metrics that the curve has."""
    if thresholds is None:
        return ()
    if isinstance(thresholds, Mapping):
        thresholds = {metric: value for metric, value in thresholds.items() if metric in curve.metrics}
        return skills(curve, thresholds, falls) if thresholds else ()
    rising = any(not _falls(metric, falls) for metric in curve.metrics)
    return skills(curve, thresholds, falls) if rising else ()


def _falls(metric: str, falls: Collection[str]) -> bool:
    return metric in falls or metric.lower().endswith(FALLING)


def _skill(curve: Curve, metric: str, threshold: float, falls: bool) -> Skill:
    steps, values = (np.asarray(part) for part in curve.metrics[metric])
    there = values <= threshold if falls else values >= threshold
    missed = np.flatnonzero(~there)
    stays = 0 if not missed.size else int(missed[-1]) + 1
    step = int(steps[stays]) if stays < len(steps) else None
    tokens = None
    if step is not None and curve.tokens is not None:
        tokens = float(np.interp(step, [0, *curve.steps], [0, *curve.tokens]))
    return Skill(
        metric=metric,
        threshold=threshold,
        falls=falls,
        step=step,
        tokens=tokens,
        touched=int(steps[np.argmax(there)]) if there.any() else None,
        best=float(values.min() if falls else values.max()),
        last=float(values[-1]),
    )


def table_of_skills(by_curve: Mapping[str, Sequence[Skill]]) -> Any:
    """For the terminal: one row a skill and curve."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Skills, in the order they came to stay", title_justify="left", title_style="bold")
    table.add_column("curve", overflow="fold")
    table.add_column("metric", overflow="fold")
    for title in ("threshold", "step", "tokens", "first touched", "last value"):
        table.add_column(title, justify="right")
    for name, found in by_curve.items():
        for skill in found:
            table.add_row(
                Text(name),
                Text(skill.metric),
                f"{'≤' if skill.falls else '≥'} {skill.threshold:g}",
                shown(skill.step, ",d", "not reached"),
                shown(skill.tokens, ",.0f"),
                shown(skill.touched, ",d"),
                f"{skill.last:.4g}",
            )
    return table


def shown(value: float | None, form: str = ".3f", absent: str = "-") -> str:
    return absent if value is None else format(value, form)
