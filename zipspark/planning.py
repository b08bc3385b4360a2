"""``zipspark plan``: what a run would do, need and stumble over, from a bounded sample and with nothing written.

::

    input ─ copy a few MB ─▶ sample ─ score, look (as a run does) ─▶ what it holds ─ scaled up ─▶ survey ─▶ plan
                                └─ again, on copies of it ─▶ rates ─▶ seconds

The sample goes through the very stages of `zipspark.choosing`, so what is read, rendered, refused and guarded is what a
run would. Sizes are scaled up by rows; the tree is planned by the same pure function; seconds are what the sample took
plus what more bytes take at the rates measured on it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipspark.calibration import HELD, Selecting, engine_of, own_memory, rates, still
from zipspark.choosing import STAGES, Looked, Run, counter_of, looked_at
from zipspark.config import BESIDE, SelectConfig, check_select, oversampling
from zipspark.errors import InputError
from zipspark.forecast import Work, forecast
from zipspark.limits import NO_GROUP
from zipspark.planning_risks import risks_of
from zipspark.report.planned import Found, Planned, Risk
from zipspark.running import explained, start_session
from zipspark.spark.corpus import Corpus
from zipspark.spark.plan import Plan, plan
from zipspark.spark.progress import Progress
from zipspark.spark.sampling import copy_of
from zipspark.spark.survey import Survey
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.records import BLOCK
from zipspark.storage.sampling import Copy, spread
from zipspark.storage.stages import Stages

SAMPLE = 8 * 10**6  # bytes of records that are looked at
_SHOWN = 3  # samples
_MOST_TEXT = 20_000  # characters of one


@dataclass(frozen=True)
class _Sample:
    """A sample of the pool that went through `looked_at`, on the driver."""

    copy: Copy
    looked: Looked
    rows: pa.Table  # one per row of it: `zipspark.spark.samples.SAMPLES` but for a few, with its text and problem
    scale: float  # rows of the pool per row

    @property
    def offered(self) -> pa.Table:
        """Its rows with a text; of a whole pool those that can be chosen (a sample has too little company to tell)."""
        return self.rows.filter(pc.is_null(self.rows["barred"]) if self.copy.whole else pc.is_valid(self.rows["text"]))

    @property
    def longest(self) -> int:
        """Bytes of its largest text."""
        return max(self.offered["bytes"].to_pylist(), default=0)


def plan_to(config: SelectConfig) -> Planned:
    """``zipspark plan``: the plan of a run with these options.

    Raises:
        UsageError, InputError, EngineError: as the run itself would, where no sample can be read at all.
    """
    check_select(config)
    started = time.perf_counter()
    # Nothing of OUT is touched, least of all the stages of a killed run that stand beside it; bad rows are reported.
    nothing = {"output": None, "output_schema": None, "format": "parquet", "resume": False}
    quiet = config.model_copy(update={**nothing, "max_bad_fraction": 1.0, "quiet": True})
    with explained(), ExitStack() as opened:
        source = resolve(config.input)
        counter = counter_of(config)
        spark, _ = start_session(quiet, quiet, source)
        begun = time.perf_counter() - started
        stages = opened.enter_context(Stages(spark, quiet))
        stages.claim({})  # from here on the folder is ours
        copy = copy_of(spark, source, quiet, stages.folder.child("sample"), SAMPLE)
        progress = Progress(spark, quiet=True)
        looked = looked_at(Run(spark, quiet, counter, stages, progress), copy.source, dict.fromkeys(BESIDE))
        sample = _on_driver(copy, looked)
        pool = _survey(sample, config)
        with progress.stage("survey", 3, of=len(STAGES)):
            planned, refused = _tree(pool, config)
        selecting = Selecting(_rankable(sample.offered, config), config, looked.eye, looked.sample, planned.quota)
        engine = engine_of(spark)
        texts = sample.offered["text"].to_pylist()
        share = min(1.0, planned.budget.amount / max(pool.total(planned.budget.unit), 1))
        if copy.whole:
            measured = still(texts)
        else:
            measured = rates(spark, copy.source, quiet, looked.eye, texts, counter, engine.cores, stages)
            measured = replace(measured, crowded=selecting.crowded(spark, engine.cores, share))
            engine = engine_of(spark)  # its workers have held batches as large as they come by now
        subset = _subset(pool, planned, share, selecting.mean(pool.bytes, share))
        work = _work(source, sample, pool, planned, config, share, subset[1], engine.cores)
        seconds = {"start": begun} | forecast(work, progress.seconds, selecting.seconds, measured)
        found = _found(config, source, sample, pool)
        part, driver_bytes, held = planned.tree.levels[0].bytes_in, planned.tree.driver_bytes, HELD[config.objective]
        until = config.until and f"until {config.until}"
        risks = risks_of(spark, config, found, sample.longest, planned, engine, subset[1], seconds)
        return Planned(
            found=found,
            samples=None if config.hide_text else _shown(texts),
            budget=", ".join(str(limit) for limit in (config.budget, until) if limit),
            subset_rows=subset[0],
            subset_bytes=subset[1],
            parts=planned.parts,
            tree=str(planned.tree),
            part_bytes=part,
            task_memory=round(engine.worker + held * part),
            driver_bytes=driver_bytes,
            driver_memory=round(own_memory() + held * driver_bytes),
            cores=engine.cores,
            seconds=seconds,
            risks=(*refused, *risks),
            notes=(*looked.notes, *planned.notes(), *_notes(config, sample)),
            took=time.perf_counter() - started,
        )


def _on_driver(copy: Copy, looked: Looked) -> _Sample:
    texts = looked.scores.select("file", "position", "text", "problem").toArrow()
    samples = looked.samples.drop("user_id", "ratio", "kept").toArrow()
    rows = _beside(samples, texts)
    return _Sample(copy, looked, rows, copy.rows / max(len(rows), 1))


def _beside(samples: pa.Table, texts: pa.Table) -> pa.Table:
    """The columns of both, whose rows are the same by file and position (Arrow's joins take no nested or binary)."""
    key = [("file", "ascending"), ("position", "ascending")]
    samples, texts = samples.sort_by(key), texts.sort_by(key)
    for name in ("text", "problem"):
        samples = samples.append_column(name, texts[name])
    return samples


def _rankable(offered: pa.Table, config: SelectConfig) -> pa.Table:
    """What has a view, as an objective looks at it; where copies are dropped each content once."""
    offered = offered.filter(pc.is_valid(offered["view"]))
    return _distinct(offered) if config.dedup else offered


def _distinct(rows: pa.Table) -> pa.Table:
    """The first row of each content."""
    first = {name: at for at, name in reversed(list(enumerate(rows["content"].to_pylist())))}
    return rows.take(pa.array(sorted(first.values()), pa.int64()))


def _survey(sample: _Sample, config: SelectConfig) -> Survey:
    """What `survey.survey` would say of the pool, scaled up from the sample."""
    offered = sample.offered
    if not len(offered):
        raise InputError(
            f"nothing is left to choose from: of {len(sample.rows):,} rows of the sample none can be chosen"
        )
    by_group = config.by_group or config.group_column is not None
    group = pc.fill_null(offered["group"], NO_GROUP) if by_group else pa.array([""] * len(offered))
    rows = pa.table({name: offered[name] for name in ("content", "bucket", "bytes", "tokens")} | {"group": group})
    if config.dedup and sample.copy.whole:
        rows = _distinct(rows)
    summed = rows.group_by(["bucket", "group"]).aggregate([("content", "count"), ("bytes", "sum"), ("tokens", "sum")])

    def scaled(name: str) -> pa.Array:
        values = pc.fill_null(summed[name], 0).to_numpy() * sample.scale
        return pa.array(np.maximum(np.rint(values), 1).astype(np.int64))

    sizes = pa.table(
        {
            "bucket": summed["bucket"],
            "group": summed["group"],
            "rows": scaled("content_count"),
            "bytes": scaled("bytes_sum"),
            "tokens": scaled("tokens_sum"),
        }
    )
    return Survey(sample.copy.rows, sizes.sort_by([("bucket", "ascending"), ("group", "ascending")]))


def _tree(pool: Survey, config: SelectConfig) -> tuple[Plan, list[Risk]]:
    """The plan; where the limits of groups do not fit the pool that of a run without them, and why they do not."""
    try:
        return plan(pool, config), []
    except InputError as error:
        if not config.by_group:
            raise
        instead = "change --mix, --floor or --cap, or the budget (group sizes are those of a sample)"
        free = config.model_copy(update={"mix": None, "floor": {}, "cap": {}})
        return plan(pool, free), [Risk(True, str(error), instead)]


def _subset(pool: Survey, planned: Plan, share: float, mean: float) -> tuple[int, int]:
    """(rows, bytes) that the budget takes, of ``mean`` bytes each; in tokens text is as long as the pool's is."""
    if planned.budget.unit == "rows":
        rows = int(min(planned.budget.amount, pool.samples))
        return rows, round(rows * mean)
    size = share * pool.bytes
    return max(1, round(size / max(mean, 1.0))), round(size)


def _work(
    source: Source,
    sample: _Sample,
    pool: Survey,
    planned: Plan,
    config: SelectConfig,
    share: float,
    subset_bytes: int,
    cores: int,
) -> Work:
    """What a run goes through, for `forecast`."""
    return Work(
        rows=pool.rows,
        bytes=pool.bytes,
        sampled=int(sum(sample.offered["bytes"].to_pylist())),
        parts=planned.parts,
        levels=len(planned.tree.levels) - 1,
        share=share,
        handed_up=oversampling(config),
        subset=subset_bytes,
        reading=_tasks(source, cores),
        cores=cores,
        # Rows are checked and surveyed; some are fetched where something looks at them; the lens makes two more.
        jobs=2 + bool(sample.looked.sample) + 2 * (sample.looked.eye.lens is not None),
    )


def _tasks(source: Source, cores: int) -> int:
    """How many tasks read the input."""
    if source.format in ("parquet", "delta", "table"):
        return cores
    return max(1, math.ceil(sum(file.size for file in source.files) / BLOCK))


def _found(config: SelectConfig, source: Source, sample: _Sample, pool: Survey) -> Found:
    rows, corpus = sample.rows, sample.looked.corpus
    sizes = sample.offered["bytes"].to_numpy()
    texts = rows.filter(pc.is_valid(rows["text"]))
    offered = texts["bytes"].to_numpy()
    reasons = [reason or "" for reason in rows["reason"].to_pylist()]
    barred = rows["barred"].to_pylist()
    problems = Counter(problem.partition(":")[0] for problem in rows["problem"].to_pylist() if problem)
    left_out = sum(reason.partition(":")[0] in ("where", "quality") for reason in reasons)
    error = 2 * float(np.std(sizes)) / math.sqrt(max(len(sizes), 1)) / max(float(np.mean(sizes)), 1.0)
    layout = corpus.layout
    return Found(
        input=config.input,
        format=source.format,
        rows=sample.copy.rows,
        rows_how=sample.copy.how,
        bytes=round(float(offered.sum()) * sample.scale),
        bytes_error=0.0 if sample.copy.whole else error,
        sample_rows=len(rows),
        sample_bytes=int(offered.sum()),
        problems=dict(problems),
        left_out=left_out,
        duplicates=len(texts) - len(set(texts["content"].to_pylist())),
        guarded=sum(one == "guarded" for one in barred) - left_out,
        layout=layout.schema if layout else "text-expr",
        columns=dict(corpus.kinds),
        used=_used(corpus, config),
        groups=pool.by_group("rows") if config.group_column else {},
    )


def _used(corpus: Corpus, config: SelectConfig) -> tuple[str, ...]:
    """The columns that give the text; of the layout reference all do."""
    if corpus.layout is None:
        return (config.text_expr or "",)
    named = tuple(field.column for field in corpus.layout.fields if field.column in corpus.kinds)
    return named or tuple(corpus.kinds)


def _shown(texts: list[bytes]) -> tuple[str, ...]:
    return tuple(text.decode(errors="replace")[:_MOST_TEXT] for text in spread(texts, _SHOWN))


def _notes(config: SelectConfig, sample: _Sample) -> list[str]:
    notes = []
    if beside := [name for name in BESIDE if getattr(config, name)]:
        notes.append(f"{' and '.join(beside)}: not read here, so time and rows that they cost are not counted")
    if config.until is not None:
        notes.append(f"until {config.until} may end the choice sooner: sizes and seconds are those without it")
    if not sample.copy.whole:
        notes.append("of exact duplicates a sample sees those within it; the pool holds more")
    return notes
