"""The early warning: each rule at its threshold, what is said where it cannot judge, groups, policies, histories."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark.entropy.policy import Policy
from zipspark.entropy.versions import Version, append, from_table, merged, read_log, to_table
from zipspark.entropy.warning import Verdict, check, from_history
from zipspark.errors import InputError, UsageError

stats = pytest.importorskip("scipy.stats")

RATIOS = [3.90, 3.95, 3.85, 3.92, 3.88]
LOSSES = [1.80, 1.79, 1.815, 1.797, 1.803]
HIGH, SPREAD = max(RATIOS), float(np.std(RATIOS, ddof=1))


def past(count: int = 5, **more) -> list[Version]:
    rows = zip(RATIOS[:count], LOSSES[:count], strict=True)
    return [Version(f"v{n}", ratio=ratio, loss=loss, codec="zlib", **more) for n, (ratio, loss) in enumerate(rows)]


def new(ratio: float = 3.9, loss: float | None = 1.8, codec: str = "zlib", **more) -> Version:
    return Version("new", ratio=ratio, loss=loss, codec=codec, **more)


def rules(verdict: Verdict) -> list[str]:
    return [found.rule for found in verdict.findings]


def band(ratio: float, confidence: float = 0.95) -> tuple[float, float]:
    """The prediction interval of L at a ratio, from scipy's line."""
    line = stats.linregress(RATIOS, LOSSES)
    rest = np.array(LOSSES) - line.intercept - line.slope * np.array(RATIOS)
    away = np.array(RATIOS) - np.mean(RATIOS)
    scatter = np.sqrt(rest @ rest / 3 * (1 + 1 / 5 + (ratio - np.mean(RATIOS)) ** 2 / (away @ away)))
    reach = stats.t.ppf((1 + confidence) / 2, 3) * scatter
    middle = line.intercept + line.slope * ratio
    return middle - reach, middle + reach


# --- the two rules ----------------------------------------------------------------------------------------------------


def test_a_version_like_the_past_is_ok():
    verdict = check([*past(), new()])
    assert (verdict.level, verdict.exit_code, verdict.judged, verdict.findings) == ("ok", 0, True, ())
    assert verdict.past == ("v0", "v1", "v2", "v3", "v4")


def test_a_ratio_above_the_range_by_more_than_the_spread_is_watched():
    allowed = max(SPREAD, 0.01 * np.mean(RATIOS))
    assert rules(check([*past(), new(HIGH + 0.99 * allowed)])) == []
    verdict = check([*past(), new(HIGH + 1.01 * allowed)])
    assert (verdict.level, verdict.exit_code, rules(verdict)) == ("watch", 10, ["ratio"])
    assert verdict.ratio_limit == pytest.approx(HIGH + allowed)
    assert verdict.ratio_spread == pytest.approx(SPREAD)
    assert "above all 5 past versions (3.850 to 3.950)" in verdict.findings[0].text
    assert "1.0% of their mean" in verdict.findings[0].text
    wide = check([*past(), new(4.2)], policy=Policy(spreads=3))
    assert "3 x their standard deviation" in wide.findings[0].text
    assert wide.findings[0].limit == pytest.approx(HIGH + 3 * SPREAD)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_loss_above_the_band_that_the_ratio_suggests_is_watched(confidence):
    low, high = band(3.93, confidence)
    policy = Policy(confidence=confidence, least_excess=0.0)
    assert rules(check([*past(), new(3.93, high - 1e-6)], policy=policy)) == []
    verdict = check([*past(), new(3.93, high + 1e-6)], policy=policy)
    assert (verdict.level, rules(verdict)) == ("watch", ["loss"])
    assert verdict.loss_expected is not None
    assert (verdict.loss_expected.low, verdict.loss_expected.high) == pytest.approx((low, high))
    assert "the same ratio teaches less" in verdict.findings[0].text
    assert rules(check([*past(), new(3.93, high + 0.009)])) == []  # differences of no consequence


def test_both_rules_are_a_risk_and_an_extrapolated_band_says_so():
    verdict = check([*past(), new(4.3, 2.5)])
    assert (verdict.level, verdict.exit_code, rules(verdict)) == ("risk", 20, ["ratio", "loss"])
    assert "The band is extrapolated: past ratios are 3.850 to 3.950." in verdict.findings[1].text
    quiet = check([*past(), new(3.97, 1.79)])
    assert quiet.level == "ok"
    assert any("The band is extrapolated" in note for note in quiet.notes)


def test_a_loss_below_the_band_is_said_but_no_warning():
    verdict = check([*past(), new(3.9, 1.5)])
    assert verdict.level == "ok"
    assert any("repeated or leaked text makes it low" in note for note in verdict.notes)


def test_a_lower_ratio_is_no_warning():
    assert check([*past(), new(2.0, None)]).level == "ok"


