"""Code lengths, speeds and skills of learning curves, against closed forms and brute force."""

from __future__ import annotations

import io
import itertools
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from zipspark.entropy.curve_figures import figure_of_curves, figure_of_ratios, figure_of_skills
from zipspark.entropy.curves import code_length, compare, falling, speed
from zipspark.entropy.grokking import skills
from zipspark.entropy.training import Curve, first_epoch
from zipspark.errors import InputError, UsageError

pytest.importorskip("scipy")


def power(name="v1", scale=20.0, alpha=0.2, rows=400, **more) -> Curve:
    """A loss that falls as scale N^-alpha, with no noise, one epoch and a half long."""
    tokens = np.arange(1, rows + 1) * 1000
    epochs = np.arange(1, rows + 1) * 1.5 / rows
    return Curve(name, np.arange(1, rows + 1), scale * tokens**-alpha, tokens, epochs, **more)


@pytest.fixture
def curve() -> Curve:
    """Two rows of the first epoch, then one of the second."""
    return Curve("v1", [10, 20, 30], [3.0, 2.0, 0.5], [1000, 3000, 4000], [0.5, 1.0, 1.5])


def test_code_length_is_what_an_arithmetic_coder_would_need():
    """Against a model that is known: a counting model (Laplace) that learns a coin as it codes it."""
    draw = np.random.default_rng(0)
    coins = (draw.random(4000) < 0.1).astype(int)
    ones = np.concatenate([[0], np.cumsum(coins)[:-1]])
    chance = (ones + 1) / (np.arange(len(coins)) + 2)
    nats = -np.log(np.where(coins, chance, 1 - chance))
    batches = nats.reshape(40, 100).mean(axis=1)
    curve = Curve("coin", np.arange(1, 41), batches, np.arange(1, 41) * 100)
    found = code_length(curve, bytes=4000)
    heads = int(coins.sum())
    closed = math.log2(4001) + math.log2(math.comb(4000, heads))  # of all orders that Laplace's rule codes alike
    assert found.bits == pytest.approx(closed)
    entropy = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert found.bits_per_byte == pytest.approx(entropy, rel=0.05)


def test_code_length_is_that_of_the_first_epoch_alone(curve):
    found = code_length(curve, bytes=4000)
    assert found.bits == pytest.approx((3.0 * 1000 + 2.0 * 2000) / math.log(2))
    assert found.tokens == 3000
    assert found.ratio == pytest.approx(8 / found.bits_per_byte)
    assert found.bits_per_token == pytest.approx(found.bits / 3000)
    assert found.whole
    assert json.loads(json.dumps(found.to_dict()))["ratio"] == found.ratio


def test_a_part_of_the_epoch_has_its_part_of_the_bytes(curve):
    half = code_length(curve, bytes=4000, part=0.5)
    assert (half.bytes, half.tokens, half.whole) == (2000, 1000, False)
    assert half.bits == pytest.approx(3000 / math.log(2))


def test_code_length_needs_tokens_and_bytes_of_at_least_one(curve):
    with pytest.raises(InputError, match="include_num_input_tokens_seen"):
        code_length(Curve("v1", [1], [1.0]))
    with pytest.raises(UsageError, match="bytes of the data set"):
        code_length(curve, bytes=0)
    assert code_length(curve).ratio is None
    assert code_length(Curve("v1", [1], [0.0], [5]), bytes=5).ratio is None  # nothing left to code


@settings(deadline=None)  # scipy is imported in the first one
@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 100)), min_size=1, max_size=7))
def test_falling_is_the_closest_curve_that_never_rises(rows):
    """By brute force: the best curve is constant on stretches, at their means; all ways to cut are tried."""
    losses, weights = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    found = falling(Curve("v", np.arange(1, len(rows) + 1), losses, np.cumsum(weights).astype(int)))
    assert (np.diff(found) <= 1e-9).all()

    def cost(curve):
        return float((weights * (curve - losses) ** 2).sum())

    best = math.inf
    for cuts in itertools.product([False, True], repeat=len(rows) - 1):
        stretch = np.concatenate([[0], np.cumsum(cuts)]).astype(int)
        means = np.bincount(stretch, weights * losses) / np.bincount(stretch, weights)
        if (np.diff(means) <= 1e-9).all():
            best = min(best, cost(means[stretch]))
    assert cost(found) == pytest.approx(best, abs=1e-6)


