"""Arrow batches in and out of executors.

mapInArrow matches output columns by position, silently; so every batch that leaves an executor is built by `batch` from
a fixed schema. And every task says which libraries it measured with: sizes made by two versions cannot be compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import zstandard

from zipspark.errors import EngineError


def batch(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """``columns`` (arrays or lists of equal length, any order) as a batch of exactly ``schema``."""
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        for field in schema
        for column in [columns[field.name]]
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def spark_schema(schema: pa.Schema) -> Any:
    """The same schema as Spark's `StructType`."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def library_versions() -> dict[str, str]:
    """The versions that sizes depend on, on this machine."""
    try:
        own = version("zipspark")
    except PackageNotFoundError:  # shipped with --py-files, without metadata
        own = "unknown"
    return {
        "zipspark": own,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def require_versions(expected: Mapping[str, str]) -> None:
    """Raise `EngineError` where this executor measures with other libraries than the driver."""
    found = library_versions()
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise EngineError(
                f"{name} must be the same on driver and executors: driver {wanted}, executor {found[name]}; "
                "compressed sizes would differ. Install the same versions everywhere"
            )
