"""The entropy law over the versions of a data set: the score Z on ratio R and loss L.

"Entropy Law" (arXiv 2407.06645, section 3): Z ∝ f(R, L) once sample quality and consistency are held, and Z falls in
both: R (bytes / compressed bytes of the set) and L (mean training loss of the first epoch, nats per token). The law
gives no form for f; over the few versions a team has, a plane is all that can be fitted (`fit`)::

    Z = a + b R + c L,   b <= 0, c <= 0

Intervals are Student's t of plain least squares, cut at what the law allows: where the truth obeys it, the cut takes
nothing from their coverage, and it holds too where a bound is active. A bootstrap over versions has too few of them to
draw from: of four, most draws leave fewer than four, and the plane is not determined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zipspark.entropy.fits import (
    SAME,
    Coefficient,
    Expected,
    Floats,
    check_confidence,
    interval,
    load_scipy,
    of_one_codec,
    plain,
    same,
    within,
)
from zipspark.entropy.ranks import Ranks, ranks
from zipspark.entropy.versions import Version, merged
from zipspark.errors import InputError

FEWEST_FIT = 4  # versions: a plane goes through any three
ROOMY = 6  # versions: as many degrees of freedom for residuals as for coefficients
ENTANGLED = 0.95  # correlation of R and L beyond which variances of b and c are ten times what they could be


@dataclass(frozen=True)
class Law:
    """Z = a + b R + c L, fitted on n versions."""

    versions: tuple[str, ...]  # (n,) names
    ratios: tuple[float, ...]  # (n,) R
    losses: tuple[float, ...]  # (n,) L, nats per token
    scores: tuple[float, ...]  # (n,) Z
    codec: str  # that measured R
    intercept: float  # a, in units of Z
    ratio: Coefficient  # b, units of Z per unit of R
    loss: Coefficient  # c, units of Z per nat per token
    r2: float  # share of the variance of Z that the plane explains, of the versions it was fitted on
    left_out_r2: float | None  # the same of each version by a fit on the others; negative: worse than their mean
    sigma: float  # standard deviation of residuals, n - 3 degrees of freedom, units of Z
    confidence: float  # of all intervals
    score_with_ratio: Ranks
    score_with_loss: Ranks
    ratio_with_loss: float  # Pearson correlation; near 1 or -1 b and c can hardly be told apart
    notes: tuple[str, ...]  # what to know before this is believed, a sentence each
    half: float  # t quantile times sigma, units of Z
    spread: tuple[tuple[float, ...], ...]  # (3, 3) inverse of X'X, X = (1, R - mean R, L - mean L)

    def predict(self, ratio: float, loss: float) -> Expected:
        """Z of a new version with this R and L, with its prediction interval.

        Extrapolated is what lies outside the range of either, or in a corner of both where no version is (its leverage
        is above that of all versions fitted).
        """
        leverages = self._leverages([*self.ratios, ratio], [*self.losses, loss])
        middle = self.intercept + self.ratio.value * ratio + self.loss.value * loss
        reach = self.half * float(np.sqrt(1 + leverages[-1]))
        inside = within(ratio, self.ratios) and within(loss, self.losses)
        inside = inside and bool(leverages[-1] <= leverages[:-1].max() * (1 + SAME))
        return Expected(middle - reach, middle, middle + reach, not inside)

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        left_out = {"half", "spread"}
        return {name: plain(value) for name, value in asdict(self).items() if name not in left_out}

    def __str__(self) -> str:
        level = f"{self.confidence:.0%}"
        lines = [
            f"Z = {self.intercept:.4g} {self.ratio.value:+.4g} R {self.loss.value:+.4g} L   "
            f"({len(self.versions)} versions, R by {self.codec})",
            f"per unit of R   {interval(self.ratio)} ({level})",
            f"per nat of L    {interval(self.loss)} ({level})",
            f"R² {self.r2:.3f}"
            + ("" if self.left_out_r2 is None else f", of versions left out {self.left_out_r2:.3f}")
            + f"; residuals {self.sigma:.3g}",
            f"Z with R        {self.score_with_ratio}",
            f"Z with L        {self.score_with_loss}",
        ]
        return "\n".join([*lines, *self.notes])

    def _leverages(self, ratios: Sequence[float], losses: Sequence[float]) -> Floats:
        points = np.column_stack(
            [np.ones(len(ratios)), np.array(ratios) - np.mean(self.ratios), np.array(losses) - np.mean(self.losses)]
        )
        found: Floats = np.einsum("ij,jk,ik->i", points, np.array(self.spread), points)
        return found


def fit(versions: Iterable[Version], confidence: float = 0.95, codec: str | None = None) -> Law:
    """Fit Z = a + b R + c L with b <= 0 and c <= 0 (bounded least squares) on all versions that have R, L and Z.

    Args:
        confidence: of the intervals, between 0 and 1.
        codec: take the versions whose R this codec measured; None: all must have the same.

    Raises `InputError` for fewer than 4 such versions, ratios of several codecs, and for R, L or Z that are the same
    everywhere, or R and L that only change together: nothing can be said of what did not change.

    >>> good = [Version(f"v{n}", ratio=r, loss=l, score=10 - r - 2 * l)
    ...         for n, (r, l) in enumerate([(3, 1.5), (3.2, 1.4), (3.5, 1.6), (3.9, 1.3), (4.2, 1.45)])]
    >>> law = fit(good)
    >>> round(law.intercept, 6), round(law.ratio.value, 6), round(law.loss.value, 6)
    (10.0, -1.0, -2.0)
    """
    optimize, special = load_scipy()
    check_confidence(confidence)
    rows = merged(versions)
    taken, codec = _usable(rows, codec)
    ratios, losses, scores = _values(taken)
    together = float(np.corrcoef(ratios, losses)[0, 1])
    if abs(together) > 1 - SAME:
        raise InputError(
            f"ratio and loss change together exactly (correlation {together:+.6f}): what each does to the score "
            "cannot be told apart; log a version in which one of them changes without the other"
        )

    design = np.column_stack([np.ones(len(taken)), ratios - ratios.mean(), losses - losses.mean()])
    free, *_ = np.linalg.lstsq(design, scores, rcond=None)
    held = _bounded(optimize, design, scores)
    rest_free, rest, around = scores - design @ free, scores - design @ held, scores - scores.mean()
    freedom = len(taken) - 3
    spread = np.linalg.inv(design.T @ design)
    quantile = float(special.stdtrit(freedom, (1 + confidence) / 2))
    sigma = float(np.sqrt(rest @ rest / freedom))
    # Of plain least squares, without the bounds: this is what Student's t holds for.
    reach = quantile * np.sqrt(rest_free @ rest_free / freedom * spread.diagonal())
    notes = _notes(rows, taken, together)
    coefficients = []
    for at, name in ((1, "ratio"), (2, "loss")):
        low, high = float(free[at] - reach[at]), min(0.0, float(free[at] + reach[at]))
        against = low > 0
        one = Coefficient(float(held[at]), None if against else low, None if against else high, bool(held[at] == 0))
        coefficients.append(one)
        if one.held:
            notes.append(
                f"the score does not fall with {name} here ({free[at]:+.3g} per unit without the law's bounds), so its "
                "coefficient is held at 0"
                + ("; the data contradict the law: did quality or consistency change?" if against else ".")
            )
    return Law(
        versions=tuple(row.version for row in taken),
        ratios=tuple(ratios.tolist()),
        losses=tuple(losses.tolist()),
        scores=tuple(scores.tolist()),
        codec=codec,
        intercept=float(held[0] - held[1] * ratios.mean() - held[2] * losses.mean()),
        ratio=coefficients[0],
        loss=coefficients[1],
        r2=max(0.0, 1 - float(rest @ rest) / float(around @ around)),
        left_out_r2=_left_out_r2(optimize, design, scores),
        sigma=sigma,
        confidence=confidence,
        score_with_ratio=ranks(ratios, scores),
        score_with_loss=ranks(losses, scores),
        ratio_with_loss=together,
        notes=tuple(notes),
        half=quantile * sigma,
        spread=tuple(map(tuple, spread.tolist())),
    )


def _usable(rows: Sequence[Version], codec: str | None) -> tuple[list[Version], str]:
    """Versions that a plane can be fitted on, and the codec of their ratios."""
    taken = [row for row in rows if not row.missing]
    if len(taken) < FEWEST_FIT:
        lacking = "; ".join(f"{row.version} has no {' and no '.join(row.missing)}" for row in rows if row.missing)
        raise InputError(
            f"a fit of the law needs at least {FEWEST_FIT} versions with ratio, loss and score, got {len(taken)} of "
            f"{len(rows)}" + (f" ({lacking})" if lacking else "") + ": log what is missing, or more versions"
        )
    taken, codec = of_one_codec(taken, codec, FEWEST_FIT)
    for name, values in zip(("ratio", "loss", "score"), _values(taken), strict=True):
        if same(values):
            raise InputError(f"{name} is {values[0]:g} in all {len(taken)} versions: log versions in which it differs")
    return taken, codec


def _values(rows: Sequence[Version]) -> tuple[Floats, Floats, Floats]:
    """R, L and Z, (n,) each."""
    ratios, losses, scores = np.array([(row.ratio, row.loss, row.score) for row in rows], dtype=float).T
    return ratios, losses, scores


def _notes(rows: Sequence[Version], taken: Sequence[Version], together: float) -> list[str]:
    """What the data allow to be said at all."""
    notes = []
    if left_out := [row.version for row in rows if row not in taken]:
        notes.append(f"not in the fit, for a missing value or another codec: {', '.join(left_out)}.")
    if len(taken) < ROOMY:
        notes.append(f"{len(taken)} versions for 3 coefficients: R² says little, read the intervals.")
    if abs(together) > ENTANGLED:
        notes.append(
            f"ratio and loss change together (correlation {together:+.2f}): what each does to the score can "
            "hardly be told."
        )
    return notes


def _bounded(optimize: Any, design: Floats, scores: Floats) -> Floats:
    """(3,) least squares with the last two at most 0. Scaled, so that the tolerance means the same for all units."""
    scale = np.maximum(np.abs(design).max(axis=0), 1e-300)
    size = float(np.abs(scores - scores.mean()).max()) or 1.0
    bounds = (-np.inf, [np.inf, 0.0, 0.0])
    found = optimize.lsq_linear(design / scale, (scores - scores.mean()) / size, bounds, method="bvls", tol=1e-14)
    result: Floats = found.x * size / scale + np.array([scores.mean(), 0.0, 0.0])
    result[1:][found.active_mask[1:] != 0] = 0.0
    return result


def _left_out_r2(optimize: Any, design: Floats, scores: Floats) -> float | None:
    """None where the others are three, or do not determine a plane."""
    if len(scores) <= FEWEST_FIT:
        return None
    errors, around = 0.0, 0.0
    for at in range(len(scores)):
        others = np.arange(len(scores)) != at
        if np.linalg.matrix_rank(design[others] / np.abs(design).max(axis=0), tol=SAME) < 3:
            return None
        errors += float(scores[at] - design[at] @ _bounded(optimize, design[others], scores[others])) ** 2
        around += float(scores[at] - scores[others].mean()) ** 2
    return 1 - errors / around
