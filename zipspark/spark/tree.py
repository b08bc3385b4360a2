"""The merge tree on Spark: parts rank what they hold, nodes rank what parts hand up, the root gives the ranking.

::

    samples ──▶ part 0 ──▶ candidates ─┐
            ──▶ part 1 ──▶ candidates ─┼──▶ node ──▶ level1 ──▶ ... ──▶ root ──▶ picks
            ──▶ ...                    ┘

Every arrow's head is a stage. Which levels there are, and whether the root is the driver, a task, or only an
interleaving of the last nodes' rankings, `core.merging` plans: before the parts run, and again for the levels above
once it is known what the parts did hand up. With one part its ranking is the result: the single-machine algorithm.

**Until a share is covered.** The share is of what the whole pool covers, which only a root can measure. A part stops
once it covers that share of what *it* holds. Should all candidates together cover less than is asked for (each part
left out something else), parts run again, and may leave uncovered half as much as before: five times, then nothing.
Interleaved rankings are cut after the shortest prefix that covers the share. A marginal ratio needs no such care: with
more samples chosen it only rises, so whom a part refuses the root would refuse.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.config import SelectConfig, choice_of
from zipspark.core.merging import CANDIDATE_BYTES, Level, interleave
from zipspark.core.selection import Quota
from zipspark.errors import InputError
from zipspark.limits import NO_GROUP, Until
from zipspark.spark import survey
from zipspark.spark.batches import spark_schema
from zipspark.spark.filling import filled, limit_of, taken
from zipspark.spark.identity import COPY_ORDER
from zipspark.spark.nodes import CANDIDATES, Aid, Ranker, RankNodes, RankParts, tightened, without_shares
from zipspark.spark.plan import Plan, part_column
from zipspark.spark.plan import plan as plan
from zipspark.spark.samples import choosable
from zipspark.storage.stages import Stages

PICKS = ("zip_id", "file", "position", "group", "bytes", "tokens", "rank", "ratio", "marginal_ratio")
_HALVINGS = (1, 2, 3, 4, 5, math.inf)  # of the share that parts may leave uncovered, one after the other
_FIRST_CUT = 1000  # picks
_NO_ROWS = CANDIDATES.empty_table()


@dataclass(frozen=True)
class Picks:
    """The final ranking."""

    table: DataFrame  # the stage `picks`, with the columns `PICKS`
    picked: pa.Table  # the same on the driver, in order
    candidates: DataFrame  # of the parts, which may have run again
    plan: Plan  # as it was followed: levels above the parts are planned anew from what these hand up
    notes: tuple[str, ...]  # what a user should hear that the first plan did not know

    @property
    def rows(self) -> int:
        return len(self.picked)

    @property
    def bytes(self) -> int:
        return int(sum(taken(self.picked, "bytes")))

    @property
    def checksum(self) -> str:
        """Of the ids, in order."""
        return checksum_of(self.picked["zip_id"].to_pylist())

    def by_group(self, unit: str) -> dict[str, float]:
        """Rows, bytes or tokens of each group."""
        amounts: defaultdict[str, float] = defaultdict(float)
        groups = self.picked["group"].fill_null(NO_GROUP).to_pylist()
        for group, amount in zip(groups, taken(self.picked, unit).tolist(), strict=True):
            amounts[group] += amount
        return dict(amounts)


def checksum_of(ids: Sequence[str]) -> str:
    """That of a ranking."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def candidates(samples: DataFrame, plan: Plan, config: SelectConfig, aid: Aid) -> DataFrame:
    """`CANDIDATES` of all parts, lazily: write it once, then read that. Views are shuffled here and only here."""
    return _candidates(samples, plan, config, aid, config.until)


def picks(
    candidates: DataFrame, samples: DataFrame, plan: Plan, config: SelectConfig, aid: Aid, stages: Stages
) -> Picks:
    """The final ranking: everything above the parts.

    The budget is met exactly: to the row, or to less bytes or tokens than the smallest sample left out takes; so is the
    amount of every group that has one. Kept samples come first; with a mix groups then take turns, so prefixes hold it.
    """
    foreseen = plan.notes()
    if plan.parts == 1:
        picked = _fetch(candidates)
    else:
        candidates, plan = _enough(candidates, samples, plan, config, aid, stages)
        below = candidates
        for depth, level in enumerate(plan.tree.levels[1:-1], start=1):
            ranker = Ranker(plan.quotas(level), choice_of(config), aid, without_shares(config.until), overshoot=True)
            below = stages.write(f"level{depth}", _level(below, level, ranker))
        picked = _root(below, samples, plan, config, aid, stages)
    table = stages.write("picks", samples.sparkSession.createDataFrame(picked.select(PICKS)))
    return Picks(table, picked, candidates, plan, tuple(note for note in plan.notes() if note not in foreseen))


