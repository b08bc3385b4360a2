"""Arrow batches in and out of executors.

mapInArrow matches output columns by position, silently; so every batch that leaves an executor is built by `batch` from
a fixed schema. And every task says which libraries it measured with: sizes made by two versions cannot be compared.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
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
    return {
        "zipspark": _own_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def _own_version() -> str:
    """Of the code that runs here: a zip of --py-files, which may have no metadata, goes before an installed copy."""
    shipped = getattr(sys.modules[__name__].__loader__, "archive", None)
    found = distributions(name="zipspark", path=[shipped] if shipped else sys.path)
    return next((one.version for one in found), "unknown")


def require_versions(expected: Mapping[str, str]) -> None:
    """Raise `EngineError` where this executor measures with other libraries than the driver."""
    found = library_versions()
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise EngineError(
                f"{name} must be the same on driver and executors: driver {wanted}, executor {found[name]}; "
                "compressed sizes would differ. Install the same versions everywhere"
            )


def first_of_each(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of rows sorted by content the first of each: dropped on the way, copies never fill the memory."""
    previous = None
    for rows in batches:
        contents = rows.column("content").to_pylist()
        yield rows.filter(
            pa.array([one != before for before, one in zip([previous, *contents], contents, strict=False)], pa.bool_())
        )
        previous = contents[-1] if contents else previous


def runs(batches: Iterator[pa.RecordBatch], key: str) -> Iterator[tuple[Any, pa.Table]]:
    """Batches sorted by ``key``, joined into one table per value of it."""
    held: list[pa.RecordBatch] = []
    current: Any = None
    for rows in batches:
        start = 0
        while start < len(rows):
            value = rows.column(key)[start].as_py()
            if held and value != current:
                if value < current:
                    raise EngineError(f"rows of a task must come sorted by {key}, got {value} after {current}")
                yield current, pa.Table.from_batches(held)
                held = []
            current = value
            same = pc.sum(pc.equal(rows.column(key), value)).as_py()
            held.append(rows.slice(start, same))
            start += same
    if held:
        yield current, pa.Table.from_batches(held)
