"""A process and all that it starts, read from /proc: CPU time and memory. Linux only.

Memory has one definition: the most bytes that a process ever had resident (VmHWM), which the kernel keeps, so that no
peak falls between two looks; only what a process does after the last look at it is missed. A page that processes share
counts in each of them: what several held at once is a sum that is too large rather than too small.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from re import search

EVERY = 0.2  # seconds between two looks
TICKS = os.sysconf("SC_CLK_TCK")  # a second, of CPU time


@dataclass(frozen=True)
class Seen:
    """A process as it was at the last look."""

    command: bytes  # words of its command line, each ended by a zero byte
    name: str  # of the program, 15 letters at most
    cpu: float  # seconds of all cores, in user and kernel mode, without what it started
    peak: int  # bytes


class Family:
    """Process ``root`` and what it starts while this context is open: nobody else's, whatever runs on the machine."""

    def __init__(self, root: int) -> None:
        self.peak = 0  # bytes: the most that a look found in all that lived then, each process at its own peak
        self.seen: dict[tuple[int, str], Seen] = {}  # (process, its start), as a number is given again
        self._known = {root}  # one whose parent has ended still belongs to it
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Family:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        """Seconds, of all processes together, those that have ended included."""
        with self._lock:
            return sum(each.cpu for each in self.seen.values())

    def look(self) -> None:
        with self._lock:
            stats = _stats()
            self._known &= stats.keys()
            self._known = _below(self._known, stats)
            at_once = 0
            for process in self._known:
                stat = stats[process]
                before = self.seen.get((process, stat[19]), Seen(b"", "", 0.0, 0))
                now = replace(_seen(process) or before, cpu=(int(stat[11]) + int(stat[12])) / TICKS)
                self.seen[process, stat[19]] = now
                at_once += now.peak if stat[0] != "Z" else 0  # one that nobody has waited for yet holds nothing
            self.peak = max(self.peak, at_once)

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            self.look()


def cpu_with_waited_for() -> float:
    """CPU seconds of this process, of those below it, and of those that these have waited for.

    `Family` sees what nobody waits for (Java), and misses what lives for a moment; this is the other way round.
    """
    stats = _stats()
    return sum(sum(map(int, stats[process][11:15])) for process in _below({os.getpid()}, stats)) / TICKS


def forget_peak() -> None:
    """This process's peak becomes what it has resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def resident() -> int:
    """Bytes of this process, now."""
    return _bytes_of("VmRSS", Path("/proc/self/status").read_text())


def peak() -> int:
    """Bytes of this process, at most so far."""
    return _bytes_of("VmHWM", Path("/proc/self/status").read_text())


def _stats() -> dict[int, list[str]]:
    """Process -> what /proc/PROCESS/stat says behind the name: state, parent, ..."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
    return found


def _below(roots: set[int], stats: dict[int, list[str]]) -> set[int]:
    """``roots`` and all processes that come from them."""
    children: dict[int, list[int]] = {}
    for process, stat in stats.items():
        children.setdefault(int(stat[1]), []).append(process)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        process = waiting.pop()
        if process not in found:
            found.add(process)
            waiting += children.get(process, [])
    return found


def _seen(process: int) -> Seen | None:
    """Without its CPU time; None where it has ended."""
    folder = Path(f"/proc/{process}")
    try:
        command = (folder / "cmdline").read_bytes()
        status = (folder / "status").read_text()
    except OSError:
        return None
    name = status.partition("\n")[0].removeprefix("Name:\t")
    return Seen(command, name, 0.0, _bytes_of("VmHWM", status)) if "VmHWM" in status else None


def _bytes_of(name: str, status: str) -> int:
    """What the text of /proc/PROCESS/status says of ``name``."""
    found = search(rf"{name}:\s+(\d+) kB", status)
    assert found, f"/proc/PROCESS/status must have a line {name}, got {status!r}"
    return int(found[1]) * 1024
