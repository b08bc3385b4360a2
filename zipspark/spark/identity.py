"""Which row is which: its name (the user's own id, else its content's hash and a copy number), and where it lies."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

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
    """Those of ``rows`` that lie where a row of ``places`` does: the same ``file`` (null: a table) and ``position``."""
    wanted = places.select(F.col("file").alias("of_file"), F.col("position").alias("of_position"))
    same = F.col("file").eqNullSafe(F.col("of_file")) & (F.col("position") == F.col("of_position"))
    return rows.join(wanted, same, "left_semi")
