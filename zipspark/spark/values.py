"""A record of a JSON, csv or text file as values by column, and tasks that go through such files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from itertools import chain
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from zipspark.core.rendering import RenderError
from zipspark.errors import InputError
from zipspark.spark.batches import spark_schema
from zipspark.spark.json_types import JsonType, can_be_columns, merge_columns, type_of
from zipspark.spark.rows import OWN, batches
from zipspark.storage.inputs import Format
from zipspark.storage.records import Block, Record

Packs = list[list[Block]]  # by task
Values = dict[str, Any]  # a record, parsed
Columns = dict[str, JsonType]


def parse(record: Record, format_: Format) -> Values:
    """The record's columns; raises `RenderError` with the reason why it has none."""
    if record.problem:
        raise RenderError(record.problem)
    try:
        text = record.raw.decode()
        values = {"text": text} if format_ == "text" else json.loads(text)
    except UnicodeDecodeError:
        raise RenderError("utf8") from None
    except RecursionError:
        raise RenderError("json:nested too deep") from None
    except ValueError as error:
        raise RenderError(f"json:{error}") from None
    if not isinstance(values, dict):
        raise RenderError("json:not an object")
    return values


def kept(values: Values) -> Values:
    return {name: value for name, value in values.items() if not name.startswith(OWN)}


def simple(values: Values, column: str | None) -> str | None:
    """An id or a group as a string."""
    value = None if column is None else values.get(column)
    if isinstance(value, (list, dict)):
        raise RenderError(f"type:{column} expected string got {type(value).__name__}")
    text = value if value is None or isinstance(value, str) else json.dumps(value)
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RenderError("utf8") from None
    return text


def readable(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def column_types(records: Iterable[Values]) -> Columns:
    each = ({name: type_of(value) for name, value in kept(values).items()} for values in records)
    return reduce(merge_columns, each, {})


def check_names(types: Columns) -> None:
    if not can_be_columns(types):
        names = ", ".join(map(repr, types))
        raise InputError(f"keys must be names that a table can have, no two differing in case alone, got {names}")


def stream(
    spark: SparkSession,
    packs: Packs,
    work: Callable[[Iterator[Block]], Iterator[tuple[Any, ...]]],
    schema: pa.Schema,
) -> DataFrame:
    """What ``work`` makes of the blocks, one task a pack."""
    # A range has one id a partition, whatever the cores, and no shuffle that could be coalesced.
    tasks = spark.range(0, len(packs), 1, len(packs))
    return tasks.mapInArrow(partial(_run, packs, work, schema), spark_schema(schema))


def _run(
    packs: Packs,
    work: Callable[[Iterator[Block]], Iterator[tuple[Any, ...]]],
    schema: pa.Schema,
    tasks: Iterable[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    numbers = chain.from_iterable(batch.column(0).to_pylist() for batch in tasks)
    return batches(work(chain.from_iterable(packs[number] for number in numbers)), schema)
