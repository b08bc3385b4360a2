"""How fast this machine does what `zipspark select` does, measured on a sample: no constants of some other machine.

Two kinds of rates. What executors do in Python is done here on the sample and timed: it scales with bytes. What Spark
does around it (read, render, hash, Arrow there and back, write) is timed as a run does it, on several copies of the
sample; of two runs of different size the difference is the work, the rest is what a job costs.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import Choice, SelectConfig, choice_of
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.minhash import min_hashes
from zipspark.core.objectives import Both
from zipspark.core.presets import make_codec, make_objective, trained_header
from zipspark.core.seen import Eye, joined, look_at
from zipspark.core.selection import Offer, Quota, rank
from zipspark.core.selectors import rounds_cost
from zipspark.core.sketch import HEAD_BYTES, Sketch
from zipspark.core.tokens import TokenCounter
from zipspark.entropy.streams import Stream
from zipspark.forecast import Rates
from zipspark.limits import NO_GROUP
from zipspark.spark.batches import batch, spark_schema
from zipspark.spark.corpus import read_corpus
from zipspark.spark.samples import seen
from zipspark.spark.scores import scored
from zipspark.storage.inputs import Source
from zipspark.storage.stages import Stages

# Times its text that a Python worker needs to rank a part (`benchmarks/memory.py`).
HELD = {"both": 7.0, "ratio": 2.9, "coverage": 3.6}
_SLICE = 2 * 2**20  # bytes of text a rate is measured on
_TRIED = 0.3  # seconds of candidates that a multistage round is timed with
_GROWS = 0.25  # most that mean sizes of picks grow, as a power of the pool's size
_TIMES = 4  # how many times more copies the larger of two runs has
_AT_ONCE = 16  # tasks that a run is timed with, of however many there could be
_PROBE = pa.schema([("memory", pa.int64())])
_TOOK = pa.schema([("seconds", pa.float64())])

Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """What Spark's tasks run on."""

    cores: int  # tasks at once
    worker: int  # bytes of the largest Python worker so far


