"""Delta in a session: the jars that pip does not bring, and whether a session has them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from zipspark.errors import EngineError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FETCH_SECONDS = 300  # for 87 MB, once; Ivy alone waits for ever on a network that swallows packets

DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
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


def check_delta(session: SparkSession) -> None:
    """Raise `EngineError` unless Delta tables can be read in this session."""
    try:
        # A platform may have Delta built in without these settings, so the session is asked, not its configuration.
        session.read.format("delta").load("/zipspark/no/such/table").isEmpty()
    except Exception as error:
        has_delta = re.search(r"DATA_SOURCE_NOT_FOUND|CONFIGURE_SPARK_SESSION", str(error)) is None
    else:
        has_delta = True
    if has_delta:
        return
    settings = " ".join(f"--conf {key}={value}" for key, value in DELTA_SETTINGS.items())
    raise EngineError(
        "the running Spark session has no Delta: stop it and let zipspark start one, or start it with "
        f"--packages {delta_coordinates()} {settings}"
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
        "--conf spark.jars.repositories=URL, or do without Delta"
    )
