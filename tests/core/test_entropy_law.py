"""Fits of the entropy law against closed forms, brute force and scipy's own; refusals; pictures."""

from __future__ import annotations

import json
import sys
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zipspark.entropy.bands import loss_given_ratio
from zipspark.entropy.law import Law, fit
from zipspark.entropy.law_figures import LATEST, figure_of_band, figure_of_law, figure_of_versions
from zipspark.entropy.ranks import ranks
from zipspark.entropy.versions import Version
from zipspark.entropy.warning import check
from zipspark.errors import InputError, UsageError

stats = pytest.importorskip("scipy.stats")


def log(ratios, losses, scores=None, codec="zlib") -> list[Version]:
    scores = [None] * len(ratios) if scores is None else scores
    return [
        Version(f"v{number}", ratio=float(ratio), loss=float(loss), score=score and float(score), codec=codec)
        for number, (ratio, loss, score) in enumerate(zip(ratios, losses, scores, strict=True))
    ]


def world(count: int, seed: int, slopes=(-1.1, -1.5), noise=0.05):
    draw = np.random.default_rng(seed)
    ratios = draw.uniform(3, 4.5, count)
    losses = 2.4 - 0.2 * ratios + 0.1 * draw.normal(size=count)
    scores = 12 + slopes[0] * ratios + slopes[1] * losses + noise * draw.normal(size=count)
    return ratios, losses, scores


# --- Z on R and L -----------------------------------------------------------------------------------------------------


def test_where_no_bound_is_active_it_is_least_squares_with_its_t_intervals():
    ratios, losses, scores = world(9, 0)
    law = fit(log(ratios, losses, scores), confidence=0.9)
    design = np.column_stack([np.ones(9), ratios, losses])
    inverse = np.linalg.inv(design.T @ design)
    expected = inverse @ design.T @ scores
    rest = scores - design @ expected
    errors = np.sqrt(np.diag(inverse) * (rest @ rest) / 6)
    reach = stats.t.ppf(0.95, 6) * errors
    assert np.allclose([law.intercept, law.ratio.value, law.loss.value], expected)
    assert np.allclose([law.ratio.low, law.ratio.high], [expected[1] - reach[1], expected[1] + reach[1]])
    assert np.allclose([law.loss.low, law.loss.high], [expected[2] - reach[2], expected[2] + reach[2]])
    assert law.r2 == pytest.approx(1 - (rest @ rest) / ((scores - scores.mean()) ** 2).sum())
    assert law.sigma == pytest.approx(np.sqrt(rest @ rest / 6))

    at = np.array([1, 3.3, 1.9])
    found = law.predict(3.3, 1.9)
    wide = stats.t.ppf(0.95, 6) * np.sqrt((rest @ rest / 6) * (1 + at @ inverse @ at))
    assert np.allclose(
        [found.low, found.middle, found.high], [at @ expected - wide, at @ expected, at @ expected + wide]
    )


numbers = st.floats(-5, 5).map(lambda number: round(number, 3))
triples = st.tuples(numbers.map(lambda number: number + 6), numbers.map(lambda number: number + 6), numbers)


@settings(max_examples=50, deadline=None)
@given(st.lists(triples, min_size=4, max_size=6))
def test_the_bounded_fit_is_the_best_of_all_ways_to_hold_coefficients_at_zero(rows):
    """Brute force: the optimum of a bounded least squares is plain least squares on the coefficients that are free."""
    ratios, losses, scores = np.array(rows).T
    for values in (ratios, losses, scores):
        assume(np.ptp(values) > 0.05)
    assume(abs(np.corrcoef(ratios, losses)[0, 1]) < 0.999)
    law = fit(log(ratios, losses, scores))
    design = np.column_stack([np.ones(len(rows)), ratios, losses])
    best = np.inf
    for free in product([False, True], repeat=2):
        columns = [0, *(at for at, one in ((1, free[0]), (2, free[1])) if one)]
        found, *_ = np.linalg.lstsq(design[:, columns], scores, rcond=None)
        if (found[1:] <= 1e-12).all():
            best = min(best, float(((scores - design[:, columns] @ found) ** 2).sum()))
    ours = ((scores - design @ [law.intercept, law.ratio.value, law.loss.value]) ** 2).sum()
    assert ours == pytest.approx(best, rel=1e-6, abs=1e-9)
    assert max(law.ratio.value, law.loss.value) <= 0
    for one in (law.ratio, law.loss):
        assert one.value == 0 if one.held else one.value < 0  # by a rounding error where the data give 0 themselves
        if one.low is not None and None not in (law.ratio.low, law.loss.low):
            assert one.low - 1e-9 <= one.value <= one.high + 1e-9
            assert one.high <= 0


