"""What the user gave as INPUT becomes a `Source`: the files there are, in order, or the name of a table.

A name with a slash or a known ending is a path (`zipspark.storage.places`), anything else a table. A folder stands for
every file below it, but for names that start with ``_`` or ``.``; a folder with a ``_delta_log`` is a Delta table.
``*``, ``?`` and ``[..]`` match within a name, ``**`` any number of folders.

The head of each file is looked at here, on the driver: one that is not what its name says stops a run at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileInfo, FileSelector, FileType

from zipspark.errors import InputError
from zipspark.storage.places import QUERY, Place, redact

Format = Literal["parquet", "json", "csv", "text", "delta", "table"]
Compression = Literal["gzip", "bz2", "zstd"]  # as pyarrow calls them

_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".txt": "text",
    ".text": "text",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_KNOWN = f"{', '.join(_FORMATS)}, all but .parquet also with {', '.join(_COMPRESSIONS)} behind"
_BINARY = re.compile(rb"PAR1|\x1f\x8b|BZh[1-9]1AY&SY|\x28\xb5\x2f\xfd")  # Parquet, gzip, bz2, zstd
_JSON_LINE = re.compile(rb"^\s*[\[{]", re.MULTILINE)
_MAY_BE_ARRAY = re.compile(r"\.json(\.(gz|bz2|zst))?$")
_GLOB = re.compile(r"[*?\[]")
_LOOKS_AT_ONCE = 16  # files; each look is a round trip to the store
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SourceFile:
    path: str  # absolute, without credentials: what people see
    uri: str = field(repr=False)  # what `Place.parse` takes
    size: int  # bytes, as stored
    modified: int | None  # nanoseconds since 1970, where the store knows it
    format: Format
    compression: Compression | None
    array: bool = False  # of JSON: one array of records, not a record a line


@dataclass(frozen=True)
class Source:
    """What is to be read: files of one format in the order of the input, or one table. Made by `resolve`."""

    format: Format
    files: tuple[SourceFile, ...] = ()  # sorted by path
    root: str | None = None  # URI of the folder below which folders are called column=value; None: none are
    table: str | None = None  # name in the catalog (format table) or folder (format delta)
    version: int | None = None  # of a Delta table, once it is pinned (`zipspark.spark.corpus.pinned`)
    table_id: str | None = None  # Delta's own for it, once it is identified
    warnings: tuple[str, ...] = ()

    def fingerprint(self) -> dict[str, Any]:
        """What a manifest says of the input, JSON-ready; equal for the same input, at whatever place files lie.

        Of a file its path below the common root, size and time count; of a table its name and version, and Delta's
        own id, which one that was dropped and made anew does not have.
        """
        if self.table is not None:
            own = {"id": self.table_id} if self.table_id else {}
            return {"format": self.format, "name": self.table, "version": self.version, **own}
        skip = len(self.place)
        lines = [json.dumps([file.path[skip:], file.size, file.modified]) for file in self.files]
        return {
            "format": self.format,
            "files": len(self.files),
            "bytes": sum(file.size for file in self.files),
            "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        }

    @property
    def place(self) -> str:
        """The folder below which all files lie, or the table."""
        return self.table or common_root([file.path for file in self.files])


def check_unchanged(source: Source) -> None:
    """Raises `InputError` for the first file that is not what it was when `resolve` saw it."""

    def is_same(file: SourceFile) -> bool:
        place = Place.parse(file.uri)
        with _naming(place, "be looked at"):
            info = place.filesystem.get_file_info(place.path)
        return bool(info.type == FileType.File and (info.size, info.mtime_ns) == (file.size, file.modified))

    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        for file, same in zip(source.files, pool.map(is_same, source.files), strict=True):
            if not same:
                raise InputError(f"{file.path} changed while it was read: run it again")


def located(name: str) -> str:
    """``name`` as it can be given from anywhere: a path whole and without credentials, a table's name as it is."""
    if "://" in name:  # whole already; to parse it may need its store to answer
        return redact(name)
    return Place.parse(name).redacted if is_path(name) else name


