"""zipspark chooses the low-redundancy subset of a language-model training pool by compression ratio.

`select` works on Spark, `zipspark.core.select` in memory without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zipspark import core
from zipspark.errors import EngineError, InputError, UsageError, ZipsparkError

if TYPE_CHECKING:
    from zipspark.pipeline import Selection, select

__all__ = ["EngineError", "InputError", "Selection", "UsageError", "ZipsparkError", "core", "select"]


def __getattr__(name: str) -> Any:
    # pyspark is an extra, and slow to import: it is needed only by those who ask for what runs on it.
    if name in ("Selection", "select"):
        try:
            from zipspark import pipeline
        except ModuleNotFoundError as error:
            if error.name and error.name.partition(".")[0] == "pyspark":
                raise EngineError("pyspark is not installed. Run: pip install 'zipspark[spark]'") from None
            raise
        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
