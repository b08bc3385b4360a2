"""What is common in a pool, in fixed space: how many samples hold each short gram, which long grams two samples share.

A `Sketch` is counted over a sample of the pool, part by part, and merged. A `Lens` is what selection needs of it, small
enough for a task's closure; through it, a `Look` at samples tells what each could teach.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import md5
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from zipspark.core.grams import FEATURE_BITS, FEATURES, Grams, blocks, check_lengths, distinct, grams

Bytes = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float32]
Salts = npt.NDArray[np.uint32]

# Cells in each row of `Sketch.seen`, as a power of two, and the bytes of text they are for: of a larger pool, count a
# share. Measured on 70 MB of chats: 11 % of the cells are not 0 and 5 % are 2, so noise that is not in the pool
# looks 0.3 % supported (the share of 2s squared: it must find them in both rows); with half of the pool noise 1.8 %, in
# a pool of nothing else 6 %. A quarter of the cells: 4.5 % already for chats.
CELL_BITS = 24
SAMPLE_BYTES = 64 * 10**6
_ROW_BITS = 10  # samples counted at once, so that (sample, bucket) fits 32 bits: twice as fast to sort as 64
_BLOCK_BYTES = 2**20  # text counted at once
_TOP_LEVEL = 255  # of 8 * log2(df)


class Sketch:
    """Counts over a set of samples; two of them merge into exactly what counting both sets at once gives.

    A sample counts once for each gram it holds, however often. The caller passes each content once, so copies of a
    sample do not support each other.
    """

    def __init__(self, gram: int = 5, supported_gram: int = 8, cell_bits: int = CELL_BITS) -> None:
        check_lengths(gram, supported_gram)
        self.gram = gram
        self.supported_gram = supported_gram
        self.cell_bits = cell_bits
        self.samples = 0
        self.bytes = 0
        # (FEATURES,) samples that hold any short gram of the bucket
        self.df: npt.NDArray[np.uint32] = np.zeros(FEATURES, dtype=np.uint32)
        # (FEATURES,) likewise of features that are a gram within a group (`salt_of`); none before groups are counted
        self.df_in_groups: npt.NDArray[np.uint32] | None = None
        # (2, 2**cell_bits) samples that hold a long gram of the cell: 0, 1, or 2 for more. A gram has a cell in each
        # row, by independent hashes, and its count is the lower of the two (count-min, Cormode 2005)
        self.seen: Bytes = np.zeros((2, 2**cell_bits), dtype=np.uint8)

    def count(self, data: bytes | memoryview, offsets: npt.NDArray[np.int64], salts: Salts | None = None) -> None:
        """Adds samples; ``data`` and ``offsets`` as `grams.grams` takes them, ``salts`` (n,) of their groups."""
        offsets = np.asarray(offsets, dtype=np.int64)
        self.samples += len(offsets) - 1
        self.bytes += int(offsets[-1] - offsets[0])
        for block in blocks(offsets, 2**_ROW_BITS, _BLOCK_BYTES):
            found = grams(data, offsets[block.start : block.stop + 1], self.gram, self.supported_gram)
            rows = np.repeat(np.arange(len(found.rows) - 1, dtype=np.uint32), np.diff(found.rows))
            held = distinct(rows << np.uint32(FEATURE_BITS) | found.buckets)
            buckets = held & np.uint32(FEATURES - 1)
            np.add.at(self.df, buckets, np.uint32(1))
            if salts is not None:
                salted = buckets ^ salts[block][held >> np.uint32(FEATURE_BITS)]
                np.add.at(self._in_groups(), salted, np.uint32(1))
            for seen, cells in zip(self.seen, _cells(found.longs, self.cell_bits), strict=True):
                _raise(seen, cells, rows)

    def merge(self, other: Sketch) -> None:
        """Adds all that ``other`` counted; raises ValueError unless it counts the same grams in as many cells."""
        if self._shape != other._shape:
            raise ValueError(f"sketches must be of one shape to be merged, got {self._shape} and {other._shape}")
        self.samples += other.samples
        self.bytes += other.bytes
        self.df += other.df
        if other.df_in_groups is not None:
            self._in_groups().__iadd__(other.df_in_groups)
        self.seen += other.seen
        np.minimum(self.seen, 2, out=self.seen)

    def to_bytes(self) -> bytes:
        """The sketch, compressed: 5 MB for SAMPLE_BYTES of chats."""
        head = json.dumps([*self._shape, self.samples, self.bytes]).encode()
        body = [_packed(self.df.view(np.uint8)), _packed_bits(self.seen > 0), _packed_bits(self.seen > 1)]
        if self.df_in_groups is not None:
            body.append(_packed(self.df_in_groups.view(np.uint8)))
        return b"".join(struct.pack("<I", len(piece)) + piece for piece in (head, *body))

    @classmethod
    def from_bytes(cls, stored: bytes) -> Sketch:
        """What `to_bytes` stored."""
        pieces = []
        while stored:
            (size,) = struct.unpack_from("<I", stored)
            pieces.append(stored[4 : 4 + size])
            stored = stored[4 + size :]
        head, df, once, twice, *in_groups = pieces
        gram, supported_gram, cell_bits, samples, size = json.loads(head)
        sketch = cls(gram, supported_gram, cell_bits)
        sketch.samples, sketch.bytes = samples, size
        sketch.df[:] = _unpacked(df).view("<u4")
        for packed in in_groups:
            sketch._in_groups()[:] = _unpacked(packed).view("<u4")
        for packed in (once, twice):
            sketch.seen += np.unpackbits(_unpacked(packed), bitorder="little").reshape(sketch.seen.shape)
        return sketch

    def _in_groups(self) -> npt.NDArray[np.uint32]:
        if self.df_in_groups is None:
            self.df_in_groups = np.zeros(FEATURES, dtype=np.uint32)
        return self.df_in_groups

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.gram, self.supported_gram, self.cell_bits


def salt_of(group: str) -> int:
    """What a group's buckets are xored with, so that the same gram in two groups is two features (with chance 1).

    With a quota for each group, every group is covered for itself: its own frequencies, and nothing that another
    group's picks hold. Otherwise a group's quota goes to what is common elsewhere.
    """
    return int.from_bytes(md5(group.encode(), usedforsecurity=False).digest()[:4], "little") & int(FEATURES - 1)


@dataclass(frozen=True)
class Look:
    """The sampled grams of n samples, m in all, as a `Lens` sees them."""

    rows: npt.NDArray[np.int64]  # (n + 1,) sample i has entries ``rows[i]:rows[i + 1]`` of the arrays below
    positions: npt.NDArray[np.int64]  # (m,) byte of the data a gram starts at, ascending
    buckets: npt.NDArray[np.uint32]  # (m,) feature of the short gram
    supported: npt.NDArray[np.bool_]  # (m,) the long gram there is held by two samples of the pool's sketch
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
        for block in blocks(self.rows, 2**_ROW_BITS, _BLOCK_BYTES):
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
    supported: bytes  # (2, 2**cell_bits) bits: two samples of the pool hold a long gram of the cell
    held: bytes | None  # likewise: the anchor holds one
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
            if other is not None and other._shape != pool._shape:
                raise ValueError(f"sketches must be of one shape, got {pool._shape} and {other._shape}")
        levels = _levels(pool.df if pool.df_in_groups is None else pool.df_in_groups)
        if anchor is not None:
            held = np.flatnonzero(anchor.df > 0)
            for salt in salts if pool.df_in_groups is not None else (0,):
                levels[held ^ salt] = 0
        return cls(
            *pool._shape,
            weight_exponent=weight_exponent,
            weight_cap=weight_cap,
            target_strength=target_strength,
            levels=_packed(levels),
            supported=_packed_bits(pool.seen > 1),
            held=None if anchor is None else _packed_bits(anchor.seen > 0),
            lifts=None if target is None else _packed(_lifts(pool, target).view(np.uint8)),
            target_levels=None if target is None else _packed(_levels(target.df + np.uint32(1))),
        )

    def weights(self) -> Weights:
        """(FEATURES,) what each bucket is worth; sums of them are exact in float64, in any order."""
        bits = np.arange(_TOP_LEVEL + 1) / 8
        scale = np.minimum(bits, math.inf if self.weight_cap is None else self.weight_cap) ** self.weight_exponent
        scale[0] = 0.0
        return _looked_up(_rounded(scale), _unpacked(self.levels))

    def target_weights(self) -> Weights:
        """(FEATURES,) log2(1 + df) in the target of each bucket that has a weight; ValueError without a target."""
        if self.target_levels is None:
            raise ValueError("target_weights needs a lens made with a target")
        weights = _looked_up(_rounded(np.arange(_TOP_LEVEL + 1) / 8), _unpacked(self.target_levels))
        weights[_unpacked(self.levels) == 0] = 0
        return weights

    def likeness(self, look: Look) -> npt.NDArray[np.float64]:
        """(n,) how like the target each sample is, to the power ``target_strength``: what its gain is multiplied by.

        The geometric mean of the lifts of its supported grams, with `_DOUBT` grams of lift 1 among them so that a short
        sample proves little. 1 without a target. A factor per sample, so the bounds of lazy greedy stay what they are.
        """
        if self.lifts is None:
            return np.ones(len(look.shown))
        logs = (np.arange(-128, 128) / 16)[_unpacked(self.lifts)[look.buckets] ^ np.uint8(0x80)] * look.supported
        sums = np.diff(np.concatenate(([0.0], np.cumsum(logs)))[look.rows])
        likeness: npt.NDArray[np.float64] = np.exp2(self.target_strength * sums / (look.support * look.shown + _DOUBT))
        return likeness

    def look(self, data: bytes | memoryview, offsets: npt.NDArray[np.int64], salts: Salts | None = None) -> Look:
        """The grams of samples; arguments as for `Sketch.count`.

        A look takes about four times the memory of the text, twice that while it is made: look at a few MB at a time.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        looks = []
        for block in blocks(offsets, len(offsets), _BLOCK_BYTES):
            found = grams(data, offsets[block.start : block.stop + 1], self.gram, self.supported_gram)
            supported = self._test(self._supported, found)
            held = np.zeros(len(supported), dtype=bool) if self.held is None else self._test(self._held, found)
            looks.append(Look(found.rows, found.positions, found.buckets, supported, held))
        return replace(_joined(looks), salts=salts)

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}  # not what was expanded

    def _test(self, bits: Bytes, found: Grams) -> npt.NDArray[np.bool_]:
        """Whether both cells of each long gram are set."""
        result = np.ones(len(found.longs), dtype=bool)
        for row, cells in zip(bits, _cells(found.longs, self.cell_bits), strict=True):
            result &= (row[cells >> 3] >> (cells & 7).astype(np.uint8) & 1).view(bool)
        return result

    @cached_property
    def _supported(self) -> Bytes:
        return _unpacked(self.supported).reshape(2, -1)

    @cached_property
    def _held(self) -> Bytes:
        assert self.held is not None
        return _unpacked(self.held).reshape(2, -1)


