"""Runs in which something breaks end in the subset of an undisturbed one, or in an error that says what broke.

OUT is whole then, or not there, and no work folder is left but for ``--resume``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CONF
from launching import QUICK_JAVA, as_flags, once, spark_home
from launching import run as run_alone
from pools import rows, texts

from zipspark import choosing
from zipspark.cli import run

pytestmark = pytest.mark.slow

OPTIONS = ["--budget", "40", "--parts", "3", "--id-column", "id", "--quiet"]


def select(pool: Path, out: Path, *more: str) -> int:
    return run(["select", str(pool), "--output", str(out), *OPTIONS, *more])


def manifest_of(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_lines(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return write_lines(tmp_path_factory.mktemp("pool") / "pool.jsonl", rows(1500))


@pytest.fixture(scope="module")
def checksum(spark, pool, tmp_path_factory) -> str:
    """Of the ranking that nothing has disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert select(pool, out) == 0
    return manifest_of(out)["checksum"]


# --- on executors --------------------------------------------------------------------------------------------------

# Python imports a module of this name when it starts, if there is one on PYTHONPATH: here that of executors alone.
ON_EXECUTORS = """
import os
import signal
from pathlib import Path

from zipspark.spark import nodes

HERE = Path(__file__).parent
rank_parts = nodes.RankParts.__call__


def disturbed(ranker, batches):
    for candidates in rank_parts(ranker, batches):
        yield candidates  # so some of what the task hands up is written when it breaks off
        if candidates.column("part")[0].as_py() == 0:
            fault = (HERE / "fault").read_text()
            before = len(list(HERE.glob(f"{fault}-try-*")))
            (HERE / f"{fault}-try-{before}").touch()
            suffer(fault, before)


def suffer(fault, before):
    if fault == "executor" and before == 0:
        executor = parent(os.getppid())  # Java, the parent of the daemon whose child this is
        assert "CoarseGrainedExecutorBackend" in Path(f"/proc/{executor}/cmdline").read_text()
        os.kill(executor, signal.SIGKILL)
    if fault == "worker" and before == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "twice" and before < 2:
        raise RuntimeError("one of the first two tries")
    if fault == "always":
        raise RuntimeError("every try")


def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


nodes.RankParts.__call__ = disturbed
"""

# One driver for all faults: most of a run's time is the start of its engine.
FAULT_AFTER_FAULT = """
import contextlib, io, json, sys
from pathlib import Path
from zipspark.cli import run

here, arguments = Path(sys.argv[1]), sys.argv[2:]
for fault in ("executor", "worker", "twice", "always"):
    (here / "fault").write_text(fault)
    (here / fault).mkdir()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = run([*arguments, "--output", str(here / fault / "out")])
    (here / f"{fault}.json").write_text(json.dumps({"code": code, "said": said.getvalue()}))
"""


@pytest.fixture(scope="module")
def cluster(pool, tmp_path_factory) -> Path:
    """A folder with the results of runs on a local cluster in which part 0 broke off, each by a fault of its own.

    ``FAULT.json`` says how it ended, ``FAULT/`` is where its OUT should be, ``FAULT-try-N`` are the tries of part 0.
    """
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "sitecustomize.py").write_text(ON_EXECUTORS)
    conf = CONF | QUICK_JAVA | {"spark.executorEnv.PYTHONPATH": str(folder)}
    arguments = ["select", str(pool), *OPTIONS, "--master", "local-cluster[2,1,1024]", *as_flags(conf)]
    command = [sys.executable, "-c", FAULT_AFTER_FAULT, str(folder), *arguments]
    done = run_alone(command, folder, SPARK_HOME=str(spark_home(folder / "spark")))
    assert done.returncode == 0, done.stderr
    return folder


@once
@pytest.mark.parametrize(("fault", "tries"), [("executor", 2), ("worker", 2), ("twice", 3)])
def test_a_part_that_breaks_off_is_ranked_again(cluster, checksum, fault, tries):
    ended = json.loads((cluster / f"{fault}.json").read_text())
    assert ended["code"] == 0, ended["said"]
    assert len(list(cluster.glob(f"{fault}-try-*"))) == tries
    assert manifest_of(cluster / fault / "out")["checksum"] == checksum
    assert names_in(cluster / fault) == ["out"]


@once
def test_a_part_that_always_breaks_off_is_an_error_and_leaves_nothing(cluster):
    ended = json.loads((cluster / "always.json").read_text())
    assert ended["code"] == 4
    assert "RuntimeError: every try" in ended["said"]
    assert "Traceback" not in ended["said"]
    assert len(list(cluster.glob("always-try-*"))) == 4
    assert names_in(cluster / "always") == []


