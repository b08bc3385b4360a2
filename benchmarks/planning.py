"""What `zipspark plan` foresees beside what `zipspark select` then does, as one process after the other.

    python benchmarks/planning.py POOL [--budget 10000] [--runs 3] [any flags of zipspark plan]

Seconds are those of Java's start and of all stages. Memory is that of the largest Python worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from results import Results, option
from watching import Used, job


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.option("--budget", default="10000", show_default=True)
@click.option("--runs", default=3, show_default=True)
@option
def main(pool: Path, flags: tuple[str, ...], budget: str, runs: int, results: Path) -> None:
    """POOL is whatever ``zipspark select`` reads."""
    rows, stages = [], []
    with Results("planning", pool, results, ["pyspark"]) as out:
        for run in range(1, runs + 1):
            foreseen, _ = job("plan", str(pool), "--budget", budget, *flags)
            with tempfile.TemporaryDirectory() as folder:
                real, used = job("select", str(pool), "--budget", budget, "--output", f"{folder}/out", *flags)
            for what, guess, found in _pairs(foreseen, real, used):
                factor = max(guess, found) / max(min(guess, found), 1e-9)
                rows.append([what, str(run), f"{guess:,.1f}", f"{found:,.1f}", f"{factor:.2f}"])
            for stage, seconds in real["seconds"].items():
                stages.append([stage, str(run), f"{foreseen['seconds'].get(stage, 0):.1f}", f"{seconds:.1f}"])
            out.say(f"Run {run}: `plan` itself took {foreseen['took']:.1f} s.")
        out.table(" ".join(["--budget", budget, *flags]), ("what", "run", "foreseen", "real", "factor"), rows)
        out.table("seconds by stage", ("stage", "run", "foreseen", "real"), stages)


def _pairs(foreseen: Mapping[str, Any], real: Mapping[str, Any], used: Used) -> list[tuple[str, float, float]]:
    pool, subset = real["sets"][:2]
    start = foreseen["seconds"]["start"]
    return [
        ("rows", foreseen["found"]["rows"], sum(real["decisions"].values())),
        ("text that can be chosen, MB", foreseen["found"]["bytes"] / 1e6, pool["bytes"] / 1e6),
        ("subset, rows", foreseen["subset_rows"], subset["samples"]),
        ("subset, MB", foreseen["subset_bytes"] / 1e6, subset["bytes"] / 1e6),
        ("parts", foreseen["parts"], real["parts"]),
        ("worker, MB", foreseen["task_memory"] / 1e6, used.worker / 1e6),
        ("stages, s", foreseen["total_seconds"] - start, sum(real["seconds"].values())),
        ("wall, s", foreseen["total_seconds"], used.wall),
    ]


if __name__ == "__main__":
    main()
