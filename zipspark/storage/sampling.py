"""A small copy of an input, to be looked at in its place: some of its records, spread over all of it.

What is read is bounded, however large the input: of Parquet some row groups, of plain lines some stretches, of other
files (compressed, csv, arrays) their beginning. The copy has the input's format and layout, so whatever reads the input
reads the copy.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zipspark.errors import InputError
from zipspark.storage.inputs import Source, SourceFile, resolve
from zipspark.storage.places import Place
from zipspark.storage.records import Block, Record, cut, read

STRETCHES = 8  # row groups, or stretches of lines, that are read; more where they are small
_MOST = 256  # of these
_FOOTERS = 64  # Parquet files whose footers are read
_DECODED = 16 * 2**20  # bytes of a row group that are decoded, of a larger one the first
_BLOCK = 2**20  # bytes of lines, of which a stretch is the start
_BATCH = 512  # rows
_READ = 4  # times what is kept of a file that can only be read from its start
_PREFIX = 2**20  # bytes of a compressed file that are unpacked to see how much it holds

Write = Callable[[Place], None]


@dataclass(frozen=True)
class Copy:
    """Some records of an input."""

    source: Source  # the copy, as an input of its own
    rows: int  # of the whole input, as far as is known
    how: str  # how they are known: counted, or estimated from what
    whole: bool  # the copy holds every record of the input


class _Group(NamedTuple):
    """A row group of a Parquet file."""

    file: SourceFile
    number: int
    rows: int
    bytes: int  # unpacked


def copied(source: Source, folder: Place, limit: int) -> Copy:
    """Copy about ``limit`` bytes of the records of ``source`` (files, as `resolve` finds them) into ``folder``.

    Raises `InputError` for a file that cannot be read as what it is called, and for an input without rows.
    """
    return _of_tables(source, folder, limit) if source.format == "parquet" else _of_records(source, folder, limit)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of ``items``, evenly apart.

    >>> spread(range(10), 4)
    [1, 3, 6, 8]
    """
    if len(items) <= count:
        return list(items)
    return [items[int((number + 0.5) * len(items) / count)] for number in range(count)]


def _stretches(limit: int, size: int, of: Sequence[Any]) -> int:
    """How many to read, each ``size / len(of)`` bytes on average, so that ``limit`` bytes come together."""
    return min(_MOST, max(STRETCHES, math.ceil(limit * len(of) / max(size, 1))))


# Parquet


def _of_tables(source: Source, folder: Place, limit: int) -> Copy:
    looked_at = spread(source.files, _FOOTERS)
    with ThreadPoolExecutor(16) as pool:
        groups = list(itertools.chain.from_iterable(pool.map(_groups, looked_at)))
    rows, size = sum(group.rows for group in groups), sum(group.bytes for group in groups)
    if not rows:
        raise InputError("input holds no rows")
    how = "from Parquet's footers"
    total = rows
    if len(looked_at) < len(source.files):
        total = round(rows * sum(file.size for file in source.files) / sum(file.size for file in looked_at))
        how = f"estimated from {len(looked_at):,} of {len(source.files):,} Parquet footers"
    whole = total == rows and size <= limit and all(group.bytes <= _DECODED for group in groups)
    chosen = groups if whole else spread([group for group in groups if group.rows], _stretches(limit, size, groups))
    tables: defaultdict[SourceFile, list[pa.Table]] = defaultdict(list)
    share = limit / len(chosen)
    for group in chosen:
        table = _rows_of(group)
        wanted = len(table) if whole else max(1, int(len(table) * min(1.0, share / max(table.nbytes, 1))))
        tables[group.file].append(table.take(_evenly(len(table), wanted)))
    skip = len(source.root or "")
    for number, (file, found) in enumerate(tables.items()):
        within = file.uri[skip:].rpartition("/")[0] if source.root else ""
        place = folder.child(f"{within}/{number}.parquet" if within else f"{number}.parquet")
        place.parent.make_dir()
        with place.filesystem.open_output_stream(place.path) as stream:
            pq.write_table(pa.concat_tables(found), stream)
    return Copy(replace(resolve([folder.uri]), warnings=source.warnings), total, how, whole)


def _groups(file: SourceFile) -> list[_Group]:
    place = Place.parse(file.uri)
    try:
        with place.filesystem.open_input_file(place.path) as stream:
            footer = pq.read_metadata(stream)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file.path} cannot be read as Parquet: {error}") from None
    found = (footer.row_group(number) for number in range(footer.num_row_groups))
    return [_Group(file, number, group.num_rows, group.total_byte_size) for number, group in enumerate(found)]


