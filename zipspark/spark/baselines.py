"""What simpler rules would have chosen: the longest samples, or those that compress least when each stands alone."""

from __future__ import annotations

from itertools import accumulate

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from zipspark.report.summary import SetLine
from zipspark.spark.identity import beside
from zipspark.spark.measure import measured, random_of
from zipspark.spark.report_facts import Material, offered

# What each rule goes by, lowest first: whole numbers, of which there are few however many samples there are.
RULES = {"longest": "-bytes", "lowest own ratio": "cast(round(1000 * ratio) as bigint)"}


def baselines(found: Material, size: int) -> tuple[SetLine, ...]:
    """A set by each of `RULES`, of at most ``size`` bytes, measured as those of the summary are.

    One that holds nothing, as its first sample is larger, is left out.
    """
    lines = []
    for name, rule in RULES.items():
        rows = _lowest(offered(found.ledger).withColumn("by", F.expr(rule)), size)
        ratio = measured(beside(rows.select("file", "position", "content"), found.texts, F.col("text")), size)
        if ratio["rows"]:
            lines.append(SetLine(name, *random_of(size, ratio), ratio["ratio"], int(ratio["bytes"])))
    return tuple(lines)


def _lowest(rows: DataFrame, size: int) -> DataFrame:
    """Rows in the order of ``by``, then of their content hash, as long as they come to ``size`` bytes at most."""
    steps = rows.groupBy("by").agg(F.sum("bytes").alias("bytes")).toArrow().sort_by("by").to_pylist()
    ends = accumulate(step["bytes"] for step in steps)
    last, end = next(((step, end) for step, end in zip(steps, ends, strict=True) if end > size), (None, 0))
    if last is None:
        return rows
    room = size - (end - last["bytes"])
    so_far = F.sum("bytes").over(Window.partitionBy("by").orderBy("content", "file", "position"))
    tied = rows.where(F.col("by") == last["by"]).withColumn("so_far", so_far).where(F.col("so_far") <= room)
    return rows.where(F.col("by") < last["by"]).unionByName(tied.drop("so_far"))
