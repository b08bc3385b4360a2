"""That tables and summary say what was done: copies, kept rows, rows that may not be chosen, groups and phases."""

from __future__ import annotations

import base64
import hashlib
import random
from collections import Counter

import pytest
from launching import once
from pools import WORDS, texts

import zipspark
from zipspark import choosing
from zipspark.config import SelectConfig
from zipspark.errors import InputError
from zipspark.report.summary import SetLine, Summary
from zipspark.spark.measure import set_ratios
from zipspark.spark.survey import survey
from zipspark.storage.inputs import resolve

RECORDS = "id string, source string, score double, text string"
PLAIN = sorted(set(texts(150)))  # each text once
COPIED = "a text that the pool holds three times, in rows of different groups"


def frame(spark, rows):
    """A pool of (group, text), with ids in order."""
    return spark.createDataFrame([(f"{at:04}", group, 1.0, text) for at, (group, text) in enumerate(rows)], RECORDS)


def noise(count: int) -> list[str]:
    drawn = random.Random(3)
    return [base64.b64encode(drawn.randbytes(450)).decode() for _ in range(count)]


def by_id(selection) -> dict[str, tuple]:
    return {row.zip_id: (row.decision, row.reason) for row in selection.ledger.collect()}


def content(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


# --- groups of copies -----------------------------------------------------------------------------------------------


def sizes(spark, rows, **options) -> dict[str, tuple[int, int]]:
    """Group -> rows and tokens of a survey of (position, group, tokens), all copies of one text."""
    samples = spark.createDataFrame(
        [(None, at, None, group, "c", 7, tokens, 1, None) for at, group, tokens in rows],
        "file string, position long, user_id string, group string, content string, bytes long, tokens long, "
        "bucket int, barred string",
    )
    found = survey(samples.coalesce(1), len(rows), SelectConfig(token_column="n", **options), by_group=True)
    counted, tokens = found.by_group("rows"), found.by_group("tokens")
    assert found.bytes == 7 * found.samples
    return {group: (counted[group], tokens[group]) for group in counted}


def test_without_deduplication_copies_count_in_their_own_groups(spark):
    rows = [(0, "a", 3), (1, "b", 5), (2, "b", 11), (3, None, 1)]
    for given in (rows, rows[::-1]):
        assert sizes(spark, given, dedup=False) == {"a": (1, 3), "b": (2, 16), "(none)": (1, 1)}


def test_with_deduplication_group_and_tokens_are_those_of_the_row_that_is_kept(spark):
    rows = [(0, "b", 3), (1, "a", 5), (2, "a", 11)]
    for given in (rows, rows[::-1]):
        assert sizes(spark, given) == {"b": (1, 3)}


@once
def test_quotas_find_copies_in_the_groups_where_they_are(spark):
    pool = frame(spark, [("a", text) for text in PLAIN[:20]] + [("b", PLAIN[0])] * 10)
    selection = zipspark.select(pool, 12, parts=2, dedup=False, group_column="source", mix="a=2,b=10")
    assert selection.summary.mix == {"a": (2, 2), "b": (10, 10)}


# --- rows that may not be chosen -------------------------------------------------------------------------------------


@once
def test_copies_of_what_is_barred_share_its_decision_and_reason(spark):
    junk, known = noise(1)[0], PLAIN[7]
    rows = [("x", text) for text in [*PLAIN, junk, junk, known, PLAIN[3]]]
    anchor = spark.createDataFrame([(known,)], "text string")
    ledger = by_id(zipspark.select(frame(spark, rows), 20, parts=2, anchor=anchor))
    assert ledger[f"{content(known)}-0"] == ledger[f"{content(known)}-1"] == ("anchored", "content")
    assert ledger[f"{content(junk)}-0"] == ledger[f"{content(junk)}-1"]
    assert ledger[f"{content(junk)}-0"][0] == "guarded"
    assert ledger[f"{content(PLAIN[3])}-1"] == ("duplicate", f"{content(PLAIN[3])}-0")
    for decision, reason in ledger.values():
        assert decision != "duplicate" or ledger[reason][0] in ("selected", "not_selected")


@pytest.mark.parametrize("dedup", [True, False])
def test_only_what_may_be_chosen_is_measured(spark, dedup):
    samples = spark.createDataFrame(
        [
            (file, at, content(text), barred)
            for file, at, text, barred in (
                ("f", 0, "first", None),
                ("f", 1, "first", None),
                (None, 0, "second", None),
                (None, 1, "noise", "guarded"),
                ("f", 2, "known", "anchored"),
            )
        ],
        "file string, position long, content string, barred string",
    )
    contents = {content(text): text.encode() for text in ("first", "second", "noise", "known")}
    scores = spark.createDataFrame(
        [(*row[:3], bytearray(contents[row.content])) for row in samples.collect()],
        "file string, position long, content string, text binary",
    )
    picks = samples.where("content = md5('second')").select("file", "position")
    found = set_ratios(scores, samples, picks, 6, 11 if dedup else 16, dedup)
    assert {name: (of["rows"], of["bytes"]) for name, of in found.items() if name != "random"} == {
        "pool": (2, 11) if dedup else (3, 16),
        "subset": (1, 6),
    }


@once
def test_noise_flatters_no_summary(spark):
    plain = zipspark.select(frame(spark, [("x", text) for text in PLAIN]), 20, parts=1)
    junk = noise(15)
    mixed = zipspark.select(frame(spark, [("x", text) for text in PLAIN + junk]), 20, parts=1)
    assert mixed.summary.decisions["guarded"] == len(junk)
    assert mixed.summary.sets[0] == plain.summary.sets[0]
    assert mixed.summary.sets[0].measured_bytes == sum(map(len, PLAIN))
    assert mixed.summary.sets[2].ratio == pytest.approx(plain.summary.sets[2].ratio, rel=0.05)


# --- keep ------------------------------------------------------------------------------------------------------------


COPIES = [("a", text) for text in PLAIN[:30]] + [(group, COPIED) for group in ("a", "b", "c")]  # 0030, 0031, 0032


@once
@pytest.mark.parametrize(
    ("own_ids", "kept", "options", "expected"),
    [
        (True, "0031", {}, ["0030"]),  # the row that stands for it
        (True, "0031", {"dedup": False}, ["0031"]),
        (False, f"{content(COPIED)}-1", {}, [f"{content(COPIED)}-0"]),
        (False, f"{content(COPIED)}-1", {"dedup": False, "objective": "coverage"}, [f"{content(COPIED)}-1"]),
    ],
)
def test_an_id_keeps_its_own_row_or_with_deduplication_the_one_that_stands_for_it(
    spark, own_ids, kept, options, expected
):
    keep = spark.createDataFrame([(kept,)], "id string" if own_ids else "zip_id string")
    if own_ids:
        options = options | {"id_column": "id"}
    selection = zipspark.select(frame(spark, COPIES), 4, parts=2, keep=keep, **options)
    assert [name for name, fate in by_id(selection).items() if fate == ("selected", "keep")] == expected
    assert selection.subset.first().zip_id == expected[0]
    assert selection.subset.count() == 4


@once
def test_a_text_keeps_every_row_that_holds_it(spark):
    keep = spark.createDataFrame([(COPIED,)], "text string")
    selection = zipspark.select(frame(spark, COPIES), 4, parts=2, keep=keep, dedup=False, id_column="id")
    assert {row.id for row in selection.subset.limit(3).collect()} == {"0030", "0031", "0032"}


def test_copies_of_kept_noise_keep_their_names(spark):
    junk = noise(1)[0]
    pool = frame(spark, [("x", text) for text in [*PLAIN, junk, junk]])
    keep = spark.createDataFrame([(f"{content(junk)}-1",)], "zip_id string")
    selection = zipspark.select(pool, 3, parts=2, keep=keep, dedup=False)
    ledger = by_id(selection)
    assert ledger[f"{content(junk)}-1"] == ("selected", "keep")
    assert ledger[f"{content(junk)}-0"][0] == "not_selected"
    assert Counter(decision for decision, _ in ledger.values())["selected"] == 3


@once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "id != '0003'"}, "keep must hold ids of the rows that where and quality leave, got 1 .* 0003"),
        ({}, "keep must hold ids of the pool, got 1 others, such as nope"),
    ],
)
def test_a_kept_row_that_is_left_out_is_said_to_be_so(spark, options, message):
    keep = spark.createDataFrame([("0003" if options else "nope",)], "id string")
    with pytest.raises(InputError, match=message):
        zipspark.select(frame(spark, COPIES), 4, keep=keep, id_column="id", **options)