def _candidates(samples: DataFrame, plan: Plan, config: SelectConfig, aid: Aid, until: Until | None) -> DataFrame:
    columns = ["content", "user_id", "file", "position", "group", "bytes", "tokens", "ratio", "worth", "kept", "view"]
    placed = part_column(choosable(samples), plan).select("part", *columns)
    spread = _spread(placed, plan.parts, "part").sortWithinPartitions("part", "content", *COPY_ORDER)
    several = plan.parts > 1
    quotas = plan.quotas(plan.tree.levels[0])
    ranker = Ranker(quotas, choice_of(config), aid, until, own_reach=several, overshoot=several, views=several)
    return spread.mapInArrow(RankParts(ranker, config.dedup), spark_schema(CANDIDATES))


def _enough(
    candidates: DataFrame, samples: DataFrame, plan: Plan, config: SelectConfig, aid: Aid, stages: Stages
) -> tuple[DataFrame, Plan]:
    """Candidates that cover what `until` asks for, and the plan for what was handed up."""
    for halvings in (*_HALVINGS, None):
        sizes = candidates.groupBy("part").agg(
            (F.sum(F.length("view")) + CANDIDATE_BYTES * F.count("*")).alias("handed_up"),
            F.count("*").alias("rows"),
            F.sum("bytes").alias("bytes"),
            F.sum("tokens").alias("tokens"),
        )
        found = sizes.toArrow()
        if not len(found):
            raise InputError(f"nothing is chosen: until {config.until} refuses all that the parts hold")
        meets_budget = pc.sum(found[plan.quota.unit]).as_py() > plan.quota.amount
        if halvings is None or meets_budget or not _falls_short(candidates, config, aid):
            break
        again = _candidates(samples, plan, config, aid, tightened(config.until, halvings))
        candidates = stages.write(f"candidates{halvings}", again)
    plan = plan.measured(found["handed_up"].to_pylist(), pc.sum(found["rows"]).as_py())
    plan.require_room_for_picks(config.driver_cap)
    return candidates, plan


def _falls_short(candidates: DataFrame, config: SelectConfig, aid: Aid) -> bool:
    """Whether all candidates together cover less than `until` asks for."""
    until = config.until
    if until is None or not until.by_share:
        return False
    assert aid.lens is not None
    assert aid.reach is not None
    offered = candidates.select("view", F.lit(None).alias("barred"))
    found = survey.reach(offered, choice_of(config), aid.lens, until.target_coverage is not None)
    covered, of_target = until.coverage, until.target_coverage
    return (covered is None or found.coverage < covered * aid.reach.coverage) and (
        of_target is None or found.target_coverage < of_target * aid.reach.target_coverage
    )


def _level(below: DataFrame, level: Level, ranker: Ranker) -> DataFrame:
    """`CANDIDATES` that the nodes of ``level`` hand up, lazily."""
    rows = below.withColumn("node", F.expr(f"cast(part div {level.parts_each} as int)"))
    spread = _spread(rows, level.nodes, "node").sortWithinPartitions("node", "zip_id")
    return spread.mapInArrow(RankNodes(ranker), spark_schema(CANDIDATES))


def _root(below: DataFrame, samples: DataFrame, plan: Plan, config: SelectConfig, aid: Aid, stages: Stages) -> pa.Table:
    """The final ranking of what the level ``below`` hands up: `CANDIDATES` without views."""
    last = plan.tree.levels[-1]
    ranker = Ranker(plan.quotas(last), choice_of(config), aid, config.until, views=False)

    if plan.tree.root == "interleaved":
        shares = config.until is not None and config.until.by_share
        ranker = replace(ranker, until=without_shares(config.until), overshoot=True, views=shares)
        below = stages.write("nodes", _level(below, last, ranker))
        nodes = _fetch(below)
        if config.until:  # then what is short of the budget is not to be filled
            picked = _interleaved(nodes, last, plan.quota)
            return _cut(picked, below, config, aid) if shares else picked

        def merge(more: pa.Table) -> pa.Table:
            return _interleaved(nodes, last, plan.quota, more)

    elif plan.tree.root == "task":

        def merge(more: pa.Table) -> pa.Table:
            offered = below.unionByName(samples.sparkSession.createDataFrame(more)) if len(more) else below
            return _fetch(stages.write(f"root{len(more) or ''}", _level(offered, last, ranker)))

    else:
        handed_up = below.toArrow().cast(CANDIDATES)

        def merge(more: pa.Table) -> pa.Table:
            return ranker(0, pa.concat_tables([handed_up, more]))

    return filled(merge, below, samples, plan.quota, config)


