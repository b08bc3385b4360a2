"""Tables beside the pool: an anchor (seen already), a target (what is wanted), rows or ids to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.config import Choice, PoolOptions
from zipspark.core.sketch import Sketch
from zipspark.errors import InputError, ZipsparkError
from zipspark.spark.corpus import identified, read_corpus, read_ids
from zipspark.spark.identity import with_ids
from zipspark.spark.scores import with_text
from zipspark.spark.sketches import head_length, sketch_of
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.stages import Stages

References = Mapping[str, Source | DataFrame | None]  # one for each of `zipspark.config.BESIDE`

_SHOWN = 5  # examples in a message


@dataclass(frozen=True)
class Texts:
    """The texts of such a table."""

    rows: DataFrame  # content, text; copies included
    head_bytes: int  # as far as a sketch counts them

    @property
    def contents(self) -> DataFrame:
        """One column, ``content``, each once."""
        return self.rows.select("content").distinct()

    def sketch(self, choice: Choice) -> Sketch:
        return sketch_of(self.rows, self.head_bytes, choice)


def find(option: str, names: Sequence[str] | None) -> Source | None:
    """Where the tables of ``option`` are, None if none are asked for; needs no Spark."""
    if not names:
        return None
    with _named(option):
        return resolve(names)


def pinned_all(spark: SparkSession, source: Any, beside: References) -> tuple[Any, References]:
    """The same sources, each table at the version that it has now, and with Delta's id of it."""
    tables = {name: identified(spark, table) if isinstance(table, Source) else table for name, table in beside.items()}
    return identified(spark, source) if isinstance(source, Source) else source, tables


def texts(
    spark: SparkSession, option: str, sources: Sequence[Source | DataFrame], pool: PoolOptions, stages: Stages
) -> Texts:
    """The texts of ``sources``, rendered as those of the pool are, as a stage called ``option``.

    Raises `InputError` when there are no rows, another schema, or rows that cannot be rendered.
    """
    options = PoolOptions(schema_=pool.schema_, text_expr=pool.text_expr, roles=pool.roles)
    with _named(option):
        found = [read_corpus(spark, source, options, None).rows.select("text", "problem") for source in sources]
        rows = reduce(DataFrame.unionByName, found)
        rows = stages.write(option, rows.withColumn("content", F.md5("text")))
        counted = rows.agg(
            F.count("*").alias("rows"),
            F.count("problem").alias("bad"),
            F.coalesce(F.sum(head_length("text")), F.lit(0)).alias("bytes"),
        )
        found = counted.toArrow().to_pylist()[0]
        if not found["rows"]:
            raise InputError("holds no rows")
        if found["bad"] > pool.max_bad_fraction * found["rows"] or found["bad"] == found["rows"]:
            reason = rows.where("problem is not null").agg(F.min("problem").alias("p")).toArrow()["p"][0].as_py()
            raise InputError(f"{found['bad']:,} of {found['rows']:,} rows cannot be read or rendered, such as {reason}")
    good = rows.where("content is not null").select("content", "text")
    return Texts(good, found["bytes"])


def kept(
    spark: SparkSession, source: Source | DataFrame, scores: DataFrame, pool: PoolOptions, stages: Stages
) -> DataFrame:
    """What ``keep`` asks for: ``content``, each once, and perhaps ``rows``. By ids where it has them, else by texts.

    With ``dedup`` an id stands for its text: a duplicate's id keeps the row that its text stands in the pool with.
    Without, it stands for its own row alone, and ``rows`` say which (see `samples.seen`). A text stands for every row
    that holds it.

    Raises `InputError` when an id or text is not in the pool, or not in what `where` and quality leave of it.
    """
    with _named("keep"):
        ids = read_ids(spark, source, pool.id_column)
    rows = with_text(scores).select("content", "user_id", "file", "position")
    by_row = ids is not None and not pool.dedup
    if ids is None:
        wanted = texts(spark, "keep", [source], pool, stages).contents.withColumnRenamed("content", "zip_id")
        rows = rows.withColumn("zip_id", F.col("content"))
    else:
        wanted = ids
        if by_row:
            rows = with_ids(rows)
        else:
            rows = rows.withColumn("zip_id", F.coalesce("user_id", "content"))
            if not pool.id_column:  # such an id is made of a content and a copy number
                wanted = ids.select(F.split_part("zip_id", F.lit("-"), F.lit(1)).alias("zip_id")).distinct()
    kept = stages.write("kept", wanted.join(rows, "zip_id", "left").select("zip_id", "content", "file", "position"))
    counted = kept.agg(F.count("*").alias("rows"), F.count("content").alias("found")).toArrow().to_pylist()[0]
    if not counted["rows"]:
        raise InputError("keep: holds no rows")
    if missing := counted["rows"] - counted["found"]:
        lost = kept.where("content is null").orderBy("zip_id").limit(_SHOWN).toArrow()["zip_id"].to_pylist()
        what = "texts (by content hash)" if ids is None else "ids"
        of = "the rows that --where and quality leave" if pool.where or pool.quality_column else "the pool"
        raise InputError(f"keep must hold {what} of {of}, got {missing:,} others, such as {', '.join(lost)}")
    contents = kept.groupBy("content").agg(F.collect_list(F.struct("file", "position")).alias("rows"))
    return contents if by_row else contents.select("content")


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Says which option an error is about: messages about inputs do not."""
    try:
        yield
    except ZipsparkError as error:
        raise type(error)(f"{option}: {error}") from error
