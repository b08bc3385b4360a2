"""How far a run is: one line that moves on a terminal, log lines elsewhere, and the seconds of each stage.

The only module that may touch what classic Spark alone has (`statusTracker`). A display must never break a run: what
Spark does not tell is left out of the line. Nothing is ever written to stdout.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from zipspark.logs import run_id

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger("zipspark")

ON_TERMINAL = 0.25  # seconds between two looks at Spark, and two drawings of the line
IN_LOG = 10.0  # seconds between two log lines


class Progress:
    """Shows the stages of one run, on stderr.

    On a terminal a live line, elsewhere records of the logger ``zipspark`` (level INFO) at the start and the end of a
    stage and every ten seconds; with ``quiet`` nothing.

    >>> progress = Progress(spark)  # doctest: +SKIP
    >>> with progress.stage("parts", 3, of=7, samples=54_000):  # doctest: +SKIP
    ...     candidates = stages.write("candidates", frame)
    [3/7] parts  5/16 tasks  2,100 samples/s  0:08  about 0:17 left
    """

    def __init__(self, spark: SparkSession, quiet: bool = False):
        self.seconds: dict[str, float] = {}  # stage → how long it took; one that is entered again adds up
        self._spark = spark
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._run = run_id()
        self._before = 0
        self._of: int | None = None

    def within(self, before: int, of: int) -> Progress:
        """The same, for work that counts its own stages, and is done behind ``before`` of a command's ``of``.

        >>> with Progress(spark).within(2, of=6).stage("parts", 1, of=3):  # doctest: +SKIP
        [3/6] parts  0:00
        """
        part = copy.copy(self)  # the seconds are in one place
        part._before, part._of = before, of
        return part

    @contextlib.contextmanager
    def stage(self, name: str, number: int, of: int, samples: int | None = None) -> Iterator[None]:
        """Show and time what runs within; ``samples`` is how many it goes through, where that is known.

        Its Spark jobs carry the tag ``zipspark-RUNID-NAME`` (those that this thread starts: `tagged` takes it along to
        others). Interrupted, it also stops what Spark is doing for it: a Connect server would go on.
        """
        started = time.monotonic()
        tag = f"zipspark-{self._run}-{name}"
        tasks = _Tasks(self._spark)
        with contextlib.suppress(Exception):
            self._spark.addTag(tag)
        try:
            with tasks, self._shown(_Line(name, self._before + number, self._of or of, samples, started, tasks)):
                yield
        except KeyboardInterrupt:
            with contextlib.suppress(Exception):
                self._spark.interruptTag(tag)
            raise
        finally:
            with contextlib.suppress(Exception):
                self._spark.removeTag(tag)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    @contextlib.contextmanager
    def _shown(self, line: _Line) -> Iterator[None]:
        if self._quiet:
            yield
        elif self._console.is_terminal:
            live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            with live, _every(ON_TERMINAL, lambda: live.update(Text(line.now()), refresh=True)):
                yield
            self._console.print(Text(line.at_the_end()))
        else:
            of_stage: dict[str, Any] = {"stage": line.name}
            logger.info("%s", line.now(), extra=of_stage)
            with _every(IN_LOG, lambda: logger.info("%s", line.now(), extra=of_stage)):
                yield
            logger.info("%s", line.at_the_end(), extra=of_stage | {"seconds": round(line.seconds, 3)})


@contextlib.contextmanager
def side_by_side(spark: SparkSession, threads: int = 2) -> Iterator[Callable[..., Future[Any]]]:
    """Start calls in other threads, ``start(do, *arguments)``; all have ended when the block has.

    What is small leaves cores idle: most of its time is Spark's, and not work. Its jobs carry the tags of this thread,
    which are a thread's own.
    """
    tags: set[str] = set()
    with contextlib.suppress(Exception):
        tags = set(spark.getTags())

    def tagged(do: Callable[..., Any], *arguments: Any) -> Any:
        for tag in tags:
            with contextlib.suppress(Exception):
                spark.addTag(tag)
        try:
            return do(*arguments)
        finally:
            for tag in tags:
                with contextlib.suppress(Exception):
                    spark.removeTag(tag)

    with ThreadPoolExecutor(threads) as others:
        yield lambda do, *arguments: others.submit(tagged, do, *arguments)


class _Line:
    """What is said of a stage."""

    def __init__(self, name: str, number: int, of: int, samples: int | None, started: float, tasks: _Tasks):
        self.name = name
        self._head = f"[{number}/{of}] {name}"
        self._samples = samples
        self._started = started
        self._tasks = tasks

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def now(self) -> str:
        done, total = self._tasks.count()
        return self._text(f"{done:,}/{total:,} tasks" if total else "", done / total if total else 0.0)

    def at_the_end(self) -> str:
        _, total = self._tasks.count()  # Connect does not always tell of the last ones that they are done
        return self._text(f"{total:,} tasks" if total else "", 1.0) + "  done"

    def _text(self, tasks: str, share: float) -> str:
        seconds = self.seconds
        speed = f"{self._samples * share / seconds:,.0f} samples/s" if self._samples and share and seconds > 1 else ""
        # Tasks of one stage are alike; before a tenth of them is done, too little is known.
        left = f"about {_clock(seconds * (1 - share) / share)} left" if 0.1 <= share < 1 and seconds > 1 else ""
        return "  ".join(filter(None, (self._head, tasks, speed, _clock(seconds), left)))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class _Tasks:
    """Tasks that Spark has started and finished since this was entered."""

    def __init__(self, spark: SparkSession):
        self._spark = spark
        self._stages: dict[int, tuple[int, int]] = {}  # Spark's stage id → (tasks done, tasks in all)
        self._tracker: Any = None  # classic only
        self._handler: Any = self._on_progress  # Connect only

    def __enter__(self) -> _Tasks:
        with contextlib.suppress(Exception):
            self._tracker = self._spark.sparkContext.statusTracker()
        with contextlib.suppress(Exception):
            self._spark.registerProgressHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._spark.removeProgressHandler(self._handler)

    def count(self) -> tuple[int, int]:
        """(done, in all) of the Spark stages seen so far; all 0 where Spark does not say."""
        with contextlib.suppress(Exception):
            for stage in {*self._stages, *self._tracker.getActiveStageIds()} if self._tracker else ():
                if info := self._tracker.getStageInfo(stage):
                    self._stages[stage] = (info.numCompletedTasks, info.numTasks)
        stages = list(self._stages.values())
        return sum(done for done, _ in stages), sum(total for _, total in stages)

    def _on_progress(self, stages: Iterable[Any] | None, **_: Any) -> None:
        """Called by Connect in the midst of a query, which an exception in here would end."""
        with contextlib.suppress(Exception):
            for stage in stages or ():
                self._stages[stage.stage_id] = (stage.num_completed_tasks, stage.num_tasks)


@contextlib.contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call ``do`` in a thread of its own, every so often, until the block ends."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(seconds):
            do()

    thread = threading.Thread(target=loop, name="zipspark-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
