"""Both selectors against oracles that ask about every sample every time."""

from __future__ import annotations

import re
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import PoolExhausted, chat_records, chat_texts, float32, paper, ratio, released

from zipspark.core import select, selectors
from zipspark.core.limit import Limit
from zipspark.core.objectives import Both, Ratio
from zipspark.core.selectors import InTurns, Lazy, MultiStage
from zipspark.core.zlib_codec import ZlibCodec
from zipspark.core.zstd_codec import ZstdCodec
from zipspark.errors import UsageError

STAGES = [(60, 20, 10), (30, 6, 6), (40, 12, 1), (500, 25, 7)]


def picked(samples, budget, preset, k1, k2, k3):
    return list(select(samples, budget, preset=preset, k1=k1, k2=k2, k3=k3))


# --- the paper's algorithm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stages", STAGES)
def test_paper_picks_what_algorithm_1_picks(stages, seed):
    samples = chat_texts(150, seed)
    assert picked(samples, 47, "paper", *stages) == paper(samples, 47, *stages)


@pytest.mark.parametrize("stages", STAGES)
def test_paper_fills_bytes_with_whatever_still_fits(stages):
    samples = chat_texts(150, seed=3)
    assert picked(samples, "7kB", "paper", *stages) == paper(samples, 7000, *stages, cost=len)


def test_paper_gives_the_whole_pool_when_asked_for_it():
    samples = chat_texts(70, seed=4)
    ranking = picked(samples, 70, "paper", 30, 20, 8)
    assert ranking == paper(samples, 70, 30, 20, 8)
    assert sorted(ranking) == list(range(70))


def test_rejects_of_a_round_return_to_the_pool_in_paper_only():
    samples = chat_texts(60, seed=5)
    assert len(picked(samples, 60, "paper", 20, 20, 5)) == 60
    with pytest.raises(UsageError):
        picked(samples, 60, "reference", 20, 20, 5)


def test_multistage_with_one_pick_from_all_is_naive_greedy_on_the_sets_ratio():
    samples = chat_texts(60, seed=6)
    greedy: list[int] = []
    while len(greedy) < 25:
        rest = [row for row in range(60) if row not in greedy]
        greedy.append(min(rest, key=lambda row: (ratio(b"".join(samples[x] for x in [*greedy, row])), row)))

    # k2 = 1: the short list is the sample that lowers the set's ratio most.
    assert picked(samples, 25, "paper", 60, 1, 1) == greedy


# --- the released program -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stages", [(60, 20, 10), (30, 6, 6), (40, 4, 1), (120, 12, 7)])
def test_reference_picks_what_the_released_program_picks(stages, seed):
    records = chat_records(220, seed)
    theirs = released(records, 37, *stages)
    assert len(theirs) % stages[2] == 0  # whole rounds
    assert picked([repr(record) for record in records], 37, "reference", *stages) == theirs[:37]


def test_reference_compares_ratios_as_float32():
    # Cut at 400 lengths, random letters give ratios so close that two are one number as float32 but not as float64.
    letters = bytes(np.random.default_rng(0).integers(ord("a"), ord("z") + 1, size=9000, dtype=np.uint8)).decode()
    records = [{"text": letters[:length]} for length in range(8600, 9000)]
    exact = {i: ratio(str([record]).encode()) for i, record in enumerate(records)}
    by_ratio = sorted(exact, key=exact.__getitem__)
    lower, higher = next(
        (x, y) for x, y in pairwise(by_ratio) if exact[x] < exact[y] and float32(exact[x]) == float32(exact[y])
    )
    pair = [records[higher], records[lower]]
    assert released(pair, 1, 2, 2, 1, rounded=float) == [1]

    assert picked([repr(record) for record in pair], 1, "reference", 2, 2, 1) == released(pair, 1, 2, 2, 1) == [0]


@pytest.mark.parametrize(
    ("budget", "stages", "left"),
    [
        (70, (60, 20, 10), 40),  # fewer left than k1
        (150, (100, 100, 50), 0),  # the short list was the whole pool
    ],
)
def test_reference_says_so_when_its_pool_runs_out(budget, stages, left):
    records = chat_records(100, seed=1)
    with pytest.raises(PoolExhausted):
        released(records, budget, *stages)
    with pytest.raises(UsageError, match=rf"k1 must be <= .* {left} are left, k1 is {stages[0]}"):
        picked([repr(record) for record in records], budget, "reference", *stages)


