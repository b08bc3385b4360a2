"""The main job: from an input to a written subset, stage by stage.

::

    read ─ score ─▶ scores ─ survey ─▶ plan ─ parts ─▶ candidates ─ merge ─▶ picks ─ account ─▶ ledger, metrics ─▶ OUT

Every arrow's head is a table in the work folder (the plan: on the driver). `_select` reads as that list.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import math
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import ScoreConfig, SelectConfig, choice_key, layered
from zipspark.core.presets import proven_codec, trained_header
from zipspark.core.selectors import MULTISTAGE_RATE, rounds_cost
from zipspark.core.zlib_codec import IS_CLASSIC_ZLIB
from zipspark.core.zstd_codec import HEADER_SAMPLES
from zipspark.errors import EngineError, InputError, UsageError
from zipspark.report.summary import SetLine, Summary
from zipspark.spark import ledger as ledgers
from zipspark.spark import metrics, survey, tree
from zipspark.spark.batches import library_versions
from zipspark.spark.corpus import Corpus, read_corpus
from zipspark.spark.failures import explain_spark_error, first_line
from zipspark.spark.measure import random_of, set_ratios
from zipspark.spark.progress import Progress
from zipspark.spark.scores import scored
from zipspark.spark.session import get_session
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.output import Format, Output
from zipspark.storage.places import redact
from zipspark.storage.stages import Stages
from zipspark.units import format_bytes

logger = logging.getLogger("zipspark")

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

    def save(self, path: str, *, format: Format = "parquet", overwrite: bool = False) -> None:
        """Write OUT as ``zipspark select --output`` does; raises `InputError` when it exists or cannot be written."""
        if format not in get_args(Format):
            raise UsageError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
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

    The tables are read from a work folder (``work_dir``; by default a temporary one), which goes with the process.

    >>> chosen = select("pool.parquet", budget="10%", group_column="source")  # doctest: +SKIP
    >>> chosen.subset.show()  # doctest: +SKIP
    """
    names: Sequence[str] = ()
    frame: DataFrame | None = None
    if isinstance(source, str):
        names = (source,)
    elif isinstance(source, (list, tuple)):
        names = source
    else:
        frame = source
    if misplaced := options.keys() & {"output", "overwrite", "format", "json"}:
        raise UsageError(f"{min(misplaced)} must be given to .save() of what select returns, not to select")
    if (spark or frame is not None) and (misplaced := options.keys() & {"master", "remote", "conf"}):
        raise UsageError(f"{min(misplaced)} must be set on the session that is given, or no session be given")
    config = layered(SelectConfig, {"budget": budget, "input": tuple(names), **options})
    with _explained():
        found = resolve(config.input) if frame is None else frame
        given = spark or (frame.sparkSession if frame is not None else None)
        session, codec = (given, proven_codec(config)) if given else _session(config, found)
        stages = Stages(session, config)
        atexit.register(stages.remove)  # the tables are read from it whenever they are looked at
        try:
            return _select(session, found, config, codec, stages, Progress(session, quiet=config.quiet))
        except BaseException as error:
            stages.remove(error)
            raise


def select_to(config: SelectConfig) -> Summary:
    """``zipspark select``: choose, and write OUT. Whatever fails or is interrupted leaves no OUT (or the old one)."""
    assert config.output is not None
    with _explained(), Output(config.output, overwrite=config.overwrite) as output:
        source = resolve(config.input)
        spark, codec = _session(config, source)
        with Stages(spark, config) as stages:
            progress = Progress(spark, quiet=config.quiet)
            selection = _select(spark, source, config, codec, stages, progress)
            with progress.stage("write", len(STAGES), of=len(STAGES)):
                _write(selection, output, config.format)
            output.write_manifest(selection.manifest | {"seconds": progress.seconds})
            output.commit()
    return replace(selection.summary, output=config.output, seconds=dict(progress.seconds))


def score_to(config: ScoreConfig) -> dict[str, Any]:
    """``zipspark score``: per-sample ratios alone, written to OUT/scores."""
    assert config.output is not None
    with _explained(), Output(config.output, overwrite=config.overwrite) as output:
        source = resolve(config.input)
        spark, codec = _session(config, source)
        with Stages(spark, config) as stages:
            progress = Progress(spark, quiet=config.quiet)
            with progress.stage("score", 1, of=2):
                corpus = _corpus(spark, source, config, stages)
                _said(corpus.warnings)
                scores = stages.write("scores", scored(corpus.rows, config))
                rows = survey.survey(scores, config).rows
            with progress.stage("write", 2, of=2):
                output.write("scores", ledgers.scores_table(scores), "parquet")
                output.write("quarantine", ledgers.quarantine(scores), "parquet")
            output.write_manifest(_manifest(corpus, config, codec) | {"rows": rows, "seconds": progress.seconds})
            output.commit()
    return {"rows": rows, "output": f"{config.output}/scores", "seconds": progress.seconds}


