"""Bits of a held-out sample given a set: what moves them, what must not, and what they cannot see."""

from __future__ import annotations

import json
import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark.core.matrix import SAMPLE_BYTES
from zipspark.core.zstd_codec import ZstdCodec
from zipspark.entropy.consistency import HeldOut, held_out_bits
from zipspark.entropy.streams import Sample, hashed
from zipspark.errors import InputError, UsageError

COUNT = 4000
SIZE = 24_000  # bytes of a context


def facts(numbers: range, seed: int = 0, right: float = 1.0) -> list[bytes]:
    """One fact a text; a share of them says something else than the others would."""
    draw = random.Random(seed)
    names = random.Random(9)
    names_of = {number: "".join(names.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for number in range(COUNT)}
    said = []
    for number in numbers:
        told = names_of[number] if draw.random() < right else "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=9))
        said.append(f"Question {number}: who lives in house {number}? It is {told}, and {told} alone.".encode())
    return said


@pytest.fixture(scope="module")
def held() -> list[Sample]:
    return hashed([text + b" Is it so?" for text in facts(range(0, 400))])


@pytest.fixture(scope="module")
def train() -> list[Sample]:
    return hashed(facts(range(0, 1600)))


@pytest.fixture(scope="module")
def found(train, held) -> HeldOut:
    return held_out_bits(train, held, context_bytes=SIZE)


def test_a_set_that_says_the_same_is_told_from_one_that_does_not(held):
    found = held_out_bits(hashed(facts(range(0, 400))), held, context_bytes=SIZE)
    about_others = held_out_bits(hashed(facts(range(1600, 2000))), held, context_bytes=SIZE)
    draw = random.Random(0)
    other_words = held_out_bits(hashed(draw.randbytes(60) for _ in range(1600)), held, context_bytes=SIZE)
    assert found.bits < 0.8 * about_others.bits
    assert about_others.bits < 0.7 * other_words.bits
    assert other_words.bits == pytest.approx(other_words.alone, rel=0.01)
    assert found.alone == other_words.alone


def test_it_is_what_zstd_says_with_a_dictionary(train, held):
    """Each sample on a fresh compressor, less the bytes of an empty frame."""
    texts = [row.text for row in held]
    codec = ZstdCodec(9).trained(texts)
    assert codec.header
    context = b"".join(row.text for row in train)[:SIZE]
    sizes = [len(codec.dictionary(context).compress(text)) for text in texts]
    empty = len(codec.dictionary(context).compress(b""))
    found = held_out_bits(train, held, context_bytes=SIZE, contexts=1)
    assert found.bits == pytest.approx(8 * sum(size - empty for size in sizes) / sum(map(len, texts)), rel=1e-9)
    alone = sum(len(codec.dictionary(b"").compress(text)) - empty for text in texts)
    assert found.alone == pytest.approx(8 * alone / sum(map(len, texts)))
    assert found.alone < 8 * ZstdCodec(9).sizes(texts).sum() / sum(map(len, texts))


def test_wrong_answers_raise_it_by_the_place_they_take(held):
    bits = [
        held_out_bits(hashed(facts(range(0, 1600), right=right)), held, context_bytes=SIZE).bits
        for right in (1.0, 0.6, 0.2)
    ]
    assert bits == sorted(bits)
    assert bits[2] > 1.05 * bits[0]


def test_what_it_cannot_see(held):
    """Two answers to each question, one of them right, in a context that holds both: the right one is found."""
    right, wrong = facts(range(0, 400)), facts(range(0, 400), right=0.0)
    size = sum(map(len, right))
    consistent = held_out_bits(hashed(right), held, context_bytes=size).bits
    both = held_out_bits(hashed(right + wrong), held, context_bytes=2 * size).bits
    assert both == pytest.approx(consistent, rel=0.15)


def test_contexts_are_equal_disjoint_and_of_the_lowest_hashes(train, held, found):
    assert found.context_bytes == SIZE
    assert not found.small
    assert len(found.by_context) == sum(len(row.text) for row in train) // SIZE > 3
    assert found.bits == pytest.approx(sum(found.by_context) / len(found.by_context))
    first = held_out_bits(train, held, context_bytes=SIZE, contexts=1)
    assert first.by_context == found.by_context[:1]
    assert first.spread is None
    assert found.spread > 0
    # The second context begins with the first sample that is not in the first.
    ends = list(accumulate(len(row.text) for row in train))
    start = next(at for at, end in enumerate(ends, 1) if end >= SIZE)
    second = held_out_bits(train[start:], held, context_bytes=SIZE, contexts=1)
    assert second.by_context == found.by_context[1:2]


def test_the_size_of_the_set_changes_little(held):
    texts = facts(range(0, 1600))
    half = held_out_bits(hashed(random.Random(5).sample(texts, 800)), held, context_bytes=SIZE)
    whole = held_out_bits(hashed(texts), held, context_bytes=SIZE)
    assert whole.bits == pytest.approx(half.bits, rel=0.03)


def test_copies_count_once(train, held, found):
    assert held_out_bits(sorted([*train, *train[::3]]), held, context_bytes=SIZE) == found


def test_no_more_is_read_than_contexts_need(train, held):
    def endless():
        yield from train
        raise AssertionError("read on")

    assert len(held_out_bits(endless(), held, context_bytes=SIZE, contexts=2).by_context) == 2


def test_the_held_out_samples_own_text_is_left_out_of_the_set(train, held, found):
    leaking = held_out_bits(sorted([*train, *held[:40]]), held, context_bytes=SIZE)
    assert leaking.leaked == 40
    assert (leaking.bits, leaking.by_context) == (found.bits, found.by_context)
    assert any("40 samples of the set are in the held-out sample" in note for note in leaking.notes())
    with pytest.raises(InputError, match="train must hold text to measure with, got none but 400 samples"):
        held_out_bits(held, held)


def test_a_small_set_is_said_to_be(train, held):
    found = held_out_bits(train[:50], held, context_bytes=SIZE)
    assert found.small
    assert found.context_bytes == sum(len(row.text) for row in train[:50]) < SIZE
    assert "less than a context" in str(found)
    assert "a few samples decide" in str(held_out_bits(train, held[:20], context_bytes=SIZE))


def test_groups_of_the_held_out_sample(train, held):
    near, far = facts(range(0, 300)), [text.upper() for text in facts(range(1600, 1700))]
    groups = ["near"] * len(near) + ["far"] * len(far)
    found = held_out_bits(train, hashed([text + b"!" for text in near + far], groups), context_bytes=SIZE)
    assert list(found.groups) == ["far", "near"]
    assert found.groups["near"] < found.groups["far"]
    assert found.mean_over_groups == pytest.approx(sum(found.groups.values()) / 2)
    sizes = {"near": sum(map(len, near)) + 300, "far": sum(map(len, far)) + 100}
    pooled = sum(found.groups[name] * size for name, size in sizes.items()) / sum(sizes.values())
    assert found.bits == pytest.approx(pooled)
    assert "far: " in str(found)
    assert held_out_bits(train, held, context_bytes=SIZE).groups == {}


def test_one_long_document_is_no_context(held):
    long = Sample("0", None, random.Random(0).randbytes(4 * SAMPLE_BYTES))
    facts_too = hashed(facts(range(0, 1600)))
    found = held_out_bits([long, *facts_too], held, context_bytes=SAMPLE_BYTES + SIZE, contexts=1)
    assert found.bits == pytest.approx(held_out_bits(facts_too, held, context_bytes=SIZE, contexts=1).bits, rel=0.02)


def test_what_goes_into_json(found):
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["held_out_bits"] == found.bits
    assert told["stand_in"] is True
    assert told["spread"] == found.spread
    assert "stand-in" in str(found)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(1, 200))
