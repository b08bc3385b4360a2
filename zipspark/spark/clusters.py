"""Near-copies of a pool: samples that share two min-hashes, and how much less they take together than each alone.

Two samples share one with a probability equal to the share J of their 8-grams that they have in common (`core.minhash`)
and the second, that of their texts read backwards, with the same. J * J tells near-copies from what shares a phrase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.core.minhash import min_hashes
from zipspark.core.seen import joined, lowest_share
from zipspark.core.zstd_codec import ZstdCodec
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
_TAKE = ("alone", "largest", "together")  # compressed bytes: of each alone in all, of the largest, of all together
_HASHES = pa.schema([("file", pa.string()), ("position", pa.int64()), ("hash", pa.int64())])
_CLOSEST = (("file", pa.string()), ("position", pa.int64()))  # to the first: where it lies
_SIZES = pa.schema([("hash", pa.int64()), ("bytes", pa.int64()), *((name, pa.float64()) for name in _TAKE), *_CLOSEST])


def clusters(found: Material, write: Callable[[DataFrame], DataFrame]) -> tuple[int, tuple[Cluster, ...]]:
    """How many clusters there are, and those that save most.

    They are of samples that could be chosen; of copies of one text it is the one that counts.
    ``write`` writes a stage: the hash of each sample.
    """
    texts = found.texts.where("text is not null").select("file", "position", "text")
    hashes = write(texts.mapInArrow(_hashed, spark_schema(_HASHES)))
    some = offered(found.ledger).where("bytes > 0")
    rows = with_same_place(some, hashes).withColumn("alone", F.col("bytes") / F.col("ratio"))
    groups = rows.groupBy("hash").count().where("count > 1").count()
    largest = _largest(rows)
    sizes = _sizes(rows, found, largest)
    saved = {
        key: (of["alone"] - of["together"]) * largest[key]["bytes"] / of["bytes"]
        for key, of in sizes.items()
        if of["together"] - of["largest"] < _ADDS * (of["alone"] - of["largest"])
    }
    kept = sorted(saved, key=lambda key: (-saved[key], key))[:CLUSTERS]
    examples = _examples([one for key in kept for one in (largest[key]["first"], sizes[key])], found)
    return groups, tuple(
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


def _order() -> list[Column]:
    """Of the samples of a cluster: who was selected first is the first, else who has the lowest content hash."""
    return [F.col("rank").isNull().alias("left"), *map(F.col, ("rank", "content", "file", "position"))]


def _largest(rows: DataFrame) -> dict[int, Row]:
    """Hash -> what there is of it, of the clusters that may save most."""
    summed = rows.groupBy("hash").agg(
        F.count("*").alias("samples"),
        F.sum("bytes").alias("bytes"),
        F.count("rank").alias("selected"),
        F.min(F.struct(*_order())).alias("first"),
        (F.sum("alone") - F.max("alone")).alias("most"),
    )
    found = summed.where("samples > 1").orderBy(F.col("most").desc(), "hash").limit(_MEASURED).toArrow().to_pylist()
    return {row["hash"]: row for row in found}


def _sizes(rows: DataFrame, found: Material, largest: dict[int, Row]) -> dict[int, Row]:
    """Hash -> bytes that were measured of it, the first's among them, what they `_TAKE`, and which is closest to it."""
    shares = [(key, lowest_share(_MOST_BYTES / of["bytes"]), of["first"]["content"]) for key, of in largest.items()]
    wanted = rows.sparkSession.createDataFrame(shares, "hash long, below string, of_first string")
    is_of_few = F.col("below").isNull() | (F.col("content") < F.col("below")) | (F.col("content") == F.col("of_first"))
    few = rows.join(F.broadcast(wanted), "hash").where(is_of_few)
    few = few.select("file", "position", "content", "rank", "hash", "alone")
    texts = beside(few, found.texts, F.col("text"))
    spread = texts.repartition("hash").sortWithinPartitions("hash", *_order())
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
        texts, alone = rows["text"].to_pylist(), rows["alone"].to_pylist()
        for text in texts:
            stream.feed(text)
        take = dict(zip(_TAKE, ([sum(alone)], [max(alone)], [float(stream.finish())]), strict=True))
        closest = rows.slice(_closest(texts), 1)
        place = {name: closest[name].to_pylist() for name, _ in _CLOSEST}
        yield batch(_SIZES, {"hash": [key], "bytes": [stream.size], **take, **place})


def _closest(texts: Sequence[bytes]) -> int:
    """Which of ``texts`` adds least to the first, byte for byte; the first itself where it is alone.

    >>> _closest([b"the cat sat on the mat", b"a dog lay under a table", b"the cat lay on the mat"])
    2
    """
    first = ZstdCodec().context(texts)
    first.add(0)
    return min(range(1, len(texts)), key=lambda at: first.conditional_size(at)[0] / len(texts[at]), default=0)
