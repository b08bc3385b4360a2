"""Work in a process of its own: what it took is nobody else's. Linux only."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from re import search
from typing import Any

EVERY = 0.2  # seconds between two looks at the processes
_TICKS = os.sysconf("SC_CLK_TCK")  # a second, of CPU time


@dataclass(frozen=True)
class Cost:
    """What a piece of work took, with all processes that it started."""

    seconds: float
    cpu_seconds: float  # of all cores, in user and kernel mode
    peak: int  # bytes resident at once, shared ones counted once; what the process held before the work included


def alone(work: Callable[[], Any]) -> tuple[Any, Cost]:
    """(what ``work`` returns, what it took); it and its result must be picklable.

    The start of the process and the way of ``work`` into it are not counted, imports that ``work`` makes are. Temporary
    files go with the process, however it ends.

    Raises:
        ImportError: from the work.
        RuntimeError: the work failed in another way, or its process was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _alone(work, folder)


def _alone(work: Callable[[], Any], folder: str) -> tuple[Any, Cost]:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_do, args=(there, work, folder))
    process.start()
    there.close()
    family = _Family(process.pid or 0)
    try:
        before = here.recv()
        while not here.poll(EVERY):
            family.look()
        result, failure, seconds, waited_for = here.recv()
        family.look()
        here.send("seen")  # until then the process is there to be looked at
    except EOFError:
        process.join()
        raise RuntimeError(f"its process ended with {process.exitcode}") from None
    process.join()
    if failure is not None:
        raise failure
    # A process that nobody waits for (Java) was only seen, one that lives for a moment was only waited for.
    return result, Cost(seconds, max(family.cpu_seconds, waited_for) - before, family.peak)


def _do(there: Connection, work: Callable[[], Any], folder: str) -> None:
    """What the process does."""
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    result, failure = None, None
    there.send(_with_waited_for())
    started = time.perf_counter()
    try:
        result = work()
    except ImportError as error:
        failure = ImportError(str(error))
    except Exception as error:  # whatever it is, one that arrives whole
        failure = RuntimeError(f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - started
    there.send((result, failure, seconds, _with_waited_for()))
    there.recv()


def _with_waited_for() -> float:
    """CPU seconds of this process, of those below it, and of those that these have waited for."""
    stats = _tree(os.getpid()).values()
    return sum(sum(map(int, stat[11:15])) for stat in stats) / _TICKS


class _Family:
    """A process and all below it, as they were when they were last looked at."""

    def __init__(self, root: int) -> None:
        self.peak = 0  # bytes
        self._root = root
        self._ticks: dict[tuple[int, str], int] = {}  # (process, when it started) -> its own CPU time

    def look(self) -> None:
        found = _tree(self._root)
        self._ticks.update(((pid, stat[19]), int(stat[11]) + int(stat[12])) for pid, stat in found.items())
        self.peak = max(self.peak, sum(map(_resident, found)))

    @property
    def cpu_seconds(self) -> float:
        return sum(self._ticks.values()) / _TICKS


def _tree(root: int) -> dict[int, list[str]]:
    """Of ``root`` and all processes below it what /proc/PID/stat says behind the name: state, parent, ..."""
    stats = {int(entry.name): _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        if stat:
            children.setdefault(int(stat[1]), []).append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if stats.get(pid):
            found[pid] = stats[pid]
            waiting += children.get(pid, [])
    return found


def _stat(process: Path) -> list[str]:
    """Nothing when it has ended."""
    try:
        return (process / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def _resident(pid: int) -> int:
    """Bytes, each page divided by the processes that share it; 0 when the process has ended."""
    try:
        found = search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
