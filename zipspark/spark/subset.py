"""The subset: the input's own rows for the picks, in the order they are to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from zipspark.config import SelectConfig
from zipspark.errors import InputError
from zipspark.limits import NO_GROUP


def subset(
    originals: Callable[[DataFrame], DataFrame], picks: DataFrame, config: SelectConfig, phases: Sequence[str] = ()
) -> DataFrame:
    """The input's columns for the picks, with ``zip_id, zip_rank, zip_ratio, zip_marginal_ratio``, in order of rank.

    With ``order`` or ``phases`` the rows come in that order, which ``zip_order`` (from 0) numbers; ``zip_rank`` stays:
    every prefix of it is a subset, of any other order it is not. With ``ids_only`` the input's columns are left out.

    Args:
        originals: `zipspark.spark.rows.Corpus.originals`.
        phases: groups in the order they are trained on; those not named come last, together.
    """
    columns = {
        "zip_id": F.col("zip_id"),
        "zip_rank": F.col("rank"),
        "zip_ratio": F.col("ratio"),
        "zip_marginal_ratio": F.col("marginal_ratio"),
    }
    order = [*_phase(phases), *_within(config.order), F.col("rank")]
    if len(order) > 1:
        columns["zip_order"] = F.row_number().over(Window.orderBy(*order)) - 1
    last = "zip_order" if "zip_order" in columns else "zip_rank"
    keys = picks.select("file", "position", *(column.alias(name) for name, column in columns.items()))
    chosen = keys.drop("file", "position") if config.ids_only else originals(keys).drop("zip_file", "zip_position")
    return chosen.orderBy(last)


def check_phases(phases: Sequence[str], groups: Sequence[str]) -> None:
    """Raises `InputError` for a phase that is no group of the pool."""
    for name in phases:
        if name not in groups:
            raise InputError(f"phases must be groups of the pool ({', '.join(sorted(groups))}), got {name!r}")


def _phase(phases: Sequence[str]) -> list[Column]:
    if not phases:
        return []
    group = F.coalesce("group", F.lit(NO_GROUP))
    place = F.array_position(F.array(*map(F.lit, phases)), group)  # from 1; 0 for one that is not named
    return [F.when(place > 0, place).otherwise(len(phases) + 1)]


def _within(order: str) -> list[Column]:
    """Dense samples are those of a low ratio; easy ones compress well."""
    return {"rank": [], "dense-first": [F.col("ratio").asc()], "easy-first": [F.col("ratio").desc()]}[order]
