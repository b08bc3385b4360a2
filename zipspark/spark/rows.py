"""A canonical row, what every input becomes, and the corpus that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from zipspark.core.rendering import Kind, Layout
from zipspark.spark.batches import batch

ROWS = pa.schema(
    {
        "file": pa.string(),  # null for tables and DataFrames
        "position": pa.int64(),  # in the file, from 0; with `file` the identity of a row
        "user_id": pa.string(),  # null without --id-column
        "group": pa.string(),  # null: no group
        "quality": pa.float64(),  # finite; null without --quality-column and where it holds no number
        "tokens": pa.int64(),  # from 0; null without --token-column
        "excluded": pa.bool_(),  # whether --where leaves the row out; then text, problem and record are null
        "text": pa.binary(),  # UTF-8; null where there is a problem
        "problem": pa.string(),  # a reason code, detail after a colon; null: none
        "record": pa.string(),  # the row as it was found, readable; null where there is no problem
    }
)
OWN = "zip_"  # names that start so are zipspark's; the input's own are left out
_BATCH_ROWS = 1000
_BATCH_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Corpus:
    """The pool (or an anchor, ...) as it was found, one row per input row, with nothing lost."""

    rows: DataFrame  # columns ROWS, in no order; computed anew by each action
    originals: Callable[[DataFrame], DataFrame]
    """The input's own columns for chosen rows.

    Takes rows with ``file``, ``position`` and any columns called ``zip_*``; gives, for those rows, the columns of the
    input (but for ``zip_*``), ``zip_file``, ``zip_position`` and the columns that came with them.
    """
    layout: Layout | None  # None: the text is what --text-expr gives
    kinds: dict[str, Kind]
    format: str
    version: int | None  # of a Delta table: the one that is read, whatever is written meanwhile
    warnings: tuple[str, ...]
    fingerprint: dict[str, Any]  # of the input, JSON-ready


def no_originals(chosen: DataFrame) -> DataFrame:
    """`Corpus.originals` of a corpus that was read for its texts alone."""
    raise TypeError("this corpus was read without materialise: it has no originals")


def canonical(
    df: DataFrame, known: Sequence[Column], excluded: Column, problem: Column, record: Column, *more: Column
) -> DataFrame:
    """The canonical rows of a table, whose column ``zip_text`` is the text where ``problem`` finds none.

    ``known`` are file, position, user id, group, quality and tokens. ``more`` columns go behind those of `ROWS`.
    """
    df = df.withColumn("zip_excluded", excluded)
    df = df.withColumn("zip_problem", F.when(~F.col("zip_excluded"), problem))
    bad = F.col("zip_problem").isNotNull()
    text = F.when(~(F.col("zip_excluded") | bad), F.col("zip_text").cast("binary"))
    columns = (*known, F.col("zip_excluded"), text, F.col("zip_problem"), F.when(bad, record))
    return df.select(*(column.alias(name) for column, name in zip(columns, ROWS.names, strict=True)), *more)


def left_out(columns: Iterable[str]) -> tuple[str, ...]:
    """The warning about columns of the input that zipspark's own replace."""
    clash = [name for name in columns if name.startswith(OWN)]
    return (f"input columns {', '.join(clash)} are left out: names with {OWN} are zipspark's own",) if clash else ()


def batches(rows: Iterable[tuple[Any, ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """``rows`` as small batches, each as soon as it is full."""
    waiting: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(waiting) == _BATCH_ROWS or size > _BATCH_BYTES:
            yield _batch(waiting, schema)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting, schema)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    return batch(schema, dict(zip(schema.names, zip(*rows, strict=True), strict=True)))
