"""What parts cost: the value of the set that 8 and 32 parts and a merge choose, against one ranking of everything.

In memory, with the pieces that Spark's tasks use: parts by min-hash, each handing up `--oversample` times its share of
the budget, and one ranking of what they hand up. The value of ``ratio`` is the set's ratio by zstd-19 with a wide
window, that of ``coverage`` the weight it covers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from measures import wide_ratio
from pools import records_of, rendered
from results import machine
from speed import BYTE_BUDGETS, POOL_BYTES
from rich.console import Console
from rich.table import Table

from zipspark.config import Choice, SelectConfig, oversampling
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.minhash import min_hashes
from zipspark.core.parts import pack
from zipspark.core.presets import content_hash, trained_header
from zipspark.core.seen import Eye, counted_below, head_bytes, joined, look_at, sketch_of, union_of
from zipspark.core.selection import Offer, Quota, rank
from zipspark.core.zstd_codec import HEADER_SAMPLES
from zipspark.spark.scores import BUCKETS
from zipspark.units import format_bytes


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=54_000, show_default=True, help="samples read from the start of POOL")
@click.option("--parts", default="8,32", show_default=True, help="how many")
def main(pool: Path | None, rows: int, parts: str) -> None:
    """POOL is a Parquet file of records; without one, the demo corpus is used."""
    out = Console()
    texts = rendered(records_of(pool, rows))
    contents = dict(sorted((content_hash(text), text) for text in texts))
    size = sum(map(len, contents.values()))
    budget = int(BYTE_BUDGETS[0] * min(1.0, size / POOL_BYTES))
    out.print(machine())
    out.print(f"pool: {len(contents):,} samples, {format_bytes(size)}; {format_bytes(budget)} chosen, guard on")
    table = Table("objective", "parts", "oversample", "value", "to one part")
    for objective in ("ratio", "coverage"):
        merged = Merged.of(contents, Choice(objective=objective))
        one = merged.value(merged.ranked(merged.free, budget))
        table.add_row(objective, "1", "", f"{one:,.3f}", "")
        for count in map(int, parts.split(",")):
            times = oversampling(SelectConfig(objective=objective))
            value = merged.value(merged.through(count, times, budget))
            table.add_row(objective, str(count), f"{times:g}", f"{value:,.3f}", f"{value / one - 1:+.1%}")
    out.print(table)


@dataclass
class Merged:
    """A pool as selection sees it: rows are positions, in the order of content hashes."""

    choice: Choice
    texts: Sequence[bytes]
    sizes: np.ndarray
    views: Sequence[bytes]
    buckets: np.ndarray
    free: list[int]  # rows that the guard leaves
    lens: Lens
    header: bytes

    @classmethod
    def of(cls, contents: dict[str, bytes], choice: Choice) -> Merged:
        texts = list(contents.values())
        first = texts[:HEADER_SAMPLES]
        total = head_bytes(texts)
        lens = Lens.of(sketch_of(contents, total, choice))
        eye = Eye.opened(choice, lens, dict(zip(contents, first, strict=False)), below=counted_below(total))
        seen = look_at(texts, list(contents), None, eye)
        free = [row for row, reason in enumerate(seen.guarded) if reason is None]
        buckets = min_hashes(*joined(texts)) % BUCKETS
        return cls(choice, texts, lengths(texts), seen.views, buckets, free, lens, trained_header(choice, first))

    def ranked(self, rows: Sequence[int], amount: float, overshoot: bool = False) -> list[int]:
        offer = Offer([self.views[row] for row in rows], self.sizes[list(rows)])
        quota = Quota("bytes", amount)
        ranking = rank(offer, quota, self.choice, lens=self.lens, header=self.header, overshoot=overshoot)
        return [rows[at] for at in ranking]

    def through(self, parts: int, oversample: float, budget: int) -> list[int]:
        held = Counter[int]()
        for row in self.free:
            held[int(self.buckets[row])] += int(self.sizes[row])
        placed = pack(held, parts)
        rows_of: list[list[int]] = [[] for _ in range(parts)]
        for row in self.free:
            slices = placed[int(self.buckets[row])]
            rows_of[slices[row % len(slices)]].append(row)
        share = oversample * budget / self.sizes[self.free].sum()
        handed_up = [
            row for rows in rows_of for row in self.ranked(rows, math.ceil(share * self.sizes[rows].sum()), True)
        ]
        return self.ranked(sorted(handed_up), budget)

    def value(self, picks: Sequence[int]) -> float:
        if self.choice.objective == "ratio":
            return wide_ratio([self.texts[row] for row in picks])
        return float(self.lens.weights()[union_of(self.views[row] for row in picks)].sum(dtype=np.float64))


if __name__ == "__main__":
    main()
