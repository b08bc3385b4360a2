"""From what the user gave to canonical rows: the one place that knows every kind of input."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession

from zipspark.config import PoolOptions
from zipspark.spark.records import read_records, record_ids
from zipspark.spark.rows import ROWS, Corpus
from zipspark.spark.tables import identified, pinned, read_table, table_ids
from zipspark.storage.inputs import Source

__all__ = ["ROWS", "Corpus", "identified", "pinned", "read_corpus", "read_ids"]

_TABLES = ("parquet", "delta", "table")  # formats that Spark reads


def read_corpus(
    spark: SparkSession,
    source: Source | DataFrame,
    options: PoolOptions,
    materialise: Callable[[DataFrame], DataFrame] | None,
) -> Corpus:
    """The corpus of ``source``: files or a table found by `zipspark.storage.inputs.resolve`, or a DataFrame.

    ``materialise`` writes a DataFrame as a Parquet stage and reads it back; it is called for DataFrames and views here,
    and by ``originals``. Where only the texts are wanted it may be None: then there are no originals, and the rows of
    DataFrames and views have no place. Raises `InputError` for what cannot be read, has no known layout, or lacks a
    column asked for. What goes wrong later, with ``rows``, is for `zipspark.failures.explain_spark_error`.

    >>> read_corpus(spark, resolve(["pool.jsonl"]), PoolOptions(), materialise).rows  # doctest: +SKIP
    DataFrame[file: string, position: bigint, user_id: string, group: string, text: binary, problem: string, ...]
    """
    if isinstance(source, DataFrame) or source.format in _TABLES:
        return read_table(spark, source, options, materialise)
    return read_records(spark, source, options, materialise)


def read_ids(spark: SparkSession, source: Source | DataFrame, id_column: str | None) -> DataFrame | None:
    """The ids that ``source`` lists, as the distinct values of one string column ``zip_id``.

    They are in ``id_column``, as the corpus' ``user_id`` says them, or else in ``zip_id``, as an earlier result has it;
    None where the source has neither column. Nulls are left out. Raises `InputError` for what cannot be read: at once,
    or, for damaged records of JSON and csv, once the ids are computed.

    >>> read_ids(spark, resolve(["keep.csv"]), "id")  # doctest: +SKIP
    DataFrame[zip_id: string]
    """
    if isinstance(source, DataFrame) or source.format in _TABLES:
        ids = table_ids(spark, source, id_column)
    else:
        ids = record_ids(spark, source, id_column)
    return None if ids is None else ids.where("zip_id is not null").distinct()