class Selecting:
    """What ranking takes, from ranking the sample itself, whole and half of it.

    Seconds grow faster than bytes, as what was chosen leaves the processor's caches, up to the window; the exponent is
    that between half and whole.
    """

    def __init__(
        self, samples: pa.Table, config: SelectConfig, eye: Eye, sample: Mapping[str, bytes], quota: Quota
    ) -> None:
        self._rows = samples
        self._config = config
        self._quota = quota  # of the whole pool
        self._lens = eye.lens if config.covers else None
        self._header = trained_header(config, list(sample.values()))
        self.bytes = int(sum(samples["bytes"].to_pylist()))  # of text
        self._took: dict[tuple[int, float, bool], _Took] = {}

    def seconds(self, size: float, share: float) -> float:
        """Of ranking ``size`` bytes, of which ``share`` is picked."""
        if not len(self._rows):
            return 0.0
        if self._config.selector == "multistage":
            return self._rounds(size, share)
        whole = self._timed(1, share).seconds
        if size <= self.bytes or len(self._rows) < 100:
            return whole * size / max(self.bytes, 1)
        half = min(self._task(2, share)().seconds for _ in range(2))
        power = min(1.5, max(1.0, math.log2(whole / max(half, 1e-9))))
        growing = min(size, max(self.bytes, self._config.window / max(share, 1e-6)))
        return float(whole * (growing / self.bytes) ** power * size / growing)

    def mean(self, size: float, share: float) -> float:
        """Bytes of a sample that is picked of ``size`` bytes, of which ``share`` is.

        It grows with what is chosen: short samples are the first to say nothing new. So from a quarter of the sample to
        all of it, and from there on, though no faster than that.
        """
        by_group = bool(self._quota.named) and self._quota.unit == self._unit
        found = (self._timed(one_in, share, by_group) for one_in in (4, 1))
        quarter, whole = (took.bytes / max(took.rows, 1) for took in found)
        if size <= self.bytes or len(self._rows) < 100:
            return whole
        power = min(_GROWS, max(0.0, math.log(max(whole, 1.0) / max(quarter, 1.0), 4)))
        return float(min(whole * (size / self.bytes) ** power, max(whole, self.bytes / len(self._rows))))

    def crowded(self, spark: SparkSession, cores: int, share: float) -> float:
        """How many times as long it takes on executors, on all cores at once, as alone on the driver."""
        task, alone = self._task(1, share), self._timed(1, share).seconds
        found = spark.range(0, cores, 1, cores).mapInArrow(task.on_executor, spark_schema(_TOOK)).toArrow()
        return float(np.clip(np.median(found["seconds"].to_numpy()) / max(alone, 1e-9), 0.25, 4.0))

    @property
    def _unit(self) -> Literal["rows", "bytes", "tokens"]:
        unit = self._config.budget.unit if self._config.budget else "rows"
        return "rows" if unit == "share" or self._config.selector == "multistage" else unit

    def _timed(self, one_in: int, share: float, by_group: bool = False) -> _Took:
        """Asked for more than once, measured once."""
        if (one_in, share, by_group) not in self._took:
            self._took[one_in, share, by_group] = self._task(one_in, share, by_group)()
        return self._took[one_in, share, by_group]

    def _task(self, one_in: int, share: float, by_group: bool = False) -> _Rank:
        """Ranking every so many rows of the sample, for ``share`` of them; ``by_group``: as the quota shares it out.

        For the time of a root it is not: candidates hold of each group what the root needs, a sample may not.
        """
        choice = choice_of(self._config)
        if choice.selector == "multistage":  # what is chosen is much the same, at another price
            choice = choice.model_copy(update={"selector": "lazy", "preset": "default"})
        rows = self._rows.take(np.arange(0, len(self._rows), one_in))
        columns = rows.select(["view", "bytes", "content", "tokens", "worth", "group"]).combine_chunks()
        quota = self._quota.scaled(share / self._quota.amount) if by_group else Quota(self._unit, share)
        return _Rank(columns, quota, choice, self._lens, self._header)

    def _rounds(self, size: float, share: float) -> float:
        """Of the paper's rounds: how many candidates they compress, and how many bytes a second that is."""
        choice, mean = choice_of(self._config), self.bytes / len(self._rows)
        pool = max(1, round(size / mean))
        trials = rounds_cost(math.ceil(share * pool), pool, choice.k1, choice.k2, choice.k3)
        views = self._rows["view"].to_pylist()
        objective = make_objective(choice, views, lengths(views), self._header, self._lens)
        assert not isinstance(objective, Both)
        for index in range(min(len(views), 30)):  # the window of zlib is full
            objective.add(index)
        done, started = 0, time.perf_counter()
        for index in range(len(views)):
            done += len(views[index])
            objective.set_ratios([index])
            if time.perf_counter() - started > _TRIED:
                break
        return trials * mean * (time.perf_counter() - started) / max(done, 1)


class _Took(NamedTuple):
    seconds: float
    rows: int  # picked
    bytes: int


