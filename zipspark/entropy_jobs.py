"""The work of ``zipspark entropy``: each command as a function of its options that returns what is printed.

::

    measure_to   R of tables, on Spark                       log_to      a row of the version log
    fit_to       the law over a log                          check_to    a version against those before it
    curves_to    trainings side by side                      predict_to  the loss of a run that was not made

What is measured and fitted stands in `zipspark.entropy`, which Python users call directly. Spark is started for tables
and for logs in Delta alone.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipspark.config import (
    CheckConfig,
    Choice,
    CurvesConfig,
    EngineOptions,
    FitConfig,
    LogConfig,
    MeasureConfig,
    PoolOptions,
    PredictConfig,
)
from zipspark.entropy import bands, curves, law, scaling, training, versions, warning
from zipspark.entropy.consistency import HeldOut
from zipspark.entropy.fits import of_one_codec
from zipspark.entropy.policy import Policy
from zipspark.entropy.scaling_law import Prediction
from zipspark.entropy.streams import CODECS, CodecName
from zipspark.entropy.versions import Version
from zipspark.errors import EngineError, InputError, UsageError
from zipspark.storage.inputs import Source, is_path, located, resolve
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyspark.sql import SparkSession

    from zipspark.spark.entropy import Measurement

LOG_CODEC: CodecName = "zlib"  # the paper's; its R does not grow with the set, as zstd's does


# --- measure ----------------------------------------------------------------------------------------------------------


def measure_to(config: MeasureConfig) -> Measurement:
    """``zipspark entropy measure``: R of all of the input as one set."""
    codecs = CODECS if config.codec == "both" else (config.codec,)
    source = resolve(config.input)
    with _running(config, source) as (spark, side):
        found: Measurement = side.measured_whole(spark, source, config, codecs, seeds=config.seed_orders or 0)
        return found


# --- log --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Logged:
    """What a log says of a version, once it has been added to it."""

    log: str
    version: Version
    first: training.FirstEpoch | None = None  # where L was read from training output
    held_out: HeldOut | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "log": self.log,
            "version": self.version.to_dict(),
            "missing": list(self.version.missing),
            "first_epoch": self.first and self.first.to_dict(),
            "held_out": self.held_out and self.held_out.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        row = self.version
        ratio = "" if row.ratio is None else f"{row.ratio:.4g} ({row.codec})"
        known = {"R": ratio, "L": _shown(row.loss), "Z": _shown(row.score)}
        values = ", ".join(f"{name} {value or 'not known yet'}" for name, value in known.items())
        lines = [f"{row.version}: {values}  -> {self.log}"]
        lines += [str(found) for found in (self.first, self.held_out) if found is not None]
        return "\n".join([*lines, *self.notes])


def log_to(config: LogConfig) -> Logged:
    """``zipspark entropy log``: one row more; what is there of the version is only filled in."""
    assert config.log is not None
    assert config.version is not None
    given = (config.data, config.ratio, config.loss, config.training, config.score)
    if all(one is None for one in given):
        raise UsageError("nothing to log: give data or ratio, loss or training, or score")
    table = _delta(config.log)
    row = Version(config.version, score=config.score)
    first, notes = None, list[str]()
    if config.training is not None:
        curve = _curve(config, config.training)
        first = training.first_epoch(curve, **_epoch(config))
        row = replace(row, loss=first.loss, loss_from=located(config.training), tokens=first.tokens)
        notes += [f"{note}." for note in curve.notes]
        if not first.whole:
            notes.append("L is not of a whole first epoch: compare it with as much of past ones.")
    elif config.loss is not None:
        row = replace(row, loss=config.loss, loss_from="given", tokens=config.tokens)
    if config.ratio is not None:
        row = replace(row, ratio=config.ratio, codec=config.codec or "given")
    if config.data is None and table is None:
        return Logged(config.log, versions.append(config.log, row, config.replace), first, None, tuple(notes))
    if table is None:
        _check_log(config.log)
    source = resolve(config.data) if config.data else None
    beside = resolve(config.held_out) if config.held_out else None
    held_out = None
    with _running(config, *filter(None, [source, beside]), *_marks(table)) as (spark, side):
        if source is not None:
            if table is not None:
                side.check_log(spark, table)
            codec: CodecName = config.codec or LOG_CODEC
            against = (beside, _as_read(config)) if beside else None
            found: Measurement = side.measured_whole(spark, source, config, (codec,), held_out=against)
            notes += [f"{found.bad:,} rows cannot be rendered; they are not measured."] if found.bad else []
            row, held_out = _with_measured(row, config, found, codec), found.held_out
        if table is None:
            now = versions.append(config.log, row, config.replace)
        else:
            now = side.add_version(spark, table, row, config.replace)
    return Logged(config.log, now, first, held_out, tuple(notes))


def _check_log(log: str) -> None:
    """Raises `InputError` for a file that cannot be a log, before minutes are spent on what is to stand in it."""
    if Path(log).exists():
        versions.read_log(log)
    else:
        Place.parse(log).check_writable()


def _with_measured(row: Version, config: LogConfig, found: Measurement, codec: CodecName) -> Version:
    assert config.data is not None
    measured = found.measured
    return replace(
        row,
        ratio=measured.of(codec).ratio,
        codec=codec,
        rows=measured.whole.rows,
        bytes=measured.whole.bytes,
        mean_ratio=measured.of(codec).mean_ratio,
        groups=measured.group_ratios(codec),
        held_out_bits=found.held_out.bits if found.held_out else None,
        data=",".join(map(located, config.data)),
    )


# --- fit, check -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """The law over a log, and the loss that ratios suggest."""

    law: law.Law
    band: bands.Band
    plots: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"law": self.law.to_dict(), "loss_given_ratio": self.band.to_dict(), "plots": list(self.plots)}

    def __str__(self) -> str:
        return f"{self.law}\n\nWhat R suggests of the loss:\n{self.band}"


def fit_to(config: FitConfig) -> Fitted:
    """``zipspark entropy fit``: the score on ratio and loss, and the loss on the ratio."""
    picture = _Picture(config.plot)
    rows = _versions(config)
    found = law.fit(rows, config.confidence, config.codec)
    band = bands.loss_given_ratio(rows, config.confidence, found.codec)
    if config.plot:
        from zipspark.entropy import law_figures as figures

        picture.add("", figures.figure_of_law(found, rows))
        picture.add("-loss", figures.figure_of_band(band, rows))
    return Fitted(found, band, picture.save())


@dataclass(frozen=True)
class Checked:
    """The verdict on a version."""

    verdict: warning.Verdict
    plots: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 ok, 10 watch, 20 risk."""
        return self.verdict.exit_code

    def to_dict(self) -> dict[str, Any]:
        return self.verdict.to_dict() | {"plots": list(self.plots), "plot_notes": list(self.notes)}

    def __str__(self) -> str:
        return "\n".join([str(self.verdict), *(f"  note: {note}" for note in self.notes)])