def test_speed_of_a_power_law_is_its_exponent_and_its_integral():
    curve = power(rows=3000)
    found = speed(curve, loss=20 * 500_000**-0.2)
    assert found.slope == pytest.approx(-0.2)
    assert found.tokens == 2_000_000
    assert found.tokens_to_loss == pytest.approx(500_000, rel=1e-4)
    assert found.area == pytest.approx(20 * 2_000_000**0.8 / 0.8, rel=2e-3)  # of the law itself, from 0
    assert found.area == pytest.approx(code_length(curve).bits * math.log(2))


def test_area_and_slope_are_measured_up_to_given_tokens():
    curve = Curve("v", [1, 2, 3], [3.0, 2.0, 1.0], [100, 200, 300])
    assert speed(curve, 1.0, upto=250).area == pytest.approx(300 + 200 + 50)
    assert speed(curve, 1.0, upto=250).slope is None  # two rows have one whatever they are
    assert speed(curve, 1.0, upto=250).tokens_to_loss == 300  # the time to a loss is not cut
    with pytest.raises(InputError, match="no row ends in the first 50 tokens"):
        speed(curve, 1.0, upto=50)


def test_a_lucky_batch_does_not_reach_a_loss():
    draw = np.random.default_rng(1)
    true = 2 + 4 * np.exp(-np.arange(500) / 100)
    noisy = Curve("v", np.arange(1, 501), true * np.exp(0.05 * draw.standard_normal(500)), np.arange(1, 501) * 10)
    expected = 1000 * math.log(4 / 0.5)  # where the loss is 2.5
    first = float(noisy.tokens[np.argmax(noisy.losses <= 2.5)])
    assert first < 0.95 * expected  # the first logged one is early
    assert speed(noisy, 2.5).tokens_to_loss == pytest.approx(expected, rel=0.05)


def test_tokens_to_a_loss_at_the_ends():
    curve = Curve("v", [1, 2], [3.0, 2.0], [100, 200])
    assert speed(curve, 3.5).tokens_to_loss == 100
    assert speed(curve, 2.5).tokens_to_loss == 150
    assert speed(curve, 1.9).tokens_to_loss is None
    uneven = Curve("v", [1, 2, 3, 4], [4.0, 2.0, 3.0, 1.0], [100, 200, 300, 400])  # falls as 4, 2.5, 2.5, 1
    assert speed(uneven, 2.2).tokens_to_loss == pytest.approx(300 + 100 * 0.3 / 1.5)
    with pytest.raises(UsageError, match="loss to reach"):
        speed(curve, math.nan)
    with pytest.raises(InputError, match="no tokens"):
        speed(Curve("v", [1], [1.0]), 1.0)


METRICS = {
    "train_accuracy": ([10, 20, 30, 40], [0.2, 0.9, 0.95, 1.0]),
    "eval_accuracy": ([10, 20, 30, 40], [0.85, 0.1, 0.3, 0.9]),
    "eval_loss": ([10, 20, 30, 40], [3.0, 2.0, 1.0, 0.5]),
    "unlearned": ([10, 20, 30, 40], [0.9, 0.9, 0.9, 0.1]),
}


def run(**more) -> Curve:
    return Curve("v1", [20, 40], [2.0, 1.0], [2000, 4000], metrics=METRICS, **more)


def test_skills_come_in_the_order_they_stay():
    found = skills(run(), 0.8)
    assert [(skill.metric, skill.step, skill.touched) for skill in found] == [
        ("train_accuracy", 20, 20),
        ("eval_accuracy", 40, 10),  # there once at the start, by chance; grokked at the end
        ("unlearned", None, 10),
    ]
    assert (found[0].tokens, found[1].tokens, found[2].tokens) == (2000, 4000, None)
    assert (found[2].best, found[2].last) == (0.9, 0.1)


def test_losses_are_reached_from_above():
    [found] = skills(run(), {"eval_loss": 1.0})
    assert (found.step, found.falls, found.tokens, found.best) == (30, True, 3000, 0.5)
    [other] = skills(run(), {"train_accuracy": 0.5}, falls=["train_accuracy"])
    assert (other.step, other.touched) == (None, 10)


def test_thresholds_must_be_of_metrics_that_are_there():
    with pytest.raises(InputError, match=r"no metric f1; it has eval_accuracy"):
        skills(run(), {"f1": 0.5})
    with pytest.raises(InputError, match="has none"):
        skills(Curve("v1", [1], [1.0]), 0.5)
    with pytest.raises(UsageError, match="threshold of eval_loss"):
        skills(run(), {"eval_loss": math.nan})


