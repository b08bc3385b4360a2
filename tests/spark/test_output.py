"""OUT is whole or not there: on a store that renames, and on one that does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pools
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from zipspark import cli
from zipspark.config import EngineOptions
from zipspark.errors import InputError
from zipspark.storage import owners
from zipspark.storage.cleaning import leftovers, remove
from zipspark.storage.output import Output, read_manifest
from zipspark.storage.places import Place
from zipspark.storage.stages import Stages

SCHEMA = "id long, text string, nested struct<a: int, b: array<string>>"


@pytest.fixture(params=["renames", "object store"])
def store(request, monkeypatch):
    """Both kinds of store; the second is this disk with renames of folders denied."""
    if request.param == "object store":
        monkeypatch.setattr(Place, "renames", property(lambda place: False))
        monkeypatch.setattr(Place, "rename", lambda *_: pytest.fail("an object store has no renames"))


def write_out(spark, path, rows=3, overwrite=False):
    with Output(path, overwrite=overwrite) as out:
        out.write("subset", spark.range(rows))
        out.write_manifest({"rows": rows})
        out.commit()


def rows_of(spark, path):
    return spark.read.parquet(Place.parse(path).pattern).count()


def names_in(folder) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "name", ["out", "deep/new/out", "a b", "ü 😀", "50%", "a%20b", "a[1]", "{x,y}*?", "back\\slash"]
)
def test_out_appears_whole(spark, tmp_path, name):
    path = tmp_path / name
    write_out(spark, path)
    assert rows_of(spark, path / "subset") == 3
    assert read_manifest(path) == {"rows": 3}
    assert names_in(path.parent) == [path.name]
    assert names_in(path) == ["manifest.json", "subset"]


def test_readers_see_nothing_before_the_commit(spark, tmp_path):
    with Output(tmp_path / "out") as out:
        out.write("subset", spark.range(3))
        assert not (tmp_path / "out").exists()
        out.write_manifest({})
        assert not (tmp_path / "out").exists()
        out.commit()
    assert (tmp_path / "out").exists()


@pytest.mark.usefixtures("store")
def test_an_existing_out_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(InputError, match=r"output .*/out exists: give another name, or --overwrite"),
        Output(tmp_path / "out"),
    ):
        pass
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_refused(tmp_path, overwrite):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(InputError, match="is a file, not a folder"), Output(tmp_path / "out", overwrite):
        pass
    assert (tmp_path / "out").read_text() == "precious"


def test_what_zipspark_did_not_write_is_never_overwritten(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"has no manifest\.json"), Output(tmp_path / "home", overwrite=True):
        pass
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_refused_before_spark_is_needed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), Output(tmp_path / "file" / "out"):
        pass


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_leaves_the_place_as_it_was(spark, tmp_path, failure, overwrite):
    if overwrite:
        write_out(spark, tmp_path / "out", rows=7)

    def run():
        with Output(tmp_path / "out", overwrite) as out:
            out.write("subset", spark.range(3))
            out.write_manifest({"rows": 3})
            if overwrite:
                assert rows_of(spark, tmp_path / "out" / "subset") == 7
            raise failure

    with pytest.raises(failure):
        run()
    assert names_in(tmp_path) == (["out"] if overwrite else [])
    if overwrite:
        assert rows_of(spark, tmp_path / "out" / "subset") == read_manifest(tmp_path / "out")["rows"] == 7


@pytest.mark.usefixtures("store")
def test_a_job_that_fails_leaves_nothing(spark, tmp_path):
    bad = spark.range(100).select(F.when(F.col("id") == 77, F.raise_error(F.lit("row 77"))).otherwise(F.col("id")))

    def run():
        with Output(tmp_path / "out") as out:
            out.write("good", spark.range(3))
            out.write("subset", bad)

    with pytest.raises(Exception, match="row 77"):
        run()
    assert names_in(tmp_path) == []


@pytest.mark.usefixtures("store")
def test_overwrite_replaces_all_of_the_old(spark, tmp_path):
    write_out(spark, tmp_path / "out", rows=7)
    (tmp_path / "out" / "report.html").write_text("old")
    write_out(spark, tmp_path / "out", rows=3, overwrite=True)
    assert rows_of(spark, tmp_path / "out" / "subset") == read_manifest(tmp_path / "out")["rows"] == 3
    assert names_in(tmp_path / "out") == ["manifest.json", "subset"]
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_that_breaks_between_its_renames_is_healed(spark, tmp_path, monkeypatch, times):
    write_out(spark, tmp_path / "out", rows=7)
    rename, broken = Place.rename, []

    def break_into_out(place, target):
        if target.name == "out" and len(broken) < times:
            broken.append(place.name)
            raise OSError("disk gone")
        rename(place, target)

    monkeypatch.setattr(Place, "rename", break_into_out)
    with pytest.raises(OSError, match="disk gone"):
        write_out(spark, tmp_path / "out", rows=3, overwrite=True)
    if times == 2:  # what puts it back broke too, as if the process had been killed: the next run has to
        assert [name[:9] for name in names_in(tmp_path)] == [".out.old-"]
        with pytest.raises(InputError, match="exists"), Output(tmp_path / "out"):
            pass
    assert names_in(tmp_path) == ["out"]
    assert rows_of(spark, tmp_path / "out" / "subset") == 7


def test_what_an_interrupted_deletion_left_is_deleted(spark, tmp_path):
    write_out(spark, tmp_path / "out")
    (tmp_path / ".out.old-0123abcd" / "subset").mkdir(parents=True)
    (tmp_path / ".out.old-0123abcd.old-0123abcd").mkdir()  # of another OUT, called out.old-0123abcd
    write_out(spark, tmp_path / "out", overwrite=True)
    assert names_in(tmp_path) == [".out.old-0123abcd.old-0123abcd", "out"]


def test_of_two_runs_at_once_the_second_to_finish_loses(spark, tmp_path):
    def run():
        with Output(tmp_path / "out") as out:
            out.write("subset", spark.range(9))
            out.write_manifest({"rows": 9})
            write_out(spark, tmp_path / "out", rows=3)
            out.commit()

    with pytest.raises(InputError, match="exists"):
        run()
    assert rows_of(spark, tmp_path / "out" / "subset") == 3
    assert names_in(tmp_path) == ["out"]


def test_in_place_the_manifest_comes_last(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(Place, "renames", property(lambda place: False))
    with Output(tmp_path / "out") as out:
        out.write("subset", spark.range(3))
        out.write_manifest({})
        with pytest.raises(InputError, match=r"has no manifest\.json"):
            read_manifest(tmp_path / "out")
        out.commit()
    assert read_manifest(tmp_path / "out") == {}


@pytest.fixture
def half(spark, tmp_path, monkeypatch):
    """An OUT on a store without renames whose run was killed: in its first table, or while it replaced an older one."""
    monkeypatch.setattr(Place, "renames", property(lambda place: False))

    def write(kind: str) -> Path:
        path = tmp_path / "out"
        if kind == "replaced":
            write_out(spark, path, rows=7)
        out = Output(path, overwrite=True).__enter__()  # nothing leaves the block: SIGKILL
        out.write("subset", spark.range(3))
        if kind == "replaced":
            with monkeypatch.context() as patched:
                patched.setattr(Place, "copy_into", lambda *_: pytest.fail("killed"))
                out.write_manifest({"rows": 3})
                with pytest.raises(pytest.fail.Exception, match="killed"):
                    out.commit()
        return path

    return write


@pytest.mark.parametrize("kind", ["first", "replaced"])
def test_half_an_out_makes_room_for_who_asks(spark, half, kind):
    path = half(kind)
    before = names_in(path)
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        read_manifest(path)
    with (
        pytest.raises(InputError, match=r"is half of one, of a run that was killed: --overwrite .*--resume too"),
        Output(path),
    ):
        pass
    with pytest.raises(ValueError, match="before anything"), Output(path, overwrite=True):
        raise ValueError("before anything was written")
    assert names_in(path) == before
    with Output(path, resume=True) as out:
        assert not out.check_is({"choices": {}})
        out.write("subset", spark.range(5))
        out.write_manifest({"rows": 5})
        out.commit()
    assert rows_of(spark, path / "subset") == read_manifest(path)["rows"] == 5
    assert names_in(path) == ["manifest.json", "subset"]


@pytest.mark.parametrize("kind", ["first", "replaced"])
def test_half_an_out_is_cleaned_away(half, kind):
    path = half(kind)
    assert {one.place.name[:9] for one in leftovers(EngineOptions(output=str(path)))} == (
        {"out", ".out.new-"} if kind == "replaced" else {"out"}
    )
    for one in leftovers(EngineOptions(output=str(path))):
        remove(one)
    assert names_in(path.parent) == []


@pytest.mark.usefixtures("store")
def test_a_manifest_that_cannot_be_written_leaves_nothing(spark, tmp_path, monkeypatch):
    write_text = Place.write_text

    def full(place, text):
        write_text(place, text[:10])
        if place.name == "manifest.json":
            raise OSError("no space left")

    def run():
        with Output(tmp_path / "out") as out:
            out.write("subset", spark.range(3))
            out.write_manifest({"rows": 3})
            monkeypatch.setattr(Place, "write_text", full)
            out.commit()

    with pytest.raises(OSError, match="no space"):
        run()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("way", ["fails", "commits"])
def test_who_was_taken_for_dead_harms_nobody(spark, half, way):
    """As a run on another machine may be: what it goes on to do is refused, and what it would undo stays."""
    path = half("first")

    def run():
        with Output(path, resume=True) as live:
            live.write("subset", spark.range(3))
            with Output(path, resume=True) as out:
                out.write("subset", spark.range(7))
                out.write_manifest({"rows": 7})
                out.commit()
            if way == "fails":
                raise InputError("was taken by another run, or fails otherwise")
            live.write_manifest({"rows": 3})
            live.commit()

    with pytest.raises(InputError, match="was taken by another run"):
        run()
    assert rows_of(spark, path / "subset") == read_manifest(path)["rows"] == 7


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_mark_that_was_half_written_is_one(half, text):
    path = half("first")
    (path / "_zipspark_unfinished").write_text(text)
    with pytest.raises(InputError, match="is half of one"), Output(path):
        pass
    assert [one.place.name for one in leftovers(EngineOptions(output=str(path)))] == ["out"]


@pytest.mark.parametrize("kind", ["first", "replaced"])
def test_who_still_writes_is_left_alone(half, monkeypatch, kind):
    path = half(kind)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        for folder in (path, *path.parent.glob(".out.new-*")):
            monkeypatch.setattr(owners.os, "getpid", lambda: alive.pid)
            (folder / "_zipspark_unfinished").write_text(json.dumps(owners.owner()))
            monkeypatch.undo()
            monkeypatch.setattr(Place, "renames", property(lambda place: False))
        with pytest.raises(InputError, match=f"is being written by process {alive.pid}"), Output(path, overwrite=True):
            pass
        assert {one.in_use for one in leftovers(EngineOptions(output=str(path)))} == {True}
        alive.kill()
    assert {one.in_use for one in leftovers(EngineOptions(output=str(path)))} == {False}


def test_a_whole_out_with_a_mark_is_whole(spark, tmp_path, monkeypatch):
    """Killed just before its mark went."""
    monkeypatch.setattr(Place, "renames", property(lambda place: False))
    delete = Place.delete
    monkeypatch.setattr(Place, "delete", lambda place: None if place.name[0] == "_" else delete(place))
    write_out(spark, tmp_path / "out")
    monkeypatch.setattr(Place, "delete", delete)
    assert names_in(tmp_path / "out") == ["_zipspark_unfinished", "manifest.json", "subset"]
    assert leftovers(EngineOptions(output=str(tmp_path / "out"))) == []
    with Output(tmp_path / "out", resume=True) as out:
        assert out.found == {"rows": 3}
    with pytest.raises(InputError, match="exists: give another name"), Output(tmp_path / "out"):
        pass
    write_out(spark, tmp_path / "out", rows=5, overwrite=True)
    assert names_in(tmp_path / "out") == ["manifest.json", "subset"]
    assert rows_of(spark, tmp_path / "out" / "subset") == 5


@pytest.mark.slow
def test_select_goes_on_in_half_an_out(spark, tmp_path, monkeypatch):
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in pools.rows(150)))
    command = ["select", str(pool), "--budget", "12", "--parts", "2", "--id-column", "id", "--quiet", "--output"]
    assert cli.run([*command, str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(Place, "renames", property(lambda place: False))

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patched:
        patched.setattr(Output, "commit", lambda _: (_ for _ in ()).throw(Killed))
        patched.setattr(Output, "__exit__", lambda *_: None)
        with pytest.raises(Killed):
            cli.run([*command, str(tmp_path / "out"), "--resume"])
    assert "manifest.json" not in names_in(tmp_path / "out")
    assert cli.run([*command, str(tmp_path / "out")]) == 3
    assert cli.run([*command, str(tmp_path / "out"), "--resume"]) == 0
    assert names_in(tmp_path / "out") == names_in(tmp_path / "whole")
    manifest = read_manifest(tmp_path / "out")
    assert manifest["checksum"] == read_manifest(tmp_path / "whole")["checksum"]
    assert "ledger" in manifest["stages_reused"]
    assert rows_of(spark, tmp_path / "out" / "ledger") == 150


def test_what_is_written_side_by_side_does_not_make_room_from_each_other(half, monkeypatch):
    path, list_ = half("first"), Place.list
    with Output(path, resume=True) as out, ThreadPoolExecutor(2) as threads:

        def slow(place):
            time.sleep(0.3)
            return list_(place)

        monkeypatch.setattr(Place, "list", slow)
        for name in ("report.html", "notes.txt"):
            threads.submit(out.write_text, name, name)
        threads.shutdown()
        out.write_manifest({})
        out.commit()
    assert names_in(path) == ["manifest.json", "notes.txt", "report.html"]


@pytest.mark.parametrize("kind", ["none", "first"])
def test_in_place_another_run_is_not_written_over(spark, tmp_path, half, kind):
    path = half(kind) if kind != "none" else tmp_path / "out"

    def run():
        with Output(path, resume=True) as out, Output(path, resume=True) as other:  # both see the same
            other.write("subset", spark.range(7))
            with pytest.raises(InputError, match="another run has made it meanwhile"):  # though that is not done yet
                out.write("subset", spark.range(3))
            other.write_manifest({"rows": 7})
            other.commit()
            out.write("subset", spark.range(3))

    with pytest.raises(InputError, match="another run has made it meanwhile"):
        run()
    assert rows_of(spark, path / "subset") == read_manifest(path)["rows"] == 7


def empty_frames(spark):
    def nothing(batches):
        for _ in batches:
            pass
        return iter(())

    cast = [F.lit(None).cast(field.split(" ", 1)[1]).alias(field.split(" ", 1)[0]) for field in SCHEMA.split(", ", 2)]
    return {
        "no partitions": spark.createDataFrame([], SCHEMA),
        "filtered": spark.range(5).where("id > 9").select(*cast),
        "from Python": spark.range(5).mapInArrow(nothing, SCHEMA),
        "shuffled": spark.range(5).where("id > 9").select(*cast).repartition(3, "id"),
    }


@pytest.mark.parametrize("kind", ["no partitions", "filtered", "from Python", "shuffled"])
def test_a_table_without_rows_keeps_its_schema(spark, tmp_path, kind):
    frame = empty_frames(spark)[kind]
    with Output(tmp_path / "out") as out:
        out.write("ledger", frame)
        out.write("subset", frame, "jsonl")
        out.write_manifest({})
        out.commit()
    found = spark.read.parquet(str(tmp_path / "out" / "ledger"))
    assert found.schema.simpleString() == frame.schema.simpleString()
    assert found.count() == 0
    assert spark.read.schema(SCHEMA).json(str(tmp_path / "out" / "subset")).count() == 0
    assert [file.suffix for file in (tmp_path / "out" / "subset").glob("part-*")] == [".json"]


def test_parquet_is_zstd(spark, tmp_path):
    write_out(spark, tmp_path / "out")
    file = next((tmp_path / "out" / "subset").glob("*.parquet"))
    assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def test_json_lines_have_every_key(spark, tmp_path):
    rows = [(1, "ä\n", (1, ["x", None])), (2, None, None)]
    with Output(tmp_path / "out") as out:
        out.write("subset", spark.createDataFrame(rows, SCHEMA).coalesce(1), "jsonl")
        out.write_manifest({})
        out.commit()
    lines = "".join(file.read_text("utf-8") for file in (tmp_path / "out" / "subset").glob("part-*")).splitlines()
    assert sorted(map(json.loads, lines), key=lambda row: row["id"]) == [
        {"id": 1, "text": "ä\n", "nested": {"a": 1, "b": ["x", None]}},
        {"id": 2, "text": None, "nested": None},
    ]


@pytest.mark.delta
@pytest.mark.usefixtures("store")
def test_delta_tables_move_with_out(spark, tmp_path):
    for rows in (7, 3):
        with Output(tmp_path / "a b%20[1]", overwrite=True) as out:
            out.write("subset", spark.range(rows), "delta")
            out.write("ledger", empty_frames(spark)["no partitions"], "delta")
            out.write_manifest({})
            out.commit()
    folder = Place.parse(tmp_path / "a b%20[1]")
    assert spark.read.format("delta").load(folder.child("subset").uri).count() == 3
    ledger = spark.read.format("delta").load(folder.child("ledger").uri)
    assert (ledger.count(), ledger.columns) == (0, ["id", "text", "nested"])


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_damaged_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="is damaged"):
        read_manifest(tmp_path)


def test_no_commit_without_a_manifest(tmp_path):
    with pytest.raises(RuntimeError, match="write_manifest"), Output(tmp_path / "out") as out:
        out.commit()


@pytest.mark.parametrize("name", ["out", "a[1] %20"])
def test_a_stage_is_computed_once(spark, tmp_path, name):
    counts = tmp_path / "counts"
    counts.mkdir()

    def counted(batches):
        for batch in batches:
            (counts / f"{os.getpid()}-{time.monotonic_ns()}").write_text("")
            yield batch

    with Stages(spark, EngineOptions(output=str(tmp_path / name))) as stages:
        frame = spark.range(10, numPartitions=1).mapInArrow(counted, "id long")
        for _ in range(2):  # written again, as after a failure
            table = stages.write("scores", frame)
        assert table.count() == table.count() == 10
        assert table.schema == frame.schema
        assert len(names_in(counts)) == 2
        assert names_in(tmp_path / f".{name}.work") == ["scores", "scores.json", "state.json"]
    assert names_in(tmp_path) == ["counts"]


def test_a_work_folder_given_is_shared_and_stays(spark, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine").write_text("precious")
    options = [EngineOptions(work_dir=str(work), output=str(tmp_path / folder / "out")) for folder in ("a", "b")]
    with Stages(spark, options[0]) as first, Stages(spark, options[1]) as second:
        assert first.write("x", spark.range(3)).count() == 3
        assert second.write("x", spark.range(4)).count() == 4
        assert first.folder.parent == second.folder.parent == Place.parse(work)
    assert names_in(work) == ["mine"]


def test_without_out_stages_are_temporary(spark):
    with Stages(spark, EngineOptions()) as stages:
        assert stages.write("x", spark.range(3)).count() == 3
        folder = Path(stages.folder.path)
        assert folder.is_dir()
    assert not folder.exists()


INTERRUPTED = """
import sys
from zipspark.config import EngineOptions
from zipspark.spark.progress import Progress
from zipspark.spark.session import get_session
from zipspark.storage.output import Output
from zipspark.storage.stages import Stages

def slowly(batches):
    import time
    for batch in batches:
        time.sleep(0.2)
        yield batch

remote = sys.argv[2] == "connect"
spark = get_session(EngineOptions(**{"remote" if remote else "master": "local[2]"}))
engine = EngineOptions(output=sys.argv[1], conf={})
with Output(sys.argv[1]) as out, Stages(spark, engine) as stages:
    rows = stages.write("rows", spark.range(0, 2000, 1, 400).mapInArrow(slowly, "id long"))
"""


@pytest.mark.skipif(os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="two Connect servers want the same port")
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["classic", "connect"])
def test_ctrl_c_in_the_middle_of_a_job_leaves_nothing(tmp_path, connect_port, mode):
    environment = {key: value for key, value in os.environ.items() if "SPARK" not in key}  # of this process's session
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out"), mode], env=environment, stderr=subprocess.PIPE
    )
    overdue = threading.Timer(120, process.kill)
    overdue.start()
    try:
        while process.poll() is None and not list(tmp_path.glob(".out.work/rows/*/_temporary/0/_temporary/*")):
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    finally:
        overdue.cancel()
    assert process.returncode == -signal.SIGINT, said.decode()
    assert b"KeyboardInterrupt" in said
    assert names_in(tmp_path) == []
