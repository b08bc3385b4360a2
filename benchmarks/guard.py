"""How much injected noise is picked, with the guard and without it, and which good samples the guard loses."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from arms import OBJECTIVES
from looks import eye_of, header_of, lens_of
from noise import KINDS, noise
from results import Results, option

from zipspark.config import Choice
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.presets import content_hash
from zipspark.core.rendering import detect_layout, kinds_of_records, layout_renderer
from zipspark.core.seen import Seen, look_at
from zipspark.core.selection import Offer, Quota, rank
from zipspark.units import format_bytes

ARMS = tuple(product(OBJECTIVES, ("off", "rules", "rules and views")))  # objective, guard
COLUMNS = ("noise", "objective", "guard", "picks", "noise, %", "of bytes, %", "noise by kind")
NOISE = "~"  # starts the group of a noise sample, before its kind


@click.command(help=__doc__)
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.option("--column", help="a column of plain texts; default: the records are rendered as `zipspark select` does")
@click.option("--group-column", default="source", show_default=True, help="good samples lost are shown by it")
@click.option("--rows", default=30_000, show_default=True, help="samples, drawn at random")
@click.option("--seed", default=0, show_default=True, help="of the draw and the noise")
@click.option("--shares", default="1,5,20", show_default=True, help="noise in the pool, percent")
@click.option("--budget", default=2_000_000, show_default=True, help="bytes that are chosen")
@option
def main(
    pool: Path,
    column: str | None,
    group_column: str,
    rows: int,
    seed: int,
    shares: str,
    budget: int,
    results: Path,
) -> None:
    """POOL is a Parquet file of records."""
    samples = read(pool, column, group_column, rows, seed)
    with Results("guard", pool, results) as out:
        size = sum(map(len, samples))
        out.say(f"{len(samples):,} samples without copies, {format_bytes(size)}; {format_bytes(budget)} chosen.")
        picked: list[list[str]] = []
        lost: dict[str, list[str]] = {}
        caught: dict[str, list[str]] = {}
        for share in (float(text) / 100 for text in shares.split(",")):
            mixed = Mixed.of(samples, share, seed)
            picked += [[f"{share:.0%}", *mixed.row(objective, guard, budget)] for objective, guard in ARMS]
            for group, (count, guarded_count) in mixed.by_group().items():
                column_of = caught if group.startswith(NOISE) else lost
                column_of.setdefault(group, []).append(f"{100 * guarded_count / count:.2f} % of {count:,}")
        out.table("picked", COLUMNS, picked)
        for title, rows_of in (("good samples guarded", lost), ("noise guarded", caught)):
            columns = ("group", *(f"{share} % noise" for share in shares.split(",")))
            out.table(title, columns, ([group.removeprefix(NOISE), *rows_of[group]] for group in sorted(rows_of)))


@dataclass
class Mixed:
    """A pool with noise in it, copies dropped, in the order of content hashes, as `zipspark.core.select` sees it."""

    contents: dict[str, bytes]
    texts: list[bytes]
    sizes: npt.NDArray[np.int64]  # bytes
    groups: list[str]  # of noise: `NOISE` and its kind
    lens: Lens

    @classmethod
    def of(cls, samples: dict[bytes, str], share: float, seed: int) -> Mixed:
        added = noise(list(samples), round(len(samples) * share / (1 - share)), seed)
        groups = {text: NOISE + kind for kind, texts in added.items() for text in texts} | samples
        contents = dict(sorted((content_hash(text), text) for text in groups))
        texts = list(contents.values())
        return cls(contents, texts, lengths(texts), [groups[text] for text in texts], lens_of(contents, Choice()))

    def seen(self, objective: str, guard: str) -> tuple[Choice, Seen]:
        choice = Choice(objective=objective, guard=guard != "off")
        eye = eye_of(self.contents, choice, self.lens)
        eye = replace(eye, usual=0.0) if guard == "rules" else eye
        return choice, look_at(self.texts, list(self.contents), None, eye)

    def picks(self, objective: str, guard: str, budget: int) -> npt.NDArray[np.int64]:
        choice, seen = self.seen(objective, guard)
        free = np.flatnonzero([reason is None for reason in seen.guarded])
        offer = Offer([seen.views[row] for row in free], self.sizes[free])
        header = header_of(self.contents, choice)
        return free[rank(offer, Quota("bytes", budget), choice, lens=self.lens, header=header).indices]

    def row(self, objective: str, guard: str, budget: int) -> list[str]:
        """What `COLUMNS` say, behind the share of noise."""
        picks = self.picks(objective, guard, budget)
        groups = Counter(self.groups[row] for row in picks)
        bad = [row for row in picks if self.groups[row].startswith(NOISE)]
        share, of_bytes = len(bad) / len(picks), self.sizes[bad].sum() / self.sizes[picks].sum()
        kinds = ", ".join(f"{kind} {groups[NOISE + kind]}" for kind in KINDS if groups[NOISE + kind])
        return [objective, guard, f"{len(picks):,}", f"{100 * share:.2f}", f"{100 * of_bytes:.2f}", kinds]

    def by_group(self) -> dict[str, tuple[int, int]]:
        """Samples and guarded samples of each group, each script, and of all good ones."""
        counts: dict[str, tuple[int, int]] = {}
        reasons = self.seen("ratio", "rules")[1].guarded
        for text, group, reason in zip(self.texts, self.groups, reasons, strict=True):
            for name in (group,) if group.startswith(NOISE) else (group, " all", f"script {script_of(text)}"):
                count, out = counts.get(name, (0, 0))
                counts[name] = count + 1, out + (reason is not None)
        return counts


def script_of(text: bytes) -> str:
    """The script of most letters, by their Unicode names: LATIN, CYRILLIC, CJK, ..."""
    letters = filter(str.isalpha, text.decode(errors="ignore")[:2000])
    scripts = Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in letters)
    return scripts.most_common(1)[0][0] if scripts else "none"


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


if __name__ == "__main__":
    main()
