"""``zipspark entropy curves`` and ``predict``: trainings side by side, and the loss of one that was not made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zipspark.config import CurvesConfig, PredictConfig
from zipspark.entropy import curves, scaling, training
from zipspark.entropy.fits import of_one_codec
from zipspark.entropy.scaling_law import Prediction
from zipspark.entropy.versions import Version
from zipspark.entropy_jobs.inputs import curve_of, curves_of, epoch_of, versions_of
from zipspark.errors import InputError, UsageError
from zipspark.report.pictures import Picture


@dataclass(frozen=True)
class Compared:
    """Trainings side by side."""

    comparison: curves.Comparison
    plots: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return self.comparison.to_dict() | {"plots": list(self.plots)}

    def __rich__(self) -> Any:
        return self.comparison


def curves_to(config: CurvesConfig) -> Compared:
    """``zipspark entropy curves``: code length, speed and skills; a log says R and bytes of versions of their names."""
    picture = Picture(config.plot)
    found = curves_of(config)
    known = {row.version: row for row in versions_of(config)} if config.log else {}
    logged = {curve.name: known[curve.name] for curve in found if curve.name in known}
    sizes = {name: row.bytes for name, row in logged.items() if row.bytes}
    for name, size in config.bytes.items():
        sizes |= {curve.name: size for curve in found} if not name else {name: size}
    comparison = curves.compare(
        found,
        bytes=sizes,
        ratios={name: {row.codec: row.ratio} for name, row in logged.items() if row.ratio is not None},
        loss=config.loss,
        thresholds=config.thresholds.get("", config.thresholds) or None,
        falls=config.falls or (),
        **epoch_of(config),
    )
    if missing := sorted(name for name in config.thresholds if name and not any(name in one.metrics for one in found)):
        there = ", ".join(sorted({metric for one in found for metric in one.metrics})) or "none"
        raise InputError(f"thresholds: no curve has a metric {missing[0]!r}; there are {there}")
    if config.plot:
        from zipspark.entropy import curve_figures as figures

        picture.add("", figures.figure_of_curves(found, comparison))
        has_ratios = any(row.code is not None and row.code.ratio is not None for row in comparison.rows)
        picture.add("-ratios", figures.figure_of_ratios(comparison) if has_ratios else None)
        for number, (curve, row) in enumerate(zip(found, comparison.rows, strict=True), 1):
            picture.add(f"-skills-{number}", figures.figure_of_skills(curve, row.skills) if row.skills else None)
    return Compared(comparison, picture.save())


@dataclass(frozen=True)
class Predicted:
    """The loss of a run on so many tokens."""

    tokens: int
    of_log: bool  # whether it is the mean loss over these tokens, as in a log; else the loss at their end
    ratio: float | None  # of its data; None: R was not looked at
    prediction: Prediction
    law: scaling.Scaling | scaling.ScalingByRatio
    notes: tuple[str, ...]
    plots: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        said = {"tokens": self.tokens, "of_log": self.of_log, "ratio": self.ratio, "loss": self.prediction._asdict()}
        return said | {"law": self.law.to_dict(), "notes": list(self.notes), "plots": list(self.plots)}

    def __str__(self) -> str:
        one = self.prediction
        of = "" if self.ratio is None else f" of ratio {self.ratio:.4g}"
        beyond = ", extrapolated" if one.extrapolated else ""
        what = "mean loss over" if self.of_log else "loss after"
        lines = [
            f"{what} {self.tokens:,} tokens{of}: {one.middle:.4f} nats per token, {one.low:.4f} to {one.high:.4f} "
            f"({self.law.level:.0%} band{beyond})",
            str(self.law),
        ]
        return "\n".join([*lines, *self.notes])


def predict_to(config: PredictConfig) -> Predicted:
    """``zipspark entropy predict``: from the versions of a log, or along one training."""
    if config.log is None and config.training is None:
        raise UsageError("log or training must be given: --log LOG or --training PATH")
    assert config.tokens is not None
    wanted, ratio = config.tokens, config.ratio
    picture = Picture(config.plot)
    found: scaling.Scaling | scaling.ScalingByRatio
    if config.training:
        curve = curve_of(config, config.training)
        head = curve.head(training.first_epoch(curve, **epoch_of(config)).rows)
        notes = ["fitted along one training: its points share their noise, so the band is too narrow."]
        found = scaling.fit_scaling(*scaling.points_of(head), level=config.confidence)
        prediction = found.predict(wanted)
    else:
        rows = versions_of(config)
        if config.version is not None:
            ratio, codec = _ratio_of(rows, config.version)
            config = config.model_copy(update={"codec": config.codec or codec})
        runs, notes = _runs(rows, config, by_ratio=ratio is not None)
        tokens, losses = [row.tokens or 0 for row in runs], [row.loss or 0.0 for row in runs]
        if ratio is None:
            found = scaling.fit_scaling(tokens, losses, level=config.confidence)
            prediction = found.predict(wanted)
        else:
            ratios = [row.ratio or 0.0 for row in runs]
            found = scaling.fit_scaling_by_ratio(tokens, losses, ratios, level=config.confidence)
            prediction = found.predict(wanted, ratio)
    if config.plot:
        from zipspark.entropy import curve_figures as figures

        if isinstance(found, scaling.ScalingByRatio):
            picture.add("", figures.figure_of_scaling_by_ratio(found))
        else:
            picture.add("", figures.figure_of_scaling(found))
    return Predicted(wanted, config.log is not None, ratio, prediction, found, tuple(notes), picture.save())


def _ratio_of(rows: Sequence[Version], name: str) -> tuple[float, str]:
    row = next((row for row in rows if row.version == name), None)
    if row is None or row.ratio is None:
        what = "is not in the log" if row is None else "has no ratio"
        raise InputError(f"version {name} {what}: log its data, or give the ratio itself")
    return row.ratio, row.codec


def _runs(rows: Sequence[Version], config: PredictConfig, by_ratio: bool) -> tuple[list[Version], list[str]]:
    """Versions that a scaling law is fitted on, ascending in tokens, and what to know of them."""
    needed = ("tokens", "loss", *(["ratio"] if by_ratio else []))
    runs = [row for row in rows if all(getattr(row, name) for name in needed)]
    notes = []
    if by_ratio and runs:
        runs, _ = of_one_codec(runs, config.codec, 1)
    if left_out := [row.version for row in rows if row not in runs]:
        lacking = f"for want of {', '.join(needed)}" + (" by one codec" if by_ratio else "")
        notes.append(f"not in the fit, {lacking}: {', '.join(left_out)}.")
    least = scaling.FEWEST_BY_RATIO if by_ratio else scaling.FEWEST
    if len(runs) < least:
        raise InputError(
            f"a prediction needs at least {least} versions with {', '.join(needed)}, got {len(runs)} of {len(rows)}: "
            "log more, or predict along one training (--training)"
        )
    return sorted(runs, key=lambda row: row.tokens or 0), notes
