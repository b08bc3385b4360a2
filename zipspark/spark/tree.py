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
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.config import Choice, SelectConfig
from zipspark.core.parts import pack, part_count, quota
from zipspark.core.selection import Ranking, select
from zipspark.errors import EngineError, InputError
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
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
# The rows of one content in the order that decides which is kept, and which copy number each gets.
COPY_ORDER = ("user_id", "file", "position")
_FILLERS = 1000  # small samples that are offered at once to fill what is left of a budget of bytes


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


def fetch(stage: DataFrame, config: SelectConfig) -> pa.Table:
    """Candidates on the driver, refused above the cap before a byte is fetched."""
    total = stage.agg(F.coalesce(F.sum("bytes"), F.lit(0)).alias("total")).toArrow()["total"][0].as_py()
    if total > config.driver_cap:
        raise InputError(
            f"candidates are {format_bytes(total)}, more than driver_cap ({format_bytes(config.driver_cap)}): lower "
            f"--oversample (now {config.oversample:g}) or the budget, or raise --driver-cap and the driver's memory"
        )
    return stage.toArrow().sort_by([("part", "ascending"), ("rank", "ascending")])


def fill(handed_up: pa.Table, scores: DataFrame, plan: Plan, config: SelectConfig, header: bytes) -> pa.Table:
    """The final ranking, with a budget of bytes met exactly: missed by less than the smallest sample left out.

    `merge` sees to that among the candidates. Should the pool hold a smaller sample that still fits and that no part
    handed up, the smallest join the candidates and the merge runs again.
    """
    picked = merge(handed_up, plan, config, header)
    while plan.budget.unit == "bytes" and plan.parts > 1:
        left = int(plan.budget.amount) - sum(picked["bytes"].to_pylist())
        smallest = _smallest_left_out(scores, handed_up, left, config.dedup)
        if not len(smallest):
            break
        handed_up = pa.concat_tables([handed_up, smallest])
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


def _smallest_left_out(scores: DataFrame, handed_up: pa.Table, left: int, dedup: bool) -> pa.Table:
    """Up to 1,000 of the smallest samples that fit ``left`` bytes and are no candidates, as candidates."""
    fitting = scores.where(F.col("problem").isNull() & (F.col("bytes") <= left))
    if fitting.isEmpty():
        return CANDIDATES.empty_table()
    # Among so few bytes there are few samples: all of them are looked at, in the order of parts.
    columns = ["content", "user_id", "file", "position", "text", "bytes", "ratio"]
    rows = fitting.orderBy("bytes", "content", *COPY_ORDER).limit(_FILLERS + len(handed_up)).select(*columns).toArrow()
    rows = named(rows.sort_by([(name, "ascending") for name in ("content", *COPY_ORDER)]), dedup)
    known = pa.array(handed_up["zip_id"].to_pylist(), pa.string())
    rows = rows.filter(pc.invert(pc.is_in(rows["zip_id"], value_set=known)))
    rows = rows.sort_by([("bytes", "ascending"), ("zip_id", "ascending")]).slice(0, _FILLERS)
    nothing = {"part": -1, "rank": 0, "marginal_ratio": 0.0}
    for name, value in nothing.items():
        rows = rows.append_column(name, pa.array([value] * len(rows), CANDIDATES.field(name).type))
    return rows.select(CANDIDATES.names).cast(CANDIDATES)


@dataclass(frozen=True)
class _SelectPart:
    """What a task does with its rows, sorted by part, content and `COPY_ORDER`: one ranking per part."""

    choice: Choice
    dedup: bool
    unit: str
    quotas: Sequence[float]
    header: bytes
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        for part, rows in runs(batches, "part"):
            yield from self._select(part, rows)

    def _select(self, part: int, rows: pa.Table) -> Iterator[pa.RecordBatch]:
        rows = named(rows, self.dedup)
        positional = self.choice.preset != "default"
        if positional:
            rows = rows.sort_by([("file", "ascending"), ("position", "ascending")])
        ranking = select(
            rows["text"].to_pylist(),
            Budget(self.unit, self.quotas[part]),  # type: ignore[arg-type]
            ids=None if positional else rows["zip_id"].to_pylist(),
            header=self.header,
            overshoot=len(self.quotas) > 1,
            **self.choice.choice(),
        )
        picked = _ranked(rows, ranking)
        for chunk in picked.to_batches(max_chunksize=1000):
            yield batch(CANDIDATES, {name: chunk.column(name) for name in CANDIDATES.names})


def named(rows: pa.Table, dedup: bool) -> pa.Table:
    """Rows sorted by content and `COPY_ORDER`, with their ``zip_id``; with ``dedup`` only the first of each content."""
    contents = rows["content"].to_pylist()
    copies, copy = [], 0
    for previous, content in zip([None, *contents], contents, strict=False):
        if previous is not None and content < previous:
            raise EngineError(f"rows of a part must come sorted by content, got {content} after {previous}")
        copy = copy + 1 if content == previous else 0
        copies.append(copy)
    ids = [
        f"{content}-{copy}" if own is None else own
        for own, content, copy in zip(rows["user_id"].to_pylist(), contents, copies, strict=True)
    ]
    rows = rows.append_column("zip_id", pa.array(ids, pa.string()))
    return rows.filter(pc.equal(pa.array(copies), 0)) if dedup else rows


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
    return F.element_at(F.array(*[F.lit(by_part[part]) for part in range(parts)]), F.col("part") + 1)
