"""What a compressor must be able to do for selection: size a sample alone, and size it given what was chosen.

Two codecs stand behind this protocol: `zlib_codec` (the paper's: exact, 32 KiB of memory) and `zstd_codec` (sees
megabytes back). Sizes are bytes throughout. A context belongs to one pool and speaks of its samples by index, so that
it can remember what it measured before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Sizes = npt.NDArray[np.int64]  # (m,) bytes, one entry per index asked for
Indices = Sequence[int] | npt.NDArray[np.int64]


class Context(Protocol):
    """The chosen set S as a compressor sees it; grows by `add`."""

    raw: int  # bytes of S before compression
    compressed: int  # C(S): bytes of S after compression

    def sizes_alone(self) -> Sizes:
        """C(x) of every sample of the pool with S empty; shape (n,)."""

    def bounds_alone(self) -> Sizes:
        """About that, where it can be had sooner: the first bounds of lazy greedy, which are heuristic anyway."""

    def conditional_size(self, index: int, enough: float = 0.0) -> tuple[int, bool]:
        """(C(x|S), True); or (an upper bound of it below ``enough``, False) as soon as one is known."""

    def sizes_with(self, indices: Indices) -> Sizes:
        """C(S + [x]) for each x of ``indices``."""

    def raw_with(self, indices: Indices) -> Sizes:
        """Bytes of S + [x] before compression, for each x of ``indices``."""

    def add(self, index: int) -> None:
        """S becomes S + [x]."""

    def emptied(self) -> Context:
        """A context over the same pool with nothing chosen."""


class Codec(Protocol):
    """A compressor with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> int: ...

    @property
    def window(self) -> int:
        """Bytes it can look back."""

    def sizes(self, samples: Iterable[bytes]) -> Sizes:
        """Compressed bytes of each sample alone, whatever pool it is in."""

    def context(self, pool: Sequence[bytes]) -> Context:
        """An empty context over ``pool``, which must not change while the context lives."""


def lengths(pool: Sequence[bytes]) -> Sizes:
    """Bytes of each sample, shape (n,)."""
    return np.fromiter(map(len, pool), dtype=np.int64, count=len(pool))
