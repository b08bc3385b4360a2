"""The middle of a scaling law, as Hoffmann 2022 fits it, and its predictions; form and sources are in `scaling`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zipspark.entropy.scaling_profile import Floats, Part, Profile
from zipspark.errors import InputError, UsageError
from zipspark.extras import needs

FARTHEST = 10  # times the largest N fitted: issue 6; beyond, the floor decides, and no point has shown it
_BESIDE = 0.2  # of the range of H, so far outside of it lines are believed


class Prediction(NamedTuple):
    """What a run will come to."""

    low: float  # of the loss that will be measured: what is not known of the law, and the noise of a run
    middle: float
    high: float
    extrapolated: bool  # outside of the points that were fitted


@dataclass(frozen=True, eq=False)
class Law:
    """The fitted law over x = log N - origin and u, which is H from its least (0) to its largest (1)."""

    profile: Profile
    origin: float  # log N0
    tokens: tuple[float, float]  # least and largest
    compressibility: tuple[float, float]  # H, least and largest
    theta: Floats  # (k,) floors and the height at u = 0
    shape: Floats  # (s,) as `Profile` has it

    @classmethod
    def fit(cls, profile: Profile, n: Floats, h: Floats, delta: float) -> Law:
        """Through the points of ``profile``, at tokens ``n`` and H ``h``."""
        if not (math.isfinite(delta) and delta > 0):
            raise UsageError(f"delta must be above 0, got {delta!r}")
        best = _huber(profile, delta)
        ends = (float(n.min()), float(n.max())), (float(h.min()), float(h.max()))
        return cls(profile, float(np.log(n).mean()), *ends, best[: profile.floors + 1], best[profile.floors + 1 :])

    def place(self, ratio: float) -> float:
        """u of a ratio; raises `UsageError` too far outside."""
        least, largest = self.compressibility
        u = (1 / ratio - least) / (largest - least) if math.isfinite(ratio) and ratio > 0 else math.nan
        if not -_BESIDE <= u <= 1 + _BESIDE:
            raise UsageError(
                f"ratio must be near those fitted, {1 / largest:.4g} to {1 / least:.4g}, got {ratio!r}: measure runs "
                "on such data first"
            )
        return u

    def parameters(self, u: float) -> dict[str, float]:
        """E, A and alpha at u."""
        profile = self.profile
        alphas = self.shape[: profile.exponents]
        e, alpha = (float(ends[0] + u * (ends[-1] - ends[0])) for ends in (self.theta[:-1], alphas))
        taller = float(self.shape[-1]) * u if "A" in profile.varies else 0.0
        return {"E": max(0.0, e), "A": float(self.theta[-1]) * math.exp(taller + alpha * self.origin), "alpha": alpha}

    def predict(self, tokens: float, ratio: float | None) -> Prediction:
        least, largest = self.tokens
        if not (math.isfinite(tokens) and least / FARTHEST <= tokens <= FARTHEST * largest):
            raise UsageError(
                f"tokens must be within {FARTHEST} times of those fitted, {least:,.0f} to {largest:,.0f}, got "
                f"{tokens:,.0f}: a law says nothing so far out; measure a run nearer to it first"
            )
        u = 0.0 if ratio is None else self.place(ratio)
        x = math.log(tokens) - self.origin
        middle = float(self.profile.columns(self.shape[None], np.array([x]), np.array([u]))[0, 0] @ self.theta)
        low, high = self.profile.range_at(x, u)
        noise = self.profile.t * self.profile.spread * middle
        return Prediction(
            low=max(0.0, middle - math.hypot(max(0.0, middle - low), noise)),
            middle=middle,
            high=middle + math.hypot(max(0.0, high - middle), noise),
            extrapolated=not (least <= tokens <= largest and -1e-9 <= u <= 1 + 1e-9),
        )


def profile_of(n: Floats, losses: Floats, h: Floats, varies: tuple[Part, ...], level: float) -> Profile:
    """The profile of points at H.

    Raises `UsageError` for a level that is none and where scipy is not installed, `InputError` for losses that do not
    fall with tokens.
    """
    with needs("a fit needs scipy", "entropy"):
        from scipy.stats import t  # type: ignore[import-untyped,unused-ignore]
    if not 0 < level < 1:
        raise UsageError(f"level of the intervals must be between 0 and 1, got {level!r}")
    _check_fall(np.log(n), np.log(losses), h)
    x = np.log(n) - np.log(n).mean()
    u = (h - h.min()) / np.ptp(h) if np.ptp(h) else np.zeros(len(n))
    made = Profile(x, u, losses, varies, 0.0)
    return Profile(x, u, losses, varies, float(t.ppf((1 + level) / 2, max(1, len(n) - made.parameters))))


def _huber(profile: Profile, delta: float) -> Floats:
    """Floors, height and shape (p,) of the smallest Huber loss of log predicted - log measured."""
    with needs("a fit needs scipy", "entropy"):
        from scipy.optimize import least_squares, minimize  # type: ignore[import-untyped,unused-ignore]
    count = profile.floors + 1
    logs = np.log(profile.losses)
    lower = np.concatenate([np.zeros(count), profile.bounds[0]])
    upper = np.concatenate([np.full(count, np.inf), profile.bounds[1]])

    def residuals(at: Floats) -> Floats:
        predicted = profile.columns(at[None, count:], profile.x, profile.u)[0] @ at[:count]
        made: Floats = np.log(np.maximum(predicted, 1e-300)) - logs
        return made

    def loss(at: Floats) -> float:
        off = np.abs(residuals(at)) / delta
        return float(np.where(off <= 1, off**2 / 2, off - 0.5).sum())

    def descend(start: Floats) -> Floats:
        # Wide: with a small delta the loss is nearly that of absolute values, whose kinks catch a search from afar.
        found: Floats = least_squares(
            residuals,
            np.clip(start, lower, upper),
            bounds=(lower, upper),
            loss="huber",
            f_scale=100 * delta,
            x_scale="jac",
            xtol=1e-12,
        ).x
        return found

    best = min(map(descend, _starts(profile)), key=loss)
    for _ in range(2):  # a search without gradients ends in the kinks; begun anew where it had collapsed before
        simplex = np.vstack([best, *(best + np.diag(0.03 * np.abs(best) + 1e-6))])
        options = {"xatol": 1e-9, "fatol": 1e-9, "maxiter": 300 * len(best), "initial_simplex": simplex}
        found = minimize(loss, best, method="Nelder-Mead", bounds=list(zip(lower, upper, strict=True)), options=options)
        best = min((best, np.asarray(found.x)), key=loss)
    return best


def _starts(profile: Profile) -> list[Floats]:
    """Where the search begins: at least squares, and at flat and steep laws with and without much of a floor."""
    starts = [np.concatenate(profile.least_squares)]
    shape = np.arange(profile.shape) < profile.exponents
    for alpha in (0.1, 0.5):
        for share in (0.1, 0.9):
            floors = np.full(profile.floors, share * profile.losses.min())
            height = [(1 - share) * np.median(profile.losses)]
            starts.append(np.concatenate([floors, height, alpha * shape]))
    return starts


def _check_fall(x: Floats, y: Floats, h: Floats) -> None:
    """Raise `InputError` unless the losses fall with the tokens, at equal H."""
    columns = np.stack([np.ones(len(x)), x - x.mean(), h - h.mean()], axis=1)
    slope = float(np.linalg.lstsq(columns, y, rcond=None)[0][1])
    if slope >= -1e-12:
        raise InputError(
            "losses must fall as tokens grow: here they do not, so E, A and alpha are not identified; give runs that "
            "differ in their tokens by more, or the loss of each at its end"
        )
