"""What a refresh writes: subset, ledger and history, each in one commit that says whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.errors import InputError
from zipspark.refresh_choice import Standing
from zipspark.report.refreshed import Refreshed
from zipspark.storage.deltas import Commit
from zipspark.storage.refreshes import HISTORY, REBUILD, Step


@dataclass(frozen=True)
class Writing:
    """The tables of one refresh, one after the other."""

    at: Standing
    step: Step
    pending: Commit | None = None  # of the subset, where that is written already

    def subset(self, come: DataFrame | None, leaving: DataFrame | None) -> int:
        """Its version, once it holds this refresh; also one that changes no row of it is known by this commit."""
        subset = self.at.tables.subset
        if self.pending is not None:
            self._check_committed(come, self.pending.version)
            return self.pending.version
        if self.at.is_whole:
            assert come is not None
            self.step.create(subset, "subset", come, replace=self.at.base is not None)
            return self.step.made(self.at.spark, subset).version
        assert self.at.subset is not None
        if leaving is None:
            self.step.append(subset, "subset", self.at.subset.limit(0) if come is None else come)
        else:
            self.step.merge(subset, "subset", self.at.subset, come, leaving)
        return self.step.made(self.at.spark, subset).version

    def _check_committed(self, come: DataFrame | None, version: int) -> None:
        """Raise `InputError` where another choice was committed: a ledger of this one would contradict it."""
        there = self.at.tables.subset.read(self.at.spark, version)
        if not self.at.chooses_all:
            there = there.where(F.col("zip_refresh") == self.step.number)
        sides = [(there, 1)] if come is None else [(there, 1), (come, -1)]
        marked = (rows.select("zip_id", "zip_rank", F.lit(side).alias("side")) for rows, side in sides)
        found = reduce(DataFrame.unionAll, marked).groupBy("zip_id", "zip_rank").agg(F.sum("side").alias("side"))
        if not found.where("side != 0").isEmpty():
            raise InputError(
                "it would choose other rows now, as a library, or a table beside the corpus, is of another "
                f"version{REBUILD}"
            )

    def ledger(self, decided: DataFrame | None, gone: DataFrame | None, grows: bool) -> int:
        ledger = self.at.tables.ledger
        if self.at.is_whole:
            assert decided is not None
            self.step.create(ledger, "ledger", decided, replace=ledger.version(self.at.spark) is not None)
        elif grows:
            self.step.append(ledger, "ledger", self.at.ledger.limit(0) if decided is None else decided)
        else:
            leaving = self.at.ledger.select("zip_id").limit(0) if gone is None else gone
            leaving = leaving if decided is None else leaving.join(decided, "zip_id", "left_anti")
            self.step.merge(ledger, "ledger", self.at.ledger, decided, leaving)
        version = ledger.version(self.at.spark)
        assert version is not None
        return version

    def history(self, done: Refreshed, subset: int, ledger: int, seconds: float) -> dict[str, Any]:
        row = done.to_dict() | {
            "run_id": self.step.run_id,
            "at": datetime.now(UTC),
            "mode": "rebuild" if self.at.config.rebuild else done.mode,
            "corpus": self.at.corpus.table,
            "corpus_id": self.at.identity.id,
            "subset_version": subset,
            "ledger_version": ledger,
            "seconds": round(seconds, 3),
            "config_hash": self.step.facts["config_hash"],
        }
        row = {name: row[name] for name in (column.split(" ")[0] for column in HISTORY.split(", "))}
        table = self.at.spark.createDataFrame(pa.Table.from_pylist([row]), HISTORY)
        if self.at.last is None:
            self.step.create(self.at.tables.history, "history", table)
        else:
            self.step.append(self.at.tables.history, "history", table)
        self.step.made(self.at.spark, self.at.tables.history)
        return row
