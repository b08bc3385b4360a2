"""Tables of a benchmark: printed as they come, and kept with machine, versions, date and command.

    benchmarks/results/NAME-POOL.md            a run with options as they are by default
    benchmarks/results/NAME-POOL-skip60000.md  one with others

A run replaces the one before it that had the same options.
"""

from __future__ import annotations

import fnmatch
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import click
import zstandard
from click.core import ParameterSource
from kept import version_of
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent / "results"
LONGEST = 100  # characters of options in a file's name; what is cut off stands as a checksum

option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    help="folder that tables are written to  [default: benchmarks/results]",
)


def matching(what: str, wanted: Iterable[str], names: Iterable[str]) -> list[str]:
    """Those of ``names`` that one of ``wanted`` means, in their own order; * stands for any text.

    Raises `click.UsageError` for one of ``wanted`` that means none.

    >>> matching("arms", ["random", "* in 8 parts"], ["random", "both", "both in 8 parts"])
    ['random', 'both in 8 parts']
    """
    names = list(names)
    found = {pattern: fnmatch.filter(names, pattern) for pattern in wanted}
    if unknown := [pattern for pattern, means in found.items() if not means]:
        raise click.UsageError(f"{what} must be of {'; '.join(names)}, got {'; '.join(unknown)}")
    return [name for name in names if any(name in means for means in found.values())]


class Results:
    """What one run of benchmark ``name`` on ``pool`` (none: the demo corpus) found; written when the run ends well."""

    def __init__(self, name: str, pool: Path | None, folder: Path, packages: Sequence[str] = ()) -> None:
        whole = f"{name}-{pool.stem if pool else 'demo'}"
        self.path = folder / f"{whole}{variant()}.md"
        self.kept = folder / f"{whole}.jsonl"  # single runs of all variants (kept.py)
        self._out = Console(width=160)
        self._started = time.perf_counter()
        self._lines = [f"# {name}", ""]
        self.say(f"`{_command()}`")
        self.say(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}{''.join(', ' + _version(name) for name in packages)}")

    def say(self, line: str) -> None:
        """A paragraph, in Markdown."""
        self._out.print(line, markup=False, highlight=False, soft_wrap=True)
        self._lines += [line, ""]

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Cells are text as it is shown; the first column is left-aligned, the others right."""
        shown = Table(title=title, title_justify="left")
        for place, column in enumerate(columns):
            shown.add_column(column, justify="right" if place else "left")
        self._lines += [f"**{title}**", "", _row(columns), _row(["---", *["---:"] * (len(columns) - 1)])]
        for row in rows:
            shown.add_row(*row)
            self._lines.append(_row(row))
        self._out.print(shown)
        self._lines.append("")

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.say(f"{time.perf_counter() - self._started:,.0f} s in all.")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("\n".join(self._lines).rstrip() + "\n", encoding="utf-8")
            self._out.print(f"kept in {self.path}", markup=False, highlight=False, soft_wrap=True)


def variant() -> str:
    """What the command was given that it would not have had by itself, as the end of a file's name.

    >>> variant()  # outside a command
    ''
    """
    context = click.get_current_context(silent=True)
    given = []
    for parameter in context.command.params if context else ():
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        if isinstance(parameter.type, click.Path) or context.get_parameter_source(name) != ParameterSource.COMMANDLINE:
            continue  # where files are changes no figure
        if value != parameter.default:
            name = max(parameter.opts, key=len).lstrip("-")
            name = name if value is not False else f"no-{name}"
            values = value if isinstance(value, tuple) else () if isinstance(value, bool) else (value,)
            given.append(name + "-".join(_short(each) for each in values))
    whole = "".join(f"-{each}" for each in given)
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}-{zlib.crc32(whole.encode()):08x}"


def _short(value: object) -> str:
    """``value`` with nothing that has no place in a file's name, of a file its name alone."""
    text = Path(str(value)).name if _is_there(str(value)) else str(value)
    return re.sub(r"[^\w.]+", "_", text.replace("%", "pc")).strip("_")


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a list that is longer than a file's name may be
        return False


def machine() -> str:
    """What figures depend on, in a line."""
    zstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {_version('zipspark')}, {_version('numpy')}, "
        f"zstd {zstd}, zlib {zlib.ZLIB_RUNTIME_VERSION}{_commit()}"
    )


def _commit() -> str:
    """The commit that this folder is at, and whether code was changed since; nothing outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(FOLDER.parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", "zipspark", "benchmarks/*.py")
        return f", commit {git('rev-parse', '--short', 'HEAD')}{'+changes' if changes else ''}"
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")


def _version(package: str) -> str:
    return f"{package} {version_of(package)}"


def _command() -> str:
    """The command line as another person would type it: of files only their names."""
    script, *arguments = sys.argv
    shown = [Path(argument).name if _is_there(argument) else argument for argument in arguments]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *shown])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
