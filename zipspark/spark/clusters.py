"""Near-copies of a pool: samples that share two min-hashes, and how much less they take together than each alone.

Two samples share one with a probability equal to the share J of their 8-grams that they have in common (`core.minhash`)
and the second, that of their texts read backwards, with the same. J * J tells near-copies from what shares a phrase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.core.minhash import min_hashes
from zipspark.core.seen import joined, lowest_share
from zipspark.entropy.streams import Stream
from zipspark.report.facts import Cluster, Example
from zipspark.spark.batches import batch, runs, spark_schema
from zipspark.spark.identity import at_places, beside, with_same_place
from zipspark.spark.report_facts import Material, Row, example, offered, with_texts

CLUSTERS = 20  # that are shown
_MEASURED = 200  # that are compressed: those that may save most
_MOST_BYTES = 2**19  # of each, about: of a larger one a sample by content hash
_ADDS = 1 / 3  # most that the samples of one add behind the largest, as a share of what they take alone
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_ENDS = ("first", "last")  # of a cluster: who was selected first, else of the lowest content hash; and the opposite
_TAKE = ("alone", "largest", "together")  # compressed bytes: of each alone in all, of the largest, of all together
_HASHES = pa.schema([("file", pa.string()), ("position", pa.int64()), ("hash", pa.int64())])
_SIZES = pa.schema([("hash", pa.int64()), ("bytes", pa.int64()), *((name, pa.float64()) for name in _TAKE)])


def clusters(found: Material, write: Callable[[DataFrame], DataFrame]) -> tuple[Cluster, ...]:
    """The clusters that save most, of samples that could be chosen; of copies the one that counts.

    ``write`` writes a stage: the hash of each sample.
    """
    texts = found.texts.where("text is not null").select("file", "position", "text")
    hashes = write(texts.mapInArrow(_hashed, spark_schema(_HASHES)))
    some = offered(found.ledger).where("bytes > 0")
    rows = with_same_place(some, hashes).withColumn("alone", F.col("bytes") / F.col("ratio"))
    largest = _largest(rows)
    sizes = _sizes(rows, found, largest)
    saved = {
        key: (of["alone"] - of["together"]) * largest[key]["bytes"] / of["bytes"]
        for key, of in sizes.items()
        if of["together"] - of["largest"] < _ADDS * (of["alone"] - of["largest"])
    }
    kept = sorted(saved, key=lambda key: (-saved[key], key))[:CLUSTERS]
    examples = _examples([largest[key][end] for key in kept for end in _ENDS], found)
    return tuple(
        Cluster(
            samples=largest[key]["samples"],
            bytes=largest[key]["bytes"],
            selected=largest[key]["selected"],
            ratio=sizes[key]["bytes"] / sizes[key]["together"],
            pair=(examples[2 * at], examples[2 * at + 1]),
        )
        for at, key in enumerate(kept)
    )


def _examples(wanted: Sequence[Row], found: Material) -> list[Example]:
    """The samples at these places (``file, position``), in this order."""
    places = [(row["file"], row["position"]) for row in wanted]
    listed = found.ledger.sparkSession.createDataFrame(places, "file string, position long")
    rows = with_texts(at_places(found.ledger, listed), found)
    at_place = {(row["file"], row["position"]): example(row) for row in rows}
    return [at_place[place] for place in places]


def _largest(rows: DataFrame) -> dict[int, Row]:
    """Hash -> what there is of it, of the clusters that may save most."""
    order = F.struct(F.col("rank").isNull().alias("left"), "rank", "content", "file", "position")
    summed = rows.groupBy("hash").agg(
        F.count("*").alias("samples"),
        F.sum("bytes").alias("bytes"),
        F.count("rank").alias("selected"),
        F.min(order).alias("first"),
        F.max(order).alias("last"),
        (F.sum("alone") - F.max("alone")).alias("most"),
    )
    found = summed.where("samples > 1").orderBy(F.col("most").desc(), "hash").limit(_MEASURED).toArrow().to_pylist()
    return {row["hash"]: row for row in found}


def _sizes(rows: DataFrame, found: Material, largest: dict[int, Row]) -> dict[int, Row]:
    """Hash -> bytes that were measured of it, and what they `_TAKE`."""
    wanted = rows.sparkSession.createDataFrame(
        [(key, lowest_share(_MOST_BYTES / of["bytes"])) for key, of in largest.items()], "hash long, below string"
    )
    few = rows.join(F.broadcast(wanted), "hash").where(F.col("below").isNull() | (F.col("content") < F.col("below")))
    few = few.select("file", "position", "content", "hash", "alone")
    texts = beside(few, found.texts, F.col("text")).select("hash", "content", "alone", "text")
    spread = texts.repartition("hash").sortWithinPartitions("hash", "content")
    sizes = spread.mapInArrow(_compressed, spark_schema(_SIZES)).toArrow().to_pylist()
    return {row["hash"]: row for row in sizes}


def _hashed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for rows in batches:
        texts = rows.column("text").to_pylist()
        forwards, backwards = (min_hashes(*joined(read)) for read in (texts, [text[::-1] for text in texts]))
        hashes = (forwards * _ODD ^ backwards).view(np.int64)
        yield batch(_HASHES, {"file": rows.column("file"), "position": rows.column("position"), "hash": hashes})


def _compressed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for key, rows in runs(batches, "hash"):
        stream = Stream("zstd", window=2 * _MOST_BYTES)
        for text in rows["text"].to_pylist():
            stream.feed(text)
        alone = rows["alone"].to_pylist()
        take = dict(zip(_TAKE, ([sum(alone)], [max(alone)], [float(stream.finish())]), strict=True))
        yield batch(_SIZES, {"hash": [key], "bytes": [stream.size], **take})
