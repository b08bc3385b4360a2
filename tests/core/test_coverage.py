"""Coverage against the definition with sets, and lazy greedy on it against asking every sample every time."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark.core import selectors
from zipspark.core.grams import FEATURES
from zipspark.core.limit import Limit
from zipspark.core.objectives import Coverage, Ratio
from zipspark.core.selectors import Greedy, Lazy, MultiStage

LAST = FEATURES - 1
WEIGHTS = {0: 1.5, 1: 0.25, 2: 7.0, 3: 0.0, 4: 3.125, 5: 2.0, 6: 0.5, LAST: 1.0}
TARGET = {0: 1.0, 3: 2.0, LAST: 4.0}
pools = st.lists(st.sets(st.sampled_from(sorted(WEIGHTS))), min_size=1, max_size=14)


def table(weights):
    values = np.zeros(FEATURES, dtype=np.float32)
    values[list(weights)] = list(weights.values())
    return values


TABLE, TARGET_TABLE = table(WEIGHTS), table(TARGET)


def packed(pool):
    return [np.array(sorted(sample), dtype="<u4").tobytes() for sample in pool]


def sizes_of(pool):
    """Bytes, not the same for all and unlike any weight."""
    return np.array([10 + 7 * at % 5 + len(sample) for at, sample in enumerate(pool)], dtype=np.int64)


def coverage_of(pool):
    return Coverage(packed(pool), TABLE, sizes_of(pool), TARGET_TABLE)


def value(samples, weights=WEIGHTS):
    return sum(weights.get(feature, 0.0) for feature in set().union(*samples))


def naive_greedy(pool, costs, amount):
    """(picks, gains): always the best of all samples that fit, the lowest of equals."""
    picks, gains, left = [], [], amount
    chosen: set[int] = set()
    sizes = sizes_of(pool)
    while left > 0:
        # A sample that does not fit now never will: the budget only shrinks.
        rest = [row for row in range(len(pool)) if row not in picks and sizes[row] <= left]
        if not rest:
            break
        best = max(rest, key=lambda row: (value([pool[row] - chosen]) / costs[row], -row))
        picks.append(best)
        gains.append(value([pool[best] - chosen]))
        chosen |= pool[best]
        left -= sizes[best]
    return picks, gains


@settings(deadline=None)
@given(pools, st.data())
def test_values_and_gains_are_those_of_the_definition(pool, data):
    coverage = coverage_of(pool)
    sizes = sizes_of(pool)
    order = data.draw(st.permutations(range(len(pool))))
    rows = range(len(pool))
    chosen: list[set[int]] = []
    for count, index in enumerate(order):
        assert coverage.gains_alone().tolist() == [value([sample]) for sample in pool]
        for row in rows:
            added = value([*chosen, pool[row]]) - value(chosen)
            assert coverage.gain(row) == coverage.gain(row, enough=1e9) == (added, True)
        ratios = coverage.set_ratios(rows)
        spent = int(sizes[list(order[:count])].sum())
        for row in rows:
            whole = value([*chosen, pool[row]])
            assert ratios[row] == ((spent + sizes[row]) / whole if whole else np.inf)
        coverage.add(index)
        chosen.append(pool[index])
        assert coverage.covered == value(chosen)
        assert coverage.gains().tolist() == [coverage.gain(row)[0] for row in rows]
        assert coverage.target_covered == value(chosen, TARGET)
    assert all(coverage.gain(row) == (0.0, True) for row in rows)


both = pytest.mark.parametrize("selector", [Lazy(), Greedy()], ids=["lazy", "greedy"])


@both
@pytest.mark.parametrize("watched", [2, 512])
@settings(deadline=None)
@given(pool=pools, amount=st.integers(0, 150))
def test_lazy_and_greedy_pick_what_naive_greedy_picks(selector, watched, pool, amount):
    sizes = sizes_of(pool).astype(np.float64)
    with mock.patch.object(selectors, "_WATCHED", watched):
        for costs in (sizes, np.ones(len(pool))):
            picks = selector(coverage_of(pool), costs, Limit(sizes, amount))
            assert (picks.indices, picks.gains) == naive_greedy(pool, costs, amount)


@both
@pytest.mark.parametrize("watched", [1, 20, 512])
def test_lazy_and_greedy_are_naive_greedy_on_larger_random_pools(selector, watched, monkeypatch):
    monkeypatch.setattr(selectors, "_WATCHED", watched)
    noise = np.random.default_rng(0)
    weights = table(dict(enumerate(np.rint(noise.exponential(2, 500) * 64) / 64)))
    views = [np.unique(noise.zipf(1.4, 40).clip(max=499)).astype("<u4") for _ in range(300)]
    coverage = Coverage([view.tobytes() for view in views], weights, np.ones(300, dtype=np.int64))
    picks = selector(coverage, np.ones(300), Limit(np.ones(300), 60))
    left, expected = weights.copy(), []
    for _ in range(60):
        gains = [-1.0 if row in expected else float(left[view].sum()) for row, view in enumerate(views)]
        expected.append(int(np.argmax(gains)))
        left[views[expected[-1]]] = 0
    assert picks.indices == expected


@settings(deadline=None)
@given(pools, st.permutations(range(14)))
def test_gains_never_grow(pool, order):
    coverage = coverage_of(pool)
    before = coverage.gains_alone().tolist()
    for index in order:
        if index < len(pool):
            coverage.add(index)
            after = [coverage.gain(row)[0] for row in range(len(pool))]
            assert all(new <= old for new, old in zip(after, before, strict=True))
            before = after


def test_emptied_starts_again_and_leaves_the_first_alone():
    pool = [{0, 2}, {2, 4, LAST}]
    coverage = coverage_of(pool)
    coverage.add(1)
    empty = coverage.emptied()
    assert (empty.covered, empty.target_covered) == (0.0, 0.0)
    assert empty.gain(1) == (value([pool[1]]), True)
    assert empty.set_ratios([0])[0] == sizes_of(pool)[0] / 8.5
    empty.add(0)
    assert coverage.covered == value([pool[1]])
    assert coverage.gain(0) == (1.5, True)
    assert TABLE[2] == 7.0  # the caller's table is not written to


def test_samples_without_features_add_nothing_wherever_they_stand():
    pool = [set(), {5}, set(), set(), {5, 6}, set()]
    coverage = coverage_of(pool)
    assert coverage.gains_alone().tolist() == [0, 2, 0, 0, 2.5, 0]
    coverage.add(0)
    assert coverage.set_ratios([2, 0, 4]).tolist()[:2] == [np.inf, np.inf]
    assert coverage_of([set(), set()]).gains_alone().tolist() == [0, 0]
    assert len(Coverage([], TABLE, np.empty(0, dtype=np.int64)).gains_alone()) == 0


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_nothing_depends_on_how_samples_are_blocked(monkeypatch, at_once):
    pool = [set(list(WEIGHTS)[at % 8 : at % 11]) for at in range(50)]
    monkeypatch.setattr("zipspark.core.objectives._FEATURES_AT_ONCE", at_once)
    coverage = coverage_of(pool)
    assert coverage.gains_alone().tolist() == [value([sample]) for sample in pool]
    for index in (9, 3, 40):
        coverage.add(index)
    chosen = [pool[9], pool[3], pool[40]]
    assert coverage.gains().tolist() == [value([*chosen, sample]) - value(chosen) for sample in pool]


def test_without_a_target_nothing_of_it_is_covered():
    coverage = Coverage(packed([{0}]), TABLE, np.array([3]))
    coverage.add(0)
    assert (coverage.covered, coverage.target_covered) == (1.5, 0.0)


def test_multistage_takes_it_as_it_takes_ratio():
    pool = [{0, 1}, {0, 1, 2}, {2}, {4, 5}, {5}]
    sizes = sizes_of(pool)
    picks = MultiStage(k1=5, k2=5, k3=1)(coverage_of(pool), np.ones(5), Limit(np.ones(5), 2))
    # k3 = 1: the sample of the short list that alone has the lowest cost over f
    first = min(range(5), key=lambda row: sizes[row] / value([pool[row]]))
    assert picks.indices[0] == first == 1
    assert picks.gains[0] == value([pool[1]])
    assert set(vars(Coverage)) >= set(vars(Ratio)) - {"__doc__", "__module__", "__dict__", "__weakref__"}


@pytest.mark.parametrize("enough", [0.0, 1.0, 1e9])
def test_a_gain_is_always_exact(enough):
    assert coverage_of([{0}, {1}]).gain(0, enough) == (1.5, True)
