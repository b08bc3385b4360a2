"""What the scores say of a pool before anything is chosen: can it be used, and how large are its buckets."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.config import PoolOptions
from zipspark.core.presets import content_hash
from zipspark.errors import InputError

_SHOWN = 5  # examples in a message


def check_rows(scores: DataFrame, options: PoolOptions) -> int:
    """Rows of the input. Raises `InputError` when there are none, too many are bad, or an id is missing or repeats."""
    counts = scores.groupBy("problem").count().toArrow().to_pydict()
    rows = sum(counts["count"])
    bad = sum(count for problem, count in zip(counts["problem"], counts["count"], strict=True) if problem is not None)
    if rows == 0:
        raise InputError("input holds no rows")
    if bad > options.max_bad_fraction * rows or bad == rows:
        raise InputError(_too_many_bad(scores, rows, bad, options.max_bad_fraction))
    if options.id_column:
        _check_ids(scores, options.id_column)
    return rows


def bucket_sizes(scores: DataFrame, dedup: bool) -> pa.Table:
    """Per min-hash bucket ``bucket, rows, bytes`` of what can be chosen: with ``dedup`` each content once."""
    samples = scores.where("problem is null").select("content", "bucket", "bytes")
    if dedup:
        samples = samples.groupBy("content").agg(F.first("bucket").alias("bucket"), F.first("bytes").alias("bytes"))
    sizes = samples.groupBy("bucket").agg(F.count("*").alias("rows"), F.sum("bytes").alias("bytes"))
    return sizes.toArrow().sort_by("bucket")


def sampled_texts(scores: DataFrame, rows: int, count: int) -> list[bytes]:
    """The texts with the ``count`` lowest content hashes (all of a smaller pool): the same in whatever order rows come."""
    # Four times as many as are needed on average: a pool of copies has fewer contents than rows.
    share = 4 * count / max(rows, 1)
    good = scores.where("problem is null")
    if share < 1:
        good = good.where(F.col("content") < f"{int(share * 2**32):08x}")
    lowest = good.groupBy("content").agg(F.first("text").alias("text")).orderBy("content").limit(count)
    return sorted(lowest.toArrow()["text"].to_pylist(), key=content_hash)


def _too_many_bad(scores: DataFrame, rows: int, bad: int, allowed: float) -> str:
    first = scores.where("problem is not null").orderBy("file", "position").limit(_SHOWN)
    shown = [
        f"  {row['file'] or 'row'}:{row['position']}  {row['problem']}"
        for row in first.select("file", "position", "problem").toArrow().to_pylist()
    ]
    return "\n".join(
        [
            f"{bad:,} of {rows:,} rows cannot be read or rendered ({bad / rows:.1%}), more than max_bad_fraction "
            f"({allowed:.1%}). The first:",
            *shown,
            "Check the input and --schema, or allow more with --max-bad-fraction",
        ]
    )


def _check_ids(scores: DataFrame, column: str) -> None:
    missing = scores.where("problem is null and user_id is null").count()
    if missing:
        raise InputError(
            f"id_column {column!r} must have no nulls, got {missing:,}; fill them or leave --id-column out"
        )
    repeated = scores.where("user_id is not null").groupBy("user_id").count().where("count > 1").orderBy("user_id")
    shown = repeated.limit(_SHOWN).toArrow().to_pydict()
    if shown["user_id"]:
        examples = ", ".join(f"{own} ({count}x)" for own, count in zip(shown["user_id"], shown["count"], strict=True))
        raise InputError(f"id_column {column!r} must not repeat, got {examples}; without --id-column contents make ids")
