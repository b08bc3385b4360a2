"""What a report shows: plain numbers and texts, JSON-ready, whoever has gathered them.

`zipspark.spark.report_facts` gathers them on Spark, `zipspark.report.page` makes the page, `zipspark.report.verdict`
the sentences on top.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from zipspark.report.summary import SetLine, Summary

MOST_TEXT = 20_000  # characters of one sample that a report holds


@dataclass(frozen=True)
class Example:
    """One row of the input."""

    zip_id: str
    group: str | None
    bytes: int
    ratio: float | None  # bytes over compressed bytes of this sample alone
    rank: int | None  # from 0; None: not selected
    marginal_ratio: float | None
    text: str | None  # at most `MOST_TEXT` characters; None: hidden with --hide-text, or left out before it was read
    left_out: int = 0  # characters behind them


@dataclass(frozen=True)
class Point:
    """A stretch of the ranking, after its last sample."""

    samples: int  # chosen so far
    bytes: int
    marginal_ratio: float  # of the stretch: its bytes over the bytes they added


@dataclass(frozen=True)
class Histogram:
    """Rows that were selected beside rows that could have been, in the same bins."""

    name: str  # "bytes", "ratio"
    edges: tuple[float, ...]  # one more than bins, ascending
    selected: tuple[int, ...]
    not_selected: tuple[int, ...]


@dataclass(frozen=True)
class Excluded:
    """Rows that could not be chosen, for one reason."""

    decision: str  # duplicate, anchored, guarded, quarantined
    reason: str  # the code before the colon, or what is wrong with a record; "" where there is one reason only
    rows: int
    bytes: int
    examples: tuple[Example, ...]  # the first by content hash, duplicates by the hash of their ids


@dataclass(frozen=True)
class Cluster:
    """Samples of the pool that look alike (near-copies), and two of them that do most."""

    samples: int
    bytes: int
    selected: int
    ratio: float  # bytes over compressed bytes of them together
    pair: tuple[Example, Example]  # a selected one, if there is one, and of the others the closest to it


@dataclass(frozen=True)
class PartsLoss:
    """What cutting into parts costs, on a sample of the pool by content hash."""

    run_parts: int  # of the run itself
    parts: int  # in which it was measured
    pool_bytes: int
    subset_bytes: int
    one: float  # ratio of the subset chosen in one part
    many: float  # in `parts` parts
    common: float  # share of the one part's picks that the other has too


@dataclass(frozen=True)
class Coverage:
    """Share of what the pool says (the objective coverage's value) that the first bytes of a set hold."""

    name: str  # "subset", "random"
    bytes: tuple[int, ...]  # ascending
    share: tuple[float, ...]  # 0 to 1


@dataclass(frozen=True)
class Fuller:
    """What needs computing: ``zipspark report --full``."""

    sets: tuple[SetLine, ...]  # beside those of the summary: "longest", "lowest own ratio"; as many bytes
    coverage: tuple[Coverage, ...]
    matrix: dict[str, Any] | None  # `zipspark.core.matrix.Matrix.to_dict`; None without groups
    groups: int  # of samples that look alike
    clusters: tuple[Cluster, ...]  # those of them that save most, the most redundant first
    parts: PartsLoss | None  # None: the run had one part


@dataclass(frozen=True)
class Facts:
    """A run, as a report shows it."""

    summary: Summary
    manifest: dict[str, Any]
    ranking: tuple[Point, ...]  # at most 200, ascending; empty where picks have no marginal ratio (coverage)
    histograms: tuple[Histogram, ...]
    excluded: tuple[Excluded, ...]
    first: tuple[Example, ...]  # picks, in order of rank
    last: tuple[Example, ...]
    samples: tuple[Example, ...]  # some of the pool, selected or not, by content hash: to be searched
    full: Fuller | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
