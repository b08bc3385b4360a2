"""The merge tree's plan keeps its promises for every pool, and interleaved rankings keep every node's share."""

from __future__ import annotations

import math
import re
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zipspark.core.merging import CANDIDATE_BYTES, Tree, interleave, plan_tree
from zipspark.core.parts import PART_BYTES
from zipspark.errors import UsageError
from zipspark.units import parse_size

MB = 10**6
MEAN = 1400  # bytes of a sample
SIZES = [10**power for power in range(3, 11)]
SHARES = [1e-7, 0.001, 0.05, 0.5]
WALKED = 10**6  # parts; simulating more would take a test minutes
CAPS = [MB, 30 * MB, 256 * MB, 1000 * MB]

pools = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 10**7),
        "mean": st.integers(1, 5000),
        "share": st.floats(1e-8, 1.0),
        "oversample": st.floats(1.0, 8.0),
        "node_cap": st.integers(10**6, 10**9),
        "driver_cap": st.integers(1, 10**9),
        "view": st.floats(0.1, 3.0),
    }
)


def plan(
    rows, mean=MEAN, share=0.05, oversample=2.0, node_cap=256 * MB, driver_cap=256 * MB, view=1.0, **options
) -> Tree:
    budget = max(1, math.floor(rows * share))
    return plan_tree(rows * mean, rows, budget, "rows", oversample, node_cap, driver_cap, None, view, **options)


def walk(tree: Tree, rows: float, budget: int, weight: float) -> list[tuple[float, float]]:
    """Let equal parts of equal samples run through ``tree``: per level the bytes into and out of the largest node."""
    held = np.full(tree.parts, rows / tree.parts)
    there = held  # rows of candidates in each node
    seen = []
    for depth, level in enumerate(tree.levels):
        if depth:
            there = np.add.reduceat(there, np.arange(0, len(there), level.fan_in))
        assert len(there) == level.nodes
        quotas = level.quotas(held, budget)
        beneath = np.add.reduceat(held, np.arange(0, tree.parts, level.parts_each))
        assert (quotas >= budget * beneath / rows * level.oversample * (1 - 1e-12)).all()
        out = np.minimum(there, quotas)
        seen.append((there.max() * weight, out.max() * weight))
        there = out
    assert there.sum() >= budget * (1 - 1e-12)  # what is left to cut is never too little
    return seen


