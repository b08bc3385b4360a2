"""R, the compression ratio of a whole data set, and of its groups: one pass, bounded memory.

R = bytes / compressed bytes of all texts, one after the other as one stream (arXiv 2407.06645, section 3); lower: less
redundant. It depends on three things, which are therefore fixed and part of a result:

* **The order**: ascending content hash (`zipspark.entropy.streams`). Exact copies are neighbours in it, so every codec
  sees them, however far apart they were. `streams.spread_over_orders` says how much another order changes.
* **The codec.** ``zlib`` at level 9 is the paper's. It looks back 32 KiB, a few dozen samples: R says how alike samples
  are that happen to be near, whatever the size of the set. ``zstd`` at level 3 with matches up to 64 MiB back is what
  `zipspark select` reports. It sees what is repeated anywhere in that, so R grows with the set until then.
* **The library.** Another build (zlib-ng) gives other sizes.

The gap between samples is Σ C(x) / C(X), compressed bytes of the samples each alone over those of the set: at 1 they
have nothing in common, at 2 half of what each says is in others. Part of it is what a short text alone must bring with
it (literal statistics; in zlib 6 bytes of frame), so gaps are for comparing sets of samples of similar length.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zipspark.core.codecs import Codec, Sizes, lengths
from zipspark.core.presets import ZSTD_LEVEL
from zipspark.core.zlib_codec import ZlibCodec
from zipspark.core.zstd_codec import ZstdCodec
from zipspark.entropy.streams import (
    CODECS,
    WINDOW,
    ZLIB_LEVEL,
    CodecName,
    Row,
    Sample,
    Stream,
    checked,
    library,
    named_codecs,
)
from zipspark.errors import InputError, UsageError
from zipspark.limits import NO_GROUP
from zipspark.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

MOST_GROUPS = 100  # measured apart
GROUP_WINDOW = 4 * 2**20  # bytes zstd looks back in a group: all groups' streams are open at once, 6 MB each
SHOWN = 40  # groups in a printed table, the largest ones

_BLOCK_BYTES, _BLOCK_ROWS = 4 * 2**20, 4096  # samples in memory at a time
_WORKERS = min(4, os.cpu_count() or 1)  # compressors run without the interpreter's lock


@dataclass(frozen=True)
class Ratios:
    """One set of samples under one codec. Ratios are bytes / compressed bytes."""

    compressed: int  # C(X), bytes: the set as one stream
    alone: int  # Σ C(x), bytes: its samples, each compressed alone, as `zipspark score` does
    ratio: float  # R = bytes / C(X)
    mean_ratio: float  # mean over samples of |x| / C(x): every sample counts the same, however short
    pooled_ratio: float  # bytes / Σ C(x): every byte counts the same

    @property
    def gap(self) -> float:
        """Redundancy across samples: Σ C(x) / C(X), which is ratio / pooled_ratio."""
        return self.alone / self.compressed

    def to_dict(self) -> dict[str, Any]:
        ratios = {name: getattr(self, name) for name in ("ratio", "mean_ratio", "pooled_ratio", "gap")}
        return ratios | {"compressed": self.compressed, "alone": self.alone}


@dataclass(frozen=True)
class SetRatios:
    """One set of samples under each codec."""

    rows: int
    bytes: int
    copies: int  # rows with the text of another row before them; they are measured as all others are
    codecs: Mapping[CodecName, Ratios]

    def to_dict(self) -> dict[str, Any]:
        under = {name: ratios.to_dict() for name, ratios in self.codecs.items()}
        return {"rows": self.rows, "bytes": self.bytes, "copies": self.copies, "codecs": under}


@dataclass(frozen=True)
class Measured:
    """What `measure` found."""

    whole: SetRatios
    groups: Mapping[str, SetRatios]  # in descending order of bytes; empty where all rows are of no group
    not_apart: int  # rows of groups beyond `MOST_GROUPS`, which count in ``whole`` alone
    empty: int  # rows without a byte of text, which are not measured
    libraries: Mapping[CodecName, str]  # what made the sizes
    order: str = "ascending content hash"

    def of(self, codec: CodecName | None = None) -> Ratios:
        """The whole set under ``codec``; None: the first one asked for."""
        return self.whole.codecs[self._named(codec)]

    def group_ratios(self, codec: CodecName | None = None) -> dict[str, float]:
        """R of each group by itself, for a version log; None: under the first codec asked for."""
        name = self._named(codec)
        return {group: found.codecs[name].ratio for group, found in self.groups.items()}

    def _named(self, codec: CodecName | None) -> CodecName:
        if codec is not None and codec not in self.libraries:
            raise UsageError(f"codec must be one that was measured ({', '.join(self.libraries)}), got {codec!r}")
        return next(iter(self.libraries)) if codec is None else codec

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return self.whole.to_dict() | {
            "groups": {name: found.to_dict() for name, found in self.groups.items()},
            "not_apart": self.not_apart,
            "empty": self.empty,
            "libraries": dict(self.libraries),
            "order": self.order,
        }

    def to_table(self) -> Table:
        """For the terminal: the whole set, and the `SHOWN` largest groups."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="Compression ratio", title_justify="left", title_style="bold")
        table.add_column("set", overflow="fold")
        names = list(self.whole.codecs)
        for title in ("rows", "bytes", *(f"{name} {what}" for name in names for what in ("R", "mean", "gap"))):
            table.add_column(title, justify="right")
        for at, (title, found) in enumerate([("(whole set)", self.whole), *self.groups.items()][: SHOWN + 1]):
            ratios = [found.codecs[name] for name in names]
            values = [value for one in ratios for value in (one.ratio, one.mean_ratio, one.gap)]
            cells = [f"{found.rows:,}", format_bytes(found.bytes), *(f"{value:.3f}" for value in values)]
            table.add_row(Text(title), *cells, end_section=at == 0)
        return table

    def notes(self) -> list[str]:
        """What stands below the table, one sentence a line."""
        said = [
            "R: bytes / compressed bytes of the set, lower: less redundant; mean: that of its samples, each alone; "
            "gap: compressed bytes of the samples alone / of the set.",
            f"order: {self.order}; {', '.join(self.libraries.values())}.",
        ]
        if "zlib" in self.libraries:
            said.append("zlib looks back 32 KiB: what is repeated from farther back is new to it.")
        if self.whole.copies:
            said.append(f"{self.whole.copies:,} rows are exact copies of others; they lie side by side, and count.")
        if self.empty:
            said.append(f"{self.empty:,} rows without text are not measured.")
        if self.not_apart:
            said.append(f"{self.not_apart:,} rows are of too many groups: they count in the whole set alone.")
        if len(self.groups) > SHOWN:
            said.append(f"the largest {SHOWN} of {len(self.groups)} groups are shown.")
        return said

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(self.to_table(), *map(Text, self.notes()))


