"""What ``zipspark doctor`` asks of Spark: a session, its tasks, its memory, a stage, a Delta table."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

import pyarrow as pa

from zipspark.config import EngineOptions
from zipspark.errors import UsageError
from zipspark.failures import explain_spark_error, first_line
from zipspark.report.findings import Check, checked
from zipspark.spark.batches import batch, library_versions, spark_schema
from zipspark.spark.session import memory_setting
from zipspark.storage.places import Place, redact_all
from zipspark.units import format_bytes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INSTALL = "pip install 'zipspark[spark]'"
_TASKS = 8  # that say which versions they have: one on each executor of a small cluster
_SEEN = pa.schema([("name", pa.string()), ("version", pa.string())])


def checks_on_spark(engine: EngineOptions) -> list[Check]:
    """A session, what its tasks have, its memory, its work folder, and Delta where it is installed."""
    from zipspark.spark.session import get_session

    without = _delta_spark()
    delta = Check("Delta", "note", f"{without}; all that is no Delta table works", INSTALL) if without else None
    try:
        session = get_session(engine, delta=delta is None)
    except UsageError:
        raise
    except Exception as error:
        try:
            session = get_session(engine)
        except Exception as second:
            return [checked("Spark", partial(_raised, second))]
        said = redact_all(first_line(error))
        delta = Check("Delta", "note", f"{said}; all that is no Delta table works", "--jars FOLDER names its jars")
    master = redact_all(engine.remote or _setting(session, "spark.master") or "a running session")
    found = [
        Check("Spark", "ok", f"{session.version} on {master}"),
        checked("tasks", lambda: _tasks(session)),
        checked("memory", lambda: _memory(session)),
        checked("stages", lambda: _stages(session, engine)),
    ]
    return [*found, delta or _delta(session, engine)]


def _setting(session: SparkSession, key: str) -> str | None:
    """None where it is not set, or a platform does not say."""
    with contextlib.suppress(Exception):
        return session.conf.get(key, None)
    return None


def _raised(error: Exception) -> Check:
    raise error


def _tasks(session: SparkSession) -> Check:
    """A small Python job, whose tasks say which libraries they measure with."""
    rows = session.range(0, _TASKS, 1, _TASKS).mapInArrow(_say_versions, spark_schema(_SEEN)).toArrow().to_pylist()
    here = library_versions() | {"Python": _python_version()}
    counted = Counter((row["name"], row["version"]) for row in rows)
    wrong = sorted((name, version) for name, version in counted if here[name] != version)
    if wrong:
        name, version = wrong[0]
        return Check("tasks", "broken", f"{name} is {version} on an executor, {here[name]} here", _same(name))
    return Check("tasks", "ok", f"Python ran in {_TASKS} tasks, with the same versions as here")


def _say_versions(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        pass
    found = library_versions() | {"Python": _python_version()}
    yield batch(_SEEN, {"name": list(found), "version": list(found.values())})


def _same(name: str) -> str:
    """How executors come to have what is here."""
    package = {"zstd": "zstandard", "zipspark": "zipspark"}.get(name)
    if package is None:  # zlib comes with Python
        return "have the same Python on all machines: set PYSPARK_PYTHON to it"
    return f"pip install {package}=={_package(package)} on all executors, or send an environment by spark.archives"


def _memory(session: SparkSession) -> Check:
    from zipspark.spark.session import machine_memory

    heap = session.conf.get("spark.driver.memory", None) or "1g"
    machine = machine_memory()
    if not machine:
        return Check("memory", "ok", f"Java {heap}; the machine does not say how much it has")
    said = f"Java {heap}, of {format_bytes(machine)} that this process may use"
    if not (session.conf.get("spark.master", None) or "").startswith("local"):
        return Check("memory", "ok", said)
    if memory_setting(heap) > 0.75 * machine:
        most = max(1, int(machine // 4 // 2**20))
        return Check("memory", "note", f"{said}: too little is left for Python", f"--conf spark.driver.memory={most}m")
    return Check("memory", "ok", said)


def _stages(session: SparkSession, engine: EngineOptions) -> Check:
    """Something written by tasks and read back: driver and executors see the same work folder."""
    from zipspark.storage.stages import Stages

    alone = engine.model_copy(update={"output": None})
    try:
        stages = Stages(session, alone)
    except UsageError as error:
        return Check("stages", "note", f"not tried: {error}", "--work-dir URI, or an --output that all can reach")
    with stages:
        rows = stages.write("doctor", session.range(10)).count()
        seen = sum(place.name.endswith(".parquet") for place in _files(stages.folder.child("doctor")))
    if rows != 10 or not seen:
        said = f"{stages.folder} is not the same folder here and on the executors"
        return Check("stages", "broken", said, "give a --work-dir that all machines can reach")
    return Check("stages", "ok", f"tasks write to {stages.folder.parent}, and it is read back here")


def _files(folder: Place) -> list[Place]:
    return [file for place in folder.list() for file in place.list()]


def _delta_spark() -> str | None:
    """Why there can be no Delta; None where delta-spark is installed."""
    try:
        metadata.version("delta-spark")
    except metadata.PackageNotFoundError:
        return "delta-spark is not installed"
    return None


def _delta(session: SparkSession, engine: EngineOptions) -> Check:
    """A small table, written and read."""
    from zipspark.storage.stages import Stages

    try:
        with Stages(session, engine.model_copy(update={"output": None})) as stages:
            stages.claim({})
            place = stages.folder.child("delta")
            session.range(10).write.format("delta").save(place.uri)
            rows = session.read.format("delta").load(place.uri).count()
    except Exception as error:
        said = redact_all(first_line(explain_spark_error(error) or error))
        return Check("Delta", "note", f"{said}; all that is no Delta table works", "--jars FOLDER names its jars")
    return Check(
        "Delta", "ok" if rows == 10 else "note", f"delta-spark {_package('delta-spark')}: a table of {rows} rows"
    )


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _python_version() -> str:
    """Major and minor, which must be the same on all machines."""
    return ".".join(map(str, sys.version_info[:2]))
