"""Loss against tokens as a law, L(N) = E + A N^-alpha, and what it predicts: with a band, not far beyond the data.

The form is Hestness 2017's (arXiv 1712.00409) for one model size; the fit is that of Hoffmann 2022 (arXiv 2203.15556,
section 3.3): the smallest Huber loss of log predicted - log measured, delta 1e-3, from several starts. Besiroglu 2024
(arXiv 2404.10102) found how easily a search for it stops short; the test compares it with a global one. Its middle
ignores single runs that went wrong. Intervals are those of least squares (`scaling_profile`), which such runs widen.

**With the ratio R of several data sets** the form is after Pandey 2024 (arXiv 2405.16684), who found the law's
parameters to move along a line with gzip-compressibility H = compressed bytes / bytes, here 1 / R:

    L(N, R) = E(H) + A(H) N^-alpha(H),    each of E, log A and alpha constant or linear in H

Of the paper's law this is the term in data; a log of data versions has one model size. The paper's H is the median over
sequences that are compressed one by one; 1 / R of the whole set also falls with repetition across samples. The paper
has A itself on a line. Here it is log A: A is the height at one token and moves by orders with alpha, and with log A
the family is the same in whatever unit tokens are counted. Linear in all three are 6 parameters, more than a log of ten
versions can hold, so only as many move as the points bear (AICc): E first, as a denser text has more to say per token,
then A, then alpha.

Measured on simulated laws (300 each of 5, 8, 15 runs over a factor 300 in N, noise of 1 %, with and without a floor):
88 to 94 of 100 new runs lay in the 90 % band, inside of the data and at ten times it.

Losses are in nats per token (any unit that is above 0 will do), each of a run on N tokens. Points along one curve
share their noise and their learning rate: their intervals are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zipspark.entropy.scaling_law import Law, Prediction, profile_of
from zipspark.entropy.scaling_profile import Floats, Part
from zipspark.entropy.training import Curve
from zipspark.errors import InputError, UsageError

HUBER = 1e-3  # Hoffmann 2022, in logs: residuals above 0.1 % count by their size, not their square
LEVEL = 0.9  # of intervals: one in ten falls outside
FEWEST = 4  # points for one curve, one more than it has parameters
FEWEST_BY_RATIO = 5
_STEPS: tuple[tuple[Part, ...], ...] = (("E",), ("E", "A"), ("E", "A", "alpha"))
_TOGETHER = 0.95  # correlation of log N and H from which on it is said that they cannot be told apart

Numbers = Sequence[float] | npt.NDArray[Any]


class Estimate(NamedTuple):
    """A number and its interval; an end is None where the points do not bound it."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Scaling:
    """L(N) = E + A N^-alpha for one kind of data."""

    E: Estimate  # the floor, nats per token: what no amount of this data teaches this model
    A: Estimate  # nats per token above the floor at N = 1
    alpha: Estimate
    tokens: Floats  # (n,) ascending
    losses: Floats  # (n,)
    spread: float  # standard deviation of measured / predicted
    level: float  # of all intervals
    notes: tuple[str, ...]  # what the points do not tell
    _law: Law = field(repr=False)

    def predict(self, tokens: float) -> Prediction:
        """The loss of a run on ``tokens``; raises `UsageError` beyond 10 times the data, in either direction."""
        return self._law.predict(tokens, None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "form": "L = E + A N^-alpha",
            **{name: getattr(self, name)._asdict() for name in ("E", "A", "alpha")},
            **_common(self),
        }

    def __str__(self) -> str:
        e, a, alpha = (_interval(estimate) for estimate in (self.E, self.A, self.alpha))
        return f"L(N) = E + A N^-alpha: E {e}, A {a}, alpha {alpha}; {_told(self)}"


