"""Delta tables: how one is named, read and written, and which run made a commit.

::

    table = Table.parse("main.corpora.chosen")           # or a folder: "/data/chosen", "s3://bucket/chosen"
    table.create(spark, writer(df, "subset", {"run_id": run, "config_hash": hash}))  # one commit, with its checks
    table.save(writer(more, "subset", facts).mode("append"))
    table.exists(spark), table.version(spark)            # True, 1
    table.read(spark, version=0)                         # DataFrame
    table.history(spark)[0].facts["run_id"]              # commits, the newest first
    spark.sql(f"MERGE INTO {table.sql} ...")             # delta.`file:/data/chosen` or `main`.`corpora`.`chosen`
    table.beside("_ledger")                              # main.corpora.chosen_ledger

Columns and checks of each kind of table stand in `table_schemas`. What a writer's options cannot reach (MERGE, RESTORE
and other SQL) takes its user metadata from the setting ``spark.databricks.delta.commitInfo.userMetadata``: give it
`user_metadata`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

from zipspark.errors import UsageError
from zipspark.storage.inputs import Source, is_path
from zipspark.storage.places import Place
from zipspark.storage.table_schemas import CHECKS, COLUMNS

FEED = "delta.enableChangeDataFeed"  # property of a table that keeps its changes

_UNMAPPED = re.compile(r"[ ,;{}()\n\t=]")  # what a name may have in Parquet only where Delta maps names
_PARTS = re.compile(r"`(?:[^`]|``)+`|[^.`]+")


def documented(df: DataFrame, kind: str) -> DataFrame:
    """``df`` with zipspark's own columns commented; those of the user keep what they have."""
    comments = COLUMNS[kind]
    return df.select(
        *(
            F.col(_ticked(name)).alias(name, metadata={"comment": comments[name]})
            if name in comments
            else F.col(_ticked(name))
            for name in df.columns
        )
    )


def writer(df: DataFrame, kind: str, metadata: Mapping[str, Any]) -> DataFrameWriter:
    """Writes ``df``, documented, as a table with its checks, in one commit that carries ``metadata`` (JSON-ready).

    Where the table is there already its own checks hold. Give the result to `Table.create` or `Table.save`.
    """
    found = documented(df, kind)
    writing = found.write.format("delta").option("userMetadata", user_metadata(metadata))
    for name, condition in CHECKS[kind].items():
        if set(re.findall(r"`(\w+)`", condition)) <= set(df.columns):
            writing = writing.option(f"delta.constraints.{name}", condition)
    if any(_UNMAPPED.search(name) for name in _names(df.schema)):  # of the user's columns
        writing = writing.option("delta.columnMapping.mode", "name")
    return writing


def user_metadata(facts: Mapping[str, Any]) -> str:
    """What a commit says of the run that made it.

    >>> user_metadata({"run_id": "1f3a", "config_hash": "77b0"})
    '{"zipspark": {"run_id": "1f3a", "config_hash": "77b0"}}'
    """
    return json.dumps({"zipspark": dict(facts)}, default=str)


_CONFLICT = re.compile(
    r"DELTA_CONCURRENT|\bConcurrent\w*Exception|ALREADY_EXISTS|AlreadyExists|PATH_EXISTS"
    r"|DELTA_(METADATA|PROTOCOL)_CHANGED|\b(Metadata|Protocol)ChangedException"
)


def is_conflict(error: Exception) -> bool:
    """Whether Delta refused a commit, or to make a table, as somebody else had come first."""
    return _CONFLICT.search(f"{type(error).__name__} {error}") is not None


@dataclass(frozen=True)
class Commit:
    """One version of a table."""

    version: int
    operation: str  # as Delta calls it: WRITE, MERGE, RESTORE, ...
    metrics: dict[str, str]  # of the operation, such as numOutputRows
    facts: dict[str, Any]  # what `user_metadata` said; empty for commits that are not zipspark's


class Identity(NamedTuple):
    """What Delta says of a table, whatever its version."""

    id: str  # Delta's own, which a new table of the same name does not have
    has_feed: bool  # whether it keeps its changes now


