"""Per-sample scores: one pass over the canonical rows, written once as a stage that everything later reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.config import Choice, PoolOptions, choice_of
from zipspark.core.codecs import lengths
from zipspark.core.minhash import min_hashes
from zipspark.core.presets import make_codec
from zipspark.core.seen import joined
from zipspark.core.tokens import TokenCounter
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema

BUCKETS = 4096  # min-hash buckets: what is moved between parts; fine enough to pack, few enough to sum on the driver

# One row per input row. Columns from `text` on are null for a row with a `problem` or a reason to be `left_out`.
SCORES = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("user_id", pa.string()),
        pa.field("group", pa.string()),
        pa.field("quality", pa.float64()),
        pa.field("problem", pa.string()),
        pa.field("record", pa.string()),
        pa.field("left_out", pa.string()),  # `where`, `quality:null` or `quality:0.31`: not offered at all
        pa.field("text", pa.binary()),
        pa.field("content", pa.string()),  # 128-bit hash of the text, hexadecimal
        pa.field("bytes", pa.int64()),
        pa.field("tokens", pa.int64()),  # null where nobody asks
        pa.field("ratio", pa.float64()),  # bytes / compressed bytes, alone
        pa.field("bucket", pa.int32()),  # min-hash modulo BUCKETS
    ]
)


def scored(rows: DataFrame, config: Choice, pool: PoolOptions, counter: TokenCounter | None = None) -> DataFrame:
    """Canonical rows (`corpus.Corpus.rows`) as `SCORES`, lazily: write it once, then read that.

    ``counter`` counts tokens; without one they are those of the token column, if there is one.
    """
    hashed = hashed_rows(rows, pool).drop("excluded")
    return hashed.mapInArrow(_Score(choice_of(config), counter, library_versions()), spark_schema(SCORES))


def hashed_rows(rows: DataFrame, pool: PoolOptions) -> DataFrame:
    """Canonical rows with ``left_out``, why they are not offered, and ``content``, the hash of what is offered."""
    rows = rows.withColumn("left_out", _left_out(pool))
    rows = rows.withColumn("text", F.when(F.col("left_out").isNull(), F.col("text")))
    return rows.withColumn("content", F.md5("text"))


def with_text(scores: DataFrame) -> DataFrame:
    """The rows that have a text."""
    return scores.where("content is not null")


@dataclass(frozen=True)
class _Score:
    """Adds bytes, tokens, ratio and bucket to batches of canonical rows."""

    choice: Choice
    counter: TokenCounter | None
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        codec = make_codec(self.choice)
        for rows in batches:
            text = rows.column("text")
            fine = text.is_valid().to_numpy(zero_copy_only=False)
            samples = text.drop_null().to_pylist()
            sizes = lengths(samples)
            ratios = sizes / codec.sizes(samples)
            buckets = min_hashes(*joined(samples)) % BUCKETS
            scored = {name: rows.column(name) for name in rows.schema.names}
            scored |= {
                "bytes": _spread(sizes, fine, pa.int64()),
                "ratio": _spread(ratios, fine, pa.float64()),
                "bucket": _spread(buckets, fine, pa.int32()),
            }
            if self.counter is not None:
                scored["tokens"] = _spread(self.counter.count(samples), fine, pa.int64())
            yield batch(SCORES, scored)


def _left_out(pool: PoolOptions) -> Column:
    """Why a row that could be read is not offered; null: it is."""
    quality = F.col("quality")
    reason = F.when(F.col("excluded"), F.lit("where"))
    if pool.quality_column is not None:
        reason = reason.when(quality.isNull(), F.lit("quality:null"))
    if pool.quality_min is not None:
        reason = reason.when(quality < pool.quality_min, F.concat(F.lit("quality:"), quality.cast("string")))
    return F.when(F.col("problem").isNull(), reason)


def _spread(values: np.ndarray, fine: np.ndarray, kind: pa.DataType) -> pa.Array:
    """``values``, one per True of ``fine``, as a column with nulls elsewhere."""
    column = np.zeros(len(fine), dtype=kind.to_pandas_dtype())
    column[fine] = values
    return pa.array(column, type=kind, mask=~fine)
