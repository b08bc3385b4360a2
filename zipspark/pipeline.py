"""The main job: from an input to a written subset, stage by stage.

::

    read ─ score ─▶ scores ─ look ─▶ samples ─ survey ─▶ plan ─ parts ─▶ candidates ─ merge ─▶ picks ─ account ─▶ OUT

Every arrow's head is a table in the work folder (the plan: on the driver). `looked_at` and `chosen` read as that list.
"""

from __future__ import annotations

import atexit
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from pyspark.sql import DataFrame, SparkSession

from zipspark.config import BESIDE, MatrixConfig, ScoreConfig, SelectConfig, check_select, choice_of
from zipspark.core.lens import Lens
from zipspark.core.presets import trained_header
from zipspark.core.seen import Eye, counted_below, needs_lens
from zipspark.core.selectors import MULTISTAGE_RATE, rounds_cost
from zipspark.core.tokens import TokenCounter
from zipspark.core.zlib_codec import IS_CLASSIC_ZLIB
from zipspark.core.zstd_codec import HEADER_SAMPLES
from zipspark.errors import InputError, UsageError
from zipspark.options import layered
from zipspark.report.summary import SetLine, Summary
from zipspark.running import check_resumable, explained, manifest, run_key, said, start_session
from zipspark.spark import ledger as ledgers
from zipspark.spark import metrics, references, survey, tree
from zipspark.spark import subset as subsets
from zipspark.spark.corpus import Corpus, pinned, read_corpus
from zipspark.spark.delta import check_delta
from zipspark.spark.matrix import matrix_of
from zipspark.spark.measure import random_of, set_ratios
from zipspark.spark.progress import Progress, tagged
from zipspark.spark.samples import choosable_scores, seen
from zipspark.spark.scores import scored, with_text
from zipspark.spark.sketches import sketch_of
from zipspark.storage.inputs import Source, check_unchanged, resolve
from zipspark.storage.output import Format, Output
from zipspark.storage.schema_output import TABLES, SchemaOutput
from zipspark.storage.stages import Stages
from zipspark.units import format_bytes, parse_size

logger = logging.getLogger("zipspark")

STAGES = ("score", "look", "survey", "parts", "merge", "account", "write")

References = Mapping[str, Source | DataFrame | None]  # one for each of `BESIDE`


class NothingChosen(InputError):
    """There is something to choose from, but the stop rule takes none of it."""


@dataclass(frozen=True)
class Complete:
    """An OUT that ``--resume`` has found whole."""

    output: str
    selected: int
    checksum: str

    def to_dict(self) -> dict[str, Any]:
        return {"complete": True} | asdict(self)

    def __rich__(self) -> str:
        return f"{self.output} is complete: {self.selected:,} rows, of the same input, options and versions"


@dataclass(frozen=True)
class Selection:
    """A finished choice: tables as DataFrames, and what is to be said of them."""

    subset: DataFrame  # the input's columns and zip_id, zip_rank, zip_ratio, zip_marginal_ratio, in order of rank
    decided: DataFrame  # one row per input row (`zipspark.spark.ledger`)
    quarantine: DataFrame  # file, position, reason, record of rows that could not be read or rendered
    metrics: DataFrame  # rows and bytes per stage and group, seconds per stage
    summary: Summary
    manifest: dict[str, Any]  # input, options, versions, checksum: what the ranking depends on

    @property
    def ledger(self) -> DataFrame:
        """One row per input row, with `zipspark.spark.ledger.LEDGER_COLUMNS`."""
        return self.decided.select(*ledgers.LEDGER_COLUMNS)

    def save(
        self,
        path: str | None = None,
        *,
        output_schema: str | None = None,
        format: Format = "parquet",
        overwrite: bool = False,
    ) -> None:
        """Write OUT as ``zipspark select --output`` or ``--output-schema`` does.

        Raises `InputError` when it exists or cannot be written.
        """
        if format not in get_args(Format):
            raise UsageError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
        output: Output | SchemaOutput
        if path is not None and output_schema is None:
            output = Output(path, overwrite)
        elif output_schema is not None and path is None:
            output, format = SchemaOutput(self.subset.sparkSession, output_schema, overwrite), "delta"
        else:
            raise UsageError("save must be given a path, or output_schema, and not both")
        if format == "delta":
            check_delta(self.subset.sparkSession)
        with explained(), output:
            _write(self, output, format)
            output.write_manifest(self.manifest)
            output.commit()

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


