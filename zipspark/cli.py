"""The command line. Flags are made from the options in `zipspark.config`; this file only parses, prints and exits.

The commands of `zipspark entropy` are in `zipspark.cli_entropy`, what all of them share in `zipspark.flags`.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from zipspark.cli_entropy import entropy
from zipspark.cli_plan import doctor, plan
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
from zipspark.errors import EXIT_DONE, EXIT_INTERRUPTED, InputError, UsageError, ZipsparkError
from zipspark.extras import on_spark
from zipspark.flags import CONFIG_FLAG, SectionedCommand, asked, completing, finish, flags_of, require
from zipspark.logs import log_on_stderr
from zipspark.options import layered
from zipspark.storage.cleaning import leftovers, remove
from zipspark.storage.output import REPORT
from zipspark.storage.places import Place, redact_all
from zipspark.units import format_bytes
from zipspark.wording import by_flags

OUT = click.argument("output", metavar="OUT", shell_complete=completing(files=True))


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
    options = asked(SelectConfig, flags, config)
    require(options, "input", *(() if options.output_schema else ("output",)))
    check_select(options)
    summary = _pipeline().select_to(options)
    finish(options, summary, summary.to_dict(), _written(options))


@zipspark.command(cls=SectionedCommand)
@flags_of(ScoreConfig)
@CONFIG_FLAG
def score(config: str | None, **flags: Any) -> None:
    """Write the compression ratio of every row of INPUT to OUT: id, group, bytes, ratio.

    Example: zipspark score pool.parquet --output scores --group-column source
    """
    options = asked(ScoreConfig, flags, config)
    require(options, "input", "output")
    result = _pipeline().score_to(options)
    finish(options, f"{result['rows']:,} rows scored", result, f"scores: {result['output']}")


@zipspark.command(cls=SectionedCommand)
@flags_of(RefreshConfig, but=tuple(RefreshConfig.NOT_OPTIONS))
@CONFIG_FLAG
def refresh(config: str | None, **flags: Any) -> None:
    """Bring the Delta table SUBSET up to the newest version of CORPUS: what is new comes in, what is gone goes.

    Example: zipspark refresh --corpus main.chats --subset main.chosen --id-column id --budget 5%
    """
    options = asked(RefreshConfig, flags, config)
    check_refresh(options)
    done = on_spark("refresh").refresh_to(options)
    finish(options, str(done), done.to_dict())


@zipspark.command(cls=SectionedCommand)
@flags_of(MatrixConfig)
@CONFIG_FLAG
def matrix(config: str | None, **flags: Any) -> None:
    """Show how well each group of INPUT compresses each other; with --output also as table and picture.

    Example: zipspark matrix pool.parquet --group-column source --output redundancy
    """
    options = asked(MatrixConfig, flags, config)
    require(options, "input")
    found = on_spark("analysis").matrix_to(options)
    written = f"matrix: {options.output}/matrix" if options.output else None
    finish(options, found, found.to_dict() | {"output": options.output}, written)


@zipspark.command(cls=SectionedCommand)
@flags_of(LeakageConfig)
@CONFIG_FLAG
def leakage(config: str | None, **flags: Any) -> None:
    """Find which items of an evaluation set INPUT contains, wholly or in part, and write them to OUT.

    Example: zipspark leakage pool.parquet --against gsm8k_test.jsonl --output leaked
    """
    options = asked(LeakageConfig, flags, config)
    require(options, "input", "against", "output")
    found = on_spark("analysis").leakage_to(options)
    finish(options, found, found.to_dict(), f"items: {options.output}/leakage")


@zipspark.command(cls=SectionedCommand)
@OUT
@flags_of(EngineOptions, but=("output", "overwrite"))
def verify(output: str, **flags: Any) -> int:
    """Derive the ranking of OUT again, from its input as it was, and say whether it is the same (5: it differs).

    OUT is a folder, or the schema of --output-schema. Example: zipspark verify chosen
    """
    options = asked(EngineOptions, flags | {"output": output}, None)
    found = on_spark("verify").verify(options)
    finish(options, str(found), found.to_dict())
    return int(found.exit_code)


@zipspark.command(cls=SectionedCommand)
@OUT
@flags_of(EngineOptions, but=("output", "overwrite"))
@click.option("--full", is_flag=True, help="Also compare with other sets, groups, near-copies and one part.")
@click.option(
    "--output",
    "file",
    metavar="FILE",
    help="File to write, or replace.  [default: OUT/report.html, OUT_report.html of a subset]",
    shell_complete=completing(files=True),
)
def report(output: str, full: bool, file: str | None, **flags: Any) -> None:
    """Make the report of OUT anew, a page to be looked at; with --full also what takes as long as the run itself.

    OUT is a folder, or the schema of --output-schema, which holds no files: then --output says where the page goes.
    Its input is read again, and must be what it was. OUT may also be the subset of zipspark refresh: its page goes
    beside it, to OUT_report.html.

    Example: zipspark report chosen --full
    """
    options = asked(EngineOptions, flags | {"output": output}, None)
    done = on_spark("reporting").report(options, file, full)
    finish(options, f"report: {done.path}", done.to_dict())


@zipspark.command(cls=SectionedCommand)
@OUT
@flags_of(EngineOptions, but=("output", "overwrite", "master", "remote", "conf", "jars"))
@click.option("--dry-run", is_flag=True, help="List only.")
def clean(output: str, dry_run: bool, **flags: Any) -> None:
    """List and remove what killed runs have left beside OUT: complete stages, half a result. A whole OUT stays.

    Example: zipspark clean chosen --dry-run
    """
    options = asked(EngineOptions, flags | {"output": output}, None)
    found = leftovers(options)
    lines = [] if found else ["nothing was left"]
    for one in found:
        going = not (dry_run or one.in_use)
        if going:
            remove(one)
        state = "in use" if one.in_use else "removed" if going else "to remove"
        stages = f", complete stages: {', '.join(one.stages)}" if one.stages else ""
        lines.append(f"{state}: {one.place} ({format_bytes(one.bytes)}{stages})")
    finish(options, "\n".join(lines), {"dry_run": dry_run, "found": [one.to_dict() for one in found]})


@zipspark.command()
@click.option(
    "--output",
    default="out/demo",
    metavar="OUT",
    show_default=True,
    help="Folder to write; replaced.",
    shell_complete=completing(files=True),
)
@click.option("--budget", default="10%", show_default=True, help="Rows, share of the pool or bytes.")
@click.option("--json/--no-json", "json_", default=False, help="Print one JSON object on stdout, nothing else.")
def demo(output: str, budget: str, json_: bool) -> None:
    """Select from real text that every machine has: the documentation of Python's standard library.

    Example: zipspark demo
    """
    from zipspark.demo import write_corpus

    corpus = Path(output.rstrip("/") + "-corpus.jsonl")
    flags = {"input": (str(corpus),), "output": output, "budget": budget, "group_column": "source", "overwrite": True}
    options = layered(SelectConfig, flags | {"json": json_})
    try:
        corpus.parent.mkdir(parents=True, exist_ok=True)
        rows = write_corpus(corpus)
    except OSError as error:
        raise InputError(f"output {output!r} cannot be written beside: {error}; give another --output") from None
    click.echo(f"{rows:,} documentation strings of Python's standard library: {corpus}", err=True)
    summary = _pipeline().select_to(options)
    finish(options, summary, summary.to_dict(), _written(options))


zipspark.add_command(entropy)
zipspark.add_command(plan)
zipspark.add_command(doctor)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the codes of `zipspark.errors`."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """The same, returning the exit code (a Databricks wheel task must return plainly)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with by_flags(), log_on_stderr() as ended:
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


def _written(options: SelectConfig) -> str:
    """What a person looks at first."""
    if not options.output:
        return f"subset: {options.output_schema}.subset"
    has_report = False
    with suppress(OSError):  # it is written, whatever the store says now
        has_report = Place.parse(options.output).child(REPORT).exists()
    return f"subset: {options.output}/subset" + (f"\nreport: {options.output}/{REPORT}" if has_report else "")


def _pipeline() -> Any:
    return on_spark("pipeline")


def _stopped(arguments: Sequence[str]) -> int:
    # A refresh may have been behind its commit: then the next one makes the rest.
    what = "the next refresh goes on from there" if "refresh" in arguments[:1] else "nothing was written"
    click.echo(f"zipspark: interrupted; {what}", err=True)
    if "--json" in arguments:
        click.echo(json.dumps({"error": "interrupted", "exit_code": EXIT_INTERRUPTED}))
    return EXIT_INTERRUPTED


def _fail(arguments: Sequence[str], error: ZipsparkError) -> int:
    message = redact_all(str(error))
    click.echo(f"zipspark: {message}", err=True)
    if "--json" in arguments:
        click.echo(json.dumps({"error": message, "exit_code": error.exit_code}))
    return error.exit_code