def _interleaved(nodes: pa.Table, level: Level, quota: Quota, more: pa.Table = _NO_ROWS) -> pa.Table:
    """The rankings of all nodes as one, then ``more``, without what exceeds the budget or the amount of a group.

    Kept samples come first. Each group that has an amount takes turns of its own, so that prefixes hold its share too.
    """
    offered = pa.concat_tables([nodes, more])
    limit = limit_of(offered, quota)
    kept, groups = offered["kept"].to_pylist(), limit.groups.tolist()
    of_nodes = nodes["part"].to_numpy() // level.parts_each
    lists: defaultdict[tuple[bool, int, int], list[int]] = defaultdict(list)  # (free, group, node) -> rows, best first
    for row in np.lexsort((nodes["rank"].to_numpy(), of_nodes)).tolist():
        lists[not kept[row], groups[row], of_nodes[row]].append(row)
    sequence: list[int] = []
    for free in (False, True):
        taking_turns = [rows for key, rows in sorted(lists.items()) if key[0] is free]
        turns = interleave([len(rows) for rows in taking_turns])
        following = [iter(rows) for rows in taking_turns]
        sequence += [next(following[index]) for index in turns]
    sequence += range(len(nodes), len(offered))
    chosen = []
    for row in sequence:
        if kept[row] or limit.fits(row):
            limit.spend(row)
            chosen.append(row)
    picked = offered.take(pa.array(chosen, pa.int64())).drop_columns("rank")
    return picked.append_column("rank", pa.array(np.arange(len(picked)), pa.int64()))


def _cut(picked: pa.Table, nodes: DataFrame, config: SelectConfig, aid: Aid) -> pa.Table:
    """The shortest prefix that covers what `until` asks for, or all: found by doubling, then halving.

    Each try is a pass over the views of a prefix, wherever they lie, for no task could hold them all.
    """

    def covers(count: int) -> bool:
        ids = nodes.sparkSession.createDataFrame(picked.select(["zip_id"]).slice(0, count))
        return not _falls_short(nodes.join(ids, "zip_id", "left_semi"), config, aid)

    short, enough = max(sum(picked["kept"].to_pylist()) - 1, 0), len(picked)  # kept ones stay
    count = max(short + 1, _FIRST_CUT)  # no less is ever tried than all that are kept
    while count < enough:
        if covers(count):
            enough = count
        else:
            short, count = count, 2 * count
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if covers(middle) else (middle, enough)
    return picked.slice(0, enough)


def _fetch(ranking: DataFrame) -> pa.Table:
    """`CANDIDATES` on the driver, by rank, without views."""
    ranking = ranking.withColumn("view", F.lit(None).cast("binary"))
    return ranking.select(*CANDIDATES.names).toArrow().cast(CANDIDATES).sort_by("rank")


def _spread(rows: DataFrame, nodes: int, key: str) -> DataFrame:
    """One task per node. Plain ``repartition`` by an expression would let adaptive execution put nodes together."""
    if hasattr(rows, "repartitionById"):
        return rows.repartitionById(nodes, F.col(key))
    return rows.repartition(nodes, _spread_key(rows, nodes, key))  # Spark 4.0


def _spread_key(rows: DataFrame, nodes: int, key: str = "part") -> Column:
    """For each node a number that Spark's own hash partitioning (Murmur3 modulo ``nodes``) sends to that partition."""
    spark = rows.sparkSession
    hashed = spark.range(64 * nodes).withColumn("node", F.pmod(F.hash("id"), F.lit(nodes)))
    keys = hashed.groupBy("node").agg(F.min("id").alias("id")).toArrow().to_pydict()
    by_node = dict(zip(keys["node"], keys["id"], strict=True))
    keys_of = [F.lit(by_node[node]).cast("long") for node in range(nodes)]  # an int would hash to something else
    return F.element_at(F.array(*keys_of), F.col(key) + 1)
