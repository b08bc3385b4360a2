"""How redundant a set is, by compressors and counts that no objective uses as they are used here."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import zstandard
from heldout import windows
from scipy.sparse import csr_array

from zipspark.core.grams import distinct, mix

NEAR = 0.7  # Jaccard similarity of their byte 8-grams from which two samples are near copies
NEAR_EVERY = 4  # one 8-gram in so many is looked at for that, chosen by its hash: the same ones in every sample

Vectors = npt.NDArray[np.float32]  # (n, d) rows of length 1


def xz_size(text: bytes) -> int:
    """By ``xz -9e``, which looks 64 MiB back."""
    return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def zstd_size(text: bytes) -> int:
    """By ``zstd -19 --long=27``, which looks 128 MiB back."""
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(text))


def brotli_size(text: bytes) -> int:
    """By ``brotli -q 11 -w 24``, which looks 16 MiB back. Raises ImportError where the package is absent."""
    import brotli

    return len(brotli.compress(text, quality=11, lgwin=24))


COMPRESSORS: dict[str, Callable[[bytes], int]] = {"xz": xz_size, "zstd": zstd_size, "brotli": brotli_size}


def wide_ratio(samples: Iterable[bytes]) -> float:
    """R of the samples one after the other, as `zstd_size` sees it."""
    text = b"".join(samples)
    return len(text) / zstd_size(text)


def distinct_grams(samples: Sequence[bytes]) -> int:
    """Different byte 8-grams within samples."""
    return len(distinct(_grams(samples)))


def near_copies(samples: Sequence[bytes], block: int = 500) -> float:
    """The share of samples that have a near copy (`NEAR`) among the others.

    Two sets of which one has n elements can only be so alike if they share one of its n - NEAR n + 1 rarest, whichever
    those are (Chaudhuri 2006, Bayardo 2007): only pairs that do are compared, so a whole pool can be asked about.
    """
    parts = [_looked_at(samples[first : first + block], first) for first in range(0, len(samples), block)]
    rows, hashes = (np.concatenate(each) for each in zip(*parts, strict=True))
    _, columns, common = np.unique(hashes, return_inverse=True, return_counts=True)
    by_rarity = np.empty(len(common), np.int64)
    by_rarity[np.argsort(common, kind="stable")] = np.arange(len(common))
    # One number for each (sample, gram): sorted, the grams of a sample follow each other, the rarest first.
    pairs = np.unique(rows * len(common) + by_rarity[columns])
    rows, columns = np.divmod(pairs, max(1, len(common)))
    sizes = np.bincount(rows, minlength=len(samples))
    starts = np.cumsum(sizes) - sizes
    rare = np.arange(len(rows)) - starts[rows] < (sizes - np.ceil(NEAR * sizes) + 1)[rows]
    shape = (len(samples), len(common))
    has = csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)
    has_rare = csr_array((np.ones(int(rare.sum()), np.int32), (rows[rare], columns[rare])), shape=shape)
    holders = has_rare.T.tocsr()
    near = np.zeros(len(samples), dtype=bool)
    for first in range(0, len(samples), block):
        met = (has_rare[first : first + block] @ holders).tocoo()
        one, two = met.coords[0] + first, met.coords[1]
        small, large = np.minimum(sizes[one], sizes[two]), np.maximum(sizes[one], sizes[two])
        maybe = (one < two) & (small >= NEAR * large) & ~(near[one] & near[two])
        for some in np.array_split(np.flatnonzero(maybe), 1 + int(maybe.sum()) // 5000):
            a, b = one[some], two[some]
            shared = has[a].multiply(has[b]).sum(axis=1)
            alike = shared >= NEAR * (sizes[a] + sizes[b] - shared)
            near[a[alike]] = near[b[alike]] = True
    return float(near.mean())


class Embeddings:
    """Samples like those of a pool as points on a sphere, ``count`` at most, and how near a set comes to them."""

    def __init__(self, like: Sequence[bytes], count: int, embedded: Callable[[Sequence[bytes]], Vectors]) -> None:
        self._embedded = embedded
        self._count = count
        self._points = embedded(like[:count])

    def coverage(self, samples: Sequence[bytes]) -> float:
        """The mean over the points of the cosine to the nearest of ``samples``, of ``count`` drawn from them."""
        drawn = np.random.default_rng((0, 0, 1)).permutation(len(samples))[: self._count]  # as no subset is drawn
        return float((self._points @ self._embedded([samples[row] for row in drawn]).T).max(axis=1).mean())


def redundancy(samples: Sequence[bytes]) -> Mapping[str, float]:
    """All figures of a set that need nothing but the set; R by a compressor that is absent is NaN."""
    text = b"".join(samples)
    sizes = [len(sample) for sample in samples]
    figures = {
        "picks": float(len(samples)),
        "bytes": float(len(text)),
        "mean length": float(np.mean(sizes)),
        "median length": float(np.median(sizes)),
    }
    for name, size_of in COMPRESSORS.items():
        try:
            figures[f"R {name}"] = len(text) / size_of(text)
        except ImportError:
            figures[f"R {name}"] = float("nan")
    return figures | {"8-grams": float(distinct_grams(samples)), "near copies": near_copies(samples)}


def _looked_at(samples: Sequence[bytes], first: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """(the number of its sample, from ``first`` on; its hash) of one 8-gram in `NEAR_EVERY`."""
    hashes = mix(_grams(samples))
    some = hashes < np.uint64(2**64 // NEAR_EVERY)
    rows = np.repeat(np.arange(first, first + len(samples)), [max(0, len(sample) - 7) for sample in samples])
    return rows[some], hashes[some]


def _grams(samples: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """The byte 8-grams of ``samples``, one after the other, none over the end of a sample."""
    ends = windows(samples)
    behind = np.concatenate([np.arange(len(sample)) for sample in samples])  # bytes of its sample before each
    return ends[behind >= 7]
