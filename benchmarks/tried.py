"""What was tried for a better default: options, mixtures and groups without labels, by the measures of quality.py.

Each on two disjoint slices of the pool, shown as one / the other: what is better on one alone is chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
from arms import OBJECTIVES
from chance import at_random, within
from heldout import Floats, HeldOut
from kept import Json, Kept
from measures import wide_ratio
from others import once_a_split
from pools import LIKE_POOL, Split, of_large_sources, records_of, split_of
from quality import LEARNERS, spoiled
from results import Results, option

from zipspark.core import presets, select, selectors
from zipspark.core.objectives import Both
from zipspark.core.selectors import Lazy, Picks
from zipspark.units import parse_budget, parse_size

PACKAGES = ("scikit-learn",)
SLICES = 2
DRAWS = 5  # random subsets of a slice: their mean is what others are held against
CLUSTERS = 32
TURNS = 16
AHEAD = 4  # budgets that a mixture of rankings looks down each of them

Way = Callable[[Split], Sequence[int]]


def by(**options: Any) -> Way:
    """`zipspark.core.select` without labels."""
    return lambda split: list(select(split.samples, f"{split.budget}B", **options))


def by_source(**options: Any) -> Way:
    return lambda split: list(select(split.samples, f"{split.budget}B", groups=split.sources, **options))


def by_cluster(**options: Any) -> Way:
    """Groups found without labels."""
    return lambda split: list(select(split.samples, f"{split.budget}B", groups=clusters(split), **options))


def one_then_other(first: str, then: str, share: float = 0.5, **options: Any) -> Way:
    """``share`` of the budget by one objective, the rest by the other, which has seen what is there."""

    def way(split: Split) -> Sequence[int]:
        begun = list(select(split.samples, f"{int(share * split.budget)}B", objective=first, **options))
        return list(select(split.samples, f"{split.budget}B", objective=then, keep=begun, **options))

    return way


def in_turns(split: Split) -> Sequence[int]:
    """`TURNS` equal parts of the budget, by coverage and by ratio in turns; each has seen all that is there."""
    picks: list[int] = []
    for turn in range(TURNS):
        upto = split.budget * (turn + 1) // TURNS
        picks = list(select(split.samples, f"{upto}B", objective=("coverage", "ratio")[turn % 2], keep=picks))
    return picks


def mean_of_ranks(split: Split) -> Sequence[int]:
    """The lowest mean of both objectives' ranks; one that is not among the first `AHEAD` budgets of either is last."""
    marks = np.zeros(len(split.samples))
    for objective in ("ratio", "coverage"):
        ranking = list(select(split.samples, f"{AHEAD * split.budget}B", objective=objective))
        ranks = np.full(len(split.samples), 1.0)
        ranks[ranking] = np.arange(len(ranking)) / len(ranking)
        marks += ranks
    return within(split, np.argsort(marks, kind="stable").tolist(), split.budget)


