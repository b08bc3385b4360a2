"""What is seen of each sample through the pool's lens: is it noise, and which of it an objective looks at, its view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zipspark.config import Choice
from zipspark.core.codecs import Sizes, lengths
from zipspark.core.grams import FEATURES, blocks
from zipspark.core.guard import guarded
from zipspark.core.lens import Lens
from zipspark.core.presets import make_codec
from zipspark.core.selection import Reach
from zipspark.core.sketch import HEAD_BYTES, SAMPLE_BYTES, Salts, Sketch, salt_of
from zipspark.core.views import cut_texts, features, order, paired, trusted
from zipspark.limits import NO_GROUP

_BLOCK = 2**22  # bytes of text looked at together


@dataclass(frozen=True)
class Seen:
    """n samples, one entry each."""

    # `ratio`: text, less what nothing supports; `coverage`: feature buckets, packed as '<u4'; `both`: `views.paired`
    views: Sequence[bytes]
    guarded: Sequence[str | None]  # why the guard leaves it out; None: it does not
    likeness: npt.NDArray[np.float64]  # (n,) how like the target it is, what gain is multiplied by; 1 without one


def needs_lens(choice: Choice, anchored: bool = False, targeted: bool = False) -> bool:
    """Whether anything that is asked for depends on what the whole pool holds."""
    return choice.guard or choice.covers or anchored or targeted


@dataclass(frozen=True)
class Eye:
    """What is needed to look at samples of a pool, anywhere; small enough for a task's closure."""

    choice: Choice
    lens: Lens | None  # none: samples are seen as they are
    usual: float = 0.0  # the median order of the pool's samples (`zipspark.core.views`); 0: order does not matter
    in_groups: bool = False  # each group is covered for itself (`zipspark.core.sketch.salt_of`)
    below: str | None = None  # the lens knows the pool from the samples with a content hash below it; None: from all

    @classmethod
    def opened(
        cls, choice: Choice, lens: Lens, sample: Mapping[str, bytes], in_groups: bool = False, below: str | None = None
    ) -> Eye:
        """An eye that knows what is usual in the pool, from a ``sample`` of it (content hash -> text)."""
        usual = 0.0
        if choice.guard and sample:
            data, offsets = joined(list(sample.values()))
            look = lens.look(data, offsets, counted=_counted(list(sample), below))
            usual = float(np.median(order(data, offsets, look)))
        return cls(choice, lens, usual, in_groups, below)


def look_at(
    samples: Sequence[bytes],
    hashes: Sequence[str],
    alone: Sizes | None,
    eye: Eye,
    groups: Sequence[str | None] = (),
) -> Seen:
    """Views of ``samples`` and what the guard says of them.

    Args:
        hashes: (n,) content hash of each.
        alone: (n,) the compressed size of each; None: measured here, where the guard needs it.
        groups: (n,) of each, where the eye asks for them.
    """
    choice, lens = eye.choice, eye.lens
    if lens is None:
        return Seen(samples, [None] * len(samples), np.ones(len(samples)))
    views: list[bytes] = []
    reasons: list[str | None] = []
    likeness: list[npt.NDArray[np.float64]] = []
    for block in blocks(np.concatenate([[0], np.cumsum(lengths(samples))]), len(samples), _BLOCK):
        texts = samples[block]
        data, offsets = joined(texts)
        salts = salts_of(groups[block]) if eye.in_groups else None
        look = lens.look(data, offsets, salts, _counted(hashes[block], eye.below))
        if choice.guard:
            reasons += guarded(texts, make_codec(choice).sizes(texts) if alone is None else alone[block], look)
        else:
            reasons += [None] * len(texts)
        trust = trusted(data, offsets, look, eye.usual)
        if choice.compresses:
            cut = cut_texts(data, offsets, look, trust)
            compressed = [cut.get(at, text) for at, text in enumerate(texts)]
        if choice.covers:
            covering = features(look, trust)
        if choice.objective == "both":
            views += map(paired, covering, compressed)
        else:
            views += compressed if choice.compresses else covering
        likeness.append(lens.likeness(look))
    return Seen(views, reasons, np.concatenate([*likeness, np.empty(0)]))


def sketch_of(
    contents: Mapping[str, bytes], total: int, choice: Choice, groups: Mapping[str, str | None] | None = None
) -> Sketch:
    """Counts of the heads of ``contents`` (content hash -> text), of too many those with the lowest hashes.

    Args:
        total: bytes of the heads (`head_bytes`), copies included.
        groups: content hash -> group, where features are counted within groups.
    """
    below = counted_below(total)
    names = [name for name in contents if below is None or name < below]
    sketch = Sketch(choice.gram, choice.supported_gram)
    salts = None if groups is None else salts_of([groups[name] for name in names])
    sketch.count(*joined([contents[name][:HEAD_BYTES] for name in names]), salts)
    return sketch


def head_bytes(texts: Iterable[bytes]) -> int:
    """Bytes of ``texts`` as far as a sketch counts them."""
    return sum(min(len(text), HEAD_BYTES) for text in texts)


def counted_below(total: int) -> str | None:
    """Of samples whose heads are ``total`` bytes, those with a content hash below this are counted; None: all."""
    return lowest_share(SAMPLE_BYTES / max(total, 1))


def _counted(hashes: Sequence[str], below: str | None) -> npt.NDArray[np.bool_] | None:
    return None if below is None else np.array([name < below for name in hashes], dtype=bool)


def salts_of(groups: Sequence[str | None]) -> Salts:
    """(n,) the salt of each group (`zipspark.core.sketch.salt_of`)."""
    known = {group: salt_of(NO_GROUP if group is None else group) for group in set(groups)}
    return np.fromiter((known[group] for group in groups), dtype=np.uint32, count=len(groups))


def joined(texts: Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]]:
    """One buffer, and the (n + 1,) offsets in it, as all that looks at grams takes them."""
    return b"".join(texts), np.concatenate([[0], np.cumsum(lengths(texts))])


def lowest_share(share: float) -> str | None:
    """Content hashes below this are about ``share`` of all, the same ones wherever they are; None: all are.

    >>> lowest_share(0.5), lowest_share(2)
    ('80000000', None)
    """
    return f"{int(share * 2**32):08x}" if share < 1 else None


def reach_of(features: Iterable[bytes], lens: Lens, targeted: bool) -> Reach:
    """The weight that samples with these ``features`` (`views.features_of`) cover together."""
    return reach_of_buckets(union_of(features), lens, targeted)


def union_of(features: Iterable[bytes]) -> np.ndarray:
    """(FEATURES,) bool: the buckets that any of ``features`` holds."""
    union = np.zeros(FEATURES, dtype=bool)
    for buckets in features:
        union[np.frombuffer(buckets, dtype="<u4")] = True
    return union


def reach_of_buckets(union: np.ndarray, lens: Lens, targeted: bool) -> Reach:
    """The weight of the buckets in ``union`` (see `union_of`)."""
    return Reach(
        float(lens.weights()[union].sum(dtype=np.float64)),
        float(lens.target_weights()[union].sum(dtype=np.float64)) if targeted else 0.0,
    )
