"""What `zipspark.select` can be told beyond a budget, end to end: tables, ledger and order, on one part and several."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from launching import once
from pools import WORDS, rows, texts

import zipspark
from zipspark import core, pipeline
from zipspark.cli import run
from zipspark.errors import InputError, UsageError

RECORDS = "id string, source string, score double, text string"
OBJECTIVES = pytest.mark.parametrize("objective", ["both", "ratio", "coverage"])
PLAIN = sorted(set(texts(240)))  # each text once


def noise(count: int) -> list[str]:
    drawn = random.Random(3)
    return [
        base64.b64encode(drawn.randbytes(600)).decode() if number % 2 else drawn.randbytes(300).hex()
        for number in range(count)
    ]


def frame(spark, samples, groups=None):
    """A pool of ``samples``, each in a group."""
    groups = groups or ["web"] * len(samples)
    return spark.createDataFrame(
        [(f"{at:04}", group, 1.0, text) for at, (text, group) in enumerate(zip(samples, groups, strict=True))], RECORDS
    )


def table(spark, samples):
    """A table beside the pool."""
    return spark.createDataFrame([(text,) for text in samples], "text string")


def content_ids(samples) -> list[str]:
    return [hashlib.md5(text.encode()).hexdigest() + "-0" for text in samples]


def chosen_texts(selection) -> list[str]:
    return [row.text for row in selection.subset.collect()]


def decided(selection, decision: str) -> list:
    """The ledger's rows with ``decision``, by rank where they have one."""
    found = [row for row in selection.ledger.collect() if row.decision == decision]
    return sorted(found, key=lambda row: -1 if row.rank is None else row.rank)


def taken(selection, amounts) -> dict[str, int]:
    """Group -> what its picks take together; ``amounts`` says it of a ledger row."""
    total: Counter = Counter()
    for row in decided(selection, "selected"):
        total[row.group or "(none)"] += amounts(row)
    return dict(total)


@pytest.fixture
def no_spark_work(monkeypatch):
    """Whatever is refused is refused before a table is read."""

    def started(*_):
        raise AssertionError("Spark work began")

    monkeypatch.setattr(pipeline, "looked_at", started)


# --- all of it at once ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    """Records of every fate: (records, id -> the decision that is due where it is not the choice's own)."""
    records = [row | {"score": (number % 10) / 10} for number, row in enumerate(rows(300))]
    records += [
        {"id": f"noise-{number}", "source": "web", "score": 0.9, "text": text} for number, text in enumerate(noise(8))
    ]
    records += [
        {"id": "null", "source": "web", "score": 0.9, "text": None},
        {"id": "blank", "source": None, "score": 0.9, "text": "  "},
        {"id": "unscored", "source": "books", "score": None, "text": "a text that no model has given any score"},
    ]
    return records


@pytest.fixture(scope="module")
def fine(mixed):
    """Records that nothing but the choice itself can leave out, each with a text of its own."""
    times = Counter(row["text"] for row in mixed)
    return [
        row for row in mixed[:300] if row["score"] >= 0.2 and "amber" not in row["text"] and times[row["text"]] == 1
    ]


@pytest.fixture(scope="module")
def anchored_texts(fine):
    return [row["text"] for row in fine[5:9]]


@pytest.fixture(scope="module")
def everything(spark, mixed, fine, anchored_texts):
    return zipspark.select(
        spark.createDataFrame(
            [tuple(row[name] for name in ("id", "source", "score", "text")) for row in mixed], RECORDS
        ),
        budget="10%",
        parts=3,
        objective="coverage",
        id_column="id",
        group_column="source",
        where="text is null or text not like '%amber%'",
        quality_column="score",
        quality_min=0.2,
        quality_weight=0.5,
        anchor=table(spark, [*anchored_texts, "what no sample of the pool says"]),
        keep=spark.createDataFrame([("noise-0",), (fine[0]["id"],), ("noise-3",)], "id string"),
        mix="natural",
        max_bad_fraction=0.05,
        order="easy-first",
    )


