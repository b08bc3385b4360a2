"""How a version log is kept in a file: rows are only ever added, by one writer at a time, and never half seen.

* A lock file beside the log, ``.<name>.lock``, makes writers wait for each other. It stays there, empty.
* Parquet, and a csv that is made or gets a new column: written under another name, then renamed.
* csv otherwise: one write at the end. Its last field is always quoted, so that a row that was cut off (a writer that
  was killed, a full disk) can be told from one that an editor left without its line end.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zipspark.errors import InputError, UsageError
from zipspark.extras import needs

logger = logging.getLogger("zipspark")

_BOM = "\ufeff"  # Excel puts it before UTF-8


@dataclass(frozen=True)
class CsvRows:
    """What a csv holds, as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]  # (line in the file, from 1; column -> field)
    whole: int  # bytes up to the end of the last whole row
    ended: bool  # whether that row has its line end


def log_file(path: str | os.PathLike[str]) -> Path:
    """The file behind ``path``, links followed: one lock, by whatever name a log is reached."""
    if "://" in os.fspath(path):
        raise InputError(f"log {os.fspath(path)} must be a local .csv or .parquet file, or a Delta table")
    file = Path(os.path.realpath(path))
    if file.suffix not in (".csv", ".parquet"):
        raise UsageError(f"log must be a path that ends in .csv or .parquet, got {os.fspath(path)!r}")
    if file.is_dir():
        raise InputError(f"log {file} is a folder, not a file")
    return file


@contextmanager
def locked(file: Path, wait: float) -> Iterator[None]:
    """For one writer at a time; a killed one's lock is free again. Raises `InputError` after ``wait`` seconds."""
    with needs("writing a log needs filelock", "entropy"):
        from filelock import FileLock, Timeout
    if not file.parent.is_dir():  # FileLock would make it, and a folder with a typing error is none
        raise InputError(f"log {file} cannot be written: folder {file.parent} is not there; make it first")
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"log {file} has been written by another process for {wait:g} s; try again") from None
    except (OSError, NotImplementedError) as error:
        raise _unwritable(file, error) from None
    try:
        yield
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _unwritable(file, error) from None
    finally:
        lock.release()


def read_csv(file: Path) -> CsvRows:
    """All rows; blank lines are none, and a row cut off at the end is left out with a warning.

    Raises `InputError` for what is no csv: other bytes than UTF-8, a quote never closed, rows of another length.
    """
    data = file.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # A row may be cut off within a character.
        text = data[: data.rfind(b"\n") + 1].decode("utf-8", errors="replace")
        if "\ufffd" in text or not text:
            raise InputError(f"log {file} is no UTF-8 text; save it as csv in UTF-8") from None
    lines = csv.reader(io.StringIO(text.removeprefix(_BOM), newline=""), strict=True)
    last = text.rfind("\n") + 1
    try:
        columns = tuple(name.strip() for name in next(lines, ()))
    except csv.Error as error:
        raise InputError(f"log {file}, line 1: {error}") from None
    if not any(columns):
        raise InputError(f"log {file} is empty; log a version first (zipspark entropy log), or write a header")
    rows, whole = [], len(data)
    while True:
        start = lines.line_num + 1
        try:
            fields = next(lines)
        except StopIteration:
            break
        except csv.Error as error:
            if start == text.count("\n") + 1:  # the last line, and it has no end
                whole = len(text[:last].encode())
                break
            raise InputError(f"log {file}, line {start}: {error}; is a quote missing?") from None
        if not any(fields):
            continue
        if len(fields) != len(columns):
            if lines.line_num == text.count("\n") + 1 and len(fields) < len(columns):
                whole = len(text[:last].encode())
                break
            raise InputError(f"log {file}, line {start} has {len(fields)} fields, the header has {len(columns)}")
        rows.append((start, dict(zip(columns, fields, strict=True))))
    whole = min(whole, len(text.encode()))
    if whole < len(data):
        logger.warning("log %s: its last row was cut off while it was written; it is left out", file)
    return CsvRows(columns, tuple(rows), whole, data[:whole].endswith(b"\n"))


def append_csv(file: Path, row: Mapping[str, str]) -> None:
    """Add ``row`` (column -> text); columns that the file lacks are added if the row has something for them."""
    if not file.exists() or not file.stat().st_size:
        _replace(file, (_line(list(row)) + _line(list(row.values()))).encode())
        return
    found = read_csv(file)
    added = [name for name, text in row.items() if text and name not in found.columns]
    columns = [*found.columns, *added]
    new = _line([row.get(name, "") for name in columns])
    if added:
        old = (_line([fields.get(name, "") for name in columns]) for _, fields in found.rows)
        _replace(file, "".join([_line(columns), *old, new]).encode())
        return
    with open(file, "r+b", buffering=0) as stream:
        stream.truncate(found.whole)  # less than all of it where a row was cut off
        stream.seek(found.whole)
        data = (new if found.ended else f"\n{new}").encode()
        if stream.write(data) != len(data):
            stream.truncate(found.whole)
            raise OSError("the disk is full")
        os.fsync(stream.fileno())


def append_parquet(file: Path, row: pa.Table) -> None:
    """Add the rows of a table; columns are put together by name, and what one of them lacks is null."""
    if file.exists():
        old = pq.ParquetFile(file).read()
        for at, name in enumerate(old.column_names):
            if name in row.column_names:
                kind = row.schema.field(name).type
                old = old.set_column(at, pa.field(name, kind), old.column(at).cast(kind, safe=False))
        row = pa.concat_tables([old, row.cast(_nullable(row.schema))], promote_options="default")
    sink = pa.BufferOutputStream()
    pq.write_table(row, sink)
    _replace(file, sink.getvalue().to_pybytes())


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def _line(fields: Sequence[str]) -> str:
    """A csv line whose last field is quoted whatever it holds (see above)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields[:-1])
    before = f"{text.getvalue()}," if len(fields) > 1 else ""
    return before + '"' + fields[-1].replace('"', '""') + '"\n'


def _replace(file: Path, data: bytes) -> None:
    new = file.with_name(f".{file.name}.new")  # the lock's holder alone writes it, so a killed one's is written over
    try:
        with open(new, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists():
            os.chmod(new, file.stat().st_mode & 0o777)
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def _unwritable(file: Path, error: BaseException) -> InputError:
    return InputError(f"log {file} cannot be written: {getattr(error, 'strerror', None) or error}")