@once_a_split
def clusters(split: Split) -> list[str]:
    """`CLUSTERS` groups of samples with like words: k-means of TF-IDF vectors reduced to 64 dimensions."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    weigh = TfidfVectorizer(decode_error="replace", sublinear_tf=True, max_features=20_000, dtype=np.float32)
    points = TruncatedSVD(64, random_state=0).fit_transform(weigh.fit_transform(split.samples))
    names = MiniBatchKMeans(CLUSTERS, random_state=0, n_init=3, batch_size=4096).fit_predict(normalize(points))
    return [f"{name:02}" for name in names]


def both(share: float, **options: Any) -> Way:
    """Objective ``both`` with ``share`` of the budget by ratio."""

    def way(split: Split) -> Sequence[int]:
        with patch.object(selectors, "RATIO_SHARE", share):
            return by(objective="both", **options)(split)

    return way


class Merged:
    """Both gains of a sample in one figure per byte (an `Objective` for `Lazy`): ratio's times coverage's, or, with
    ``common``, times the weight of all that the sample shares with the pool, chosen already or not."""

    def __init__(self, of: Both, common: bool) -> None:
        self._of, self._shared = of, of.coverage.gains().copy() if common else None

    def gains_alone(self) -> Floats:
        return self._of.ratio.gains_alone() * self._weights()

    def gain(self, index: int, enough: float = 0.0) -> tuple[float, bool]:
        return self._of.ratio.gain(index)[0] * float(self._weights()[index]), True

    def add(self, index: int) -> None:
        self._of.add(index)

    def _weights(self) -> Floats:
        return self._of.coverage.gains() if self._shared is None else self._shared


@dataclass(frozen=True)
class ByMerged:
    """Lazy greedy by `Merged`, in the place of the selector of ``both``."""

    common: bool

    def __call__(self, objective: Both, costs: Floats, *rest: Any, **more: Any) -> Picks:
        return Lazy()(Merged(objective, self.common), costs**2, *rest, **more)  # both gains are per cost


def merged(common: bool) -> Way:
    def way(split: Split) -> Sequence[int]:
        with patch.object(presets, "InTurns", partial(ByMerged, common)):
            return by(objective="both")(split)

    return way


WAYS: dict[str, Way] = {
    "ratio": by(objective="ratio"),
    "ratio, level 1": by(objective="ratio", level=1),
    "ratio, level 9": by(objective="ratio", level=9),
    "ratio, window 256 KiB": by(objective="ratio", window="256KiB"),
    "ratio, zlib": by(objective="ratio", codec="zlib"),
    "ratio, gain per row": by(objective="ratio", cost="row"),
    "coverage": by(objective="coverage"),
    **{
        f"coverage, {gram} in {long}": by(objective="coverage", gram=gram, supported_gram=long)
        for gram, long in ((3, 8), (4, 6), (4, 8), (5, 6), (5, 7), (6, 8), (7, 8), (8, 8))
    },
    **{f"coverage, weights to the {to:g}": by(objective="coverage", weight_exponent=to) for to in (0.0, 0.5, 2.0)},
    **{f"coverage, weights up to {most}": by(objective="coverage", weight_cap=most) for most in (2, 5)},
    "coverage, gain per row": by(objective="coverage", cost="row"),
    "coverage, 4 in 8, weights 1": by(objective="coverage", gram=4, weight_exponent=0.0),
    "mean of ranks": mean_of_ranks,
    "in turns": in_turns,
    "product of both gains": merged(common=False),
    "gain by ratio times what is common": merged(common=True),
    "both": by(objective="both"),
    **{f"both, {share:.0%} by ratio": both(share) for share in (0.1, 0.5, 0.75)},
    **{
        f"both, {gram} in {long}": by(objective="both", gram=gram, supported_gram=long)
        for gram, long in ((4, 8), (5, 7))
    },
    "quarter coverage, then ratio": one_then_other("coverage", "ratio", 0.25),
    "half coverage, then ratio": one_then_other("coverage", "ratio"),
    "three quarters coverage, then ratio": one_then_other("coverage", "ratio", 0.75),
    "quarter ratio, then coverage": one_then_other("ratio", "coverage", 0.25),
    "half ratio, then coverage": one_then_other("ratio", "coverage"),
    **{
        f"half ratio, then coverage, {gram} in {long}": one_then_other(
            "ratio", "coverage", gram=gram, supported_gram=long
        )
        for gram, long in ((4, 8), (5, 7))
    },
    **{
        f"{objective}, {mixed} by cluster": by_cluster(objective=objective, mix=mixed)
        for objective, mixed in product(OBJECTIVES, ("natural", "power=0.5", "equal"))
    },
    **{
        f"{objective}, {mixed} by source": by_source(objective=objective, mix=mixed)
        for objective, mixed in product(OBJECTIVES, ("natural", "power=0.5", "equal"))
    },
}


@click.command(help=__doc__)
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=60_000, show_default=True, help="samples of a slice of POOL")
@click.option("--budget", default="1MB", show_default=True, help="bytes of each subset, or their share of the slice's")
@click.option("--way", "ways", multiple=True, help="one of the table's; may be given again  [default: all]")
@option
def main(pool: Path, rows: int, budget: str, ways: Sequence[str], results: Path) -> None:
    """POOL is a Parquet file of records with a column `source`."""
    if unknown := [name for name in ways if name not in WAYS]:
        raise click.UsageError(f"way must be one of {'; '.join(WAYS)}, got {unknown[0]}")
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
        for name in ways or WAYS:
            found = [
                keeping.of({"way": name, "slice": place}, partial(bench.found, name))
                for place, bench in enumerate(benches)
            ]
            click.echo(f"{name}: {found[0]['seconds']:.1f} s", err=True)
            for learner in LEARNERS:
                rows_of[learner].append([name, *cells(benches, found, learner)])
        out.say(keeping.said())
        for learner, lines in rows_of.items():
            out.table(f"held-out by {learner}", COLUMNS, lines)


def split_within(records: Sequence[Json], budget: str, seed: int) -> Split:
    """`split_of`, with a budget that may be a share of the pool's bytes, as large as one likes."""
    of = parse_budget(budget)
    if of.unit != "share":
        return split_of(records, parse_size(budget), seed)
    split = split_of(records, 1, seed)
    return replace(split, budget=int(of.amount * sum(map(len, split.samples))))


@dataclass(frozen=True)
class Bench:
    """A slice with what its subsets are measured by."""

    split: Split
    noisy: Split
    kinds: Mapping[bytes, str]  # of noise
    held_out: HeldOut
    base: Mapping[str, Floats]  # by learner: the bits of random choice
    base_ratio: float  # its R
    base_picks: float

    @classmethod
    def of(cls, split: Split) -> Bench:
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
