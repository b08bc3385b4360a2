"""OUT: a folder of tables and a manifest that is either whole or not there.

Where a folder is renamed in one step (local disks, HDFS) everything is written to a hidden folder beside OUT::

    out  .out.new-1f3a           writing
    .out.old-1f3a  .out.new-1f3a     commit: the old one aside (only with overwrite) ...
    out  .out.old-1f3a           ... the new one in ...
    out                          ... the old one deleted

Killed between the two renames, OUT is missing and the old one lies aside; the next run finds it and puts it back.

On object stores a rename is a copy of every file. OUT is written in place there, and the manifest, last, makes it
whole: readers go by it. One that is overwritten is replaced, file by file, only when the new one lies whole beside it.
A new OUT holds a mark until it is whole, which says who writes it: what was killed can be told from what is being
written, and from what others have made.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

from zipspark.errors import InputError
from zipspark.storage.owners import is_running, owner
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger("zipspark")

Format = Literal["parquet", "delta", "jsonl"]
MANIFEST = "manifest.json"
REPORT = "report.html"
_MARK = "_zipspark_unfinished"  # Spark reads no file that is called so


class Result:
    """What a new OUT is, wherever it goes (`Output`, `zipspark.storage.schema_output.SchemaOutput`)."""

    name: str  # for people: the option and its value

    def __init__(self, name: str, overwrite: bool = False, resume: bool = False):
        self.name = name
        self.found: dict[str, Any] | None = None  # the manifest of a whole OUT that is there
        self._overwrite = overwrite
        self._resume = resume
        self._manifest: dict[str, Any] | None = None
        self._committed = False

    def check_is(self, key: Mapping[str, Any]) -> bool:
        """Whether OUT is there, whole, and made with ``key``; `InputError` where it is there and is something else."""
        if self.found is None:
            return False
        differs = differences(self.found.get("key") or {}, key)
        if differs and not self._overwrite:
            raise InputError(
                f"{self.name} is the result of another run: {differs}. Give another name, or --overwrite to replace it"
            )
        return not differs

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Say what OUT is; it is written by `commit`, behind everything else."""
        self._manifest = dict(manifest)

    def _said(self) -> dict[str, Any]:
        if self._manifest is None:
            raise RuntimeError("write_manifest() comes before commit()")
        return self._manifest


