"""What `select` can be told beyond a budget: groups, stop rules, keep, anchor, target, worth, costs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from oracle import chat_texts

from zipspark import demo
from zipspark.core import select
from zipspark.core.lens import Lens
from zipspark.core.seen import joined, reach_of, salts_of
from zipspark.core.sketch import Sketch
from zipspark.core.zstd_codec import ZstdCodec
from zipspark.errors import InputError, UsageError
from zipspark.units import parse_budget

OBJECTIVES = pytest.mark.parametrize("objective", ["both", "ratio", "coverage"])


@pytest.fixture(scope="module")
def docs():
    """Real text, shortened: (samples, their sources)."""
    records = [record for record in demo.corpus() if 80 < len(record["response"]) < 4000][:1500]
    unique = {record["response"]: record["source"] for record in records}
    return list(unique), [source.partition(".")[0] for source in unique.values()]


def amounts(ranking, groups, units=None):
    found: dict[str, float] = {}
    for place, index in enumerate(ranking):
        found[groups[index]] = found.get(groups[index], 0) + (1 if units is None else units[place])
    return found


# --- groups ---------------------------------------------------------------------------------------------------------


@OBJECTIVES
def test_equal_quotas_are_exact_and_what_is_too_small_is_taken_whole(docs, objective):
    texts, _ = docs
    groups = ["tiny" if at < 7 else "one" if at % 3 else "two" for at in range(len(texts))]
    ranking = select(texts, 107, groups=groups, mix="equal", objective=objective, guard=False)
    assert amounts(ranking, groups) == {"tiny": 7, "one": 50, "two": 50}


def test_weights_hold_in_bytes_to_less_than_a_sample(docs):
    texts, _ = docs
    groups = [("a", "b", None)[at % 3] for at in range(len(texts))]
    ranking = select(texts, "60kB", groups=groups, mix={"a": 1, "(none)": 3})
    found = amounts(ranking, groups, ranking.sizes)
    shortest = min(map(len, texts))
    assert found.keys() == {"a", None}
    assert 15_000 - shortest < found["a"] <= 15_000
    assert 45_000 - shortest < found[None] <= 45_000


@OBJECTIVES
def test_caps_and_floors_hold_and_the_rest_is_free(docs, objective):
    texts, _ = docs
    groups = [f"g{at % 4}" for at in range(len(texts))]
    options = {"groups": groups, "objective": objective, "guard": False}
    free = amounts(select(texts, 100, **options), groups)
    least, most = min(free, key=free.get), max(free, key=free.get)
    bound = select(texts, 100, floor=[f"{least}={free[least] + 9}"], cap=[f"{most}={free[most] - 5}"], **options)
    found = amounts(bound, groups)
    assert len(bound) == 100
    assert found[least] == free[least] + 9
    assert found[most] <= free[most] - 5


def test_a_mix_that_cannot_be_is_refused_with_the_numbers():
    texts, groups = ["one", "two", "three words here"], ["a", "a", "b"]
    with pytest.raises(InputError, match=r"mix must name groups of the pool .'a', 'b'., got 'c'"):
        select(texts, 2, groups=groups, mix="c=1", guard=False)
    with pytest.raises(InputError, match="mix must not ask for more than a group holds, got 2 of 1 rows of 'b'"):
        select(texts, 2, groups=groups, mix="b=1", guard=False)
    with pytest.raises(UsageError, match="mix, floor and cap need groups"):
        select(texts, 2, mix="equal", guard=False)


# --- stop rules -----------------------------------------------------------------------------------------------------


def test_until_marginal_ratio_stops_before_the_first_that_is_too_redundant(docs):
    texts, _ = docs
    whole = select(texts, "100%", objective="ratio")
    stopped = select(texts, until="marginal-ratio=4", objective="ratio")
    assert 0 < len(stopped) < len(whole)
    assert list(stopped) == list(whole)[: len(stopped)]
    assert stopped.marginal_ratios.max() <= 4 < whole.marginal_ratios[len(stopped)]


def test_until_marginal_ratio_takes_none_that_is_too_redundant_in_whoevers_turn(docs):
    texts, _ = docs
    assert 0 < len(stopped := select(texts, until="marginal-ratio=4")) < len(texts)
    assert stopped.marginal_ratios.max() <= 4


def test_until_coverage_stops_as_soon_as_the_share_is_covered(docs):
    texts, _ = docs
    whole = select(texts, "100%", objective="coverage")
    stopped = select(texts, until="coverage=80%", objective="coverage")
    assert list(stopped) == list(whole)[: len(stopped)]
    share = np.cumsum(whole.gains) / whole.gains.sum()
    assert share[len(stopped) - 2] < 0.8 <= share[len(stopped) - 1]


def test_until_marginal_ratio_refuses_a_sample_that_comes_early_for_its_length(docs):
    texts, _ = docs
    long = "the same words again and again. " * 400
    ranking = select([*texts, long], 30, cost="row", until="marginal-ratio=6", guard=False)
    assert len(ranking) == 30
    assert len(texts) not in set(ranking)


def test_a_budget_beside_until_ends_it_first(docs):
    texts, _ = docs
    assert len(select(texts, 5, until="coverage=80%", objective="coverage")) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "coverage=0.9", "objective": "ratio"}, "until coverage needs objective both or coverage, got ratio"),
        ({"until": "coverage=0.9", "selector": "multistage"}, "needs objective both or coverage, got ratio"),
        ({"until": "marginal-ratio=3", "objective": "coverage"}, "until marginal-ratio needs objective both or ratio"),
        ({"budget": 1, "selector": "multistage", "objective": "both"}, "objective must be ratio or coverage with"),
        ({"until": "target-coverage=1", "objective": "coverage"}, "until target-coverage needs a target"),
        ({"until": "size=3"}, "until must name one of coverage"),
        ({}, "budget must be given, or until"),
        ({"budget": "5tok"}, "budget in tokens needs tokens"),
        ({"budget": 1, "cost": "token"}, "cost in tokens needs tokens"),
        ({"budget": 1, "worth": [1, -1]}, "worth must be numbers of 0 or more"),
        ({"budget": 1, "worth": [1, float("inf")]}, "worth must be numbers of 0 or more"),
        ({"budget": "9tok", "tokens": [1, -1]}, "tokens must be counts of 0 or more, got -1"),
        ({"until": "marginal-ratio=3", "groups": ["a", "b"], "mix": "equal"}, "mix, floor and cap share a budget"),
        ({"budget": 1, "preset": "reference", "until": "marginal-ratio=3"}, "until must not stand beside preset ref"),
        ({"budget": 1, "preset": "paper", "target": ["x"]}, "target must not stand beside selector multistage"),
        ({"budget": 1, "selector": "multistage", "cost": "row"}, "cost must be byte with selector multistage"),
        ({"budget": 1, "worth": [1]}, "worth must have one entry for each of 2 samples, got 1"),
        ({"budget": 1, "keep": [2]}, "keep must hold positions of the 2 samples, got 2"),
        ({"budget": 1, "gram": 9}, "gram must be less than or equal to 8"),
        ({"budget": 1, "gram": 6, "supported_gram": 5}, "gram must be <= supported_gram .5., got 6"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises((InputError, UsageError), match=message):
        select(["one text", "another text"], **options)


# --- keep, anchor, target -------------------------------------------------------------------------------------------


@OBJECTIVES
def test_what_is_to_be_kept_comes_first_and_spends_of_the_budget(docs, objective):
    texts, _ = docs
    keep = random.Random(1).sample(range(len(texts)), 5)
    ranking = list(select(texts, 20, keep=keep, objective=objective))
    assert set(ranking[:5]) == set(keep)
    assert len(ranking) == 20


def test_keep_and_quotas_meet_the_budget_together_or_not_at_all(docs):
    texts, _ = docs
    groups = [f"g{at % 3}" for at in range(len(texts))]
    ours = [at for at in range(len(texts)) if groups[at] == "g0"][:12]
    for options in ({"mix": "equal"}, {"floor": ["g1=8"]}, {"cap": ["g0=10"]}):
        ranking = select(texts, 30, groups=groups, keep=ours, guard=False, **options)
        assert len(ranking) == 30
        assert set(list(ranking)[:12]) == set(ours)
    assert amounts(select(texts, 30, groups=groups, keep=ours, mix="equal"), groups) == {"g0": 12, "g1": 9, "g2": 9}
    with pytest.raises(InputError, match=r"keep must fit the budget .10 rows., got 12 rows"):
        select(texts, 10, keep=ours)
    with pytest.raises(InputError, match=r"keep must fit the budget .20 rows., got 12 rows, 21 with the floors"):
        select(texts, 20, groups=groups, keep=ours, floor=["g1=9"])


def test_kept_noise_is_kept(docs):
    texts, _ = docs
    noise = random.Random(0).randbytes(3000).hex()
    assert select([*texts, noise], 3).guarded.get(len(texts), "").startswith(("support", "entropy"))
    assert next(iter(select([*texts, noise], 3, keep=[len(texts)]))) == len(texts)


@OBJECTIVES
def test_what_the_anchor_holds_is_not_picked_again(docs, objective):
    texts, _ = docs
    anchor = texts[::2]
    near = [text.replace("the", "teh", 1) for text in anchor]  # its near-copies
    pool = texts[1::2] + near + anchor
    ranking = list(select(pool, len(texts) // 4, anchor=anchor, objective=objective))
    fresh = len(texts[1::2])
    without = list(select(pool, len(texts) // 4, objective=objective))
    assert not set(ranking) & set(range(fresh + len(near), len(pool)))  # the very texts
    assert sum(at >= fresh for at in ranking) < 0.35 * sum(at >= fresh for at in without)


@OBJECTIVES
def test_a_target_tilts_the_choice_to_its_kind(docs, objective):
    texts, _ = docs
    kind = [text for text in texts if "file" in text]
    target, pool = kind[::2], [text for text in texts if text not in set(kind[::2])]
    wanted = {at for at, text in enumerate(pool) if "file" in text}
    shares = [
        sum(at in wanted for at in select(pool, 100, target=target, target_strength=strength, objective=objective))
        for strength in (0, 1, 2)
    ]
    assert shares[0] == sum(at in wanted for at in select(pool, 100, objective=objective))
    assert shares[0] < shares[1] < shares[2]


def test_the_smallest_set_that_covers_a_share_of_the_target(docs):
    texts, _ = docs
    target = [text for text in texts if "socket" in text]
    options = {"target": target, "objective": "coverage"}
    half = select(texts, until="target-coverage=0.5", **options)
    most = select(texts, until="target-coverage=0.95", **options)
    assert 0 < len(half) < len(most) < len(texts)


# --- worth and costs ------------------------------------------------------------------------------------------------


@OBJECTIVES
def test_worth_multiplies_gain_and_nothing_comes_last(docs, objective):
    texts, _ = docs
    worth = [0.0 if at % 2 else 1.0 for at in range(len(texts))]
    ranking = list(select(texts, "100%", worth=worth, objective=objective, guard=False))
    assert all(at % 2 == 0 for at in ranking[:100])
    alike = [4.0] * len(texts)  # a power of two, so that quotients are rounded alike
    assert list(select(texts, 50, worth=alike)) == list(select(texts, 50))


@OBJECTIVES
@pytest.mark.parametrize("huge", [1e307, 1e-307])
def test_worth_beyond_measure_is_no_trap(docs, objective, huge):
    texts, _ = docs
    ranking = list(select(texts[:200], 20, worth=[huge] * 200, cost="row", objective=objective, guard=False))
    assert ranking == list(select(texts[:200], 20, worth=[1.0] * 200, cost="row", objective=objective, guard=False))


def test_cost_decides_how_long_picks_are(docs):
    texts, _ = docs
    by_byte = select(texts, 60, cost="byte").sizes.mean()
    by_row = select(texts, 60, cost="row").sizes.mean()
    assert by_row > 3 * by_byte
    tokens = [len(text.split()) for text in texts]
    by_token = select(texts, "2ktok", cost="token", tokens=tokens)
    spent = sum(tokens[at] for at in by_token)
    assert 0 <= 2000 - spent < min(tokens[at] for at in range(len(texts)) if at not in set(by_token))


# --- both -----------------------------------------------------------------------------------------------------------


def test_both_covers_more_than_ratio_and_repeats_less_than_coverage(docs):
    texts, _ = docs
    ranked = {name: list(select(texts, "30kB", objective=name)) for name in ("both", "ratio", "coverage")}
    shown, covered = (worth_in(texts, ["one"] * len(texts), name, b"") for name in ("ratio", "coverage"))
    assert shown(ranked["ratio"]) > shown(ranked["both"]) > shown(ranked["coverage"])
    assert covered(ranked["coverage"]) > covered(ranked["both"]) > covered(ranked["ratio"])


# --- with a mix every prefix is a subset too (without one it is literally the run at the smaller budget) -------------


KINDS = {
    "any": lambda at, text: "abc"[at % 3],
    "by length": lambda at, text: "abc"[(len(text) > 200) + (len(text) > 600)],  # a turn each would be unfair in bytes
}


def worth_in(texts, groups, objective, header):
    """What a set is worth, chosen in this order, measured afresh: weight it covers, or compressed bytes of a byte."""
    pool = [text.encode() for text in texts]

    def shown(chosen):
        context = ZstdCodec(header=header).context([pool[at] for at in chosen])
        for index in range(len(chosen)):
            context.add(index)
        return context.compressed / context.raw

    sketch = Sketch()
    seen = (*joined(pool), salts_of(groups))  # with a mix each group is covered for itself
    sketch.count(*seen)
    lens = Lens.of(sketch)
    views = lens.look(*seen).features()

    def covered(chosen):
        return reach_of([views[at] for at in chosen], lens, False).coverage

    return shown if objective == "ratio" else covered


@OBJECTIVES
@pytest.mark.parametrize("mix", ["equal", "a=1,b=2,c=3"])
@pytest.mark.parametrize(
    ("kind", "budgets", "tolerance"),
    [
        ("any", (20, 75, 240), 0.02),
        ("any", ("15kB", "50kB", "150kB"), 0.02),
        ("by length", (20, 75, 240), 0.04),  # one long sample more or less is 6 % of 20 rows' bytes
        ("by length", ("15kB", "50kB", "150kB"), 0.02),
    ],
)
def test_every_prefix_of_a_mix_is_worth_what_a_run_at_its_budget_is(docs, objective, mix, kind, budgets, tolerance):
    texts, _ = docs
    groups = [KINDS[kind](at, text) for at, text in enumerate(texts)]
    options = {"groups": groups, "mix": mix, "objective": objective, "guard": False}
    *smaller, budget = budgets
    whole = select(texts, budget, **options)
    units = np.ones(len(whole)) if isinstance(budget, int) else whole.sizes

    # No group is ever more than one sample ahead of another, by the share it has spent of its amount.
    of_group = np.array([groups[at] for at in whole])
    total = parse_budget(budget).amount
    weights = {"a": 1, "b": 1, "c": 1} if mix == "equal" else {"a": 1, "b": 2, "c": 3}
    spent = {g: np.cumsum(units * (of_group == g)) / (total * w / sum(weights.values())) for g, w in weights.items()}
    a_sample = {g: (units[of_group == g] / (total * w / sum(weights.values()))).max() for g, w in weights.items()}
    for one in weights:
        for other in weights:
            assert (spent[one] - a_sample[one] <= spent[other] + 1e-9).all()
    # Within a group the order is that of the picks.
    if objective == "coverage":
        for group in weights:
            gains = (whole.gains / whole.sizes)[of_group == group]
            assert (np.diff(gains) <= 0).all()

    if objective == "both":
        tolerance += 0.01  # what each group's last turn was, the prefix does not know
    worth = worth_in(texts, groups, objective, whole.header)
    for amount in smaller:
        alone = select(texts, amount, header=whole.header, **options)
        rows = int(np.searchsorted(np.cumsum(units), parse_budget(amount).amount, side="right"))
        assert worth(list(whole)[:rows]) > (1 - tolerance) * worth(list(alone))


def test_a_mix_changes_the_order_of_picks_not_the_set_nor_what_each_added(docs):
    texts, _ = docs
    groups = [KINDS["by length"](at, text) for at, text in enumerate(texts)]
    options = {"groups": groups, "guard": False, "objective": "ratio"}  # coverage is each group's own with a mix alone
    mixed = select(texts, 150, mix="equal", **options)
    # The same limits, with one more pick that is free: in the order of the picks.
    floors = [f"{group}=50" for group in "abc"]
    free = select(texts, 151, floor=floors, cap=["a=50", "b=50", "c=51"], **options)
    added = dict(zip(free, free.gains.tolist(), strict=True))
    assert {at: added[at] for at in mixed} == dict(zip(mixed, mixed.gains.tolist(), strict=True))
    assert [len(texts[at].encode()) for at in mixed] == mixed.sizes.tolist()
    for group in "abc":
        assert [at for at in free if groups[at] == group][:50] == [at for at in mixed if groups[at] == group]
    assert [groups[at] for at in mixed] == list("abc") * 50
    assert abs([groups[at] for at in free][:75].count("a") - 25) > 5


def test_what_is_kept_has_had_its_turns(docs):
    texts, _ = docs
    groups = [KINDS["any"](at, text) for at, text in enumerate(texts)]
    keep = [at for at, group in enumerate(groups) if group == "a"][:6]
    ranking = list(select(texts, 30, groups=groups, mix="equal", keep=keep, guard=False))
    assert set(ranking[:6]) == set(keep)
    assert [groups[at] for at in ranking[6:]] == list("bc") * 6 + list("abc") * 4


def test_small_pools_of_any_kind_are_not_taken_for_noise():
    assert not select(chat_texts(16), 5).guarded
    assert not select(["one text of a kind", "something else entirely", "你好世界今天天气很好"], 1).guarded
