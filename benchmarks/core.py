"""Speed and quality of `zipspark.core.select` on one core, as multiples of one zstd-3 pass over the same bytes."""

from __future__ import annotations

import os
import platform
import random
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
import zstandard
from rich.console import Console
from rich.table import Table

from zipspark import demo
from zipspark.core import select
from zipspark.core.rendering import detect_layout, kinds_of_records, layout_renderer
from zipspark.units import format_bytes

POOL_BYTES = 70_000_000  # of the first 54,000 samples of the pool that the byte budgets are for, without copies
BYTE_BUDGETS = (2_500_000, 13_000_000)
ARMS = (("ratio", "off"), ("ratio", "on"), ("coverage", "off"), ("coverage", "on"))  # objective, guard
REFERENCE = {"preset": "reference", "k1": 1000, "k2": 200, "k3": 100}
REFERENCE_ROWS, REFERENCE_BUDGET = 5000, 500


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=54_000, show_default=True, help="samples read from the start of POOL")
@click.option("--repeat", default=1, show_default=True, help="runs of each selection; the fastest counts")
def main(pool: Path | None, rows: int, repeat: int) -> None:
    """POOL is a Parquet file of records; without one, the demo corpus is used and budgets are scaled to it."""
    out = Console()
    records = first_records(pool, rows) if pool else list(demo.corpus())
    samples = list(dict.fromkeys(rendered(records)))
    everything = b"".join(samples)
    unit, _ = fastest(3, lambda: zstandard.ZstdCompressor(level=3).compress(everything))

    out.print(machine())
    out.print(f"pool: {len(records):,} samples, {len(samples):,} without copies, {format_bytes(len(everything))}")
    out.print(f"one zstd-3 pass over it: {unit:.3f} s, best of 3")
    out.print(selection_table(samples, unit, repeat))
    out.print(reference_table(records[:REFERENCE_ROWS], repeat))


def selection_table(samples: Sequence[bytes], unit: float, repeat: int) -> Table:
    """A row per way and byte budget: what was picked, how redundant it is, and what it cost."""
    columns = ("objective", "guard", "budget", "picks", "R", "R random", "seconds", "passes")
    table = Table(*columns, title="preset default, R by zstd-19 wide")
    scale = min(1.0, sum(map(len, samples)) / POOL_BYTES)
    for budget, (objective, guard) in product((int(size * scale) for size in BYTE_BUDGETS), ARMS):
        work = partial(select, samples, f"{budget}B", objective=objective, guard=guard)
        seconds, ranking = fastest(repeat, work)
        chosen = [samples[row] for row in ranking]
        table.add_row(
            objective,
            guard,
            format_bytes(budget),
            f"{len(ranking):,}",
            f"{wide_ratio(chosen):.3f}",
            f"{wide_ratio(by_chance(samples, sum(map(len, chosen)))):.3f}",
            f"{seconds:.2f}",
            f"{seconds / unit:.1f}",
        )
    return table


def reference_table(records: Sequence[dict[str, Any]], repeat: int) -> Table:
    """The released program's picks, as its own figures are given: rows, budget and stages."""
    stages = "/".join(str(REFERENCE[key]) for key in ("k1", "k2", "k3"))
    table = Table("samples", "budget", "k1/k2/k3", "seconds", title="preset reference")
    samples = [repr(record) for record in records]
    seconds, ranking = fastest(repeat, lambda: select(samples, REFERENCE_BUDGET, **REFERENCE))
    table.add_row(f"{len(samples):,}", f"{len(ranking):,}", stages, f"{seconds:.2f}")
    return table


def first_records(path: Path, rows: int) -> list[dict[str, Any]]:
    batches = pq.ParquetFile(path).iter_batches()
    records: list[dict[str, Any]] = []
    while len(records) < rows and (batch := next(batches, None)) is not None:
        records += batch.slice(0, rows - len(records)).to_pylist()
    return records


def rendered(records: Sequence[dict[str, Any]]) -> Iterable[bytes]:
    return map(layout_renderer(detect_layout(kinds_of_records(records[:1000]))), records)


def by_chance(samples: Sequence[bytes], size: int) -> list[bytes]:
    """Samples drawn at random, of ``size`` bytes."""
    order = random.Random(0).sample(range(len(samples)), len(samples))
    lengths = np.cumsum([len(samples[row]) for row in order])
    return [samples[row] for row in order[: int(np.searchsorted(lengths, size))]]


def wide_ratio(samples: Iterable[bytes]) -> float:
    """R as zstd-19 sees it with a window of 128 MiB and long-distance matching."""
    text = b"".join(samples)
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    return len(text) / len(zstandard.ZstdCompressor(compression_params=parameters).compress(text))


def fastest(repeat: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of the fastest of ``repeat`` runs, what it gave)."""
    runs = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = work()
        runs.append(time.perf_counter() - start)
    return min(runs), result


def machine() -> str:
    zstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    return (
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"zstd {zstd}, zlib {zlib.ZLIB_RUNTIME_VERSION}"
    )


if __name__ == "__main__":
    main()
