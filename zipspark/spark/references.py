"""Tables beside the pool: an anchor (seen already), a target (what is wanted), rows or ids to keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.config import Choice, PoolOptions
from zipspark.core.sketch import Sketch
from zipspark.errors import InputError, ZipsparkError
from zipspark.spark.corpus import read_corpus, read_ids
from zipspark.spark.sketches import sketch_of
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.stages import Stages

_SHOWN = 5  # examples in a message


@dataclass(frozen=True)
class Texts:
    """The texts of such a table."""

    rows: DataFrame  # content, text; copies included
    bytes: int

    @property
    def contents(self) -> DataFrame:
        """One column, ``content``, each once."""
        return self.rows.select("content").distinct()

    def sketch(self, choice: Choice) -> Sketch:
        return sketch_of(self.rows, self.bytes, choice)


def find(option: str, names: Sequence[str] | None) -> Source | None:
    """Where the tables of ``option`` are, None if none are asked for; needs no Spark."""
    if not names:
        return None
    with _named(option):
        return resolve(names)


def texts(spark: SparkSession, option: str, source: Source | DataFrame, pool: PoolOptions, stages: Stages) -> Texts:
    """The texts of ``source``, rendered as those of the pool are, as a stage called ``option``.

    Raises `InputError` when it has no rows, another schema, or rows that cannot be rendered.
    """
    options = PoolOptions(schema_=pool.schema_, text_expr=pool.text_expr, roles=pool.roles)
    with _named(option):
        corpus = read_corpus(spark, source, options, lambda frame: stages.write(f"{option}_input", frame))
        rows = stages.write(option, corpus.rows.select("text", "problem").withColumn("content", F.md5("text")))
        counted = rows.agg(
            F.count("*").alias("rows"),
            F.count("problem").alias("bad"),
            F.coalesce(F.sum(F.length("text")), F.lit(0)).alias("bytes"),
        )
        found = counted.toArrow().to_pylist()[0]
        if not found["rows"]:
            raise InputError("holds no rows")
        if found["bad"] > pool.max_bad_fraction * found["rows"] or found["bad"] == found["rows"]:
            reason = rows.where("problem is not null").agg(F.min("problem").alias("p")).toArrow()["p"][0].as_py()
            raise InputError(f"{found['bad']:,} of {found['rows']:,} rows cannot be read or rendered, such as {reason}")
    return Texts(rows.where("content is not null").select("content", "text"), found["bytes"])


def kept_contents(
    spark: SparkSession, source: Source | DataFrame, scores: DataFrame, pool: PoolOptions, stages: Stages
) -> DataFrame:
    """The contents (one column, ``content``) that ``keep`` asks for: by ids where it has them, else by its texts.

    Raises `InputError` when an id or text is not in the pool.
    """
    with _named("keep"):
        ids = read_ids(spark, source, pool.id_column)
    offered = scores.where("content is not null").select("content", "user_id")
    if ids is None:
        wanted = texts(spark, "keep", source, pool, stages).contents
        found = wanted.join(offered.select("content", F.lit(True).alias("there")).distinct(), "content", "left")
        name = "content"
    else:
        # An id made of a content and a copy number names the content; copies are the same text.
        named = offered.select("content", F.coalesce("user_id", "content").alias("zip_id")).distinct()
        wanted = ids if pool.id_column else ids.select(F.split_part("zip_id", F.lit("-"), F.lit(1)).alias("zip_id"))
        found = wanted.distinct().join(named.withColumn("there", F.lit(True)), "zip_id", "left")
        name = "zip_id"
    kept = stages.write("kept", found)
    missing = kept.where("there is null").select(name).orderBy(name)
    lost = missing.limit(_SHOWN).toArrow()[name].to_pylist()
    if lost:
        what = "texts (by content hash)" if ids is None else "ids"
        raise InputError(
            f"keep must hold {what} of the pool, got {missing.count():,} others, such as {', '.join(lost)}"
        )
    return kept.select("content").distinct()


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Says which option an error is about: messages about inputs do not."""
    try:
        yield
    except ZipsparkError as error:
        raise type(error)(f"{option}: {error}") from error
