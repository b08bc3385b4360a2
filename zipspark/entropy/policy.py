"""The thresholds of `zipspark.entropy.warning`: their defaults, why, and the YAML file that sets them."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field

from zipspark.errors import UsageError
from zipspark.options import layered, read_config_file


class Policy(BaseModel):
    """When a version is worth a warning. A YAML file may hold any of these keys (`Policy.read`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_past: int = Field(
        default=3, ge=2, description="past versions below which nothing is judged; two have no spread yet"
    )
    spreads: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="standard deviations of past ratios that R may be above their range; more: fewer false alarms",
    )
    least_rise: float = Field(
        default=0.01,
        ge=0,
        allow_inf_nan=False,
        description="share of the past's mean R that R may be above their range in any case: past ratios that happen "
        "to agree have no spread, and the order of the samples alone moves R by 0.1 to 0.3 %",
    )
    confidence: float = Field(
        default=0.95,
        gt=0,
        lt=1,
        description="of the band of losses; a like version is above it in half of what is missing to 1",
    )
    least_excess: float = Field(
        default=0.01,
        ge=0,
        allow_inf_nan=False,
        description="nats per token that L may be above the band in any case: rounding and seeds move it as much",
    )
    tokens_within: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of the past's tokens that L may lack before that is said: early losses are high",
    )
    size_within: float = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="factor between sizes of sets beyond which it is said that R depends on it",
    )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Policy:
        """Of a YAML file, what it leaves out by default. Raises `UsageError` naming key, rule and value."""
        try:
            return layered(cls, {}, read_config_file(os.fspath(path)))
        except UsageError as error:
            raise UsageError(f"policy {os.fspath(path)}: {error}") from None
