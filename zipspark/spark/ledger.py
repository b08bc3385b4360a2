"""The ledger: what was decided for every row of the input, and why."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.spark.identity import with_ids
from zipspark.spark.tree import Plan, part_column

DECISIONS = ("selected", "not_selected", "duplicate", "anchored", "guarded", "quarantined")

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


def ledger(samples: DataFrame, candidates: DataFrame, picks: DataFrame, plan: Plan, dedup: bool) -> DataFrame:
    """One row per row of ``samples``: `LEDGER_COLUMNS` and ``content``, its hash.

    Copies of a text that is guarded or anchored are so too.

    ===============  =========================================================================================
    decision         reason
    ===============  =========================================================================================
    selected         ``keep`` where it had to be; else null
    not_selected     ``part``: not among the candidates of its part; ``merge``: a candidate that others beat;
                     ``budget``: there was none (`unchosen`)
    duplicate        the ``zip_id`` of the row with the same text that was kept
    anchored         ``content``: the anchor holds this very text
    guarded          ``where``, ``quality:...``, or what the guard saw (`zipspark.core.guard`)
    quarantined      why the row could not be read or rendered (see the quarantine table)
    ===============  =========================================================================================
    """
    rows = with_ids(part_column(samples.drop("view"), plan))
    handed_up = candidates.select("zip_id", F.lit(True).alias("handed_up"))
    chosen = picks.select("zip_id", "rank", "marginal_ratio")
    rows = rows.join(handed_up, "zip_id", "left").join(chosen, "zip_id", "left")
    return _decided(rows, dedup)


def unchosen(samples: DataFrame, dedup: bool) -> DataFrame:
    """The same where nothing could be chosen, or nothing was to be."""
    nothing = {
        "part": F.lit(None).cast("int"),
        "handed_up": F.lit(None).cast("boolean"),
        "rank": F.lit(None).cast("bigint"),
        "marginal_ratio": F.lit(None).cast("double"),
    }
    rows = with_ids(samples.drop("view")).withColumns(nothing)
    return _decided(rows, dedup, otherwise="budget")


def _decided(rows: DataFrame, dedup: bool, otherwise: str = "part") -> DataFrame:
    has_text = F.col("content").isNotNull()
    is_chosen = F.col("rank").isNotNull()
    is_duplicate = has_text & (F.col("copy") > 0) & F.lit(dedup)
    is_barred = F.col("barred").isNotNull()
    decided = rows.withColumns(
        {
            "decision": F.when(is_chosen, "selected")
            .when(is_barred, F.col("barred"))
            .when(is_duplicate, "duplicate")
            .otherwise("not_selected"),
            "reason": F.when(is_chosen, F.when(F.col("kept"), "keep"))
            .when(is_barred, F.col("reason"))
            .when(is_duplicate, F.col("same_as"))
            .when(F.col("handed_up"), "merge")
            .otherwise(otherwise),
        }
    )
    return decided.select(*LEDGER_COLUMNS, "content")


def quarantine(scores: DataFrame) -> DataFrame:
    """``file, position, reason, record`` of the rows that could not be read or rendered."""
    bad = scores.where("problem is not null")
    return bad.select("file", "position", F.col("problem").alias("reason"), "record")


def scores_table(scores: DataFrame) -> DataFrame:
    """What ``zipspark score`` writes: ``zip_id, group, bytes, ratio, file, position`` of every row, copies included."""
    return with_ids(scores.drop("text", "record")).select("zip_id", "group", "bytes", "ratio", "file", "position")
