"""Every kind of input becomes the same rows, each at its place in its file, and nothing is lost on the way back."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark.sql.functions as F
import pytest
import zstandard
from pyspark.sql import DataFrame

from zipspark.config import PoolOptions
from zipspark.errors import InputError
from zipspark.failures import explain_spark_error
from zipspark.spark.corpus import ROWS, Corpus, read_corpus
from zipspark.spark.records import read_records
from zipspark.storage.inputs import resolve

COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}
CHAT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]


@pytest.fixture
def read(spark, tmp_path) -> Callable[..., Corpus]:
    """Reads paths or a DataFrame; stages go beside the test's files."""
    stages: list[str] = []

    def materialise(df: DataFrame) -> DataFrame:
        stages.append(f"{tmp_path}/stages/{len(stages)}")
        df.write.parquet(stages[-1])
        return spark.read.parquet(stages[-1])

    def run(*inputs, block: int | None = None, **options) -> Corpus:
        source = inputs[0] if isinstance(inputs[0], DataFrame) else resolve([str(path) for path in inputs])
        if block is not None:
            return read_records(spark, source, PoolOptions(**options), materialise, block)
        return read_corpus(spark, source, PoolOptions(**options), materialise)

    return run


def found(corpus: Corpus) -> list[dict]:
    """The rows in order, without what is null or False."""
    table = corpus.rows.toArrow()
    assert table.schema.names == ROWS.names
    rows = [
        {name: value for name, value in row.items() if value is not None and value is not False}
        for row in table.to_pylist()
    ]
    return sorted(rows, key=lambda row: (row.get("file", ""), row["position"]))


def texts(corpus: Corpus) -> list[str]:
    return [row["text"].decode() for row in found(corpus)]


def originals(corpus: Corpus, rows: DataFrame | None = None) -> list[dict]:
    chosen = (corpus.rows if rows is None else rows).select("file", "position", F.lit(7).alias("zip_rank"))
    back = corpus.originals(chosen).toArrow().to_pylist()
    assert all(row.pop("zip_rank") == 7 for row in back)
    return sorted(back, key=lambda row: (row["zip_file"] or "", row["zip_position"]))


def write_lines(path: Path, records: list) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


RECORDS = [{"id": n, "source": "ab"[n % 2], "text": f"sample {n} é\n" + "x" * n} for n in range(12)]


