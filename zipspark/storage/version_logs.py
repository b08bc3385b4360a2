"""Version logs (`zipspark.entropy.versions`) as Delta tables, to which several may write at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from zipspark.entropy.versions import LOG, Version, addition, from_table, merged, to_table
from zipspark.errors import EngineError, InputError
from zipspark.storage.deltas import Table, is_conflict, writer
from zipspark.storage.places import Place

logger = logging.getLogger("zipspark")

_APP = "zipspark-entropy-log"  # of Delta's transaction versions, which count within one table
_TRIES = 20  # looks at a log, each after somebody else has written to it


def read_versions(spark: SparkSession, table: Table) -> list[Version]:
    """The merged versions of a Delta log. Raises `InputError` where there is none, or it is no log."""
    version = table.version(spark)
    if version is None:
        raise InputError(f"log {table} is not there, or no Delta table; log a version first (zipspark entropy log)")
    return _read(spark, table, version)[0]


def add_version(spark: SparkSession, table: Table, version: Version, replace_values: bool = False) -> Version:
    """Add a version to a Delta log, which is made where there is none; returns it as the log has it now.

    Of two writers at once, the later one looks again: a commit carries the version of the table that was read as
    Delta's transaction version, so one that was made from an older look is refused, or left out. What is not there
    after the write, is written again.

    Raises `InputError` as `zipspark.entropy.versions.addition` does, and for a table of another format.
    """
    for turn in range(_TRIES):
        base = table.version(spark)
        if base is None:
            with _conflicts():
                _begin(spark, table, _frame(spark, version))
            base = table.version(spark)
            if base is None:
                raise InputError(f"log {table} is there, but no Delta table: name another")
        known, latest = _read(spark, table, base)
        # A table has no order but that of times, and this machine's clock may be behind that of another writer.
        now = datetime.now(UTC) if latest is None else max(datetime.now(UTC), latest + timedelta(microseconds=1))
        row = addition(known, replace(version, at=version.at or now), replace_values)
        if row is None:
            return next(one for one in merged(known) if one.version == version.version)
        if turn:
            logger.warning("log %s: another writer came first, looking again", table)
            time.sleep(min(0.2 * turn, 2.0))
        writing = writer(_frame(spark, row), "versions", {"log": version.version})
        writing = writing.mode("append").option("mergeSchema", "true")
        with _conflicts():
            table.save(writing.option("txnAppId", _APP).option("txnVersion", base + 1))
    raise EngineError(f"other writers of log {table} keep coming first: try again once they are done")


def check_log(spark: SparkSession, table: Table) -> None:
    """Raises `InputError` for what is no log and can become none, before minutes are spent on what is to be in it."""
    version = table.version(spark)
    if version is not None:
        _read(spark, table, version)
    elif table.uri is not None:
        place = Place.parse(table.uri)
        if place.exists() and not place.is_dir():
            raise InputError(f"log {table} is a file: a log in a file ends in .csv or .parquet")
        if any(not one.name.startswith("_delta_log") for one in place.list()):
            raise InputError(f"log {table} is a folder with something else in it: name another")


def _begin(spark: SparkSession, table: Table, rows: DataFrame) -> None:
    """Make an empty log with the columns of ``rows``, unless somebody else has."""
    check_log(spark, table)
    table.save(writer(rows.limit(0), "versions", {}).mode("ignore"))


def _read(spark: SparkSession, table: Table, version: int) -> tuple[list[Version], datetime | None]:
    """The merged versions, and the time of the last row."""
    rows = table.read(spark, version).toArrow()
    try:
        known = from_table(rows)
    except InputError as error:
        raise InputError(f"log {table}: {str(error).removeprefix('log: ').removeprefix('log, ')}") from None
    times = rows["at"].cast(LOG.field("at").type, safe=False) if "at" in rows.column_names else None
    return known, None if times is None else pc.max(times).as_py()


def _frame(spark: SparkSession, row: Version) -> DataFrame:
    """A row of the log; a table of Delta's takes no column that must not be null later on."""
    return spark.createDataFrame(to_table([row]).cast(pa.schema([field.with_nullable(True) for field in LOG])))


@contextmanager
def _conflicts() -> Iterator[None]:
    """Somebody else's commit that came first is no error: the log is looked at again."""
    try:
        yield
    except Exception as error:
        if not is_conflict(error):
            raise
