"""Records of text files: where each lies, whatever the blocks, and that damage is never silent."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from pathlib import Path

import pytest
import zstandard

from zipspark.errors import InputError
from zipspark.storage import records
from zipspark.storage.inputs import resolve
from zipspark.storage.records import Record, cut, pack, placed, read

COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}
BOM = b"\xef\xbb\xbf"


def read_file(path: Path, content: bytes, block: int = 2**20) -> list[Record]:
    path.write_bytes(content)
    blocks = cut(resolve([str(path)]).files, block)
    blocks = placed(blocks, [sum(1 for _ in read(block)) for block in blocks])
    return [record for block in blocks for record in read(block)]


def raws(found: list[Record]) -> list[bytes]:
    assert [record.position for record in found] == list(range(len(found)))
    return [record.raw for record in found]


@pytest.mark.parametrize("compression", COMPRESS)
def test_lines(tmp_path, compression):
    content = BOM + b'{"a": 1}\r\n\n \t\n{"b": "\xc2\x85\xe2\x80\xa8\r"}\nbad \xff\x00\nlast'
    found = read_file(tmp_path / f"x.jsonl{compression}", COMPRESS[compression](content))
    assert raws(found) == [b'{"a": 1}', b"", b"", b'{"b": "\xc2\x85\xe2\x80\xa8\r"}', b"bad \xff\x00", b"last"]


def test_lines_are_the_same_whatever_the_blocks(tmp_path):
    rng = random.Random(1)
    for end in (b"", b"\n", b"\r\n", b"\n\n\n"):
        lines = [bytes(rng.choices(b"ab{ \r\xff", k=rng.choice([0, 1, 5, 60]))) for _ in range(60)]
        content = b"{\n" + b"\n".join(lines) + end
        expected = raws(read_file(tmp_path / "x.txt", content))
        assert expected == [
            line.strip() and line.removesuffix(b"\r") for line in content.removesuffix(b"\n").split(b"\n")
        ]
        for block in range(1, 80):
            assert raws(read_file(tmp_path / "x.txt", content, block)) == expected


def test_packs_are_neighbours(tmp_path):
    for name, size in (("a", 10), ("b", 95), ("c", 250), ("d", 3), ("e", 4)):
        (tmp_path / f"{name}.txt").write_bytes(b"x" * size)
    blocks = cut(resolve([str(tmp_path)]).files, 100)
    packs = pack(blocks, 100)
    assert [block for one in packs for block in one] == blocks
    assert [[block.size for block in one] for one in packs] == [[10], [95], [100], [100], [50, 3, 4]]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [3, 7, 2**20])
def test_arrays(tmp_path, monkeypatch, compression, indent, chunk):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    values = [{"text": 'a]},\n\\"😀'}, {"b": [[], {}]}, 12, 3.5, "s", None, [], {"c": "x" * 100}]
    content = BOM + b" " + json.dumps(values, indent=indent, ensure_ascii=False).encode() + b"\n"
    found = read_file(tmp_path / f"x.json{compression}", COMPRESS[compression](content))
    assert [json.loads(raw) for raw in raws(found)] == values


def test_an_empty_array(tmp_path):
    assert read_file(tmp_path / "x.json", b" [ ]\n") == []


def test_bytes_of_an_array_stay_what_they_are(tmp_path):
    assert raws(read_file(tmp_path / "x.json", b'["\xff", "\xc3\xa9"]')) == [b'"\xff"', b'"\xc3\xa9"']


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"a": 1}, {"a": ', "breaks off"),
        (b'[{"a": 1}, {"a": oops}, {"a": 2}]', "breaks off: Expecting value"),
        (b'[{"a": 1} {"a": 2}]', "breaks off: , expected, got {"),
        (b'[{"a": 1}', "breaks off"),
        (b"[1, 2", "breaks off: no ]"),
        (b'[{"a": 1},]', "breaks off: Expecting value"),
        (b"[" * 100_000, "breaks off"),
        (b'[{"a": 1}][', "more behind its array"),
    ],
)
def test_a_broken_array(tmp_path, content, reason):
    with pytest.raises(InputError, match=rf"x\.json cannot be read to its end: .*{reason}".replace("]", r"\]")):
        read_file(tmp_path / "x.json", content)


def test_an_element_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_CHUNK", 10)
    monkeypatch.setattr(records, "_LARGEST", 1000)
    with pytest.raises(InputError, match="no value ends within 1,000 characters"):
        read_file(tmp_path / "x.json", b'["' + b"x" * 10_000)


@pytest.mark.parametrize("compression", COMPRESS)
def test_csv(tmp_path, compression):
    content = BOM + b'id,text\r\n1,"a ""b"",\r\nc"\n\n2,\n3\n4,x,y\n5,\xff\n6,"a"b\n7,last'
    found = read_file(tmp_path / f"x.csv{compression}", COMPRESS[compression](content))
    assert found == [
        Record(0, b'{"id": "1", "text": "a \\"b\\",\\r\\nc"}'),
        Record(1, b""),
        Record(2, b'{"id": "2", "text": ""}'),
        Record(3, b"3", "csv:1 fields where the header has 2"),
        Record(4, b"4,x,y", "csv:3 fields where the header has 2"),
        Record(5, b'{"id": "5", "text": "\xff"}'),
        Record(6, b'6,"a"b', "csv:',' expected after '\"'"),
        Record(7, b'{"id": "7", "text": "last"}'),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'text\n1\n"never closed\n2\n3\n', "a quote opened in row 1 is never closed"),
        (b"text,text\n1,2\n", "must name each column once"),
        (b"text,\n1,2\n", "must name each column once"),
        (b"\n1,2\n", "must name each column once"),
    ],
)
def test_broken_csv(tmp_path, content, reason):
    with pytest.raises(InputError, match=rf"x\.csv cannot be read to its end: .*{reason}"):
        read_file(tmp_path / "x.csv", content)


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".txt"])
def test_a_compressed_file_that_is_cut_off(tmp_path, compression, ending):
    rng = random.Random(2)
    lines = [json.dumps({"text": rng.randbytes(40).hex()}) for _ in range(20_000)]
    content = f"[{','.join(lines)}]" if ending == ".json" else "\n".join(["{", *lines])
    whole = COMPRESS[compression](content.replace('"', "" if ending == ".csv" else '"').encode())
    with pytest.raises(InputError, match=rf"x{ending}{compression} cannot be read to its end: Truncated"):
        read_file(tmp_path / f"x{ending}{compression}", whole[:-1000])


def test_compressed_files_may_have_members(tmp_path):
    for compression, compress in COMPRESS.items():
        content = compress(b"{}\n{") + compress(b"}\n{}\n")
        assert raws(read_file(tmp_path / f"x.jsonl{compression}", content)) == [b"{}", b"{}", b"{}"]