def test_intervals_cover_the_truth_as_often_as_they_say_also_at_the_bound():
    """Worlds of 6 versions; L does nothing in them, so that its coefficient is held at 0 about half of the time."""
    hits, held = np.zeros(2), 0
    for seed in range(250):
        law = fit(log(*world(6, seed, slopes=(-1.0, 0.0), noise=0.1)), confidence=0.8)
        held += law.loss.held
        for at, (one, truth) in enumerate(((law.ratio, -1.0), (law.loss, 0.0))):
            hits[at] += one.low is not None and one.low <= truth <= one.high
    assert np.allclose(hits / 250, 0.8, atol=0.06)  # over two standard errors
    assert 0.4 < held / 250 < 0.6


def test_scores_that_rise_against_the_law_are_said():
    ratios, losses, scores = world(8, 1, slopes=(2.0, -1.5), noise=0.01)
    law = fit(log(ratios, losses, scores))
    assert law.ratio.value == 0
    assert law.ratio.held
    assert (law.ratio.low, law.ratio.high) == (None, None)
    assert "the data contradict the law" in " ".join(law.notes)
    assert "no interval within the law" in str(law)
    constant = fit(log([3, 3, 4, 4], [1, 2, 1, 2], [3, 4, 4, 5.1]))
    assert (constant.ratio.value, constant.loss.value) == (0, 0)
    assert constant.r2 == pytest.approx(0)
    assert constant.intercept == pytest.approx(np.mean([3, 4, 4, 5.1]))


def test_units_do_not_matter():
    ratios, losses, scores = world(6, 5)
    one, other = fit(log(ratios, losses, scores)), fit(log(ratios, losses * 1e-3, scores * 1e6 + 1e7))
    assert other.ratio.value == pytest.approx(one.ratio.value * 1e6)
    assert other.loss.value == pytest.approx(one.loss.value * 1e9)
    assert other.r2 == pytest.approx(one.r2)


def test_left_out_versions_are_predicted_by_the_others():
    ratios, losses, scores = world(6, 2)
    law = fit(log(ratios, losses, scores))
    errors = around = 0.0
    for at in range(6):
        rest = np.arange(6) != at
        one = fit(log(ratios[rest], losses[rest], scores[rest]))
        errors += (scores[at] - one.predict(ratios[at], losses[at]).middle) ** 2
        around += (scores[at] - scores[rest].mean()) ** 2
    assert law.left_out_r2 == pytest.approx(1 - errors / around)
    assert fit(log(ratios[:4], losses[:4], scores[:4])).left_out_r2 is None


def test_extrapolation_is_beyond_either_range_or_in_a_corner_without_versions():
    ratios = np.array([3.0, 3.2, 3.4, 3.6, 3.8, 4.0])
    losses = np.array([1.9, 1.84, 1.82, 1.77, 1.74, 1.7])
    law = fit(log(ratios, losses, 10 - ratios - losses))
    assert not law.predict(3.5, 1.8).extrapolated
    assert law.predict(4.1, 1.75).extrapolated
    assert law.predict(3.5, 1.95).extrapolated
    assert law.predict(3.95, 1.89).extrapolated  # within both ranges, but no version was near


@pytest.mark.parametrize(
    ("ratios", "losses", "scores", "said"),
    [
        ([3, 4, 5], [1, 2, 1.5], [1, 2, 3], "at least 4 versions with ratio, loss and score, got 3 of 3"),
        ([3], [1], [1], "got 1 of 1"),
        ([3, 4, 5, 6], [1, 2, 1.5, 2], [1, 2, 3, None], r"got 3 of 4 \(v3 has no score\): log what is missing"),
        ([3, 3, 3, 3], [1, 2, 1.5, 2], [1, 2, 3, 4], "ratio is 3 in all 4 versions: log versions in which it differs"),
        ([3, 4, 5, 6], [1, 1, 1, 1], [1, 2, 3, 4], "loss is 1 in all 4 versions"),
        ([3, 4, 5, 6], [1, 2, 1.5, 2], [7, 7, 7, 7], "score is 7 in all 4 versions"),
        ([3, 4, 5, 6], [1.3, 1.4, 1.5, 1.6], [7, 6, 7, 8], r"change together exactly \(correlation \+1.000000\)"),
    ],
)
def test_what_determines_no_law_is_refused(ratios, losses, scores, said):
    with pytest.raises(InputError, match=said):
        fit(log(ratios, losses, scores))