def _cells(longs: npt.NDArray[np.uint64], cell_bits: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(m,) the cell of each gram in either row: the high bits of its hash and the low ones."""
    high, low = longs >> np.uint64(64 - cell_bits), longs & np.uint64(2**cell_bits - 1)
    return high.view(np.int64), low.view(np.int64)  # below 2**63: what numpy takes as indices without a copy


def _raise(seen: Bytes, cells: npt.NDArray[np.int64], rows: npt.NDArray[np.uint32]) -> None:
    """Adds one to each cell for each sample (row) that has it, up to 2."""
    fresh = np.flatnonzero(seen[cells] < 2)  # most of a pool's text is soon in full cells: only the rest is sorted
    pairs = distinct((cells[fresh] << _ROW_BITS | rows[fresh]).view(np.uint64))
    cells = (pairs >> np.uint64(_ROW_BITS)).view(np.int64)
    seen[cells] += 1  # once, however often a cell is listed
    seen[cells[1:][cells[1:] == cells[:-1]]] = 2


def _levels(df: npt.NDArray[np.uint32]) -> Bytes:
    """8 * log2(df) as a byte, which ends at 3.9 billion; 0 where df is 0."""
    levels = np.minimum(8 * np.log2(np.maximum(df, 1), dtype=np.float32), _TOP_LEVEL)
    rounded: Bytes = np.rint(levels).astype(np.uint8)
    return rounded


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
    for low in range(0, FEATURES, _BLOCK_BYTES):
        found[low : low + _BLOCK_BYTES] = table[indices[low : low + _BLOCK_BYTES]]
    return found


def _packed(values: Bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(values.data)


def _packed_bits(values: npt.NDArray[np.bool_]) -> bytes:
    return _packed(np.packbits(values, bitorder="little"))


def _unpacked(packed: bytes) -> Bytes:
    return np.frombuffer(zstandard.ZstdDecompressor().decompress(packed), dtype=np.uint8)


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
