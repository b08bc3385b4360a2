"""What is common in a pool, in fixed space: how many samples hold each short gram, which long grams two samples share.

It is counted over a sample of the pool, part by part, and merged; `zipspark.core.lens` is what selection needs of it.
"""

from __future__ import annotations

import json
import struct
from hashlib import md5

import numpy as np
import numpy.typing as npt
import zstandard

from zipspark.core.grams import FEATURE_BITS, FEATURES, blocks, check_lengths, distinct, grams

Bytes = npt.NDArray[np.uint8]
Salts = npt.NDArray[np.uint32]

# Cells in each row of `Sketch.seen`, as a power of two, and the bytes of text they are for: of a larger pool, count a
# share. Measured on chats: 7 % of the cells are not 0, so noise looks 0.5 % supported (the share squared: it must find
# them in both rows); 0.8, 2.1 and 6.1 % with 5, 20 and 50 % of noise in the pool. 64 MB of text give subsets whose
# held-out bits per byte are 1.5 % lower, and take twice the time.
CELL_BITS = 24
SAMPLE_BYTES = 32 * 10**6
HEAD_BYTES = 2**16  # of a longer sample its head is counted: a few huge ones would be the whole share
ROW_BITS = 10  # samples counted at once, so that (sample, bucket) fits 32 bits: twice as fast to sort as 64
BLOCK_BYTES = 2**20  # text counted at once


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
        for block in blocks(offsets, 2**ROW_BITS, BLOCK_BYTES):
            found = grams(data, offsets[block.start : block.stop + 1], self.gram, self.supported_gram)
            rows = np.repeat(np.arange(len(found.rows) - 1, dtype=np.uint32), np.diff(found.rows))
            held = distinct(rows << np.uint32(FEATURE_BITS) | found.buckets)
            buckets = held & np.uint32(FEATURES - 1)
            np.add.at(self.df, buckets, np.uint32(1))
            if salts is not None:
                salted = buckets ^ salts[block][held >> np.uint32(FEATURE_BITS)]
                np.add.at(self._in_groups(), salted, np.uint32(1))
            for seen, cells in zip(self.seen, cells_of(found.longs, self.cell_bits), strict=True):
                _raise(seen, cells, rows)

    def merge(self, other: Sketch) -> None:
        """Adds all that ``other`` counted; raises ValueError unless it counts the same grams in as many cells."""
        if self.shape != other.shape:
            raise ValueError(f"sketches must be of one shape to be merged, got {self.shape} and {other.shape}")
        self.samples += other.samples
        self.bytes += other.bytes
        self.df += other.df
        if other.df_in_groups is not None:
            self._in_groups().__iadd__(other.df_in_groups)
        self.seen += other.seen
        np.minimum(self.seen, 2, out=self.seen)

    def to_bytes(self) -> bytes:
        """The sketch, compressed: 5 MB for SAMPLE_BYTES of chats."""
        head = json.dumps([*self.shape, self.samples, self.bytes]).encode()
        body = [pack(self.df.view(np.uint8)), pack_bits(self.seen > 0), pack_bits(self.seen > 1)]
        if self.df_in_groups is not None:
            body.append(pack(self.df_in_groups.view(np.uint8)))
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
        sketch.df[:] = unpack(df).view("<u4")
        for packed in in_groups:
            sketch._in_groups()[:] = unpack(packed).view("<u4")
        for packed in (once, twice):
            sketch.seen += np.unpackbits(unpack(packed), bitorder="little").reshape(sketch.seen.shape)
        return sketch

    def _in_groups(self) -> npt.NDArray[np.uint32]:
        if self.df_in_groups is None:
            self.df_in_groups = np.zeros(FEATURES, dtype=np.uint32)
        return self.df_in_groups

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.gram, self.supported_gram, self.cell_bits


def salt_of(group: str) -> int:
    """What a group's buckets are xored with, so that the same gram in two groups is two features (with chance 1).

    With a quota for each group, every group is covered for itself: its own frequencies, and nothing that another
    group's picks hold. Otherwise a group's quota goes to what is common elsewhere.
    """
    return int.from_bytes(md5(group.encode(), usedforsecurity=False).digest()[:4], "little") & int(FEATURES - 1)


def cells_of(longs: npt.NDArray[np.uint64], cell_bits: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(m,) the cell of each gram in either row: the high bits of its hash and the low ones."""
    high, low = longs >> np.uint64(64 - cell_bits), longs & np.uint64(2**cell_bits - 1)
    return high.view(np.int64), low.view(np.int64)  # below 2**63: what numpy takes as indices without a copy


def _raise(seen: Bytes, cells: npt.NDArray[np.int64], rows: npt.NDArray[np.uint32]) -> None:
    """Adds one to each cell for each sample (row) that has it, up to 2."""
    fresh = np.flatnonzero(seen[cells] < 2)  # most of a pool's text is soon in full cells: only the rest is sorted
    pairs = distinct((cells[fresh] << ROW_BITS | rows[fresh]).view(np.uint64))
    cells = (pairs >> np.uint64(ROW_BITS)).view(np.int64)
    seen[cells] += 1  # once, however often a cell is listed
    seen[cells[1:][cells[1:] == cells[:-1]]] = 2


def pack(values: Bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(values.data)


def pack_bits(values: npt.NDArray[np.bool_]) -> bytes:
    return pack(np.packbits(values, bitorder="little"))


def unpack(packed: bytes) -> Bytes:
    return np.frombuffer(zstandard.ZstdDecompressor().decompress(packed), dtype=np.uint8)
