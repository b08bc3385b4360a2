"""The choice, stage by stage: from an input to the picks and to what is said of every row.

::

    read ─ score ─▶ scores ─ look ─▶ samples ─ survey ─▶ plan ─ parts ─▶ candidates ─ merge ─▶ picks ─ account ─▶ ledger

Every arrow's head is a table in the work folder (the plan: on the driver); `looked_at`, `picked` and `accounted` are
that list.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from zipspark.config import MatrixConfig, SelectConfig, choice_of
from zipspark.core.lens import Lens
from zipspark.core.presets import trained_header
from zipspark.core.seen import Eye, counted_below, needs_lens
from zipspark.core.selectors import MULTISTAGE_RATE, rounds_cost
from zipspark.core.tokens import TokenCounter
from zipspark.core.zlib_codec import IS_CLASSIC_ZLIB
from zipspark.core.zstd_codec import HEADER_SAMPLES
from zipspark.errors import InputError
from zipspark.report.cautions import cautions
from zipspark.report.summary import SetLine, Summary
from zipspark.running import manifest, said
from zipspark.selected import Selection
from zipspark.spark import ledger as ledgers
from zipspark.spark import metrics, references, survey, tree
from zipspark.spark import subset as subsets
from zipspark.spark.corpus import Corpus, read_corpus
from zipspark.spark.matrix import matrix_of
from zipspark.spark.measure import random_of, set_ratios
from zipspark.spark.progress import Progress, side_by_side
from zipspark.spark.references import References
from zipspark.spark.report_facts import Material
from zipspark.spark.samples import choosable_scores, seen
from zipspark.spark.scores import scored, with_text
from zipspark.spark.sketches import sketch_of
from zipspark.storage.inputs import Source
from zipspark.storage.stages import Stages
from zipspark.units import format_bytes, parse_size

logger = logging.getLogger("zipspark")

STAGES = ("score", "look", "survey", "parts", "merge", "account", "write")


class NothingChosen(InputError):
    """There is something to choose from, but the stop rule takes none of it."""


@dataclass(frozen=True)
class Run:
    """What every stage of one run is given."""

    spark: SparkSession
    config: SelectConfig
    counter: TokenCounter | None  # `counter_of` the config: a file that cannot be read is found before Spark starts
    stages: Stages
    progress: Progress


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


@dataclass(frozen=True)
class Picked:
    """What is chosen of a pool."""

    picks: tree.Picks
    plan: tree.Plan  # before the parts ran (`tree.Picks.plan`: as it was followed)
    phases: tuple[str, ...]
    notes: tuple[str, ...]


def counter_of(config: SelectConfig) -> TokenCounter | None:
    """What counts tokens; None where a column does, or nobody asks. Raises `InputError`, `UsageError`."""
    return TokenCounter.read(config.tokenizer) if config.tokenizer else None


def looked_at(
    run: Run,
    source: Source | DataFrame | Corpus,
    beside: References,
    known: int = 0,
    chosen_before: Source | DataFrame | None = None,
) -> Looked:
    """Read and measure a pool, and see which of it is noise or anchored.

    ``known`` is that of `survey.check`; ``chosen_before`` is an anchor beside the one that was asked for.
    """
    spark, config, stages, progress, of = run.spark, run.config, run.stages, run.progress, len(STAGES)
    with progress.stage("score", 1, of=of), side_by_side(spark) as start:
        found = {}
        for name, tables in {"anchor": (beside["anchor"], chosen_before), "target": (beside["target"],)}.items():
            if there := [table for table in tables if table is not None]:
                found[name] = start(references.texts, spark, name, there, config, stages)
        corpus = source if isinstance(source, Corpus) else read_corpus(spark, source, config, stages.of("input"))
        notes = said(corpus.warnings)
        scores = stages.write("scores", scored(corpus.rows, config, config, run.counter))

    with progress.stage("look", 2, of=of):
        offered = survey.check(scores, config, known)
        anchor, target = (found[name].result() if name in found else None for name in ("anchor", "target"))
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


def picked(run: Run, looked: Looked) -> Picked:
    """The choice itself. Raises `InputError` where there is nothing to choose from, or nothing is chosen."""
    config, stages, progress, of = run.config, run.stages, run.progress, len(STAGES)
    scores, samples, pool, eye = looked.scores, looked.samples, looked.pool, looked.eye
    if not pool.samples:
        raise InputError(survey.nothing_left(samples, pool.rows))

    with progress.stage("survey", 3, of=of):
        phases = _phases(config, pool, scores, samples)
        plan = tree.plan(pool, config, looked.kept)
        by_share = config.until is not None and config.until.by_share
        aid = tree.Aid(
            header=trained_header(config, list(looked.sample.values())),
            lens=eye.lens if config.covers else None,
            reach=survey.reach(samples, choice_of(config), eye.lens, looked.targeted)
            if by_share and eye.lens
            else None,
        )
        notes = said([*plan.notes(), *_announcements(config, pool, plan, phases)])

    with progress.stage("parts", 4, of=of, samples=pool.samples):
        candidates = stages.write("candidates", tree.candidates(samples, plan, config, aid))

    with progress.stage("merge", 5, of=of):
        picks = tree.picks(candidates, samples, plan, config, aid, stages)
        notes += said(picks.notes)
        if not picks.rows:
            raise NothingChosen(f"nothing is chosen: until {config.until} is reached before the first sample")
    return Picked(picks, plan, phases, tuple(notes))


def accounted(run: Run, looked: Looked, picked: Picked, codec: dict[str, Any], key: dict[str, Any]) -> Selection:
    """What is to be written and said of a choice: what became of every row, and how redundant the sets are."""
    spark, config, stages, progress, of = run.spark, run.config, run.stages, run.progress, len(STAGES)
    corpus, scores, samples, pool = looked.corpus, looked.scores, looked.samples, looked.pool
    picks, plan = picked.picks, picked.plan
    notes = [*looked.notes, *picked.notes]

    with progress.stage("account", 6, of=of):
        with side_by_side(spark) as start:
            measured = start(set_ratios, scores, samples, picks.table, picks.bytes, pool.bytes, config.dedup)
            ledger = stages.write("ledger", ledgers.ledger(samples, picks.candidates, picks.table, plan, config.dedup))
            counted = metrics.counts(ledger)
            ratios = measured.result()
        subset = subsets.subset(corpus.originals, picks.table, config, picked.phases)

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
    asked = {name: getattr(config, name) for name in ("guard", "objective", "cost", "mix")}
    unit = plan.budget.unit if config.budget else None
    summary = replace(summary, notes=(*notes, *cautions(summary, asked, unit)))
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
        "summary": summary.to_dict(),
        "hide_text": config.hide_text,
    }
    return Selection(
        subset=subset,
        decided=ledger,
        quarantine=ledgers.quarantine(scores),
        metrics=spark.createDataFrame(metrics.metrics(counted, progress.seconds)),
        summary=summary,
        manifest=facts,
        material=Material(ledger, scores, picks.picked, config.hide_text or config.ids_only),
    )


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
    with side_by_side(rows.sparkSession) as start:
        of_anchor = start(anchor.sketch, config) if anchor else None
        of_target = start(target.sketch, config) if target else None
        sketch = sketch_of(rows, offered.head_bytes, config, config.covers_groups)
    lens = Lens.of(
        sketch,
        weight_exponent=config.weight_exponent,
        weight_cap=config.weight_cap,
        anchor=of_anchor.result() if of_anchor else None,
        target=of_target.result() if of_target else None,
        target_strength=config.target_strength,
        salts=survey.salts(rows) if config.covers_groups and anchor else (),
    )
    return Eye.opened(choice_of(config), lens, sample, config.covers_groups, counted_below(offered.head_bytes))


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
