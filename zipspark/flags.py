"""What every command shares: flags made from options, and how it says what it has done."""

from __future__ import annotations

import json
import logging
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from zipspark.errors import UsageError
from zipspark.limits import Until
from zipspark.options import SECTIONS, is_switch, layered, options_of, read_config_file, shown


class SectionedCommand(click.Command):
    """A command whose help lists options under the sections of `zipspark.config`."""

    sections: dict[str, str] = SECTIONS

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, title in self.sections.items():
            rows = [
                record
                for parameter in self.get_params(ctx)
                if getattr(parameter, "section", None) == section
                if (record := parameter.get_help_record(ctx)) is not None
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        with formatter.section("Other"):
            rest = [p for p in self.get_params(ctx) if not hasattr(p, "section")]
            formatter.write_dl([record for p in rest if (record := p.get_help_record(ctx)) is not None])


class OptionOf(click.Option):
    """A flag that belongs to a section."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def flags_of(
    model: type[BaseModel], but: Sequence[str] = (), sections: dict[str, str] = SECTIONS
) -> Callable[[Any], Any]:
    """One flag per field of ``model``, left out (None) where it is not given; pydantic checks the values.

    ``input`` is an argument. Fields named in ``but`` are none: the command sets them.
    """

    def decorate(command: Any) -> Any:
        # click shows flags in the order they were added, last first.
        for section in reversed(sections):
            for key, field in reversed(options_of(model, section).items()):
                if key not in ("input", *but):
                    command = click.option(_names(key, field), key, cls=OptionOf, **_flag(field))(command)
        has_input = "input" in model.model_fields and "input" not in but
        return (
            click.argument("input", nargs=-1, shell_complete=completing(files=True))(command) if has_input else command
        )

    return decorate


def _names(key: str, field: FieldInfo) -> str:
    name = key.replace("_", "-")
    return f"--{name}/--no-{name}" if is_switch(field) else f"--{name}"


def _flag(field: FieldInfo) -> dict[str, Any]:
    """How click shows one option. Values are taken as text: `zipspark.config` is what checks them."""
    flag: dict[str, Any] = {"section": shown(field)["section"], "help": field.description, "default": None}
    choices = _choices(field)
    flag["shell_complete"] = completing(choices, files=_is_place(shown(field)["metavar"]))
    kinds = [_plain(kind) for kind in (field.annotation, *typing.get_args(field.annotation))]
    if is_switch(field):
        return flag | {"is_flag": True}
    if {dict, tuple} & {typing.get_origin(kind) for kind in kinds} or Until in kinds:
        return flag | {"multiple": True, "metavar": shown(field)["metavar"]}
    number = {int, float} & {field.annotation, *typing.get_args(field.annotation)}
    metavar = shown(field)["metavar"] or "|".join(choices) or ("NUMBER" if number else "VALUE")
    if field.default not in (None, ()):
        default = {True: "on", False: "off"}[field.default] if isinstance(field.default, bool) else field.default
        flag["help"] += f"  [default: {default}]"
    return flag | {"type": str, "metavar": metavar}


def _choices(field: FieldInfo) -> list[str]:
    """The words that a value is one of; none where it may be any."""
    if field.annotation is bool:
        return ["on", "off"]
    kinds = (field.annotation, *typing.get_args(field.annotation))  # of one that may be null the second is the Literal
    return [word for kind in kinds if typing.get_origin(kind) is typing.Literal for word in typing.get_args(kind)]


def completing(words: Sequence[str] = (), files: bool = False) -> Callable[..., list[CompletionItem]]:
    """What a shell offers for a value: these words, or files and folders."""

    def offered(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        found = [CompletionItem(word) for word in words if word.startswith(begun)]
        return [*found, CompletionItem(begun, type="file")] if files else found

    return offered


def _is_place(metavar: str | None) -> bool:
    """Whether a value is, or may be, the name of a file or folder."""
    return (metavar or "").partition(",")[0] in ("FILE", "LOG", "OUT", "PATH", "TABLE", "URI")


def _plain(kind: Any) -> Any:
    """A type without what pydantic is told of it."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


CONFIG_FLAG = click.option(
    "--config",
    metavar="FILE",
    help="YAML file with any of these options; flags win over it.",
    shell_complete=completing(files=True),
)


def asked(model: type[Any], flags: dict[str, Any], config: str | None) -> Any:
    """The options of a command: its flags over those of the file ``config``. Raises `UsageError`."""
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    options = layered(model, given, read_config_file(config) if config else None)
    if options.quiet:
        logging.getLogger("zipspark").setLevel(logging.WARNING)
    return options


def require(options: BaseModel, *names: str) -> None:
    """Raises `UsageError` for one of these options that has no value."""
    for name in names:
        if not getattr(options, name):
            how = "INPUT as an argument" if name == "input" else f"--{name}"
            raise UsageError(f"{name} must be given: {how}, or the key {name!r} in the --config file")


def finish(options: Any, human: Any, machine: Any, written: str | None = None) -> None:
    """Print what a command has to say and, below, what it has written."""
    if options.json_:
        click.echo(json.dumps(machine, default=str))
    elif not options.quiet:
        if isinstance(human, str):
            click.echo(human)  # whole, however long: paths are copied from here
        else:
            Console(width=None if sys.stdout.isatty() else 100).print(human)
        if written:
            click.echo(written)
