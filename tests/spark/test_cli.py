"""The command line, run in this process on the shared session: files, exit codes, messages. No OUT after a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pools import rows

from zipspark.cli import run
from zipspark.config import RefreshConfig, SelectConfig
from zipspark.options import as_yaml, layered, read_config_file

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(300)))
    return path


@pytest.fixture(autouse=True)
def _session(spark):
    """The commands find this session running."""


def test_select_writes_all_outputs_and_a_manifest(pool, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["select", str(pool), "--output", str(out), "--budget", "30", "--group-column", "source"]) == 0
    assert sorted(entry.name for entry in out.iterdir()) == [
        "ledger",
        "manifest.json",
        "metrics",
        "quarantine",
        "report.html",
        "subset",
    ]
    subset = pq.read_table(out / "subset").sort_by("zip_rank").to_pydict()
    assert subset["zip_rank"] == list(range(30))
    assert len(pq.read_table(out / "ledger")) == 300
    assert len(pq.read_table(out / "quarantine")) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["checksum"]
    assert manifest["codec"]["self_check"]["seen"]
    assert {"zipspark", "zstd", "zlib"} <= manifest["versions"].keys()
    shown = capsys.readouterr().out
    assert "subset" in shown
    assert "random" in shown
    assert str(out) in shown.replace("\n", "")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]


def test_json_prints_one_object_and_nothing_else(pool, tmp_path, capsys):
    assert run(["select", str(pool), "--output", str(tmp_path / "out"), "--budget", "1kB", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in said["sets"]] == ["pool", "subset", "random"]
    assert run(["select", str(pool), "--output", str(tmp_path / "out"), "--budget", "1kB", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["exit_code"] == 3


def test_jsonl_and_overwrite(pool, tmp_path):
    command = ["select", str(pool), "--output", str(tmp_path / "out"), "--format", "jsonl", "--quiet"]
    assert run([*command, "--budget", "5"]) == 0
    assert run([*command, "--budget", "7"]) == 3
    assert run([*command, "--budget", "7", "--overwrite"]) == 0
    lines = [
        line for file in sorted((tmp_path / "out/subset").glob("part-*")) for line in file.read_text().splitlines()
    ]
    assert [json.loads(line)["zip_rank"] for line in lines] == list(range(7))
    assert len(pq.read_table(tmp_path / "out/ledger")) == 300


def test_names_in_brackets_are_shown_as_they_are(tmp_path, capsys):
    path = tmp_path / "pool.jsonl"
    groups = ("[/b]", "[red]")
    path.write_text(
        "".join(json.dumps({"text": row["text"], "g": groups[n % 2]}) + "\n" for n, row in enumerate(rows(60)))
    )
    out = tmp_path / "out[v2]"
    assert run(["select", str(path), "--output", str(out), "--budget", "6", "--group-column", "g"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*groups, f"{out}/subset"))


def test_score_writes_every_rows_ratio(pool, tmp_path):
    assert run(["score", str(pool), "--output", str(tmp_path / "out"), "--group-column", "source", "--quiet"]) == 0
    scores = pq.read_table(tmp_path / "out/scores")
    assert scores.column_names == ["zip_id", "group", "bytes", "ratio", "file", "position"]
    assert len(set(scores["zip_id"].to_pylist())) == 300


def test_conf_select_yml_holds_every_option_and_changes_nothing():
    path = ROOT / "conf" / "select.yml"
    assert path.read_text() == as_yaml(SelectConfig)
    assert yaml.safe_load(path.read_text()).keys() == {
        field.alias or name for name, field in SelectConfig.model_fields.items()
    }
    assert layered(SelectConfig, {}, read_config_file(path)) == SelectConfig()


def test_conf_refresh_yml_holds_every_option_and_changes_nothing():
    path = ROOT / "conf" / "refresh.yml"
    assert path.read_text() == as_yaml(RefreshConfig, RefreshConfig.NOT_OPTIONS)
    assert layered(RefreshConfig, {}, read_config_file(path)) == RefreshConfig()


def test_flags_win_over_the_file_and_quiet_says_nothing(pool, tmp_path, capsys):
    file = tmp_path / "select.yml"
    file.write_text(f"input: {pool}\nbudget: 9\nformat: jsonl\n")
    assert run(["select", "--config", str(file), "--output", str(tmp_path / "out"), "--budget", "4", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    (lines,) = [file.read_text().splitlines() for file in (tmp_path / "out/subset").glob("part-*")]
    assert len(lines) == 4


def _files(folder: Path) -> dict[str, str]:
    """Inputs that cannot be used, by name."""
    (folder / "empty").mkdir()
    (folder / "not.parquet").write_text("this is no parquet")
    pq.write_table(pa.table({"a": [1], "b": [2]}), folder / "strange.parquet")
    (folder / "bad.jsonl").write_text('{"text": ""}\n{"text": "  "}\n')
    (folder / "file").write_text("")
    return {path.name: str(path) for path in folder.iterdir()} | {"missing": str(folder / "missing.jsonl")}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["POOL", "--budget", "0"], 2, "budget must be above 0, got '0'"),
        (["POOL", "--budget", "-5"], 2, "budget must be above 0, got '-5'"),
        (["POOL", "--budget", "abc"], 2, "budget must be a number of rows"),
        (["POOL", "--budget", "200%"], 2, "budget must be at most 100%"),
        (["POOL", "--budget", "5", "--k2", "20000"], 2, "k2 must be <= k1 (10000), got 20000"),
        (["POOL", "--budget", "5", "--k3", "500"], 2, "k3 must be <= k2 (200), got 500"),
        (["POOL", "--budget", "5", "--nonsense", "1"], 2, "--nonsense"),
        (["POOL", "--budget", "5", "--config", "unknown.yml"], 2, "unknown option 'bugdet'"),
        (["POOL", "--budget", "5", "--config", "wrong.yml"], 2, "k1 must be a valid integer"),
        (["POOL", "--budget", "5", "--config", "none.yml"], 2, "cannot be read"),
        (["POOL", "--budget", "5", "--config", "true.yml"], 2, "parts must be a number, got True"),
        (["POOL", "--budget", "5", "--oversample", "inf"], 2, "oversample"),
        (["POOL"], 2, "budget must be given"),
        ([], 2, "input must be given"),
        (["missing", "--budget", "5"], 3, "missing.jsonl"),
        (["empty", "--budget", "5"], 3, "empty"),
        (["not.parquet", "--budget", "5"], 3, "not.parquet"),
        (["strange.parquet", "--budget", "5"], 3, "--schema"),
        (["bad.jsonl", "--budget", "5"], 3, "2 of 2 rows"),
        (["no_such_table", "--budget", "5"], 3, "no_such_table"),
        (["POOL", "--budget", "5", "--group-column", "nope"], 3, "nope"),
        (["POOL", "--budget", "5", "--id-column", "source"], 3, "id_column 'source' must have no nulls"),
        (["POOL", "--budget", "5", "--text-expr", "upper("], 3, "text"),
        (["POOL", "--budget", "5", "--output", "file/out"], 3, "file"),
    ],
)
def test_bad_input_says_what_is_wrong_and_leaves_no_out(pool, tmp_path, capsys, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    named = _files(tmp_path) | {"POOL": str(pool)}
    (tmp_path / "unknown.yml").write_text("bugdet: 5\n")
    (tmp_path / "true.yml").write_text("parts: true\n")
    (tmp_path / "wrong.yml").write_text("k1: many\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = [named.get(argument, argument) for argument in arguments]
    output = [] if "--output" in arguments else ["--output", "out"]
    assert run(["select", *arguments, *output]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert sorted(path.name for path in tmp_path.iterdir()) == before