def _rows_of(group: _Group) -> pa.Table:
    """The rows of a group, or of a large one the first."""
    place = Place.parse(group.file.uri)
    try:
        with place.filesystem.open_input_file(place.path) as stream:
            file = pq.ParquetFile(stream)
            if group.bytes <= _DECODED:
                return file.read_row_group(group.number)
            found, size = [], 0
            for rows in file.iter_batches(_BATCH, row_groups=[group.number]):
                found.append(rows)
                size += rows.nbytes
                if size > _DECODED:
                    break
            return pa.Table.from_batches(found)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{group.file.path} cannot be read as Parquet: {error}") from None


# JSON, csv, text


def _of_records(source: Source, folder: Place, limit: int) -> Copy:
    stored = sum(file.size for file in source.files)
    whole = stored <= limit and not any(file.compression for file in source.files)
    # Only plain lines are cut in blocks: of these the start will do, which costs no more to find than to read.
    blocks = cut(source.files, _BLOCK)
    chosen = blocks if whole else spread(blocks, _stretches(limit, stored, blocks))
    records: list[Record] = []
    complete = True
    for block in chosen:
        found, ended = _read(block, limit if whole else limit // len(chosen), in_place=len(blocks) > len(source.files))
        records += found
        complete = complete and ended
    whole = complete and len(chosen) == len(blocks)
    if not records:
        raise InputError("input holds no rows" if whole else "the sample of the input holds no rows")
    format_ = source.format
    packed = _packed(records, format_)
    suffix = {"json": "json" if source.files[0].array else "jsonl", "csv": "csv", "text": "txt"}[format_]
    place = folder.child(f"0.{suffix}")
    place.parent.make_dir()
    if suffix == "json":
        packed = b"[" + b",".join(record.raw for record in records) + b"]"
    with place.filesystem.open_output_stream(place.path) as stream:
        stream.write(packed)
    copy = replace(resolve([place.uri]), warnings=source.warnings)
    if whole:
        return Copy(copy, len(records), "counted", True)
    held = sum(file.size * _expansion(file) for file in source.files[:1]) / max(source.files[0].size, 1)
    how = "estimated from the size of files and the mean record"
    if held != 1:
        how += f", unpacked {held:.1f} times as large"
    return Copy(copy, max(len(records), round(stored * held * len(records) / len(packed))), how, False)


def _read(block: Block, limit: int, in_place: bool) -> tuple[list[Record], bool]:
    """Records of a block, about ``limit`` bytes of them, and whether that is all it holds.

    Lines are read from the block's start. Of what cannot be entered in its midst more is read, and kept in part.
    """
    found: list[Record] = []
    size = 0
    for record in read(block):
        if size > (limit if in_place else limit * _READ):
            wanted = max(1, int(len(found) * limit / size))
            return [found[at] for at in _evenly(len(found), min(wanted, len(found))).tolist()], False
        if record.raw:
            found.append(record)
            size += len(record.raw)
    if size <= limit:
        return found, True
    wanted = max(1, int(len(found) * limit / size))
    return [found[at] for at in _evenly(len(found), wanted).tolist()], False


def _packed(records: Sequence[Record], format_: str) -> bytes:
    """The records as a file holds them."""
    if format_ != "csv":
        return b"".join(record.raw + b"\n" for record in records)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    raw = [record.raw.decode(errors="surrogateescape") for record in records]
    rows = [None if record.problem else json.loads(line) for record, line in zip(records, raw, strict=True)]
    header = dict.fromkeys(name for values in rows if values is not None for name in values)  # of all files
    if header:
        writer.writerow(header)
    for line, values in zip(raw, rows, strict=True):
        if values is None:
            text.write(line + "\r\n")
        else:
            writer.writerow([values.get(name, "") for name in header])
    return text.getvalue().encode(errors="surrogateescape")


def _expansion(file: SourceFile) -> float:
    """How many times its size a file holds, from its beginning."""
    if file.compression is None:
        return 1.0
    place = Place.parse(file.uri)
    with place.filesystem.open_input_stream(place.path, compression=None) as stream:
        prefix = stream.read(_PREFIX)
    size = sum(map(len, _unpacked(prefix, file.compression)))
    return max(1.0, size / max(len(prefix), 1))


def _unpacked(prefix: bytes, compression: str) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.BufferReader(prefix), compression) as stream:
        while True:
            try:
                piece = stream.read(2**16)
            except OSError:  # it is cut off
                return
            if not piece:
                return
            yield piece


def _evenly(count: int, wanted: int) -> np.ndarray:
    """(wanted,) positions below ``count``, evenly apart."""
    return (np.arange(wanted, dtype=np.int64) * count) // max(wanted, 1)
