"""Canonical rows of files that hold records as text: JSON, csv, plain text.

Python reads and parses them, on the executors: Spark's own JSON reader would cast values of a wrong type, or make them
null, in silence, and does not say which line a row was.

1. A survey reads every file once. It finds damaged files, counts lines (so that positions are known wherever a file is
   cut into blocks), and brings a sample to the driver, on which the layout is settled.
2. ``rows`` reads them again and renders by that layout. What does not follow it is a problem row.
3. ``originals`` reads once more; the types of its columns are found on the chosen rows, so that they lose nothing.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from itertools import chain
from typing import Any, TypeVar

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from zipspark.config import PoolOptions
from zipspark.core.rendering import Layout, RenderError, detect_layout, kinds_of_records, layout_renderer
from zipspark.errors import InputError
from zipspark.spark.batches import spark_schema
from zipspark.spark.failures import explain_spark_error
from zipspark.spark.json_types import JsonType, arrow_type, can_be_columns, fitted, merge_columns, type_of
from zipspark.spark.rendering import expression_column, problem_column
from zipspark.spark.rows import OWN, ROWS, Corpus, batches, canonical, check_columns, left_out, quoted
from zipspark.storage.inputs import Format, Source
from zipspark.storage.records import BLOCK, Block, Record, cut, pack, placed, read

_SAMPLE_BYTES = 8 * 2**20
_SAMPLE_RECORDS = 5000
_SAMPLE_FILES = 100  # of which the first record is in the sample whatever it holds
_EXPANDS = 5  # times its size that a compressed file is taken to hold
_SLICE = 100  # records parsed at once
_SURVEY = pa.schema({"file": pa.string(), "start": pa.int64(), "lines": pa.int64(), "sample": pa.binary()})
_RAW = pa.schema({"zip_file": pa.string(), "zip_position": pa.int64(), "zip_record": pa.binary()})
_KNOWN = pa.schema(
    [(f"zip_{field.name}", field.type) for field in ROWS if field.name != "text"]  # that goes before --text-expr
)

Packs = list[list[Block]]  # by task
Values = dict[str, Any]  # a record, parsed
Columns = dict[str, JsonType]
Made = TypeVar("Made")


def read_records(
    spark: SparkSession,
    source: Source,
    options: PoolOptions,
    materialise: Callable[[DataFrame], DataFrame],
    block_size: int = BLOCK,
) -> Corpus:
    """The corpus of JSON, csv or text files. Raises `InputError` for a damaged file and for records of no known layout.

    ``block_size`` (bytes) decides how many tasks there are, and nothing else.
    """
    blocks, sample = _survey(spark, cut(source.files, block_size), block_size)
    packs = pack(blocks, block_size)
    all_kinds = kinds_of_records(sample)
    kinds = {name: kind for name, kind in all_kinds.items() if not name.startswith(OWN)}
    check_columns(list(kinds), options.id_column, options.group_column)
    layout = None if options.text_expr else detect_layout(kinds, options.schema_, options.roles)
    return Corpus(
        rows=_rendered(spark, packs, layout, options) if layout else _computed(spark, packs, sample, options),
        originals=partial(_originals, spark, packs, source.format, materialise),
        layout=layout,
        kinds=kinds,
        format=source.format,
        version=None,
        warnings=source.warnings + left_out(all_kinds),
        fingerprint=source.fingerprint(),
    )


# 1. Survey


def _survey(spark: SparkSession, blocks: list[Block], block_size: int) -> tuple[list[Block], list[Values]]:
    """The blocks with the positions they start at, and a sample of the records in the order of the input."""
    size = sum(block.size * (_EXPANDS if block.file.compression else 1) for block in blocks)
    paths = list(dict.fromkeys(block.file.path for block in blocks))
    look = partial(_look, -(-size // _SAMPLE_BYTES), frozenset(paths[:_SAMPLE_FILES]))
    try:
        found = _stream(spark, pack(blocks, block_size), look, _SURVEY).toArrow()
    except PySparkException as error:
        raise explain_spark_error(error) or error from None
    lines: Counter[tuple[str, int]] = Counter()
    sample: list[bytes] = []
    for file, start, count, raw in zip(*(column.to_pylist() for column in found.columns), strict=True):
        lines[file, start] += count
        if raw is not None:
            sample.append(raw)
    located = placed(blocks, [lines[block.file.path, block.start] for block in blocks])
    return located, _readable_sample(sample, blocks[0].file.format)


def _look(one_in: int, firsts: frozenset[str], blocks: Iterable[Block]) -> Iterator[tuple[Any, ...]]:
    """How many lines each block owns, and those of its records that are in the sample: chosen by content, not place."""
    for block in blocks:
        lines, first = 0, block.start == 0 and block.file.path in firsts
        for record in read(block):
            lines += 1
            if record.raw and not record.problem and (first or zlib.crc32(record.raw) % one_in == 0):
                first = False
                yield block.file.path, block.start, 0, record.raw
        yield block.file.path, block.start, lines, None


def _readable_sample(sample: list[bytes], format_: Format) -> list[Values]:
    """At most so many of the sample's records, parsed; raises `InputError` when none can be."""
    hashes = sorted(map(zlib.crc32, sample))[:_SAMPLE_RECORDS]
    chosen = [raw for raw in sample if zlib.crc32(raw) <= hashes[-1]]
    values, reason = [], "there are none"
    for raw in chosen:
        try:
            values.append(_parse(Record(0, raw), format_))
        except RenderError as error:
            reason = f"{error.reason} in {_readable(raw)[:200]}"
    if not values:
        raise InputError(f"no record of the input can be read: {reason}")
    return values


