"""What others read of a result: Hugging Face's datasets, from Parquet and from JSON lines."""

from __future__ import annotations

import json

import datasets
import pytest
from pools import rows

from zipspark.cli import run


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
