"""Which files a name stands for, and what is refused before anything is read."""

from __future__ import annotations

import bz2
import gzip
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from zipspark.errors import InputError
from zipspark.storage.inputs import Source, common_root, redact, resolve

LINE = b'{"text": "one"}\n'
COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}


def put(path: Path, content: bytes = LINE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def parquet(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": ["one"]}), path)
    return str(path)


def names(source: Source, root: Path) -> list[str]:
    return [os.path.relpath(file.path, root) for file in source.files]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.jsonl",
        "a/2.json",
        "a/10.ndjson",
        "a/deep/er/x.jsonl",
        "_SUCCESS",
        "a/.hidden.jsonl",
        "_tmp/y.jsonl",
    ):
        put(tmp_path / name)
    return tmp_path


class TestNames:
    def test_a_folder_is_walked_in_the_order_of_paths(self, tree):
        assert names(resolve([str(tree)]), tree) == ["a/10.ndjson", "a/2.json", "a/deep/er/x.jsonl", "b.jsonl"]

    @pytest.mark.parametrize(
        ("glob", "expected"),
        [
            ("*.jsonl", ["b.jsonl"]),
            ("a/*", ["a/10.ndjson", "a/2.json", "a/deep/er/x.jsonl"]),  # a folder that matches is walked
            ("a/?.json", ["a/2.json"]),
            ("[ab]/[0-9]*", ["a/10.ndjson", "a/2.json"]),
            ("**/*.jsonl", ["a/deep/er/x.jsonl", "b.jsonl"]),
            ("**/er/*", ["a/deep/er/x.jsonl"]),
            ("**", ["a/10.ndjson", "a/2.json", "a/deep/er/x.jsonl", "b.jsonl"]),
            ("_*/*.jsonl", ["_tmp/y.jsonl"]),
        ],
    )
    def test_globs(self, tree, glob, expected):
        assert names(resolve([f"{tree}/{glob}"]), tree) == expected

    def test_several_inputs_are_one_and_a_file_named_twice_is_read_once(self, tree):
        source = resolve([f"{tree}/b.jsonl", f"{tree}/a", f"file://{tree}/*.jsonl"])
        assert names(source, tree) == ["a/10.ndjson", "a/2.json", "a/deep/er/x.jsonl", "b.jsonl"]

    @pytest.mark.parametrize("name", ["a b+c%20ü#.jsonl", "x[1].jsonl", "w*.jsonl", "50%.jsonl", "q?a=b.jsonl"])
    def test_names_are_literal(self, tmp_path, name):
        assert names(resolve([put(tmp_path / name)]), tmp_path) == [name]

    def test_relative_paths(self, tree, monkeypatch):
        monkeypatch.chdir(tree)
        assert resolve(["b.jsonl"]) == resolve(["./b.jsonl"]) == resolve([f"{tree}/b.jsonl"])

    @pytest.mark.parametrize("name", ["pool", "main.chats.pool", "a`b"])
    def test_what_has_neither_slash_nor_ending_is_a_table(self, name):
        assert resolve([name]) == Source("table", table=name)

    def test_a_folder_with_a_delta_log_is_a_table(self, tmp_path):
        put(tmp_path / "pool/_delta_log/0.json")
        assert resolve([f"{tmp_path}/pool"]) == Source("delta", table=f"{tmp_path}/pool")

    def test_folders_called_like_columns(self, tmp_path):
        parquet(tmp_path / "pool/source=code/1.parquet")
        for name in ("pool", "pool/*/*.parquet", "pool/source=*"):
            assert resolve([f"{tmp_path}/{name}"]).root == f"file:{tmp_path}/pool/"
        assert resolve([f"{tmp_path}/pool/source=code"]).root is None
        put(tmp_path / "lines/source=code/1.jsonl")
        assert "column=value" in resolve([f"{tmp_path}/lines"]).warnings[0]


class TestFormats:
    @pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".txt", ".text"])
    @pytest.mark.parametrize("compression", COMPRESS)
    def test_endings(self, tmp_path, ending, compression):
        (file,) = resolve([put(tmp_path / f"x{ending}{compression}", COMPRESS[compression](LINE))]).files
        known = {".csv": "csv", ".txt": "text", ".text": "text"}
        assert file.format == known.get(ending, "json")
        assert file.compression == {"": None, ".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}[compression]
        assert not file.array

    @pytest.mark.parametrize("compression", COMPRESS)
    @pytest.mark.parametrize("before", [b"", b" \n\t", b"\xef\xbb\xbf\n"])
    def test_json_that_starts_with_a_bracket_is_an_array(self, tmp_path, compression, before):
        content = COMPRESS[compression](before + b'[{"text": "one"}]')
        assert resolve([put(tmp_path / f"a.json{compression}", content)]).files[0].array
        assert not resolve([put(tmp_path / f"a.json.jsonl{compression}", content)]).files[0].array

    def test_a_broken_first_line_does_not_condemn_a_file(self, tmp_path):
        assert resolve([put(tmp_path / "x.jsonl", b"oops\n" + LINE)]).format == "json"

    @pytest.mark.parametrize("compression", COMPRESS)
    def test_empty_files_are_left_out_with_a_warning(self, tmp_path, compression):
        put(tmp_path / "b.jsonl")
        empty = put(tmp_path / f"a.jsonl{compression}", b"")
        source = resolve([str(tmp_path)])
        assert names(source, tmp_path) == ["b.jsonl"]
        assert source.warnings == (f"{empty} is empty",)


class TestRefused:
    @pytest.mark.parametrize("name", ["x.jsonl", "no/such", "no/such/x.parquet", "file:///no/such"])
    def test_a_path_that_does_not_exist(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="does not exist"):
            resolve([name])

    def test_a_glob_that_matches_nothing(self, tree):
        for glob in ("*.csv", "no/*.jsonl", "b.jsonl/*"):
            with pytest.raises(InputError, match=r"matches nothing$"):
                resolve([f"{tree}/{glob}"])

    def test_an_empty_folder(self, tmp_path):
        put(tmp_path / "in/_SUCCESS")
        with pytest.raises(InputError, match="in is an empty folder"):
            resolve([f"{tmp_path}/in"])

    @pytest.mark.parametrize("name", ["x.md", "x", "x.parquet.gz", "x.gz", "x.JSONL"])
    def test_an_unknown_ending(self, tmp_path, name):
        with pytest.raises(InputError, match=rf"{name} has an unknown ending; known are \.parquet, \.jsonl"):
            resolve([put(tmp_path / name)])

    def test_mixed_formats(self, tree):
        put(tree / "c.csv")
        with pytest.raises(InputError, match=r"mixes formats: .*10\.ndjson and .*c\.csv"):
            resolve([str(tree)])

    def test_nothing(self):
        with pytest.raises(InputError, match="input is missing"):
            resolve([])

    def test_a_table_among_others(self, tree):
        with pytest.raises(InputError, match="table must be the only input"):
            resolve([str(tree), "main.pool"])

    def test_a_delta_table_among_others(self, tree):
        put(tree / "delta/_delta_log/0.json")
        with pytest.raises(InputError, match="Delta table must be the only input"):
            resolve([f"{tree}/delta", f"{tree}/a"])
        with pytest.raises(InputError, match=r"holds the Delta table .*/delta; give that"):
            resolve([str(tree)])

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"x" * 20 + b"PAR1"])
    def test_a_parquet_file_that_is_none(self, tmp_path, content):
        with pytest.raises(InputError, match=r"x\.parquet cannot be read as Parquet"):
            resolve([put(tmp_path / "x.parquet", content)])

    def test_a_parquet_file_that_is_cut_off(self, tmp_path):
        path = Path(parquet(tmp_path / "x.parquet"))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match="PAR1 is missing"):
            resolve([str(path)])

    @pytest.mark.parametrize("compression", [".gz", ".bz2", ".zst"])
    @pytest.mark.parametrize(
        "content",
        [LINE, zstandard.compress(LINE)[:-3], gzip.compress(LINE)[:-3]],
        ids=["plain text", "zst cut off", "gz cut off"],
    )
    def test_a_compressed_file_that_is_none(self, tmp_path, compression, content):
        with pytest.raises(InputError, match=rf"x\.jsonl{compression} cannot be read as"):
            resolve([put(tmp_path / f"x.jsonl{compression}", content)])

    @pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.txt"])
    @pytest.mark.parametrize(
        "content",
        [gzip.compress(LINE), bz2.compress(LINE), zstandard.compress(LINE), b"PAR1"],
        ids=["gz", "bz2", "zst", "Parquet"],
    )
    def test_a_text_file_that_is_none(self, tmp_path, name, content):
        with pytest.raises(InputError, match="starts like a Parquet or a compressed file"):
            resolve([put(tmp_path / name, content)])

    @pytest.mark.parametrize("content", [b"<html>", "{".encode("utf-16"), b'"text"\n1\n', b"\x00\x01"])
    def test_json_that_is_none(self, tmp_path, content):
        with pytest.raises(InputError, match="no line at its start begins with"):
            resolve([put(tmp_path / "x.json", content)])

    def test_only_empty_files(self, tmp_path):
        put(tmp_path / "in/a.jsonl", b"")
        with pytest.raises(InputError, match=r"a\.jsonl is empty$"):
            resolve([f"{tmp_path}/in"])
        put(tmp_path / "in/b.jsonl", b"")
        with pytest.raises(InputError, match="as are all 2 files"):
            resolve([f"{tmp_path}/in"])


