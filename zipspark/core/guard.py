"""Which samples are noise, and why: rules that hold for any script, on what a batch has measured already.

====================  ==========================================================================================
reason                rule
====================  ==========================================================================================
``bytes:short``       fewer bytes than one gram: no other rule could judge it, and it teaches nothing
``bytes:mojibake``    UTF-8 that was read as Latin-1 and encoded again
``bytes:filler``      typesetters' filler: half of its words are of "lorem ipsum"
``entropy:low``       it says the same again and again
``entropy:high``      it does not compress: many letters, all as frequent, that follow each other as by chance
``support:0.03``      such a share of its grams occurs in other samples, and its letters follow each other as by chance
====================  ==========================================================================================

"As by chance" is one test for all scripts, in place of a table of bands per script: how many pairs of equal runs of
letters a text has, against what its own letters would give in random order (the index of coincidence: Friedman 1922).
In any language some runs are frequent; in random text, whatever its alphabet (hex, base64, digits), all are alike. So a
text in a language that the pool hardly holds is not noise, although nothing in it is supported, and neither is short
Chinese text, which hardly compresses.

What passes: words in random order and random numbers in phrases (they lose in `zipspark.core.views`), and near-copies
of one random block over a small alphabet, which support each other (all but the first few gain nothing anyway).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zipspark.core.codecs import Sizes, lengths
from zipspark.core.lens import Look

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Letters = npt.NDArray[np.unsignedinteger]  # bytes, or code points modulo 8191: below 2**13 either way

SHORTEST = 8  # bytes: one gram
# Share of the bytes in double-encoded letters. A broken quotation mark here and there makes a few percent; of a text
# without ASCII letters one byte in five (read as Windows-1252) to two in three are in them.
MOJIBAKE = 0.15
FILLER = 0.5  # share of the words; Latin prose has a fifth of them (et, in, non, ut), and a web page has other text too
REPETITIVE = 20.0  # ratio of prose (2 to 3) when it is said eight times over
# Ratio of base64 (6 bits a byte: 64 letters, all as frequent), and how often two of its letters are the same, with half
# as much again for chance and line ends. In English 1 in 15 are.
INCOMPRESSIBLE, ALIKE = 8 / 6, 1.5 / 64
# Pairs of equal runs of two and of three letters, next to chance: below this it is no language. Random text gives 1; of
# 38,000 chats, in English for the most part, with Chinese, code and puzzles, 99.7 % gave at least 1.7 and 2.7, nearly
# all of the others shorter than a line, and long ones 2 and 8.
TWOS, THREES = 1.5, 4.0
FEW = 3  # pairs more or less that prove nothing
SUPPORTED = 0.5  # who shares less than this with the pool is not of a kind with it
DOUBT = 1.5  # standard deviations by which support and runs of three must be below that: short samples show little


def guarded(texts: Sequence[bytes], compressed: Sizes, look: Look) -> list[str | None]:
    """A reason for each sample that is noise; None for all others.

    Args:
        texts: n samples.
        compressed: (n,) compressed bytes of each alone, by zstd or zlib at any level.
        look: what `Lens.look` gave for them.
    """
    sizes = lengths(texts)
    ratios = sizes / np.maximum(compressed, 1)
    support = look.support
    unsupported = _upper_bound(support, look.shown) < SUPPORTED
    dense = ratios < INCOMPRESSIBLE
    # Counting runs costs more than all the rest together, and few samples need it.
    suspects = np.flatnonzero(unsupported | dense).tolist()
    scattered, even = _by_chance([texts[index] for index in suspects])

    reasons: list[str | None] = [None] * len(texts)
    for index, by_chance, flat in zip(suspects, scattered.tolist(), even.tolist(), strict=True):
        if unsupported[index] and (by_chance or flat):
            reasons[index] = f"support:{support[index]:.2f}"
        elif dense[index] and flat:
            reasons[index] = "entropy:high"
    for index in np.flatnonzero(ratios > REPETITIVE).tolist():
        reasons[index] = "entropy:low"
    for index in np.flatnonzero(_double_encoded(texts) > MOJIBAKE * sizes).tolist():
        reasons[index] = "bytes:mojibake"
    for index, text in enumerate(texts):
        if _is_filler(text):
            reasons[index] = "bytes:filler"
    for index in np.flatnonzero(sizes < SHORTEST).tolist():
        reasons[index] = "bytes:short"
    return reasons


def _upper_bound(share: Floats, shown: npt.NDArray[np.int64]) -> Floats:
    """(n,) What a share seen in ``shown`` cases may be in truth (Wilson 1927); 1 where nothing is shown.

    >>> _upper_bound(np.array([0.0, 0.0, 0.5]), np.array([2, 100, 100])).round(2).tolist()
    [0.53, 0.02, 0.57]
    """
    cases, square = np.maximum(shown, 1), DOUBT**2
    spread = DOUBT * np.sqrt(share * (1 - share) / cases + square / (4 * cases**2))
    bound: Floats = (share + square / (2 * cases) + spread) / (1 + square / cases)
    return bound


def _by_chance(texts: Sequence[bytes]) -> tuple[Flags, Flags]:
    """(n,) each: whether letters follow each other as by chance; and whether they are 64 or more, all as frequent."""
    scattered, even = _chance_in([np.frombuffer(text, dtype=np.uint8) for text in texts])
    # A letter of some scripts is three bytes, of which the first two are always the same (Thai): three bytes tell too
    # little. In others (Chinese) letters are so many that three of them hardly occur twice: bytes tell more.
    rows = np.flatnonzero(scattered).tolist()
    decoded = [texts[row].decode(errors="replace").encode("utf-32-le") for row in rows]
    scattered[rows], _ = _chance_in([np.frombuffer(text, dtype="<u4") % 8191 for text in decoded])
    return scattered, even


def _chance_in(texts: Sequence[Letters]) -> tuple[Flags, Flags]:
    """`_by_chance` for one meaning of "letter": byte or character."""
    (ones, of_ones), (twos, of_twos), (threes, of_threes) = (_equal_pairs(texts, length) for length in (1, 2, 3))
    alike = ones / np.maximum(of_ones, 1)
    expected = THREES * alike**3 * of_threes
    scattered = threes < expected - DOUBT * np.sqrt(expected)
    even = (ones + FEW < ALIKE * of_ones) & (twos < TWOS * alike**2 * of_twos)
    return scattered, even


def _equal_pairs(texts: Sequence[Letters], length: int) -> tuple[Floats, Floats]:
    """(n,) each: pairs of equal runs of ``length`` letters or digits, at any two places of a text; and all such pairs.

    >>> equal, pairs = _equal_pairs([np.frombuffer(text, dtype=np.uint8) for text in (b"hello, hello", b"!?")], 2)
    >>> equal.tolist(), pairs.tolist()
    ([4.0, 0.0], [28.0, 0.0])
    """
    # What stands between two texts is no letter, so no run reaches from one into the next.
    between = np.zeros(1, dtype=np.int64)
    data = np.concatenate([between, *(piece for text in texts for piece in (text, between))], dtype=np.int64)
    letters = _IS_LETTER[np.minimum(data, 255)]
    inside = letters[: len(data) - length]
    for behind in range(1, length):
        inside = inside & letters[behind : len(data) - length + behind]
    starts = np.flatnonzero(inside)
    sizes = np.array([len(text) for text in texts], dtype=np.int64)
    rows = np.searchsorted(np.cumsum(sizes + 1), starts)
    runs = rows  # (r,) the text, then the letters of each run: 13 bits hold one
    for behind in range(length):
        runs = runs << 13 | data[starts + behind]
    runs.sort()
    first = np.flatnonzero(np.diff(runs, prepend=-1))  # of each distinct run
    counts = np.diff(first, append=len(runs)).astype(np.float64)
    rows = runs[first] >> 13 * length
    equal = np.bincount(rows, counts * (counts - 1) / 2, minlength=len(texts)).astype(np.float64)
    total = np.bincount(rows, counts, minlength=len(texts)).astype(np.float64)
    return equal, total * np.maximum(total - 1, 0) / 2


def _double_encoded(texts: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """(n,) Bytes of each text in UTF-8 letters that were read as Latin-1 and encoded again: C3 82-B4, then C2.

    Real text has such a pair where an accented letter meets a sign like » or a narrow space: seldom, and never in rows.
    """
    data = np.frombuffer(b"".join([*texts, b"  "]), dtype=np.uint8)
    first = np.flatnonzero(data == 0xC3)
    first = first[(data[first + 1] >= 0x82) & (data[first + 1] <= 0xB4) & (data[first + 2] == 0xC2)]
    ends = np.cumsum(lengths(texts))
    return 4 * np.bincount(np.searchsorted(ends, first, side="right"), minlength=len(texts))


def _is_filler(text: bytes) -> bool:
    middle = len(text) // 2
    if len(_LOREM.intersection(text[max(0, middle - 60) : middle + 60].split())) < 3:  # a glance settles most
        return False
    words = re.findall(rb"[a-z]+", text.lower())
    return sum(word in _LOREM for word in words) > FILLER * len(words)


# Cicero as typesetters cut him; every generator draws on these words first.
_LOREM = frozenset(
    b"""
    lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna
    aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris nisi aliquip ex ea commodo consequat duis aute
    irure in reprehenderit voluptate velit esse cillum eu fugiat nulla pariatur excepteur sint occaecat cupidatat non
    proident sunt culpa qui officia deserunt mollit anim id est laborum
    """.split()
)
# (256,) Whether a byte is a letter or digit. Bytes of more than ASCII count as letters: most are.
_IS_LETTER = np.zeros(256, dtype=bool)
_IS_LETTER[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", *range(128, 256)]] = True
