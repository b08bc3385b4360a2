"""Leakage: which items of an evaluation set a training pool contains, wholly or in part.

1. `build_index` keeps some grams (`GRAM` bytes) of each item's normalised text, enough to find every stretch of `SPAN`
   bytes. What many items or many samples hold, a template, does not count.
2. `nearest` finds, among pool samples, those that share the most with each item, rare grams before common ones.
3. `judge` compresses the item with its nearest samples as a zstd dictionary: the score is the share of its compressed
   bytes that they save, 1 - C(item | nearest) / C(item), the span the longest stretch in common, and `verdict` says
   what both mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zipspark.core.overlap import (
    GRAM,
    SPAN,
    UInts,
    build_index,
    characters,
    clipped,
    longest_stretch,
    nearest,
    normalised,
    pieces,
    rare_bytes,
)
from zipspark.core.presets import content_hash
from zipspark.core.zstd_codec import HEADER_SAMPLES, ZstdCodec

WHOLE, PART = 0.8, 0.5  # scores (see `verdict`)
LONG_SPAN = 72  # bytes in common that are a part whatever the score
ALL = 0.95  # share of an item that, in one stretch, is all of it
SEEN_BYTES = 8 * 2**20  # of the pool that tell which grams are common

Verdict = Literal["whole", "part", "none"]


@dataclass(frozen=True)
class Finding:
    """What is known of one item."""

    score: float  # 0 to 1: share of the item's compressed bytes that its nearest samples save
    verdict: Verdict
    sample: int  # which of the nearest samples holds the span; -1: none
    start: int  # the longest stretch in common: characters of the item's text, from 0
    end: int  # behind its last character


def search(items: Sequence[str], pool: Sequence[str]) -> list[tuple[Finding, int]]:
    """Each item's finding, and the index of the pool sample that holds its span (-1: none); all in memory.

    The same as `zipspark leakage` without Spark, but for which pool samples tell what is common.

    >>> ((found, row),) = search(["Who wrote the play about Hamlet?"], ["", "Yes? WHO wrote  the play about HAMLET?"])
    >>> row, found.verdict, found.start, found.end
    (1, 'whole', 0, 32)
    """
    samples, wanted = [normalised(text) for text in pool], [normalised(text) for text in items]
    seen = background(samples)
    index = build_index(wanted, seen)
    codec = ZstdCodec().trained(seen[:HEADER_SAMPLES])
    pairs = nearest(index, samples, [content_hash(sample) + str(row) for row, sample in enumerate(samples)])
    results = []
    for number, item in enumerate(items):
        mine = slice(*np.searchsorted(pairs.items, [number, number + 1]))
        rows, places = pairs.rows[mine].tolist(), pairs.places[mine].tolist()
        near = [clipped(samples[row], at, len(wanted[number])) for row, at in zip(rows, places, strict=True)]
        finding = judge(item, near, codec, index.common)
        results.append((finding, rows[finding.sample] if finding.sample >= 0 else -1))
    return results


def background(samples: Sequence[bytes]) -> list[bytes]:
    """At most `SEEN_BYTES` of (normalised) samples by content hash: what tells common text from rare."""
    held, chosen = 0, []
    for sample in sorted(set(samples), key=content_hash):
        held += len(sample)
        if held > SEEN_BYTES:
            break
        chosen.append(sample)
    return chosen


def judge(text: str, found: Sequence[bytes], codec: ZstdCodec, common: UInts) -> Finding:
    """Compare an item with its nearest samples (normalised, nearest first).

    Args:
        codec: with the pool's literal statistics (`ZstdCodec.trained`), or short items would look less alike.
        common: hashes of grams, ascending, whose text does not count (`Index.common`).
    """
    item = normalised(text)
    rare = rare_bytes(item, common)
    rest = pieces(item, rare)
    if not found or len(rest) < GRAM:
        return Finding(0.0, "none", -1, 0, 0)
    context = codec.context([rest, b"\n".join(reversed(found))])
    alone = int(context.sizes_alone()[0])
    context.add(1)
    score = 1 - min(alone, context.conditional_size(0)[0]) / alone
    size = int(rare.sum())
    counted = np.concatenate([[0], np.cumsum(rare)])  # bytes that count before each byte
    stretches = [longest_stretch(item, sample, counted) for sample in found]
    spans = [int(counted[end] - counted[start]) for start, end in stretches]
    sample = max(range(len(found)), key=lambda at: (spans[at], -at))
    low, high = stretches[sample]
    if not spans[sample]:
        return Finding(score, verdict(score, 0, size), -1, 0, 0)
    origins = characters(text)
    start, end = int(origins[low]), int(origins[high - 1]) + 1
    return Finding(score, verdict(score, spans[sample], size), sample, start, end)


def verdict(score: float, span: int, size: int) -> Verdict:
    """What a score and the longest stretch in common say. Only bytes count that are not common text.

    Args:
        score, span: what `judge` found, ``span`` in bytes; size: bytes of the item.

    - ``whole``: the score is at least `WHOLE`, or the stretch is (almost) `ALL` of the item.
    - ``part``: the stretch is `SPAN` bytes long and the score at least `PART`; or it is `LONG_SPAN` bytes long.
    - ``none``: all else, and every item of fewer than `SPAN` bytes that count: too little to tell from chance.
    """
    if size < SPAN:
        return "none"
    if score >= WHOLE or span >= ALL * size:
        return "whole"
    return "part" if span >= LONG_SPAN or (score >= PART and span >= SPAN) else "none"
