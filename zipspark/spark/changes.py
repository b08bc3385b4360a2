"""What has become of a corpus since a refresh looked at it.

Delta's change feed says it, where it is on. Elsewhere the corpus is compared with the ledger, by id and by the hash of
the text: that reads all of it, but needs no older version. Either way a row counts as changed when its text has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from zipspark.config import PoolOptions
from zipspark.errors import InputError, ZipsparkError
from zipspark.spark.columns import check_columns, quoted
from zipspark.spark.corpus import Corpus, read_corpus
from zipspark.spark.identity import at_places
from zipspark.spark.scores import hashed_rows
from zipspark.storage.deltas import Table
from zipspark.storage.inputs import Source
from zipspark.storage.refreshes import REBUILD
from zipspark.storage.stages import Stages

_SHOWN = 5  # examples in a message
_OF_FEED = ("_change_type", "_commit_version", "_commit_timestamp")


@dataclass(frozen=True)
class Changes:
    """Rows of a corpus that are not what the ledger says."""

    corpus: Corpus  # those that are new or whose text is another
    places: DataFrame  # their ``file`` and ``position``
    gone: DataFrame | None  # one column, zip_id: rows of the ledger that are deleted, or whose text was another
    new: int
    updated: int
    deleted: int

    @property
    def to_look_at(self) -> int:
        return self.new + self.updated

    @property
    def rows(self) -> DataFrame:
        """The input's columns of what is to be looked at."""
        return self.corpus.originals(self.places).drop("zip_file", "zip_position")


def by_feed(
    spark: SparkSession, corpus: Table, then: int, now: int, ledger: DataFrame, options: PoolOptions, stages: Stages
) -> Changes:
    """From the change feed, versions ``then`` (not itself) to ``now``.

    Raises `InputError` where Delta no longer has it: the rows cannot be guessed.
    """
    assert options.id_column is not None
    try:
        feed = corpus.feed(spark, then + 1, now)
        own = [name for name in feed.columns if name not in _OF_FEED]
        check_columns(own, options)
        key, version, kind = quoted(options.id_column), F.col("_commit_version"), F.col("_change_type")
        of_version = Window.partitionBy(key).orderBy(version.desc(), F.when(kind == "delete", 1).otherwise(0))
        # Two rows of one id in one version are both kept, and refused below.
        last = feed.where(kind != "update_preimage").withColumn("zip_place", F.rank().over(of_version))
        last = last.where("zip_place = 1").withColumn("zip_is_there", kind != "delete")
        last = stages.write("feed", last.select(*map(quoted, own), "zip_is_there"))
    except ZipsparkError:
        raise
    except Exception as error:
        raise _without_feed(error, corpus, then + 1, now) from None
    there = last.where("zip_is_there").select(*map(quoted, own))
    found = read_corpus(spark, there, options, lambda rows: rows)  # they are of a stage already
    deleted = last.where("not zip_is_there").select(quoted(options.id_column).cast("string").alias("zip_id"))
    return _compared(found, ledger, options, stages, deleted)


def has_feed(spark: SparkSession, corpus: Table, first: int, last: int) -> bool:
    """Whether the change feed was on for these versions already."""
    try:
        corpus.feed(spark, first, last).select("_change_type").limit(1).toArrow()
    except Exception as error:
        if "DELTA_MISSING_CHANGE_DATA" in str(error):
            return False
        raise _without_feed(error, corpus, first, last) from None
    return True


def by_diff(spark: SparkSession, corpus: Source, ledger: DataFrame, options: PoolOptions, stages: Stages) -> Changes:
    """From the whole corpus (at the version that ``corpus`` is pinned to) and the ledger."""
    found = read_corpus(spark, corpus, options, stages.of("touched"))
    return _compared(found, ledger, options, stages, None)


# What Delta says where a feed was off, is cleaned away, or its table was written anew.
_NOT_THERE = (
    "DELTA_MISSING_CHANGE_DATA",
    "DELTA_CHANGE_DATA_FILE_NOT_FOUND",
    "DELTA_CHANGE_TABLE_FEED_DISABLED",
    "DELTA_VERSION_NOT_FOUND",
    "DELTA_VERSION_INVALID",
    "VersionNotFoundException",
    "DELTA_TRUNCATED_TRANSACTION_LOG",
    "DELTA_LOG_FILE_NOT_FOUND",
    "DELTA_CHANGE_DATA_FEED_INCOMPATIBLE",
    "FILE_NOT_EXIST",
)


def _without_feed(error: Exception, corpus: Table, first: int, last: int) -> Exception:
    """What is to be raised for ``error``, which came of reading a change feed."""
    if not any(word in str(error) for word in _NOT_THERE):
        return error
    return InputError(f"corpus {corpus} has no change feed of its versions {first} to {last} any more{REBUILD}")


def _compared(
    found: Corpus, ledger: DataFrame, options: PoolOptions, stages: Stages, deleted: DataFrame | None
) -> Changes:
    """``found`` against the ledger; rows of that which are not found are ``deleted`` (None: all of them)."""
    rows = hashed_rows(found.rows, options)
    # A row without an id that cannot be read either is nobody's: it was counted when it was first seen.
    rows = rows.where("user_id is not null or problem is null").withColumn("zip_id", F.coalesce("user_id", F.lit("")))
    here = rows.groupBy("zip_id").agg(
        F.count("*").alias("copies"), F.first(F.struct("content", "file", "position", "user_id")).alias("row")
    )
    known = ledger.select("zip_id", F.col("content").alias("known"), F.lit(True).alias("is_known"))
    if deleted is not None:
        here = here.unionByName(
            deleted.join(here, "zip_id", "left_anti").withColumns({"copies": F.lit(0), "row": F.lit(None)}),
            allowMissingColumns=True,
        )
    both = here.join(known, "zip_id", "full" if deleted is None else "left")
    is_here, is_known = F.coalesce("copies", F.lit(0)) > 0, F.coalesce("is_known", F.lit(False))
    status = (
        F.when(is_here & ~is_known, "new")
        .when(is_here & ~F.col("row.content").eqNullSafe(F.col("known")), "updated")
        .when(is_known & ~is_here, "deleted")
    )
    changed = both.withColumn("status", status).where("status is not null or copies > 1")
    changed = stages.write("changed", changed.select("zip_id", "status", "copies", "row.*"))
    bad = F.col("copies") > 1
    bad |= (F.col("copies") == 1) & F.col("user_id").isNull()
    counts = changed.groupBy("status").agg(F.count("*").alias("rows"), F.count_if(bad).alias("bad"))
    counted = {row["status"]: row for row in counts.toArrow().to_pylist()}
    if any(row["bad"] for row in counted.values()):
        raise InputError(_wrong_ids(changed.where(bad), options))
    of_status = {status: int(row["rows"]) for status, row in counted.items()}
    outdated = of_status.get("updated", 0) + of_status.get("deleted", 0)
    places = changed.where("status in ('new', 'updated')").select("file", "position")
    return Changes(
        corpus=replace(found, rows=at_places(found.rows, places)),
        places=places,
        gone=changed.where("status in ('updated', 'deleted')").select("zip_id") if outdated else None,
        new=of_status.get("new", 0),
        updated=of_status.get("updated", 0),
        deleted=of_status.get("deleted", 0),
    )


def _wrong_ids(bad: DataFrame, options: PoolOptions) -> str:
    few = bad.orderBy("zip_id").limit(_SHOWN).toArrow().to_pylist()
    shown = ", ".join(f"{row['zip_id'] or 'null'} ({row['copies']}x)" for row in few)
    return f"id_column {options.id_column!r} must name each row of the corpus once, got {shown}"
