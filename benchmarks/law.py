"""The entropy law on real text: what R and L say of twelve subsets, and what a model learns from each.

The law (docs/entropy.md): a model's score falls with R, the compression ratio of what it was trained on, and with L,
the mean loss of the first epoch, once quality and consistency are held. Here R goes from what selection makes of the
pool up to subsets that repeat themselves, and two subsets say what is not so. Learner, held-out samples and score
(minus the bits per byte, so that higher is better) are those of training.py. Signs are printed as found. Needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import numpy as np
from arms import ARMS
from chance import at_random, within
from kept import Json, Kept
from learning import PACKAGES, Bench, like_pool, mean, with_options
from paired import spread
from pools import Split, prompt, rendered, source_of
from results import Results, option

from zipspark.core.zstd_codec import ZstdCodec
from zipspark.entropy import Version, fit
from zipspark.entropy.measure import measure
from zipspark.entropy.ranks import ranks
from zipspark.entropy.streams import hashed
from zipspark.errors import InputError

CODECS = ("zlib", "zstd")
CONTEXT = 1_000_000  # bytes of the pool that a sample is compared with
Subsets = Mapping[str, Callable[[], Sequence[bytes]]]  # by name, made when asked for

GOOD = (  # of samples as they are: quality and consistency are held
    *("ratio", "coverage", "random 1", "random 2", "random 3", "equal random"),
    *("half redundant", "redundant", "a half, twice", "a quarter, four times"),
)
ONE_MIXTURE = ("random 1", "random 2", "random 3", "a half, twice", "a quarter, four times")  # of sources: the pool's
SPOILED = ("half of the answers swapped", "a half, and again with swapped answers")
SETS = {
    "all": (*GOOD, *SPOILED),
    "those of samples as they are": GOOD,
    "those of samples as they are, with the pool's mixture of sources": ONE_MIXTURE,
}


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="draws of what is held out, of subsets and of weights")
@option
@with_options
def main(seeds: int, results: Path, **given: Any) -> None:
    bench = Bench.of(**given)
    with Results("law", bench.pool, results, (*PACKAGES, "scipy")) as out:
        keeping = Kept(out.kept, "law", bench.options(), bench.pool, PACKAGES)
        runs: dict[str, list[Json]] = {name: [] for name in (*GOOD, *SPOILED)}
        for seed in range(seeds):
            for name, found in runs.items():
                found.append(keeping.of({"subset": name, "seed": seed}, partial(run, bench, name, seed)))
                click.echo(f"seed {seed}, {name}: {mean(found[-1]):.3f} bits per byte", err=True)
        out.say(bench.describe([each for found in runs.values() for each in found]))
        out.say(
            "R is of the whole set, by zlib -9 and zstd as `zipspark entropy measure` has them, and by zstd -19 with "
            f"a wide window; L the mean loss of the first epoch, nats per token. Means, of seeds: {seeds}."
        )
        out.say(keeping.said())
        out.table("twelve subsets", COLUMNS, rows(runs))
        for title, names in SETS.items():
            some = {name: runs[name] for name in names}
            out.table(
                f"rank correlations with the score, {title} ({len(some)} subsets); the law says: negative",
                ("of", *(f"score: {title}" for title in SCORES)),
                correlations(some),
            )
            for codec in CODECS:
                out.say(f"`zipspark entropy fit`, {title}, R by {codec}, score: mean over sources")
                out.say(f"```\n{fitted(some, codec)}\n```")


def run(bench: Bench, name: str, seed: int) -> Json:
    texts = subsets(bench, seed)[name]()
    of_set = measure(hashed(texts), most_groups=0)
    return bench.learn(texts, seed) | {codec: of_set.of(codec).ratio for codec in CODECS}


# --- subsets ----------------------------------------------------------------------------------------------------------


def subsets(bench: Bench, seed: int) -> Subsets:
    split = bench.split(seed)

    def of(rows: Sequence[int]) -> list[bytes]:
        return [split.samples[row] for row in rows]

    def drawn(draw: int, share: float = 1.0) -> list[bytes]:
        return of(within(split, at_random(split, draw), share * split.budget))

    def alike(share: float) -> list[bytes]:
        """The samples most like the rest of the pool; what is not of them is drawn at random."""
        rows = within(split, most_alike(split), share * split.budget)
        there = set(rows)
        others = [row for row in at_random(split, 1) if row not in there]
        return of([*rows, *within(split, others, (1 - share) * split.budget)])

    def swapped(texts: Sequence[bytes]) -> list[bytes]:
        return with_swapped_answers(texts, questions(bench), np.random.default_rng((seed, len(texts))))

    def half_swapped() -> list[bytes]:
        texts = drawn(1)
        return [*texts[::2], *swapped(texts[1::2])]

    return {
        "ratio": lambda: of(ARMS["ratio"].pick(split, 0)),
        "coverage": lambda: of(ARMS["coverage"].pick(split, 0)),
        **{f"random {draw}": partial(drawn, draw) for draw in (1, 2, 3)},
        "equal random": lambda: of(ARMS["equal random"].pick(split, 1)),
        "half redundant": partial(alike, 0.5),
        "redundant": partial(alike, 1.0),
        "a half, twice": lambda: 2 * drawn(1, 1 / 2),
        "a quarter, four times": lambda: 4 * drawn(1, 1 / 4),
        "half of the answers swapped": half_swapped,
        "a half, and again with swapped answers": lambda: [*drawn(1, 1 / 2), *swapped(drawn(1, 1 / 2))],
    }


def most_alike(split: Split) -> list[int]:
    """Positions, first those of which a random `CONTEXT` of the pool leaves least to say, per byte; without its own."""
    order = np.random.default_rng((split.seed, CONTEXT)).permutation(len(split.samples)).tolist()
    known = within(split, order, min(CONTEXT, sum(map(len, split.samples)) // 2))
    context = b"".join(split.samples[row] for row in known)
    codec = ZstdCodec(level=3).dictionary(context)
    chosen = set(known)
    others = [row for row in order if row not in chosen]
    left = [len(codec.compress(split.samples[row])) / len(split.samples[row]) for row in others]
    return [others[at] for at in np.argsort(left, kind="stable")]


def questions(bench: Bench) -> Mapping[bytes, tuple[str, bytes]]:
    """Rendered sample -> its source, and what the person said first."""
    records = bench.records()
    return {
        text: (source_of(record), prompt(record).encode())
        for text, record in zip(rendered(records), records, strict=True)
    }


def with_swapped_answers(
    texts: Sequence[bytes], questions: Mapping[bytes, tuple[str, bytes]], chance: np.random.Generator
) -> list[bytes]:
    """Each prompt with what follows another one of its source; as many bytes. Texts that hold no prompt stay, and so
    does a text that is alone in its source.

    >>> asked = {b"1+1? 2": ("sums", b"1+1?"), b"2+2? 4": ("sums", b"2+2?")}
    >>> with_swapped_answers(list(asked), asked, np.random.default_rng(0))
    [b'1+1? 4', b'2+2? 2']
    """
    ends = {}
    circles: dict[str, list[int]] = {}
    for at, text in enumerate(texts):
        source, asked = questions[text]
        if asked and asked in text and not text.endswith(asked):
            ends[at] = text.index(asked) + len(asked)
            circles.setdefault(source, []).append(at)
    made = list(texts)
    for members in circles.values():
        circle = chance.permutation(members).tolist()
        for at, other in zip(circle, [*circle[1:], *circle[:1]], strict=True):
            made[at] = texts[at][: ends[at]] + texts[other][ends[other] :]
    return made


# --- tables -----------------------------------------------------------------------------------------------------------

MEASURES = {"R, zlib": "zlib", "R, zstd": "zstd", "R, wide": "R", "L": "loss"}
SCORES = {"mean over sources": mean, "drawn like the pool": like_pool}
COLUMNS = ("subset", *MEASURES, *(cell for title in SCORES for cell in (f"bits, {title}", "±")), "samples")


def rows(runs: Mapping[str, Sequence[Json]]) -> Iterator[list[str]]:
    """A row per subset, means over seeds, ± half the range."""
    for name, found in runs.items():
        cells = [name, *(f"{_mean(found, itemgetter(key)):.3f}" for key in MEASURES.values())]
        cells += [cell for score in SCORES.values() for cell in spread([score(run) for run in found])]
        yield [*cells, f"{_mean(found, itemgetter('samples')):,.0f}"]


def correlations(runs: Mapping[str, Sequence[Json]]) -> Iterator[list[str]]:
    """A row per measure: how the score, minus the bits, goes with it."""
    for title, key in MEASURES.items():
        values = [_mean(found, itemgetter(key)) for found in runs.values()]
        yield [title, *(str(ranks(values, [-_mean(found, of) for found in runs.values()])) for of in SCORES.values())]


def fitted(runs: Mapping[str, Sequence[Json]], codec: str) -> str:
    """What `zipspark entropy fit` prints."""
    versions = [
        Version(
            name,
            ratio=_mean(found, itemgetter(codec)),
            codec=codec,
            loss=_mean(found, itemgetter("loss")),
            score=-_mean(found, mean),
        )
        for name, found in runs.items()
    ]
    try:
        return str(fit(versions))
    except InputError as error:  # also a result
        return str(error)


def _mean(found: Sequence[Json], of: Callable[[Json], float]) -> float:
    return float(np.mean([of(run) for run in found]))


if __name__ == "__main__":
    main()
