"""The demo corpus: the same thousands of records in every process, and no trace of the imports it takes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from zipspark.demo import corpus, own_docstring, write_corpus

SILENT = "import sys; from zipspark.demo import write_corpus; write_corpus(sys.argv[1]); "
NOT_IMPORTED = ["antigravity", "this", "tkinter", "turtle", "idlelib", "lib2to3", "test.support"]


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, str]]:
    return {record["id"]: record for record in corpus()}


def in_a_fresh_python(code: str, *arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )


def test_has_thousands_of_records_each_whole_and_unique():
    ids = []
    for record in corpus():
        assert list(record) == ["id", "source", "prompt", "response"]
        assert record["source"] == record["id"].split(".")[0]
        assert record["prompt"] == f"What does {record['id']} do?"
        assert record["response"].strip()
        ids.append(record["id"])
    assert len(ids) > 3000
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    "name",
    [
        "bisect",  # module
        "xml.etree.ElementTree",  # module inside packages
        "uuid.UUID",  # class
        "json.decoder.JSONDecoder.raw_decode",  # method
        "threading.Thread.daemon",  # property
        "math.sqrt",  # function, method, attribute in C
        "builtins.str.join",
        "datetime.timedelta.days",
    ],
)
def test_holds_every_kind_of_object(records, name):
    assert name in records


def test_dedents_docstrings():
    def indented():
        """First.

        Second.
            Indented.
        """

    assert own_docstring(indented) == "First.\n\nSecond.\n    Indented."


def test_names_an_object_once_where_it_was_defined(records):
    assert "json.decoder.JSONDecoder" in records
    assert "json.JSONDecoder" not in records  # re-exported
    assert "posixpath.join" in records
    assert "os.path.join" not in records
    assert "unittest.case.TestCase.assertEqual" in records
    assert "multiprocessing.process.BaseProcess.pid" not in records  # another name of `ident`


def test_leaves_out_private_names_and_test_packages(records):
    parts = {part for name in records for part in name.split(".")}
    assert not any(part.startswith("_") for part in parts)
    assert not any(".test." in name or ".tests." in name for name in records)


def test_keeps_equal_docstrings_of_different_objects(records):
    (_, copies), *_ = Counter(record["response"] for record in records.values()).most_common(1)
    assert copies > 1


def test_does_not_take_a_docstring_from_a_parent():
    class Parent:
        """Parent's."""

    class Child(Parent):
        pass

    assert own_docstring(Parent) == "Parent's."
    assert own_docstring(Child) is None
    assert own_docstring(Parent()) is None
    assert own_docstring(property(lambda self: None)) is None


def test_does_not_take_a_docstring_with_an_address():
    @dataclasses.dataclass
    class Point:
        origin: object = object()  # its repr is what the generated docstring shows

    assert " at 0x" in (Point.__doc__ or "")
    assert own_docstring(Point) is None


def test_is_the_same_in_every_process(tmp_path):
    for seed in ("1", "2"):
        in_a_fresh_python(SILENT, tmp_path / seed, hash_seed=seed)
    written = (tmp_path / "1").read_bytes()
    assert written == (tmp_path / "2").read_bytes()
    assert written.count(b"\n") > 3000


def test_imports_quietly_and_nothing_that_acts(tmp_path):
    code = SILENT + "print([name for name in sys.argv[2:] if name in sys.modules])"
    done = in_a_fresh_python(code, tmp_path / "corpus.jsonl", *NOT_IMPORTED)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_writes_one_json_object_a_line(tmp_path, records):
    rows = write_corpus(tmp_path / "corpus.jsonl")
    text = (tmp_path / "corpus.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert [json.loads(line) for line in text.split("\n")[:-1]] == list(records.values())
    assert rows == len(records)
    assert any(ord(char) > 127 for char in text)  # written as it is, not as \u escapes