def check(tree: Tree, rows, mean, share, oversample, node_cap, driver_cap, view) -> None:
    """The promises of a plan."""
    budget = max(1, math.floor(rows * share))
    weight = mean * view + CANDIDATE_BYTES
    levels = tree.levels
    assert levels[0].bytes_in <= max(min(PART_BYTES, node_cap), mean)
    assert tree.driver_bytes <= driver_cap
    assert len(levels) <= 3 + math.log2(tree.parts)
    for below, level in pairwise(levels):
        assert level.nodes == -(-below.nodes // level.fan_in)
        assert level.nodes == -(-tree.parts // level.parts_each)
        assert level.nodes < below.nodes  # every level merges
        assert 1 <= level.oversample <= below.oversample
    if len(levels) > 1:
        assert levels[0].oversample == oversample
        assert min(level.oversample for level in levels[:-1]) >= min(oversample, 1.25)
    assert levels[-1].oversample == 1

    # Where each level runs, and that it fits there: as planned, and when samples flow.
    caps = [driver_cap if tree.root == "driver" and level is levels[-1] else node_cap for level in levels]
    assert all(level.bytes_in <= cap for level, cap in zip(levels[1:], caps[1:], strict=True))
    if tree.parts < WALKED:
        for level, cap, (into, out) in list(zip(levels, caps, walk(tree, rows, budget, weight), strict=True))[1:]:
            assert into <= min(cap, level.bytes_in) * (1 + 1e-9)
            assert level is levels[-1] or out <= level.bytes_out * (1 + 1e-9)
    if tree.root == "interleaved":
        assert levels[-1].nodes > 1
        assert budget * weight * min(oversample, 1.25) > 0.9 * max(node_cap, driver_cap)  # no node can hold that
    else:
        assert levels[-1].nodes == 1
        assert (tree.root == "part") == (tree.parts == 1)
        assert tree.root != "driver" or tree.driver_bytes == levels[-1].bytes_in


@pytest.mark.parametrize("rows", SIZES)
def test_promises_hold_from_a_thousand_to_ten_billion_samples(rows):
    for share, node_cap, driver_cap, view in product(SHARES, CAPS, CAPS, (1.0, 0.7)):
        asked = {"share": share, "node_cap": node_cap, "driver_cap": driver_cap, "view": view}
        check(plan(rows, **asked), rows=rows, mean=MEAN, oversample=2.0, **asked)


@given(pools)
def test_promises_hold_for_any_pool(pool):
    assume(pool["node_cap"] >= 30 * (pool["mean"] * pool["view"] + CANDIDATE_BYTES))
    check(plan(**pool), **pool)


@given(pools, st.integers(1, 10**9))
def test_larger_caps_never_make_a_worse_tree(pool, more):
    """No more parts, no root lost, no root taken from the driver, no less oversampling."""
    places = ("interleaved", "task", "driver", "part")
    tree = plan(**pool)
    for cap in ("node_cap", "driver_cap"):
        better = plan(**pool | {cap: pool[cap] + more})
        assert better.parts <= tree.parts
        assert (better.root == "interleaved") <= (tree.root == "interleaved")
        if cap == "driver_cap":
            assert places.index(better.root) >= places.index(tree.root)
            assert better.picks_on_driver >= tree.picks_on_driver
    if len(tree.levels) == len(better.levels):
        for level, wider in zip(tree.levels, better.levels, strict=True):
            assert wider.oversample >= level.oversample or better.root == "interleaved"


@given(pools)
def test_a_plan_depends_on_nothing_but_its_arguments(pool):
    assert plan(**pool) == plan(**pool)


def test_parts_have_a_good_size_and_two_of_them_fit_a_node():
    assert plan(50_000).parts == 3
    assert plan(10**9).parts == math.ceil(10**9 * MEAN / PART_BYTES)
    small = plan(50_000, node_cap=10 * MB)
    assert 2 * small.levels[0].bytes_in <= 10 * MB
    assert plan(5_000, node_cap=8 * MB).root == "part"


def test_candidates_that_fit_the_driver_are_merged_there_at_once():
    tree = plan(10**6, share=0.01)
    assert (str(tree), tree.picks_on_driver) == ("59 parts → driver", True)
    assert [level.oversample for level in tree.levels] == [2.0, 1.0]


def test_above_the_drivers_cap_the_root_is_a_task_and_the_driver_gets_ids_and_ranks():
    tree = plan(10**6, share=0.01, driver_cap=10 * MB)
    assert (str(tree), tree.driver_bytes) == ("59 parts → one task", 10_000 * CANDIDATE_BYTES)


def test_candidates_above_a_root_are_thinned_by_nodes_that_hand_up_what_it_can_hold():
    tree = plan(10**7, share=0.01)  # budget 150 MB, candidates 300 MB
    assert [level.nodes for level in tree.levels] == [584, 2, 1]
    assert [round(level.oversample, 2) for level in tree.levels] == [2.0, 1.54, 1.0]


def test_rounding_alone_can_ask_for_nodes():
    tree = plan(10**10, share=1e-8)  # 100 rows of 583,334 parts: each hands up one
    assert [level.oversample for level in tree.levels] == [2.0, 2.0, 1.0]
    assert tree.root == "driver"


def test_a_budget_above_a_node_is_interleaved_from_as_few_nodes_as_hold_it():
    tree = plan(10**9, share=0.05)  # a budget of 75 GB, candidates of 150 GB in nodes of 256 MB
    assert tree.root == "interleaved"
    assert tree.levels[-1].nodes <= 1.1 * 150_000 / 256
    assert not plan(10**10, share=0.5).picks_on_driver


def test_groups_cost_a_sample_each_in_rounding():
    few, many = (plan(10**7, share=0.001, groups=groups) for groups in (1, 401))
    assert many.levels[0].bytes_out - few.levels[0].bytes_out == pytest.approx(400 * (MEAN + CANDIDATE_BYTES), rel=0.01)
    assert len(many.levels) > len(few.levels)


def test_units_of_a_budget_agree():
    caps = {"oversample": 2.0, "node_cap": 100 * MB, "driver_cap": MB}
    rows = plan_tree(10**10, 10**7, 10**5, "rows", **caps)
    assert plan_tree(10**10, 10**7, 10**8, "bytes", **caps) == rows
    assert plan_tree(10**10, 10**7, 3 * 10**7, "tokens", **caps, pool_tokens=3 * 10**9) == rows
    with pytest.raises(ValueError, match="pool_tokens"):
        plan_tree(10**10, 10**7, 10**8, "tokens", **caps)


def test_levels_above_the_parts_follow_what_was_handed_up():
    expected = plan(10**7, share=0.01)
    longer = [3.0 * expected.levels[0].bytes_out] * expected.parts
    again = plan(10**7, share=0.01, handed_up=longer)
    assert again.levels[0] == expected.levels[0]
    assert again.root == "interleaved"
    assert all(level.bytes_in <= 256 * MB for level in again.levels)
    as_expected = [float(expected.levels[0].bytes_out)] * expected.parts
    assert [level.nodes for level in plan(10**7, share=0.01, handed_up=as_expected).levels] == [584, 2, 1]


def test_quotas_follow_what_lies_beneath_a_node_group_by_group():
    tree = plan(10**6, share=0.05, node_cap=50 * MB, groups=2)
    held = np.stack([np.arange(tree.parts) + 1.0, np.ones(tree.parts)], axis=1)
    amounts = np.array([5000, 300])
    shares = held / held.sum(axis=0)
    for level in tree.levels:
        quotas = level.quotas(held, amounts)
        for node in range(level.nodes):
            beneath = shares[node * level.parts_each : (node + 1) * level.parts_each].sum(axis=0)
            assert (quotas[node] >= amounts * beneath * level.oversample - 1e-6).all()
            assert (quotas[node] <= amounts * beneath * level.oversample + 1 + 1e-6).all()
        assert (quotas.sum(axis=0) >= amounts).all()


def test_a_root_owes_the_budget_to_the_row():
    root = plan(10**6, share=0.01).levels[-1]
    assert root.quotas(np.full(root.parts_each, 0.1), 9_999).tolist() == [9_999]


@given(pools, st.integers(1, 50_000), st.integers(1, 50))
def test_caps_that_are_too_small_say_what_would_do(pool, cap, groups):
    pool = pool | {"node_cap": cap, "groups": groups}
    try:
        plan(**pool)
    except UsageError as error:
        enough = re.search(r"node_cap must be at least (\S+) .*, got (.+); set --node-cap (\S+)$", str(error))
        assert enough is not None
        plan(**pool | {"node_cap": parse_size(enough[3])})


@pytest.mark.parametrize("parts", [1, 2, 20])
def test_parts_that_exceed_a_node_are_an_error_that_says_what_would_do(parts):
    def planned(parts, node_cap):
        return plan_tree(10**9, 10**6, 5000, "rows", 2.0, node_cap, 256 * MB, parts)

    with pytest.raises(UsageError, match=r"parts must be at least 22 for 1\.0 GB of text") as caught:
        planned(parts, 100 * MB)
    assert planned(22, 100 * MB).parts == 22
    enough = re.search(r"--node-cap (\S+)$", str(caught.value))
    assert planned(parts, parse_size(enough[1])).parts == parts


def test_oversampling_below_one_is_an_error():
    with pytest.raises(UsageError, match=r"oversample must be >= 1, got 0.5"):
        plan(1000, oversample=0.5)


@pytest.mark.parametrize(("rows", "mean"), [(0, 0), (1, 1), (1, 10**12), (3, 10**8)])
def test_pools_at_the_edge_have_a_plan(rows, mean):
    tree = plan_tree(rows * mean, rows, 1, "rows", 2.0, 10**13, 256 * MB)
    assert tree.parts <= max(1, rows)


lengths = st.lists(st.integers(0, 60), min_size=1, max_size=12)


@given(lengths)
def test_every_prefix_of_interleaved_rankings_holds_each_share_to_within_one(sizes):
    order = interleave(sizes)
    assert len(order) == sum(sizes)
    counts = np.zeros(len(sizes), dtype=int)
    for position, index in enumerate(order, 1):
        counts[index] += 1
        for count, size in zip(counts.tolist(), sizes, strict=True):
            assert position * size // sum(sizes) <= count <= -(-position * size // sum(sizes))
    assert counts.tolist() == sizes


def test_one_long_ranking_and_many_short_ones_stay_mixed():
    """Sorting by (rank + 1/2) / length would put all the short ones in the middle."""
    order = interleave([1000] + [1] * 1000)
    assert all(abs((order[:stop] == 0).sum() - stop / 2) < 1 for stop in range(2001))


def test_equal_rankings_take_turns_and_one_is_itself():
    assert interleave([2, 2, 2]).tolist() == [0, 1, 2, 0, 1, 2]
    assert interleave([3]).tolist() == [0, 0, 0]
    assert interleave([0, 0]).tolist() == []
