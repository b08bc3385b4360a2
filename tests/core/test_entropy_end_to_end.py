"""Six versions of a data set, two of them spoiled: whether the check flags exactly those, in a world with known faults.

Versions v1 to v4 are good: up to a quarter of their rows are copies, and up to 3 % of their statements are false. One
of v5 and v6 is spoiled by repetition, the other by contradiction; which comes first alternates with the seed. The world
also has good versions v5 and v6, so that false alarms can be counted after 3, 4 and 5 past versions. Nothing here is
told to the check but R, L and the order of versions.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from entropy_world import CONTEXT, ROWS, STATEMENTS, TEMPLATES, Recipe, World, learn

from zipspark.entropy.consistency import held_out_bits
from zipspark.entropy.law import fit
from zipspark.entropy.measure import measure
from zipspark.entropy.streams import CodecName, hashed
from zipspark.entropy.training import first_epoch, read_training
from zipspark.entropy.versions import Version, append, read_log
from zipspark.entropy.warning import check

SEEDS = 20
COPIES, FALSE = 0.25, 0.03  # most in a good version
SPOILED = {"repetition": Recipe(0.6, 1.0), "contradiction": Recipe(0.15, 0.6)}
CODECS: tuple[CodecName, ...] = ("zlib", "zstd")


@dataclass(frozen=True)
class History:
    """What one world's data sets came to."""

    good: list[dict[CodecName, Version]]  # 6 of them
    spoiled: dict[str, dict[CodecName, Version]]

    def six(self, codec: CodecName, order: list[str]) -> list[Version]:
        """v1 to v4, and the two spoiled in this order."""
        versions = [version[codec] for version in [*self.good[:4], *(self.spoiled[name] for name in order)]]
        return [replace(version, version=f"v{number}") for number, version in enumerate(versions, 1)]


def version_of(world: World, recipe: Recipe, seed: int) -> dict[CodecName, Version]:
    texts = world.texts(recipe, seed)
    learned, measured = learn(world, texts), measure(hashed(texts), most_groups=0)
    facts = {"loss": learned.loss, "tokens": len(learned.losses), "score": learned.score, "bytes": measured.whole.bytes}
    return {
        codec: Version("?", ratio=measured.of(codec).ratio, codec=codec, rows=measured.whole.rows, **facts)
        for codec in CODECS
    }


def history(seed: int) -> History:
    world, draw = World(seed), random.Random(1000 + seed)
    good = [Recipe(draw.uniform(0.05, COPIES), 1 - draw.uniform(0, FALSE)) for _ in range(6)]
    return History(
        [version_of(world, recipe, 100 * seed + number) for number, recipe in enumerate(good)],
        {name: version_of(world, recipe, 100 * seed + 99) for name, recipe in SPOILED.items()},
    )


def order_of(seed: int) -> list[str]:
    return sorted(SPOILED, reverse=bool(seed % 2))


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [history(seed) for seed in range(SEEDS)]


@pytest.mark.parametrize("codec", CODECS)
def test_exactly_the_spoiled_versions_are_flagged(histories, codec):
    hits: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    exact = 0
    for seed, found in enumerate(histories):
        six = found.six(codec, order_of(seed))
        verdicts = {version.version: check(six, version.version) for version in six}
        exact += [name for name, verdict in verdicts.items() if verdict.level != "ok"] == ["v5", "v6"]
        for name, verdict in zip(order_of(seed), (verdicts["v5"], verdicts["v6"]), strict=True):
            hits[name] += verdict.level != "ok"
            rules.update(f"{name} by {finding.rule}" for finding in verdict.findings)
        good = [replace(version[codec], version=f"v{number}") for number, version in enumerate(found.good, 1)]
        assert not any(check(good, f"v{number}").judged for number in (1, 2, 3))
        alarms.update(name for name in ("v4", "v5", "v6") if check(good, name).level != "ok")
    print(f"{codec}: flagged exactly {exact} of {SEEDS}; hits {dict(hits)}, {dict(rules)}; false alarms {dict(alarms)}")
    # Measured, zlib / zstd: repetition 20 / 20, contradiction 19 / 20, exactly 16 / 17; of 60 good versions 5 / 4.
    # Over 100 seeds: 100 / 100, 98 / 99, 82 / 85; false alarms after 3, 4, 5 past versions 17, 8, 2 / 15, 9, 2 of 100.
    assert hits["repetition"] == SEEDS == rules["repetition by ratio"]
    assert hits["contradiction"] >= {"zlib": 16, "zstd": 19}[codec]
    # A version is known for its own fault: contradiction leaves R as it is, or, of so few words, lowers it.
    assert rules["contradiction by loss"] >= hits["contradiction"] - 1
    # By `zipspark.entropy.warning`, 12, 8 and 6 % of good versions are watched for R, and 2.5 % for L: 6.7 of 60.
    assert sum(alarms.values()) <= 9
    assert exact >= 13


@pytest.mark.parametrize("codec", CODECS)
def test_spoiled_versions_in_the_past_raise_no_alarm(histories, codec):
    """They widen range and band. That is the price of comparing with all of the past: the next fault is told later."""
    alarms = 0
    for seed, found in enumerate(histories):
        versions = [*found.six(codec, order_of(seed)), replace(found.good[5][codec], version="v7")]
        alarms += check(versions, "v7").level != "ok"
    assert alarms == 0


@pytest.mark.parametrize("codec", CODECS)
def test_the_law_holds_in_the_world(histories, codec):
    """With both faults among six versions, their scores are a falling plane over R and L."""
    for seed, found in enumerate(histories):
        law = fit(found.six(codec, order_of(seed)))
        assert law.ratio.value < 0, seed
        assert law.loss.value < 0, seed


