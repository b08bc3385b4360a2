"""What would go wrong in a run, and what to do about it: rules over what `zipspark.planning` has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyspark.sql import SparkSession

from zipspark.calibration import HELD, Engine
from zipspark.config import MAX_WINDOW, ZLIB_WINDOW, SelectConfig
from zipspark.core.parts import PART_BYTES
from zipspark.core.zlib_codec import IS_CLASSIC_ZLIB
from zipspark.report.planned import Found, Risk
from zipspark.spark.plan import Plan
from zipspark.spark.session import machine_memory, memory_setting
from zipspark.units import format_bytes

MANY_DUPLICATES = 0.05  # of the sample's rows
LONG_ROUNDS = 600.0  # seconds


def risks_of(
    spark: SparkSession,
    config: SelectConfig,
    found: Found,
    longest: int,
    planned: Plan,
    engine: Engine,
    subset_bytes: int,
    seconds: Mapping[str, float],
) -> list[Risk]:
    """All that the rules below find, what stops the run first."""
    risks = [
        *_rows(config, found),
        *_codec(config, found, subset_bytes),
        *_budget(config, found, planned, subset_bytes),
        *_sizes(config, longest),
        *_memory(spark, config, planned, engine),
        *_time(config, seconds),
    ]
    return sorted(risks, key=lambda risk: not risk.stops)


def _rows(config: SelectConfig, found: Found) -> Iterator[Risk]:
    bad = sum(found.problems.values())
    if bad > config.max_bad_fraction * found.sample_rows:
        codes = ", ".join(f"{code} ({count:,})" for code, count in sorted(found.problems.items()))
        yield Risk(
            True,
            f"{bad:,} of {found.sample_rows:,} rows cannot be read or rendered: {codes}; max_bad_fraction allows "
            f"{config.max_bad_fraction:.1%}",
            f"mend the input or --schema, or --max-bad-fraction {_rounded_up(bad / found.sample_rows)}",
        )
    if found.duplicates > MANY_DUPLICATES * found.sample_rows:
        share = found.duplicates / found.sample_rows
        instead = "nothing: --dedup on, the default, drops all but one; a budget in % is of what is left"
        if not config.dedup:
            instead = "--dedup on drops all but one of each"
        yield Risk(False, f"{share:.0%} of the sample are exact duplicates", instead)


def _codec(config: SelectConfig, found: Found, subset_bytes: int) -> Iterator[Risk]:
    if not config.compresses:
        return
    if config.codec == "zlib":
        if not IS_CLASSIC_ZLIB:
            yield Risk(False, "this Python is built with zlib-ng: not the paper's picks", "a Python with classic zlib")
        if subset_bytes > ZLIB_WINDOW:
            mean = found.sample_bytes / max(found.sample_rows, 1)
            yield Risk(
                False,
                f"zlib sees {format_bytes(ZLIB_WINDOW)} back, the last {max(1, round(ZLIB_WINDOW / max(mean, 1))):,} "
                f"samples or so of a subset of {format_bytes(subset_bytes)}: what repeats earlier ones looks new",
                "--codec zstd",
            )
    elif config.window < subset_bytes:
        wide = min(MAX_WINDOW, 2 ** max(16, (subset_bytes - 1).bit_length()))
        instead = (
            f"--window {wide // 2**10}KiB" if config.window < wide else "--objective coverage, which sees all of it"
        )
        yield Risk(
            False,
            f"window ({format_bytes(config.window)}) is smaller than the subset ({format_bytes(subset_bytes)}): what "
            "repeats samples farther back looks new",
            instead,
        )


def _budget(config: SelectConfig, found: Found, planned: Plan, subset_bytes: int) -> Iterator[Risk]:
    unit = planned.budget.unit
    good = 1 - sum(found.problems.values()) / max(found.sample_rows, 1)
    pool = {"rows": found.rows * good, "bytes": found.bytes}.get(unit)
    if config.budget is not None and pool is not None and planned.budget.amount >= pool:
        yield Risk(
            False,
            f"the budget ({planned.budget}) takes the whole pool: nothing would be left out",
            "a smaller --budget",
        )
    elif unit == "rows" and config.cost == "byte" and subset_bytes:
        chosen = subset_bytes / max(planned.budget.amount, 1)
        mean = found.sample_bytes / max(found.sample_rows, 1)
        if 2 * chosen < mean:
            yield Risk(
                False,
                f"a budget in rows favours short samples: {chosen:,.0f} bytes on average, of the pool's {mean:,.0f}",
                "a budget in bytes, or --cost row",
            )


def _sizes(config: SelectConfig, longest: int) -> Iterator[Risk]:
    if longest > config.node_cap:
        yield Risk(
            True,
            f"a sample of {format_bytes(longest)} is larger than node_cap ({format_bytes(config.node_cap)})",
            f"--where without it, or --node-cap {_megabytes(2 * longest)}",
        )
    elif longest > PART_BYTES:
        yield Risk(
            False,
            f"a sample of {format_bytes(longest)} is larger than a part ({format_bytes(PART_BYTES)}): its task needs "
            "more memory than the others",
            "cut such samples into several rows, or leave them out with --where",
        )


def _memory(spark: SparkSession, config: SelectConfig, planned: Plan, engine: Engine) -> Iterator[Risk]:
    most = memory_setting(spark.conf.get("spark.driver.maxResultSize", None) or "1g", unit="b")
    on_driver = planned.tree.driver_bytes
    if most and on_driver > most:
        yield Risk(
            True,
            f"the driver fetches {format_bytes(on_driver)} of candidates, spark.driver.maxResultSize allows "
            f"{format_bytes(most)}",
            f"--driver-cap {_megabytes(most // 2)}, or --conf spark.driver.maxResultSize={2 * on_driver // 2**20}m",
        )
    if not (spark.conf.get("spark.master", None) or "").startswith("local"):
        return
    machine = machine_memory()
    heap = memory_setting(spark.conf.get("spark.driver.memory", None) or "1g")
    workers = engine.cores * (engine.worker + HELD[config.objective] * planned.tree.levels[0].bytes_in)
    needed = heap + workers + HELD[config.objective] * on_driver
    if machine and needed > machine:
        yield Risk(
            False,
            f"{engine.cores} workers, Java and the driver need {format_bytes(needed)}, this machine has "
            f"{format_bytes(machine)}",
            f"--master local[{max(1, engine.cores // 2)}], or more --parts",
        )


def _time(config: SelectConfig, seconds: Mapping[str, float]) -> Iterator[Risk]:
    rounds = seconds["parts"] + seconds["merge"]
    if config.selector == "multistage" and rounds > LONG_ROUNDS:
        yield Risk(
            False,
            f"multistage compresses every candidate again in each round: about {rounds / 60:,.0f} minutes",
            "--preset default (lazy greedy), or lower --k1 and --k2",
        )


def _megabytes(size: float) -> str:
    return f"{max(1, round(size / 10**6)):,}MB".replace(",", "")


def _rounded_up(share: float) -> float:
    return min(1.0, -(-share * 1000 // 1) / 1000)
