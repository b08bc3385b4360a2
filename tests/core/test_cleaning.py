"""`zipspark clean`: what killed runs left goes, and nothing else does. No Spark."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zipspark.cli import run
from zipspark.config import EngineOptions, RefreshConfig, SelectConfig
from zipspark.storage.output import differences
from zipspark.storage.owners import is_running
from zipspark.storage.places import Place
from zipspark.storage.stages import completed, folder_of, read_state

HOST = socket.gethostname()


def started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def state_of(process, **changed):
    return {"key": {"a": 1}, "pid": process.pid, "host": HOST, "started": started(process.pid)} | changed


@pytest.fixture
def dead():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    state = state_of(process)
    process.kill()
    process.wait()
    return state


def write_work(folder: Path, state: object, stages=("scores", "candidates")) -> Path:
    folder.mkdir(parents=True)
    if state is not None:
        (folder / "state.json").write_text(json.dumps(state))
    for number, name in enumerate(stages):
        (folder / name).mkdir()
        (folder / name / "part-0.parquet").write_bytes(b"x" * 1000)
        row = {"stage": name, "key": "k", "seconds": 0.1, "at": f"2026-01-01T00:00:0{number}.000+00:00"}
        (folder / f"{name}.json").write_text(json.dumps(row))
    (folder / "half").mkdir()
    (folder / "half" / "part-0.parquet").write_bytes(b"x" * 1000)
    return folder


def write_out(folder: Path) -> Path:
    (folder / "subset").mkdir(parents=True)
    (folder / "subset" / "part-0.parquet").write_bytes(b"precious")
    (folder / "manifest.json").write_text("{}")
    return folder


def names_in(folder) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def out(tmp_path, dead):
    """OUT with everything that can lie beside it."""
    write_work(tmp_path / ".out.work", dead)
    for name in ("out", ".out.new-0123abcd", ".out.old-0123abcd", ".other.new-0123abcd", ".out.new-12", "xout.new-0"):
        write_out(tmp_path / name)
    return tmp_path / "out"


KEPT = [".other.new-0123abcd", ".out.new-12", ".out.old-0123abcd", "out", "xout.new-0"]


def test_what_was_left_goes_and_nothing_else(out, capsys):
    assert run(["clean", str(out)]) == 0
    said = capsys.readouterr().out
    assert "complete stages: scores, candidates" in said
    assert said.count("removed: ") == 2
    assert names_in(out.parent) == KEPT
    assert (out / "subset" / "part-0.parquet").read_bytes() == b"precious"
    assert run(["clean", str(out)]) == 0
    assert capsys.readouterr().out.strip() == "nothing was left"


def test_what_verify_and_report_left_goes_too(out):
    for purpose in ("verify", "report"):
        left = out.parent / f".out~{purpose}.work"
        left.mkdir()
        (left / "part-0.parquet").write_bytes(b"texts")
    assert run(["clean", str(out), "--quiet"]) == 0
    assert names_in(out.parent) == KEPT


def test_a_dry_run_lists_only(out, capsys):
    before = names_in(out.parent)
    assert run(["clean", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("to remove: ") == 2
    assert "removed" not in said
    assert names_in(out.parent) == before
    assert names_in(out.parent / ".out.work") == [
        "candidates",
        "candidates.json",
        "half",
        "scores",
        "scores.json",
        "state.json",
    ]


def test_json_says_what_and_how_much(out, capsys):
    assert run(["clean", str(out), "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    work, new = said["found"]
    assert said["dry_run"] is True
    assert work["path"] == str(out.parent / ".out.work")
    assert work["stages"] == ["scores", "candidates"]
    assert work["bytes"] > 3000
    assert work["in_use"] is False
    assert new == {
        "path": str(out.parent / ".out.new-0123abcd"),
        "stages": [],
        "bytes": len("{}" + "precious"),
        "in_use": False,
    }


def test_quiet_says_nothing_but_cleans(out, capsys):
    assert run(["clean", str(out), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert names_in(out.parent) == KEPT


@pytest.mark.parametrize("name", ["out[v2]", "a b", "[red]x", "n" * 120])
def test_paths_are_shown_as_they_are(tmp_path, dead, capsys, name):
    folder = write_work(tmp_path / f".{name}.work", dead)
    assert run(["clean", str(tmp_path / name)]) == 0
    assert str(folder) in capsys.readouterr().out
    assert names_in(tmp_path) == []


def test_nothing_beside_a_folder_that_is_not_there(tmp_path, capsys):
    assert run(["clean", str(tmp_path / "no" / "such" / "out")]) == 0
    assert capsys.readouterr().out.strip() == "nothing was left"
    assert names_in(tmp_path) == []


def test_a_work_folder_without_state_is_a_leftover(tmp_path, capsys):
    write_work(tmp_path / ".out.work", None, stages=())
    assert run(["clean", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("removed: ")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"stage": "x"}', '{"at": 1}'])
def test_what_is_no_completion_row_is_no_stage(tmp_path, text):
    folder = write_work(tmp_path / ".out.work", None, ("scores",))
    (folder / "odd.json").write_text(text)
    assert [row["stage"] for row in completed(Place.parse(folder))] == ["scores"]
    assert run(["clean", str(tmp_path / "out"), "--quiet"]) == 0
    assert names_in(tmp_path) == []


def test_a_folder_in_use_stays(tmp_path, sleeper, capsys):
    write_work(tmp_path / ".out.work", state_of(sleeper))
    write_out(tmp_path / ".out.new-0123abcd")
    assert run(["clean", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.count("in use: ") == 2
    assert "removed" not in said
    assert names_in(tmp_path) == [".out.new-0123abcd", ".out.work"]
    assert "scores" in names_in(tmp_path / ".out.work")
    sleeper.kill()
    sleeper.wait()
    assert run(["clean", str(tmp_path / "out")]) == 0
    assert names_in(tmp_path) == []


def test_a_number_that_went_to_another_process_is_not_in_use(tmp_path, sleeper):
    write_work(tmp_path / ".out.work", state_of(sleeper, started="1"))
    assert run(["clean", str(tmp_path / "out"), "--quiet"]) == 0
    assert names_in(tmp_path) == []


def test_a_work_dir_is_asked_for_its_own_folder_of_this_out(tmp_path, dead, capsys):
    work, out = tmp_path / "work", tmp_path / "out"
    for place in (out, tmp_path / "other" / "out"):
        assert run(["clean", str(place), "--work-dir", str(work)]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == ["nothing was left"] * 2
    mine, others = (
        Path(folder_of(EngineOptions(work_dir=str(work), output=str(place))).path)
        for place in (out, tmp_path / "other" / "out")
    )
    for folder in (mine, others, tmp_path / ".out.work"):
        write_work(folder, dead)
    assert run(["clean", str(out), "--work-dir", str(work), "--quiet"]) == 0
    assert names_in(work) == [others.name]
    assert names_in(tmp_path) == [".out.work", "work"]


def test_a_work_dir_is_asked_for_those_of_a_schema_and_of_refreshes(tmp_path, dead, sleeper):
    work = tmp_path / "work"

    def folder(model, **options) -> Path:
        return Path(folder_of(model(work_dir=str(work), **options)).path)

    for name in ("main.chosen", f"{tmp_path}/chosen"):
        others = [folder(RefreshConfig, subset=f"{name}2"), folder(EngineOptions)]
        left = [folder(RefreshConfig, subset=name), folder(RefreshConfig, subset=name)]
        left.append(folder(SelectConfig, output_schema=name) if "/" not in name else folder(EngineOptions, output=name))
        assert len({*left}) == 3
        for place in (*left, *others):
            write_work(place, dead)
        running = write_work(folder(RefreshConfig, subset=name), state_of(sleeper))
        assert run(["clean", name, "--work-dir", str(work), "--quiet"]) == 0
        assert names_in(work) == sorted(place.name for place in (*others, running))
        shutil.rmtree(work)


class TestIsRunning:
    def test_a_process_of_this_machine(self, sleeper):
        assert is_running(state_of(sleeper))

    @pytest.mark.parametrize(
        "changed", [{"started": "1"}, {"started": None}, {"host": "elsewhere"}, {"pid": "12"}, {"pid": 10**30}]
    )
    def test_another(self, sleeper, changed):
        assert not is_running(state_of(sleeper, **changed))

    def test_a_dead_one(self, dead):
        assert not is_running(dead)

    def test_one_that_is_dead_but_not_waited_for(self, sleeper):
        state = state_of(sleeper)
        sleeper.kill()
        until = time.monotonic() + 10
        while Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not is_running(state)

    def test_this_one_may_go_on(self):
        own = {"pid": os.getpid(), "host": HOST, "started": started(os.getpid())}
        assert not is_running(own)

    def test_an_empty_state(self):
        assert not is_running({})


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"key": 3}', '{"pid": 1}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    assert read_state(Place.parse(tmp_path)) is None


class TestDifferences:
    def test_none(self):
        key = {"a": {"b": [1, 2]}, "c": None}
        assert differences(key, json.loads(json.dumps(key))) == ""
        assert differences({"a": (1, 2)}, {"a": [1, 2]}) == ""
        assert differences({}, {"a": None}) == ""

    def test_each_by_its_path_in_order(self):
        then = {"z": 1, "input": {"version": 3, "name": "t"}, "choices": {"budget": "5%", "mix": None}}
        now = {"z": 2, "input": {"version": 4, "name": "t"}, "choices": {"budget": "5%", "mix": "equal"}}
        assert differences(then, now) == "choices.mix was None, is 'equal'; input.version was 3, is 4; z was 1, is 2"

    def test_a_table_that_came_or_went(self):
        anchor = {"format": "table"}
        assert differences({"beside": {}}, {"beside": {"anchor": anchor}}) == (
            "beside.anchor was None, is {'format': 'table'}"
        )
        assert differences({"a": 1}, {}) == "a was 1, is None"

    def test_true_is_not_one(self):
        assert differences({"a": True}, {"a": 1}) == "a was True, is 1"
