"""Leakage on Spark: the pool is gone through once for each slice of the items that fits a closure.

::

    pool ─ nearest (each task: the best few of its samples for each item) ─▶ candidates ─ by item ─ judge ─▶ findings

What is found, and how it is judged, is `zipspark.core.leakage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.core.leakage import SEEN_BYTES, background, judge
from zipspark.core.overlap import NEAREST, Index, UInts, build_index, clipped, nearest, normalised
from zipspark.core.zstd_codec import HEADER_SAMPLES, ZstdCodec
from zipspark.errors import InputError
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
from zipspark.spark.identity import with_ids
from zipspark.spark.matrix import gathered, group_sizes
from zipspark.spark.scores import with_text
from zipspark.storage.stages import Stages
from zipspark.units import format_bytes

MOST_BYTES = 16 * 2**20  # text of evaluation items that the driver indexes
SLICE_BYTES = 5 * 2**19  # text of the items in one closure; with its index at most three times that
_PER_TASK = 200  # items that one task judges
Candidate = tuple[float, str, str | None, bytes]  # -weight, content, user id, text
_CANDIDATES = pa.schema(
    [
        ("item", pa.int32()),
        ("weight", pa.float64()),
        ("content", pa.string()),
        ("user_id", pa.string()),
        ("text", pa.binary()),  # normalised, cut to what lies around the match
    ]
)
FINDINGS = pa.schema(
    [
        ("item", pa.int32()),
        ("score", pa.float64()),
        ("verdict", pa.string()),
        ("zip_id", pa.string()),  # the sample that holds the span; null: none does
        ("span_start", pa.int32()),  # characters of the item's text
        ("span_end", pa.int32()),
    ]
)


def items_of(against: DataFrame) -> pa.Table:
    """``item_id, content, text`` of the items of a scores stage, by id. Raises `InputError` for more than fits."""
    size = with_text(against).agg(F.sum("bytes").alias("bytes")).toArrow()["bytes"][0].as_py()
    if size > MOST_BYTES:
        raise InputError(
            f"against must hold at most {format_bytes(MOST_BYTES)} of text, got {format_bytes(size)}: "
            "take one evaluation set at a time"
        )
    rows = with_ids(with_text(against)).select(F.col("zip_id").alias("item_id"), "content", "text")
    return rows.toArrow().sort_by("item_id")


def findings(scores: DataFrame, items: pa.Table, stages: Stages) -> pa.Table:
    """Each item (`items_of`) with `FINDINGS`' columns but ``item``; what has no candidates scores 0."""
    texts = dict(zip(items["content"].to_pylist(), items["text"].to_pylist(), strict=True))
    number = {content: at for at, content in enumerate(texts)}
    tasks = list(_tasks(scores, [text.decode(errors="replace") for text in texts.values()]))
    pool = with_text(scores).select("content", "user_id", "text")
    found = [pool.mapInArrow(near, spark_schema(_CANDIDATES)) for near, _ in tasks]
    judged = []
    for at, (candidates, (_, judging)) in enumerate(zip(found, tasks, strict=True)):
        stage = stages.write(f"candidates_{at}", candidates)
        by_item = stage.repartition(max(1, len(judging.texts) // _PER_TASK), "item")
        by_item = by_item.sortWithinPartitions("item", F.desc("weight"), "content", "user_id")
        judged.append(by_item.mapInArrow(judging, spark_schema(FINDINGS)))
    by_number = {row["item"]: row for row in reduce(DataFrame.unionAll, judged).toArrow().to_pylist()}
    nothing = {"score": 0.0, "verdict": "none", "zip_id": None, "span_start": 0, "span_end": 0}
    rows = [by_number.get(number[content], nothing) for content in items["content"].to_pylist()]
    for name in FINDINGS.names[1:]:
        column = pa.array([row[name] for row in rows], FINDINGS.field(name).type)
        items = items.append_column(name, column)
    return items


def _tasks(scores: DataFrame, texts: Sequence[str]) -> Iterator[tuple[_Nearest, _Judge]]:
    """What finds and what judges the items, for each slice of them."""
    rows = with_text(scores).select(F.lit("").alias("group"), "content", "text")
    counted = {name: size for name, (_, size) in group_sizes(rows).items()}
    (sample,) = gathered(rows, counted, SEEN_BYTES).values()
    seen = background([normalised(text.decode(errors="replace")) for text in sample])
    items = [normalised(text) for text in texts]
    index = build_index(items, seen)
    codec = ZstdCodec().trained(seen[:HEADER_SAMPLES])
    versions = library_versions()
    ends = np.cumsum([len(item) for item in items])
    first = 0
    while first < len(items):
        before = ends[first] - len(items[first])
        last = max(first + 1, int(np.searchsorted(ends, before + SLICE_BYTES, side="right")))
        of_slice = (index.items >= first) & (index.items < last)
        part = Index(index.hashes[of_slice], index.items[of_slice], index.weights[of_slice], index.common)
        sizes = {number: len(items[number]) for number in range(first, last)}
        yield (
            _Nearest(part, sizes, versions),
            _Judge(dict(enumerate(texts[first:last], first)), codec, index.common, versions),
        )
        first = last


@dataclass(frozen=True)
class _Nearest:
    """The best few of a task's samples for each item."""

    index: Index
    sizes: Mapping[int, int]  # normalised bytes of each item
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        best: dict[int, list[Candidate]] = {}
        for rows in batches:
            samples = _distinct(rows)
            texts = [normalised(text.decode(errors="replace")) for _, text in samples.values()]
            contents = list(samples)
            pairs = nearest(self.index, texts, contents)
            for item, row, weight, place in zip(
                *(column.tolist() for column in (pairs.items, pairs.rows, pairs.weights, pairs.places)), strict=True
            ):
                near = clipped(texts[row], place, self.sizes[item])
                one = (-round(weight, 4), contents[row], samples[contents[row]][0], near)
                best[item] = _merged([*best.get(item, []), one])
        for item, found in best.items():
            columns = zip(*((item, -weight, *rest) for weight, *rest in found), strict=True)
            yield batch(_CANDIDATES, dict(zip(_CANDIDATES.names, columns, strict=True)))


@dataclass(frozen=True)
class _Judge:
    """Findings of items whose candidates come sorted: by item, the nearest first."""

    texts: Mapping[int, str]
    codec: ZstdCodec
    common: UInts
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        current, found = -1, list[Candidate]()
        for rows in batches:
            for item, weight, content, user_id, text in zip(*(c.to_pylist() for c in rows.columns), strict=True):
                if item != current:
                    yield from self._finding(current, found)
                    current, found = item, []
                found = _merged([*found, (-weight, content, user_id, text)])
        yield from self._finding(current, found)

    def _finding(self, item: int, found: Sequence[Candidate]) -> Iterator[pa.RecordBatch]:
        if not found:
            return
        finding = judge(self.texts[item], [text for _, _, _, text in found], self.codec, self.common)
        zip_id = None
        if finding.sample >= 0:
            _, content, user_id, _ = found[finding.sample]
            zip_id = user_id or f"{content}-0"  # of equal contents the first: `spark.identity`
        row = (item, finding.score, finding.verdict, zip_id, finding.start, finding.end)
        yield batch(FINDINGS, {name: [value] for name, value in zip(FINDINGS.names, row, strict=True)})


def _distinct(rows: pa.RecordBatch) -> dict[str, tuple[str | None, bytes]]:
    """content -> (lowest user id, text) of a batch."""
    found: dict[str, tuple[str | None, bytes]] = {}
    for content, user_id, text in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        if content not in found or (user_id is not None and user_id < (found[content][0] or user_id)):
            found[content] = user_id, text
    return found


def _merged(found: list[Candidate]) -> list[Candidate]:
    """The `NEAREST` of them, each content once, with the lowest user id."""
    contents: dict[str, Candidate] = {}
    for one in sorted(found, key=lambda one: (one[0], one[1], one[2] or "")):
        contents.setdefault(one[1], one)
    return list(contents.values())[:NEAREST]