def test_reference_takes_all_of_a_pool_that_one_round_takes():
    records = chat_records(30)
    ranking = picked([repr(record) for record in records], 40, "reference", 50, 50, 50)
    assert sorted(ranking) == list(range(30))


def test_reference_counts_rows_only():
    with pytest.raises(UsageError, match=re.escape("budget must count rows with preset reference")):
        select(["a", "b"], "1kB", preset="reference")


# --- lazy greedy ----------------------------------------------------------------------------------------------------


class Cover:
    """Weighted set cover, exactly submodular: f(S) = weight of the elements that S has."""

    def __init__(self, sets, weights, answers_early=False):
        self.sets = sets
        self.weights = weights
        self.answers_early = answers_early
        self.covered = set()
        self.asked = 0

    def weight(self, elements):
        return float(sum(self.weights[element] for element in elements))

    def gains_alone(self):
        return np.array([self.weight(elements) for elements in self.sets])

    def gain(self, index, enough=0.0):
        self.asked += 1
        assert self.asked < 10_000, "asked for ever"
        new = sorted(self.sets[index] - self.covered)
        if self.answers_early:  # without looking whether the first element is still new
            bound = self.weight(set(new) | {min(self.sets[index])})
            if bound < enough:
                return bound, False
        return self.weight(new), True

    def add(self, index):
        self.covered |= self.sets[index]

    def emptied(self):
        return Cover(self.sets, self.weights, self.answers_early)


def greedy_cover(cover, costs, amount, units):
    """Naive greedy: measure all that still fit, take the best per cost."""
    picks = []
    while True:
        left = amount - sum(units[index] for index in picks)
        rest = [index for index in range(len(costs)) if index not in picks and units[index] <= left]
        if left <= 0 or not rest:
            return picks
        best = min(rest, key=lambda index: (-cover.weight(cover.sets[index] - cover.covered) / costs[index], index))
        cover.add(best)
        picks.append(best)


covers = st.lists(st.frozensets(st.integers(0, 11), min_size=1), min_size=1, max_size=25)


@pytest.mark.parametrize("answers_early", [False, True])
@given(
    sets=covers,
    weights=st.lists(st.integers(0, 5), min_size=12, max_size=12),
    seed=st.integers(0, 99),
    amount=st.integers(1, 40),
    counts_rows=st.booleans(),
)
def test_lazy_is_greedy_where_the_objective_is_submodular(answers_early, sets, weights, seed, amount, counts_rows):
    costs = np.random.default_rng(seed).integers(1, 6, len(sets)).astype(float)
    units = np.ones(len(sets)) if counts_rows else costs
    lazy = Lazy()(Cover(sets, weights, answers_early), costs, Limit(units, amount))
    assert lazy.indices == greedy_cover(Cover(sets, weights), costs, amount, units)


def test_lazy_asks_far_less_often_than_greedy():
    rng = np.random.default_rng(0)
    sets = [frozenset(rng.choice(2000, size=rng.integers(1, 60)).tolist()) for _ in range(1000)]
    cover = Cover(sets, [1] * 2000)
    costs = rng.integers(1, 6, 1000).astype(float)
    picks = Lazy()(cover, costs, Limit(np.ones(1000), 50))
    assert len(picks.indices) == 50
    assert cover.asked < 50 * 1000 / 20


def test_lazy_comes_to_an_end_where_a_bound_below_its_rival_rounds_up_to_it():
    costs = np.array([15.0, 3.0])
    assert 25 / 3 * 15 > 125  # so that 125 looks too little beside a rival with 25 / 3
    assert 125 / 15 == 25 / 3  # and yet stays at the top
    cover = Cover([{1}, {0}], [25, 125], answers_early=True)
    assert Lazy()(cover, costs, Limit(np.ones(2), 2)).indices == [0, 1]


def test_lazy_reports_what_each_pick_added():
    picks = Lazy()(Cover([{1, 2, 3}, {3, 4}, {1}], [1] * 5), np.ones(3), Limit(np.ones(3), 3))
    assert (picks.indices, picks.gains) == ([0, 1, 2], [3.0, 1.0, 0.0])


# --- in turns -------------------------------------------------------------------------------------------------------


