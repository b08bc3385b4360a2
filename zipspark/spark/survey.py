"""What the scores say of a pool before anything is chosen: can it be used, and how large are its buckets."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.config import PoolOptions
from zipspark.core.presets import content_hash
from zipspark.errors import InputError

_SHOWN = 5  # examples in a message


@dataclass(frozen=True)
class Survey:
    """Row counts of a pool, and the sizes of its buckets."""

    rows: int  # of the input
    bad: int  # with a problem
    contents: int  # different texts
    buckets: pa.Table  # bucket, rows, bytes of what can be chosen: with dedup each content once

    @property
    def samples(self) -> int:
        """Rows that can be chosen."""
        return sum(self.buckets["rows"].to_pylist())

    @property
    def bytes(self) -> int:
        """Bytes of rendered text that can be chosen."""
        return sum(self.buckets["bytes"].to_pylist())


def survey(scores: DataFrame, options: PoolOptions) -> Survey:
    """Count a pool. Raises `InputError` when it is empty, too much of it is bad, or an id is missing or repeats."""
    is_bad = F.col("problem").isNotNull().alias("bad")
    copies = F.count("*").alias("copies")
    kept = F.lit(1) if options.dedup else F.col("copies")
    contents = scores.groupBy(is_bad, "content", "bucket", "bytes").agg(copies)
    sizes = contents.groupBy("bad", "bucket").agg(
        F.sum("copies").alias("copies"),
        F.sum(kept).alias("rows"),
        F.sum(kept * F.col("bytes")).alias("bytes"),
        F.count("*").alias("contents"),
    )
    found = sizes.toArrow().sort_by("bucket")
    rows = sum(found["copies"].to_pylist())
    bad = sum(found.filter(found["bad"])["copies"].to_pylist())
    if rows == 0:
        raise InputError("input holds no rows")
    if bad > options.max_bad_fraction * rows or bad == rows:
        raise InputError(_too_many_bad(scores, rows, bad, options.max_bad_fraction))
    if options.id_column:
        _check_ids(scores, options.id_column)
    good = found.filter(pc.invert(found["bad"]))
    return Survey(rows, bad, sum(good["contents"].to_pylist()), good.select(["bucket", "rows", "bytes"]))


def sampled_texts(scores: DataFrame, contents: int, count: int) -> list[bytes]:
    """The texts with the ``count`` lowest content hashes: the same in whatever order rows come."""
    share = 4 * count / max(contents, 1)  # four times as many as are needed, on average: never too few
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
