"""The page of a report in a real browser: what people see and click, and what samples must not be able to do.

Needs Chromium (scripts/ensure-chromium) and the extra ``report``; without them the tests are skipped, but never in CI.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread
from report_world import GROUPS, HOSTILE, example, facts, fuller, history, hostile, summary

from zipspark.report import page as pages
from zipspark.report.blocks import NOTHING
from zipspark.report.history import History

CHARTS = 7  # of a report with --full: ranking, coverage, groups, two histograms, matrix, stages
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def unavailable(why: str) -> None:
    """Skips; fails in CI, where a test that is not run would go unnoticed."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI is to run these tests: {why}")
    pytest.skip(why)


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        unavailable("no Chromium is on PATH. Run: scripts/ensure-chromium")
    try:
        import vl_convert  # noqa: F401
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        unavailable(f"{error.name} is not installed")
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the report of facts. Whatever a test looks at: the page may neither complain nor ask for anything."""
    problems, requests, contexts = [], [], []

    def open_report(shown, *, width=1280, scheme="light"):
        path = tmp_path / f"report{len(contexts)}.html"
        path.write_text(pages.history_page(shown) if isinstance(shown, History) else pages.page(shown), "utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        drawn = "document.querySelectorAll('.plot svg').length === document.querySelectorAll('.plot').length"
        page.wait_for_function(drawn)
        return page

    open_report.problems = problems
    yield open_report
    for context in contexts:
        context.close()
    assert problems == []
    asked = [url for url in requests if not url.startswith("data:")]  # what stands in the page itself
    assert len(asked) == len(contexts)
    assert all(url.startswith("file:") for url in asked)


def section(page, name):
    return page.locator(f"section#{name}")


def unfold(page) -> None:
    """Opens all that is folded, and what is folded in it."""
    page.evaluate(
        """async () => {
            const folded = () => [...document.querySelectorAll("main details:not([open])")];
            while (folded().length) {
                folded().forEach((details) => { details.open = true; });
                await new Promise((done) => setTimeout(done, 50));
            }
        }"""
    )


def first_column(table) -> list[str]:
    return table.locator("tbody tr td:first-child").all_inner_texts()


def test_every_chart_is_drawn(opened):
    page = opened(facts(full=fuller()))
    plots = page.locator(".plot")
    assert plots.count() == CHARTS
    for plot in plots.all():
        assert plot.locator("svg path, svg line").count() > 5
        box = plot.locator("svg").bounding_box()
        assert box["width"] > 300
        assert box["height"] > 60
    assert page.locator("section#groups .mark-rect path").count() == 2 * len(GROUPS)
    assert "knee" in section(page, "ranking").locator("svg").text_content()


def test_a_chart_shows_numbers_where_it_is_pointed_at(opened):
    page = opened(facts())
    page.locator("section#groups .mark-rect path").first.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert re.sub(r"\s+", " ", tooltip.inner_text()).strip() == "group code set pool samples 500 share 50.00%"


def test_what_samples_and_groups_say_stays_text(opened):
    page = opened(hostile())
    assert page.evaluate("window.hacked") is None
    unfold(page)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main").locator("img, script, style, a[href^=javascript]").count() == 0
    shown = page.locator("section#picks pre").all_text_contents()
    assert shown[: len(HOSTILE)] == [text.replace("\ud800", "?") for text in HOSTILE]
    labels = section(page, "groups").locator(".role-axis-label text").all_text_contents()
    assert "__proto__" in map(str.strip, labels)
    assert section(page, "groups").locator(".mark-rect path").count() == 2 * len(HOSTILE)
    assert section(page, "samples").is_visible()


def test_the_policy_stops_what_would_get_past_us(opened):
    """Were markup to come into the page by a mistake of ours, the browser would still not run or load it."""
    page = opened(facts())
    found = page.evaluate(
        """async () => {
            const stopped = [];
            document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            document.body.append(script);
            await fetch("https://example.invalid/").catch(() => null);
            await new Promise((done) => setTimeout(done, 50));
            return [stopped, window.hacked ?? null];
        }"""
    )
    assert found == [["script-src-elem", "connect-src"], None]
    assert len(opened.problems) >= 2
    opened.problems.clear()


def test_samples_are_searched_filtered_and_sorted(opened):
    picked = [
        example(number, f"sample number {number}", group="code" if number % 3 else "chat") for number in range(60)
    ]
    page = opened(facts(samples=tuple(picked)))
    samples = section(page, "samples")
    assert samples.locator("tbody tr").count() == 50
    samples.get_by_role("button", name="Show all 60 rows").click()
    assert samples.locator("tbody tr").count() == 60

    samples.get_by_placeholder("Search").fill("NUMBER 1")
    assert samples.get_by_role("status").inner_text() == "11 of 60 rows"
    samples.get_by_label("decision").select_option("selected")
    assert first_column(samples) == [f"sample number {number}" for number in (10, 12, 14, 16, 18)]
    samples.get_by_label("group").select_option("chat")
    assert first_column(samples) == ["sample number 12", "sample number 18"]

    bytes_head = samples.get_by_role("button", name="bytes")
    bytes_head.click()
    assert first_column(samples) == ["sample number 18", "sample number 12"]
    bytes_head.click()
    assert first_column(samples) == ["sample number 12", "sample number 18"]
    assert samples.locator("th[aria-sort=ascending]").inner_text() == "bytes"


def test_what_has_no_number_is_sorted_last(opened):
    page = opened(facts(samples=tuple(example(number) for number in range(4))))
    rank = section(page, "samples").get_by_role("button", name="rank", exact=True)
    column = section(page, "samples").locator("tbody tr td:nth-child(6)")
    rank.click()
    assert column.all_inner_texts() == ["2", "0", NOTHING, NOTHING]
    rank.click()
    assert column.all_inner_texts() == ["0", "2", NOTHING, NOTHING]


def test_samples_unfold(opened):
    long = facts(samples=(example(0, "word " * 100, left_out=1234),))
    page = opened(long)
    cell = section(page, "samples").locator("tbody td").first
    assert cell.locator("pre").count() == 0
    cell.locator("summary").click()
    assert cell.locator("pre").text_content() == "word " * 100
    assert "1,234 more characters" in cell.inner_text()


def test_near_copies_stand_side_by_side_with_what_differs_marked(opened):
    page = opened(facts(full=fuller()))
    clusters = section(page, "near-copies")
    clusters.locator("summary").click()
    clusters.locator("mark").first.wait_for()
    assert [text.strip() for text in clusters.locator("mark").all_text_contents()] == ["cat", "dog"]
    # Both at once: charts above may be drawn between two looks.
    tops = clusters.locator(".sides > div").evaluate_all("sides => sides.map(side => side.getBoundingClientRect().top)")
    assert tops == [tops[0]] * 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_refreshed_subset_has_its_picture_and_its_chart(opened, scheme):
    page = opened(history(2.1, 2.2, 2.15, 2.12, 3.0), scheme=scheme)
    assert page.locator(".plot svg path").count() > 5
    picture = page.locator(".picture img")
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
    assert (brightness(picture).mean() < 0.2) == (scheme == "dark")
    assert page.locator("p.warning").inner_text().startswith("watch: 3.000 is above all 4 past versions")
    unfold(page)
    assert HOSTILE[0] in section(page, "came").inner_text()


@pytest.mark.parametrize("shown", ["full", "hostile", "groups", "history"])
def test_a_phone_needs_no_sideways_scrolling(opened, shown):
    many = {f"group-with-quite-a-long-name-{number}": (500, 3) for number in range(2000)}
    of = {
        "full": facts(full=fuller()),
        "hostile": hostile(),
        "history": history(2.1, 2.2, 2.15, 2.12, 3.0),
        "groups": facts(summary=summary(groups=many), samples=(example(0, "x" * 5000, group="y" * 300),)),
    }
    page = opened(of[shown], width=360)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for plot in page.locator(".plot svg").all():
        assert plot.bounding_box()["width"] > 200


def test_a_table_that_does_not_fit_shows_that_it_can_be_scrolled(opened):
    table = section(opened(facts(), width=360), "sets").locator(".scroll")

    def shaded() -> tuple[bool, bool]:
        """Whether there is a shade at its left, at its right."""
        seen = brightness(table)
        middle = seen[:, seen.shape[1] // 2].max()
        return seen[:, 0].max() < middle - 0.05, seen[:, -1].max() < middle - 0.05

    assert shaded() == (False, True)
    table.evaluate("element => { element.scrollLeft = 1000; }")
    assert shaded() == (True, False)


def brightness(shown) -> np.ndarray:
    """(height, width) of what is on the screen, 0 to 1."""
    return imread(BytesIO(shown.screenshot()))[:, :, :3].mean(axis=2)


def luminance(color: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(opened, scheme):
    """Contrast of text and page is 4.5 or more, and of bars and lines 3 or more (WCAG 2, AA)."""
    page = opened(facts(full=fuller(), manifest={"config": {"guard": False}}), scheme=scheme)
    style = "(element) => getComputedStyle(element)"
    behind = luminance(page.locator("body").evaluate(f"{style}.backgroundColor"))
    assert (behind < 0.05) == (scheme == "dark")
    asked = {
        "body": ("color", 4.5),
        ".note": ("color", 4.5),
        ".warning": ("color", 4.5),
        "figcaption": ("color", 4.5),
        "nav a": ("color", 4.5),
        ".role-axis-label text": ("fill", 4.5),
        ".role-axis-title text": ("fill", 4.5),
        ".role-legend-label text": ("fill", 4.5),
        "section#stages .mark-rect path": ("fill", 3.0),
        "section#coverage .mark-line path": ("stroke", 3.0),
    }
    for selector, (property, least) in asked.items():
        found = luminance(page.locator(selector).first.evaluate(f"{style}.{property}"))
        contrast = (max(found, behind) + 0.05) / (min(found, behind) + 0.05)
        assert contrast >= least, selector


def test_without_charts_tables_stand_in(opened, monkeypatch):
    monkeypatch.setattr(pages, "prepared", lambda: None)
    page = opened(facts(full=fuller()))
    assert page.locator(".plot").count() == 0
    assert "pip install 'zipspark[report]'" in page.locator("footer").inner_text()
    assert first_column(section(page, "groups")) == ["code", "chat", "maths"]
    assert section(page, "ranking").locator("tbody tr").count() == 4


def test_hidden_text_is_said_to_be_hidden(opened):
    hidden = facts(first=(example(0, None),), samples=(example(1, None),), full=replace(fuller(None, None)))
    page = opened(hidden)
    assert "text hidden" in section(page, "picks").inner_text()
    assert section(page, "samples").locator("td.sample").inner_text() == "hidden"


def test_a_report_of_nothing_is_still_a_page(opened):
    empty = summary(groups={}, seconds={}, decisions={}, sets=())
    page = opened(facts(summary=empty, ranking=(), histograms=(), excluded=(), first=(), last=(), samples=()))
    assert page.locator("h1").inner_text() == "Nothing was chosen"
    assert page.locator("section").count() == 1
