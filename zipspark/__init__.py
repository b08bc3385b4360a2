"""zipspark chooses the low-redundancy subset of a language-model training pool by compression ratio.

`select` works on Spark, `zipspark.core.select` in memory without it; `refresh_subset` keeps a table of chosen rows up
to date. `matrix`, `measure` and `leakage` look at a pool. `log_to_mlflow` keeps what a selection came to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zipspark import core
from zipspark.errors import EngineError, InputError, UsageError, ZipsparkError

if TYPE_CHECKING:
    from zipspark.analysis import Leakage, leakage, matrix, measure
    from zipspark.pipeline import select
    from zipspark.refresh import Refreshed, refresh_subset
    from zipspark.selected import Selection
    from zipspark.streaming import refresh_stream
    from zipspark.tracking import log_to_mlflow

__all__ = [
    "EngineError",
    "InputError",
    "Leakage",
    "Refreshed",
    "Selection",
    "UsageError",
    "ZipsparkError",
    "core",
    "leakage",
    "log_to_mlflow",
    "matrix",
    "measure",
    "refresh_stream",
    "refresh_subset",
    "select",
]
_ON_SPARK = {
    "Selection": "selected",
    "select": "pipeline",
    "Leakage": "analysis",
    "leakage": "analysis",
    "log_to_mlflow": "tracking",
    "matrix": "analysis",
    "measure": "analysis",
    "Refreshed": "refresh",
    "refresh_stream": "streaming",
    "refresh_subset": "refresh",
}


def __getattr__(name: str) -> Any:
    # pyspark is an extra, and slow to import: it is needed only by those who ask for what runs on it.
    if name in _ON_SPARK:
        from zipspark.extras import on_spark

        return getattr(on_spark(_ON_SPARK[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
