"""Which row is which: its name (the user's own id, else its content's hash and a copy number), and where it lies.

A place is a ``file`` (null: a table) and a ``position`` in it; together they are a row's own.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from zipspark.core.seen import lowest_share

# The rows of one content in the order that decides which is kept, and which copy number each gets.
COPY_ORDER = ("user_id", "file", "position")


def with_ids(rows: DataFrame) -> DataFrame:
    """Adds ``copy`` (0 for the row of a content that is kept), ``zip_id`` and ``same_as``, the kept row's ``zip_id``.

    A row without a text has no content: only the user's own id, where there is one.
    """
    same_content = Window.partitionBy("content").orderBy(*COPY_ORDER)
    good = rows.where("content is not null").withColumn("copy", F.row_number().over(same_content) - 1)
    hashed = F.concat("content", F.lit("-"), F.col("copy").cast("string"))
    good = good.withColumn("zip_id", F.coalesce("user_id", hashed))
    good = good.withColumn("same_as", F.first("zip_id").over(same_content))
    bad = rows.where("content is null")
    bad = bad.withColumns({"copy": F.lit(0), "zip_id": F.col("user_id"), "same_as": F.lit(None).cast("string")})
    return good.unionByName(bad)


def at_places(rows: DataFrame, places: DataFrame) -> DataFrame:
    """Those of ``rows`` that lie where a row of ``places`` does."""
    return _by_place(rows, places.select("file", "position"), "left_semi")


def beside(few: DataFrame, texts: DataFrame, *columns: Column) -> DataFrame:
    """``few`` rows with these ``columns`` of the rows of a stage that lie at their places.

    It is the few that travel, not the texts.
    """
    return _by_place(F.broadcast(few), texts.select("file", "position", *columns)).drop("of_file", "of_position")


def with_same_place(rows: DataFrame, others: DataFrame) -> DataFrame:
    """``rows``, each with the other columns of the row of ``others`` at its place; those without one are left out."""
    return _by_place(rows, others).drop("of_file", "of_position")


def lowest_contents(share: float) -> Column:
    """Whether the column ``content``, a hash, is among the lowest ``share`` of all that there could be."""
    below = lowest_share(share)
    return F.lit(True) if below is None else F.col("content") < below


def _by_place(rows: DataFrame, others: DataFrame, how: str = "inner") -> DataFrame:
    others = others.withColumnsRenamed({"file": "of_file", "position": "of_position"})
    same = F.col("file").eqNullSafe(F.col("of_file")) & (F.col("position") == F.col("of_position"))
    return rows.join(others, same, how)
