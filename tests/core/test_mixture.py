"""Quotas of groups: exact, fair, and refused with the numbers where they cannot be."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zipspark.core.mixture import bounds, quotas
from zipspark.errors import InputError, UsageError
from zipspark.limits import Mix, parse_group_limits, parse_mix
from zipspark.units import Budget, parse_budget

NATURAL, EQUAL = Mix(1), Mix(0)
SIZES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.integers(0, 2000), min_size=1, max_size=12)
POWERS = st.builds(Mix, st.sampled_from([0, 0.3, 0.5, 0.9, 1]))


def shared(mix="natural", budget="100", floors=(), caps=(), **sizes):
    limits = parse_group_limits(floors, "floor"), parse_group_limits(caps, "cap")
    return quotas(parse_mix(mix), *limits, parse_budget(budget), sizes)


def in_rows(limits):
    return {g: Budget("rows", amount) for g, amount in limits.items()}


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ("natural", {"a": 64, "b": 32, "c": 4}),
        ("equal", {"a": 34, "b": 33, "c": 33}),  # 33.3 each; the first name gets the row left over
        ("power=0.5", {"a": 51, "b": 36, "c": 13}),  # 40 : 28.28 : 10 -> 51.1, 36.1, 12.8
        ("a=1,b=3", {"a": 25, "b": 75, "c": 0}),
        ("c=1", {"a": 0, "b": 0, "c": 100}),
    ],
)
def test_each_mix_by_hand(mix, expected):
    assert shared(mix, a=1600, b=800, c=100) == expected


def test_a_group_too_small_is_taken_whole_and_the_others_share_the_rest():
    assert shared("equal", a=900, b=500, c=10) == {"a": 45, "b": 45, "c": 10}
    assert shared("equal", a=900, b=20, c=10) == {"a": 70, "b": 20, "c": 10}
    # 30 : 20 : 1 of 80 -> 47.1, 31.4, 1.6, but the last holds 1: 79 x 3/5 and 79 x 2/5
    assert shared("power=0.5", "80", a=900, b=400, c=1) == {"a": 47, "b": 32, "c": 1}
    assert shared("power=0.5", "1100", a=900, b=400, c=1) == {"a": 699, "b": 400, "c": 1}


def test_floors_raise_caps_lower_and_the_rest_moves_in_proportion():
    sizes = {"a": 600, "b": 300, "c": 100}
    assert shared(floors="c=40", **sizes) == {"a": 40, "b": 20, "c": 40}
    assert shared(caps="a=20", **sizes) == {"a": 20, "b": 60, "c": 20}
    assert shared(floors="c=40", caps="a=20%", **sizes) == {"a": 20, "b": 40, "c": 40}
    assert shared(floors="a=10,b=10", **sizes) == shared(**sizes)  # they get more anyway
    assert shared(caps="c=0", **sizes) == {"a": 67, "b": 33, "c": 0}


def test_weights_with_limits_and_a_floor_for_a_group_without_weight():
    sizes = {"a": 600, "b": 300, "c": 100}
    assert shared("a=3,b=1", floors="c=20", **sizes) == {"a": 60, "b": 20, "c": 20}
    assert shared("a=3,b=1", caps="a=50", **sizes) == {"a": 50, "b": 50, "c": 0}
    assert shared("a=1,b=0", floors="b=10%", caps="b=10%", **sizes) == {"a": 90, "b": 10, "c": 0}


def test_shares_that_sum_to_all_of_an_odd_budget_contradict_nothing():
    sizes = dict.fromkeys("abcdefghij", 100)
    tenths = [f"{name}=10%" for name in sizes]
    assert shared("natural", "105", tenths, tenths, **sizes) == dict.fromkeys("abcde", 11) | dict.fromkeys("fghij", 10)


def test_bytes_and_tokens_are_shared_exactly_however_large():
    sizes = {"a": 10**15 + 1, "b": 2 * 10**15, "c": 7}
    for budget in ("1TB", "1 Ttok"):
        assert sum(shared("natural", budget, **sizes).values()) == 10**12
        assert sum(shared("power=0.5", budget, **sizes).values()) == 10**12
    assert shared("equal", "1000001B", a=10**15, b=10**15) == {"a": 500_001, "b": 500_000}


def test_a_share_is_of_the_rows_that_the_groups_hold():
    assert shared("equal", "10%", a=900, b=100) == {"a": 50, "b": 50}


@pytest.mark.parametrize("mix", ["natural", "equal", "power=0.5"])
def test_a_budget_above_the_pool_takes_all_that_caps_allow(mix):
    assert shared(mix, "1000", a=5, b=7) == {"a": 5, "b": 7}
    assert shared(mix, "1000", caps="b=3", a=5, b=7) == {"a": 5, "b": 3}
    assert shared(mix, "1000") == {}


def test_rows_without_a_group_are_one_that_can_be_named():
    assert quotas(parse_mix({None: 1}), {}, {}, Budget("rows", 3), {"(none)": 5, "a": 5}) == {"(none)": 3, "a": 0}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mix": "a=1,x=1"}, "mix must name groups of the pool ('a', 'b', 'c'), got 'x'"),
        ({"mix": "a=1,x=0"}, "mix must name groups of the pool ('a', 'b', 'c'), got 'x'"),
        ({"floors": "x=1"}, "floor must name groups of the pool ('a', 'b', 'c'), got 'x'"),
        ({"caps": "x=1"}, "cap must name groups of the pool ('a', 'b', 'c'), got 'x'"),
        (
            {"floors": "c=11"},
            "floor must not ask for more than a group holds, got 11 of 10 rows of 'c'",
        ),
        (
            {"mix": "b=0.5,c=0.5"},
            "mix must not ask for more than a group holds, got 50 of 10 rows of 'c'; the budget is 100, "
            "the largest for these weights 20",
        ),
        (
            {"mix": "b=1", "floors": "a=10", "budget": "700"},
            "mix must not ask for more than a group holds, got 690 of 500 rows of 'b'; the budget is 700",
        ),
        (
            {"caps": "a=20,b=20"},
            "cap must leave room for the budget (100 rows), got 50 rows with every cap reached",
        ),
        (
            {"mix": "a=1,b=1", "caps": "a=20,b=20"},
            "cap must leave room for the budget (100 rows), got 40 rows with every cap reached",
        ),
    ],
)
def test_what_this_pool_cannot_give_is_refused_with_the_numbers(asked, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        shared(**asked, a=900, b=500, c=10)


def test_the_budget_named_in_the_refusal_is_the_largest_that_works():
    sizes = {"a": 1000, "b": 33}
    assert shared("a=0.7,b=0.3", "110", **sizes) == {"a": 77, "b": 33}
    with pytest.raises(
        InputError, match=r"got 34 of 33 rows of 'b'; the budget is 112, the largest for these weights 110$"
    ):
        shared("a=0.7,b=0.3", "112", **sizes)


def test_limits_that_fit_no_pool_are_refused_here_as_well():
    with pytest.raises(UsageError, match=r"^floor of 'a' must be <= its cap \(1 rows\), got 2 rows$"):
        shared(floors="a=2", caps="a=1", a=10)
    with pytest.raises(UsageError, match=r"^floor must sum to at most the budget \(100 rows\), got 110 rows$"):
        shared(floors="a=60,b=50", a=90, b=90)


def test_with_a_mix_each_group_is_bound_to_its_quota_without_one_to_its_limits_alone():
    sizes, budget = {"a": 900.0, "b": 500.0, "c": 10.0}, Budget("rows", 105)
    floors, caps = parse_group_limits("b=30%", "floor"), parse_group_limits("a=50%", "cap")
    # 30 : 22.4 : 3.2 would give a 56.7, above its cap of 53; of the 52 left, b gets 22.4 in 25.5.
    quota = {"a": 53, "b": 46, "c": 6}
    assert bounds(Mix(0.5), floors, caps, budget, sizes) == (quota, quota)
    assert bounds(None, floors, caps, budget, sizes) == ({"b": 31}, {"a": 53})
    assert bounds(None, {}, {}, budget, sizes) == ({}, {})


@pytest.mark.parametrize(
    ("floors", "caps", "message"),
    [
        ("x=1", [], "floor must name groups of the pool ('a', 'b'), got 'x'"),
        ("b=11", [], "floor must not ask for more than a group holds, got 11 of 10 rows of 'b'"),
        ([], "a=20", "cap must leave room for the budget (100 rows), got 30 rows with every cap reached"),
    ],
)
def test_limits_without_a_mix_are_checked_against_the_pool_as_well(floors, caps, message):
    limits = parse_group_limits(floors, "floor"), parse_group_limits(caps, "cap")
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        bounds(None, *limits, Budget("rows", 100), {"a": 900, "b": 10})
    if caps:
        assert bounds(None, *limits, Budget("rows", 911), {"a": 900, "b": 10}) == ({}, {"a": 20})


def test_a_long_list_of_groups_is_cut():
    with pytest.raises(InputError, match=r"'g19' and 80 more\), got 'x'$"):
        quotas(parse_mix("x=1"), {}, {}, Budget("rows", 1), {f"g{number:02}": 1 for number in range(100)})


@given(POWERS, SIZES, st.integers(1, 5000), st.data())
def test_quotas_sum_to_the_budget_within_every_limit(mix, sizes, amount, data):
    limits = st.dictionaries(st.sampled_from(sorted(sizes)), st.integers(0, 500))
    caps = data.draw(limits)
    floors = {g: min(least, sizes[g], caps.get(g, least)) for g, least in data.draw(limits).items()}
    assume(sum(floors.values()) <= amount)
    highest = {g: min(size, caps.get(g, size)) for g, size in sizes.items()}
    asked = min(amount, sum(sizes.values()))
    assume(sum(highest.values()) >= asked or amount >= sum(sizes.values()))
    quota = quotas(mix, in_rows(floors), in_rows(caps), Budget("rows", amount), sizes)
    assert sum(quota.values()) == min(asked, sum(highest.values()))
    assert all(floors.get(g, 0) <= quota[g] <= highest[g] for g in sizes)
    assert list(quota) == sorted(sizes)

    # Proportional: who is at no limit has the same quota per weight as everyone below it could have, but for rounding.
    weight = {g: float(size) ** mix.power for g, size in sizes.items()}
    for more in sizes:
        for less in sizes:
            if weight[more] and weight[less] and quota[more] > floors.get(more, 0) and quota[less] < highest[less]:
                assert (quota[more] - 1) / weight[more] <= (quota[less] + 1) / weight[less] * (1 + 1e-9)


@given(st.integers(1, 5000), st.data())
def test_weights_sum_to_the_budget_within_every_limit_or_are_refused(amount, data):
    sizes = dict.fromkeys("abcdef", 5000)
    limits = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2000), max_size=4)
    weights = data.draw(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), min_size=1).filter(
            lambda given: any(given.values())
        )
    )
    floors, caps = data.draw(limits), data.draw(limits)
    highest = {g: min(caps.get(g, amount), amount) if weights.get(g) else floors.get(g, 0) for g in sizes}
    impossible = (
        any(floors[g] > caps[g] for g in floors.keys() & caps.keys())
        or sum(floors.values()) > amount
        or sum(highest.values()) < amount
    )
    try:
        quota = quotas(parse_mix(weights), in_rows(floors), in_rows(caps), Budget("rows", amount), sizes)
    except (InputError, UsageError):
        assert impossible
    else:
        assert not impossible
        assert sum(quota.values()) == amount
        assert all(floors.get(g, 0) <= quota[g] <= highest[g] for g in sizes)


@given(SIZES, st.integers(1, 5000))
def test_equal_leaves_no_group_below_another_unless_it_is_exhausted(sizes, amount):
    quota = quotas(EQUAL, {}, {}, Budget("bytes", amount), sizes)
    top = max(quota.values())
    assert all(quota[g] >= min(sizes[g], top - 1) for g in sizes)


@given(SIZES, st.integers(1, 5000))
def test_natural_is_the_share_of_the_pool(sizes, amount):
    pool = sum(sizes.values())
    quota = quotas(NATURAL, {}, {}, Budget("tokens", amount), sizes)
    assert all(abs(quota[g] - Fraction(min(amount, pool) * size, pool or 1)) < 1 for g, size in sizes.items())


@given(SIZES, st.integers(1, 5000))
def test_a_power_lies_between_equal_and_natural_in_what_the_largest_group_gets(sizes, amount):
    largest = max(sizes, key=lambda g: (sizes[g], g))
    got = [quotas(Mix(p), {}, {}, Budget("rows", amount), sizes)[largest] for p in (0, 0.25, 0.5, 0.75, 1)]
    assert all(less <= more + 1 for less, more in pairwise(got))


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100), min_size=1),
    st.integers(1, 999),
    st.integers(1, 999),
)
def test_weights_mean_the_same_at_any_scale(weights, scale, amount):
    assume(any(weights.values()))
    sizes = dict.fromkeys("abcdef", 10**6)
    tenths = {g: float(f"{w / 10:.1f}") for g, w in weights.items()}  # 0.3 is no tenth of 3 in floating point
    quota, *others = (
        quotas(parse_mix(given), {}, {}, Budget("rows", amount), sizes)
        for given in (weights, {g: w * scale for g, w in weights.items()}, tenths)
    )
    assert others == [quota, quota]


@given(POWERS, SIZES, st.integers(1, 5000), st.randoms())
def test_the_order_of_groups_changes_nothing(mix, sizes, amount, random):
    names = list(sizes)
    random.shuffle(names)
    budget = Budget("rows", amount)
    assert list(quotas(mix, {}, {}, budget, {g: sizes[g] for g in names}).items()) == list(
        quotas(mix, {}, {}, budget, sizes).items()
    )
