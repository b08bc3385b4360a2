"""zstd: conditional sizes against megabytes of chosen text, through dictionaries.

A zstd dictionary is text a compressor has seen before it starts, so C(x|S) is the size of x under a dictionary made of
S. Three things make that both right and fast:

* **Layers of geometric sizes.** Indexing a large dictionary costs 100 ms, so it must be rare; yet a pick must count at
  once, or its near-copies are picked next. So S lies in layers of growing size: the smallest is rebuilt at every pick,
  a full one spills into the next, and the largest is closed when full and kept until it is out of the window. C(x|S)
  is the smallest size over the layers, each layer's answer remembered until that layer changes.
* **Frame bytes off, literal statistics in.** A frame's fixed bytes are subtracted, and each dictionary starts with the
  entropy tables of one trained on the pool: without them short samples look denser than they are.
* **Tables for the whole dictionary.** Level presets size the hash tables for the sample and then index only a
  dictionary's tail; here they are sized for the dictionary, and `ZstdCodec.self_check` proves it.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import zstandard

from zipspark.core.codecs import Indices, Sizes, lengths

# Bytes at which a layer is full. The last must stay below 16 MiB: zstd indexes no more of a dictionary at these levels.
LAYER_BYTES = (32 * 2**10, 256 * 2**10, 2 * 2**20, 8 * 2**20)
HEADER_SAMPLES = 500  # samples the literal statistics are trained on
# Up to this size a compressor works beside the dictionary's tables; above it, it would copy them (tens of MB) first,
# unless it is not told the size (zstd_compress.c: attachDictSizeCutoffs).
_ATTACHED_BYTES = 16 * 2**10
# A finished dictionary ends its tables with three 4-byte repeat offsets, and the trainer writes the defaults 1, 4, 8
# (zstd's compression format, section "Dictionary Format").
_END_OF_TABLES = bytes([1, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0])


@dataclass(frozen=True)
class SelfCheck:
    """What `ZstdCodec.self_check` saw; ``seen`` says whether the far duplicate was found."""

    window: int  # bytes between the duplicate and its original
    alone: int  # size of the duplicate with nothing before it
    conditional: int  # its size given the window
    seen: bool


@dataclass(frozen=True)
class ZstdCodec:
    """zstd at ``level``; ``header`` holds entropy tables (see `trained`).

    It sees at least ``window`` bytes back, and up to about twice as many: a layer is forgotten as a whole.
    """

    level: int = 3
    window: int = 16 * 2**20
    header: bytes = b""
    name: str = field(default="zstd", init=False)

    def sizes(self, samples: Iterable[bytes]) -> Sizes:
        compressor = zstandard.ZstdCompressor(compression_params=_parameters(self.level))
        return np.fromiter((_size(compressor, sample) for sample in samples), dtype=np.int64)

    def context(self, pool: Sequence[bytes]) -> ZstdContext:
        return ZstdContext(pool, self)

    def trained(self, samples: Sequence[bytes]) -> ZstdCodec:
        """The codec with literal and match statistics of ``samples``; itself where there are too few to train on.

        The same samples must be used in every part of a run, or sizes would differ between parts.
        """
        try:
            trained = zstandard.train_dictionary(2**14, list(samples), k=256, d=8, f=16, level=self.level).as_bytes()
        except (zstandard.ZstdError, ValueError):
            return self
        end = trained.find(_END_OF_TABLES)
        return replace(self, header=trained[: end + len(_END_OF_TABLES)]) if end >= 0 else self

    def dictionary(self, content: bytes) -> zstandard.ZstdCompressor:
        """A compressor that has seen ``content``; of more than the largest layer holds, the end."""
        content = content[-LAYER_BYTES[-1] :].ljust(8, b"\0")  # zstd takes no dictionary with less content
        # At least as wide as one of zstd's blocks, 128 KiB, so that a long sample sees itself as well.
        log = max(16, (len(content) - 1).bit_length())
        # Levels to 4 find a match from any position within it: a slot for every two to four of them loses little, and
        # lookups miss the processor's cache less often (measured). Higher levels keep positions in order and would
        # lose the oldest; their search trees need two slots for each.
        hash_log, chain_log = (log - 2, log - 2) if self.level <= 4 else (log, log + 1)
        parameters = _parameters(self.level, window_log=log + 1, hash_log=hash_log, chain_log=chain_log)
        kind = zstandard.DICT_TYPE_FULLDICT if self.header else zstandard.DICT_TYPE_RAWCONTENT
        dictionary = zstandard.ZstdCompressionDict(self.header + content, dict_type=kind)
        dictionary.precompute_compress(compression_params=parameters)
        return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)

    def self_check(self) -> SelfCheck:
        """Add one sample, fill the window behind it, and ask for the sample again.

        The filler is incompressible, so that nothing but the original can make the duplicate small.
        """
        noise = random.Random(0)
        sample = noise.randbytes(2**10)
        behind, piece = self.window - len(sample), 2**18
        filler = [noise.randbytes(min(piece, behind - start)) for start in range(0, behind, piece)]
        context = self.context([sample, *filler])
        alone = context.conditional_size(0)[0]
        for index in range(len(filler) + 1):
            context.add(index)
        conditional = context.conditional_size(0)[0]
        return SelfCheck(self.window, alone, conditional, conditional < alone // 4)


class _Layer:
    """One dictionary over a run of S, and the sizes it gave."""

    def __init__(self, samples: int, codec: ZstdCodec) -> None:
        self.content = bytearray()
        self.codec = codec
        self.compressor = codec.dictionary(b"")
        self.version = 0  # counts rebuilds
        self.measured = array("i", [-1]) * samples  # (n,) version at which a sample was sized
        self.sizes = array("i", [0]) * samples  # (n,) its size then, bytes

    def rebuild(self) -> None:
        self.compressor = self.codec.dictionary(bytes(self.content))
        self.version += 1

    def size(self, index: int, sample: bytes) -> int:
        self.measured[index] = self.version
        self.sizes[index] = size = _size(self.compressor, sample)
        return size


class ZstdContext:
    """See `codecs.Context`. ``C(S)`` is the sum of what each pick added."""

    def __init__(self, pool: Sequence[bytes], codec: ZstdCodec) -> None:
        self._pool = pool
        self._codec = codec
        # Bytes at which each layer is full; none holds more than the window.
        self._full = *(size for size in LAYER_BYTES[:-1] if size < codec.window), min(codec.window, LAYER_BYTES[-1])
        self._layers = [self._new_layer() for _ in self._full]  # smallest, with the latest picks, first
        self._closed: list[_Layer] = []  # full layers of the largest size, oldest first
        self._nothing = self._new_layer()  # no sample adds more than alone
        self._asked = [self._nothing]  # the layers with content, and nothing, in the order they are asked
        self.raw = 0
        self.compressed = 0

    def bounds_alone(self) -> Sizes:
        # Level 1 needs half the time of level 3 for a few per cent more bytes, and most samples are never asked for.
        compressor = replace(self._codec, level=min(self._codec.level, 1)).dictionary(b"")
        return np.fromiter((_size(compressor, sample) for sample in self._pool), np.int64, len(self._pool))

    def sizes_alone(self) -> Sizes:
        return np.fromiter(map(self._nothing.size, range(len(self._pool)), self._pool), np.int64, len(self._pool))

    def conditional_size(self, index: int, enough: float = 0.0) -> tuple[int, bool]:
        smallest = _MAX
        unknown = []
        for layer in self._asked:
            if layer.measured[index] == layer.version:
                size = layer.sizes[index]
                if size < smallest:
                    smallest = size
            else:
                unknown.append(layer)
        for layer in unknown:
            if smallest < enough:
                return smallest, False
            size = layer.size(index, self._pool[index])
            if size < smallest:
                smallest = size
        return smallest, True

    def sizes_with(self, indices: Indices) -> Sizes:
        sizes = [self.conditional_size(int(index))[0] for index in indices]
        return self.compressed + np.asarray(sizes, dtype=np.int64)

    def raw_with(self, indices: Indices) -> Sizes:
        return self.raw + lengths([self._pool[int(index)] for index in indices])

    def add(self, index: int) -> None:
        sample = self._pool[index]
        self.compressed += self.conditional_size(index)[0]
        self.raw += len(sample)
        self._layers[0].content += sample
        changed = 0
        while len(self._layers[changed].content) > self._full[changed] and changed + 1 < len(self._full):
            if changed + 2 == len(self._full):
                self._make_room(len(self._layers[changed].content))
            self._layers[changed + 1].content += self._layers[changed].content
            self._layers[changed].content.clear()
            changed += 1
        self._layers[changed].rebuild()
        # The largest first: they hold most of S, so they tell soonest that x adds too little, and they change least
        # often, so their answers are mostly at hand.
        by_size = [*self._closed, *reversed(self._layers)]
        self._asked = [*(layer for layer in by_size if layer.content), self._nothing]

    def emptied(self) -> ZstdContext:
        context = ZstdContext(self._pool, self._codec)
        context._nothing, context._asked = self._nothing, [self._nothing]
        return context

    def _new_layer(self) -> _Layer:
        return _Layer(len(self._pool), self._codec)

    def _make_room(self, size: int) -> None:
        """Close the largest layer if ``size`` more bytes do not fit; forget what has left the window."""
        full = self._layers[-1]
        if not full.content or len(full.content) + size <= self._full[-1]:
            return
        self._closed.append(full)
        self._layers[-1] = self._new_layer()
        while self._closed and sum(len(layer.content) for layer in self._closed[1:]) + size >= self._codec.window:
            del self._closed[0]


def _parameters(level: int, **tables: int) -> zstandard.ZstdCompressionParameters:
    """A frame with as few fixed bytes as zstd can write."""
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
        **tables,
    )


def _size(compressor: zstandard.ZstdCompressor, sample: bytes) -> int:
    """Bytes of ``sample`` under ``compressor``, without the frame's."""
    if len(sample) <= _ATTACHED_BYTES:
        size = len(compressor.compress(sample))
    else:
        stream = compressor.compressobj()
        size = len(stream.compress(sample)) + len(stream.flush())
    return max(1, size - _FRAME_BYTES)


_MAX = 2**31 - 1
_FRAME_BYTES = len(zstandard.ZstdCompressor(compression_params=_parameters(3)).compress(b""))
