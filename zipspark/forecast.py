"""How long a run takes: what its sample took, what its jobs cost, and what more bytes take at the rates measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zipspark.core.merging import CANDIDATE_BYTES
from zipspark.core.sketch import SAMPLE_BYTES
from zipspark.spark.measure import LIMIT_BYTES

# What a stage costs whatever its bytes, in jobs of Spark one after the other.
_JOBS = {"parts": 1, "merge": 1, "account": 3, "write": 2}

Ranking = Callable[[float, float], float]  # (bytes, share of them that is picked) -> seconds of one core


@dataclass(frozen=True)
class Rates:
    """Seconds per byte of text, of one core."""

    score: float  # all of the stage: reading the input, rendering, hashing, sizing, writing
    look: float  # all of the stage but the sketch
    moved: float  # through Spark alone: read, to Python and back, written
    sketch: float
    stream: float  # of a set's ratio
    crowded: float = 1.0  # times as long a ranking takes on executors, on all cores at once, as alone on the driver


@dataclass(frozen=True)
class Work:
    """What a run goes through; bytes are of text."""

    rows: int  # of the input
    bytes: int  # that can be chosen
    sampled: int  # bytes, of which it is known what they took
    parts: int
    levels: int  # above the parts
    share: float  # of the pool that is picked
    handed_up: float  # as a multiple of that, by a part
    subset: int  # bytes
    reading: int  # tasks that read the input
    cores: int
    jobs: int = 5  # of Spark, that the stage `look` starts one after the other


def forecast(work: Work, spent: Mapping[str, float], ranking: Ranking, rates: Rates) -> dict[str, float]:
    """Stage -> seconds; ``spent`` are those of score, look and survey on the sample.

    >>> work = Work(10**6, 10**9, 10**9, 42, 1, 0.1, 2.0, 10**8, 8, 8)
    >>> ranking, rates = lambda size, share: size * share / 10**6, Rates(0, 0, 0, 0, 0)
    >>> seconds = forecast(work, {"score": 60, "look": 10, "survey": 0}, ranking, rates)
    >>> {stage: round(of_stage) for stage, of_stage in seconds.items()}
    {'score': 60, 'look': 10, 'survey': 0, 'parts': 27, 'merge': 102, 'account': 6, 'write': 4}
    """
    job = spent["look"] / work.jobs
    seconds = {stage: spent[stage] for stage in ("score", "look", "survey")}
    seconds |= {stage: job * jobs for stage, jobs in _JOBS.items()}
    handed_up = min(1.0, work.share * work.handed_up) if work.parts > 1 else work.share
    at_once = min(work.cores, work.parts)
    seconds["parts"] += ranking(work.bytes / work.parts, handed_up) * rates.crowded * work.parts / at_once
    if work.parts > 1:
        offered = min(work.bytes, work.subset * work.handed_up)
        seconds["merge"] += job * (work.levels - 1) + ranking(offered, min(1.0, work.subset / max(offered, 1)))
    of_sets = min(work.bytes, LIMIT_BYTES) + 2 * min(work.subset, LIMIT_BYTES)
    seconds["account"] += of_sets * rates.stream
    more = max(0, work.bytes - work.sampled)
    width = min(work.cores, work.reading)
    counted = max(0, min(work.bytes, SAMPLE_BYTES) - min(work.sampled, SAMPLE_BYTES))
    seconds["score"] += more * rates.score / width
    seconds["look"] += more * rates.look / width + counted * rates.sketch / min(work.cores, 2)
    seconds["parts"] += more * rates.moved / at_once
    # The ledger, and the samples, which are read for those that the pool's ratio is measured of.
    seconds["account"] += (CANDIDATE_BYTES * work.rows + more) * rates.moved / width
    seconds["write"] += more * rates.moved / width  # the input is read again for the subset's columns
    return seconds