def test_it_is_all_of_the_past_that_is_compared_never_the_best_or_the_last():
    once_high = [Version("old", ratio=4.5, codec="zlib", loss=1.7), *past()]
    assert rules(check([*once_high, new(4.4, None)])) == []
    later = [*past(), new(4.4, None), Version("later", ratio=9.0, codec="zlib")]
    assert check(later, "new").past == ("v0", "v1", "v2", "v3", "v4")  # what came after it is not its past
    assert check(later).version == "later"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1.5, 9), min_size=3, max_size=8), st.floats(1.5, 9), st.randoms())
def test_the_order_of_the_past_does_not_matter_and_a_higher_ratio_is_never_judged_better(ratios, ratio, order):
    rows = [Version(f"v{n}", ratio=one) for n, one in enumerate(ratios)]
    one = check([*rows, Version("new", ratio=ratio)])
    order.shuffle(rows)
    assert check([*rows, Version("new", ratio=ratio)]).level == one.level
    limit = max(ratios) + max(np.std(ratios, ddof=1), 0.01 * np.mean(ratios))
    if abs(ratio - limit) > 1e-9:
        assert one.level == ("watch" if ratio > limit else "ok")


def test_false_alarms_of_the_ratio_rule_are_as_its_module_says():
    draw = np.random.default_rng(0)
    for count, stated in ((3, 0.12), (6, 0.05)):
        fired = 0
        for _ in range(1500):
            *before, ratio = 4 + 0.3 * draw.normal(size=count + 1)
            rows = [Version(f"v{n}", ratio=one) for n, one in enumerate(before)]
            verdict = check([*rows, Version("new", ratio=ratio)], policy=Policy(least_rise=0.0))
            fired += verdict.level == "watch"
        assert fired / 1500 == pytest.approx(stated, abs=0.03)


# --- what cannot be judged --------------------------------------------------------------------------------------------


def test_without_a_loss_it_is_watch_at_most_and_that_is_said():
    verdict = check([*past(), new(5.0, None)])
    assert verdict.level == "watch"
    assert any("new has no loss" in note and "watch at most" in note for note in verdict.notes)


def test_the_stand_in_is_shown_where_there_is_no_loss():
    rows = [Version(f"v{n}", ratio=3.9 + n / 100, held_out_bits=2.1 + n / 10) for n in range(4)]
    verdict = check([*rows, Version("new", ratio=3.9, held_out_bits=2.9)])
    assert verdict.level == "ok"
    assert any("2.900 bits per byte given the set, the past 2.100 to 2.400" in note for note in verdict.notes)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_with_too_little_past_nothing_is_judged_and_that_is_said(count):
    verdict = check([*past(count), new(9.0, 9.0)])
    assert (verdict.level, verdict.exit_code, verdict.judged) == ("ok", 0, False)
    assert f"{count} past versions with a ratio by zlib, at least 3 are needed" in verdict.notes[0]
    assert "(nothing to judge by yet)" in str(verdict)
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["ratio_limit"] is None


def test_too_few_losses_leave_the_ratio_rule():
    rows = [*past(2), Version("a", ratio=3.9, codec="zlib"), Version("b", ratio=3.91, codec="zlib")]
    verdict = check([*rows, new(4.5, 9.0)])
    assert rules(verdict) == ["ratio"]
    assert any("2 past versions have ratio and loss, at least 3" in note for note in verdict.notes)


def test_equal_ratios_in_the_past_are_compared_at_that_ratio():
    rows = [Version(f"v{n}", ratio=3.9, loss=loss) for n, loss in enumerate([1.80, 1.81, 1.79, 1.80])]
    assert rules(check([*rows, Version("new", ratio=3.9, loss=1.9)])) == ["loss"]
    verdict = check([*rows, Version("new", ratio=3.93, loss=1.9)])  # less than 1 % more
    assert rules(verdict) == ["loss"]
    assert "extrapolated" in verdict.findings[0].text
    assert any("about the mean loss" in note for note in verdict.notes)


def test_other_codecs_and_missing_ratios_are_not_compared_and_named():
    rows = [*past(4), Version("z", ratio=9.9, codec="zstd"), Version("lost", loss=1.0)]
    verdict = check([*rows, new(4.5, None)])
    assert verdict.past == ("v0", "v1", "v2", "v3")
    assert rules(verdict) == ["ratio"]
    assert any("z (zstd)" in note for note in verdict.notes)
    assert any("for want of a ratio: lost" in note for note in verdict.notes)


def test_unequal_tokens_and_sizes_are_said():
    rows = past(5, tokens=1000, bytes=10**6)
    verdict = check([*rows, new(tokens=500, bytes=10**7)])
    assert any("mean over 500 tokens, the past's over 1,000 or more" in note for note in verdict.notes)
    assert not any("grows with the set" in note for note in verdict.notes)  # zlib sees 32 KiB of any set
    assert check([*rows, new(tokens=950, bytes=10**6)]).notes == ()
    by_zstd = [Version(f"v{n}", ratio=ratio, codec="zstd", bytes=10**6) for n, ratio in enumerate(RATIOS)]
    for size, said in ((10**5, True), (4 * 10**5, True), (6 * 10**5, False), (19 * 10**5, False), (10**7, True)):
        verdict = check([*by_zstd, Version("new", ratio=3.9, codec="zstd", bytes=size)])
        assert any("grows with the set" in note for note in verdict.notes) == said


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(InputError, match=r"version must be one of the log's \(v0, v1, v2, v3, v4\), got 'v9'"):
        check(past(), "v9")
    with pytest.raises(InputError, match="version new has no ratio: measure its data"):
        check([*past(), Version("new", loss=1.0)])
    with pytest.raises(InputError, match="the log holds no version"):
        check([])


