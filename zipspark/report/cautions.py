"""What may be wrong with a choice, in plain words: below its summary, and on top of its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zipspark.report.summary import SetLine, Summary
from zipspark.units import shortened

MUCH_SHORTER = 0.6  # mean bytes of the subset over the pool's: below this a row budget is called a choice of short ones
NAMED = 5  # groups that a sentence names


def cautions(summary: Summary, config: Mapping[str, Any], unit: str | None) -> Iterator[str]:
    """Sentences; most often none.

    Args:
        config: the options ``guard``, ``objective``, ``cost`` and ``mix`` of the run; what is missing is the default.
        unit: of the budget; None: none was given.
    """
    pool, subset, random = (summary.set(name) for name in ("pool", "subset", "random"))
    if config.get("guard") is False:
        yield (
            "The guard was off. Noise (base64, random letters) compresses badly and is like nothing else: "
            "read the picks before you train on them, or choose with --guard on."
        )
    gain = gained(subset, random)
    if gain is not None and gain <= 0:
        why = " The objective was coverage, which is another aim." if config.get("objective") == "coverage" else ""
        yield f"The subset's ratio is not below that of random samples: by this measure nothing was gained.{why}"
    by_row = (unit, config.get("cost") or "byte") == ("rows", "byte")
    if by_row and pool and subset and 0 < subset.mean_bytes < MUCH_SHORTER * pool.mean_bytes:
        yield (
            f"The samples chosen are short: {subset.mean_bytes:,.0f} bytes in the mean, {pool.mean_bytes:,.0f} in the "
            "pool. The budget counts rows while gain is counted per byte, which favours short samples. "
            "Give the budget in bytes, or set --cost row, if that is not what you want."
        )
    if gone := [name for name in vanished(summary) if _is_wanted(name, summary, bool(config.get("mix")))]:
        named = ", ".join(shortened(name, 40) for name in gone[:NAMED])
        more = f" and {len(gone) - NAMED:,} more" if len(gone) > NAMED else ""
        groups = "1 group has" if len(gone) == 1 else f"{len(gone):,} groups have"
        yield (
            f"{groups} no sample in the subset, though by the share in the pool there would be one: {named}{more}. "
            "See --mix and --floor."
        )


def gained(subset: SetLine | None, random: SetLine | None) -> float | None:
    """How many more compressed bytes a byte of the subset holds than one of random samples; None: not known.

    >>> random = SetLine("random", samples=20, bytes=2000, ratio=3.0, measured_bytes=2000)
    >>> gained(SetLine("subset", samples=30, bytes=2000, ratio=2.5, measured_bytes=2000), random).__round__(2)
    0.2
    """
    if subset is None or random is None or not (subset.has_ratio and random.has_ratio):
        return None
    return random.ratio / subset.ratio - 1


def _is_wanted(group: str, summary: Summary, has_mix: bool) -> bool:
    """Whether some of it was asked for: of a mix what it names, with floors and caps all but a cap of 0."""
    return summary.mix[group][0] >= 1 if group in summary.mix else not has_mix


def vanished(summary: Summary) -> list[str]:
    """Groups of which nothing was chosen, though their share of the pool makes one sample or more; largest first."""
    groups = summary.groups
    pool = sum(before for before, _ in groups.values())
    subset = sum(after for _, after in groups.values())
    gone = [name for name, (before, after) in groups.items() if not after and before * subset >= pool > 0]
    return sorted(gone, key=lambda name: (-groups[name][0], name))