@dataclass(frozen=True)
class Table:
    """A Delta table that may or may not be there: a folder, or a name in the catalog."""

    name: str  # for people: a path whole and without what may be a password, a catalog's name as it was given
    uri: str | None = None  # of the folder, as Spark wants it; None: in the catalog

    @classmethod
    def parse(cls, name: str) -> Table:
        """The table that a person named; raises `UsageError` for what is no name.

        >>> Table.parse("main.my-corpora.chosen").sql
        '`main`.`my-corpora`.`chosen`'
        >>> Table.parse("/data/my pool").sql
        'delta.`file:/data/my pool`'
        """
        if not is_path(name):
            return cls.named(name)
        place = Place.parse(name)
        return cls(place.redacted, place.uri)

    @classmethod
    def named(cls, name: str) -> Table:
        """The table of this name in the catalog, even where it looks like a path."""
        if ".".join(_PARTS.findall(name)) != name or not name:
            raise UsageError(f"a name in the catalog must be parts with dots between, as in main.chats, got {name!r}")
        return cls(name)

    @classmethod
    def of(cls, source: Source) -> Table:
        """The table that is read (`source.format` is delta or table)."""
        assert source.table is not None
        return cls(source.table, Place.parse(source.table).uri) if source.format == "delta" else cls.named(source.table)

    def source(self, version: int) -> Source:
        """It as an input, at ``version``."""
        return Source("table" if self.uri is None else "delta", table=self.name, version=version)

    @property
    def sql(self) -> str:
        """What SQL calls it, quoted."""
        if self.uri is not None:
            return f"delta.{_ticked(self.uri)}"
        return ".".join(part if part.startswith("`") else _ticked(part) for part in _PARTS.findall(self.name))

    def __str__(self) -> str:
        return self.name

    def beside(self, suffix: str) -> Table:
        """Its neighbour whose name ends with ``suffix``.

        >>> Table.parse("main.`my.corpora`.`chosen`").beside("_ledger").sql
        '`main`.`my.corpora`.`chosen_ledger`'
        """
        if self.uri is not None:
            return Table(f"{self.name}{suffix}", f"{self.uri}{suffix}")
        return Table(f"{self.name[:-1]}{suffix}`" if self.name.endswith("`") else f"{self.name}{suffix}")

    def exists(self, spark: SparkSession) -> bool:
        """Whether there is a table of this name, or anything in the folder; where `version` is None it is no Delta."""
        if self.uri is None:
            return spark.catalog.tableExists(self.sql)
        if self.version(spark) is not None:
            return True
        try:
            files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(self.uri)
            return not files.select("path").isEmpty()
        except AnalysisException:  # there is no such folder
            return False

    def version(self, spark: SparkSession) -> int | None:
        """The version it has now; None where it is no Delta table."""
        newest = self.history(spark, limit=1)
        return newest[0].version if newest else None

    def history(self, spark: SparkSession, limit: int | None = None) -> list[Commit]:
        """Its commits, the newest first; none where it is no Delta table."""
        columns = ("version", "operation", "operationMetrics", "userMetadata")
        try:
            found = spark.sql(f"DESCRIBE HISTORY {self.sql}{f' LIMIT {limit}' if limit else ''}").select(*columns)
            rows = found.toArrow().to_pylist()
        except (AnalysisException, ParseException):  # no Delta table, or a session that does not know them
            return []
        return [
            Commit(version, operation, dict(metrics or ()), _facts(said))
            for version, operation, metrics, said in (row.values() for row in rows)
        ]

    def read(self, spark: SparkSession, version: int | None = None) -> DataFrame:
        """Its rows, as they are now or were at ``version``."""
        return self._opened(spark.read if version is None else spark.read.option("versionAsOf", version))

    def feed(self, spark: SparkSession, first: int, last: int) -> DataFrame:
        """Its changes in versions ``first`` to ``last``, each with ``_change_type`` and ``_commit_version``."""
        reader = spark.read.option("readChangeFeed", "true")
        return self._opened(reader.option("startingVersion", first).option("endingVersion", last))

    def stream(self, spark: SparkSession) -> DataFrame:
        """Its rows, then its changes, as a stream."""
        return self._opened(spark.readStream.option("readChangeFeed", "true"))

    def _opened(self, reader: Any) -> DataFrame:
        found: DataFrame = reader.table(self.sql) if self.uri is None else reader.format("delta").load(self.uri)
        return found

    def identity(self, spark: SparkSession) -> Identity:
        found = spark.sql(f"DESCRIBE DETAIL {self.sql}").select("id", "properties").toArrow().to_pylist()[0]
        return Identity(found["id"], dict(found["properties"] or ()).get(FEED, "").lower() == "true")

    def create(self, spark: SparkSession, writing: DataFrameWriter) -> None:
        """Let a `writer` make it; Spark says so where it is there already.

        By a name, CREATE TABLE AS SELECT forgets the metadata of its commit, but CREATE OR REPLACE does not.
        """
        self.save(writing.mode("error" if self.uri is not None or self.exists(spark) else "overwrite"))

    def save(self, writing: DataFrameWriter) -> None:
        """Let a `writer` write into it in the mode that it has; to make it, `create` it."""
        if self.uri is None:
            writing.saveAsTable(self.sql)
        else:
            writing.save(self.uri)


def _ticked(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _facts(said: str | None) -> dict[str, Any]:
    try:
        found = json.loads(said or "{}")
    except ValueError:  # somebody else's
        return {}
    facts = found.get("zipspark") if isinstance(found, dict) else None
    return facts if isinstance(facts, dict) else {}


def _names(kind: DataType) -> Iterator[str]:
    """The names of columns and of fields within them."""
    inner: Sequence[DataType] = ()
    if isinstance(kind, StructType):
        yield from kind.names
        inner = [field.dataType for field in kind]
    elif isinstance(kind, ArrayType):
        inner = [kind.elementType]
    elif isinstance(kind, MapType):
        inner = [kind.keyType, kind.valueType]
    for one in inner:
        yield from _names(one)
