"""The report: its facts are those of ledger and manifest, it is made with OUT or again, and never costs a run."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from launching import once
from pools import WORDS, rows
from terminal import stages

import zipspark
from zipspark import reporting, rerunning, selected
from zipspark.cli import run
from zipspark.config import EngineOptions
from zipspark.core.seen import lowest_share
from zipspark.errors import InputError
from zipspark.report.facts import MOST_TEXT, Facts
from zipspark.spark import report_facts

MARKER = "zanzibarite"
OPTIONS = {"budget": "60", "group_column": "source", "parts": 4, "max_bad_fraction": 0.05, "where": "id != 'row-00010'"}


def near_copies() -> list[str]:
    """A long text of its own, each time with one word more of it changed: each is closest to its neighbours."""
    drawn = random.Random(5)
    words = [f"{drawn.choice(WORDS)}{drawn.randrange(100)}" for _ in range(150)]
    return [" ".join([*(f"{MARKER}{number}" for number in range(at)), *words[at:]]) for at in range(15)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """Rows of three groups, near-copies, a long text, and two records that are none."""
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    lines = [json.dumps(row) for row in rows(300)]
    lines += [json.dumps({"id": f"near-{at}", "source": "web", "text": text}) for at, text in enumerate(near_copies())]
    lines += [json.dumps({"id": "long", "source": "books", "text": f"{' '.join(WORDS)} {MARKER} " * 200})]
    lines += ['{"id": "bad", "source": "web", "text": ["' + MARKER + '"]}', '{"id": "worse", "text": ' + MARKER]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture(autouse=True)
def _session(spark):
    """The commands find this session running."""


def command(pool: Path, out: Path, *more: str) -> list[str]:
    flags = [text for name, value in OPTIONS.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return ["select", str(pool), "--output", str(out), *flags, "--quiet", *more]


@pytest.fixture(scope="module")
def whole(spark, pool, tmp_path_factory) -> Path:
    """What select writes; nobody changes it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(command(pool, out)) == 0
    return out


