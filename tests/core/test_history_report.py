"""The page of a refreshed subset: its refreshes, the warning about its ratio, and what came last."""

from __future__ import annotations

import json
import re
import sys

import pytest
from report_world import HOSTILE, history

from zipspark.entropy.law_figures import figure_of_versions
from zipspark.report import history as module
from zipspark.report import page as pages
from zipspark.report.history import History, judged
from zipspark.report.page import LIMIT, history_page

RATIOS = (2.10, 2.14, 2.11, 2.13)


@pytest.fixture(autouse=True)
def _no_charts(monkeypatch):
    monkeypatch.setattr(pages, "prepared", lambda: None)


def shown(facts: History) -> dict:
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', history_page(facts), re.DOTALL)
    return json.loads(found[1])


def section(document: dict, name: str) -> str:
    return next(json.dumps(one, ensure_ascii=False) for one in document["sections"] if one["id"] == name)


def test_it_says_what_the_last_refresh_did_and_what_came():
    page = shown(history(*RATIOS))
    assert page["verdict"]["headline"] == "394 rows after refresh 3: 100 rows came, 2 left"
    assert ["ratio before", "2.11"] in page["verdict"]["figures"]
    assert "700 rows were new, 0 changed and 3 deleted" in page["verdict"]["sentences"][0]
    assert any("no promise" in said for said in page["verdict"]["sentences"])
    assert not page["verdict"]["warnings"]
    assert [one["id"] for one in page["sections"]] == ["last", "came", "ratio", "refreshes", "details"]
    assert page["foot"][0].startswith("The charts are left out")
    first = next(one for one in page["sections"] if one["id"] == "came")["blocks"][0]["items"][0]
    assert (first["rank"], first["text"]["sample"]) == ("0", HOSTILE[0])
    (chart,) = next(one for one in page["sections"] if one["id"] == "refreshes")["blocks"]
    assert [row[0]["value"] for row in chart["numbers"]["rows"]] == [3, 2, 1, 0]  # the newest first
    assert {value["signed"] for value in chart["spec"]["data"]["values"]} == {100, -2, 0}


def test_a_ratio_beyond_all_before_it_is_a_warning_and_a_picture():
    facts = history(*RATIOS, 3.4)
    assert judged(facts).level == "watch"
    page = shown(facts)
    assert page["verdict"]["warnings"][0].startswith("watch: 3.400 is above all 4 past versions (2.100 to 2.140)")
    (picture,) = next(one for one in page["sections"] if one["id"] == "ratio")["blocks"]
    assert picture["source"].startswith("data:image/svg+xml;base64,")
    assert picture["caption"].endswith("The last one: watch.")


def test_without_matplotlib_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "No picture: a picture needs matplotlib" in section(shown(history(*RATIOS)), "ratio")


@pytest.mark.parametrize("ratios", [(2.1,), (2.1, None), (None,)])
def test_what_cannot_be_judged_is_no_warning(ratios):
    page = shown(history(*ratios))
    assert not page["verdict"]["warnings"]
    assert ("ratio" in {one["id"] for one in page["sections"]}) == (ratios[-1] is not None)


def test_the_first_refresh_looked_at_everything():
    page = shown(history(2.1))
    assert "every row was looked at" in page["verdict"]["sentences"][0]
    assert "ratio before" not in dict(page["verdict"]["figures"])


def test_of_many_refreshes_the_page_stays_small():
    html = history_page(history(*(2.1 + number % 7 / 100 for number in range(3000))))
    assert len(html.encode()) < LIMIT
    assert "The last 60 of 3,000 refreshes are drawn." in html


def test_however_often_it_is_cut_its_picture_is_drawn_once(monkeypatch):
    drawn, facts = [], history(*(2.1 + number % 7 / 100 for number in range(1000)))
    monkeypatch.setattr(pages, "LIMIT", len(history_page(facts)) // 2)
    monkeypatch.setattr(module, "figure_of_versions", lambda rows: drawn.append(rows) or figure_of_versions(rows))
    page = shown(facts)
    assert page["sections"][3]["blocks"][0]["numbers"]["left_out"] > 0
    assert len(drawn) == 1
