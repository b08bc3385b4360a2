"""Leakage: what of an evaluation item is in a pool, found, located and judged."""

from __future__ import annotations

import random

import numpy as np
import pytest

from zipspark.core.leakage import LONG_SPAN, SPAN, search, verdict
from zipspark.core.overlap import GRAM, build_index, characters, longest_stretch, nearest, normalised

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def text(seed: int, count: int = 40) -> str:
    """Words that no other seed has."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices(LETTERS, k=draw.randint(3, 9))) for _ in range(count))


POOL = [text(1000 + number, 80) for number in range(200)]
ITEM = text(1)


def only(item: str, pool: list[str]):
    ((found, row),) = search([item], pool)
    return found, row


def paraphrased(item: str, every: int = 10) -> str:
    words = item.split()
    words[every // 2 :: every] = ["changed"] * len(words[every // 2 :: every])
    return " ".join(words)


@pytest.mark.parametrize(
    ("leaked", "expected"),
    [
        (ITEM, "whole"),
        (ITEM.upper().replace(" ", "\n \t"), "whole"),
        (f"{POOL[3]} {ITEM} {POOL[4]}", "whole"),
        (ITEM[: len(ITEM) // 2], "part"),
        (ITEM[-LONG_SPAN - 8 :], "part"),
        (paraphrased(ITEM), "part"),
        (" ".join(random.Random(0).sample(ITEM.split(), 40)), "none"),
        ("nothing of it", "none"),
    ],
)
def test_what_of_an_item_is_in_the_pool(leaked, expected):
    found, row = only(ITEM, [*POOL[:100], leaked, *POOL[100:]])
    assert found.verdict == expected
    assert row == (100 if expected != "none" else row)


def test_scores_rise_with_what_is_shared():
    shares = [ITEM[: len(ITEM) * share // 4] for share in range(5)]
    scores = [only(ITEM, [*POOL, leaked])[0].score for leaked in shares]
    assert scores == sorted(scores)
    assert scores[0] < 0.1
    assert scores[2] == pytest.approx(0.5, abs=0.1)
    assert scores[4] > 0.9


def test_many_items_are_told_apart():
    items = [text(number) for number in range(60)]
    pool = [*POOL, *items[:20], *map(paraphrased, items[20:40])]
    found = search(items, pool)
    assert [row for _, row in found[:40]] == list(range(200, 240))
    verdicts = [finding.verdict for finding, _ in found]
    assert verdicts[:20] == ["whole"] * 20
    assert "none" not in verdicts[20:40]
    assert verdicts[40:] == ["none"] * 20


def test_an_item_that_two_samples_hold_between_them_is_whole():
    half = len(ITEM) // 2
    found, row = only(ITEM, [*POOL, ITEM[: half + 9], ITEM[half - 9 :]])
    assert found.verdict == "whole"
    assert row in (200, 201)


def test_the_span_is_given_in_the_items_own_characters():
    item = f"Straße  und\n\n{text(5, 6)}   İstanbul {text(6, 6)}"
    shared = item[3:60]
    found, _ = only(item, [*POOL, f"zzz {shared.upper()} zzz"])
    assert item[found.start : found.end] == shared.rstrip()
    assert normalised("ß\u0130 \u2003x") == "ssi̇ x".encode()


def test_each_normalised_byte_knows_its_character():
    item = "  Ünï  \tİß\n end  "
    origins = characters(item)
    made = normalised(item)
    assert len(origins) == len(made)
    for at, origin in enumerate(origins):
        own = item[origin].casefold().encode()
        assert made[at] in (own if own.strip() else b" ")


def test_a_template_is_no_leak_and_does_not_hide_one():
    template = "Read the following passage with care and then answer the question that stands below it with one word: "
    items = [template + text(number, 20) for number in range(50)]
    pool = [template + other[:200] for other in POOL]
    clean = search(items, pool)
    assert {finding.verdict for finding, _ in clean} == {"none"}
    assert max(finding.score for finding, _ in clean) < 0.2
    index = build_index([normalised(item) for item in items], [normalised(sample) for sample in pool])
    assert not set(index.hashes.tolist()) & set(index.common.tolist())
    # The sample that leaks has no template: all others share more with the item.
    found = search(items, [*pool, items[7][len(template) :]])
    assert found[7][0].verdict == "whole"
    assert found[7][1] == len(pool)
    assert items[7][found[7][0].start :].strip() == items[7][len(template) :]


def test_an_item_in_the_sample_that_tells_what_is_common_is_still_found():
    """Its grams are then no rarer than those that a change has made: the rarest would be the wrong ones to look for."""
    item = text(1, 300)
    for leaked in (item[:150], item[-150:], paraphrased(item)):
        found, row = only(item, [leaked, *POOL])
        assert (found.verdict != "none", row) == (True, 0)


@pytest.mark.parametrize("item", ["", "short", "x" * 15, "what is 2 + 2?"])
def test_items_too_short_to_tell_are_not_called_leaked(item):
    found, row = only(item, [*POOL, item, f"a {item} b"])
    assert (found.verdict, row) == ("none", -1)


def test_an_empty_pool_or_no_items():
    assert search([], POOL) == []
    assert only(ITEM, [])[0].verdict == "none"
    assert only(ITEM, ["", " "])[0].verdict == "none"


def test_every_stretch_of_the_span_is_found_wherever_it_stands():
    draw = random.Random(3)
    item = normalised(text(9, 60))
    index = build_index([item], [])
    assert len(index.hashes) < len(item) / 4
    for _ in range(200):
        start = draw.randrange(len(item) - SPAN)
        around = draw.randbytes(draw.randrange(60)).hex().encode(), draw.randbytes(9).hex().encode()
        sample = around[0] + b"|" + item[start : start + SPAN] + b"|" + around[1]
        pairs = nearest(index, [b"nothing", sample], ["b", "a"])
        assert pairs.rows.tolist() == [1]
        assert around[0] + b"|" == sample[: len(around[0]) + 1]
        assert len(around[0]) < pairs.places[0] <= len(around[0]) + 1 + SPAN - GRAM


def test_nearest_finds_what_a_plain_search_finds():
    draw = random.Random(4)
    items = [normalised(text(number, 12)) for number in range(8)]
    pieces = [item[at : at + 50] for item in items for at in (0, 20)]
    samples = [b" ".join(draw.choices(pieces, k=draw.randint(1, 3))) for _ in range(40)]
    index = build_index(items, [])
    pairs = nearest(index, samples, [f"{at:03}" for at in range(40)], count=40)
    shared: dict[int, set[int]] = {}
    for number, item in enumerate(items):
        for row, sample in enumerate(samples):
            if any(item[at : at + SPAN] in sample for at in range(len(item) - SPAN + 1)):
                shared.setdefault(number, set()).add(row)
    found: dict[int, set[int]] = {}
    for number, row in zip(pairs.items.tolist(), pairs.rows.tolist(), strict=True):
        found.setdefault(number, set()).add(row)
    assert all(shared[number] <= found[number] for number in shared)
    best = nearest(index, samples, [f"{at:03}" for at in range(40)], count=1)
    for number, row in zip(best.items.tolist(), best.rows.tolist(), strict=True):
        assert row == pairs.rows[pairs.items == number][0]


def test_ties_go_to_the_lowest_key_and_no_gram_reaches_into_the_next_sample():
    item = normalised(text(7, 10))
    index = build_index([item], [])
    same = nearest(index, [item, item, item], ["c", "a", "b"], count=2)
    assert same.rows.tolist() == [1, 2]
    halves = [item[at : at + GRAM - 1] for at in range(0, len(item), GRAM - 1)]
    assert not len(nearest(index, halves, [str(at) for at in range(len(halves))]).rows)


def test_longest_stretch_is_the_one_a_plain_search_finds():
    draw = random.Random(8)
    for _ in range(60):
        item = bytes(draw.choices(b"ab", k=60))
        sample = bytes(draw.choices(b"ab", k=200))
        start, end = longest_stretch(item, sample)
        longest = max(
            (size for size in range(GRAM, 61) for at in range(61 - size) if item[at : at + size] in sample), default=0
        )
        assert end - start == longest
        assert item[start:end] in sample


def test_longest_stretch_weighs_only_bytes_that_count():
    item = b"common text that is very long indeed " + b"but this is rare stuff"
    counted = np.concatenate([[0] * 38, np.arange(1, len(item) - 36)])
    sample = b"common text that is very long indeed! " + b"xx but this is rare stuff"
    assert longest_stretch(item, sample) == (0, 36)
    assert item[slice(*longest_stretch(item, sample, counted))].strip() == b"but this is rare stuff"


@pytest.mark.parametrize(
    ("score", "span", "size", "expected"),
    [
        (0.8, 0, 100, "whole"),
        (0.7, 95, 100, "whole"),
        (0.7, 94, 100, "part"),
        (0.5, SPAN, 1000, "part"),
        (0.5, SPAN - 1, 1000, "none"),
        (0.49, LONG_SPAN - 1, 1000, "none"),
        (0.0, LONG_SPAN, 1000, "part"),
        (1.0, 31, SPAN - 1, "none"),
    ],
)
def test_verdicts_follow_the_thresholds(score, span, size, expected):
    assert verdict(score, span, size) == expected
