"""Sizes and budgets as people write them."""

from __future__ import annotations

import re

import pytest

from zipspark.errors import UsageError
from zipspark.units import Budget, format_bytes, parse_budget, parse_size


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        (10, Budget("rows", 10), "10 rows"),
        ("10000", Budget("rows", 10_000), "10,000 rows"),
        ("1_000", Budget("rows", 1000), "1,000 rows"),
        ("10k", Budget("rows", 10_000), "10,000 rows"),
        ("10K", Budget("rows", 10_000), "10,000 rows"),
        ("1.5M", Budget("rows", 1_500_000), "1,500,000 rows"),
        ("2Ki", Budget("rows", 2048), "2,048 rows"),
        ("500MB", Budget("bytes", 500_000_000), "500,000,000 bytes"),
        ("2.5MB", Budget("bytes", 2_500_000), "2,500,000 bytes"),
        ("64MiB", Budget("bytes", 64 * 2**20), "67,108,864 bytes"),
        ("1TB", Budget("bytes", 10**12), "1,000,000,000,000 bytes"),
        ("7B", Budget("bytes", 7), "7 bytes"),
        ("20Mtok", Budget("tokens", 20_000_000), "20,000,000 tokens"),
        ("500ktok", Budget("tokens", 500_000), "500,000 tokens"),
        ("2.5Gtok", Budget("tokens", 2_500_000_000), "2,500,000,000 tokens"),
        ("2Kitok", Budget("tokens", 2048), "2,048 tokens"),
        ("1000 tok", Budget("tokens", 1000), "1,000 tokens"),
        ("1000 tokens", Budget("tokens", 1000), "1,000 tokens"),
        ("20 Mtokens", Budget("tokens", 20_000_000), "20,000,000 tokens"),
        ("1token", Budget("tokens", 1), "1 tokens"),
        ("5%", Budget("share", 0.05), "5%"),
        ("0.5%", Budget("share", 0.005), "0.5%"),
        ("100%", Budget("share", 1.0), "100%"),
        (" 5% ", Budget("share", 0.05), "5%"),
        (Budget("rows", 3), Budget("rows", 3), "3 rows"),
    ],
)
def test_a_budget_is_rows_bytes_tokens_or_a_share(text, budget, shown):
    assert parse_budget(text) == budget
    assert str(budget) == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (0, "must be above 0"),
        ("-5", "must be above 0"),
        ("-5%", "must be above 0"),
        ("0%", "must be above 0"),
        ("0MB", "must be above 0"),
        ("0tok", "must be above 0"),
        ("0.5tok", "must be above 0"),
        ("-5tok", "must be above 0"),
        ("200%", "must be at most 100%"),
        ("100.1%", "must be at most 100%"),
        ("1.5", "counts whole rows"),
        (0.05, "counts whole rows"),
        *(
            (
                text,
                "must be a number of rows (10000), a share of the pool (5%), a size (500MB, 64MiB) or tokens (20Mtok)",
            )
            for text in (
                "abc",
                "",
                "MB",
                "%",
                "1e5",
                "10,000",
                "5 %",
                "5k%",
                "1.2.3",
                "1__0",
                "5kb",
                "1PB",
                "5 MB",
                "5 k",
                "1000  tok",
                "1M tok",
                "20MTok",
                "20toks",
                "tok",
                "½",
                "५०%x",
            )
        ),
    ],
)
def test_what_is_no_budget_is_refused_with_rule_and_value(text, rule):
    with pytest.raises(UsageError, match=f"^budget {re.escape(rule)}.*{re.escape(f'got {text!r}')}"):
        parse_budget(text)


@pytest.mark.parametrize("text", ["0.5B", "0.0001kB", "9" * 400, "\uff15", "\u0661\u0660"])
def test_budgets_that_would_come_to_nothing_or_overflow_are_refused(text):
    with pytest.raises(UsageError, match=r"^budget .* got "):
        parse_budget(text)


def test_a_limit_of_a_group_is_written_as_a_budget_is_and_may_be_zero():
    assert [parse_budget(text, zero=True) for text in ("0", "0MB", "0tok", "0%", "10%")] == [
        Budget("rows", 0),
        Budget("bytes", 0),
        Budget("tokens", 0),
        Budget("share", 0),
        Budget("share", 0.1),
    ]
    with pytest.raises(UsageError, match=r"^cap must be 0 or more, got '-1'; give .* a share of the budget \(5%\)"):
        parse_budget("-1", "cap", whole="the budget", zero=True)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8MiB", 8 * 2**20), ("1.5MB", 1_500_000), ("512", 512), (512, 512), ("64k", 64_000), ("1GiB", 2**30)],
)
def test_a_size_is_in_decimal_or_binary_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["abc", "5%", "0", "-1MB", "", "1e6", "0.5", "5tok", None, True])
def test_what_is_no_size_is_refused_with_field_rule_and_value(text):
    with pytest.raises(
        UsageError, match=rf"^window must be a size.* such as 8MiB or 500MB, got '?{re.escape(str(text))}'?$"
    ):
        parse_size(text, "window")


@pytest.mark.parametrize(
    ("share", "rows", "resolved"),
    [(0.05, 1000, 50), (0.05, 1001, 51), (0.07, 100, 7), (0.001, 10, 1), (1e-12, 10, 1), (1.0, 3, 3), (0.5, 0, 0)],
)
def test_a_share_becomes_rows_rounded_up_and_never_none(share, rows, resolved):
    assert Budget("share", share).resolve(rows) == Budget("rows", resolved)


@pytest.mark.parametrize("budget", [Budget("rows", 7), Budget("bytes", 7), Budget("tokens", 7)])
def test_rows_bytes_and_tokens_do_not_depend_on_the_pool(budget):
    assert budget.resolve(3) is budget


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4_512_000, "4.5 MB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")],
)
def test_bytes_are_shown_in_decimal_units(size, shown):
    assert format_bytes(size) == shown