def measure(
    samples: Iterable[Row], codecs: Sequence[CodecName] | CodecName = CODECS, *, most_groups: int = MOST_GROUPS
) -> Measured:
    """R of a set and of its groups under each of ``codecs``.

    Args:
        samples: (content hash, group, text), ascending in the content hash; of texts in memory: `streams.hashed`.
        codecs: the first one is that of `Measured.of` and `Measured.group_ratios` when they are told none.
        most_groups: so many groups are measured apart, those that come first; as content hashes are as good as random,
            no large group is missed. 0: none.

    Raises `InputError` where there is no text, or `samples` are not as said; `UsageError` for the others.

    >>> from zipspark.entropy.streams import hashed
    >>> found = measure(hashed("the cat sat on the mat %d" % number for number in range(100)))
    >>> found.whole.rows, found.of("zlib").ratio > 5 * found.of("zlib").mean_ratio
    (100, True)
    """
    names = named_codecs(codecs)
    if most_groups < 0:
        raise UsageError(f"most_groups must be 0 or more, got {most_groups}")
    whole, groups = _Tally(names, WINDOW), dict[str, _Tally]()
    empty = not_apart = 0
    with ThreadPoolExecutor(_WORKERS) as threads:
        for block in _blocks(checked(samples)):
            rows = [sample for sample in block if sample.text]
            empty += len(block) - len(rows)
            sets = [(whole, [*range(len(rows))])]
            for group, places in _by_group(rows).items():
                if group not in groups and len(groups) < most_groups:
                    groups[group] = _Tally(names, GROUP_WINDOW)
                if group in groups:
                    sets.append((groups[group], places))
                else:
                    not_apart += len(places) if most_groups else 0
            # Each task has a compressor of its own, so the order in which they run changes nothing.
            alone = {name: threads.submit(_alone, name, rows) for name in names}
            fed = [threads.submit(tally.feed, name, rows, places) for tally, places in sets for name in names]
            sizes = {name: task.result() for name, task in alone.items()}
            for tally, places in sets:
                tally.count([rows[at] for at in places], {name: sizes[name][places] for name in names})
            for task in fed:
                task.result()
    if not whole.rows:
        raise InputError(f"samples must hold text to measure, got {empty:,} rows, all without a byte of it")
    found = {name: tally.finish() for name, tally in groups.items()}
    if set(found) == {NO_GROUP} and not not_apart:
        found = {}
    by_size = dict(sorted(found.items(), key=lambda item: (-item[1].bytes, item[0])))
    return Measured(whole.finish(), by_size, not_apart, empty, {name: library(name) for name in names})


