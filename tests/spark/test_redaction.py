"""What an operator sees: the run's id in log, manifest and tags; never a secret, and no sample's text when asked."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pools import rows
from pyspark.errors import PySparkException

import zipspark
from zipspark import analysis, databricks
from zipspark.cli import run
from zipspark.config import SelectConfig
from zipspark.errors import EngineError, InputError
from zipspark.logs import one_run
from zipspark.running import explained, run_key
from zipspark.spark import session
from zipspark.spark.progress import Progress, side_by_side
from zipspark.storage import stages
from zipspark.storage.inputs import resolve

MARKER = "zanzibarite"
NUMBERS = ["--where", "cast(text as int) > 3"]  # what Spark says of this quotes the text


@pytest.fixture(scope="module")
def pools(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pools")
    good = [{"text": f"{MARKER} {row['text']}", "source": row["source"] or "none"} for row in rows(60)]
    lines = [json.dumps(row) + "\n" for row in good]
    (folder / "good.jsonl").write_text("".join(lines))
    (folder / "some.jsonl").write_text("".join([*lines, '{"text": ["' + MARKER + '"]}\n', f'{{"text": {MARKER}\n'] * 2))
    (folder / "broken.jsonl").write_text("".join(line[:-3] + "\n" for line in lines[:5]))
    (folder / "headless.csv").write_text(f"{MARKER} is,{MARKER} is\n1,2\n")
    (folder / "items.jsonl").write_text("".join(lines[:3]))
    return folder


@pytest.fixture(autouse=True)
def _session(spark, monkeypatch):
    """The commands find this session running, and need not wait for its tasks to stop writing after a failure."""
    monkeypatch.setattr(stages, "_TO_STOP", 0.0)


# --- text of samples -----------------------------------------------------------------------------------------------


def command(name: str, pools: Path, pool: str, out: Path) -> list[str]:
    arguments = {
        "select": ["--budget", "5", "--output", str(out)],
        "score": ["--output", str(out)],
        "matrix": ["--group-column", "source"],
        "leakage": ["--against", str(pools / "items.jsonl"), "--output", str(out)],
    }
    return [name, str(pools / pool), *arguments[name]]


@pytest.mark.parametrize(
    ("name", "pool", "more", "code", "says"),
    [
        ("select", "broken.jsonl", [], 3, "no record of the input can be read: json:"),
        ("score", "broken.jsonl", [], 3, "no record of the input can be read: json:"),
        ("matrix", "broken.jsonl", [], 3, "no record of the input can be read: json:"),
        ("leakage", "broken.jsonl", [], 3, "no record of the input can be read: json:"),
        ("score", "headless.csv", ["--schema", "text"], 3, "its first line must name each column once"),
        ("select", "good.jsonl", NUMBERS, 3, "SQL fails on a row of the input (--where, --text-expr or a view)"),
    ],
)
def test_hidden_text_is_neither_in_log_nor_error_nor_summary(pools, tmp_path, capfd, name, pool, more, code, says):
    arguments = [*command(name, pools, pool, tmp_path / "out"), *more]
    assert run(arguments) == code
    shown = "".join(capfd.readouterr())
    assert says in shown
    assert MARKER in shown
    assert run([*arguments, "--hide-text"]) == code
    hidden = "".join(capfd.readouterr())
    assert says in hidden
    assert MARKER not in hidden


@pytest.mark.parametrize("name", ["select", "matrix"])
def test_problems_of_rows_are_codes(pools, tmp_path, capfd, name):
    assert run(command(name, pools, "some.jsonl", tmp_path / "out")) == 3
    said = "".join(capfd.readouterr())
    assert "4 of 124 rows cannot be read or rendered" in said
    assert "some.jsonl row 60  type:text expected string got list" in said
    assert "some.jsonl row 61  json:Expecting value: line 1 column 10 (char 9)" in said
    assert MARKER not in said


def test_the_quarantine_holds_records_as_they_are(pools, tmp_path):
    arguments = command("score", pools, "some.jsonl", tmp_path / "out")
    assert run([*arguments, "--hide-text", "--quiet", "--max-bad-fraction", "0.5"]) == 0
    quarantine = pq.read_table(tmp_path / "out/quarantine").to_pylist()
    assert len(quarantine) == 4
    assert all(MARKER in row["record"] for row in quarantine)
    assert all(MARKER not in row["reason"] for row in quarantine)


def test_leaked_items_are_found_and_written_without_their_text(pools, tmp_path, capfd):
    arguments = command("leakage", pools, "good.jsonl", tmp_path / "out")
    assert run(arguments) == 0
    assert MARKER in capfd.readouterr().out
    assert MARKER in str(pq.read_table(tmp_path / "out/leakage").to_pylist())
    assert run([*arguments, "--hide-text", "--overwrite", "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["found"]
    assert MARKER not in said.out + said.err
    assert MARKER not in str(pq.read_table(tmp_path / "out/leakage").to_pylist())


@pytest.mark.parametrize("hide", [True, False])
def test_from_python_the_whole_traceback_is_without_it(spark, hide):
    frame = spark.createDataFrame([(f"{MARKER} {row['text']}", "a") for row in rows(20)], "text string, source string")
    with pytest.raises(InputError, match="CAST_INVALID_INPUT") as error:
        zipspark.matrix(frame, group_column="source", where="cast(text as int) > 3", hide_text=hide, quiet=True)
    printed = "".join(traceback.format_exception(error.value))
    assert (MARKER in printed) is not hide


def test_a_mistake_in_zipspark_is_named_by_its_place(pools, tmp_path, capfd, monkeypatch):
    def mistaken(*_):
        raise KeyError(MARKER)

    monkeypatch.setattr(analysis.survey, "check", mistaken)
    with pytest.raises(KeyError):
        run(command("matrix", pools, "good.jsonl", tmp_path))
    capfd.readouterr()
    assert run([*command("matrix", pools, "good.jsonl", tmp_path), "--hide-text"]) == 4
    said = capfd.readouterr().err
    assert "zipspark: KeyError at analysis.py:" in said
    assert MARKER not in said


# --- secrets -------------------------------------------------------------------------------------------------------


def test_a_setting_that_is_a_secret_is_nowhere(pools, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("ZIPSPARK_LOG", "json")
    monkeypatch.setattr(session, "_agree", lambda *_: None)  # what it would set stays on a session that others use
    secret = ["--conf", "spark.hadoop.fs.s3a.secret.key=HUSH", "--conf", "fs.azure.account.key.x=HUSH"]
    out = tmp_path / "out"
    assert run([*command("select", pools, "good.jsonl", out), *secret, "--json"]) == 0
    said = "".join(capfd.readouterr())
    tables = [str(pq.read_table(out / name).to_pylist()) for name in ("ledger", "quarantine", "metrics")]
    assert not any("HUSH" in text for text in (said, (out / "manifest.json").read_text(), *tables))
    config = SelectConfig(input=(str(pools / "good.jsonl"),), conf={"fs.azure.account.key.x": "HUSH"})
    assert "HUSH" not in json.dumps(run_key(config, resolve(config.input), {}))  # of state.json


@pytest.mark.parametrize(
    ("more", "starts", "says"),
    [
        (["--conf", "spark.authenticate.secret=HUSH"], False, "leave out '***'"),
        (["--remote", "sc://127.0.0.1:1/;token=HUSH"], True, "remote sc://127.0.0.1:1 does not answer"),
    ],
)
def test_a_secret_is_not_in_what_is_said_of_the_engine(pools, tmp_path, capfd, monkeypatch, more, starts, says):
    if starts:
        monkeypatch.setattr(session, "_running", lambda: None)
    assert run([*command("score", pools, "good.jsonl", tmp_path / "out"), *more, "--json"]) == 4
    said = "".join(capfd.readouterr())
    assert says in said
    assert "HUSH" not in said


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PySparkException("Failed to get s3a://AKIA:HUSH@bucket/x: 403"), EngineError),
        (PySparkException("java.io.FileNotFoundException: File s3a://AKIA:HUSH@bucket/x does not exist"), InputError),
        (OSError("GET https://account.blob.core.windows.net/x?sig=HUSH: refused"), InputError),
        (InputError("fs.s3a.secret.key=HUSH is wrong"), InputError),
    ],
)
def test_a_secret_in_an_error_goes_with_its_cause(error, kind):
    with pytest.raises(kind) as raised, explained():
        raise error
    assert "HUSH" not in "".join(traceback.format_exception(raised.value))


def test_an_error_without_a_secret_keeps_its_cause():
    with pytest.raises(EngineError, match="Spark failed: something") as raised, explained():
        raise PySparkException("something")
    assert isinstance(raised.value.__cause__, PySparkException)


# --- one id --------------------------------------------------------------------------------------------------------


def test_log_manifest_and_tags_carry_one_id(pools, tmp_path, capfd, monkeypatch, spark):
    monkeypatch.setenv("ZIPSPARK_LOG", "json")
    tags: set[str] = set()
    add = type(spark).addTag
    monkeypatch.setattr(type(spark), "addTag", lambda self, tag: tags.add(tag) or add(self, tag))
    assert run(command("score", pools, "good.jsonl", tmp_path / "out")) == 0
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    run_id = json.loads((tmp_path / "out/manifest.json").read_text())["run_id"]
    assert {one["run_id"] for one in said} == {run_id}
    assert [one["stage"] for one in said if "seconds" in one] == ["score", "write"]
    assert said[-1]["exit_code"] == 0
    assert tags == {f"zipspark-{run_id}-{stage}" for stage in ("score", "write")}


def test_each_call_from_python_is_a_run_of_its_own():
    seen = []
    for _ in range(2):
        with explained(), one_run() as run_id:
            seen.append(run_id)
    assert len(set(seen)) == 2


def test_jobs_of_a_stage_carry_its_tag_in_other_threads_too(spark):
    def jobs(tag: str) -> int:
        found = spark._jsparkSession.sparkContext().statusStore().jobsList(None)
        return sum(tag in found.apply(at).jobTags().mkString(" ") for at in range(found.size()))

    with Progress(spark, quiet=True).stage("parts", 1, of=1), side_by_side(spark, 1) as start:
        (tag,) = spark.getTags()
        assert start(lambda: {*spark.getTags()}).result() == {tag}
        spark.range(7).count()
        of_this_thread = jobs(tag) if hasattr(spark, "_jsparkSession") else 0  # a Connect client sees no jobs
        start(lambda: spark.range(7).count()).result()
    assert re.fullmatch("zipspark-[0-9a-f]{32}-parts", tag)
    if hasattr(spark, "_jsparkSession"):
        assert jobs(tag) == 2 * of_this_thread > 0


def test_a_databricks_task_returns_nothing_and_leaves_a_result(pools, tmp_path, monkeypatch):
    named = {"input": str(pools / "good.jsonl"), "output": str(tmp_path / "out"), "group_column": "", "quiet": "true"}
    monkeypatch.setattr("sys.argv", ["task", "--budget=5", *(f"--{name}={value}" for name, value in named.items())])
    assert databricks.select_subset() is None
    assert pq.read_table(tmp_path / "out/subset").num_rows == 5
