"""docs/benchmarks.md and the README show what stands in benchmarks/results, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks" / "results").glob("*.md")}


def cells(row: str) -> tuple[str, ...]:
    """Of a table's row, without bold and code."""
    return tuple(re.sub(r"[*`]", "", cell).strip() for cell in row.strip().strip("|").split("|"))


def tables(text: str) -> list[list[tuple[str, ...]]]:
    """Rows of each table, its head first."""
    found: list[list[tuple[str, ...]]] = [[]]
    for line in text.splitlines():
        if not line.startswith("|"):
            found.append([])
        elif not re.fullmatch(r"[|\s:-]+", line):
            found[-1].append(cells(line))
    return [rows for rows in found if rows]


def shows(measured: list[tuple[str, ...]], head: tuple[str, ...], row: tuple[str, ...]) -> bool:
    """Whether a table has these columns, and a row with these cells in them."""
    if head == measured[0]:
        return row in measured
    if not all(measured[0].count(name) == 1 for name in head):  # two of a name could be taken for each other
        return False
    places = [measured[0].index(name) for name in head]
    return any(len(line) == len(measured[0]) and tuple(line[at] for at in places) == row for line in measured[1:])


def sections() -> list[tuple[str, str]]:
    text = PAGE.read_text(encoding="utf-8")
    return [(part.splitlines()[0], part) for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]


@pytest.mark.parametrize(("title", "text"), sections(), ids=[title for title, _ in sections()])
def test_every_table_of_the_page_is_of_the_results_that_its_section_names(title, text):
    named = re.findall(r"\(\.\./benchmarks/results/([^)]+)\)", text)
    assert set(named) <= set(RESULTS)
    measured = [table for name in named for table in tables(RESULTS[name])]
    for head, *rows in tables(text):
        for row in rows:
            assert any(shows(table, head, row) for table in measured), (title, head, row)


def test_every_result_is_of_a_command_that_is_there():
    for name, text in RESULTS.items():
        command = re.search(r"^`python (benchmarks/\w+\.py)", text, flags=re.MULTILINE)
        assert command, name
        assert (ROOT / command[1]).is_file(), name


def test_the_figures_of_the_readme_stand_on_the_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    figures = re.findall(
        r"\*\*(-?\d[\d.]*%?(?: / -?\d[\d.]*%)?)\*\*", readme.partition("Measured on")[2].partition("\n## ")[0]
    )
    assert len(figures) == 7
    page = {cell for table in tables(PAGE.read_text(encoding="utf-8")) for row in table for cell in row}
    assert set(figures) <= page
