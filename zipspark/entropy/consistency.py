"""A stand-in for a training run, where there is none yet: what a data set says of a fixed held-out sample.

Bits per byte of the held-out texts given the set, in the mean over contexts S drawn from it:

    8 Σ C(x|S) / Σ |x|        over the held-out samples x, C in bytes, zstd with S as its dictionary; lower: says more

It is to a compressor what loss is to a model (that the two are one measure: "Language Modeling Is Compression", arXiv
2309.10668), and a **stand-in** only. A compressor finds what was said in nearly the same words. It does not mind that a
set says two things at once: of two answers it takes the one that fits. Contradiction shows only as far as wrong text
takes the place of right text. So it is logged apart from the loss (`Version.held_out_bits`), and compared with itself
alone, over versions of one set with one held-out sample. How little it shows: in a simulated world of facts, two fifths
of wrong answers raised it by 3 %, four times the spread over data sets made alike, while a learner's score fell by
almost half (`tests/core/test_entropy_end_to_end.py`).

What makes versions comparable:

* **Equal bytes.** A larger set says more. Every context has the same bytes, however large the set, and the mean over
  several says more of the set than one (`HeldOut.small` where the set is smaller than a context).
* **The same draw.** Contexts are the samples with the lowest content hashes, one context after the other; so two
  versions of a set are seen through the samples they share. Exact copies count once: repetition is R's business.
* **The same held-out sample**, whole. Where the set holds a text of it, that is left out of the set (`HeldOut.leaked`).
* **The same statistics.** zstd's literal statistics are trained on the held-out sample, not on each version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from zipspark.core.matrix import SAMPLE_BYTES, sizes_given
from zipspark.core.zstd_codec import HEADER_SAMPLES, LAYER_BYTES, ZstdCodec
from zipspark.entropy.streams import Row, Sample, checked, in_order
from zipspark.errors import InputError, UsageError
from zipspark.limits import NO_GROUP
from zipspark.units import format_bytes

CONTEXT_BYTES = 2**20  # as in the redundancy matrix; a dictionary of it takes 10 ms to make, and is in the cache
CONTEXTS = 8
# Above the 3 that selection uses: a search that looks longer notices an answer more often (the effect told above is a
# third of it at level 3, and no larger at 19), and here a few MB are compressed, not a pool.
LEVEL = 9
FEWEST_HELD_OUT = 32 * 2**10  # bytes; with less, a few samples decide


@dataclass(frozen=True)
class HeldOut:
    """What `held_out_bits` found; bits are per byte of held-out text, lower: the set says more of it."""

    bits: float  # given the set: the mean over contexts
    by_context: tuple[float, ...]  # (c,) given each of them
    alone: float  # given nothing but the statistics, where these help
    groups: Mapping[str, float]  # group of the held-out sample -> bits given the set; empty where it has none
    context_bytes: int  # text in each context
    level: int  # zstd's
    rows: int  # held-out samples
    bytes: int  # their text, of each at most `SAMPLE_BYTES`
    leaked: int  # samples of the set, as far as it was read, that are in the held-out sample, and were not used
    small: bool  # the set has less text than one context should: bits are higher for that alone

    @property
    def spread(self) -> float | None:
        """Standard deviation over contexts; None with one."""
        return stdev(self.by_context) if len(self.by_context) > 1 else None

    @property
    def mean_over_groups(self) -> float:
        """Every group counts the same, however much of the held-out text is its."""
        return fmean(self.groups.values()) if self.groups else self.bits

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "held_out_bits": self.bits,
            "by_context": list(self.by_context),
            "spread": self.spread,
            "alone": self.alone,
            "groups": dict(self.groups),
            "mean_over_groups": self.mean_over_groups,
            "context_bytes": self.context_bytes,
            "level": self.level,
            "rows": self.rows,
            "bytes": self.bytes,
            "leaked": self.leaked,
            "small": self.small,
            "stand_in": True,
        }

    def notes(self) -> list[str]:
        """What must be known to read the number, one sentence a line."""
        said = ["a stand-in for a training run: only to be compared with the same measure of other versions."]
        if self.small:
            size = format_bytes(self.context_bytes)
            said.append(f"the set has {size} of text, less than a context: compare it with sets of as much.")
        if self.bytes < FEWEST_HELD_OUT:
            said.append(f"the held-out sample has {format_bytes(self.bytes)} of text: a few samples decide.")
        if self.leaked:
            said.append(f"{self.leaked:,} samples of the set are in the held-out sample, and were left out of the set.")
        return said

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.3f}"
        given = f"{len(self.by_context)} x {format_bytes(self.context_bytes)}"
        lines = [
            f"held-out text: {self.bits:.3f}{spread} bits per byte given {given} of the set, {self.alone:.3f} alone"
        ]
        if len(self.groups) > 1:
            lines += [f"  {name}: {bits:.3f}" for name, bits in self.groups.items()]
        return "\n".join([*lines, *self.notes()])


def held_out_bits(
    train: Iterable[Row],
    held_out: Iterable[Row],
    *,
    context_bytes: int = CONTEXT_BYTES,
    contexts: int = CONTEXTS,
    level: int = LEVEL,
) -> HeldOut:
    """Bits per byte of ``held_out`` given ``train``.

    Args:
        train: (content hash, group, text), ascending in the content hash (`streams.hashed`); read only until the
            contexts are full, so memory is ``contexts`` x ``context_bytes``. A last one that stays short is not used.
        held_out: likewise, in any order, all in memory; bits are told for each of its groups as well.
        context_bytes: at most 8 MiB, what zstd indexes of a dictionary.
        contexts: how many are drawn; fewer where the set is smaller.
        level: zstd's, 1 to 19.

    Raises `InputError` where either has no text (but the other's), `UsageError` for the others.

    >>> from zipspark.entropy.streams import hashed
    >>> train = hashed("the capital of country %d is city %d" % (n, 7 * n) for n in range(900) if n % 9)
    >>> test = hashed("the capital of country %d is city %d" % (n, 7 * n) for n in range(0, 900, 9))
    >>> found = held_out_bits(train, test, context_bytes=8_000)
    >>> found.bits < found.alone, len(found.by_context)
    (True, 3)
    """
    if not 1 <= context_bytes <= LAYER_BYTES[-1]:
        most = f"{LAYER_BYTES[-1]:,}"
        raise UsageError(f"context_bytes must be 1 to {most}, what zstd indexes of a dictionary, got {context_bytes:,}")
    if contexts < 1:
        raise UsageError(f"contexts must be 1 or more, got {contexts}")
    if not 1 <= level <= 19:
        raise UsageError(f"level must be one of zstd's, 1 to 19, got {level}")
    tests = _by_group(in_order(held_out, what="held_out"))
    if not tests:
        raise InputError("held_out must hold text to measure, got none")
    known = {row.content for rows in tests.values() for row in rows}
    drawn, leaked = _draw(train, known, context_bytes, contexts)
    samples = [[row.text for row in rows] for rows in tests.values()]
    weights = [sum(map(len, texts)) for texts in samples]
    codec = ZstdCodec(level).trained(
        [text for texts in samples for text in texts[: -(-HEADER_SAMPLES // len(samples))]]
    )
    given = [8 * sizes_given(codec, context, samples) for context in drawn]  # (c, g) bits per byte
    by_group = [fmean(values) for values in zip(*given, strict=True)]
    return HeldOut(
        bits=fmean(by_group, weights),
        by_context=tuple(fmean(values.tolist(), weights) for values in given),
        alone=min(fmean((8 * sizes_given(each, b"", samples)).tolist(), weights) for each in (codec, ZstdCodec(level))),
        groups={} if set(tests) == {NO_GROUP} else dict(zip(tests, by_group, strict=True)),
        context_bytes=len(drawn[0]),
        level=level,
        rows=len(known),
        bytes=sum(weights),
        leaked=leaked,
        small=len(drawn[0]) < context_bytes,
    )


def _by_group(rows: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Group -> its samples that have text, cut to `SAMPLE_BYTES`; each text once; groups by name."""
    groups: dict[str, list[Sample]] = {}
    last = None
    for row in rows:
        if row.text and row.content != last:
            name = NO_GROUP if row.group is None else row.group
            groups.setdefault(name, []).append(row._replace(text=row.text[:SAMPLE_BYTES]))
        last = row.content
    return dict(sorted(groups.items()))


def _draw(train: Iterable[Row], known: set[str], size: int, most: int) -> tuple[list[bytes], int]:
    """At most ``most`` contexts of ``size`` bytes, or one of all there is; and how many rows were in ``known``.

    Samples are cut to `SAMPLE_BYTES`, or one long document could be a context.
    """
    drawn: list[bytes] = []
    context = bytearray()
    leaked, last = 0, None
    for row in checked(train, "train"):
        leaked += row.content in known
        if row.content != last and row.content not in known:
            context += row.text[:SAMPLE_BYTES]
        last = row.content
        if len(context) >= size:
            drawn.append(bytes(context[:size]))
            context.clear()  # what is left of the last sample is not used: its start would be missing
            if len(drawn) == most:
                break
    if not drawn and not context:
        raise InputError(
            "train must hold text to measure with, got none"
            + (f" but {leaked:,} samples that are in held_out" if leaked else "")
        )
    return drawn or [bytes(context)], leaked