def check_to(config: CheckConfig) -> Checked:
    """``zipspark entropy check``: a version against all before it, of a log, of a refresh history, or of both."""
    if config.log is None and config.history is None:
        raise UsageError("log or history must be given: --log LOG, --history SUBSET_history, or both")
    picture = _Picture(config.plot)
    policy = Policy.read(config.policy) if config.policy else Policy()
    rows = versions.merged([*_history(config), *(_versions(config) if config.log else [])])
    verdict = warning.check(rows, config.version, policy)
    notes = []
    if config.plot:
        from zipspark.entropy import law_figures as figures

        past = [row for row in rows if row.version in verdict.past and row.loss is not None]
        try:
            band = bands.loss_given_ratio(past, policy.confidence)
        except InputError as error:  # the verdict stands without it
            notes.append(f"no picture: {error}")
        else:
            picture.add("", figures.figure_of_band(band, verdict=verdict))
    return Checked(verdict, picture.save(), tuple(notes))


def _history(config: CheckConfig) -> list[Version]:
    if config.history is None:
        return []
    table = _delta(config.history)
    if table is None:
        raise InputError(f"history must be a Delta table, <subset>_history of zipspark refresh, got {config.history!r}")
    with _running(config, Source("delta")) as (spark, _):
        if table.version(spark) is None:
            raise InputError(f"history {table} is not there, or no Delta table: give <subset>_history")
        return warning.from_history(table.read(spark).toArrow())


# --- curves, predict --------------------------------------------------------------------------------------------------


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
    picture = _Picture(config.plot)
    found = _curves(config)
    known = {row.version: row for row in _versions(config)} if config.log else {}
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
        **_epoch(config),
    )
    if missing := sorted(name for name in config.thresholds if name and not any(name in one.metrics for one in found)):
        there = ", ".join(sorted({metric for one in found for metric in one.metrics})) or "none"
        raise InputError(f"thresholds: no curve has a metric {missing[0]!r}; there are {there}")
    if config.plot:
        from zipspark.entropy import curve_figures as figures

        picture.add("", figures.figure_of_curves(found, comparison))
        if any(row.code is not None and row.code.ratio is not None for row in comparison.rows):
            picture.add("-ratios", figures.figure_of_ratios(comparison))
        for number, (curve, row) in enumerate(zip(found, comparison.rows, strict=True), 1):
            if row.skills:
                picture.add(f"-skills-{number}", figures.figure_of_skills(curve, row.skills))
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
    picture = _Picture(config.plot)
    found: scaling.Scaling | scaling.ScalingByRatio
    if config.training:
        curve = _curve(config, config.training)
        head = curve.head(training.first_epoch(curve, **_epoch(config)).rows)
        notes = ["fitted along one training: its points share their noise, so the band is too narrow."]
        found = scaling.fit_scaling(*scaling.points_of(head), level=config.confidence)
        prediction = found.predict(wanted)
    else:
        rows = _versions(config)
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


# --- what they read ---------------------------------------------------------------------------------------------------


