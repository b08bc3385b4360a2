"""Text that an evaluation item and a pool sample have in common, for a block of samples at once.

A gram is `GRAM` bytes of normalised text (case folded, white space collapsed), as a hash. Of the items an index is kept
of some grams, enough to find every stretch of `SPAN` bytes; of the samples each position is looked up in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zipspark.core.grams import blocks, mix

GRAM = 16  # bytes, two machine words: three or four words of English, five characters of Chinese
SPAN = 32  # bytes: each stretch of as many is found, a shorter one is a phrase
NEAREST = 3  # pool samples an item is compared with
CLIP = 2**10  # bytes of a pool sample that are compared beyond twice the item's, on either side of what it shares
_COMMON = 0.01  # a gram is common that more than this share of the items holds, or of the pool's sample,
_FEWEST = 5  # and more texts than that
_WINDOW = SPAN - GRAM + 1  # grams that start in a stretch of SPAN bytes
_BLOCK = 2**20  # bytes hashed at once
_TABLE_BITS = 22
_REPEATS = 8  # places of one gram in a pool sample that are followed

UInts = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Index:
    """Which items each gram belongs to; m entries, in the order of their hashes."""

    hashes: UInts  # (m,) of grams, ascending
    items: npt.NDArray[np.int32]  # (m,) number of the item
    weights: npt.NDArray[np.float32]  # (m,) log2(1 + texts / texts with the gram)
    common: UInts  # (c,) grams, ascending, that many items or many samples hold: their text does not count


@dataclass(frozen=True)
class Pairs:
    """Which samples share grams with which items; p pairs, by item and from the nearest sample to the farthest."""

    items: Ints  # (p,)
    rows: Ints  # (p,) sample
    weights: npt.NDArray[np.float64]  # (p,) of the distinct grams shared
    places: Ints  # (p,) byte within the sample at which the middle one of them starts


def normalised(text: str) -> bytes:
    """Case folded, white space collapsed to single spaces.

    >>> normalised("  What is\\n\\tTHE Straße?")
    b'what is the strasse?'
    """
    return " ".join(text.casefold().split()).encode(errors="replace")


def build_index(items: Sequence[bytes], seen: Sequence[bytes]) -> Index:
    """The grams to look for.

    Args:
        items: normalised; one of fewer than `GRAM` bytes has no grams and is never found.
        seen: a sample of the pool, normalised, that tells which grams are common.

    >>> index = build_index([b"the quick brown fox jumps", b"too short"], seen=[])
    >>> len(index.hashes), set(index.items.tolist()), len(index.common)
    (1, {0}, 0)
    """
    hashes, _ = _distinct_grams(items)
    known, in_items = np.unique(hashes, return_counts=True)
    in_seen = _holders(known, seen)
    is_common = (in_items > max(_FEWEST, _COMMON * len(items))) | (in_seen > max(_FEWEST, _COMMON * len(seen)))
    common = known[is_common]
    kept = [_winnowed(item, common) for item in items]
    of = np.repeat(np.arange(len(items), dtype=np.int32), list(map(len, kept)))
    hashes = np.concatenate([_NO_HASHES, *kept])
    order = np.argsort(hashes, kind="stable")
    rarity = np.log2(1 + (len(items) + len(seen)) / np.maximum(1, in_items + in_seen))
    weights = rarity[np.searchsorted(known, hashes[order])].astype(np.float32)
    return Index(hashes[order], of[order], weights, common)


def nearest(index: Index, samples: Sequence[bytes], keys: Sequence[str], count: int = NEAREST) -> Pairs:
    """For each item at most ``count`` of the (normalised) samples, those that share the most with it.

    ``keys`` (different for different samples, such as content hashes) break ties: the lowest first.
    """
    data, offsets = _joined(samples)
    table = _table(index.hashes)
    places, hashes = [_NONE], [_NO_HASHES]
    for block in blocks(offsets, len(samples), _BLOCK):
        begin, end = int(offsets[block.start]), int(offsets[block.stop])
        hashed = _hashes(data[begin:end])
        found = np.flatnonzero(table[hashed >> _PREFIX])
        places.append(found + begin)
        hashes.append(hashed[found])
    place, hashed = np.concatenate(places), np.concatenate(hashes)
    rows = np.searchsorted(offsets, place, side="right") - 1
    low, high = np.searchsorted(index.hashes, hashed), np.searchsorted(index.hashes, hashed, side="right")
    inside = (high > low) & (place + GRAM <= offsets[rows + 1])
    place, rows, low, times = place[inside], rows[inside], low[inside], (high - low)[inside]

    # One hit for each entry of a gram that belongs to several items, counted once however often a sample repeats it.
    entries = _ranges(low, times)
    rows, place = np.repeat(rows, times), np.repeat(place, times)
    order = np.lexsort((place, entries, rows))
    rows, entries, place = rows[order], entries[order], place[order]
    first = _starts(rows, entries)
    rows, entries, place = rows[first], entries[first], place[first]

    order = np.lexsort((place, rows, index.items[entries]))
    rows, items, place = rows[order], index.items[entries[order]].astype(np.int64), place[order]
    starts = np.flatnonzero(_starts(items, rows))
    if not len(starts):
        return Pairs(_NONE, _NONE, _NONE.astype(np.float64), _NONE)
    weights = np.add.reduceat(index.weights[entries[order]].astype(np.float64), starts)
    sizes = np.diff([*starts, len(items)])
    pairs = items[starts], rows[starts], weights, place[starts + sizes // 2] - offsets[rows[starts]]
    by_key = np.argsort(np.argsort(np.array(keys)))
    order = np.lexsort((by_key[pairs[1]], -np.round(weights, 4), pairs[0]))
    ranked = pairs[0][order]
    order = order[np.arange(len(ranked)) - np.searchsorted(ranked, ranked) < count]
    return Pairs(pairs[0][order], pairs[1][order], pairs[2][order], pairs[3][order])


def clipped(sample: bytes, place: int, size: int) -> bytes:
    """What of a sample lies around ``place``, enough to hold an item of ``size`` bytes wherever it touches that."""
    around = 2 * size + CLIP
    return sample[max(0, place - around) : place + around]


def longest_stretch(item: bytes, sample: bytes, counted: Ints | None = None) -> tuple[int, int]:
    """(start, end) in ``item`` of the longest piece, of at least `GRAM` bytes, that ``sample`` holds too; or (0, 0).

    ``counted`` (n + 1,) ascending, tells how many of the bytes before each count; without it all do.

    >>> longest_stretch(b"said: the quick brown fox jumps.", b"why the quick brown fox jumped")
    (5, 30)
    """
    ours, theirs = _hashes(item)[: 1 - GRAM], _hashes(sample)[: 1 - GRAM]
    order = np.argsort(theirs, kind="stable")
    low, high = np.searchsorted(theirs[order], ours), np.searchsorted(theirs[order], ours, side="right")
    times = np.minimum(high - low, _REPEATS)
    if not times.sum():
        return 0, 0
    places = np.repeat(np.arange(len(ours)), times)
    diagonals = order[_ranges(low, times)] - places
    # A common piece is a run of neighbouring grams on one diagonal.
    by_diagonal = np.lexsort((places, diagonals))
    places, diagonals = places[by_diagonal], diagonals[by_diagonal]
    broken = np.flatnonzero((np.diff(places) != 1) | (np.diff(diagonals) != 0)) + 1
    starts = places[np.concatenate([[0], broken])]
    ends = places[np.concatenate([broken - 1, [len(places) - 1]])] + GRAM
    sizes = ends - starts if counted is None else counted[ends] - counted[starts]
    longest = int(np.lexsort((starts, -sizes))[0])
    return int(starts[longest]), int(ends[longest])


def characters(text: str) -> Ints:
    """For each byte of `normalised` text the character of ``text`` it comes from."""
    origins: list[int] = []
    space = -1  # the last white space, which becomes one byte as soon as something follows
    for at, character in enumerate(text):
        if character.isspace():
            space = at
            continue
        if space >= 0 and origins:
            origins.append(space)
        space = -1
        origins += [at] * len(character.casefold().encode(errors="replace"))
    return np.array(origins, dtype=np.int64)


def rare_bytes(item: bytes, common: UInts) -> Bools:
    """(n,) which bytes of an item lie in no common gram."""
    hashes = _hashes(item)[: 1 - GRAM]
    at = np.flatnonzero(_among(hashes, common))
    change = np.zeros(len(item) + 1, dtype=np.int64)
    np.add.at(change, at, 1)
    np.add.at(change, at + GRAM, -1)
    rare: Bools = np.cumsum(change[:-1]) == 0
    return rare


def pieces(item: bytes, rare: Bools) -> bytes:
    """The rare bytes of an item, a newline (which normalised text has none of) where something was left out."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rare, [False]]).astype(np.int8)))
    return b"\n".join(item[start:end] for start, end in edges.reshape(-1, 2).tolist())


