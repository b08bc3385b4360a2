"""Work in a process of its own: what it took is nobody else's. Linux only.

::

    start of the process ─▶ warm-up, imports in it ─▶ the work        ─▶ result
                            `Cost.start`              all else of `Cost`
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from processes import Family, cpu_with_waited_for, forget_peak


@dataclass(frozen=True)
class Cost:
    """What a piece of work took, with all processes that it started."""

    start: float  # seconds of the warm-up; 0 where there was none
    seconds: float
    cpu_seconds: float  # of all cores, in user and kernel mode
    peak: int  # bytes at once, as processes.py has them; what the process held before the work included


def alone(work: Callable[[], Any], warm: Callable[[], Any] | None = None, cores: int | None = None) -> tuple[Any, Cost]:
    """(what ``work`` returns, what it took); it, ``warm`` and its result must be picklable.

    ``warm`` runs first, in the same process: imports and compilation are then no part of the work. Of the machine's
    cores the process and all that it starts have ``cores`` (none: those that this one has). The start of the process
    and the way of ``work`` into it are not counted. Temporary files go with the process, however it ends.

    Raises:
        ModuleNotFoundError: from the work or the warm-up.
        RuntimeError: one of them failed in another way, or their process was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _alone(work, warm, cores, folder)


def _alone(work: Callable[[], Any], warm: Callable[[], Any] | None, cores: int | None, folder: str) -> tuple[Any, Cost]:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_do, args=(there, work, warm, folder))
    with _of_cores(cores):  # not in the process: libraries that it has imported by then have counted the cores
        process.start()
    there.close()
    try:
        start, failure = here.recv()
        if failure is None:
            with Family(process.pid or 0) as family:
                before = family.cpu
                here.send("go")
                result, failure, seconds, waited_for = here.recv()
                family.look()
                here.send("seen")  # until then the process is there to be looked at
    except (EOFError, ConnectionError):
        process.join()
        raise RuntimeError(f"its process ended with {process.exitcode}") from None
    process.join()
    if failure is not None:
        raise failure
    # A process that nobody waits for (Java) was only seen, one that lives for a moment was only waited for.
    return result, Cost(start, seconds, max(family.cpu - before, waited_for), family.peak)


@contextmanager
def _of_cores(count: int | None) -> Iterator[None]:
    """Processes that this thread starts meanwhile have ``count`` of its cores."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def _do(there: Connection, work: Callable[[], Any], warm: Callable[[], Any] | None, folder: str) -> None:
    """What the process does."""
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    _, failure, start = _timed(warm) if warm else (None, None, 0.0)
    there.send((start, failure))
    if failure is not None:
        return
    there.recv()
    forget_peak()
    before = cpu_with_waited_for()
    result, failure, seconds = _timed(work)
    there.send((result, failure, seconds, cpu_with_waited_for() - before))
    there.recv()


def _timed(work: Callable[[], Any]) -> tuple[Any, Exception | None, float]:
    """(its result, or why there is none, seconds)."""
    result, failure = None, None
    started = time.perf_counter()
    try:
        result = work()
    except ModuleNotFoundError as error:
        failure = ModuleNotFoundError(str(error))
    except Exception as error:  # whatever it is, one that arrives whole
        failure = RuntimeError(f"{type(error).__name__}: {error}")
    return result, failure, time.perf_counter() - started
