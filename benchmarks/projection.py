"""What measured runs foretell of pools that no machine here holds: a projection, never a measurement.

::

    two runs of different size ─▶ CPU seconds per byte, by stage ────────┐
    a part of the pool, ranked for several shares ─▶ seconds per byte ──┼─▶ zipspark.forecast ─▶ seconds, by stage
    rows, bytes, budget ─▶ zipspark.core.merging.plan_tree ─────────────┘   and what the tree sends to whom

All is CPU time, as other work on the machine only adds to what a clock shows. How far to trust it shows the last run,
foreseen from those before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from parts import Merged
from pools import first_records, rendered
from results import Results
from watching import Used

from zipspark.calibration import HELD
from zipspark.config import Choice, SelectConfig, oversampling
from zipspark.core.merging import CANDIDATE_BYTES, Tree, plan_tree
from zipspark.core.parts import PART_BYTES
from zipspark.core.presets import content_hash
from zipspark.entropy.streams import Stream
from zipspark.forecast import Rates, Work, forecast
from zipspark.spark.scores import BUCKETS

DEFAULTS = SelectConfig()
SHARES = (0.0002, 0.002, 0.02, 0.1, 0.5)  # of a part, that it is ranked for
LARGE_PARTS = 10 * PART_BYTES
SCENARIOS = (  # samples, picks, bytes of a part, cores
    (10**8, 10**6, PART_BYTES, 64),
    (10**8, 10**6, PART_BYTES, 1000),
    (10**10, 2 * 10**6, PART_BYTES, 1000),
    (10**10, 2 * 10**6, LARGE_PARTS, 64),
    (10**10, 2 * 10**6, LARGE_PARTS, 1000),
)
SPLIT = 128 * 2**20  # bytes of text that a task of Spark reads: `spark.sql.files.maxPartitionBytes`


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
    def cpu(self) -> float:
        """Seconds of all stages."""
        return sum(self.used.cpu_of.values())

    @property
    def all_shuffled(self) -> int:
        return sum(self.shuffled.values())


@dataclass(frozen=True)
class Model:
    """What a core does, and what it takes that does not grow."""

    rates: Rates
    ranking: dict[float, float]  # share that is picked -> seconds per byte of a core
    base: Run  # whose CPU seconds stand for what does not grow
    mean: float  # bytes of a sample
    picked: float  # bytes of a pick
    worker: int  # bytes of the largest Python worker, with parts of the usual size
    shuffled: float  # bytes per byte of text; sketch and measure shuffle so much of a pool and no more

    @classmethod
    def of(cls, few: Run, many: Run, ranking: dict[float, float], stream: float) -> Model:
        more = many.bytes - few.bytes

        def rate(stage: str) -> float:
            return max(0.0, many.used.cpu_of[stage] - few.used.cpu_of[stage]) / more

        # Of what Spark does besides, the last stage does nothing else: it reads the input again and writes the subset.
        rates = Rates(score=rate("score"), look=rate("look"), moved=rate("write"), sketch=0.0, stream=stream)
        model = cls(
            rates=rates,
            ranking=ranking,
            base=few,
            mean=few.bytes / few.rows,
            picked=many.picked / many.picks,
            worker=many.used.worker,
            shuffled=max(0, many.all_shuffled - few.all_shuffled) / more,
        )
        tree = model.tree(many.rows, many.picks, many.parts)
        alone = model.seconds(many.rows, many.picks, tree)["parts"]
        none = replace(model, ranking=dict.fromkeys(ranking, 0.0)).seconds(many.rows, many.picks, tree)["parts"]
        crowded = (many.used.cpu_of["parts"] - none) / max(alone - none, 1e-9)
        return replace(model, rates=replace(rates, crowded=max(0.25, crowded)))

    def tree(self, rows: int, picks: int, parts: int | None = None, cap: int = DEFAULTS.node_cap) -> Tree:
        size = round(rows * self.mean)
        # A pick is shorter than the mean sample; the tree is planned for bytes, as after the parts have handed up.
        times = oversampling(DEFAULTS)
        count = parts or math.ceil(size / PART_BYTES)
        one = self.picked + CANDIDATE_BYTES
        handed_up = np.full(count, max(one, one * picks * times / count)) if count > 1 else None
        driver_cap = DEFAULTS.driver_cap
        return plan_tree(size, rows, picks, "rows", times, cap, driver_cap, count, handed_up=handed_up)

    def seconds(self, rows: int, picks: int, tree: Tree, cores: int = 1) -> dict[str, float]:
        """Stage -> seconds, of one core those of its CPU; the merge is that of ``tree``, level by level."""
        work = Work(
            rows=rows,
            bytes=round(rows * self.mean),
            sampled=self.base.bytes,
            parts=tree.parts,
            levels=len(tree.levels) - 1,
            share=picks / rows,
            handed_up=oversampling(DEFAULTS),
            subset=round(picks * self.picked),
            reading=cores,
            cores=cores,
        )
        found = forecast(work, self.base.used.cpu_of, self._ranked, self.rates)
        merge = self.base.used.cpu_of["look"] / work.jobs
        for level in tree.levels[1:]:
            waves = math.ceil(level.nodes / cores)
            crowded = self.rates.crowded if level.nodes > 1 else 1.0
            merge += waves * crowded * self._ranked(level.bytes_in, min(1.0, level.bytes_out / level.bytes_in))
        return found | {"merge": merge}

    def _ranked(self, size: float, share: float) -> float:
        return size * float(np.interp(share, list(self.ranking), list(self.ranking.values())))


def projected(out: Results, runs: Sequence[Run], pool: Path) -> None:
    """Tables of what ``runs`` of one budget, of ascending size, foretell."""
    ranking, stream = _measured(pool)
    model = Model.of(*runs[-2:], ranking, stream)
    few, many = runs[-2:]
    out.say(
        f"**A projection.** Every stage takes the CPU seconds that it took of {few.rows:,} rows, one after the other, "
        f"and for more bytes what a core took between {few.rows:,} and {many.rows:,}. Assumed: samples as long and as "
        "alike as these; cores as fast and as busy as these; work spread evenly; storage and network that never let a "
        "core wait; nothing that fails. Also that a byte takes as long to rank in a part of any size, even ten times "
        "as large; that a merge ranks candidates, which are less alike, as fast as the raw text that was timed; that "
        "the survey takes no longer of a larger pool; that all moves through Spark at the rate of the stage `write`, "
        "which reads the input again and writes the subset. Not in it: what Spark's driver needs for very many tasks, "
        "and its shuffle for very many blocks (tasks that read times parts)."
    )
    rates = {"score": model.rates.score, "look": model.rates.look, "move through Spark": model.rates.moved}
    rates |= {f"rank a part, {share:.2%} picked": rate for share, rate in ranking.items()} | {"measure a set": stream}
    shown = [[what, f"{1e-6 / rate:,.1f}" if rate else "above 1,000"] for what, rate in rates.items()]
    out.table("rates", ("work", "MB a second of a core"), shown)
    out.say(f"Tasks of Spark take {model.rates.crowded:.2f} times as long to rank a part as one process alone.")
    if len(runs) > 2:
        _check(out, Model.of(runs[-3], few, ranking, stream), many)
    out.table(
        "projection: hours",
        ("samples, picks", "text, TB", "parts", "cores", *runs[-1].seconds, "all", "core-hours"),
        [_hours(model, *scenario) for scenario in SCENARIOS],
    )
    out.table(
        "projection: what goes where",
        (
            "samples, picks",
            "tree",
            "worker, MB",
            "slices of a bucket",
            "shuffled, TB",
            "blocks",
            "candidates, GB",
            "driver, MB",
        ),
        [_places(model, *scenario[:3]) for scenario in SCENARIOS if scenario[3] == 1000],
    )
    out.say(
        "Look-alikes share one of the min-hash buckets; where a bucket is cut into slices, they meet below the merge "
        "only if they share a slice too, and slices go by content hash."
    )


def _check(out: Results, before: Model, run: Run) -> None:
    foreseen = before.seconds(run.rows, run.picks, before.tree(run.rows, run.picks, run.parts))
    pairs = [(stage, foreseen[stage], seconds) for stage, seconds in run.used.cpu_of.items()]
    pairs.append(("all", sum(foreseen.values()), sum(run.used.cpu_of.values())))
    out.table(
        f"CPU seconds of {run.rows:,} rows, foreseen from the two runs before",
        ("stage", "foreseen", "real"),
        [[stage, f"{guess:.1f}", f"{real:.1f}"] for stage, guess, real in pairs],
    )


def _planned(model: Model, rows: int, picks: int, part: int) -> Tree:
    return model.tree(rows, picks, math.ceil(rows * model.mean / part), max(DEFAULTS.node_cap, 4 * part))


def _hours(model: Model, rows: int, picks: int, part: int, cores: int) -> list[str]:
    tree = _planned(model, rows, picks, part)
    seconds = model.seconds(rows, picks, tree, cores)
    hours = [each / 3600 for each in (*seconds.values(), sum(seconds.values()))]
    size = rows * model.mean / 1e12
    named = f"{rows:.0e}, {picks:,}".replace("e+", "e")
    figures = [f"{each:,.2f}" if each < 100 else f"{each:,.0f}" for each in hours]
    return [named, f"{size:.2f}", f"{tree.parts:,}", str(cores), *figures, f"{hours[-1] * cores:,.0f}"]


def _places(model: Model, rows: int, picks: int, part: int) -> list[str]:
    tree = _planned(model, rows, picks, part)
    size = rows * model.mean
    return [
        f"{rows:.0e}, {picks:,}".replace("e+", "e"),
        str(tree),
        f"{(model.worker + HELD[DEFAULTS.objective] * (part - PART_BYTES)) / 1e6:,.0f}",
        f"{math.ceil(tree.parts / BUCKETS):,}",
        f"{size * model.shuffled / 1e12:.2f}",
        f"{math.ceil(size / SPLIT) * tree.parts:.1e}",
        f"{tree.levels[0].bytes_out * tree.parts / 1e9:,.1f}",
        f"{tree.driver_bytes / 1e6:,.0f}",
    ]


def _measured(pool: Path) -> tuple[dict[float, float], float]:
    """Seconds per byte, of a core: of ranking a part for each of `SHARES`, and of compressing it as one set."""
    contents = dict(sorted((content_hash(text), text) for text in rendered(first_records(pool, 10**5))))
    ends = np.cumsum([len(text) for text in contents.values()])
    part = dict(list(contents.items())[: int(np.searchsorted(ends, PART_BYTES))])
    merged = Merged.of(part, Choice())
    size = float(merged.sizes[merged.free].sum())

    def timed(do: Callable[[], object]) -> float:
        started = time.process_time()
        do()
        return (time.process_time() - started) / size

    merged.ranked(merged.free, min(SHARES) * size)  # untimed: what is worked out or loaded once
    ranking = {share: timed(lambda share=share: merged.ranked(merged.free, share * size)) for share in SHARES}
    return ranking, timed(lambda: _one_set(merged.texts))


def _one_set(texts: Sequence[bytes]) -> None:
    stream = Stream("zstd")
    for text in texts:
        stream.feed(text)
    stream.finish()
