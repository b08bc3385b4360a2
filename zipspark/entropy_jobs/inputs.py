"""What the commands read: trainings, version logs, and tables, for which Spark is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipspark.config import CheckConfig, Choice, CurvesConfig, EngineOptions, FitConfig, LogConfig, PredictConfig
from zipspark.entropy import training, versions
from zipspark.entropy.versions import Version
from zipspark.errors import UsageError
from zipspark.extras import on_spark
from zipspark.storage.inputs import Source, is_path

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def curves_of(config: CurvesConfig) -> list[training.Curve]:
    names = config.names or ()
    if names and len(names) != len(config.curves):
        raise UsageError(f"names must be as many as curves ({len(config.curves)}), got {len(names)}")
    read = training.read_trainings(config.curves, columns=config.columns, unit=config.unit)
    read = [replace(curve, name=name) for curve, name in zip(read, names, strict=True)] if names else read
    return [_stepped(config, curve) for curve in read]


def curve_of(config: LogConfig | PredictConfig, path: str) -> training.Curve:
    return _stepped(config, training.read_training(path, columns=config.columns, unit=config.unit))


def _stepped(config: LogConfig | CurvesConfig | PredictConfig, curve: training.Curve) -> training.Curve:
    if config.step_tokens is None:
        return curve
    if curve.tokens is not None:
        raise UsageError(f"step_tokens is for a training that logs no tokens, and {curve.name} does")
    return curve.with_tokens(config.step_tokens)


def epoch_of(config: LogConfig | CurvesConfig | PredictConfig) -> dict[str, Any]:
    """What `first_epoch` is told; how long an epoch is only where that was said."""
    said = {"steps": config.epoch_steps, "tokens": config.epoch_tokens}
    return {name: value for name, value in said.items() if value is not None} | {"part": config.part}


def versions_of(config: FitConfig | CheckConfig | CurvesConfig | PredictConfig) -> list[Version]:
    assert config.log is not None
    table = delta_table(config.log)
    if table is None:
        return versions.read_log(config.log)
    with running(config, *marks(table)) as spark:
        found: list[Version] = on_spark("storage.version_logs").read_versions(spark, table)
        return found


def delta_table(name: str) -> Any:
    """The Delta table of this name; None for a file."""
    if name.lower().endswith((".csv", ".parquet")):
        return None
    if is_path(f"a{Path(name).suffix}") or Path(name).is_file():  # the ending of another kind of file
        raise UsageError(f"a log is a .csv or .parquet file, or a Delta table, got {name!r}")
    return on_spark("storage.deltas").Table.parse(name)


def marks(table: Any) -> list[Source]:
    """What has a session start with Delta."""
    return [] if table is None else [Source("delta")]


@contextmanager
def running(config: EngineOptions, *sources: Source) -> Iterator[SparkSession]:
    """A session for ``sources``; what Spark raises in the block becomes our own error."""
    ours = on_spark("running")
    with ours.explained():
        spark, _ = ours.start_session(config, Choice(), *sources)
        yield spark
