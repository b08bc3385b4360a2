"""What a report says on top: what the choice did, in plain words, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zipspark.report.cautions import cautions, gained
from zipspark.report.facts import Facts
from zipspark.report.summary import SetLine
from zipspark.units import format_bytes

NO_PROMISE = (
    "A low ratio is a property of the text: it repeats itself little. It is no promise about a model trained on it. "
    "Noise has a low ratio too, so look at what was picked, below, and measure the model."
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
    pool, subset, random = (facts.summary.set(name) for name in ("pool", "subset", "random"))
    config = facts.manifest.get("config") or {}
    unit = (facts.manifest.get("budget") or {}).get("unit") if config.get("budget", True) else None
    warnings = tuple(cautions(facts.summary, config, unit))
    figures = [
        (label, f"{line.ratio:.2f}")
        for label, line in (("subset's ratio", subset), ("random, as many bytes", random), ("whole pool", pool))
        if line is not None and line.has_ratio
    ]
    if gain := gained(subset, random):
        figures.append(("compressed, against random", f"{gain:+.0%}"))
    return Verdict(
        headline=_headline(pool, subset),
        figures=tuple(figures),
        sentences=(*_sentences(facts, pool, subset, random), NO_PROMISE),
        warnings=warnings,
        notes=tuple(note for note in facts.summary.notes if note not in warnings),
    )


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
        if pool is not None and pool.has_ratio and pool.measured_bytes > 2 * subset.measured_bytes:
            yield (
                f"The pool's {pool.ratio:.2f} is not to be compared with these: "
                "the more text there is, the more of it has been said before."
            )
