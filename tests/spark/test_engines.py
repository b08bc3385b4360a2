"""The same ids on every engine: classic local, Connect, spark-submit on a local cluster; started as users do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pools import rows

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="starts engines of its own: once is enough"
    ),
]


def run(arguments: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK", "PYSPARK"))}
    return subprocess.run(
        arguments, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=300, check=False
    )


def zipspark(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "zipspark", *arguments], cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("engines")
    (path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(400)))
    return path


CHOICE = ["pool.jsonl", "--budget", "40", "--group-column", "source", "--parts", "3"]


@pytest.fixture(scope="module")
def classic(folder) -> dict:
    done = zipspark("select", *CHOICE, "--output", "classic", "--master", "local[2]", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "classic/manifest.json").read_text())


def same_ids(folder: Path, out: str, classic: dict) -> None:
    assert json.loads((folder / out / "manifest.json").read_text())["checksum"] == classic["checksum"]
    ids = [
        pq.read_table(folder / name / "subset").sort_by("zip_rank")["zip_id"].to_pylist() for name in ("classic", out)
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 40


def test_one_core(folder, classic):
    done = zipspark("select", *CHOICE, "--output", "one", "--master", "local[1]", cwd=folder)
    assert done.returncode == 0, done.stderr
    same_ids(folder, "one", classic)


def test_connect(folder, classic):
    done = zipspark("select", *CHOICE, "--output", "connect", "--remote", "local[2]", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checksum"] == classic["checksum"]
    same_ids(folder, "connect", classic)


def test_spark_submit_on_a_local_cluster_with_the_yaml_file(folder, classic, tmp_path):
    import pyspark

    home = tmp_path / "spark"  # local-cluster starts workers from SPARK_HOME and writes their logs there
    home.mkdir()
    for name in ("jars", "bin", "sbin", "python"):
        source = Path(pyspark.__file__).parent / name
        (home / name).symlink_to(source)
    done = run(
        [
            str(home / "bin/spark-submit"),
            *("--master", "local-cluster[2,1,1024]"),
            str(ROOT / "jobs/select_subset.py"),
            *("--config", str(ROOT / "conf/select.yml"), *CHOICE, "--output", "cluster"),
        ],
        folder,
        SPARK_HOME=str(home),
        PYSPARK_PYTHON=sys.executable,
    )
    assert done.returncode == 0, done.stderr
    same_ids(folder, "cluster", classic)


def test_the_demo_writes_a_subset_and_shows_it_beside_random(tmp_path):
    done = zipspark("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out/demo/subset").num_rows > 300
    for word in ("pool", "subset", "random", "out/demo/subset"):
        assert word in done.stdout
    again = zipspark("demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_interrupted_it_ends_with_130_and_leaves_nothing(folder):
    import signal
    import time

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
