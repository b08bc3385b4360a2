"""The log on stderr, as lines and as JSON, and what never stands in it: passwords, keys, tokens."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timedelta

import pytest

from zipspark.cli import run
from zipspark.errors import InputError
from zipspark.logs import log_on_stderr, one_run, run_id
from zipspark.spark.progress import Progress
from zipspark.storage.places import Place, redact_all

logger = logging.getLogger("zipspark")


@pytest.fixture
def objects(monkeypatch, capsys):
    """Turns JSON on; gives what was said since, each line of stderr an object."""
    monkeypatch.setenv("ZIPSPARK_LOG", "json")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


# --- objects -------------------------------------------------------------------------------------------------------


def test_an_error_is_the_last_object(objects):
    assert run(["select"]) == 2
    (said,) = objects()
    assert said.keys() == {"time", "level", "run_id", "message", "exit_code", "error"}
    assert (said["level"], said["exit_code"]) == ("ERROR", 2)
    assert said["error"].startswith("input must be given")
    assert datetime.fromisoformat(said["time"]).utcoffset() == timedelta(0)


def test_all_objects_of_a_run_carry_its_id_and_the_last_its_exit_code(objects, tmp_path):
    for _ in range(2):
        assert run(["clean", str(tmp_path / "out")]) == 0
    found = objects()
    assert [said.get("exit_code") for said in found] == [0, 0]
    assert all(said["message"] == "ended" and "error" not in said for said in found)
    assert found[0]["run_id"] != found[1]["run_id"]


def test_stages_begin_and_end_with_their_seconds(objects):
    with log_on_stderr() as ended, one_run() as run_of_command:
        with Progress(None).stage("parts", 3, of=7):
            pass
        assert ended(0) == 0
    begin, end, last = objects()
    assert (begin["stage"], begin["message"]) == ("parts", "[3/7] parts  0:00")
    assert (end["stage"], end["message"]) == ("parts", "[3/7] parts  0:00  done")
    assert "seconds" not in begin
    assert 0 <= end["seconds"] < 1
    assert {said["run_id"] for said in (begin, end, last)} == {run_of_command}


def test_whatever_else_is_written_to_stderr_is_an_object(objects):
    with log_on_stderr() as ended:
        print("two", "words\nand a line", file=sys.stderr)
        ended(0)
    words, last = objects()
    assert (words["level"], words["message"]) == ("WARNING", "two words\nand a line")
    assert "error" not in last


@pytest.mark.parametrize(("error", "code"), [(KeyError("x"), 1), (InputError("'x'"), 3), (KeyboardInterrupt(), 130)])
def test_an_exception_is_an_end_too(objects, error, code):
    with pytest.raises(type(error)), log_on_stderr():
        raise error
    (last,) = objects()
    assert (last["exit_code"], last["level"]) == (code, "ERROR")
    assert last["error"] == ("interrupted" if code == 130 else "'x'")


def test_quiet_leaves_what_went_wrong(objects, tmp_path):
    assert run(["clean", str(tmp_path / "out"), "--quiet"]) == 0
    assert objects() == []
    assert run(["verify", str(tmp_path / "out"), "--quiet"]) == 3
    assert [said["exit_code"] for said in objects()] == [3]


# --- lines ---------------------------------------------------------------------------------------------------------


def test_lines_are_for_people(monkeypatch, capsys):
    monkeypatch.setenv("ZIPSPARK_LOG", "yaml")
    with log_on_stderr() as ended:
        assert ended(3) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line[8:] == " ZIPSPARK_LOG must be json or nothing, got 'yaml': lines are written"
    assert datetime.strptime(line[:8], "%H:%M:%S")


def test_a_run_within_a_run_is_the_same_and_outside_each_is_another():
    with one_run() as outer, one_run() as inner:
        assert inner == outer == run_id()
    with one_run() as other:
        assert other != outer
    assert run_id() != run_id()


# --- secrets -------------------------------------------------------------------------------------------------------

WITH_SECRETS = [
    "s3a://AKIA:HUSH@bucket/x",
    "s3a://AKIA:HU/SH+SH@bucket/x",
    "s3://AKIA:H@USH@bucket/x",
    "abfss://box:HUSH@account.dfs.core.windows.net/x",
    "https://account.blob.core.windows.net/box/x?sv=2024&sig=HUSH%2F",
    "s3://bucket/x y?X-Amz-Signature=HUSH&z=1",
    "gs://bucket/x?token=HUSH",
]
SETTINGS = [
    "sc://host:15002/;user_id=me;token=HUSH",
    "spark.hadoop.fs.s3a.secret.key=HUSH",
    "fs.azure.account.key.account.dfs.core.windows.net = HUSH==",
    "{'spark.hadoop.fs.s3a.session.token': 'HUSH', 'spark.executor.cores': '2'}",
    '{"hf_token": "HUSH"}',
    "jdbc:sqlserver://host;user=me;password=HUSH;encrypt=true",
    "jdbc:postgresql://host/base?user=me&password=HUSH",
    "Authorization: Bearer HUSH.HUSH",
]
HUSH = ("HUSH", "HU/", "SH+SH", "USH")


def clean(text: str) -> bool:
    return not any(secret in text for secret in HUSH)


@pytest.mark.parametrize("text", [*WITH_SECRETS, *SETTINGS])
@pytest.mark.parametrize("form", ["json", ""])
def test_secrets_are_in_no_log(text, form, monkeypatch, capsys):
    monkeypatch.setenv("ZIPSPARK_LOG", form)
    with log_on_stderr() as ended:
        logger.warning("not readable: '%s': no access", text)
        print(f"zipspark: {text}", file=sys.stderr) if form else None
        ended(3)
    said = capsys.readouterr().err
    assert "not readable" in said
    assert ": no access" in said
    assert clean(said)


@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_a_uri_with_a_secret_is_no_place(uri):
    with pytest.raises(InputError, match="give keys by the environment or the cluster instead") as error:
        Place.parse(uri)
    assert clean(str(error.value))


@pytest.mark.parametrize("uri", ["hdfs://nowhere.invalid:1/a@b", "s4://me@host/x"])
def test_a_place_without_secrets_is_tried(uri):
    with pytest.raises(InputError, match=r"cannot be reached|is on no store"):
        Place.parse(uri)


@pytest.mark.parametrize(
    "text",
    [
        "hdfs://nn1:8020,nn2:8020/a@b is gone",
        "[3/7] parts  0:07",
        "token_column 'n' must be a number",
        "spark.sql.shuffle.partitions=9: call spark.stop() first",
        "gs://box/[ab]?.jsonl matches nothing",
        "mix must be natural, equal, power=0.5 or weights, got 'code=0.3,tokens=0.7'",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert redact_all(text) == text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["select", "s3a://AKIA:HUSH@bucket/pool.parquet", "--output", "OUT", "--budget", "5"], 3),
        (["select", "https://host/pool.parquet?sig=HUSH", "--output", "OUT", "--budget", "5"], 3),
        (["select", "foo://me:HUSH@host/pool.parquet", "--output", "OUT", "--budget", "5"], 3),
        (["select", "POOL", "--output", "s3a://AKIA:HUSH@bucket/out", "--budget", "5"], 3),
        (["select", "POOL", "--output", "s3a://bucket/out?sig=HUSH", "--budget", "5"], 3),
        (["select", "POOL", "--anchor", "s3a://AKIA:HUSH@bucket/x.jsonl", "--output", "OUT", "--budget", "5"], 3),
        (["leakage", "POOL", "--against", "s3a://AKIA:HUSH@bucket/x.jsonl", "--output", "OUT"], 3),
        (["refresh", "--corpus", "s3a://AKIA:HUSH@b/x", "--subset", "OUT", "--id-column", "id", "--budget", "5"], 3),
        (["matrix", "POOL", "--remote", "sc://host:1/;token=HUSH", "--master", "local[1]"], 2),
        (["verify", "s3a://AKIA:HUSH@bucket/out"], 3),
        (["clean", "s3a://AKIA:HUSH@bucket/out"], 3),
        (["clean", "OUT", "--work-dir", "s3a://AKIA:HUSH@bucket/work"], 3),
    ],
)
@pytest.mark.parametrize("form", ["json", ""])
def test_secrets_are_in_no_error_of_a_command(arguments, code, form, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZIPSPARK_LOG", form)
    (tmp_path / "pool.jsonl").write_text('{"text": "a"}\n')
    named = {"POOL": str(tmp_path / "pool.jsonl"), "OUT": str(tmp_path / "out")}
    assert run([*(named.get(argument, argument) for argument in arguments), "--json"]) == code
    said = capsys.readouterr()
    assert json.loads(said.out)["exit_code"] == code
    assert said.err
    assert clean(said.out + said.err)
