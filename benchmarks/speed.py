"""Speed and quality of `zipspark.core.select` on one core, as multiples of one zstd-3 pass over the same bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import zstandard
from arms import OBJECTIVES
from measures import wide_ratio
from pools import records_of, rendered
from results import Results, option

from zipspark.core import select
from zipspark.units import format_bytes

POOL_BYTES = 70_000_000  # of the first 54,000 samples of the pool that the byte budgets are for, without copies
BYTE_BUDGETS = (2_500_000, 13_000_000)
ARMS = tuple(product(OBJECTIVES, ("off", "on")))  # objective, guard
REFERENCE = {"preset": "reference", "k1": 1000, "k2": 200, "k3": 100}
COLUMNS = ("objective", "guard", "budget", "picks", "R", "R random", "seconds", "passes")
REFERENCE_ROWS, REFERENCE_BUDGET = 5000, 500


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=54_000, show_default=True, help="samples read from the start of POOL")
@click.option("--repeat", default=1, show_default=True, help="runs of each selection; the fastest counts")
@option
def main(pool: Path | None, rows: int, repeat: int, results: Path) -> None:
    """POOL is a Parquet file of records; without one, the demo corpus is used and budgets are scaled to it."""
    records = records_of(pool, rows)
    samples = list(dict.fromkeys(rendered(records)))
    everything = b"".join(samples)
    unit, _ = fastest(3, lambda: zstandard.ZstdCompressor(level=3).compress(everything))
    with Results("speed", pool, results) as out:
        out.say(f"{len(records):,} samples, {len(samples):,} without copies, {format_bytes(len(everything))}")
        out.say(f"One zstd-3 pass over it: {unit:.3f} s, best of 3.")
        out.table("preset default, R by zstd-19 wide", COLUMNS, selections(samples, unit, repeat))
        out.table("preset reference", ("samples", "budget", "k1/k2/k3", "seconds"), [reference(records, repeat)])


def selections(samples: Sequence[bytes], unit: float, repeat: int) -> Iterator[list[str]]:
    """A row per way and byte budget: what was picked, how redundant it is, and what it cost."""
    scale = min(1.0, sum(map(len, samples)) / POOL_BYTES)
    for budget, (objective, guard) in product((int(size * scale) for size in BYTE_BUDGETS), ARMS):
        work = partial(select, samples, f"{budget}B", objective=objective, guard=guard)
        seconds, ranking = fastest(repeat, work)
        chosen = [samples[row] for row in ranking]
        yield [
            objective,
            guard,
            format_bytes(budget),
            f"{len(ranking):,}",
            f"{wide_ratio(chosen):.3f}",
            f"{wide_ratio(by_chance(samples, sum(map(len, chosen)))):.3f}",
            f"{seconds:.2f}",
            f"{seconds / unit:.1f}",
        ]


def reference(records: Sequence[dict[str, Any]], repeat: int) -> list[str]:
    """The released program's picks, as its own figures are given: rows, budget and stages."""
    samples = [repr(record) for record in records[:REFERENCE_ROWS]]
    seconds, ranking = fastest(repeat, lambda: select(samples, REFERENCE_BUDGET, **REFERENCE))
    stages = "/".join(str(REFERENCE[key]) for key in ("k1", "k2", "k3"))
    return [f"{len(samples):,}", f"{len(ranking):,}", stages, f"{seconds:.2f}"]


def by_chance(samples: Sequence[bytes], size: int) -> list[bytes]:
    """Samples drawn at random, of ``size`` bytes."""
    order = random.Random(0).sample(range(len(samples)), len(samples))
    lengths = np.cumsum([len(samples[row]) for row in order])
    return [samples[row] for row in order[: int(np.searchsorted(lengths, size))]]


def fastest(repeat: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of the fastest of ``repeat`` runs, what it gave)."""
    runs = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = work()
        runs.append(time.perf_counter() - start)
    return min(runs), result


if __name__ == "__main__":
    main()
