"""The main job: from an input to a written subset. What is chosen, and how, stands in `zipspark.choosing`."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from zipspark.choosing import STAGES, Run, accounted, counter_of, looked_at, picked
from zipspark.config import BESIDE, ScoreConfig, SelectConfig, check_select
from zipspark.errors import UsageError
from zipspark.options import layered
from zipspark.report.page import prepared
from zipspark.report.summary import Summary
from zipspark.running import check_resumable, explained, manifest, run_key, said, start_session
from zipspark.selected import Selection, write_tables
from zipspark.spark import ledger as ledgers
from zipspark.spark import references, survey
from zipspark.spark.corpus import read_corpus
from zipspark.spark.progress import Progress
from zipspark.spark.references import References
from zipspark.spark.scores import scored
from zipspark.storage.inputs import Source, check_unchanged, resolve
from zipspark.storage.output import Output
from zipspark.storage.schema_output import SchemaOutput
from zipspark.storage.stages import Stages


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
    with explained():
        config = layered(SelectConfig, {"budget": budget, "input": tuple(names), **options})
        check_select(config, targeted="target" in frames)
        found = resolve(config.input) if frame is None else frame
        beside: References = frames | {
            name: references.find(name, getattr(config, name)) for name in BESIDE if name not in frames
        }
        given = spark or (frame.sparkSession if frame is not None else None)
        counter = counter_of(config)
        session, codec = start_session(config, config, found, *beside.values(), given=given)
        stages = Stages(session, config)
        atexit.register(stages.remove)  # the tables are read from it whenever they are looked at
        try:
            run = Run(session, config, counter, stages, Progress(session, quiet=config.quiet))
            found, beside = references.pinned_all(session, found, beside)
            key = run_key(config, found, beside)
            looked = looked_at(run, found, beside)
            return accounted(run, looked, picked(run, looked), codec, key)
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
            opened.enter_context(ThreadPoolExecutor(1)).submit(prepared)  # the report's scripts, while Spark starts
        source = resolve(config.input)
        tables = {name: references.find(name, getattr(config, name)) for name in BESIDE}
        counter = counter_of(config)
        spark, codec = start_session(config, config, source, *tables.values())
        if not config.output:
            output = opened.enter_context(SchemaOutput(spark, out, config.overwrite, config.resume))
        source, beside = references.pinned_all(spark, source, tables)
        if config.resume:
            check_resumable(source, *beside.values())
        key = run_key(config, source, beside)
        if output.check_is(key):
            assert output.found is not None
            return Complete(out, output.found["selected"], output.found["checksum"])
        with Stages(spark, config, config.resume) as stages:
            stages.claim(key | {"places": _places(source, beside)})
            progress = Progress(spark, quiet=config.quiet)
            run = Run(spark, config, counter, stages, progress)
            looked = looked_at(run, source, beside)
            selection = accounted(run, looked, picked(run, looked), codec, key)
            with progress.stage("write", len(STAGES), of=len(STAGES)):
                write_tables(selection, output, config.format)
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
                corpus = read_corpus(spark, source, config, stages.of("input"))
                said(corpus.warnings)
                scores = stages.write("scores", scored(corpus.rows, config, config))
                rows = survey.check(scores, config).rows
            with progress.stage("write", 2, of=2):
                output.write("scores", ledgers.scores_table(scores), "parquet")
                output.write("quarantine", ledgers.quarantine(scores), "parquet")
            output.write_manifest(manifest(corpus, config, codec) | {"rows": rows, "seconds": progress.seconds})
            output.commit()
    return {"rows": rows, "output": f"{config.output}/scores", "seconds": progress.seconds}


def _places(source: Source, beside: References) -> dict[str, str]:
    """Where the sources lie: stages hold the names of files, a ranking does not depend on them."""
    return {name: table.place for name, table in {"input": source, **beside}.items() if isinstance(table, Source)}
