"""Matrix and leakage on Spark: the same as in memory, whatever the partitions, as commands and from Python."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pools import WORDS

from zipspark import analysis
from zipspark.cli import run
from zipspark.core.leakage import search
from zipspark.core.matrix import measure
from zipspark.spark import leakage as spark_leakage
from zipspark.spark import matrix as spark_matrix

SCHEMA = "id string, source string, text string"


def sentence(seed: int, count: int = 30) -> str:
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(WORDS)}{draw.randrange(1000)}" for _ in range(count))


def pool_rows() -> list[dict[str, str | None]]:
    made = []
    for number in range(240):
        source = ("web", "books", None)[number % 3]
        stock = {"web": 0, "books": 40, None: 20}[source]  # the rows without a group share half with each
        text = ". ".join(sentence(stock + random.Random(number * 7 + at).randrange(40), 8) for at in range(6))
        made.append({"id": f"row-{number:05d}", "source": source, "text": f"{text} {number}"})
    return [*made, made[0] | {"id": "row-copy"}]


ITEMS = [
    {"name": "verbatim", "question": sentence(1001)},
    {"name": "shouted", "question": sentence(1002)},
    {"name": "half", "question": sentence(1003)},
    {"name": "clean", "question": sentence(1004)},
    {"name": "clean-too", "question": sentence(1005)},
]
LEAKED = [ITEMS[0]["question"], ITEMS[1]["question"].upper().replace(" ", " \n"), ITEMS[2]["question"][:100]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("analysis")
    leaks = [{"id": f"leak-{at}", "source": "web", "text": f"{text} ({at})"} for at, text in enumerate(LEAKED)]
    for name, lines in {
        "pool": pool_rows(),
        "leaky": [*pool_rows(), *leaks],
        "items": ITEMS,
        "one": [row for row in pool_rows() if row["source"] == "web"],
    }.items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    (path / "empty.jsonl").write_text("")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path / "no_rows.parquet")
    return path


@pytest.fixture(autouse=True)
def _session(spark):
    """The commands find this session running."""


@pytest.fixture(scope="module")
def frame(spark):
    return spark.createDataFrame(pool_rows(), SCHEMA)


@pytest.fixture(scope="module")
def in_memory():
    groups: dict[str, list[bytes]] = {}
    for row in pool_rows():
        groups.setdefault(row["source"] or "(none)", []).append(row["text"].encode())
    return measure(groups, 8 * 2**10)


def test_matrix_is_the_one_made_in_memory(frame, in_memory):
    found = analysis.matrix(frame, group_column="source", sample="8KiB")
    assert set(found.groups) == {"(none)", "books", "web"}
    assert found.to_dict() == in_memory.to_dict()
    web, books, none = (found.groups.index(name) for name in ("web", "books", "(none)"))
    assert found.values[none, web] < found.values[books, web]


def test_matrix_does_not_depend_on_partitions_or_closures(frame, in_memory, monkeypatch):
    monkeypatch.setattr(spark_matrix._cuts, "__defaults__", (10_000,))  # a group a closure
    found = analysis.matrix(frame.repartition(5, "id"), group_column="source", sample="8KiB")
    assert np.array_equal(found.values, in_memory.values)


def test_matrix_command_writes_table_picture_and_manifest(folder, tmp_path, capsys, in_memory):
    pytest.importorskip("matplotlib")
    command = ["matrix", str(folder / "pool.jsonl"), "--group-column", "source", "--sample", "8KiB"]
    assert run([*command, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "order of --phases auto" in shown
    assert f"matrix: {tmp_path}/out/matrix" in shown
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["manifest.json", "matrix", "matrix.png"]
    table = pq.read_table(tmp_path / "out/matrix")
    assert table.column_names == ["a", "b", "conditional", "alone"]
    key = [("a", "ascending"), ("b", "ascending")]
    expected = sorted(in_memory.cells(), key=lambda cell: (cell["a"], cell["b"]))
    assert table.sort_by(key).to_pylist() == expected
    assert (tmp_path / "out/matrix.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out/manifest.json").read_text())["order"] == in_memory.order()

    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == in_memory.order()


LEAKAGE = ["--against-text-expr", "question", "--against-id-column", "name", "--id-column", "id"]


def test_leakage_command_finds_what_was_put_in(folder, tmp_path, capsys):
    command = ["leakage", str(folder / "leaky.jsonl"), "--against", str(folder / "items.jsonl"), *LEAKAGE]
    assert run([*command, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert f"items: {tmp_path}/out/leakage" in shown
    table = pq.read_table(tmp_path / "out/leakage")
    assert table.column_names == ["item_id", "score", "verdict", "zip_id", "span_start", "span_end", "text"]
    rows = {row["item_id"]: row for row in table.to_pylist()}
    expected = search([item["question"] for item in ITEMS], [row["text"] for row in pool_rows()] + LEAKED)
    for item, (finding, _) in zip(ITEMS, expected, strict=True):
        row = rows[item["name"]]
        assert row["verdict"] == finding.verdict
        assert row["text"] == item["question"][row["span_start"] : row["span_end"]][: analysis.EXCERPT]
    assert [rows[item["name"]]["verdict"] for item in ITEMS] == ["whole", "whole", "part", "none", "none"]
    assert [rows[item["name"]]["zip_id"] for item in ITEMS[:3]] == ["leak-0", "leak-1", "leak-2"]
    assert rows["half"]["text"] == LEAKED[2].rstrip()

    assert run([*command, "--output", str(tmp_path / "hidden"), "--hide-text", "--json"]) == 0
    said = capsys.readouterr().out
    assert json.loads(said)["verdicts"] == {"whole": 2, "part": 1, "none": 2}
    assert LEAKED[2][:20] not in said
    assert "text" not in pq.read_table(tmp_path / "hidden/leakage").column_names


def test_leakage_does_not_depend_on_slices_or_partitions(spark, frame, monkeypatch):
    leaks = spark.createDataFrame([{"id": None, "source": None, "text": text} for text in LEAKED * 2], SCHEMA)
    items = spark.createDataFrame(ITEMS, "name string, question string")
    options = {"against_text_expr": "question", "against_id_column": "name"}
    whole = analysis.leakage(frame.union(leaks), items, **options)
    monkeypatch.setattr(spark_leakage, "SLICE_BYTES", 300)
    sliced = analysis.leakage(frame.union(leaks).repartition(4, "text"), items, **options)
    assert sliced.items.equals(whole.items)
    assert whole.verdicts == {"whole": 2, "part": 1, "none": 2}
    first = whole.items.filter([name == "verbatim" for name in whole.items["item_id"].to_pylist()]).to_pylist()[0]
    found = frame.union(leaks).selectExpr("text", "md5(text) as id").where(f"id = '{first['zip_id'][:-2]}'")
    assert {row.text for row in found.collect()} == {LEAKED[0]}
    assert first["zip_id"].endswith("-0")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["matrix", "pool.jsonl"], 2, "group_column must be given"),
        (["matrix"], 2, "input must be given"),
        (["matrix", "pool.jsonl", "--group-column", "nope"], 3, "nope"),
        (["matrix", "one.jsonl", "--group-column", "source"], 3, "at least 2 groups"),
        (["matrix", "pool.jsonl", "--group-column", "source", "--sample", "1B"], 2, "sample must be between"),
        (["matrix", "pool.jsonl", "--group-column", "source", "--output", "one.jsonl"], 3, "one.jsonl"),
        (["leakage", "pool.jsonl", "--output", "out"], 2, "against must be given"),
        (["leakage", "pool.jsonl", "--against", "items.jsonl"], 2, "output must be given"),
        (["leakage", "pool.jsonl", "--against", "pool.jsonl", "--output", "out"], 3, "another table"),
        (["leakage", "pool.jsonl", "--against", "empty.jsonl", "--output", "out"], 3, "empty"),
        (
            ["leakage", "pool.jsonl", "--against", "no_rows.parquet", "--output", "out"],
            3,
            "against: input holds no rows",
        ),
        (["leakage", "pool.jsonl", "--against", "missing.jsonl", "--output", "out"], 3, "missing.jsonl"),
        (["leakage", "pool.jsonl", "--against", "items.jsonl", "--output", "out"], 3, "against"),
    ],
)
def test_bad_input_says_what_is_wrong_and_leaves_no_out(folder, tmp_path, capsys, monkeypatch, arguments, code, says):
    monkeypatch.chdir(folder)
    assert run([f"./{name}" if "." in name else name for name in arguments]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert not (folder / "out").exists()
