"""What others read of a result, Hugging Face's datasets, and what keeps it, MLflow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import mlflow
import pytest
from launching import once
from pools import rows

from zipspark import InputError, UsageError, log_to_mlflow, select
from zipspark.cli import run


@once
@pytest.mark.parametrize(("format", "loader"), [("parquet", "parquet"), ("jsonl", "json")])
def test_datasets_reads_a_subset(spark, tmp_path, monkeypatch, format, loader):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows(200)))
    out = tmp_path / "chosen"
    command = ["select", str(pool), "--output", str(out), "--budget", "30", "--format", format, "--quiet"]
    assert run([*command, "--id-column", "id"]) == 0
    found = datasets.load_dataset(
        loader,
        data_files=str(out / "subset" / f"*.{'json' if loader == 'json' else 'parquet'}"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    ranked = found.sort("zip_rank")
    assert ranked["zip_rank"][:] == list(range(30))
    assert {"id", "source", "text", "zip_id", "zip_ratio", "zip_marginal_ratio"} <= {*found.column_names}
    of_id = {row["id"]: row["text"] for row in rows(200)}
    assert all(of_id[row["id"]] == row["text"] for row in ranked)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A file store of MLflow's own, which newer versions want to be told that they may use."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/runs")
    yield tmp_path / "runs"
    mlflow.set_tracking_uri(None)


def test_mlflow_keeps_what_was_asked_for_and_what_came_of_it(spark, tmp_path, store):
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows(200)))
    out = tmp_path / "chosen"
    assert (
        run(["select", str(pool), "--output", str(out), "--budget", "30", "--quiet", "--group-column", "source"]) == 0
    )
    manifest = json.loads((out / "manifest.json").read_text())
    kept = mlflow.get_run(log_to_mlflow(out, run_name="from a folder"))
    assert kept.info.run_name == "from a folder"
    assert (kept.data.params["zipspark.budget"], kept.data.params["zipspark.group_column"]) == ("30", "source")
    sets = {line["name"]: line for line in manifest["summary"]["sets"]}
    assert kept.data.metrics["zipspark.subset.ratio"] == sets["subset"]["ratio"]
    assert kept.data.metrics["zipspark.rows.selected"] == 30
    assert kept.data.metrics["zipspark.seconds.score"] == manifest["seconds"]["score"]
    assert kept.data.tags["zipspark.checksum"] == manifest["checksum"]
    artifacts = Path(mlflow.artifacts.download_artifacts(run_id=kept.info.run_id, dst_path=str(tmp_path)))
    assert (artifacts / "report.html").read_text() == (out / "report.html").read_text()
    assert json.loads((artifacts / "manifest.json").read_text()) == manifest

    selection = select(str(pool), budget=30, group_column="source", quiet=True)
    with mlflow.start_run() as active:
        assert log_to_mlflow(selection) == active.info.run_id
        with pytest.raises(UsageError, match="run_name is for a new run"):
            log_to_mlflow(selection, run_name="another")
        with pytest.raises(UsageError, match="cannot take this selection"):
            log_to_mlflow(select(str(pool), budget=20, quiet=True))
    again = mlflow.get_run(active.info.run_id).data
    assert again.tags["zipspark.checksum"] == manifest["checksum"]
    assert again.params == kept.data.params
    with pytest.raises(InputError, match="no finished result"):
        log_to_mlflow(tmp_path / "nothing")


def test_without_mlflow_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"Run: pip install 'zipspark\[mlflow\]'"):
        log_to_mlflow("chosen")
