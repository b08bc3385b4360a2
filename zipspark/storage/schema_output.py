"""OUT as tables of one schema of the catalog, where paths are not allowed: ``--output-schema main.chosen``.

::

    main.chosen.subset  .ledger  .quarantine  .metrics      in one commit each
    main.chosen.manifest                                    last: one row with the version of each of the others

A catalog has no rename for all of them at once. Readers go by the manifest: at the versions that it names the tables
are those of one run, also while the next one replaces them. A run that fails restores what it has replaced, and drops
what it has made. One that is killed leaves the manifest as it was, and with it the tables at their versions; where it
was the first, there is no manifest, and only a run that resumes or overwrites goes on with tables like these.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType, TracebackType
from typing import Any

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from zipspark.errors import EngineError, InputError
from zipspark.failures import explain_spark_error, first_line
from zipspark.storage.deltas import Table, writer
from zipspark.storage.output import Format, Result, check_rows

logger = logging.getLogger("zipspark")

TABLES = ("subset", "ledger", "quarantine", "metrics")
MANIFEST = "manifest"


class SchemaOutput(Result):
    """New tables in ``schema``, to be filled within a ``with`` block, as `zipspark.storage.output.Output` is.

    Entering it raises `InputError` where the schema is not there or cannot be written, or holds such tables already
    (and ``overwrite`` is not set, or they are nothing that zipspark wrote). Leaving it without `commit`, by whatever
    error or Ctrl-C, leaves the tables as they were.
    """

    def __init__(self, spark: SparkSession, schema: str, overwrite: bool = False, resume: bool = False):
        super().__init__(f"output_schema {schema}", overwrite, resume)
        self.schema = schema
        self._spark = spark
        self._mark = uuid.uuid4().hex[:8]  # by which its own commits are known: a run may be saved twice
        self._began = False
        self._replaces = overwrite  # tables that are there

    def __enter__(self) -> SchemaOutput:
        there = self._there()
        if MANIFEST in there and self._resume:
            self.found = read_manifest(self._spark, self.schema)
        elif there:
            self._check_replaceable(there)
            self._replaces = True
        self._check_writable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._began and not self._committed:
            self._undo()

    def write(
        self,
        name: str,
        df: DataFrame,
        format: Format = "delta",
        rows: int | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Compute ``df`` and write it as the table ``name``, or replace that, in one commit.

        ``facts`` go with the commit. Raises `InputError` where ``df`` has not come to ``rows`` rows.
        """
        if format != "delta":
            raise ValueError(f"tables of a schema are Delta's, got format {format!r}")
        self._began = True
        writing = writer(df, name, {**facts, "mark": self._mark})
        table = self._table(name)
        if self._replaces:
            table.save(writing.mode("overwrite").option("overwriteSchema", "true"))
        else:
            table.create(self._spark, writing)
        if rows is not None:
            check_rows(name, table.read(self._spark).count(), rows)

    def commit(self) -> None:
        """Write the manifest, by which the tables become the result."""
        manifest = self._said()
        manifest["tables"] = {name: self._table(name).version(self._spark) for name in TABLES}
        row = {
            "run_id": [manifest["run_id"]],
            "created": pa.array([datetime.fromisoformat(manifest["created"])], pa.timestamp("us", "UTC")),
            "manifest": [json.dumps(manifest, ensure_ascii=False, default=str)],
        }
        facts = {name: manifest[name] for name in ("run_id", "config_hash")}
        self.write(MANIFEST, self._spark.createDataFrame(pa.table(row)), facts=facts)
        self._committed = True

    def _table(self, name: str) -> Table:
        return Table.named(f"{self.schema}.{name}")

    def _there(self) -> set[str]:
        """Which of the tables are there."""
        names = (*TABLES, MANIFEST)
        try:
            found = self._spark.sql(f"SHOW TABLES IN {Table.named(self.schema).sql} LIKE '{'|'.join(names)}'").toArrow()
        except AnalysisException as error:
            raise InputError(
                f"{self.name} cannot be used: {first_line(error)} Make it first (CREATE SCHEMA {self.schema}), be "
                "granted the use of it, or name another"
            ) from None
        return {row["tableName"] for row in found.to_pylist() if not row["isTemporary"]} & {*names}

    def _check_replaceable(self, there: set[str]) -> None:
        if MANIFEST not in there:
            if others := {name for name in there if not self._is_of_runs(name)}:
                raise InputError(
                    f"{self.name} holds {_tables(others)}, but no table {MANIFEST}, so zipspark did not write them: "
                    "drop them yourself, or name another"
                )
            if not (self._resume or self._overwrite):
                raise InputError(
                    f"{self.name} holds {_tables(there)} of a run that was killed: --resume goes on with it, or "
                    "--overwrite to replace them"
                )
            return
        if not self._overwrite:
            raise InputError(f"{self.name} holds {_tables(there)}: name another, or --overwrite to replace them")
        read_manifest(self._spark, self.schema)

    def _is_of_runs(self, name: str) -> bool:
        """Whether all that was ever committed to a table was written like this."""
        commits = self._table(name).history(self._spark)
        return bool(commits) and all("mark" in commit.facts for commit in commits)

    def _check_writable(self) -> None:
        """Raise `InputError` unless a table can be made here; it is dropped again."""
        probe = self._table(f"zipspark_{uuid.uuid4().hex[:8]}").sql
        try:
            self._spark.sql(f"CREATE TABLE {probe} (probe INT) USING delta")
            self._spark.sql(f"DROP TABLE {probe}")
        except Exception as error:  # each catalog has its own
            explained = explain_spark_error(error)
            if isinstance(explained, EngineError):
                raise explained from None
            raise InputError(f"{self.name} cannot be written: {first_line(error)}") from None

    def _undo(self) -> None:
        """Restore, or drop, each table whose newest commit is its own: behind another's there is nothing to undo."""
        for name in (MANIFEST, *TABLES):  # the manifest first: what it names is there as long as it is
            table = self._table(name)
            try:
                commits = table.history(self._spark, limit=2)
                if not commits or commits[0].facts.get("mark") != self._mark:
                    continue
                if len(commits) > 1:
                    self._spark.sql(f"RESTORE TABLE {table.sql} TO VERSION AS OF {commits[1].version}")
                else:
                    self._spark.sql(f"DROP TABLE {table.sql}")
            except Exception as error:  # what went wrong before is what is to be said
                logger.warning("%s is not as it was before this run: %s", table, first_line(error))


def read_manifest(spark: SparkSession, schema: str) -> dict[str, Any]:
    """What `SchemaOutput.write_manifest` said, with ``tables``, the version of each. Raises `InputError`."""
    table = Table.named(f"{schema}.{MANIFEST}")
    try:
        texts = table.read(spark).select("manifest").limit(2).toArrow()["manifest"].to_pylist()
    except AnalysisException:
        raise InputError(f"{schema} is no finished result of zipspark: it has no table {MANIFEST} of its own") from None
    try:
        [text] = texts
        manifest = json.loads(text)
    except (TypeError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or "tables" not in manifest:
        raise InputError(f"{table} is damaged, or not zipspark's: it does not hold one manifest")
    return manifest


def read_table(spark: SparkSession, schema: str, name: str, manifest: Mapping[str, Any]) -> DataFrame:
    """One of `TABLES`, at the version that the manifest names."""
    return Table.named(f"{schema}.{name}").read(spark, manifest["tables"][name])


def _tables(names: set[str]) -> str:
    """
    >>> _tables({"subset", "ledger"})
    'the tables ledger, subset'
    """
    return f"the table{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}"
