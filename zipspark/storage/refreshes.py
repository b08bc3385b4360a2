"""What refreshes have done to a subset, and how one commits: three Delta tables, never half a step apart for long.

::

    chosen            the subset itself: its commit is what makes a refresh done
    chosen_ledger     what was decided for each row of the corpus, and the hash of its text
    chosen_history    one row per refresh, written last: from here the next one goes on

Each commit carries the number of its refresh as Delta's transaction version, so it is made once however often it is
tried, and of two refreshes with the same number only the first one counts (`Conflict` for the other). A refresh that
was killed behind the subset's commit is *pending*: the commit's metadata says with what it was made, and the next run
makes the rest of it again before it does anything else. Only a rebuild, which replaces subset and ledger, passes over
it: the history has no row of it then.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F

from zipspark.errors import InputError
from zipspark.storage.deltas import Commit, Table, is_conflict, user_metadata, writer

HISTORY = (
    "refresh bigint, run_id string, at timestamp, mode string, changes string, corpus string, corpus_id string, "
    "corpus_version bigint, subset_version bigint, ledger_version bigint, rows_new bigint, rows_updated bigint, "
    "rows_deleted bigint, rows_added bigint, bytes_added bigint, rows_dropped bigint, bytes_dropped bigint, "
    "rows bigint, bytes bigint, ratio_before double, ratio_after double, seconds double, config_hash string"
)
REBUILD = ": --rebuild chooses from the whole corpus again"  # how messages end, of what only that can mend
_FEW = 8  # commits of a table that are looked at at once: one per refresh, and what OPTIMIZE and VACUUM do
_APP = "zipspark-refresh"  # of Delta's transaction versions, which count within one table
# What others may do to a table without a row being another.
_HARMLESS = (
    *("OPTIMIZE", "VACUUM", "REORG", "CLUSTER", "ANALYZE", "COMPUTE", "UPGRADE"),
    *("SET TBL", "UNSET TBL", "CONSTRAINT", "COMMENT", "CHANGE COLUMN", "FEATURE"),
)


class Conflict(Exception):
    """Another refresh has committed first."""


@dataclass(frozen=True)
class Tables:
    subset: Table
    ledger: Table
    history: Table

    @classmethod
    def of(cls, subset: Table) -> Tables:
        return cls(subset, subset.beside("_ledger"), subset.beside("_history"))


@dataclass(frozen=True)
class State:
    """Where a subset stands."""

    history: tuple[dict[str, Any], ...]  # its rows, ascending: one per refresh
    pending: Commit | None  # of the subset, by a refresh that the history does not know yet
    version: int | None  # of the subset, now; None: there is none
    number: int  # of the pending refresh, or of the next
    made: Commit | None = None  # of the subset, by the last refresh; None: there is none, or Delta no longer knows it

    @property
    def last(self) -> dict[str, Any] | None:
        """The history's last row; None before the first refresh."""
        return self.history[-1] if self.history else None

    def for_rebuild(self) -> State:
        """The same for a refresh that leaves nothing of a pending one."""
        return self if self.pending is None else replace(self, pending=None, number=self.number + 1)


def read_state(spark: SparkSession, tables: Tables, rebuild: bool = False) -> State:
    """Where the subset stands.

    Raises `InputError` where it is not what the last refresh left (but for a rebuild), or no refresh has made it.
    """
    # The history first: of a refresh that lands while this is read at most too little is known then, and it is pending.
    rows = _rows(spark, tables.history)
    state = State(rows, pending=None, version=None, number=int(rows[-1]["refresh"]) + 1 if rows else 0)
    last = state.last
    known = -1 if last is None else int(last["subset_version"])
    commits = _commits(spark, tables.subset, known)
    if not commits and tables.subset.exists(spark):
        raise InputError(f"subset {tables.subset} is no Delta table: name another")
    if not commits:
        left = [table for table in (tables.ledger, tables.history) if table.exists(spark)]
        if left:
            raise InputError(f"subset {tables.subset} is gone, but {left[0]} is there: drop that too to begin anew")
        return state
    version = commits[-1].version
    state = replace(state, version=version)
    if last is not None and version < known:
        raise InputError(
            f"subset {tables.subset} is not the table that refresh {last['refresh']} left (version {version}, it was "
            f"at {known}): drop it, {tables.ledger} and {tables.history} to begin anew"
        )
    for commit in commits:
        refresh = commit.facts.get("refresh")
        if commit.version <= known:
            state = replace(state, made=commit) if commit.version == known else state
        elif state.pending is None and refresh == state.number:
            state = replace(state, pending=commit)
        elif state.pending is not None and refresh == state.number + 1:  # a rebuild, for which that counts no more
            state = replace(state, pending=commit, number=refresh)
        elif last is None and state.pending is None:
            raise InputError(
                f"subset {tables.subset} was written by something else than zipspark refresh "
                f"(version {commit.version}: {commit.operation}): name another table"
            )
        elif not (rebuild or _is_harmless(commit)):
            since = state.number if last is None else last["refresh"]
            raise InputError(
                f"subset {tables.subset} was changed by something else since refresh {since} "
                f"(version {commit.version}: {commit.operation}){REBUILD}"
            )
    return state


def moved(spark: SparkSession, table: Table, version: int) -> int:
    """The newest version of ``table`` with the rows of ``version``, whose own files VACUUM may have removed since."""
    for commit in _commits(spark, table, version):
        if commit.version == version + 1 and _is_harmless(commit):
            version = commit.version
    return version