def test_each_fault_costs_score():
    world = World(1)
    scores = {
        (copies, true): np.mean([learn(world, world.texts(Recipe(copies, true), seed)).score for seed in range(3)])
        for copies, true in ((0.1, 1.0), (0.6, 1.0), (0.8, 1.0), (0.1, 0.8), (0.1, 0.4))
    }
    assert scores[0.1, 1.0] > scores[0.6, 1.0] + 5 > scores[0.8, 1.0] + 10
    assert scores[0.1, 1.0] > scores[0.1, 0.8] + 10 > scores[0.1, 0.4] + 20


def test_the_world_is_as_its_recipe_says():
    world = World(2)
    texts = world.texts(Recipe(0.4, 0.7), 0)
    assert len(texts) == ROWS
    assert measure(hashed(texts)).whole.copies == pytest.approx(0.4 * ROWS, abs=2)
    forms = {
        form.format(s=subject, a=aspect, v=value): value == world.facts[subject, aspect]
        for subject, aspect in world.facts
        for form in TEMPLATES
        for value in world.values
    }
    told = [statement for text in texts for statement in text.removesuffix(" .").split(" . ")]
    assert len(told) == STATEMENTS * ROWS
    assert np.mean([forms[statement] for statement in told]) == pytest.approx(0.7, abs=0.06)
    assert texts != world.texts(Recipe(0.4, 0.7), 1)
    assert texts == World(2).texts(Recipe(0.4, 0.7), 0)


def test_the_learner_is_the_model_it_says_it_is():
    """Losses of the first tokens, by counting as one would by hand; and probabilities of all words add up to 1."""
    world = World(3)
    texts = world.texts(Recipe(0.3, 0.9, rows=12), 0)
    words = [word for text in texts for word in text.split()]
    followers: dict[tuple[str, ...], Counter[str]] = {}
    size = len(world.vocabulary) + 1

    def probability(before: list[str], word: str) -> float:
        found = 1 / size
        for order in range(CONTEXT + 1):
            seen = followers.get(tuple(before[len(before) - order :]))
            if seen:
                found = (seen[word] + len(seen) * found) / (seen.total() + len(seen))
        return found

    def probable(before: list[str]) -> float:
        return sum(probability(before, word) for word in [*world.vocabulary, "<unknown>"])

    losses = []
    padded = ["<start>"] * CONTEXT + words
    for at in range(CONTEXT, len(padded)):
        before = padded[at - CONTEXT : at]
        losses.append(-np.log(probability(before, padded[at])))
        for order in range(CONTEXT + 1):
            followers.setdefault(tuple(before[CONTEXT - order :]), Counter())[padded[at]] += 1
    learned = learn(world, texts)
    assert learned.losses == pytest.approx(losses)
    assert probable(["no", "such", "words", "here"]) == pytest.approx(1)
    assert probable(padded[40:44]) == pytest.approx(1)
    forms = [form.format(s=s, a=a, v=v).split() for (s, a), v in world.facts.items() for form in TEMPLATES]
    answers = [probability(form[-CONTEXT - 1 : -1], form[-1]) for form in forms]
    assert learned.score == pytest.approx(100 * np.mean(answers))


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_from_texts_and_a_training_log_to_a_verdict(tmp_path, histories, name):
    """The way of a user: R measured, L read from what training wrote, both logged and checked."""
    six = histories[0].six("zstd", order_of(0))
    for version in six[:4]:
        append(tmp_path / name, version)
    world = World(0)
    texts = world.texts(SPOILED["contradiction"], 99)
    learned = learn(world, texts)
    steps = np.array_split(learned.losses, 50)
    done = np.cumsum([len(step) for step in steps])
    rows = [
        {"step": number, "loss": float(step.mean()), "tokens": int(tokens), "epoch": number / 50}
        for number, (step, tokens) in enumerate(zip(steps, done, strict=True), 1)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    first = first_epoch(read_training(tmp_path / "train.jsonl"))
    assert first.loss == pytest.approx(learned.loss)
    measured = measure(hashed(texts))
    held = held_out_bits(hashed(texts), hashed(world.texts(Recipe(0, 1, rows=50), 7)), context_bytes=16_000)
    new = Version(
        "v5",
        ratio=measured.of("zstd").ratio,
        codec="zstd",
        rows=measured.whole.rows,
        bytes=measured.whole.bytes,
        mean_ratio=measured.of("zstd").mean_ratio,
        loss=first.loss,
        tokens=first.tokens,
        held_out_bits=held.bits,
    )
    append(tmp_path / name, new)
    logged = read_log(tmp_path / name)
    assert replace(logged[-1], at=None) == new
    verdict = check(logged, "v5")
    assert verdict.exit_code == 10
    assert [finding.rule for finding in verdict.findings] == ["loss"]
    assert new.score is None


def test_what_the_stand_in_sees_of_contradiction():
    """A little, and only of much: wrong answers in the place of right ones."""
    world = World(3)
    forms = [form.format(s=s, a=a, v=v) for (s, a), v in world.facts.items() for form in TEMPLATES]
    random.Random(0).shuffle(forms)
    held = hashed(" . ".join(forms[at : at + STATEMENTS]) + " ." for at in range(0, len(forms), STATEMENTS))
    bits = {}
    for true in (1.0, 0.6, 0.2):
        sets = [hashed(world.texts(Recipe(0.15, true), seed)) for seed in range(4)]
        bits[true] = [held_out_bits(rows, held, context_bytes=8_000).bits for rows in sets]
    assert max(bits[1.0]) < min(bits[0.6])
    assert max(bits[0.6]) < min(bits[0.2])
    assert 1.01 < np.mean(bits[0.6]) / np.mean(bits[1.0]) < 1.05
