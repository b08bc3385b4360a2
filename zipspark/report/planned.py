"""What ``zipspark plan`` says: the pool as a sample shows it, the tree, memory and time, and what would go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from zipspark.units import format_bytes

_SHOWN = 600  # characters of a sample on a terminal
_MOST_GROUPS = 12


@dataclass(frozen=True)
class Risk:
    """Something that would go wrong, or not as one may think."""

    stops: bool  # the run would end with an error
    what: str
    instead: str  # what to do about it


@dataclass(frozen=True)
class Found:
    """The pool, as far as a sample of it tells."""

    input: tuple[str, ...]
    format: str
    rows: int
    rows_how: str
    bytes: int  # of rendered text, copies included
    bytes_error: float  # of `bytes`, as a share of it (two standard errors of the mean); 0: all was read
    sample_rows: int
    sample_bytes: int
    problems: Mapping[str, int]  # reason code -> rows of the sample that cannot be read or rendered
    left_out: int  # rows of the sample that --where or --quality-min leave out
    duplicates: int  # rows of the sample that are exact copies of others of it
    guarded: int  # of the sample; in the whole pool more of what a sample says has company
    layout: str  # a schema's name, or "text-expr"
    columns: Mapping[str, str]  # that were found -> kind
    used: tuple[str, ...]  # those that give the text
    groups: Mapping[str, int]  # group -> rows of the pool, estimated


@dataclass(frozen=True)
class Planned:
    """What a run would do; `to_dict` is what ``--json`` prints."""

    found: Found
    samples: tuple[str, ...] | None  # rendered, as they will be compressed; None: hidden
    budget: str
    subset_rows: int
    subset_bytes: int
    parts: int
    tree: str  # such as "8 parts → driver"
    part_bytes: int  # text of one part
    task_memory: int  # bytes of the Python worker that holds it
    driver_bytes: int  # candidates on the driver
    driver_memory: int  # bytes of the driver's Python, with what it needs to rank them
    cores: int  # that Spark has
    seconds: Mapping[str, float]  # stage -> seconds; `start` is that of Java and Spark
    risks: tuple[Risk, ...]
    notes: tuple[str, ...]
    took: float  # seconds

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total_seconds": self.total_seconds}

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [_facts(f"Plan for {self.budget}", self._lines())]
        if len(self.found.groups) > 1:
            parts.append(self._groups())
        stages = Table(title="Time, estimated", title_justify="left", title_style="bold")
        for name in (*self.seconds, "in all"):
            stages.add_column(name, justify="right")
        stages.add_row(*(f"{seconds:,.1f} s" for seconds in (*self.seconds.values(), self.total_seconds)))
        parts.append(stages)
        for number, sample in enumerate(self.samples or (), start=1):
            cut = Text(_visible(sample[:_SHOWN]))
            if len(sample) > _SHOWN:
                cut.append(f"\n… {len(sample) - _SHOWN:,} characters more", style="dim")
            parts.append(Panel(cut, title=f"sample {number}, as it is compressed", title_align="left"))
        parts += [Text("What would go wrong" if self.risks else "Nothing in the sample would go wrong.", style="bold")]
        for risk in self.risks:
            parts.append(Text(f"{'stops' if risk.stops else 'note '}  {risk.what}\n       → {risk.instead}"))
        return Group(*parts, *map(Text, self.notes))

    def _lines(self) -> list[tuple[str, str]]:
        found = self.found
        error = f" ± {found.bytes_error:.0%}" if found.bytes_error else ""
        bad = sum(found.problems.values())
        of_sample = [
            f"{count:,} {what}"
            for count, what in (
                (bad, "that cannot be read"),
                (found.left_out, "left out"),
                (found.duplicates, "exact duplicates"),
                (found.guarded, "that look like noise"),
            )
        ]
        return [
            ("input", f"{', '.join(found.input)} ({found.format})"),
            ("rows", f"{found.rows:,} ({found.rows_how})"),
            ("text", f"{format_bytes(found.bytes)}{error}"),
            ("layout", f"{found.layout}: {', '.join(found.used)}"),
            ("columns", ", ".join(f"{name} ({kind})" for name, kind in found.columns.items())),
            (
                "sample",
                f"{found.sample_rows:,} rows, {format_bytes(found.sample_bytes)}; {', '.join(of_sample)}",
            ),
            ("subset", f"about {self.subset_rows:,} rows, {format_bytes(self.subset_bytes)}"),
            ("tree", f"{self.tree}; {format_bytes(self.part_bytes)} of text in a part"),
            (
                "memory",
                f"a Python worker {format_bytes(self.task_memory)}, the driver {format_bytes(self.driver_memory)} "
                f"({format_bytes(self.driver_bytes)} of candidates)",
            ),
            ("cores", f"{self.cores:,}"),
        ]

    def _groups(self) -> Table:
        rows = sorted(self.found.groups.items(), key=lambda item: (-item[1], item[0]))
        table = Table(title="Groups, estimated", title_justify="left", title_style="bold")
        table.add_column("group")
        table.add_column("rows", justify="right")
        table.add_column("share", justify="right")
        total = max(sum(count for _, count in rows), 1)
        for name, count in rows[:_MOST_GROUPS]:
            table.add_row(Text(_visible(name)), f"{count:,}", f"{count / total:.1%}")
        if len(rows) > _MOST_GROUPS:
            table.caption = f"and {len(rows) - _MOST_GROUPS:,} smaller groups"
        return table


def _visible(text: str) -> str:
    """Without what a terminal would obey.

    >>> _visible("a\\x1b[31mb")
    'a\ufffd[31mb'
    """
    return "".join(letter if letter in "\n\t" or letter.isprintable() else "\ufffd" for letter in text)


def _facts(title: str, lines: list[tuple[str, str]]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, Text(value))
    return table