def test_a_worker_that_dies_where_tasks_are_not_retried(pool, checksum, tmp_path, monkeypatch, capsys):
    def dying(batches):
        for batch in batches:
            os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    candidates = choosing.tree.candidates
    with monkeypatch.context() as patched:
        patched.setattr(
            choosing.tree,
            "candidates",
            lambda *arguments: (found := candidates(*arguments)).mapInArrow(dying, found.schema),
        )
        assert select(pool, tmp_path / "out") == 4
        assert "a Python worker or an executor died" in capsys.readouterr().err
        assert names_in(tmp_path) == []
        assert select(pool, tmp_path / "out", "--resume") == 4
    assert names_in(tmp_path) == [".out.work"]
    assert select(pool, tmp_path / "out", "--resume") == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest["checksum"] == checksum
    assert manifest["stages_reused"] == ["scores", "samples"]


# --- the driver ----------------------------------------------------------------------------------------------------

# Kills itself while Spark writes the table: slowed down, so that it is neither before nor behind that.
KILLED_WHILE_WRITING = """
import os, signal, sys, threading, time
from pathlib import Path
from zipspark.cli import run
from zipspark.storage.output import Output
from zipspark.storage.stages import Stages

def slowed(batches):
    for batch in batches:
        time.sleep(5)
        yield batch

def die_once_it_is_there(folder):
    while not list(Path(folder.path).rglob("_temporary")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def killing(write, folder_of):
    def writes(self, name, df, *more):
        if name == table:
            threading.Thread(target=die_once_it_is_there, args=[folder_of(self).child(name)], daemon=True).start()
            df = df.mapInArrow(slowed, df.schema)
        return write(self, name, df, *more)
    return writes

kind, table, *arguments = sys.argv[1:]
if kind == "stage":
    Stages.write = killing(Stages.write, lambda stages: stages.folder)
else:
    Output.write = killing(Output.write, lambda output: output.folder)
sys.exit(run(arguments))
"""


@once
def test_a_driver_that_is_killed_again_and_again(pool, checksum, tmp_path):
    command = ["select", str(pool), "--output", str(tmp_path / "out"), *OPTIONS, "--resume", "--master", "local[2]"]
    command += as_flags(CONF | {"spark.ui.enabled": "false"})
    stages = ("scores", "samples", "candidates", "ledger")
    for kind, table in (*(("stage", stage) for stage in stages), ("table", "subset")):
        killed = run_alone([sys.executable, "-c", KILLED_WHILE_WRITING, kind, table, *command], tmp_path)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "out").exists()
        assert (tmp_path / ".out.work" / "state.json").exists()
        assert not (tmp_path / ".out.work" / f"{table}.json").exists()
    assert select(pool, tmp_path / "out", "--resume") == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest["checksum"] == checksum
    assert manifest["stages_reused"] == ["scores", "samples", "candidates", "picks", "ledger", "input"]
    assert len(pq.read_table(tmp_path / "out" / "ledger")) == 1500


# --- disks and files -----------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A disk that holds one of the two large stages; ``mount -o remount`` makes it larger."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=140k", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted: {getattr(error, 'stderr', error)}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def test_a_disk_that_is_full_while_a_stage_is_written(pool, checksum, disk, tmp_path, capsys):
    arguments = (pool, tmp_path / "out", "--work-dir", str(disk))
    assert select(*arguments) == 4
    assert "a disk is full" in capsys.readouterr().err
    assert names_in(tmp_path) == ["disk"]
    assert names_in(disk) == []
    assert select(*arguments, "--resume") == 4
    assert names_in(tmp_path) == ["disk"]
    subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
    assert select(*arguments, "--resume") == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest["checksum"] == checksum
    assert manifest["stages_reused"] == ["scores"]
    assert names_in(disk) == []


def test_a_disk_that_is_full_while_out_is_written(pool, disk, tmp_path, capsys):
    (disk / "more").write_bytes(b"x" * 110_000)
    assert select(pool, disk / "out", "--work-dir", str(tmp_path)) == 4
    assert "a disk is full" in capsys.readouterr().err
    assert names_in(disk) == ["more"]
    assert names_in(tmp_path) == ["disk"]


