"""What was tried for a better default, by the names that tables of tried.py show: options, mixtures of objectives,
groups that are found without labels, other lengths of grams, other parts of a chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from arms import OBJECTIVES
from chance import within
from heldout import Floats
from others import once_a_split
from pools import Split

from zipspark.core import lens, presets, select, selectors, sketch
from zipspark.core.grams import Grams, grams
from zipspark.core.objectives import Both
from zipspark.core.rendering import RenderError, detect_layout, kinds_of_records, layout_renderer
from zipspark.core.selectors import Lazy, Picks

CLUSTERS = 32
TURNS = 16
AHEAD = 4  # budgets that a mixture of rankings looks down each of them


@dataclass(frozen=True)
class Records(Split):
    """A split that knows what its samples are the text of; other benchmarks hand splits to processes they measure."""

    records: Mapping[bytes, dict[str, Any]]  # by sample; noise is of none


Way = Callable[[Records], Sequence[int]]


def by(**options: Any) -> Way:
    """`zipspark.core.select` without labels."""
    return lambda split: list(select(split.samples, f"{split.budget}B", **options))


def by_source(**options: Any) -> Way:
    return lambda split: list(select(split.samples, f"{split.budget}B", groups=split.sources, **options))


def by_cluster(**options: Any) -> Way:
    """Groups found without labels."""
    return lambda split: list(select(split.samples, f"{split.budget}B", groups=clusters(split), **options))


def by_role(role: str, **options: Any) -> Way:
    """By what ``role`` says alone, as with ``--roles``; whole samples are taken. Nobody says noise: all of it counts.

    Raises `UsageError` where samples are no chats.
    """

    def way(split: Records) -> Sequence[int]:
        records = list(split.records.values())
        render = layout_renderer(detect_layout(kinds_of_records(records[:1000]), roles=(role,)))

        def said(text: bytes) -> bytes:
            try:
                return render(split.records[text]) if text in split.records else text
            except RenderError:  # nothing
                return b" "

        return within(split, select(list(map(said, split.samples)), f"{split.budget}B", **options), split.budget)

    return way


def of_lengths(*shorts: int, **options: Any) -> Way:
    """Features of grams of several lengths at once; each has a hash of its own."""

    def every(data: bytes, offsets: npt.NDArray[np.int64], gram: int, supported_gram: int) -> Grams:
        found = [grams(data, offsets, short, supported_gram) for short in shorts]
        positions = np.concatenate([each.positions for each in found])
        order = np.argsort(positions, kind="stable")
        buckets, longs = (np.concatenate([getattr(each, of) for each in found])[order] for of in ("buckets", "longs"))
        return Grams(np.searchsorted(positions[order], offsets), positions[order], buckets, longs)

    def way(split: Split) -> Sequence[int]:
        with patch.object(lens, "grams", every), patch.object(sketch, "grams", every):
            return by(**options)(split)

    return way


def one_then_other(first: str, then: str, share: float = 0.5, **options: Any) -> Way:
    """``share`` of the budget by one objective, the rest by the other, which has seen what is there."""

    def way(split: Split) -> Sequence[int]:
        begun = list(select(split.samples, f"{int(share * split.budget)}B", objective=first, **options))
        return list(select(split.samples, f"{split.budget}B", objective=then, keep=begun, **options))

    return way


def in_turns(split: Split) -> Sequence[int]:
    """`TURNS` equal parts of the budget, by coverage and by ratio in turns; each has seen all that is there."""
    picks: list[int] = []
    for turn in range(TURNS):
        upto = split.budget * (turn + 1) // TURNS
        picks = list(select(split.samples, f"{upto}B", objective=("coverage", "ratio")[turn % 2], keep=picks))
    return picks


def mean_of_ranks(split: Split) -> Sequence[int]:
    """The lowest mean of both objectives' ranks; one that is not among the first `AHEAD` budgets of either is last."""
    marks = np.zeros(len(split.samples))
    for objective in ("ratio", "coverage"):
        ranking = list(select(split.samples, f"{AHEAD * split.budget}B", objective=objective))
        ranks = np.full(len(split.samples), 1.0)
        ranks[ranking] = np.arange(len(ranking)) / len(ranking)
        marks += ranks
    return within(split, np.argsort(marks, kind="stable").tolist(), split.budget)


