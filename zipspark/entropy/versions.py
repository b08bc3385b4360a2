"""The version log: one data set version a row, with what the entropy law speaks of.

The law (arXiv 2407.06645, section 3) relates model performance Z to the compression ratio R of the training data and
the mean training loss L of the first epoch. A `Version` holds the three, where they came from, and what explains them.

A log only grows. R is known first, L after the first epoch, Z after the evaluation: each is a row of its own with the
same name, and `merged` puts them together. Of a name the last row wins, field by field; what is empty in it does not
overwrite. Logs are .csv or .parquet files (`read_log`, `append`), or any table that `to_table` and `from_table` know.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zipspark.entropy.log_files import append_csv, append_parquet, locked, log_file, read_csv
from zipspark.errors import InputError

CODECS = ("zlib", "zstd", "given")  # given: a ratio that zipspark did not measure
LOCK_SECONDS = 60.0  # how long a writer waits for others; a row takes them milliseconds

LOG = pa.schema(
    [
        pa.field("version", pa.string(), nullable=False),
        ("at", pa.timestamp("us", tz="UTC")),
        ("ratio", pa.float64()),
        ("codec", pa.string()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("mean_ratio", pa.float64()),
        ("loss", pa.float64()),
        ("loss_from", pa.string()),
        ("tokens", pa.int64()),
        ("score", pa.float64()),
        ("held_out_bits", pa.float64()),
        ("groups", pa.string()),  # a JSON object, so that the same column can stand in a csv
        ("data", pa.string()),
    ]
)
# What others call these columns. Only looked at where the column itself is missing, to say what to rename.
_CALLED = {
    "version": ("name", "data_version", "dataset", "v"),
    "ratio": ("r", "compression_ratio", "zip_ratio"),
    "loss": ("l", "train_loss", "training_loss", "first_epoch_loss"),
    "score": ("z", "performance", "model_score", "eval_score"),
    "tokens": ("num_tokens", "num_input_tokens_seen"),
}


@dataclass(frozen=True)
class Version:
    """One version of a data set. None: not known (yet).

    Raises `InputError` for values that cannot be: NaN, infinite, below what the quantity can be.

    >>> Version("v4", ratio=3.9, codec="zlib", loss=1.83).missing
    ('score',)
    """

    version: str  # its name in the log
    at: datetime | None = None  # when it was first logged, UTC; `append` sets it
    ratio: float | None = None  # R of the whole set, bytes / compressed bytes; lower: less redundant
    codec: str = "given"  # that measured `ratio`, `mean_ratio` and `groups`: zlib, zstd, or given by the user
    rows: int | None = None  # samples in the set
    bytes: int | None = None  # of the set's rendered text
    mean_ratio: float | None = None  # mean over samples of each one's own ratio
    loss: float | None = None  # L, mean training loss of the first epoch, nats per token
    loss_from: str | None = None  # where `loss` came from: a file, a run, "given"
    tokens: int | None = None  # that the loss is the mean over
    score: float | None = None  # Z, performance of the model trained on it; higher is better
    held_out_bits: float | None = None  # stand-in for `loss`: bits per byte of a fixed held-out sample given the set
    groups: Mapping[str, float] = field(default_factory=dict, hash=False)  # group -> R of its samples
    data: str | None = None  # the table or path it is

    def __post_init__(self) -> None:
        if not isinstance(self.version, str) or not self.version.strip():
            raise InputError(f"version must be a name that is not empty, got {self.version!r}")
        if self.codec not in CODECS:
            raise InputError(f"codec of version {self.version} must be one of {', '.join(CODECS)}, got {self.codec!r}")
        for name, least, exclusive in (
            ("ratio", 0.0, True),
            ("mean_ratio", 0.0, True),
            ("loss", 0.0, False),
            ("score", -math.inf, True),
            ("held_out_bits", 0.0, False),
        ):
            self._set(name, self._number(name, getattr(self, name), least, exclusive))
        for name, least_count in (("rows", 0), ("bytes", 0), ("tokens", 1)):
            number = self._number(name, getattr(self, name), least_count, exclusive=False)
            if number is not None and number != int(number):
                raise InputError(f"{name} of version {self.version} must be a whole number, got {number!r}")
            self._set(name, None if number is None else int(getattr(self, name)))
        groups = {
            str(group): self._number(f"groups[{group}]", ratio, 0.0, True) for group, ratio in self.groups.items()
        }
        self._set("groups", {group: ratio for group, ratio in groups.items() if ratio is not None})
        if self.at is not None:
            self._set("at", self.at.replace(tzinfo=UTC) if self.at.tzinfo is None else self.at.astimezone(UTC))

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of R, L and Z are not known."""
        return tuple(name for name in ("ratio", "loss", "score") if getattr(self, name) is None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``at`` as ISO 8601, ``codec`` null where there is no ratio that it could have measured."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["at"] = None if self.at is None else self.at.isoformat()
        values["codec"] = self.codec if self._measured else None
        values["groups"] = dict(self.groups)
        return values

    @property
    def _measured(self) -> bool:
        return self.ratio is not None or self.mean_ratio is not None or bool(self.groups)

    def _number(self, name: str, value: Any, least: float, exclusive: bool) -> float | None:
        if value is None:
            return None
        rule = "be a number" if least == -math.inf else f"be {'above' if exclusive else 'at least'} {least:g}"
        try:
            number = float("nan") if isinstance(value, (str, bool)) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not math.isfinite(number) or number < least or (exclusive and number == least):
            raise InputError(
                f"{name} of version {self.version} must {rule} and finite, got {value!r}; leave it out where it is not "
                "known"
            )
        return number

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen


def merged(rows: Iterable[Version]) -> list[Version]:
    """One `Version` a name, in the order in which the names were first logged.

    Rows are taken by ``at`` where all have one (a table has no order), otherwise as they stand. Of a name the last row
    wins, field by field, and what is unknown in it does not overwrite; ``at`` stays that of the first. ``codec`` comes
    from the row that gave the ratio.

    >>> [v.score for v in merged([Version("v1", ratio=3.0), Version("v2", ratio=3.1), Version("v1", score=6.2)])]
    [6.2, None]
    """
    given = list(rows)
    if all(row.at is not None for row in given):
        given.sort(key=lambda row: row.at or datetime.min)
    found: dict[str, Version] = {}
    for row in given:
        found[row.version] = _over(found[row.version], row) if row.version in found else row
    return list(found.values())


def addition(known: Sequence[Version], version: Version, replace_values: bool = False) -> Version | None:
    """The row that a log of the versions ``known`` needs to say ``version``, stamped; None where it says all of it.

    A name that is there may only be filled in, with what was missing (a later score). Raises `InputError` where
    ``version`` differs from what is there, unless ``replace_values``.
    """
    row = version if version.at else replace(version, at=datetime.now(UTC))
    old = next((one for one in merged(known) if one.version == version.version), None)
    if old is None:
        return row
    was, now = old.to_dict(), _over(old, version).to_dict()
    differing = [name for name, value in was.items() if value not in (None, {}) and now[name] != value]
    if version._measured and old._measured and version.codec != old.codec:
        now["codec"], differing = version.codec, sorted({*differing, "codec"})
    if differing and not replace_values:
        said = ", ".join(f"{name} {was[name]!r} (now {now[name]!r})" for name in differing)
        raise InputError(
            f"version {version.version} is in the log already with another {said}: a name can only be filled in with "
            "what was missing. Give another name to another version, or replace the values (--replace)"
        )
    # A row that corrects others must be the latest one also where `at` decides the order, and clocks differ.
    stamps = [one.at for one in (row, *known) if one.version == row.version and one.at]
    return None if was == now else replace(row, at=max(stamps))


def _over(old: Version, new: Version) -> Version:
    changes = {item.name: getattr(new, item.name) for item in fields(new) if item.name not in ("at", "codec")}
    changes = {name: value for name, value in changes.items() if value not in (None, {})}
    measures = new.ratio is not None or (old.ratio is None and new._measured)
    return replace(old, codec=new.codec if measures else old.codec, **changes)


# --- tables -----------------------------------------------------------------------------------------------------------


def to_table(versions: Iterable[Version]) -> pa.Table:
    """(n rows, `LOG`) to write wherever tables are written; ``groups`` as JSON, empty ones as null."""
    return pa.Table.from_pylist([_values(version) for version in versions], schema=LOG)


def from_table(table: pa.Table) -> list[Version]:
    """The merged versions of a log table; other columns than `LOG`'s do not matter.

    Raises `InputError` for a table without a column ``version``, or with values that a column cannot hold.
    """
    return merged(_rows(table, "log"))


def _values(version: Version) -> dict[str, Any]:
    """A row of `LOG`."""
    values = version.to_dict() | {"at": version.at}
    return values | {"groups": json.dumps(dict(version.groups), sort_keys=True) if version.groups else None}


def _rows(table: pa.Table, where: str) -> list[Version]:
    _check_columns(table.column_names, where)
    columns = {}
    for item in LOG:
        if item.name not in table.column_names:
            continue
        column = table.column(table.column_names.index(item.name))
        try:
            if not pa.types.is_map(column.type):  # a Delta table may hold groups as what they are
                # To UTC microseconds a finer clock is cut; all else must be said without loss.
                column = column.cast(item.type, safe=not pa.types.is_timestamp(column.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{where}: column {item.name} must be {item.type}: {str(error).splitlines()[0]}") from None
        columns[item.name] = column.to_pylist()
    names = list(columns)
    return [
        _version(dict(zip(names, values, strict=True)), f"{where}, row {number}")
        for number, values in enumerate(zip(*columns.values(), strict=True), 1)
    ]


def _version(row: Mapping[str, Any], where: str) -> Version:
    """Of a table's row, or of a csv's, which is all text; ``where`` stands before what is wrong with it."""
    try:
        values = {name: row[name] for name in LOG.names if name in row}
        values = {name: _parsed(name, value) if isinstance(value, str) else value for name, value in values.items()}
        groups = values.get("groups") or {}
        if isinstance(groups, str):
            try:
                groups = json.loads(groups)
            except json.JSONDecodeError:
                groups = None
        elif isinstance(groups, list):  # how pyarrow shows a map
            groups = dict(groups)
        if not isinstance(groups, dict):
            raise InputError(f"groups must be a JSON object of group: ratio, got {values['groups']!r}")
        given = {name: value for name, value in values.items() if value is not None}
        return Version(**(given | {"version": values.get("version") or "", "groups": groups}))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_columns(names: Sequence[str], where: str) -> None:
    plain = {"_".join(name.lower().replace("-", " ").split()): name for name in names}
    if twice := sorted({name for name in names if name in LOG.names and list(names).count(name) > 1}):
        raise InputError(f"{where}: column {twice[0]} is there twice; leave one")
    for name in LOG.names:
        for called in (name, *_CALLED.get(name, ())):
            if name not in names and called in plain:
                raise InputError(f"{where}: column {plain[called]!r} is called {name!r} in a log; rename it")
    if "version" not in names:
        found = ", ".join(map(repr, names)) or "none"
        raise InputError(f"{where}: no column version; columns are {found}, a log's are {', '.join(LOG.names)}")


# --- files ------------------------------------------------------------------------------------------------------------


def read_log(path: str | os.PathLike[str]) -> list[Version]:
    """The merged versions of a .csv or .parquet log.

    Raises `InputError`, with the line, for a file that is missing, empty or no log, and for values that cannot be. The
    half row of a writer that was killed is left out, with a warning; the next `append` removes it.
    """
    file = log_file(path)
    if not file.exists():
        raise InputError(f"log {file} is not there; log a version first (zipspark entropy log)")
    return merged(_read(file))


def append(
    path: str | os.PathLike[str], version: Version, replace_values: bool = False, wait: float = LOCK_SECONDS
) -> Version:
    """Add a version to a .csv or .parquet log, which is made where there is none; returns it as the log has it now.

    Columns of others stay, empty in the new row. Writers wait for each other, up to ``wait`` seconds, at a lock file
    beside the log, so none loses a row; a log is never seen half written. The same row a second time changes nothing.

    Raises `InputError` for a name that is there with other values (`addition`), and for a log that cannot be read or
    written; `UsageError` without the library filelock.
    """
    file = log_file(path)
    with locked(file, wait):
        rows = _read(file) if file.exists() and (file.suffix != ".csv" or file.stat().st_size) else []
        row = addition(rows, version, replace_values)
        if row is not None and file.suffix == ".csv":
            append_csv(file, {name: _text(value) for name, value in _values(row).items()})
        elif row is not None:
            append_parquet(file, to_table([row]))
    return next(one for one in merged([*rows, *([row] if row else [])]) if one.version == version.version)


def _read(file: Path) -> list[Version]:
    where = f"log {file}"
    try:
        if file.suffix == ".parquet":
            # Not read_table, which takes key=value in a path for a partition.
            return _rows(pq.ParquetFile(file).read(), where)
        found = read_csv(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"{where} is no Parquet file: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror or error}") from None
    _check_columns(found.columns, where)
    return [_version(row, f"{where}, line {line}") for line, row in found.rows]


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else str(value)


def _parsed(name: str, text: str) -> Any:
    """A csv field as the column's type; raises `InputError` without saying where."""
    text = text.strip()
    kind = LOG.field(name).type
    if not text or pa.types.is_string(kind):
        return text or None
    try:
        return datetime.fromisoformat(text) if pa.types.is_timestamp(kind) else float(text)
    except ValueError:
        must = "a time such as 2026-03-01T06:00:00Z" if pa.types.is_timestamp(kind) else "a number such as 3.92"
        raise InputError(f"{name} must be {must}, got {text!r}; leave it empty where it is not known") from None
