"""From options to the objects that do the work: which codec, which objective, which selector.

The three presets (their option values are in `zipspark.config.Choice.PRESETS`):

=========  =========================================================================================================
default    lazy greedy, in turns on marginal ratio with zstd's wide window and on coverage
paper      Algorithm 1 of arXiv 2407.06645: zlib 9, 10000/200/100, rejects of a round return to the pool, exact budget
reference  the program released with the paper, pick for pick: a set's bytes are ``str(list of records)``, ratios are
           compared as float32, a short list's rejects never return, whole rounds are picked and the ranking cut
=========  =========================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import md5
from typing import Any

from zipspark.config import Choice
from zipspark.core.codecs import Codec, Sizes, lengths
from zipspark.core.lens import Lens
from zipspark.core.objectives import Both, Coverage, Objective, Ratio
from zipspark.core.selectors import Greedy, InTurns, Lazy, MultiStage, Selector
from zipspark.core.views import features_of, texts_of
from zipspark.core.zlib_codec import PLAIN, PYTHON_LIST, ZlibCodec
from zipspark.core.zstd_codec import HEADER_SAMPLES, ZstdCodec
from zipspark.errors import EngineError
from zipspark.units import format_bytes

# Level 1 takes 0.75 of the time, and of 70 MB of chats it chooses nearly as well (R 2.876, not 2.866). But short
# matches escape it: of samples of a line, marginal ratios were 1 from the first pick to the last.
ZSTD_LEVEL = 3


def make_codec(choice: Choice, header: bytes = b"") -> Codec:
    """The codec that ``choice`` names; ``header`` are zstd's entropy tables (`trained_header`)."""
    if choice.codec == "zlib":
        framing = PYTHON_LIST if choice.preset == "reference" else PLAIN
        return ZlibCodec(choice.level or 9, framing)
    return ZstdCodec(choice.level or ZSTD_LEVEL, choice.window, header)


def make_objective(
    choice: Choice, views: Sequence[bytes], sizes: Sizes, header: bytes, lens: Lens | None
) -> Objective | Both:
    """The objective that ``choice`` names over ``views`` (`core.seen`) of samples of ``sizes`` bytes; S is empty."""
    if choice.compresses:
        texts = texts_of(views, choice)
        unseen = sizes - lengths(texts)
        ratio = Ratio(make_codec(choice, header).context(texts), unseen if unseen.any() else None)
    if choice.covers:
        assert lens is not None
        targets = lens.target_weights() if lens.target_levels else None
        coverage = Coverage(features_of(views, choice), lens.weights(), sizes, targets)
    if choice.objective == "both":
        return Both(ratio, coverage)
    return ratio if choice.compresses else coverage


def make_selector(choice: Choice) -> Selector[Any]:
    """The selector that ``choice`` names. Lazy greedy: `Greedy` picks what `Lazy` does, sooner where it can."""
    if choice.selector == "lazy":
        lazy: dict[str, Selector[Any]] = {"both": InTurns(), "ratio": Lazy(), "coverage": Greedy()}
        return lazy[choice.objective]
    as_released = choice.preset == "reference"
    return MultiStage(choice.k1, choice.k2, choice.k3, drop_rejects=as_released, single_precision=as_released)


def proven_codec(choice: Choice) -> dict[str, Any]:
    """Name, level and window of the codec, JSON-ready, with what its self-check saw.

    Raises `EngineError` where this machine's zstd does not find a duplicate at the far end of the window.
    """
    codec = make_codec(choice)
    facts = {"name": codec.name, "level": codec.level, "window": codec.window}
    if not isinstance(codec, ZstdCodec):
        return facts
    check = _self_check(codec)
    if not check.seen:
        raise EngineError(
            f"window must be one that zstd sees to its end: of a duplicate {format_bytes(check.window)} back it needs "
            f"{check.conditional:,} bytes at level {codec.level}, {check.alone:,} alone; give a smaller --window"
        )
    return facts | {"self_check": {"alone": check.alone, "conditional": check.conditional, "seen": check.seen}}


_self_check = cache(ZstdCodec.self_check)  # a third of a second; a process has one zstd


def content_hash(sample: bytes) -> str:
    """128 bits that name a content: what ids are made of, and what samples are sampled by."""
    return md5(sample, usedforsecurity=False).hexdigest()


def trained_header(choice: Choice, samples: Sequence[bytes]) -> bytes:
    """zstd's entropy tables, trained on ``samples`` (the `HEADER_SAMPLES` with the lowest content hash of a pool)."""
    if choice.codec != "zstd" or not choice.compresses:
        return b""
    return ZstdCodec(choice.level or ZSTD_LEVEL).trained(samples[:HEADER_SAMPLES]).header
