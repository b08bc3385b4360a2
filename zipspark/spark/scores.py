"""Per-sample scores: one pass over the canonical rows, written once as a stage that everything later reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.config import Choice
from zipspark.core.codecs import lengths
from zipspark.core.minhash import min_hashes
from zipspark.core.presets import make_codec
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema

BUCKETS = 4096  # min-hash buckets: what is moved between parts; fine enough to pack, few enough to sum on the driver

# One row per input row. Columns from `text` to `bucket` are null for a row with a `problem`.
SCORES = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("user_id", pa.string()),
        pa.field("group", pa.string()),
        pa.field("text", pa.binary()),
        pa.field("problem", pa.string()),
        pa.field("record", pa.string()),
        pa.field("content", pa.string()),  # 128-bit hash of the text, hexadecimal
        pa.field("bytes", pa.int64()),
        pa.field("ratio", pa.float64()),  # bytes / compressed bytes, alone
        pa.field("bucket", pa.int32()),  # min-hash modulo BUCKETS
    ]
)


@dataclass(frozen=True)
class _Score:
    """Adds content, bytes, ratio and bucket to batches of canonical rows."""

    choice: Choice
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        codec = make_codec(self.choice)
        for rows in batches:
            text = rows.column("text")
            fine = text.is_valid().to_numpy(zero_copy_only=False)
            samples = text.drop_null().to_pylist()
            sizes = lengths(samples)
            offsets = np.concatenate([[0], np.cumsum(sizes)])
            ratios = sizes / codec.sizes(samples)
            buckets = min_hashes(b"".join(samples), offsets) % BUCKETS
            scored = {name: rows.column(name) for name in rows.schema.names}
            scored |= {
                "bytes": _spread(sizes, fine, pa.int64()),
                "ratio": _spread(ratios, fine, pa.float64()),
                "bucket": _spread(buckets, fine, pa.int32()),
            }
            yield batch(SCORES, scored)


def scored(rows: DataFrame, config: Choice) -> DataFrame:
    """Canonical rows (`corpus.Corpus.rows`) with `SCORES`' further columns, lazily: write it once, then read that."""
    hashed = rows.withColumn("content", F.md5("text"))
    return hashed.mapInArrow(_Score(Choice(**config.choice()), library_versions()), spark_schema(SCORES))


def _spread(values: np.ndarray, fine: np.ndarray, kind: pa.DataType) -> pa.Array:
    """``values``, one per True of ``fine``, as a column with nulls elsewhere."""
    column = np.zeros(len(fine), dtype=kind.to_pandas_dtype())
    column[fine] = values
    return pa.array(column, type=kind, mask=~fine)
