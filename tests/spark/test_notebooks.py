"""The notebooks run as they are, and what is committed of them is what they show."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from conftest import CONF
from launching import QUICK_JAVA, ROOT, without_spark
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OF_THEIR_OWN = {"spark.master": "local[2]"} | QUICK_JAVA


def pictures(notebook) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    return sum("image/png" in output.get("data", ()) for output in outputs)


def test_all_three_are_there():
    assert {path.stem for path in NOTEBOOKS} == {"quickstart", "refresh", "from_paper_to_practice"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_a_whole_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert pictures(notebook) >= 1
    assert sum(cell.cell_type == "markdown" for cell in notebook.cells) >= len(code) / 2
    assert str(Path.home()) not in path.read_text()
    assert "/tmp/" not in path.read_text()  # of the machine that it was run on


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="a notebook starts its own session")
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.delta if path.stem == "refresh" else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    settings = CONF | OF_THEIR_OWN
    (tmp_path / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    for name in {*os.environ} - {*without_spark()}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    shown = pictures(notebook)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert pictures(notebook) == shown
