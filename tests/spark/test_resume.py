"""A run that was killed goes on with ``--resume`` and ends as if nothing had been; `zipspark verify` sees if not."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from launching import once
from pools import rows
from pyspark.errors import PySparkRuntimeError
from terminal import stages

from zipspark import choosing, pipeline
from zipspark.cli import run
from zipspark.config import EngineOptions, SelectConfig, choice_key
from zipspark.errors import InputError
from zipspark.options import layered
from zipspark.rerunning import config_of
from zipspark.storage import stages as stages_module
from zipspark.storage.stages import Stages

OPTIONS = ["--budget", "20", "--parts", "2", "--id-column", "id", "--quiet"]


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(autouse=True)
def _session(spark, monkeypatch):
    """The commands find this session running. Nothing that was stopped writes on here."""
    monkeypatch.setattr(stages_module, "_TO_STOP", 0.1)


def write_pool(path: Path, count: int = 150) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    return path


def select(pool, out, *more: str) -> int:
    return run(["select", str(pool), "--output", str(out), *OPTIONS, *more])


def manifest_of(out) -> dict:
    return json.loads((Path(out) / "manifest.json").read_text())


def names_in(folder) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def files_in(folder) -> dict[str, tuple[int, bytes]]:
    """Path -> when it was written, and its content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(spark, tmp_path_factory):
    """A folder with a pool and OUT, and the stages' names in the order they were completed.

    ``after-N`` is the work folder as it was when N stages were complete.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    write_pool(folder / "pool.jsonl")
    order: list[str] = []

    def snapshot():
        shutil.copytree(folder / ".out.work", folder / f"after-{len(order)}")

    claim, write = Stages.claim, Stages.write

    def claimed(stages, key):
        claim(stages, key)
        snapshot()

    def written(stages, name, df):
        table = write(stages, name, df)
        order.append(name)
        snapshot()
        return table

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stages, "claim", claimed)
        patched.setattr(Stages, "write", written)
        assert select(folder / "pool.jsonl", folder / "out") == 0
    assert manifest_of(folder / "out")["stages_reused"] == []
    assert not (folder / ".out.work").exists()
    return folder, order


@pytest.fixture
def killed(undisturbed, tmp_path):
    """Lays what a run leaves that was killed after ``count`` stages; returns the pool."""
    source, _ = undisturbed

    def lay(count: int = 2) -> Path:
        shutil.copytree(source / f"after-{count}", tmp_path / ".out.work")
        return source / "pool.jsonl"

    return lay


NOISE = base64.b64encode(random.Random(1).randbytes(900)).decode()
STAGES = ("scores", "samples", "candidates", "picks", "ledger", "input")


@once
def test_the_stages_of_a_small_run(undisturbed):
    assert tuple(undisturbed[1]) == STAGES


@pytest.mark.parametrize("count", range(len(STAGES) + 1))
def test_killed_after_each_stage_it_goes_on_from_there(undisturbed, killed, tmp_path, count):
    pool = killed(count)
    for name in STAGES[count : count + 1]:
        (tmp_path / ".out.work" / name / "_temporary").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".out.work" / name / "part-00000-half.parquet").write_bytes(b"PAR1 half")
    if count == len(STAGES):
        shutil.copytree(undisturbed[0] / "out" / "ledger", tmp_path / ".out.new-0123abcd" / "ledger")
    assert select(pool, tmp_path / "out", "--resume") == 0
    expected, manifest = manifest_of(undisturbed[0] / "out"), manifest_of(tmp_path / "out")
    assert manifest["stages_reused"] == list(STAGES[:count])
    for same in ("checksum", "key", "parts", "selected", "rows", "ratios"):
        assert manifest[same] == expected[same]
    for table, key in (("subset", "zip_rank"), ("ledger", "zip_id")):
        there, here = (pq.read_table(folder / "out" / table).sort_by(key) for folder in (undisturbed[0], tmp_path))
        assert here.equals(there)
    assert run(["clean", str(tmp_path / "out"), "--quiet"]) == 0
    assert names_in(tmp_path) == ["out"]


def test_a_killed_run_whose_server_still_writes_harms_nothing(undisturbed, killed, tmp_path, monkeypatch):
    """A Connect server goes on when its client is gone: what it writes lies in a folder of its own, and is not read."""
    pool, write = killed(1), Stages.write
    stages = tmp_path / ".out.work"
    of_killed_run = json.loads((stages / "scores.json").read_text())["attempt"]

    def writes(self, name, df):
        table = write(self, name, df)
        if name == "samples":  # the same rows, from the run before
            table.write.mode("append").parquet(str(stages / name / of_killed_run))
        return table

    monkeypatch.setattr(Stages, "write", writes)
    assert select(pool, tmp_path / "out", "--resume") == 0
    assert manifest_of(tmp_path / "out")["checksum"] == manifest_of(undisturbed[0] / "out")["checksum"]
    assert len(pq.read_table(tmp_path / "out" / "ledger")) == len(pq.read_table(undisturbed[0] / "out" / "ledger"))


@once
def test_killed_twice(undisturbed, killed, tmp_path, monkeypatch):
    pool = killed(1)

    def no_more(self, name, df):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Stages, "remove", lambda *_: None)
        patched.setattr(pipeline, "write_tables", lambda *_: pytest.fail("it came too far"))
        write = Stages.write
        patched.setattr(Stages, "write", lambda s, name, df: (write if name == "scores" else no_more)(s, name, df))
        with pytest.raises(Killed):
            select(pool, tmp_path / "out", "--resume")
    assert names_in(tmp_path / ".out.work") == ["scores", "scores.json", "state.json"]
    assert select(pool, tmp_path / "out", "--resume") == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest["stages_reused"] == ["scores"]
    assert manifest["checksum"] == manifest_of(undisturbed[0] / "out")["checksum"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "scores", "key": "of another"}'])
def test_a_completion_row_that_is_none_counts_for_nothing(undisturbed, killed, tmp_path, text):
    killed(1)
    (tmp_path / ".out.work" / "scores.json").write_text(text)
    with Stages(None, EngineOptions(output=str(tmp_path / "out")), resume=True) as stages:
        stages.claim(json.loads((tmp_path / ".out.work" / "state.json").read_text())["key"])
        with pytest.raises(AttributeError, match="'int' object has no attribute 'write'"):
            stages.write("scores", 0)
        assert stages.reused == []


@once
def test_a_stage_whose_table_is_gone_is_computed_again(undisturbed, killed, tmp_path):
    pool = killed(2)
    shutil.rmtree(tmp_path / ".out.work" / "scores")
    assert select(pool, tmp_path / "out", "--resume") == 0
    assert manifest_of(tmp_path / "out")["stages_reused"] == ["samples"]
    assert manifest_of(tmp_path / "out")["checksum"] == manifest_of(undisturbed[0] / "out")["checksum"]


def test_an_input_that_is_written_while_it_is_read(undisturbed, tmp_path, monkeypatch, capsys):
    pool = Path(shutil.copy2(undisturbed[0] / "pool.jsonl", tmp_path))

    def touch(*arguments):
        os.utime(pool, ns=(1, 1))
        return write(*arguments)

    write = pipeline.write_tables
    monkeypatch.setattr(pipeline, "write_tables", touch)
    assert select(pool, tmp_path / "out") == 3
    assert f"{pool} changed while it was read" in capsys.readouterr().err
    assert names_in(tmp_path) == ["pool.jsonl"]


@once
def test_rows_that_are_not_found_again_are_no_subset(undisturbed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choosing.subsets, "subset", lambda originals, picks, config, phases: picks.limit(19))
    assert select(undisturbed[0] / "pool.jsonl", tmp_path / "out") == 3
    assert "the subset has 19 rows, not 20" in capsys.readouterr().err
    assert names_in(tmp_path) == []


def test_killed_while_it_claimed_its_folder_it_starts_afresh(killed, tmp_path):
    key = {"a": 1}
    for text in (None, "", '{"key": {"a"'):
        (tmp_path / ".out.work").mkdir()
        if text is not None:
            (tmp_path / ".out.work" / "state.json").write_text(text)
        with Stages(None, EngineOptions(output=str(tmp_path / "out")), resume=True) as stages:
            stages.claim(key)
            state = json.loads((tmp_path / ".out.work" / "state.json").read_text())
            assert (state["key"], state["pid"], state["host"]) == (key, os.getpid(), socket.gethostname())
            assert names_in(tmp_path / ".out.work") == ["state.json"]
        assert names_in(tmp_path) == []


class TestStale:
    @pytest.fixture
    def refused(self, tmp_path, capsys):
        def check(pool, *more) -> str:
            before = files_in(tmp_path)
            assert select(pool, tmp_path / "out", "--resume", *more) == 3
            assert files_in(tmp_path) == before
            assert not (tmp_path / "out").exists()
            return capsys.readouterr().err

        return check

    def test_another_option(self, killed, refused):
        said = refused(killed(), "--budget", "21", "--dedup", "off")
        assert "choices.budget was '20', is '21'; choices.dedup was True, is False" in said
        assert "zipspark clean" in said

    def test_a_changed_input(self, killed, refused, tmp_path):
        pool = Path(shutil.copy2(killed(), tmp_path))
        with pool.open("a") as file:
            file.write(json.dumps(rows(151)[-1]) + "\n")
        said = refused(pool)
        assert "input.bytes was " in said
        assert "choices" not in said

    def test_an_input_that_was_written_again(self, killed, refused, tmp_path):
        pool = Path(shutil.copy2(killed(), tmp_path))
        os.utime(pool, ns=(1, 1))
        assert "input.sha256 was " in refused(pool)

    def test_an_input_that_was_moved(self, killed, refused, tmp_path):
        pool = Path(shutil.copy2(killed(), tmp_path))
        said = refused(pool)
        assert "places.input was " in said
        assert f"is '{tmp_path}/'" in said

    def test_another_library(self, killed, refused, monkeypatch):
        monkeypatch.setattr("zipspark.running.library_versions", lambda: {"zipspark": "0", "zlib": "0", "zstd": "0"})
        assert "versions.zstd was " in refused(killed())

    @pytest.mark.parametrize("text", [None, "", "[]", '{"key": 3}'])
    def test_a_folder_without_a_state_that_can_be_read(self, killed, refused, tmp_path, text):
        pool = killed()
        state = tmp_path / ".out.work" / "state.json"
        state.unlink() if text is None else state.write_text(text)
        assert ".out.work has no state.json that can be read" in refused(pool)

    def test_without_resume_it_is_replaced(self, killed, tmp_path, monkeypatch):
        def look(*_):
            assert names_in(tmp_path / ".out.work") == ["state.json"]
            raise InputError("seen")

        monkeypatch.setattr(pipeline, "looked_at", look)
        assert select(killed(6), tmp_path / "out") == 3
        assert names_in(tmp_path) == []

    @pytest.mark.parametrize("resume", [(), ("--resume",)])
    def test_a_folder_that_somebody_works_in(self, killed, tmp_path, capsys, resume):
        pool = killed()
        path = tmp_path / ".out.work" / "state.json"
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        try:
            started = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[19]
            path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": sleeper.pid, "started": started}))
            before = files_in(tmp_path)
            assert select(pool, tmp_path / "out", *resume) == 3
        finally:
            sleeper.kill()
            sleeper.wait()
        assert f"is in use by process {sleeper.pid}" in capsys.readouterr().err
        assert files_in(tmp_path) == before

    def test_two_that_begin_at_once(self, tmp_path, monkeypatch):
        engine = EngineOptions(output=str(tmp_path / "out"))
        first, second = (Stages(None, engine, resume=True) for _ in range(2))
        first.claim({"a": 1})
        monkeypatch.setattr(stages_module, "is_running", lambda state: True)
        with pytest.raises(InputError, match="is in use by process"), second:
            second.claim({"a": 1})
        assert names_in(tmp_path / ".out.work") == ["state.json"]


class TestAnOutThatIsThere:
    @pytest.fixture
    def whole(self, undisturbed, tmp_path):
        for name in ("pool.jsonl", "out"):
            copy = shutil.copy2 if name == "pool.jsonl" else shutil.copytree
            copy(undisturbed[0] / name, tmp_path / name)
        return tmp_path / "pool.jsonl", tmp_path / "out"

    def test_of_the_same_run_is_complete(self, whole, capsys):
        pool, out = whole
        before = files_in(out)
        arguments = ["select", str(pool), "--output", str(out), *OPTIONS[:-1], "--resume"]
        assert run(arguments) == 0
        assert "is complete: 20 rows" in capsys.readouterr().out.replace("\n", " ")
        assert run([*arguments, "--overwrite", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said == {
            "complete": True,
            "output": str(out),
            "selected": 20,
            "checksum": manifest_of(out)["checksum"],
        }
        assert files_in(out) == before
        assert names_in(out.parent) == ["out", "pool.jsonl"]

    def test_of_another_run_is_refused_or_replaced(self, whole, capsys):
        pool, out = whole
        before = files_in(out)
        assert select(pool, out, "--resume", "--budget", "7") == 3
        assert "choices.budget was '20', is '7'" in capsys.readouterr().err
        assert files_in(out) == before
        assert select(pool, out, "--resume", "--budget", "7", "--overwrite") == 0
        assert manifest_of(out)["selected"] == 7
        assert names_in(out.parent) == ["out", "pool.jsonl"]

    def test_of_somebody_else_is_refused(self, whole, capsys):
        pool, out = whole
        (out / "manifest.json").unlink()
        before = files_in(out)
        for more in ((), ("--overwrite",)):
            assert select(pool, out, "--resume", *more) == 3
            assert "no manifest.json" in capsys.readouterr().err
        assert files_in(out) == before


class TestAFailure:
    @pytest.mark.parametrize(
        ("error", "code", "kept"),
        [
            (PySparkRuntimeError("a node is gone"), 4, True),
            (KeyboardInterrupt(), 130, True),
            (OSError(28, "No space left on device"), 3, True),
            (InputError("no good"), 3, False),
        ],
    )
    def test_keeps_stages_for_resume_alone(self, killed, tmp_path, monkeypatch, capsys, error, code, kept):
        pool = killed(1)

        def fail(*_):
            raise error

        monkeypatch.setattr(pipeline.survey, "check", fail)
        assert select(pool, tmp_path / "out", "--resume") == code
        assert ("keeps what is complete for --resume" in capsys.readouterr().err) == kept
        assert names_in(tmp_path) == ([".out.work"] if kept else [])
        if kept:
            assert names_in(tmp_path / ".out.work") == ["scores", "scores.json", "state.json"]

    def test_without_resume_leaves_nothing(self, undisturbed, tmp_path, monkeypatch):
        def fail(*_):
            assert names_in(tmp_path) == [".out.work"]
            raise PySparkRuntimeError("a node is gone")

        monkeypatch.setattr(pipeline, "picked", fail)
        assert select(undisturbed[0] / "pool.jsonl", tmp_path / "out") == 4
        assert names_in(tmp_path) == []


def test_an_input_without_versions_cannot_be_resumed(spark, tmp_path, capsys):
    spark.createDataFrame(rows(9)).createOrReplaceTempView("resume_view")
    try:
        assert select("resume_view", tmp_path / "out", "--resume") == 2
    finally:
        spark.catalog.dropTempView("resume_view")
    assert "'resume_view' is no Delta table" in capsys.readouterr().err
    assert names_in(tmp_path) == []


def test_a_score_that_runs_can_be_seen(undisturbed, tmp_path, monkeypatch):
    def look(*_):
        state = json.loads((tmp_path / ".out.work" / "state.json").read_text())
        assert (state["key"], state["pid"]) == ({}, os.getpid())
        raise InputError("seen")

    monkeypatch.setattr(pipeline.survey, "check", look)
    pool = str(undisturbed[0] / "pool.jsonl")
    assert run(["score", pool, "--output", str(tmp_path / "out"), "--quiet"]) == 3
    assert names_in(tmp_path) == []


class TestVerify:
    @pytest.fixture
    def whole(self, undisturbed, tmp_path):
        """A pool of its own, and OUT that names it."""
        shutil.copy2(undisturbed[0] / "pool.jsonl", tmp_path / "pool.jsonl")
        shutil.copytree(undisturbed[0] / "out", tmp_path / "out")
        self.edit(tmp_path / "out", lambda manifest: manifest["config"].update(input=[str(tmp_path / "pool.jsonl")]))
        return tmp_path / "pool.jsonl", tmp_path / "out"

    @staticmethod
    def edit(out, change):
        manifest = manifest_of(out)
        change(manifest)
        (out / "manifest.json").write_text(json.dumps(manifest))

    @staticmethod
    def verified(out, capsys, code: int) -> dict:
        before = names_in(out.parent)
        assert run(["verify", str(out), "--json"]) == code
        assert names_in(out.parent) == before
        said = capsys.readouterr()
        counted = ["1/5 score", "2/5 look", "3/5 survey", "4/5 parts", "5/5 merge"]
        assert stages(said.err) in (counted, [])  # none: what is derived again was given
        return json.loads(said.out)

    @pytest.fixture
    def chosen_again(self, spark, undisturbed, monkeypatch):
        """What is derived again is what was, without the work."""
        manifest = manifest_of(undisturbed[0] / "out")
        picked = pq.read_table(undisturbed[0] / "out" / "subset").sort_by("zip_rank")
        again = SimpleNamespace(
            picks=SimpleNamespace(picked=picked, checksum=manifest["checksum"]),
            plan=SimpleNamespace(parts=manifest["parts"]),
        )
        monkeypatch.setattr("zipspark.verify.looked_at", lambda *_: None)
        monkeypatch.setattr("zipspark.verify.picked", lambda *_: again)

    def test_the_same_by_another_library(self, whole, capsys):
        _, out = whole
        self.edit(out, lambda manifest: manifest["key"]["versions"].update(zstd="0.1"))
        said = self.verified(out, capsys, 0)
        checksum = manifest_of(out)["checksum"]
        (changed,) = said.pop("changed")
        assert changed.startswith("versions.zstd was '0.1', is '")
        assert said == {
            "output": str(out),
            "same": True,
            "checksum": checksum,
            "now": checksum,
            "rank": None,
            "ids": [None, None],
        }

    @pytest.mark.usefixtures("chosen_again")
    def test_the_same(self, whole, capsys):
        _, out = whole
        assert run(["verify", str(out)]) == 0
        assert capsys.readouterr().out == f"{out}: same\n"

    def test_a_row_was_added(self, whole, capsys):
        pool, out = whole
        with pool.open("a") as file:
            file.write(json.dumps(rows(151)[-1]) + "\n")
        said = self.verified(out, capsys, 5)
        assert said["same"] is False
        assert "input.bytes was " in said["changed"][0]
        assert "input.files" not in said["changed"][0]

    @pytest.mark.parametrize("kind", ["table", "view"])
    def test_rows_of_what_has_no_version(self, spark, tmp_path, capsys, kind):
        source, out = "bare_rows" if kind == "table" else "bare_view", tmp_path / "out"
        spark.sql(f"CREATE TABLE bare_rows (id STRING, text STRING) USING parquet LOCATION '{tmp_path}/rows'")
        spark.sql("CREATE VIEW bare_view AS SELECT * FROM bare_rows")
        try:
            first = rows(100)[0]
            odd = [first | {"id": "copy"}, first | {"id": "bad", "text": None}, first | {"id": "noise", "text": NOISE}]
            every = spark.createDataFrame([*rows(100), *odd])
            every.select("id", "text").coalesce(1).write.insertInto("bare_rows")
            options = ["--budget", "10", "--parts", "1", "--id-column", "id", "--quiet", "--where", "id != 'row-00007'"]
            assert run(["select", source, "--output", str(out), *options]) == 0
            capsys.readouterr()
            decided = set(pq.read_table(out / "ledger")["decision"].to_pylist())
            assert decided == {"selected", "not_selected", "duplicate", "guarded", "quarantined"}
            self.verified(out, capsys, 0)
            spark.sql("INSERT INTO bare_rows VALUES ('more', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')")
            said = self.verified(out, capsys, 5)
            assert (said["rank"], said["checksum"] == said["now"]) == (None, True)
            assert said["changed"][-1].endswith(f"{source} holds other rows")
        finally:
            spark.sql("DROP VIEW bare_view")
            spark.sql("DROP TABLE bare_rows")

    @pytest.mark.usefixtures("chosen_again")
    def test_an_input_written_again_differs_even_with_the_same_ranking(self, whole, capsys):
        pool, out = whole
        os.utime(pool, ns=(1, 1))
        assert run(["verify", str(out)]) == 5
        said = capsys.readouterr().out
        assert said.startswith(f"{out}: differs\nthe ranking is the same\nchanged: input.sha256 was '")

    @pytest.mark.usefixtures("chosen_again")
    def test_two_ranks_swapped_in_the_ledger_and_other_parts(self, whole, capsys):
        _, out = whole
        ledger = pq.read_table(out / "ledger")
        ids = dict(zip(ledger["rank"].to_pylist(), ledger["zip_id"].to_pylist(), strict=True))
        swap = {3: 5, 5: 3}
        ranks = [swap.get(rank, rank) for rank in ledger["rank"].to_pylist()]
        place = ledger.column_names.index("rank")
        ledger = ledger.set_column(place, "rank", pa.array(ranks, ledger.schema.field("rank").type))
        shutil.rmtree(out / "ledger")
        (out / "ledger").mkdir()
        pq.write_table(ledger, out / "ledger" / "part-0.parquet")
        self.edit(out, lambda manifest: manifest.update(parts=3))
        said = self.verified(out, capsys, 5)
        assert (said["rank"], said["ids"]) == (3, [ids[5], ids[3]])
        assert said["now"] == said["checksum"] == manifest_of(out)["checksum"]
        assert said["changed"] == ["parts were 3, are 2", f"{out}/ledger is not what was written"]

    @pytest.mark.usefixtures("chosen_again")
    def test_another_checksum_in_the_manifest(self, whole, capsys):
        _, out = whole
        self.edit(out, lambda manifest: manifest.update(checksum="0" * 64))
        said = self.verified(out, capsys, 5)
        assert said["changed"] == [f"{out}/ledger is not what was written"]

    @pytest.mark.parametrize("missing", ["checksum", "key", "config", "parts"])
    def test_a_result_of_something_else(self, whole, capsys, missing):
        _, out = whole
        self.edit(out, lambda manifest: manifest.pop(missing))
        assert run(["verify", str(out)]) == 3
        assert f"is no result of zipspark select: its manifest has no {missing}" in capsys.readouterr().err

    def test_a_result_of_a_dataframe(self, whole, capsys):
        _, out = whole
        self.edit(out, lambda manifest: manifest["key"].update(input={"format": "dataframe"}))
        assert run(["verify", str(out)]) == 3
        assert "its input was a DataFrame" in capsys.readouterr().err

    def test_no_out_and_no_input(self, whole, capsys):
        pool, out = whole
        assert run(["verify", str(out.parent / "none")]) == 3
        assert "none is no finished result of zipspark" in capsys.readouterr().err
        pool.unlink()
        assert run(["verify", str(out)]) == 3
        assert f"{pool} does not exist" in capsys.readouterr().err
        assert names_in(out.parent) == ["out"]

    def test_no_result_of_score(self, undisturbed, tmp_path, capsys):
        pool = str(undisturbed[0] / "pool.jsonl")
        assert run(["score", pool, "--output", str(tmp_path / "out"), "--quiet"]) == 0
        assert run(["verify", str(tmp_path / "out")]) == 3
        assert "is no result of zipspark select" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "500kB"},
        {"budget": "7.5%"},
        {"budget": "2Mtok", "token_column": "n", "cost": "token"},
        {"budget": "100", "mix": "power=0.5", "group_column": "g"},
        {"budget": "100", "mix": "code=0.3,chat=0.7", "group_column": "g"},
        {"budget": "1MB", "floor": ("a=10kB", "b=1%"), "cap": ("a=50%",), "group_column": "g"},
        {"until": "coverage=0.9", "objective": "coverage"},
        {"budget": "10%", "until": "marginal-ratio=6"},
        {"budget": "10%", "roles": "user,assistant", "schema": "messages", "phases": "a,b", "group_column": "g"},
        {"budget": "10%", "anchor": "/x/a.jsonl,/x/b.jsonl", "keep": "k", "target": "t", "target_strength": "0.5"},
        {"budget": "10%", "quality_column": "q", "quality_min": "0.25", "quality_weight": "2", "window": "1MiB"},
        {"budget": "10", "preset": "paper"},
        {"budget": "10", "preset": "paper", "dedup": "on", "k1": "500"},
        {"budget": "10", "preset": "reference"},
    ],
    ids=str,
)
def test_options_come_back_from_the_manifest(options):
    config = layered(SelectConfig, {"input": ("/x/pool.jsonl",), **options})
    written = json.loads(json.dumps({"config": choice_key(config)}))
    assert config_of(written, EngineOptions()) == config
    assert config_of(written, EngineOptions(output="o", quiet=True, conf={"a": "b"})) == config.model_copy(
        update={"quiet": True, "conf": {"a": "b"}}
    )


@once
@pytest.mark.delta
def test_a_delta_table_made_anew_is_another(spark, tmp_path, capsys, monkeypatch):
    """Its name and version are what they were, and here its rows too."""
    pool, out = tmp_path / "pool", tmp_path / "out"

    def made() -> None:
        shutil.rmtree(pool, ignore_errors=True)
        spark.createDataFrame(rows(60)).coalesce(1).write.format("delta").save(str(pool))

    made()
    with monkeypatch.context() as patched:
        patched.setattr(Stages, "remove", lambda *_: None)
        assert select(pool, out) == 0
    made()
    assert select(pool, out, "--resume") == 3
    assert "input.id was" in capsys.readouterr().err
    assert run(["verify", str(out)]) == 5
    assert "input.id was" in capsys.readouterr().out
    shutil.rmtree(out)
    assert select(pool, out, "--resume") == 3
    assert "input.id was" in capsys.readouterr().err


@once
@pytest.mark.delta
def test_a_version_that_vacuum_has_taken(spark, tmp_path, capsys):
    pool, out = tmp_path / "pool", tmp_path / "out"
    spark.createDataFrame(rows(60)).coalesce(1).write.format("delta").save(str(pool))
    assert select(pool, out) == 0
    files = [*pool.glob("*.parquet")]
    spark.createDataFrame(rows(40)).coalesce(1).write.format("delta").mode("overwrite").save(str(pool))
    for file in files:
        file.unlink()
    capsys.readouterr()
    assert run(["verify", str(out), "--quiet"]) == 3
    assert "VACUUM has removed the files of that version" in capsys.readouterr().err


@pytest.mark.delta
def test_a_delta_table_stays_at_its_version(spark, tmp_path, capsys, monkeypatch):
    pool, out = tmp_path / "pool", tmp_path / "out"
    spark.createDataFrame(rows(60)).coalesce(1).write.format("delta").save(str(pool))
    with monkeypatch.context() as patched:
        patched.setattr(Stages, "remove", lambda *_: None)
        assert select(pool, out) == 0
    shutil.copytree(tmp_path / ".out.work", tmp_path / ".other.work")
    spark.createDataFrame(rows(90)[60:]).coalesce(1).write.format("delta").mode("append").save(str(pool))
    assert run(["verify", str(out), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == []
    before = files_in(tmp_path / ".other.work")
    assert select(pool, tmp_path / "other", "--resume") == 3
    assert "input.version was 0, is 1" in capsys.readouterr().err
    assert files_in(tmp_path / ".other.work") == before
