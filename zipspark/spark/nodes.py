"""What a part, a node and the root do with the samples they hold: one ranking each, with the same function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipspark.config import Choice
from zipspark.core.lens import Lens
from zipspark.core.seen import reach_of
from zipspark.core.selection import Offer, Ranking, Reach, rank
from zipspark.core.views import features_of
from zipspark.errors import EngineError
from zipspark.limits import NO_GROUP, Until
from zipspark.spark.batches import batch, first_of_each, library_versions, require_versions, runs
from zipspark.spark.plan import Quotas

# What a part or node hands up: its ranking, best first.
CANDIDATES = pa.schema(
    [
        pa.field("part", pa.int32()),
        pa.field("zip_id", pa.string()),
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("group", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("tokens", pa.int64()),
        pa.field("worth", pa.float64()),
        pa.field("kept", pa.bool_()),
        pa.field("ratio", pa.float64()),
        pa.field("view", pa.binary()),  # null where nobody ranks it again
        pa.field("rank", pa.int64()),  # within the part or node, from 0
        pa.field("marginal_ratio", pa.float64()),  # null for objective coverage
    ]
)


@dataclass(frozen=True)
class Aid:
    """What every ranking needs beside the samples; small enough for a task's closure."""

    header: bytes  # zstd's entropy tables
    lens: Lens | None  # what the pool says of grams
    reach: Reach | None  # what the pool covers, where `until` asks


@dataclass(frozen=True)
class Ranker:
    """Ranks what a node holds.

    ``until`` counts shares of the whole pool's reach, or with ``own_reach`` of what is held here: a part can never
    cover a share of all.
    """

    quotas: Quotas
    choice: Choice
    aid: Aid
    until: Until | None
    own_reach: bool = False
    overshoot: bool = False  # see `core.selection.rank`
    views: bool = True  # whether views are handed up

    def __call__(self, node: int, rows: pa.Table, positional: bool = False) -> pa.Table:
        """`CANDIDATES` of the picks, in order. ``rows`` have its columns but rank and marginal ratio, and perhaps more.

        Ties are decided by ``zip_id``, or with ``positional`` by the order of ``rows``.
        """
        views = rows["view"].to_pylist()
        offer = Offer(
            views=views,
            sizes=rows["bytes"].to_numpy(),
            ids=None if positional else rows["zip_id"].to_pylist(),
            tokens=rows["tokens"].to_numpy() if rows["tokens"].null_count == 0 else None,
            groups=rows["group"].fill_null(NO_GROUP).to_pylist(),
            worth=rows["worth"].fill_null(1.0).to_numpy() if rows["worth"].null_count < len(rows) else None,
            kept=rows["kept"].to_numpy(),
        )
        ranking = rank(
            offer,
            self.quotas[node],
            self.choice,
            lens=self.aid.lens,
            header=self.aid.header,
            until=self.until,
            reach=self._own_reach(views) if self.own_reach else self.aid.reach,
            overshoot=self.overshoot,
        )
        return ranked(rows, ranking, [views[index] for index in ranking] if self.views else None)

    def _own_reach(self, views: Sequence[bytes]) -> Reach | None:
        if self.until is None or not self.until.by_share:
            return None
        assert self.aid.lens is not None
        return reach_of(features_of(views, self.choice), self.aid.lens, self.until.target_coverage is not None)


@dataclass(frozen=True)
class RankParts:
    """Ranks each part of a task; rows of `SAMPLES` and ``part`` come sorted by part, content and `COPY_ORDER`."""

    ranker: Ranker
    dedup: bool
    versions: Mapping[str, str] = field(default_factory=library_versions)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        positional = self.ranker.choice.preset != "default"
        for part, rows in runs(first_of_each(batches) if self.dedup else batches, "part"):
            rows = named(rows)
            if positional:
                rows = rows.sort_by([("file", "ascending"), ("position", "ascending")])
            yield from handed_up(self.ranker(part, rows, positional))


@dataclass(frozen=True)
class RankNodes:
    """Ranks each node of a task; rows of `CANDIDATES` and ``node`` come sorted by node and id."""

    ranker: Ranker
    versions: Mapping[str, str] = field(default_factory=library_versions)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        require_versions(self.versions)
        for node, rows in runs(batches, "node"):
            ids = rows["zip_id"].combine_chunks()
            if pc.any(pc.greater_equal(ids[:-1], ids[1:])).as_py():
                raise EngineError(f"rows of node {node} must come sorted by id, each once")
            yield from handed_up(self.ranker(node, rows))


def named(rows: pa.Table) -> pa.Table:
    """Rows sorted by content and `COPY_ORDER`, with their ``zip_id`` (as `identity.with_ids` gives it)."""
    contents = rows["content"].to_pylist()
    copies = [0] * len(contents)
    for index in range(1, len(contents)):
        if contents[index] < contents[index - 1]:
            raise EngineError(f"rows of a part must come sorted, got {contents[index]} after {contents[index - 1]}")
        if contents[index] == contents[index - 1]:
            copies[index] = copies[index - 1] + 1
    ids = [
        f"{content}-{copy}" if own is None else own
        for own, content, copy in zip(rows["user_id"].to_pylist(), contents, copies, strict=True)
    ]
    return rows.append_column("zip_id", pa.array(ids, pa.string()))


def ranked(rows: pa.Table, ranking: Ranking, views: list[bytes] | None) -> pa.Table:
    """`CANDIDATES` of the picks of ``ranking``, in order, with their ``views``, if anybody ranks them again."""
    new = ("view", "rank", "marginal_ratio")
    # Taken with the rest, Arrow would copy the views of all rows to take a few.
    picked = rows.select([name for name in CANDIDATES.names if name not in new]).take(pa.array(ranking.indices))
    marginal = pa.array(ranking.marginal_ratios, pa.float64(), from_pandas=True)  # NaN becomes null
    columns = {
        "view": pa.nulls(len(ranking), pa.binary()) if views is None else pa.array(views, pa.binary()),
        "rank": pa.array(np.arange(len(ranking)), pa.int64()),
        "marginal_ratio": marginal,
    }
    for name, column in columns.items():
        picked = picked.append_column(name, column)
    return picked.select(CANDIDATES.names).cast(CANDIDATES)


def handed_up(picked: pa.Table) -> Iterator[pa.RecordBatch]:
    for chunk in picked.to_batches(max_chunksize=1000):
        yield batch(CANDIDATES, {name: chunk.column(name) for name in CANDIDATES.names})


def without_shares(until: Until | None) -> Until | None:
    """``until`` for whoever cannot tell what the whole choice covers."""
    return None if until is None else Until(marginal_ratio=until.marginal_ratio)


def tightened(until: Until | None, halvings: float) -> Until | None:
    """``until`` with the share that may stay uncovered halved so often.

    >>> tightened(Until(coverage=0.9), 1)
    Until(coverage=0.95, target_coverage=None, marginal_ratio=None)
    """
    if until is None:
        return None

    def raised(share: float | None) -> float | None:
        return None if share is None else 1 - (1 - share) / 2.0**halvings

    return replace(until, coverage=raised(until.coverage), target_coverage=raised(until.target_coverage))
