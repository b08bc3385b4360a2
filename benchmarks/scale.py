"""How time, memory and shuffled bytes of `zipspark select` grow with the pool, and what that foretells of larger ones.

    python benchmarks/scale.py [POOL] [--rows 10000,100000,1000000] [--budget 2%] [--budget 5MB] [any flags of select]

Pools are made by variation.py; each is selected from by a command of its own, preset default. A budget that is a share
grows with the pool, so what is done to every byte, selection and merge all have to grow alike; one of fixed size is the
usual one, where a larger pool adds nothing to the merge. Wall time suffers from whatever else runs on the machine: CPU
seconds, of all processes of the command, are what to compare. The heap is what a collection of Java's left, at most;
what Java holds besides is room that it had no reason to give back. Linux only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import variation
from projection import projected
from results import Results, option
from watching import Used, event_log, job, shuffled

MEMORY = ("worker", "command", "java", "heap")  # of `Used`
SHUFFLING = ("look", "parts", "merge", "account", "write")  # stages that do
ASKED = 11.0  # times as long, at most, for ten times the rows


@dataclass(frozen=True)
class Run:
    """One selection."""

    rows: int
    budget: str
    bytes: int  # of text that could be chosen
    picks: int
    picked: int  # bytes
    parts: int
    seconds: Mapping[str, float]  # by stage
    shuffled: Mapping[str, int]  # bytes, by stage
    used: Used

    @property
    def all_shuffled(self) -> int:
        return sum(self.shuffled.values())


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.option("--rows", default="10000,100000,1000000", show_default=True, help="of the pools, ascending")
@click.option("--budget", "budgets", multiple=True, default=("2%", "5MB"), show_default=True)
@click.option("--cores", default=2, show_default=True)
@click.option("--pools", type=click.Path(file_okay=False, path_type=Path), help="keep pools here, and use those there")
@click.option("--seed", default=0, show_default=True, help="of the variation")
@option
def main(
    pool: Path | None,
    flags: tuple[str, ...],
    rows: str,
    budgets: Sequence[str],
    cores: int,
    pools: Path | None,
    seed: int,
    results: Path,
) -> None:
    """POOL is a Parquet file with columns source and conversations; without one, the demo corpus is varied."""
    counts = [int(count) for count in rows.split(",")]
    with Results("scale", pool, results, ["pyspark"]) as out, _kept(pools) as folder:
        inputs = [_pool(folder, pool, count, seed) for count in counts]
        runs = {}
        for budget in budgets:
            runs[budget] = []
            for count, path in zip(counts, inputs, strict=True):
                runs[budget].append(run := measured(path, count, budget, cores, flags))
                click.echo(f"{run}", err=True)  # tables come at the end, and the last pool takes longest
            _tables(out, budget, runs[budget])
        if len(counts) > 1:
            projected(out, runs[budgets[0]], inputs[-1])


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _pool(folder: Path, base: Path | None, rows: int, seed: int) -> Path:
    path = folder / f"{base.stem if base else 'demo'}-{rows}-{seed}.parquet"
    if not path.exists():
        variation.write(path, base, rows, seed)
    return path


def measured(path: Path, rows: int, budget: str, cores: int, flags: Sequence[str] = ()) -> Run:
    """A selection from ``path``, watched."""
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder, "events")
        events.mkdir()
        asked = ("--output", f"{folder}/out", "--budget", budget, "--master", f"local[{cores}]", *event_log(events))
        said, used = job("select", str(path), *asked, *flags)
        written = shuffled(events)
    pool, subset = said["sets"][:2]
    return Run(
        rows=rows,
        budget=budget,
        bytes=pool["bytes"],
        picks=subset["samples"],
        picked=subset["bytes"],
        parts=said["parts"],
        seconds=said["seconds"],
        shuffled=written,
        used=used,
    )


def _tables(out: Results, budget: str, runs: Sequence[Run]) -> None:
    stages = list(runs[0].seconds)
    clocks = {
        "CPU seconds": [(run.used.cpu_of, run.used.cpu) for run in runs],
        "seconds by the clock": [(run.seconds, run.used.wall) for run in runs],
    }
    for what, taken in clocks.items():
        out.table(
            f"--budget {budget}: {what}",
            ("rows", "text, MB", "picks", *stages, "with Java's start"),
            [
                [f"{run.rows:,}", f"{run.bytes / 1e6:,.0f}", f"{run.picks:,}"]
                + [f"{seconds:.1f}" for seconds in (*(of[stage] for stage in stages), in_all)]
                for run, (of, in_all) in zip(runs, taken, strict=True)
            ],
        )
    out.table(
        f"--budget {budget}: memory, MB",
        ("rows", "parts", *MEMORY),
        [
            [f"{run.rows:,}", str(run.parts), *(f"{getattr(run.used, name) / 1e6:,.0f}" for name in MEMORY)]
            for run in runs
        ],
    )
    out.table(
        f"--budget {budget}: shuffled, MB",
        ("rows", *SHUFFLING, "all", "per byte of text"),
        [
            [
                f"{run.rows:,}",
                *(f"{each / 1e6:,.1f}" for each in (*map(run.shuffled.__getitem__, SHUFFLING), run.all_shuffled)),
                f"{run.all_shuffled / run.bytes:.2f}",
            ]
            for run in runs
        ],
    )
    pairs = list(pairwise(runs))
    out.table(
        f"--budget {budget}: times as much CPU and memory",
        ("rows", "text", *stages, "all", "by the clock", *MEMORY, "shuffled"),
        [[f"{few.rows:,} to {many.rows:,}", *_growth(few, many, stages)] for few, many in pairs],
    )
    for few, many in pairs[-1:]:
        grown, longer = many.rows / few.rows, many.used.cpu / few.used.cpu
        kept = "kept" if longer <= ASKED * grown / 10 else "missed"
        out.say(
            f"Asked of ten times the rows: at most {ASKED:g} times the time. {grown:g} times the rows took "
            f"{longer:.1f} times the CPU, {many.used.wall / few.used.wall:.1f} times as long by the clock: {kept}."
        )


def _growth(few: Run, many: Run, stages: Sequence[str]) -> list[str]:
    pairs = [(few.bytes, many.bytes)]
    pairs += [(few.used.cpu_of[stage], many.used.cpu_of[stage]) for stage in stages]
    pairs += [(few.used.cpu, many.used.cpu), (few.used.wall, many.used.wall)]
    pairs += [(getattr(few.used, name), getattr(many.used, name)) for name in MEMORY]
    pairs += [(few.all_shuffled, many.all_shuffled)]
    return [f"{after / max(before, 1e-9):.1f}" if before > 0.5 else "" for before, after in pairs]


if __name__ == "__main__":
    main()
