"""One refresh: what is looked at, what comes and goes, what is written.

The choice is that of `zipspark.choosing`; here stands only what it is made of: with mode ``append`` the new rows, with
the subset as anchor; with ``reselect`` subset and new rows together; the first time and for a rebuild the whole corpus.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.choosing import NothingChosen, chosen, looked_at
from zipspark.config import RefreshConfig, SelectConfig, SelectionOptions, of_key
from zipspark.core.tokens import TokenCounter
from zipspark.errors import InputError
from zipspark.logs import run_id
from zipspark.running import hash_of, located_key
from zipspark.spark import changes as found_changes
from zipspark.spark import ledger as ledgers
from zipspark.spark import measure, references
from zipspark.spark.changes import Changes
from zipspark.spark.columns import quoted
from zipspark.spark.corpus import pinned, read_corpus
from zipspark.spark.progress import Progress
from zipspark.spark.rows import OWN
from zipspark.spark.scores import hashed_rows
from zipspark.storage.deltas import FEED, Commit, Table
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.refreshes import HISTORY, State, Step, Tables
from zipspark.storage.stages import Stages
from zipspark.units import Budget, format_bytes


@dataclass(frozen=True)
class Refreshed:
    """What a refresh has done, or with ``dry_run`` would do."""

    refresh: int | None  # its number; None: the subset is of this version of the corpus already
    corpus_version: int
    mode: str
    changes: str | None  # how it knew what had changed: all, feed or diff
    rows_new: int
    rows_updated: int
    rows_deleted: int
    rows_added: int
    bytes_added: int
    rows_dropped: int
    bytes_dropped: int
    rows: int  # of the subset
    bytes: int
    ratio_before: float | None
    ratio_after: float | None
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.refresh is None:
            return f"nothing to do: the subset is of version {self.corpus_version} of the corpus, {self.rows:,} rows"
        would = "would be " if self.dry_run else ""
        ratios = [f"{ratio:.3f}" if ratio else "none" for ratio in (self.ratio_before, self.ratio_after)]
        lines = [
            f"refresh {self.refresh} ({self.mode}), corpus version {self.corpus_version}, by {self.changes}",
            f"corpus  {self.rows_new:,} rows new, {self.rows_updated:,} changed, {self.rows_deleted:,} deleted",
            f"subset  {self.rows_added:,} rows {would}added ({format_bytes(self.bytes_added)}), "
            f"{self.rows_dropped:,} {would}dropped ({format_bytes(self.bytes_dropped)}): "
            f"{self.rows:,} rows, {format_bytes(self.bytes)}",
        ]
        if not self.dry_run:
            lines.append(f"ratio   {ratios[0]} before, {ratios[1]} after")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Chosen:
    """What is to be in the subset, and what the ledger is to say."""

    rows: DataFrame | None  # the corpus' columns and zip_*; None: nothing
    decided: DataFrame | None  # of `zipspark.spark.ledger`; None: of no row
    whole: bool  # rows are all of the subset, not only what comes to it
    ratio: float | None = None  # of the rows as one set, where they are all


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

    @property
    def is_whole(self) -> bool:
        """Whether the whole corpus is looked at."""
        return self.last is None or self.config.rebuild

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
                return self._refreshed(None, None)
        with Stages(self.spark, self.config) as stages:
            changes, how = self._changes(stages)
            picked = self._chosen(changes, stages)
            old = self.old
            ids = self.spark.createDataFrame([], "zip_id string") if old is None else old.select("zip_id")
            gone = changes.gone if changes else ids.limit(0)
            come = stages.write("come", self._numbered(picked, gone)) if picked.rows is not None else None
            coming = ids.limit(0) if come is None else come.select("zip_id")
            kept = ids.join(gone, "zip_id", "left_anti")
            kept = kept.join(coming, "zip_id", "left_semi") if picked.whole else kept
            dropped = stages.write("dropped", ids.join(kept, "zip_id", "left_anti"))
            decided = self._decided(picked)
            done = self._refreshed(
                how,
                changes,
                added=_summed(decided, coming.join(kept, "zip_id", "left_anti")),
                dropped=_summed(self.ledger if last else None, dropped),
                kept=_summed(decided, kept) if picked.whole else None,
            )
            if self.config.dry_run:
                return done
            version = self._write_subset(come, dropped.join(coming, "zip_id", "left_anti"))
            ledger = self._write_ledger(decided, gone)
            ratio = picked.ratio or self._ratio(version, done.bytes, stages)
            done = replace(done, ratio_after=ratio)
            self._write_history(done, version, ledger, time.monotonic() - started)
        return done

    # --- what there is ---------------------------------------------------------------------------------------------

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
        highest = (
            None if self.old is None else self.old.agg(F.max("zip_rank").alias("rank")).toArrow()["rank"][0].as_py()
        )
        return 0 if highest is None else int(highest) + 1

    @cached_property
    def ledger(self) -> DataFrame:
        """As the last refresh left it."""
        assert self.last is not None
        return self.tables.ledger.read(self.spark, self.last["ledger_version"])

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

    def _chosen(self, changes: Changes | None, stages: Stages) -> _Chosen:
        old = self.old
        if changes is None:
            pool: Source | DataFrame = self.corpus
            known, beside_old, whole = 0, None, True
        elif not changes.to_look_at:
            return _Chosen(None, None, whole=False)
        else:
            assert old is not None
            staying = _own(old.join(changes.gone, "zip_id", "left_anti"))
            whole = self.config.mode == "reselect"
            pool = changes.rows.unionByName(staying, allowMissingColumns=True) if whole else changes.rows
            known, beside_old = self.ledger.count(), staying
        config = _selection(self.config)
        beside: dict[str, Any] = {"keep": None}
        for name in ("anchor", "target"):
            found = references.find(name, getattr(config, name))
            beside[name] = found and pinned(self.spark, found)
        before = None if whole else self._anchor(changes, beside_old)
        counter = TokenCounter.read(config.tokenizer) if config.tokenizer else None
        progress = Progress(self.spark, quiet=config.quiet)
        looked = looked_at(self.spark, pool, beside, counter, config, stages, progress, known, before)
        budget = self._budget(changes, beside_old, looked.pool.samples)
        nothing = not looked.pool.samples or budget.amount < 1
        if whole or not nothing:
            try:
                config = config.model_copy(update={"budget": budget})
                selection = chosen(self.spark, looked, config, self.codec, {}, stages, progress)
                ratio = selection.manifest["ratios"]["subset"]["ratio"] if whole else None
                return _Chosen(selection.subset, selection.decided, whole, ratio)
            except NothingChosen:
                if whole:
                    raise
        return _Chosen(None, stages.write("ledger", ledgers.unchosen(looked.samples, config.dedup)), whole)

    def _anchor(self, changes: Changes | None, staying: DataFrame | None) -> Source | DataFrame | None:
        """The rows of the subset that stay, if any do."""
        if changes is None or staying is None or self.base is None or staying.isEmpty():
            return None
        return staying if changes.updated + changes.deleted else self.tables.subset.source(self.base)

    def _budget(self, changes: Changes | None, staying: DataFrame | None, samples: int) -> Budget:
        """What is to be chosen now: an amount as it is, of a share what the subset lacks to be one of the corpus."""
        budget = self.config.budget
        assert budget is not None
        if changes is None or staying is None or budget.unit != "share":
            return budget
        offered = self.ledger.where("decision in ('selected', 'not_selected')")
        offered = offered.join(changes.gone, "zip_id", "left_anti")
        there, size = offered.count(), staying.count()
        if self.config.mode == "reselect":
            return Budget("rows", max(1, math.ceil(budget.amount * (there - size + samples) - 1e-9)))
        return Budget("rows", math.ceil(budget.amount * (there + samples) - 1e-9) - size)

    def _numbered(self, picked: _Chosen, gone: DataFrame) -> DataFrame:
        """The chosen rows with the refresh that each came with; appended ranks go on from the old ones."""
        assert picked.rows is not None
        old = self.old
        number = F.lit(self.step.number).cast("bigint")
        if old is None:
            return picked.rows.withColumn("zip_refresh", number)
        if not picked.whole:
            return picked.rows.withColumns({"zip_rank": F.col("zip_rank") + self.next_rank, "zip_refresh": number})
        came = old.join(gone, "zip_id", "left_anti").select("zip_id", F.col("zip_refresh").alias("zip_came"))
        rows = picked.rows.join(came, "zip_id", "left")
        columns = [quoted(name) for name in picked.rows.columns]
        return rows.select(*columns, F.coalesce("zip_came", number).alias("zip_refresh"))

    def _decided(self, picked: _Chosen) -> DataFrame | None:
        """What the ledger is to say of the rows that were looked at."""
        if picked.decided is None:
            return None
        first = 0 if picked.whole else self.next_rank
        rows = picked.decided.where("zip_id is not null")
        return rows.withColumns({"rank": F.col("rank") + first, "refresh": F.lit(self.step.number).cast("bigint")})

    # --- what is written -------------------------------------------------------------------------------------------

    def _write_subset(self, come: DataFrame | None, leaving: DataFrame) -> int:
        """Its version, once it holds this refresh; also one that changes no row of it is known by this commit."""
        subset = self.tables.subset
        if self.pending is not None:
            return self.pending.version
        if self.is_whole:
            assert come is not None
            self.step.create(subset, "subset", come, replace=self.base is not None)
            return self.step.made(self.spark, subset).version
        columns = [] if come is None else come.columns
        going = leaving.withColumn("zip_gone", F.lit(True))
        coming = None if come is None else come.withColumn("zip_gone", F.lit(False))
        source = going if coming is None else coming.unionByName(going, allowMissingColumns=True)
        self.step.merge(self.spark, subset, source.select(*map(quoted, columns or ["zip_id"]), "zip_gone"))
        return self.step.made(self.spark, subset).version

    def _write_ledger(self, decided: DataFrame | None, gone: DataFrame) -> int:
        ledger = self.tables.ledger
        if self.is_whole:
            assert decided is not None
            self.step.create(ledger, "ledger", decided, replace=ledger.version(self.spark) is not None)
        else:
            going = gone.withColumn("zip_gone", F.lit(True))
            if decided is None:
                source = going
            else:
                coming = decided.withColumn("zip_gone", F.lit(False))
                going = going.join(decided, "zip_id", "left_anti")
                source = coming.unionByName(going, allowMissingColumns=True)
            self.step.merge(self.spark, ledger, source)
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
        self.step.append(self.tables.history, "history", table)
        self.step.made(self.spark, self.tables.history)

    def _ratio(self, version: int, size: int, stages: Stages) -> float | None:
        """That of the subset, as one set."""
        if not size:
            return None
        subset = self.tables.subset.source(version)
        found = read_corpus(self.spark, subset, self.config, lambda frame: stages.write("subset", frame))
        return measure.ratio_of(hashed_rows(found.rows, self.config).where("content is not null"), size)

    def _refreshed(
        self,
        how: str | None,
        changes: Changes | None,
        added: tuple[int, int] = (0, 0),
        dropped: tuple[int, int] = (0, 0),
        kept: tuple[int, int] | None = None,
    ) -> Refreshed:
        """What is said of it; sizes are (rows, bytes), of what is kept None where the history says it."""
        last = self.last or {}
        assert self.corpus.version is not None
        if kept is None:
            kept = last.get("rows", 0) - dropped[0], last.get("bytes", 0) - dropped[1]
        return Refreshed(
            refresh=None if how is None else self.step.number,
            corpus_version=self.corpus.version,
            mode=self.config.mode,
            changes=how,
            rows_new=changes.new if changes else 0,
            rows_updated=changes.updated if changes else 0,
            rows_deleted=changes.deleted if changes else 0,
            rows_added=added[0],
            bytes_added=added[1],
            rows_dropped=dropped[0],
            bytes_dropped=dropped[1],
            rows=kept[0] + added[0],
            bytes=kept[1] + added[1],
            ratio_before=last.get("ratio_after"),
            ratio_after=None if how else last.get("ratio_after"),
            dry_run=self.config.dry_run,
        )


_REBUILD = ": --rebuild chooses from the whole corpus again"


def _summed(ledger: DataFrame | None, ids: DataFrame) -> tuple[int, int]:
    """Rows and bytes of ``ids`` in a ledger; none without one."""
    if ledger is None:
        return 0, 0
    of_ids = ledger.join(ids, "zip_id", "left_semi").agg(F.count("*").alias("rows"), F.sum("bytes").alias("bytes"))
    (row,) = of_ids.toArrow().to_pylist()
    return row["rows"], row["bytes"] or 0


def _own(rows: DataFrame) -> DataFrame:
    """The corpus' columns of rows of the subset."""
    return rows.select(*(quoted(name) for name in rows.columns if not name.startswith(OWN)))


def _selection(config: RefreshConfig) -> SelectConfig:
    """The same choice, as `zipspark.pipeline` takes it."""
    return SelectConfig(**{name: getattr(config, name) for name in SelectionOptions.model_fields})
