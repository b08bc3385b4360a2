"""Tables of a benchmark: printed as they come, and kept with machine, versions, date and command.

benchmarks/results/NAME-POOL.md        one file per benchmark and pool: a run replaces the one before
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import click
import zstandard
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent / "results"

option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    help="folder that tables are written to  [default: benchmarks/results]",
)


class Results:
    """What one run of benchmark ``name`` on ``pool`` (none: the demo corpus) found; written when the run ends well."""

    def __init__(self, name: str, pool: Path | None, folder: Path, packages: Sequence[str] = ()) -> None:
        self.path = folder / f"{name}-{pool.stem if pool else 'demo'}.md"
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


def machine() -> str:
    """What figures depend on, in a line."""
    zstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {_version('zipspark')}, {_version('numpy')}, "
        f"zstd {zstd}, zlib {zlib.ZLIB_RUNTIME_VERSION}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} absent"


def _command() -> str:
    """The command line as another person would type it: of files only their names."""
    script, *arguments = sys.argv
    shown = [Path(argument).name if Path(argument).exists() else argument for argument in arguments]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *shown])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
