"""`zipspark.select` on Spark: the choice, the tables, and that neither order nor layout of the input changes it."""

from __future__ import annotations

import hashlib
from collections import Counter
from types import SimpleNamespace

import pyspark.sql.functions as F
import pytest
from launching import once
from pools import rows, texts

import zipspark
from zipspark import core, running
from zipspark.config import SelectConfig
from zipspark.errors import InputError, UsageError
from zipspark.options import layered
from zipspark.spark import tree

SCHEMA = "id string, source string, text string"


@pytest.fixture(scope="module")
def pool(spark):
    return spark.createDataFrame(rows(600), SCHEMA)


@pytest.fixture(scope="module")
def chosen(pool):
    return zipspark.select(pool, budget=60, group_column="source", parts=4)


def ids(selection) -> list[str]:
    return [row.zip_id for row in selection.subset.select("zip_id").collect()]


def test_subset_has_the_budget_the_inputs_columns_and_ranks_in_order(chosen):
    assert chosen.subset.columns == ["id", "source", "text", "zip_id", "zip_rank", "zip_ratio", "zip_marginal_ratio"]
    picked = chosen.subset.collect()
    assert [row.zip_rank for row in picked] == list(range(60))
    assert all(row.zip_marginal_ratio >= row.zip_ratio * 0.5 > 0 for row in picked)
    for row in picked:
        assert row.zip_id == hashlib.md5(row.text.encode()).hexdigest() + "-0"


def test_ledger_has_every_row_once_with_its_decision(chosen):
    ledger = chosen.ledger.collect()
    assert chosen.ledger.columns == [
        *(
            "zip_id",
            "group",
            "bytes",
            "ratio",
            "part",
            "decision",
            "reason",
            "rank",
            "marginal_ratio",
            "file",
            "position",
        )
    ]
    offered = rows(600)
    assert sorted(row.position for row in ledger) == list(range(600))
    distinct = {row["text"] for row in offered}
    decisions = Counter(row.decision for row in ledger)
    assert decisions == {"selected": 60, "duplicate": 600 - len(distinct), "not_selected": len(distinct) - 60}
    by_id = {row.zip_id: row for row in ledger}
    assert len(by_id) == 600
    for row in ledger:
        if row.decision == "duplicate":
            kept = by_id[row.reason]
            assert kept.decision != "duplicate"
            assert kept.zip_id.partition("-")[0] == row.zip_id.partition("-")[0]
            assert kept.part == row.part
        if row.decision == "not_selected":
            assert row.reason in ("part", "merge")
    assert {row.zip_id for row in ledger if row.decision == "selected"} == set(ids(chosen))
    assert Counter(row.group for row in ledger) == Counter(row["source"] for row in offered)


def test_metrics_lose_no_row_from_step_to_step(chosen):
    steps = [row for row in chosen.metrics.collect() if row.group is not None]
    total = Counter()
    for row in steps:
        total[row.stage, "in"] += row.rows_in
        total[row.stage, "out"] += row.rows_out
    assert total["read", "in"] == 600
    assert total["read", "out"] == total["deduplicate", "in"]
    assert total["deduplicate", "out"] == total["parts", "in"]
    assert total["parts", "out"] == total["merge", "in"]
    assert total["merge", "out"] == 60
    assert {row.stage for row in chosen.metrics.collect() if row.seconds is not None} >= {"score", "parts", "merge"}


def test_summary_shows_a_subset_below_random(chosen):
    pool_line, subset, random = chosen.summary.sets
    assert (pool_line.name, subset.name, random.name) == ("pool", "subset", "random")
    assert subset.samples == 60
    assert subset.ratio < random.ratio
    assert abs(random.bytes - subset.bytes) < 400
    assert "<table>" in chosen._repr_html_()


@once
def test_order_and_partitions_of_the_input_change_nothing(spark, pool, chosen):
    shuffled = spark.createDataFrame(rows(600)[::-1], SCHEMA).repartition(7, "source")
    again = zipspark.select(shuffled, budget=60, group_column="source", parts=4)
    assert again.summary.checksum == chosen.summary.checksum


def test_one_part_is_core_select(pool):
    selection = zipspark.select(pool, budget="10%", parts=1)
    distinct = sorted(set(texts(600)))
    ranking = core.select(distinct, budget="10%")
    assert [row.text for row in selection.subset.collect()] == [distinct[index] for index in ranking]


@once
def test_many_parts_stay_close_to_one(pool):
    one = zipspark.select(pool, budget=60, parts=1).summary.sets[1]
    many = zipspark.select(pool, budget=60, parts=12).summary.sets[1]
    assert many.ratio < one.ratio * 1.1


@once
@pytest.mark.parametrize("parts", [1, 5])
def test_byte_budget_is_met_to_less_than_the_smallest_sample_left_out(spark, parts):
    # Two tiny samples that no part would hand up: they add least per byte, but fit what is left.
    pool = spark.createDataFrame(
        [*rows(300), *({"id": f"t{n}", "source": "x", "text": "a" * (3 + n)} for n in (0, 1))], SCHEMA
    )
    for budget in (1000, 3001):
        selection = zipspark.select(pool, budget=f"{budget}B", parts=parts)
        ledger = selection.ledger.collect()
        spent = sum(row.bytes for row in ledger if row.decision == "selected")
        assert spent <= budget
        assert budget - spent < min(row.bytes for row in ledger if row.decision == "not_selected")


@once
def test_row_budget_is_met_where_a_part_comes_out_smaller_than_its_quota(spark):
    # All copies of a text hash to one slice, so that three of four parts stay empty.
    pool = spark.createDataFrame([("x", "y", "one text for all of them")] * 200, SCHEMA)
    selection = zipspark.select(pool, budget=120, parts=4, dedup="off")
    assert selection.subset.count() == 120
    assert len(set(ids(selection))) == 120


