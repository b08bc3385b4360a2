"""The same ids on every engine, each started as users start it: local, Connect, clusters by spark-submit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import INTERPRETED
from launching import (
    QUICK_JAVA,
    ROOT,
    as_flags,
    once,
    python_without_zipspark,
    run,
    spark_home,
    standalone,
    zipspark,
    zipspark_zip,
)
from pools import rows, texts

from zipspark import cli, refresh_subset
from zipspark.spark.delta import DELTA_SETTINGS, delta_coordinates
from zipspark.storage.deltas import FEED

pytestmark = [pytest.mark.slow, once]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("engines")

    def write(name: str, records: list[dict]) -> None:
        (path / name).write_text("".join(json.dumps(record) + "\n" for record in records))

    pool = rows(400)
    write("pool.jsonl", pool)
    write("keep.jsonl", [{"id": row["id"]} for row in pool[7:400:100]])
    write("anchor.jsonl", [{"text": text} for text in [*texts(30, seed=1), pool[20]["text"]]])
    return path


# As much as fits one run of all that executors do: sketches, a guard, quotas, tables beside the pool, three levels.
CHOICE = ["pool.jsonl", "--budget", "60", "--objective", "coverage", "--id-column", "id"]
CHOICE += ["--group-column", "source", "--mix", "power=0.5", "--keep", "keep.jsonl", "--anchor", "anchor.jsonl"]
CHOICE += ["--parts", "8", "--node-cap", "20kB", "--driver-cap", "20kB"]
# Of 200 partitions, which a cluster makes of it, most would be empty.
FEW = as_flags({"spark.sql.shuffle.partitions": "5"} | QUICK_JAVA | INTERPRETED)


REFRESH = ["--id-column", "id", "--budget", "15", "--objective", "coverage", "--parts", "2"]


@dataclass(frozen=True)
class Lake:
    """A corpus with one version more than its subset has seen, and what the next refresh is to make of it."""

    folder: Path
    ids: list[str]

    def refresh(self, out: Path) -> list[str]:
        """A copy of the subset in ``out``, and the job that refreshes it."""
        shutil.copytree(self.folder, out)
        return [REFRESH_JOB, "--corpus", str(self.folder / "corpus"), "--subset", str(out / "chosen"), *REFRESH]

    def check(self, spark, out: Path) -> None:
        assert chosen_ids(spark, out) == self.ids
        assert len(self.ids) == 30


def chosen_ids(spark, folder: Path) -> list[str]:
    subset = spark.read.format("delta").load(str(folder / "chosen"))
    return subset.select("zip_id", "zip_rank").toArrow().sort_by("zip_rank")["zip_id"].to_pylist()


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    then, now, corpus = folder / "then", folder / "now", str(folder / "then" / "corpus")

    def add(records: list[dict]) -> None:
        frame = spark.createDataFrame(records).coalesce(1)
        frame.write.format("delta").mode("append").option(FEED, "true").save(corpus)

    def refresh(out: Path) -> None:
        options = {"id_column": "id", "budget": 15, "objective": "coverage", "parts": 2, "quiet": True}
        refresh_subset(spark, corpus=corpus, subset=str(out / "chosen"), **options)

    add(rows(150))
    refresh(then)
    shutil.copytree(then, now)
    add(rows(200)[150:])
    refresh(now)
    return Lake(then, chosen_ids(spark, now))


def with_delta() -> list[str]:
    settings = [f"--conf={key}={value}" for key, value in DELTA_SETTINGS.items()]
    return ["--packages", delta_coordinates(), *settings]


SELECT, REFRESH_JOB = str(ROOT / "jobs/select_subset.py"), str(ROOT / "jobs/refresh_corpus.py")
# Both jobs, one after the other: most of a run's time is the start of its engine.
BOTH = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def classic(folder) -> dict:
    done = zipspark("select", *CHOICE, "--output", "classic", "--master", "local[2]", cwd=folder)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "classic/manifest.json").read_text())
    assert "nodes → driver" in manifest["tree"]
    return manifest


def same_ids(folder: Path, out: str, classic: dict) -> None:
    assert json.loads((folder / out / "manifest.json").read_text())["checksum"] == classic["checksum"]
    ids = [
        pq.read_table(folder / name / "subset").sort_by("zip_rank")["zip_id"].to_pylist() for name in ("classic", out)
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 60


def test_one_core(folder, classic):
    done = zipspark("select", *CHOICE, "--output", "one", "--master", "local[1]", cwd=folder)
    assert done.returncode == 0, done.stderr
    same_ids(folder, "one", classic)


def test_connect(folder, classic, connect_port):
    done = zipspark("select", *CHOICE, "--output", "connect", "--remote", "local[2]", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checksum"] == classic["checksum"]
    same_ids(folder, "connect", classic)


@pytest.mark.delta
def test_spark_submit_on_a_local_cluster_with_the_yaml_files(spark, folder, classic, lake, tmp_path):
    home = spark_home(tmp_path / "spark")
    (tmp_path / "both.py").write_text(BOTH)
    select = [SELECT, "--config", str(ROOT / "conf/select.yml"), *CHOICE, "--output", "cluster"]
    refresh = [*lake.refresh(tmp_path / "lake"), "--config", str(ROOT / "conf/refresh.yml")]
    done = run(
        [
            str(home / "bin/spark-submit"),
            *("--master", "local-cluster[2,1,1024]", *FEW, *with_delta()),
            *(str(tmp_path / "both.py"), json.dumps([select, [*refresh, "--work-dir", str(tmp_path / "work")]])),
        ],
        folder,
        SPARK_HOME=str(home),
        PYSPARK_PYTHON=sys.executable,
    )
    assert done.returncode == 0, done.stderr
    same_ids(folder, "cluster", classic)
    lake.check(spark, tmp_path / "lake")


@pytest.mark.delta
def test_spark_submit_sends_zipspark_to_a_standalone_cluster_that_has_none(spark, folder, classic, lake, tmp_path):
    home = spark_home(tmp_path / "spark")
    python = python_without_zipspark(tmp_path / "python")
    missing = run([python, "-c", "import pyspark, zipspark"], tmp_path)
    assert missing.stderr.endswith("ModuleNotFoundError: No module named 'zipspark'\n")
    (tmp_path / "both.py").write_text(BOTH)
    work = ["--work-dir", str(tmp_path / "work")]
    commands = [[SELECT, *CHOICE, "--output", "standalone", *work], [*lake.refresh(tmp_path / "lake"), *work]]
    with standalone(home, workers=2) as master:
        done = run(
            [
                str(home / "bin/spark-submit"),
                *("--master", master, "--py-files", str(zipspark_zip(tmp_path)), *with_delta()),
                *("--conf", "spark.driver.host=127.0.0.1", *FEW),
                # The first task waits until both workers have started theirs, so that none is left without work.
                *("--conf", "spark.cores.max=2", "--conf", "spark.scheduler.minRegisteredResourcesRatio=1"),
                *(str(tmp_path / "both.py"), json.dumps(commands)),
            ],
            folder,
            SPARK_HOME=str(home),
            PYSPARK_PYTHON=python,
            PYSPARK_DRIVER_PYTHON=sys.executable,
        )
    assert done.returncode == 0, done.stderr
    same_ids(folder, "standalone", classic)
    lake.check(spark, tmp_path / "lake")
    assert not list((tmp_path / "work").iterdir())
    logs = sorted(home.glob("work/app-*/*/stderr"))
    assert len(logs) == 2
    for log in logs:
        assert log.read_text().count("Finished task ") > 10


def test_the_demo_writes_a_subset_and_shows_it_beside_random(spark, tmp_path, monkeypatch, capsys):
    done = zipspark("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out/demo/subset").num_rows > 300
    for word in ("pool", "subset", "random", "out/demo/subset"):
        assert word in done.stdout
    monkeypatch.chdir(tmp_path)
    assert cli.run(["demo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"]["selected"] > 300


def test_interrupted_it_ends_with_130_and_leaves_nothing(folder):
    arguments = [sys.executable, "-m", "zipspark", "select", *CHOICE, "--output", "stopped", "--master", "local[2]"]
    with subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "score" in line:
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not [path.name for path in folder.iterdir() if "stopped" in path.name]


def test_no_java_ends_with_4_and_the_way_out(folder, tmp_path):
    done = run(
        [sys.executable, "-m", "zipspark", "select", *CHOICE, "--output", "none", "--master", "local[2]"],
        folder,
        PATH=str(tmp_path),
        JAVA_HOME=str(tmp_path / "nothing"),
    )
    assert done.returncode == 4
    assert "Java" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "none").exists()
