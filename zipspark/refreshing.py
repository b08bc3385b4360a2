"""One refresh: what has changed, what comes and goes, what is written.

::

    corpus ─ changes ─▶ rows to look at ─ choice ─▶ rows that come ─┐
                    └─▶ rows that are gone ─────────────────────────┴─▶ subset ─▶ ledger ─▶ history ─▶ report

What is chosen, and of what, stands in `zipspark.refresh_choice`, how it is written in `zipspark.refresh_writing`. Where
nothing is gone and the subset only grows, which is what happens every day, nothing is joined or merged with it.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.choosing import STAGES
from zipspark.config import RefreshConfig, of_key
from zipspark.errors import InputError
from zipspark.failures import code_of, first_line
from zipspark.logs import run_id
from zipspark.refresh_choice import Chosen, Size, Standing, chosen, own
from zipspark.refresh_report import SUFFIX, came, has_page, place_of
from zipspark.refresh_writing import Writing
from zipspark.report.facts import Example
from zipspark.report.history import History
from zipspark.report.page import history_page
from zipspark.report.refreshed import Refreshed
from zipspark.running import hash_of, hide_texts, located_key, said
from zipspark.spark import changes as found_changes
from zipspark.spark import measure
from zipspark.spark.changes import Changes
from zipspark.spark.corpus import read_corpus
from zipspark.spark.progress import Progress, side_by_side
from zipspark.spark.scores import hashed_rows
from zipspark.storage.deltas import FEED, Commit, Identity, Table
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.refreshes import REBUILD, State, Step, Tables
from zipspark.storage.stages import Stages


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
    """One refresh: from where, as which step, with which options."""

    at: Standing
    step: Step
    pending: Commit | None = None  # of the subset, where that is written already

    @classmethod
    def next(
        cls,
        spark: SparkSession,
        config: RefreshConfig,
        tables: Tables,
        state: State,
        corpus: Source,
        identity: Identity,
    ) -> Refresh:
        _check_key(config, state)
        key = located_key(config)
        facts = {
            "config_hash": hash_of(key),
            "config": key,
            "corpus_version": corpus.version,
            "base": state.version,
            "rebuild": config.rebuild,
            "hide_text": config.hide_text,
        }
        at = Standing(spark, config, tables, corpus, identity, state.history, state.version, state.number)
        return cls(at, Step(state.number, run_id(), facts))

    @classmethod
    def again(
        cls, spark: SparkSession, config: RefreshConfig, tables: Tables, state: State, pending: Commit
    ) -> Refresh:
        """The refresh that made ``pending``, with what it was made with."""
        facts = {name: value for name, value in pending.facts.items() if name not in ("refresh", "run_id")}
        then = of_key(RefreshConfig, facts["config"], config)
        hides = config.hide_text or bool(facts.get("hide_text"))
        hide_texts(hides)
        then = then.model_copy(update={"rebuild": facts["rebuild"], "hide_text": hides})
        assert then.corpus is not None
        corpus = replace(resolve((then.corpus,)), version=facts["corpus_version"])
        identity = Table.of(corpus).identity(spark)
        at = Standing(spark, then, tables, corpus, identity, state.history, facts["base"], state.number)
        return cls(at, Step(state.number, pending.facts["run_id"], facts), pending)

    def run(self) -> Refreshed:
        started, at = time.monotonic(), self.at
        last, now = at.last or {}, at.corpus.version
        assert now is not None
        if last and not at.config.rebuild:
            if last["corpus_id"] != at.identity.id:
                raise InputError(f"corpus {at.corpus.table} is not the table of refresh {last['refresh']}{REBUILD}")
            if now < last["corpus_version"]:
                then = last["corpus_version"]
                raise InputError(f"corpus {at.corpus.table} is at version {now}, it was at {then} before{REBUILD}")
            if now == last["corpus_version"]:
                return self._refreshed(None, None, _Moves((0, 0), (0, 0), last["rows"], last["bytes"]))
        with Stages(at.spark, at.config) as stages:
            # Counted as the choice's are, behind one more; a dry run ends before the last.
            count = len(STAGES) + (not at.config.dry_run)
            progress = Progress(at.spark, quiet=at.config.quiet).within(1, of=count)
            with progress.stage("changes", 0, of=len(STAGES)):
                changes, how = self._changes(stages)
            gone = changes.gone if changes else None
            choice = chosen(at, changes, stages, progress)
            with progress.stage("account", 6, of=len(STAGES)):
                moves = self._moves(choice, gone, stages)
            done = self._refreshed(how, changes, moves)
            if at.config.dry_run:
                return done
            with progress.stage("write", 7, of=len(STAGES)), side_by_side(at.spark) as start:
                ratio = start(self._ratio, choice, gone, done.bytes)
                shown = start(self._shown, choice.come) if has_page(at.config, at.tables.subset) else None
                tables = Writing(at, self.step, self.pending)
                version = tables.subset(choice.come, moves.leaving)
                ledger = tables.ledger(choice.decided, gone, moves.leaving is None)
                done = replace(done, ratio_after=ratio.result())
                row = tables.history(done, version, ledger, time.monotonic() - started)
                if shown is not None:
                    done = replace(done, report=self._write_report(row, shown))
        return done

    def _changes(self, stages: Stages) -> tuple[Changes | None, str]:
        at = self.at
        if at.is_whole:
            return None, "all"
        assert at.last is not None
        assert at.corpus.version is not None
        table, then, has_feed = Table.of(at.corpus), at.last["corpus_version"], at.identity.has_feed
        if at.last["changes"] == "feed" and not has_feed:
            raise InputError(
                f"the change feed of corpus {table} is off ({FEED}), which refresh {at.last['refresh']} went by"
                f"{REBUILD}"
            )
        now, ledger = at.corpus.version, at.ledger
        if has_feed and (at.last["changes"] == "feed" or found_changes.has_feed(at.spark, table, then + 1, now)):
            return found_changes.by_feed(at.spark, table, then, now, ledger, at.config, stages), "feed"
        return found_changes.by_diff(at.spark, at.corpus, ledger, at.config, stages), "diff"

    def _moves(self, choice: Chosen, gone: DataFrame | None, stages: Stages) -> _Moves:
        last = self.at.last or {}
        rows, size = last.get("rows", 0), last.get("bytes", 0)
        if self.at.subset is None or (gone is None and not choice.whole):
            return _Moves(choice.size, (0, 0), rows + choice.size[0], size + choice.size[1])
        ids, kept = self.at.subset.select("zip_id"), self.at.staying(gone).select("zip_id")
        coming = ids.limit(0) if choice.come is None else choice.come.select("zip_id")
        if choice.whole:
            kept = kept.join(coming, "zip_id", "left_semi")
        out = stages.write("dropped", ids.join(kept, "zip_id", "left_anti"))
        added, dropped = choice.size, _summed(self.at.ledger, out)
        if choice.whole:
            assert choice.decided is not None
            added = _summed(choice.decided, coming.join(kept, "zip_id", "left_anti"))
            rows, size = choice.size
        else:
            rows, size = rows - dropped[0] + added[0], size - dropped[1] + added[1]
        return _Moves(added, dropped, rows, size, out.join(coming, "zip_id", "left_anti"))

    def _shown(self, come: DataFrame | None) -> tuple[Example, ...]:
        """What a report shows of the rows that come."""
        if come is None:
            return ()
        return came(come.where(F.col("zip_refresh") == self.at.number), self.at.config)

    def _write_report(self, row: dict[str, Any], shown: Future[tuple[Example, ...]]) -> str | None:
        """Where it is: beside the tables, which are whole by now. For want of a page no refresh fails."""
        name = f"{self.at.tables.subset}{SUFFIX}"
        try:
            place = place_of(self.at.tables.subset)
            assert place is not None
            facts = History(str(self.at.tables.subset), (*self.at.history, row), shown.result())
            place.write_whole(history_page(facts).encode())
            return str(place)
        except Exception as error:
            why = code_of(error) if self.at.config.hide_text else first_line(error)
            said([f"{name} is not written, zipspark report makes it later: {why}"])
            return None

    def _ratio(self, choice: Chosen, gone: DataFrame | None, size: int) -> float | None:
        """That of the subset, as one set of ``size`` bytes; None of none."""
        if not size:
            return None
        parts = [] if choice.come is None else [own(choice.come)]
        if self.at.subset is not None and not choice.whole:
            parts.append(own(self.at.staying(gone)))
        rows = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), parts)
        texts = hashed_rows(read_corpus(self.at.spark, rows, self.at.config, None).rows, self.at.config)
        return measure.ratio_of(texts.where("content is not null"), size)

    def _refreshed(self, how: str | None, changes: Changes | None, moves: _Moves) -> Refreshed:
        """What is said of it."""
        last = self.at.last or {}
        assert self.at.corpus.version is not None
        return Refreshed(
            refresh=None if how is None else self.step.number,
            corpus_version=self.at.corpus.version,
            mode=self.at.config.mode,
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
            dry_run=self.at.config.dry_run,
        )


def _check_key(config: RefreshConfig, state: State) -> None:
    """Raises `InputError` where rows were followed by another column."""
    then = state.made.facts.get("config", {}).get("id_column") if state.made else None
    if then not in (None, config.id_column) and not config.rebuild:
        raise InputError(
            f"id_column is {config.id_column!r}, but the last refresh went by {then!r}: rows cannot be followed "
            f"from one to the other{REBUILD}"
        )


def _summed(ledger: DataFrame, ids: DataFrame) -> Size:
    """Rows and bytes of ``ids`` in a ledger."""
    of_ids = ledger.join(ids, "zip_id", "left_semi").agg(F.count("*").alias("rows"), F.sum("bytes").alias("bytes"))
    (row,) = of_ids.toArrow().to_pylist()
    return row["rows"], row["bytes"] or 0
