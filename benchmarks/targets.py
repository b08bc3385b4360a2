"""What a target does to the choice: held-out bits per byte on it and over all sources, by strength.

The target is a source, given as prompts of it that are neither in the pool nor held out. DSIR, by its own package, is
given the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import numpy as np
from chance import at_random
from heldout import Floats, HeldOut
from pools import LIKE_POOL, Split, of_large_sources, records_of, split_of
from results import Results, option

from zipspark.core import select
from zipspark.units import format_bytes, parse_size

STRENGTHS = (0.5, 1.0, 2.0)
COLUMNS = ("arm", "target in picks, bytes", "bits per byte on it", "mean over sources")


@click.command(help=__doc__)
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=60_000, show_default=True, help="samples read from POOL")
@click.option("--skip", default=0, show_default=True, help="samples of POOL before the first that is read")
@click.option("--budget", default="1MB", show_default=True, help="bytes of each subset")
@click.option("--seeds", default=3, show_default=True, help="draws of what is held out")
@click.option(
    "--target", "targets", multiple=True, default=("gsm8k", "code_alpaca"), show_default=True, metavar="SOURCE"
)
@option
def main(pool: Path, rows: int, skip: int, budget: str, seeds: int, targets: Sequence[str], results: Path) -> None:
    """POOL is a Parquet file of records with a column `source`."""
    records = of_large_sources(records_of(pool, rows, skip))
    splits = [split_of(records, parse_size(budget), seed) for seed in range(seeds)]
    if unknown := set(targets) - splits[0].questions.keys():
        raise click.UsageError(f"targets must be of {', '.join(splits[0].questions)}, got {', '.join(sorted(unknown))}")
    plain = [[chosen(split, at_random(split, 0)), chosen(split, selected(split))] for split in splits]
    with Results("targets", pool, results, ("data-selection",)) as out:
        out.say(f"{len(splits[0].samples):,} samples, {format_bytes(splits[0].budget)} chosen, {seeds} seeds")
        for target in targets:
            questions = len(splits[0].questions[target])
            held = np.mean([split.sources.count(target) / len(split.sources) for split in splits])
            title = f"target: {questions} questions of {target} ({held:.1%} of the pool)"
            rows_of = list(target_rows(target, splits, plain))
            try:
                found = [chosen(split, by_dsir(split, target)) for split in splits]
                rows_of.append(row("DSIR, the same questions", target, found))
            except ImportError as error:
                out.say(f"Absent: DSIR, {error}.")
            out.table(title, COLUMNS, rows_of)


Chosen = tuple[dict[str, float], dict[str, float]]  # by source: (share of the bytes picked, held-out bits per byte)


def target_rows(target: str, splits: Sequence[Split], plain: Sequence[Sequence[Chosen]]) -> Iterator[list[str]]:
    """A row per strength, behind random choice and no target."""
    arms = {"random": [each[0] for each in plain], "no target": [each[1] for each in plain]}
    for strength in STRENGTHS:
        arms[f"strength {strength:g}"] = [chosen(split, selected(split, target, strength)) for split in splits]
    for arm, found in arms.items():
        yield row(arm, target, found)


def row(arm: str, target: str, found: Sequence[Chosen]) -> list[str]:
    """What `COLUMNS` say, means over seeds."""
    bits = [[each[1][target], np.mean(list(each[1].values()))] for each in found]
    share = np.mean([each[0].get(target, 0.0) for each in found])
    return [arm, f"{share:.1%}", *(f"{mean:.3f}" for mean in np.mean(bits, axis=0))]


def by_dsir(split: Split, target: str) -> list[int]:
    """What others.py has DSIR choose where questions of ``target`` are all that it should be like."""
    # A list of its own: what DSIR worked out is remembered by that.
    aimed = replace(split, samples=list(split.samples), examples={target: split.questions[target]})
    found: list[int] = import_module("others").dsir(aimed, 0)
    return found


def selected(split: Split, target: str | None = None, strength: float = 1.0) -> list[int]:
    questions = split.questions[target] if target else ()
    return list(select(split.samples, f"{split.budget}B", target=questions, target_strength=strength))


def chosen(split: Split, rows: Sequence[int]) -> Chosen:
    texts = [split.samples[row] for row in rows]
    sizes: dict[str, float] = {}
    for row, text in zip(rows, texts, strict=True):
        sizes[split.sources[row]] = sizes.get(split.sources[row], 0.0) + len(text)
    held_out = HeldOut({source: kept for source, kept in split.held_out.items() if source != LIKE_POOL})
    bits: Floats = held_out.bits_per_byte(texts)
    total = sum(sizes.values())
    return {source: size / total for source, size in sizes.items()}, dict(
        zip(held_out.sources, bits.tolist(), strict=True)
    )


if __name__ == "__main__":
    main()
