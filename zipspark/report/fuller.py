"""Sections of a report that need computing: what ``zipspark report --full`` adds."""

from __future__ import annotations

import math

from zipspark.report import charts
from zipspark.report.blocks import Block, Room, chart, folded, number, numbers, pair, size, table, text, unique, words
from zipspark.report.cautions import NAMED
from zipspark.report.facts import Facts
from zipspark.units import format_bytes

SHORT = 40  # characters of a group where each stands in many cells


def coverage(facts: Facts, room: Room) -> list[Block]:
    curves = facts.full.coverage if facts.full else ()
    if not any(curve.bytes for curve in curves):
        return []
    rows = [
        (curve.name, size(held), number(share, ".1%"))
        for curve in curves
        for held, share in zip(curve.bytes, curve.share, strict=True)
    ]
    said = (
        "How much of what the pool's samples share (weighted, as the objective coverage counts it) the first bytes of "
        "a set hold. The steeper a line, the sooner the set says what the pool says. Both sets have as many bytes, "
        "but for the part of a sample that random has no room for."
    )
    return [chart(charts.coverage(curves), said, table([*words("set"), *numbers("bytes", "share")], rows, room))]


def matrix(facts: Facts, room: Room) -> list[Block]:
    found = facts.full.matrix if facts.full else None
    if not found or not found["groups"]:
        return []
    nothing, *shown = unique(["(nothing)", *found["groups"][: charts.MOST_GROUPS]], SHORT)
    labels = dict(enumerate(shown))
    place = {name: at for at, name in enumerate(found["groups"])}
    order = [place[name] for name in found["order"] if place[name] in labels] or list(labels)
    names = [labels[at] for at in order]
    alone = [found["alone"][at] for at in order]
    values = [[found["values"][a][b] for b in order] for a in order]
    said = (
        "What a column's text takes when the row's text is known, as compressed bytes over bytes. Strong colour, low "
        "number: the row says much of what the column says. The first row is what the column takes by itself; the "
        "diagonal is other samples of the same group."
    )
    if len(found["groups"]) > charts.MOST_GROUPS:
        said += f" The largest {charts.MOST_GROUPS} of {len(found['groups']):,} groups are shown."
    if small := [labels[at] for at in order if found["bytes"][at] < max(found["bytes"])]:
        more = f" and {len(small) - NAMED:,} more" if len(small) > NAMED else ""
        named = ", ".join(small[:NAMED])
        said += f" Too little text for an equal measure, so that their rows look worse than they are: {named}{more}."
    rows = [
        (name, *(number(value, ".3f") for value in row))
        for name, row in zip((nothing, *names), (alone, *values), strict=True)
    ]
    spec = charts.matrix(names, alone, values)
    return [chart(spec, said, table([*words("given"), *numbers(*names)], rows, room), 170 + charts.CELL * len(names))]


def clusters(facts: Facts, room: Room) -> list[Block]:
    if not facts.full or not facts.full.clusters:
        return []
    clusters = facts.full.clusters
    count = min(len(clusters), room.rows)
    blocks = [
        text(
            f"Samples that look alike: {count:,} of {facts.full.groups:,} groups of them, those whose copies take most "
            "first, each with two of its samples, one that was selected if any was, and the closest to it. What one "
            "says and the other does not is underlined. A good choice takes few of each. Of documents above some 500 "
            "kB few are found."
        )
    ]
    for cluster in clusters[:count]:
        title = (
            f"{cluster.samples:,} alike, {cluster.selected:,} selected: {format_bytes(cluster.bytes)}, "
            f"ratio {cluster.ratio:.1f}"
        )
        blocks.append(folded(title, [pair(cluster.pair, room)]))
    return blocks


def parts(facts: Facts, room: Room) -> list[Block]:
    found = facts.full.parts if facts.full else None
    if found is None:
        return []
    loss = found.many / found.one - 1 if found.one else math.nan
    said = (
        f"The run was cut into {found.run_parts:,} parts. On a sample of {format_bytes(found.pool_bytes)} of the pool, "
        f"by content hash, {format_bytes(found.subset_bytes)} were chosen in one part and in {found.parts:,}: "
        f"{found.common:.0%} of the picks are the same, and the ratio differs by {loss:+.1%}."
    )
    rows = [("in one part", number(found.one, ".3f")), (f"in {found.parts:,} parts", number(found.many, ".3f"))]
    return [text(said), table([*words("chosen"), *numbers("ratio")], rows, room)]
