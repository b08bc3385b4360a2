"""A pool in memory, looked at as a run on Spark looks at it; ``contents`` are content hash -> text, by hash."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from zipspark.config import Choice
from zipspark.core.lens import Lens
from zipspark.core.presets import trained_header
from zipspark.core.seen import Eye, Seen, counted_below, head_bytes, look_at, sketch_of
from zipspark.core.zstd_codec import HEADER_SAMPLES

Contents = Mapping[str, bytes]


def lens_of(contents: Contents, choice: Choice) -> Lens:
    """What the pool says of grams."""
    return Lens.of(sketch_of(contents, head_bytes(contents.values()), choice))


def eye_of(contents: Contents, choice: Choice, lens: Lens) -> Eye:
    """What samples of the pool are looked at with."""
    return Eye.opened(choice, lens, _first_of(contents), below=counted_below(head_bytes(contents.values())))


def looked_at(contents: Contents, choice: Choice, lens: Lens) -> Seen:
    """Each sample's view, and what the guard says of it."""
    return look_at(list(contents.values()), list(contents), None, eye_of(contents, choice, lens))


def header_of(contents: Contents, choice: Choice) -> bytes:
    """What the pool says of bytes."""
    return trained_header(choice, list(_first_of(contents).values()))


def _first_of(contents: Contents) -> dict[str, bytes]:
    """Those that stand for all: the lowest hashes."""
    return dict(islice(contents.items(), HEADER_SAMPLES))