class Output(Result):
    """A new OUT, to be filled within a ``with`` block.

    Entering it raises `InputError` where OUT is there already (and ``overwrite`` is not set, or it is nothing that
    zipspark wrote) or cannot be written; no Spark is needed for that. With ``resume`` a whole OUT is no error: it is
    `found`, and `check_is` says whether it is what would be written. Leaving it without `commit`, by whatever error
    or Ctrl-C, leaves the place as it was.

    >>> with Output("out") as out:  # doctest: +SKIP
    ...     out.write("subset", frame)
    ...     out.write_manifest({"rows": 10_000})
    ...     out.commit()
    """

    def __init__(self, uri: str | os.PathLike[str], overwrite: bool = False, resume: bool = False):
        self.place = Place.parse(uri)  # OUT
        super().__init__(f"output {self.place}", overwrite, resume)
        self._run = uuid.uuid4().hex[:8]
        self._mark = {"run": self._run, **owner()}
        self._left: dict[str, Any] | None = None  # the mark of a run that was killed in OUT
        self._begun = False
        self._fills_place = False  # whether what is at OUT is this run's
        self._beginning = threading.Lock()  # tables are written side by side

    def __enter__(self) -> Output:
        self._heal()
        there = self.place.exists()
        self._left = unfinished(self.place)
        if self._left is not None:
            self._check_is_dead(self._left)
        elif there and self._resume:
            self.found = read_manifest(self.place.uri)
        elif there:
            self._check_replaceable()
        self.place.check_writable()
        in_place = not self.place.renames and (not there or self._left is not None)
        self.folder = self.place if in_place else self._beside("new")  # where tables go until `commit`
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed:
            return
        if self.folder != self.place:
            self.folder.delete_for_good()
        if self._fills_place and not self._is_anothers(self.place):
            _clear(self.place)  # the mark goes last: half of it without one would be nobody's
            self.place.delete_for_good()
        self._heal()

    def write(
        self,
        name: str,
        df: DataFrame,
        format: Format = "parquet",
        rows: int | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Compute ``df`` and write it as the table ``name``: a folder, also where ``df`` has no rows.

        ``facts`` of the run go with the commit of a Delta table. Raises `InputError` where ``df`` has not come to
        ``rows`` rows.
        """
        self._begin()
        path = self.folder.child(name).uri
        if format == "parquet":
            df.write.option("compression", "zstd").parquet(path)
        elif format == "delta":
            from zipspark.storage.deltas import writer  # not above: commands that need no Spark do not wait for it

            writer(df, name, facts).save(path)
        else:
            # Every line has every key, so that a reader which goes by the first ones knows all columns.
            df.write.option("ignoreNullFields", "false").json(path)
        if rows is not None:
            there = path if format == "delta" else self.folder.child(name).pattern
            reader = df.sparkSession.read.format("text" if format == "jsonl" else format)
            check_rows(name, reader.load(there).count(), rows)

    def write_text(self, name: str, text: str) -> None:
        """Write the file ``name``, as UTF-8, beside the tables."""
        self._begin()
        self.folder.child(name).write_text(text)

    def commit(self) -> None:
        """Make OUT appear, or replace the old one. Raises `InputError` when somebody else has made it meanwhile."""
        manifest = json.dumps(self._said(), indent=2, ensure_ascii=False, default=str) + "\n"
        self._begin()
        if self.folder != self.place and self.place.exists():
            self._check_replaceable()
        if self.place.renames:
            self.folder.child(MANIFEST).write_text(manifest)
            self.folder.child(_MARK).delete()
            self._swap()
        else:
            if self.folder != self.place:
                self._replace()
            self.place.child(MANIFEST).write_text(manifest)
            self._committed = True
            with suppress(OSError):  # it is whole, with or without
                self.place.child(_MARK).delete()

    def _begin(self) -> None:
        """Before anything is written: only what was found killed makes room, and only this run writes."""
        with self._beginning:
            in_place = self.folder == self.place
            if not self._begun:
                if in_place and self.place.exists() and (self._left is None or unfinished(self.place) != self._left):
                    raise InputError(f"{self.name} exists: another run has made it meanwhile")
                self._begun, self._fills_place = True, in_place
                self._take(self.folder)
            if in_place and self._is_anothers(self.place):
                raise InputError(f"{self.name} was taken by another run, which found this one killed")

    def _take(self, folder: Place) -> None:
        """Let ``folder`` hold nothing but this run's mark, from before the first of its files goes."""
        if folder.is_local or folder.renames:
            folder.make_dir()
        folder.child(_MARK).write_text(json.dumps(self._mark))
        folder.child(MANIFEST).delete()  # from here on readers refuse it
        _clear(folder)

    def _is_anothers(self, folder: Place) -> bool:
        mark = mark_in(folder)
        return mark != self._mark and (mark is not None or folder.child(MANIFEST).exists())

    def _swap(self) -> None:
        old = self._beside("old")
        if self.place.exists():
            self.place.rename(old)
        self.folder.rename(self.place)
        self._committed = True
        old.delete()

    def _replace(self) -> None:
        self._fills_place = True
        self._take(self.place)
        self.folder.copy_into(self.place)
        self.folder.delete()

    def _check_is_dead(self, mark: Mapping[str, Any]) -> None:
        if is_running(mark):
            raise InputError(
                f"{self.name} is being written by process {mark['pid']}: wait for it, or give another name"
            )
        if not (self._resume or self._overwrite):
            raise InputError(
                f"{self.name} is half of one, of a run that was killed: --overwrite (of select --resume too) makes "
                "room from it"
            )

    def _check_replaceable(self) -> None:
        if not self.place.is_dir():
            raise InputError(f"{self.name} is a file, not a folder: give another name")
        if not self._overwrite:
            raise InputError(f"{self.name} exists: give another name, or --overwrite to replace it")
        if not self.place.child(MANIFEST).exists():
            raise InputError(f"{self.name} has no {MANIFEST}, so zipspark did not write it: delete it yourself")

    def _beside(self, state: Literal["new", "old"]) -> Place:
        return self.place.parent.child(f".{self.place.name}.{state}-{self._run}")

    def _heal(self) -> None:
        """Put back, or remove, what a run that was killed during its commit has left aside."""
        if not self.place.renames or not self.place.parent.is_dir():
            return
        aside = re.compile(rf"\.{re.escape(self.place.name)}\.old-[0-9a-f]{{8}}")
        for left in self.place.parent.list():
            if aside.fullmatch(left.name) is None:
                continue
            if self.place.exists():
                left.delete()
            else:
                logger.warning("%s was left aside by a run that was killed: it is %s again", left, self.place)
                left.rename(self.place)


def unfinished(out: Place) -> dict[str, Any] | None:
    """Who writes OUT in place, or was killed while it did; None where it is whole, or not zipspark's."""
    return None if out.renames or out.child(MANIFEST).exists() else mark_in(out)


def mark_in(folder: Place) -> dict[str, Any] | None:
    """Who writes, or wrote, what is to be an OUT; None where nothing says so."""
    try:
        mark = json.loads(folder.child(_MARK).read_text())
    except OSError:
        return None
    except ValueError:  # it was killed while it wrote just that
        mark = None
    return mark if isinstance(mark, dict) else {}


def _clear(folder: Place) -> None:
    """Remove all but the mark."""
    for old in folder.list():
        if old.name != _MARK:
            old.delete_for_good()


def check_rows(name: str, written: int, rows: int) -> None:
    """Raises `InputError` where a table has not come to the rows that it should have."""
    if written != rows:
        raise InputError(f"the {name} has {written:,} rows, not {rows:,}: input changed while it was read")


def differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """Where the keys of two runs differ, for a person; empty where they do not.

    >>> differences({"choices": {"budget": "5%", "level": 3}}, {"choices": {"budget": "10%", "level": 3}})
    "choices.budget was '5%', is '10%'"
    """
    found = []
    for name in sorted({*then, *now}):
        before, after = then.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.append(differences(before, after, f"{prefix}{name}."))
        elif json.dumps(before, default=str) != json.dumps(after, default=str):
            found.append(f"{prefix}{name} was {before!r}, is {after!r}")
    return "; ".join(filter(None, found))


def read_manifest(out: str | os.PathLike[str]) -> dict[str, Any]:
    """What `Output.write_manifest` said of OUT. Raises `InputError` where there is no whole OUT."""
    place = Place.parse(out).child(MANIFEST)
    try:
        manifest = json.loads(place.read_text())
    except OSError:
        why = f"it has no {MANIFEST}"
        with suppress(OSError):
            why = why if place.parent.exists() else "it is not there"
        raise InputError(f"{place.parent} is no finished result of zipspark: {why}") from None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise InputError(f"{place} is damaged: it is not one JSON object")
    return manifest
