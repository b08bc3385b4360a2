"""`zipspark plan` beside what `zipspark select` then does."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from launching import once
from pools import WORDS, rows, texts

from zipspark import planning
from zipspark.cli import run


@pytest.fixture(autouse=True)
def _session(spark):
    """The commands find this session running."""


@pytest.fixture
def pool(tmp_path) -> Path:
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(300)))
    return path


def planned(capsys, *arguments: object) -> dict:
    assert run(["plan", *map(str, arguments), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def risks(said: dict) -> str:
    return "\n".join(f"{risk['stops']} {risk['what']} → {risk['instead']}" for risk in said["risks"])


def test_of_a_small_pool_all_is_known(pool, tmp_path, capsys, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    options = ["--budget", "20%", "--group-column", "source", "--guard", "off"]
    said = planned(capsys, pool, *options)
    assert sorted(tmp_path.rglob("*")) == [pool, tmp_path / "temporary"]  # nothing is written

    assert run(["select", str(pool), *options, "--output", str(tmp_path / "out"), "--json"]) == 0
    real = json.loads(capsys.readouterr().out)
    found, of_pool, subset = said["found"], real["sets"][0], real["sets"][1]
    assert found["rows"] == found["sample_rows"] == 300
    assert found["duplicates"] == real["decisions"]["duplicate"] > 0
    assert found["sample_bytes"] == found["bytes"]
    assert found["bytes"] == sum(len(text) for text in texts(300))
    assert (said["parts"], said["subset_rows"]) == (real["parts"], subset["samples"])
    assert said["subset_bytes"] == subset["bytes"]
    assert sum(found["groups"].values()) == of_pool["samples"]
    assert ["start", *real["seconds"]] == [*said["seconds"]]
    assert all(seconds > 0 for seconds in said["seconds"].values())
    assert (found["layout"], found["used"]) == ("text", ["text"])
    assert len(said["samples"]) == 3
    assert {*said["samples"]} < {*texts(300)}


@pytest.fixture
def large(tmp_path, monkeypatch) -> Path:
    """One that is larger than its sample."""
    monkeypatch.setattr(planning, "SAMPLE", 60_000)
    noise = random.Random(1)
    made = [" ".join(noise.choices(WORDS, k=noise.randint(20, 60))) + f" {number}" for number in range(6000)]
    groups = [("web", "books")[number % 4 == 0] for number in range(6000)]
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"text": made, "source": groups}), path, row_group_size=500)
    return path


@pytest.mark.parametrize("objective", ["ratio", "coverage"])
def test_of_a_large_pool_a_sample_tells(large, tmp_path, capsys, objective):
    options = ["--budget", "300", "--parts", "3", "--group-column", "source", "--objective", objective]
    said = planned(capsys, large, *options)
    assert run(["select", str(large), *options, "--output", str(tmp_path / "out"), "--json"]) == 0
    real = json.loads(capsys.readouterr().out)
    found = said["found"]
    assert found["rows"] == 6000
    assert found["sample_rows"] < 600
    assert found["bytes"] == pytest.approx(sum(map(len, pq.read_table(large)["text"].to_pylist())), rel=0.1)
    assert found["bytes_error"] > 0
    assert said["parts"] == real["parts"] == 3
    assert said["subset_rows"] == 300
    assert 2 / 3 < said["subset_bytes"] / real["sets"][1]["bytes"] < 1.5
    assert found["groups"]["web"] == pytest.approx(4500, rel=0.1)


@once
def test_what_would_go_wrong(pool, capsys):
    with pool.open("a") as file:
        file.write('{"id": "bad"}\n' * 20 + "no json\n" * 5)
    said = risks(planned(capsys, pool, "--budget", "1000", "--codec", "zlib"))
    assert "True 25 of 325 rows cannot be read or rendered: json (5), null (20)" in said
    assert "takes the whole pool" in said
    assert run(["plan", str(pool), "--budget", "100"]) == 0
    assert "max_bad_fraction allows 1.0%" in " ".join(capsys.readouterr().out.split())


@once
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mix", "web=0.1,books=0.9"], "mix must not ask for more than a group holds"),
        (["--floor", "books=150"], "floor must not ask for more than a group holds"),
        (["--mix", "web=1,nope=1"], "mix must name groups of the pool"),
        (["--cap", "web=5", "--cap", "books=5", "--cap", "(none)=5"], "cap must leave room for the budget"),
    ],
)
def test_limits_that_no_pool_meets(pool, capsys, options, says):
    said = planned(capsys, pool, "--budget", "150", "--group-column", "source", *options)
    assert f"True {says}" in risks(said)
    assert run(["select", str(pool), "--budget", "150", "--group-column", "source", *options, "--output", "x"]) == 3


@once
def test_hidden_text_is_nowhere(pool, capsys):
    assert run(["plan", str(pool), "--budget", "10", "--hide-text"]) == 0
    said = capsys.readouterr()
    assert not [text for text in texts(300) if text[:30] in said.out + said.err]
    assert "in all" in said.out


def test_where_and_text_expr_are_sparks(pool, capsys):
    said = planned(capsys, pool, "--budget", "10", "--where", "source = 'web'", "--text-expr", "upper(text)")
    assert said["found"]["left_out"] == 200
    assert said["found"]["layout"] == "text-expr"
    assert all(sample.isupper() for sample in said["samples"])


@once
def test_stages_of_a_killed_run_stay(pool, tmp_path, capsys):
    work = tmp_path / ".out.work"
    work.mkdir()
    (work / "state.json").write_text(json.dumps({"key": {}, "pid": 0, "host": "elsewhere"}))
    (tmp_path / "select.yml").write_text(f"output: {tmp_path}/out\nbudget: 10\n")
    planned(capsys, pool, "--config", tmp_path / "select.yml")
    assert (work / "state.json").exists()
    assert not (tmp_path / "out").exists()


@once
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["pool.jsonl"], 2, "budget must be given"),
        (["--budget", "10"], 2, "input must be given"),
        (["pool.jsonl", "--budget", "20Mtok"], 2, "needs tokenizer or token_column"),
        (["missing.jsonl", "--budget", "10"], 3, "does not exist"),
        (["pool.jsonl", "--budget", "10", "--group-column", "nope"], 3, "group_column must be a column"),
        (["pool.jsonl", "--budget", "10", "--where", "nope = 1"], 3, "nope"),
    ],
)
def test_bad_input_ends_as_ever(pool, tmp_path, capsys, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    assert run(["plan", *(f"./{name}" if name.endswith("jsonl") else name for name in arguments)]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.delta
def test_a_delta_table_is_counted_by_spark(spark, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "SAMPLE", 5_000)
    place = str(tmp_path / "table")
    spark.createDataFrame(rows(300), "id string, source string, text string").repartition(3).write.format("delta").save(
        place
    )
    spark.sql(f"DELETE FROM delta.`{place}` WHERE source = 'books'")
    said = planned(capsys, place, "--budget", "10")
    assert said["found"]["rows"] == 200
    assert said["found"]["rows_how"].startswith("counted by Spark")
    assert 0 < said["found"]["sample_rows"] < 200
    assert {*said["samples"]} < {*texts(300)}


def test_a_view_of_files_is_not_its_files(spark, tmp_path, capsys):
    spark.createDataFrame(rows(300), "id string, source string, text string").write.parquet(str(tmp_path / "files"))
    frame = spark.read.parquet(str(tmp_path / "files")).where("source = 'web'")
    frame.selectExpr("id", "source", "upper(text) text").createOrReplaceTempView("plan_files")
    found = planned(capsys, "plan_files", "--budget", "10")
    assert found["found"]["rows"] == 100
    assert all(text == text.upper() for text in found["samples"])


def test_a_view_is_sampled_from_its_first_rows(spark, capsys):
    spark.createDataFrame(rows(300), "id string, source string, text string").createOrReplaceTempView("plan_pool")
    said = planned(capsys, "plan_pool", "--budget", "10")
    assert said["found"]["rows"] == 300
    assert "first rows" in said["found"]["rows_how"]
