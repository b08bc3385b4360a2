"""`select` as a whole: budgets, ties, what the ranking may not depend on, and bad input."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import chat_texts

from zipspark.config import Choice
from zipspark.core import select, zlib_codec
from zipspark.core.codecs import lengths
from zipspark.core.selection import Offer, Quota, rank
from zipspark.errors import InputError, UsageError
from zipspark.options import layered

SMALL_STAGES = {"k1": 20, "k2": 8, "k3": 3}
LAZY_ZSTD = {"guard": False}
LAZY_ZLIB = {"codec": "zlib", "guard": False}
BY_RATIO = {"objective": "ratio", "guard": False}  # views are the samples themselves
MULTISTAGE_ZSTD = {"selector": "multistage", "guard": False, **SMALL_STAGES}
PAPER = {"preset": "paper", **SMALL_STAGES}
every_way = pytest.mark.parametrize(
    "options",
    [LAZY_ZSTD, LAZY_ZLIB, BY_RATIO, MULTISTAGE_ZSTD, PAPER],
    ids=["lazy-zstd", "lazy-zlib", "by-ratio", "multistage-zstd", "paper"],
)
some_pools = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10**6)


def pool_of(seed, largest=60):
    return chat_texts(random.Random(seed).randint(1, largest), seed)


# --- budgets --------------------------------------------------------------------------------------------------------


@every_way
@some_pools
@given(seed=seeds, rows=st.integers(1, 80))
def test_rows_are_met_to_the_row_without_repeats(options, seed, rows):
    samples = pool_of(seed)
    picked = list(select(samples, rows, **options))
    assert len(picked) == len(set(picked)) == min(rows, len(samples))
    assert set(picked) <= set(range(len(samples)))


@every_way
@some_pools
@given(seed=seeds, amount=st.integers(1, 15_000))
def test_bytes_are_never_exceeded_and_missed_by_less_than_any_sample_left_out(options, seed, amount):
    samples = pool_of(seed)
    picked = list(select(samples, f"{amount}B", **options))
    unspent = amount - sum(len(samples[row]) for row in picked)
    left_out = set(range(len(samples))) - set(picked)
    assert len(picked) == len(set(picked))
    assert unspent >= 0
    assert all(unspent < len(samples[row]) for row in left_out)


@every_way
@some_pools
@given(seed=seeds, amount=st.integers(1, 8_000))
def test_overshoot_lets_only_the_last_pick_exceed_the_bytes(options, seed, amount):
    samples = pool_of(seed)
    offer = Offer(views=samples, sizes=lengths(samples))
    sizes = rank(offer, Quota("bytes", amount), layered(Choice, BY_RATIO | options), overshoot=True).sizes
    assert sizes[:-1].sum() < amount
    assert sizes.sum() >= min(amount, sum(map(len, samples)))


@pytest.mark.parametrize(("share", "rows"), [("5%", 3), ("5.1%", 4), ("0.001%", 1), ("100%", 60)])
def test_a_share_is_of_the_rows_rounded_up(share, rows):
    assert len(select(chat_texts(60), share, guard=False)) == rows


@every_way
@pytest.mark.parametrize("budget", [61, "1MB", "100%"])
def test_a_budget_above_the_pool_takes_all(options, budget):
    assert sorted(select(chat_texts(60), budget, **options)) == list(range(60))


@every_way
@pytest.mark.parametrize("budget", [5, "5%", "1kB"])
def test_nothing_comes_of_an_empty_pool(options, budget):
    assert list(select([], budget, **options)) == []


@pytest.mark.parametrize("options", [LAZY_ZSTD, LAZY_ZLIB, PAPER], ids=["lazy-zstd", "lazy-zlib", "paper"])
def test_every_prefix_of_a_ranking_is_the_ranking_of_a_smaller_budget(options):
    samples = chat_texts(80)
    whole = list(select(samples, 80, **options))
    assert [list(select(samples, rows, **options)) for rows in (1, 7, 40)] == [whole[:1], whole[:7], whole[:40]]


# --- what the ranking may not depend on -----------------------------------------------------------------------------


@every_way
@some_pools
@given(seed=seeds)
def test_ids_decide_ties_so_row_order_does_not(options, seed):
    samples = pool_of(seed, largest=40)
    ids = [f"id-{row:02}" for row in range(len(samples))]
    order = random.Random(seed).sample(range(len(samples)), len(samples))

    straight = [ids[row] for row in select(samples, "50%", ids=ids, **options)]
    shuffled = select([samples[row] for row in order], "50%", ids=[ids[row] for row in order], **options)
    assert [ids[order[position]] for position in shuffled] == straight


@pytest.mark.parametrize("options", [LAZY_ZSTD, LAZY_ZLIB, MULTISTAGE_ZSTD], ids=["zstd", "zlib", "multistage"])
@some_pools
@given(seed=seeds)
def test_without_ids_contents_decide_ties_so_row_order_does_not(options, seed):
    samples = pool_of(seed, largest=40)
    shuffled = random.Random(seed).sample(samples, len(samples))
    straight = [samples[row] for row in select(samples, "50%", **options)]
    assert [shuffled[row] for row in select(shuffled, "50%", **options)] == straight


def test_the_paper_decides_ties_by_position():
    ties = [b"abcdefgh", b"hgfedcba", b"badcfehg"]
    for samples in (ties, ties[::-1]):
        assert list(select(samples, 1, **PAPER)) == [0]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_ranking_does_not_depend_on_the_number_of_threads(monkeypatch, workers):
    samples = chat_texts(200)
    options = {"preset": "paper", "k1": 150, "k2": 100, "k3": 20}
    monkeypatch.setattr(zlib_codec, "_WORKERS", 2)
    expected = list(select(samples, 60, **options))
    monkeypatch.setattr(zlib_codec, "_WORKERS", workers)
    assert list(select(samples, 60, **options)) == expected


def test_another_process_with_another_hash_seed_ranks_the_same():
    program = """if True:
        from oracle import chat_texts
        from zipspark.core import select
        samples = chat_texts(300)
        paper = select(samples, 40, preset="paper", k1=90, k2=30, k3=10)
        print(list(select(samples, "8kB")), list(select(samples, 50, codec="zlib")), list(paper))
    """
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


# --- what is chosen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [60, "12kB"])
def test_of_fifty_near_copies_at_most_two_come_before_what_is_new(budget):
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz     "
    original = rng.choices(letters, k=200)
    copies = []
    for _ in range(50):
        copy = original.copy()
        copy[rng.randrange(200)] = rng.choice(letters)
        copies.append("".join(copy))
    varied = ["".join(rng.choices(letters, k=200)) for _ in range(100)]
    samples = rng.sample(copies + varied, 150)

    near_copies = [samples[row] in copies for row in select(samples, budget, guard=False)]
    assert len(near_copies) == 60
    assert sum(near_copies) <= 2


def test_the_subset_is_far_less_redundant_than_a_random_one():
    samples = list(dict.fromkeys(chat_texts(1500)))

    def ratio(rows):
        text = b"".join(samples[row] for row in rows)
        return len(text) / len(zlib.compress(text, 9))

    ranking = select(samples, 100)
    by_chance = np.mean([ratio(random.Random(seed).sample(range(len(samples)), 100)) for seed in range(5)])
    assert ratio(ranking) < 0.8 * by_chance


def test_duplicates_come_after_all_that_is_new():
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefghijklmnop ", k=rng.randint(50, 300))) for _ in range(80)]
    samples = texts + texts[::-1]
    assert {samples[row] for row in list(select(samples, 160, guard=False))[:80]} == set(texts)


# --- what comes back ------------------------------------------------------------------------------------------------


def test_a_ranking_says_what_each_pick_added():
    samples = chat_texts(100)
    ranking = select(samples, 30, codec="zlib", guard=False)
    chosen = [samples[row] for row in ranking]
    compressed = [len(zlib.compress(b"".join(chosen[:count]), 9)) for count in range(31)]
    gains = np.diff([0, *compressed[1:]])

    assert ranking.gains.tolist() == gains.tolist()
    assert ranking.sizes.tolist() == [len(text) for text in chosen]
    assert ranking.marginal_ratios.tolist() == (ranking.sizes / gains).tolist()
    assert ranking.ratio == sum(map(len, chosen)) / compressed[30]


def test_text_counts_as_utf_8():
    texts = ["naïve 😀 one", "naïve 😀 two", "three"]
    ranking = select(texts, 3, guard=False)
    assert list(ranking) == list(select([text.encode() for text in texts], 3, guard=False))
    assert sorted(ranking.sizes) == [5, 15, 15]


def test_a_header_trained_elsewhere_is_used_and_handed_on():
    samples = chat_texts(400)
    own = select(samples, 200)
    foreign = select(chat_texts(400, seed=1), 1).header
    assert len({b"", own.header, foreign}) == 3
    told = select(samples, 200, header=foreign)
    assert told.header == foreign
    assert told.gains.sum() != own.gains.sum()
    assert select(samples, 200, header=own.header).gains.sum() == own.gains.sum()
    assert select(samples, 20, codec="zlib").header == b""


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([b"a", b""], "samples must not be empty, got an empty one at position 1"),
        (["a", None], "samples must be bytes or str, got NoneType at position 1"),
        ([1], "samples must be bytes or str, got int at position 0"),
        (["a", "\ud800"], "samples must be valid text, got one UTF-8 cannot hold at position 1"),
    ],
)
def test_a_sample_without_text_is_refused_with_its_position(samples, message):
    with pytest.raises(InputError, match=re.escape(message)):
        select(samples, 1)


@pytest.mark.parametrize("ids", [["x", "x"], ["x"], ["x", "y", "z"], ["x", "y", "x"]], ids=",".join)
def test_ids_must_name_each_sample_once(ids):
    with pytest.raises(InputError, match=r"ids must (be unique|have one entry for each of 2 samples)"):
        select([b"a", b"b"], 1, ids=ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k2": 300, "k1": 200}, "k2 must be <= k1 (200), got 300"),
        ({"budgets": 3}, "unknown option 'budgets'"),
        ({"dedup": True}, "unknown option 'dedup'"),  # of the pool, not of the choice
        ({"preset": "papr"}, "preset must be 'default', 'paper' or 'reference', got 'papr'"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        select([b"a"], 1, **options)


def test_one_long_sample_of_a_capped_group_does_not_end_what_a_part_hands_up():
    samples = [b"x y z " * 200, *chat_texts(30)[1:]]
    offer = Offer(views=samples, sizes=lengths(samples), groups=["a"] + ["b"] * (len(samples) - 1))
    kept = np.zeros(len(samples), dtype=bool)
    kept[0] = True
    choice = layered(Choice, BY_RATIO)
    alone = rank(offer, Quota("bytes", 400, caps={"a": 50}), choice, overshoot=True)
    assert alone.sizes.sum() >= 350
    forced = rank(replace(offer, kept=kept), Quota("bytes", 400, caps={"a": 50}), choice, overshoot=True)
    assert next(iter(forced)) == 0
    assert forced.sizes[1:].sum() >= 350
