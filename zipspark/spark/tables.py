"""Canonical rows of what Spark reads as a table: Parquet files, Delta, the catalog, DataFrames.

Spark's hidden ``_metadata`` gives each row its file and its index in it. Whatever has none (views, other formats,
DataFrames) is written once as a Parquet stage, whose rows are then numbered through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from zipspark.config import PoolOptions
from zipspark.core.rendering import Layout, detect_layout, layout_renderer
from zipspark.errors import InputError, ZipsparkError
from zipspark.failures import explain_spark_error, first_line
from zipspark.spark.batches import batch, spark_schema
from zipspark.spark.columns import (
    check_columns,
    check_simple,
    check_types,
    id_name,
    number_column,
    quoted,
    string_column,
    token_columns,
)
from zipspark.spark.rendering import condition_column, expression_column, kinds_of, problem_column, text_column
from zipspark.spark.rows import OWN, ROWS, Corpus, canonical, left_out, no_originals
from zipspark.storage.deltas import Table
from zipspark.storage.inputs import Source
from zipspark.storage.places import Place

_SLICE = 100  # rows of the table as Python objects at once


def read_table(
    spark: SparkSession,
    source: Source | DataFrame,
    options: PoolOptions,
    materialise: Callable[[DataFrame], DataFrame] | None,
) -> Corpus:
    """The corpus of a table. Raises `InputError` when it is not there, cannot be read, or lacks a column asked for."""
    version = None
    if isinstance(source, Source):
        source = pinned(spark, source)
        version = source.version
        with _explained(source):
            found = _open(spark, source)
            kept = _own_columns(found, options)
            located = _located(found, kept)
        table = located or _placed(spark, found, kept, materialise)
        fingerprint = source.fingerprint()
        format_: str = source.format
        warnings = source.warnings
    else:
        found, kept = source, _own_columns(source, options)
        table = _placed(spark, found, kept, materialise)
        fingerprint, format_, warnings = {"format": "dataframe"}, "dataframe", ()
    schema = StructType([table.schema[name] for name in kept])
    kinds = kinds_of(schema)
    layout = None if options.text_expr else detect_layout(kinds, options.schema_, options.roles)
    return Corpus(
        rows=_rows(table, schema, layout, options),
        originals=no_originals if materialise is None else partial(_originals, table, kept),
        layout=layout,
        kinds=kinds,
        format=format_,
        version=version,
        warnings=warnings + left_out(found.columns),
        fingerprint=fingerprint,
    )


def table_ids(spark: SparkSession, source: Source | DataFrame, id_column: str | None) -> DataFrame | None:
    """See `zipspark.spark.corpus.read_ids`."""
    if isinstance(source, Source):
        with _explained(source):
            found = _open(spark, source)
            names = found.columns
    else:
        found, names = source, source.columns
    name = id_name(names, id_column)
    if name is None:
        return None
    check_simple("id_column", name, found.schema[name].dataType)
    return found.select(quoted(name).cast("string").alias("zip_id"))


def pinned(spark: SparkSession, source: Source) -> Source:
    """The same source; of a Delta table the version that it has now, whatever is written to it from here on."""
    if source.table is None or source.version is not None:
        return source
    with _explained(source):
        return replace(source, version=Table.of(source).version(spark))


def identified(spark: SparkSession, source: Source) -> Source:
    """The same source, pinned, and of a Delta table with Delta's own id of it."""
    source = pinned(spark, source)
    if source.table is None or source.version is None:
        return source
    with _explained(source):
        return replace(source, table_id=Table.of(source).identity(spark).id)


def _open(spark: SparkSession, source: Source) -> DataFrame:
    """The input as Spark shows it."""
    if source.format == "parquet":
        reader = spark.read.option("mergeSchema", "true")  # otherwise one file says which columns there are
        if source.root:
            reader = reader.option("basePath", source.root)  # or their folders would be no columns
        return reader.parquet(*(Place.parse(file.uri).pattern for file in source.files))
    return Table.of(source).read(spark, source.version)


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turns what Spark says of an input that it cannot find or understand into an `InputError`."""
    what = source.table or source.root or source.files[0].path
    try:
        yield
    except ZipsparkError:
        raise
    except Exception as error:  # in classic a Py4JJavaError too, a class that a Connect client need not have
        if "TABLE_OR_VIEW_NOT_FOUND" in str(error):
            raise InputError(f"table {what!r} is not there; a path has a slash (./{what}) or a known ending") from None
        raise explain_spark_error(error) or InputError(f"{what} cannot be read: {first_line(error)}") from None


def _own_columns(found: DataFrame, options: PoolOptions) -> list[str]:
    """The input's columns that are read, once it is known that they can be."""
    twice = [name for name, count in Counter(found.columns).items() if count > 1]
    if twice:
        raise InputError(f"column names must be unique, got {', '.join(twice)} more than once")
    kept = [name for name in found.columns if not name.startswith(OWN)]
    check_columns(kept, options)
    check_types(found.schema, options)
    return kept


