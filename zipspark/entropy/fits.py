"""What the fits of the entropy law share: coefficients and predictions with intervals, and which versions compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zipspark.entropy.versions import Version
from zipspark.errors import InputError, UsageError
from zipspark.extras import needs

Floats = npt.NDArray[np.float64]

SAME = 1e-9  # values that differ by less, as a share of the largest, are one value


@dataclass(frozen=True)
class Coefficient:
    """One number of a fit. The interval is None where the data contradict the law (`Law.notes`)."""

    value: float
    low: float | None
    high: float | None
    held: bool = False  # whether the data would give the other sign, so that it is held at the law's bound, 0


@dataclass(frozen=True)
class Expected:
    """What a fit says at one point."""

    low: float  # of the prediction interval: where a new version falls with `confidence`
    middle: float
    high: float
    extrapolated: bool  # whether the point is beyond what was fitted


def of_one_codec(versions: Sequence[Version], codec: str | None, least: int) -> tuple[list[Version], str]:
    """Those whose R was measured by ``codec``: of one set zlib and zstd give ratios far apart."""
    codecs = sorted({row.codec for row in versions})
    if codec is None and len(codecs) > 1:
        held = "; ".join(f"{one}: {', '.join(row.version for row in versions if row.codec == one)}" for one in codecs)
        raise InputError(f"ratios of different codecs cannot be compared ({held}): measure all with one, or choose one")
    codec = codecs[0] if codec is None else codec
    taken = [row for row in versions if row.codec == codec]
    if len(taken) < least:
        raise InputError(f"at least {least} versions must have a ratio by {codec}, got {len(taken)}: measure more")
    return taken, codec


def load_scipy() -> tuple[Any, Any]:
    """Its modules ``optimize`` and ``special``."""
    with needs("a fit needs scipy", "entropy"):
        from scipy import optimize, special  # type: ignore[import-untyped,unused-ignore]
    return optimize, special


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be between 0 and 1, got {confidence!r}")


def same(values: Floats) -> bool:
    return bool(np.ptp(values) <= SAME * np.abs(values).max())


def within(value: float, values: Sequence[float]) -> bool:
    return min(values) <= value <= max(values)


def interval(found: Coefficient) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:+.4g}, no interval within the law"
    return f"{found.value:+.4g}, {found.low:+.4g} to {found.high:+.4g}"


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
