"""What zipspark says while it works, on stderr: lines for people, or with ``ZIPSPARK_LOG=json`` one object a line.

::

    {"time": "2026-03-01T06:00:07.312+00:00", "level": "INFO", "run_id": "5f0c...", "message": "[1/7] score  0:00",
     "stage": "score"}                                       # and "seconds" at its end
    {..., "message": "ended", "exit_code": 3, "error": "output out exists: ..."}     # the last one; "error" if any

A run has an id, which its log, its manifest and the tags of its Spark jobs share. Credentials are taken out of
whatever is said (`zipspark.storage.places.redact_all`).
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from contextvars import ContextVar
from datetime import UTC, datetime

from zipspark.errors import EXIT_INTERRUPTED
from zipspark.storage.places import redact_all

logger = logging.getLogger("zipspark")

VARIABLE = "ZIPSPARK_LOG"
_MORE = ("stage", "seconds", "exit_code", "error")  # what a record may say besides its message, by ``extra``
_OWN = "zipspark: "  # the command line's own word on how it ended

_run: ContextVar[str | None] = ContextVar("zipspark_run", default=None)


@contextmanager
def one_run() -> Iterator[str]:
    """A run, by its id; within another run it is part of that one."""
    if (around := _run.get()) is not None:
        yield around
        return
    started = _run.set(uuid.uuid4().hex)
    try:
        yield run_id()
    finally:
        _run.reset(started)


def run_id() -> str:
    """The id of the run that this is part of; a new one where it is part of none."""
    return _run.get() or uuid.uuid4().hex


@contextmanager
def log_on_stderr() -> Iterator[Callable[[int], int]]:
    """Progress and warnings of zipspark, and of nobody else: what Spark raises is explained already.

    As JSON whatever else this process writes to stderr becomes an object too, and the last one says how the command
    ended: the function that is given takes its exit code (and returns it), an exception brings its own.
    """
    wanted = os.environ.get(VARIABLE, "")
    as_json = wanted == "json"
    root = logging.getLogger()
    if not root.handlers:  # py4j logs tracebacks to the root, which would print them
        root.addHandler(logging.NullHandler())
    with one_run() as run:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Objects(run) if as_json else _Lines("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            if not as_json:
                if wanted:
                    logger.warning("%s must be json or nothing, got %r: lines are written", VARIABLE, wanted)
                yield lambda code: code
                return
            with redirect_stderr(_Rest()) as rest, _last_object(rest) as ended:
                yield ended
        finally:
            logger.removeHandler(handler)


@contextmanager
def _last_object(rest: _Rest) -> Iterator[Callable[[int], int]]:
    """Says how a command ended: with the code that is handed back, or with an exception."""

    def say(code: int, error: str | None) -> int:
        logger.log(logging.ERROR if error else logging.INFO, "ended", extra={"exit_code": code, "error": error})
        return code

    try:
        yield lambda code: say(code, rest.last)
    except KeyboardInterrupt:
        say(EXIT_INTERRUPTED, "interrupted")
        raise
    except Exception as error:
        say(getattr(error, "exit_code", 1), str(error) or type(error).__name__)
        raise


class _Rest(io.TextIOBase):
    """stderr, for those who do not log: what they write becomes records, a whole message each."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        self.last: str | None = None  # what the command line itself said last, for the object at the end
        self._begun = ""

    def write(self, text: str) -> int:
        self._begun += text
        if self._begun.endswith("\n"):
            message, self._begun = self._begun.strip(), ""
            if message.startswith(_OWN):
                self.last = message.removeprefix(_OWN)
            elif message:
                logger.warning("%s", message)
        return len(text)

    def writable(self) -> bool:
        return True


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact_all(super().format(record))


class _Objects(logging.Formatter):
    def __init__(self, run: str):
        super().__init__()
        self._run = run  # known here, as progress is logged by threads of its own

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "run_id": self._run,
            "message": record.getMessage(),
        }
        said |= {name: value for name in _MORE if (value := getattr(record, name, None)) is not None}
        return json.dumps(
            {name: redact_all(value) if isinstance(value, str) else value for name, value in said.items()}
        )