class Told:
    """Gains that never change, as either value has them."""

    def __init__(self, gains):
        self._gains = np.array(gains, dtype=float)

    def gains_alone(self):
        return self._gains

    def gains(self):
        return self._gains

    def gain(self, index, enough=0.0):
        return float(self._gains[index]), True

    def add(self, index):
        pass


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("counts_rows", [False, True])
def test_each_value_spends_its_share_of_every_prefix(monkeypatch, share, counts_rows):
    monkeypatch.setattr(selectors, "RATIO_SHARE", share)
    rng = np.random.default_rng(0)
    even = np.arange(400) % 2 == 0  # what coverage asks for; ratio would take the others
    costs = rng.integers(1, 9, 400).astype(float)
    both = Both(Told(np.where(even, 1, 2) * costs), Told(np.where(even, rng.random(400), 0)))
    units = np.ones(400) if counts_rows else costs
    picks = InTurns()(both, costs, Limit(units, units.sum() / 4))
    spent, by_ratio = (np.cumsum(units[picks.indices] * of) for of in (1, ~even[picks.indices]))
    assert (abs(by_ratio - share * spent) <= units.max()).all()
    assert picks.gains == both.ratio.gains_alone()[picks.indices].tolist()


def test_all_is_spent_by_ratio_once_nothing_is_left_to_cover():
    both = Both(Told([5, 4, 3, 2]), Told([0, 0, 0, 1]))
    assert InTurns()(both, np.ones(4), Limit(np.ones(4), 4)).indices == [3, 0, 1, 2]


def test_in_turns_keeps_what_must_be_kept_and_fits_the_limit():
    both = Both(Told([5, 4, 3, 2]), Told([1, 1, 1, 1]))
    limit = Limit(np.array([9.0, 1, 1, 1]), 3)
    picks = InTurns()(both, np.ones(4), limit, kept=np.array([3]), judge=lambda index, gain: "take")
    assert picks.indices == [3, 1, 2]


@pytest.mark.parametrize("codec", [ZlibCodec(9), ZstdCodec(3)], ids=["zlib", "zstd"])
@pytest.mark.parametrize("seed", range(3))
def test_lazy_picks_first_what_is_least_compressible_alone(codec, seed):
    samples = chat_texts(120, seed)
    context = codec.context(samples)
    alone = [context.conditional_size(row)[0] / len(sample) for row, sample in enumerate(samples)]
    costs = np.array([len(sample) for sample in samples], dtype=float)
    picks = Lazy()(Ratio(codec.context(samples)), costs, Limit(np.ones(120), 1))
    assert picks.indices == [alone.index(max(alone))]


def test_lazy_gives_equal_gains_to_the_lower_index():
    alike = [{1}, {2}, {3}, {4}]
    assert Lazy()(Cover(alike, [1] * 5), np.ones(4), Limit(np.ones(4), 4)).indices == [0, 1, 2, 3]


# --- limits, for both -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", [Lazy(), MultiStage(20, 10, 5)], ids=["lazy", "multistage"])
def test_the_last_unit_is_spent_and_none_more(selector):
    samples = chat_texts(40)
    units = np.array([len(sample) for sample in samples], dtype=float)
    limit = Limit(units, units.sum())
    picks = selector(Ratio(ZlibCodec().context(samples)), units, limit)
    assert sorted(picks.indices) == list(range(40))
    assert limit.reached


@settings(max_examples=20)
@given(budget=st.integers(1, 60), seed=st.integers(0, 5))
def test_gains_of_multistage_add_up_to_the_compressed_set(budget, seed):
    samples = chat_texts(60, seed)
    ranking = select(samples, budget, preset="paper", k1=30, k2=12, k3=5)
    assert ranking.gains.sum() == len(zlib.compress(b"".join(samples[row] for row in ranking), 9))


def test_what_a_group_overshoots_is_not_taken_from_another():
    """Of a small share in bytes every part would else hand up one large sample of one group and nothing of the rest."""
    limit = Limit(np.array([1000.0, 50.0, 60.0]), 200, np.array([0, 1, 1]), [100, 100], [100, 100], overshoot=True)
    limit.spend(0)
    assert limit.fitting().tolist() == [False, True, True]
    limit.spend(1)
    limit.spend(2)
    assert limit.reached
    assert limit.rooms().tolist() == [0, 0]