@once
def test_copies_do_not_hide_a_small_sample_that_fits(spark):
    data = [*texts(100), *["ok then"] * 1500, "four"]
    pool = spark.createDataFrame([(str(n), "x", text) for n, text in enumerate(data)], SCHEMA)
    ledger = zipspark.select(pool, budget="1500B", parts=5).ledger.collect()
    spent = sum(row.bytes for row in ledger if row.decision == "selected")
    assert 0 <= 1500 - spent < min(row.bytes for row in ledger if row.decision == "not_selected")


@once
def test_copies_and_bad_rows_change_no_choice(spark, pool, chosen):
    more = [("copy", "web", text) for text in texts(600)[:300]] * 2 + [("bad", "web", None)] * 5
    again = zipspark.select(pool.union(spark.createDataFrame(more, SCHEMA)), budget=60, group_column="source", parts=4)
    assert again.summary.checksum == chosen.summary.checksum


@once
def test_budget_above_the_pool_takes_everything_and_says_so(pool):
    selection = zipspark.select(pool, budget=10_000, parts=3)
    assert selection.subset.count() == len(set(texts(600)))
    assert any("whole pool" in note for note in selection.summary.notes)


def test_own_ids_name_rows_and_the_lowest_of_equal_contents_is_kept(spark):
    pool = spark.createDataFrame(
        [("b", "x", "the same text"), ("a", "y", "the same text"), ("c", "x", "another text altogether")], SCHEMA
    )
    ledger = zipspark.select(pool, budget=2, id_column="id").ledger.collect()
    assert {row.zip_id: (row.decision, row.reason) for row in ledger} == {
        "a": ("selected", None),
        "b": ("duplicate", "a"),
        "c": ("selected", None),
    }


def test_bad_rows_are_quarantined_and_named(spark):
    pool = spark.createDataFrame(
        [*((str(n), "x", text) for n, text in enumerate(texts(50))), ("n", "x", None), ("e", "x", " ")], SCHEMA
    )
    selection = zipspark.select(pool, budget=5, max_bad_fraction=0.1)
    assert sorted(row.reason for row in selection.quarantine.collect()) == ["empty", "null:text"]
    assert Counter(row.decision for row in selection.ledger.collect())["quarantined"] == 2
    with pytest.raises(InputError, match=r"2 of 52 rows cannot be read or rendered .*max_bad_fraction(?s:.*)null:text"):
        zipspark.select(pool, budget=5)


def test_columns_that_zipspark_writes_are_replaced_with_a_warning(spark):
    pool = spark.createDataFrame([("x", text) for text in texts(20)], "zip_rank string, text string")
    selection = zipspark.select(pool, budget=3)
    assert selection.subset.columns == ["text", "zip_id", "zip_rank", "zip_ratio", "zip_marginal_ratio"]
    assert any("zip_rank" in note for note in selection.summary.notes)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([("a", None, "one"), (None, None, "two")], {"id_column": "id"}, "id_column 'id' must have no nulls, got 1"),
        (
            [("a", None, "one"), ("a", None, "two")],
            {"id_column": "id"},
            r"id_column 'id' must not repeat, got a \(2x\)",
        ),
        ([("a", None, "one")], {"group_column": "nope"}, "nope"),
        ([("a", None, None)], {}, "1 of 1 rows cannot be read"),
    ],
)
def test_bad_data_is_an_input_error(spark, data, options, message):
    with pytest.raises(InputError, match=message):
        zipspark.select(spark.createDataFrame(data, SCHEMA), budget=2, **options)


def test_unusable_options_are_usage_errors(pool):
    with pytest.raises(UsageError, match="unknown option 'budgett'"):
        zipspark.select(pool, budget=1, budgett=2)
    with pytest.raises(UsageError, match=r"output must be given to .save\(\)"):
        zipspark.select(pool, budget=1, output="x")
    with pytest.raises(UsageError, match="schema must not stand beside text_expr"):
        zipspark.select(pool, budget=1, text_expr="text", preset="reference")
    with pytest.raises(UsageError, match="must count rows with preset reference"):
        zipspark.select(pool, budget="1kB", preset="reference")


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_the_papers_presets_take_rows_in_their_order_and_keep_duplicates(spark, preset):
    records = [{"text": text} for text in texts(120)]
    options = {"preset": preset, "k1": 60, "k2": 20, "k3": 10}
    selection = zipspark.select(spark.createDataFrame(records, "text string"), budget=25, **options)
    rendered = [repr(record) if preset == "reference" else record["text"] for record in records]
    ranking = core.select(rendered, budget=25, **options)
    assert [row.text for row in selection.subset.collect()] == [records[index]["text"] for index in ranking]
    assert "duplicate" not in {row.decision for row in selection.ledger.collect()}


def test_spark_without_repartition_by_id_also_gives_each_part_a_task_of_its_own(spark):
    parts = 7
    rows = spark.range(700).selectExpr("id", "cast(id % 7 as int) as part")
    spread = rows.repartition(parts, tree._spread_key(rows, parts)).withColumn("task", F.spark_partition_id())
    placed = {(row.part, row.task) for row in spread.select("part", "task").distinct().collect()}
    assert len(placed) == len({task for _, task in placed}) == parts


def test_the_manifest_holds_no_credentials():
    config = layered(SelectConfig, {"input": ("s3://AKIA:secret@bucket/x.parquet",), "budget": 1})
    corpus = SimpleNamespace(fingerprint={}, layout=None)
    assert "secret" not in str(running.manifest(corpus, config, {}))
