"""``zipspark plan`` and ``zipspark doctor``: what to know before a run."""

from __future__ import annotations

from typing import Any

import click

from zipspark.config import DoctorConfig, SelectConfig, check_select
from zipspark.errors import EXIT_DONE, EngineError
from zipspark.extras import on_spark
from zipspark.flags import CONFIG_FLAG, SectionedCommand, asked, finish, flags_of, require

_OF_RESULT = ("output", "overwrite", "format", "ids_only", "resume", "output_schema")


@click.command(cls=SectionedCommand)
@flags_of(SelectConfig, but=_OF_RESULT)
@CONFIG_FLAG
def plan(config: str | None, **flags: Any) -> None:
    """Say what `select` would do with INPUT, how long it would take and what would go wrong. Nothing is written.

    Example: zipspark plan pool.parquet --budget 10000 --group-column source
    """
    options = asked(SelectConfig, flags, config)
    require(options, "input")
    check_select(options)
    found = on_spark("planning").plan_to(options)
    finish(options, found, found.to_dict())


@click.command(cls=SectionedCommand)
@flags_of(DoctorConfig, but=("output", "overwrite", "hide_text"))
def doctor(**flags: Any) -> int:
    """Check what zipspark needs here, and say for each thing that is missing or broken what mends it (4: something is).

    Example: zipspark doctor --master local[2]
    """
    from zipspark.doctor import diagnosed

    options = asked(DoctorConfig, flags, None)
    found = diagnosed(options)
    finish(options, str(found), found.to_dict())
    return EXIT_DONE if found.healthy else EngineError.exit_code
