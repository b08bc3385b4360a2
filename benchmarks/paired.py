"""Held-out bits of arms beside those of random choice, as tables show them: differences are taken within a seed.

A seed is another draw of what is held out, which moves all arms alike: that much is no difference between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np
import numpy.typing as npt
from pools import LIKE_POOL

Floats = npt.NDArray[np.float64]
BySeed = Mapping[int, Floats]  # seed -> (sources + 1,) held-out bits per byte, those drawn like the pool last

BASES = ("random", "equal random")  # run whatever is asked for: what all others are held against
SUMMARY = (
    "arm",
    "mean over sources",
    "±",
    *(f"{what}{base}" for base in BASES for what in ("to ", "± to ", "worst to ")),
    LIKE_POOL,
    f"± {LIKE_POOL}",
    f"{LIKE_POOL}, to {BASES[0]}",
    f"± {LIKE_POOL}, to {BASES[0]}",
)
EXPLAINED = (
    "± is half the range over seeds; a difference to a base is taken within each seed, then meant over the seeds that "
    "the arm was tried on. Worst: the source with the highest mean of such differences."
)


def summary(arm: str, arms: Mapping[str, BySeed], sources: Sequence[str]) -> list[str]:
    """What `SUMMARY` says of one of ``arms``; an arm that was not tried on every seed says on how many it was."""
    seeds = list(arms[arm])
    bits = np.array([arms[arm][seed] for seed in seeds])
    cells = [named(arm, arms), *spread(bits[:, :-1].mean(axis=1))]
    for base in BASES:
        against = np.array([arms[base][seed] for seed in seeds])
        change = bits[:, :-1].mean(axis=1) / against[:, :-1].mean(axis=1) - 1
        lost = (bits / against - 1)[:, :-1].mean(axis=0)
        worst = f"{lost.max():+.1%} {sources[int(lost.argmax())]}"
        cells += [*spread(change, "+.1%"), worst] if arm != base else ["", "", ""]
    cells += spread(bits[:, -1])
    change = bits[:, -1] / np.array([arms[BASES[0]][seed] for seed in seeds])[:, -1] - 1
    return [*cells, *(spread(change, "+.1%") if arm != BASES[0] else ["", ""])]


def named(arm: str, arms: Mapping[str, Sized]) -> str:
    """``arm``, with the number of its seeds where others have more; ``arms`` holds the seeds of each."""
    count = len(arms[arm])
    return arm if count == max(map(len, arms.values())) else f"{arm} ({count} seed{'s' * (count > 1)})"


def spread(values: Sequence[float] | Floats, shown: str = ".3f") -> list[str]:
    """(mean, half the range), the latter where there are several.

    >>> spread([0.01, 0.03], "+.1%"), spread([2.5])
    (['+2.0%', '1.0%'], ['2.500', ''])
    """
    half = format((max(values) - min(values)) / 2, shown.removeprefix("+")) if len(values) > 1 else ""
    return [format(float(np.mean(values)), shown), half]
