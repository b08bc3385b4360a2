"""Ways to choose a subset of a pool, by the names that tables show them under.

What knows the sources of samples is named ``equal ...``: every source gets the same bytes. All others see text alone;
``DSIR`` and ``both + target`` see examples of what is wanted beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from chance import at_random, at_random_equal, within
from pools import Split

from zipspark.config import Choice, EngineOptions
from zipspark.core import select
from zipspark.core.codecs import lengths
from zipspark.core.presets import content_hash
from zipspark.core.zstd_codec import ZstdCodec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OBJECTIVES: tuple[str, ...] = get_args(Choice.model_fields["objective"].annotation)

Pick = Callable[[Split, int], Sequence[int]]  # (split, number of the draw) -> positions, in the order they were picked
MASTER = "local[2]"


@dataclass(frozen=True)
class Arm:
    """A way to fill ``split.budget`` bytes."""

    pick: Pick  # raises ImportError where a package that it needs is absent
    drawn: bool = False  # whether each draw gives another subset; otherwise a split has one
    on_spark: bool = False
    costly: bool = False  # tried with the first split alone


def chosen(targeted: bool = False, **options: Any) -> Arm:
    """`zipspark.core.select` with ``options``; where there is a mix, the groups are the sources."""

    def pick(split: Split, draw: int) -> Sequence[int]:
        groups = split.sources if "mix" in options else None
        target = examples(split) if targeted else ()
        return list(select(split.samples, f"{split.budget}B", groups=groups, target=target, **options))

    return Arm(pick)


def in_parts(parts: int, **options: Any) -> Arm:
    """The main job, as `zipspark.select` runs it: from a Parquet file, in ``parts`` and a merge."""
    groups = {"group_column": "source"} if "mix" in options else {}

    def pick(split: Split, draw: int) -> Sequence[int]:
        from zipspark import select as select_on_spark  # needs pyspark, which the other arms do not

        with TemporaryDirectory() as folder:
            path = f"{folder}/pool.parquet"
            texts = [text.decode() for text in split.samples]
            ids = [f"{row:012}" for row in range(len(texts))]
            pq.write_table(pa.table({"id": ids, "source": split.sources, "text": texts}), path)
            found = select_on_spark(
                path,
                f"{split.budget}B",
                spark=session(),
                parts=parts,
                id_column="id",
                schema="text",
                work_dir=f"{folder}/work",
                quiet=True,
                **options,
                **groups,
            )
            ranked = found.subset.select("zip_rank", "id").toArrow().sort_by("zip_rank")
        return [int(name) for name in ranked["id"].to_pylist()]

    return Arm(pick, on_spark=True)


def other(name: str, **how: bool) -> Arm:
    """A function of others.py, which wraps other people's packages."""
    return Arm(lambda split, draw: getattr(import_module("others"), name)(split, draw), **how)


def longest(split: Split, draw: int) -> Sequence[int]:
    return _best(split, -lengths(split.samples))


def lowest_ratio(split: Split, draw: int) -> Sequence[int]:
    """The samples that compress least when each stands alone: the rule of the report, in thousandths as there."""
    return _best(split, np.round(1000 * lengths(split.samples) / ZstdCodec().sizes(split.samples)))


def examples(split: Split) -> list[bytes]:
    """Texts like those held out, of all sources alike, and none of them held out."""
    return [text for texts in split.examples.values() for text in texts]


@cache
def session() -> SparkSession:
    """The session of all arms on Spark; its start is in no arm's seconds if it is asked for first."""
    from zipspark.spark.session import get_session

    return get_session(EngineOptions(master=MASTER))


def _best(split: Split, marks: np.ndarray) -> Sequence[int]:
    """The samples with the lowest of ``marks`` (n,), ties by content hash."""
    order = sorted(range(len(split.samples)), key=lambda row: (marks[row], content_hash(split.samples[row])))
    return within(split, order, split.budget)


_OPTIONS: dict[str, dict[str, str]] = {"paper": {"preset": "paper"}} | {
    objective: {"objective": objective} for objective in ("both", "ratio", "coverage")
}


def _ways(name: str, **options: Any) -> dict[str, Arm]:
    """By name: in one part, and in several."""
    return {name: chosen(**options)} | {f"{name} in {parts} parts": in_parts(parts, **options) for parts in (8, 32)}


ARMS: dict[str, Arm] = {
    "random": Arm(at_random, drawn=True),
    "longest": Arm(longest),
    "lowest own ratio": Arm(lowest_ratio),
    "MinHash + random": other("minhash_random", drawn=True),
    "DSIR": other("dsir", drawn=True),
    "facility location": other("facility_location", costly=True),
    **{arm: way for name, options in _OPTIONS.items() for arm, way in _ways(name, **options).items()},
    "both in 8 parts x4": in_parts(8, objective="both", oversample=4),
    "both in 32 parts x4": in_parts(32, objective="both", oversample=4),
    "both + target": chosen(targeted=True, objective="both"),
    "equal random": Arm(at_random_equal, drawn=True),
    **{
        arm: way
        for name, options in _OPTIONS.items()
        for arm, way in _ways(f"equal {name}", mix="equal", **options).items()
    },
}
