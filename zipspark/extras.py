"""What comes with an extra of zipspark: imported where it is needed, and missed with what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from zipspark.errors import EngineError, UsageError


@contextmanager
def needs(what: str, extra: str) -> Iterator[None]:
    """For an import: where the library is missing, a `UsageError` says what needs it, and how to get it.

    >>> with needs("a fit needs scipy", "entropy"):
    ...     import no_such_module
    Traceback (most recent call last):
    zipspark.errors.UsageError: a fit needs scipy. Run: pip install 'zipspark[entropy]'
    """
    try:
        yield
    except ModuleNotFoundError:
        raise UsageError(f"{what}. Run: pip install 'zipspark[{extra}]'") from None


def on_spark(name: str) -> Any:
    """A module of zipspark's that needs pyspark, which takes a second to import. Raises `EngineError` without it."""
    try:
        return import_module(f"zipspark.{name}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "pyspark":
            raise EngineError("pyspark is not installed. Run: pip install 'zipspark[spark]'") from None
        raise
