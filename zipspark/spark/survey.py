"""What the scores say of a pool before anything is chosen: can it be used, and how large are its buckets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.config import Choice, PoolOptions
from zipspark.core.grams import FEATURES
from zipspark.core.lens import Lens
from zipspark.core.seen import lowest_share, reach_of_buckets, salts_of, union_of
from zipspark.core.selection import Reach
from zipspark.core.sketch import HEAD_BYTES
from zipspark.core.views import features_of
from zipspark.errors import InputError
from zipspark.limits import NO_GROUP
from zipspark.spark.batches import batch, spark_schema
from zipspark.spark.identity import COPY_ORDER
from zipspark.spark.samples import choosable, worth
from zipspark.spark.scores import with_text
from zipspark.spark.sketches import head

_SHOWN = 5  # examples in a message
_UNION = pa.schema([("buckets", pa.binary())])


@dataclass(frozen=True)
class Offered:
    """What an input holds."""

    rows: int  # of the input
    contents: int  # different texts, within a few per cent
    head_bytes: int  # of rendered text as far as a sketch counts it, copies included


@dataclass(frozen=True)
class Survey:
    """Row counts of a pool, and the sizes of what can be chosen of it, by bucket and group."""

    rows: int  # of the input
    sizes: pa.Table  # bucket, group, rows, bytes, tokens of what can be chosen: with dedup each content once

    def total(self, unit: str) -> int:
        """Rows, bytes or tokens that can be chosen."""
        return int(sum(self.sizes[unit].to_pylist()))

    @property
    def samples(self) -> int:
        """Rows that can be chosen."""
        return self.total("rows")

    @property
    def bytes(self) -> int:
        """Bytes of rendered text that can be chosen."""
        return self.total("bytes")

    def by_group(self, unit: str) -> dict[str, int]:
        """Rows, bytes or tokens of each group that can be chosen."""
        summed = self.sizes.group_by("group").aggregate([(unit, "sum")])
        return dict(zip(summed["group"].to_pylist(), summed[f"{unit}_sum"].to_pylist(), strict=True))


def check(scores: DataFrame, options: PoolOptions, known: int = 0) -> Offered:
    """What the input holds. Raises `InputError` when it is empty, too much is bad, or ids or scores cannot be used.

    ``known``: rows that were found good before. Beside them a few new ones may all be bad, or left out.
    """
    offered = F.col("problem").isNull() & F.col("left_out").isNull()
    infinite = offered & (worth(options) == float("inf"))
    counted = scores.agg(
        F.count("*").alias("rows"),
        F.count("problem").alias("bad"),
        F.count(F.when(offered, 1)).alias("offered"),
        F.count(F.when(offered & F.col("user_id").isNull(), 1)).alias("nameless"),
        F.count(F.when(offered & (F.col("quality") < 0), 1)).alias("negative"),
        F.count(F.when(infinite, 1)).alias("infinite"),
        F.max(F.when(infinite, F.col("quality"))).alias("highest"),
        F.approx_count_distinct("content").alias("contents"),
        F.coalesce(F.sum(F.least("bytes", F.lit(HEAD_BYTES))), F.lit(0)).alias("bytes"),
    )
    found = counted.toArrow().to_pylist()[0]
    rows, bad = found["rows"], found["bad"]
    if rows == 0:
        raise InputError("input holds no rows")
    if bad > options.max_bad_fraction * (rows + known) or bad == rows + known:
        raise InputError(_too_many_bad(scores, rows + known, bad, options.max_bad_fraction))
    if not (found["offered"] or known):
        asked = [name for name in ("where", "quality_column", "quality_min") if getattr(options, name) is not None]
        raise InputError(f"{' and '.join(asked)} must leave rows to choose from, got none of {rows:,}")
    if options.id_column:
        _check_ids(scores, options.id_column, found["nameless"])
    if options.quality_weight and found["negative"]:
        raise InputError(
            f"quality_column {options.quality_column!r} must be 0 or more with quality_weight, got "
            f"{found['negative']:,} rows below 0; shift the scores or use --quality-min alone"
        )
    if found["infinite"]:
        raise InputError(
            f"quality_column {options.quality_column!r} to the power of quality_weight ({options.quality_weight:g}) "
            f"must be a finite number, got {found['infinite']:,} rows beyond, up to {found['highest']:g}; "
            "scale the scores down or lower --quality-weight"
        )
    return Offered(rows, found["contents"], found["bytes"])


def survey(samples: DataFrame, rows: int, options: PoolOptions, by_group: bool) -> Survey:
    """Sizes of what can be chosen of ``samples`` (`samples.SAMPLES`); without ``by_group`` all are of one group."""
    group = F.coalesce("group", F.lit(NO_GROUP)) if by_group else F.lit("")
    offered = choosable(samples).withColumn("group", group)
    of_row = ("group", "bytes", "tokens")
    if options.dedup and (by_group or options.token_column):  # where copies differ, the row that is kept counts
        of_kept = F.min_by(F.struct(*of_row), F.struct(*COPY_ORDER)).alias("kept")
        offered = offered.groupBy("content", "bucket").agg(of_kept).select("bucket", "kept.*")
    elif options.dedup:
        offered = offered.select("content", "bucket", *of_row).distinct()
    sizes = offered.groupBy("bucket", "group").agg(
        F.count("*").alias("rows"), F.sum("bytes").alias("bytes"), F.sum("tokens").alias("tokens")
    )
    found = sizes.toArrow().sort_by([("bucket", "ascending"), ("group", "ascending")])
    return Survey(rows, found)


def nothing_left(samples: DataFrame, rows: int) -> str:
    """Says what became of all ``rows``, where none can be chosen."""
    barred = samples.groupBy("barred").count().toArrow().to_pylist()
    shown = ", ".join(f"{row['count']:,} {row['barred']}" for row in sorted(barred, key=lambda row: row["barred"]))
    return f"nothing is left to choose from: of {rows:,} rows {shown}"


def salts(scores: DataFrame) -> list[int]:
    """The salts of all groups (`zipspark.core.sketch.salt_of`)."""
    return sorted({*salts_of(scores.select("group").distinct().toArrow()["group"].to_pylist()).tolist()})


def reach(samples: DataFrame, choice: Choice, lens: Lens, targeted: bool) -> Reach:
    """The weight that everything choosable covers together; each task sends which buckets it has seen, a bit each."""
    views = choosable(samples).select("view")
    seen = views.mapInArrow(_Union(choice), spark_schema(_UNION)).toArrow()["buckets"].to_pylist()
    bits = np.zeros(FEATURES // 8, dtype=np.uint8)
    for packed in seen:
        bits |= np.frombuffer(packed, dtype=np.uint8)
    return reach_of_buckets(np.unpackbits(bits).view(bool), lens, targeted)


@dataclass(frozen=True)
class _Union:
    choice: Choice

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        union = np.zeros(FEATURES, dtype=bool)
        for rows in batches:
            union |= union_of(features_of(rows.column("view").to_pylist(), self.choice))
        yield batch(_UNION, {"buckets": [np.packbits(union).tobytes()]})


def sampled_texts(scores: DataFrame, contents: int, count: int) -> dict[str, bytes]:
    """Content hash -> head, of the ``count`` texts with the lowest hashes: the same in whatever order rows come."""
    good = with_text(scores)
    below = lowest_share(4 * count / max(contents, 1))  # four times as many as are needed, on average: never too few
    good = good if below is None else good.where(F.col("content") < below)
    good = good.select("content", head("text"))
    lowest = good.groupBy("content").agg(F.first("text").alias("text")).orderBy("content").limit(count).toArrow()
    return dict(sorted(zip(lowest["content"].to_pylist(), lowest["text"].to_pylist(), strict=True)))


def _too_many_bad(scores: DataFrame, rows: int, bad: int, allowed: float) -> str:
    first = scores.where("problem is not null").orderBy("file", "position").limit(_SHOWN)
    shown = [
        f"  {row['file'] or 'table'} row {row['position']}  {row['problem']}"
        for row in first.select("file", "position", "problem").toArrow().to_pylist()
    ]
    enough = next(share / 1000 for share in range(math.floor(1000 * bad / rows), 1002) if bad <= share / 1000 * rows)
    more = f", or allow more with --max-bad-fraction {enough:g}" if bad < rows else ""
    return "\n".join(
        [
            f"{bad:,} of {rows:,} rows cannot be read or rendered ({bad / rows:.1%}), more than max_bad_fraction "
            f"({allowed:.1%}). The first, rows counted from 0:",
            *shown,
            f"Check the input and --schema{more}",
        ]
    )


def _check_ids(scores: DataFrame, column: str, missing: int) -> None:
    if missing:
        raise InputError(
            f"id_column {column!r} must have no nulls, got {missing:,}; fill them or leave --id-column out"
        )
    repeated = scores.where("user_id is not null").groupBy("user_id").count().where("count > 1").orderBy("user_id")
    shown = repeated.limit(_SHOWN).toArrow().to_pydict()
    if shown["user_id"]:
        examples = ", ".join(f"{own} ({count}x)" for own, count in zip(shown["user_id"], shown["count"], strict=True))
        raise InputError(f"id_column {column!r} must not repeat, got {examples}; without --id-column contents make ids")
