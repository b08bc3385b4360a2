"""What sections of a report are made of: plain dicts, JSON-ready, which report.js knows how to show.

Nothing here is HTML: what a sample says stays text all the way to the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zipspark.report.alike import compared
from zipspark.report.charts import Spec
from zipspark.report.facts import MOST_TEXT, Example
from zipspark.units import format_bytes, shortened

Block = dict[str, Any]
Column = tuple[str, str]  # name and kind: word, number, id or sample
Cell = str | dict[str, Any]  # text; or text and what it is sorted by; or a sample's text, to be unfolded

NAME = 120  # characters of an id, a group or a reason
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Room:
    """How much a page may hold, so that it stays small."""

    text: int = MOST_TEXT  # characters of a sample
    rows: int = 1000  # of a table

    def smaller(self) -> Room:
        """Long texts give way first, then rows."""
        return Room(self.text // 2, self.rows) if self.text > 200 else Room(self.text, self.rows // 2)


def text(said: str, tone: str = "") -> Block:
    """A paragraph; ``tone`` is "", "note" (small) or "warning"."""
    return {"kind": "text", "text": said, "tone": tone}


def code(said: str) -> Block:
    return {"kind": "code", "text": said}


def folded(title: str, blocks: Sequence[Block]) -> Block:
    return {"kind": "folded", "title": title, "blocks": list(blocks)}


def chart(spec: Spec, caption: str, numbers: Block, least: int = 0) -> Block:
    """A chart, how it is read, and a table of the same numbers, which stands in where charts cannot be drawn.

    What needs at least so many pixels is scrolled where a page has fewer.
    """
    return {"kind": "chart", "spec": spec, "caption": caption, "numbers": numbers, "least": least}


def picture(source: str, caption: str) -> Block:
    """An image, as a data URI: the page loads nothing."""
    return {"kind": "picture", "source": source, "caption": caption}


def words(*names: str) -> list[Column]:
    return [(name, "word") for name in names]


def numbers(*names: str) -> list[Column]:
    return [(name, "number") for name in names]


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    room: Room,
    *,
    strong: str | None = None,
    search: bool = False,
    filters: Sequence[str] = (),
) -> Block:
    """Rows that a click on a column's name sorts.

    Args:
        strong: the first cell of a row that stands out.
        search: whether there is a field to search all rows by their text.
        filters: names of columns; of each a value can be chosen.
    """
    kept = [list(row) for row in rows]
    left_out = max(0, len(kept) - room.rows)
    return {
        "kind": "table",
        "columns": [{"name": name, "kind": kind} for name, kind in columns],
        "rows": kept[: room.rows],
        "left_out": left_out,
        "strong": strong,
        "search": search,
        "filters": [at for at, (name, _) in enumerate(columns) if name in filters],
    }


def number(value: float | None, form: str = ",") -> Cell:
    """A cell that shows a number and is sorted by it; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return {"text": NOTHING, "value": None}
    return {"text": format(value, form).replace("-", "\N{MINUS SIGN}"), "value": value}


def size(value: float) -> Cell:
    return {"text": format_bytes(value), "value": value}


def sample_text(example: Example, room: Room) -> Cell:
    """The text of a sample, to be unfolded."""
    if example.text is None:
        return "hidden"
    shown = example.text[: room.text]
    return {"sample": shown, "left_out": len(example.text) - len(shown) + example.left_out}


def sample_table(examples: Sequence[Example], room: Room) -> Block:
    """A row per sample, with its text and what the ledger says of it: to be searched."""
    has_groups = any(example.group is not None for example in examples)
    rows = [
        (
            sample_text(example, room),
            *((named(example.group),) if has_groups else ()),
            "selected" if example.rank is not None else "not selected",
            number(example.bytes),
            number(example.ratio, ".2f"),
            number(example.rank),
            number(example.marginal_ratio, ".2f"),
            named(example.zip_id),
        )
        for example in examples
    ]
    columns = [("text", "sample"), *words(*(["group"] if has_groups else []), "decision")]
    columns += [*numbers("bytes", "ratio", "rank", "marginal ratio"), ("id", "id")]
    return table(columns, rows, room, search=True, filters=("group", "decision"))


def samples(examples: Sequence[Example], room: Room) -> Block:
    """Samples one below the other, folded, with what is known of each."""
    items = [
        {
            "rank": None if example.rank is None else f"{example.rank:,}",
            "facts": _facts(example),
            "text": sample_text(example, room),
        }
        for example in examples[: room.rows]
    ]
    return {"kind": "samples", "items": items}


def pair(examples: tuple[Example, Example], room: Room) -> Block:
    """Two samples side by side, with what differs marked."""
    one, other = examples
    runs: tuple[Any, Any] = (None, None)
    if one.text is not None and other.text is not None:
        runs = compared(one.text[: room.text], other.text[: room.text])
    sides = []
    for example, side in zip(examples, runs, strict=True):
        shown = sum(len(run) for _, run in side or ())
        left_out = len(example.text or "") - shown + example.left_out
        rank = "not selected" if example.rank is None else f"rank {example.rank:,}"
        sides.append({"facts": [rank, *_facts(example)], "runs": side, "left_out": left_out})
    return {"kind": "pair", "sides": sides}


def named(name: str | None, most: int = NAME) -> str:
    if name is None:
        return "(none)"
    return shortened(name, most) or "(empty)"


def unique(names: Sequence[str], most: int = NAME) -> list[str]:
    """Shortened names that still differ, for a chart that tells its rows by them."""
    found: list[str] = []
    seen: set[str] = set()
    for name in names:
        # Vega keeps names as the keys of an object, where this one would be no key.
        plain = named(name, most) if name != "__proto__" else "__proto__ "
        label, count = plain, 1
        while label in seen:
            count += 1
            label = f"{plain} ({count})"
        seen.add(label)
        found.append(label)
    return found


def _facts(example: Example) -> list[str]:
    said = [] if example.group is None else [named(example.group)]
    said.append(f"{example.bytes:,} bytes")
    for name, value in (("ratio", example.ratio), ("marginal ratio", example.marginal_ratio)):
        if value is not None and math.isfinite(value):
            said.append(f"{name} {value:.2f}")
    return [*said, f"id {named(example.zip_id)}"]
