"""How much injected noise is picked, with the guard and without it, and which good samples the guard loses."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from noise import KINDS, noise
from rich.console import Console
from rich.table import Table

from zipspark.core.codecs import lengths
from zipspark.core.guard import guarded
from zipspark.core.lens import Lens, Look
from zipspark.core.limit import Limit
from zipspark.core.objectives import Coverage, Ratio
from zipspark.core.rendering import detect_layout, kinds_of_records, layout_renderer
from zipspark.core.selectors import Lazy
from zipspark.core.sketch import Sketch
from zipspark.core.views import features, order, supported_text
from zipspark.core.zstd_codec import HEADER_SAMPLES, ZstdCodec

ARMS = (
    ("ratio", "off"),
    ("ratio", "rules"),
    ("ratio", "rules and views"),
    ("coverage", "off"),
    ("coverage", "rules"),
    ("coverage", "rules and views"),
)
NOISE = "~"  # starts the group of a noise sample, before its kind


@click.command(help=__doc__)
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.option("--column", help="a column of plain texts; default: the records are rendered as `zipspark select` does")
@click.option("--group-column", default="source", show_default=True, help="good samples lost are shown by it")
@click.option("--rows", default=30_000, show_default=True, help="samples, drawn at random")
@click.option("--seed", default=0, show_default=True, help="of the draw and the noise")
@click.option("--shares", default="1,5,20", show_default=True, help="noise in the pool, percent")
@click.option("--budget", default=2_000_000, show_default=True, help="bytes that are chosen")
def main(pool: Path, column: str | None, group_column: str, rows: int, seed: int, shares: str, budget: int) -> None:
    """POOL is a Parquet file of records."""
    samples = read(pool, column, group_column, rows, seed)
    out = Console(width=150)
    out.print(f"pool: {len(samples):,} samples without copies, {sum(map(len, samples)) / 1e6:.1f} MB, seed {seed}")
    picked = Table("noise", "objective", "guard", "picks", "noise, %", "of bytes, %", "noise by kind", title="picked")
    lost: dict[str, list[str]] = {}
    caught: dict[str, list[str]] = {}
    for share in (float(text) / 100 for text in shares.split(",")):
        mixed = Mixed.of(samples, share, seed)
        for objective, guard in ARMS:
            picks = mixed.picks(objective, guard, budget)
            groups = Counter(mixed.groups[row] for row in picks)
            bad = [row for row in picks if mixed.groups[row].startswith(NOISE)]
            picked.add_row(
                f"{share:.0%}",
                objective,
                guard,
                f"{len(picks):,}",
                f"{100 * len(bad) / len(picks):.2f}",
                f"{100 * mixed.sizes[bad].sum() / mixed.sizes[picks].sum():.2f}",
                ", ".join(f"{kind} {groups[NOISE + kind]}" for kind in KINDS if groups[NOISE + kind]),
            )
        for group, (count, guarded_count) in mixed.by_group().items():
            column_of = caught if group.startswith(NOISE) else lost
            column_of.setdefault(group, []).append(f"{100 * guarded_count / count:.2f} % of {count:,}")
    out.print(picked)
    for title, rows_of in (("good samples guarded", lost), ("noise guarded", caught)):
        table = Table("group", *(f"{share} % noise" for share in shares.split(",")), title=title)
        for group in sorted(rows_of):
            table.add_row(group.removeprefix(NOISE), *rows_of[group])
        out.print(table)


@dataclass
class Mixed:
    """A pool with noise in it, copies dropped, in the order of content hashes, and what the guard says."""

    texts: list[bytes]
    sizes: npt.NDArray[np.int64]  # bytes
    groups: list[str]  # of noise: `NOISE` and its kind
    look: Look
    lens: Lens
    reasons: list[str | None]

    @classmethod
    def of(cls, samples: dict[bytes, str], share: float, seed: int) -> Mixed:
        added = noise(list(samples), round(len(samples) * share / (1 - share)), seed)
        groups = {text: NOISE + kind for kind, texts in added.items() for text in texts} | samples
        texts = sorted(groups, key=lambda text: hashlib.md5(text).digest())
        data, offsets = buffer(texts)
        sketch = Sketch()
        sketch.count(data, offsets)
        lens = Lens.of(sketch)
        look = lens.look(data, offsets)
        reasons = guarded(texts, ZstdCodec().sizes(texts), look)
        return cls(texts, np.diff(offsets), [groups[text] for text in texts], look, lens, reasons)

    def picks(self, objective: str, guard: str, budget: int) -> npt.NDArray[np.int64]:
        free = np.array([row for row, reason in enumerate(self.reasons) if guard == "off" or reason is None])
        sizes = self.sizes[free]
        costs = sizes.astype(np.float64)
        views = self._views(objective, guard)
        offered = [views[row] for row in free]
        found: Any
        if objective == "coverage":
            found = Coverage(offered, self.lens.weights(), sizes)
        else:
            found = Ratio(ZstdCodec().trained(self.texts[:HEADER_SAMPLES]).context(offered))
        return free[np.asarray(Lazy()(found, costs, Limit(costs, float(budget))).indices, dtype=np.int64)]

    def _views(self, objective: str, guard: str) -> Sequence[bytes]:
        data, offsets = buffer(self.texts)
        # The samples with the lowest hashes stand for the pool, as they do for zstd's tables.
        first = buffer(self.texts[:HEADER_SAMPLES])
        usual = float(np.median(order(*first, self.lens.look(*first)))) if guard == "rules and views" else 0.0
        return (features if objective == "coverage" else supported_text)(data, offsets, self.look, usual)

    def by_group(self) -> dict[str, tuple[int, int]]:
        """Samples and guarded samples of each group, and of all good ones."""
        counts: dict[str, tuple[int, int]] = {}
        for group, reason in zip(self.groups, self.reasons, strict=True):
            for name in (group,) if group.startswith(NOISE) else (group, " all"):
                count, out = counts.get(name, (0, 0))
                counts[name] = count + 1, out + (reason is not None)
        return counts


def read(path: Path, column: str | None, group_column: str, rows: int, seed: int) -> dict[bytes, str]:
    """{text: group} of ``rows`` samples drawn at random."""
    table = pq.read_table(path)
    drawn = np.random.default_rng(seed).permutation(table.num_rows)[:rows]
    records: list[dict[str, Any]] = table.take(np.sort(drawn)).to_pylist()
    if column is None:
        texts = list(map(layout_renderer(detect_layout(kinds_of_records(records[:1000]))), records))
    else:
        texts = [record[column].encode() for record in records]
    return {text: str(record.get(group_column, "-")) for text, record in zip(texts, records, strict=True)}


def buffer(texts: Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]]:
    return b"".join(texts), np.concatenate([[0], np.cumsum(lengths(texts))])


if __name__ == "__main__":
    main()
