"""How much of what a pool says the first bytes of the ranking hold, and of a random order: the objective coverage.

Shares are of what the pool's sketch has counted (`zipspark.core.sketch.SAMPLE_BYTES` of text): what it has not seen
twice weighs nothing anyway. Each task tells of every feature in which stretch it came first, a byte for each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F

from zipspark.core.grams import FEATURES
from zipspark.core.seen import Eye, look_at, lowest_share
from zipspark.core.sketch import pack, unpack
from zipspark.report.facts import Coverage
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
from zipspark.spark.identity import beside
from zipspark.spark.measure import LIMIT_BYTES
from zipspark.spark.report_facts import Material, offered

STRETCHES = 24  # of a curve
_NEVER = 255
_ENOUGH = 4  # times as many bytes as a random set has are looked through for it: samples differ in length
_DRAWN = 24  # the last 8 digits of a content hash draw the random set: by the first ones it would be what was counted
_SETS = ("pool", "subset", "random")
_ROWS = ("text", "content", "of_group", "rank")
_FOUND = pa.schema([("name", pa.string()), ("first", pa.binary()), ("bytes", pa.list_(pa.int64()))])

Key = TypeVar("Key", int, str)
Firsts = npt.NDArray[np.uint8]  # (FEATURES,) the stretch that first holds each; `_NEVER`: none does


def coverage(found: Material, eye: Eye, subset_bytes: int, pool_bytes: int) -> tuple[Coverage, ...]:
    """The curves of ``subset`` and ``random``, to `LIMIT_BYTES` of each.

    Args:
        eye: of objective coverage, without a guard: who could be chosen is known.
        subset_bytes, pool_bytes: of the subset, and of all that could be chosen.
    """
    assert eye.lens is not None
    size = min(subset_bytes, LIMIT_BYTES)
    rows, drawn = offered(found.ledger), F.substring("content", _DRAWN + 1, 8).alias("drawn")
    ranks = _behind(range(len(found.picked)), found.picked["bytes"], size, len(found.picked))
    below = lowest_share(_ENOUGH * size / max(pool_bytes, 1))
    random = rows.where(F.lit(True) if below is None else drawn < below).select(drawn, "bytes").toArrow()
    random = random.sort_by("drawn")
    keys = _behind(random["drawn"].to_pylist(), random["bytes"], size, "g")
    if eye.below is not None:
        rows = rows.where((F.col("content") < eye.below) | (drawn < keys[-1]) | (F.col("rank") < ranks[-1]))
    few = rows.select("file", "position", "content", "rank", F.col("group").alias("of_group"))
    seen = beside(few, found.texts, F.col("text")).select(*_ROWS)
    firsts = {name: np.full(FEATURES, _NEVER, dtype=np.uint8) for name in _SETS}
    sizes = {name: np.zeros(STRETCHES, dtype=np.int64) for name in _SETS}
    task = _Firsts(eye, ranks, keys)
    for row in seen.mapInArrow(task, spark_schema(_FOUND)).toArrow().to_pylist():
        np.minimum(firsts[row["name"]], unpack(row["first"]), out=firsts[row["name"]])
        sizes[row["name"]] += np.array(row["bytes"], dtype=np.int64)
    weights = np.where(firsts["pool"] == _NEVER, 0, eye.lens.weights()).astype(np.float64)
    return tuple(_curve(name, firsts[name], sizes[name], weights) for name in _SETS if name != "pool")


def _behind(keys: Sequence[Key], sizes: pa.ChunkedArray, size: int, beyond: Key) -> list[Key]:
    """Of samples whose ``keys`` ascend: that of the first one behind each stretch of a set of ``size`` bytes."""
    ends = np.cumsum(sizes.to_numpy())
    firsts = np.searchsorted(ends, size * np.arange(1, STRETCHES + 1) / STRETCHES, side="right")
    return [keys[first] if first < len(keys) else beyond for first in firsts.tolist()]


def _curve(name: str, first: Firsts, sizes: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Coverage:
    held = np.bincount(first, weights, minlength=_NEVER + 1)[:STRETCHES]
    reach = max(float(weights.sum()), np.finfo(np.float64).tiny)
    stretches = sizes > 0
    return Coverage(
        name,
        bytes=tuple(np.cumsum(sizes)[stretches].tolist()),
        share=tuple((np.cumsum(held) / reach)[stretches].tolist()),
    )


@dataclass(frozen=True)
class _Firsts:
    """In which stretch of each set the features of a task's samples come first."""

    eye: Eye
    ranks: Sequence[int]  # (STRETCHES,) of the first pick behind each stretch, ascending
    keys: Sequence[str]  # (STRETCHES,) what draws the first sample behind each stretch of the random set, ascending
    versions: Mapping[str, str] = field(default_factory=library_versions)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        firsts = {name: np.full(FEATURES, _NEVER, dtype=np.uint8) for name in _SETS}
        sizes = {name: np.zeros(STRETCHES, dtype=np.int64) for name in _SETS}
        for rows in batches:
            texts, contents, groups, ranks = (rows.column(name).to_pylist() for name in _ROWS)
            views = look_at(texts, contents, None, self.eye, groups).views
            for view, text, content, rank in zip(views, texts, contents, ranks, strict=True):
                features = np.frombuffer(view, dtype="<u4")
                for name, stretch in zip(_SETS, self._stretches(content, rank), strict=True):
                    if stretch < STRETCHES:
                        firsts[name][features] = np.minimum(firsts[name][features], stretch)
                        sizes[name][stretch] += len(text)
        packed = [pack(firsts[name]) for name in _SETS]
        yield batch(_FOUND, {"name": _SETS, "first": packed, "bytes": [sizes[name].tolist() for name in _SETS]})

    def _stretches(self, content: str, rank: int | None) -> tuple[int, int, int]:
        """That of a sample in each of `_SETS`; `_NEVER`: it is not in it."""
        pool = 0 if self.eye.below is None or content < self.eye.below else _NEVER
        subset = _NEVER if rank is None else bisect_right(self.ranks, rank)
        return pool, subset, bisect_right(self.keys, content[_DRAWN:])
