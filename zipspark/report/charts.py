"""Charts of a report, as Vega-Lite specifications (plain dicts, JSON-ready).

Names of groups stand in data only, never in a field's name or an expression, where they would need escapes. Colours are
variables of report.css, and text has the colour of the page, so that dark mode needs no second chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from zipspark.report.facts import Coverage, Histogram, Point

Spec = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"  # report.css has the same
NUMBERED = 8  # groups: up to so many, a matrix has room for numbers on a phone
MOST_GROUPS = 30  # in a chart; the largest
MOST_REFRESHES = 60  # in a chart; the last
TICKS = 6  # labels below a histogram
CELL = 24  # pixels of a matrix' cell, which may not shrink with the page

_COLORS = {"pool": "var(--pool)", "subset": "var(--subset)", "random": "var(--random)"}
_BYTES = {"labelExpr": "format(datum.value, '~s') + 'B'", "tickCount": 8}

_TEXT = {"labelColor": "currentColor", "titleColor": "currentColor", "titleFontWeight": 500}
CONFIG: Spec = {
    "aria": False,  # the page says what a chart shows; of each mark it would say its pixels
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": _TEXT
    | {
        "domainColor": "currentColor",
        "domainOpacity": 0.35,
        "gridColor": "currentColor",
        "gridOpacity": 0.1,
        "labelFontSize": 12,
        "labelOpacity": 0.8,
        "labelPadding": 6,
        "tickColor": "currentColor",
        "tickOpacity": 0.35,
        "titleFontSize": 12,
        "titleOpacity": 0.8,
        "titlePadding": 10,
    },
    "legend": _TEXT
    | {"labelFontSize": 12, "titleFontSize": 12, "orient": "top", "symbolStrokeWidth": 3, "labelLimit": 240},
    "text": {"color": "currentColor", "fontSize": 12},
}


def ranking(points: Sequence[Point], knee: int | None) -> Spec:
    """Marginal ratio of each stretch over the bytes chosen, and where the knee is."""
    starts = [0, *(point.bytes for point in points)]
    values = [
        {"from": start, "to": point.bytes, "samples": point.samples, "ratio": _finite(point.marginal_ratio)}
        for start, point in zip(starts, points, strict=False)
    ]
    steps = [{"at": row[end], "ratio": row["ratio"]} for row in values for end in ("from", "to")]
    x = {"type": "quantitative", "title": "bytes chosen", "axis": _BYTES, "scale": {"nice": False}}
    y = {"field": "ratio", "type": "quantitative", "title": "marginal ratio", "scale": {"zero": False}}
    tooltip = [
        {"field": "samples", "title": "samples chosen", "format": ","},
        {"field": "to", "title": "bytes chosen", "format": ","},
        {"field": "ratio", "title": "marginal ratio", "format": ".2f"},
    ]
    line = {"type": "line", "color": _COLORS["subset"], "strokeWidth": 2}
    everywhere = {"x": x | {"field": "from"}, "x2": {"field": "to"}, "tooltip": tooltip}
    layers: list[Spec] = [
        {"data": {"values": steps}, "mark": line, "encoding": {"x": x | {"field": "at"}, "y": y}},
        {"mark": {"type": "rect", "opacity": 0}, "encoding": everywhere},
    ]
    if knee is not None:
        at = points[knee].bytes
        is_late = 2 * at > points[-1].bytes
        label = {"type": "text", "align": "right" if is_late else "left", "dx": -7 if is_late else 7, "dy": 8, "y": 0}
        here = {"x": {"datum": at, "type": "quantitative"}}
        dashes = {"type": "rule", "color": "currentColor", "opacity": 0.6, "strokeDash": [4, 4]}
        for mark, text in ((dashes, {}), (label, {"text": {"value": "knee"}})):
            layers.append({"data": {"values": [{}]}, "mark": mark, "encoding": here | text})
    return _spec(values, height=240, layer=layers)


def coverage(curves: Sequence[Coverage]) -> Spec:
    """Share of what the pool says over bytes, one line per set."""
    values = [
        {"set": curve.name, "bytes": size, "share": _finite(share)}
        for curve in curves
        for size, share in zip((0, *curve.bytes), (0.0, *curve.share), strict=True)
    ]
    encoding = {
        "x": {"field": "bytes", "type": "quantitative", "title": "bytes of the set", "axis": _BYTES},
        "y": {
            "field": "share",
            "type": "quantitative",
            "title": "share of the pool's content",
            "axis": {"format": ".0%"},
        },
        "color": _color_by("set", [curve.name for curve in curves]),
        "tooltip": [
            {"field": "set"},
            {"field": "bytes", "format": ","},
            {"field": "share", "format": ".1%", "title": "share"},
        ],
    }
    mark = {"type": "line", "strokeWidth": 2.5, "point": {"size": 30}}
    return _spec(values, height=260, mark=mark, encoding=encoding)


def mix(groups: Mapping[str, tuple[float, float]], of: tuple[float, float]) -> Spec:
    """Share of each group before and after, as bars; ``of`` are the samples of pool and subset."""
    values = [
        {"group": name, "set": which, "samples": count, "share": count / max(whole, 1)}
        for name, counts in groups.items()
        for which, count, whole in zip(("pool", "subset"), counts, of, strict=True)
    ]
    encoding = {
        "y": _group_axis("group"),
        "yOffset": {"field": "set", "sort": None, "scale": {"paddingOuter": 0.1}},
        "x": {
            "field": "share",
            "type": "quantitative",
            "stack": None,
            "title": "share of samples",
            "axis": {"format": "~%", "tickCount": 6},
        },
        "color": _color_by("set", ["pool", "subset"]),
        "tooltip": [
            {"field": "group"},
            {"field": "set"},
            {"field": "samples", "format": ","},
            {"field": "share", "format": ".2%"},
        ],
    }
    mark = {"type": "bar", "cornerRadiusEnd": 2}
    return _spec(values, height=20 * len(groups) + 8, mark=mark, encoding=encoding)


def histogram(found: Histogram, edges: Sequence[str], title: str) -> Spec:
    """Shares of the selected and of the others in each bin; bins are drawn equally wide, whatever ``edges``."""
    sides = {"not selected": found.not_selected, "selected": found.selected}
    wholes = {name: max(sum(counts), 1) for name, counts in sides.items()}
    values = [
        {
            "from": bin + (0.06, 0.5)[at],
            "to": bin + (0.5, 0.94)[at],
            "side": name,
            "rows": count,
            "share": count / wholes[name],
            "bin": f"{edges[bin]} to {edges[bin + 1]}",
        }
        for at, (name, counts) in enumerate(sides.items())
        for bin, count in enumerate(counts)
    ]
    bins = len(found.selected)
    ticks = list(range(0, bins + 1, max(1, math.ceil(bins / TICKS))))
    labels = ", ".join(f"'{edge}'" for edge in edges)  # made of numbers: nothing to escape
    axis = {"values": ticks, "labelExpr": f"[{labels}][datum.value]", "grid": False}
    x = {"field": "from", "type": "quantitative", "title": title, "axis": axis, "scale": {"domain": [0, bins]}}
    encoding = {
        "x": x,
        "x2": {"field": "to"},
        "y": {
            "field": "share",
            "type": "quantitative",
            "stack": None,
            "title": "share of rows",
            "axis": {"format": "~%", "tickCount": 5},
        },
        "y2": {"datum": 0},
        "color": {
            "field": "side",
            "type": "nominal",
            "title": None,
            "scale": {"domain": list(sides), "range": [_COLORS["pool"], _COLORS["subset"]]},
        },
        "tooltip": [
            {"field": "side", "title": "rows that were"},
            {"field": "bin", "title": title},
            {"field": "rows", "format": ","},
            {"field": "share", "format": ".1%"},
        ],
    }
    return _spec(values, height=200, mark={"type": "rect"}, encoding=encoding)


def matrix(names: Sequence[str], alone: Sequence[float], values: Sequence[Sequence[float]]) -> Spec:
    """A heat map: what each group (column) takes given each other, or nothing (first row)."""
    rows = dict(zip(("(nothing)", *names), (alone, *values), strict=True))
    cells = [
        {"given": given, "sized": sized, "share": _finite(value)}
        for given, row in rows.items()
        for sized, value in zip(names, row, strict=True)
    ]
    encoding: Spec = {
        "x": _group_axis("sized", "text that is compressed")
        | {"axis": {"labelAngle": -60, "labelLimit": 90, "orient": "top", "domain": False, "ticks": False}},
        "y": _group_axis("given", "text that is given"),
        "tooltip": [
            {"field": "given", "title": "given"},
            {"field": "sized", "title": "compressed"},
            {"field": "share", "format": ".3f", "title": "compressed bytes / bytes"},
        ],
    }
    shade = {"field": "share", "type": "quantitative", "legend": None, "scale": {"range": [0.75, 0.03], "zero": False}}
    layers: list[Spec] = [
        {"mark": {"type": "rect", "fill": _COLORS["subset"]}, "encoding": encoding | {"fillOpacity": shade}}
    ]
    if len(names) <= NUMBERED:
        number = {"field": "share", "type": "quantitative", "format": ".2f"}
        layers.append({"mark": {"type": "text", "fontSize": 11}, "encoding": encoding | {"text": number}})
    padding = {"left": 0, "right": 45, "top": 5, "bottom": 5}  # the last slanted name reaches to the right
    return _spec(cells, height=CELL * len(rows), padding=padding, layer=layers)


def stages(seconds: Mapping[str, float]) -> Spec:
    """Seconds per stage, as bars."""
    values = [{"stage": name, "seconds": time} for name, time in seconds.items()]
    encoding = {
        "y": _group_axis("stage"),
        "x": {"field": "seconds", "type": "quantitative", "axis": {"tickCount": 6}},
        "tooltip": [{"field": "stage"}, {"field": "seconds", "format": ",.1f"}],
    }
    mark = {"type": "bar", "color": _COLORS["subset"], "cornerRadiusEnd": 2, "height": {"band": 0.66}}
    return _spec(values, height=24 * len(values), mark=mark, encoding=encoding)


def moves(refreshes: Sequence[Mapping[str, Any]]) -> Spec:
    """Rows that came and, downwards, that left with each refresh (rows of a history table, ascending)."""
    values = [
        {"refresh": str(row["refresh"]), "what": what, "rows": rows, "signed": sign * rows}
        for row in refreshes[-MOST_REFRESHES:]
        for what, rows, sign in (("came", row["rows_added"], 1), ("left", row["rows_dropped"], -1))
    ]
    encoding = {
        "x": {"field": "refresh", "type": "ordinal", "sort": None, "axis": {"labelAngle": 0, "labelOverlap": True}},
        "y": {"field": "signed", "type": "quantitative", "title": "rows", "axis": {"tickCount": 5}},
        "color": {
            "field": "what",
            "type": "nominal",
            "title": None,
            "scale": {"domain": ["came", "left"], "range": [_COLORS["subset"], _COLORS["random"]]},
        },
        "tooltip": [{"field": "refresh"}, {"field": "what"}, {"field": "rows", "format": ","}],
    }
    return _spec(values, height=220, mark={"type": "bar", "cornerRadiusEnd": 2}, encoding=encoding)


def _spec(values: list[Spec], **rest: Any) -> Spec:
    return {"data": {"values": values}, "width": "container", **rest}


def _group_axis(field: str, title: str | None = None) -> Spec:
    """Names in the order in which they come."""
    axis = {"labelLimit": 110, "domain": False, "ticks": False}
    return {"field": field, "type": "nominal", "sort": None, "title": title, "axis": axis}


def _color_by(field: str, names: list[str]) -> Spec:
    colors = [_COLORS.get(name, "currentColor") for name in names]
    return {"field": field, "type": "nominal", "title": None, "scale": {"domain": names, "range": colors}}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
