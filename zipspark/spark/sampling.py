"""A small copy of whatever `zipspark.spark.corpus` reads: of files by `zipspark.storage.sampling`, of tables here."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import PoolOptions
from zipspark.errors import InputError
from zipspark.spark.corpus import read_corpus
from zipspark.spark.tables import is_located
from zipspark.storage.deltas import Table
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.places import Place
from zipspark.storage.sampling import Copy, copied, spread

_FILES = 64  # of a table that are considered
_ROWS = 5000  # of a table whose files cannot be looked into
_PEEK = 20  # of these, that say how large rows are


def copy_of(spark: SparkSession, source: Source, options: PoolOptions, folder: Place, limit: int) -> Copy:
    """Copy about ``limit`` bytes of the input's records into ``folder``, which executors can reach.

    Of a table from its files, where they hold its rows as they are, else its first rows. Raises as `read_corpus` does,
    and `InputError` for an input without rows.
    """
    if source.table is None:
        return copied(source, folder, limit)
    read_corpus(spark, source, options, None)  # says what is wrong with it
    found = Table.of(source).read(spark)
    rows = found.count()  # Delta and Parquet know it
    if not rows:
        raise InputError("input holds no rows")
    files = [_path(name) for name in spread(found.inputFiles(), _FILES)] if is_located(found) else []
    if files and all(name.endswith(".parquet") for name in files):
        copy = copied(resolve(files), folder.child("files"), limit)
        if {*_columns(spark, copy.source)} == {*found.columns}:  # Delta may call them something else in its files
            return replace(copy, rows=rows, how="counted by Spark", whole=copy.whole and copy.rows == rows)
    table = _first(found, folder.child("rows"), limit)
    return Copy(
        resolve([folder.child("rows").uri]), rows, "counted by Spark; the sample is its first rows", table == rows
    )


def _columns(spark: SparkSession, source: Source) -> list[str]:
    reader = spark.read.option("basePath", source.root) if source.root else spark.read
    return reader.parquet(*(Place.parse(file.uri).pattern for file in source.files)).columns


def _path(uri: str) -> str:
    """What `Place.parse` takes of a URI as Spark gives it."""
    return unquote(urlsplit(uri).path) if uri.startswith("file:") else unquote(uri)


def _first(found: DataFrame, folder: Place, limit: int) -> int:
    peek = found.limit(_PEEK).toArrow()
    table = found.limit(max(_PEEK, min(_ROWS, int(limit * len(peek) / max(peek.nbytes, 1))))).toArrow()
    table = table.slice(0, max(1, int(len(table) * min(1.0, limit / max(table.nbytes, 1)))))
    folder.make_dir()
    with folder.filesystem.open_output_stream(folder.child("0.parquet").path) as stream:
        pq.write_table(table, stream)
    return len(table)
