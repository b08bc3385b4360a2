"""One refresh: what is looked at, what comes and goes, what is written.

::

    corpus ─ changes ─▶ rows to look at ─ choice ─▶ rows that come ─┐
                    └─▶ rows that are gone ─────────────────────────┴─▶ subset ─▶ ledger ─▶ history

The choice is that of `zipspark.choosing`; here stands only what it is made of: with mode ``append`` the new rows, with
the subset as anchor; with ``reselect`` subset and new rows together; the first time and for a rebuild the whole corpus.
Where nothing is gone and the subset only grows, which is what happens every day, nothing is joined or merged with it.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial, reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.choosing import STAGES, Looked, NothingChosen, Picked, References, Run, counter_of, looked_at, picked
from zipspark.config import RefreshConfig, SelectConfig, SelectionOptions, of_key
from zipspark.errors import InputError
from zipspark.logs import run_id
from zipspark.report.refreshed import Refreshed
from zipspark.running import hash_of, located_key
from zipspark.spark import changes as found_changes
from zipspark.spark import ledger as ledgers
from zipspark.spark import measure, references
from zipspark.spark.changes import Changes
from zipspark.spark.columns import quoted
from zipspark.spark.corpus import pinned, read_corpus
from zipspark.spark.progress import Progress, tagged
from zipspark.spark.rows import OWN
from zipspark.spark.scores import hashed_rows
from zipspark.spark.subset import subset as subset_of
from zipspark.storage.deltas import FEED, Commit, Table
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.refreshes import HISTORY, State, Step, Tables
from zipspark.storage.stages import Stages
from zipspark.units import Budget

Size = tuple[int, int]  # rows, bytes of their rendered text


@dataclass(frozen=True)
class _Chosen:
    """What became of the rows that were looked at."""

    decided: DataFrame | None = None  # the ledger's rows of them; None: nothing was looked at
    come: DataFrame | None = None  # the corpus' columns and zip_*, of rows that are to be in the subset; None: none
    size: Size = (0, 0)  # of `come`
    whole: bool = False  # `come` is all of the subset, not only what is added to it


@dataclass(frozen=True)
class _Moves:
    """What comes into the subset, leaves it and stays."""

    added: Size
    dropped: Size
    rows: int  # of the subset, once it is done
    bytes: int
    leaving: DataFrame | None = None  # zip_id of what is in it and will not be; None: it only grows


@dataclass(frozen=True)
class Refresh:
    """One refresh: from where, with which options."""

    spark: SparkSession
    codec: dict[str, Any]
    config: RefreshConfig
    tables: Tables
    corpus: Source  # pinned
    last: dict[str, Any] | None  # the history's row before this one
    base: int | None  # version of the subset that is there; None: none is
    step: Step
    pending: Commit | None = None  # of the subset, where that is written already

    @classmethod
    def next(
        cls,
        spark: SparkSession,
        codec: dict[str, Any],
        config: RefreshConfig,
        tables: Tables,
        state: State,
        corpus: Source,
    ) -> Refresh:
        if corpus.version is None:
            raise InputError(f"corpus {corpus.table} is no Delta table: refresh needs versions")
        key = located_key(config)
        facts = {
            "config_hash": hash_of(key),
            "config": key,
            "corpus_version": corpus.version,
            "base": state.version,
            "rebuild": config.rebuild,
        }
        step = Step(state.number, run_id(), facts)
        return cls(spark, codec, config, tables, corpus, state.last, state.version, step)

    @classmethod
    def again(
        cls,
        spark: SparkSession,
        codec: dict[str, Any],
        config: RefreshConfig,
        tables: Tables,
        state: State,
        pending: Commit,
    ) -> Refresh:
        """The refresh that made ``pending``, with what it was made with."""
        facts = {name: value for name, value in pending.facts.items() if name not in ("refresh", "run_id")}
        then = of_key(RefreshConfig, facts["config"], config)
        then = then.model_copy(update={"rebuild": facts["rebuild"]})
        assert then.corpus is not None
        corpus = replace(resolve((then.corpus,)), version=facts["corpus_version"])
        step = Step(state.number, pending.facts["run_id"], facts)
        return cls(spark, codec, then, tables, corpus, state.last, facts["base"], step, pending)

    def run(self) -> Refreshed:
        started = time.monotonic()
        last, now = self.last or {}, self.corpus.version
        assert now is not None
        if last and not self.config.rebuild:
            if last["corpus_id"] != self.identity[0]:
                raise InputError(f"corpus {self.corpus.table} is not the table of refresh {last['refresh']}{_REBUILD}")
            if now < last["corpus_version"]:
                then = last["corpus_version"]
                raise InputError(f"corpus {self.corpus.table} is at version {now}, it was at {then} before{_REBUILD}")
            if now == last["corpus_version"]:
                return self._refreshed(None, None, _Moves((0, 0), (0, 0), last["rows"], last["bytes"]))
        with Stages(self.spark, self.config) as stages:
            progress = Progress(self.spark, quiet=self.config.quiet)
            with progress.stage("changes", 0, of=len(STAGES)):
                changes, how = self._changes(stages)
            gone = changes.gone if changes else None
            choice = self._chosen(changes, stages, progress)
            with progress.stage("account", 6, of=len(STAGES)):
                moves = self._moves(choice, gone, stages)
            done = self._refreshed(how, changes, moves)
            if self.config.dry_run:
                return done
            with progress.stage("write", 7, of=len(STAGES)), ThreadPoolExecutor(1) as beside:
                ratio = beside.submit(tagged(self.spark, self._ratio), choice, gone, done.bytes)
                version = self._write_subset(choice.come, moves.leaving)
                ledger = self._write_ledger(choice.decided, gone, moves.leaving is None)
                done = replace(done, ratio_after=ratio.result())
                self._write_history(done, version, ledger, time.monotonic() - started)
        return done

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether the whole corpus is looked at."""
        return self.last is None or self.config.rebuild

    @property
    def chooses_all(self) -> bool:
        """Whether all of the subset is chosen, not only what comes to it."""
        return self.is_whole or self.config.mode == "reselect"

    @cached_property
    def identity(self) -> tuple[str, bool]:
        """Of the corpus (`Table.identity`)."""
        return Table.of(self.corpus).identity(self.spark)

    @cached_property
    def old(self) -> DataFrame | None:
        """The subset as it is; None where there is none."""
        return None if self.base is None else self.tables.subset.read(self.spark, self.base)

    @cached_property
    def next_rank(self) -> int:
        """That of the first row to be appended."""
        if self.old is None:
            return 0
        highest = self.old.agg(F.max("zip_rank").alias("rank")).toArrow()["rank"][0].as_py()
        return 0 if highest is None else int(highest) + 1

    @cached_property
    def ledger(self) -> DataFrame:
        """As the last refresh left it."""
        assert self.last is not None
        return self.tables.ledger.read(self.spark, self.last["ledger_version"])

    def _staying(self, gone: DataFrame | None) -> DataFrame:
        """The rows of the subset that are in the corpus as they were."""
        assert self.old is not None
        return self.old if gone is None else self.old.join(gone, "zip_id", "left_anti")

    def _changes(self, stages: Stages) -> tuple[Changes | None, str]:
        if self.is_whole:
            return None, "all"
        assert self.last is not None
        assert self.corpus.version is not None
        table, then, has_feed = Table.of(self.corpus), self.last["corpus_version"], self.identity[1]
        if self.last["changes"] == "feed" and not has_feed:
            raise InputError(
                f"the change feed of corpus {table} is off ({FEED}), which refresh {self.last['refresh']} went by"
                f"{_REBUILD}"
            )
        now, ledger = self.corpus.version, self.ledger
        if has_feed and (self.last["changes"] == "feed" or found_changes.has_feed(self.spark, table, then + 1, now)):
            return found_changes.by_feed(self.spark, table, then, now, ledger, self.config, stages), "feed"
        return found_changes.by_diff(self.spark, self.corpus, ledger, self.config, stages), "diff"

    # --- the choice ------------------------------------------------------------------------------------------------

    def _chosen(self, changes: Changes | None, stages: Stages, progress: Progress) -> _Chosen:
        if changes is not None and not changes.to_look_at:
            return _Chosen()
        config = _selection(self.config)
        beside: dict[str, Any] = {"keep": None}
        for name in ("anchor", "target"):
            found = references.find(name, getattr(config, name))
            beside[name] = found and pinned(self.spark, found)
        run = Run(self.spark, config, counter_of(config), stages, progress)
        looked = self._looked_at(run, changes, beside)
        budget = self._budget(changes, looked.pool.samples)
        if self.chooses_all or (looked.pool.samples and budget.amount >= 1):
            run = replace(run, config=config.model_copy(update={"budget": budget}))
            try:
                return self._written(run, looked, picked(run, looked), changes.gone if changes else None)
            except NothingChosen:
                if self.chooses_all:
                    raise
        unchosen = ledgers.unchosen(looked.samples, config.dedup)
        return _Chosen(stages.write("ledger", self._decided(unchosen, 0)))

    def _looked_at(self, run: Run, changes: Changes | None, beside: References) -> Looked:
        if changes is None:
            return looked_at(run, self.corpus, beside)
        known = self.ledger.count()
        if self.chooses_all:
            pool = changes.rows.unionByName(_own(self._staying(changes.gone)), allowMissingColumns=True)
            return looked_at(run, pool, beside, known)
        return looked_at(run, changes.corpus, beside, known, self._anchor(changes.gone))

    def _anchor(self, gone: DataFrame | None) -> Source | DataFrame | None:
        """The rows of the subset that stay, if any do."""
        assert self.last is not None
        if self.base is None or not self.last["rows"]:
            return None
        if gone is None:
            return self.tables.subset.source(self.base)
        staying = _own(self._staying(gone))
        return None if staying.isEmpty() else staying

    def _budget(self, changes: Changes | None, samples: int) -> Budget:
        """What is to be chosen now: an amount as it is, of a share what the subset lacks to be one of the corpus."""
        budget = self.config.budget
        assert budget is not None
        if changes is None or budget.unit != "share":
            return budget
        offered = self.ledger.where("decision in ('selected', 'not_selected')")
        if changes.gone is not None:
            offered = offered.join(changes.gone, "zip_id", "left_anti")
        there, size = offered.count(), self._staying(changes.gone).count()
        if self.chooses_all:
            return Budget("rows", max(1, math.ceil(budget.amount * (there - size + samples) - 1e-9)))
        return Budget("rows", math.ceil(budget.amount * (there + samples) - 1e-9) - size)

    def _written(self, run: Run, looked: Looked, picked: Picked, gone: DataFrame | None) -> _Chosen:
        """A choice as stages: what the ledger says, and the rows with the refresh that each came with.

        The ranks of rows that are appended go on from those of the subset.
        """
        picks, config, whole = picked.picks, run.config, self.chooses_all
        first = 0 if whole else self.next_rank
        ledger = ledgers.ledger(looked.samples, picks.candidates, picks.table, picked.plan, config.dedup)
        rows = subset_of(looked.corpus.originals, picks.table, config)
        rows = rows.withColumns({"zip_rank": F.col("zip_rank") + first, "zip_refresh": self._number})
        if whole and self.old is not None:
            came = self._staying(gone).select("zip_id", F.col("zip_refresh").alias("zip_came"))
            rows = rows.join(came, "zip_id", "left").withColumn("zip_refresh", F.coalesce("zip_came", "zip_refresh"))
            rows = rows.drop("zip_came")
        with ThreadPoolExecutor(1) as beside:  # small tables: most of their time is Spark's, not work
            come = beside.submit(tagged(run.spark, run.stages.write), "come", rows)
            decided = run.stages.write("ledger", self._decided(ledger, first))
        return _Chosen(decided, come.result(), (picks.rows, picks.bytes), whole)

    def _decided(self, ledger: DataFrame, first: int) -> DataFrame:
        """What the ledger is to say of the rows that were looked at."""
        rows = ledger.where("zip_id is not null")
        return rows.withColumns({"rank": F.col("rank") + first, "refresh": self._number})

    @property
    def _number(self) -> Column:
        return F.lit(self.step.number).cast("bigint")

    def _moves(self, choice: _Chosen, gone: DataFrame | None, stages: Stages) -> _Moves:
        last = self.last or {}
        rows, size = last.get("rows", 0), last.get("bytes", 0)
        if self.old is None or (gone is None and not choice.whole):
            return _Moves(choice.size, (0, 0), rows + choice.size[0], size + choice.size[1])
        ids, kept = self.old.select("zip_id"), self._staying(gone).select("zip_id")
        coming = ids.limit(0) if choice.come is None else choice.come.select("zip_id")
        if choice.whole:
            kept = kept.join(coming, "zip_id", "left_semi")
        out = stages.write("dropped", ids.join(kept, "zip_id", "left_anti"))
        added, dropped = choice.size, _summed(self.ledger, out)
        if choice.whole:
            assert choice.decided is not None
            added = _summed(choice.decided, coming.join(kept, "zip_id", "left_anti"))
            rows, size = choice.size
        else:
            rows, size = rows - dropped[0] + added[0], size - dropped[1] + added[1]
        return _Moves(added, dropped, rows, size, out.join(coming, "zip_id", "left_anti"))

    # --- what is written -------------------------------------------------------------------------------------------

    def _write_subset(self, come: DataFrame | None, leaving: DataFrame | None) -> int:
        """Its version, once it holds this refresh; also one that changes no row of it is known by this commit."""
        subset = self.tables.subset
        if self.pending is not None:
            return self.pending.version
        if self.is_whole:
            assert come is not None
            self.step.create(subset, "subset", come, replace=self.base is not None)
        elif leaving is None:
            assert self.old is not None
            self.step.append(subset, "subset", self.old.limit(0) if come is None else come)
        else:
            self.step.merge(self.spark, subset, come, leaving)
        return self.step.made(self.spark, subset).version

    def _write_ledger(self, decided: DataFrame | None, gone: DataFrame | None, grows: bool) -> int:
        ledger = self.tables.ledger
        if self.is_whole:
            assert decided is not None
            self.step.create(ledger, "ledger", decided, replace=ledger.version(self.spark) is not None)
        elif grows:
            self.step.append(ledger, "ledger", self.ledger.limit(0) if decided is None else decided)
        else:
            leaving = self.ledger.select("zip_id").limit(0) if gone is None else gone
            leaving = leaving if decided is None else leaving.join(decided, "zip_id", "left_anti")
            self.step.merge(self.spark, ledger, decided, leaving)
        version = ledger.version(self.spark)
        assert version is not None
        return version

    def _write_history(self, done: Refreshed, subset: int, ledger: int, seconds: float) -> None:
        row = done.to_dict() | {
            "run_id": self.step.run_id,
            "at": datetime.now(UTC),
            "mode": "rebuild" if self.config.rebuild else done.mode,
            "corpus": self.corpus.table,
            "corpus_id": self.identity[0],
            "subset_version": subset,
            "ledger_version": ledger,
            "seconds": round(seconds, 3),
            "config_hash": self.step.facts["config_hash"],
        }
        names = [column.split(" ")[0] for column in HISTORY.split(", ")]
        table = self.spark.createDataFrame([tuple(row[name] for name in names)], HISTORY)
        if self.last is None:
            self.step.create(self.tables.history, "history", table)
        else:
            self.step.append(self.tables.history, "history", table)
        self.step.made(self.spark, self.tables.history)

    def _ratio(self, choice: _Chosen, gone: DataFrame | None, size: int) -> float | None:
        """That of the subset, as one set of ``size`` bytes; None of none."""
        if not size:
            return None
        parts = [] if choice.come is None else [_own(choice.come)]
        if self.old is not None and not choice.whole:
            parts.append(_own(self._staying(gone)))
        rows = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), parts)
        texts = hashed_rows(read_corpus(self.spark, rows, self.config, None).rows, self.config)
        return measure.ratio_of(texts.where("content is not null"), size)

    def _refreshed(self, how: str | None, changes: Changes | None, moves: _Moves) -> Refreshed:
        """What is said of it."""
        last = self.last or {}
        assert self.corpus.version is not None
        return Refreshed(
            refresh=None if how is None else self.step.number,
            corpus_version=self.corpus.version,
            mode=self.config.mode,
            changes=how,
            rows_new=changes.new if changes else 0,
            rows_updated=changes.updated if changes else 0,
            rows_deleted=changes.deleted if changes else 0,
            rows_added=moves.added[0],
            bytes_added=moves.added[1],
            rows_dropped=moves.dropped[0],
            bytes_dropped=moves.dropped[1],
            rows=moves.rows,
            bytes=moves.bytes,
            ratio_before=last.get("ratio_after"),
            ratio_after=None if how else last.get("ratio_after"),
            dry_run=self.config.dry_run,
        )


_REBUILD = ": --rebuild chooses from the whole corpus again"


def _summed(ledger: DataFrame, ids: DataFrame) -> Size:
    """Rows and bytes of ``ids`` in a ledger."""
    of_ids = ledger.join(ids, "zip_id", "left_semi").agg(F.count("*").alias("rows"), F.sum("bytes").alias("bytes"))
    (row,) = of_ids.toArrow().to_pylist()
    return row["rows"], row["bytes"] or 0


def _own(rows: DataFrame) -> DataFrame:
    """The corpus' columns of rows of the subset."""
    return rows.select(*(quoted(name) for name in rows.columns if not name.startswith(OWN)))


def _selection(config: RefreshConfig) -> SelectConfig:
    """The same choice, as `zipspark.pipeline` takes it."""
    return SelectConfig(**{name: getattr(config, name) for name in SelectionOptions.model_fields})
