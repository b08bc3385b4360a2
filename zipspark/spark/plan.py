"""How the pool is cut, and what every part and node of the merge tree owes: from the data alone, never from cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.config import SelectConfig, oversampling
from zipspark.core.merging import CANDIDATE_BYTES, Level, Tree, plan_tree
from zipspark.core.mixture import bounds, check_kept
from zipspark.core.parts import pack
from zipspark.core.selection import Quota
from zipspark.errors import InputError
from zipspark.spark.survey import Survey
from zipspark.units import Budget, format_bytes

Floats = npt.NDArray[np.float64]

# What a sample's view weighs per byte of its text before any is measured: features take 0.6 (DESIGN §4.8).
_VIEW_BYTES = {"both": 1.6, "ratio": 1.0, "coverage": 0.6}


@dataclass(frozen=True)
class Quotas:
    """The `Quota` of each node of a level, as arrays: there can be tens of thousands of nodes."""

    unit: Literal["rows", "bytes", "tokens"]
    free: Floats  # (nodes,) beyond what floors reserve
    floors: Mapping[str, Floats]  # group -> (nodes,)
    caps: Mapping[str, Floats]

    def __getitem__(self, node: int) -> Quota:
        floors, caps = (
            {group: float(amounts[node]) for group, amounts in of.items()} for of in (self.floors, self.caps)
        )
        return Quota(self.unit, float(self.free[node]) + sum(floors.values()), floors, caps)


@dataclass(frozen=True)
class Plan:
    """What is chosen in all, the tree that does it, and where each row goes."""

    budget: Budget  # of the whole pool, never a share; all its rows where only `until` stops
    quota: Quota  # of the whole pool; its amount is infinite where only `until` stops
    tree: Tree
    node_cap: int  # bytes
    bucket_parts: Mapping[int, Sequence[int]]  # min-hash bucket -> parts of its slices
    held: Mapping[str, Floats]  # group with a quota -> (parts,) what each part holds of it, in the budget's unit
    free: Floats  # (parts,) what it holds that could be chosen beyond the floors
    grow: Callable[..., Tree]  # `plan_tree` for this pool

    @property
    def parts(self) -> int:
        return self.tree.parts

    def quotas(self, level: Level) -> Quotas:
        """What each node of ``level`` hands up: never so little that the root could not fill every quota.

        Floors and caps go by a node's share of their group. What floors leave goes by its share of all that may be
        chosen beyond them: by its share of the pool, nodes full of a capped group would owe what they may not give.
        """
        free = self.quota.amount - sum(self.quota.floors.values())
        floors = {group: level.quotas(self.held[group], amount) for group, amount in self.quota.floors.items()}
        caps = floors  # of a mix; one mapping is half as much in a task's closure
        if self.quota.caps is not self.quota.floors:
            caps = {group: level.quotas(self.held[group], amount) for group, amount in self.quota.caps.items()}
        beyond = level.quotas(self.free, free) if math.isfinite(free) else np.full(level.nodes, math.inf)
        return Quotas(self.quota.unit, beyond, floors, caps)

    def measured(self, handed_up: Sequence[float], rows: int) -> Plan:
        """The same parts, with the levels above planned from the bytes that each did hand up, ``rows`` in all."""
        known: dict[str, Any] = {"parts": self.parts, "handed_up": handed_up}
        if math.isinf(self.quota.amount):  # the parts have stopped where `until` says, so this is what is to be merged
            known |= {"budget_amount": rows}
        return replace(self, tree=self.grow(**known))

    def require_room_for_picks(self, driver_cap: int) -> None:
        """Raises `InputError` where not even ids and ranks of the picks fit the driver."""
        if not self.tree.picks_on_driver:
            picks = "what `until` takes" if math.isinf(self.quota.amount) else f"a budget of {self.budget}"
            raise InputError(
                f"driver_cap must hold ids and ranks of all picks, {CANDIDATE_BYTES} bytes each, got "
                f"{format_bytes(driver_cap)} for {picks}; choose less, or raise --driver-cap and the driver's memory"
            )

    def mix(self, picks: Any) -> dict[str, tuple[float, float]]:
        """Group with an amount of its own -> (asked, achieved); asked is its floor where it has one, else its cap."""
        asked = {**self.quota.caps, **self.quota.floors}
        achieved = picks.by_group(self.quota.unit) if asked else {}
        return {group: (amount, achieved.get(group, 0)) for group, amount in asked.items()}

    def notes(self) -> list[str]:
        """What a user should hear of this tree."""
        notes = []
        if self.tree.root == "interleaved":
            notes.append(
                f"no task can hold the result with node_cap {format_bytes(self.node_cap)}: the rankings of "
                f"{self.tree.levels[-1].nodes:,} nodes are interleaved, and near-copies beneath different nodes are "
                "never compared. A higher --node-cap, with memory for it, avoids that."
            )
        if self.parts == 1 and self.tree.levels[0].bytes_in > self.node_cap:
            notes.append(
                f"one part holds all {format_bytes(self.tree.levels[0].bytes_in)} of text, more than node_cap "
                f"({format_bytes(self.node_cap)}): the preset asks for it, and for about four times that in memory."
            )
        return notes


def plan(pool: Survey, config: SelectConfig, kept: Survey | None = None) -> Plan:
    """Cut a pool, and plan the merge; ``kept`` is what of it must be chosen.

    Raises:
        UsageError: parts and caps do not go together (`plan_tree`), or limits of groups fit no pool (`bounds`).
        InputError: limits of groups do not fit this pool, or the driver cannot hold the picks.
    """
    budget = (config.budget or Budget("share", 1.0)).resolve(pool.samples)
    unit: Any = budget.unit
    groups = pool.by_group(unit)
    must = kept.by_group(unit) if kept else {}
    floors: Mapping[str, float] = {}
    caps: Mapping[str, float] = {}
    if config.by_group:
        floors, caps = bounds(config.mix, config.floor, config.cap, budget, groups, must)
    else:
        check_kept(must, budget, sum(must.values()))
    node_cap = config.node_cap
    if config.preset != "default" and config.parts == 1:  # a preset's one part is as large as the pool
        node_cap = max(node_cap, pool.bytes + CANDIDATE_BYTES * pool.samples)
    grow = partial(
        plan_tree,
        pool_bytes=pool.bytes,
        pool_rows=pool.samples,
        budget_amount=budget.amount,
        budget_unit=unit,
        oversample=oversampling(config) if config.budget else 1.0,  # without a budget parts hand up what `until` takes
        node_cap=node_cap,
        driver_cap=config.driver_cap,
        view_bytes_per_byte=_VIEW_BYTES[config.objective],
        groups=max(1, len({*floors, *caps})),
        pool_tokens=sum(groups.values()) if unit == "tokens" else None,
    )
    tree = grow(parts=config.parts)
    bucket_parts = pack(_bucket_bytes(pool), tree.parts)
    held = _held(pool, bucket_parts, unit, tree.parts)
    planned = Plan(
        budget=budget,
        quota=Quota(unit, budget.amount if config.budget else math.inf, floors, caps),
        tree=tree,
        node_cap=config.node_cap,
        bucket_parts=bucket_parts,
        held={group: held[group] for group in {**floors, **caps}},
        free=_free(held, groups, floors, caps),
        grow=grow,
    )
    if config.budget:
        planned.require_room_for_picks(config.driver_cap)
    return planned


def part_column(samples: DataFrame, plan: Plan) -> DataFrame:
    """``samples`` with a column ``part``, null for rows that are barred."""
    choosable = F.col("barred").isNull()
    if plan.parts == 1:
        return samples.withColumn("part", F.when(choosable, F.lit(0)))
    packing = samples.sparkSession.createDataFrame(
        [(bucket, list(parts)) for bucket, parts in sorted(plan.bucket_parts.items())],
        "bucket int, slices array<int>",
    )
    slice_of = F.pmod(F.xxhash64("content"), F.size("slices")) + 1
    joined = samples.join(F.broadcast(packing), "bucket", "left")
    part = F.element_at("slices", slice_of.cast("int"))
    return joined.withColumn("part", F.when(choosable, part)).drop("slices")


def _bucket_bytes(pool: Survey) -> dict[int, int]:
    summed = pool.sizes.group_by("bucket").aggregate([("bytes", "sum")])
    return dict(zip(summed["bucket"].to_pylist(), summed["bytes_sum"].to_pylist(), strict=True))


def _held(pool: Survey, bucket_parts: Mapping[int, Sequence[int]], unit: str, parts: int) -> dict[str, Floats]:
    """Group -> (parts,) what each part holds of it; the slices of a split bucket are equal in expectation."""
    held = {group: np.zeros(parts) for group in pool.by_group(unit)}
    columns = (pool.sizes[name].to_pylist() for name in ("bucket", "group", unit))
    for bucket, group, amount in zip(*columns, strict=True):
        slices = bucket_parts[bucket]
        held[group][slices] += amount / len(slices)
    return held


def _free(
    held: Mapping[str, Floats], sizes: Mapping[str, float], floors: Mapping[str, float], caps: Mapping[str, float]
) -> Floats:
    """(parts,) what each could give beyond the floors: of each group its part of what cap and floor leave open."""
    free = np.zeros_like(next(iter(held.values())))
    for group, of_parts in held.items():
        size = sizes[group]
        if size:
            free += of_parts * ((min(size, caps.get(group, size)) - floors.get(group, 0)) / size)
    return free
