"""The redundancy matrix on Spark: samples of each group by content hash, one row of the matrix per task.

The matrix itself is `zipspark.core.matrix`. What it is measured on is bounded (`MOST_BYTES`), so it passes the driver,
which cuts contexts and tests; the contexts go out as rows, the tests in closures of at most `CLOSURE_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from zipspark.core.matrix import SAMPLE_BYTES, Matrix, Sides, assembled, sides, sizes_given
from zipspark.core.seen import lowest_share
from zipspark.core.zstd_codec import ZstdCodec
from zipspark.limits import NO_GROUP
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
from zipspark.spark.scores import with_text

MOST_BYTES = 64 * 2**20  # of samples, of all groups together: of more than a few groups less of each is measured
MOST_GROUPS = 200  # the largest are measured; the work grows with their square
CLOSURE_BYTES = 8 * 2**20
_CONTEXTS = pa.schema([("a", pa.int32()), ("context", pa.binary())])
_ENTRIES = pa.schema([("a", pa.int32()), ("b", pa.int32()), ("conditional", pa.float64())])


def grouped(scores: DataFrame) -> DataFrame:
    """``group, content, text`` of the rows that have a text; copies included, no group null."""
    group = F.coalesce("group", F.lit(NO_GROUP)).alias("group")
    return with_text(scores).select(group, "content", "text")


def group_sizes(rows: DataFrame) -> dict[str, tuple[int, int]]:
    """(bytes of the different texts, those of them that count) of each group: of each text to `SAMPLE_BYTES`."""
    contents = rows.groupBy("group", "content").agg(F.first(F.length("text")).alias("bytes"))
    counted = F.sum(F.least("bytes", F.lit(SAMPLE_BYTES))).alias("counted")
    found = contents.groupBy("group").agg(F.sum("bytes").alias("bytes"), counted).toArrow().to_pylist()
    return {row["group"]: (row["bytes"], row["counted"]) for row in found}


def gathered(rows: DataFrame, counted: Mapping[str, int], size: int) -> dict[str, list[bytes]]:
    """Of each group about ``size`` bytes of different texts: those of the lowest content hash, in its order.

    Args:
        rows: ``group, content, text``.
        counted: bytes of each group that is wanted, of each text to `SAMPLE_BYTES`: no more of it is taken.
    """
    # Twice what is needed, on average, so that it is never too few; the window then takes just enough.
    shares = {name: 2 * (size + SAMPLE_BYTES) / max(total, 1) for name, total in counted.items()}
    wanted = rows.sparkSession.createDataFrame(
        [(name, lowest_share(share) or "g") for name, share in shares.items()],  # g: above all hexadecimal digits
        "group string, below string",
    )
    low = rows.join(F.broadcast(wanted), "group").where(F.col("content") < F.col("below"))
    texts = low.groupBy("group", "content").agg(F.first(F.substring("text", 1, SAMPLE_BYTES)).alias("text"))
    before = Window.partitionBy("group").orderBy("content").rowsBetween(Window.unboundedPreceding, -1)
    texts = texts.withColumn("before", F.coalesce(F.sum(F.length("text")).over(before), F.lit(0)))
    found = texts.where(F.col("before") < size).drop("before").toArrow()
    samples: dict[str, list[bytes]] = {name: [] for name in counted}
    ordered = found.sort_by([("group", "ascending"), ("content", "ascending")])
    for name, text in zip(ordered["group"].to_pylist(), ordered["text"].to_pylist(), strict=True):
        samples[name].append(text)
    return samples


def matrix_of(scores: DataFrame, limit: int) -> Matrix:
    """The matrix of the groups of a scores stage, on at most ``limit`` bytes of context and of test of each.

    Raises `InputError` when fewer than two groups hold two different texts each.
    """
    rows = grouped(scores)
    sizes = group_sizes(rows)
    largest = sorted(sizes, key=lambda name: (-sizes[name][0], name))[:MOST_GROUPS]
    size = min(limit, MOST_BYTES // (2 * max(1, len(largest))))
    # One sample more than two sides: they come out even to within one.
    samples = gathered(rows, {name: sizes[name][1] for name in largest}, 2 * size + SAMPLE_BYTES)
    prepared = sides(samples, size)
    return assembled(prepared, _values(scores, prepared), {name: total for name, (total, _) in sizes.items()})


@dataclass(frozen=True)
class _Rows:
    """Sizes the tests of some groups given each context that comes along."""

    first: int  # group of the first test
    tests: Sequence[Sequence[bytes]]
    codec: ZstdCodec
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        for rows in batches:
            for a, context in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                values = sizes_given(self.codec, context, self.tests)
                of = range(self.first, self.first + len(values))
                yield batch(_ENTRIES, {"a": [a] * len(values), "b": list(of), "conditional": values})


def _values(scores: DataFrame, prepared: Sides) -> np.ndarray:
    """(g, g) entries, in the order of ``prepared``."""
    count = len(prepared.groups)
    table = pa.table([pa.array(range(count), pa.int32()), pa.array(prepared.contexts)], schema=_CONTEXTS)
    contexts = scores.sparkSession.createDataFrame(table).repartition(count, "a")
    tasks = [_Rows(cut.start, prepared.tests[cut], prepared.codec, library_versions()) for cut in _cuts(prepared.tests)]
    entries = reduce(DataFrame.unionAll, [contexts.mapInArrow(task, spark_schema(_ENTRIES)) for task in tasks])
    found = entries.toArrow()
    values = np.empty((count, count))
    values[found["a"].to_numpy(), found["b"].to_numpy()] = found["conditional"].to_numpy()
    return values


def _cuts(tests: Sequence[Sequence[bytes]], size: int = CLOSURE_BYTES) -> Iterator[slice]:
    """Runs of groups whose tests fit a closure, at least one group each."""
    first, held = 0, 0
    for number, test in enumerate(tests):
        needed = sum(map(len, test))
        if number > first and held + needed > size:
            yield slice(first, number)
            first, held = number, 0
        held += needed
    yield slice(first, len(tests))
