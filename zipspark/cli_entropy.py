"""``zipspark entropy``: the entropy law on the command line. The work is that of `zipspark.entropy_jobs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from pydantic import BaseModel

from zipspark.config import (
    ENTROPY_SECTIONS,
    CheckConfig,
    CurvesConfig,
    FitConfig,
    LogConfig,
    MeasureConfig,
    PredictConfig,
)
from zipspark.errors import UsageError
from zipspark.extras import on_spark
from zipspark.flags import CONFIG_FLAG, SectionedCommand, asked, completing, finish, flags_of, require


class EntropyCommand(SectionedCommand):
    """A command whose help lists options under the sections of `zipspark.config.entropy`."""

    sections = ENTROPY_SECTIONS


def _flags(model: type[BaseModel], *but: str) -> Callable[[Any], Any]:
    """One flag per option of ``model`` that means something."""
    return flags_of(model, (*getattr(model, "NOT_OPTIONS", ()), *but), ENTROPY_SECTIONS)


@click.group()
def entropy() -> None:
    """Measure data sets, log their versions, and see what ratio and first-epoch loss say of a version.

    Example: zipspark entropy check --log versions.csv --version v5
    """


@entropy.command(cls=EntropyCommand)
@_flags(MeasureConfig)
@CONFIG_FLAG
def measure(config: str | None, **flags: Any) -> None:
    """Measure R, the compression ratio of all of INPUT as one set, and of its groups. Lower is less redundant.

    Example: zipspark entropy measure pool.parquet --group-column source --seed-orders 5
    """
    options = asked(MeasureConfig, flags, config)
    require(options, "input")
    _say(options, on_spark("entropy_jobs").measure_to(options))


@entropy.command(cls=EntropyCommand)
@_flags(LogConfig)
@CONFIG_FLAG
def log(config: str | None, **flags: Any) -> None:
    """Add what is known of a version to LOG, which is made where there is none. A later row fills in the rest.

    Example: zipspark entropy log --log versions.csv --version v4 --data pool.parquet --training run/trainer_state.json
    """
    options = asked(LogConfig, flags, config)
    require(options, "log", "version")
    _say(options, on_spark("entropy_jobs").log_to(options))


@entropy.command(cls=EntropyCommand)
@_flags(FitConfig)
@CONFIG_FLAG
def fit(config: str | None, **flags: Any) -> None:
    """Fit the law over LOG: the score on ratio and loss, falling in both; and the loss on the ratio.

    Example: zipspark entropy fit --log versions.csv --plot law.png
    """
    options = asked(FitConfig, flags, config)
    require(options, "log")
    _say(options, on_spark("entropy_jobs").fit_to(options))


@entropy.command(cls=EntropyCommand)
@_flags(CheckConfig)
@CONFIG_FLAG
def check(config: str | None, **flags: Any) -> int:
    """Judge a version against all before it: ok (exit code 0), watch (10) or risk (20), and by which rule.

    Example: zipspark entropy check --log versions.csv --version v5 --policy policy.yml
    """
    options = asked(CheckConfig, flags, config)
    found = on_spark("entropy_jobs").check_to(options)
    _say(options, found)
    return int(found.exit_code)


@entropy.command(cls=EntropyCommand)
@_flags(CurvesConfig, "curves")
@click.argument("curves", nargs=-1, shell_complete=completing(files=True))
@CONFIG_FLAG
def curves(config: str | None, **flags: Any) -> None:
    """Compare trainings: code length of the first epoch, the ratio it amounts to, speed, and when skills came.

    Example: zipspark entropy curves run-a run-b.jsonl run-c.csv --bytes 70MB --plot curves.png
    """
    options = asked(CurvesConfig, flags, config)
    if not options.curves:
        raise UsageError("curves must be given: training output, a file or folder for each run")
    _say(options, on_spark("entropy_jobs").curves_to(options))


@entropy.command(cls=EntropyCommand)
@_flags(PredictConfig)
@CONFIG_FLAG
def predict(config: str | None, **flags: Any) -> None:
    """Predict the loss of a run on so many tokens, with its band; not beyond ten times what was seen.

    Example: zipspark entropy predict --log versions.csv --tokens 20Mtok --version v5
    """
    options = asked(PredictConfig, flags, config)
    require(options, "tokens")
    _say(options, on_spark("entropy_jobs").predict_to(options))


def _say(options: Any, found: Any) -> None:
    plots = ", ".join(getattr(found, "plots", ()))
    human = found if hasattr(found, "__rich__") else str(found)
    finish(options, human, found.to_dict(), f"pictures: {plots}" if plots else None)