def test_comparison_times_all_curves_on_the_same_tokens_to_a_loss_all_reach():
    slow, fast = power("slow", alpha=0.2), power("fast", alpha=0.25, rows=200)
    found = compare([slow, fast], bytes={"fast": 300_000}, ratios={"fast": {"zlib": 2.5}})
    speeds = [row.speed for row in found.rows]
    assert speeds[0].tokens == speeds[1].tokens == int(fast.tokens[133 - 1])  # the shorter one's first epoch
    assert speeds[0].loss == speeds[1].loss
    assert None not in [one.tokens_to_loss for one in speeds]
    assert speeds[1].tokens_to_loss < speeds[0].tokens_to_loss
    assert found.rows[0].code.bytes is None
    assert found.rows[1].code.ratio is not None
    assert any("slow: bits per byte need" in note for note in found.notes)
    made = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert made["curves"][1]["ratios"] == {"zlib": 2.5}
    assert made["curves"][0]["first_epoch"]["loss"] == first_epoch(slow).loss


def test_comparison_says_what_it_could_not_measure():
    bare = Curve("bare", [1, 2], [2.0, 1.0])
    part = Curve("part", [1, 2], [2.0, 1.0], [10, 20], [0.1, 0.2])
    odd = Curve("odd", [1, 2], [20.0, 10.0], [10, 20], [0.5, 1.0])
    found = compare([bare, part, odd], bytes={"odd": 2})
    assert found.rows[0].code is None
    for expected in ("bare: the log has no tokens", "bare: nothing says", "part: 20% of the first", "odd: 216.4 bits"):
        assert any(note.startswith(expected) for note in found.notes), expected


def test_comparison_refuses_no_curves_twins_and_strangers():
    curve = power()
    for curves, options, message in [
        ([], {}, "at least one curve"),
        ([curve, curve], {}, "two curves are called 'v1'"),
        ([curve], {"bytes": {"v2": 5}}, "no curve is called 'v2'"),
    ]:
        with pytest.raises(UsageError, match=message):
            compare(curves, **options)


def test_comparison_of_skills_takes_those_that_each_has():
    other = Curve("v2", [20, 40], [2.0, 1.0], [2000, 4000])
    found = compare([run(), other], thresholds={"train_accuracy": 0.8, "eval_loss": 1.0})
    assert [skill.metric for skill in found.rows[0].skills] == ["train_accuracy", "eval_loss"]
    assert found.rows[1].skills == ()
    assert compare([other], thresholds=0.8).rows[0].skills == ()


def shown(comparison) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison)
    return console.export_text()


def test_table_shows_numbers_and_names_as_they_are():
    odd = power("[red]v1", metrics=METRICS)
    text = shown(compare([odd, Curve("bare", [1], [1.0])], bytes={"[red]v1": 500_000}, thresholds=0.8))
    assert "[red]v1" in text
    assert f"{code_length(odd, 500_000).ratio:.3f}" in text
    assert "eval_accuracy" in text
    assert "not reached" in text
    assert "bare: the log has no tokens" in text


def test_pictures_show_every_curve():
    pytest.importorskip("matplotlib")
    curves = [power("a", metrics=METRICS), power("b", alpha=0.25)]
    found = compare(curves, bytes={"a": 10**6, "b": 10**6}, ratios={"a": {"zlib": 2.0}, "b": {"zlib": 2.5}})
    axes = figure_of_curves(curves, found).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert axes.get_xlabel() == "tokens seen"
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([row.speed.tokens_to_loss for row in found.rows])
    assert figure_of_curves([*curves, Curve("c", [1], [1.0])]).axes[0].get_xlabel() == "steps"
    bars = figure_of_ratios(found).axes[0].patches
    ratios = [row.code.ratio for row in found.rows]
    assert [bar.get_width() for bar in bars] == pytest.approx([*ratios, 2.0, 2.5])
    labels = figure_of_skills(curves[0], skills(curves[0], 0.8)).axes[0].get_legend().get_texts()
    assert [label.get_text() for label in labels][1] == "eval_accuracy: step 40"


def test_pictures_of_nothing_are_refused():
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError, match="at least one curve"):
        figure_of_curves([])
    with pytest.raises(UsageError, match="at least one, got none"):
        figure_of_skills(power(), [])
    with pytest.raises(InputError, match="no curve has a ratio"):
        figure_of_ratios(compare([power()]))


def test_without_scipy_or_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'zipspark\[entropy\]'"):
        figure_of_curves([power()])
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UsageError, match=r"pip install 'zipspark\[entropy\]'"):
        falling(power())
