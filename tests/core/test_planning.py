"""What a plan is made of, without Spark: the sample of an input, rates, rules, and what is said."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from zipspark import planning_risks as rules
from zipspark.calibration import Selecting
from zipspark.config import SelectConfig
from zipspark.core.presets import content_hash
from zipspark.core.seen import Eye
from zipspark.core.selection import Quota
from zipspark.errors import InputError
from zipspark.forecast import Rates, Work, forecast
from zipspark.options import layered
from zipspark.report.planned import Found, Planned, Risk
from zipspark.spark.session import memory_setting
from zipspark.storage.inputs import resolve
from zipspark.storage.places import Place
from zipspark.storage.records import cut, read
from zipspark.storage.sampling import STRETCHES, copied, spread


def texts(count: int) -> list[str]:
    return [f"row {number:06d} " + "abcdefgh " * (number % 20) for number in range(count)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def copy_of(folder, tmp_path, limit):
    return copied(resolve([str(folder)]), Place.parse(tmp_path / "copy"), limit)


def records(copy) -> list[bytes]:
    return [record.raw for block in cut(copy.source.files) for record in read(block) if record.raw]


def table_of(copy) -> list[dict]:
    return [row for file in copy.source.files for row in pq.ParquetFile(file.path).read().to_pylist()]


# --- the sample ----------------------------------------------------------------------------------------------------


def test_a_small_parquet_input_is_copied_whole(folder, tmp_path):
    rows = [{"text": text, "nested": [{"a": 1}]} for text in texts(100)]
    pq.write_table(pa.Table.from_pylist(rows[:60]), folder / "a.parquet")
    pq.write_table(pa.Table.from_pylist(rows[60:]), folder / "b.parquet")
    copy = copy_of(folder, tmp_path, 10**6)
    assert copy.whole
    assert copy.rows == 100
    assert table_of(copy) == rows


def test_a_large_parquet_input_is_sampled_everywhere(folder, tmp_path):
    pool = texts(20_000)
    pq.write_table(pa.table({"text": pool}), folder / "a.parquet", row_group_size=1000)
    copy = copy_of(folder, tmp_path, 100_000)
    assert not copy.whole
    assert copy.rows == 20_000
    found = [row["text"] for row in table_of(copy)]
    assert 50_000 < sum(map(len, found)) < 150_000
    assert set(found) <= set(pool)
    thousands = {int(text[4:10]) // 1000 for text in found}
    assert len(thousands) >= STRETCHES
    assert max(thousands) - min(thousands) >= 15  # not the beginning alone
    mean = sum(map(len, pool)) / len(pool)
    assert sum(map(len, found)) / len(found) == pytest.approx(mean, rel=0.1)


def test_partition_folders_stay_columns(folder, tmp_path):
    for lang in ("de", "en"):
        (folder / f"lang={lang}").mkdir()
        pq.write_table(pa.table({"text": texts(50)}), folder / f"lang={lang}" / "a.parquet")
    copy = copy_of(folder, tmp_path, 10**6)
    assert copy.source.root is not None
    assert sorted(file.path.rpartition("/")[0][-7:] for file in copy.source.files) == ["lang=de", "lang=en"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "txt"])
def test_records_are_copied_as_they_are(folder, tmp_path, kind):
    rows = [{"text": f'{text} "quoted", ü', "id": str(number)} for number, text in enumerate(texts(50))]
    written = {
        "jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "json": json.dumps(rows, indent=1, ensure_ascii=False),
        "csv": "text,id\n" + "".join('"{}",{}\n'.format(row["text"].replace('"', '""'), row["id"]) for row in rows),
        "txt": "".join(row["text"] + "\n\n" for row in rows),
    }
    (folder / f"a.{kind}").write_text(written[kind], encoding="utf-8")
    source = resolve([str(folder)])
    copy = copied(source, Place.parse(tmp_path / "copy"), 10**6)
    assert (copy.rows, copy.how, copy.whole) == (50, "counted", True)
    assert copy.source.format == source.format
    assert records(copy) == [record.raw for block in cut(source.files) for record in read(block) if record.raw]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "jsonl.gz"])
def test_rows_of_a_large_input_are_estimated(folder, tmp_path, kind):
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts(60_000))]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "csv":
        text = "id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows)
    data = text.encode()
    (folder / f"a.{kind}").write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    copy = copy_of(folder, tmp_path, 200_000)
    assert not copy.whole
    assert copy.rows == pytest.approx(60_000, rel=0.15)
    assert 50_000 < sum(map(len, records(copy))) < 400_000


def test_a_bad_first_line_of_csv_is_not_its_header(folder, tmp_path):
    (folder / "a.csv").write_text("id,text\n1,a,b,c\n" + "".join(f"{number},text {number}\n" for number in range(9)))
    (folder / "b.csv").write_text("id,text,more\n10,other,x\n")
    copy = copy_of(folder, tmp_path, 10**6)
    (place,) = copy.source.files
    assert Place.parse(place.uri).read_text().splitlines()[0] == "id,text,more"
    assert copy.rows == 11


def test_many_small_files_are_enough(folder, tmp_path):
    for number in range(300):
        (folder / f"{number:03d}.jsonl").write_text(json.dumps({"text": "x" * 900}) + "\n")
    copy = copy_of(folder, tmp_path, 100_000)
    assert copy.rows == pytest.approx(300, rel=0.1)
    assert sum(map(len, records(copy))) > 80_000


def test_damage_and_nothing_are_bad_input(folder, tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), folder / "a.parquet")
    with pytest.raises(InputError, match="input holds no rows"):
        copy_of(folder, tmp_path, 1000)
    (folder / "a.parquet").unlink()
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "abc"}\n' * 50_000)[:-100])
    with pytest.raises(InputError, match="cannot be read to its end"):
        copy_of(folder, tmp_path, 10**8)


def test_spread_reaches_both_ends():
    assert spread(range(3), 8) == [0, 1, 2]
    found = spread(range(1000), 8)
    assert len(set(found)) == 8
    assert found[0] < 125 <= 875 <= found[-1]


# --- rates ---------------------------------------------------------------------------------------------------------


ALL_ALIKE = Quota("rows", 100)


def offered(count: int, **columns) -> pa.Table:
    made = [text.encode() for text in texts(count)]
    return pa.table(
        {
            "content": [content_hash(text) for text in made],
            "bytes": pa.array([len(text) for text in made], pa.int64()),
            "tokens": pa.array([None] * count, pa.int64()),
            "worth": pa.array([None] * count, pa.float64()),
            "group": pa.array(["long" if len(text) > 100 else "short" for text in made]),
            "view": pa.array(made, pa.binary()),
        }
        | columns
    )


def selecting(count: int = 2000, quota: Quota = ALL_ALIKE, **options) -> Selecting:
    by_ratio = {} if "preset" in options else {"objective": "ratio"}  # views are the texts
    config = layered(SelectConfig, {"budget": 100, **by_ratio, **options})
    return Selecting(offered(count), config, Eye(config, None), {}, quota)


def test_more_bytes_take_longer_and_no_less_than_in_proportion():
    ranks = selecting()
    # A long run and a short one are timed one after the other on a busy machine.
    assert ranks.seconds(100 * ranks.bytes, 0.1) > 20 * ranks.seconds(ranks.bytes, 0.1)
    assert ranks.seconds(ranks.bytes / 10, 0.1) < ranks.seconds(ranks.bytes, 0.1)


def test_picks_are_as_long_as_the_sample_says():
    ranks = selecting()
    mean = ranks.bytes / 2000
    assert ranks.mean(ranks.bytes, 1.0) == pytest.approx(mean)
    assert ranks.mean(100 * ranks.bytes, 0.1) <= max(mean, ranks.mean(ranks.bytes, 0.1))


@pytest.mark.parametrize(("group", "unit"), [("long", "rows"), ("short", "rows"), ("long", "bytes")])
def test_picks_are_as_long_as_those_of_the_groups_they_are_shared_out_to(group, unit):
    alone = Quota(unit, 1000, {group: 1000}, {"long": 0, "short": 0, group: 1000})
    ranks = selecting(budget={"rows": 1000, "bytes": "1000B"}[unit], quota=alone)
    assert (ranks.mean(ranks.bytes, 0.1) > 100) == (group == "long")


def test_rounds_cost_what_they_compress():
    rounds = selecting(preset="paper", k1=500, k2=50, k3=10)
    few, many = (rounds.seconds(rounds.bytes, share) for share in (0.05, 0.5))
    assert many > 4 * few  # ten times as many rounds
    assert rounds.seconds(10 * rounds.bytes, 0.5) > 5 * many


WORK = Work(
    rows=10**6,
    bytes=10**9,
    sampled=10**7,
    parts=42,
    levels=1,
    share=0.05,
    handed_up=2.0,
    subset=5 * 10**7,
    reading=100,
    cores=4,
)
RATES = Rates(score=4e-8, look=3e-8, moved=2e-8, sketch=3e-8, stream=1e-8)


def foreseen(work: Work = WORK, rates: Rates = RATES) -> dict[str, float]:
    spent = {"score": 6.0, "look": 5.0, "survey": 0.1}
    return forecast(work, spent, lambda size, share: size * (1e-8 + share * 1e-6), rates)


def test_seconds_are_those_of_the_sample_and_of_what_is_more():
    assert foreseen()["score"] == pytest.approx(6 + 0.99e9 * 4e-8 / 4)
    assert foreseen()["parts"] == pytest.approx(1 + (1e9 * 1.1e-7 + 0.99e9 * 2e-8) / 4)
    assert foreseen()["merge"] == pytest.approx(1 + 1e8 * 5.1e-7)
    whole = foreseen(replace(WORK, sampled=WORK.bytes))
    assert (whole["score"], whole["look"]) == (6.0, 5.0)


def test_cores_help_where_there_are_tasks_for_them():
    more = foreseen(replace(WORK, cores=8))
    assert all(more[stage] <= seconds for stage, seconds in foreseen().items())
    assert more["merge"] == foreseen()["merge"]  # one ranking
    one_task = replace(WORK, reading=1)
    assert foreseen(replace(one_task, cores=8))["score"] == foreseen(one_task)["score"]


def test_one_part_needs_no_merge():
    alone = foreseen(replace(WORK, parts=1, levels=0))
    assert alone["merge"] == 1.0  # what a job costs
    assert alone["parts"] == pytest.approx(1 + 1e9 * 6e-8 + 0.99e9 * 2e-8)


def test_crowded_cores_rank_slower():
    assert foreseen(rates=replace(RATES, crowded=2.0))["parts"] > foreseen()["parts"]


# --- rules ---------------------------------------------------------------------------------------------------------

FOUND = Found(
    input=("pool.jsonl",),
    format="json",
    rows=100_000,
    rows_how="counted",
    bytes=100_000_000,
    bytes_error=0.02,
    sample_rows=1000,
    sample_bytes=1_000_000,
    problems={},
    left_out=0,
    duplicates=0,
    guarded=0,
    layout="text",
    columns={"text": "string"},
    used=("text",),
    groups={"a": 60_000, "[b]": 40_000},
)


def config(**options) -> SelectConfig:
    return layered(SelectConfig, {"budget": 100, **options})


def test_bad_rows_stop_above_what_is_allowed():
    found = replace(FOUND, problems={"null": 12, "json": 3})
    (risk,) = rules._rows(config(), found)
    assert risk.stops
    assert "15 of 1,000" in risk.what
    assert "--max-bad-fraction 0.015" in risk.instead
    assert not list(rules._rows(config(max_bad_fraction=0.015), found))


def test_many_duplicates_are_said():
    (risk,) = rules._rows(config(dedup="off"), replace(FOUND, duplicates=200))
    assert "20% of the sample" in risk.what
    assert risk.instead.startswith("--dedup on")
    assert not list(rules._rows(config(), replace(FOUND, duplicates=50)))


@pytest.mark.parametrize(
    ("options", "subset", "says"),
    [
        ({"codec": "zlib"}, 40_000, "--codec zstd"),
        ({"codec": "zlib"}, 30_000, None),
        ({"window": "64KiB"}, 70_000, "--window 128KiB"),
        ({"window": "64KiB"}, 60_000, None),
        ({"window": "128MiB"}, 200 * 2**20, "--objective coverage"),
        ({"window": "64KiB", "objective": "coverage"}, 70_000, None),
    ],
)
def test_what_a_codec_does_not_see(options, subset, says):
    risks = [risk for risk in rules._codec(config(**options), FOUND, subset) if "zlib-ng" not in risk.what]
    assert [says in risk.instead for risk in risks] == ([True] if says else [])
    if "--window" in (says or ""):  # what is advised mends it
        assert not list(rules._codec(config(window=says.split()[1]), FOUND, subset))


def test_a_sample_above_a_part_or_a_node():
    assert not list(rules._sizes(config(), 10**6))
    (risk,) = rules._sizes(config(), 30 * 10**6)
    assert not risk.stops
    (risk,) = rules._sizes(config(node_cap="1MB"), 2 * 10**6)
    assert risk.stops
    assert "--node-cap 4MB" in risk.instead


def test_long_rounds_are_said():
    assert not list(rules._time(config(), {"parts": 10_000.0, "merge": 0.0}))
    (risk,) = rules._time(config(preset="paper"), {"parts": 10_000.0, "merge": 0.0})
    assert "167 minutes" in risk.what


@pytest.mark.parametrize(("said", "size"), [("512m", 2**29), ("8g", 2**33), ("1048576", 2**20), ("0", 0)])
def test_sizes_as_spark_writes_them(said, size):
    assert memory_setting(said, unit="b") == size


# --- what is said --------------------------------------------------------------------------------------------------

PLANNED = Planned(
    found=FOUND,
    samples=("a [bold]text[/bold] of its own",),
    budget="100 rows",
    subset_rows=100,
    subset_bytes=50_000,
    parts=5,
    tree="5 parts → driver",
    part_bytes=20_000_000,
    task_memory=300_000_000,
    driver_bytes=100_000,
    driver_memory=200_000_000,
    cores=2,
    seconds={"start": 4.0, "score": 6.0},
    risks=(Risk(True, "15 rows are bad", "mend them"),),
    notes=("a note",),
    took=8.0,
)


def shown(planned: Planned) -> str:
    said = io.StringIO()
    Console(width=100, file=said).print(planned)
    return said.getvalue()


def test_a_plan_is_shown_as_it_is():
    said = shown(PLANNED)
    for piece in ("100,000 (counted)", "100.0 MB ± 2%", "5 parts → driver", "10.0 s", "a [bold]text[/bold] of", "[b]"):
        assert piece in said
    assert "stops  15 rows are bad" in said
    assert "→ mend them" in said
    assert "Nothing in the sample would go wrong" in shown(replace(PLANNED, risks=()))


def test_a_plan_is_one_json_object():
    said = json.loads(json.dumps(PLANNED.to_dict()))
    assert said["total_seconds"] == 10.0
    assert said["found"]["rows"] == 100_000
    assert said["risks"] == [{"stops": True, "what": "15 rows are bad", "instead": "mend them"}]
