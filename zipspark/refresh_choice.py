"""What a refresh chooses: of which rows, beside what is there, and how many.

With mode ``append`` from the new rows, with the subset as anchor; with ``reselect`` from subset and new rows together;
the first time and for a rebuild from the whole corpus. The choice itself is that of `zipspark.choosing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.choosing import Looked, NothingChosen, Picked, Run, counter_of, looked_at, picked
from zipspark.config import RefreshConfig, SelectConfig, SelectionOptions
from zipspark.spark import ledger as ledgers
from zipspark.spark import references
from zipspark.spark.changes import Changes
from zipspark.spark.columns import quoted
from zipspark.spark.corpus import pinned
from zipspark.spark.progress import Progress, side_by_side
from zipspark.spark.references import References
from zipspark.spark.rows import OWN
from zipspark.spark.subset import subset as subset_of
from zipspark.storage.deltas import Identity
from zipspark.storage.inputs import Source
from zipspark.storage.refreshes import Tables, moved
from zipspark.storage.stages import Stages
from zipspark.units import Budget

Size = tuple[int, int]  # rows, bytes of their rendered text


@dataclass(frozen=True)
class Standing:
    """Where a refresh begins: its options, the corpus as it is now, the tables as the last one left them."""

    spark: SparkSession
    config: RefreshConfig
    tables: Tables
    corpus: Source  # pinned
    identity: Identity  # of the corpus
    history: tuple[dict[str, Any], ...]  # a row per refresh before this one
    base: int | None  # version of the subset that is there; None: none is
    number: int  # of this refresh

    @property
    def last(self) -> dict[str, Any] | None:
        """The refresh before this one; None: this is the first."""
        return self.history[-1] if self.history else None

    @property
    def is_whole(self) -> bool:
        """Whether the whole corpus is looked at."""
        return self.last is None or self.config.rebuild

    @property
    def chooses_all(self) -> bool:
        """Whether all of the subset is chosen, not only what comes to it."""
        return self.is_whole or self.config.mode == "reselect"

    @cached_property
    def subset(self) -> DataFrame | None:
        """The subset as it is; None where there is none."""
        return None if self.base is None else self.tables.subset.read(self.spark, self.base)

    @cached_property
    def ledger(self) -> DataFrame:
        """As the last refresh left it."""
        assert self.last is not None
        ledger = self.tables.ledger
        return ledger.read(self.spark, moved(self.spark, ledger, self.last["ledger_version"]))

    def staying(self, gone: DataFrame | None) -> DataFrame:
        """The rows of the subset that are in the corpus as they were."""
        assert self.subset is not None
        return self.subset if gone is None else self.subset.join(gone, "zip_id", "left_anti")


class Known(NamedTuple):
    """What the tables say of the rows before this refresh."""

    rows: int = 0  # of the ledger
    offered: int = 0  # of these, what can be chosen and has not gone
    staying: int = 0  # rows of the subset that have not gone
    next_rank: int = 0  # of the first row to be appended

    @classmethod
    def of(cls, at: Standing, gone: DataFrame | None) -> Known:
        if at.is_whole:
            return cls()
        assert at.subset is not None
        ledger, subset = at.ledger.select("zip_id", "decision"), at.subset.select("zip_id", "zip_rank")
        stays = F.col("gone").isNull()
        can_be = F.col("decision").isin("selected", "not_selected")
        of_ledger = (F.count("*").alias("rows"), F.count_if(can_be & stays).alias("offered"))
        next_rank = F.coalesce(F.max("zip_rank") + 1, F.lit(0)).alias("next_rank")
        with side_by_side(at.spark) as start:
            of_subset = start(_counted, subset, gone, F.count_if(stays).alias("staying"), next_rank)
            return cls(**_counted(ledger, gone, *of_ledger), **of_subset.result())


def _counted(rows: DataFrame, gone: DataFrame | None, *of: Column) -> dict[str, int]:
    """Figures of ``rows`` with a column ``gone`` beside their own, null where a row's ``zip_id`` is not in ``gone``."""
    if gone is None:
        rows = rows.withColumn("gone", F.lit(None))
    else:
        rows = rows.join(gone.withColumn("gone", F.lit(True)), "zip_id", "left")
    found: dict[str, int] = rows.agg(*of).toArrow().to_pylist()[0]
    return found


@dataclass(frozen=True)
class Chosen:
    """What became of the rows that were looked at."""

    decided: DataFrame | None = None  # the ledger's rows of them; None: nothing was looked at
    come: DataFrame | None = None  # the corpus' columns and zip_*, of rows that are to be in the subset; None: none
    size: Size = (0, 0)  # of `come`
    whole: bool = False  # `come` is all of the subset, not only what is added to it


