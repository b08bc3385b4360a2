"""Stages: DataFrames written once to a work folder, because without a cache each action computes them again.

::

    .out.work/
      state.json       whose the folder is: the key of the run (`claim`), its process
      scores/1f3a/     a stage, as Parquet, in a folder of the run that wrote it
      scores.json      its completion row, written behind it, which names that folder
      samples/77b0/    one that a killed run has not completed: no row, so it is computed again

A Connect server goes on for a while when its client was killed, so what two runs write never shares a folder.

A run that was killed leaves its folder. With ``resume`` the next one with the same key reads what is complete there; so
it ends with the same ranking, as everything between the stages is a function of them and of the key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args

from zipspark.config import EngineOptions
from zipspark.errors import InputError, UsageError, ZipsparkError
from zipspark.storage.inputs import is_path
from zipspark.storage.output import differences
from zipspark.storage.owners import is_running, owner
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger("zipspark")

STATE = "state.json"
_NEW_STATE = ".state.json.new"
_TO_STOP = 3.0  # seconds: Spark gives a Python worker 2 to end after its task was stopped


class Stages:
    """The work folder of one run, gone when the block ends.

    Whatever another run has left there is deleted, or with ``resume`` kept until `claim` has looked at it. A run that
    resumes also leaves what is complete when it fails in Spark or is interrupted. Raises `InputError` where a process
    that is still running on this machine works in the folder.
    """

    def __init__(self, spark: SparkSession, engine: EngineOptions, resume: bool = False):
        self._spark = spark
        self._resume = resume
        self._key: str | None = None  # until `claim`
        self._claiming = threading.Lock()  # stages are written side by side
        self._attempt = uuid.uuid4().hex[:8]  # what this run's folders are called
        self.reused: list[str] = []  # stages that an earlier run had completed
        self.folder = folder_of(engine) or _temporary(spark)
        self._read_state()
        if not resume:
            delete_stages(self.folder)

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove(error)

    def claim(self, key: Mapping[str, Any]) -> None:
        """Say what the stages depend on, before the first of them.

        With ``resume`` raises `InputError` where the folder's stages were made with another key, saying what differs.
        """
        state = self._read_state()
        if state is None and any(place.name not in (STATE, _NEW_STATE) for place in self.folder.list()):
            raise InputError(
                f"{self.folder} has no {STATE} that can be read, so no run can go on from it: "
                "remove it with zipspark clean"
            )
        if state is not None and (differs := differences(state["key"], key)):
            raise InputError(
                f"{self.folder} holds stages of another run, so this one cannot resume: {differs}. "
                "Give what was given then, or remove them with zipspark clean"
            )
        self._key = key_hash(key)
        self.folder.make_dir()
        text = json.dumps({"key": key, **owner()}, indent=2, default=str)
        if self.folder.is_local and self.folder.renames:  # half of it would make all stages worthless
            new = self.folder.child(_NEW_STATE)
            new.write_text(text)
            new.rename(self.folder.child(STATE))
        else:
            self.folder.child(STATE).write_text(text)

    def write(self, name: str, df: DataFrame) -> DataFrame:
        """Compute ``df``, once, and return the table that holds it: the same columns, all nullable."""
        with self._claiming:
            if self._key is None:
                self.claim({})  # nobody can go on from here, but that it is in use can be seen
        assert self._key is not None
        row, tries = self.folder.child(f"{name}.json"), self.folder.child(name)
        attempt = _attempt_of(row, self._key) if self._resume else None
        if attempt is not None and tries.child(attempt).exists():
            self.reused.append(name)
        else:
            attempt = self._attempt
            row.delete()
            tries.delete()
            started = time.monotonic()
            # zstd takes 1.5 times lz4's time to write (0.9 s of 183 MB, two cores) for 0.6 of its bytes.
            df.write.mode("overwrite").option("compression", "zstd").parquet(tries.child(attempt).uri)
            seconds = round(time.monotonic() - started, 3)
            row.write_text(
                json.dumps({"stage": name, "key": self._key, "attempt": attempt, "seconds": seconds, "at": _now()})
            )
        # With its schema given, no task is started to look into a file for it.
        return self._spark.read.schema(df.schema).parquet(tries.child(attempt).pattern)

    def of(self, name: str) -> Callable[[DataFrame], DataFrame]:
        """What writes a DataFrame as the stage ``name``."""
        return partial(self.write, name)

    def remove(self, error: BaseException | None = None) -> None:
        """Delete the work folder, after ``error`` if there was one."""
        # What failed in Spark may have tasks that run on, and write; what zipspark itself refuses has none.
        stopping = error is not None and not isinstance(error, ZipsparkError)
        if stopping and self._resume:
            logger.warning("%s keeps what is complete for --resume; zipspark clean removes it", self.folder)
            return
        if self._resume and self._key is None:  # what is there is another run's
            return
        delete_stages(self.folder, _TO_STOP if stopping else 0.0)

    def _read_state(self) -> dict[str, Any] | None:
        state = read_state(self.folder)
        if state is not None and is_running(state):
            raise InputError(f"{self.folder} is in use by process {state['pid']}: wait for it, or name another OUT")
        return state


def folder_of(engine: EngineOptions) -> Place | None:
    """The work folder: ``--work-dir`` says where, and is shared, so each OUT or schema has one of its own in there.

    So has each refresh of a subset, as two may run at once. Else it stands beside OUT, as ``.<name>.work``. None where
    there is neither, as beside tables of a schema.
    """
    if not engine.work_dir:
        out = Place.parse(engine.output) if engine.output else None
        return out.parent.child(f".{out.name}.work") if out else None
    schema, subset, new = getattr(engine, "output_schema", None), getattr(engine, "subset", None), uuid.uuid4().hex[:8]
    if engine.output:
        own = _of_place(engine.output)
    elif schema:
        own = _of_name(schema)
    elif subset:
        own = f"{_of_place(subset) if is_path(subset) else _of_name(subset)}-{new}"
    else:
        own = f"zipspark-{new}"
    return Place.parse(engine.work_dir).child(f"{own}.work")


def folders_in(work_dir: str, name: str) -> list[Place]:
    """What there is in a shared work folder of runs whose OUT, schema or subset is called ``name``."""
    owners = "|".join(map(re.escape, (_of_place(name), _of_name(name))))
    own = re.compile(rf"({owners})(-[0-9a-f]{{8}})?\.work")
    return [folder for folder in Place.parse(work_dir).list() if own.fullmatch(folder.name)]


def _of_place(name: str) -> str:
    place = Place.parse(name)
    return f"{place.name}-{zlib.crc32(place.uri.encode()):08x}"


def _of_name(name: str) -> str:
    return f"{name}-{zlib.crc32(name.encode()):08x}"


Purpose = Literal["verify", "report"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def aside(output: str, purpose: Purpose) -> str:
    """What OUT is called where stages lie that look at it again: no run of its own can be called so by chance."""
    return f"{output.rstrip('/')}~{purpose}"


def read_state(folder: Place) -> dict[str, Any] | None:
    """What `Stages.claim` wrote; None where there is nothing, or nothing that can be read."""
    try:
        state = json.loads(folder.child(STATE).read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and isinstance(state.get("key"), dict) else None


def completed(folder: Place) -> list[dict[str, Any]]:
    """The completion rows in a work folder."""
    rows = []
    for place in folder.list():
        if place.name.endswith(".json") and place.name != STATE:
            with suppress(OSError, ValueError):
                rows.append(json.loads(place.read_text()))
    known = [row for row in rows if isinstance(row, dict) and {"stage", "at"} <= row.keys()]
    return sorted(known, key=lambda row: row["at"])


def delete_stages(folder: Place, seconds: float = 0.0) -> None:
    """Delete a work folder; first what makes it one, so that half of it is never taken for the whole."""
    folder.child(STATE).delete()
    folder.delete_for_good(seconds)


def key_hash(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()


def _temporary(spark: SparkSession) -> Place:
    if (spark.conf.get("spark.master", None) or "").startswith("local"):
        return Place.parse(tempfile.mkdtemp(prefix="zipspark-"))
    raise UsageError("work_dir is needed where Spark runs on other machines: a folder that they all can reach")


def _attempt_of(row: Place, key: str) -> str | None:
    """The folder that a completion row names; None where it is none, or of another run's key."""
    try:
        done = json.loads(row.read_text())
        return str(done["attempt"]) if done["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
