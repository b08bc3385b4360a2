"""The command line. Flags are made from the options in `zipspark.config`; this file only parses, prints and exits."""

from __future__ import annotations

import importlib
import json
import logging
import signal
import socket
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from zipspark.config import (
    EngineOptions,
    LeakageConfig,
    MatrixConfig,
    RefreshConfig,
    ScoreConfig,
    SelectConfig,
    check_refresh,
    check_select,
)
from zipspark.errors import EXIT_DONE, EXIT_INTERRUPTED, EngineError, InputError, UsageError, ZipsparkError
from zipspark.limits import Until
from zipspark.logs import log_on_stderr
from zipspark.options import SECTIONS, is_switch, layered, options_of, read_config_file, shown
from zipspark.storage.cleaning import leftovers, remove
from zipspark.storage.places import redact_all
from zipspark.units import format_bytes


class SectionedCommand(click.Command):
    """A command whose help lists options under the sections of `zipspark.config`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, title in SECTIONS.items():
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


def flags_of(model: type[BaseModel], but: Sequence[str] = ()) -> Callable[[Any], Any]:
    """One flag per field of ``model``, left out (None) where it is not given; pydantic checks the values.

    ``input`` is an argument. Fields named in ``but`` are none: the command sets them.
    """

    def decorate(command: Any) -> Any:
        # click shows flags in the order they were added, last first.
        for section in reversed(SECTIONS):
            for key, field in reversed(options_of(model, section).items()):
                if key not in ("input", *but):
                    command = click.option(_names(key, field), key, cls=OptionOf, **_flag(field))(command)
        return click.argument("input", nargs=-1)(command) if "input" in model.model_fields else command

    return decorate


def _names(key: str, field: FieldInfo) -> str:
    name = key.replace("_", "-")
    return f"--{name}/--no-{name}" if is_switch(field) else f"--{name}"


def _flag(field: FieldInfo) -> dict[str, Any]:
    """How click shows one option. Values are taken as text: `zipspark.config` is what checks them."""
    flag: dict[str, Any] = {"section": shown(field)["section"], "help": field.description, "default": None}
    kinds = [_plain(kind) for kind in (field.annotation, *typing.get_args(field.annotation))]
    if is_switch(field):
        return flag | {"is_flag": True}
    if {dict, tuple} & {typing.get_origin(kind) for kind in kinds} or Until in kinds:
        return flag | {"multiple": True, "metavar": shown(field)["metavar"]}
    choices = [choice for choice in typing.get_args(field.annotation) if isinstance(choice, str)]
    number = {int, float} & {field.annotation, *typing.get_args(field.annotation)}
    metavar = shown(field)["metavar"] or "|".join(choices) or ("NUMBER" if number else "VALUE")
    if field.default not in (None, ()):
        default = {True: "on", False: "off"}[field.default] if isinstance(field.default, bool) else field.default
        flag["help"] += f"  [default: {default}]"
    return flag | {"type": str, "metavar": metavar}


def _plain(kind: Any) -> Any:
    """A type without what pydantic is told of it."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


