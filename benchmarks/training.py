"""Training: what a transformer learns from each way to choose, at equal bytes chosen and equal tokens seen.

A small causal transformer (transformer.py) reads each subset (arms.py) over and over until it has seen as many tokens,
and predicts samples whose prompts are nowhere in the pool. It is asked at several points of a run: while the subset is
read for the first time, where computing is what is short, and after many times, where text is. Each seed is another
draw of the prompts held out, of the random subsets and of the model's first weights; all arms share it, and are
compared within it. Finished runs are kept (kept.py): the same command goes on after an interruption. Needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from arms import ARMS
from kept import Json, Kept
from measures import wide_ratio
from pools import LIKE_POOL, Split, of_large_sources, records_of, split_of
from results import Results, option
from transformer import KINDS, SIZES, HeldOut, Vocabulary, learned, new, prepared

from zipspark.units import format_bytes, parse_size

Runs = Mapping[str, Sequence[Json]]  # by arm, one for each seed

BASES = ("random", "equal random")
COMPARED = (*BASES, "paper", "ratio", "coverage", "equal ratio", "equal coverage")
TOKENS = {"small": 2_000_000, "base": 4_000_000, "large": 40_000_000}  # seen in a run
HELD_OUT = {"small": 50, "base": 100, "large": 150}  # samples of a source; asking costs a third of learning
BEHIND = 40_000  # samples of POOL behind --rows that pre-training draws from


SEEN = ", ".join(f"{size} {tokens / 1e6:g}e6" for size, tokens in TOKENS.items())
ASKED = ", ".join(f"{size} {samples}" for size, samples in HELD_OUT.items())
# What a run depends on; law.py has the same.
OPTIONS = (
    click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path)),
    click.option("--rows", default=60_000, show_default=True, help="samples read from POOL"),
    click.option("--skip", default=0, show_default=True, help="samples of POOL before the first that is read"),
    click.option("--budget", default="1MB", show_default=True, help="bytes of each subset"),
    click.option("--size", default="small", show_default=True, type=click.Choice(list(SIZES)), help="of transformer"),
    click.option("--tokens", type=float, help=f"that each model sees  [default: {SEEN}]"),
    click.option("--held-out", type=int, help=f"samples of a source at most  [default: {ASKED}]"),
    click.option("--pretrain", help="bytes of POOL behind --rows that each model reads once before its subset"),
    click.option("--threads", type=int, help="of the processor  [default: all cores]"),
)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    for add in reversed(OPTIONS):
        command = add(command)
    return command


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="draws of what is held out, and of weights")
@click.option("--arms", "wanted", default=",".join(COMPARED), help=f"comma-separated; default: {', '.join(COMPARED)}")
@option
@with_options
def main(seeds: int, wanted: str, results: Path, **given: Any) -> None:
    """POOL is a Parquet file of records with a column `source`; without one, the demo corpus is used."""
    arms = list(dict.fromkeys([*BASES, *wanted.split(",")]))
    if unknown := set(arms) - set(ARMS):
        raise click.UsageError(f"arms must be of {', '.join(ARMS)}, got {', '.join(sorted(unknown))}")
    bench = Bench.of(**given)
    with Results("training", bench.pool, results, ("torch",)) as out:
        keeping = Kept(out.path.with_suffix(".jsonl"), bench.options())
        runs: dict[str, list[Json]] = {arm: [] for arm in arms}
        for seed in range(seeds):
            for arm in arms:
                runs[arm].append(keeping.of({"arm": arm, "seed": seed}, partial(bench.of_arm, arm, seed)))
                click.echo(f"seed {seed}, {arm}: {mean(runs[arm][-1]):.3f} bits per byte", err=True)
        out.say(bench.describe([run for found in runs.values() for run in found]))
        out.say(
            f"Means, ± half the range, of seeds: {seeds}; differences are taken within a seed. L is the mean loss of "
            "the first epoch, nats per token; R that of zstd -19 with a wide window. Worst: the source with the "
            "highest difference. Before its end a run's rate is still high: on the way it has not reached what a "
            "shorter run would have."
        )
        out.table("held-out bits per byte at the end", SUMMARY, summary_rows(runs))
        sources = list(at_end(runs["random"][0]))
        out.table("held-out bits per byte at the end, by source", ("arm", *sources), source_rows(runs, sources))
        points = list(runs["random"][0]["curve"])
        for title, of in (("mean over sources", over_sources), (LIKE_POOL, itemgetter(LIKE_POOL))):
            columns = ("arm", *map(millions, points), "lowest")
            out.table(f"held-out bits per byte by tokens seen, {title}", columns, curve_rows(runs, points, of))


@dataclass
class Bench:
    """One pool and one size of transformer: a split per seed, and what any of its subsets teaches."""

    pool: Path | None
    rows: int
    skip: int
    budget: int  # bytes
    name: str  # of the size
    tokens: int  # seen in a run
    asked: int  # held-out samples of a source, at most
    pretrain: int  # bytes seen before it
    device: torch.device

    @classmethod
    def of(
        cls,
        pool: Path | None,
        rows: int,
        skip: int,
        budget: str,
        size: str,
        tokens: float | None,
        held_out: int | None,
        pretrain: str | None,
        threads: int | None,
    ) -> Bench:
        """As the command line has it."""
        if pretrain and not pool:
            raise click.UsageError("pretrain needs a POOL: the demo corpus has nothing behind its samples")
        seen, asked = int(tokens or TOKENS[size]), held_out or HELD_OUT[size]
        before = parse_size(pretrain) if pretrain else 0
        return cls(pool, rows, skip, parse_size(budget), size, seen, asked, before, prepared(threads))

    def __post_init__(self) -> None:
        self.size = SIZES[self.name]
        # Of one seed at a time, as they are run; none where every run is kept already.
        self.split = lru_cache(1)(self._split)
        self._held_out = lru_cache(1)(self._asked)
        self._start = lru_cache(1)(self._pretrained)
        self._records = lru_cache(2)(lambda rows, skip: of_large_sources(records_of(self.pool, rows, skip)))

    def options(self) -> Json:
        """All that a result depends on, but for the subset and the seed."""
        return {
            "pool": self.pool.name if self.pool else "demo",
            "rows": [self.skip, self.skip + self.rows],
            "budget": self.budget,
            "held out": self.asked,
            "size": asdict(self.size),
            "kinds": KINDS,
            "tokens": self.tokens,
            "pretrain": self.pretrain,
            "device": self.device.type,
        }

    def learn(self, texts: Sequence[bytes], seed: int) -> Json:
        """The figures of a subset."""
        start = self._start(seed) if self.pretrain else None
        found, _ = learned(texts, self._held_out(seed), self.size, self.tokens, seed, self.device, start)
        of_set = {"R": wide_ratio(texts), "bytes": sum(map(len, texts)), "samples": len(texts)}
        curve = {
            str(seen): {source: round(each, 5) for source, each in bits.items()} for seen, bits in found.curve.items()
        }
        return of_set | asdict(found) | {"curve": curve}

    def of_arm(self, arm: str, seed: int) -> Json:
        split = self.split(seed)
        return self.learn([split.samples[row] for row in ARMS[arm].pick(split, 0)], seed)

    def records(self) -> list[dict[str, Any]]:
        return self._records(self.rows, self.skip)

    def describe(self, runs: Sequence[Json]) -> str:
        weights = sum(each.numel() for each in new(KINDS, self.size, 0).parameters())
        seconds = float(np.mean([run["seconds"] for run in runs]))
        before = f", after {format_bytes(self.pretrain)} of other samples of the pool" if self.pretrain else ""
        chosen = format_bytes(max(run["bytes"] for run in runs))
        return (
            f"Transformer `{self.name}`: {weights / 1e6:.2f} M weights, {KINDS:,} kinds of token, {self.size.context} "
            f"in context; {self.tokens / 1e6:g} M tokens seen{before}; {chosen} chosen, so "
            f"{min(run['epochs'] for run in runs):.1f} epochs or more; up to {self.asked} held-out samples of a "
            f"source. On {self.device.type}, {seconds:,.0f} s a run ({self.tokens / seconds:,.0f} tokens/s)."
        )

    def _split(self, seed: int) -> Split:
        return split_of(self.records(), self.budget, seed, self.asked)

    def _asked(self, seed: int) -> HeldOut:
        split = self.split(seed)
        return HeldOut(split.held_out, Vocabulary(split.samples, seed), self.size)

    def _pretrained(self, seed: int) -> Mapping[str, Any]:
        """Weights of a model that read samples behind the pool once; prompts held out are held out of these too."""
        other = split_of(self._records(BEHIND, self.skip + self.rows), self.pretrain, seed)
        pool = set(self.split(seed).samples)
        order = np.random.default_rng((seed, BEHIND)).permutation(len(other.samples))
        texts = [text for text in map(other.samples.__getitem__, order) if text not in pool]
        ends = np.cumsum([len(text) for text in texts])
        if not len(ends) or ends[-1] < self.pretrain:
            raise click.UsageError(
                f"pretrain must be at most what POOL has behind --rows, {format_bytes(sum(ends[-1:]))}"
            )
        texts = texts[: int(np.searchsorted(ends, self.pretrain)) + 1]
        asked = self._held_out(seed)
        tokens = sum(map(len, asked.vocabulary.encoded(texts)))
        _, model = learned(texts, asked, self.size, tokens, seed, self.device)
        return model.state_dict()


# --- tables -----------------------------------------------------------------------------------------------------------

SUMMARY = ("arm", "mean over sources", "±", "to random", "±", "worst", "to equal random", "±", "worst", LIKE_POOL, "±",
           "to random", "±", "L", "R", "samples")  # fmt: skip


def summary_rows(runs: Runs) -> Iterator[list[str]]:
    """A row per arm; differences are to the base in the same seed, worst is the source with the highest."""
    for arm, found in runs.items():
        cells = [arm, *spread([mean(run) for run in found])]
        for base in BASES:
            cells += [*paired(found, runs[base], mean), worst(found, runs[base]) if arm != base else ""]
        cells += [*spread([like_pool(run) for run in found]), *paired(found, runs["random"], like_pool)]
        cells += [f"{np.mean([run[name] for run in found]):.3f}" for name in ("loss", "R")]
        yield [*cells, f"{np.mean([run['samples'] for run in found]):,.0f}"]


def source_rows(runs: Runs, sources: Sequence[str]) -> Iterator[list[str]]:
    """A row per arm, a column per source."""
    for arm, found in runs.items():
        yield [arm, *(f"{np.mean([at_end(run)[source] for run in found]):.3f}" for source in sources)]


def curve_rows(runs: Runs, points: Sequence[str], of: Callable[[Mapping[str, float]], float]) -> Iterator[list[str]]:
    """A row per arm, a column per point of the run, means over seeds; then the lowest of them, and where it is."""
    for arm, found in runs.items():
        bits = [float(np.mean([of(run["curve"][point]) for run in found])) for point in points]
        yield [arm, *(f"{each:.3f}" for each in bits), f"{min(bits):.3f} at {millions(points[int(np.argmin(bits))])}"]


def at_end(run: Json) -> Mapping[str, float]:
    """Source -> bits per byte."""
    return run["curve"][list(run["curve"])[-1]]


def over_sources(bits: Mapping[str, float]) -> float:
    return float(np.mean([each for source, each in bits.items() if source != LIKE_POOL]))


def mean(run: Json) -> float:
    return over_sources(at_end(run))


def like_pool(run: Json) -> float:
    return at_end(run)[LIKE_POOL]


def paired(found: Sequence[Json], base: Sequence[Json], of: Callable[[Json], float]) -> list[str]:
    """(difference, ±), seed by seed; nothing of a base to itself."""
    return ["", ""] if found is base else spread([of(a) - of(b) for a, b in zip(found, base, strict=True)], "+.3f")


def worst(found: Sequence[Json], base: Sequence[Json]) -> str:
    """The source in which ``found`` loses most, or wins least."""
    lost = {
        source: float(np.mean([at_end(a)[source] - at_end(b)[source] for a, b in zip(found, base, strict=True)]))
        for source in at_end(found[0])
        if source != LIKE_POOL
    }
    return "{1:+.3f} {0}".format(*max(lost.items(), key=lambda item: item[1]))


def spread(values: Sequence[float], shown: str = ".3f") -> list[str]:
    """(mean, half the range), the latter where there are several."""
    half = f"{(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return [format(float(np.mean(values)), shown), half]


def millions(tokens: str) -> str:
    return f"{int(tokens) / 1e6:.2f} M"


if __name__ == "__main__":
    main()
