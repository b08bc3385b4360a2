"""The main job: from an input to a written subset, stage by stage.

::

    read ─ score ─▶ scores ─ survey ─▶ plan ─ parts ─▶ candidates ─ merge ─▶ picks ─ account ─▶ ledger, metrics ─▶ OUT

Every arrow's head is a table in the work folder (or, for the plan and the picks, on the driver). `select` reads as that list.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.config import Choice, ScoreConfig, SelectConfig, choice_key, layered
from zipspark.core.presets import make_codec, trained_header
from zipspark.core.zlib_codec import IS_CLASSIC_ZLIB
from zipspark.core.zstd_codec import HEADER_SAMPLES, ZstdCodec
from zipspark.errors import EngineError, UsageError
from zipspark.report.summary import SetLine, Summary
from zipspark.spark import ledger as ledgers
from zipspark.spark import metrics, survey, tree
from zipspark.spark.batches import library_versions
from zipspark.spark.corpus import Corpus, read_corpus
from zipspark.spark.measure import set_ratios
from zipspark.spark.progress import Progress
from zipspark.spark.scores import scored
from zipspark.spark.failures import explain_spark_error, first_line
from zipspark.spark.session import get_session
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.output import Output
from zipspark.storage.stages import Stages
from zipspark.units import format_bytes

TABLES = ("subset", "ledger", "quarantine", "metrics")
STAGES = ("score", "survey", "parts", "merge", "account", "write")


@dataclass(frozen=True)
class Selection:
    """A finished choice: tables as DataFrames, and what is to be said of them."""

    subset: DataFrame  # the input's columns and zip_id, zip_rank, zip_ratio, zip_marginal_ratio, in order of rank
    ledger: DataFrame  # one row per input row (`zipspark.spark.ledger`)
    quarantine: DataFrame  # file, position, reason, record of rows that could not be read or rendered
    metrics: DataFrame  # rows and bytes per stage and group, seconds per stage
    summary: Summary
    manifest: dict[str, Any]  # input, options, versions, checksum: what the ranking depends on

    def save(self, path: str, *, format: str = "parquet", overwrite: bool = False) -> None:
        """Write OUT as ``zipspark select --output`` does; raises `InputError` when it exists or cannot be written."""
        with _explained(), Output(path, overwrite=overwrite) as output:
            _write(self, output, format)
            output.write_manifest(self.manifest)
            output.commit()

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


def select(
    source: DataFrame | str | list[str], budget: Any, *, spark: SparkSession | None = None, **options: Any
) -> Selection:
    """Choose the low-redundancy subset of ``source`` on Spark.

    Args:
        source: a DataFrame, or what ``zipspark select`` takes as INPUT (paths, folders, globs, a table name).
        budget: rows (``10000``), share of the pool (``"5%"``) or bytes of text (``"500MB"``).
        spark: the session to use; default: the DataFrame's, the active one, or a new local one.
        options: those of ``conf/select.yml``.

    Raises:
        UsageError, InputError, EngineError: as the command line, which ends with 2, 3 and 4 for them.

    The tables are read from stages in a work folder (``work_dir``; by default a temporary one that goes with the process).

    >>> chosen = select("pool.parquet", budget="10%", group_column="source")  # doctest: +SKIP
    >>> chosen.subset.show()  # doctest: +SKIP
    """
    frame = None if isinstance(source, (str, list, tuple)) else source
    names = () if frame is not None else (source,) if isinstance(source, str) else tuple(source)  # type: ignore[arg-type]
    config = layered(SelectConfig, {"budget": budget, "input": names, **options})
    found = resolve(config.input) if frame is None else frame
    with _explained():
        session = spark or (frame.sparkSession if frame is not None else _session(config, found))
        stages = Stages(session, config)
        atexit.register(stages.remove)  # the tables below are read from it whenever they are looked at
        return _select(session, found, config, stages, Progress(session, quiet=config.quiet))


def select_to(config: SelectConfig) -> Summary:
    """``zipspark select``: choose, and write OUT. Whatever fails or is interrupted leaves no OUT (or the old one)."""
    assert config.output is not None
    source = resolve(config.input)
    with _explained(), Output(config.output, overwrite=config.overwrite) as output:
        spark = _session(config, source)
        with Stages(spark, config) as stages:
            progress = Progress(spark, quiet=config.quiet)
            selection = _select(spark, source, config, stages, progress)
            with progress.stage("write", len(STAGES), of=len(STAGES)):
                _write(selection, output, config.format)
            output.write_manifest(selection.manifest | {"seconds": progress.seconds})
            output.commit()
    return replace(selection.summary, output=config.output, seconds=dict(progress.seconds))


def score_to(config: ScoreConfig) -> dict[str, Any]:
    """``zipspark score``: per-sample ratios alone, written to OUT/scores."""
    assert config.output is not None
    source = resolve(config.input)
    with _explained(), Output(config.output, overwrite=config.overwrite) as output:
        spark = _session(config, source)
        with Stages(spark, config) as stages:
            progress = Progress(spark, quiet=config.quiet)
            with progress.stage("score", 1, of=2):
                corpus = _corpus(spark, source, config, stages)
                scores = stages.write("scores", scored(corpus.rows, config))
                rows = survey.check_rows(scores, config)
            with progress.stage("write", 2, of=2):
                output.write("scores", ledgers.scores_table(scores), "parquet")
                output.write("quarantine", ledgers.quarantine(scores), "parquet")
            output.write_manifest(_manifest(corpus, config) | {"rows": rows, "seconds": progress.seconds})
            output.commit()
    return {"rows": rows, "output": f"{config.output}/scores", "seconds": progress.seconds}


def _select(
    spark: SparkSession, source: Source | DataFrame, config: SelectConfig, stages: Stages, progress: Progress
) -> Selection:
    notes = _announcements(config)
    of = len(STAGES)
    with progress.stage("score", 1, of=of):
        corpus = _corpus(spark, source, config, stages)
        scores = stages.write("scores", scored(corpus.rows, config))

    with progress.stage("survey", 2, of=of):
        rows = survey.check_rows(scores, config)
        sizes = survey.bucket_sizes(scores, config.dedup)
        plan = tree.plan_parts(sizes, config)
        pool_rows, pool_bytes = (sum(sizes[name].to_pylist()) for name in ("rows", "bytes"))
        header = _header(scores, rows, config)

    with progress.stage("parts", 3, of=of):
        candidates = stages.write("candidates", tree.candidates(scores, plan, config, header))

    with progress.stage("merge", 4, of=of):
        picked = tree.fill(tree.fetch(candidates, config), scores, plan, config, header)

    with progress.stage("account", 5, of=of):
        picks = stages.write("picks", spark.createDataFrame(picked.select(ledgers.PICKS.names)))
        ledger = stages.write("ledger", ledgers.ledger(scores, candidates, picks, plan, config.dedup))
        counted = metrics.counts(ledger)
        subset_bytes = sum(picked["bytes"].to_pylist())
        ratios = set_ratios(scores, picks, subset_bytes, pool_bytes)

    if len(picked) == pool_rows:
        notes.append(f"the budget ({plan.budget}) takes the whole pool: nothing was left out.")
    ids = picked["zip_id"].to_pylist()
    summary = Summary(
        budget=str(config.budget),
        sets=tuple(
            SetLine(name, samples, size, ratios[name]["ratio"], int(ratios[name]["bytes"]))
            for name, samples, size in (
                ("pool", pool_rows, pool_bytes),
                ("subset", len(ids), subset_bytes),
                ("random", int(ratios["random"]["rows"]), int(ratios["random"]["bytes"])),
            )
        ),
        decisions=counted.decisions,
        groups=counted.groups,
        parts=plan.parts,
        seconds=dict(progress.seconds),
        checksum=hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        notes=(*corpus.warnings, *notes),
    )
    manifest = _manifest(corpus, config) | {
        "budget": {"unit": plan.budget.unit, "amount": plan.budget.amount},
        "parts": plan.parts,
        "rows": rows,
        "selected": len(ids),
        "checksum": summary.checksum,
        "ratios": ratios,
    }
    return Selection(
        subset=ledgers.subset(corpus.originals, picks),
        ledger=ledger,
        quarantine=ledgers.quarantine(scores),
        metrics=spark.createDataFrame(metrics.metrics(counted, progress.seconds)),
        summary=summary,
        manifest=manifest,
    )


def _write(selection: Selection, output: Output, format: str) -> None:
    """All tables of a selection; with delta all are Delta tables, with jsonl the subset alone is JSON lines."""
    for name in TABLES:
        of_table = format if format == "delta" or name == "subset" else "parquet"
        output.write(name, getattr(selection, name), of_table)


def _corpus(
    spark: SparkSession, source: Source | DataFrame, config: SelectConfig | ScoreConfig, stages: Stages
) -> Corpus:
    return read_corpus(spark, source, config, lambda frame: stages.write("input", frame))


def _session(config: SelectConfig | ScoreConfig, source: Source) -> SparkSession:
    delta = source.format == "delta" or getattr(config, "format", None) == "delta"
    return get_session(config, delta=delta)


def _header(scores: DataFrame, rows: int, config: SelectConfig) -> bytes:
    """The literal statistics every part shares (`core.zstd_codec`)."""
    if config.codec != "zstd":
        return b""
    return trained_header(config, survey.sampled_texts(scores, rows, HEADER_SAMPLES))


def _manifest(corpus: Corpus, config: SelectConfig | ScoreConfig) -> dict[str, Any]:
    """What the result depends on, and how it is called."""
    key = choice_key(config)
    codec = make_codec(Choice(**config.model_dump(include=set(Choice.model_fields))))
    return {
        "run_id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": corpus.fingerprint,
        "layout": corpus.layout.schema if corpus.layout else "text-expr",
        "config": key,
        "config_hash": hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest(),
        "versions": library_versions(),
        "codec": {"name": codec.name, "level": codec.level, "window": codec.window} | _self_check(codec),
    }


def _self_check(codec: Any) -> dict[str, Any]:
    if not isinstance(codec, ZstdCodec):
        return {}
    check = codec.self_check()
    if not check.seen:
        raise EngineError(
            f"zstd {library_versions()['zstd']} does not find a duplicate {format_bytes(check.window)} back "
            f"({check.conditional} bytes given the window, {check.alone} alone); use a smaller --window"
        )
    return {"self_check": {"alone": check.alone, "conditional": check.conditional, "seen": check.seen}}


def _announcements(config: SelectConfig) -> list[str]:
    """What a user should hear about the options before the run."""
    notes = []
    if config.codec == "zlib" and not IS_CLASSIC_ZLIB:
        notes.append(
            "this Python is built with zlib-ng, whose sizes differ from the classic zlib's: not the paper's picks."
        )
    return notes


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what Spark raises into zipspark's own errors."""
    try:
        yield
    except Exception as error:
        explained = explain_spark_error(error)
        if explained is None and not type(error).__module__.startswith(("pyspark", "py4j", "grpc")):
            raise
        raise explained or EngineError(f"Spark failed: {first_line(error)}") from error