def test_ratios_of_several_codecs_are_not_mixed():
    ratios, losses, scores = world(8, 3)
    rows = log(ratios, losses, scores)
    mixed = [*rows[:4], *log(ratios, losses, scores, codec="zstd")[4:]]
    with pytest.raises(InputError, match=r"different codecs cannot be compared \(zlib: v0, v1, v2, v3; zstd: v4"):
        fit(mixed)
    law = fit(mixed, codec="zlib")
    assert law.versions == ("v0", "v1", "v2", "v3")
    assert "not in the fit, for a missing value or another codec: v4, v5, v6, v7." in law.notes
    with pytest.raises(InputError, match="at least 4 versions must have a ratio by given, got 0"):
        fit(mixed, codec="given")


def test_options_are_checked():
    for confidence in (0, 1, 95, float("nan")):
        with pytest.raises(UsageError, match="confidence must be between 0 and 1"):
            fit(log(*world(5, 0)), confidence=confidence)


def test_little_data_and_entangled_data_are_said():
    ratios, losses, scores = world(4, 4)
    assert "4 versions for 3 coefficients" in fit(log(ratios, losses, scores)).notes[0]
    entangled = 2.5 - 0.2 * ratios + np.array([1, -1, 1, -1]) * 1e-3
    assert any("change together" in note for note in fit(log(ratios, entangled, scores)).notes)


def test_a_law_is_ready_for_json():
    law = fit(log(*world(4, 6)))
    made = json.loads(json.dumps(law.to_dict(), allow_nan=False))
    assert made["versions"] == ["v0", "v1", "v2", "v3"]
    assert made["ratio"] == {"value": law.ratio.value, "low": law.ratio.low, "high": law.ratio.high, "held": False}
    assert made["score_with_ratio"]["exact"] is True


# --- ranks ------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=5))
def test_exact_p_values_are_shares_of_all_orders(rows):
    x, y = np.array(rows, dtype=float).T
    assume(np.ptp(x) > 0)
    assume(np.ptp(y) > 0)
    found = ranks(x, y)
    spearman = [stats.spearmanr(x, order).statistic for order in permutations(y)]
    kendall = [stats.kendalltau(x, order).statistic for order in permutations(y)]
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.spearman_p == pytest.approx(np.mean(np.abs(spearman) >= abs(found.spearman) - 1e-9))
    assert found.kendall_p == pytest.approx(np.mean(np.abs(kendall) >= abs(found.kendall) - 1e-9))


@pytest.mark.parametrize("count", [5, 8, 12])
def test_without_ties_kendalls_p_is_scipys_exact_one(count):
    x, y = np.random.default_rng(count).normal(size=(2, count))
    expected = stats.kendalltau(x, y, method="exact" if count < 10 else "auto")
    assert ranks(x, y).kendall_p == pytest.approx(expected.pvalue)
    assert ranks(x, y).exact == (count < 10)
    if count > 10:
        assert ranks(x, y).spearman_p == stats.spearmanr(x, y).pvalue


def test_ranks_of_a_constant_are_refused():
    with pytest.raises(InputError, match="at least 3 values that differ"):
        ranks([1, 2, 3], [1, 1, 1])


# --- L on R -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4, 10])
def test_the_band_is_scipys_line_with_students_prediction_interval(count):
    ratios, losses, _ = world(count, count)
    band = loss_given_ratio(log(ratios, losses), confidence=0.9)
    line = stats.linregress(ratios, losses)
    assert (band.intercept, band.slope.value) == pytest.approx((line.intercept, line.slope))
    quantile = stats.t.ppf(0.95, count - 2)
    assert band.slope.high - band.slope.value == pytest.approx(quantile * line.stderr)
    assert np.allclose(band.residuals, losses - line.intercept - line.slope * ratios)
    # At R = 0 the interval of the line is that of the intercept; a new version adds its own scatter.
    found = band.at(0.0)
    assert found.high - found.middle == pytest.approx(quantile * np.hypot(line.intercept_stderr, band.sigma))
    assert found.extrapolated
    assert not band.at(float(np.median(ratios))).extrapolated


def test_a_new_version_like_the_past_is_in_the_band_as_often_as_it_says():
    inside = 0
    for seed in range(600):
        ratios, losses, _ = world(6, seed)
        expected = loss_given_ratio(log(ratios[:5], losses[:5]), confidence=0.8).at(ratios[5])
        inside += expected.low <= losses[5] <= expected.high
    assert inside / 600 == pytest.approx(0.8, abs=0.05)


def test_equal_ratios_give_a_mean_for_that_ratio_alone():
    band = loss_given_ratio(log([3.5, 3.5, 3.5, 3.5], [1.5, 1.6, 1.7, 1.6]))
    assert band.slope is None
    found = band.at(3.5)
    reach = stats.t.ppf(0.975, 3) * np.std([1.5, 1.6, 1.7, 1.6], ddof=1) * np.sqrt(1 + 1 / 4)
    assert np.allclose([found.low, found.middle, found.high], [1.6 - reach, 1.6, 1.6 + reach])
    assert not found.extrapolated
    assert band.at(3.6).extrapolated
    assert "about the mean loss" in band.notes[0]


