"""A report as one HTML file, which asks nothing of the network and trusts nothing that it shows.

The page is a frame, and a document in JSON that report.js shows as text nodes alone: of a selection
(`zipspark.report.sections`), or of a subset that is refreshed (`zipspark.report.history`). Its policy lets the browser
run our scripts, known by their hashes, and load nothing: what a sample says could not act even if it came to stand in
the page as markup. Vega's expressions are interpreted (``ast``), so that none needs `eval`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from html import escape
from importlib import resources
from typing import Any

from zipspark.report import history, sections
from zipspark.report.blocks import Room
from zipspark.report.charts import CONFIG
from zipspark.report.facts import Facts
from zipspark.report.history import History

LIMIT = 2_000_000  # bytes of a page: what a browser opens at once, and an e-mail takes

# Inside a script element these could end it; JSON has them inside strings only, where an escape means the same.
_UNSAFE = "<>&\u2028\u2029"

NO_CHARTS = "The charts are left out, tables stand in. Run: pip install 'zipspark[report]', and zipspark report again."

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main id="report"></main>
<noscript><p>This report is shown by a script that stands in the file itself: allow scripts to read it.</p></noscript>
<script type="application/json" id="document">{document}</script>
{scripts}
</body>
</html>
"""


def page(facts: Facts) -> str:
    """The report of a selection: the whole file, at most `LIMIT` bytes in UTF-8.

    Long texts are cut, and say by how much. Without vl-convert (the extra ``report``) tables stand in for charts.
    """
    return _fitting(partial(sections.document, facts))


def history_page(facts: History) -> str:
    """The report of a refreshed subset, likewise."""
    return _fitting(history.document(facts))


def _fitting(document: Callable[[Room], dict[str, Any]]) -> str:
    vega = prepared()
    room = Room()
    while True:
        shown = document(room) | {"has_charts": vega is not None}
        if vega is None:
            shown["foot"] = [NO_CHARTS, *shown["foot"]]
        html = _assembled(shown, vega)
        if len(html.encode()) <= LIMIT or not room.rows:
            return html
        room = room.smaller()


def _assembled(content: dict[str, Any], vega: str | None) -> str:
    style = _asset("report.css")
    scripts = [script for script in (vega, _asset("report.js")) if script is not None]
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(_hash, scripts)),
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return _PAGE.format(
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        title=escape(f"zipspark: {content['verdict']['headline']}"),
        style=style,
        document=_json(content | {"config": CONFIG}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _json(content: dict[str, Any]) -> str:
    plain = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in _UNSAFE:
        plain = plain.replace(sign, f"\\u{ord(sign):04x}")
    return plain.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def _hash(inline: str) -> str:
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return resources.files("zipspark.report").joinpath("assets", name).read_text("utf-8")


@cache
def prepared() -> str | None:
    """`vegaEmbed`, with Vega and Vega-Lite, in one script with a scope of its own; None without vl-convert."""
    try:
        from vl_convert import javascript_bundle
    except ImportError:  # missing, or made for another machine
        return None
    license = _asset("vega-license.txt")  # their code goes with every page, and so do their terms
    return f"/*\n{license}*/\n(()=>{{{javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();"