@dataclass(frozen=True, eq=False)
class ScalingByRatio:
    """L(N, R) over data sets of different ratios."""

    varies: tuple[Part, ...]  # parts of the law that move with R
    tokens: Floats  # (n,) in the order they were given
    losses: Floats  # (n,)
    ratios: Floats  # (n,)
    spread: float
    level: float
    notes: tuple[str, ...]
    _law: Law = field(repr=False)

    def predict(self, tokens: float, ratio: float) -> Prediction:
        """The loss of a run on ``tokens`` of a data set of that ``ratio``.

        Raises `UsageError` beyond 10 times the tokens that were fitted, and where 1 / R is outside of those fitted by
        more than a fifth of their range: lines are no law out there.
        """
        return self._law.predict(tokens, ratio)

    def at(self, ratio: float) -> dict[str, float]:
        """E, A and alpha of a data set of that ratio."""
        return self._law.parameters(self._law.place(ratio))

    def to_dict(self) -> dict[str, Any]:
        ends = {
            f"{ratio:.6g}": self.at(ratio) for ratio in sorted({float(self.ratios.min()), float(self.ratios.max())})
        }
        form = "L = E(H) + A(H) N^-alpha(H), H = 1 / R"
        return {"form": form, "varies": list(self.varies), "at": ends, "ratios": self.ratios.tolist(), **_common(self)}

    def __str__(self) -> str:
        parts = []
        for ratio in (float(self.ratios.min()), float(self.ratios.max())):
            found = self.at(ratio)
            parts.append(f"at R {ratio:.3g} E {found['E']:.4g}, A {found['A']:.4g}, alpha {found['alpha']:.3g}")
        return f"L(N, R), {' and '.join(self.varies)} moving with 1 / R: {'; '.join(parts)}; {_told(self)}"


def fit_scaling(tokens: Numbers, losses: Numbers, *, level: float = LEVEL, delta: float = HUBER) -> Scaling:
    """Fit L(N) = E + A N^-alpha.

    Args:
        tokens: (n,) ascending; a number may come again, as another run on as many.
        losses: (n,) nats per token.
        level: of the intervals, between 0 and 1.
        delta: of the Huber loss, in units of log loss.

    Raises:
        InputError: fewer than 4 points or 3 numbers of tokens, what is no number above 0, tokens that do not ascend,
            losses that do not fall with them (then E, A and alpha are not identified).
        UsageError: an option out of range, scipy is not installed.

    >>> tokens = [1e6, 3e6, 1e7, 3e7, 1e8]
    >>> law = fit_scaling(tokens, [2 + 40 * n**-0.3 for n in tokens])
    >>> round(law.E.value, 3), round(law.A.value, 2), round(law.alpha.value, 3), round(law.predict(5e8).middle, 3)
    (2.0, 40.0, 0.3, 2.098)
    """
    n, measured = _points(tokens, losses, FEWEST)
    if (wrong := np.flatnonzero(np.diff(n) < 0)).size:
        at = int(wrong[0])
        raise InputError(f"tokens must ascend, got {n[at + 1]:g} after {n[at]:g}: sort the runs by tokens")
    profile = profile_of(n, measured, np.zeros(len(n)), (), level)
    if profile.rank() < 3:
        raise InputError(
            f"E, A and alpha need runs on at least 3 numbers of tokens that are well apart, got {n[0]:g} to {n[-1]:g}"
        )
    law = Law.fit(profile, n, np.zeros(len(n)), delta)
    e, a, alpha = (law.parameters(0.0)[name] for name in ("E", "A", "alpha"))
    alphas, _, closed = profile.region
    floor = profile.range_of(np.array([1.0, 0.0]))
    height = profile.range_of(np.stack([0 * alphas[:, 0], np.exp(alphas[:, 0] * law.origin)], axis=1))
    low = float(alphas.min())
    bounds = {
        "E": Estimate(e, *_hull(e, floor)),
        "A": Estimate(a, *_hull(a, height if closed else (height[0], math.inf))),
        "alpha": Estimate(alpha, *_hull(alpha, (low, float(alphas.max()) if closed else math.inf))),
    }
    notes = []
    if bounds["E"].low is not None and bounds["E"].low <= 1e-6 * measured.min():
        notes.append("the points show no floor: E may be 0, and a pure power law fits as well")
    if not closed:
        notes.append("alpha has no upper bound: all fall is before the second number of tokens; add small runs")
    return Scaling(
        **bounds, tokens=n, losses=measured, spread=profile.spread, level=level, notes=tuple(notes), _law=law
    )