def _curves(config: CurvesConfig) -> list[training.Curve]:
    names = config.names or ()
    if names and len(names) != len(config.curves):
        raise UsageError(f"names must be as many as curves ({len(config.curves)}), got {len(names)}")
    read = training.read_trainings(config.curves, columns=config.columns, unit=config.unit)
    read = [replace(curve, name=name) for curve, name in zip(read, names, strict=True)] if names else read
    return [_stepped(config, curve) for curve in read]


def _curve(config: LogConfig | PredictConfig, path: str) -> training.Curve:
    return _stepped(config, training.read_training(path, columns=config.columns, unit=config.unit))


def _stepped(config: LogConfig | CurvesConfig | PredictConfig, curve: training.Curve) -> training.Curve:
    if config.step_tokens is None:
        return curve
    if curve.tokens is not None:
        raise UsageError(f"step_tokens is for a training that logs no tokens, and {curve.name} does")
    return curve.with_tokens(config.step_tokens)


def _epoch(config: LogConfig | CurvesConfig | PredictConfig) -> dict[str, Any]:
    """What `first_epoch` is told; how long an epoch is only where that was said."""
    said = {"steps": config.epoch_steps, "tokens": config.epoch_tokens}
    return {name: value for name, value in said.items() if value is not None} | {"part": config.part}


def _versions(config: FitConfig | CheckConfig | CurvesConfig | PredictConfig) -> list[Version]:
    assert config.log is not None
    table = _delta(config.log)
    if table is None:
        return versions.read_log(config.log)
    with _running(config, *_marks(table)) as (spark, side):
        found: list[Version] = side.read_versions(spark, table)
        return found


def _delta(name: str) -> Any:
    """The Delta table of this name; None for a file."""
    if name.lower().endswith((".csv", ".parquet")):
        return None
    if is_path(f"a{Path(name).suffix}") or Path(name).is_file():  # the ending of another kind of file
        raise UsageError(f"a log is a .csv or .parquet file, or a Delta table, got {name!r}")
    return _imported("zipspark.storage.deltas").Table.parse(name)


def _marks(table: Any) -> list[Source]:
    """What has a session start with Delta."""
    return [] if table is None else [Source("delta")]


# --- Spark ------------------------------------------------------------------------------------------------------------


def _as_read(config: LogConfig) -> PoolOptions:
    """How a held-out sample is read: as the data, but for ``where`` and the groups."""
    return PoolOptions(
        schema_=config.schema_,
        text_expr=config.text_expr,
        roles=config.roles,
        max_bad_fraction=config.max_bad_fraction,
    )


@contextmanager
def _running(config: EngineOptions, *sources: Source) -> Iterator[tuple[SparkSession, Any]]:
    """A session for ``sources``, and `zipspark.spark.entropy`; what Spark raises in the block becomes our own error."""
    running, side = _imported("zipspark.running"), _imported("zipspark.spark.entropy")
    with running.explained():
        spark, _ = running.start_session(config, Choice(), *sources)
        yield spark, side


def _imported(name: str) -> Any:
    """A module that needs pyspark, which is an extra, and slow to import."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "pyspark":
            raise EngineError("pyspark is not installed. Run: pip install 'zipspark[spark]'") from None
        raise


# --- pictures ---------------------------------------------------------------------------------------------------------


@dataclass
class _Picture:
    """Figures on their way to FILE and to its neighbours; a FILE that cannot be written is refused before the work."""

    name: str | None  # None: none is wanted
    _made: dict[str, Figure] = field(default_factory=dict)  # what comes behind the name's stem -> figure

    def __post_init__(self) -> None:
        if self.name is None:
            return
        try:
            from matplotlib.backend_bases import FigureCanvasBase
        except ModuleNotFoundError:
            raise UsageError("a picture needs matplotlib. Run: pip install 'zipspark[entropy]'") from None
        known = FigureCanvasBase.filetypes
        if self._format not in known:
            raise UsageError(f"plot must end in one of .{', .'.join(sorted(known))}, got {self.name!r}")
        place = Place.parse(self.name)
        if place.is_dir():
            raise InputError(f"plot {place} is a folder: name a file")
        place.check_writable()

    @property
    def _format(self) -> str:
        return os.path.splitext(self.name or "")[1].removeprefix(".").lower()

    def add(self, suffix: str, figure: Figure) -> None:
        self._made[suffix] = figure

    def save(self) -> tuple[str, ...]:
        """Write all; each file is there whole or not at all. Returns their names."""
        written = []
        for suffix, figure in self._made.items():
            stem, ending = os.path.splitext(self.name or "")
            picture = io.BytesIO()
            figure.savefig(picture, format=self._format, dpi=120)
            written.append(f"{stem}{suffix}{ending}")
            _write(Place.parse(written[-1]), picture.getvalue())
        return tuple(written)


def _write(place: Place, data: bytes) -> None:
    new = place.parent.child(f".{place.name}.new") if place.renames else place
    try:
        if place.renames:
            place.parent.make_dir()
        with new.filesystem.open_output_stream(new.path) as stream:
            stream.write(data)
        if place.renames:
            new.rename(place)
    except OSError as error:
        if place.renames:
            new.delete()
        raise InputError(f"plot {place} cannot be written: {error}") from None


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
