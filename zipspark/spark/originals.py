"""The input's own columns for rows of JSON, csv and text files, typed so that they lose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from zipspark.spark.batches import spark_schema
from zipspark.spark.json_types import arrow_type, fitted, merge_columns
from zipspark.spark.values import Columns, Packs, Values, check_names, column_types, kept, parse, stream
from zipspark.storage.inputs import Format
from zipspark.storage.records import Block, Record, read

_SLICE = 100  # records parsed at once
_RAW = pa.schema({"zip_file": pa.string(), "zip_position": pa.int64(), "zip_record": pa.binary()})


def originals(
    spark: SparkSession,
    packs: Packs,
    format_: Format,
    materialise: Callable[[DataFrame], DataFrame],
    chosen: DataFrame,
) -> DataFrame:
    chosen = chosen.withColumnsRenamed({"file": "zip_file", "position": "zip_position"})
    raw = stream(spark, packs, _raw, _RAW)
    found = materialise(raw.join(chosen, ["zip_file", "zip_position"]))
    per_task = found.select("zip_record").mapInArrow(partial(_types, format_), "types string").toArrow()
    types: Columns = reduce(merge_columns, map(json.loads, per_task.column("types").to_pylist()), {})
    check_names(types)
    rest = [field for field in found.schema if field.name != "zip_record"]
    columns = spark_schema(pa.schema({name: arrow_type(kind) for name, kind in types.items()}))
    found = found.select("zip_record", *(field.name for field in rest))
    return found.mapInArrow(partial(_typed, format_, types), StructType([*columns, *rest]))


def _raw(blocks: Iterable[Block]) -> Iterator[tuple[Any, ...]]:
    for block in blocks:
        for record in read(block):
            if record.raw and not record.problem:
                yield block.file.path, record.position, record.raw


def _types(format_: Format, tables: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        types: Columns = {}
        for start in range(0, table.num_rows, _SLICE):
            types = merge_columns(types, column_types(_values(table.slice(start, _SLICE), format_)))
        yield pa.record_batch({"types": pa.array([json.dumps(types)])})


def _typed(format_: Format, types: Columns, tables: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        for start in range(0, table.num_rows, _SLICE):
            part = table.slice(start, _SLICE)
            values = _values(part, format_)
            columns = {
                name: pa.array([fitted(one.get(name), kind) for one in values], arrow_type(kind))
                for name, kind in types.items()
            }
            carried = {name: part.column(name) for name in part.schema.names if name != "zip_record"}
            yield pa.record_batch(columns | carried)


def _values(table: pa.RecordBatch, format_: Format) -> list[Values]:
    return [kept(parse(Record(0, raw), format_)) for raw in table.column("zip_record").to_pylist()]