def due(mixed, anchored_texts) -> dict[str, str]:
    """id -> decision and code of the reason, of all rows that are not for the choice to decide."""
    fate, seen = {}, set()
    for row in sorted(mixed, key=lambda row: row["id"]):  # of equal contents the lowest id is kept
        text, name = row["text"], row["id"]
        if text is not None and "amber" in text:
            fate[name] = "guarded where"
        elif text is None or not text.strip():
            fate[name] = "quarantined null" if text is None else "quarantined empty"
        elif row["score"] is None or row["score"] < 0.2:
            fate[name] = "guarded quality"
        elif text in seen:
            fate[name] = "duplicate"
        elif text in anchored_texts:
            fate[name] = "anchored content"
        elif name.startswith("noise") and name not in ("noise-0", "noise-3"):
            fate[name] = "guarded support"
        seen |= {text} if name not in fate or fate[name].startswith(("anchored", "guarded support")) else set()
    return fate


@once
def test_every_row_is_in_the_ledger_once_with_the_decision_that_is_due(everything, mixed, anchored_texts):
    ledger = everything.ledger.collect()
    assert sorted(row.position for row in ledger) == list(range(len(mixed)))
    assert Counter(row.zip_id for row in ledger) == Counter(row["id"] for row in mixed)
    found = {
        row.zip_id: row.decision if row.decision == "duplicate" else f"{row.decision} {row.reason.partition(':')[0]}"
        for row in ledger
        if row.decision not in ("selected", "not_selected")
    }
    expected = due(mixed, anchored_texts)
    assert found == expected
    assert {decision.partition(" ")[0] for decision in expected.values()} == {
        "guarded",
        "quarantined",
        "duplicate",
        "anchored",
    }
    assert sum(everything.summary.decisions.values()) == len(mixed)
    assert {row.position for row in everything.quarantine.collect()} == {
        number for number, row in enumerate(mixed) if row["id"] in ("null", "blank")
    }


def test_reasons_say_what_was_seen(everything):
    reasons = {row.zip_id: row.reason for row in decided(everything, "guarded")}
    assert reasons["unscored"] == "quality:null"
    assert reasons["row-00001"] == "quality:0.1"
    assert all(re.fullmatch(r"support:0\.\d\d", reasons[name]) for name in reasons if name.startswith("noise"))