@dataclass(frozen=True)
class _Rank:
    """Ranks some samples, here or in a task."""

    rows: pa.Table
    quota: Quota  # its amounts are shares of all that the rows hold
    choice: Choice
    lens: Lens | None
    header: bytes

    def __call__(self) -> _Took:
        rows = self.rows
        offer = Offer(
            views=rows["view"].to_pylist(),
            sizes=rows["bytes"].to_numpy(),
            ids=[f"{content}-{at:09}" for at, content in enumerate(rows["content"].to_pylist())],
            tokens=rows["tokens"].to_numpy() if rows["tokens"].null_count == 0 else None,
            groups=rows["group"].fill_null(NO_GROUP).to_pylist(),
            worth=rows["worth"].fill_null(1.0).to_numpy(),
        )
        quota = self.quota.scaled(float(offer.taken(self.quota.unit).sum()))
        quota = replace(quota, amount=max(1.0, quota.amount))
        started = time.perf_counter()
        ranking = rank(offer, quota, self.choice, lens=self.lens, header=self.header)
        return _Took(time.perf_counter() - started, len(ranking), int(ranking.sizes.sum()))

    def on_executor(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        yield batch(_TOOK, {"seconds": [min(self().seconds for _ in range(2))]})


def engine_of(spark: SparkSession) -> Engine:
    """How many tasks run at once, and what their Python holds: asked of the tasks, as Connect does not say."""
    found = spark.range(0, 2**16).mapInArrow(_probe, spark_schema(_PROBE)).toArrow()["memory"].to_pylist()
    return Engine(max(1, len(found)), max(found, default=0))


def _probe(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        pass
    yield batch(_PROBE, {"memory": [own_memory()]})


def own_memory() -> int:
    """Most bytes of memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rates(
    spark: SparkSession,
    source: Source,
    config: SelectConfig,
    eye: Eye,
    texts: Sequence[bytes],
    counter: TokenCounter | None,
    cores: int,
    stages: Stages,
) -> Rates:
    """The rates of a pool like the copy ``source`` of a part of it, whose texts are ``texts``."""
    size = sum(map(len, texts))
    tasks = 1 if source.format != "parquet" else min(cores, _AT_ONCE)  # files of records come in few tasks, of 64 MB
    few, many = tasks, _TIMES * tasks

    def difference(run: Callable[[int], Any]) -> float:
        seconds = []
        for copies in (few, many):
            started = time.perf_counter()
            run(copies)
            seconds.append(time.perf_counter() - started)
        return max(0.0, seconds[1] - seconds[0]) * tasks / (size * (many - few))

    tables: dict[int, DataFrame] = {}

    def score(copies: int) -> None:
        several = replace(source, files=source.files * copies)
        rows = read_corpus(spark, several, config, None).rows
        tables[copies] = stages.write(f"scores{copies}", scored(rows, config, config, counter))

    def look(copies: int) -> None:
        stages.write(f"samples{copies}", seen(tables[copies], eye, config))

    scoring, looking = difference(score), difference(look)
    some = _some(texts)
    sized = _per_byte(lambda: (make_codec(config).sizes(some), min_hashes(*joined(some))), some)
    looked = 0.0
    if eye.lens is not None:
        alone = make_codec(config).sizes(some)
        names = [f"{at:032x}" for at in range(len(some))]
        groups = [None] * len(some) if eye.in_groups else []
        looked = _per_byte(lambda: look_at(some, names, alone, eye, groups), some)
    return Rates(
        score=max(scoring, sized),
        look=max(looking, looked),
        moved=max(0.0, min(scoring - sized, looking - looked)),
        sketch=_per_byte(lambda: Sketch().count(*joined([text[:HEAD_BYTES] for text in some])), some),
        stream=_stream(some),
    )


def still(texts: Sequence[bytes]) -> Rates:
    """The rates where the sample is the whole pool: no more bytes will come."""
    return Rates(0.0, 0.0, 0.0, 0.0, stream=_stream(_some(texts)))


def _stream(some: Sequence[bytes]) -> float:
    """Seconds per byte of compressing one set as a whole."""

    def feed() -> None:
        stream = Stream("zstd")
        for text in some:
            stream.feed(text)
        stream.finish()

    return _per_byte(feed, some)


def _some(texts: Sequence[bytes]) -> list[bytes]:
    ends = np.cumsum(lengths(texts))
    return list(texts[: max(1, int(np.searchsorted(ends, _SLICE)))])


def _per_byte(do: Callable[[], Result], texts: Sequence[bytes]) -> float:
    seconds = []
    for _ in range(2):  # the first pays for what is made once
        started = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - started)
    return min(seconds) / max(sum(map(len, texts)), 1)
