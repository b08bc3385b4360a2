"""The entropy law on Spark: R of a whole table in one streamed task, and what it says of a held-out sample.

The measures are `zipspark.entropy.measure` and `.consistency`. Spark sorts what they go over, on disk where it has to,
so a set may be of any size; that one task compresses all of it is what R is: one stream, in one order.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Group
from rich.text import Text

from zipspark.config import LogConfig, MeasureConfig, PoolOptions
from zipspark.core.matrix import SAMPLE_BYTES
from zipspark.core.seen import lowest_share
from zipspark.entropy.consistency import CONTEXT_BYTES, CONTEXTS, HeldOut, held_out_bits
from zipspark.entropy.measure import Measured, measure
from zipspark.entropy.streams import CodecName, Row, Spread, Stream, checked
from zipspark.errors import InputError
from zipspark.spark import survey
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
from zipspark.spark.corpus import read_corpus
from zipspark.spark.progress import Progress
from zipspark.spark.scores import hashed_rows, with_text
from zipspark.storage.inputs import Source
from zipspark.storage.stages import Stages
from zipspark.units import format_bytes

logger = logging.getLogger("zipspark")

MOST_HELD_OUT = 16 * 2**20  # bytes of a held-out sample; it is held in memory, and sized once for each context
_FOUND = pa.schema([("seed", pa.int32()), ("found", pa.binary())])


@dataclass(frozen=True)
class Measurement:
    """A table as one set; what ``zipspark entropy measure`` prints."""

    measured: Measured
    orders: Mapping[CodecName, Spread]  # R over other orders; empty where they were not asked for
    held_out: HeldOut | None  # what it says of a held-out sample, where there is one
    bad: int  # rows that cannot be rendered
    left_out: int  # rows that ``where`` leaves out
    seconds: Mapping[str, float]  # per stage

    def to_dict(self) -> dict[str, Any]:
        orders = {codec: spread.to_dict() for codec, spread in self.orders.items()}
        rest = {"bad": self.bad, "left_out": self.left_out, "orders": orders, "seconds": dict(self.seconds)}
        return self.measured.to_dict() | rest

    def __rich__(self) -> Group:
        said = [f"in other orders, {spread}" for spread in self.orders.values()] + self.measured.notes()
        if self.bad:
            said.append(f"{self.bad:,} rows cannot be rendered; they are not measured.")
        if self.left_out:
            said.append(f"{self.left_out:,} rows are left out by where.")
        return Group(self.measured.to_table(), *map(Text, said))


def measured_whole(
    spark: SparkSession,
    source: Source | DataFrame,
    config: MeasureConfig | LogConfig,
    codecs: Sequence[CodecName],
    *,
    seeds: int = 0,
    held_out: tuple[Source | DataFrame, PoolOptions] | None = None,
) -> Measurement:
    """R of ``source``, in the order of content hashes and in those of ``seeds`` seeds; and ``held_out`` given it.

    Raises `InputError` as ``zipspark select`` does: no rows, none left, too many that cannot be rendered.
    """
    progress = Progress(spark, quiet=config.quiet)
    count = 2 + bool(seeds) + (held_out is not None)
    orders: dict[CodecName, Spread] = {}
    found = None
    with Stages(spark, config) as stages:
        with progress.stage("texts", 1, of=count):
            texts = texts_of(spark, source, config, stages, "texts")
        with progress.stage("measure", 2, of=count):
            whole = measured(texts, codecs)
            counted = texts.agg(F.count("problem").alias("bad"), F.count("left_out").alias("left_out"))
            rest = counted.toArrow().to_pylist()[0]
        if seeds:
            with progress.stage("orders", 3, of=count):
                orders = spread_over_orders(texts, seeds, codecs)
        if held_out is not None:
            with progress.stage("held-out", count, of=count):
                found = held_out_of(texts, texts_of(spark, *held_out, stages, "held_out"))
    return Measurement(whole, orders, found, rest["bad"], rest["left_out"], dict(progress.seconds))


def texts_of(
    spark: SparkSession, source: Source | DataFrame, options: PoolOptions, stages: Stages, name: str
) -> DataFrame:
    """What of ``source`` is measured, as the stage ``name``: rendered once, gone over several times."""
    corpus = read_corpus(spark, source, options, None)
    for said in corpus.warnings:
        logger.warning("%s", said)
    rows = hashed_rows(corpus.rows, options).withColumn("bytes", F.length("text").cast("bigint"))
    names = ("file", "position", "user_id", "group", "quality", "problem", "left_out", "text", "content", "bytes")
    texts = stages.write(name, rows.select(*names))
    survey.check(texts, options)
    return texts


def measured(texts: DataFrame, codecs: Sequence[CodecName]) -> Measured:
    """R of all of `texts_of`, and of its groups, in the order of content hashes."""
    [found] = _streamed(texts, [(None, _Measure(tuple(codecs), library_versions()))])
    assert isinstance(found, Measured)
    return found


def spread_over_orders(texts: DataFrame, seeds: int, codecs: Sequence[CodecName]) -> dict[CodecName, Spread]:
    """R in the orders of seeds 0 to ``seeds`` - 1, a task each; as `zipspark.entropy.streams.spread_over_orders`."""
    tasks = [(seed, _Order(seed, tuple(codecs), library_versions())) for seed in range(seeds)]
    found = _streamed(texts, tasks)
    return {codec: Spread(codec, tuple(one[codec] for one in found)) for codec in codecs}


def held_out_of(
    texts: DataFrame, held_out: DataFrame, context_bytes: int = CONTEXT_BYTES, contexts: int = CONTEXTS
) -> HeldOut:
    """Bits per byte of ``held_out`` given ``texts`` (both of `texts_of`); raises `InputError` for too large a sample.

    Only the samples that contexts are drawn from are fetched: those with the lowest content hashes. Copies count once,
    in `HeldOut.leaked` as well.
    """
    size = with_text(held_out).agg(F.coalesce(F.sum("bytes"), F.lit(0)).alias("bytes")).toArrow().to_pylist()[0]
    if size["bytes"] > MOST_HELD_OUT:
        raise InputError(
            f"held_out must have at most {format_bytes(MOST_HELD_OUT)} of text, got {format_bytes(size['bytes'])}: "
            "give a fixed sample of it, the same one for all versions"
        )
    counted = F.first(F.least("bytes", F.lit(SAMPLE_BYTES))).alias("bytes")
    contents = with_text(texts).groupBy("content").agg(counted)  # copies count once
    sizes = contents.agg(F.sum("bytes").alias("all"), F.max("bytes").alias("longest")).toArrow().to_pylist()[0]
    # Twice what is needed, on average, so that it is never too few: of each context the last sample is cut, and what
    # is of the held-out sample is not used.
    wanted = 2 * (contexts * (context_bytes + (sizes["longest"] or 0)) + size["bytes"])
    below = lowest_share(wanted / max(sizes["all"] or 0, 1))
    few = with_text(texts) if below is None else with_text(texts).where(F.col("content") < below)
    train = few.groupBy("content").agg(F.first(F.substring("text", 1, SAMPLE_BYTES)).alias("text"))
    rows = _fetched(train.withColumn("group", F.lit(None).cast("string")))
    return held_out_bits(rows, _fetched(held_out), context_bytes=context_bytes, contexts=contexts)


@dataclass(frozen=True)
class _Measure:
    codecs: tuple[CodecName, ...]
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        found = measure(_rows(batches), self.codecs)
        yield batch(_FOUND, {"seed": [None], "found": [pickle.dumps(found)]})


@dataclass(frozen=True)
class _Order:
    """R of the whole set under each codec, in the order of one seed."""

    seed: int
    codecs: tuple[CodecName, ...]
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        streams = {codec: Stream(codec) for codec in self.codecs}
        for sample in checked(_rows(batches), seed=self.seed):
            for stream in streams.values():
                stream.feed(sample.text)
        ratios = {codec: stream.size / stream.finish() for codec, stream in streams.items()}
        yield batch(_FOUND, {"seed": [self.seed], "found": [pickle.dumps(ratios)]})


def _streamed(texts: DataFrame, tasks: Sequence[tuple[int | None, _Measure | _Order]]) -> list[Any]:
    """What each task makes of all texts, in the order of its seed."""
    rows = with_text(texts).select("content", "group", "text")
    frames = [
        # Of copies by group, so that neither files nor partitions decide anything; null comes first.
        rows.repartition(1).sortWithinPartitions(_order(seed), "group").mapInArrow(task, spark_schema(_FOUND))
        for seed, task in tasks
    ]
    found = reduce(DataFrame.unionAll, frames).toArrow().to_pylist()
    return [pickle.loads(row["found"]) for row in sorted(found, key=lambda row: row["seed"] or 0)]


def _order(seed: int | None) -> Column:
    """`zipspark.entropy.streams.order_key`."""
    return F.col("content") if seed is None else F.md5(F.concat(F.lit(f"{seed}:"), F.col("content")))


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    for rows in batches:
        yield from zip(*(rows.column(name).to_pylist() for name in ("content", "group", "text")), strict=True)


def _fetched(texts: DataFrame) -> list[Row]:
    """In the order of content hashes."""
    found = with_text(texts).select("content", "group", "text").toArrow().sort_by("content")
    return list(zip(*(found[name].to_pylist() for name in ("content", "group", "text")), strict=True))
