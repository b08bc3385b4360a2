"""Entry points of a Databricks wheel task (`databricks.yml`): its named parameters are the options of a command.

A task ends well when its entry point returns, and fails with the error that the entry point raises. `SystemExit` is no
way to end one, not even with 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from pydantic import BaseModel

from zipspark import cli
from zipspark.config import RefreshConfig, SelectConfig
from zipspark.errors import EXIT_DONE, UsageError
from zipspark.logs import log_on_stderr
from zipspark.options import is_switch
from zipspark.storage.places import redact_all


def select_subset() -> None:
    """``zipspark select`` as a task. Raises what the command line has an exit code for."""
    _task("select", SelectConfig)


def refresh_subset() -> None:
    """``zipspark refresh`` as a task."""
    _task("refresh", RefreshConfig)


def command_line(model: type[BaseModel], parameters: Sequence[str]) -> list[str]:
    """The flags that named parameters (``--name=value``) stand for; an empty value is an option that is not given.

    Names are those of the options, with _ or -. A job's parameters come beside those of its task: the last one counts.

    >>> command_line(SelectConfig, ["--input=main.raw.chats", "--budget=5%", "--overwrite=true", "--group_column="])
    ['main.raw.chats', '--budget=5%', '--overwrite']
    """
    switches = {field.alias or name for name, field in model.model_fields.items() if is_switch(field)}
    found: dict[str, str] = {}
    flags: list[str] = []
    for parameter in parameters:
        name, given, value = parameter.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        if not (given and name.startswith("--")):
            flags.append(parameter)  # of a task with a list of parameters: flags as in a shell
        elif not value:
            found.pop(key, None)
        elif key not in switches:
            found[key] = value if key == "input" else f"--{key.replace('_', '-')}={value}"
        elif value in ("true", "false"):
            found[key] = f"--{'no-' * (value == 'false')}{key.replace('_', '-')}"
        else:
            raise UsageError(f"{key} must be true or false, got {value!r}")
    return [*found.values(), *flags]


def _task(command: str, model: type[BaseModel]) -> None:
    with log_on_stderr() as ended:
        try:
            arguments = [command, *command_line(model, sys.argv[1:])]
            cli.zipspark.main(args=arguments, prog_name="zipspark", standalone_mode=False)
        except click.ClickException as error:
            raise UsageError(redact_all(error.format_message())) from None
        except UsageError as error:
            raise UsageError(redact_all(str(error))) from None
        ended(EXIT_DONE)
