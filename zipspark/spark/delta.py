"""Delta in a session: the jars that pip does not bring, and whether a session has them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from zipspark.errors import EngineError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FETCH_SECONDS = 300  # for 87 MB, once; Ivy alone waits for ever on a network that swallows packets

EXTENSIONS = "spark.sql.extensions"
DELTA_SETTINGS = {
    EXTENSIONS: "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def delta_coordinates() -> str:
    """The Maven name of the jars that go with the installed delta-spark and pyspark."""
    import pyspark

    try:
        version = metadata.version("delta-spark")
    except metadata.PackageNotFoundError:
        raise EngineError("delta-spark is not installed. Run: pip install 'zipspark[spark]'") from None
    return f"io.delta:delta-spark_{'.'.join(pyspark.__version__.split('.')[:2])}_2.13:{version}"


def delta_settings(found: Mapping[str, str]) -> dict[str, str]:
    """What has to be set for Delta where ``found`` is set already: a catalog of the user's own stays.

    >>> delta_settings({"spark.sql.extensions": "a.B"})["spark.sql.extensions"]
    'a.B,io.delta.sql.DeltaSparkSessionExtension'
    """
    both = ",".join(filter(None, (found.get(EXTENSIONS), DELTA_SETTINGS[EXTENSIONS])))
    extensions = ",".join(dict.fromkeys(both.split(",")))
    return {key: value for key, value in DELTA_SETTINGS.items() if key not in found} | {EXTENSIONS: extensions}


def jars_named(names: Sequence[str]) -> list[str]:
    """``--jars`` as Spark takes them: files whole, a folder as the jars in it, URLs of other stores as they are.

    Raises `UsageError` for one that is not there, or is no jar.
    """
    jars: list[str] = []
    for name in names:
        if re.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/", name):
            jars.append(name)
            continue
        path = Path(name.removeprefix("file:")).expanduser().absolute()
        files = sorted(path.glob("*.jar")) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"jars must name jars or folders that hold some, got {name!r}, which holds none")
        for file in files:
            if not file.exists():
                raise UsageError(f"jars must name files that are there, got {name!r}: there is no {file}")
            if not zipfile.is_zipfile(file):
                raise UsageError(f"jars must name jars, got {name!r}: {file} is none, or damaged")
        jars += map(str, files)
    return jars


def holds_delta(jars: Sequence[str]) -> bool:
    """Whether Delta's own jar is among them; of what lies elsewhere its name has to say so."""
    classes = DELTA_SETTINGS[EXTENSIONS].replace(".", "/") + ".class"
    for jar in jars:
        if ":/" in jar:
            if "delta-spark" in jar:
                return True
            continue
        with zipfile.ZipFile(jar) as entries:
            if classes in entries.NameToInfo:
                return True
    return False


def check_delta(session: SparkSession) -> None:
    """Raise `EngineError` unless Delta tables can be read in this session."""
    try:
        # A platform may have Delta built in without these settings, so the session is asked, not its configuration.
        session.read.format("delta").load("/zipspark/no/such/table").isEmpty()
    except Exception as error:
        said = str(error)
    else:
        said = ""
    if re.search(r"DATA_SOURCE_NOT_FOUND|CONFIGURE_SPARK_SESSION", said):
        settings = " ".join(f"--conf {key}={value}" for key, value in DELTA_SETTINGS.items())
        raise EngineError(
            "the running Spark session has no Delta: all that needs none works there. For Delta stop it and let "
            f"zipspark start one, or start it with --packages {delta_coordinates()} {settings}"
        )
    if broken := re.search(r"java\.lang\.(?:\w+Error|ClassNotFoundException)\b[^\n]*", said):
        raise EngineError(
            f"Delta's jars are not complete, or of another version of Spark's or Scala's ({broken[0]}): give all of "
            f"those that go with {delta_coordinates()}"
        )


def fetch_jars(settings: Mapping[str, str]) -> None:
    """Have the jars of ``spark.jars.packages`` in Ivy's cache, where the session will find them without a network.

    In a process of its own, as a session that waits for jars cannot be told to stop. Raises `EngineError`.
    """
    group, artifact, version = delta_coordinates().split(":")
    ivy = [Path(settings["spark.jars.ivy"])] if "spark.jars.ivy" in settings else Path.home().glob(".ivy2*")
    if any((folder / "jars" / f"{group}_{artifact}-{version}.jar").exists() for folder in ivy):
        return  # it comes there with all the others, when the last one is fetched

    import pyspark

    command = [os.path.join(os.path.dirname(pyspark.__file__), "bin", "spark-submit"), "--master", "local[1]"]
    for key, value in settings.items():
        if key.startswith("spark.jars."):
            command += ["--conf", f"{key}={value}"]
    with tempfile.NamedTemporaryFile(suffix=".py") as nothing_to_do:
        try:
            done = subprocess.run([*command, nothing_to_do.name], capture_output=True, text=True, timeout=FETCH_SECONDS)
        except subprocess.TimeoutExpired:
            reason = f"no answer for {FETCH_SECONDS} s"
        else:
            if done.returncode == 0:
                return
            unresolved = re.findall(r"^\s*:: (\S+: .+)$", done.stderr, flags=re.MULTILINE)
            reason = unresolved[0] if unresolved else "Spark could not fetch them"
    raise EngineError(
        f"Delta's jars cannot be fetched ({reason}): check the network, name a mirror by "
        "--conf spark.jars.repositories=URL, give the jars by --jars, or do without Delta: everything else works"
    )