class TestATruncatedParquetFile:
    @pytest.fixture
    def files(self, spark, tmp_path) -> list[Path]:
        (tmp_path / "pool").mkdir()
        files = [tmp_path / "pool" / f"{number}.parquet" for number in range(2)]
        for number, file in enumerate(files):
            pq.write_table(pa.Table.from_pylist(rows(300, seed=number)).drop_columns("id"), file)
        return files

    def cut(self, file: Path) -> None:
        os.truncate(file, file.stat().st_size // 2)

    def test_before_it_is_read(self, files, tmp_path, capsys):
        self.cut(files[1])
        assert run(["select", str(files[0].parent), "--output", str(tmp_path / "out"), "--budget", "9"]) == 3
        assert f"{files[1]} cannot be read as Parquet" in capsys.readouterr().err
        assert names_in(tmp_path) == ["pool"]

    def test_while_it_is_read(self, files, tmp_path, monkeypatch, capsys):
        scored = choosing.scored

        def cutting(*arguments):
            self.cut(files[1])
            return scored(*arguments)

        monkeypatch.setattr(choosing, "scored", cutting)
        assert run(["select", str(files[0].parent), "--output", str(tmp_path / "out"), "--budget", "9"]) == 3
        assert f"{files[1]} cannot be read: it is damaged" in capsys.readouterr().err
        assert names_in(tmp_path) == ["pool"]


# --- pools that are out of the ordinary ----------------------------------------------------------------------------


def decisions_of(out: Path) -> Counter:
    return Counter(pq.read_table(out / "ledger")["decision"].to_pylist())


@once
@pytest.mark.parametrize(("objective", "parts"), [("both", "1"), ("ratio", "1"), ("coverage", "3")])
def test_a_pool_of_one_sample(spark, tmp_path, objective, parts):
    pool = write_lines(tmp_path / "pool.jsonl", rows(1))
    more = ["--objective", objective, "--parts", parts, "--budget", "100%"]
    assert select(pool, tmp_path / "out", *more) == 0
    assert pq.read_table(tmp_path / "out" / "subset")["id"].to_pylist() == ["row-00000"]
    assert decisions_of(tmp_path / "out") == {"selected": 1}


@once
@pytest.mark.parametrize("objective", ["both", "ratio", "coverage"])
def test_a_pool_of_identical_samples(spark, tmp_path, objective):
    text = texts(2)[1]
    pool = write_lines(tmp_path / "pool.jsonl", [{"id": f"{number:03}", "text": text} for number in range(500)])
    assert select(pool, tmp_path / "out", "--objective", objective) == 0
    assert pq.read_table(tmp_path / "out" / "subset")["id"].to_pylist() == ["000"]
    assert decisions_of(tmp_path / "out") == {"selected": 1, "duplicate": 499}
    assert select(pool, tmp_path / "all", "--objective", objective, "--dedup", "off") == 0
    assert decisions_of(tmp_path / "all") == {"selected": 40, "not_selected": 460}


@once
def test_ten_thousand_groups(spark, tmp_path):
    pool = tmp_path / "pool.jsonl"
    write_lines(pool, [{"id": f"{n}", "group": f"g{n % 10_000}", "text": text} for n, text in enumerate(texts(20_000))])
    more = ["--group-column", "group", "--mix", "equal", "--budget", "10000", "--dedup", "off", "--parts", "4"]
    assert select(pool, tmp_path / "out", *more) == 0
    groups = Counter(pq.read_table(tmp_path / "out" / "subset")["group"].to_pylist())
    assert len(groups) == 10_000
    assert set(groups.values()) == {1}


@once
def test_ids_that_repeat(spark, tmp_path, capsys):
    pool = write_lines(tmp_path / "pool.jsonl", [*rows(50), *rows(3, seed=1)])
    assert select(pool, tmp_path / "out") == 3
    assert "id_column 'id' must not repeat, got row-00000 (2x), row-00001 (2x)" in capsys.readouterr().err
    assert names_in(tmp_path) == ["pool.jsonl"]


@once
def test_a_sample_of_200_mb(tmp_path):
    """Java holds it several times over: with a gigabyte of heap 100 MB are the most that were seen to go through."""
    pool = write_lines(tmp_path / "pool.jsonl", rows(100))
    with pool.open("a") as file:
        file.write('{"id": "long", "text": "')
        for number in range(200_000):
            file.write(f"{number:>8} All of this stands in one sample, and it is a long one. ".ljust(1000, "."))
        file.write('"}\n')
    command = ["select", str(pool), "--output", str(tmp_path / "out"), *OPTIONS, "--master", "local[2]"]
    done = run_alone([sys.executable, "-m", "zipspark", *command, "--conf", "spark.driver.memory=4g"], tmp_path)
    assert done.returncode == 0, done.stderr
    ledger = pq.read_table(tmp_path / "out" / "ledger").to_pylist()
    assert len(ledger) == 101
    (long,) = (row for row in ledger if row["zip_id"] == "long")
    assert (long["decision"], long["reason"], long["bytes"]) == ("guarded", "entropy:low", 200_000_000)
    assert names_in(tmp_path) == ["out", "pool.jsonl"]