def select(
    source: DataFrame | str | list[str], budget: Any = None, *, spark: SparkSession | None = None, **options: Any
) -> Selection:
    """Choose the low-redundancy subset of ``source`` on Spark.

    Args:
        source: a DataFrame, or what ``zipspark select`` takes as INPUT (paths, folders, globs, a table name).
        budget: rows (``10000``), share of the pool (``"5%"``), bytes of text (``"500MB"``) or tokens (``"20Mtok"``).
        spark: the session to use; default: the DataFrame's, the active one, or a new local one.
        options: those of ``conf/select.yml``; ``anchor``, ``keep`` and ``target`` may be DataFrames too.

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
    if options.get("resume"):
        raise UsageError("resume needs an OUT, beside which stages are kept: use the command, zipspark select --resume")
    if misplaced := options.keys() & {"output", "output_schema", "overwrite", "format", "json"}:
        raise UsageError(f"{min(misplaced)} must be given to .save() of what select returns, not to select")
    if (spark or frame is not None) and (misplaced := options.keys() & {"master", "remote", "conf", "jars"}):
        raise UsageError(f"{min(misplaced)} must be set on the session that is given, or no session be given")
    frames = {name: options.pop(name) for name in BESIDE if isinstance(options.get(name), DataFrame)}
    config = layered(SelectConfig, {"budget": budget, "input": tuple(names), **options})
    check_select(config, targeted="target" in frames)
    with explained():
        found = resolve(config.input) if frame is None else frame
        beside: References = frames | {
            name: references.find(name, getattr(config, name)) for name in BESIDE if name not in frames
        }
        counter = TokenCounter.read(config.tokenizer) if config.tokenizer else None
        given = spark or (frame.sparkSession if frame is not None else None)
        session, codec = start_session(config, config, found, *beside.values(), given=given)
        stages = Stages(session, config)
        atexit.register(stages.remove)  # the tables are read from it whenever they are looked at
        try:
            progress = Progress(session, quiet=config.quiet)
            found, beside = pinned_all(session, found, beside)
            key = run_key(config, found, beside)
            looked = looked_at(session, found, beside, counter, config, stages, progress)
            return chosen(session, looked, config, codec, key, stages, progress)
        except BaseException as error:
            stages.remove(error)
            raise


def select_to(config: SelectConfig) -> Summary | Complete:
    """``zipspark select``: choose, and write OUT, a folder or the tables of a schema.

    Whatever fails or is interrupted leaves no OUT (or the old one).
    """
    check_select(config)
    if config.output_schema:
        if config.resume and not config.work_dir:
            raise UsageError(
                "resume needs work_dir where output_schema is given: the folder that the stages are kept in"
            )
        config = config.model_copy(update={"format": "delta"})
    out = config.output or config.output_schema
    assert out is not None
    with explained(), ExitStack() as opened:
        output: Output | SchemaOutput
        if config.output:  # it can be looked at before Spark is there, a catalog cannot
            output = opened.enter_context(Output(out, config.overwrite, config.resume))
        source = resolve(config.input)
        tables = {name: references.find(name, getattr(config, name)) for name in BESIDE}
        counter = TokenCounter.read(config.tokenizer) if config.tokenizer else None
        spark, codec = start_session(config, config, source, *tables.values())
        if not config.output:
            output = opened.enter_context(SchemaOutput(spark, out, config.overwrite, config.resume))
        source, beside = pinned_all(spark, source, tables)
        if config.resume:
            check_resumable(source, *beside.values())
        key = run_key(config, source, beside)
        if output.check_is(key):
            assert output.found is not None
            return Complete(out, output.found["selected"], output.found["checksum"])
        with Stages(spark, config, config.resume) as stages:
            stages.claim(key | {"places": _places(source, beside)})
            progress = Progress(spark, quiet=config.quiet)
            looked = looked_at(spark, source, beside, counter, config, stages, progress)
            selection = chosen(spark, looked, config, codec, key, stages, progress)
            with progress.stage("write", len(STAGES), of=len(STAGES)):
                _write(selection, output, config.format)
            for table in (source, *beside.values()):
                if isinstance(table, Source):
                    check_unchanged(table)
            output.write_manifest(selection.manifest | {"seconds": progress.seconds})
            output.commit()
    return replace(selection.summary, output=out, seconds=dict(progress.seconds))


def score_to(config: ScoreConfig) -> dict[str, Any]:
    """``zipspark score``: per-sample ratios alone, written to OUT/scores."""
    assert config.output is not None
    with explained(), Output(config.output, overwrite=config.overwrite) as output:
        source = resolve(config.input)
        spark, codec = start_session(config, config, source)
        with Stages(spark, config) as stages:
            progress = Progress(spark, quiet=config.quiet)
            with progress.stage("score", 1, of=2):
                corpus = read_corpus(spark, source, config, lambda frame: stages.write("input", frame))
                said(corpus.warnings)
                scores = stages.write("scores", scored(corpus.rows, config, config))
                rows = survey.check(scores, config).rows
            with progress.stage("write", 2, of=2):
                output.write("scores", ledgers.scores_table(scores), "parquet")
                output.write("quarantine", ledgers.quarantine(scores), "parquet")
            output.write_manifest(manifest(corpus, config, codec) | {"rows": rows, "seconds": progress.seconds})
            output.commit()
    return {"rows": rows, "output": f"{config.output}/scores", "seconds": progress.seconds}


@dataclass(frozen=True)
class Looked:
    """A pool before anything is chosen of it."""

    corpus: Corpus
    scores: DataFrame  # `zipspark.spark.scores.SCORES`
    samples: DataFrame  # `zipspark.spark.samples.SAMPLES`
    pool: survey.Survey  # of what can be chosen: perhaps nothing
    kept: survey.Survey | None  # of what must be
    eye: Eye
    sample: Mapping[str, bytes]  # content hash -> text of some
    targeted: bool
    notes: list[str]


def looked_at(
    spark: SparkSession,
    source: Source | DataFrame,
    beside: References,
    counter: TokenCounter | None,
    config: SelectConfig,
    stages: Stages,
    progress: Progress,
    known: int = 0,
) -> Looked:
    """Read and measure a pool, and see which of it is noise or anchored; ``known`` is that of `survey.check`."""
    of = len(STAGES)
    with progress.stage("score", 1, of=of):
        corpus = read_corpus(spark, source, config, lambda frame: stages.write("input", frame))
        notes = said(corpus.warnings)
        scores = stages.write("scores", scored(corpus.rows, config, config, counter))

    with progress.stage("look", 2, of=of):
        offered = survey.check(scores, config, known)
        anchor, target = (
            references.texts(spark, name, table, config, stages) if (table := beside[name]) is not None else None
            for name in ("anchor", "target")
        )
        keep = None
        if (table := beside["keep"]) is not None:
            keep = references.kept(spark, table, scores, config, stages)
        sample: dict[str, bytes] = {}
        if config.guard or config.codec == "zstd":  # what else would look at it
            sample = survey.sampled_texts(scores, offered.contents, HEADER_SAMPLES)
        eye = _eye(with_text(scores), offered, sample, anchor, target, config)
        samples = seen(scores, eye, config, anchor.contents if anchor else None, keep)
        if eye.lens is not None or keep is not None:
            samples = stages.write("samples", samples)
        pool = survey.survey(samples, offered.rows, config, config.by_group or config.phases is not None)
        kept = survey.survey(samples.where("kept"), offered.rows, config, config.by_group) if keep is not None else None
    return Looked(corpus, scores, samples, pool, kept, eye, sample, target is not None, notes)


def chosen(
    spark: SparkSession,
    looked: Looked,
    config: SelectConfig,
    codec: dict[str, Any],
    key: dict[str, Any],
    stages: Stages,
    progress: Progress,
) -> Selection:
    """The choice itself. Raises `InputError` where there is nothing to choose from, or nothing is chosen."""
    of = len(STAGES)
    corpus, scores, samples, pool, eye = looked.corpus, looked.scores, looked.samples, looked.pool, looked.eye
    if not pool.samples:
        raise InputError(survey.nothing_left(samples, pool.rows))
    notes = looked.notes

    with progress.stage("survey", 3, of=of):
        phases = _phases(config, pool, scores, samples)
        plan = tree.plan(pool, config, looked.kept)
        by_share = config.until is not None and config.until.by_share
        aid = tree.Aid(
            header=trained_header(config, list(looked.sample.values())),
            lens=eye.lens if config.objective == "coverage" else None,
            reach=survey.reach(samples, eye.lens, looked.targeted) if by_share and eye.lens else None,
        )
        notes += said([*plan.notes(), *_announcements(config, pool, plan, phases)])

    with progress.stage("parts", 4, of=of, samples=pool.samples):
        candidates = stages.write("candidates", tree.candidates(samples, plan, config, aid))

    with progress.stage("merge", 5, of=of):
        picks = tree.picks(candidates, samples, plan, config, aid, stages)
        notes += said(picks.notes)
        if not picks.rows:
            raise NothingChosen(f"nothing is chosen: until {config.until} is reached before the first sample")

    with progress.stage("account", 6, of=of):
        with ThreadPoolExecutor(2) as both:  # the measure is one task: without company it leaves the other cores idle
            measured = both.submit(
                tagged(spark, set_ratios), scores, samples, picks.table, picks.bytes, pool.bytes, config.dedup
            )
            ledger = stages.write("ledger", ledgers.ledger(samples, picks.candidates, picks.table, plan, config.dedup))
            counted = metrics.counts(ledger)
            ratios = measured.result()
        subset = subsets.subset(corpus.originals, picks.table, config, phases)

    if picks.rows == pool.samples:
        notes.append(f"the budget ({plan.budget}) takes the whole pool: nothing was left out.")
    sets = {"pool": (pool.samples, pool.bytes), "subset": (picks.rows, picks.bytes)}
    summary = Summary(
        budget=", ".join(str(limit) for limit in (config.budget, config.until and f"until {config.until}") if limit),
        sets=tuple(
            SetLine(name, *sets.get(name, random_of(picks.bytes, ratio)), ratio["ratio"], int(ratio["bytes"]))
            for name, ratio in ratios.items()
        ),
        decisions=counted.decisions,
        groups=counted.groups,
        mix=plan.mix(picks),
        mix_unit=plan.budget.unit,
        parts=plan.parts,
        seconds=dict(progress.seconds),
        checksum=picks.checksum,
        notes=tuple(notes),
    )
    facts = manifest(corpus, config, codec) | {
        "key": key,
        "budget": {"unit": plan.budget.unit, "amount": plan.budget.amount},
        "parts": plan.parts,
        "tree": str(picks.plan.tree),
        "rows": pool.rows,
        "selected": picks.rows,
        "checksum": picks.checksum,
        "ratios": ratios,
        "stages_reused": stages.reused,
    }
    return Selection(
        subset=subset,
        decided=ledger,
        quarantine=ledgers.quarantine(scores),
        metrics=spark.createDataFrame(metrics.metrics(counted, progress.seconds)),
        summary=summary,
        manifest=facts,
    )


def pinned_all(spark: SparkSession, source: Any, beside: References) -> tuple[Any, References]:
    """The same sources, each table at the version that it has now."""
    tables = {name: pinned(spark, table) if isinstance(table, Source) else table for name, table in beside.items()}
    return pinned(spark, source) if isinstance(source, Source) else source, tables


def _places(source: Source, beside: References) -> dict[str, str]:
    """Where the sources lie: stages hold the names of files, a ranking does not depend on them."""
    return {name: table.place for name, table in {"input": source, **beside}.items() if isinstance(table, Source)}


def _eye(
    rows: DataFrame,
    offered: survey.Offered,
    sample: Mapping[str, bytes],
    anchor: references.Texts | None,
    target: references.Texts | None,
    config: SelectConfig,
) -> Eye:
    """What is needed to look at samples: the sketch of the pool, of anchor and target, where anything asks for it."""
    if not needs_lens(config, anchor is not None, target is not None):
        return Eye(choice_of(config), None)
    lens = Lens.of(
        sketch_of(rows, offered.head_bytes, config, config.covers_groups),
        weight_exponent=config.weight_exponent,
        weight_cap=config.weight_cap,
        anchor=anchor.sketch(config) if anchor else None,
        target=target.sketch(config) if target else None,
        target_strength=config.target_strength,
        salts=survey.salts(rows) if config.covers_groups and anchor else (),
    )
    return Eye.opened(choice_of(config), lens, sample, config.covers_groups, counted_below(offered.head_bytes))


def _write(selection: Selection, output: Output | SchemaOutput, format: Format) -> None:
    """All tables of a selection; with delta all are Delta tables, with jsonl the subset alone is JSON lines."""
    facts = {name: selection.manifest[name] for name in ("run_id", "config_hash")}

    def write(name: str) -> None:
        of_table: Format = format if format == "delta" or name == "subset" else "parquet"
        rows = selection.manifest["selected"] if name == "subset" else None
        output.write(name, getattr(selection, name), of_table, rows, facts)

    with ThreadPoolExecutor(len(TABLES)) as at_once:  # small tables: most of their time is Spark's, not work
        list(at_once.map(tagged(selection.subset.sparkSession, write), TABLES))


def _phases(config: SelectConfig, pool: survey.Survey, scores: DataFrame, samples: DataFrame) -> tuple[str, ...]:
    """Groups in the order they are trained on."""
    if config.phases is None:
        return ()
    if config.phases == ("auto",):
        offered = choosable_scores(scores, samples)
        return tuple(matrix_of(offered, parse_size(MatrixConfig.model_fields["sample"].default)).order())
    subsets.check_phases(config.phases, list(pool.by_group("rows")))
    return config.phases


def _announcements(config: SelectConfig, pool: survey.Survey, plan: tree.Plan, phases: Sequence[str]) -> Iterator[str]:
    """What a user should hear before the choice begins."""
    logger.info("samples %s, text %s, parts %s", f"{pool.samples:,}", format_bytes(pool.bytes), f"{plan.parts:,}")
    if config.codec == "zlib" and not IS_CLASSIC_ZLIB:
        yield "this Python is built with zlib-ng, whose sizes are not the classic zlib's: not the paper's picks."
    if config.phases == ("auto",):
        yield f"phases, by how well each group compresses the others (a heuristic): {', '.join(phases)}"
    if config.selector == "multistage":
        mean = pool.bytes / max(pool.samples, 1)
        share = min(1.0, plan.budget.amount / max(pool.total(plan.budget.unit), 1))
        trials = rounds_cost(math.ceil(share * pool.samples), pool.samples, config.k1, config.k2, config.k3)
        minutes = trials * mean / MULTISTAGE_RATE / 60
        yield f"multistage compresses {trials:,} candidates for this budget: about {minutes:,.1f} minutes of one core."
