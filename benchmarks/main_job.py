"""The main job as a user starts it: wall time with Java's start, seconds per stage, largest Python worker, ratios.

    python benchmarks/main_job.py POOL [--budget 10000] [--runs 3] [any flags of zipspark select]

Linux only.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import click
from results import Results, option
from watching import job, of_classes


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.option("--budget", default="10000", show_default=True)
@click.option("--master", default="local[2]", show_default=True)
@click.option("--runs", default=3, show_default=True)
@option
def main(pool: Path, flags: tuple[str, ...], budget: str, master: str, runs: int, results: Path) -> None:
    """POOL is whatever ``zipspark select`` reads."""
    walls, rows = [], []
    with Results("main_job", pool, results, ["pyspark"]) as out:
        for run in range(1, runs + 1):
            with tempfile.TemporaryDirectory() as folder:
                asked = ("--output", f"{folder}/out", "--budget", budget, "--master", master)
                said, used = job("select", str(pool), *asked, *flags)
            walls.append(used.wall)
            seconds, ratios = said["seconds"], {line["name"]: line["ratio"] for line in said["sets"]}
            figures = [f"{value:.1f}" for value in (used.wall, *seconds.values(), used.cpu)]
            rows.append([str(run), *figures, f"{used.worker / 1e6:.0f}", *(f"{of:.2f}" for of in ratios.values())])
        columns = ("run", "wall, s", *seconds, "CPU, s", "worker, MB", *(f"R {name}" for name in ratios))
        out.table(f"select --budget {budget} --master {master}", columns, rows)
        out.say(of_classes())
        out.say(f"Wall: median {statistics.median(walls):.1f} s, {min(walls):.1f} to {max(walls):.1f} s.")


if __name__ == "__main__":
    main()
