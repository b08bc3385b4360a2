"""What the pages say one can type: every zipspark command of a console block that this machine can run, is run."""

from __future__ import annotations

import json
import os
import re
import shlex

import pytest
from launching import ROOT
from pools import texts

from zipspark.cli import run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```|((?:^    .*\n)+)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\s*\$ (?:\.venv/bin/)?(zipspark (?:[^\n\\]|\\\n)*)", re.MULTILINE)
# What a page shows of a place that is not here: a catalog, a cluster, a table of many versions.
ELSEWHERE = ("main.", "sc://", "spark://", "yarn")


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text()):
            for command in COMMAND.findall(block[0]):
                line = re.sub(r"\s*\\\n\s*", " ", command).split(" #")[0].strip()
                if not any(place in line for place in ELSEWHERE):
                    found.append((page.name, line))
    return found


def test_pages_show_commands():
    assert len(commands()) >= 12
    assert {page for page, _ in commands()} >= {"README.md", "entropy.md", "options.md", "operations.md"}


def test_links_of_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.delta
@pytest.mark.skipif(os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="each command has its own tests on Connect")
@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_commands_of_a_page_run_in_their_order(page, spark, tmp_path, monkeypatch, capsys):
    lines = [line for name, line in commands() if name == page]
    if not lines:
        pytest.skip("no command that can be run here")
    monkeypatch.chdir(tmp_path)
    material(spark, tmp_path)
    for line in lines:
        arguments = shlex.split(line)[1:]
        assert run(arguments) in (0, 10, 20), f"{line}\n{capsys.readouterr().err}"


def material(spark, folder) -> None:
    """The files and tables that pages speak of, small."""
    rows = [
        (f"id{number}", ("code", "chat", "wiki")[number % 3], text, f"Why {text[:40]}?", number % 5 / 4)
        for number, text in enumerate(texts(600))
    ]
    frame = spark.createDataFrame(rows, "id string, source string, text string, question string, score double")
    pool = frame.select("id", "source", "text", "score")
    pool.write.parquet(f"{folder}/pool.parquet")  # Java is where it was started
    pool.limit(300).write.json(f"{folder}/corpus.jsonl")
    pool.limit(40).write.json(f"{folder}/test.jsonl")
    pool.write.format("delta").option("delta.enableChangeDataFeed", "true").save(f"{folder}/corpus")
    for name, floor in (("a", 1.6), ("b", 1.8), ("c", 2.0)):
        with open(f"{name}.jsonl", "w") as file:
            for step in range(1, 101):
                loss = floor + 30 * (step * 16384) ** -0.3
                file.write(json.dumps({"step": step, "tokens": step * 16384, "loss": loss, "epoch": step / 100}) + "\n")
    with open("versions.csv", "w") as file:
        file.write("version,ratio,codec,loss,score\n")
        for number, (ratio, loss, score) in enumerate(
            [(3.9, 2.0, 6.0), (3.85, 2.12, 5.8), (4.0, 2.05, 5.7), (4.05, 2.2, 5.2), (3.95, 1.95, 6.1)], 1
        ):
            file.write(f"v{number},{ratio},zlib,{loss},{score}\n")
