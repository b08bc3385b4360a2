"""The summary of a selection: what went in, what came out, and what random would have given for as many bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from io import StringIO
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from zipspark.units import format_bytes

_MOST_GROUPS = 12  # lines of a table by group


@dataclass(frozen=True)
class SetLine:
    """One set in the before/after table."""

    name: str
    samples: int
    bytes: int
    ratio: float  # as measured on at most `measured_bytes`
    measured_bytes: int

    @property
    def mean_bytes(self) -> float:
        return self.bytes / max(self.samples, 1)

    @property
    def has_ratio(self) -> bool:
        return self.samples > 0 and math.isfinite(self.ratio) and self.ratio > 0


@dataclass(frozen=True)
class Summary:
    """Everything the end of a run says; `to_dict` is what ``--json`` prints."""

    budget: str
    sets: tuple[SetLine, ...]  # pool, subset, random
    decisions: dict[str, int]  # rows per decision of the ledger
    groups: dict[str, tuple[int, int]]  # group -> samples in pool and in subset
    mix: dict[str, tuple[float, float]]  # group -> asked for and chosen, in `mix_unit`; empty without quotas
    mix_unit: str
    parts: int
    seconds: dict[str, float]  # per stage
    checksum: str  # sha256 of the ids in ranking order
    notes: tuple[str, ...] = ()  # what a user should know: warnings, a budget above the pool
    output: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def set(self, name: str) -> SetLine | None:
        """Its line of ``pool``, ``subset`` or ``random``."""
        return next((line for line in self.sets if line.name == name), None)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The before/after table as strings: header and rows."""
        header = ["set", "samples", "bytes", "mean bytes", "ratio"]
        rows = [
            [
                line.name,
                f"{line.samples:,}",
                format_bytes(line.bytes),
                f"{line.mean_bytes:,.0f}",
                f"{line.ratio:.2f}" + ("" if line.measured_bytes == line.bytes else " *"),
            ]
            for line in self.sets
        ]
        return header, rows

    def footnotes(self) -> list[str]:
        """What stands below the table, one sentence a line."""
        lines = [f"{count:,} rows {name.replace('_', ' ')}" for name, count in self.decisions.items() if count]
        said = ["; ".join(lines) + f". {self.parts} part{'s' if self.parts > 1 else ''}, {self.total_seconds:.1f} s."]
        said.append(
            "ratio: bytes / compressed bytes of the whole set, zstd with a wide window; lower is less redundant."
        )
        if any(line.measured_bytes != line.bytes for line in self.sets):
            measured = max(line.measured_bytes for line in self.sets)
            said.append(f"* measured on a sample of {format_bytes(measured)} by content hash.")
        return said + list(self.notes)

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    def tables(self) -> list[_Table]:
        """Before and after; groups, where there are several; requested against achieved, where there are quotas."""
        tables = [_Table(f"Selected {self.budget}", *self.cells())]
        if len(self.groups) > 1:
            pool = sum(before for before, _ in self.groups.values())
            subset = sum(after for _, after in self.groups.values())
            shares = [
                [name, f"{before:,}", f"{before / max(pool, 1):.1%}", f"{after:,}", f"{after / max(subset, 1):.1%}"]
                for name, (before, after) in _largest_first(self.groups)
            ]
            tables.append(_Table("Groups", ["group", "pool", "share", "subset", "share"], shares))
        if self.mix:
            amounts = [
                [name, f"{asked:,.0f}", f"{chosen:,.0f}", f"{chosen - asked:+,.0f}"]
                for name, (asked, chosen) in _largest_first(self.mix)
            ]
            header = ["group", "requested", "achieved", "difference"]
            tables.append(_Table(f"Mix, in {self.mix_unit}", header, amounts))
        return tables

    def __str__(self) -> str:
        said = StringIO()
        # Plain text wherever this is asked for: in a notebook rich would show it instead.
        Console(width=100, file=said, force_jupyter=False, force_terminal=False, color_system=None).print(self)
        return said.getvalue().rstrip()

    def __rich__(self) -> RenderableType:
        return Group(*self.tables(), *map(Text, self.footnotes()))

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(line)}</p>" for line in self.footnotes())
        return "".join(table.to_html() for table in self.tables()) + notes


@dataclass(frozen=True)
class _Table:
    """A table by name, on a terminal and in a notebook; of many groups the first are shown."""

    title: str
    header: list[str]
    rows: list[list[str]]

    @property
    def caption(self) -> str:
        left_out = len(self.rows) - _MOST_GROUPS
        return f"and {left_out:,} smaller groups" if left_out > 0 else ""

    def __rich__(self) -> Table:
        table = Table(title=Text(self.title), title_justify="left", title_style="bold", caption=self.caption or None)
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows[:_MOST_GROUPS]:
            table.add_row(*map(Text, row), style="bold" if self.header[0] == "set" and row[0] == "subset" else None)
        return table

    def to_html(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.header)
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self.rows[:_MOST_GROUPS])
        body = "".join(f"<tr>{cells}</tr>" for cells in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<b>{escape(self.title)}</b>{table}{escape(self.caption)}"


def _largest_first(groups: Mapping[str, tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """Items by the first of their numbers."""
    return sorted(groups.items(), key=lambda item: (-item[1][0], item[0]))
