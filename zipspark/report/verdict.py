"""What a report says on top: what the choice did, in plain words, and what may be wrong with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from zipspark.report.facts import Facts
from zipspark.report.summary import SetLine
from zipspark.units import format_bytes, shortened

MUCH_SHORTER = 0.6  # mean bytes of the subset over the pool's: below this a row budget is called a choice of short ones
NAMED = 5  # groups that a sentence names

NO_PROMISE = (
    "A low ratio is a property of the text: it repeats itself little. It is no promise about a model trained on it. "
    "Noise has a low ratio too, so look at the first picks below, and measure the model."
)


@dataclass(frozen=True)
class Verdict:
    """The top of a report."""

    headline: str
    figures: tuple[tuple[str, str], ...]  # what is counted, how many: the numbers that matter most
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]  # what looks dangerous; most often nothing
    notes: tuple[str, ...]  # what the run said itself


def verdict(facts: Facts) -> Verdict:
    """Sentences from numbers; those that the facts do not hold are left out."""
    sets = {line.name: line for line in facts.summary.sets}
    pool, subset, random = (sets.get(name) for name in ("pool", "subset", "random"))
    figures = [
        (label, f"{line.ratio:.2f}")
        for label, line in (("subset's ratio", subset), ("random, as many bytes", random), ("whole pool", pool))
        if line is not None and has_ratio(line)
    ]
    if gain := gained(subset, random):
        figures.append(("more content than random", f"{gain:+.0%}"))
    return Verdict(
        headline=_headline(pool, subset),
        figures=tuple(figures),
        sentences=(*_sentences(facts, pool, subset, random), NO_PROMISE),
        warnings=tuple(_warnings(facts, pool, subset, random)),
        notes=facts.summary.notes,
    )


def has_ratio(line: SetLine) -> bool:
    return line.samples > 0 and math.isfinite(line.ratio) and line.ratio > 0


def gained(subset: SetLine | None, random: SetLine | None) -> float | None:
    """How many more compressed bytes a byte of the subset holds than one of random samples; None: not known.

    >>> random = SetLine("random", samples=20, bytes=2000, ratio=3.0, measured_bytes=2000)
    >>> gained(SetLine("subset", samples=30, bytes=2000, ratio=2.5, measured_bytes=2000), random).__round__(2)
    0.2
    """
    if subset is None or random is None or not (has_ratio(subset) and has_ratio(random)):
        return None
    return random.ratio / subset.ratio - 1


def _headline(pool: SetLine | None, subset: SetLine | None) -> str:
    if subset is None or not subset.samples:
        return "Nothing was chosen"
    if pool is None:
        return f"{subset.samples:,} samples were chosen"
    return (
        f"{subset.samples:,} of {pool.samples:,} samples chosen: "
        f"{format_bytes(subset.bytes)} of {format_bytes(pool.bytes)}"
    )


def _sentences(facts: Facts, pool: SetLine | None, subset: SetLine | None, random: SetLine | None) -> Iterator[str]:
    yield f"Asked for: {facts.summary.budget}."
    gain = gained(subset, random)
    if subset is not None and random is not None and gain is not None:
        size = f"{abs(gain):.0%} {'more' if gain > 0 else 'less'}"
        yield (
            f"The subset compresses to 1/{subset.ratio:.2f} of its size, random samples of as many bytes to "
            f"1/{random.ratio:.2f}. Compression takes out what was said before: of the subset {size} is left."
        )
        if pool is not None and has_ratio(pool) and pool.measured_bytes > 2 * subset.measured_bytes:
            yield (
                f"The pool's {pool.ratio:.2f} is not to be compared with these: "
                "the more text there is, the more of it has been said before."
            )


def _warnings(facts: Facts, pool: SetLine | None, subset: SetLine | None, random: SetLine | None) -> Iterator[str]:
    config = facts.manifest.get("config") or {}
    if config.get("guard") is False:
        yield (
            "The guard was off. Noise (base64, random letters) compresses badly, so a choice by ratio likes it: "
            "read the picks before you train on them, or choose with --guard on."
        )
    gain = gained(subset, random)
    if gain is not None and gain <= 0:
        aim = config.get("objective", "ratio")
        why = f" The objective was {aim}, which is another aim." if aim != "ratio" else ""
        yield f"The subset's ratio is not below that of random samples: by this measure nothing was gained.{why}"
    if pool is not None and subset is not None and _is_short(facts, pool, subset):
        yield (
            f"The samples chosen are short: {subset.mean_bytes:,.0f} bytes in the mean, {pool.mean_bytes:,.0f} in the "
            "pool. The budget counts rows while gain is counted per byte, which favours short samples. "
            "Give the budget in bytes, or set --cost row, if that is not what you want."
        )
    if gone := vanished(facts):
        named = ", ".join(shortened(name, 40) for name in gone[:NAMED])
        more = f" and {len(gone) - NAMED:,} more" if len(gone) > NAMED else ""
        groups = "1 group has" if len(gone) == 1 else f"{len(gone):,} groups have"
        yield (
            f"{groups} no sample in the subset, though by the share in the pool there would be one: {named}{more}. "
            "See --mix and --floor."
        )


def _is_short(facts: Facts, pool: SetLine, subset: SetLine) -> bool:
    unit = (facts.manifest.get("budget") or {}).get("unit")
    cost = (facts.manifest.get("config") or {}).get("cost") or "byte"
    is_short = subset.samples > 0 and subset.mean_bytes < MUCH_SHORTER * pool.mean_bytes
    return (unit, cost) == ("rows", "byte") and is_short


def vanished(facts: Facts) -> list[str]:
    """Groups of which nothing was chosen, though their share of the pool makes one sample or more; largest first."""
    groups = facts.summary.groups
    pool = sum(before for before, _ in groups.values())
    subset = sum(after for _, after in groups.values())
    gone = [name for name, (before, after) in groups.items() if not after and before * subset >= pool > 0]
    return sorted(gone, key=lambda name: (-groups[name][0], name))
