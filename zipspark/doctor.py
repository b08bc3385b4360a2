"""``zipspark doctor``: what zipspark needs, whether it is here, and the command that brings what is not.

A check says one line and never raises: whatever fails in one is its finding, and the others go on. pyspark is imported
only within checks, as it may be what is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module, metadata

import pyarrow as pa

from zipspark.config import DoctorConfig, EngineOptions
from zipspark.core.zlib_codec import IS_CLASSIC_ZLIB
from zipspark.errors import EngineError
from zipspark.failures import first_line
from zipspark.report.findings import Check, Diagnosis, checked
from zipspark.spark.batches import library_versions
from zipspark.spark.health import INSTALL, checks_on_spark
from zipspark.spark.java import check_java, keep_classes, kept_classes
from zipspark.storage.places import Place
from zipspark.units import format_bytes

PYTHON = (3, 11)  # the oldest
LITTLE_DISK = 2 * 10**9  # bytes

# What comes with an extra: module, extra, what it is for.
_EXTRAS = (
    ("scipy", "entropy", "fits of the entropy law and of learning curves"),
    ("matplotlib", "plots", "pictures of the matrix and of curves"),
    ("tokenizers", "tokens", "budgets in tokens of a tokenizer.json"),
    ("vl_convert", "report", "charts in report.html"),
)


def diagnosed(engine: DoctorConfig) -> Diagnosis:
    """Look at everything that a run on this engine needs."""
    checks = [
        checked("Python", _python),
        checked("pyspark", _pyspark, INSTALL),
        checked("pandas", _pandas, "pip install 'pandas>=2.2,<3'"),
        checked("pyarrow", lambda: Check("pyarrow", "ok", pa.__version__), INSTALL),
        checked("libraries", _libraries),
    ]
    if _starts_java(engine):
        checks.append(checked("Java", _java))
    broken = [check.name for check in checks if check.state == "broken"]
    if broken:
        checks.append(Check("Spark", "broken", f"not tried without {' and '.join(broken)}", "mend these first"))
    else:
        is_local = (engine.master or engine.remote or "local").startswith("local")
        if engine.keep_classes or (_starts_java(engine) and is_local):
            checks.append(checked("classes", lambda: _classes(engine.keep_classes)))
        checks += checks_on_spark(engine)
    folder = engine.work_dir or tempfile.gettempdir()
    checks.append(checked("work folder", lambda: _folder(folder), "give another --work-dir"))
    checks.append(checked("disk", lambda: _disk(folder)))
    checks += [_extra(*extra) for extra in _EXTRAS]
    return Diagnosis(tuple(checks))


# On the driver


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info < PYTHON:
        needed = ".".join(map(str, PYTHON))
        return Check("Python", "broken", f"{version} is too old", f"make PYTHON=/path/to/python{needed} install")
    return Check("Python", "ok", f"{version} ({sys.executable})")


def _pyspark() -> Check:
    version = import_module("pyspark").__version__
    if _major(version) < 4:
        return Check("pyspark", "broken", f"{version} is too old: 4.0 or newer is needed", INSTALL)
    return Check("pyspark", "ok", version)


def _pandas() -> Check:
    version = metadata.version("pandas")
    command = "pip install 'pandas>=2.2,<3'"
    if not (2, 2) <= _minor(version) < (3, 0):
        return Check("pandas", "broken", f"{version}: pyspark needs 2.2 or newer, and breaks on 3", command)
    import_module("pandas")
    return Check("pandas", "ok", version)


def _libraries() -> Check:
    """Those that sizes depend on."""
    said = _spelled(library_versions())
    if not IS_CLASSIC_ZLIB:
        instead = "nothing for --codec zstd, the default; for --preset paper and reference a Python with classic zlib"
        return Check("libraries", "note", f"{said}: zlib-ng, whose sizes are not classic zlib's", instead)
    return Check("libraries", "ok", said)


def _starts_java(engine: EngineOptions) -> bool:
    """Whether a Java of this machine is started: not where spark-submit, a platform or a server has one."""
    remote = engine.remote or ("" if engine.master else os.environ.get("SPARK_REMOTE", ""))
    theirs = {"PYSPARK_GATEWAY_PORT", "DATABRICKS_RUNTIME_VERSION"} & os.environ.keys()
    return not (theirs or remote.startswith("sc://"))


def _java() -> Check:
    try:
        said = check_java()
    except EngineError as error:
        said, _, mend = str(error).partition(". ")
        return Check("Java", "broken", said, mend)
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(os.path.join(home, "bin", "java") if home else "java") or "java"
    return Check("Java", "ok", f"{said.splitlines()[0]} ({java})")


def _classes(keep: bool) -> Check:
    """What local runs start from."""
    place = keep_classes() if keep else kept_classes(check_java())
    if not os.path.isfile(place):
        return Check("classes", "note", "Java reads Spark's at each start", "zipspark doctor --keep-classes")
    return Check("classes", "ok", f"of Spark, in {place} ({format_bytes(place.stat().st_size)})")


def _folder(name: str) -> Check:
    Place.parse(name).child("zipspark-doctor").check_writable()
    return Check("work folder", "ok", f"{Place.parse(name)} can be written")


def _disk(name: str) -> Check:
    place = Place.parse(name)
    if not place.is_local:
        return Check("disk", "ok", f"{place} is no disk of this machine")
    while not place.exists() and place.path != place.parent.path:
        place = place.parent
    free = shutil.disk_usage(place.path).free
    if free < LITTLE_DISK:
        instead = "free some, or give a --work-dir elsewhere (a run writes about twice the pool's text, compressed)"
        return Check("disk", "note", f"{format_bytes(free)} free at {place}", instead)
    return Check("disk", "ok", f"{format_bytes(free)} free at {place}")


def _extra(module: str, extra: str, what: str) -> Check:
    try:
        import_module(module)
        return Check(module, "ok", f"{metadata.version(module.replace('_', '-'))}, for {what}")
    except metadata.PackageNotFoundError:
        return Check(module, "ok", f"for {what}")
    except Exception as error:  # not there, or there and broken
        missing = isinstance(error, ModuleNotFoundError)
        said = "not installed" if missing else first_line(error)
        return Check(module, "note", f"{said}; optional, for {what}", f"pip install 'zipspark[{extra}]'")


def _spelled(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _minor(version: str) -> tuple[int, int]:
    parts: Sequence[str] = version.split(".")
    return int(parts[0]), int(parts[1])
