"""The ledger: what was decided for every row of the input, and why."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.spark.identity import with_ids
from zipspark.spark.tree import Plan, part_column

# One row per input row. `reason` is a code with detail after a colon (see `ledger`).
LEDGER_COLUMNS = (
    "zip_id",
    "group",
    "bytes",
    "ratio",
    "part",
    "decision",
    "reason",
    "rank",
    "marginal_ratio",
    "file",
    "position",
)
# The picks as the ledger and the subset need them.
PICKS = pa.schema(
    [
        pa.field("zip_id", pa.string()),
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("rank", pa.int64()),
        pa.field("ratio", pa.float64()),
        pa.field("marginal_ratio", pa.float64()),
    ]
)


def ledger(scores: DataFrame, candidates: DataFrame, picks: DataFrame, plan: Plan, dedup: bool) -> DataFrame:
    """One row per row of ``scores``, with `LEDGER_COLUMNS`.

    ===============  =========================================================================================
    decision         reason
    ===============  =========================================================================================
    selected         null
    not_selected     ``part``: not among the candidates of its part; ``merge``: a candidate that others beat
    duplicate        the ``zip_id`` of the row with the same text that was kept
    quarantined      why the row could not be read or rendered (see the quarantine table)
    ===============  =========================================================================================
    """
    rows = with_ids(part_column(scores.drop("text", "record"), plan))
    handed_up = candidates.select("zip_id", F.lit(True).alias("handed_up"))
    chosen = picks.select("zip_id", "rank", "marginal_ratio")
    rows = rows.join(handed_up, "zip_id", "left").join(chosen, "zip_id", "left")
    is_duplicate = (F.col("copy") > 0) & F.lit(dedup)
    decided = rows.withColumns(
        {
            "decision": _first_that(
                (F.col("problem").isNotNull(), F.lit("quarantined")),
                (F.col("rank").isNotNull(), F.lit("selected")),
                (is_duplicate, F.lit("duplicate")),
                otherwise=F.lit("not_selected"),
            ),
            "reason": _first_that(
                (F.col("problem").isNotNull(), F.col("problem")),
                (F.col("rank").isNotNull(), F.lit(None)),
                (is_duplicate, F.col("kept")),
                (F.col("handed_up"), F.lit("merge")),
                otherwise=F.lit("part"),
            ),
        }
    )
    return decided.select(*LEDGER_COLUMNS)


def _first_that(*cases: tuple[Column, Column], otherwise: Column) -> Column:
    column = otherwise
    for condition, value in reversed(cases):
        column = F.when(condition, value).otherwise(column)
    return column


def subset(originals: Callable[[DataFrame], DataFrame], picks: DataFrame) -> DataFrame:
    """The input's columns for the picks, with ``zip_id, zip_rank, zip_ratio, zip_marginal_ratio``, in order of rank."""
    keys = picks.select(
        "file",
        "position",
        "zip_id",
        F.col("rank").alias("zip_rank"),
        F.col("ratio").alias("zip_ratio"),
        F.col("marginal_ratio").alias("zip_marginal_ratio"),
    )
    return originals(keys).drop("zip_file", "zip_position").orderBy("zip_rank")


def quarantine(scores: DataFrame) -> DataFrame:
    """``file, position, reason, record`` of the rows that could not be read or rendered."""
    bad = scores.where("problem is not null")
    return bad.select("file", "position", F.col("problem").alias("reason"), "record")


def scores_table(scores: DataFrame) -> DataFrame:
    """What ``zipspark score`` writes: ``zip_id, group, bytes, ratio, file, position`` of every row, copies included."""
    return with_ids(scores.drop("text", "record")).select("zip_id", "group", "bytes", "ratio", "file", "position")