def resolve(inputs: Sequence[str]) -> Source:
    """Find what ``inputs`` name. Raises `InputError` for the first that cannot be used, with what to do about it."""
    if not inputs:
        raise InputError("input is missing; give paths, folders, globs or one table name")
    tables = [name for name in inputs if not is_path(name)]
    if tables:
        if len(inputs) > 1:
            raise InputError(f"a table must be the only input, got {tables[0]!r} among {len(inputs)}")
        return Source("table", table=tables[0])
    for name in inputs:
        if "://" in name and QUERY.search(name):
            raise InputError(
                f"{redact(name)} has a query behind it; give keys by the environment or the cluster instead"
            )
    found: dict[str, SourceFile] = {}
    folders: list[str] = []
    for name in inputs:
        folder, places = _matches(Place.parse(name))
        folders.append(f"{folder.uri}/")
        for place in places:
            if _type(place.child("_delta_log")) == FileType.Directory:
                if len(inputs) > 1 or place != Place.parse(name):
                    raise InputError(f"a Delta table must be the only input, got {_shown(place)} among others")
                return Source("delta", table=_shown(place))
            found |= {file.path: file for file in _files_at(place)}  # named twice, read once
    source = _looked_at([found[path] for path in sorted(found)])
    root = common_root(folders)
    if all("=" not in file.uri[len(root) :].rpartition("/")[0] for file in source.files):
        return source
    if source.format == "parquet":
        return replace(source, root=root)
    note = f"folder names such as column=value are no columns in {source.format} files"
    return replace(source, warnings=(*source.warnings, note))


def common_root(paths: Sequence[str]) -> str:
    """The deepest folder that all ``paths`` lie in, with its slash.

    >>> common_root(["s3://b/x/1.csv", "s3://b/x/y/2.csv"])
    's3://b/x/'
    """
    first, last = min(paths).split("/")[:-1], max(paths).split("/")[:-1]  # what these two share, all share
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(f"{part}/" for part, _ in shared)


def is_path(name: str) -> bool:
    return "/" in name or name.endswith((*_FORMATS, *_COMPRESSIONS))


def _shown(place: Place) -> str:
    return place.path if place.is_local else redact(place.uri)


def _type(place: Place) -> FileType:
    with _naming(place, "be looked at"):
        return place.filesystem.get_file_info(place.path).type


def _listed(place: Place, recursive: bool = False) -> list[tuple[Place, FileInfo]]:
    with _naming(place, "be listed"):
        found = place.filesystem.get_file_info(FileSelector(place.path, recursive=recursive))
    return [(place.child(info.path.removeprefix(place.path).lstrip("/")), info) for info in found]


def _matches(place: Place) -> tuple[Place, list[Place]]:
    """The folder that a name is about, and what it stands for: itself if it exists, otherwise its matches as a glob."""
    kind = _type(place)
    if kind != FileType.NotFound:
        return (place if kind == FileType.Directory else place.parent), [place]
    parts: list[str] = []
    folder = place
    while _GLOB.search(folder.path):
        parts.insert(0, folder.name)
        folder = folder.parent
    if not parts:
        raise InputError(f"{_shown(place)} does not exist")
    matches = {match.path: match for match in _expanded(folder, parts)}
    if not matches:
        raise InputError(f"{_shown(place)} matches nothing")
    return folder, [matches[path] for path in sorted(matches)]


def _expanded(place: Place, parts: list[str]) -> Iterator[Place]:
    """Places below ``place`` that match the parts of a glob; hidden ones only for a part that starts like them."""
    kind = _type(place)
    if not parts and kind != FileType.NotFound:
        yield place
    if not parts or kind != FileType.Directory:
        return
    head, *rest = parts
    if not _GLOB.search(head):
        yield from _expanded(place.child(head), rest)
        return
    if head == "**":
        yield from _expanded(place, rest or ["*"])
    for child, _ in _listed(place):
        if child.name.startswith(("_", ".")) and not head.startswith(("_", ".")):
            continue
        if head == "**":
            yield from _expanded(child, parts)
        elif fnmatchcase(child.name, head):
            yield from _expanded(child, rest)


