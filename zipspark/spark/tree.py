"""The merge tree: parts on executors run `zipspark.core.select`, the driver runs it again on what they hand up.

::

    scores ──▶ part 0 ──▶ candidates ─┐
           ──▶ part 1 ──▶ candidates ─┼──▶ driver ──▶ ranking
           ──▶ ...                    ┘

Every part hands up ``oversample`` times its share of the budget. With one part its ranking is the result: that is the
single-machine algorithm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.config import Choice, SelectConfig
from zipspark.core.parts import pack, part_count, quota
from zipspark.core.selection import Ranking, select
from zipspark.errors import EngineError, InputError
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
from zipspark.spark.identity import COPY_ORDER, with_ids
from zipspark.units import Budget, format_bytes

# What a part hands up: its ranking, best first.
CANDIDATES = pa.schema(
    [
        pa.field("part", pa.int32()),
        pa.field("zip_id", pa.string()),
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("text", pa.binary()),
        pa.field("bytes", pa.int64()),
        pa.field("ratio", pa.float64()),
        pa.field("rank", pa.int64()),  # within the part, from 0
        pa.field("marginal_ratio", pa.float64()),
    ]
)
_FILLERS = 1000  # samples at least that are offered at once to fill what is left of a budget


@dataclass(frozen=True)
class Plan:
    """How the pool is cut and what each part owes: made from the data, never from cores."""

    budget: Budget  # in rows or bytes, of the whole pool
    bucket_parts: Mapping[int, Sequence[int]]  # min-hash bucket -> parts of its slices
    quotas: Sequence[float]  # (parts,) what each hands up, in the budget's unit

    @property
    def parts(self) -> int:
        return len(self.quotas)


def plan_parts(bucket_sizes: pa.Table, config: SelectConfig) -> Plan:
    """Cut a pool.

    Args:
        bucket_sizes: one row per min-hash bucket: ``bucket, rows, bytes``, exact duplicates counted once.
        config: ``budget`` (a share is of these rows), ``parts`` (none: from the bytes), ``oversample``.
    """
    assert config.budget is not None
    sizes = bucket_sizes.to_pydict()
    rows, size = sum(sizes["rows"]), sum(sizes["bytes"])
    budget = config.budget.resolve(rows)
    parts = min(config.parts or part_count(size), max(1, rows))
    bucket_parts = pack(dict(zip(sizes["bucket"], sizes["bytes"], strict=True)), parts)
    if parts == 1:
        return Plan(budget, bucket_parts, (budget.amount,))
    held = [0.0] * parts  # rows or bytes of each part; a split bucket's slices are equal in expectation
    for bucket, amount in zip(sizes["bucket"], sizes[budget.unit], strict=True):
        for part in bucket_parts[bucket]:
            held[part] += amount / len(bucket_parts[bucket])
    return Plan(budget, bucket_parts, tuple(quota(budget.amount, part / sum(held), config.oversample) for part in held))


def part_column(scores: DataFrame, plan: Plan) -> DataFrame:
    """``scores`` with a column ``part`` (null for rows with a problem)."""
    if plan.parts == 1:
        return scores.withColumn("part", F.when(F.col("problem").isNull(), F.lit(0)))
    packing = scores.sparkSession.createDataFrame(
        [(bucket, list(parts)) for bucket, parts in sorted(plan.bucket_parts.items())],
        "bucket int, slices array<int>",
    )
    slice_of = F.pmod(F.xxhash64("content"), F.size("slices")) + 1
    joined = scores.join(F.broadcast(packing), "bucket", "left")
    return joined.withColumn("part", F.element_at("slices", slice_of.cast("int"))).drop("slices")


def candidates(scores: DataFrame, plan: Plan, config: SelectConfig, header: bytes) -> DataFrame:
    """`CANDIDATES` of all parts, lazily: write it once, then read that. Text is shuffled here and only here."""
    columns = ["part", "content", "user_id", "file", "position", "text", "ratio"]
    placed = part_column(scores.where("problem is null"), plan).select(*columns)
    spread = _by_part(placed, plan.parts).sortWithinPartitions("part", "content", *COPY_ORDER)
    task = _SelectPart(
        choice=Choice(**config.choice()),
        dedup=config.dedup,
        unit=plan.budget.unit,
        quotas=tuple(plan.quotas),
        header=header,
        versions=library_versions(),
    )
    return spread.mapInArrow(task, spark_schema(CANDIDATES))


def fetch(stage: DataFrame, plan: Plan, config: SelectConfig) -> pa.Table:
    """Candidates on the driver, refused above the cap before they are fetched; of one part without text."""
    order = [("part", "ascending"), ("rank", "ascending")]
    if plan.parts == 1:
        return stage.drop("text").toArrow().sort_by(order)
    total = stage.agg(F.coalesce(F.sum("bytes"), F.lit(0)).alias("total")).toArrow()["total"][0].as_py()
    if total > config.driver_cap:
        raise InputError(
            f"candidates are {format_bytes(total)}, more than driver_cap ({format_bytes(config.driver_cap)}): lower "
            f"--oversample (now {config.oversample:g}) or the budget, or raise --driver-cap and the driver's memory"
        )
    return stage.toArrow().sort_by(order)


def fill(handed_up: pa.Table, scores: DataFrame, plan: Plan, config: SelectConfig, header: bytes) -> pa.Table:
    """The final ranking, its budget met exactly: to the row, or to less bytes than the smallest sample left out.

    `merge` sees to that among the candidates. Should the pool hold more that fits, because a part came out smaller than
    its quota or a small sample was no candidate, the likeliest join the candidates and the merge runs again.
    """
    picked = merge(handed_up, plan, config, header)
    while plan.parts > 1 and len(more := _left_out(scores, handed_up, picked, plan, config)):
        handed_up = pa.concat_tables([handed_up, more])
        picked = merge(handed_up, plan, config, header)
    return picked


def merge(handed_up: pa.Table, plan: Plan, config: SelectConfig, header: bytes) -> pa.Table:
    """The final ranking: of ``handed_up`` (all parts' candidates) the picks, in order, ranked over the whole pool."""
    if plan.parts == 1:
        return handed_up
    ranking = select(
        handed_up["text"].to_pylist(),
        plan.budget,
        ids=handed_up["zip_id"].to_pylist(),
        header=header,
        **config.choice(),
    )
    return _ranked(handed_up, ranking)


def _left_out(scores: DataFrame, handed_up: pa.Table, picked: pa.Table, plan: Plan, config: SelectConfig) -> pa.Table:
    """What still fits the budget and is no candidate, as candidates: the smallest, or those of lowest ratio."""
    in_bytes = plan.budget.unit == "bytes"
    left = int(plan.budget.amount) - (sum(picked["bytes"].to_pylist()) if in_bytes else len(picked))
    if left <= 0:
        return CANDIDATES.empty_table()
    fitting = with_ids(scores.drop("text", "record")).where("problem is null")
    if config.dedup:
        fitting = fitting.where("copy = 0")
    if in_bytes:
        fitting = fitting.where(F.col("bytes") <= left)
    known = scores.sparkSession.createDataFrame(handed_up.select(["zip_id"]))
    offered = fitting.join(known, "zip_id", "left_anti").orderBy("bytes" if in_bytes else "ratio", "zip_id")
    keys = offered.limit(_FILLERS if in_bytes else max(_FILLERS, 2 * left)).select(
        "zip_id", F.col("file").alias("of_file"), F.col("position").alias("of_position")
    )
    same_row = scores.file.eqNullSafe(F.col("of_file")) & (scores.position == F.col("of_position"))
    rows = scores.join(F.broadcast(keys), same_row).withColumns(
        {"part": F.lit(-1), "rank": F.lit(0).cast("long"), "marginal_ratio": F.lit(0.0)}
    )
    return rows.select(*CANDIDATES.names).toArrow().cast(CANDIDATES).sort_by("zip_id")


@dataclass(frozen=True)
class _SelectPart:
    """What a task does with its rows, sorted by part, content and `COPY_ORDER`: one ranking per part."""

    choice: Choice
    dedup: bool
    unit: Literal["rows", "bytes", "share"]
    quotas: Sequence[float]
    header: bytes
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        for part, rows in runs(first_of_each(batches) if self.dedup else batches, "part"):
            yield from self._select(part, rows)

    def _select(self, part: int, rows: pa.Table) -> Iterator[pa.RecordBatch]:
        rows = named(rows)
        positional = self.choice.preset != "default"
        if positional:
            rows = rows.sort_by([("file", "ascending"), ("position", "ascending")])
        ranking = select(
            rows["text"].to_pylist(),
            Budget(self.unit, self.quotas[part]),
            ids=None if positional else rows["zip_id"].to_pylist(),
            header=self.header,
            overshoot=len(self.quotas) > 1,
            **self.choice.model_dump(),
        )
        picked = _ranked(rows, ranking)
        for chunk in picked.to_batches(max_chunksize=1000):
            yield batch(CANDIDATES, {name: chunk.column(name) for name in CANDIDATES.names})


def named(rows: pa.Table) -> pa.Table:
    """Rows sorted by content and `COPY_ORDER`, with their ``zip_id`` (as `identity.with_ids` gives it)."""
    contents = rows["content"].to_pylist()
    copies = [0] * len(contents)
    for index in range(1, len(contents)):
        if contents[index] < contents[index - 1]:
            raise EngineError(f"rows of a part must come sorted, got {contents[index]} after {contents[index - 1]}")
        if contents[index] == contents[index - 1]:
            copies[index] = copies[index - 1] + 1
    ids = [
        f"{content}-{copy}" if own is None else own
        for own, content, copy in zip(rows["user_id"].to_pylist(), contents, copies, strict=True)
    ]
    return rows.append_column("zip_id", pa.array(ids, pa.string()))


def first_of_each(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of rows sorted by content the first of each: dropped on the way, copies never fill the memory."""
    previous = None
    for rows in batches:
        contents = rows.column("content").to_pylist()
        yield rows.filter(
            pa.array([one != before for before, one in zip([previous, *contents], contents, strict=False)])
        )
        previous = contents[-1] if contents else previous


def runs(batches: Iterator[pa.RecordBatch], key: str) -> Iterator[tuple[Any, pa.Table]]:
    """Batches sorted by ``key``, joined into one table per value of it."""
    held: list[pa.RecordBatch] = []
    current: Any = None
    for rows in batches:
        start = 0
        while start < len(rows):
            value = rows.column(key)[start].as_py()
            if held and value != current:
                if value < current:
                    raise EngineError(f"rows of a task must come sorted by {key}, got {value} after {current}")
                yield current, pa.Table.from_batches(held)
                held = []
            current = value
            same = pc.sum(pc.equal(rows.column(key), value)).as_py()
            held.append(rows.slice(start, same))
            start += same
    if held:
        yield current, pa.Table.from_batches(held)


def _ranked(rows: pa.Table, ranking: Ranking) -> pa.Table:
    """The picks of ``ranking`` in order, with ``rank`` and ``marginal_ratio``."""
    picked = rows.drop_columns([name for name in ("rank", "marginal_ratio", "bytes") if name in rows.column_names])
    picked = picked.take(pa.array(ranking.indices))
    picked = picked.append_column("bytes", pa.array(ranking.sizes, pa.int64()))
    picked = picked.append_column("rank", pa.array(range(len(ranking)), pa.int64()))
    return picked.append_column("marginal_ratio", pa.array(ranking.marginal_ratios, pa.float64()))


def _by_part(rows: DataFrame, parts: int) -> DataFrame:
    """One task per part. Plain ``repartition`` by an expression would let adaptive execution put parts together."""
    if hasattr(rows, "repartitionById"):
        return rows.repartitionById(parts, F.col("part"))
    return rows.repartition(parts, _spread_key(rows, parts))  # Spark 4.0


def _spread_key(rows: DataFrame, parts: int) -> Column:
    """For each part a number that Spark's own hash partitioning (Murmur3 modulo ``parts``) sends to that partition."""
    spark = rows.sparkSession
    hashed = spark.range(64 * parts).withColumn("part", F.pmod(F.hash("id"), F.lit(parts)))
    keys = hashed.groupBy("part").agg(F.min("id").alias("id")).toArrow().to_pydict()
    by_part = dict(zip(keys["part"], keys["id"], strict=True))
    keys_of = [F.lit(by_part[part]).cast("long") for part in range(parts)]  # an int would hash to something else
    return F.element_at(F.array(*keys_of), F.col("part") + 1)