def fit_scaling_by_ratio(
    tokens: Numbers,
    losses: Numbers,
    ratios: Numbers,
    *,
    varies: Sequence[Part] | None = None,
    level: float = LEVEL,
    delta: float = HUBER,
) -> ScalingByRatio:
    """Fit L(N, R) over runs on several data sets, in any order (form above).

    Args:
        tokens, losses, ratios: (n,) of each run: tokens it saw, its loss, R of its data set.
        varies: which of E, A, alpha move with R; by default as many as the points bear (lowest AICc).
        level, delta: as `fit_scaling` has them.

    Raises:
        InputError: fewer than 5 points, or than there are parameters and one more; equal R everywhere; R that moves
            with the tokens in a way that leaves them no effect apart; what is no number above 0; no fall with N.
        UsageError: an option out of range, scipy is not installed.
    """
    n, measured = _points(tokens, losses, FEWEST_BY_RATIO)
    r = _numbers("ratios", ratios)
    if len(r) != len(n):
        raise InputError(f"ratios must be as many as tokens ({len(n)}), got {len(r)}")
    if np.ptp(1 / r) < 1e-9:
        raise InputError(f"ratios must differ, got {r[0]:g} for all runs: without ratios fit_scaling fits them")
    tried = _STEPS if varies is None else (tuple(part for part in _STEPS[-1] if part in varies),)
    if varies is not None and (not varies or len(tried[0]) != len(varies)):
        raise UsageError(f"varies takes some of E, A and alpha, each once, got {list(varies)!r}")
    profiles = [profile_of(n, measured, 1 / r, parts, level) for parts in tried]
    able = [profile for profile in profiles if profile.rank() == profile.parameters < len(n)]
    if not able:
        raise InputError(
            f"{len(n)} runs on {len(set(n))} numbers of tokens and {len(set(r))} ratios do not tell the effect of R "
            "from that of N: add runs on other numbers of tokens of the same data sets"
        )
    judged = {profile: profile.criterion for profile in able}
    best = min(able, key=lambda profile: (math.isnan(judged[profile]), judged[profile], profile.parameters))
    law = Law.fit(best, n, 1 / r, delta)
    notes = []
    if abs(np.corrcoef(np.log(n), 1 / r)[0, 1]) > _TOGETHER:
        notes.append("tokens and ratio move together in these runs: what is said of one may be due to the other")
    return ScalingByRatio(best.varies, n, measured, r, best.spread, level, tuple(notes), law)


def points_of(curve: Curve, most: int = 20) -> tuple[Floats, Floats]:
    """(tokens, losses) of a curve in at most ``most`` stretches of equal log tokens, for `fit_scaling`.

    A stretch has the mean loss of its rows, by tokens, at the geometric mean of theirs: at its last row a falling loss
    would stand too far right. Raises `InputError` without tokens.
    """
    if curve.tokens is None:
        raise InputError(f"{curve.name} has no tokens: log them, or give the tokens of a step")
    if most < FEWEST:
        raise UsageError(f"a fit needs at least {FEWEST} points, got most={most}")
    there = curve.spans > 0
    n, spans, losses = curve.tokens[there].astype(np.float64), curve.spans[there], curve.losses[there]
    edges = np.geomspace(n[0], n[-1], most + 1)[1:-1]
    stretch = np.searchsorted(edges, n, side="left")
    last = np.flatnonzero(np.diff(stretch, append=-1))
    weighed = np.stack([spans * losses, spans * np.log(n), spans])
    loss, log_tokens, weight = np.add.reduceat(weighed, np.concatenate([[0], last[:-1] + 1]), axis=1)
    return np.exp(log_tokens / weight), loss / weight


def _points(tokens: Numbers, losses: Numbers, fewest: int) -> tuple[Floats, Floats]:
    n, measured = _numbers("tokens", tokens), _numbers("losses", losses)
    if len(n) != len(measured):
        raise InputError(f"losses must be as many as tokens ({len(n)}), got {len(measured)}")
    if len(n) < fewest:
        raise InputError(f"this fit needs at least {fewest} runs with tokens and a loss, got {len(n)}: add runs")
    return n, measured


def _numbers(name: str, values: Numbers) -> Floats:
    try:
        made = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers above 0, got {values!r:.80}") from None
    if (wrong := made[~(np.isfinite(made) & (made > 0))]).size:
        raise InputError(f"{name} must be numbers above 0, got {wrong[0]:g}: leave out runs that have none")
    return made


def _hull(value: float, ends: tuple[float, float]) -> tuple[float | None, float | None]:
    """The interval, widened to hold the estimate, which is no least-squares one; None for an open end."""
    low, high = min(value, ends[0]), max(value, ends[1])
    return low, high if math.isfinite(high) else None


def _interval(estimate: Estimate) -> str:
    low, high = ("open" if end is None else f"{end:.4g}" for end in (estimate.low, estimate.high))
    return f"{estimate.value:.4g} ({low} to {high})"


def _told(law: Scaling | ScalingByRatio) -> str:
    n, level = law.tokens, f"{law.level:.0%} intervals"
    said = f"{len(n)} runs on {n.min():,.0f} to {n.max():,.0f} tokens, {level}, runs scatter by {law.spread:.2%}"
    return ". ".join([said, *law.notes])


def _common(law: Scaling | ScalingByRatio) -> dict[str, Any]:
    return {
        "tokens": law.tokens.tolist(),
        "losses": law.losses.tolist(),
        "spread": law.spread,
        "level": law.level,
        "notes": list(law.notes),
    }
