"""The pool's sketch, counted on executors: what is common in it, in fixed space however large it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.config import Choice
from zipspark.core.seen import counted_below, joined, salts_of
from zipspark.core.sketch import HEAD_BYTES, SAMPLE_BYTES, Sketch
from zipspark.spark.batches import batch, first_of_each, spark_schema
from zipspark.spark.identity import COPY_ORDER

_TASK_BYTES = 16 * 10**6  # text one task counts: its sketch is as large whatever it counts, so not too few
_COUNTED = pa.schema([("sketch", pa.binary())])


def head(text: str) -> Column:
    """As much of a column of texts as a sketch counts."""
    return F.substring(text, 1, HEAD_BYTES).alias(text)


def head_length(text: str) -> Column:
    """Bytes of it, 0 for null."""
    return F.coalesce(F.least(F.length(text), F.lit(HEAD_BYTES)), F.lit(0)).cast("bigint")


def sketch_of(texts: DataFrame, total: int, choice: Choice, in_groups: bool = False) -> Sketch:
    """Counts over the heads of ``texts`` (columns ``content``, ``text``), each content once.

    ``total`` are their bytes, copies included (`head_length`). Of too many those with the lowest content hashes are
    counted. ``in_groups``: features also within groups (a column ``group``; rows need `COPY_ORDER` too, as a content is
    in the group of the row that is kept).
    """
    below = counted_below(total)
    sample = texts if below is None else texts.where(F.col("content") < below)
    tasks = max(1, -(-min(total, SAMPLE_BYTES) // _TASK_BYTES))
    order = ["content", *(COPY_ORDER if in_groups else ())]
    columns = [*order, head("text"), *(["group"] if in_groups else [])]
    spread = sample.select(*columns).repartition(tasks, "content").sortWithinPartitions(*order)
    task = _Count(choice.gram, choice.supported_gram, in_groups)
    counted = spread.mapInArrow(task, spark_schema(_COUNTED)).toArrow()
    sketch = Sketch(choice.gram, choice.supported_gram)
    for stored in counted["sketch"].to_pylist():
        sketch.merge(Sketch.from_bytes(stored))
    return sketch


@dataclass(frozen=True)
class _Count:
    """One sketch of all samples of a task, which come sorted by content."""

    gram: int
    supported_gram: int
    in_groups: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sketch = Sketch(self.gram, self.supported_gram)
        for rows in first_of_each(batches):
            samples = rows.column("text").to_pylist()
            salts = salts_of(rows.column("group").to_pylist()) if self.in_groups else None
            sketch.count(*joined(samples), salts)
        yield batch(_COUNTED, {"sketch": [sketch.to_bytes()]})
