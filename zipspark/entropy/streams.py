"""What a measure of a whole data set goes over: its samples in a fixed order, and one compressor behind each other.

A compressor's sizes depend on the order of what it is fed, so the order must be one that anybody can make again from
the texts alone: ascending content hash (`order_key`). It does not depend on files, partitions or row numbers, it is as
good as random, and of two versions of a set it puts the samples they share in the same order. Exact copies are
neighbours in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from statistics import fmean
from typing import Any, Literal, NamedTuple, get_args

import zstandard

from zipspark.core.presets import ZSTD_LEVEL, content_hash
from zipspark.errors import InputError, UsageError

Row = tuple[str, str | None, bytes]  # what a `Sample` is, without the names
CodecName = Literal["zlib", "zstd"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)
ZLIB_LEVEL = 9  # the paper's
WINDOW = 64 * 2**20  # bytes zstd looks back in a set; what `zipspark select` measures its sets with


class Sample(NamedTuple):
    """One row of a data set. Where rows are asked for, plain tuples of the three will do."""

    content: str  # hash of the text: hexadecimal, lower case (`zipspark.core.presets.content_hash`)
    group: str | None  # None: none
    text: bytes


class Stream:
    """Samples of one set on their way through one compressor, one after the other with nothing between them.

    With a ``limit``, a sample that would bring the set above so many bytes is left out, and zstd's window is as wide as
    the limit, from 1 MiB to `WINDOW`.

    >>> stream = Stream("zlib")
    >>> for text in (b"abcabcabc" * 9, b"abcabcabc"):
    ...     stream.feed(text)
    >>> stream.finish() == len(zlib.compress(b"abcabcabc" * 10, 9))
    True
    """

    def __init__(self, codec: CodecName, *, window: int = WINDOW, limit: int | None = None) -> None:
        self.rows = 0
        self.size = 0  # bytes of the samples
        self.compressed = 0  # bytes put out so far; all of them after `finish`
        self._limit = limit
        self._compressor = (
            zlib.compressobj(ZLIB_LEVEL) if codec == "zlib" else _zstd(window if limit is None else limit)
        )

    def feed(self, text: bytes) -> None:
        if self._limit is None or self.size + len(text) <= self._limit:
            self.rows += 1
            self.size += len(text)
            self.compressed += len(self._compressor.compress(text))

    def finish(self) -> int:
        """Compressed bytes of the set; nothing can be fed any more."""
        self.compressed += len(self._compressor.flush())
        return self.compressed


@dataclass(frozen=True)
class Spread:
    """R of one set under one codec in k seeded orders."""

    codec: CodecName
    ratios: tuple[float, ...]  # (k,) with seed 0, 1, ...

    @property
    def mean(self) -> float:
        return fmean(self.ratios)

    @property
    def low(self) -> float:
        return min(self.ratios)

    @property
    def high(self) -> float:
        return max(self.ratios)

    def to_dict(self) -> dict[str, Any]:
        return {"codec": self.codec, "ratios": [*self.ratios], "mean": self.mean, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.codec}: R {self.mean:.4f}, {self.low:.4f} to {self.high:.4f} over {len(self.ratios)} orders"


def library(codec: CodecName) -> str:
    """The version behind a codec: sizes made with another one cannot be compared.

    >>> library("zstd").startswith("zstd 1.")
    True
    """
    if codec == "zlib":
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    return f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"


def order_key(content: str, seed: int | None = None) -> str:
    """Where a content hash stands: ascending in this. With a seed, Spark's ``md5(concat(seed, ':', content))``.

    >>> order_key("ab12"), order_key("ab12", 0)[:8]
    ('ab12', '638950a5')
    """
    return content if seed is None else md5(f"{seed}:{content}".encode(), usedforsecurity=False).hexdigest()


def hashed(texts: Iterable[bytes | str], groups: Iterable[str | None] | None = None) -> list[Sample]:
    """Texts in memory as samples, in the order of their content hash; ``groups`` has one entry for each.

    Raises `InputError` where the two are not of one length, or a text is none.

    >>> [sample.text for sample in hashed(["b", "a", b"a"], ["x", None, "y"])]
    [b'a', b'a', b'b']
    """
    encoded = [_bytes(text, number) for number, text in enumerate(texts)]
    names: Sequence[str | None] = [None] * len(encoded) if groups is None else list(groups)
    if len(names) != len(encoded):
        raise InputError(f"groups must have one entry for each text: {len(encoded):,} texts, {len(names):,} groups")
    samples = [Sample(content_hash(text), group, text) for text, group in zip(encoded, names, strict=True)]
    return in_order(samples)


def in_order(rows: Iterable[Row], seed: int | None = None, what: str = "samples") -> list[Sample]:
    """``rows`` ascending in `order_key`; copies by group, so that the order they came in decides nothing.

    Raises `InputError` for a row that is no sample.
    """
    samples = [_sample(row, number, what) for number, row in enumerate(rows)]
    return sorted(samples, key=lambda sample: (order_key(sample.content, seed), sample.group or ""))


def checked(rows: Iterable[Row], what: str = "samples", seed: int | None = None) -> Iterator[Sample]:
    """``rows`` as they come. Raises `InputError` for one that is no sample or stands before the one it follows."""
    last = ""
    for number, row in enumerate(rows):
        sample = _sample(row, number, what)
        key = order_key(sample.content, seed)
        if key < last:
            by = "content hash" if seed is None else f"order_key(content hash, {seed})"
            raise InputError(
                f"{what} must be in ascending order of {by}, but in row {number:,} {key} follows {last}; "
                "sort them (in memory: in_order)"
            )
        last = key
        yield sample


def spread_over_orders(
    samples: Callable[[int], Iterable[Row]], seeds: int = 5, codecs: Sequence[CodecName] | CodecName = CODECS
) -> dict[CodecName, Spread]:
    """R of the whole set in the orders of seeds 0 to ``seeds`` - 1: how much of R is the order it was measured in.

    Args:
        samples: of a seed, gives the set ascending in `order_key(content hash, seed)`; in memory
            ``lambda seed: in_order(rows, seed)``.

    Raises `InputError` where the order is another or a seed's rows are not those of the seed before; `UsageError` for
    fewer than 2 seeds.

    >>> rows = hashed("the cat sat on the mat %d" % number for number in range(100))
    >>> spread = spread_over_orders(lambda seed: in_order(rows, seed), seeds=3)["zlib"]
    >>> len(spread.ratios), spread.low <= spread.mean <= spread.high
    (3, True)
    """
    names = named_codecs(codecs)
    if seeds < 2:
        raise UsageError(f"seeds must be 2 or more to see a spread, got {seeds}")
    ratios: dict[CodecName, list[float]] = {name: [] for name in names}
    first: tuple[int, int] | None = None  # rows and bytes
    for seed in range(seeds):
        streams = [Stream(name) for name in names]
        for sample in checked(samples(seed), f"samples({seed})", seed):
            for stream in streams:
                stream.feed(sample.text)
        size = streams[0].rows, streams[0].size
        if not size[1] or size != (first or size):
            raise InputError(
                f"samples({seed}) must give the whole set each time, got {size[0]:,} rows of {size[1]:,} bytes"
                + (f", samples(0) gave {first[0]:,} of {first[1]:,}" if first else "")
            )
        first = size
        for name, stream in zip(names, streams, strict=True):
            ratios[name].append(stream.size / stream.finish())
    return {name: Spread(name, tuple(values)) for name, values in ratios.items()}


def named_codecs(names: Sequence[CodecName] | CodecName) -> tuple[CodecName, ...]:
    """``names``, each once. Raises `UsageError` for none, and for one that is none of `CODECS`."""
    wanted = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    unknown = [name for name in wanted if name not in CODECS]
    if unknown or not wanted:
        raise UsageError(f"codecs must be of {', '.join(CODECS)}, got {', '.join(map(repr, unknown)) or 'none'}")
    return wanted


def _sample(row: Row, number: int, what: str) -> Sample:
    try:
        sample = Sample(*row)
    except TypeError:
        raise InputError(f"{what} must be (content hash, group, text): row {number:,} is not") from None
    if not isinstance(sample.text, bytes):
        raise InputError(
            f"text must be bytes, got {type(sample.text).__name__} in row {number:,} of {what}; "
            "encode strings as UTF-8, leave out rows without text"
        )
    for name, value in (("content hash", sample.content), ("group", "" if sample.group is None else sample.group)):
        if not isinstance(value, str):
            raise InputError(f"{name} must be a string, got {value!r:.80} in row {number:,} of {what}")
    return sample


def _bytes(text: bytes | str, number: int) -> bytes:
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise InputError(f"texts must be bytes or strings, got {type(text).__name__} in place {number:,}; leave it out")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InputError(f"texts must be valid Unicode, got half a surrogate pair in place {number:,}") from None


def _zstd(window: int) -> zstandard.ZstdCompressionObj:
    log = max(20, min(26, (max(window, 1) - 1).bit_length()))
    # Long-distance matching: the level's own tables forget what is more than a few MB back.
    parameters = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, window_log=log, enable_ldm=True)
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()
