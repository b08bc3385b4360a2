"""Training: what a transformer learns from each way to choose, at equal bytes chosen and equal tokens seen.

A small causal transformer (transformer.py) reads each subset (arms.py) over and over until it has seen as many tokens,
and predicts samples whose prompts are nowhere in the pool. It is asked at several points of a run: while the subset is
read for the first time, where computing is what is short, and after many times, where text is. Each seed is another
draw of the prompts held out, of the random subsets and of the model's first weights; all arms share it, and are
compared within it. Finished runs are kept (kept.py): the same command goes on after an interruption. Needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import numpy as np
from arms import ARMS
from kept import Json, Kept
from learning import PACKAGES, Bench, at_end, mean, over_sources, with_options
from paired import BASES, EXPLAINED, SUMMARY, summary
from pools import LIKE_POOL
from results import Results, matching, option

Runs = Mapping[str, Sequence[Json]]  # by arm, one for each seed

COMPARED = (*BASES, "paper", "both", "ratio", "coverage", "equal both", "equal ratio", "equal coverage")


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="draws of what is held out, and of weights")
@click.option("--arms", "wanted", default=",".join(COMPARED), help="comma-separated, * for any text", show_default=True)
@option
@with_options
def main(seeds: int, wanted: str, results: Path, **given: Any) -> None:
    """POOL is a Parquet file of records with a column `source`; without one, the demo corpus is used."""
    arms = matching("arms", (*BASES, *wanted.split(",")), ARMS)
    bench = Bench.of(**given)
    with Results("training", bench.pool, results, PACKAGES) as out:
        keeping = Kept(out.kept, "training", bench.options(), bench.pool, PACKAGES)
        runs: dict[str, list[Json]] = {arm: [] for arm in arms}
        for seed in range(seeds):
            for arm in arms:
                runs[arm].append(keeping.of({"arm": arm, "seed": seed}, partial(of_arm, bench, arm, seed)))
                click.echo(f"seed {seed}, {arm}: {mean(runs[arm][-1]):.3f} bits per byte", err=True)
        out.say(bench.describe([run for found in runs.values() for run in found]))
        out.say(
            f"Means of seeds: {seeds}. {EXPLAINED} L is the mean loss of the first epoch, nats per token; R that of "
            "zstd -19 with a wide window. Before its end a run's rate is still high: on the way it has not reached "
            "what a shorter run would have."
        )
        out.say(keeping.said())
        out.table("held-out bits per byte at the end", (*SUMMARY, "L", "R", "samples", "bytes"), summary_rows(runs))
        sources = list(at_end(runs["random"][0]))
        out.table("held-out bits per byte at the end, by source", ("arm", *sources), source_rows(runs, sources))
        points = list(runs["random"][0]["curve"])
        for title, of in (("mean over sources", over_sources), (LIKE_POOL, itemgetter(LIKE_POOL))):
            columns = ("arm", *map(millions, points), "lowest")
            out.table(f"held-out bits per byte by tokens seen, {title}", columns, curve_rows(runs, points, of))


def of_arm(bench: Bench, arm: str, seed: int) -> Json:
    split = bench.split(seed)
    return bench.learn([split.samples[row] for row in ARMS[arm].pick(split, 0)], seed)


def summary_rows(runs: Runs) -> Iterator[list[str]]:
    """A row per arm: held-out bits (paired.py), then of what its subsets are made, means over seeds."""
    sources = [source for source in at_end(runs[BASES[0]][0]) if source != LIKE_POOL]
    order = [*sources, LIKE_POOL]
    arms = {
        arm: {seed: np.array([at_end(run)[source] for source in order]) for seed, run in enumerate(found)}
        for arm, found in runs.items()
    }
    for arm, found in runs.items():
        figures = [float(np.mean([run[name] for run in found])) for name in ("loss", "R", "samples", "bytes")]
        shown = (f"{figure:,.{3 if place < 2 else 0}f}" for place, figure in enumerate(figures))
        yield [*summary(arm, arms, sources), *shown]


def source_rows(runs: Runs, sources: Sequence[str]) -> Iterator[list[str]]:
    """A row per arm, a column per source."""
    for arm, found in runs.items():
        yield [arm, *(f"{np.mean([at_end(run)[source] for run in found]):.3f}" for source in sources)]


def curve_rows(runs: Runs, points: Sequence[str], of: Callable[[Mapping[str, float]], float]) -> Iterator[list[str]]:
    """A row per arm, a column per point of the run, means over seeds; then the lowest of them, and where it is."""
    for arm, found in runs.items():
        bits = [float(np.mean([of(run["curve"][point]) for run in found])) for point in points]
        yield [arm, *(f"{each:.3f}" for each in bits), f"{min(bits):.3f} at {millions(points[int(np.argmin(bits))])}"]


def millions(tokens: str) -> str:
    return f"{int(tokens) / 1e6:.2f} M"


if __name__ == "__main__":
    main()