def test_an_empty_table_of_ids_keeps_nothing_and_is_refused(spark):
    keep = spark.createDataFrame([], "id string")
    with pytest.raises(InputError, match="keep: holds no rows"):
        zipspark.select(frame(spark, COPIES), 4, keep=keep, id_column="id")


# --- quality ---------------------------------------------------------------------------------------------------------


def test_scores_whose_weight_is_no_number_are_refused(spark):
    scores = [1e200, 1e201, 1e100, *range(len(PLAIN))]
    pool = spark.createDataFrame(
        [(str(at), "x", float(score), text) for at, (score, text) in enumerate(zip(scores, PLAIN, strict=False))],
        RECORDS,
    )
    with pytest.raises(InputError, match=r"quality_weight \(2\) must be a finite number, got 2 rows .*up to 1e\+201"):
        zipspark.select(pool, 5, quality_column="score", quality_weight=2)


# --- what is said of it ----------------------------------------------------------------------------------------------


def test_a_notebook_shows_groups_and_quotas():
    line = SetLine("pool", 3, 30, 2.0, 30)
    groups = {f"<g{number:02}>": (100 - number, 2) for number in range(15)}
    summary = Summary(
        budget="3 rows",
        sets=(line,),
        decisions={"selected": 3},
        groups=groups,
        mix={"<g00>": (12, 11), "<g01>": (7, 7)},
        mix_unit="rows",
        parts=1,
        seconds={},
        checksum="",
    )
    html = summary._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 3
    assert "<b>Selected 3 rows</b>" in html
    assert "<tr><td>&lt;g00&gt;</td><td>12</td><td>11</td><td>-1</td></tr>" in html
    assert "<tr><td>&lt;g11&gt;</td><td>89</td>" in html
    assert "g12" not in html
    assert "and 3 smaller groups" in html


