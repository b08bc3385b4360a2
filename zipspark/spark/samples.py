"""The samples stage: of every row what the choice needs to know, and whether it may be chosen at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.config import PoolOptions
from zipspark.core.codecs import lengths
from zipspark.core.seen import Eye, look_at
from zipspark.spark.batches import batch, library_versions, require_versions, spark_schema
from zipspark.spark.identity import at_places

# One row per input row. `content` to `view` are null for a row that has no text.
SAMPLES = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("user_id", pa.string()),
        pa.field("group", pa.string()),
        pa.field("content", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("tokens", pa.int64()),
        pa.field("ratio", pa.float64()),
        pa.field("bucket", pa.int32()),
        pa.field("worth", pa.float64()),  # what its gain is multiplied by; null: 1
        pa.field("kept", pa.bool_()),  # it must be chosen
        pa.field("barred", pa.string()),  # the decision that it may not be: quarantined, guarded or anchored
        pa.field("reason", pa.string()),  # why it is barred
        pa.field("view", pa.binary()),  # what the objective looks at (`zipspark.core.seen`); null where barred
    ]
)


def seen(
    scores: DataFrame,
    eye: Eye,
    pool: PoolOptions,
    anchor: DataFrame | None = None,
    keep: DataFrame | None = None,
) -> DataFrame:
    """`SCORES` rows as `SAMPLES`, lazily; to an eye without a lens the text is the view, and nothing is guarded.

    ``anchor`` holds the contents (one column ``content``, distinct) that may not be chosen. ``keep`` holds those that
    must be, and perhaps as ``rows`` which of their rows, structs of ``file`` and ``position``; else all are. Neither
    guard nor anchor bars a text of which any row is kept: copies are barred together or not at all.
    """
    rows = _flagged(_flagged(scores, "anchored", anchor), "spared", keep)
    kept = F.col("spared")
    if keep is not None and "rows" in keep.columns:
        kept &= F.array_contains("rows", F.struct("file", "position"))
    anchored = F.col("anchored") & ~F.col("spared")
    rows = rows.withColumns(
        {
            "kept": kept,
            "worth": worth(pool),
            "barred": F.when(F.col("problem").isNotNull(), "quarantined")
            .when(F.col("left_out").isNotNull(), "guarded")
            .when(anchored, "anchored"),
            "reason": F.coalesce("problem", "left_out", F.when(anchored, "content")),
        }
    )
    if eye.lens is None:
        view = F.when(F.col("barred").isNull(), F.col("text"))
        return rows.withColumn("view", view).select(*SAMPLES.names)
    taken = [name for name in SAMPLES.names if name != "view"]
    task = _See(eye, library_versions())
    return rows.select(*taken, "spared", "text").mapInArrow(task, spark_schema(SAMPLES))


def worth(pool: PoolOptions) -> Column:
    """What the gain of a row of `SCORES` is multiplied by; null: 1."""
    weighed = F.pow("quality", F.lit(pool.quality_weight)) if pool.quality_weight else F.lit(None)
    return weighed.cast("double")


def choosable(samples: DataFrame) -> DataFrame:
    """The samples that may be chosen, copies included."""
    return samples.where("barred is null")


def choosable_scores(scores: DataFrame, samples: DataFrame) -> DataFrame:
    """The rows of ``scores``, with their texts, that may be chosen."""
    return at_places(scores, choosable(samples))


@dataclass(frozen=True)
class _See:
    """Looks at the texts of batches through the pool's lens."""

    eye: Eye
    versions: Mapping[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        for rows in batches:
            free = rows.column("barred").is_null().to_numpy(zero_copy_only=False)
            spared = rows.column("spared").to_numpy(zero_copy_only=False)[free]
            places = np.flatnonzero(free)
            texts = rows.column("text").take(pa.array(places)).to_pylist()
            ratios = rows.column("ratio").take(pa.array(places)).to_numpy(zero_copy_only=False)
            alone = np.rint(lengths(texts) / ratios).astype(np.int64)
            hashes, groups = (rows.column(name).take(pa.array(places)).to_pylist() for name in ("content", "group"))
            found = look_at(texts, hashes, alone, self.eye, groups)
            columns = {name: rows.column(name) for name in rows.schema.names}
            barred, reasons = columns["barred"].to_pylist(), columns["reason"].to_pylist()
            views: list[bytes | None] = [None] * len(barred)
            worth = rows.column("worth").fill_null(1.0).to_numpy(zero_copy_only=False).copy()
            worth[places] *= found.likeness
            for place, safe, view, reason in zip(places, spared, found.views, found.guarded, strict=True):
                if reason is None or safe:
                    views[place] = view
                else:
                    barred[place], reasons[place] = "guarded", reason
            yield batch(SAMPLES, columns | {"barred": barred, "reason": reasons, "worth": worth, "view": views})


def _flagged(rows: DataFrame, name: str, contents: DataFrame | None) -> DataFrame:
    """``rows`` with a flag: is their content among ``contents``."""
    if contents is None:
        return rows.withColumn(name, F.lit(False))
    found = contents.withColumn(name, F.lit(True))
    return rows.join(found, "content", "left").withColumn(name, F.coalesce(name, F.lit(False)))
