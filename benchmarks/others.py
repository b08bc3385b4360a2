"""Other people's ways to choose samples, by their own packages, as functions (split, draw) -> positions.

All see text alone. Each fills ``split.budget`` bytes; a package that counts samples is asked for as many as fit. What a
split's draws have in common is worked out once. ImportError where a package is absent (extra `proof`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from chance import order, within
from pools import Split

from zipspark.config import Choice
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.presets import content_hash
from zipspark.core.seen import Eye, head_bytes, look_at, sketch_of

PAIRS_OF = 5000  # samples that facility location chooses from: it takes memory for each pair of them
FEATURES_OF = 10_000  # samples that maximum coverage chooses from: it keeps each pick as a dense row of all features

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
    return drawn_from(split, unlike(split), draw)


def drawn_from(split: Split, rows: Sequence[int], draw: int) -> list[int]:
    """Positions at random among ``rows`` that fill the budget.

    They come in the order of the draw of chance.py's `at_random`, so what is compared with it differs by what ``rows``
    leave out alone.
    """
    there = set(rows)
    return within(split, [row for row in order(split, draw) if row in there], split.budget)


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
    words are as common as in a target, here the examples of all sources together, up to 150 of each.

    The package's settings, but one: it leaves out samples of fewer than 100 words, a filter for documents of the web.
    Of chats that would leave out most, and of some sources four fifths, for their form and not by the method's weights,
    so there is no least length here. It draws a number of samples: the number is searched for that fills the bytes. Its
    chance is seeded, so a larger number draws the same samples and some more; another number of cores draws others.
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
        self._dsir = HashedNgramDSIR([pool], [target], f"{self._folder.name}/weights", min_example_length=0)
        self._dsir.fit_importance_estimator()
        self._dsir.compute_importance_weights()

    def filling(self, draw: int) -> list[int]:
        """Positions that fill the budget to less than a sample of mean size."""
        from joblib.externals.loky import get_reusable_executor

        budget, mean = self._split.budget, float(self._sizes.mean())
        fits: list[int] = []
        room, too_many = budget, len(self._sizes)  # the package draws fewer than all
        while room >= mean and too_many - len(fits) > 1:
            guess = min(max(len(fits) + 1, int(budget / mean)), too_many - 1)
            rows = self._drawn(guess, draw)
            size = int(self._sizes[rows].sum())
            mean = size / len(rows)
            if size <= budget:
                fits, room = rows, budget - size
            else:
                too_many = guess
        # The package's workers wait five minutes for more, and a process that ends waits for them.
        get_reusable_executor().shutdown()
        return fits

    def _drawn(self, count: int, draw: int) -> list[int]:
        with TemporaryDirectory() as folder:
            np.random.seed([self._split.seed, draw])  # what the package draws by
            self._dsir.resample(f"{folder}/out", count, cache_dir=f"{folder}/cache")
            shards = sorted(Path(f"{folder}/out").glob("*.jsonl"), key=lambda file: int(file.stem))
            lines = [line for file in shards for line in file.read_text(encoding="utf-8").splitlines()]
        return sorted(json.loads(line)["row"] for line in lines)


_weighed = once_a_split(_Weighed)


def _write(path: str, texts: Sequence[bytes]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row, text in enumerate(texts):
            file.write(json.dumps({"row": row, "text": text.decode(errors="replace")}) + "\n")


def facility_location(split: Split, draw: int, of: int = PAIRS_OF) -> list[int]:
    """apricot's facility location: samples near which, by their vectors, all others of a sub-sample lie.

    Of ``of`` samples drawn at random, for it needs the similarities of all pairs; so it chooses from less than the
    other ways do. Similarity is apricot's own for cosines, their square. Vectors are those of embeddings.py. Lazy
    greedy, by gain and not by gain per byte: as the package is used, with a number of samples, cut at the budget. That
    number is what samples of mean size would need, and twice as many while what they hold is not enough.
    """
    from apricot import FacilityLocationSelection
    from embeddings import fitted

    rows = order(split, draw)[:of]
    texts = [split.samples[row] for row in rows]
    sizes = lengths(texts)
    vectors = fitted(texts)(texts)
    count = math.ceil(split.budget / sizes.mean())
    while True:
        count = min(count, len(rows))
        found = FacilityLocationSelection(count, metric="cosine", optimizer="lazy").fit(vectors)
        if count == len(rows) or sizes[found.ranking].sum() >= split.budget:
            return within(split, [rows[at] for at in found.ranking], split.budget)
        count *= 2


def maximum_coverage(split: Split, draw: int, of: int = FEATURES_OF) -> list[int]:
    """apricot's maximum coverage over the byte grams that zipspark's objective ``coverage`` covers, every gram worth 1.

    Of ``of`` samples drawn at random. Lazy greedy by gain per byte: what `zipspark.core.select` maximises with
    ``objective="coverage", weight_exponent=0, guard="off"``, so both should choose the same but for ties.
    """
    from apricot import MaxCoverageSelection
    from scipy.sparse import csr_matrix

    rows = order(split, draw)[:of]
    texts = [split.samples[row] for row in rows]
    choice = Choice(objective="coverage", guard=False, weight_exponent=0.0)
    hashes = [content_hash(text) for text in texts]
    counts = sketch_of(dict(zip(hashes, texts, strict=True)), head_bytes(texts), choice)
    lens = Lens.of(counts, weight_exponent=0.0)
    views = look_at(texts, hashes, None, Eye(choice, lens)).views
    grams = np.frombuffer(b"".join(views), "<u4")
    holders = np.repeat(np.arange(len(texts)), lengths(views) // 4)
    shared = lens.weights()[grams] > 0
    names, columns = np.unique(grams[shared], return_inverse=True)
    has = csr_matrix((np.ones(len(columns)), (holders[shared], columns)), shape=(len(texts), len(names)))
    # The package takes costs, but refuses a budget above the number of samples: so a byte costs less than 1.
    costs = lengths(texts) * (len(texts) / split.budget)
    found = MaxCoverageSelection(len(texts), threshold=1.0, optimizer="lazy").fit(has, sample_cost=costs)
    return within(split, [rows[at] for at in found.ranking], split.budget)


def text_dedup(split: Split, python: str) -> list[int]:
    """Positions left by text-dedup's MinHash at its own settings, run by the interpreter ``python`` of an environment
    that has it (it pins rich below 14).

    Word 5-grams, Jaccard 0.7, 250 permutations, as many processes as this one has cores. Of samples joined by
    collisions the first is kept; those of fewer than five words go.
    """
    with TemporaryDirectory() as folder:
        texts = [text.decode(errors="replace") for text in split.samples]
        pq.write_table(pa.table({"row": range(len(texts)), "text": texts}), f"{folder}/pool.parquet")
        command = [python, "-m", "text_dedup.minhash", "--path", "parquet", "--data_files", f"{folder}/pool.parquet"]
        command += ["--split", "train", "--column", "text", "--output", f"{folder}/out", "--cache_dir", folder]
        command += ["--num_proc", str(len(os.sched_getaffinity(0)))]
        offline = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=offline, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"text-dedup ended with {done.returncode}: {done.stderr[-2000:]}")
        tables = [pa.ipc.open_stream(file).read_all() for file in sorted(Path(f"{folder}/out").glob("*.arrow"))]
    return sorted(row for table in tables for row in table["row"].to_pylist())
