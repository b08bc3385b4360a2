"""What `zipspark plan` foresees beside what `zipspark select` then does, as one process after the other.

    python benchmarks/planning.py POOL [--budget 10000] [--runs 3] [any flags of zipspark plan]

Seconds are those of Java's start and of all stages. Memory is that of the largest Python worker (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from main_job import Workers as Workers
from rich.console import Console
from rich.table import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool")
    parser.add_argument("--budget", default="10000")
    parser.add_argument("--runs", type=int, default=3)
    options, flags = parser.parse_known_args()
    table = Table("run", "what", "foreseen", "real", "factor", title=f"{options.budget} {' '.join(flags)}".strip())
    for run in range(options.runs):
        foreseen = _said("plan", options.pool, "--budget", options.budget, *flags)[0]
        with tempfile.TemporaryDirectory() as folder, Workers() as workers:
            output = ("--output", f"{folder}/out")
            real, wall = _said("select", options.pool, "--budget", options.budget, *flags, *output)
        for what, guess, found in _pairs(foreseen, real, wall, workers.peak):
            factor = max(guess, found) / max(min(guess, found), 1e-9)
            table.add_row(str(run), what, f"{guess:,.1f}", f"{found:,.1f}", f"{factor:.2f}")
        table.add_section()
        print(
            f"plan took {foreseen['took']:.1f} s; stages foreseen {_short(foreseen)}, real {_short(real)}", flush=True
        )
    Console(width=100).print(table)


def _said(command: str, *arguments: str) -> tuple[dict[str, Any], float]:
    """What a command prints as JSON, and the seconds it took."""
    started = time.perf_counter()
    line = [sys.executable, "-m", "zipspark", command, *arguments, "--json", "--quiet"]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout), time.perf_counter() - started


def _pairs(foreseen: dict[str, Any], real: dict[str, Any], wall: float, worker: int) -> list[tuple[str, float, float]]:
    pool, subset = real["sets"][:2]
    start = foreseen["seconds"]["start"]
    return [
        ("rows", foreseen["found"]["rows"], sum(real["decisions"].values())),
        ("text that can be chosen, MB", foreseen["found"]["bytes"] / 1e6, pool["bytes"] / 1e6),
        ("subset, rows", foreseen["subset_rows"], subset["samples"]),
        ("subset, MB", foreseen["subset_bytes"] / 1e6, subset["bytes"] / 1e6),
        ("parts", foreseen["parts"], real["parts"]),
        ("worker, MB", foreseen["task_memory"] / 1e6, worker / 1e6),
        ("stages, s", foreseen["total_seconds"] - start, sum(real["seconds"].values())),
        ("wall, s", foreseen["total_seconds"], wall),
    ]


def _short(said: dict[str, Any]) -> str:
    return " ".join(f"{name} {seconds:.1f}" for name, seconds in said["seconds"].items())


if __name__ == "__main__":
    main()
