"""``zipspark entropy measure`` and ``log``: R of tables, and the log of versions that it stands in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipspark.config import LogConfig, MeasureConfig, PoolOptions
from zipspark.entropy import training, versions
from zipspark.entropy.consistency import HeldOut
from zipspark.entropy.streams import CodecName
from zipspark.entropy.versions import Version
from zipspark.entropy_jobs.inputs import curve_of, delta_table, epoch_of, marks, running
from zipspark.errors import UsageError
from zipspark.extras import on_spark
from zipspark.storage.inputs import located, resolve
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from zipspark.spark.entropy import Measurement

LOG_CODEC: CodecName = "zlib"  # the paper's; its R does not grow with the set, as zstd's does


def measure_to(config: MeasureConfig) -> Measurement:
    """``zipspark entropy measure``: R of all of the input as one set."""
    source = resolve(config.input)
    with running(config, source) as spark:
        found: Measurement = on_spark("spark.entropy").measured_whole(
            spark, source, config, config.codecs, seeds=config.seed_orders or 0
        )
        return found


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
    table = delta_table(config.log)
    row = Version(config.version, score=config.score)
    first, notes = None, list[str]()
    if config.training is not None:
        curve = curve_of(config, config.training)
        first = training.first_epoch(curve, **epoch_of(config))
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
    with running(config, *filter(None, [source, beside]), *marks(table)) as spark:
        if source is not None:
            if table is not None:
                on_spark("storage.version_logs").check_log(spark, table)
            codec: CodecName = config.codec or LOG_CODEC
            against = (beside, _as_read(config)) if beside else None
            found: Measurement = on_spark("spark.entropy").measured_whole(
                spark, source, config, (codec,), held_out=against
            )
            notes += [f"{found.bad:,} rows cannot be rendered; they are not measured."] if found.bad else []
            row, held_out = _with_measured(row, config, found, codec), found.held_out
        if table is None:
            now = versions.append(config.log, row, config.replace)
        else:
            now = on_spark("storage.version_logs").add_version(spark, table, row, config.replace)
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


def _as_read(config: LogConfig) -> PoolOptions:
    """How a held-out sample is read: as the data, but for ``where`` and the groups."""
    return PoolOptions(
        schema_=config.schema_,
        text_expr=config.text_expr,
        roles=config.roles,
        max_bad_fraction=config.max_bad_fraction,
    )


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