@once
def test_the_summary_names_budget_and_stop_rule(spark):
    pool = frame(spark, [("x", text) for text in PLAIN])
    selection = zipspark.select(pool, 10, until="marginal-ratio=50")
    assert selection.summary.budget == "10 rows, until marginal-ratio=50"


@once
def test_the_manifest_holds_what_lies_beside_the_pool(spark, tmp_path):
    keep, anchor = tmp_path / "keep.csv", tmp_path / "anchor.jsonl"
    keep.write_text("id\n0003\n")
    anchor.write_text('{"text": "what was chosen before"}\n')
    target = spark.createDataFrame([(PLAIN[0],)], "text string")
    options = {"keep": str(keep), "anchor": str(anchor), "target": target, "id_column": "id"}
    assert zipspark.select(frame(spark, COPIES), 4, parts=1, **options).manifest["key"]["beside"] == {
        "keep": resolve([str(keep)]).fingerprint(),
        "anchor": resolve([str(anchor)]).fingerprint(),
        "target": {"format": "dataframe"},
    }


# --- phases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phases", "groups", "message"),
    [("a,nope", "ab", "phases must be groups of the pool .a, b., got 'nope'"), ("auto", "aa", "at least 2 groups")],
)
def test_phases_are_settled_before_the_choice_begins(spark, monkeypatch, phases, groups, message):
    def begun(*_):
        raise AssertionError("the choice began")

    monkeypatch.setattr(choosing.tree, "plan", begun)
    pool = frame(spark, [(groups[at % 2], text) for at, text in enumerate(PLAIN)])
    with pytest.raises(InputError, match=message):
        zipspark.select(pool, 9, group_column="source", phases=phases)


def test_automatic_phases_go_by_what_may_be_chosen_and_are_noted(spark):
    drawn = random.Random(1)
    few = [" ".join(drawn.choices(WORDS[:5], k=20)) for _ in range(40)]
    pool = frame(spark, [("few", text) for text in few] + [("all", text) for text in PLAIN[:60]])
    anchored = frame(spark, [("gone", text) for text in PLAIN[60:70]])
    anchor = spark.createDataFrame([(text,) for text in PLAIN[60:70]], "text string")
    selection = zipspark.select(
        pool.union(anchored), 12, parts=1, group_column="source", phases="auto", anchor=anchor, guard=False
    )
    notes = [note for note in selection.summary.notes if note.startswith("phases, ")]
    assert len(notes) == 1
    order = notes[0].rpartition(": ")[2].split(", ")
    assert sorted(order) == ["all", "few"]
    places = [order.index("few" if row.text in few else "all") for row in selection.subset.collect()]
    assert places == sorted(places)