CONFIG_FLAG = click.option("--config", metavar="FILE", help="YAML file with any of these options; flags win over it.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="zipspark")
def zipspark() -> None:
    """Choose the low-redundancy subset of a language-model training pool by compression ratio.

    Example: zipspark select chats.jsonl --output chosen --budget 10%
    """


@zipspark.command(cls=SectionedCommand)
@flags_of(SelectConfig)
@CONFIG_FLAG
def select(config: str | None, **flags: Any) -> None:
    """Choose a subset of INPUT (paths, folders, globs or a table name) and write it to OUT.

    Example: zipspark select pool.parquet --output chosen --budget 10000 --group-column source
    """
    options = _options(SelectConfig, flags, config)
    _require(options, "input", *(() if options.output_schema else ("output",)))
    check_select(options)
    summary = _pipeline().select_to(options)
    subset = f"{options.output}/subset" if options.output else f"{options.output_schema}.subset"
    _finish(options, summary, summary.to_dict(), f"subset: {subset}")


@zipspark.command(cls=SectionedCommand)
@flags_of(ScoreConfig)
@CONFIG_FLAG
def score(config: str | None, **flags: Any) -> None:
    """Write the compression ratio of every row of INPUT to OUT: id, group, bytes, ratio.

    Example: zipspark score pool.parquet --output scores --group-column source
    """
    options = _options(ScoreConfig, flags, config)
    _require(options, "input", "output")
    result = _pipeline().score_to(options)
    _finish(options, f"{result['rows']:,} rows scored", result, f"scores: {result['output']}")


@zipspark.command(cls=SectionedCommand)
@flags_of(RefreshConfig, but=tuple(RefreshConfig.NOT_OPTIONS))
@CONFIG_FLAG
def refresh(config: str | None, **flags: Any) -> None:
    """Bring the Delta table SUBSET up to the newest version of CORPUS: what is new comes in, what is gone goes.

    Example: zipspark refresh --corpus main.chats --subset main.chosen --id-column id --budget 5%
    """
    options = _options(RefreshConfig, flags, config)
    check_refresh(options)
    done = _module("refresh").refresh_to(options)
    _finish(options, str(done), done.to_dict())


@zipspark.command(cls=SectionedCommand)
@flags_of(MatrixConfig)
@CONFIG_FLAG
def matrix(config: str | None, **flags: Any) -> None:
    """Show how well each group of INPUT compresses each other; with --output also as table and picture.

    Example: zipspark matrix pool.parquet --group-column source --output redundancy
    """
    options = _options(MatrixConfig, flags, config)
    _require(options, "input")
    found = _module("analysis").matrix_to(options)
    written = f"matrix: {options.output}/matrix" if options.output else None
    _finish(options, found, found.to_dict() | {"output": options.output}, written)


@zipspark.command(cls=SectionedCommand)
@flags_of(LeakageConfig)
@CONFIG_FLAG
def leakage(config: str | None, **flags: Any) -> None:
    """Find which items of an evaluation set INPUT contains, wholly or in part, and write them to OUT.

    Example: zipspark leakage pool.parquet --against gsm8k_test.jsonl --output leaked
    """
    options = _options(LeakageConfig, flags, config)
    _require(options, "input", "against", "output")
    found = _module("analysis").leakage_to(options)
    _finish(options, found, found.to_dict(), f"items: {options.output}/leakage")


@zipspark.command(cls=SectionedCommand)
@click.argument("output", metavar="OUT")
@flags_of(EngineOptions, but=("output", "overwrite"))
def verify(output: str, **flags: Any) -> int:
    """Derive the ranking of OUT again, from its input as it was, and say whether it is the same (5: it differs).

    OUT is a folder, or the schema of --output-schema. Example: zipspark verify chosen
    """
    options = _options(EngineOptions, flags | {"output": output}, None)
    found = _module("verify").verify(options)
    _finish(options, str(found), found.to_dict())
    return int(found.exit_code)


@zipspark.command(cls=SectionedCommand)
@click.argument("output", metavar="OUT")
@flags_of(EngineOptions, but=("output", "overwrite", "master", "remote", "conf", "jars"))
@click.option("--dry-run", is_flag=True, help="List only.")
def clean(output: str, dry_run: bool, **flags: Any) -> None:
    """List and remove what killed runs have left beside OUT: complete stages, half a result. OUT itself stays.

    Example: zipspark clean chosen --dry-run
    """
    options = _options(EngineOptions, flags | {"output": output}, None)
    found = leftovers(options)
    lines = [] if found else ["nothing was left"]
    for one in found:
        going = not (dry_run or one.in_use)
        if going:
            remove(one)
        state = "in use" if one.in_use else "removed" if going else "to remove"
        stages = f", complete stages: {', '.join(one.stages)}" if one.stages else ""
        lines.append(f"{state}: {one.place} ({format_bytes(one.bytes)}{stages})")
    _finish(options, "\n".join(lines), {"dry_run": dry_run, "found": [one.to_dict() for one in found]})


@zipspark.command()
@click.option("--output", default="out/demo", metavar="OUT", show_default=True, help="Folder to write; replaced.")
@click.option("--budget", default="10%", show_default=True, help="Rows, share of the pool or bytes.")
def demo(output: str, budget: str) -> None:
    """Select from real text that every machine has: the documentation of Python's standard library.

    Example: zipspark demo
    """
    from zipspark.demo import write_corpus

    corpus = Path(output.rstrip("/") + "-corpus.jsonl")
    flags = {"input": (str(corpus),), "output": output, "budget": budget, "group_column": "source", "overwrite": True}
    options = layered(SelectConfig, flags)
    try:
        corpus.parent.mkdir(parents=True, exist_ok=True)
        rows = write_corpus(corpus)
    except OSError as error:
        raise InputError(f"output {output!r} cannot be written beside: {error}; give another --output") from None
    click.echo(f"{rows:,} documentation strings of Python's standard library: {corpus}", err=True)
    _finish(options, _pipeline().select_to(options), None, f"subset: {output}/subset")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the codes of `zipspark.errors`."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """The same, returning the exit code (a Databricks wheel task must return plainly)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with log_on_stderr() as ended:
        return ended(_run(arguments))


def _run(arguments: list[str]) -> int:
    with _interrupts() as interrupted:
        try:
            code = zipspark.main(args=arguments, prog_name="zipspark", standalone_mode=False)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return UsageError.exit_code
        except click.ClickException as error:
            return _fail(arguments, UsageError(error.format_message()))
        except (KeyboardInterrupt, click.exceptions.Abort):
            return _stopped(arguments)
        except Exception as error:
            if interrupted():
                return _stopped(arguments)
            if isinstance(error, ZipsparkError):
                return _fail(arguments, error)
            raise
    return code or EXIT_DONE


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed.

    PySpark puts a handler of its own in place of Python's and cancels its jobs, which then fail like any other: from
    the error alone it cannot be told. The interpreter's wake-up descriptor hears every signal, whoever handles it.
    """
    heard, signals = socket.socketpair()
    heard.setblocking(False)
    signals.setblocking(False)

    def interrupted() -> bool:
        try:
            return signal.SIGINT in heard.recv(4096)
        except BlockingIOError:
            return False

    with heard, signals:
        try:
            before = signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
        except ValueError:  # signals are the main thread's alone
            yield lambda: False
            return
        try:
            yield interrupted
        finally:
            signal.set_wakeup_fd(before)


def _pipeline() -> Any:
    return _module("pipeline")


def _module(name: str) -> Any:
    """A module of zipspark's, imported once the options are known to be right: pyspark takes a second."""
    try:
        return importlib.import_module(f"zipspark.{name}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "pyspark":
            raise EngineError("pyspark is not installed. Run: pip install 'zipspark[spark]'") from None
        raise


def _options(model: type[Any], flags: dict[str, Any], config: str | None) -> Any:
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    options = layered(model, given, read_config_file(config) if config else None)
    if options.quiet:
        logging.getLogger("zipspark").setLevel(logging.WARNING)
    return options


def _require(options: BaseModel, *names: str) -> None:
    for name in names:
        if not getattr(options, name):
            how = "INPUT as an argument" if name == "input" else f"--{name}"
            raise UsageError(f"{name} must be given: {how}, or the key {name!r} in the --config file")


def _finish(options: Any, human: Any, machine: Any, written: str | None = None) -> None:
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


def _stopped(arguments: Sequence[str]) -> int:
    click.echo("zipspark: interrupted; nothing was written", err=True)
    if "--json" in arguments:
        click.echo(json.dumps({"error": "interrupted", "exit_code": EXIT_INTERRUPTED}))
    return EXIT_INTERRUPTED


def _fail(arguments: Sequence[str], error: ZipsparkError) -> int:
    message = redact_all(str(error))
    click.echo(f"zipspark: {message}", err=True)
    if "--json" in arguments:
        click.echo(json.dumps({"error": message, "exit_code": error.exit_code}))
    return error.exit_code
