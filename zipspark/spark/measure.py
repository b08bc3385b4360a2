"""The ratio of whole sets, on one executor: subset, a random subset of as many bytes, and the pool.

All three are measured alike: samples in the order of their content hash, one zstd stream with a window as wide as the
measure (`LIMIT_BYTES`). A set's ratio depends on its size, so sets are compared at equal bytes, and the pool's ratio is
that of a sample of it where it is larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.entropy.streams import WINDOW, Stream
from zipspark.spark.batches import batch, spark_schema
from zipspark.spark.identity import lowest_contents
from zipspark.spark.samples import choosable

LIMIT_BYTES = WINDOW  # most bytes of a set that are measured
RATIOS = pa.schema([("set", pa.string()), ("rows", pa.int64()), ("bytes", pa.int64()), ("compressed", pa.int64())])


@dataclass(frozen=True)
class _Measure:
    limits: Mapping[str, int]  # bytes of subset, random and pool
    dedup: bool  # copies count once in the pool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        streams = {name: Stream("zstd", limit=limit) for name, limit in self.limits.items()}
        previous = None
        for rows in batches:
            columns = [rows.column(name).to_pylist() for name in ("content", "text", "chosen")]
            for content, text, chosen in zip(*columns, strict=True):
                if chosen:
                    streams["subset"].feed(text)
                if content != previous or not self.dedup:
                    streams["random"].feed(text)
                    streams["pool"].feed(text)
                previous = content
        measured = [(name, stream.rows, stream.size, stream.finish()) for name, stream in streams.items()]
        yield batch(RATIOS, dict(zip(RATIOS.names, zip(*measured, strict=True), strict=True)))


def set_ratios(
    scores: DataFrame, samples: DataFrame, picks: DataFrame, subset_bytes: int, pool_bytes: int, dedup: bool
) -> dict[str, dict[str, float]]:
    """``{"subset" | "random" | "pool": {"rows", "bytes", "ratio"}}``, each measured on at most `LIMIT_BYTES`.

    Pool and random hold only what could be chosen: neither noise nor what an anchor holds is to be compared with.

    Args:
        scores: the scores stage, which has the texts; samples: which of its rows may be chosen.
        picks: with ``file`` and ``position`` of the chosen rows.
        subset_bytes, pool_bytes: of the whole sets; with ``dedup`` exact duplicates of the pool count once.
    """
    limits = {
        "subset": min(subset_bytes, LIMIT_BYTES),
        "random": min(subset_bytes, LIMIT_BYTES),
        "pool": min(pool_bytes, LIMIT_BYTES),
    }
    place = F.xxhash64("file", "position").alias("place")  # were two rows to share it, one too many would be measured
    chosen = picks.select(place, F.lit(True).alias("chosen"))
    rows = choosable(samples).select(place, "content").join(chosen, "place", "left")
    # A little more than the limit is sampled, as contents do not hash to exactly even shares.
    wanted = lowest_contents(1.05 * LIMIT_BYTES / max(pool_bytes, 1)) | (
        F.col("chosen") & lowest_contents(1.05 * LIMIT_BYTES / max(subset_bytes, 1))
    )
    few = rows.where(wanted).select("place", "chosen")  # no more than are measured: texts stay where they are
    texts = scores.select(place, "content", "text").join(F.broadcast(few), "place")
    stream = texts.select("content", "text", "chosen").repartition(1).sortWithinPartitions("content")
    measured = stream.mapInArrow(_Measure(limits, dedup), spark_schema(RATIOS)).toArrow().to_pylist()
    found = {
        row["set"]: {"rows": row["rows"], "bytes": row["bytes"], "ratio": row["bytes"] / max(row["compressed"], 1)}
        for row in measured
    }
    return {name: found[name] for name in ("pool", "subset", "random")}


def ratio_of(texts: DataFrame, size: int) -> float:
    """The ratio of one set of ``size`` bytes (columns ``content`` and ``text``), measured as `set_ratios` does."""
    return measured(texts, size)["ratio"]


def measured(texts: DataFrame, size: int) -> dict[str, float]:
    """``{"rows", "bytes", "ratio"}`` of the same, as far as it was measured."""
    few = texts.where(lowest_contents(1.05 * LIMIT_BYTES / max(size, 1))).select(
        "content", "text", F.lit(True).alias("chosen")
    )
    stream = few.repartition(1).sortWithinPartitions("content")
    measure = _Measure({"subset": min(size, LIMIT_BYTES), "random": 0, "pool": 0}, dedup=False)
    found = stream.mapInArrow(measure, spark_schema(RATIOS)).where("set = 'subset'").toArrow().to_pylist()
    rows, read, compressed = (sum(row[name] for row in found) for name in ("rows", "bytes", "compressed"))
    return {"rows": rows, "bytes": read, "ratio": read / max(1, compressed)}


def random_of(subset_bytes: int, measured: Mapping[str, float]) -> tuple[int, int]:
    """(samples, bytes) of a random set as large as the subset, from the part of it that was ``measured``."""
    if subset_bytes <= LIMIT_BYTES:
        return int(measured["rows"]), int(measured["bytes"])
    return round(measured["rows"] * subset_bytes / max(measured["bytes"], 1)), subset_bytes
