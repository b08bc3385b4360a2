"""What a report says, section by section; what it has no facts for is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from zipspark.report import charts, fuller
from zipspark.report.blocks import (
    Block,
    Room,
    chart,
    code,
    folded,
    named,
    number,
    numbers,
    sample_table,
    samples,
    size,
    table,
    text,
    unique,
    words,
)
from zipspark.report.cautions import gained
from zipspark.report.facts import Excluded, Facts, Histogram
from zipspark.report.knee import knee
from zipspark.report.summary import SetLine
from zipspark.report.verdict import verdict
from zipspark.units import format_bytes

MOST_GROUPS = 300  # groups in a table
MOST_REASONS = 50
MOST_MANIFEST = 50_000  # characters

MEANING = {
    "duplicate": "the same text as a sample that was kept",
    "anchored": "the anchor holds this very text",
    "quarantined": "could not be read or rendered",
    "guarded support": "shares next to nothing with any other sample, and its letters follow each other as by chance",
    "guarded entropy": "does not compress at all, or says the same again and again",
    "guarded bytes": "too short to judge, encoded twice, or typesetters' filler",
    "guarded where": "left out by --where",
    "guarded quality": "below --quality-min",
}


def document(facts: Facts, room: Room) -> dict[str, Any]:
    """A report, JSON-ready: ``verdict``, ``sections`` (id, title, blocks) and ``foot``."""
    made: list[tuple[str, str, Callable[[Facts, Room], list[Block]]]] = [
        ("sets", "What was chosen, and what else could have been", _sets),
        ("ranking", "What each further byte adds", _ranking),
        ("coverage", "How much of the pool's content is held", fuller.coverage),
        ("groups", "Groups before and after", _mix),
        ("lengths", "Lengths and ratios", _histograms),
        ("matrix", "How well one group compresses another", fuller.matrix),
        ("excluded", "What could not be chosen", _excluded),
        ("near-copies", "Near-copies in the pool", fuller.clusters),
        ("picks", "First and last picks", _picks),
        ("samples", "Samples of the pool", _samples),
        ("parts", "What cutting into parts costs", fuller.parts),
        ("stages", "Where the time went", _stages),
        ("manifest", "How this was made", _manifest),
    ]
    sections = [{"id": id, "title": title, "blocks": blocks} for id, title, of in made if (blocks := of(facts, room))]
    return {"verdict": asdict(verdict(facts)), "sections": sections, "foot": _foot(facts)}


def _sets(facts: Facts, room: Room) -> list[Block]:
    sets = facts.summary.sets + (facts.full.sets if facts.full else ())
    random = next((line for line in sets if line.name == "random"), None)
    rows = [_set_line(line, random) for line in sets]
    columns = [*words("set"), *numbers("ratio", "against random", "samples", "bytes", "mean bytes")]
    said = [
        text(
            "Ratio: bytes over compressed bytes of the whole set, by zstd with a wide window; lower repeats less. "
            "Against random: how many more compressed bytes a byte of the set holds than one of random samples.",
            "note",
        )
    ]
    if any(line.measured_bytes != line.bytes for line in sets):
        measured = max(line.measured_bytes for line in sets)
        said.append(text(f"* measured on a sample of {format_bytes(measured)} by content hash.", "note"))
    return [table(columns, rows, room, strong="subset"), *said] if sets else []


def _set_line(line: SetLine, random: SetLine | None) -> list[Any]:
    star = "" if line.measured_bytes == line.bytes else " *"
    gain = gained(line, random) if line.name not in ("pool", "random") else None
    ratio = {"text": f"{line.ratio:.2f}{star}", "value": line.ratio} if line.has_ratio else number(None)
    mean = line.mean_bytes if line.samples else None
    return [line.name, ratio, number(gain, "+.1%"), number(line.samples), size(line.bytes), number(mean, ",.0f")]


def _ranking(facts: Facts, room: Room) -> list[Block]:
    points = facts.ranking
    if not points:
        return []
    at = knee(points)
    said = (
        "A stretch of the ranking, as bytes over the bytes it added: low means new text, high means text that was "
        "mostly said before. "
    )
    if at is None:
        said += "It has no knee: nowhere does a byte begin to add clearly less."
    else:
        share = points[at].bytes / points[-1].bytes
        said += (
            f"The knee, after {points[at].samples:,} samples or {format_bytes(points[at].bytes)} ({share:.0%} of the "
            "bytes), is where added bytes over chosen bytes lie farthest above the straight line (kneedle, Satopää "
            "2011): before it a byte adds more than in the mean, behind it less. Every beginning of the ranking is a "
            "subset too, so a smaller budget could end there."
        )
    rows = [(number(point.samples), size(point.bytes), number(point.marginal_ratio, ".2f")) for point in points]
    columns = numbers("samples chosen", "bytes chosen", "marginal ratio")
    return [chart(charts.ranking(points, at), said, table(columns, rows, room))]


def _mix(facts: Facts, room: Room) -> list[Block]:
    groups, blocks = facts.summary.groups, []
    if len(groups) > 1:
        of = [sum(counts[side] for counts in groups.values()) for side in (0, 1)]
        largest = sorted(groups.items(), key=lambda item: (-item[1][0], item[0]))
        names = unique([name for name, _ in largest[:MOST_GROUPS]])
        shown = dict(zip(names, (counts for _, counts in largest), strict=False))
        said = "Share of a group among the samples that could be chosen, and among those that were."
        if len(groups) > charts.MOST_GROUPS:
            said += f" The largest {charts.MOST_GROUPS} of {len(groups):,} groups are shown."
        rows = [_group_line(name, counts, of) for name, counts in shown.items()]
        columns = [*words("group"), *numbers("pool", "share of pool", "subset", "share of subset", "change")]
        bars = dict(list(shown.items())[: charts.MOST_GROUPS])
        blocks.append(chart(charts.mix(bars, (of[0], of[1])), said, table(columns, rows, room, search=len(rows) > 20)))
        if len(groups) > MOST_GROUPS:
            blocks.append(text(f"The table holds the largest {MOST_GROUPS:,} of {len(groups):,} groups.", "note"))
    if facts.summary.mix:
        largest_mix = sorted(facts.summary.mix.items(), key=lambda item: (-item[1][0], item[0]))[:MOST_GROUPS]
        amounts = [
            (named(name), number(asked, ",.0f"), number(chosen, ",.0f"), number(chosen - asked, "+,.0f"))
            for name, (asked, chosen) in largest_mix
        ]
        blocks.append(text(f"The mix that was asked for, and what was chosen, in {facts.summary.mix_unit}:"))
        blocks.append(table([*words("group"), *numbers("requested", "achieved", "difference")], amounts, room))
    return blocks


def _group_line(name: str, counts: tuple[int, int], of: Sequence[int]) -> list[Any]:
    before, after = (count / max(whole, 1) for count, whole in zip(counts, of, strict=True))
    change = after / before if before else None
    ratio = number(change, ".2f")
    if isinstance(ratio, dict) and change is not None:
        ratio["text"] += "x"
    return [name, number(counts[0]), number(before, ".1%"), number(counts[1]), number(after, ".1%"), ratio]


def _histograms(facts: Facts, room: Room) -> list[Block]:
    titles = {"bytes": "bytes of a sample", "ratio": "ratio of a sample alone"}
    said = {
        "bytes": "How long the chosen samples are beside those that were not chosen.",
        "ratio": "How redundant samples are within themselves. A low ratio alone did not get one chosen: what counts "
        "is what it adds to the others.",
    }
    blocks = []
    for found in facts.histograms:
        if not sum(found.selected) + sum(found.not_selected):
            continue
        edges = [_edge(found.name, edge) for edge in found.edges]
        title = titles.get(found.name, named(found.name))
        rows = [
            (f"{edges[bin]} to {edges[bin + 1]}", number(found.selected[bin]), number(found.not_selected[bin]))
            for bin in range(len(found.selected))
        ]
        spec = charts.histogram(found, edges, title)
        counts = table([*words(title), *numbers("selected", "not selected")], rows, room)
        blocks.append(chart(spec, said.get(found.name, "") + _scale(found), counts))
    return blocks


def _edge(name: str, edge: float) -> str:
    return format_bytes(edge) if name == "bytes" else f"{edge:,.3g}"


def _scale(found: Histogram) -> str:
    widths = [after - before for before, after in zip(found.edges, found.edges[1:], strict=False)]
    is_even = max(widths) < 1.5 * min(widths) if widths and min(widths) > 0 else False
    return "" if is_even else " All bins are drawn equally wide: the axis is not linear."


def _excluded(facts: Facts, room: Room) -> list[Block]:
    decisions = {name: rows for name, rows in facts.summary.decisions.items() if rows}
    said = "; ".join(f"{rows:,} rows {name.replace('_', ' ')}" for name, rows in decisions.items())
    if not facts.excluded:
        if not decisions.keys() - {"selected", "not_selected"}:
            said = f"Every row could be chosen: {said}"
        return [text(f"{said}.")] if decisions else []
    shown = facts.excluded[: min(MOST_REASONS, room.rows)]
    reasons = [named(found.reason) if found.reason else "" for found in shown]
    rows = [
        (found.decision, reason, number(found.rows), size(found.bytes), _meaning(found))
        for found, reason in zip(shown, reasons, strict=True)
    ]
    columns = [*words("decision", "reason"), *numbers("rows", "bytes"), *words("which means")]
    blocks = [text(f"{said}."), table(columns, rows, room)]
    if len(shown) < len(facts.excluded):
        blocks.append(text(f"{len(facts.excluded) - len(shown):,} more reasons are not shown.", "note"))
    for found, reason in zip(shown, reasons, strict=True):
        if found.examples:
            title = f"{found.decision} {reason}".rstrip() + f": {len(found.examples):,} of {found.rows:,}"
            blocks.append(folded(title, [samples(found.examples, room)]))
    return blocks


def _meaning(found: Excluded) -> str:
    of_reason = MEANING.get(f"{found.decision} {found.reason.partition(':')[0]}")
    return of_reason or MEANING.get(found.decision, "")


def _picks(facts: Facts, room: Room) -> list[Block]:
    blocks = []
    kept = (facts.manifest.get("config") or {}).get("keep")  # which come first, whatever they hold
    if facts.first:
        blocks.append(text("The first picks" + ("" if kept else ": what holds most that nothing else has said") + "."))
        blocks.append(samples(facts.first, room))
    if facts.last:
        blocks.append(text("The last picks: what the budget still had room for."))
        blocks.append(samples(facts.last, room))
    return blocks


def _samples(facts: Facts, room: Room) -> list[Block]:
    if not facts.samples:
        return []
    said = f"{len(facts.samples):,} rows of the pool, by content hash: neither the best nor the worst."
    return [text(said), sample_table(facts.samples, room)]


def _stages(facts: Facts, room: Room) -> list[Block]:
    seconds = facts.summary.seconds
    if not seconds:
        return []
    rows = [(name, number(time, ",.1f")) for name, time in seconds.items()]
    parts = f"{facts.summary.parts:,} part{'' if facts.summary.parts == 1 else 's'}"
    said = f"Seconds of each stage: {facts.summary.total_seconds:,.1f} in all, {parts}. Start of Spark not counted"
    said += "." if "write" in seconds else ", nor the writing of the tables."
    return [chart(charts.stages(seconds), said, table([*words("stage"), *numbers("seconds")], rows, room))]


def _manifest(facts: Facts, room: Room) -> list[Block]:
    said = json.dumps(facts.manifest, indent=2, ensure_ascii=False, default=str)
    shown = said[:MOST_MANIFEST]
    left_out = len(said) - len(shown)
    blocks = [text(f"Checksum of the ordered ids: {facts.summary.checksum}", "note"), code(shown)]
    if left_out:
        blocks.append(text(f"{left_out:,} characters more: see manifest.json.", "note"))
    return [folded("manifest.json", blocks)]


def _foot(facts: Facts) -> list[str]:
    said = []
    if facts.full is None:
        said.append(
            "zipspark report OUT --full adds what needs computing: the longest samples and those of lowest own ratio "
            "as two more sets, coverage, how well groups compress each other, near-copies with their differences, and "
            "what cutting into parts costs."
        )
    manifest = facts.manifest
    version = (manifest.get("versions") or {}).get("zipspark")
    made = [f"zipspark {version}" if version else "zipspark", manifest.get("created"), manifest.get("run_id")]
    said.append(" · ".join(named(str(item)) for item in made if item))
    return said
