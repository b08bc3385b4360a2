"""What was tried for a better default (ways.py), by the measures of quality.py.

Each on two disjoint slices of the pool, shown as one / the other: what is better on one alone is chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from chance import at_random
from heldout import Floats, HeldOut
from kept import Json, Kept
from measures import wide_ratio
from pools import LIKE_POOL, of_large_sources, records_of, rendered, split_of
from quality import LEARNERS, spoiled
from results import Results, matching, option
from ways import WAYS, Records

from zipspark.errors import UsageError
from zipspark.units import parse_budget, parse_size

PACKAGES = ("scikit-learn",)
SLICES = 2
DRAWS = 5  # random subsets of a slice: their mean is what others are held against


@click.command(help=__doc__)
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=60_000, show_default=True, help="samples of a slice of POOL")
@click.option("--budget", default="1MB", show_default=True, help="bytes of each subset, or their share of the slice's")
@click.option(
    "--way", "ways", multiple=True, default=("*",), show_default=True, help="* for any text; may be given again"
)
@option
def main(pool: Path, rows: int, budget: str, ways: Sequence[str], results: Path) -> None:
    """POOL is a Parquet file of records with a column `source`."""
    names = matching("way", ways, WAYS)
    slices = [of_large_sources(records_of(pool, rows, rows * place)) for place in range(SLICES)]
    splits = [split_within(records, budget, seed) for seed, records in enumerate(slices)]
    with Results("tried", pool, results, PACKAGES) as out:
        sizes = " and ".join(f"{len(split.samples):,}" for split in splits)
        out.say(
            f"{sizes} samples, {splits[0].budget:,} bytes chosen; held-out bits per byte to those of random choice, "
            f"whose own row, means of {DRAWS} draws, has the bits themselves."
        )
        keeping = Kept(out.kept, "tried", {"rows": rows, "budget": splits[0].budget}, pool, PACKAGES)
        rows_of: dict[str, list[list[str]]] = {learner: [] for learner in LEARNERS}
        benches = [Bench.of(split) for split in splits]
        for learner in LEARNERS:
            rows_of[learner].append(["random", *random_cells(benches, learner)])
        for name in names:
            try:
                found = [
                    keeping.of({"way": name, "slice": place}, partial(bench.found, name))
                    for place, bench in enumerate(benches)
                ]
            except UsageError as error:
                out.say(f"Absent: {name}, {error}.")
                continue
            click.echo(f"{name}: {found[0]['seconds']:.1f} s", err=True)
            for learner in LEARNERS:
                rows_of[learner].append([name, *cells(benches, found, learner)])
        out.say(keeping.said())
        for learner, lines in rows_of.items():
            out.table(f"held-out by {learner}", COLUMNS, lines)


def split_within(records: Sequence[Json], budget: str, seed: int) -> Records:
    """`split_of`, with a budget that may be a share of the pool's bytes, as large as one likes."""
    of = parse_budget(budget)
    split = split_of(records, 1 if of.unit == "share" else parse_size(budget), seed)
    if of.unit == "share":
        split = replace(split, budget=int(of.amount * sum(map(len, split.samples))))
    return Records(**vars(split), records=dict(zip(rendered(records), records, strict=True)))


@dataclass(frozen=True)
class Bench:
    """A slice with what its subsets are measured by."""

    split: Records
    noisy: Records
    kinds: Mapping[bytes, str]  # of noise
    held_out: HeldOut
    base: Mapping[str, Floats]  # by learner: the bits of random choice
    base_ratio: float  # its R
    base_picks: float

    @classmethod
    def of(cls, split: Records) -> Bench:
        held_out = HeldOut(split.held_out)
        drawn = [[split.samples[row] for row in at_random(split, draw)] for draw in range(DRAWS)]
        base = {name: np.mean([bits(held_out, texts) for texts in drawn], axis=0) for name, bits in LEARNERS.items()}
        ratio, picks = (float(np.mean([of(texts) for texts in drawn])) for of in (wide_ratio, len))
        return cls(split, *spoiled(split), held_out, base, ratio, picks)

    def found(self, name: str) -> Json:
        started = time.perf_counter()
        rows = WAYS[name](self.split)
        seconds = time.perf_counter() - started
        texts = [self.split.samples[row] for row in rows]
        spoilt = [self.noisy.samples[row] for row in WAYS[name](self.noisy)]
        return {
            "picks": len(texts),
            "seconds": seconds,
            "ratio": wide_ratio(texts),
            "bits": {learner: bits(self.held_out, texts).tolist() for learner, bits in LEARNERS.items()},
            "noise": sum(len(text) for text in spoilt if text in self.kinds) / sum(map(len, spoilt)),
        }


COLUMNS = ("way", "mean over sources", "worst source", LIKE_POOL, "R", "noise of bytes", "picks", "seconds")


def random_cells(benches: Sequence[Bench], learner: str) -> Iterator[str]:
    """What `COLUMNS` say of random choice, in bits per byte; its share of noise is the pool's."""
    sources = list(benches[0].split.held_out)
    bits = [bench.base[learner] for bench in benches]
    yield _both(f"{each[:-1].mean():.3f}" for each in bits)
    yield _both(f"{each[:-1].max():.3f} {sources[int(each[:-1].argmax())]}" for each in bits)
    yield _both(f"{each[-1]:.3f}" for each in bits)
    yield _both(f"{bench.base_ratio:.2f}" for bench in benches)
    yield ""
    yield _both(f"{bench.base_picks:,.0f}" for bench in benches)
    yield ""


def cells(benches: Sequence[Bench], found: Sequence[Json], learner: str) -> Iterator[str]:
    """What `COLUMNS` say, of one slice / the other."""
    pairs = [(np.array(one["bits"][learner]), bench.base[learner]) for bench, one in zip(benches, found, strict=True)]
    sources = list(benches[0].split.held_out)
    worst = [int((bits / base)[:-1].argmax()) for bits, base in pairs]
    yield _both(f"{bits[:-1].mean() / base[:-1].mean() - 1:+.1%}" for bits, base in pairs)
    yield _both(f"{bits[at] / base[at] - 1:+.1%} {sources[at]}" for (bits, base), at in zip(pairs, worst, strict=True))
    yield _both(f"{bits[-1] / base[-1] - 1:+.1%}" for bits, base in pairs)
    yield _both(f"{one['ratio']:.2f}" for one in found)
    yield _both(f"{one['noise']:.1%}" for one in found)
    yield _both(f"{one['picks']:,}" for one in found)
    yield _both(f"{one['seconds']:.1f}" for one in found)


def _both(texts: Iterator[str]) -> str:
    return " / ".join(texts)


if __name__ == "__main__":
    main()
