"""What parts cost: the value of the set that parts and a merge choose, against one ranking of everything.

In memory, with the pieces that Spark's tasks use: the pool is cut, each part hands up a multiple of its share of the
budget, and one ranking of what they hand up is the result. Cut by min-hash, as in a run, look-alikes meet in a part; by
chance (content hash) they meet only in the merge. What a set is worth: its ratio by zstd-19 with a wide window, lower
is better; the weight it covers, higher is better. A random set shows how much there is to lose.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from looks import header_of, lens_of, looked_at
from measures import wide_ratio
from pools import records_of, rendered
from results import Results, option
from speed import BYTE_BUDGETS, POOL_BYTES

from zipspark.config import Choice
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.minhash import min_hashes
from zipspark.core.parts import pack
from zipspark.core.presets import content_hash
from zipspark.core.seen import joined, union_of
from zipspark.core.selection import Offer, Quota, rank
from zipspark.core.views import features_of
from zipspark.spark.scores import BUCKETS
from zipspark.units import format_bytes

CUTS = ("min-hash", "random")
MEASURES = {"both": ("ratio", "weight"), "ratio": ("ratio",), "coverage": ("weight",)}  # what each objective is for
DRAWS = 5  # of a random set


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=54_000, show_default=True, help="samples read from the start of POOL")
@click.option("--parts", default="4,16,64", show_default=True, help="how many, beside one")
@click.option("--oversample", default="1,2,4", show_default=True, help="what a part hands up, in shares of the budget")
@option
def main(pool: Path | None, rows: int, parts: str, oversample: str, results: Path) -> None:
    """POOL is a Parquet file of records; without one, the demo corpus is used."""
    contents = dict(sorted((content_hash(text), text) for text in rendered(records_of(pool, rows))))
    size = sum(map(len, contents.values()))
    budget = int(BYTE_BUDGETS[0] * min(1.0, size / POOL_BYTES))
    ways = list(product(map(int, parts.split(",")), map(float, oversample.split(","))))
    with Results("parts", pool, results) as out:
        out.say(f"{len(contents):,} samples, {format_bytes(size)}; {format_bytes(budget)} chosen, guard on.")
        for objective, measures in MEASURES.items():
            merged = Merged.of(contents, Choice(objective=objective))
            whole = merged.ranked(merged.free, budget)
            sets = {(way, cut): merged.through(cut, *way, budget) for way in ways for cut in CUTS}
            by_chance = [merged.drawn(budget, seed) for seed in range(DRAWS)]
            columns = ("parts", "oversample", *(name for cut in CUTS for name in (cut, "to one part")))
            for measure in measures:
                rows_of = _rows(getattr(merged, measure), whole, sets, by_chance)
                out.table(f"objective {objective}: {measure}", columns, rows_of)


def _rows(
    value: Callable[[Sequence[int]], float],
    whole: Sequence[int],
    sets: Mapping[tuple[tuple[int, float], str], Sequence[int]],
    by_chance: Sequence[Sequence[int]],
) -> Iterator[list[str]]:
    one = value(whole)

    def shown(found: float) -> list[str]:
        return [f"{found:,.{3 if found < 1000 else 0}f}", f"{found / one - 1:+.1%}"]

    yield ["1", "", *shown(one), *shown(one)]
    for parts, times in dict.fromkeys(way for way, _ in sets):
        found = (value(sets[(parts, times), cut]) for cut in CUTS)
        yield [str(parts), f"{times:g}", *(cell for each in found for cell in shown(each))]
    cells = shown(float(np.mean([value(drawn) for drawn in by_chance])))
    yield [f"a random set, mean of {DRAWS}", "", *cells, *cells]


@dataclass
class Merged:
    """A pool as selection sees it: rows are positions, in the order of content hashes."""

    choice: Choice
    texts: Sequence[bytes]
    sizes: npt.NDArray[np.int64]  # bytes
    views: Sequence[bytes]
    buckets: npt.NDArray[np.uint64]  # of the min-hash
    free: list[int]  # rows that the guard leaves
    lens: Lens
    header: bytes

    @classmethod
    def of(cls, contents: dict[str, bytes], choice: Choice) -> Merged:
        texts = list(contents.values())
        lens = lens_of(contents, choice)
        seen = looked_at(contents, choice, lens)
        free = [row for row, reason in enumerate(seen.guarded) if reason is None]
        buckets = min_hashes(*joined(texts)) % BUCKETS
        header = header_of(contents, choice)
        return cls(choice, texts, lengths(texts), seen.views, buckets, free, lens, header)

    def ranked(self, rows: Sequence[int], amount: float, overshoot: bool = False) -> list[int]:
        """Of ``rows`` as many as have ``amount`` bytes, best first."""
        offer = Offer([self.views[row] for row in rows], self.sizes[list(rows)])
        quota = Quota("bytes", amount)
        ranking = rank(offer, quota, self.choice, lens=self.lens, header=self.header, overshoot=overshoot)
        return [rows[at] for at in ranking]

    def through(self, cut: str, parts: int, oversample: float, budget: int) -> list[int]:
        """What is chosen by way of ``parts`` parts."""
        share = oversample * budget / self.sizes[self.free].sum()
        handed_up = [
            row
            for rows in self._cut(cut, parts)
            for row in self.ranked(rows, math.ceil(share * self.sizes[rows].sum()), overshoot=True)
        ]
        return self.ranked(sorted(handed_up), budget)

    def drawn(self, budget: int, seed: int) -> list[int]:
        """Rows by chance."""
        order = np.random.default_rng(seed).permutation(self.free)
        return order[: int(np.searchsorted(np.cumsum(self.sizes[order]), budget))].tolist()

    def ratio(self, picks: Sequence[int]) -> float:
        return wide_ratio(self.texts[row] for row in picks)

    def weight(self, picks: Sequence[int]) -> float:
        covered = union_of(features_of([self.views[row] for row in picks], self.choice))
        return float(self.lens.weights()[covered].sum(dtype=np.float64))

    def _cut(self, cut: str, parts: int) -> list[list[int]]:
        rows_of: list[list[int]] = [[] for _ in range(parts)]
        if cut == "random":
            for row in self.free:
                rows_of[row % parts].append(row)  # rows are in the order of hashes, so neighbours are strangers
            return rows_of
        held = Counter[int]()
        for row in self.free:
            held[int(self.buckets[row])] += int(self.sizes[row])
        placed = pack(held, parts)
        for row in self.free:
            slices = placed[int(self.buckets[row])]
            rows_of[slices[row % len(slices)]].append(row)
        return rows_of


if __name__ == "__main__":
    main()