def test_bands_of_little_say_so_and_of_less_are_refused():
    assert "the band is 12.7 deviations wide" in loss_given_ratio(log([3, 4, 5], [1.5, 1.7, 1.6])).notes[0]
    assert "has no width" in loss_given_ratio(log([3, 4, 5, 6], [1.5, 1.6, 1.7, 1.8])).notes[0]
    with pytest.raises(InputError, match="at least 3 versions with ratio and loss, got 2"):
        loss_given_ratio([*log([3, 4], [1, 2]), Version("v9", ratio=3)])


def test_a_band_is_ready_for_json_and_for_people():
    band = loss_given_ratio(log([3.5] * 3, [1.5, 1.6, 1.7]))
    assert json.loads(json.dumps(band.to_dict(), allow_nan=False))["slope"] is None
    assert "v2  +0.1000" in str(band)


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def law() -> Law:
    return fit(log(*world(7, 7)))


def test_pictures_show_every_version_and_what_is_not_fitted(law):
    pytest.importorskip("matplotlib")
    rows = log(*world(7, 7))
    new = Version("recrawl", ratio=5.5, codec="zlib", loss=2.5)
    left, right, colors = figure_of_law(law, [*rows, new]).axes
    named = {text.get_text() for text in right.texts}
    assert named == {*law.versions, "recrawl (extrapolated)"}
    assert {text.get_text() for text in left.texts} == set(law.versions)
    assert colors.get_ylabel() == "L, nats per token"

    verdict = check([*rows, new])
    (axes,) = figure_of_band(loss_given_ratio(rows), [*rows, new], verdict).axes
    assert {text.get_text() for text in axes.texts} == {*law.versions, "recrawl"}
    assert axes.get_title() == "recrawl: risk"
    low, high = axes.get_ylim()
    assert low < min(row.loss for row in rows)
    assert high > 2.5
    figure_of_band(loss_given_ratio(rows), [], check([*rows, Version("x", ratio=3.5, codec="zlib")]))  # without a loss


def test_the_log_is_drawn_as_it_was_judged():
    pytest.importorskip("matplotlib")
    ratios = [Version(f"v{number}", ratio=3.9 + number % 3 / 50, codec="zstd") for number in range(5)]
    (axes,) = figure_of_versions([*ratios, Version("again", ratio=5.0, codec="zstd")]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["again", "v4", "v3", "v2", "v1", "v0"]
    assert [text.get_text() for text in axes.texts] == ["watch"]
    assert axes.texts[0].xy == (5, 5.0)
    (line,) = axes.get_lines()
    assert list(line.get_ydata())[-1] == 5.0
    limits = next(drawn for drawn in axes.collections if drawn.get_label().startswith("beyond")).get_segments()
    assert [segment[:, 0].mean() for segment in limits] == [3, 4, 5]  # three are needed to judge by
    assert 3.94 < limits[-1][0, 1] < 5.0

    rows = log(*world(7, 7))
    above, below = figure_of_versions([*rows, Version("lies", ratio=rows[3].ratio, codec="zlib", loss=9.9)]).axes
    assert not above.texts  # its ratio is one of the past's
    assert [text.get_text() for text in below.texts] == ["watch"]
    assert "nats per token" in below.get_ylabel()


def test_of_many_versions_the_last_are_drawn_and_some_named():
    pytest.importorskip("matplotlib")
    rows = [Version("other", ratio=9.0, codec="zlib"), Version("unmeasured", loss=1.0)]
    rows += [Version(f"v{number}", ratio=2.5, codec="zstd") for number in range(200)]
    (axes,) = figure_of_versions(rows).axes
    assert len(axes.get_lines()[0].get_xdata()) == LATEST
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert (names[0], len(names)) == ("v199", 15)
    with pytest.raises(InputError, match="no version has a ratio"):
        figure_of_versions(rows[1:2])


def test_without_its_libraries_the_errors_say_what_to_do(law, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"matplotlib. Run: pip install 'zipspark\[entropy\]'"):
        figure_of_law(law)
    monkeypatch.setitem(sys.modules, "scipy", None)
    for call in (lambda: fit(log(*world(5, 0))), lambda: loss_given_ratio(log([3, 4, 5], [1, 2, 3]))):
        with pytest.raises(UsageError, match=r"scipy. Run: pip install 'zipspark\[entropy\]'"):
            call()
    with pytest.raises(UsageError, match="scipy"):
        ranks([1, 2, 3], [1, 2, 3])
