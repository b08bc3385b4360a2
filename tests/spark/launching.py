"""Engines started as users start them, for tests that need one of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import pytest

from zipspark.spark.java import check_java, local_java

ROOT = Path(__file__).parents[2]

# What Spark Connect does differently is how plans reach Spark and tables are written: what it is not about runs once.
once = pytest.mark.skipif(
    os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="starts an engine of its own, or does not depend on it"
)

# Java that has a few rows to do, as zipspark itself starts it here, with the classes that `make test` has kept.
_QUICK = f"{local_java(check_java())} -XX:+UseSerialGC"
QUICK_JAVA = {
    "spark.driver.extraJavaOptions": _QUICK,
    "spark.executor.extraJavaOptions": _QUICK,
    "spark.ui.enabled": "false",
    "spark.locality.wait": "0",  # seconds that a task waits for the executor that has its rows
}


def as_flags(conf: Mapping[str, str]) -> list[str]:
    """What spark-submit and zipspark take."""
    return [flag for key, value in conf.items() for flag in ("--conf", f"{key}={value}")]


def run(
    arguments: Sequence[str], cwd: Path, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=cwd,
        env=without_spark() | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def zipspark(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "zipspark", *arguments], cwd)


def without_spark() -> dict[str, str]:
    """The environment without what the session of these tests has set in it."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("SPARK", "PYSPARK"))}


def spark_home(folder: Path) -> Path:
    """A SPARK_HOME that may be written to: workers keep their folders and logs in it."""
    folder.mkdir()
    for name in ("jars", "bin", "sbin", "python"):
        (folder / name).symlink_to(Path(pyspark.__file__).parent / name)
    return folder


def python_without_zipspark(folder: Path) -> str:
    """A Python with links to all packages of this one but zipspark, as the machines of a cluster may have it."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "zipspark" not in package.name:
            (packages / package.name).symlink_to(package)
    return str(folder / "bin" / "python")


def zipspark_zip(folder: Path) -> Path:
    """What ``--py-files`` takes: the package, without the metadata that an installation has."""
    copy = shutil.copytree(ROOT / "zipspark", folder / "zipspark", ignore=shutil.ignore_patterns("__pycache__"))
    made = Path(shutil.make_archive(str(folder / "zipspark"), "zip", folder, "zipspark"))
    shutil.rmtree(copy)
    return made


@contextmanager
def standalone(home: Path, workers: int) -> Iterator[str]:
    """The URL of a standalone master with workers of one core and 1 GiB each, all stopped when the block ends."""
    small = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_DAEMON_JAVA_OPTS": _QUICK}
    environment = without_spark() | {"SPARK_HOME": str(home)} | small

    with ExitStack() as processes:

        def start(log: Path, kind: str, *arguments: str) -> Path:
            command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}"]
            command += ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0", *arguments]
            with log.open("w") as file:
                process = subprocess.Popen(command, cwd=home, env=environment, stdout=file, stderr=file)
            processes.callback(process.wait)
            processes.callback(process.kill)
            return log

        url = said(start(home / "master.log", "master.Master"), "Starting Spark master at ").split()[0]
        started = [
            start(home / f"worker{number}.log", "worker.Worker", "--cores", "1", "--memory", "1g", url)
            for number in range(workers)
        ]
        for log in started:
            said(log, "Successfully registered with master")
        yield url


def said(log: Path, words: str, seconds: float = 60) -> str:
    """What stands behind ``words`` in a log, once they are in it."""
    until = time.monotonic() + seconds
    while words not in (text := log.read_text()):
        assert time.monotonic() < until, f"no {words!r} in {log.name}:\n{text}"
        time.sleep(0.05)
    return text.partition(words)[2]
