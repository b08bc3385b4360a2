"""Canonical rows of files that hold records as text: JSON, csv, plain text.

Python reads and parses them, on the executors: Spark's own JSON reader would cast values of a wrong type, or make them
null, in silence, and does not say which line a row was.

1. A survey reads every file once. It finds damaged files, counts lines (so that positions are known wherever a file is
   cut into blocks), and brings a sample to the driver, on which the layout is settled.
2. ``rows`` reads them again and renders by that layout. What does not follow it is a problem row.
3. ``originals`` reads once more; the types of its columns are found on the chosen rows, so that they lose nothing.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import PoolOptions
from zipspark.core.rendering import Layout, RenderError, detect_layout, kinds_of_records, layout_renderer
from zipspark.errors import InputError
from zipspark.failures import explain_spark_error
from zipspark.spark.batches import spark_schema
from zipspark.spark.columns import NUMBERS, asked_for, check_columns, id_name, number, tokens
from zipspark.spark.json_types import arrow_type, fitted, merge_all, type_of
from zipspark.spark.originals import originals
from zipspark.spark.rendering import condition_column, expression_column, problem_column
from zipspark.spark.rows import OWN, ROWS, Corpus, canonical, left_out, no_originals
from zipspark.spark.values import (
    Columns,
    Packs,
    Values,
    check_names,
    column_types,
    kept,
    parse,
    readable,
    simple,
    stream,
)
from zipspark.storage.inputs import Format, Source
from zipspark.storage.records import BLOCK, Block, Record, cut, pack, placed, read

_SAMPLE_BYTES = 8 * 2**20
_SAMPLE_RECORDS = 5000
_SAMPLE_FILES = 100  # of which the first record is in the sample whatever it holds
_EXPANDS = 5  # times its size that a compressed file is taken to hold
_SURVEY = pa.schema({"file": pa.string(), "start": pa.int64(), "lines": pa.int64(), "sample": pa.binary()})
_IDS = pa.schema({"zip_id": pa.string()})
_KNOWN = pa.schema(
    {
        **{f"zip_{field.name}": field.type for field in ROWS if field.name != "excluded"},
        "zip_judged": pa.bool_(),  # whether the columns of --where are there, of the types it takes them for
    }
)


def read_records(
    spark: SparkSession,
    source: Source,
    options: PoolOptions,
    materialise: Callable[[DataFrame], DataFrame] | None,
    block_size: int = BLOCK,
) -> Corpus:
    """The corpus of JSON, csv or text files. Raises `InputError` for a damaged file and for records of no known layout.

    ``block_size`` (bytes) decides how many tasks there are, and nothing else.
    """
    blocks, sample = _survey(spark, cut(source.files, block_size), block_size)
    packs = pack(blocks, block_size)
    all_kinds = kinds_of_records(sample)
    kinds = {name: kind for name, kind in all_kinds.items() if not name.startswith(OWN)}
    check_columns(list(kinds), options)
    _check_numbers(sample, options)
    layout = None if options.text_expr else detect_layout(kinds, options.schema_, options.roles)
    return Corpus(
        rows=_rows(spark, packs, sample, layout, options),
        originals=no_originals if materialise is None else partial(originals, spark, packs, source.format, materialise),
        layout=layout,
        kinds=kinds,
        format=source.format,
        version=None,
        warnings=source.warnings + left_out(all_kinds),
        fingerprint=source.fingerprint(),
    )


def record_ids(spark: SparkSession, source: Source, id_column: str | None, block_size: int = BLOCK) -> DataFrame | None:
    """See `zipspark.spark.corpus.read_ids`."""
    blocks, sample = _survey(spark, cut(source.files, block_size), block_size)
    name = id_name(list(kinds_of_records(sample)), id_column)
    return None if name is None else stream(spark, pack(blocks, block_size), partial(_ids, name), _IDS)


def _ids(name: str, blocks: Iterable[Block]) -> Iterator[tuple[str | None]]:
    """The ids of the records. One that cannot be read is an error: a row that must be chosen would be lost."""
    for block in blocks:
        for record in read(block):
            try:
                yield (simple(parse(record, block.file.format), name) if record.raw else None,)
            except RenderError as error:
                place = f"{block.file.path}:{record.position}"
                raise InputError(f"{place} cannot be read, and ids must all be: {error.reason}") from None


def _check_numbers(sample: list[Values], options: PoolOptions) -> None:
    """Raises `InputError` for a column of numbers that the sample shows to be something else."""
    for option, name in asked_for(options):
        if option in NUMBERS:
            kind = merge_all(type_of(values.get(name)) for values in sample)
            if isinstance(kind, dict) or kind == "bool":
                raise InputError(f"{option} must be a number, {name} is {kind if kind == 'bool' else next(iter(kind))}")


# 1. Survey


def _survey(spark: SparkSession, blocks: list[Block], block_size: int) -> tuple[list[Block], list[Values]]:
    """The blocks with the positions they start at, and a sample of the records in the order of the input."""
    size = sum(block.size * (_EXPANDS if block.file.compression else 1) for block in blocks)
    paths = list(dict.fromkeys(block.file.path for block in blocks))
    look = partial(_look, -(-size // _SAMPLE_BYTES), frozenset(paths[:_SAMPLE_FILES]))
    try:
        found = stream(spark, pack(blocks, block_size), look, _SURVEY).toArrow()
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
            values.append(parse(Record(0, raw), format_))
        except RenderError as error:
            reason = f"{error.reason} in {readable(raw)[:200]}"
    if not values:
        raise InputError(f"no record of the input can be read: {reason}")
    return values


# 2. Rows


def _rows(
    spark: SparkSession, packs: Packs, sample: list[Values], layout: Layout | None, options: PoolOptions
) -> DataFrame:
    """The canonical rows: what Python finds in each record, then what the user says of it in SQL.

    SQL sees columns of the types that the sample shows. For ``--where`` only those that it mentions have to be of that
    type in every row, so that it is no reason for others to be bad.
    """
    where, text_expr = options.where, options.text_expr
    types = {} if where is None and text_expr is None else column_types(sample)
    check_names(types)
    own = spark.createDataFrame([], spark_schema(_schema(types)))  # what the user's SQL is checked against
    meets = F.lit(True) if where is None else condition_column(own, where)
    text = expression_column(own, text_expr) if text_expr else F.col("zip_text")
    judging = _mentioned(types, where or "")
    if not text_expr:
        types = {name: types[name] for name in judging}
    reading = _Reading(layout, types, judging, dict(asked_for(options)))
    df = stream(spark, packs, reading, reading.schema).withColumn("zip_text", text)
    problem = F.col("zip_problem")
    if text_expr:
        problem = F.coalesce(problem, problem_column(F.col("zip_text")))
    known = [F.col(name) for name in _KNOWN.names[:6]]
    return canonical(df, known, F.col("zip_judged") & ~meets, problem, F.col("zip_record"))


def _mentioned(types: Columns, sql: str) -> list[str]:
    """The columns that ``sql`` may be about: their names occur in it, or a * does."""
    said = sql.replace("``", "`").lower()
    return [name for name in types if name.lower() in said or "*" in said]


def _schema(types: Columns) -> pa.Schema:
    return pa.schema({name: arrow_type(kind) for name, kind in types.items()})


@dataclass(frozen=True)
class _Reading:
    """From blocks to rows of ``schema``, on the executors."""

    layout: Layout | None  # None: the text is an expression over all of `types`
    types: Columns  # of the columns that SQL gets
    judging: list[str]  # those of them without which the condition cannot be judged
    asked: dict[str, str]  # column by option

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*_KNOWN, *_schema(self.types)])

    def __call__(self, blocks: Iterable[Block]) -> Iterator[tuple[Any, ...]]:
        names = self.schema.names
        render = layout_renderer(self.layout) if self.layout else None
        for block in blocks:
            for record in read(block):
                if record.raw:
                    found = self._found(record, block.file.format, render)
                    found |= {"zip_file": block.file.path, "zip_position": record.position}
                    yield tuple(map(found.get, names))

    def _found(self, record: Record, format_: Format, render: Callable[[Values], bytes] | None) -> Values:
        """What is known of a record, up to the first problem. Until it can be judged, no condition leaves it out."""
        found: Values = {"zip_judged": False}
        try:
            values = kept(parse(record, format_))
            found |= self._fitted(self.judging, values)
            found["zip_judged"] = True
            found["zip_user_id"] = simple(values, self.asked.get("id_column"))
            found["zip_group"] = simple(values, self.asked.get("group_column"))
            if name := self.asked.get("quality_column"):
                found["zip_quality"] = number(values.get(name))
            if name := self.asked.get("token_column"):
                found["zip_tokens"] = tokens(values.get(name))
            found |= {"zip_text": render(values)} if render else self._fitted(self.types, values)
        except RenderError as error:
            found["zip_problem"] = error.reason
        if "zip_problem" in found or render is None:  # without a layout it is SQL that finds most problems
            found["zip_record"] = readable(record.raw)
        return found

    def _fitted(self, names: Iterable[str], values: Values) -> Values:
        columns = {}
        for name in names:
            try:
                columns[name] = fitted(values.get(name), self.types[name])
            except ValueError as error:
                raise RenderError(f"type:{name} {error}") from None
        return columns
