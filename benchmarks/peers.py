"""Peers: what other people deduplicate and select with, on the same pool and cores as zipspark: what each takes, and
how redundant what it leaves still is.

Each runs in a process of its own with as many cores as all others, and twice there: on a few samples that are not in
the pool, for imports and compilation, and then on the pool. Deduplication keeps most of a pool, so it stands twice in
the tables: with what it keeps, and with a random choice of that which is as large as what the others choose.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import embeddings
import numpy as np
import others
import pyarrow as pa
import pyarrow.parquet as pq
from alone import Cost, alone
from chance import at_random, order
from measures import NEAR, distinct_grams, near_copies, wide_ratio
from pools import MEASURED, POOL_PART, Split, of_large_sources, records_of, split_of
from results import Results, option

from zipspark.core import select
from zipspark.units import format_bytes, parse_size

PACKAGES = (
    "data-selection",
    "datasketch",
    "apricot-select",
    "sentence-transformers",
    "torch",
    "scikit-learn",
    "pyspark",
)
DRAWS = 5  # random subsets, of which the means are shown
WARM_UP = 200  # samples
COSTS = (
    "method",
    "what it works on",
    "start, s",
    "seconds",
    "CPU seconds",
    "peak memory",
    "samples kept",
    "bytes kept",
)
REMAINS = ("samples of", "samples", "bytes", "R", "near copies", "8-grams")


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=60_000, show_default=True, help="samples read from POOL")
@click.option("--budget", default="1MB", show_default=True, help="bytes of each subset")
@click.option(
    "--text-dedup",
    type=click.Path(exists=True),
    metavar="PYTHON",
    help="interpreter of an environment that has text-dedup; none: left out",
)
@click.option("--spark/--no-spark", default=True, show_default=True, help="zipspark's main job too")
@click.option("--cores", default=2, show_default=True, help="that each may use")
@click.option("--pairs-of", default=others.PAIRS_OF, show_default=True, help="samples for facility location")
@click.option("--features-of", default=others.FEATURES_OF, show_default=True, help="samples for maximum coverage")
@option
def main(
    pool: Path | None,
    rows: int,
    budget: str,
    text_dedup: str | None,
    spark: bool,
    cores: int,
    pairs_of: int,
    features_of: int,
    results: Path,
) -> None:
    """POOL is a Parquet file of records with a column `source`; without one, the demo corpus is used."""
    own = len(os.sched_getaffinity(0))
    if not 1 <= cores <= own:
        raise click.UsageError(f"--cores must be 1 to {own}, what this process may use, got {cores}")
    split = split_of(of_large_sources(records_of(pool, rows)), parse_size(budget), seed=0)
    pairs_of, features_of = (min(count, len(split.samples)) for count in (pairs_of, features_of))
    peers = peers_of(text_dedup, cores if spark else 0, pairs_of, features_of)
    with Results("peers", pool, results, PACKAGES) as out:
        out.say(
            f"{len(split.samples):,} samples without exact copies, {format_bytes(sum(map(len, split.samples)))}; "
            f"{format_bytes(split.budget)} chosen. Each has {cores} core{'s' if cores > 1 else ''}."
        )
        out.say(notes(split, text_dedup))
        first = warming(split)
        left: dict[str, Left] = {}
        for name, peer in peers.items():
            try:
                left[name] = Left(*alone(partial(peer.work, split), partial(peer.work, first), cores))
            except (ModuleNotFoundError, RuntimeError) as error:
                if peer.ours:
                    raise
                what = "Failed" if isinstance(error, RuntimeError) else "Absent"
                out.say(f"{what}: {name}. {' '.join(str(error).split())}")
                continue
            click.echo(f"{name}: {left[name].cost.seconds:.1f} s", err=True)
        out.table("what each takes", COSTS, cost_rows(split, peers, left))
        whole, equal = remains(split, peers, left)
        out.table("what deduplication leaves, as it is", REMAINS, whole)
        out.table(f"what is redundant in {format_bytes(split.budget)}", REMAINS, equal)


def notes(split: Split, text_dedup: str | None) -> str:
    """What a reader must know to compare."""
    target = sum(map(len, split.examples.values()))
    missing = "text-dedup, which pins rich below 14, needs an environment of its own: --text-dedup PYTHON. "
    return (
        f"{_version(text_dedup) + '. ' if text_dedup else missing}"
        "Each runs in a process of its own, which holds the samples and has as many cores as the others. "
        f"Start: seconds for {WARM_UP} samples that are not in the pool, imports, compilation (apricot) and the model "
        "(vectors) included. Seconds and CPU seconds: the pool after that, until positions are known. Files (DSIR, "
        "text-dedup, the job) are in them, and starts of other processes: DSIR's workers, text-dedup with its imports "
        "and the job with its Java start anew each time. DSIR, text-dedup, vectors and the job use all cores, the "
        "others one: CPU seconds are of all. Peak memory: all processes at once, each at its own peak, the samples "
        "included; pages that processes share count in each. "
        f"DSIR's target is {target:,} samples that are not in the pool, up to {MEASURED} of each source. "
        f"Near copies: samples with another kept whose byte 8-grams overlap by Jaccard {NEAR} or more. 8-grams: "
        f"distinct byte 8-grams. R by zstd -19 --long=27. Random subsets are means of {DRAWS}."
    )


def warming(split: Split) -> Split:
    """A small pool that is not of the pool: nothing of that is known before."""
    texts = [text for texts in split.examples.values() for text in texts]
    few = np.random.default_rng(split.seed).permutation(len(texts))[:WARM_UP]
    samples = [texts[at] for at in few]
    return replace(
        split, samples=samples, sources=["" for _ in samples], budget=sum(map(len, samples)) // POOL_PART, held_out={}
    )


def cost_rows(split: Split, peers: Mapping[str, Peer], left: Mapping[str, Left]) -> Iterator[list[str]]:
    for name, found in left.items():
        cost = found.cost
        yield [
            name,
            peers[name].works_on,
            f"{cost.start:,.1f}",
            f"{cost.seconds:,.1f}",
            f"{cost.cpu_seconds:,.1f}",
            format_bytes(cost.peak),
            f"{len(found.rows):,}",
            format_bytes(sum(len(split.samples[row]) for row in found.rows)),
        ]


def remains(
    split: Split, peers: Mapping[str, Peer], left: Mapping[str, Left]
) -> tuple[list[list[str]], list[list[str]]]:
    """(a row for the pool and for what each deduplication left of it, a row for each subset as large as the budget)."""

    def row(name: str, *sets: Sequence[int]) -> list[str]:
        texts = [[split.samples[at] for at in rows] for rows in sets]
        figures = [
            (len(rows), sum(map(len, each)), wide_ratio(each), near_copies(each), distinct_grams(each))
            for rows, each in zip(sets, texts, strict=True)
        ]
        count, size, ratio, near, grams = np.mean(figures, axis=0)
        return [name, f"{count:,.0f}", format_bytes(int(size)), f"{ratio:.3f}", f"{near:.2%}", f"{grams:,.0f}"]

    whole = [row("pool", range(len(split.samples)))]
    equal = [row("random", *(at_random(split, draw) for draw in range(DRAWS)))]
    for name, found in left.items():
        if peers[name].keeps_most:
            whole.append(row(name, found.rows))
            equal.append(
                row(f"{name}, then random", *(others.drawn_from(split, found.rows, draw) for draw in range(DRAWS)))
            )
        else:
            equal.append(row(name, found.rows))
    return whole, equal


def _version(python: str) -> str:
    asked = "from importlib.metadata import version; print('text-dedup', version('text-dedup'))"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Peer:
    """A way to make a pool smaller."""

    works_on: str
    work: Callable[[Split], Sequence[int]]  # positions; picklable
    keeps_most: bool = False  # it removes copies, and knows no budget
    ours: bool = False  # zipspark: where it fails, there is nothing to compare


@dataclass(frozen=True)
class Left:
    """What a peer left of the pool, and what that took."""

    rows: Sequence[int]
    cost: Cost


def of_core(split: Split, **options: object) -> list[int]:
    return list(select(split.samples, f"{split.budget}B", **options))


def of_sub_sample(split: Split, of: int, **options: object) -> list[int]:
    """What `others.maximum_coverage` chooses from, as zipspark chooses from it."""
    rows = order(split, 0)[:of]
    found = select([split.samples[row] for row in rows], f"{split.budget}B", **options)
    return [rows[at] for at in found]


def of_job(split: Split, objective: str, master: str) -> list[int]:
    """The main job as a user starts it, from a Parquet file."""
    with TemporaryDirectory() as folder:
        texts = [text.decode() for text in split.samples]
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), f"{folder}/pool.parquet")
        command = [sys.executable, "-m", "zipspark", "select", f"{folder}/pool.parquet", "--output", f"{folder}/out"]
        command += ["--budget", f"{split.budget}B", "--objective", objective, "--master", master, "--id-column", "id"]
        done = subprocess.run([*command, "--schema", "text", "--json"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"zipspark select ended with {done.returncode}: {done.stderr[-2000:]}")
        ranked = pq.read_table(f"{folder}/out/subset", columns=["zip_rank", "id"]).sort_by("zip_rank")
    return [int(row) for row in ranked["id"].to_pylist()]


def peers_of(text_dedup: str | None, spark_cores: int, pairs_of: int, features_of: int) -> Mapping[str, Peer]:
    """By the name in the tables; without cores for Spark without the main job."""
    uniform = {"objective": "coverage", "weight_exponent": 0.0, "guard": "off"}
    peers = {"datasketch MinHash LSH": Peer("word 5-grams", others.unlike, keeps_most=True)}
    if text_dedup:
        peers["text-dedup MinHash"] = Peer(
            "word 5-grams", partial(others.text_dedup, python=text_dedup), keeps_most=True
        )
    peers |= {
        "DSIR": Peer("hashed words and pairs, a target", partial(others.dsir, draw=0)),
        "apricot facility location": Peer(
            f"{pairs_of:,} samples: {embeddings.name()}", partial(others.facility_location, draw=0, of=pairs_of)
        ),
        "apricot maximum coverage": Peer(
            f"{features_of:,} samples: zipspark's grams", partial(others.maximum_coverage, draw=0, of=features_of)
        ),
        "zipspark coverage, uniform": Peer(
            f"{features_of:,} samples: the same", partial(of_sub_sample, of=features_of, **uniform), ours=True
        ),
        "zipspark both": Peer("bytes by zstd, byte grams, one core", partial(of_core, objective="both"), ours=True),
        "zipspark coverage": Peer("byte grams, one core", partial(of_core, objective="coverage"), ours=True),
        "zipspark ratio": Peer("bytes by zstd, one core", partial(of_core, objective="ratio"), ours=True),
    }
    if spark_cores:
        master = f"local[{spark_cores}]"
        for objective in ("both", "coverage", "ratio"):
            peers[f"zipspark {objective}, job"] = Peer(
                f"a file, Spark {master}", partial(of_job, objective=objective, master=master), ours=True
            )
    return peers


if __name__ == "__main__":
    main()