# 2. Rows


def _rendered(spark: SparkSession, packs: Packs, layout: Layout, options: PoolOptions) -> DataFrame:
    return _stream(spark, packs, partial(_render, layout, options.id_column, options.group_column), ROWS)


def _render(layout: Layout, id_column: str | None, group_column: str | None, blocks: Iterable[Block]) -> Iterator[Any]:
    render = layout_renderer(layout)
    for known, text in _examined(blocks, id_column, group_column, render):
        file, position, user_id, group, problem, record = known
        yield file, position, user_id, group, text, problem, record if problem else None


def _computed(spark: SparkSession, packs: Packs, sample: list[Values], options: PoolOptions) -> DataFrame:
    """The rows whose text is the user's expression over columns of the types that the sample shows."""
    types = _column_types(sample)
    _check_names(types)
    fit = partial(_fit, types, options.id_column, options.group_column)
    schema = pa.schema([*_KNOWN, *(pa.field(name, arrow_type(kind)) for name, kind in types.items())])
    df = _stream(spark, packs, fit, schema)
    columns = [quoted(name) for name in types]
    df = df.withColumn("zip_text", expression_column(df.select(*columns), options.text_expr or ""))
    problem = F.coalesce(F.col("zip_problem"), problem_column(F.col("zip_text")))
    return canonical(df, [F.col(name) for name in _KNOWN.names[:4]], problem, F.col("zip_record"))


def _fit(types: Columns, id_column: str | None, group_column: str | None, blocks: Iterable[Block]) -> Iterator[Any]:
    nothing = (None,) * len(types)
    for known, columns in _examined(blocks, id_column, group_column, partial(_fitted_columns, types)):
        yield (*known, *(columns or nothing))


def _fitted_columns(types: Columns, values: Values) -> tuple[Any, ...]:
    columns = []
    for name, kind in types.items():
        try:
            columns.append(fitted(values.get(name), kind))
        except ValueError as error:
            raise RenderError(f"type:{name} {error}") from None
    return tuple(columns)


def _examined(
    blocks: Iterable[Block], id_column: str | None, group_column: str | None, make: Callable[[Values], Made]
) -> Iterator[tuple[tuple[Any, ...], Made | None]]:
    """For each record what is known of it, as _KNOWN has it, and what ``make`` gives unless there is a problem."""
    for block in blocks:
        for record in read(block):
            if not record.raw:
                continue
            user_id = group = made = problem = None
            try:
                values = _kept(_parse(record, block.file.format))
                user_id = _simple(values, id_column)
                group = _simple(values, group_column)
                made = make(values)
            except RenderError as error:
                problem = error.reason
            yield (block.file.path, record.position, user_id, group, problem, _readable(record.raw)), made


def _parse(record: Record, format_: Format) -> Values:
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


def _kept(values: Values) -> Values:
    return {name: value for name, value in values.items() if not name.startswith(OWN)}


def _simple(values: Values, column: str | None) -> str | None:
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


def _readable(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


# 3. Originals


def _originals(
    spark: SparkSession,
    packs: Packs,
    format_: Format,
    materialise: Callable[[DataFrame], DataFrame],
    chosen: DataFrame,
) -> DataFrame:
    chosen = chosen.withColumnsRenamed({"file": "zip_file", "position": "zip_position"})
    raw = _stream(spark, packs, _raw, _RAW)
    found = materialise(raw.join(chosen, ["zip_file", "zip_position"]))
    per_task = found.select("zip_record").mapInArrow(partial(_types, format_), "types string").toArrow()
    types: Columns = reduce(merge_columns, map(json.loads, per_task.column("types").to_pylist()), {})
    _check_names(types)
    rest = [field for field in found.schema if field.name != "zip_record"]
    columns = spark_schema(pa.schema({name: arrow_type(kind) for name, kind in types.items()}))
    found = found.select("zip_record", *(field.name for field in rest))
    return found.mapInArrow(partial(_typed, format_, types), StructType([*columns, *rest]))


def _check_names(types: Columns) -> None:
    if not can_be_columns(types):
        names = ", ".join(map(repr, types))
        raise InputError(f"keys must be names that a table can have, no two differing in case alone, got {names}")


def _raw(blocks: Iterable[Block]) -> Iterator[tuple[Any, ...]]:
    for block in blocks:
        for record in read(block):
            if record.raw and not record.problem:
                yield block.file.path, record.position, record.raw


def _types(format_: Format, tables: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        types: Columns = {}
        for start in range(0, table.num_rows, _SLICE):
            types = merge_columns(types, _column_types(_values(table.slice(start, _SLICE), format_)))
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
    return [_kept(_parse(Record(0, raw), format_)) for raw in table.column("zip_record").to_pylist()]


def _column_types(records: Iterable[Values]) -> Columns:
    each = ({name: type_of(value) for name, value in _kept(values).items()} for values in records)
    return reduce(merge_columns, each, {})


def _stream(
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
