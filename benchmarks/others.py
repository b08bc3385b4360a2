"""Other people's ways to choose samples, by their own packages, as functions (split, draw) -> positions.

All see text alone. Each fills ``split.budget`` bytes; a package that counts samples is asked for as many as fit. What a
split's draws have in common is worked out once. ImportError where a package is absent (extra `proof`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from chance import within
from pools import Split

from zipspark.core.codecs import lengths

SUB_SAMPLE = 5000  # samples that facility location is asked to choose from: it takes memory for each pair of them

Result = TypeVar("Result")


def once_a_split(work: Callable[[Split], Result]) -> Callable[[Split], Result]:
    """``work`` that remembers its last result: draws of a split come one after the other."""
    last: list[tuple[Sequence[bytes], Result]] = []

    @wraps(work)
    def remembered(split: Split) -> Result:
        if not last or last[0][0] is not split.samples:
            last[:] = [(split.samples, work(split))]
        return last[0][1]

    return remembered


def minhash_random(split: Split, draw: int) -> list[int]:
    """Near copies removed (`unlike`), then samples at random: what most pools are made by."""
    kept = unlike(split)
    chance = np.random.default_rng((split.seed, draw))
    return within(split, [kept[at] for at in chance.permutation(len(kept))], split.budget)


@once_a_split
def unlike(split: Split) -> list[int]:
    """Positions left by datasketch's MinHash LSH: of near copies the first, ascending.

    Word 5-grams and Jaccard 0.7, as text-dedup has them; 128 permutations, datasketch's default. A sample goes if a
    MinHash that was kept is at least so similar by its own estimate, as datasketch's documentation suggests to check;
    text-dedup takes every collision for a copy, and copies of copies too.
    """
    from datasketch import MinHashLSH
    from twins import PERMUTATIONS, THRESHOLD, sketches

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    found = sketches(split.samples, seed=1)
    kept = []
    for row, sketch in enumerate(found):
        if not any(sketch.jaccard(found[near]) >= THRESHOLD for near in index.query(sketch)):
            index.insert(row, sketch)
            kept.append(row)
    return kept


def dsir(split: Split, draw: int) -> list[int]:
    """Data selection with importance resampling (Xie 2023), by its package: samples whose hashed words and pairs of
    words are as common as in a target, here the examples of all sources together, of each as many.

    The package's settings, but that samples of fewer than 100 words, which it leaves out, are let in where the others
    would not be twice the budget. It draws a number of samples: the number is searched for that fills the bytes. Its
    chance is seeded, so a larger number draws the same samples and some more.
    """
    return _weighed(split).filling(draw)


class _Weighed:
    """A split's samples with DSIR's weights, in a folder of files as the package wants them."""

    def __init__(self, split: Split) -> None:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
        from data_selection import HashedNgramDSIR

        self._split = split
        self._sizes = lengths(split.samples)
        self._folder = TemporaryDirectory()  # goes when this does
        pool, target = f"{self._folder.name}/pool.jsonl", f"{self._folder.name}/target.jsonl"
        _write(pool, split.samples)
        _write(target, [text for texts in split.examples.values() for text in texts])
        self._dsir = HashedNgramDSIR([pool], [target], cache_dir=f"{self._folder.name}/weights")
        self._dsir.fit_importance_estimator()
        self._dsir.compute_importance_weights()
        words = np.concatenate([np.load(file) for file in self._dsir.perexample_metadata_dir.iterdir()])
        if (words >= self._dsir.min_example_length).sum() * self._sizes.mean() < 2 * split.budget:
            self._dsir.min_example_length = 0
        self._offered = int((words >= self._dsir.min_example_length).sum())

    def filling(self, draw: int) -> list[int]:
        """Positions that fill the budget to less than a sample of mean size."""
        budget, mean = self._split.budget, float(self._sizes.mean())
        fits: list[int] = []
        room, too_many = budget, self._offered  # the package draws fewer than all
        while room >= mean and too_many - len(fits) > 1:
            guess = min(max(len(fits) + 1, int(budget / mean)), too_many - 1)
            rows = self._drawn(guess, draw)
            size = int(self._sizes[rows].sum())
            mean = size / len(rows)
            if size <= budget:
                fits, room = rows, budget - size
            else:
                too_many = guess
        return fits

    def _drawn(self, count: int, draw: int) -> list[int]:
        with TemporaryDirectory() as folder:
            np.random.seed([self._split.seed, draw])  # what the package draws by
            self._dsir.resample(f"{folder}/out", count, cache_dir=f"{folder}/cache")
            lines = [line for file in Path(f"{folder}/out").iterdir() for line in file.read_text().splitlines()]
        return sorted(json.loads(line)["row"] for line in lines)


_weighed = once_a_split(_Weighed)


def _write(path: str, texts: Sequence[bytes]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row, text in enumerate(texts):
            file.write(json.dumps({"row": row, "text": text.decode(errors="replace")}) + "\n")


def facility_location(split: Split, draw: int, sub_sample: int = SUB_SAMPLE) -> list[int]:
    """apricot's facility location: samples near which, by their vectors, all others of a sub-sample lie.

    Of ``sub_sample`` samples drawn at random, for it needs the similarities of all pairs; so it chooses from less than
    the other ways do. Similarity is apricot's own for cosines, their square. Vectors are those of embeddings.py. Lazy
    greedy, by gain and not by gain per byte: as the package is used, with a number of samples, cut at the budget.
    """
    from apricot import FacilityLocationSelection
    from embeddings import embedded

    drawn = np.random.default_rng((split.seed, draw)).permutation(len(split.samples))[:sub_sample]
    most = int(np.searchsorted(np.cumsum(np.sort(lengths(split.samples)[drawn])), split.budget, side="right"))
    vectors = embedded([split.samples[row] for row in drawn])
    found = FacilityLocationSelection(max(1, most), metric="cosine", optimizer="lazy").fit(vectors)
    return within(split, drawn[found.ranking].tolist(), split.budget)