class TestRecords:
    @pytest.fixture
    def contents(self) -> dict[str, bytes]:
        lines = [json.dumps(record, ensure_ascii=False).encode() for record in RECORDS]
        rows = "".join(f'{one["id"]},{one["source"]},"{one["text"]}"\n' for one in RECORDS)
        return {
            ".jsonl": b"\n".join([*lines[:5], b"", *lines[5:]]),  # one blank line
            ".json": b"[" + b",\n".join(lines) + b"]",
            ".csv": f"id,source,text\n{rows}".encode(),
        }

    @pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
    def test_every_format_and_compression(self, read, tmp_path, contents, ending):
        for compression, compress in COMPRESS.items():
            (tmp_path / f"x{ending}{compression}").write_bytes(compress(contents[ending]))
        corpus = read(f"{tmp_path}/x*", id_column="id", group_column="source")
        blank = 5 if ending == ".jsonl" else 99
        assert found(corpus) == [
            {
                "file": f"{tmp_path}/x{ending}{compression}",
                "position": n + (n >= blank),
                "user_id": str(n),
                "group": "ab"[n % 2],
                "text": record["text"].encode(),
            }
            for compression in sorted(COMPRESS)
            for n, record in enumerate(RECORDS)
        ]
        assert corpus.layout.schema == "text"
        assert corpus.format == {".csv": "csv"}.get(ending, "json")
        assert corpus.kinds == {"id": "string" if ending == ".csv" else "other", "source": "string", "text": "string"}
        assert corpus.warnings == ()
        assert corpus.fingerprint["files"] == 4

    def test_text_files(self, read, tmp_path):
        for compression, compress in COMPRESS.items():
            (tmp_path / f"x.txt{compression}").write_bytes(compress(b"\xef\xbb\xbfone\r\n\n{two}\nbad \xff\n"))
        rows = found(read(f"{tmp_path}/x*"))
        assert [row["file"] for row in rows] == [f"{tmp_path}/x.txt{c}" for c in sorted(COMPRESS) for _ in range(3)]
        for row, position, rest in zip(rows[:3], (0, 2, 3), ("one", "{two}", None), strict=True):
            assert row["position"] == position
            assert row.get("text") == (rest and rest.encode())
        assert (rows[2]["problem"], rows[2]["record"]) == ("utf8", "bad \\xff")

    def test_the_cut_into_blocks_changes_nothing(self, read, tmp_path):
        path = write_lines(tmp_path / "a.jsonl", [*RECORDS, 12, *RECORDS])
        path.write_bytes(path.read_bytes().replace(b'{"id": 7', b'\n \n{"id": 7'))
        write_lines(tmp_path / "b.jsonl", RECORDS)
        lines = [line.strip() for line in path.read_bytes().split(b"\n")]
        whole = found(read(f"{tmp_path}/*.jsonl"))
        for row in whole[:25]:
            raw = lines[row["position"]]
            assert row.get("record") == "12" if raw == b"12" else json.loads(raw)["text"].encode() == row["text"]
        corpus = read(f"{tmp_path}/*.jsonl", block=400)
        assert found(corpus) == whole
        last = corpus.rows.where("position > 20")
        assert [row["id"] for row in originals(corpus, last)] == list(range(6, 12))

    def test_problems_carry_reason_and_record(self, read, tmp_path):
        bad = {
            b"{broken": "json:Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            b"[1]": "json:not an object",
            b"null": "json:not an object",
            b"[" * 100_000: "json:nested too deep",
            b'{"x": ' + b"1" * 5000 + b"}": None,
            b'{"conversations": "\xff"}': "utf8",
            b'{"conversations": [{"from": "gpt", "value": "\\ud83d"}]}': "utf8",
            b'{"conversations": null}': "null:conversations",
            b'{"id": "no text"}': "null:conversations",
            b'{"conversations": "text"}': "type:conversations expected list got str",
            b'{"conversations": [{"value": 3}]}': "type:conversations[0].content expected string got int",
            b'{"conversations": []}': "empty",
            b'{"conversations": [{"from": "gpt", "value": " "}]}': "empty",
            b'{"id": [1], "conversations": []}': "type:id expected string got list",
            b'{"id": "\\udcff", "conversations": []}': "utf8",
        }
        good = json.dumps({"id": 1.5, "conversations": CHAT}).encode()
        (tmp_path / "x.jsonl").write_bytes(b"\n".join([*bad, *[good] * 20]))
        rows = found(read(tmp_path / "x.jsonl", id_column="id"))
        assert len(rows) == len(bad) + 20
        for row, (raw, reason) in zip(rows, bad.items(), strict=False):
            assert row["problem"] == reason or reason is None
            assert row["record"] == raw.decode(errors="backslashreplace")
            assert "text" not in row
        assert rows[8]["user_id"] == "no text"
        assert rows[-1] == {"file": f"{tmp_path}/x.jsonl", "position": 34, "user_id": "1.5", "text": b"hi\nho"}

    def test_the_majority_settles_the_layout(self, read, tmp_path):
        records = [{"text": {"no": "text"}}, *[{"text": f"good {n}"} for n in range(5000)], {"text": 3}]
        corpus = read(write_lines(tmp_path / "x.jsonl", records))
        counts = dict(corpus.rows.groupBy("problem").count().toArrow().to_pandas().itertuples(index=False))
        assert counts == {
            None: 5000,
            "type:text expected string got dict": 1,
            "type:text expected string got int": 1,
        }

    def test_no_record_can_be_read(self, read, tmp_path):
        (tmp_path / "x.jsonl").write_bytes(b"[1]\n{oops\n")
        with pytest.raises(InputError, match=r"no record of the input can be read: json:.* in {oops"):
            read(tmp_path / "x.jsonl")
        (tmp_path / "x.json").write_bytes(b"[]")
        with pytest.raises(InputError, match="there are none"):
            read(tmp_path / "x.json")

    def test_columns_that_are_not_there(self, read, tmp_path):
        path = write_lines(tmp_path / "x.jsonl", RECORDS)
        with pytest.raises(
            InputError, match="group_column must be a column of the input, got 'origin'; found id, sour"
        ):
            read(path, group_column="origin")
        with pytest.raises(InputError, match="id_column must be a column of the input, got 'key'"):
            read(path, id_column="key")
        with pytest.raises(InputError, match="fit no schema"):
            read(write_lines(tmp_path / "y.jsonl", [{"title": "a", "body": "b"}]))

    def test_a_damaged_file_stops_the_run_at_once(self, read, tmp_path):
        whole = gzip.compress(os.urandom(100_000).hex().encode())
        (tmp_path / "x.txt.gz").write_bytes(whole[:-10])
        with pytest.raises(InputError, match=rf"{tmp_path}/x\.txt\.gz cannot be read to its end: Truncated"):
            read(tmp_path / "x.txt.gz")

    def test_reference_keeps_the_order_of_keys(self, read, tmp_path):
        path = write_lines(tmp_path / "x.jsonl", [{"b": 1, "a": "é'"}, {"a": None, "b": [1.0, True]}])
        assert texts(read(path, schema="reference")) == ["""{'b': 1, 'a': "é'"}""", "{'a': None, 'b': [1.0, True]}"]

    def test_text_expr(self, read, tmp_path):
        records = [
            {"file": "f", "n": 1, "parts": [{"t": "a"}, {"t": "b"}]},
            {"n": 2},
            {"n": "3"},
            {"n": 4, "parts": []},
        ]
        corpus = read(
            write_lines(tmp_path / "x.jsonl", records * 4 + [{"n": n} for n in range(9)]),
            text_expr="concat_ws('-', file, n, array_join(parts.t, '+'))",
            group_column="n",
        )
        rows = found(corpus)
        assert corpus.layout is None
        assert [row.get("text") for row in rows[:4]] == [b"f-1-a+b", b"2", b'"3"', b"4-"]
        assert [row["group"] for row in rows[:4]] == ["1", "2", "3", "4"]

    def test_text_expr_over_a_column_that_is_not_as_in_the_sample(self, read, tmp_path, monkeypatch):
        monkeypatch.setattr("zipspark.spark.records._SAMPLE_BYTES", 1)
        records = [{"a": "x"}] + [{"a": n} for n in range(3)] + [{"a": None}, {"a": "  "}]
        rows = found(read(write_lines(tmp_path / "x.jsonl", records), text_expr="a"))
        assert [row.get("problem", row.get("text")) for row in rows] == [
            b"x", *["type:a expected string got int"] * 3, "null:text", "empty"
        ]  # fmt: skip
        assert rows[1]["record"] == '{"a": 0}'

    def test_originals_lose_nothing(self, read, tmp_path):
        records = [
            {"text": "a", "mixed": 1, "big": 2**70, "number": 1, "deep": {"x": [1, None]}, "zip_rank": 3},
            {"text": "b", "mixed": "1", "big": 1, "number": 0.5, "deep": {"y": "é"}, "late": True},
            {"text": "c", "mixed": {"k": []}, "empty": {}, "none": None, "list": []},
            {"text": "d", "only": "in a row that is not chosen"},
        ]
        corpus = read(write_lines(tmp_path / "x.jsonl", records))
        assert corpus.warnings == ("input columns zip_rank are left out: names with zip_ are zipspark's own",)
        back = originals(corpus, corpus.rows.where("position < 3"))
        place = {"zip_file": f"{tmp_path}/x.jsonl"}
        nothing = dict.fromkeys(("text", "mixed", "big", "number", "deep", "late", "empty", "none", "list"))
        assert back == [
            nothing | {"text": "a", "mixed": "1", "big": str(2**70), "number": 1.0, "deep": {"x": [1, None], "y": None}}
            | place | {"zip_position": 0},
            nothing | {"text": "b", "mixed": '"1"', "big": "1", "number": 0.5, "deep": {"x": None, "y": "é"}}
            | {"late": True} | place | {"zip_position": 1},
            nothing | {"text": "c", "mixed": '{"k": []}', "empty": "{}", "list": []} | place | {"zip_position": 2},
        ]  # fmt: skip

    def test_originals_of_csv_and_text(self, read, tmp_path):
        (tmp_path / "x.csv").write_bytes(b"text,n\none,1\nbad\ntwo,2\n")
        corpus = read(tmp_path / "x.csv")
        place = {"zip_file": f"{tmp_path}/x.csv"}
        assert originals(corpus, corpus.rows.where("problem is null")) == [
            {"text": "one", "n": "1", "zip_position": 0} | place,
            {"text": "two", "n": "2", "zip_position": 2} | place,
        ]
        (tmp_path / "x.txt").write_bytes(b'one\n\n"two"\n')
        assert [row["text"] for row in originals(read(tmp_path / "x.txt"))] == ["one", '"two"']

    def test_keys_that_no_table_can_hold(self, read, tmp_path):
        corpus = read(write_lines(tmp_path / "x.jsonl", [{"text": "a", "Id": 1}, {"text": "b", "id": 1}]))
        with pytest.raises(InputError, match="differing in case alone, got 'text', 'Id', 'id'"):
            originals(corpus)

    def test_half_a_surrogate_pair_outside_the_text(self, read, tmp_path):
        (tmp_path / "x.jsonl").write_bytes(b'{"text": "a", "more": "cut \\ud83d", "deep": [{"\\ud83d": "\\ud83d"}]}')
        corpus = read(tmp_path / "x.jsonl")
        assert texts(corpus) == ["a"]
        (row,) = originals(corpus)
        assert (row["more"], row["deep"]) == ("cut \\ud83d", ['{"\\ud83d": "\\ud83d"}'])


