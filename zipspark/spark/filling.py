"""A budget met exactly: when the root is done, what still fits is looked for in the whole pool.

A root sees to it among the candidates. But a part can come out smaller than was expected of its share, and a small
sample that nobody would hand up may fit what is left of a budget in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.config import SelectConfig
from zipspark.core.limit import Limit
from zipspark.core.objectives import Floats
from zipspark.core.selection import Quota
from zipspark.limits import NO_GROUP
from zipspark.spark.identity import with_ids, with_same_place
from zipspark.spark.nodes import CANDIDATES
from zipspark.spark.samples import choosable

_FILLERS = 1000  # samples at least that are offered at once


def filled(
    merge: Callable[[pa.Table], pa.Table],
    candidates: DataFrame,
    samples: DataFrame,
    quota: Quota,
    config: SelectConfig,
) -> pa.Table:
    """The ranking of ``candidates`` and of as many others as it takes until nothing more fits.

    Args:
        merge: of more `CANDIDATES` (at first none) gives the ranking of these and ``candidates``.
    """
    more = CANDIDATES.empty_table()
    picked = merge(more)
    while math.isfinite(quota.amount) and len(found := _left_out(picked, candidates, more, samples, quota, config)):
        more = pa.concat_tables([more, found])
        again = merge(more)
        if config.until and sum(taken(again, quota.unit)) <= sum(taken(picked, quota.unit)):
            break  # that is where it stops, with more or without
        picked = again
    return picked


def limit_of(rows: pa.Table, quota: Quota) -> Limit:
    """The budget, to be spent on ``rows`` (see `Quota.limit`)."""
    return quota.limit(taken(rows, quota.unit), rows["group"].fill_null(NO_GROUP).to_pylist())


def taken(rows: pa.Table, unit: str) -> Floats:
    """(n,) what each row takes of a budget in ``unit``."""
    return np.ones(len(rows)) if unit == "rows" else rows[unit].to_numpy().astype(np.float64)


def _left_out(
    picked: pa.Table, candidates: DataFrame, more: pa.Table, samples: DataFrame, quota: Quota, config: SelectConfig
) -> pa.Table:
    """What still fits and was no candidate, likeliest first: the smallest, or for rows those of lowest ratio."""
    limit = limit_of(picked, quota)
    for index in range(len(picked)):
        limit.spend(index)
    if limit.reached:
        return CANDIDATES.empty_table()
    *rooms, room = [min(float(left), 2.0**62) for left in limit.rooms()]
    if rooms:
        pairs = [F.lit(item) for pair in zip(quota.named, rooms, strict=True) for item in pair]
        of_group = F.try_element_at(F.create_map(*pairs), F.coalesce("group", F.lit(NO_GROUP)))
        fits = F.coalesce(of_group, F.lit(room))
    else:
        fits = F.lit(room)
    size, likeliest = (F.lit(1), "ratio") if quota.unit == "rows" else (F.col(quota.unit), quota.unit)
    fitting = with_ids(choosable(samples).drop("view")).where(size <= fits)
    if config.dedup:
        fitting = fitting.where("copy = 0")
    known = candidates.select("zip_id")
    if len(more):
        known = known.union(samples.sparkSession.createDataFrame(more.select(["zip_id"])))
    left = quota.amount - sum(taken(picked, quota.unit))
    count = max(_FILLERS, 2 * int(left)) if quota.unit == "rows" else _FILLERS
    keys = (
        fitting.join(known, "zip_id", "left_anti")
        .orderBy(likeliest, "zip_id")
        .limit(count)
        .select("zip_id", "file", "position")
    )
    rows = with_same_place(samples, F.broadcast(keys)).withColumns(
        {"part": F.lit(-1), "rank": F.lit(0).cast("long"), "marginal_ratio": F.lit(None).cast("double")}
    )
    order = [(likeliest, "ascending"), ("zip_id", "ascending")]
    return rows.select(*CANDIDATES.names).toArrow().cast(CANDIDATES).sort_by(order)
