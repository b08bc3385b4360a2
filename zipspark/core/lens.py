"""A pool's sketch as selection needs it, and what each sample shows through it.

A `Lens` is small enough for a task's closure. Through it, a `Look` at samples tells what each could teach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from zipspark.core.grams import FEATURE_BITS, FEATURES, Grams, blocks, distinct, grams
from zipspark.core.sketch import (
    BLOCK_BYTES,
    HEAD_BYTES,
    ROW_BITS,
    Bytes,
    Salts,
    Sketch,
    cells_of,
    pack,
    pack_bits,
    unpack,
)

Weights = npt.NDArray[np.float32]

_TOP_LEVEL = 255  # of 8 * log2(df)


@dataclass(frozen=True)
class Look:
    """The sampled grams of n samples, m in all, as a `Lens` sees them."""

    rows: npt.NDArray[np.int64]  # (n + 1,) sample i has entries ``rows[i]:rows[i + 1]`` of the arrays below
    positions: npt.NDArray[np.int64]  # (m,) byte of the data a gram starts at, ascending
    buckets: npt.NDArray[np.uint32]  # (m,) feature of the short gram
    supported: npt.NDArray[np.bool_]  # (m,) the anchor, or another sample that the sketch counted, holds the long gram
    held: npt.NDArray[np.bool_]  # (m,) the anchor holds the long gram
    salts: Salts | None = None  # (n,) of the samples' groups, where each group is covered for itself

    @property
    def shown(self) -> npt.NDArray[np.int64]:
        """(n,) grams that were looked at: how much `support` can be trusted."""
        return np.diff(self.rows)

    @property
    def support(self) -> npt.NDArray[np.float64]:
        """(n,) share of the grams shown that are supported; 1 for a sample that shows none."""
        shown = self.shown
        supported = np.diff(np.concatenate(([0], np.cumsum(self.supported)))[self.rows])
        share: npt.NDArray[np.float64] = np.where(shown > 0, supported / np.maximum(shown, 1), 1.0)
        return share

    def features(self) -> list[bytes]:
        """The distinct buckets of each sample where it is supported and not held: ascending, packed as '<u4'."""
        features: list[bytes] = []
        for block in blocks(self.rows, 2**ROW_BITS, BLOCK_BYTES):
            bounds = self.rows[block.start : block.stop + 1]
            part = slice(int(bounds[0]), int(bounds[-1]))
            useful = self.supported[part] & ~self.held[part]
            rows = np.repeat(np.arange(len(bounds) - 1, dtype=np.uint32) << np.uint32(FEATURE_BITS), np.diff(bounds))
            buckets = self.buckets[part]
            if self.salts is not None:
                buckets = buckets ^ np.repeat(self.salts[block], np.diff(bounds))
            keys = distinct(rows[useful] | buckets[useful])
            ends = np.searchsorted(keys, np.arange(len(bounds), dtype=np.uint64) << np.uint64(FEATURE_BITS)) * 4
            packed = (keys & np.uint32(FEATURES - 1)).astype("<u4", copy=False).tobytes()
            features += [packed[low:high] for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
        return features


@dataclass(frozen=True)
class Lens:
    """What selection needs of a pool's sketch. Fields are compressed tables, expanded at the first use of each."""

    gram: int
    supported_gram: int
    cell_bits: int
    weight_exponent: float
    weight_cap: float | None
    target_strength: float
    levels: bytes  # (FEATURES,) 8 * log2 of the pool's df; 0 where it is at most 1 or the anchor holds the bucket
    seen: bytes  # (2, 2**cell_bits / 4) four cells a byte, 2 bits each, lowest first: `Sketch.seen`
    held: bytes | None  # (2, 2**cell_bits / 8) bits: the anchor holds a long gram of the cell
    lifts: bytes | None  # (FEATURES,) as int8: 16 * log2 of how much commoner a bucket is in the target
    target_levels: bytes | None  # (FEATURES,) 8 * log2(1 + df) of the target

    @classmethod
    def of(
        cls,
        pool: Sketch,
        *,
        weight_exponent: float = 1.0,
        weight_cap: float | None = None,
        anchor: Sketch | None = None,
        target: Sketch | None = None,
        target_strength: float = 1.0,
        salts: Sequence[int] = (),
    ) -> Lens:
        """The lens of a pool.

        Args:
            pool: counts over a sample of the pool.
            weight_exponent, weight_cap: a bucket weighs ``min(log2(df), cap) ** exponent``.
            anchor: counts over what was chosen before; what it holds is worth nothing more.
            target: counts over texts of the kind that is wanted (see `likeness`).
            salts: of the groups, where the pool's features were counted within groups; what the anchor holds, it holds
                in all of them.
        """
        for other in (anchor, target):
            if other is not None and other.shape != pool.shape:
                raise ValueError(f"sketches must be of one shape, got {pool.shape} and {other.shape}")
        levels = _levels(pool.df if pool.df_in_groups is None else pool.df_in_groups)
        if anchor is not None:
            held = np.flatnonzero(anchor.df > 0)
            for salt in salts if pool.df_in_groups is not None else (0,):
                levels[held ^ salt] = 0
        return cls(
            *pool.shape,
            weight_exponent=weight_exponent,
            weight_cap=weight_cap,
            target_strength=target_strength,
            levels=pack(levels),
            seen=pack(_in_fours(pool.seen)),
            held=None if anchor is None else pack_bits(anchor.seen > 0),
            lifts=None if target is None else pack(_lifts(pool, target).view(np.uint8)),
            target_levels=None if target is None else pack(_levels(target.df + np.uint32(1))),
        )

    def weights(self) -> Weights:
        """(FEATURES,) what each bucket is worth; sums of them are exact in float64, in any order."""
        bits = np.arange(_TOP_LEVEL + 1) / 8
        scale = np.minimum(bits, math.inf if self.weight_cap is None else self.weight_cap) ** self.weight_exponent
        scale[0] = 0.0
        return _looked_up(_rounded(scale), unpack(self.levels))

    def target_weights(self) -> Weights:
        """(FEATURES,) log2(1 + df) in the target of each bucket that has a weight; ValueError without a target."""
        if self.target_levels is None:
            raise ValueError("target_weights needs a lens made with a target")
        weights = _looked_up(_rounded(np.arange(_TOP_LEVEL + 1) / 8), unpack(self.target_levels))
        weights[unpack(self.levels) == 0] = 0
        return weights

    def likeness(self, look: Look) -> npt.NDArray[np.float64]:
        """(n,) how like the target each sample is, to the power ``target_strength``: what its gain is multiplied by.

        The geometric mean of the lifts of its supported grams, with `_DOUBT` grams of lift 1 among them so that a short
        sample proves little. 1 without a target. A factor per sample, so the bounds of lazy greedy stay what they are.
        """
        if self.lifts is None:
            return np.ones(len(look.shown))
        logs = (np.arange(-128, 128) / 16)[unpack(self.lifts)[look.buckets] ^ np.uint8(0x80)] * look.supported
        sums = np.diff(np.concatenate(([0.0], np.cumsum(logs)))[look.rows])
        likeness: npt.NDArray[np.float64] = np.exp2(self.target_strength * sums / (look.support * look.shown + _DOUBT))
        return likeness

    def look(
        self,
        data: bytes | memoryview,
        offsets: npt.NDArray[np.int64],
        salts: Salts | None = None,
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> Look:
        """The grams of samples; arguments as for `Sketch.count`.

        ``counted`` (n,): whether the pool's sketch counted the (head of the) sample, which does not support itself;
        None: all.

        A look takes about four times the memory of the text, twice that while it is made: look at a few MB at a time.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        looks = []
        for block in blocks(offsets, len(offsets), BLOCK_BYTES):
            found = grams(data, offsets[block.start : block.stop + 1], self.gram, self.supported_gram)
            itself = _counted(found, offsets[block.start : block.stop + 1], None if counted is None else counted[block])
            supported = self._holders(found) > itself
            held = np.zeros(len(supported), dtype=bool) if self.held is None else self._is_held(found)
            looks.append(Look(found.rows, found.positions, found.buckets, supported | held, held))
        return replace(_joined(looks), salts=salts)

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}  # not what was expanded

    def _holders(self, found: Grams) -> Bytes:
        """(m,) How many samples that the pool's sketch counted hold each long gram: 0, 1, or 2 for more."""
        one, other = (
            row[cells >> 2] >> ((cells & 3) << 1).astype(np.uint8) & np.uint8(3)
            for row, cells in zip(self._seen, cells_of(found.longs, self.cell_bits), strict=True)
        )
        holders: Bytes = np.minimum(one, other)
        return holders

    def _is_held(self, found: Grams) -> npt.NDArray[np.bool_]:
        """(m,) Whether the anchor holds each long gram."""
        one, other = (
            (row[cells >> 3] >> (cells & 7).astype(np.uint8) & 1).view(bool)
            for row, cells in zip(self._held, cells_of(found.longs, self.cell_bits), strict=True)
        )
        held: npt.NDArray[np.bool_] = one & other
        return held

    @cached_property
    def _seen(self) -> Bytes:
        return unpack(self.seen).reshape(2, -1)

    @cached_property
    def _held(self) -> Bytes:
        assert self.held is not None
        return unpack(self.held).reshape(2, -1)


def _levels(df: npt.NDArray[np.uint32]) -> Bytes:
    """8 * log2(df) as a byte, which ends at 3.9 billion; 0 where df is 0."""
    levels = np.minimum(8 * np.log2(np.maximum(df, 1), dtype=np.float32), _TOP_LEVEL)
    rounded: Bytes = np.rint(levels).astype(np.uint8)
    return rounded


def _counted(
    found: Grams, offsets: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_] | np.bool_:
    """(m,) Whether the sketch counted each gram in its own sample."""
    grams = np.diff(found.rows)
    itself = np.True_ if counted is None else np.repeat(counted, grams)
    if (np.diff(offsets) > HEAD_BYTES).any():
        itself = itself & (found.positions - np.repeat(offsets[:-1], grams) < HEAD_BYTES)
    return itself


def _in_fours(cells: Bytes) -> Bytes:
    """Values of 0 to 3, four to a byte, the lowest bits first."""
    packed: Bytes = np.zeros_like(cells[:, ::4])
    for place in range(4):
        packed |= cells[:, place::4] << np.uint8(2 * place)
    return packed.ravel()


def _lifts(pool: Sketch, target: Sketch) -> npt.NDArray[np.int8]:
    """16 * log2 of how much commoner each bucket is in the target than in the pool: from 1/256 to 16 times.

    Observed over expected count. The priors say that a bucket which the target lacks is unlike it; products of such
    lifts are the importance weights of hashed grams (DSIR: Xie 2023).
    """
    total = max(1, int(pool.df.sum(dtype=np.uint64)))
    expected = pool.df * np.float32(int(target.df.sum(dtype=np.uint64)) / total)
    lifts = np.log2((target.df + _PRIOR) / (expected + np.float32(1)))
    rounded: npt.NDArray[np.int8] = np.rint(16 * np.clip(lifts, -8, 4)).astype(np.int8)
    return rounded


def _rounded(weights: npt.NDArray[np.float64]) -> Weights:
    """To multiples of 2**-12: float64 adds up millions of them without rounding, so no order of summing matters."""
    return (np.rint(weights * 2**12) / 2**12).astype(np.float32)


def _looked_up(table: Weights, indices: Bytes) -> Weights:
    """(FEATURES,) entries of ``table``, in pieces: numpy makes 8 bytes of each index before it looks it up."""
    found: Weights = np.empty(FEATURES, dtype=np.float32)
    for low in range(0, FEATURES, BLOCK_BYTES):
        found[low : low + BLOCK_BYTES] = table[indices[low : low + BLOCK_BYTES]]
    return found


def _joined(looks: list[Look]) -> Look:
    """The looks at consecutive samples as one."""
    counts = [np.zeros(1, dtype=np.int64), *(look.shown for look in looks)]
    return Look(
        np.cumsum(np.concatenate(counts)),
        np.concatenate([_NO_POSITIONS, *(look.positions for look in looks)]),
        np.concatenate([_NO_POSITIONS.astype(np.uint32), *(look.buckets for look in looks)]),
        np.concatenate([_NO_POSITIONS.astype(bool), *(look.supported for look in looks)]),
        np.concatenate([_NO_POSITIONS.astype(bool), *(look.held for look in looks)]),
    )


_NO_POSITIONS = np.empty(0, dtype=np.int64)
_PRIOR = np.float32(0.1)  # sightings in the target that each bucket starts from
_DOUBT = 5