@once_a_split
def clusters(split: Split) -> list[str]:
    """`CLUSTERS` groups of samples with like words: k-means of TF-IDF vectors reduced to 64 dimensions."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    weigh = TfidfVectorizer(decode_error="replace", sublinear_tf=True, max_features=20_000, dtype=np.float32)
    points = TruncatedSVD(64, random_state=0).fit_transform(weigh.fit_transform(split.samples))
    names = MiniBatchKMeans(CLUSTERS, random_state=0, n_init=3, batch_size=4096).fit_predict(normalize(points))
    return [f"{name:02}" for name in names]


def both(share: float, **options: Any) -> Way:
    """Objective ``both`` with ``share`` of the budget by ratio."""

    def way(split: Split) -> Sequence[int]:
        with patch.object(selectors, "RATIO_SHARE", share):
            return by(objective="both", **options)(split)

    return way


class Merged:
    """Both gains of a sample in one figure per byte (an `Objective` for `Lazy`): ratio's times coverage's, or, with
    ``common``, times the weight of all that the sample shares with the pool, chosen already or not."""

    def __init__(self, of: Both, common: bool) -> None:
        self._of, self._shared = of, of.coverage.gains().copy() if common else None

    def gains_alone(self) -> Floats:
        return self._of.ratio.gains_alone() * self._weights()

    def gain(self, index: int, enough: float = 0.0) -> tuple[float, bool]:
        return self._of.ratio.gain(index)[0] * float(self._weights()[index]), True

    def add(self, index: int) -> None:
        self._of.add(index)

    def _weights(self) -> Floats:
        return self._of.coverage.gains() if self._shared is None else self._shared


@dataclass(frozen=True)
class ByMerged:
    """Lazy greedy by `Merged`, in the place of the selector of ``both``."""

    common: bool

    def __call__(self, objective: Both, costs: Floats, *rest: Any, **more: Any) -> Picks:
        return Lazy()(Merged(objective, self.common), costs**2, *rest, **more)  # both gains are per cost


def merged(common: bool) -> Way:
    def way(split: Split) -> Sequence[int]:
        with patch.object(presets, "InTurns", partial(ByMerged, common)):
            return by(objective="both")(split)

    return way


WAYS: dict[str, Way] = {
    "ratio": by(objective="ratio"),
    "ratio, level 1": by(objective="ratio", level=1),
    "ratio, level 9": by(objective="ratio", level=9),
    "ratio, window 256 KiB": by(objective="ratio", window="256KiB"),
    "ratio, zlib": by(objective="ratio", codec="zlib"),
    "ratio, gain per row": by(objective="ratio", cost="row"),
    "coverage": by(objective="coverage"),
    **{
        f"coverage, {gram} in {long}": by(objective="coverage", gram=gram, supported_gram=long)
        for gram, long in ((3, 8), (4, 6), (4, 8), (5, 6), (5, 7), (6, 8), (7, 8), (8, 8))
    },
    **{f"coverage, weights to the {to:g}": by(objective="coverage", weight_exponent=to) for to in (0.0, 0.5, 2.0)},
    **{f"coverage, weights up to {most}": by(objective="coverage", weight_cap=most) for most in (2, 5)},
    "coverage, gain per row": by(objective="coverage", cost="row"),
    "coverage, 4 in 8, weights 1": by(objective="coverage", gram=4, weight_exponent=0.0),
    "coverage, 4 and 6 in 8": of_lengths(4, 6, objective="coverage"),
    "mean of ranks": mean_of_ranks,
    "in turns": in_turns,
    "product of both gains": merged(common=False),
    "gain by ratio times what is common": merged(common=True),
    "both": by(objective="both"),
    **{f"both, {share:.0%} by ratio": both(share) for share in (0.1, 0.5, 0.75)},
    **{
        f"both, {gram} in {long}": by(objective="both", gram=gram, supported_gram=long)
        for gram, long in ((4, 8), (5, 7))
    },
    "both, 4 and 6 in 8": of_lengths(4, 6, objective="both"),
    **{
        f"{objective}, by what the {of} says": by_role(role, objective=objective)
        for objective, (of, role) in product(OBJECTIVES, (("assistant", "assistant"), ("person", "user")))
    },
    "quarter coverage, then ratio": one_then_other("coverage", "ratio", 0.25),
    "half coverage, then ratio": one_then_other("coverage", "ratio"),
    "three quarters coverage, then ratio": one_then_other("coverage", "ratio", 0.75),
    "quarter ratio, then coverage": one_then_other("ratio", "coverage", 0.25),
    "half ratio, then coverage": one_then_other("ratio", "coverage"),
    **{
        f"half ratio, then coverage, {gram} in {long}": one_then_other(
            "ratio", "coverage", gram=gram, supported_gram=long
        )
        for gram, long in ((4, 8), (5, 7))
    },
    **{
        f"{objective}, {mixed} by cluster": by_cluster(objective=objective, mix=mixed)
        for objective, mixed in product(OBJECTIVES, ("natural", "power=0.5", "equal"))
    },
    **{
        f"{objective}, {mixed} by source": by_source(objective=objective, mix=mixed)
        for objective, mixed in product(OBJECTIVES, ("natural", "power=0.5", "equal"))
    },
}
