"""What a command's processes use: memory, CPU, Java's heap, and what Spark shuffles. Linux only.

::

    command ─▶ processes.py                   ─▶ peak memory of workers, Java and the command itself; CPU seconds
            ─▶ what it says on stderr         ─▶ CPU seconds by stage
            ─▶ Java's log of collections      ─▶ heap
            ─▶ Spark's event log, if asked    ─▶ shuffled bytes
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Family, Seen

from zipspark.spark.java import check_java, kept_classes

STAGE = re.compile(r"\[\d+/\d+\] (\w+) ")  # what `zipspark.spark.progress` says of one
TAG = re.compile(r"zipspark-[0-9a-f]+-(\w+)")  # what it gives the jobs of a stage
COLLECTION = re.compile(r"Pause .*?(\d+)([KMG])->(\d+)([KMG])\(")  # heap before and after
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Used:
    """What a command took from start to end."""

    wall: float  # seconds
    cpu: float  # seconds of all its processes
    cpu_of: Mapping[str, float]  # by stage; start and end of Java are of none
    worker: int  # bytes of memory of the largest Python worker of Spark, at its peak
    command: int  # of the command's own process: with classic Spark the driver's Python
    java: int  # of Java: with a local master driver and executor in one
    heap: int  # most bytes of Java's heap that a collection left: what it needs, or a little more


def job(*arguments: str) -> tuple[dict[str, Any], Used]:
    """What ``zipspark ARGUMENTS`` prints as JSON, and what it used. Raises `CalledProcessError` where it fails.

    ``--quiet`` is left out: stages are known by what the command says of them.
    """
    flags = [argument for argument in arguments if argument != "--quiet"]
    output, used = watched([sys.executable, "-m", "zipspark", *flags, "--json"])
    return json.loads(output), used


def of_classes() -> str:
    """What Java starts from, in a sentence for a table."""
    kept = "were kept (zipspark doctor --keep-classes)" if kept_classes(check_java()).exists() else "were not kept"
    return f"Spark's classes {kept}."


def watched(command: Sequence[str]) -> tuple[str, Used]:
    """The standard output of ``command``, which is short, and what it used; what it warns of is passed on."""
    with tempfile.TemporaryDirectory() as folder:
        # The environment, as a setting of Spark's would replace those that the command makes.
        options = f"{os.environ.get('JDK_JAVA_OPTIONS', '')} -Xlog:gc:file={folder}/%p.log".strip()
        environment = os.environ | {"JDK_JAVA_OPTIONS": options}
        started, stages = time.perf_counter(), dict[str, list[float]]()
        pipe = subprocess.PIPE
        with (
            subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment, text=True) as process,
            Family(process.pid) as family,
        ):
            for line in process.stderr:
                if found := STAGE.search(line):
                    family.look()
                    stages.setdefault(found[1], []).append(family.cpu)
                else:
                    sys.stderr.write(line)
            output = process.stdout.read()
        wall = time.perf_counter() - started
        heap = max((heap_of(log.read_text()) for log in Path(folder).glob("*.log")), default=0)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cpu_of = {stage: seconds[-1] - seconds[0] for stage, seconds in stages.items()}
    largest: dict[str, int] = {}
    for (number, _), seen in family.seen.items():
        kind = "command" if number == process.pid else _kind(seen)
        largest[kind] = max(largest.get(kind, 0), seen.peak)
    memory = (largest.get(kind, 0) for kind in ("worker", "command", "java"))
    return output, Used(wall, family.cpu, cpu_of, *memory, heap)


def heap_of(log: str) -> int:
    """Most bytes that a collection left, of Java's ``-Xlog:gc``; 0 where there was none.

    >>> heap_of("[2.1s][info][gc] GC(3) Pause Young (Normal) (G1 Evacuation Pause) 75M->12M(1024M) 5.1ms")
    12582912
    """
    return max((int(left) * UNITS[unit] for _, _, left, unit in COLLECTION.findall(log)), default=0)


def _kind(process: Seen) -> str:
    """``worker``, ``java`` or neither."""
    return "worker" if b"pyspark.daemon" in process.command else process.name


def event_log(folder: Path) -> list[str]:
    """Flags of zipspark with which Spark writes to ``folder``, which exists, what `shuffled` reads."""
    conf = {"enabled": "true", "dir": folder.resolve().as_uri(), "compress": "false"}
    return [word for name, value in conf.items() for word in ("--conf", f"spark.eventLog.{name}={value}")]


def shuffled(folder: Path) -> dict[str, int]:
    """Stage -> bytes that its tasks wrote for other tasks, of the run whose event log lies in ``folder``."""
    stages: dict[int, str] = {}  # Spark's -> zipspark's
    written = Counter[str]()
    for event in events(folder):
        if event["Event"] == "SparkListenerJobStart":
            tag = TAG.search(event["Properties"].get("spark.job.tags", ""))
            stages |= dict.fromkeys(event["Stage IDs"], tag[1] if tag else "")
        elif event["Event"] == "SparkListenerTaskEnd" and (metrics := event.get("Task Metrics")):
            written[stages[event["Stage ID"]]] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return written


def events(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("events_*")):
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
