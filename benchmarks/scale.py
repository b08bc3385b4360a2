"""How time, memory and shuffled bytes of `zipspark select` grow with the pool, and what that foretells of larger ones.

    python benchmarks/scale.py [POOL] [--rows 10000,100000,1000000] [--budget 2%] [--budget 5MB] [any flags of select]

Pools are made by variation.py, one original for so many rows (--family): all sizes have the same share of variants.
Each is selected from by a command of its own, preset default. A budget that is a share grows with the pool, so what is
done to every byte, selection and merge all have to grow alike; one of fixed size is the usual one, where a larger pool
adds nothing to the merge. Wall time suffers from whatever else runs on the machine: CPU seconds of the stages, of all
processes, are what is judged; those of the whole command, with Java's start and end, stand beside. The heap is what a
collection of Java's left, at most; what Java holds besides is room that it had no reason to give back. Linux only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import click
import variation
from projection import Run, projected
from results import Results, option
from watching import event_log, job, shuffled

MEMORY = ("worker", "command", "java", "heap")  # of `Used`
SHUFFLING = ("look", "parts", "merge", "account", "write")  # stages that do
ASKED = 11.0  # times as long, at most, for ten times the rows
FLAT = 1.2  # times as much memory of a worker, at most, whatever the rows
TOLD = 5.0  # CPU seconds from which on a stage's factor is no chance


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.option("--rows", default="10000,100000,1000000", show_default=True, help="of the pools, ascending")
@click.option("--budget", "budgets", multiple=True, default=("2%", "5MB"), show_default=True)
@click.option("--family", default=8, show_default=True, help="rows for each original: it and variants of it")
@click.option("--cores", default=2, show_default=True)
@click.option("--pools", type=click.Path(file_okay=False, path_type=Path), help="keep pools here, and use those there")
@click.option("--seed", default=0, show_default=True, help="of the variation")
@option
def main(
    pool: Path | None,
    flags: tuple[str, ...],
    rows: str,
    budgets: Sequence[str],
    family: int,
    cores: int,
    pools: Path | None,
    seed: int,
    results: Path,
) -> None:
    """POOL is a Parquet file with columns source and conversations; without one, the demo corpus is varied."""
    counts = [int(count) for count in rows.split(",")]
    with Results("scale", pool, results, ["pyspark"]) as out, _kept(pools) as folder:
        originals = [min(variation.size_of(pool), max(1, count // family)) for count in counts]
        inputs = [_pool(folder, pool, *each, seed) for each in zip(counts, originals, strict=True)]
        shares = [f"{1 - each / count:.1%} of {count:,}" for count, each in zip(counts, originals, strict=True)]
        out.say(f"Rows that are variants of others: {', '.join(shares)}.")
        runs = {}
        for budget in budgets:
            runs[budget] = []
            for count, path in zip(counts, inputs, strict=True):
                runs[budget].append(run := measured(path, count, budget, cores, flags))
                click.echo(f"{run}", err=True)  # tables come at the end, and the last pool takes longest
            _tables(out, budget, runs[budget], shares)
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


def _pool(folder: Path, base: Path | None, rows: int, originals: int, seed: int) -> Path:
    """One that is there is used again, if the same variation.py made it from as much."""
    made_by = blake2b(Path(variation.__file__).read_bytes(), digest_size=4, salt=str(variation.size_of(base)).encode())
    name = f"{base.stem if base else 'demo'}-{rows}-of-{originals}-{seed}-{made_by.hexdigest()}.parquet"
    if not (folder / name).exists():
        variation.write(folder / name, base, rows, seed, originals)
    return folder / name


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


def _tables(out: Results, budget: str, runs: Sequence[Run], variants: Sequence[str]) -> None:
    stages = list(runs[0].seconds)
    clocks = {
        "CPU seconds": [(run.used.cpu_of, run.cpu, run.used.cpu) for run in runs],
        "seconds by the clock": [(run.seconds, sum(run.seconds.values()), run.used.wall) for run in runs],
    }
    for what, taken in clocks.items():
        out.table(
            f"--budget {budget}: {what}",
            ("rows", "text, MB", "picks", *stages, "all", "with Java's start"),
            [
                [f"{run.rows:,}", f"{run.bytes / 1e6:,.0f}", f"{run.picks:,}"]
                + [f"{seconds:.1f}" for seconds in (*(of[stage] for stage in stages), *sums)]
                for run, (of, *sums) in zip(runs, taken, strict=True)
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
    out.table(
        f"--budget {budget}: times as much CPU and memory",
        ("rows", "text", *stages, "all", "with Java's start", "by the clock", *MEMORY, "shuffled"),
        [[f"{few.rows:,} to {many.rows:,}", *_growth(few, many, stages)] for few, many in pairwise(runs)],
    )
    if len(runs) > 1:
        out.say(_verdict(*runs[-2:]) + f" Variants: {', '.join(variants[-2:])} rows.")


def _growth(few: Run, many: Run, stages: Sequence[str]) -> list[str]:
    seconds = [(few.used.cpu_of[stage], many.used.cpu_of[stage]) for stage in stages]
    seconds += [(few.cpu, many.cpu), (few.used.cpu, many.used.cpu), (few.used.wall, many.used.wall)]
    sizes = [(getattr(few.used, name), getattr(many.used, name)) for name in MEMORY]
    sizes += [(few.all_shuffled, many.all_shuffled)]
    return [
        f"{many.bytes / few.bytes:.1f}",
        *(f"{after / before:.1f}" if before >= TOLD else "" for before, after in seconds),
        *(f"{after / before:.2f}" if before else "" for before, after in sizes),
    ]


def _verdict(few: Run, many: Run) -> str:
    """Whether time and memory grow no more than is asked."""
    grown, longer, larger = (many.rows / few.rows, many.cpu / few.cpu, many.used.worker / few.used.worker)

    def judged(kept: bool) -> str:
        return "kept" if kept else "missed"

    return (
        f"Asked of ten times the rows: at most {ASKED:g} times the CPU of all stages. {grown:g} times the rows took "
        f"{longer:.1f} times as much: {judged(longer <= ASKED * grown / 10)}. The whole command took "
        f"{many.used.cpu / few.used.cpu:.1f} times the CPU, and {many.used.wall / few.used.wall:.1f} times as long by "
        f"the clock. Asked of a worker's memory: at most {FLAT:g} times as much. It took {larger:.2f} times "
        f"({few.used.worker / 1e6:,.0f} to {many.used.worker / 1e6:,.0f} MB): {judged(larger <= FLAT)}."
    )


if __name__ == "__main__":
    main()
