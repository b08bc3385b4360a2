"""The first-epoch loss that past versions suggest at a compression ratio: L on R, with its prediction band.

Of the entropy law (arXiv 2407.06645, section 3): at the same R, a version with a higher L than past ones suggest is
less consistent, so less of it is effective knowledge. What past versions suggest is a line by least squares::

    L = a + d R ± t · s · sqrt(1 + leverage of R)

with Student's t of n - 2 degrees of freedom and s of the residuals: where a new version falls, not where the line is.
L is in nats per token, R is bytes / compressed bytes of the whole set. The law does not say which sign d has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zipspark.entropy.fits import (
    SAME,
    Coefficient,
    Expected,
    check_confidence,
    interval,
    load_scipy,
    of_one_codec,
    plain,
    same,
    within,
)
from zipspark.entropy.versions import Version, merged
from zipspark.errors import InputError

FEWEST_BAND = 3  # versions: a line goes through any two


@dataclass(frozen=True)
class Band:
    """L = a + d R over n versions, and where a new version's L falls with ``confidence``."""

    versions: tuple[str, ...]  # (n,) names
    ratios: tuple[float, ...]  # (n,) R
    losses: tuple[float, ...]  # (n,) L, nats per token
    residuals: tuple[float, ...]  # (n,) L - (a + d R), nats per token
    codec: str  # that measured R
    intercept: float  # a, nats per token
    slope: Coefficient | None  # d, nats per token per unit of R; None where R is the same everywhere: no line, a mean
    sigma: float  # standard deviation of residuals, nats per token
    freedom: int  # degrees of freedom of `sigma`: n - 2, or n - 1 without a slope
    confidence: float  # of the band and the slope's interval
    notes: tuple[str, ...]  # what the band cannot say, a sentence each
    half: float  # t quantile times sigma, nats per token

    def at(self, ratio: float) -> Expected:
        """L that versions with this R had, as a prediction interval; extrapolated outside the range of R fitted."""
        middle, leverage = self.intercept, 1 / len(self.ratios)
        if self.slope is not None:
            mean = float(np.mean(self.ratios))
            middle += self.slope.value * ratio
            leverage += (ratio - mean) ** 2 / float(np.sum((np.array(self.ratios) - mean) ** 2))
        reach = self.half * float(np.sqrt(1 + leverage))
        return Expected(middle - reach, middle, middle + reach, not within(ratio, self.ratios))

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {name: plain(value) for name, value in asdict(self).items() if name != "half"}

    def __str__(self) -> str:
        level = f"{self.confidence:.0%}"
        line = f"L = {self.intercept:.4g}" + ("" if self.slope is None else f" {self.slope.value:+.4g} R")
        lines = [f"{line} nats per token   ({len(self.versions)} versions, R by {self.codec})"]
        if self.slope is not None:
            lines.append(f"per unit of R   {interval(self.slope)} ({level})")
        lines.append(f"residuals {self.sigma:.3g}, {self.freedom} degrees of freedom")
        lines += [f"  {name}  {rest:+.4f}" for name, rest in zip(self.versions, self.residuals, strict=True)]
        return "\n".join([*lines, *self.notes])


def loss_given_ratio(versions: Iterable[Version], confidence: float = 0.95, codec: str | None = None) -> Band:
    """The line of L on R over all versions that have both, with Student's prediction band.

    Where R is the same everywhere it is the mean of L, which says nothing of other ratios. Raises `InputError` for
    fewer than 3 versions, and for ratios of several codecs (see `fit`).

    >>> band = loss_given_ratio([Version(f"v{r}", ratio=r, loss=l) for r, l in [(3, 1.9), (4, 1.72), (5, 1.5)]])
    >>> expected = band.at(4)
    >>> round(expected.middle, 3), expected.extrapolated, band.at(6).extrapolated
    (1.707, False, True)
    """
    _, special = load_scipy()
    check_confidence(confidence)
    rows = [row for row in merged(versions) if row.ratio is not None and row.loss is not None]
    if len(rows) < FEWEST_BAND:
        raise InputError(
            f"the loss that a ratio suggests needs at least {FEWEST_BAND} versions with ratio and loss, got "
            f"{len(rows)}: log more"
        )
    rows, codec = of_one_codec(rows, codec, FEWEST_BAND)
    ratios, losses = (np.array([getattr(row, name) for row in rows], dtype=float) for name in ("ratio", "loss"))
    notes = []
    away = ratios - ratios.mean()
    flat = same(ratios)
    freedom = len(rows) - (1 if flat else 2)
    slope = 0.0 if flat else float(away @ losses / (away @ away))
    rest = losses - losses.mean() - slope * away
    sigma = float(np.sqrt(rest @ rest / freedom))
    quantile = float(special.stdtrit(freedom, (1 + confidence) / 2))
    if flat:
        notes.append(f"ratio is {ratios[0]:g} everywhere: the band is about the mean loss, and for that ratio alone.")
    if freedom == 1:
        notes.append(f"{len(rows)} versions: the band is {quantile:.1f} deviations wide either way; log more.")
    if sigma <= SAME * float(np.abs(losses).max()):
        notes.append("losses lie on the line exactly: the band has no width, and says nothing of how they vary.")
    reach = 0.0 if flat else quantile * sigma / float(np.sqrt(away @ away))
    return Band(
        versions=tuple(row.version for row in rows),
        ratios=tuple(ratios.tolist()),
        losses=tuple(losses.tolist()),
        residuals=tuple(rest.tolist()),
        codec=codec,
        intercept=float(losses.mean() - slope * ratios.mean()),
        slope=None if flat else Coefficient(slope, slope - reach, slope + reach),
        sigma=sigma,
        freedom=freedom,
        confidence=confidence,
        notes=tuple(notes),
        half=quantile * sigma,
    )