def _located(found: DataFrame, kept: list[str]) -> DataFrame | None:
    """The columns and where each row lies, or None where Spark does not know that."""
    try:
        hidden = found.metadataColumn("_metadata")  # by this name even where a column of the user's is called so
        path = F.url_decode(F.replace(hidden["file_path"], F.lit("+"), F.lit("%2B")))  # or + would become a space
        path = F.regexp_replace(path, "^(file|dbfs):/+", "/")
        table = found.select(*map(quoted, kept), path.alias("zip_file"), hidden["row_index"].alias("zip_position"))
        table.schema  # noqa: B018  only now does Spark Connect look at it
    except AnalysisException:
        return None
    return table


def is_located(found: DataFrame) -> bool:
    """Whether a table's rows are those of its files: a view's are not."""
    return _located(found, []) is not None


def _placed(
    spark: SparkSession, found: DataFrame, kept: list[str], materialise: Callable[[DataFrame], DataFrame] | None
) -> DataFrame:
    """The columns of a table that does not say where its rows lie, and their numbers in a stage (None: nulls)."""
    columns = found.select(*map(quoted, kept))
    if materialise is None:
        nowhere = F.lit(None)
        return columns.withColumns({"zip_file": nowhere.cast("string"), "zip_position": nowhere.cast("bigint")})
    return _numbered(spark, materialise(columns), kept)


def _numbered(spark: SparkSession, stage: DataFrame, kept: list[str]) -> DataFrame:
    """The rows of a Parquet stage, or some of them, numbered through in the order of its files' names."""
    table = _located(stage, kept)
    if table is None:
        raise TypeError("a stage must be a DataFrame as read from Parquet files")
    sizes = table.groupBy("zip_file").agg((F.max("zip_position") + 1).alias("rows")).toArrow().sort_by("zip_file")
    first = accumulate([0, *sizes.column("rows").to_pylist()[:-1]])
    files = pa.table({"zip_file": sizes.column("zip_file"), "zip_first": pa.array([*first][: len(sizes)], pa.int64())})
    starts = spark.createDataFrame(files, "zip_file string, zip_first bigint")  # a schema, as there may be no files
    numbered = table.join(F.broadcast(starts), "zip_file")
    position = (F.col("zip_first") + F.col("zip_position")).alias("zip_position")
    return numbered.select(*map(quoted, kept), F.lit(None).cast("string").alias("zip_file"), position)


def _rows(table: DataFrame, schema: StructType, layout: Layout | None, options: PoolOptions) -> DataFrame:
    columns = [quoted(name) for name in schema.names]
    own = table.select(*columns)  # what the user's SQL is checked against
    tokens, bad_tokens = token_columns(schema, options.token_column)
    known = [
        F.col("zip_file"),
        F.col("zip_position"),
        string_column(options.id_column),
        string_column(options.group_column),
        number_column(schema, options.quality_column),
        tokens,
    ]
    excluded = F.lit(False) if options.where is None else ~condition_column(own, options.where)
    record = F.to_json(F.struct(*columns))
    if layout is not None and layout.schema == "reference":
        table = table.withColumn("zip_text", F.lit(""))  # where there is to be one, once Python has the record
        rows = canonical(table, known, excluded, bad_tokens, record, F.struct(*columns).alias("zip_columns"))
        return rows.mapInArrow(partial(_reference, layout), spark_schema(ROWS))
    text = text_column(schema, layout) if layout is not None else expression_column(own, options.text_expr or "")
    problem = F.coalesce(bad_tokens, problem_column(F.col("zip_text"), layout))
    return canonical(table.withColumn("zip_text", text), known, excluded, problem, record)


def _reference(layout: Layout, tables: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of `ROWS` and ``zip_columns``, the record; where their text is empty it becomes that of the record."""
    render = layout_renderer(layout)
    for table in tables:
        for start in range(0, table.num_rows, _SLICE):
            part = table.slice(start, _SLICE)
            pairs = zip(part.column("text"), part.column("zip_columns"), strict=True)
            texts = [render(record.as_py()) if text.is_valid else None for text, record in pairs]
            yield batch(ROWS, {name: part.column(name) for name in ROWS.names} | {"text": texts})


def _originals(table: DataFrame, kept: list[str], chosen: DataFrame) -> DataFrame:
    chosen = chosen.withColumnsRenamed({"file": "zip_file", "position": "zip_position"})
    left, right = table.alias("table"), chosen.alias("chosen")
    same = F.col("table.zip_file").eqNullSafe(F.col("chosen.zip_file"))  # null for a stage
    same &= F.col("table.zip_position") == F.col("chosen.zip_position")
    columns = [F.col(f"table.`{name.replace('`', '``')}`") for name in kept]
    order = ["zip_file", "zip_position", *(name for name in chosen.columns if name not in ("zip_file", "zip_position"))]
    return left.join(right, same).select(*columns, *(F.col(f"chosen.{name}") for name in order))