class _Tally:
    """What is known of one set so far."""

    def __init__(self, codecs: Sequence[CodecName], window: int) -> None:
        self.rows = self.size = self.copies = 0  # size: bytes
        self._streams = {name: Stream(name, window=window) for name in codecs}
        self._alone = dict.fromkeys(codecs, 0)  # Σ C(x), bytes
        self._ratios = dict.fromkeys(codecs, 0.0)  # Σ |x| / C(x)
        self._last: str | None = None  # content hash of the last row

    def feed(self, codec: CodecName, rows: Sequence[Sample], places: Sequence[int]) -> None:
        for at in places:
            self._streams[codec].feed(rows[at].text)

    def count(self, rows: Sequence[Sample], alone: Mapping[CodecName, Sizes]) -> None:
        sizes = lengths([row.text for row in rows])
        self.rows += len(rows)
        self.size += int(sizes.sum())
        for row in rows:
            self.copies += row.content == self._last
            self._last = row.content
        for codec, compressed in alone.items():
            self._alone[codec] += int(compressed.sum())
            self._ratios[codec] += float((sizes / compressed).sum())

    def finish(self) -> SetRatios:
        found = {}
        for codec, stream in self._streams.items():
            compressed, alone = stream.finish(), self._alone[codec]
            mean = self._ratios[codec] / self.rows
            found[codec] = Ratios(compressed, alone, self.size / compressed, mean, self.size / alone)
        return SetRatios(self.rows, self.size, self.copies, found)


def _blocks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    block: list[Sample] = []
    size = 0
    for sample in samples:
        block.append(sample)
        size += len(sample.text)
        if size >= _BLOCK_BYTES or len(block) >= _BLOCK_ROWS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _by_group(rows: Sequence[Sample]) -> dict[str, list[int]]:
    """Group -> places in ``rows``, groups in the order they come."""
    members: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        members.setdefault(NO_GROUP if row.group is None else row.group, []).append(at)
    return members


def _alone(codec: CodecName, rows: Sequence[Sample]) -> Sizes:
    """(n,) bytes of each row's text compressed alone, as `zipspark score` has them."""
    coder: Codec = ZlibCodec(ZLIB_LEVEL) if codec == "zlib" else ZstdCodec(ZSTD_LEVEL)
    return coder.sizes(row.text for row in rows)