class TestTables:
    @pytest.fixture
    def pool(self, tmp_path) -> Path:
        """Two Parquet files of several row groups, with names that are hard to read back and columns that differ."""
        (tmp_path / "pool").mkdir()
        for name, start in (("a b+c%20ü#[1].parquet", 0), ("z{x}.parquet", 50)):
            ids = list(range(start, start + 50))
            table = pa.table({"id": ids, "text": [f"sample {n}" for n in ids], "_metadata": ids})
            if start:
                table = table.append_column("extra", pa.array([{"n": n} for n in ids]))
            pq.write_table(table, tmp_path / "pool" / name, row_group_size=7)
        return tmp_path / "pool"

    def test_parquet(self, spark, read, pool):
        expected = [
            {"file": f"{pool}/{name}", "position": n % 50, "user_id": str(n), "group": str(n)}
            | {"text": f"sample {n}".encode()}
            for name, ids in (("a b+c%20ü#[1].parquet", range(50)), ("z{x}.parquet", range(50, 100)))
            for n in ids
        ]  # fmt: skip
        before = spark.conf.get("spark.sql.files.maxPartitionBytes")
        try:
            for size in (before, "700", "90"):
                spark.conf.set("spark.sql.files.maxPartitionBytes", size)
                corpus = read(pool, id_column="id", group_column="_metadata")
                assert found(corpus) == expected
            assert len(originals(corpus)) == 100
        finally:
            spark.conf.set("spark.sql.files.maxPartitionBytes", before)
        back = originals(corpus, corpus.rows.where("position = 49"))
        assert back == [
            {"id": n, "text": f"sample {n}", "_metadata": n, "extra": extra, "zip_position": 49, "zip_file": file}
            for n, extra, file in ((49, None, expected[0]["file"]), (99, {"n": 99}, expected[99]["file"]))
        ]
        assert (corpus.format, corpus.version, corpus.kinds["extra"]) == ("parquet", None, "other")

    def test_problems_of_a_table(self, read, tmp_path):
        table = pa.table({"text": pa.array([b"good", b"bad \xff", b" \n", None], pa.binary()), "zip_x": [1, 2, 3, 4]})
        pq.write_table(table, tmp_path / "x.parquet")
        corpus = read(tmp_path / "x.parquet")
        rows = found(corpus)
        assert [row.get("problem") for row in rows] == [None, "utf8", "empty", "null:text"]
        assert [row.get("text") for row in rows] == [b"good", None, None, None]
        assert [row.get("record") for row in rows] == [None, '{"text":"YmFkIP8="}', '{"text":"IAo="}', "{}"]
        assert "zip_x" in corpus.warnings[0]
        assert originals(corpus)[0].keys() == {"text", "zip_file", "zip_position"}

    def test_folders_are_columns(self, read, tmp_path):
        for source in ("code", "web"):
            (tmp_path / f"pool/source={source}").mkdir(parents=True)
            pq.write_table(pa.table({"text": [source]}), tmp_path / f"pool/source={source}/x.parquet")
        for path in (tmp_path / "pool", tmp_path / "pool/*/*.parquet"):
            corpus = read(path, group_column="source")
            assert [(row["group"], row["text"]) for row in found(corpus)] == [("code", b"code"), ("web", b"web")]
            assert [row["source"] for row in originals(corpus)] == ["code", "web"]

    def test_columns_that_cannot_be_used(self, read, tmp_path):
        pq.write_table(pa.table({"text": ["a"], "tags": [["x"]]}), tmp_path / "x.parquet")
        with pytest.raises(InputError, match="group_column must be a column of the input, got 'no'; found text, tags"):
            read(tmp_path / "x.parquet", group_column="no")
        with pytest.raises(InputError, match="id_column must be of a simple type, tags is array<string>"):
            read(tmp_path / "x.parquet", id_column="tags")

    def test_files_whose_columns_contradict(self, read, tmp_path):
        pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "x.parquet")
        pq.write_table(pa.table({"text": ["a"], "n": ["b"]}), tmp_path / "y.parquet")
        with pytest.raises(InputError, match=r"cannot be read: Failed [Mm]erging"):
            read(tmp_path)

    def test_a_broken_page_names_its_file(self, read, tmp_path):
        pq.write_table(
            pa.table({"text": [f"{n}" * 50 for n in range(500)]}), tmp_path / "x.parquet", use_dictionary=False
        )
        content = bytearray((tmp_path / "x.parquet").read_bytes())
        content[4:1000] = os.urandom(996)
        (tmp_path / "x.parquet").write_bytes(content)
        corpus = read(tmp_path / "x.parquet")
        with pytest.raises(Exception, match=r"x\.parquet") as error:
            corpus.rows.toArrow()
        assert isinstance(explain_spark_error(error.value), InputError)

    def test_reference_is_the_row_in_the_order_of_columns(self, read, tmp_path):
        pq.write_table(
            pa.table({"b": [1, 2], "a": ["é", None], "zip_z": [0, 0], "c": [CHAT, []]}), tmp_path / "x.parquet"
        )
        corpus = read(tmp_path / "x.parquet", schema="reference", id_column="b")
        assert texts(corpus) == [repr({"b": 1, "a": "é", "c": CHAT}), repr({"b": 2, "a": None, "c": []})]
        assert [row["user_id"] for row in found(corpus)] == ["1", "2"]

    def test_text_expr(self, read, tmp_path):
        pq.write_table(pa.table({"file": ["f", None], "position": [[3], [4]]}), tmp_path / "x.parquet")
        rows = found(read(tmp_path / "x.parquet", text_expr="concat(file, position[0])"))
        assert [row.get("problem", row.get("text")) for row in rows] == [b"f3", "null:text"]

    def test_any_dataframe(self, spark, read):
        source = spark.range(0, 40, 1, 4).selectExpr("id as `a.b`", "concat('sample ', id) as text", "id as `x``y`")
        corpus = read(source.where("`a.b` % 2 = 0"), id_column="a.b", group_column="x`y")
        rows = found(corpus)
        assert [row["position"] for row in rows] == list(range(20))
        assert all(row["text"].decode() == f"sample {row['user_id']}" and "file" not in row for row in rows)
        back = originals(corpus, corpus.rows.where("position >= 15"))
        assert {row["zip_position"]: str(row["a.b"]) for row in back} == {
            row["position"]: row["user_id"] for row in rows[15:]
        }
        assert (corpus.format, corpus.fingerprint) == ("dataframe", {"format": "dataframe"})

    def test_an_empty_dataframe(self, spark, read):
        assert found(read(spark.createDataFrame([], "text string"))) == []

    def test_columns_of_one_name(self, spark, read):
        with pytest.raises(InputError, match="column names must be unique, got text more than once"):
            read(spark.sql("select 'a' as text, 'b' as text"))

    def test_tables_of_the_catalog(self, spark, read, tmp_path):
        for kind in ("parquet", "json"):
            place = f"location '{tmp_path}/{kind}'"
            spark.sql(f"create table pool_{kind} using {kind} {place} as select 'a' as text, 1 as n")
        spark.sql("create view pool_view as select * from pool_parquet")
        try:
            for name in ("pool_parquet", "default.pool_json", "pool_view"):
                corpus = read(name)
                assert [(row["position"], row["text"]) for row in found(corpus)] == [(0, b"a")]
                assert ("file" in found(corpus)[0]) == (name == "pool_parquet")
                assert [(row["text"], row["n"]) for row in originals(corpus)] == [("a", 1)]
                assert corpus.fingerprint == {"format": "table", "name": name, "version": None}
        finally:
            spark.sql("drop view pool_view")
            spark.sql("drop table pool_parquet")
            spark.sql("drop table pool_json")

    def test_an_unknown_table(self, read):
        with pytest.raises(InputError, match=r"table 'pool' is not there; a path has a slash \(\./pool\)"):
            read("pool")

    @pytest.mark.delta
    def test_delta_is_read_at_the_version_it_had(self, spark, read, tmp_path):
        spark.sql(
            f"create table pool_delta using delta location '{tmp_path}/pool' "
            "tblproperties (delta.enableDeletionVectors = true) as "
            "select id, concat('sample ', id) as text from range(0, 20, 1, 2)"
        )
        spark.sql("delete from pool_delta where id % 3 = 0")
        corpora = {name: read(name, id_column="id") for name in ("pool_delta", f"{tmp_path}/pool")}
        spark.sql("insert into pool_delta select id, 'later' from range(30, 40)")
        for (name, corpus), format_ in zip(corpora.items(), ("table", "delta"), strict=True):
            rows = found(corpus)
            assert sorted(int(row["user_id"]) for row in rows) == [n for n in range(20) if n % 3]
            assert len({(row["file"], row["position"]) for row in rows}) == 13
            assert [(row["id"], row["text"]) for row in originals(corpus)] == [
                (int(row["user_id"]), row["text"].decode()) for row in rows
            ]
            assert corpus.version == 1
            assert corpus.fingerprint == {"format": format_, "name": name, "version": 1}
        spark.sql("drop table pool_delta")