def chosen(at: Standing, changes: Changes | None, stages: Stages, progress: Progress) -> Chosen:
    """What becomes of the rows that changed; where nothing is to be looked at, nothing of them."""
    if changes is not None and not changes.to_look_at:
        return Chosen()
    config = _selection(at.config)
    beside: dict[str, Any] = {"keep": None}
    for name in ("anchor", "target"):
        found = references.find(name, getattr(config, name))
        beside[name] = found and pinned(at.spark, found)
    run = Run(at.spark, config, counter_of(config), stages, progress)
    known = Known.of(at, changes.gone if changes else None)
    looked = _looked_at(at, run, changes, known, beside)
    budget = _budget(at, known, looked.pool.samples)
    if at.chooses_all or (looked.pool.samples and budget.amount >= 1):
        run = replace(run, config=config.model_copy(update={"budget": budget}))
        try:
            return _written(at, run, looked, picked(run, looked), known, changes.gone if changes else None)
        except NothingChosen:
            if at.chooses_all:
                raise
    unchosen = ledgers.unchosen(looked.samples, config.dedup)
    return Chosen(stages.write("ledger", _decided(at, unchosen, 0)))


def _looked_at(at: Standing, run: Run, changes: Changes | None, known: Known, beside: References) -> Looked:
    if changes is None:
        return looked_at(run, at.corpus, beside)
    if at.chooses_all:
        pool = changes.rows.unionByName(own(at.staying(changes.gone)), allowMissingColumns=True)
        return looked_at(run, pool, beside, known.rows)
    return looked_at(run, changes.corpus, beside, known.rows, _anchor(at, changes.gone) if known.staying else None)


def _anchor(at: Standing, gone: DataFrame | None) -> Source | DataFrame:
    """The rows of the subset that stay."""
    assert at.base is not None
    return at.tables.subset.source(at.base) if gone is None else own(at.staying(gone))


def _budget(at: Standing, known: Known, samples: int) -> Budget:
    """What is to be chosen now: an amount as it is, of a share what the subset lacks to be one of the corpus."""
    budget = at.config.budget
    assert budget is not None
    if at.is_whole or budget.unit != "share":
        return budget
    if at.chooses_all:
        return Budget("rows", max(1, math.ceil(budget.amount * (known.offered - known.staying + samples) - 1e-9)))
    return Budget("rows", math.ceil(budget.amount * (known.offered + samples) - 1e-9) - known.staying)


def _written(at: Standing, run: Run, looked: Looked, picked: Picked, known: Known, gone: DataFrame | None) -> Chosen:
    """A choice as stages: what the ledger says, and the rows with the refresh that each came with.

    The ranks of rows that are appended go on from those of the subset.
    """
    picks, config, whole = picked.picks, run.config, at.chooses_all
    first = 0 if whole else known.next_rank
    ledger = ledgers.ledger(looked.samples, picks.candidates, picks.table, picked.plan, config.dedup)
    rows = subset_of(looked.corpus.originals, picks.table, config)
    rows = rows.withColumns({"zip_rank": F.col("zip_rank") + first, "zip_refresh": _number(at)})
    if whole and at.subset is not None:
        came = at.staying(gone).select("zip_id", F.col("zip_refresh").alias("zip_came"))
        rows = rows.join(came, "zip_id", "left").withColumn("zip_refresh", F.coalesce("zip_came", "zip_refresh"))
        rows = rows.drop("zip_came")
    with side_by_side(run.spark) as start:
        come = start(run.stages.write, "come", rows)
        decided = run.stages.write("ledger", _decided(at, ledger, first))
    return Chosen(decided, come.result(), (picks.rows, picks.bytes), whole)


def _decided(at: Standing, ledger: DataFrame, first: int) -> DataFrame:
    """What the ledger is to say of the rows that were looked at."""
    rows = ledger.where("zip_id is not null")
    return rows.withColumns({"rank": F.col("rank") + first, "refresh": _number(at)})


def _number(at: Standing) -> Column:
    return F.lit(at.number).cast("bigint")


def own(rows: DataFrame) -> DataFrame:
    """The corpus' columns of rows of the subset."""
    return rows.select(*(quoted(name) for name in rows.columns if not name.startswith(OWN)))


def _selection(config: RefreshConfig) -> SelectConfig:
    """The same choice, as `zipspark.pipeline` takes it."""
    return SelectConfig(**{name: getattr(config, name) for name in SelectionOptions.model_fields})