class TestFingerprint:
    def test_same_files_elsewhere(self, tmp_path):
        for root in ("here", "there"):
            os.utime(put(tmp_path / root / "x/a.jsonl"), (1, 1))
            os.utime(put(tmp_path / root / "b.jsonl"), (1, 1))
        here, there = (resolve([f"{tmp_path}/{root}"]).fingerprint() for root in ("here", "there"))
        assert here == there
        assert (here["format"], here["files"], here["bytes"]) == ("json", 2, 2 * len(LINE))
        put(tmp_path / "there/b.jsonl")
        assert resolve([f"{tmp_path}/there"]).fingerprint() != here

    def test_a_table_has_a_version(self):
        assert replace(resolve(["a.b"]), version=7).fingerprint() == {"format": "table", "name": "a.b", "version": 7}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/data/a@b/x.jsonl", "/data/a@b/x.jsonl"),
        ("s3://AKIA:se/cret@bucket/x", "s3://bucket/x"),  # a slash in a secret that nobody has encoded
        ("s3a://AKIA:secret@bucket/a?.jsonl", "s3a://bucket/a?.jsonl"),
        ("gs://bucket/x.jsonl?access_key=k&sig=s", "gs://bucket/x.jsonl"),
        ("abfss://box@account.dfs.core.windows.net/x?sig=s", "abfss://box@account.dfs.core.windows.net/x"),
        ("abfss://user:pass@account.dfs.core.windows.net/x", "abfss://account.dfs.core.windows.net/x"),
    ],
)
def test_redact(uri, shown):
    assert redact(uri) == shown


@pytest.mark.parametrize("name", ["nostore://user:hunter2@host/x.jsonl", "gs://bucket/x.jsonl?access_key=hunter2"])
def test_secrets_are_in_no_message(name):
    with pytest.raises(InputError) as error:
        resolve([name])
    assert "hunter" not in str(error.value)


def test_common_root():
    assert common_root(["/a/x.csv"]) == "/a/"
    assert common_root(["/a/b/x.csv", "/a/bc/x.csv"]) == "/a/"
    assert common_root(["s3://b/x.csv", "s3://c/x.csv"]) == "s3://"
