"""Conditional sizes: zlib's are exact, zstd's see everything in the window and bound from above what they skip."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import chat_texts

from zipspark.core import zlib_codec, zstd_codec
from zipspark.core.zlib_codec import PLAIN, PYTHON_LIST, ZlibCodec
from zipspark.core.zstd_codec import ZstdCodec

KIB, MIB = 2**10, 2**20

# Fresh bytes, and words that make samples repeat each other.
sample = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.lists(st.sampled_from([b"the ", b"quick ", b"brown ", b"fox. "]), min_size=1, max_size=60).map(b"".join),
)
pools = st.lists(sample, min_size=1, max_size=12)


# --- zlib -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "start", "between", "end"), [(PLAIN, b"", b"", b""), (PYTHON_LIST, b"[", b", ", b"]")]
)
@settings(deadline=None, max_examples=60)
@given(pool=pools, level=st.integers(1, 9), order=st.randoms(use_true_random=False))
def test_zlib_sizes_are_those_of_compressing_afresh(framing, start, between, end, pool, level, order):
    context = ZlibCodec(level, framing).context(pool)
    chosen: list[bytes] = []

    def afresh(extra):
        text = start + between.join([*chosen, extra]) + end
        return len(text), len(zlib.compress(text, level))

    for row in order.sample(range(len(pool)), len(pool)):
        raw, compressed = zip(*(afresh(candidate) for candidate in pool), strict=True)
        assert context.raw_with(range(len(pool))).tolist() == list(raw)
        assert context.sizes_with(range(len(pool))).tolist() == list(compressed)
        assert context.conditional_size(row) == (compressed[row] - context.compressed, True)
        context.add(row)
        chosen.append(pool[row])
        assert (context.raw, context.compressed) == (raw[row], compressed[row])


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_zlib_sizes_do_not_depend_on_the_number_of_threads(monkeypatch, workers):
    monkeypatch.setattr(zlib_codec, "_WORKERS", workers)
    pool = chat_texts(250)
    context = ZlibCodec().context(pool)
    context.add(7)
    candidates = list(range(249, -1, -2))
    assert context.sizes_with(candidates).tolist() == [len(zlib.compress(pool[7] + pool[row], 9)) for row in candidates]


def test_zlib_forgets_after_32_kib():
    noise = random.Random(0)
    pool = [noise.randbytes(200), noise.randbytes(31 * KIB), noise.randbytes(2 * KIB)]
    context = ZlibCodec().context(pool)
    seen = []
    for row in range(3):
        context.add(row)
        seen.append(context.conditional_size(0)[0] < 100)
    assert seen == [True, True, False]


def test_zlib_sizes_alone_are_those_of_each_sample():
    pool = chat_texts(100)
    expected = [len(zlib.compress(text, 9)) for text in pool]
    context = ZlibCodec().context(pool)
    context.add(3)  # changes nothing about samples alone
    assert context.sizes_alone().tolist() == ZlibCodec().sizes(pool).tolist() == expected
    assert context.bounds_alone().tolist() == expected


# --- zstd -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_layers(monkeypatch):
    """Layers of a thousandth of their size, so that a few hundred samples fill and close them."""
    layers = (256, 2 * KIB, 8 * KIB, 32 * KIB)
    monkeypatch.setattr(zstd_codec, "LAYER_BYTES", layers)
    return layers


def random_samples(count, size, seed=0):
    noise = random.Random(seed)
    return [noise.randbytes(size) for _ in range(count)]


def is_seen(context, row):
    """Whether a sample of random bytes is known: only a copy can make it small."""
    return context.conditional_size(row)[0] < len(context._pool[row]) // 2


def test_zstd_sees_every_sample_within_its_window_and_forgets_older_ones(small_layers):
    size, window = 100, 64 * KIB
    pool = random_samples(2500, size)
    context = ZstdCodec(window=window).context(pool)
    for row in range(len(pool)):
        context.add(row)
        oldest_within = row + 1 - window // size
        assert is_seen(context, row)
        assert oldest_within < 0 or is_seen(context, oldest_within), f"forgot {oldest_within} after {row}"
    assert all(is_seen(context, row) for row in range(oldest_within, len(pool), 7))
    assert not any(is_seen(context, row) for row in range(oldest_within - 2 * small_layers[-1] // size))


@pytest.mark.parametrize("size", [300, 3 * KIB, 20 * KIB, 40 * KIB])
def test_zstd_sees_samples_larger_than_its_layers(small_layers, size):
    pool = random_samples(12, size)
    context = ZstdCodec(window=1 * MIB).context(pool)
    for row in range(len(pool)):
        context.add(row)
        # Of a sample larger than the largest layer, 32 KiB, only the end is kept.
        assert context.conditional_size(row)[0] < size - 0.9 * min(size, small_layers[-1])
        assert size > small_layers[-1] or is_seen(context, 0)


def test_zstd_keeps_the_end_of_a_sample_larger_than_its_layers(small_layers):
    long = random_samples(1, 40 * KIB)[0]
    context = ZstdCodec().context([long, long[-200:], long[:200]])
    context.add(0)
    assert [is_seen(context, row) for row in (1, 2)] == [True, False]


@pytest.mark.parametrize("size", [16 * KIB, 16 * KIB + 1, 300 * KIB, 9 * MIB])
def test_zstd_sees_a_duplicate_of_any_size(size):
    long, other = random_samples(1, size)[0], b"something else"
    context = ZstdCodec().context([long, other])
    assert context.conditional_size(0)[0] >= size
    context.add(0)
    assert context.conditional_size(0)[0] < size // 4
    context.add(1)
    assert context.conditional_size(0)[0] < size // 4


@pytest.mark.parametrize(
    ("level", "window"),
    [(1, MIB), (3, MIB), (5, MIB), (13, MIB), (19, MIB), (3, 16 * MIB), (9, 16 * MIB), (3, 64 * KIB)],
)
def test_zstd_self_check_sees_the_far_end_of_the_window(level, window):
    check = ZstdCodec(level, window).self_check()
    assert check.seen
    assert check.window == window
    assert check.conditional < 20 < KIB <= check.alone


@pytest.mark.slow
def test_zstd_self_check_sees_the_far_end_of_the_largest_window():
    assert ZstdCodec(window=128 * MIB).self_check().seen


def test_zstd_self_check_notices_a_window_that_is_not_seen(monkeypatch):
    whole = ZstdCodec.dictionary
    monkeypatch.setattr(ZstdCodec, "dictionary", lambda self, content: whole(self, content[-100 * KIB :]))
    assert not ZstdCodec(window=MIB).self_check().seen


def test_zstd_bounds_are_upper_bounds_below_enough_and_leave_the_exact_size_to_be_had(small_layers):
    pool = chat_texts(400)
    codec = ZstdCodec(window=64 * KIB)
    exact, asked = codec.context(pool), codec.context(pool)
    rng = random.Random(0)
    early = 0
    for step, picked in enumerate(rng.sample(range(400), 120)):
        exact.add(picked)
        asked.add(picked)
        for row in rng.sample(range(400), 8):
            enough = rng.uniform(0, len(pool[row]))
            size = exact.conditional_size(row)[0]
            bound, is_exact = asked.conditional_size(row, enough)
            assert (bound == size) if is_exact else (size <= bound < enough)
            early += not is_exact
            if step % 3 == 0:
                assert asked.conditional_size(row, size) == (size, True)  # the size itself is not below it
    assert early > 50


def test_zstd_remembered_sizes_are_those_of_a_context_without_a_past(small_layers):
    pool = chat_texts(150)
    lived = ZstdCodec().context(pool)
    picks = random.Random(1).sample(range(150), 60)
    for row in picks:
        lived.sizes_with(range(150))  # remembers, and must not say so later
        lived.add(row)
    fresh = ZstdCodec().context(pool)
    for row in picks:
        fresh.add(row)
    assert lived.sizes_with(range(150)).tolist() == fresh.sizes_with(range(150)).tolist()
    assert lived.emptied().sizes_with(range(150)).tolist() == ZstdCodec().context(pool).sizes_alone().tolist()


@settings(deadline=None, max_examples=60)
@given(pool=pools, level=st.sampled_from([1, 3, 6]))
def test_zstd_sizes_are_never_below_one_nor_above_the_sample_alone(pool, level):
    codec = ZstdCodec(level)
    context = codec.context(pool)
    alone = context.sizes_alone()
    assert alone.min() >= 1
    assert codec.sizes(pool).min() >= 1
    for row in range(len(pool)):
        sizes = context.sizes_with(range(len(pool))) - context.compressed
        assert sizes.min() >= 1
        assert (sizes <= alone).all()
        before = context.compressed
        context.add(row)
        assert context.compressed == before + sizes[row]


def test_zstd_bounds_are_a_few_per_cent_above_sizes():
    pool = chat_texts(500)
    context = ZstdCodec().trained(pool[:200]).context(pool)
    above = context.bounds_alone() / context.sizes_alone()
    assert 1 <= np.median(above) < 1.1
    assert (above > 0.95).mean() > 0.99
    fastest = ZstdCodec(level=1).context(pool)
    assert fastest.bounds_alone().tolist() == fastest.sizes_alone().tolist()


def test_zstd_takes_off_the_bytes_of_the_frame():
    assert ZstdCodec().sizes([b"q"]).tolist() == ZstdCodec().context([b"q"]).sizes_alone().tolist() == [1]


def test_zstd_header_lets_short_samples_look_as_compressible_as_they_are():
    texts = list(dict.fromkeys(chat_texts(1500)))
    codec = ZstdCodec().trained(texts[:500])
    assert codec.header
    short = [text for text in texts[500:] if len(text) < 100]
    assert codec.context(short).sizes_alone().sum() < 0.95 * ZstdCodec().context(short).sizes_alone().sum()


@pytest.mark.parametrize("samples", [[], [b"x"], [b"short"] * 3], ids=["none", "one", "three copies"])
def test_zstd_header_is_left_out_where_there_is_too_little_to_train_on(samples):
    codec = ZstdCodec().trained(samples)
    assert codec == ZstdCodec()
    assert codec.context([b"abc"]).sizes_alone().tolist() == [3]


def test_a_small_window_is_kept_however_much_is_chosen_and_forgets_what_is_far():
    noise = random.Random(1)
    samples = [noise.randbytes(2**14) for _ in range(64)]
    context = ZstdCodec(window=2**16).context(samples)
    for index in range(len(samples)):
        context.add(index)
    assert context.conditional_size(len(samples) - 4)[0] < 200  # 48 KiB back
    assert context.conditional_size(0)[0] > 16_000  # 1 MiB back