def _select(
    spark: SparkSession,
    source: Source | DataFrame,
    config: SelectConfig,
    codec: dict[str, Any],
    stages: Stages,
    progress: Progress,
) -> Selection:
    of = len(STAGES)
    with progress.stage("score", 1, of=of):
        corpus = _corpus(spark, source, config, stages)
        notes = _said(corpus.warnings)
        scores = stages.write("scores", scored(corpus.rows, config))

    with progress.stage("survey", 2, of=of):
        pool = survey.survey(scores, config)
        plan = tree.plan_parts(pool.buckets, config)
        header = _header(scores, pool.contents, config)
        notes += _said(_announcements(config, pool, plan))

    with progress.stage("parts", 3, of=of, samples=pool.samples):
        candidates = stages.write("candidates", tree.candidates(scores, plan, config, header))

    with progress.stage("merge", 4, of=of):
        picked = tree.fill(tree.fetch(candidates, plan, config), scores, plan, config, header)

    with progress.stage("account", 5, of=of):
        picks = stages.write("picks", spark.createDataFrame(picked.select(ledgers.PICKS.names)))
        subset_bytes = sum(picked["bytes"].to_pylist())
        with ThreadPoolExecutor(2) as both:  # the measure is one task: without company it leaves the other cores idle
            measured = both.submit(set_ratios, scores, picks, subset_bytes, pool.bytes, config.dedup)
            ledger = stages.write("ledger", ledgers.ledger(scores, candidates, picks, plan, config.dedup))
            counted = metrics.counts(ledger)
            ratios = measured.result()
        subset = ledgers.subset(corpus.originals, picks)

    if len(picked) == pool.samples:
        notes.append(f"the budget ({plan.budget}) takes the whole pool: nothing was left out.")
    ids = picked["zip_id"].to_pylist()
    sets = {"pool": (pool.samples, pool.bytes), "subset": (len(ids), subset_bytes)}
    summary = Summary(
        budget=str(config.budget),
        sets=tuple(
            SetLine(name, *sets.get(name, random_of(subset_bytes, ratio)), ratio["ratio"], int(ratio["bytes"]))
            for name, ratio in ratios.items()
        ),
        decisions=counted.decisions,
        groups=counted.groups,
        parts=plan.parts,
        seconds=dict(progress.seconds),
        checksum=hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        notes=tuple(notes),
    )
    manifest = _manifest(corpus, config, codec) | {
        "budget": {"unit": plan.budget.unit, "amount": plan.budget.amount},
        "parts": plan.parts,
        "rows": pool.rows,
        "selected": len(ids),
        "checksum": summary.checksum,
        "ratios": ratios,
    }
    return Selection(
        subset=subset,
        ledger=ledger,
        quarantine=ledgers.quarantine(scores),
        metrics=spark.createDataFrame(metrics.metrics(counted, progress.seconds)),
        summary=summary,
        manifest=manifest,
    )


def _write(selection: Selection, output: Output, format: Format) -> None:
    """All tables of a selection; with delta all are Delta tables, with jsonl the subset alone is JSON lines."""

    def write(name: str) -> None:
        of_table: Format = format if format == "delta" or name == "subset" else "parquet"
        output.write(name, getattr(selection, name), of_table)

    with ThreadPoolExecutor(len(TABLES)) as at_once:  # small tables: most of their time is Spark's, not work
        list(at_once.map(write, TABLES))


def _corpus(
    spark: SparkSession, source: Source | DataFrame, config: SelectConfig | ScoreConfig, stages: Stages
) -> Corpus:
    return read_corpus(spark, source, config, lambda frame: stages.write("input", frame))


def _session(config: SelectConfig | ScoreConfig, source: Source | DataFrame) -> tuple[SparkSession, dict[str, Any]]:
    """The session, and the codec's facts: it proves itself while Spark starts."""
    delta = getattr(source, "format", None) == "delta" or getattr(config, "format", None) == "delta"
    with ThreadPoolExecutor(1) as beside:
        codec = beside.submit(proven_codec, config)
        return get_session(config, delta=delta), codec.result()


def _header(scores: DataFrame, contents: int, config: SelectConfig) -> bytes:
    """The literal statistics every part shares (`core.zstd_codec`)."""
    if config.codec != "zstd":
        return b""
    return trained_header(config, survey.sampled_texts(scores, contents, HEADER_SAMPLES))


def _manifest(corpus: Corpus, config: SelectConfig | ScoreConfig, codec: dict[str, Any]) -> dict[str, Any]:
    """What the result depends on, and how it is called."""
    key = choice_key(config) | {"input": [redact(name) for name in config.input]}
    return {
        "run_id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": corpus.fingerprint,
        "layout": corpus.layout.schema if corpus.layout else "text-expr",
        "config": key,
        "config_hash": hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest(),
        "versions": library_versions(),
        "codec": codec,
    }


def _announcements(config: SelectConfig, pool: survey.Survey, plan: tree.Plan) -> Iterator[str]:
    """What a user should hear before the choice begins."""
    logger.info("samples %s, text %s, parts %s", f"{pool.samples:,}", format_bytes(pool.bytes), f"{plan.parts:,}")
    if config.codec == "zlib" and not IS_CLASSIC_ZLIB:
        yield "this Python is built with zlib-ng, whose sizes are not the classic zlib's: not the paper's picks."
    if config.selector == "multistage":
        mean = pool.bytes / max(pool.samples, 1)
        picks = min(pool.samples, plan.budget.amount / (mean if plan.budget.unit == "bytes" else 1))
        trials = rounds_cost(math.ceil(picks), pool.samples, config.k1, config.k2, config.k3)
        minutes = trials * mean / MULTISTAGE_RATE / 60
        yield f"multistage compresses {trials:,} candidates for this budget: about {minutes:,.1f} minutes of one core."


def _said(notes: Iterable[str]) -> list[str]:
    """``notes``, said at once: the summary, which repeats them, may be far away, or never come."""
    said = list(notes)
    for note in said:
        logger.warning("%s", note)
    return said


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what Spark raises into zipspark's own errors."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (OSError, pa.ArrowException)):  # ours to open, and not there, full or forbidden
            raise InputError(f"input or output cannot be used: {error}") from error
        explained = explain_spark_error(error)
        if explained is None and not type(error).__module__.startswith(("pyspark", "py4j", "grpc")):
            raise
        raise explained or EngineError(f"Spark failed: {first_line(error)}") from error