def _files_at(place: Place) -> list[SourceFile]:
    """The file at ``place``, or those below the folder there."""
    if _type(place) == FileType.File:
        return [_file(place, place.filesystem.get_file_info(place.path))]
    found = _listed(place, recursive=True)
    for one, _ in found:
        if one.name == "_delta_log":
            raise InputError(f"{_shown(place)} holds the Delta table {_shown(one.parent)}; give that as the input")
    hidden = re.compile(r"/[_.]")
    visible = [(one, info) for one, info in found if not hidden.search(one.path.removeprefix(place.path))]
    files = [_file(one, info) for one, info in visible if info.type == FileType.File]
    if not files:
        raise InputError(f"{_shown(place)} is an empty folder (names that start with _ or . do not count)")
    return files


def _file(place: Place, info: FileInfo) -> SourceFile:
    path = _shown(place)
    stem, ending = os.path.splitext(path)
    compression = _COMPRESSIONS.get(ending)
    format_ = _FORMATS.get(os.path.splitext(stem)[1] if compression else ending)
    if format_ is None or (compression and format_ == "parquet"):
        raise InputError(f"{path} has an unknown ending; known are {_KNOWN} (a glob such as *.jsonl leaves it out)")
    return SourceFile(path, place.uri, info.size, info.mtime_ns, format_, compression)


def _looked_at(files: list[SourceFile]) -> Source:
    """The source made of ``files``, each of which holds what its name says."""
    for file in files:
        if file.format != files[0].format:
            raise InputError(f"input mixes formats: {files[0].path} and {file.path}; give files of one format")
    empty = [file for file in files if file.size == 0 and file.format != "parquet"]
    if len(empty) == len(files):
        raise InputError(f"{files[0].path} is empty" + (f", as are all {len(files)} files" if len(files) > 1 else ""))
    look: Callable[[SourceFile], SourceFile] = _look_at_parquet if files[0].format == "parquet" else _look_at_text
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        looked_at = tuple(pool.map(look, [file for file in files if file not in empty]))
    return Source(files[0].format, looked_at, warnings=tuple(f"{file.path} is empty" for file in empty))


def _look_at_parquet(file: SourceFile) -> SourceFile:
    place = Place.parse(file.uri)
    with _naming(place, "be read as Parquet"), place.filesystem.open_input_file(place.path) as stream:
        if file.size < 12 or stream.read(4) != b"PAR1" or stream.read_at(4, file.size - 4) != b"PAR1":
            raise OSError("the mark PAR1 is missing at its start or end")
        if place.is_local:  # elsewhere it is left to Spark, which reads footers in parallel
            pq.read_metadata(stream)
    return file


def _look_at_text(file: SourceFile) -> SourceFile:
    place = Place.parse(file.uri)
    with (
        _naming(place, f"be read as {file.compression or file.format}"),
        place.filesystem.open_input_stream(place.path, file.compression) as stream,
    ):
        head = stream.read(64 * 2**10).removeprefix(BOM).lstrip()
        if _BINARY.match(head):
            raise OSError("it starts like a Parquet or a compressed file")
        if file.format == "json" and head and not _JSON_LINE.search(head):  # the very first line may be broken
            raise OSError("no line at its start begins with { or [")
    return replace(file, array=head.startswith(b"[") and bool(_MAY_BE_ARRAY.search(file.path)))


@contextmanager
def _naming(place: Place, what: str) -> Iterator[None]:
    """Turns what goes wrong into an `InputError` that names ``place`` and says that it cannot ``what``."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise InputError(f"{_shown(place)} cannot {what}: {reason}") from None
