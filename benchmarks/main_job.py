"""The main job as a user starts it: wall time with Java's start, seconds per stage, largest Python worker, ratios; and
CPU seconds per stage as multiples of one zstd-3 pass over the same text.

    python benchmarks/main_job.py POOL [--budget 10000] [--runs 3] [any flags of zipspark select]

Linux only.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import click
import zstandard
from pools import records_of, rendered
from results import Results, option
from speed import fastest
from watching import job, of_classes

from zipspark.units import format_bytes


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.option("--budget", default="10000", show_default=True)
@click.option("--master", default="local[2]", show_default=True)
@click.option("--runs", default=3, show_default=True)
@option
def main(pool: Path, flags: tuple[str, ...], budget: str, master: str, runs: int, results: Path) -> None:
    """POOL is a Parquet file of records."""
    walls, rows, passes = [], [], []
    size, unit = one_pass(pool)
    with Results("main_job", pool, results, ["pyspark"]) as out:
        for run in range(1, runs + 1):
            with tempfile.TemporaryDirectory() as folder:
                asked = ("--output", f"{folder}/out", "--budget", budget, "--master", master)
                said, used = job("select", str(pool), *asked, *flags)
            walls.append(used.wall)
            seconds, ratios = said["seconds"], {line["name"]: line["ratio"] for line in said["sets"]}
            figures = [f"{value:.1f}" for value in (used.wall, *seconds.values(), used.cpu)]
            rows.append([str(run), *figures, f"{used.worker / 1e6:.0f}", *(f"{of:.2f}" for of in ratios.values())])
            passes.append([str(run), *(f"{cpu / unit:.1f}" for cpu in (*used.cpu_of.values(), used.cpu))])
        columns = ("run", "wall, s", *seconds, "CPU, s", "worker, MB", *(f"R {name}" for name in ratios))
        out.table(f"select --budget {budget} --master {master}", columns, rows)
        title = f"CPU of all processes, in passes of zstd -3 over {format_bytes(size)} ({unit:.2f} s, best of 3)"
        out.table(title, ("run", *used.cpu_of, "all, with Java's start"), passes)
        out.say(of_classes())
        out.say(f"Wall: median {statistics.median(walls):.1f} s, {min(walls):.1f} to {max(walls):.1f} s.")


def one_pass(pool: Path) -> tuple[int, float]:
    """(bytes of the pool's text, seconds that zstd -3 takes for it at once)."""
    text = b"".join(rendered(records_of(pool, sys.maxsize)))
    seconds, _ = fastest(3, lambda: zstandard.ZstdCompressor(level=3).compress(text))
    return len(text), seconds


if __name__ == "__main__":
    main()
