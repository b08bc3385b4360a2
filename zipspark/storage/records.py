"""Records of JSON, csv and text files as a stream: constant memory, whatever the size of a file.

Every record is JSON text (of a text file: the line), found at a position that does not depend on how the file is cut
into blocks: the number of its line, of its csv row, or of its element in an array, each from 0.

Damage that would hide the rest of a file (cut-off compression, a broken array, a csv quote that is never closed) raises
`InputError` with the file's name. Damage to one record is that record's problem.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

from zipspark.errors import InputError
from zipspark.storage.inputs import BOM, SourceFile
from zipspark.storage.places import Place

BLOCK = 64 * 2**20  # bytes, as stored, that one task reads
_CHUNK = 2**20  # bytes read at once
_LARGEST = 256 * 2**20  # characters of one csv field or array element; more means a quote or bracket is missing
_SPACE = re.compile(r"[ \t\n\r]*")


class _Damage(Exception):
    """The rest of a file cannot be read; says why."""


class Record(NamedTuple):
    position: int
    raw: bytes  # empty: a blank line, which is no record and only counts
    problem: str | None = None  # why `raw` is no JSON text: a code as in `zipspark.core.rendering`


@dataclass(frozen=True)
class Block:
    """A stretch of a file. It owns the lines whose first byte lies in it."""

    file: SourceFile
    start: int = 0  # byte
    end: int | None = None  # byte; None: the end of the file
    first: int = 0  # position of the first line it owns

    @property
    def size(self) -> int:
        return (self.file.size if self.end is None else self.end) - self.start


def cut(files: Sequence[SourceFile], size: int = BLOCK) -> list[Block]:
    """Blocks of about ``size`` bytes, in order. Only plain files of lines can be read from their middle."""
    blocks = []
    for file in files:
        whole = file.compression or file.array or file.format == "csv" or file.size <= size
        starts = [0] if whole else list(range(0, file.size, size))
        blocks += [Block(file, start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return blocks


def pack(blocks: Sequence[Block], size: int = BLOCK) -> list[list[Block]]:
    """What each task reads: neighbouring blocks until they come to ``size`` bytes."""
    packs: list[list[Block]] = []
    room = 0
    for block in blocks:
        if block.size > room or not packs:
            packs.append([])
            room = size
        packs[-1].append(block)
        room -= block.size
    return packs


def placed(blocks: Sequence[Block], lines: Sequence[int]) -> list[Block]:
    """The blocks with their first positions, from how many lines each of them owns."""
    result: list[Block] = []
    first = 0
    for block, before in zip(blocks, [0, *lines], strict=False):
        first = first + before if block.start else 0
        result.append(replace(block, first=first))
    return result


def read(block: Block) -> Iterator[Record]:
    """The records of ``block`` in order; raises `InputError` when its file cannot be read to the end."""
    file = block.file
    place = Place.parse(file.uri)
    try:
        if block.start:
            stream = place.filesystem.open_input_file(place.path)
            stream.seek(block.start - 1)
        else:
            stream = place.filesystem.open_input_stream(place.path, compression=file.compression)
        with io.BufferedReader(stream, _CHUNK) as buffered:
            if not block.start and buffered.peek(len(BOM)).startswith(BOM):
                buffered.read(len(BOM))
            if file.array:
                yield from _elements(buffered)
            elif file.format == "csv":
                yield from _csv_rows(buffered)
            else:
                yield from _lines(buffered, block)
    except (OSError, _Damage) as error:
        raise InputError(f"{file.path} cannot be read to its end: {error}") from None


def _lines(stream: BinaryIO, block: Block) -> Iterator[Record]:
    """Lines end with \\n; a \\r before it is no part of them."""
    # Reading starts one byte early, so that this drops the line of the block before, or its \n alone.
    at = block.start - 1 + len(stream.readline()) if block.start else 0
    for position, line in enumerate(stream, block.first):
        if block.end is not None and at >= block.end:
            return
        at += len(line)
        yield Record(position, b"" if line.isspace() else line.removesuffix(b"\n").removesuffix(b"\r"))


def _csv_rows(stream: BinaryIO) -> Iterator[Record]:
    """Each row as a JSON object of strings, by the names in the header."""
    csv.field_size_limit(_LARGEST)
    taken: list[str] = []  # the lines of the row that is being read
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    reader = csv.reader((taken.append(line) or line for line in text), strict=True)  # type: ignore[func-returns-value]
    header = next(reader, [])
    if not all(header) or len(set(header)) != len(header) or not header:
        raise _Damage(f"its first line must name each column once, got {header}")
    for position in itertools.count():
        taken.clear()
        problem = None
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error) or "field larger" in str(error):
                raise _Damage(f"a quote opened in row {position} is never closed") from None
            row, problem = [], f"csv:{error}"
        if row is None:
            return
        if row and len(row) != len(header):
            problem = f"csv:{len(row)} fields where the header has {len(header)}"
        if problem:
            raw = "".join(taken).rstrip("\r\n")
        else:
            raw = json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) if row else ""
        yield Record(position, raw.encode(errors="surrogateescape"), problem)


def _elements(stream: BinaryIO) -> Iterator[Record]:
    """The elements of a JSON array, parsed one at a time in a window of text that slides over the file."""
    window = _Window(stream)
    window.take("[")
    if window.peek() != "]":
        yield Record(0, window.take_value())
        for position in itertools.count(1):
            if window.peek() == "]":
                break
            window.take(",")
            yield Record(position, window.take_value())
    window.take("]")
    if window.peek():
        raise _Damage("there is more behind its array")


class _Window:
    """The part of a file that is in memory: ``text``, read up to ``at``."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self.parse = json.JSONDecoder().raw_decode
        self.text, self.at = "", 0

    def take_value(self) -> bytes:
        """The text of the value that comes next."""
        self.peek()
        while True:
            reason, end = "", 0
            try:
                end = self.parse(self.text, self.at)[1]
            except (ValueError, RecursionError) as error:
                reason = str(error).partition(":")[0]
            if 0 < end < len(self.text):  # at the end of the window even a whole number may go on
                value, self.at = self.text[self.at : end], end
                return value.encode(errors="surrogateescape")
            if not self.grow():
                raise _Damage(f"its array breaks off: {reason or 'no ] at the end'}")

    def take(self, expected: str) -> None:
        if (found := self.peek()) != expected:
            raise _Damage(f"its array breaks off: {expected} expected, got {found or 'the end of the file'}")
        self.at += 1

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.grow():
                return ""

    def grow(self) -> bool:
        """Read on; False at the end of the file. As much again as there is, so that long values stay cheap."""
        left = len(self.text) - self.at
        if left > _LARGEST:
            raise _Damage(f"its array breaks off: no value ends within {_LARGEST:,} characters")
        chunk = self.stream.read(max(_CHUNK, left))
        self.text, self.at = self.text[self.at :] + self.decode(chunk, not chunk), 0
        return bool(chunk)
