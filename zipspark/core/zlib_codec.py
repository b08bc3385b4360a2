"""zlib, as the paper uses it: exact conditional sizes, a memory of 32 KiB.

A deflate state that has been fed S once can be copied for each candidate x; feeding x to the copy and finishing it
gives, byte for byte, the size of compressing S + [x] afresh. So a round costs one sample per candidate, not the whole
set.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from zipspark.config import ZLIB_WINDOW
from zipspark.core.codecs import Indices, Sizes, lengths

# The classic library's sizes are what the paper's numbers were made with; zlib-ng compresses to other sizes.
IS_CLASSIC_ZLIB = "ng" not in zlib.ZLIB_RUNTIME_VERSION

_WORKERS = min(4, os.cpu_count() or 1)
_SMALLEST_SHARE = 32  # candidates that are worth a thread


@dataclass(frozen=True)
class Framing:
    """Bytes around the samples of a set: none by default; Python's list brackets for the released program."""

    start: bytes = b""
    between: bytes = b""
    end: bytes = b""


PLAIN = Framing()
PYTHON_LIST = Framing(b"[", b", ", b"]")


@dataclass(frozen=True)
class ZlibCodec:
    """zlib at ``level``; the bytes of a set are its samples within ``framing``."""

    level: int = 9
    framing: Framing = PLAIN
    name: str = field(default="zlib", init=False)
    window: int = field(default=ZLIB_WINDOW, init=False)

    def sizes(self, samples: Iterable[bytes]) -> Sizes:
        framing = self.framing
        sizes = (len(zlib.compress(framing.start + sample + framing.end, self.level)) for sample in samples)
        return np.fromiter(sizes, dtype=np.int64)

    def context(self, pool: Sequence[bytes]) -> ZlibContext:
        return ZlibContext(pool, self)


class ZlibContext:
    """See `codecs.Context`. ``C(S + [x]) == len(zlib.compress(bytes of S + [x], level))``, always.

    >>> context = ZlibCodec().context([b"abcabcabc" * 9, b"xyz"])
    >>> context.add(0)
    >>> import zlib
    >>> int(context.sizes_with([1])[0]) == len(zlib.compress(b"abcabcabc" * 9 + b"xyz", 9))
    True
    """

    def __init__(self, pool: Sequence[bytes], codec: ZlibCodec) -> None:
        self._pool = pool
        self._codec = codec
        self._lengths = lengths(pool)  # (n,) bytes of each sample
        self._state = zlib.compressobj(codec.level)  # has been fed the framing's start and S
        self._written = len(self._state.compress(codec.framing.start))  # bytes the state has put out so far
        self._prefix = b""  # what stands before the next sample
        self.raw = 0
        self.compressed = 0

    def sizes_alone(self) -> Sizes:
        return self.emptied().sizes_with(range(len(self._pool)))

    def bounds_alone(self) -> Sizes:
        return self.sizes_alone()

    def conditional_size(self, index: int, enough: float = 0.0) -> tuple[int, bool]:
        return self._size_with(index) - self.compressed, True

    def sizes_with(self, indices: Indices) -> Sizes:
        # deflate runs without the interpreter's lock, so threads share the work; sizes do not depend on how many.
        shares = min(_WORKERS, max(1, len(indices) // _SMALLEST_SHARE))
        if shares == 1:
            return np.fromiter(map(self._size_with, indices), dtype=np.int64, count=len(indices))
        chunks = np.array_split(np.asarray(indices, dtype=np.int64), shares)
        with ThreadPoolExecutor(shares) as threads:
            sizes = threads.map(lambda chunk: [self._size_with(index) for index in chunk.tolist()], chunks)
            return np.concatenate([np.asarray(part, dtype=np.int64) for part in sizes])

    def raw_with(self, indices: Indices) -> Sizes:
        framing = self._codec.framing
        before = self.raw or len(framing.start) + len(framing.end)
        return before + len(self._prefix) + self._lengths[np.asarray(indices, dtype=np.int64)]

    def add(self, index: int) -> None:
        self.raw = int(self.raw_with([index])[0])
        self._written += len(self._state.compress(self._prefix + self._pool[index]))
        self._prefix = self._codec.framing.between
        self.compressed = self._written + len(self._finished(self._state.copy(), b""))

    def emptied(self) -> ZlibContext:
        return ZlibContext(self._pool, self._codec)

    def _size_with(self, index: int) -> int:
        return self._written + len(self._finished(self._state.copy(), self._prefix + self._pool[index]))

    def _finished(self, state: zlib._Compress, sample: bytes) -> bytes:
        """What ``state`` still puts out when ``sample`` is the last of the set."""
        return state.compress(sample + self._codec.framing.end) + state.flush()
