"""The view of a sample: what of it an objective values. Its text for `ratio`, its features for `coverage`; for `both`
the two as one.

What the anchor holds never counts. Beyond that, whatever compresses badly looks like gain to a compressor, and words in
random order compress badly: every junction of two words is new. The pool tells them from prose. In prose most junctions
occur in other samples as well; in a salad the words do and the junctions do not, and in a frame filled with random
numbers the numbers do not. Such a sample is out of order: nothing counts of it but what the pool supports, and of its
junctions not even that, as chance made them. Of all others everything counts, rare names and numbers included. So
whoever is suspected wrongly loses some gain, and no sample is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from zipspark.config import Choice
from zipspark.core.lens import Look

Shares = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]

# A sample is out of order when its junctions are supported less than this, relative to its words and to the pool.
# Between the two: at 70 MB of chats, nine samples of ten from prose lie above 0.9, and salads between 0.6 and 0.8.
IN_ORDER = 0.85
_EMPTY = b" "  # the view of a sample of which nothing counts: compresses to a byte, so its gain is about 0


def cut_texts(data: bytes | memoryview, offsets: Offsets, look: Look, trust: Flags) -> dict[int, bytes]:
    """Of the samples (by position) of which not all counts, the text that does, never empty: the view for `ratio`.

    The arguments are those of `trusted`, and what that gave.
    """
    counts = ~look.held & trust
    views = {}
    for row in np.unique(_rows(look)[~counts]).tolist():
        grams = slice(int(look.rows[row]), int(look.rows[row + 1]))
        text = bytes(data[offsets[row] : offsets[row + 1]])
        views[row] = _cut(text, look.positions[grams] - offsets[row], counts[grams])
    return views


def features(look: Look, trust: Flags) -> list[bytes]:
    """The features of each sample that count (see `Look.features`): the view for objective `coverage`."""
    return replace(look, supported=look.supported & trust).features()


def paired(features: bytes, text: bytes) -> bytes:
    """Both views of a sample as one: how long its features are, these, and the text."""
    return len(features).to_bytes(_COUNT, "little") + features + text


def texts_of(views: Iterable[bytes], choice: Choice) -> list[bytes]:
    """The texts of views that `zipspark.core.seen` made for an objective that compresses."""
    return [view[_end(view) :] for view in views] if choice.covers else list(views)


def features_of(views: Iterable[bytes], choice: Choice) -> list[bytes]:
    """The features of views that `zipspark.core.seen` made for an objective that covers.

    >>> features_of([paired(b"1234", b"once upon a time")], Choice(objective="both"))
    [b'1234']
    """
    return [view[_COUNT : _end(view)] for view in views] if choice.compresses else list(views)


def _end(view: bytes) -> int:
    """Where the features of a pair end."""
    return _COUNT + int.from_bytes(view[:_COUNT], "little")


def order(data: bytes | memoryview, offsets: Offsets, look: Look) -> Shares:
    """(n,) How well the junctions of each sample are supported, next to its words: about 1 for prose, less for salads.

    Words are the measure because in a language that the pool hardly holds neither is supported, which says nothing of
    order. Where there is little to see it is about 1; where words happen to be supported worse, more.
    """
    junctions, words = _kinds(data, offsets, look.positions)
    return _order(junctions, words, look.supported, _rows(look), len(look.shown))


def trusted(data: bytes | memoryview, offsets: Offsets, look: Look, usual: float = 1.0) -> Flags:
    """(m,) Whether a gram counts, as far as order goes.

    Args:
        data, offsets: samples as `grams.grams` takes them.
        look: what `Lens.look` gave for them.
        usual: the median `order` of the pool's samples. In a small pool few junctions are supported, whoever wrote
            them. 0: nothing is out of order, so only what the anchor holds is taken out.
    """
    # Who is supported all over is in order: that saves most of the work.
    doubtful = np.flatnonzero(np.repeat(look.support < IN_ORDER * usual, look.shown))
    trust = np.ones(len(look.supported), dtype=bool)
    if not len(doubtful):
        return trust
    junctions, words = _kinds(data, offsets, look.positions[doubtful])
    supported, rows = look.supported[doubtful], _rows(look)[doubtful]
    in_order = _order(junctions, words, supported, rows, len(look.shown)) >= IN_ORDER * usual
    trust[doubtful] = in_order[rows] | (supported & ~junctions)
    return trust


def _order(junctions: Flags, words: Flags, supported: Flags, rows: npt.NDArray[np.int64], count: int) -> Shares:
    def grams(kind: Flags) -> npt.NDArray[np.int64]:
        return np.bincount(rows[kind], minlength=count)

    in_words = grams(words)
    share = np.where(in_words > 0, grams(words & supported) / np.maximum(in_words, 1), 1.0)
    # One more on either side, so that who shows hardly any is not suspected.
    return (grams(junctions & supported) + 1) / (grams(junctions) * share + 1)


def _rows(look: Look) -> npt.NDArray[np.int64]:
    """(m,) the sample of each gram."""
    return np.repeat(np.arange(len(look.shown)), look.shown)


def _kinds(data: bytes | memoryview, offsets: Offsets, positions: npt.NDArray[np.int64]) -> tuple[Flags, Flags]:
    """Whether each gram is a junction, and whether it lies within a word.

    In a junction two words meet, or it holds a digit. Neither has punctuation or line breaks in it: these are no kind.
    """
    first, last = int(offsets[0]), int(offsets[-1])
    kinds = np.zeros(last - first + 8, dtype=np.uint8)
    np.take(_KINDS, np.frombuffer(data, dtype=np.uint8)[first:last], out=kinds[: last - first])
    grams = np.ndarray((last - first + 1,), dtype="<u8", buffer=kinds, strides=(1,))[positions - first]
    plain = (grams - _EACH) & ~grams & (_EACH << np.uint64(7)) == 0  # no byte is 0 (Hacker's Delight, 6-1)
    meeting = (grams & (_EACH * _DIGIT)) | (grams & _INNER & (_EACH * _SPACE)) != 0
    return plain & meeting, plain & ~meeting


def _cut(text: bytes, positions: npt.NDArray[np.int64], counts: Flags) -> bytes:
    """What counts of ``text``: a gram speaks for the bytes from its middle to that of the next.

    >>> _cut(b"once upon a time", np.array([0, 3, 6]), np.array([True, False, True]))
    b'once upa time'
    """
    edges = np.minimum(positions + _MIDDLE, len(text))
    edges[0] = 0
    kept = np.frombuffer(text, dtype=np.uint8)[np.repeat(counts, np.diff(edges, append=len(text)))]
    return kept.tobytes() or _EMPTY


_COUNT = 4  # bytes of a pair that say how long the features are
_MIDDLE = 4  # bytes from the start of a gram to its middle
_LETTER, _SPACE, _DIGIT = np.uint64(1), np.uint64(2), np.uint64(4)
_EACH = np.uint64(0x0101010101010101)
_INNER = np.uint64(0x00FFFFFFFFFFFF00)  # a space at either end of a gram joins nothing
# (256,) the kind of each byte. Bytes of more than ASCII count as letters: most are.
_KINDS = np.zeros(256, dtype=np.uint8)
_KINDS[[*b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", *range(128, 256)]] = _LETTER
_KINDS[[*b" "]] = _SPACE
_KINDS[[*b"0123456789"]] = _DIGIT