@pytest.fixture
def out(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.fixture(scope="module")
def full_and_said(whole, tmp_path_factory) -> tuple[reporting.Report, str]:
    logger, heard = logging.getLogger("zipspark"), logging.StreamHandler(io.StringIO())
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        file = str(tmp_path_factory.mktemp("full") / "full.html")
        return reporting.report(asked(whole, quiet=False), file, full=True), heard.stream.getvalue()
    finally:
        logger.setLevel(level)
        logger.removeHandler(heard)


@pytest.fixture(scope="module")
def full(full_and_said) -> reporting.Report:
    return full_and_said[0]


def asked(out: Path, quiet: bool = True) -> EngineOptions:
    return EngineOptions(output=str(out), quiet=quiet)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def shown(facts: Facts) -> Facts:
    """Without what differs from run to run."""
    return replace(facts, manifest={}, full=None, summary=replace(facts.summary, seconds={}, output=None))


# --- with OUT --------------------------------------------------------------------------------------------------------


@once
def test_select_writes_it_and_the_facts_are_those_of_ledger_and_manifest(pool, whole):
    assert names_in(whole) == ["ledger", "manifest.json", "metrics", "quarantine", "report.html", "subset"]
    html = (whole / "report.html").read_text()
    assert html.startswith("<!DOCTYPE html>")
    assert MARKER in html

    facts = zipspark.select(str(pool), **OPTIONS).facts()
    ledger = pq.read_table(whole / "ledger").to_pylist()
    manifest = json.loads((whole / "manifest.json").read_text())
    decisions = Counter(row["decision"] for row in ledger)
    assert facts.manifest["checksum"] == manifest["checksum"]
    assert "summary" not in facts.manifest
    assert {histogram.name for histogram in facts.histograms} == {"bytes", "ratio"}
    for histogram in facts.histograms:
        assert sum(histogram.selected) == decisions["selected"] == manifest["selected"]
        assert sum(histogram.not_selected) == decisions["not_selected"]
        assert list(histogram.edges) == sorted(histogram.edges)
        values = [row[histogram.name] for row in ledger if row["decision"] == "not_selected"]
        assert np.histogram(values, histogram.edges)[0].tolist() == list(histogram.not_selected)

    excluded = {(found.decision, found.reason): found for found in facts.excluded}
    codes = Counter(
        (row["decision"], row["reason"].split(":")[0] if row["decision"] in ("guarded", "quarantined") else "")
        for row in ledger
        if row["decision"] not in ("selected", "not_selected")
    )
    assert {kind: found.rows for kind, found in excluded.items()} == codes
    assert {("duplicate", ""), ("guarded", "where"), ("quarantined", "json"), ("quarantined", "type")} <= codes.keys()
    for (decision, _), found in excluded.items():
        assert 0 < len(found.examples) <= found.rows
        of_decision = {row["zip_id"] for row in ledger if row["decision"] == decision}
        assert {example.zip_id for example in found.examples if ":" not in example.zip_id} <= of_decision
    assert MARKER in excluded["quarantined", "json"].examples[0].text
    assert excluded["guarded", "where"].examples[0].text is None  # it was never offered

    picked = sorted((row for row in ledger if row["decision"] == "selected"), key=lambda row: row["rank"])
    ids = [row["zip_id"] for row in picked]
    assert [example.zip_id for example in facts.first] == ids[:10]
    assert [example.zip_id for example in facts.last] == ids[-10:]
    assert [example.rank for example in facts.first] == list(range(10))
    assert facts.ranking[-1].samples == len(ids)
    assert facts.ranking[-1].bytes == sum(row["bytes"] for row in picked)
    assert len(facts.ranking) == len(ids)  # few picks: each is a stretch
    assert [point.marginal_ratio for point in facts.ranking] == pytest.approx([row["marginal_ratio"] for row in picked])


@once
def test_samples_are_those_of_the_lowest_content_hash_and_say_what_is_left_out(pool, whole, monkeypatch):
    monkeypatch.setattr(report_facts, "_SAMPLES", 40)
    chosen = zipspark.select(str(pool), **OPTIONS)
    samples = chosen.facts().samples
    choosable = chosen.ledger.where("decision in ('selected', 'not_selected')")
    ids = sorted(row.zip_id for row in choosable.select("zip_id").collect())
    assert lowest_share(80 / len(ids)) is not None  # not all of them are fetched
    assert [example.zip_id for example in samples] == ids[:40]
    texts = {example.zip_id: example for example in (*samples, *chosen.facts().first)}
    for example in texts.values():
        assert len(example.text.encode()) + example.left_out == example.bytes  # ASCII


@once
def test_it_is_the_same_again_from_out_and_its_input(pool, whole, out):
    (out / "report.html").write_text("old")
    again = reporting.report(asked(out))
    assert again.path == str(out / "report.html")
    assert (out / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert names_in(out) == names_in(whole)
    assert names_in(out.parent) == ["out"]
    assert shown(again.facts) == shown(zipspark.select(str(pool), **OPTIONS).facts())


@once
def test_rows_without_a_place_are_found_again(spark, tmp_path):
    spark.createDataFrame(rows(60)).createOrReplaceTempView("report_view")
    try:
        assert run(["select", "report_view", "--output", str(tmp_path / "out"), "--budget", "9", "--quiet"]) == 0
        facts = reporting.report(asked(tmp_path / "out")).facts
    finally:
        spark.catalog.dropTempView("report_view")
    texts = {row["text"] for row in rows(60)}
    assert len(facts.first) == 9
    assert all(example.text in texts for example in facts.first)


@once
def test_hidden_text_is_not_in_it(pool, tmp_path, capfd):
    out = tmp_path / "out"
    assert run(command(pool, out, "--hide-text")) == 0
    assert MARKER not in (out / "report.html").read_text()
    assert WORDS[0] not in (out / "report.html").read_text()
    assert run(["report", str(out), "--quiet", "--full"]) == 0  # what a run hid stays hidden
    assert MARKER not in (out / "report.html").read_text()
    assert run([*command(pool, out), "--overwrite"]) == 0
    assert MARKER in (out / "report.html").read_text()
    assert run(["report", str(out), "--quiet", "--hide-text"]) == 0
    assert MARKER not in (out / "report.html").read_text()
    assert run([*command(pool, out), "--overwrite", "--ids-only"]) == 0
    assert MARKER not in (out / "report.html").read_text()
    assert MARKER not in "".join(capfd.readouterr())


@once
@pytest.mark.delta
def test_of_delta_tables_a_session_with_delta_is_asked_for(pool, tmp_path, monkeypatch):
    started = []
    start = rerunning.start_session
    monkeypatch.setattr(rerunning, "start_session", lambda *given: started.append(given) or start(*given))
    for format, has_delta in (("delta", True), ("parquet", False)):
        out = tmp_path / format
        assert run([*command(pool, out), "--format", format]) == 0
        assert run(["report", str(out), "--quiet"]) == 0
        assert ("delta" in [source.format for source in started[-1][2:] if source is not None]) == has_delta


def test_saved_from_python_it_is_there_too(spark, tmp_path):
    chosen = zipspark.select(spark.createDataFrame(rows(60)), 9)
    chosen.save(str(tmp_path / "out"), format="jsonl")
    with pytest.raises(InputError, match="give another name, or overwrite=True to replace it"):
        chosen.save(str(tmp_path / "out"))
    assert (tmp_path / "out" / "report.html").read_text() == chosen.report()
    assert repr(chosen).startswith("Selection(9 samples, ")
    assert run(["report", str(tmp_path / "out"), "--quiet"]) == 3  # its input is nowhere


@once
@pytest.mark.parametrize("hide", [False, True])
def test_a_page_that_fails_costs_no_run(pool, tmp_path, monkeypatch, capsys, hide):
    def fail(_):
        raise KeyError(MARKER)

    monkeypatch.setattr(selected, "page", fail)
    assert run(command(pool, tmp_path / "out", *(["--hide-text"] if hide else []))) == 0
    assert names_in(tmp_path / "out") == ["ledger", "manifest.json", "metrics", "quarantine", "subset"]
    said = capsys.readouterr().err
    assert "report.html is left out, zipspark report makes it later: " in said
    assert (MARKER in said) is not hide


@once
def test_interrupted_while_it_is_made_nothing_is_left(pool, tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(selected, "page", interrupt)
    assert run(command(pool, tmp_path / "out")) == 130
    assert names_in(tmp_path) == []


# --- again -----------------------------------------------------------------------------------------------------------


def test_full_compares_with_other_sets(full, whole):
    subset = next(line for line in full.facts.summary.sets if line.name == "subset")
    sets = {line.name: line for line in full.facts.full.sets}
    ledger = [row for row in pq.read_table(whole / "ledger").to_pylist() if row["decision"].endswith("selected")]
    for name, key in (("longest", lambda row: -row["bytes"]), ("lowest own ratio", lambda row: row["ratio"])):
        best = sorted(ledger, key=key)
        held = np.cumsum([row["bytes"] for row in best])
        expected = int(np.searchsorted(held, subset.bytes, side="right"))
        assert sets.get(name) is None or abs(sets[name].samples - expected) <= 3
        assert name not in sets or subset.bytes - 2000 < sets[name].bytes <= subset.bytes
    assert sets["lowest own ratio"].ratio > 1


def test_full_finds_the_near_copies(full):
    clusters = full.facts.full.clusters
    planted = {text: at for at, text in enumerate(near_copies())}
    found = [cluster for cluster in clusters if cluster.pair[0].text in planted]
    assert found
    assert found[0].samples > 5
    assert found[0].samples * 0.9 * len(near_copies()[0]) < found[0].bytes
    assert found[0].ratio > 5
    first, last = found[0].pair
    assert abs(planted[first.text] - planted[last.text]) == 1
    assert full.facts.full.groups >= len(clusters)
    assert (first.rank is None) is (found[0].selected == 0)
    for cluster in clusters:
        assert 0 <= cluster.selected <= cluster.samples
        assert cluster.samples > 1


def test_full_shows_coverage_groups_and_what_parts_cost(full):
    computed = full.facts.full
    subset = next(line for line in full.facts.summary.sets if line.name == "subset")
    curves = {curve.name: curve for curve in computed.coverage}
    assert set(curves) == {"subset", "random"}
    assert curves["subset"].bytes[-1] == subset.bytes
    for curve in curves.values():
        assert list(curve.share) == sorted(curve.share)
        assert list(curve.bytes) == sorted(curve.bytes)
        assert 0 < curve.share[-1] <= 1
    longest = max(len(text) for text in near_copies())
    assert subset.bytes - longest < curves["random"].bytes[-1] <= subset.bytes  # it ends with the sample that fits
    assert set(computed.matrix["groups"]) == {"web", "books", "(none)"}
    assert computed.parts.parts == 4
    assert computed.parts.subset_bytes > 0
    assert 0 < computed.parts.common <= 1
    assert computed.parts.one > 1
    assert computed.parts.many > 1
    said = json.loads(json.dumps(full.to_dict()))
    assert [line["name"] for line in said["sets"]][:3] == ["pool", "subset", "random"]
    assert said["report"] == full.path
    assert said["coverage"]["subset"] == curves["subset"].share[-1]
    assert MARKER not in json.dumps(said)


def test_full_counts_its_stages(full_and_said):
    choice = ["survey", "parts", "merge"]
    names = ["score", "look", "compare", *choice, *choice, "report"]
    assert stages(full_and_said[1]) == [f"{number}/10 {name}" for number, name in enumerate(names, 1)]


@once
def test_coverage_is_what_until_goes_by(pool, tmp_path, caplog):
    out, limit = tmp_path / "out", ["--objective", "coverage", "--until", "coverage=0.7"]
    assert run(["select", str(pool), "--output", str(out), *limit, "--max-bad-fraction", "0.05", "--quiet"]) == 0
    with caplog.at_level(logging.INFO, "zipspark"):
        facts = reporting.report(asked(out, quiet=False), full=True).facts
    said = "\n".join(caplog.messages)
    assert stages(said) == ["1/4 score", "2/4 look", "3/4 compare", "4/4 report"]  # there was one part
    assert facts.ranking == ()  # without marginal ratios there is no curve
    subset = next(curve for curve in facts.full.coverage if curve.name == "subset")
    assert subset.share[-1] >= 0.7
    assert subset.share[-2] < 0.7
    assert facts.full.matrix is None
    assert facts.full.parts is None


@once
def test_the_command_says_where_it_is(out, capsys):
    file = out.parent / "elsewhere" / "page.html"
    assert run(["report", str(out), "--output", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out == f"report: {file}\n"
    assert stages(said.err) == ["1/2 read", "2/2 report"]
    assert names_in(file.parent) == ["page.html"]
    assert run(["report", str(out), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(out / "report.html")


@pytest.mark.delta
def test_of_a_schema_it_goes_where_it_is_told(spark, pool, tmp_path, capsys):
    name, file = tmp_path.name, tmp_path / "page.html"
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{tmp_path}/schema'")
    try:
        given = ["--output-schema", f"spark_catalog.{name}", "--work-dir", str(tmp_path), "--budget", "9", "--quiet"]
        assert run(["select", str(pool), *given, "--max-bad-fraction", "0.05"]) == 0
        assert run(["report", f"spark_catalog.{name}", "--quiet"]) == 2
        assert "output must be given: --output FILE" in capsys.readouterr().err
        assert run(["report", f"spark_catalog.{name}", "--output", str(file), "--work-dir", str(tmp_path)]) == 0
    finally:
        spark.sql(f"DROP SCHEMA {name} CASCADE")
    assert MARKER in file.read_text()


@once
def test_an_input_that_has_changed_is_refused(pool, whole, out, capsys):
    own = Path(shutil.copy2(pool, out.parent / "pool.jsonl"))
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["config"]["input"] = [str(own)]
    (out / "manifest.json").write_text(json.dumps(manifest))
    os.utime(own, ns=(1, 1))
    before = (out / "report.html").read_bytes()
    assert run(["report", str(out), "--quiet"]) == 3
    said = capsys.readouterr().err
    assert f"{out} cannot be reported on, its input has changed: input.sha256 was " in said
    own.unlink()
    assert run(["report", str(out), "--quiet"]) == 3
    assert f"{own} does not exist" in capsys.readouterr().err
    assert (out / "report.html").read_bytes() == before
    assert names_in(out.parent) == ["out"]


@once
def test_what_is_no_result_or_cannot_be_written_is_refused(out, tmp_path, capsys):
    assert run(["report", str(tmp_path / "none")]) == 3
    assert "none is no finished result of zipspark" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(["report", str(out), "--output", str(tmp_path / "file" / "page.html")]) == 3
    assert "is a file, not a folder" in capsys.readouterr().err
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["summary"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run(["report", str(out)]) == 3
    assert "its manifest has no summary" in capsys.readouterr().err


@once
def test_a_ledger_of_another_result_is_refused(out, capsys):
    ledger = pq.read_table(out / "ledger")
    shutil.rmtree(out / "ledger")
    (out / "ledger").mkdir()
    pq.write_table(ledger.slice(0, 200), out / "ledger" / "part-0.parquet")
    assert run(["report", str(out), "--quiet"]) == 3
    assert "ledger is not what was written" in capsys.readouterr().err


# --- the curve -------------------------------------------------------------------------------------------------------


def test_the_ranking_is_cut_into_stretches():
    sizes = np.arange(1, 1001)
    ratios = np.linspace(1, 5, 1000)
    points = report_facts.ranking(pa.table({"bytes": sizes, "marginal_ratio": ratios}))
    assert len(points) == 200
    assert [point.samples for point in points] == list(range(5, 1001, 5))
    assert points[-1].bytes == sizes.sum()
    assert points[0].marginal_ratio == pytest.approx(sizes[:5].sum() / (sizes[:5] / ratios[:5]).sum())
    assert [point.marginal_ratio for point in points] == sorted(point.marginal_ratio for point in points)
    assert report_facts.ranking(pa.table({"bytes": [1], "marginal_ratio": pa.nulls(1, pa.float64())})) == ()
    assert report_facts.ranking(pa.table({"bytes": pa.array([], pa.int64()), "marginal_ratio": [0.0][:0]})) == ()


def test_texts_are_cut_where_a_page_ends(spark):
    ledger = spark.createDataFrame(
        [("a-0", "g", 30_000, 2.0, 0, "selected", None, 0, 2.0, None, 0, "a")],
        "zip_id string, group string, bytes long, ratio double, part int, decision string, reason string, rank long, "
        "marginal_ratio double, file string, position long, content string",
    )
    texts = spark.createDataFrame(
        [(None, 0, bytearray(b"x" * 30_000), None)], "file string, position long, text binary, record string"
    )
    (row,) = report_facts.with_texts(ledger, report_facts.Material(ledger, texts, None, hide_text=False))
    cut = report_facts.example(row)
    assert (len(cut.text), cut.left_out) == (MOST_TEXT, 30_000 - MOST_TEXT)
