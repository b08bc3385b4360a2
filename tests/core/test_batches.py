"""What leaves an executor: columns in the schema's order, measured with the driver's libraries."""

from __future__ import annotations

import pyarrow as pa
import pytest

from zipspark.errors import EngineError
from zipspark.spark.batches import batch, library_versions, require_versions


def test_columns_are_put_in_the_schemas_order_and_types():
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    made = batch(schema, {"b": ["x"], "a": [1], "more": [2]})
    assert made.schema == schema
    assert made.to_pylist() == [{"a": 1, "b": "x"}]


def test_the_same_versions_are_fine_and_another_is_named_with_both():
    require_versions(library_versions())
    with pytest.raises(EngineError, match=r"zstd must be the same .* driver 1\.4\.0, executor \d"):
        require_versions(library_versions() | {"zstd": "1.4.0"})