def _winnowed(item: bytes, common: UInts) -> UInts:
    """Of the grams of an item some, so that each stretch of `SPAN` bytes that holds a rare gram has one of them.

    The lowest hash of each window is kept (winnowing; Schleimer, Wilkerson and Aiken 2003): the same grams wherever the
    stretch stands. Not the rarest: those of a changed item are the ones that the pool has not.
    """
    hashes = _hashes(item)[: 1 - GRAM]
    hashes[_among(hashes, common)] = _NEVER
    if len(hashes) > _WINDOW:
        hashes = np.lib.stride_tricks.sliding_window_view(hashes, _WINDOW).min(axis=1)
    else:
        hashes = hashes[hashes == hashes.min(initial=_NEVER)]
    kept = np.unique(hashes)
    rare: UInts = kept[kept != _NEVER]
    return rare


def _among(hashes: UInts, known: UInts) -> Bools:
    """Which of ``hashes`` are among the ``known`` (ascending)."""
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    among: Bools = known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes
    return among


def _hashes(data: bytes) -> UInts:
    """(n,) hash of the gram that starts at each byte, zeros behind the end."""
    padded = np.zeros(len(data) + GRAM, dtype=np.uint8)
    padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    words = np.ndarray((len(data) + 8,), dtype="<u8", buffer=padded, strides=(1,))
    hashed: UInts = mix(words[: len(data)] ^ mix(words[8:]))
    return hashed


