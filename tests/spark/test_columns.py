"""Conditions, scores, token counts and ids: the same from files of records as from tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame

from zipspark.config import PoolOptions
from zipspark.errors import InputError
from zipspark.failures import explain_spark_error
from zipspark.spark.corpus import Corpus, read_corpus, read_ids
from zipspark.storage.inputs import Source, resolve

KINDS = ("jsonl", "parquet", "dataframe")
POOL = [
    {"text": "good", "n": 1, "q": 0.5, "t": 3},
    {"text": "low", "n": 0, "q": None, "t": 4},
    {"text": "no n", "n": None, "q": -1.0, "t": None},
    {"text": None, "n": 0, "q": 2.0, "t": None},
    {"text": None, "n": 2, "q": 3.0, "t": 5},
]

NUMBERS = {  # as it is found, as a score, as a count
    "3": (3.0, 3),
    " +3.0 ": (3.0, 3),
    "1e3": (1000.0, 1000),
    ".5": (0.5, "tokens:not a whole number"),
    "0": (0.0, 0),
    "-2": (-2.0, "tokens:negative"),
    "1e400": (None, "tokens:not a whole number"),
    "1e30": (1e30, "tokens:not a whole number"),
    "NaN": (None, "tokens:not a whole number"),
    "Infinity": (None, "tokens:not a whole number"),
    "1_000": (None, "tokens:not a whole number"),
    "1d": (None, "tokens:not a whole number"),
    "0x10": (None, "tokens:not a whole number"),
    "٣": (None, "tokens:not a whole number"),
    "many": (None, "tokens:not a whole number"),
    "": (None, "tokens:not a whole number"),
    None: (None, "tokens:null"),
}


@pytest.fixture
def given(spark, tmp_path) -> Callable[[str, list[dict[str, Any]]], Any]:
    """The records as a file or a DataFrame."""

    def make(kind: str, records: list[dict[str, Any]]) -> DataFrame | Path:
        path = tmp_path / f"x.{kind}"
        if kind == "dataframe":
            return spark.createDataFrame(pa.Table.from_pylist(records))
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        elif kind == "csv":
            lines = [records[0], *(record.values() for record in records)]
            path.write_text("".join(",".join("" if v is None else str(v) for v in line) + "\n" for line in lines))
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return make


@pytest.fixture
def read(spark, tmp_path) -> Callable[..., Corpus]:
    def materialise(df: DataFrame) -> DataFrame:
        df.write.mode("overwrite").parquet(f"{tmp_path}/stage")
        return spark.read.parquet(f"{tmp_path}/stage")

    def run(source: DataFrame | Path, **options) -> Corpus:
        return read_corpus(spark, found_at(source), PoolOptions(**options), materialise)

    return run


def found_at(source: DataFrame | Path) -> DataFrame | Source:
    return source if isinstance(source, DataFrame) else resolve([str(source)])


def rows(corpus: Corpus, *columns: str) -> list[tuple]:
    found = corpus.rows.toArrow().sort_by("position").select(columns)
    return [tuple(row.values()) for row in found.to_pylist()]


class TestWhere:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("options", [{}, {"text_expr": "text"}])
    def test_a_row_left_out_is_neither_rendered_nor_bad(self, given, read, kind, options):
        corpus = read(given(kind, POOL), where="n > 0", **options)
        assert rows(corpus, "excluded", "text", "problem") == [
            (False, b"good", None),
            (True, None, None),
            (True, None, None),
            (True, None, None),
            (False, None, "null:text"),
        ]
        assert [bool(record) for (record,) in rows(corpus, "record")] == [False] * 4 + [True]

    @pytest.mark.parametrize("kind", KINDS)
    def test_with_the_reference_layout(self, given, read, kind):
        corpus = read(given(kind, POOL), where="n > 0", schema="reference", token_column="t")
        assert rows(corpus, "excluded", "text") == [
            (False, repr(POOL[0]).encode()), *[(True, None)] * 3, (False, repr(POOL[4]).encode())
        ]  # fmt: skip

    def test_of_damaged_lines(self, read, tmp_path):
        damaged = b'[1]\n{"text": 3, "n": 0}\n{"text": 3, "n": 1}\n'
        (tmp_path / "x.jsonl").write_bytes(b'{"text": "a", "n": 1}\n' * 3 + damaged)
        assert rows(read(tmp_path / "x.jsonl", where="n = 1"), "excluded", "problem")[3:] == [
            (False, "json:not an object"),
            (True, None),
            (False, "type:text expected string got int"),
        ]

    def test_values_that_are_not_as_in_the_sample(self, given, read, monkeypatch):
        monkeypatch.setattr("zipspark.spark.records._SAMPLE_BYTES", 1)
        records = [{"text": text, "n": n, "odd": odd} for text, n, odd in (("a", 1, 1), ("b", "1", 1), ("c", 1, "1"))]
        corpus = read(given("jsonl", records), where="n = 1")
        assert rows(corpus, "excluded", "text", "problem") == [
            (False, b"a", None),
            (False, None, "type:n expected int got str"),
            (False, b"c", None),
        ]

    @pytest.mark.parametrize("kind", KINDS)
    def test_any_name_and_any_column(self, given, read, kind):
        records = [{"text": "a", "x`y": 1, "a.b": {"c": [1, 2]}}, {"text": "b", "x`y": 2, "a.b": {"c": []}}]
        for where in ("`x``y` = 1", "size(`a.b`.C) = 2", "to_json(struct(*)) like '%[1,2]%'"):
            assert rows(read(given(kind, records), where=where), "excluded") == [(False,), (True,)]

    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("n >", r"where 'n >' cannot be used: \[PARSE_SYNTAX_ERROR\] Syntax error at or near end of input."),
            ("m > 1", "where 'm > 1' cannot be used: .*name `m` cannot be resolved. Did you mean .*`n`"),
            ("n", "where must give one boolean, got (int|bigint) from 'n'"),
            ("*", "where must give one boolean, got .* from '.'"),
            ("explode(array(true))", "where .* cannot be used: "),
        ],
    )
    def test_no_condition(self, given, read, kind, where, message):
        with pytest.raises(InputError, match=message) as error:
            read(given(kind, POOL), where=where)
        assert "\n" not in str(error.value)


class TestNumbers:
    @pytest.mark.parametrize("kind", KINDS)
    def test_strings(self, given, read, kind):
        records = [{"text": "a", "x": x} for x in NUMBERS]
        found = read(given(kind, records), quality_column="x", token_column="x")
        expected = [
            (quality, count, None, b"a") if isinstance(count, int) else (quality, None, count, None)
            for quality, count in NUMBERS.values()
        ]
        assert rows(found, "quality", "tokens", "problem", "text") == expected

    @pytest.mark.parametrize("kind", [*KINDS, "csv"])
    def test_scores_and_counts(self, given, read, kind):
        found = read(given(kind, POOL), quality_column="q", token_column="t", where="text = 'low' or text = 'good'")
        assert rows(found, "excluded", "quality", "problem")[:2] == [(False, 0.5, None), (False, None, None)]
        assert [excluded for (excluded,) in rows(found, "excluded")[2:]] == [True] * 3
        assert [problem for (problem,) in rows(found, "problem")] == [None] * 5
        assert rows(found, "tokens")[:2] == [(3,), (4,)]
        assert {name: str(found.rows.schema[name].dataType) for name in ("quality", "tokens", "excluded")} == {
            "quality": "DoubleType()", "tokens": "LongType()", "excluded": "BooleanType()"
        }  # fmt: skip

    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    def test_floats(self, given, read, kind):
        values = [0.25, float("nan"), float("inf"), 2.0, -1.0]
        found = read(given(kind, [{"text": "a", "x": x} for x in values]), quality_column="x")
        assert rows(found, "quality") == [(0.25,), (None,), (None,), (2.0,), (-1.0,)]
        found = read(given(kind, [{"text": "a", "x": x} for x in values]), token_column="x")
        assert [tokens for (tokens,) in rows(found, "tokens")] == [None, None, None, 2, None]

    def test_values_of_every_kind_in_json(self, given, read):
        values = [1, 10**400, True, [1], {"a": 1}, "1", 0.5]
        found = read(given("jsonl", [{"text": "a", "x": x} for x in values]), quality_column="x")
        assert [quality for (quality,) in rows(found, "quality")] == [1.0, None, None, None, None, 1.0, 0.5]

    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    @pytest.mark.parametrize("option", ["quality_column", "token_column"])
    def test_columns_that_cannot_be_used(self, given, read, kind, option):
        records = [{"text": "a", "list": [1], "yes": True, "deep": {"n": 1}}]
        with pytest.raises(InputError, match=f"{option} must be a column of the input, got 'no'; found text, list"):
            read(given(kind, records), **{option: "no"})
        for name in ("list", "yes", "deep"):
            with pytest.raises(InputError, match=f"{option} must be a number, {name} is "):
                read(given(kind, records), **{option: name})


class TestIds:
    @pytest.mark.parametrize("kind", [*KINDS, "csv"])
    def test_distinct_and_not_null(self, spark, given, kind):
        records = [{"id": 1, "zip_id": "a"}, {"id": 1, "zip_id": "b"}, {"id": 2, "zip_id": "a"}]
        source = found_at(given(kind, records if kind == "csv" else [*records, {"id": None, "zip_id": None}]))
        for column, expected in (("id", ["1", "2"]), (None, ["a", "b"]), ("other", ["a", "b"])):
            ids = read_ids(spark, source, column)
            assert ids.schema.simpleString() == "struct<zip_id:string>"
            assert sorted(ids.toArrow()["zip_id"].to_pylist()) == expected

    @pytest.mark.parametrize("kind", KINDS)
    def test_none_where_there_are_none(self, spark, given, kind):
        source = found_at(given(kind, [{"text": "a", "key": 1}]))
        assert read_ids(spark, source, None) is None
        assert read_ids(spark, source, "id") is None

    def test_what_cannot_be_read(self, spark, given, tmp_path):
        with pytest.raises(InputError, match=re.escape("id_column must be of a simple type, id is array<bigint>")):
            read_ids(spark, resolve([str(given("parquet", [{"id": [1]}]))]), "id")
        (tmp_path / "y.jsonl").write_text('{"id": 1}\n\n{oops\n')
        ids = read_ids(spark, resolve([f"{tmp_path}/y.jsonl"]), "id")
        with pytest.raises(Exception, match=r"y\.jsonl:2 cannot be read") as error:
            ids.toArrow()
        assert isinstance(explain_spark_error(error.value), InputError)

    @pytest.mark.delta
    def test_of_a_delta_table(self, spark, tmp_path):
        spark.sql(f"create table keep_delta using delta location '{tmp_path}/keep' as select id from range(3)")
        for name in ("keep_delta", f"{tmp_path}/keep"):
            ids = read_ids(spark, resolve([name]), "id").toArrow()["zip_id"].to_pylist()
            assert sorted(ids) == ["0", "1", "2"]
        spark.sql("drop table keep_delta")


class TestOtherTables:
    """An anchor, a target or rows to keep are a corpus of their own, with options of their own."""

    @pytest.mark.parametrize("kind", [*KINDS, "csv"])
    def test_an_anchor_needs_no_column_but_its_text(self, given, read, kind):
        pool = PoolOptions(where="n > 0", id_column="id", group_column="n", quality_column="q", token_column="t")
        options = {"schema": pool.schema_, "text_expr": pool.text_expr, "roles": pool.roles}
        corpus = read(given(kind, [{"text": "a", "zip_id": "x"}, {"text": "b", "zip_id": "y"}]), **options)
        nothing = (None,) * 5
        assert rows(corpus, "text", "user_id", "group", "quality", "tokens", "problem", "excluded") == [
            (b"a", *nothing, False), (b"b", *nothing, False)
        ]  # fmt: skip