def test_a_share_is_of_what_is_offered(everything, mixed, anchored_texts):
    choosable = len(mixed) - len(due(mixed, anchored_texts))
    assert everything.manifest["budget"] == {"unit": "rows", "amount": -(-choosable // 10)}
    assert everything.subset.count() == len(decided(everything, "selected")) == -(-choosable // 10)


def test_what_is_kept_ranks_first_even_if_it_is_noise(everything, fine):
    picked = decided(everything, "selected")
    assert {row.zip_id for row in picked[:3]} == {"noise-0", fine[0]["id"], "noise-3"}
    assert [row.reason for row in picked] == ["keep"] * 3 + [None] * (len(picked) - 3)
    assert [row.rank for row in picked] == list(range(len(picked)))


def test_metrics_chain_from_the_input_to_the_subset(everything, mixed, anchored_texts):
    steps: dict[str, Counter] = {}
    for row in everything.metrics.collect():
        if row.group is not None:
            of_step = steps.setdefault(row.stage, Counter())
            of_step.update(
                {"in": row.rows_in, "out": row.rows_out, "bytes in": row.bytes_in, "bytes out": row.bytes_out}
            )
    assert steps["read"]["in"] == len(mixed)
    for before, after in pairwise(["read", "filter", "deduplicate", "anchor", "guard", "parts", "merge"]):
        assert (steps[before]["out"], steps[before]["bytes out"]) == (steps[after]["in"], steps[after]["bytes in"])
    lost = Counter(decision for decision in due(mixed, anchored_texts).values())
    gone = {name: step["in"] - step["out"] for name, step in steps.items()}
    assert gone["read"] == 2
    assert gone["filter"] == lost["guarded where"] + lost["guarded quality"]
    assert gone["deduplicate"] == lost["duplicate"]
    assert gone["anchor"] == lost["anchored content"] == 4
    assert gone["guard"] == lost["guarded support"] == 6
    assert steps["merge"]["out"] == everything.subset.count()
    assert steps["merge"]["bytes out"] == sum(row.bytes for row in decided(everything, "selected"))


def test_order_sorts_the_rows_and_leaves_ranks_and_columns_as_they_are(everything):
    subset = everything.subset.collect()
    own = ["id", "source", "score", "text"]
    assert everything.subset.columns == [*own, "zip_id", "zip_rank", "zip_ratio", "zip_marginal_ratio", "zip_order"]
    assert [row.zip_order for row in subset] == list(range(len(subset)))
    assert [(-row.zip_ratio, row.zip_rank) for row in subset] == sorted(
        (-row.zip_ratio, row.zip_rank) for row in subset
    )
    assert {row.id: row.zip_rank for row in subset} == {row.zip_id: row.rank for row in decided(everything, "selected")}
    assert [row.zip_rank for row in subset] != list(range(len(subset)))
    assert {row.zip_marginal_ratio for row in subset} == {None}  # coverage has none


# --- one part is the single-machine algorithm -----------------------------------------------------------------------


@OBJECTIVES
def test_one_part_is_core_select_with_every_option(spark, objective):
    samples = PLAIN + noise(6)
    groups = ["one" if at % 3 else "two" for at in range(len(samples))]
    worth = [(at * 7 % 5) / 4 for at in range(len(samples))]
    keep = [4, len(samples) - 1]  # the last is noise
    anchor, target = PLAIN[10:40:3], [text for text in PLAIN if "zephyr" in text][:5]
    options = {"objective": objective, "mix": "one=1,two=3", "target_strength": 0.5}
    pool = spark.createDataFrame(
        [(f"{at:04}", groups[at], worth[at], text) for at, text in enumerate(samples)], RECORDS
    ).repartition(3)
    selection = zipspark.select(
        pool,
        40,
        parts=1,
        group_column="source",
        quality_column="score",
        quality_weight=1,
        keep=table(spark, [samples[at] for at in keep]),
        anchor=table(spark, anchor),
        target=table(spark, target),
        **options,
    )
    ids = content_ids(samples)
    ranking = core.select(
        samples, 40, ids=ids, groups=groups, worth=worth, keep=keep, anchor=anchor, target=target, **options
    )
    picked = decided(selection, "selected")
    assert [row.zip_id for row in picked] == [ids[at] for at in ranking]
    marginal = [np.nan if row.marginal_ratio is None else row.marginal_ratio for row in picked]
    assert marginal == pytest.approx(ranking.marginal_ratios, nan_ok=True)
    left_out = {row.zip_id: row.reason for row in decided(selection, "guarded")}
    assert left_out == {ids[at]: reason for at, reason in ranking.guarded.items()}
    assert len(left_out) == 5
    assert {row.zip_id for row in decided(selection, "anchored")} == set(content_ids(anchor))
    assert Counter(row.group for row in picked) == {"one": 10, "two": 30}


@once
def test_until_marginal_ratio_stops_where_core_select_does(spark):
    selection = zipspark.select(frame(spark, PLAIN), until="marginal-ratio=2", parts=1)
    ranking = core.select(PLAIN, until="marginal-ratio=2", ids=content_ids(PLAIN))
    assert chosen_texts(selection) == [PLAIN[at] for at in ranking]
    assert 5 < len(ranking) < len(PLAIN) / 2
    assert "until marginal-ratio=2" in selection.summary.budget


# --- guard and quality ----------------------------------------------------------------------------------------------


@once
def test_without_the_guard_noise_is_chosen_and_what_is_worth_nothing_comes_last(spark):
    injected = noise(10)
    samples = PLAIN[:100] + injected
    pool = spark.createDataFrame(
        [(str(at), "web", float(at % 4 > 0 or text in injected), text) for at, text in enumerate(samples)], RECORDS
    )
    worthless = {text for at, text in enumerate(samples) if at % 4 == 0 and text not in injected}
    options = {"parts": 3, "quality_column": "score", "quality_weight": 2}
    picked = chosen_texts(zipspark.select(pool, len(samples) - 3, guard="off", **options))
    assert set(injected) < set(picked)
    assert set(picked[-(len(worthless) - 3) :]) < worthless
    assert not worthless & set(picked[: len(samples) - len(worthless)])


@once
@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_the_papers_presets_guard_nothing(spark, preset):
    pool = table(spark, PLAIN[:60] + noise(6))
    selection = zipspark.select(pool, 20, preset=preset, k1=30, k2=20, k3=10)
    assert selection.summary.decisions == {"selected": 20, "not_selected": 46}


# --- mixture --------------------------------------------------------------------------------------------------------


@once
def test_equal_quotas_cover_each_group_for_itself_whatever_the_order_of_rows(spark):
    # Every text stands in both groups, in the second with a word more: who covers them together takes each text once.
    samples = [text + tail for tail in ("", " indeed") for text in PLAIN[:120]]
    groups = [group for group in ("first", "second") for _ in range(120)]
    pool = frame(spark, samples, groups)
    options = {"budget": 41, "parts": 3, "objective": "coverage", "mix": "equal", "group_column": "source"}
    selection = zipspark.select(pool, **options)
    picked = decided(selection, "selected")
    assert Counter(row.group for row in picked) == {"first": 21, "second": 20}
    assert selection.summary.mix == {"first": (21, 21), "second": (20, 20)}
    assert selection.summary.mix_unit == "rows"
    assert all(row.marginal_ratio is None for row in picked)
    chosen = selection.subset.collect()
    numbers = {group: {int(row.id) % 120 for row in chosen if row.source == group} for group in ("first", "second")}
    assert len(numbers["first"] & numbers["second"]) > 5  # covered together none
    again = zipspark.select(pool.orderBy(pool.text.desc()).repartition(5), **options)
    assert again.summary.checksum == selection.summary.checksum


@once
def test_floors_and_caps_beside_a_natural_mix_in_bytes(spark):
    samples = PLAIN
    groups = [("a", "b", "b", None)[at % 4] for at in range(len(samples))]
    selection = zipspark.select(
        frame(spark, samples, groups),
        "4kB",
        parts=3,
        group_column="source",
        mix="natural",
        floor="(none)=35%",
        cap="b=1kB",
    )
    asked = {group: requested for group, (requested, _) in selection.summary.mix.items()}
    achieved = taken(selection, lambda row: row.bytes)
    assert asked == {"(none)": pytest.approx(1600, abs=200), "a": pytest.approx(1400, abs=200), "b": 1000}
    assert sum(asked.values()) == 4000
    assert {group: got for group, (_, got) in selection.summary.mix.items()} == achieved
    smallest = {
        group: min(row.bytes for row in decided(selection, "not_selected") if (row.group or "(none)") == group)
        for group in asked
    }
    for group, amount in asked.items():
        assert 0 <= amount - achieved[group] < smallest[group]


def test_a_power_of_the_sizes_with_a_cap_in_rows(spark):
    groups = ["small" if at % 10 == 0 else "capped" if at % 10 < 4 else "large" for at in range(len(PLAIN))]
    sizes = Counter(groups)
    selection = zipspark.select(
        frame(spark, PLAIN, groups),
        50,
        parts=3,
        group_column="source",
        mix="power=0.5",
        cap=["capped=8"],
    )
    roots = {group: sizes[group] ** 0.5 for group in ("small", "large")}
    found = taken(selection, lambda row: 1)
    assert found["capped"] == 8
    assert found["small"] == pytest.approx(42 * roots["small"] / sum(roots.values()), abs=1)
    assert found == {group: got for group, (_, got) in selection.summary.mix.items()}
    assert all(asked == got for asked, got in selection.summary.mix.values())
    assert sum(found.values()) == 50


@once
def test_floors_and_caps_without_a_mix_leave_the_rest_free(spark):
    groups = [f"g{at % 3}" for at in range(len(PLAIN))]
    selection = zipspark.select(
        frame(spark, PLAIN, groups), 40, parts=4, group_column="source", floor=["g0=25"], cap=["g1=20%"]
    )
    found = taken(selection, lambda row: 1)
    assert found["g0"] >= 25
    assert found["g1"] <= 8
    assert sum(found.values()) == 40
    assert selection.summary.mix.keys() == {"g0", "g1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mix": "nope=1"}, "mix must name groups of the pool .*'web'.*got 'nope'"),
        ({"mix": "web=1,books=9"}, "mix must not ask for more than a group holds, got 9 of 1 rows of 'books'"),
        ({"phases": "web,nope"}, r"phases must be groups of the pool \(\(none\), books, web\), got 'nope'"),
        ({"where": "1 = 0"}, "where must leave rows to choose from, got none of 12"),
        (
            {"quality_column": "score", "quality_weight": 1},
            "quality_column 'score' must be 0 or more .*got 1 rows below 0",
        ),
        ({"token_column": "text", "budget": "9tok"}, "(?s)12 of 12 rows cannot be read .*tokens:not a whole number"),
    ],
)
def test_what_does_not_fit_the_pool_is_an_input_error(spark, options, message):
    pool = spark.createDataFrame(
        [
            (str(at), "books" if not at else None if at == 1 else "web", at - 1.0, text)
            for at, text in enumerate(PLAIN[:12])
        ],
        RECORDS,
    )
    with pytest.raises(InputError, match=message):
        zipspark.select(pool, **({"budget": 10, "group_column": "source"} | options))


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_budget_and_mix_in_counts_of_a_column(spark):
    counts = [len(text.split()) for text in PLAIN]
    counts[5], counts[6] = -1, None
    pool = spark.createDataFrame(
        [(("a", "b")[at % 2], counts[at], text) for at, text in enumerate(PLAIN)], "source string, n int, text string"
    )
    selection = zipspark.select(
        pool, "400tok", parts=3, token_column="n", group_column="source", mix="a=1,b=3", max_bad_fraction=0.02
    )
    bad = {row.position: row.reason for row in selection.quarantine.collect()}
    assert sorted(bad.values()) == ["tokens:negative", "tokens:null"]
    of_text = dict(zip(content_ids(PLAIN), counts, strict=True))
    found = taken(selection, lambda row: of_text[row.zip_id])
    assert selection.summary.mix == {"a": (100, found["a"]), "b": (300, found["b"])}
    for group, amount in (("a", 100), ("b", 300)):
        left = [of_text[row.zip_id] for row in decided(selection, "not_selected") if row.group == group]
        assert 0 <= amount - found[group] < min(left)
    assert selection.manifest["budget"] == {"unit": "tokens", "amount": 400}


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of words, runs of letters or digits and runs of other signs, without special tokens."""
    model = {"type": "WordLevel", "vocab": {"amber": 0, "?": 1}, "unk_token": "?"}
    parts = dict.fromkeys(["truncation", "padding", "normalizer", "post_processor", "decoder"])
    whole = parts | {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(whole))
    return path


def test_budget_and_cost_in_tokens_of_a_tokenizer(spark, tokenizer):
    pytest.importorskip("tokenizers")

    def tokens(text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]+", text))

    selection = zipspark.select(frame(spark, PLAIN), "300tok", parts=1, tokenizer=str(tokenizer), cost="token")
    picked = chosen_texts(selection)
    left = set(PLAIN) - set(picked)
    assert 0 <= 300 - sum(map(tokens, picked)) < min(map(tokens, left))
    ranking = core.select(PLAIN, "300tok", tokens=[*map(tokens, PLAIN)], cost="token", ids=content_ids(PLAIN))
    assert picked == [PLAIN[at] for at in ranking]


@pytest.mark.usefixtures("no_spark_work")
def test_what_no_pool_could_meet_is_refused_before_spark_work(spark, tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "no.json").write_text("{}")
    pool, target = frame(spark, PLAIN[:3]), table(spark, PLAIN[:1])
    grouped = {"budget": 5, "group_column": "source"}
    for options, kind, message in (
        ({"budget": "9tok", "tokenizer": str(tmp_path / "no.json")}, InputError, "tokenizer must be a tokenizer.json"),
        ({"budget": "9tok", "tokenizer": str(tmp_path / "none.json")}, InputError, "tokenizer .* cannot be read"),
        ({"budget": "9tok"}, UsageError, "budget in tokens needs tokenizer or token_column"),
        ({"budget": 9, "cost": "token"}, UsageError, "cost in tokens needs tokenizer or token_column"),
        ({"budget": 9, "anchor": str(tmp_path / "none.parquet")}, InputError, "anchor: .*none.parquet does not exist"),
        ({"budget": 9, "quality_min": 1}, UsageError, "quality_min needs quality_column"),
        ({"budget": 9, "mix": "equal"}, UsageError, "mix needs group_column"),
        ({"budget": 9, "phases": "a,b"}, UsageError, "phases need group_column"),
        (grouped | {"mix": "a=-1"}, UsageError, "mix must have weights of 0 or more"),
        (grouped | {"mix": "a=0,b=0"}, UsageError, "mix must have a weight above 0"),
        (grouped | {"floor": ["a=6"]}, UsageError, "floor must sum to at most the budget"),
        (grouped | {"floor": ["a=3"], "cap": ["a=2"]}, UsageError, "floor of 'a' must be <= its cap"),
        (grouped | {"cap": ["a=2kB"]}, UsageError, "cap of 'a' must be in the budget's unit"),
        ({}, UsageError, "budget must be given"),
        ({"until": "size=3"}, UsageError, "until must name one of coverage"),
        (
            {"until": "coverage=0.9", "objective": "ratio"},
            UsageError,
            "until coverage needs objective both or coverage",
        ),
        (
            {"until": "marginal-ratio=3", "objective": "coverage"},
            UsageError,
            "until marginal-ratio needs objective both or ratio",
        ),
        ({"until": "target-coverage=1", "objective": "coverage"}, UsageError, "until target-coverage needs a target"),
        (
            grouped | {"until": "target-coverage=1", "objective": "coverage", "mix": "equal", "target": target},
            UsageError,
            "until target-coverage must not stand beside mix",
        ),
    ):
        with pytest.raises(kind, match=message):
            zipspark.select(pool, **options)


# --- stop rules -----------------------------------------------------------------------------------------------------


def covered(samples, picked, **options) -> float:
    """Share of all that ``samples`` cover that ``picked`` do."""
    options |= {"objective": "coverage", "ids": content_ids(samples)}
    places = [samples.index(text) for text in picked]
    gains = core.select(samples, len(places), keep=places, **options).gains
    return gains.sum() / core.select(samples, "100%", **options).gains.sum()


@once
def test_until_a_share_of_the_pool_is_covered_by_several_parts(spark):
    picked = chosen_texts(zipspark.select(frame(spark, PLAIN), until="coverage=60%", objective="coverage", parts=3))
    assert covered(PLAIN, picked) >= 0.6 > covered(PLAIN, picked[:-1])
    alone = core.select(PLAIN, until="coverage=60%", objective="coverage", ids=content_ids(PLAIN))
    assert len(picked) <= 1.2 * len(alone)


def test_until_a_share_of_the_target_is_covered(spark):
    target = [text for text in PLAIN if "translate" in text][:4]
    options = {"until": "target-coverage=0.9", "objective": "coverage", "parts": 3, "target": table(spark, target)}
    picked = chosen_texts(zipspark.select(frame(spark, PLAIN), **options))
    alone = core.select(PLAIN, until="target-coverage=0.9", objective="coverage", target=target, ids=content_ids(PLAIN))
    assert len(alone) <= len(picked) <= len(alone) + 2 < 12


# --- anchor, keep, target -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "most"), [("ratio", 2), ("both", 5)])
def test_near_copies_of_the_anchor_lose(spark, objective, most):
    drawn = random.Random(2)
    known = [" ".join(drawn.choices(WORDS, k=30)) for _ in range(40)]
    near = [text.replace(" ", ", ", 1) for text in known]
    fresh = [" ".join(word[::-1] for word in drawn.choices(WORDS, k=30)) for _ in range(40)]
    options = {"guard": False, "objective": objective}
    plain = [(near + fresh)[at] for at in core.select(near + fresh, 30, **options)]
    assert sum(text in near for text in plain) > 10
    selection = zipspark.select(frame(spark, near + fresh + known), 30, parts=3, anchor=table(spark, known), **options)
    assert sum(text in near for text in chosen_texts(selection)) <= most
    assert {row.zip_id for row in decided(selection, "anchored")} == set(content_ids(known))


@once
def test_a_target_tilts_the_choice_of_parts(spark):
    target = [text for text in PLAIN if "translate" in text][:3]
    options = {"objective": "coverage", "target_strength": 2}
    picked = chosen_texts(zipspark.select(frame(spark, PLAIN), 20, parts=3, target=table(spark, target), **options))
    without = [PLAIN[at] for at in core.select(PLAIN, 20, objective="coverage")]
    assert sum("translate" in text for text in picked) >= 5 + sum("translate" in text for text in without)


@pytest.mark.parametrize(
    ("option", "columns", "records", "message"),
    [
        ("anchor", "text string", [], "anchor: holds no rows"),
        ("anchor", "a int, b int", [(1, 2)], "anchor: columns fit no schema"),
        ("target", "text string", [], "target: holds no rows"),
        (
            "keep",
            "id string",
            [("0001",), ("b",), ("a",)],
            "keep must hold ids of the pool, got 2 others, such as a, b",
        ),
        ("keep", "text string", [("not there",)], "keep must hold texts .* of the pool, got 1 others"),
    ],
)
def test_tables_beside_the_pool_that_cannot_be_used(spark, option, columns, records, message):
    beside = spark.createDataFrame(records, columns)
    with pytest.raises(InputError, match=message):
        zipspark.select(frame(spark, PLAIN[:9]), 3, id_column="id", **{option: beside})


# --- order ----------------------------------------------------------------------------------------------------------


def test_phases_come_one_after_the_other_and_ranks_stay(spark):
    groups = [("b", None, "a", "c")[at % 4] for at in range(len(PLAIN))]
    options = {"parts": 1, "group_column": "source", "phases": "c,(none)", "order": "dense-first", "ids_only": True}
    selection = zipspark.select(frame(spark, PLAIN, groups), 40, **options)
    assert selection.subset.columns == ["zip_id", "zip_rank", "zip_ratio", "zip_marginal_ratio", "zip_order"]
    subset = selection.subset.collect()
    ids = content_ids(PLAIN)
    group_of = dict(zip(ids, groups, strict=True))
    places = [({"c": 0, None: 1}.get(group_of[row.zip_id], 2), row.zip_ratio, row.zip_rank) for row in subset]
    assert places == sorted(places)
    assert {place[0] for place in places} == {0, 1, 2}
    assert [row.zip_order for row in subset] == list(range(40))
    by_rank = [row.zip_id for row in sorted(subset, key=lambda row: row.zip_rank)]
    assert by_rank == [ids[at] for at in core.select(PLAIN, 40, ids=ids)]


# --- from files, by the command line --------------------------------------------------------------------------------


def test_the_command_line_takes_tables_by_path(spark, tmp_path, capsys):
    def written(name: str, records) -> str:
        (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
        return str(tmp_path / name)

    pool = written("pool.jsonl", ({"text": text, "source": "ab"[at % 2], "q": at} for at, text in enumerate(PLAIN)))
    keep = written("keep.jsonl", ({"zip_id": name} for name in content_ids(PLAIN)[50:54]))
    anchor = written("anchor.jsonl", ({"text": text} for text in PLAIN[10:20]))
    target = written("target.jsonl", ({"text": text} for text in PLAIN[20:24]))
    command = ["select", pool, "--output", str(tmp_path / "out"), "--json", "--group-column", "source"]
    beside = ["--keep", keep, "--anchor", anchor, "--target", target, "--objective", "coverage", "--parts", "2"]
    limits = ["--budget", "30", "--until", "coverage=0.99", "--mix", "a=2,b=1", "--where", "q >= 5", "--ids-only"]
    assert run([*command, *beside, *limits, "--quality-column", "q", "--quality-min", "7"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {group: tuple(amounts) for group, amounts in said["mix"].items()} == {"a": (20, 20), "b": (10, 10)}
    subset = pq.read_table(tmp_path / "out/subset").sort_by("zip_rank").to_pydict()
    assert list(subset) == ["zip_id", "zip_rank", "zip_ratio", "zip_marginal_ratio"]
    assert set(subset["zip_id"][:4]) == set(content_ids(PLAIN)[50:54])
    ledger = pq.read_table(tmp_path / "out/ledger").to_pylist()
    assert Counter(
        (row["decision"], row["reason"]) for row in ledger if row["decision"] in ("guarded", "anchored")
    ) == {
        ("guarded", "where"): 5,
        ("guarded", "quality:5.0"): 1,
        ("guarded", "quality:6.0"): 1,
        ("anchored", "content"): 10,
    }
    assert len(ledger) == len(PLAIN)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--anchor", "missing.jsonl", "--budget", "5"], 3, "anchor: "),
        (["--until", "coverage=0.9", "--objective", "ratio"], 2, "until coverage needs objective both or coverage"),
        (["--phases", "a", "--budget", "5"], 2, "phases need group_column"),
        (["--tokenizer", "pool.jsonl", "--budget", "9tok"], 3, "tokenizer must be a tokenizer.json"),
        (["--where", "nope > 3", "--budget", "5"], 3, "where 'nope > 3' cannot be used"),
    ],
)
def test_the_command_line_refuses_what_does_not_go_together(
    spark, tmp_path, monkeypatch, capsys, arguments, code, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PLAIN[:9]))
    assert run(["select", "pool.jsonl", "--output", "out", *arguments]) == code
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pool.jsonl"]