def commit_of(spark: SparkSession, table: Table, refresh: int) -> Commit | None:
    """The newest commit of ``table`` by that refresh; None where it is not in its history (any more)."""
    for limit in (_FEW, None):  # among the newest, as a rule: what is refreshed every hour has thousands
        for commit in table.history(spark, limit):
            if commit.facts.get("refresh") == refresh:
                return commit
    return None


def _is_harmless(commit: Commit) -> bool:
    return any(word in commit.operation for word in _HARMLESS)


def _commits(spark: SparkSession, table: Table, known: int) -> list[Commit]:
    """Its newest commits, ascending, all behind version ``known`` among them; none where it is no Delta table."""
    commits = table.history(spark, _FEW)
    if commits and commits[0].version - known > len(commits):
        commits = table.history(spark, commits[0].version - known)
    return commits[::-1]


def _rows(spark: SparkSession, history: Table) -> tuple[dict[str, Any], ...]:
    """All rows of the history, ascending; none where there is no history yet."""
    try:
        return tuple(history.read(spark).toArrow().sort_by("refresh").to_pylist())
    except AnalysisException:
        if history.exists(spark):
            raise
        return ()


@dataclass(frozen=True)
class Step:
    """One refresh, as its commits name it."""

    number: int
    run_id: str
    facts: Mapping[str, Any]  # what the subset's commit says

    def create(self, table: Table, kind: str, rows: DataFrame, replace: bool = False) -> None:
        """Write ``rows`` as a new table, or in place of the old one's."""
        writing = self._marked(writer(rows, kind, self._said))
        with _conflicts():
            if replace:
                table.save(writing.mode("overwrite").option("overwriteSchema", "true"))
            else:
                table.create(rows.sparkSession, writing)

    def append(self, table: Table, kind: str, rows: DataFrame) -> None:
        """Add ``rows``, whose ids the table does not have: nothing of it is read, however large it has become."""
        writing = self._marked(writer(rows, kind, self._said))
        with _conflicts():
            table.save(writing.mode("append").option("mergeSchema", "true"))

    def merge(self, table: Table, kind: str, there: DataFrame, coming: DataFrame | None, leaving: DataFrame) -> None:
        """Bring rows into ``table`` by ``zip_id``: those ``leaving`` go, those ``coming`` replace others or are new.

        Rows that stay are written again only where a session may not say of SQL whose commit it is.
        """
        spark = there.sparkSession
        settings = {
            "spark.databricks.delta.write.txnAppId": _APP,
            "spark.databricks.delta.write.txnVersion": str(self.number),
            "spark.databricks.delta.commitInfo.userMetadata": user_metadata(self._said),
        }
        with _settings(spark, settings) as are_set, _conflicts():
            if are_set:
                self._merge(table, coming, leaving)
            else:
                coming = there.limit(0) if coming is None else coming
                outdated = leaving.select("zip_id").union(coming.select("zip_id"))
                rows = there.join(outdated, "zip_id", "left_anti").unionByName(coming, allowMissingColumns=True)
                writing = self._marked(writer(rows, kind, self._said))
                table.save(writing.mode("overwrite").option("mergeSchema", "true"))

    def _merge(self, table: Table, coming: DataFrame | None, leaving: DataFrame) -> None:
        spark = leaving.sparkSession
        source = leaving.select("zip_id", F.lit(True).alias("zip_gone"))
        if coming is not None:
            coming = coming.withColumn("zip_gone", F.lit(False))
            source = coming.unionByName(source, allowMissingColumns=True)
        columns = [f"`{name.replace('`', '``')}`" for name in source.columns if name != "zip_gone"]
        view = f"zipspark_{uuid.uuid4().hex}"
        source.createOrReplaceTempView(view)
        statement = (
            f"MERGE WITH SCHEMA EVOLUTION INTO {table.sql} t USING {view} s ON t.zip_id = s.zip_id "
            "WHEN MATCHED AND s.zip_gone THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{name} = s.{name}' for name in columns)} "
            f"WHEN NOT MATCHED AND NOT s.zip_gone THEN INSERT ({', '.join(columns)}) "
            f"VALUES ({', '.join(f's.{name}' for name in columns)})"
        )
        try:
            spark.sql(statement).collect()  # one row of counts, or none where it was made already
        finally:
            spark.catalog.dropTempView(view)

    def made(self, spark: SparkSession, table: Table) -> Commit:
        """This step's commit of ``table``. Raises `Conflict` where it is another's."""
        commit = commit_of(spark, table, self.number)
        if commit is None or commit.facts.get("run_id") != self.run_id:
            raise Conflict(f"{table}: refresh {self.number} is another run's")
        return commit

    @property
    def _said(self) -> dict[str, Any]:
        return {"refresh": self.number, "run_id": self.run_id, **self.facts}

    def _marked(self, writing: DataFrameWriter) -> DataFrameWriter:
        return writing.option("txnAppId", _APP).option("txnVersion", self.number)


@contextmanager
def _settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[bool]:
    """For one statement: SQL has no options, and Delta reads these from the session. False where it takes none.

    Serverless compute is said to be so.
    """
    before: dict[str, str | None] = {}
    try:
        with suppress(Exception):  # each service has its own
            for key, value in settings.items():
                was = spark.conf.get(key, None)
                spark.conf.set(key, value)
                before[key] = was
        yield len(before) == len(settings)
    finally:
        for key, was in before.items():
            if was is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, was)


@contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_conflict(error):
            raise Conflict(str(error).splitlines()[0]) from error
        raise
