"""The version log: what a version can be, how its rows come together, and files that several write at once."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark.entropy.versions import LOG, Version, addition, append, from_table, merged, read_log, to_table
from zipspark.errors import InputError, UsageError

AT = datetime(2026, 3, 1, 6, tzinfo=UTC)
FULL = Version(
    "v4, final",
    at=AT,
    ratio=3.9,
    codec="zlib",
    rows=1000,
    bytes=2_000_000,
    mean_ratio=1.7,
    loss=1.83,
    loss_from='run "7"',
    tokens=500_000,
    score=6.2,
    held_out_bits=2.31,
    groups={"chat, long": 4.1, "code": 3.25},
    data="s3a://box/v4",
)
KINDS = (".csv", ".parquet")


def log(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- a version --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss": float("nan")}, "loss of version v must be at least 0 and finite, got nan; leave it out"),
        ({"loss": float("inf")}, "loss of version v .* got inf"),
        ({"loss": -0.1}, "loss .* at least 0"),
        ({"ratio": 0.0}, "ratio .* above 0"),
        ({"score": float("-inf")}, "score of version v must be a number and finite"),
        ({"ratio": "3.9"}, "ratio .* got '3.9'"),
        ({"ratio": True}, "ratio .* got True"),
        ({"tokens": 0}, "tokens .* at least 1"),
        ({"rows": 1.5}, "rows of version v must be a whole number, got 1.5"),
        ({"groups": {"code": float("nan")}}, r"groups\[code\] .* got nan"),
        ({"codec": "xz"}, "codec of version v must be one of zlib, zstd, given, got 'xz'"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(values, said):
    with pytest.raises(InputError, match=said):
        Version("v", **values)


def test_a_version_needs_a_name():
    with pytest.raises(InputError, match="version must be a name"):
        Version(" ")


def test_times_are_utc_whatever_zone_they_were_given_in():
    there = timezone(timedelta(hours=2))
    assert Version("v", at=datetime(2026, 3, 1, 8, tzinfo=there)).at == AT
    assert Version("v", at=datetime(2026, 3, 1, 6)).at == AT


def test_a_version_as_json_has_no_nan_and_no_codec_without_a_ratio():
    assert json.loads(json.dumps(FULL.to_dict(), allow_nan=False))["groups"] == FULL.groups
    assert Version("v", score=-1).to_dict()["codec"] is None


# --- rows -> versions -------------------------------------------------------------------------------------------------


def test_the_last_row_of_a_name_wins_field_by_field_and_nulls_do_not_overwrite():
    rows = [
        Version("a", ratio=3.0, codec="zlib", loss=1.9),
        Version("b", ratio=3.5),
        Version("a", score=6.0),
        Version("a", loss=1.8, groups={"x": 2.0}),
    ]
    first, second = merged(rows)
    assert (first.ratio, first.loss, first.score, first.groups) == (3.0, 1.8, 6.0, {"x": 2.0})
    assert first.codec == "zlib"  # the later rows measured nothing of the whole
    assert second.version == "b"


def test_rows_of_a_table_are_taken_by_their_time():
    rows = [
        Version("b", at=AT + timedelta(days=2), ratio=3.0),
        Version("a", at=AT + timedelta(days=3), loss=1.5),
        Version("a", at=AT, loss=1.9, ratio=2.0),
    ]
    assert [(row.version, row.loss) for row in merged(rows)] == [("a", 1.5), ("b", None)]
    assert merged(rows)[0].at == AT
    timeless = [Version("b"), *rows[1:]]  # one has none: as they stand
    assert [(row.version, row.loss) for row in merged(timeless)] == [("b", None), ("a", 1.9)]


values = st.none() | st.floats(0.5, 9.0)
versions = st.builds(Version, st.sampled_from("abc"), ratio=values, loss=values, score=values, codec=st.just("zstd"))


@given(st.lists(versions, max_size=12))
def test_merged_is_what_a_dictionary_filled_row_by_row_gives(rows):
    expected: dict[str, dict[str, float]] = {}
    for row in rows:
        given_values = {name: getattr(row, name) for name in ("ratio", "loss", "score") if getattr(row, name)}
        expected.setdefault(row.version, {}).update(given_values)
    found = merged(rows)
    assert [row.version for row in found] == list(expected)
    for row in found:
        assert {n: getattr(row, n) for n in ("ratio", "loss", "score") if getattr(row, n)} == expected[row.version]


def test_a_row_that_corrects_comes_last_even_where_a_clock_is_behind():
    known = [Version("a", at=AT, ratio=3.0)]
    row = addition(known, Version("a", at=AT - timedelta(hours=1), ratio=3.5), replace_values=True)
    assert row is not None
    assert merged([*known, row])[0].ratio == 3.5


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_gives_back_what_went_in():
    table = to_table([FULL, Version("bare")])
    assert table.schema == LOG
    assert from_table(table)[:2] == [FULL, Version("bare")]


def test_a_foreign_table_is_read_by_name_and_type():
    table = pa.table(
        {
            "loss": pa.array([1.5, None], pa.float32()),
            "comment": ["x", "y"],
            "version": ["a", "b"],
            "rows": [10.0, 20.0],  # pandas, of a column with gaps
            "at": pa.array([datetime(2026, 3, 1, 6), datetime(2026, 3, 2)], pa.timestamp("ns")),
            "groups": pa.array([[("x", 2.0)], None], pa.map_(pa.string(), pa.float64())),
        }
    )
    assert from_table(table) == [
        Version("a", at=AT, loss=1.5, rows=10, groups={"x": 2.0}),
        Version("b", at=datetime(2026, 3, 2, tzinfo=UTC), rows=20),
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"name": ["a"], "ratio": [3.0]}, "column 'name' is called 'version' in a log; rename it"),
        ({"version": ["a"], "Ratio": [3.0]}, "column 'Ratio' is called 'ratio'"),
        ({"version": ["a"], "R": [3.0], "L": [1.0]}, "column 'R' is called 'ratio'"),
        ({"version": ["a"], "train loss": [3.0]}, "column 'train loss' is called 'loss'"),
        ({"data": ["a"]}, "no column version; columns are 'data', a log's are version, at, ratio"),
        ({"version": ["a"], "ratio": ["high"]}, "column ratio must be double: .*high"),
        ({"version": ["a"], "rows": [1.5]}, "column rows must be int64"),
        ({"version": ["a", "b"], "loss": [1.0, float("nan")]}, "log, row 2: loss of version b .* got nan"),
        ({"version": ["a", None]}, "row 2: version must be a name"),
        ({"version": ["a"], "groups": ["{"]}, "row 1: groups must be a JSON object of group: ratio, got '{'"),
        ({"version": ["a"], "groups": ["[[1]]"]}, "row 1: groups must be a JSON object"),
        ({"version": ["a"], "groups": ['{"x": "y"}']}, r"row 1: groups\[x\] of version a must be above 0"),
    ],
)
def test_a_table_that_is_no_log_says_what_to_change(columns, said):
    with pytest.raises(InputError, match=said):
        from_table(pa.table(columns))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_is_made_grows_and_is_filled_in(tmp_path, kind):
    path = tmp_path / f"my log{kind}"
    append(path, Version("v1", ratio=1 / 3, codec="zlib", at=AT))
    append(path, FULL)
    now = append(path, Version("v1", score=-0.1))
    assert now == Version("v1", at=AT, ratio=1 / 3, codec="zlib", score=-0.1)
    assert read_log(path) == [now, FULL]
    assert [name.name for name in tmp_path.iterdir() if not name.name.endswith(".lock")] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_there_is_refused_but_to_say_the_same_or_to_correct(tmp_path, kind):
    path = tmp_path / f"log{kind}"
    append(path, Version("v1", ratio=3.0, loss=1.5))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"version v1 is in the log already with another ratio 3\.0 \(now 3\.5\)"):
        append(path, Version("v1", ratio=3.5, loss=1.5))
    with pytest.raises(InputError, match=r"with another codec 'given' \(now 'zlib'\)"):
        append(path, Version("v1", groups={"code": 2.0}, codec="zlib"))
    append(path, Version("v1", ratio=3.0))  # a job that is tried again
    assert path.read_bytes() == before
    assert append(path, Version("v1", ratio=3.5), replace_values=True).ratio == 3.5
    assert read_log(path)[0].ratio == 3.5
    assert read_log(path)[0].loss == 1.5


def test_append_stamps_the_time(tmp_path):
    before = datetime.now(UTC)
    stamped = append(tmp_path / "log.csv", Version("v1")).at
    assert stamped is not None
    assert before <= stamped <= datetime.now(UTC)


def test_a_foreign_csv_keeps_its_columns_and_gets_those_it_lacks(tmp_path):
    path = log(tmp_path, "\ufeffowner,version,ratio\r\nann,v1,3.5\r\n\r\n,,\r\nbob,v2,3.6")
    append(path, Version("v3", ratio=3.7, loss=1.2, loss_from='a "b",\nc'))
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig", newline="")))
    assert [row["owner"] for row in rows] == ["ann", "bob", ""]
    assert list(rows[0])[:3] == ["owner", "version", "ratio"]
    assert [row.ratio for row in read_log(path)] == [3.5, 3.6, 3.7]
    assert read_log(path)[2].loss_from == 'a "b",\nc'


def test_a_csv_that_lacks_nothing_only_grows_at_its_end(tmp_path):
    path = log(tmp_path, "note,at,codec,version,ratio\nx,2026-03-01,zlib,v1,3.5")
    before = path.read_bytes()
    append(path, Version("v2", ratio=3.6, codec="zlib"))
    assert path.read_bytes().startswith(before + b"\n,20")
    assert [row.at is None for row in read_log(path)] == [False, False]


def test_a_foreign_parquet_keeps_its_columns(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"owner": ["ann"], "version": ["v1"], "ratio": pa.array([3.5], pa.float32())}), path)
    append(path, FULL)
    assert pq.read_table(path).column("owner").to_pylist() == ["ann", None]
    assert read_log(path) == [Version("v1", ratio=3.5), FULL]


@settings(max_examples=60)
@given(cut=st.integers(1, 250), text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8))
def test_a_row_that_was_cut_off_anywhere_is_left_out_and_replaced(tmp_path_factory, cut, text):
    """Wherever a killed writer stopped: the rows before are read, and the next append leaves a whole file."""
    path = tmp_path_factory.mktemp("cut") / "log.csv"
    append(path, Version("v1", ratio=3.5, at=AT))
    whole = path.read_bytes()
    append(path, Version("v2", ratio=3.6, at=AT + timedelta(1), score=1.5, data=f"ä/{text}".strip()))
    data = path.read_bytes()
    path.write_bytes(data[: max(len(whole) + 1, len(data) - cut)])
    found = read_log(path)
    assert found[0] == Version("v1", ratio=3.5, at=AT)
    # What the row said before its last field is whole or not there: no number is ever half read.
    assert [(row.version, row.ratio, row.score) for row in found[1:]] in ([], [("v2", 3.6, 1.5)])
    append(path, Version("v3", ratio=3.7, at=AT + timedelta(2)))
    assert path.read_bytes().endswith(b'"\n')
    assert read_log(path) == [*found, Version("v3", ratio=3.7, at=AT + timedelta(2))]


def test_a_row_that_was_cut_off_is_said(tmp_path, caplog):
    path = log(tmp_path, "version,ratio,loss\nv1,3.5,1.5\nv2,3.")
    with caplog.at_level(logging.WARNING, "zipspark"):
        assert len(read_log(path)) == 1
    assert "its last row was cut off" in caplog.text
    assert len(read_log(log(tmp_path, "version,ratio,loss\nv1,3.5,1.5\nv2,3.6,1.4"))) == 2  # an editor's last line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "log .*log.csv is empty"),
        ("\n\n", "is empty"),
        ("version;ratio\nv1;3.5\n", "no column version; columns are 'version;ratio'"),
        ("version,ratio\nv1,3.5\nv2,n/a\n", "line 3: ratio must be a number such as 3.92, got 'n/a'; leave it empty"),
        ("version,loss\nv1,nan\n", "line 2: loss of version v1 .* got nan"),
        ("version,rows\nv1,12.5\n", "line 2: rows of version v1 must be a whole number, got 12.5"),
        ("version,at\nv1,yesterday\n", "line 2: at must be a time such as .*, got 'yesterday'"),
        ("version,groups\nv1,chat\n", "line 2: groups must be a JSON object"),
        ("version,ratio\nv1,3.5,9\n", "line 2 has 3 fields, the header has 2"),
        ("version,ratio\nv1\nv2,3\n", "line 2 has 1 fields, the header has 2"),
        ('version,ratio\nv1,"3\nv2,3\n', "line 2: unexpected end of data; is a quote missing"),
        ("version,version\nv1,v1\n", "column version is there twice"),
        ("version,ratio\nv1,3.5\n,3.6\n", "line 3: version must be a name"),
        (b"version,data\nv1,\xff\n", "is no UTF-8 text"),
    ],
)
def test_a_csv_that_is_no_log_says_where_and_what_to_change(tmp_path, text, said):
    path = log(tmp_path, text)
    with pytest.raises(InputError, match=said):
        read_log(path)
    if text:  # and is left alone; an empty file is a log's beginning
        with pytest.raises(InputError):
            append(path, Version("v9"))
        assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"must be a path that ends in \.csv or \.parquet"):
        read_log(tmp_path / "log.json")
    with pytest.raises(InputError, match="is not there"):
        read_log(tmp_path / "none.csv")
    with pytest.raises(InputError, match="must be a local"):
        read_log("s3://box/log.csv")
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="is no Parquet file"):
        read_log(tmp_path / "bad.parquet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_log(tmp_path / "folder.csv")
    with pytest.raises(InputError, match="cannot be written"):
        append(tmp_path / "none" / "log.csv", Version("v1"))


def write_many(path: Path, writer: int, count: int) -> None:
    for number in range(count):
        append(path, Version(f"w{writer}-{number}", ratio=3.0 + number, data="x" * 300))


@pytest.mark.parametrize("kind", KINDS)
def test_writers_at_once_lose_no_row(tmp_path, kind):
    path, writers, count = tmp_path / f"log{kind}", 4, 12
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "fork")
    processes = [context.Process(target=write_many, args=(path, writer, count)) for writer in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * writers
    found = read_log(path)
    assert sorted(row.version for row in found) == sorted(f"w{w}-{n}" for w in range(writers) for n in range(count))


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(tmp_path):
    filelock = pytest.importorskip("filelock")
    with filelock.FileLock(tmp_path / ".log.csv.lock"), pytest.raises(InputError, match="another process for 0"):
        append(tmp_path / "log.csv", Version("v1"), wait=0.1)


def test_without_filelock_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(UsageError, match=r"needs filelock. Run: pip install 'zipspark\[entropy\]'"):
        append(tmp_path / "log.csv", Version("v1"))


def test_what_spreadsheets_write_is_read(tmp_path):
    path = log(tmp_path, "\ufeffVersion ,ratio\r\n")
    with pytest.raises(InputError, match="column 'Version' is called 'version'"):
        read_log(path)
    path = log(tmp_path, "\ufeffversion, ratio\r\n v1 , 3.5 \r\n")
    assert read_log(path) == [Version("v1", ratio=3.5)]