def _distinct_grams(texts: Sequence[bytes]) -> tuple[UInts, Ints]:
    """(hashes, number of the text) of all grams that lie within a text, each once a text."""
    data, offsets = _joined(texts)
    hashes = _hashes(data)
    of = np.repeat(np.arange(len(texts)), np.diff(offsets))
    inside = np.arange(len(data)) + GRAM <= offsets[1:][of]
    hashes, of = hashes[inside], of[inside]
    order = np.lexsort((hashes, of))
    hashes, of = hashes[order], of[order]
    first = _starts(of, hashes)
    return hashes[first], of[first]


def _holders(known: UInts, texts: Sequence[bytes]) -> Ints:
    """(k,) how many of ``texts`` hold each of the k ``known`` grams (hashes, ascending)."""
    counts = np.zeros(len(known), dtype=np.int64)
    table = _table(known)
    _, offsets = _joined(texts)
    for block in blocks(offsets, len(texts), _BLOCK):
        hashes, _ = _distinct_grams(texts[block])
        hashes = hashes[table[hashes >> _PREFIX]]
        hashes = hashes[_among(hashes, known)]
        counts += np.bincount(np.searchsorted(known, hashes), minlength=len(known))
    return counts


def _table(hashes: UInts) -> Bools:
    """(2^22,) whether any hash starts with these bits: rules out most of a pool's positions at once."""
    table = np.zeros(2**_TABLE_BITS, dtype=bool)
    table[hashes >> _PREFIX] = True
    return table


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """Ranges, one after the other.

    >>> _ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ranges: Ints = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    return ranges


def _joined(texts: Sequence[bytes]) -> tuple[bytes, Ints]:
    return b"".join(texts), np.cumsum([0, *map(len, texts)])


def _starts(*columns: npt.NDArray[np.integer] | UInts) -> Bools:
    """Where a row of sorted columns differs from the one before."""
    new = np.zeros(len(columns[0]), dtype=bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return new


_NONE = np.empty(0, dtype=np.int64)
_NO_HASHES = np.empty(0, dtype=np.uint64)
_NEVER = np.uint64(2**64 - 1)
_PREFIX = np.uint64(64 - _TABLE_BITS)
