"""What the report of a refreshed subset says: its last refresh, all refreshes before it, and the early warning."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from typing import Any

import pyarrow as pa

from zipspark.entropy import warning
from zipspark.entropy.law_figures import figure_of_versions
from zipspark.errors import UsageError
from zipspark.report import charts
from zipspark.report.blocks import (
    Block,
    Room,
    chart,
    code,
    folded,
    named,
    number,
    numbers,
    picture,
    samples,
    size,
    table,
    text,
    words,
)
from zipspark.report.facts import Example
from zipspark.report.verdict import NO_PROMISE, Verdict
from zipspark.units import format_bytes

Row = dict[str, Any]  # of the history table (`zipspark.storage.refreshes.HISTORY`)


@dataclass(frozen=True)
class History:
    """A subset that follows a corpus, as a report shows it."""

    subset: str
    refreshes: tuple[Row, ...]  # ascending; the last one is what the report is about
    came: tuple[Example, ...]  # some of the rows that came with it, in order of rank


def document(facts: History) -> Callable[[Room], dict[str, Any]]:
    """A report, JSON-ready, as `zipspark.report.sections.document` gives one of a selection, for any room.

    The last ratio is judged and its picture drawn once, whatever room there turns out to be.
    """
    found = judged(facts)
    verdict, drawn = asdict(_verdict(facts, found)), _warning(facts, found)
    last = facts.refreshes[-1]
    by = [f"zipspark {version('zipspark')}", f"refresh {last['refresh']}", f"{_utc(last['at'])} UTC"]
    foot = " · ".join([*by, named(str(last["run_id"]))])

    def in_room(room: Room) -> dict[str, Any]:
        made = [
            ("last", "What the last refresh changed", _last(facts, room)),
            ("came", "The first of what came", _came(facts, room)),
            ("ratio", "The ratio, refresh by refresh", drawn),
            ("refreshes", "All refreshes", _refreshes(facts, room)),
            ("details", "How this was made", _details(facts)),
        ]
        sections = [{"id": id, "title": title, "blocks": blocks} for id, title, blocks in made if blocks]
        return {"verdict": verdict, "sections": sections, "foot": [foot]}

    return in_room


def judged(facts: History) -> warning.Verdict | None:
    """What the refreshes before say of the last one that left a ratio; None where none did, as of an empty subset."""
    rows = [row for row in facts.refreshes if row["ratio_after"] is not None]
    if not rows or rows[-1] is not facts.refreshes[-1]:
        return None
    return warning.check(warning.from_history(pa.Table.from_pylist(rows)))


def _verdict(facts: History, found: warning.Verdict | None) -> Verdict:
    last = facts.refreshes[-1]
    figures = [("rows of the subset", f"{last['rows']:,}"), ("bytes of their text", format_bytes(last["bytes"]))]
    for label, ratio in (("ratio", last["ratio_after"]), ("ratio before", last["ratio_before"])):
        if ratio is not None:
            figures.append((label, f"{ratio:.2f}"))
    moved = f"{last['rows_added']:,} rows came, {last['rows_dropped']:,} left"
    sentences = [
        f"Refresh {last['refresh']} ({last['mode']}) brought {facts.subset} to version {last['corpus_version']} of "
        f"{last['corpus']}, in which {_changed(last)}.",
        *([f"Its ratio, against all refreshes before: {_level(found)}."] if found else []),
        "Ratio: bytes over compressed bytes of the whole subset, by zstd with a wide window; lower repeats less. It "
        "rises as a subset grows, most while it is small, since more text has more behind it to repeat. "
        f"{NO_PROMISE}",
    ]
    warnings = [f"{found.level}: {rule.text}" for rule in found.findings] if found else []
    return Verdict(
        headline=f"{last['rows']:,} rows after refresh {last['refresh']}: {moved}",
        figures=tuple(figures),
        sentences=tuple(sentences),
        warnings=tuple(warnings),
        notes=(),
    )


def _level(found: warning.Verdict) -> str:
    return found.level if found.judged else "too few to judge by"


def _changed(last: Row) -> str:
    if last["changes"] == "all":
        return "every row was looked at"
    return f"{last['rows_new']:,} rows were new, {last['rows_updated']:,} changed and {last['rows_deleted']:,} deleted"


def _last(facts: History, room: Room) -> list[Block]:
    last = facts.refreshes[-1]
    rows = [
        ("came", number(last["rows_added"]), size(last["bytes_added"])),
        ("left", number(last["rows_dropped"]), size(last["bytes_dropped"])),
        ("are in it now", number(last["rows"]), size(last["bytes"])),
    ]
    return [table([*words("rows of the subset that"), *numbers("rows", "bytes")], rows, room)]


def _came(facts: History, room: Room) -> list[Block]:
    return [samples(facts.came, room)] if facts.came else []


def _warning(facts: History, found: warning.Verdict | None) -> list[Block]:
    """The picture that ``zipspark entropy check`` draws; without matplotlib a sentence in its place."""
    if found is None:
        return []
    caption = (
        "Ratio of the subset after each refresh. Hollow: too few before it to judge by. Dotted: above this a refresh "
        f"is out of the range of all before it by more than their spread. The last one: {_level(found)}."
    )
    try:
        figure = figure_of_versions(warning.from_history(pa.Table.from_pylist(list(facts.refreshes))))
    except UsageError as error:
        return [text(f"{caption} No picture: {error}.", "note")]
    svg = BytesIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    source = f"data:image/svg+xml;base64,{b64encode(svg.getvalue()).decode()}"
    return [picture(source, caption)]


def _refreshes(facts: History, room: Room) -> list[Block]:
    newest = list(reversed(facts.refreshes))
    rows = [
        (
            number(row["refresh"]),
            _utc(row["at"]),
            row["mode"],
            number(row["rows_added"]),
            number(row["rows_dropped"]),
            number(row["rows"]),
            size(row["bytes"]),
            number(row["ratio_after"], ".3f"),
            number(row["seconds"], ",.0f"),
        )
        for row in newest
    ]
    columns = [*numbers("refresh"), *words("when (UTC)", "mode")]
    columns += numbers("came", "left", "rows", "bytes", "ratio", "seconds")
    shown = table(columns, rows, room)
    if len(facts.refreshes) < 2:
        return [shown]
    caption = "Rows that came into the subset and, below the line, that left it."
    if len(facts.refreshes) > charts.MOST_REFRESHES:
        caption += f" The last {charts.MOST_REFRESHES} of {len(facts.refreshes):,} refreshes are drawn."
    return [chart(charts.moves(facts.refreshes), caption, shown)]


def _utc(at: datetime) -> str:
    """Tables give instants in the session's zone."""
    return f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m-%d %H:%M}"


def _details(facts: History) -> list[Block]:
    said = json.dumps(facts.refreshes[-1], indent=2, ensure_ascii=False, default=str)
    return [folded("the last row of the history table", [code(said)])]
