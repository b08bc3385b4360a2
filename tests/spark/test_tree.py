"""The merge tree on Spark: many levels choose as well as one, and budgets, groups and kept rows hold through all."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from launching import once

from zipspark import core, demo
from zipspark.config import SelectConfig
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.minhash import min_hashes
from zipspark.core.presets import make_codec
from zipspark.core.seen import reach_of, salts_of
from zipspark.core.sketch import Sketch
from zipspark.core.views import features_of, paired
from zipspark.errors import InputError
from zipspark.options import layered
from zipspark.spark import survey, tree
from zipspark.spark.samples import SAMPLES
from zipspark.spark.scores import BUCKETS
from zipspark.storage.stages import Stages

# For about 60 of `docs(600)`, each a candidate of 150 bytes: a budget of 9 kB, and 27 kB that do not fit the root.
THREE_LEVELS = {"parts": 20, "node_cap": "20kB", "driver_cap": "20kB", "oversample": 3}
INTERLEAVED = {"parts": 20, "node_cap": "20kB", "driver_cap": "15kB"}


@cache
def docs(count: int = 99_999) -> list[dict]:
    """Distinct documentation strings, spread over the library, in three groups."""
    found = {record["response"].encode(): record["source"] for record in demo.corpus()}
    texts = sorted(found, key=lambda text: hashlib.md5(text).hexdigest())[:count]
    groups = {text: ("a", "b", None)[len(found[text]) % 3] for text in texts}
    return [{"text": text, "position": position, "group": groups[text]} for position, text in enumerate(texts)]


def offsets_of(texts: list[bytes]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths(texts))])


def salts(rows: list[dict], config: SelectConfig) -> np.ndarray | None:
    return salts_of([row["group"] for row in rows]) if config.covers_groups else None


def lens_of(rows: list[dict], config: SelectConfig) -> Lens:
    texts = [row["text"] for row in rows]
    sketch = Sketch()
    sketch.count(b"".join(texts), offsets_of(texts), salts(rows, config))
    return Lens.of(sketch)


def samples_table(rows: list[dict], config: SelectConfig, lens: Lens | None) -> pa.Table:
    texts = [row["text"] for row in rows]
    data, offsets = b"".join(texts), offsets_of(texts)
    columns = {
        "file": ["pool"] * len(rows),
        "content": [hashlib.md5(text).hexdigest() for text in texts],
        "bytes": lengths(texts),
        "tokens": [len(text.split()) for text in texts],
        "ratio": lengths(texts) / make_codec(config).sizes(texts),
        "bucket": min_hashes(data, offsets) % BUCKETS,
        "kept": [False] * len(rows),
        "view": views_of(texts, lens.look(data, offsets, salts(rows, config)).features(), config) if lens else texts,
    }
    columns |= {name: [row[name] for row in rows] for name in SAMPLES.names if name in rows[0]}
    return pa.table(
        {field.name: pa.array(columns.get(field.name, [None] * len(rows)), field.type) for field in SAMPLES}
    )


def views_of(texts, features, config):
    return list(map(paired, features, texts)) if config.compresses else features


class Run:
    """One choice through the tree, from samples to picks."""

    def __init__(self, spark, folder, rows, lens=None, **options):
        self.config = layered(SelectConfig, {"guard": False, "objective": "ratio", "work_dir": str(folder), **options})
        if self.config.covers and lens is None:
            lens = lens_of(rows, self.config)
        table = samples_table(rows, self.config, lens)
        samples = spark.createDataFrame(table)
        self.pool = survey.survey(samples, len(rows), self.config, self.config.by_group)
        self.plan = tree.plan(self.pool, self.config)
        views = dict(zip(table["position"].to_pylist(), table["view"].to_pylist(), strict=True))
        reach = reach_of(features_of(views.values(), self.config), lens, False) if lens else None
        aid = tree.Aid(b"", lens, reach)
        with Stages(spark, self.config) as stages:
            candidates = stages.write("candidates", tree.candidates(samples, self.plan, self.config, aid))
            self.picks = tree.picks(candidates, samples, self.plan, self.config, aid, stages)
            self.table = self.picks.table.toArrow().sort_by("rank").to_pylist()
            self.stages = sorted(path.name for path in Path(stages.folder.path).iterdir() if path.is_dir())
        self.chosen = [row["position"] for row in self.table]
        self.left_out = [row for row in rows if row["position"] not in set(self.chosen)]
        self.tree = str(self.picks.plan.tree)
        self.texts = [row["text"] for row in sorted(rows, key=lambda row: row["position"])]
        self.covered = lambda chosen: self._reach_of([views[at] for at in chosen], lens) / reach.coverage
        if lens:
            self.share = self.covered(self.chosen)
            self.share_before = self.covered(self.chosen[:-1])

    def _reach_of(self, views: list[bytes], lens) -> float:
        return reach_of(features_of(views, self.config), lens, False).coverage

    @property
    def value(self) -> float:
        return self.value_of(self.chosen)

    def value_of(self, chosen: list[int]) -> float:
        """Higher is better: share covered, or compressed bytes of a byte."""
        if self.config.objective == "coverage":
            return self.covered(chosen)
        text = b"".join(self.texts[at] for at in chosen)
        return make_codec(self.config).sizes([text])[0] / len(text)


@pytest.fixture(scope="module")
def run(spark, tmp_path_factory):
    def runs(rows, **options):
        return Run(spark, tmp_path_factory.mktemp("tree"), rows, **options)

    return runs


@pytest.fixture(scope="module")
def three_levels(run):
    return run(docs(600), budget=60, **THREE_LEVELS)


@once
@pytest.mark.parametrize("objective", ["both", "ratio", "coverage"])
def test_three_levels_choose_as_well_as_one(run, objective):
    options = {"objective": objective, "budget": "100kB"}
    one = run(docs(), parts=1, **options)
    three = run(docs(), node_cap="400kB", driver_cap="400kB", **options)
    assert "nodes → driver" in three.tree
    assert three.value > 0.99 * one.value


@once
@pytest.mark.parametrize("objective", ["ratio", "coverage"])
@pytest.mark.parametrize(
    ("budget", "smaller", "mix", "tolerance"),
    [
        ("90kB", "30kB", None, 0.02),
        ("90kB", "30kB", "equal", 0.02),
        (240, 80, "equal", 0.04),  # rows: covered by the prefix 3.7 % less, of 4.6 % less text
    ],
)
def test_prefixes_of_a_merged_ranking_are_worth_what_runs_at_their_budget_are(
    run, objective, budget, smaller, mix, tolerance
):
    """Parts hand up other candidates for a smaller budget, so the two are not one run cut short."""
    options = {"objective": objective, "parts": 6, **({"mix": mix, "group_column": "group"} if mix else {})}
    whole = run(docs(2000), budget=budget, **options)
    alone = run(docs(2000), budget=smaller, **options)
    assert whole.tree == alone.tree == "6 parts → driver"
    assert whole.chosen[: len(alone.chosen)] != alone.chosen
    units = np.array([1 if budget == 240 else row["bytes"] for row in whole.table])
    rows = int(np.searchsorted(np.cumsum(units), alone.plan.budget.amount, side="right"))
    assert whole.value_of(whole.chosen[:rows]) > (1 - tolerance) * alone.value
    if mix:
        groups = np.array([row["group"] or "(none)" for row in whole.table])
        spent = {group: np.cumsum(units * (groups == group)) for group in ("a", "b", "(none)")}
        for group, others in [(one, [spent[other] for other in spent]) for one in spent]:
            assert (spent[group] - units[groups == group].max() <= np.min(others, axis=0)).all()


def test_one_part_with_a_mix_ranks_as_core_does(run):
    rows = docs(600)
    chosen = run(rows, budget="20kB", mix="a=1,b=2,(none)=3", group_column="group", parts=1)
    texts, groups = [row["text"] for row in rows], [row["group"] for row in rows]
    options = {"groups": groups, "mix": "a=1,b=2,(none)=3", "header": b"", "guard": False, "objective": "ratio"}
    assert chosen.chosen == [rows[at]["position"] for at in core.select(texts, "20kB", **options)]


@once
def test_picks_are_a_ranking_of_the_pools_rows(three_levels):
    assert (len(three_levels.table), three_levels.picks.rows) == (60, 60)
    assert [row["rank"] for row in three_levels.table] == list(range(60))
    assert three_levels.stages == ["candidates", "level1", "picks"]
    sizes = [len(three_levels.texts[at]) for at in three_levels.chosen]
    assert [row["bytes"] for row in three_levels.table] == sizes
    assert three_levels.picks.bytes == sum(sizes)
    assert all(row["marginal_ratio"] > 0 for row in three_levels.table)
    ids = [hashlib.md5(three_levels.texts[at]).hexdigest() + "-0" for at in three_levels.chosen]
    assert three_levels.picks.checksum == hashlib.sha256("\n".join(ids).encode()).hexdigest()


def test_a_root_that_is_a_task_ranks_as_the_driver_does(run, three_levels):
    task = run(docs(600), budget=60, **THREE_LEVELS | {"driver_cap": "8kB"})
    assert task.tree == three_levels.tree.replace("driver", "one task")
    assert task.table == three_levels.table


@once
def test_order_of_the_input_changes_nothing(run, three_levels):
    again = run(docs(600)[::-1], budget=60, **THREE_LEVELS)
    assert again.picks.checksum == three_levels.picks.checksum


@once
@pytest.mark.parametrize(
    ("budget", "mix"), [(60, "equal"), ("9kB", "a=1,b=2,(none)=3"), ("1500tok", "power=0.5")], ids=str
)
def test_quotas_are_exact_through_all_levels(run, budget, mix):
    """To the row, or to less than the smallest sample of the group that is left out."""
    chosen = run(docs(600), budget=budget, mix=mix, group_column="group", token_column="count", **THREE_LEVELS)
    size = {"rows": lambda text: 1, "bytes": len, "tokens": lambda text: len(text.split())}[chosen.plan.budget.unit]
    assert "nodes" in chosen.tree
    achieved = chosen.plan.mix(chosen.picks)
    assert sum(asked for asked, _ in achieved.values()) == chosen.plan.budget.amount
    for group, (asked, got) in achieved.items():
        smallest = min(size(row["text"]) for row in chosen.left_out if (row["group"] or "(none)") == group)
        assert got == sum(
            size(chosen.texts[row["position"]]) for row in chosen.table if (row["group"] or "(none)") == group
        )
        assert 0 <= asked - got < smallest


@once
def test_floors_and_caps_hold_and_the_rest_is_free(run):
    chosen = run(docs(600), budget=60, floor="a=30", cap={"b": 5}, group_column="group", **THREE_LEVELS)
    groups = Counter(row["group"] for row in chosen.table)
    assert sum(groups.values()) == 60
    assert groups["a"] >= 30
    assert groups["b"] <= 5
    assert chosen.plan.mix(chosen.picks) == {"a": (30, groups["a"]), "b": (5, groups["b"])}


def test_a_part_full_of_a_capped_group_leaves_its_share_to_others():
    sizes = pa.table(
        {"bucket": [0, 1], "group": ["much", "rest"], "rows": [900, 100], "bytes": [1000, 1000], "tokens": [None, None]}
    )
    config = SelectConfig(budget=100, cap="much=40", group_column="group", parts=2)
    plan = tree.plan(survey.Survey(1000, sizes), config)
    quotas = plan.quotas(plan.tree.levels[0])
    (part,) = plan.bucket_parts[1]
    assert quotas[part].amount >= 2 * 60
    assert quotas[1 - part].caps == {"much": 80}


@once
def test_kept_samples_survive_every_level_and_come_first(run):
    rows = [row | {"kept": row["position"] % 50 == 7} for row in docs(600)]
    for options, budget, root in ((THREE_LEVELS, 60, "nodes → driver"), (INTERLEAVED, 150, "interleaved")):
        chosen = run(rows, budget=budget, **options)
        assert root in chosen.tree
        assert sorted(chosen.chosen[:12]) == list(range(7, 600, 50))
        assert len(chosen.chosen) == budget


@pytest.fixture(scope="module")
def interleaved(run):
    return run(docs(600), budget=150, mix="a=1,b=1,(none)=1", group_column="group", **INTERLEAVED)


def test_interleaved_prefixes_hold_the_share_of_every_group_and_the_budget_is_exact(interleaved):
    assert interleaved.tree.endswith("interleaved")
    assert any("interleaved" in note for note in [*interleaved.plan.notes(), *interleaved.picks.notes])
    groups = [row["group"] for row in interleaved.table]
    assert Counter(groups) == {"a": 50, "b": 50, None: 50}
    for count in range(1, 151):
        for group in ("a", "b", None):
            # A position is rounded for each of three groups in each node, and nodes owe a little more than is kept.
            assert abs(groups[:count].count(group) - count / 3) < 5


def test_interleaved_rankings_follow_each_nodes_own(interleaved):
    marginal = defaultdict(list)
    for row in interleaved.table:
        marginal[row["group"]].append(row["marginal_ratio"])
    # Picks are the best first in every node, so an early one says more than a late one.
    for ratios in marginal.values():
        assert np.mean(ratios[:15]) < np.mean(ratios[-15:])


@once
def test_until_coverage_is_reached_with_parts_and_no_sooner(run):
    for options in ({"parts": 6}, {"parts": 20, "node_cap": "20kB", "driver_cap": "40kB"}):
        chosen = run(docs(600), objective="coverage", until="coverage=0.6", **options)
        assert chosen.tree.endswith("driver" if "node_cap" not in options else "interleaved")
        assert chosen.share_before < 0.6 <= chosen.share
        assert chosen.picks.rows < 300


@pytest.mark.parametrize(("needed", "left"), [(2, 7), (7, 7), (9, 9), (99, 10)])
def test_a_cut_never_takes_a_kept_sample_away(spark, monkeypatch, needed, left):
    """Also where more are kept than the first cut leaves, and fewer would do."""
    monkeypatch.setattr(tree, "_FIRST_CUT", 3)
    monkeypatch.setattr(tree, "_falls_short", lambda nodes, config, aid: nodes.count() < needed)
    picked = pa.table({"zip_id": [str(at) for at in range(10)], "kept": [True] * 7 + [False] * 3})
    cut = tree._cut(picked, spark.createDataFrame(picked.select(["zip_id"])), SelectConfig(), tree.Aid(b"", None, None))
    assert cut["zip_id"].to_pylist() == [str(at) for at in range(left)]


def test_parts_run_again_where_each_has_left_out_something_else(run):
    """Two parts of 50 features in common and 50 of their own: 80 % of each are 73 % of all."""
    sketch = Sketch()
    sketch.df[:200] = 4
    own = [(50 + 50 * part + at, part) for part in (0, 1) for at in range(50)]
    views = [(list(range(50)), 0), (list(range(50)), 1), *(([feature], part) for feature, part in own)]
    rows = [
        {
            "text": f"text {position:04}".encode(),
            "position": position,
            "group": None,
            "bucket": part,
            "view": np.array(view, dtype="<u4").tobytes(),
        }
        for position, (view, part) in enumerate(views)
    ]
    options = {"objective": "coverage", "until": "coverage=0.8", "parts": 2, "lens": Lens.of(sketch, weight_exponent=0)}
    chosen = run(rows, **options)
    assert "candidates1" in chosen.stages
    assert "candidates2" not in chosen.stages
    assert (chosen.share, chosen.picks.rows) == (0.8, 1 + 70)
    assert chosen.picks.candidates.columns == tree.CANDIDATES.names
    bounded = run(rows, budget=20, **options)
    assert (bounded.stages, bounded.picks.rows) == (["candidates", "picks"], 20)


def test_until_marginal_ratio_ends_before_the_budget(run):
    for options in ({"parts": 5}, {"parts": 20, "node_cap": "20kB", "driver_cap": "55kB"}):
        chosen = run(docs(600), budget=550, until="marginal-ratio=1.8", **options)
        assert chosen.tree.endswith("driver" if options["parts"] == 5 else "interleaved")
        assert 0 < chosen.picks.rows < 550
        assert max(row["marginal_ratio"] for row in chosen.table) <= 1.8


def test_a_presets_one_part_may_exceed_a_node(run):
    chosen = run(docs(100), budget=10, preset="paper", k1=50, k2=20, k3=10, node_cap="10kB")
    assert chosen.picks.rows == 10
    assert any("more than node_cap (10.0 kB)" in note for note in chosen.plan.notes())


def test_picks_that_exceed_the_driver_are_refused_before_anything_runs():
    sizes = pa.table({"bucket": [0], "group": [""], "rows": [1000], "bytes": [100_000], "tokens": [None]})
    with pytest.raises(InputError, match=r"driver_cap must hold .*, got 5\.0 kB for a budget of 500 rows"):
        tree.plan(survey.Survey(1000, sizes), SelectConfig(budget=500, driver_cap="5kB"))
