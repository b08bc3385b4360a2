"""What a command's processes use: memory, CPU, Java's heap, and what Spark shuffles. Linux only.

::

    command ─▶ /proc, every fifth of a second ─▶ peak memory of workers, Java and the command itself; CPU seconds
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
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INTERVAL = 0.2  # seconds; peaks of memory are kept by the kernel, so only a process's last moments are missed
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
    """What ``zipspark ARGUMENTS`` prints as JSON, and what it used. Raises `CalledProcessError` where it fails."""
    output, used = watched([sys.executable, "-m", "zipspark", *arguments, "--json"])
    return json.loads(output), used


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
            Processes(process.pid) as processes,
        ):
            for line in process.stderr:
                if found := STAGE.search(line):
                    stages.setdefault(found[1], []).append(processes.cpu)
                else:
                    sys.stderr.write(line)
            output = process.stdout.read()
        wall = time.perf_counter() - started
        heap = max((heap_of(log.read_text()) for log in Path(folder).glob("*.log")), default=0)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cpu_of = {stage: seconds[-1] - seconds[0] for stage, seconds in stages.items()}
    peaks = processes.peaks
    return output, Used(wall, processes.cpu, cpu_of, peaks["worker"], peaks["command"], peaks["java"], heap)


def heap_of(log: str) -> int:
    """Most bytes that a collection left, of Java's ``-Xlog:gc``; 0 where there was none.

    >>> heap_of("[2.1s][info][gc] GC(3) Pause Young (Normal) (G1 Evacuation Pause) 75M->12M(1024M) 5.1ms")
    12582912
    """
    return max((int(left) * UNITS[unit] for _, _, left, unit in COLLECTION.findall(log)), default=0)


class Processes:
    """Those that ``root`` starts meanwhile, and theirs: nobody else's, whatever else runs on the machine."""

    def __init__(self, root: int) -> None:
        self.peaks = {"command": 0, "java": 0, "worker": 0}  # bytes resident, of the largest of each kind
        self._root = root
        self._known = {root}  # one whose parent has ended still belongs to it
        self._ticks: dict[tuple[int, int], int] = {}  # (process, its start) -> CPU so far
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        """Seconds, of all processes together."""
        return sum(list(self._ticks.values())) / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            parents = {int(name): stat for name in os.listdir("/proc") if name.isdigit() and (stat := _stat(name))}
            grown = True
            while grown:
                found = {process for process, stat in parents.items() if int(stat[1]) in self._known}
                grown = not found <= self._known
                self._known |= found
            self._known &= parents.keys()  # a number may be given to somebody else's process
            for process in self._known:
                stat = parents[process]
                self._ticks[process, int(stat[19])] = int(stat[11]) + int(stat[12])
                self._see(process)

    def _see(self, process: int) -> None:
        try:
            line = Path(f"/proc/{process}/cmdline").read_bytes()
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:  # it has ended
            return
        kind = "command" if process == self._root else "worker" if b"pyspark.daemon" in line else "java"
        if kind == "java" and not status.startswith("Name:\tjava\n"):
            return
        peak = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
        self.peaks[kind] = max(self.peaks[kind], peak)


def _stat(process: str) -> list[str]:
    """Fields of /proc/PROCESS/stat behind the name, from the state on; none where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


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