def test_the_order_of_the_held_out_rows_changes_nothing(draw, size):
    texts = facts(range(0, 60))
    train, rows = hashed(texts[20:]), hashed(text + b"?" for text in texts[:20])
    shuffled = draw.sample(rows, len(rows))
    found = held_out_bits(train, shuffled, context_bytes=size, contexts=3)
    assert found == held_out_bits(train, rows, context_bytes=size, contexts=3)
    assert found.context_bytes == size


@pytest.mark.parametrize(
    ("train", "held_out", "said"),
    [
        ([], [("aa", None, b"x")], "train must hold text to measure with, got none$"),
        ([("aa", None, b"")], [("bb", None, b"x")], "train must hold text"),
        ([("aa", None, b"x")], [], "held_out must hold text to measure, got none"),
        ([("aa", None, b"x")], [("bb", None, b"")], "held_out must hold text"),
        ([("aa", None, b"x")], [("bb", None, "x")], "got str in row 0 of held_out"),
        ([("bb", None, b"x"), ("aa", None, b"x")], [("cc", None, b"x")], "train must be in ascending order"),
    ],
)
def test_bad_rows_are_told(train, held_out, said):
    with pytest.raises(InputError, match=said):
        held_out_bits(train, held_out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"context_bytes": 0}, "context_bytes must be 1 to 8,388,608, what zstd indexes of a dictionary, got 0"),
        ({"context_bytes": 2**24}, "got 16,777,216"),
        ({"level": 0}, "level must be one of zstd's, 1 to 19, got 0"),
        ({"level": 20}, "got 20"),
        ({"contexts": 0}, "contexts must be 1 or more, got 0"),
    ],
)
def test_bad_options_are_told(options, said):
    with pytest.raises(UsageError, match=said):
        held_out_bits([("aa", None, b"x")], [("bb", None, b"x")], **options)
