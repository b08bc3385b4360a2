"""What people write behind --mix, --floor, --cap and --until."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipspark.errors import UsageError
from zipspark.limits import Mix, Until, check_limits, parse_group_limits, parse_mix, parse_until, resolve_limits
from zipspark.units import Budget, parse_budget

NAMES = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name == name.strip()
)
WEIGHTS = st.floats(0, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "mix", "shown"),
    [
        ("natural", Mix(1), "natural"),
        ("equal", Mix(0), "equal"),
        ("power=0.5", Mix(0.5), "power=0.5"),
        ("power=1", Mix(1), "natural"),
        ("power=0", Mix(0), "equal"),
        ({"power": 0.5}, Mix(0.5), "power=0.5"),
        ("code=0.3,chat=0.7", Mix(None, (("chat", 0.7), ("code", 0.3))), "chat=0.7,code=0.3"),
        (" code = 0.3 , chat = 0.7 ", Mix(None, (("chat", 0.7), ("code", 0.3))), "chat=0.7,code=0.3"),
        ({"code": 3, "chat": "7"}, Mix(None, (("chat", 7), ("code", 3))), "chat=7,code=3"),
        ("code=0,chat=1e-7", Mix(None, (("chat", 1e-7), ("code", 0))), "chat=1e-07,code=0"),
        ("power=1,chat=2", Mix(None, (("chat", 2), ("power", 1))), "chat=2,power=1"),
        ("a=b=1", Mix(None, (("a=b", 1),)), "a=b=1"),
        ("(none)=1,a=2", Mix(None, (("(none)", 1), ("a", 2))), "(none)=1,a=2"),
        ({None: 1, 2021: 2}, Mix(None, (("(none)", 1), ("2021", 2))), "(none)=1,2021=2"),
        (Mix(0.5), Mix(0.5), "power=0.5"),
    ],
)
def test_a_mix_is_read_and_shown_in_one_form(value, mix, shown):
    assert parse_mix(value) == mix
    assert str(parse_mix(value)) == shown


@given(st.dictionaries(NAMES, WEIGHTS, min_size=2).filter(lambda weights: any(weights.values())))
def test_a_mix_by_weights_reads_back_from_json(weights):
    mix = parse_mix(weights)
    assert parse_mix(json.loads(json.dumps(str(mix)))) == mix
    assert dict(mix.weights) == weights


@given(st.floats(0, 1))
def test_a_power_reads_back(power):
    assert parse_mix(str(Mix(power))) == Mix(power)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        *(
            (value, "must be natural, equal, power=P with P from 0 to 1, or weights (code=0.3,chat=0.7)")
            for value in ("", "even", "Equal", "code", "code=1,chat", "natural,code=1", 0.5, None, True)
        ),
        ("power=2", "must have a power from 0 (equal) to 1 (natural)"),
        ("power=-1", "must have a power from 0 (equal) to 1 (natural)"),
        ("power=half", "must have a power from 0 (equal) to 1 (natural)"),
        ("code=-0.1,chat=1", "must have weights of 0 or more"),
        ("code=nan", "must have weights of 0 or more"),
        ("code=inf", "must have weights of 0 or more"),
        ("code=30%", "must have weights of 0 or more"),
        ("code=", "must have weights of 0 or more"),
        ({"code": True}, "must have weights of 0 or more"),
        ({"code": [1]}, "must have weights of 0 or more"),
        ("code=0,chat=0", "must have a weight above 0"),
        ({}, "must have a weight above 0"),
        ("code=1, code=2", "must have each name once"),
        ({None: 1, "(none)": 1}, "must have each name once"),
        ("=1", "must have names that are not empty and hold no comma"),
        ({"a,b": 1}, "must have names that are not empty and hold no comma"),
    ],
)
def test_what_is_no_mix_is_refused_with_rule_and_value(value, rule):
    with pytest.raises(UsageError, match=f"^mix {re.escape(rule)}, got "):
        parse_mix(value)


@pytest.mark.parametrize(
    "value",
    [
        ["b=5MB", "a=10%"],
        "b=5MB,a=10%",
        ["b=5MB, a=10%"],
        {"b": "5MB", "a": "10%"},
        {"b": Budget("bytes", 5e6), "a": "10%"},
    ],
)
def test_limits_of_groups_are_flags_text_or_a_mapping(value):
    limits = parse_group_limits(value, "floor")
    assert limits == {"a": Budget("share", 0.1), "b": Budget("bytes", 5_000_000)}
    assert list(limits) == ["a", "b"]


def test_a_limit_may_count_tokens_or_be_zero_and_a_name_may_hold_what_is_no_comma():
    assert parse_group_limits(["a=b=2 Mtok"], "cap") == {"a=b": Budget("tokens", 2_000_000)}
    assert parse_group_limits({None: 0}, "cap") == {"(none)": Budget("rows", 0)}
    assert parse_group_limits([], "cap") == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["code"], "cap must be GROUP=AMOUNT (code=100, code=5MB, code=2Mtok, code=10%), got ['code']"),
        (7, "cap must be GROUP=AMOUNT (code=100, code=5MB, code=2Mtok, code=10%), got 7"),
        (["code=1", "code=2"], "cap must have each name once, got 'code' again"),
        (["code=much"], "cap of 'code' must be a number of rows (10000), a share of the budget (5%), a size"),
        (["code=-1"], "cap of 'code' must be 0 or more, got '-1'"),
        (["code=101%"], "cap of 'code' must be at most 100%, got '101%'"),
        (["code=0.5"], "cap of 'code' counts whole rows, got '0.5'"),
        ({"code": True}, "cap of 'code' must be a number of rows"),
    ],
)
def test_what_is_no_limit_is_refused_with_group_rule_and_value(value, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        parse_group_limits(value, "cap")


def test_limits_become_the_budgets_unit_shares_rounded_both_ways():
    limits = parse_group_limits("a=10%,b=30%,c=7", "floor")
    assert resolve_limits(limits, Budget("rows", 30), "floor") == {"a": (3, 3), "b": (9, 9), "c": (7, 7)}
    assert resolve_limits(limits, Budget("rows", 105), "floor") == {"a": (10, 11), "b": (31, 32), "c": (7, 7)}


@pytest.mark.parametrize(
    ("floors", "caps", "budget", "message"),
    [
        ("a=5MB", "", "100", "floor of 'a' must be in the budget's unit (rows) or a share (10%), got 5,000,000 bytes"),
        ("", "a=5", "1ktok", "cap of 'a' must be in the budget's unit (tokens) or a share (10%), got 5 rows"),
        ("a=5MB", "", "5%", "floor of 'a' must be in the budget's unit (rows) or a share (10%), got 5,000,000 bytes"),
        ("a=60", "a=50", "100", "floor of 'a' must be <= its cap (50 rows), got 60 rows"),
        ("a=20%", "a=10", "100", "floor of 'a' must be <= its cap (10 rows), got 20 rows"),
        ("a=60%,b=41", "", "100", "floor must sum to at most the budget (100 rows), got 101 rows"),
        ("a=2MB", "", "1MB", "floor must sum to at most the budget (1,000,000 bytes), got 2,000,000 bytes"),
    ],
)
def test_limits_that_fit_no_pool_are_refused_before_any_data_is_seen(floors, caps, budget, message):
    floors, caps = (parse_group_limits(text or [], "limit") for text in (floors, caps))
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        check_limits(floors, caps, parse_budget(budget))


def test_limits_that_fit_some_pool_pass():
    check_limits(parse_group_limits("a=50%,b=50%", "floor"), parse_group_limits("a=50%", "cap"), parse_budget("105"))
    check_limits(
        parse_group_limits("a=500", "floor"), parse_group_limits("a=1", "cap"), parse_budget("5%")
    )  # rows unknown
    check_limits({}, {}, parse_budget("5%"))


@pytest.mark.parametrize(
    ("value", "until", "shown"),
    [
        ("coverage=0.9", Until(coverage=0.9), "coverage=0.9"),
        ("coverage=90%", Until(coverage=0.9), "coverage=0.9"),
        ("coverage=1", Until(coverage=1), "coverage=1"),
        ("target-coverage=0.95", Until(target_coverage=0.95), "target-coverage=0.95"),
        ("marginal-ratio=6", Until(marginal_ratio=6), "marginal-ratio=6"),
        ("marginal-ratio=6, coverage=0.9", Until(0.9, None, 6), "coverage=0.9,marginal-ratio=6"),
        (["marginal-ratio=6", "coverage=0.9"], Until(0.9, None, 6), "coverage=0.9,marginal-ratio=6"),
        ({"marginal-ratio": 6, "coverage": 0.9}, Until(0.9, None, 6), "coverage=0.9,marginal-ratio=6"),
        (Until(0.5), Until(0.5), "coverage=0.5"),
    ],
)
def test_stop_rules_are_read_and_shown_in_one_form(value, until, shown):
    assert parse_until(value) == until
    assert str(until) == shown
    assert parse_until(shown) == until


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("perplexity=3", "until must name one of coverage, target-coverage, marginal-ratio, got 'perplexity'"),
        ("Coverage=0.9", "until must name one of coverage, target-coverage, marginal-ratio, got 'Coverage'"),
        (
            "target_coverage=1",
            "until must name one of coverage, target-coverage, marginal-ratio, got 'target_coverage'",
        ),
        ("coverage", "until must be coverage=0.9, target-coverage=0.95 (shares, 90% too) or marginal-ratio=6, or"),
        ("", "until must be coverage=0.9"),
        (0.9, "until must be coverage=0.9"),
        ("coverage=0", "until must have a coverage above 0 and at most 1, got coverage=0"),
        ("coverage=1.1", "until must have a coverage above 0 and at most 1, got coverage=1.1"),
        ("coverage=90", "until must have a coverage above 0 and at most 1, got coverage=90"),
        ("coverage=101%", "until must have a coverage above 0 and at most 1, got coverage=101%"),
        ("target-coverage=all", "until must have a target-coverage above 0 and at most 1, got target-coverage=all"),
        ("marginal-ratio=0", "until must have a marginal-ratio above 0, got marginal-ratio=0"),
        ("marginal-ratio=60%", "until must have a marginal-ratio above 0, got marginal-ratio=60%"),
        ("marginal-ratio=inf", "until must have a marginal-ratio above 0, got marginal-ratio=inf"),
        ("coverage=0.9,coverage=0.8", "until must have each name once, got 'coverage' again"),
    ],
)
def test_what_is_no_stop_rule_is_refused_with_rule_and_value(value, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        parse_until(value)