def test_without_scipy_the_ratio_is_judged_and_a_loss_asks_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert check([*past(), new(5.0, None)]).level == "watch"
    with pytest.raises(UsageError, match=r"scipy. Run: pip install 'zipspark\[entropy\]'"):
        check([*past(), new()])


# --- groups -----------------------------------------------------------------------------------------------------------


def test_groups_outside_the_range_of_the_past_are_named_furthest_first():
    held = {"chat": [4.0, 4.1, 4.05], "code": [3.0, 3.1, 3.05], "maths": [2.0, 2.2, 2.1], "forum": [5.0, 5.0, 5.0]}
    rows = [Version(f"v{n}", ratio=3.9, groups={group: rs[n] for group, rs in held.items()}) for n in range(3)]
    verdict = check([*rows, Version("new", ratio=3.9, groups={"chat": 4.12, "code": 2.5, "maths": 4.4, "web": 3.3})])
    assert [(one.group, one.change) for one in verdict.moved] == [
        ("maths", "up"),
        ("code", "down"),
        ("forum", "gone"),
        ("web", "new"),
    ]
    assert verdict.moved[0].high == 2.2
    assert "group maths: up at 4.400 (past 2.000 to 2.200)" in str(verdict)
    assert verdict.level == "ok"  # a group alone is no rule
    assert check([*rows, Version("new", ratio=3.9)]).moved == ()  # not measured


def test_a_verdict_is_ready_for_json():
    rows = past(5, groups={"a": 3.0})
    made = json.loads(json.dumps(check([*rows, new(4.5, 3.0, groups={"a": 9.0})]).to_dict(), allow_nan=False))
    assert made["level"] == "risk"
    assert made["exit_code"] == 20
    assert [found["rule"] for found in made["findings"]] == ["ratio", "loss"]
    assert made["loss_expected"]["extrapolated"] is True
    assert made["moved"] == [{"group": "a", "change": "up", "ratio": 9.0, "low": 3.0, "high": 3.0}]


# --- policy and other sources -----------------------------------------------------------------------------------------


def test_a_policy_file_sets_thresholds(tmp_path):
    path = tmp_path / "policy.yml"
    path.write_text("least_past: 6\nspreads: 2.5\n")
    policy = Policy.read(path)
    assert (policy.least_past, policy.spreads, policy.confidence) == (6, 2.5, 0.95)
    assert not check([*past(), new(9.0)], policy=policy).judged


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spread: 2", "policy .*policy.yml: unknown option 'spread'; known are confidence, least_excess"),
        ("spreads: wide", "spreads must be a valid number.*got 'wide'"),
        ("spreads: .nan", "spreads must be a finite number"),
        ("confidence: 95", "confidence must be less than 1, got 95"),
        ("least_past: 1", "least_past must be greater than or equal to 2, got 1"),
        ("- a", "must be a mapping of option: value"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_policy_that_cannot_be_names_key_rule_and_value(tmp_path, text, said):
    path = tmp_path / "policy.yml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        Policy.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        Policy.read(tmp_path / "none.yml")


def history(ratios: list[float | None]) -> pa.Table:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {"refresh": n, "at": at + timedelta(n), "ratio_after": ratio, "rows": 10, "bytes": 10**6, "corpus": "a.b"}
        for n, ratio in enumerate(ratios)
    ]
    return pa.Table.from_pylist(rows[::-1])  # a table has no order


def test_a_refresh_history_is_watched_for_its_ratio():
    versions = from_history(history([3.0, 3.05, None, 2.95, 3.6]))
    assert [one.version for one in versions] == [f"refresh-{n}" for n in range(5)]
    assert {one.codec for one in versions} == {"zstd"}
    verdict = check(versions)
    assert (verdict.version, verdict.level) == ("refresh-4", "watch")
    assert any("for want of a ratio: refresh-2" in note for note in verdict.notes)
    with pytest.raises(
        InputError, match="has columns refresh, at, ratio_after, here is no at: give the table <subset>_history"
    ):
        from_history(pa.table({"refresh": [1]}))


def test_a_log_adds_losses_to_a_refresh_history(tmp_path):
    path = tmp_path / "log.csv"
    for number, loss in enumerate([1.8, 1.82, 1.79, 2.6]):
        append(path, Version(f"refresh-{number}", loss=loss))
    verdict = check(merged([*from_history(history([3.0, 3.05, 2.95, 3.01])), *read_log(path)]))
    assert verdict.loss == 2.6
    assert verdict.loss_expected is not None
    assert check(from_table(to_table(past())), "v4").past == ("v0", "v1", "v2", "v3")
