"""Sequences of bytes that are made when they are asked for, so that no text is in memory twice."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt


class _Made(Sequence[bytes]):
    @abstractmethod
    def _at(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self._at(at) for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._at(index)


class Pieces(_Made):
    """Consecutive pieces of a few buffers, such as the chunks of an Arrow column.

    >>> pieces = Pieces([b"tobe", b"ornot"], [np.array([0, 2, 4]), np.array([0, 2, 5])])
    >>> list(pieces), pieces[-1], pieces[1:3]
    ([b'to', b'be', b'or', b'not'], b'not', [b'be', b'or'])
    """

    def __init__(self, buffers: Sequence[bytes | memoryview], offsets: Sequence[npt.NDArray[np.integer]]) -> None:
        """Args: buffers, and for each the offsets of its n pieces, (n + 1,) ascending."""
        self._buffers = [memoryview(buffer) for buffer in buffers]
        none = np.empty(0, dtype=np.int64)
        numbers = np.repeat(np.arange(len(offsets)), [len(ends) - 1 for ends in offsets])
        # Arrays of machine words: they answer one index as fast as lists, in a tenth of the memory.
        self._numbers = array("q", numbers.astype(np.int64).tobytes())
        self._starts = array("q", np.concatenate([none, *(ends[:-1] for ends in offsets)]).astype(np.int64).tobytes())
        self._ends = array("q", np.concatenate([none, *(ends[1:] for ends in offsets)]).astype(np.int64).tobytes())

    def __len__(self) -> int:
        return len(self._starts)

    def _at(self, index: int) -> bytes:
        return bytes(self._buffers[self._numbers[index]][self._starts[index] : self._ends[index]])


class Taken(_Made):
    """Others' items in another order.

    >>> list(Taken([b"to", b"be", b"or"], np.array([2, 0])))
    [b'or', b'to']
    """

    def __init__(self, items: Sequence[bytes], order: npt.NDArray[np.int64]) -> None:
        self._items = items
        self._order = array("q", order.tobytes())

    def __len__(self) -> int:
        return len(self._order)

    def _at(self, index: int) -> bytes:
        return self._items[self._order[index]]
