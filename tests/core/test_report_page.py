"""The page of a report: what it says, what it never says, and how large it gets."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from report_world import GROUPS, HOSTILE, example, facts, fuller, hostile, matrix, set_line, summary

from zipspark.report import page as pages
from zipspark.report.alike import MOST_WORDS, compared
from zipspark.report.blocks import unique
from zipspark.report.facts import Cluster, Facts, Point
from zipspark.report.knee import knee
from zipspark.report.page import LIMIT, page
from zipspark.report.verdict import verdict

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_charts(monkeypatch):
    """As where vl-convert is not installed; also far faster."""
    monkeypatch.setattr(pages, "prepared", lambda: None)


def document_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', html, re.DOTALL)
    return json.loads(found[1])


def sections_of(shown: Facts) -> dict[str, str]:
    """Section -> all of it, as JSON."""
    return {section["id"]: json.dumps(section, ensure_ascii=False) for section in document_of(page(shown))["sections"]}


# The file


def test_the_page_is_whole_and_lets_nothing_but_its_own_scripts_run(monkeypatch):
    monkeypatch.setattr(pages, "prepared", lambda: "window.vegaEmbed = 0;")
    html = page(facts())
    assert html.startswith("<!DOCTYPE html>")
    assert html.endswith("</html>\n")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert (len(scripts), len(styles)) == (2, 1)
    policy = dict(part.split(" ", 1) for part in re.search(r'Policy" content="([^"]*)"', html)[1].split("; "))
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts + styles
    ]
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].split() == hashes[:2]
    assert policy["style-src"] == hashes[2]
    assert "unsafe" not in str(policy)


def test_what_samples_say_cannot_end_the_script_that_holds_it(no_charts):
    html = page(hostile())
    data = re.search(r'id="document">(.*?)</script>', html, re.DOTALL)[1]
    assert not set(data) & set("<>&\u2028\u2029")
    assert html.count("<script") == 2
    assert html.count("</script") == 2
    first = next(section for section in document_of(html)["sections"] if section["id"] == "picks")
    texts = [item["text"]["sample"] for item in first["blocks"][1]["items"]]
    assert texts == [text.replace("\ud800", "?") for text in HOSTILE]  # half a pair is no character


def test_without_vl_convert_the_page_says_so_and_tables_stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    pages.prepared.cache_clear()
    try:
        found = document_of(page(facts()))
    finally:
        pages.prepared.cache_clear()
    assert not found["has_charts"]
    assert any("pip install 'zipspark[report]'" in said for said in found["foot"])


def test_with_vl_convert_all_of_vega_is_in_the_page():
    pytest.importorskip("vl_convert")
    html = page(facts())
    assert "window.vegaEmbed=" in html
    assert document_of(html)["has_charts"]
    assert "Redistributions in binary form must reproduce" in html


def test_the_wheel_has_the_assets(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assets = ("report.css", "report.js", "vega-license.txt")
    assert {f"zipspark/report/assets/{name}" for name in assets} <= set(names)


# What is in it


def test_sections_come_in_their_order(no_charts):
    assert list(sections_of(facts(full=fuller()))) == [
        "sets",
        "ranking",
        "coverage",
        "groups",
        "lengths",
        "matrix",
        "excluded",
        "near-copies",
        "picks",
        "samples",
        "parts",
        "stages",
        "manifest",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ({"score": 3.0}, "3.0 in all, 4 parts. Start of Spark not counted, nor the writing of the tables."),
        ({"score": 3.0, "write": 0.5}, "3.5 in all, 4 parts. Start of Spark not counted."),  # made anew: all is known
    ],
)
def test_seconds_that_are_not_counted_are_named(no_charts, seconds, said):
    assert said in sections_of(facts(summary=summary(seconds=seconds)))["stages"]


def test_near_copies_say_how_many_groups_there_are(no_charts):
    assert "1 of 40 groups" in sections_of(facts(full=fuller()))["near-copies"]


def test_without_full_its_sections_are_left_out_and_named_once(no_charts):
    html = page(facts())
    assert html.count("--full") == 1
    assert not {"coverage", "matrix", "near-copies", "parts"} & sections_of(facts()).keys()
    assert "--full" not in page(facts(full=fuller()))


def test_what_was_not_found_out_is_left_out(no_charts):
    empty = facts(
        summary=summary(groups={}, seconds={}, decisions={}, sets=()),
        ranking=(),
        histograms=(),
        excluded=(),
        first=(),
        last=(),
        samples=(),
    )
    assert list(sections_of(empty)) == ["manifest"]
    assert document_of(page(empty))["verdict"]["headline"] == "Nothing was chosen"


def test_one_group_is_no_mix(no_charts):
    assert "groups" not in sections_of(facts(summary=summary(groups={"code": (1000, 100)})))


def test_of_many_groups_the_largest_are_shown_and_the_others_counted(no_charts):
    many = {f"group {number}": (20_000 - number, 1) for number in range(10_000)}
    (section,) = [
        found for found in document_of(page(facts(summary=summary(groups=many))))["sections"] if found["id"] == "groups"
    ]
    chart, note = section["blocks"]
    assert len(chart["numbers"]["rows"]) == 300
    assert {row["group"] for row in chart["spec"]["data"]["values"]} == {f"group {number}" for number in range(30)}
    assert "largest 30 of 10,000 groups" in chart["caption"]
    assert "largest 300 of 10,000 groups" in note["text"]


def test_numbers_that_are_none_do_not_break_the_page(no_charts):
    strange = facts(
        summary=summary(sets=(set_line("pool", 1, 1, float("nan")), set_line("subset", 0, 0, 0.0))),
        ranking=(Point(1, 10, float("inf")), Point(2, 20, 0.0), Point(3, 30, float("nan"))),
        samples=(example(1, ratio=None, group=None), example(2, ratio=float("inf"))),
    )
    shown = "".join(sections_of(strange).values())
    assert not re.search(r"\b(nan|NaN|inf|Infinity)\b", shown)


def test_hidden_text_is_nowhere(no_charts):
    hidden = facts(
        excluded=(),
        first=(example(0, None),),
        last=(example(2, None),),
        samples=(example(1, None),),
        full=fuller(None, None),
    )
    sections = sections_of(hidden)
    assert "hidden" in sections["picks"]
    assert "hidden" in sections["samples"]
    assert '"runs": null' in sections["near-copies"]
    assert not any(name in said for said in sections.values() for name in ('"sample":', "cat sat"))


# How large it gets


def test_long_texts_are_cut_so_that_the_page_stays_small():
    pytest.importorskip("vl_convert")
    texts = [f"{number} " + "é<" * 10_000 for number in range(200)]
    html = page(facts(samples=tuple(example(at, text[:20_000], left_out=7) for at, text in enumerate(texts))))
    assert 1_000_000 < len(html.encode()) <= LIMIT == 2_000_000
    (section,) = [found for found in document_of(html)["sections"] if found["id"] == "samples"]
    cells = [row[0] for row in section["blocks"][1]["rows"]]
    assert len(cells) == 200
    assert all(len(cell["sample"]) + cell["left_out"] == 20_007 for cell in cells)
    assert all(len(cell["sample"]) < 20_000 for cell in cells)


def test_no_run_makes_a_page_too_large(no_charts, monkeypatch):
    monkeypatch.setattr(pages, "LIMIT", 1_000_000)  # what is left beside Vega
    long = "\x01" * 500  # six bytes each in JSON
    huge = facts(
        summary=summary(groups={f"{number}{long}": (9, 1) for number in range(2000)}),
        manifest={"config": {"input": [long] * 100}},
        first=tuple(example(at, long * 4, zip_id=long, group=long) for at in range(100)),
        samples=tuple(example(at, long * 4, zip_id=long, group=long) for at in range(2000)),
        full=replace(fuller(), matrix=matrix(tuple(f"{number}{long}" for number in range(60)))),
    )
    start = time.perf_counter()
    assert len(page(huge).encode()) <= 1_000_000
    assert time.perf_counter() - start < 20


def test_names_that_are_cut_still_differ():
    assert unique(["x" * 200 + "1", "x" * 200 + "2", ""]) == ["x" * 119 + "…", "x" * 119 + "… (2)", "(empty)"]


# The verdict


def test_the_verdict_says_what_was_gained_and_what_is_not_promised():
    found = verdict(facts())
    assert found.headline == "100 of 1,000 samples chosen: 100.0 kB of 1.0 MB"
    assert ("compressed, against random", "+25%") in found.figures
    assert "1/2.00 of its size, random samples of as many bytes to 1/2.50" in " ".join(found.sentences)
    assert "no promise" in found.sentences[-1]
    assert found.warnings == ()


def changed_manifest(**changes: object) -> Facts:
    return facts(manifest={"config": {"guard": True}, "budget": {"unit": "bytes"}} | changes)


@pytest.mark.parametrize(
    ("shown", "warning"),
    [
        (changed_manifest(config={"guard": False}), "The guard was off"),
        (
            facts(summary=summary(groups=GROUPS | {"gone": (50, 0), "tiny": (5, 0)})),
            "1 group has no sample in the subset, though by the share in the pool there would be one: gone.",
        ),
        (
            facts(summary=summary(sets=(set_line("subset", 9, 900, 2.5), set_line("random", 9, 900, 2.5)))),
            "not below that of random",
        ),
        (
            replace(
                changed_manifest(budget={"unit": "rows"}),
                summary=summary(sets=(set_line("pool", 1000, 10**6, 3.3), set_line("subset", 100, 10**4, 2.0))),
            ),
            "The samples chosen are short: 100 bytes in the mean, 1,000 in the pool.",
        ),
    ],
    ids=["guard", "groups", "ratio", "rows"],
)
def test_the_verdict_warns(shown, warning):
    (found,) = verdict(shown).warnings
    assert warning in found


def test_a_budget_in_bytes_is_not_blamed_for_short_samples():
    sets = (set_line("pool", 1000, 10**6, 3.3), set_line("subset", 100, 10**4, 2.0))
    assert verdict(facts(summary=summary(sets=sets))).warnings == ()


def test_the_verdict_does_not_warn_of_what_was_asked_for():
    groups = {"code": (500, 50), "ads": (500, 0)}
    said = "1 group has no sample in the subset"
    assert said in " ".join(verdict(facts(summary=summary(groups=groups))).warnings)
    for mix, asked in (("code=1", {"code": (50.0, 50.0)}), (None, {"ads": (0.0, 0.0)})):
        shown = replace(changed_manifest(config={"mix": mix}), summary=summary(groups=groups, mix=asked))
        assert said not in " ".join(verdict(shown).warnings)


def test_a_summary_is_its_table_as_text_also_in_a_notebook(monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = str(summary())
    assert "│ subset │" in said
    assert "\x1b" not in said


# The knee


def points(*ratios: float, each: int = 100) -> tuple[Point, ...]:
    return tuple(Point(at + 1, each * (at + 1), ratio) for at, ratio in enumerate(ratios))


def test_the_knee_is_where_the_curve_bends():
    assert knee(points(*[1.5] * 30, *[6.0] * 70)) == 29


def test_the_knee_knows_no_scale():
    ratios = [1.0 + 0.05 * step**1.5 for step in range(50)]
    found = knee(points(*ratios))
    assert found is not None
    assert knee(points(*ratios, each=10**9)) == found
    assert knee(points(*(7 * ratio for ratio in ratios))) == found


@pytest.mark.parametrize(
    "straight", [(), points(2.0), points(2.0, 3.0), points(*[3.0] * 20), points(5.0, 4.0, 3.0, 2.0)]
)
def test_what_does_not_bend_has_no_knee(straight):
    assert knee(straight) is None


# Near-copies


def test_a_comparison_keeps_every_letter():
    one, other = compared("a  b\nc d", "a b x  d e")
    assert "".join(text for _, text in one) == "a  b\nc d"
    assert "".join(text for _, text in other) == "a b x  d e"
    assert [text.strip() for same, text in one if not same] == ["c"]
    assert [text.strip() for same, text in other if not same] == ["x", "e"]


def test_a_comparison_is_bounded():
    start = time.perf_counter()
    one, _ = compared("a b " * 10_000, "b b a " * 10_000)
    assert len("".join(text for _, text in one).split()) == MOST_WORDS
    assert time.perf_counter() - start < 5


def test_what_a_comparison_leaves_out_is_counted(no_charts):
    words = "word " * 1000
    copies = Cluster(2, 10_000, 0, 50.0, (example(1, words, left_out=3), example(3, words)))
    found = sections_of(facts(full=replace(fuller(), clusters=(copies,))))["near-copies"]
    assert f'"left_out": {5 * (1000 - MOST_WORDS) + 3}' in found
