"""Held-out bits per byte by source: how well what learned from a subset predicts samples it never saw.

Two learners. `Prefix` is zstd at level 19 with the subset before it: the bits of each held-out sample, which says
nothing about the others. `ByteModel` is no compressor: contexts of zero to six bytes, interpolated after Witten and
Bell (1991, method C). With n(c) bytes seen after context c, u(c) of them distinct, and c' the context without its
first byte,

    p(x | c) = (n(c, x) + u(c) p(x | c')) / (n(c) + u(c)),

p(x | c') where c was never seen, and 1/256 below the empty context. It sums to one over the 256 bytes whatever was
seen, which `ByteModel.worst_total` checks. Sources count alike in the mean: over all held-out bytes it would be little
more than the largest source's figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zipspark.core.zstd_codec import LAYER_BYTES, ZstdCodec

# k bytes of context and the byte behind them, a gram, are one integer: in reading order, the last byte lowest.
Grams = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ORDER = 6  # bytes of context; at most 7, so that a gram fits 64 bits
_START = bytes(7)  # before each sample, as context only: samples say nothing about each other's first bytes
_BYTE = np.uint64(8)  # a gram shifted by that is its context


def windows(samples: Sequence[bytes]) -> Grams:
    """Each byte of ``samples`` with the seven before it (zeros before a sample's first), shape (bytes,).

    >>> [hex(window) for window in windows([b"abc", b"d"]).tolist()]
    ['0x61', '0x6162', '0x616263', '0x64']
    """
    text = np.frombuffer(_START.join([b"", *samples]), np.uint8)
    every = np.ndarray((max(0, len(text) - 7),), ">u8", text, strides=(1,))
    ends = np.cumsum(np.fromiter(map(len, samples), np.int64, len(samples)) + 7) - 7
    inside = np.ones(len(every), dtype=bool)
    inside[(ends[:-1, None] + np.arange(7)).ravel()] = False  # these end in the zeros between two samples
    return every[inside].astype(np.uint64)


class Question(NamedTuple):
    """Text to predict, as its distinct grams: prepared once, asked of many models."""

    grams: list[Grams]  # by length, 1 to order + 1: distinct, ascending
    shorter: list[Indices]  # by length: of each gram, where it stands among those one shorter without its first byte
    places: Indices  # of each byte of the text, where it and its context stand among the longest grams

    @classmethod
    def about(cls, text: Grams, order: int = ORDER) -> Question:
        """``text`` as `windows` gives it."""
        grams: list[Grams] = []
        places: list[Indices] = []
        for length in range(order + 1, 0, -1):
            text, where = np.unique(text & _last_bytes(length), return_inverse=True)
            grams.insert(0, text)
            places.insert(0, where)
        return cls(grams, [np.zeros(len(text), np.int64), *places[:-1]], places[-1])


class _Seen(NamedTuple):
    """What followed the contexts of one length."""

    grams: Grams  # (g,) distinct, ascending
    counts: Indices  # (g,)
    contexts: Grams  # (c,) distinct, ascending
    totals: Indices  # (c,) n, bytes seen after each
    kinds: Indices  # (c,) u, distinct ones among them


class ByteModel:
    """Learned from the bytes of ``samples``, of which it keeps sorted counts."""

    def __init__(self, samples: Sequence[bytes], order: int = ORDER) -> None:
        text = windows(samples)
        self._order = order
        self._by_length = [_seen(text & _last_bytes(length)) for length in range(1, order + 2)]

    def probabilities(self, question: Question) -> Floats:
        """Of each of the longest grams in question: that its last byte follows the others."""
        found = np.full(1, 1 / 256)
        for seen, grams, shorter in zip(self._by_length, question.grams, question.shorter, strict=True):
            backed_off = found[shorter]
            counts = _values_at(grams, seen.grams, seen.counts)
            contexts = grams >> _BYTE
            totals = _values_at(contexts, seen.contexts, seen.totals)
            kinds = _values_at(contexts, seen.contexts, seen.kinds)
            found = np.where(totals > 0, (counts + kinds * backed_off) / np.maximum(totals + kinds, 1), backed_off)
        return found

    def worst_total(self, contexts: Grams) -> float:
        """The largest distance from 1 of what the 256 bytes sum to after each of ``contexts`` (as `windows`)."""
        text = (contexts[:, None] << _BYTE) | np.arange(256, dtype=np.uint64)
        question = Question.about(text.ravel(), self._order)
        totals = self.probabilities(question)[question.places].reshape(-1, 256).sum(axis=1)
        return float(np.abs(totals - 1).max())


class Prefix:
    """zstd at level 19 that has seen ``samples``, all of them: literal statistics are theirs as well.

    One dictionary holds 8 MiB. More samples are several dictionaries, and the one that fits best counts. The bytes that
    every frame has, an empty one too, say nothing of a sample and are not counted.
    """

    def __init__(self, samples: Sequence[bytes]) -> None:
        codec = ZstdCodec(level=19).trained(samples)
        blocks = [bytearray()]
        for sample in samples:
            if len(blocks[-1]) + len(sample) > LAYER_BYTES[-1]:
                blocks.append(bytearray())
            blocks[-1] += sample
        self._compressors = [codec.dictionary(bytes(block)) for block in blocks]
        self._frame = min(len(compressor.compress(b"")) for compressor in self._compressors)  # bytes

    def bits(self, sample: bytes) -> int:
        return 8 * (min(len(compressor.compress(sample)) for compressor in self._compressors) - self._frame)

    def worst_repeat(self, samples: Sequence[bytes], count: int = 200) -> int:
        """The most bits that one of ``count`` of its own samples needs, from the first to the last: some 15 bytes."""
        return max(self.bits(samples[row]) for row in np.linspace(0, len(samples) - 1, count).astype(int))


class HeldOut:
    """Samples kept apart, by source."""

    def __init__(self, by_source: Mapping[str, Sequence[bytes]]) -> None:
        self.sources = list(by_source)
        self._samples = [by_source[source] for source in self.sources]
        texts = [windows(samples) for samples in self._samples]
        self._sizes = np.array([len(text) for text in texts])
        self._text = np.concatenate(texts)
        self._question = Question.about(self._text)

    def bits_by_prefix(self, subset: Sequence[bytes]) -> Floats:
        """Of each of ``sources``: the bits of its held-out samples by a `Prefix` of ``subset``, per byte."""
        prefix = Prefix(subset)
        return np.array([sum(map(prefix.bits, samples)) for samples in self._samples]) / self._sizes

    def bits_per_byte(self, subset: Sequence[bytes]) -> Floats:
        """Of each of ``sources``: the bits that a model of ``subset`` needs for its held-out bytes, per byte."""
        bits = -np.log2(ByteModel(subset).probabilities(self._question))[self._question.places]
        starts = np.cumsum(self._sizes) - self._sizes
        per_byte: Floats = np.add.reduceat(bits, starts) / self._sizes
        return per_byte

    def check(self, subset: Sequence[bytes], contexts: int = 500) -> float:
        """How far the model's probabilities are from summing to 1, after contexts it saw, half saw and never saw."""
        chance = np.random.default_rng(0)
        held_out = chance.choice(self._text, contexts)
        noise = chance.integers(0, 1 << 63, contexts, dtype=np.uint64)
        return ByteModel(subset).worst_total(np.concatenate([held_out, noise]))


def _last_bytes(length: int) -> np.uint64:
    return np.uint64((1 << 8 * length) - 1)


def _seen(grams: Grams) -> _Seen:
    grams.sort()
    grams, counts = _runs(grams, np.ones(len(grams), np.int64))
    contexts, totals = _runs(grams >> _BYTE, counts)
    _, kinds = _runs(grams >> _BYTE, np.ones(len(grams), np.int64))
    return _Seen(grams, counts, contexts, totals, kinds)


def _runs(ascending: Grams, amounts: Indices) -> tuple[Grams, Indices]:
    """(the distinct ones, the sum of ``amounts`` of each)."""
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    return ascending[starts], np.add.reduceat(amounts, starts)


def _values_at(wanted: Grams, known: Grams, values: Indices) -> Indices:
    """The value of each of ``wanted``, zero for those that are not known; both ascend, which makes the search fast."""
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, values[at], 0)
