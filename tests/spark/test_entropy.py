"""The entropy law on Spark: tables are measured as texts in memory are, and logs in Delta lose no row."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pools import rows, texts
from pyspark.sql import functions as F

import zipspark
from zipspark.cli import run
from zipspark.config import MeasureConfig
from zipspark.entropy.consistency import held_out_bits
from zipspark.entropy.measure import measure
from zipspark.entropy.streams import hashed, in_order, spread_over_orders
from zipspark.entropy.versions import Version, read_log
from zipspark.entropy_jobs import measure_to
from zipspark.errors import InputError, UsageError
from zipspark.options import layered
from zipspark.spark import entropy
from zipspark.storage import version_logs
from zipspark.storage.deltas import Table
from zipspark.storage.refreshes import HISTORY
from zipspark.storage.table_schemas import COLUMNS

POOL = rows(900)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> str:
    """Several files, in no order; every tenth row is out by ``where``."""
    folder = tmp_path_factory.mktemp("pool")
    for number in range(3):
        lines = [json.dumps(row | {"n": at}) for at, row in enumerate(POOL) if at % 3 == number]
        random.Random(number).shuffle(lines)
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.fixture(autouse=True)
def _session(spark):
    """The commands find this session running."""


def in_memory(kept=lambda at: True):
    few = [row for at, row in enumerate(POOL) if kept(at)]
    return hashed([row["text"] for row in few], [row["source"] for row in few])


# --- measure ----------------------------------------------------------------------------------------------------------


def test_a_dataframe_is_measured_as_its_texts_in_memory_are(spark):
    frame = spark.createDataFrame([(row["text"], row["source"]) for row in POOL], "text string, source string")
    found = zipspark.measure(frame, group_column="source", codec="zlib", quiet=True)
    assert found.measured.to_dict() == measure(in_memory(), ("zlib",)).to_dict()
    with pytest.raises(UsageError, match="codec"):
        zipspark.measure(frame, codec="gzip")


def test_a_table_is_measured_as_its_texts_in_memory_are(pool, capsys):
    command = ["entropy", "measure", pool, "--group-column", "source", "--where", "n % 10 > 0", "--seed-orders", "2"]
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    samples = in_memory(lambda at: at % 10)
    expected = json.loads(json.dumps(measure(samples).to_dict()))
    assert {name: found[name] for name in expected} == expected
    assert found["copies"] > 0
    assert set(found["groups"]) == {"web", "books", "(none)"}
    assert (found["bad"], found["left_out"]) == (0, 90)
    orders = spread_over_orders(lambda seed: in_order(samples, seed), seeds=2)
    assert found["orders"] == {codec: spread.to_dict() for codec, spread in orders.items()}


def test_one_codec_for_people(pool, capsys):
    assert run(["entropy", "measure", pool, "--codec", "zlib"]) == 0
    said = capsys.readouterr().out
    assert "(whole set)" in said
    assert "zlib looks back 32 KiB" in said
    assert "zstd" not in said


def test_rows_that_cannot_be_rendered_are_as_they_are_to_select(tmp_path, capsys):
    path = tmp_path / "pool.jsonl"
    lines = [json.dumps({"text": text}) for text in texts(60)]
    path.write_text("\n".join([*lines, '{"text": 5}']) + "\n")
    assert run(["entropy", "measure", str(path)]) == 3
    assert "1 of 61 rows cannot be read or rendered (1.6%), more than max_bad_fraction" in capsys.readouterr().err
    found = measure_to(layered(MeasureConfig, {"input": str(path), "max_bad_fraction": 0.05, "quiet": True}))
    assert (found.bad, found.measured.whole.rows) == (1, 60)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pool.jsonl"]


# --- log --------------------------------------------------------------------------------------------------------------


def test_a_version_is_logged_from_its_data(pool, tmp_path, capsys):
    held = [f"Please translate the sentence about the {word} into French." for word in ("kite", "lamp", "moon")]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in held))
    log = tmp_path / "versions.csv"
    command = ["entropy", "log", "--log", str(log), "--version", "v1", "--data", pool, "--group-column", "source"]
    assert run([*command, "--held-out", str(tmp_path / "held.jsonl"), "--score", "6", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    [row] = read_log(log)
    samples = in_memory()
    expected = measure(samples, "zlib")
    assert (row.ratio, row.mean_ratio, row.codec) == (expected.of().ratio, expected.of().mean_ratio, "zlib")
    assert (row.rows, row.bytes, row.data, row.score) == (900, expected.whole.bytes, pool, 6)
    assert row.groups == expected.group_ratios()
    assert row.held_out_bits == held_out_bits(samples, hashed(held)).bits == said["held_out"]["held_out_bits"]


def test_of_a_large_set_only_what_contexts_are_drawn_from_is_fetched(spark, monkeypatch):
    train, held = in_memory(), hashed(texts(40, seed=1))
    frames = [
        spark.createDataFrame(
            [(*row, len(row.text)) for row in rows], "content string, group string, text binary, bytes bigint"
        )
        for rows in (train, held)
    ]
    fetched, fetch = [], entropy._fetched
    monkeypatch.setattr(entropy, "_fetched", lambda frame: fetched.append(fetch(frame)) or fetched[-1])
    found = entropy.held_out_of(*frames, context_bytes=3000, contexts=4)
    each_once = {sample.content: sample for sample in train}.values()
    assert found == held_out_bits(each_once, held, context_bytes=3000, contexts=4)
    assert len(found.by_context) == 4
    assert found.leaked > 0
    assert len(fetched[0]) < len(train) / 2
    with pytest.raises(InputError, match=r"held_out must have at most 16.8 MB of text, got 17.9 MB"):
        entropy.held_out_of(frames[0], frames[1].withColumn("bytes", F.lit(17_900_000 // 40)))


def test_a_log_that_cannot_be_written_is_told_before_the_work(pool, tmp_path, capsys):
    (tmp_path / "v.csv").write_text("a,b\n1,2\n")
    assert run(["entropy", "log", "--log", str(tmp_path / "v.csv"), "--version", "v1", "--data", pool]) == 3
    said = capsys.readouterr().err
    assert "no column version" in said
    assert "texts" not in said  # the first stage


@pytest.mark.delta
def test_a_log_in_a_folder(spark, tmp_path, capsys):
    log = str(tmp_path / "versions")
    command = ["entropy", "log", "--log", log, "--version", "v1", "--quiet"]
    assert run(["entropy", "check", "--log", log]) == 3
    assert "is not there, or no Delta table" in capsys.readouterr().err
    assert run([*command, "--ratio", "3.9", "--codec", "zlib"]) == 0
    assert run([*command, "--ratio", "4.1", "--codec", "zlib"]) == 3
    assert "is in the log already with another ratio 3.9 (now 4.1)" in capsys.readouterr().err
    assert run(["entropy", "check", "--log", log, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["ratio"], found["judged"]) == ("v1", 3.9, False)
    rows = Table.parse(log).read(spark)
    assert {field.name: field.metadata.get("comment") for field in rows.schema} == COLUMNS["versions"]


@pytest.mark.delta
def test_a_log_in_the_catalog_is_filled_in(spark, tmp_path):
    schema = f"logs_{tmp_path.name}"
    spark.sql(f"CREATE SCHEMA {schema} LOCATION '{tmp_path}/schema'")
    try:
        table = Table.parse(f"{schema}.versions")
        ahead = {"at": datetime.now(UTC) + timedelta(days=1)}  # the clock of another machine
        for more in ({"ratio": 3.9, "codec": "zstd", "groups": {"web": 3.5}}, {"loss": 1.7, **ahead}):
            version_logs.add_version(spark, table, Version("v1", **more))
        for _ in range(2):
            row = version_logs.add_version(spark, table, Version("v1", loss=1.8), replace_values=True)
        assert (row.ratio, row.codec, row.loss, row.groups) == (3.9, "zstd", 1.8, {"web": 3.5})
        assert version_logs.read_versions(spark, table) == [row]
        assert table.read(spark).count() == 3  # the fourth said nothing new
    finally:
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.delta
def test_two_writers_at_once_lose_no_row(spark, tmp_path):
    """They begin the log at once as well."""
    table = Table.parse(str(tmp_path / "versions"))

    def write(name: str) -> None:
        version_logs.add_version(spark, table, Version(name, ratio=3.9))

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(write, name) for name in ("a", "b")]:
            done.result()
    assert sorted(table.read(spark).toArrow()["version"].to_pylist()) == ["a", "b"]


@pytest.mark.delta
def test_a_writer_that_looked_before_another_wrote_looks_again(spark, tmp_path, monkeypatch):
    table = Table.parse(str(tmp_path / "versions"))
    version_logs.add_version(spark, table, Version("v1", ratio=3.9))
    read, looks = version_logs._read, []

    def slow(*arguments):
        """Between a look and the write the other writer says the same name."""
        found = read(*arguments)
        looks.append(len(found))
        if len(looks) == 1:
            version_logs.add_version(spark, table, Version("v2", ratio=4.1))
        return found

    monkeypatch.setattr(version_logs, "_read", slow)
    with pytest.raises(InputError, match=r"v2 is in the log already with another ratio 4.1 \(now 4.2\)"):
        version_logs.add_version(spark, table, Version("v2", ratio=4.2))
    assert [row.ratio for row in version_logs.read_versions(spark, table)] == [3.9, 4.1]


@pytest.mark.delta
def test_a_folder_of_something_else_becomes_no_log(spark, pool, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="folder with something else in it"):
        version_logs.add_version(spark, Table.parse(str(tmp_path)), Version("v1", ratio=3.9))
    with pytest.raises(InputError, match=r"is a file: a log in a file ends in \.csv or \.parquet"):
        version_logs.add_version(spark, Table.parse(str(tmp_path / "file")), Version("v1", ratio=3.9))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert run(["entropy", "log", "--log", str(tmp_path), "--version", "v1", "--data", pool]) == 3
    said = capsys.readouterr().err
    assert "folder with something else in it" in said
    assert "texts" not in said


# --- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.delta
def test_a_refresh_history_is_checked(spark, tmp_path, capsys):
    path, began = str(tmp_path / "chosen_history"), datetime(2026, 3, 1, 6, tzinfo=UTC)
    ratios = [2.91, 2.95, 2.88, 2.93, 3.40]
    known = [
        {"refresh": number, "at": began + timedelta(days=number), "ratio_after": ratio, "rows": 100, "bytes": 10**5}
        for number, ratio in enumerate(ratios)
    ]
    history = spark.createDataFrame([{"corpus": "main.chats", **row} for row in known], HISTORY)
    history.write.format("delta").save(path)
    assert run(["entropy", "check", "--history", path, "--json"]) == 10
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["level"], found["past"]) == (
        "refresh-4",
        "watch",
        [f"refresh-{number}" for number in range(4)],
    )
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (3.4, 2.88, 2.95)
    assert run(["entropy", "check", "--history", path, "--version", "refresh-3", "--quiet"]) == 0
    log = tmp_path / "losses.csv"  # a log of the same names has the losses
    lines = [f"refresh-{number},{loss}" for number, loss in enumerate([1.80, 1.83, 1.78, 1.81, 3.5])]
    log.write_text("version,loss\n" + "\n".join(lines) + "\n")
    assert run(["entropy", "check", "--history", path, "--log", str(log), "--quiet"]) == 20
    assert run(["entropy", "check", "--history", str(tmp_path / "none")]) == 3
    assert "history" in capsys.readouterr().err
