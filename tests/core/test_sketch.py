"""The sketch of a pool and the lens made of it, against counting in sets."""

from __future__ import annotations

import base64
import hashlib
import pickle
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark import demo
from zipspark.config import Choice
from zipspark.core import lens as lens_module
from zipspark.core import seen as seen_module
from zipspark.core import sketch as module
from zipspark.core.grams import EVERY, FEATURES, grams
from zipspark.core.lens import Lens
from zipspark.core.seen import counted_below, head_bytes, sketch_of
from zipspark.core.sketch import SAMPLE_BYTES, Sketch, salt_of

CELL_BITS = 16  # of the sketches here: few grams, small tables

# Few letters and short samples, so that grams are shared, repeated and missing; some longer than a gram of 8.
texts = st.text("ab ", max_size=30).map(str.encode) | st.binary(max_size=12)
pools = st.lists(texts, max_size=12)


def joined(samples):
    return b"".join(samples), np.cumsum([0, *map(len, samples)])


def sketched(samples, **shape):
    sketch = Sketch(**{"gram": 2, "supported_gram": 4, "cell_bits": CELL_BITS, **shape})
    sketch.count(*joined(samples))
    return sketch


def sampled(sample, shape=(2, 4)):
    """(bucket, hash of the long gram) of each position looked at."""
    found = grams(sample, np.array([0, len(sample)]), *shape)
    return list(zip(found.buckets.tolist(), found.longs.tolist(), strict=True))


def same(left, right):
    return (
        (left.samples, left.bytes) == (right.samples, right.bytes)
        and np.array_equal(left.df, right.df)
        and np.array_equal(left.seen, right.seen)
    )


# --- Sketch ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(pools)
def test_counts_are_of_samples_not_of_occurrences(samples):
    sketch = sketched(samples)
    df = Counter(bucket for sample in samples for bucket in {bucket for bucket, _ in sampled(sample)})
    assert dict(zip(np.flatnonzero(sketch.df).tolist(), sketch.df[sketch.df > 0].tolist(), strict=True)) == df
    low, high = 2**CELL_BITS - 1, 64 - CELL_BITS
    for row, cell_of in enumerate([lambda long: long >> high, lambda long: long & low]):
        cells = Counter(cell for sample in samples for cell in {cell_of(long) for _, long in sampled(sample)})
        assert {cell: min(2, count) for cell, count in cells.items()} == {
            int(cell): int(sketch.seen[row, cell]) for cell in np.flatnonzero(sketch.seen[row])
        }
    assert (sketch.samples, sketch.bytes) == (len(samples), sum(map(len, samples)))


def test_counts_do_not_depend_on_how_samples_are_blocked(monkeypatch):
    noise = random.Random(0)
    samples = ["".join(noise.choices("abc", k=noise.randint(0, 80))).encode() for _ in range(300)]
    whole = sketched(samples, supported_gram=8)
    assert (whole.seen == 1).any()
    assert (whole.seen == 2).any()
    for rows, size in ((0, 50), (3, 100), (10, 1)):
        for one in (module, lens_module):
            monkeypatch.setattr(one, "ROW_BITS", rows)
        for one in (module, lens_module):
            monkeypatch.setattr(one, "BLOCK_BYTES", size)
        assert same(sketched(samples, supported_gram=8), whole)


@settings(deadline=None, max_examples=30)
@given(pools, pools, pools)
def test_merging_is_counting_at_once_in_any_order_and_grouping(first, second, third):
    whole = sketched(first + second + third)
    for order in ((first, second, third), (third, first, second)):
        left, middle, right = map(sketched, order)
        left.merge(middle)
        left.merge(right)
        assert same(left, whole)
        left, middle, right = map(sketched, order)
        middle.merge(right)
        left.merge(middle)
        assert same(left, whole)


def test_merging_nothing_changes_nothing():
    one = sketched([b"abracadabra", b"abracadabra!"])
    one.merge(sketched([]))
    assert same(one, sketched([b"abracadabra", b"abracadabra!"]))


@pytest.mark.parametrize("other", [{"gram": 3}, {"supported_gram": 5}, {"cell_bits": CELL_BITS + 1}])
def test_sketches_of_other_shapes_are_not_mixed(other):
    one, two = sketched([b"text"]), sketched([b"text"], **other)
    with pytest.raises(ValueError, match="one shape"):
        one.merge(two)
    for role in ("anchor", "target"):
        with pytest.raises(ValueError, match="one shape"):
            Lens.of(one, **{role: two})


def test_a_stored_sketch_comes_back_whole_and_can_be_added_to():
    samples = [b"to be or not to be", b"that is the question", b"to be sure"]
    back = Sketch.from_bytes(sketched(samples).to_bytes())
    assert back.shape == (2, 4, CELL_BITS)
    assert same(back, sketched(samples))
    back.count(*joined([b"or not"]))
    assert same(back, sketched([*samples, b"or not"]))


# --- Lens and Look --------------------------------------------------------------------------------------------------


def log2_levels(df):
    """What 8 steps to a doubling leave of log2(df)."""
    return np.rint(8 * np.log2(np.maximum(df, 1))) / 8


@settings(deadline=None, max_examples=40)
@given(pools, pools, pools)
def test_a_look_tells_what_sets_tell(pool, anchor, samples):
    lens = Lens.of(sketched(pool), anchor=sketched(anchor))
    look = lens.look(*joined(samples))
    features = look.features()
    holders = Counter(long for sample in pool for long in {long for _, long in sampled(sample)})
    held = {long for sample in anchor for _, long in sampled(sample)}
    for row, sample in enumerate(samples):
        part = slice(look.rows[row], look.rows[row + 1])
        shown = sampled(sample)
        assert look.buckets[part].tolist() == [bucket for bucket, _ in shown]
        assert look.supported[part].tolist() == [holders[long] >= 2 or long in held for _, long in shown]
        assert look.held[part].tolist() == [long in held for _, long in shown]
        assert look.shown[row] == len(shown)
        assert look.support[row] == (sum(look.supported[part].tolist()) / len(shown) if shown else 1.0)
        useful = {bucket for bucket, long in shown if holders[long] >= 2 and long not in held}
        assert np.frombuffer(features[row], dtype="<u4").tolist() == sorted(useful)
    assert len(features) == len(samples)


def test_a_sample_that_was_not_counted_needs_one_other_and_one_that_was_needs_two():
    shared, lone, outside = (random.Random(seed).randbytes(100) for seed in (7, 8, 9))
    lens = Lens.of(sketched([shared + lone, shared]))
    samples = [shared, lone, outside]
    assert lens.look(*joined(samples)).support.tolist() == [1, 0, 0]
    assert lens.look(*joined(samples), counted=np.zeros(3, dtype=bool)).support.tolist() == [1, 1, 0]
    assert lens.look(*joined(samples), counted=np.array([False, True, True])).support.tolist() == [1, 0, 0]


def test_support_does_not_depend_on_whether_a_sample_was_counted(monkeypatch):
    pool = [record["response"].encode() for record in list(demo.corpus())[:2000]]
    pool = list(dict.fromkeys(text for text in pool if len(text) > 200))
    contents = {hashlib.md5(text).hexdigest(): text for text in pool}
    monkeypatch.setattr(seen_module, "SAMPLE_BYTES", sum(map(len, pool)) // 2)
    below = counted_below(sum(map(len, pool)))
    counted = np.array([name < below for name in contents])
    support = Lens.of(sketch_of(contents, head_bytes(pool), Choice())).look(*joined(pool), counted=counted).support
    assert 0.4 < counted.mean() < 0.6
    assert abs(support[counted].mean() - support[~counted].mean()) < 0.03


def test_features_are_of_supported_text_that_the_anchor_does_not_hold():
    old, new, odd = (random.Random(seed).randbytes(100) for seed in (7, 8, 9))
    lens = Lens.of(sketched([old + new, new + old + b"!"]), anchor=sketched([old]))
    found, expected = (lens.look(*joined([text])) for text in (old + new + odd, new))
    buckets = set(np.frombuffer(found.features()[0], dtype="<u4").tolist())
    assert buckets >= set(expected.buckets.tolist()) > set()
    assert not buckets & {bucket for bucket, _ in sampled(old) + sampled(odd)}


def test_looks_do_not_depend_on_how_samples_are_blocked(monkeypatch):
    noise = random.Random(1)
    samples = ["".join(noise.choices("abc", k=noise.randint(0, 80))).encode() for _ in range(300)]
    lens = Lens.of(sketched(samples))
    data, offsets = joined(samples)
    whole = lens.look(data, offsets)
    features = whole.features()
    for one in (module, lens_module):
        monkeypatch.setattr(one, "ROW_BITS", 3)
    for one in (module, lens_module):
        monkeypatch.setattr(one, "BLOCK_BYTES", 100)
    blocked = lens.look(data, offsets)
    for name in ("rows", "positions", "buckets", "supported", "held"):
        assert np.array_equal(getattr(blocked, name), getattr(whole, name))
    assert blocked.features() == features
    alone = [lens.look(sample, np.array([0, len(sample)])).features()[0] for sample in samples]
    assert alone == features


def test_nothing_to_look_at():
    lens = Lens.of(sketched([b"abcd" * 3, b"abcd" * 4]))
    none = lens.look(b"", np.array([0]))
    assert none.features() == none.support.tolist() == none.shown.tolist() == []
    short = lens.look(b"abc", np.array([0, 0, 3]))
    assert (short.features(), short.support.tolist(), short.shown.tolist()) == ([b"", b""], [1.0, 1.0], [0, 0])


def test_positions_point_at_the_text_also_behind_an_offset():
    text = random.Random(4).randbytes(300)
    lens = Lens.of(sketched([text, text + b"!"]))
    look = lens.look(b"skipped" + text, np.array([7, 107, 307]))
    for at, bucket in zip(look.positions.tolist(), look.buckets.tolist(), strict=True):
        assert bucket in {bucket for bucket, _ in sampled((b"skipped" + text)[at : at + 4])}
    assert all(np.diff(look.positions[low:high]).min() > 0 for low, high in pairwise(look.rows.tolist()))
    assert look.supported.all()


def test_weights_are_powers_of_the_capped_logarithm():
    sketch = sketched([])
    sketch.df[:8] = [0, 1, 2, 4, 5, 64, 1000, 2**32 - 1]
    bits = np.minimum(log2_levels(sketch.df[:8]), 255 / 8)
    assert Lens.of(sketch).weights()[:8].tolist() == bits.tolist()
    assert Lens.of(sketch, weight_cap=6).weights()[:8].tolist() == np.minimum(bits, 6).tolist()
    assert Lens.of(sketch, weight_exponent=0).weights()[:8].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    squares = Lens.of(sketch, weight_exponent=2.5, weight_cap=4).weights()[:8]
    assert squares == pytest.approx(np.minimum(bits, 4) ** 2.5, abs=2**-12)
    assert not Lens.of(sketch).weights()[8:].any()
    assert bits[2:] == pytest.approx(np.log2([2, 4, 5, 64, 1000, 2**32 - 1]), abs=1 / 8)


def test_sums_of_weights_do_not_depend_on_their_order():
    noise = np.random.default_rng(0)
    pool = sketched([])
    pool.df[:] = noise.zipf(1.3, FEATURES).clip(max=10**6)
    weights = Lens.of(pool, weight_exponent=0.7).weights()
    steps = weights.astype(np.float64) * 2**12
    assert np.array_equal(steps, np.rint(steps))
    total = weights.sum(dtype=np.float64)
    assert weights[noise.permutation(FEATURES)].sum(dtype=np.float64) == total
    assert float(np.cumsum(weights, dtype=np.float64)[-1]) == total


def test_what_the_anchor_holds_has_no_weight():
    pool = sketched([b"to be or not to be", b"to be sure", b"not to be missed"])
    anchor = sketched([b"to be taken twice a day"])
    weights, plain = Lens.of(pool, anchor=anchor).weights(), Lens.of(pool).weights()
    assert not weights[anchor.df > 0].any()
    assert plain[anchor.df > 0].any()
    assert np.array_equal(weights[anchor.df == 0], plain[anchor.df == 0])


# --- targets --------------------------------------------------------------------------------------------------------


def likeness(pool, target, samples, strength=1.0):
    lens = Lens.of(sketched(pool), target=sketched(target), target_strength=strength)
    return lens.likeness(lens.look(*joined(samples)))


WORDS = [word * 3 for word in "abcdefghijklmnopqrstuvwxyz"]


def sentences(words, count, seed=0):
    noise = random.Random(seed)
    return [" ".join(noise.choices(words, k=60)).encode() for _ in range(count)]


def test_samples_of_the_targets_kind_are_likelier_in_it_than_others_and_strength_is_a_power():
    ours, theirs = sentences(WORDS[:13], 40), sentences(WORDS[13:], 40)
    samples = ours[:3] + theirs[:3]
    once, half, off = (likeness(ours + theirs, ours[::2], samples, power) for power in (1, 0.5, 0))
    assert once[:3].min() > 1.5 > 0.7 > once[3:].max()
    assert half == pytest.approx(once**0.5)
    assert off.tolist() == [1.0] * 6


def test_likeness_is_bounded_and_a_short_sample_proves_little():
    ours, theirs = sentences(WORDS[:13], 40), sentences(WORDS[13:], 400)
    found = likeness(ours + theirs, ours, [ours[0], ours[0][:16], b"abc", theirs[0]])
    assert 1 < found[1] < found[0] <= 16
    assert found[2] == 1
    assert 1 / 256 <= found[3] < 1


def test_without_a_target_all_are_alike():
    lens = Lens.of(sketched(sentences(WORDS, 5)))
    assert lens.likeness(lens.look(*joined(sentences(WORDS, 4)))).tolist() == [1.0] * 4


# --- groups ---------------------------------------------------------------------------------------------------------


def grouped(pool, salts):
    sketch = sketched([])
    sketch.count(*joined(pool), np.asarray(salts, dtype=np.uint32))
    return sketch


def test_a_gram_in_two_groups_is_two_features_with_frequencies_of_their_own():
    pool = sentences(WORDS, 6)
    one, other = salt_of("one"), salt_of("other")
    salts = [one] * 4 + [other] * 2
    plain, inside = sketched(pool), grouped(pool, salts)
    assert np.array_equal(plain.df, inside.df)
    assert np.array_equal(plain.seen, inside.seen)
    places = np.arange(FEATURES)
    expected = sketched(pool[:4]).df[places ^ one] + sketched(pool[4:]).df[places ^ other]
    assert np.array_equal(inside.df_in_groups, expected)
    lens = Lens.of(inside)
    views = lens.look(*joined([pool[0], pool[0]]), np.array([one, other], dtype=np.uint32)).features()
    first, second = (np.frombuffer(view, dtype="<u4") for view in views)
    assert sorted(first ^ one) == sorted(second ^ other)
    assert lens.weights()[first].sum() > lens.weights()[second].sum()


def test_groups_are_merged_and_stored_like_all_else():
    pool, salts = sentences(WORDS, 9), [salt_of(name) for name in "aabbbccca"]
    whole = grouped(pool, salts)
    merged = sketched([])
    for part in (slice(0, 2), slice(2, 9)):
        merged.merge(Sketch.from_bytes(grouped(pool[part], salts[part]).to_bytes()))
    assert np.array_equal(merged.df_in_groups, whole.df_in_groups)


def test_what_the_anchor_holds_it_holds_in_every_group():
    pool = sentences(WORDS, 6)
    salts = [salt_of(name) for name in "aaabbb"]
    lens = Lens.of(grouped(pool, salts), anchor=sketched(pool[:1]), salts=sorted(set(salts)))
    held = np.flatnonzero(sketched(pool[:1]).df)
    for salt in set(salts):
        assert not lens.weights()[held ^ salt].any()
    assert lens.weights().any()


def test_target_weights_are_the_targets_own_where_the_pool_has_the_bucket():
    pool, target = sketched([]), sketched([])
    pool.df[:5] = [0, 1, 2, 50, 50]
    target.df[:5] = [3, 3, 3, 7, 0]
    assert Lens.of(pool, target=target).target_weights()[:6].tolist() == [0, 0, 2, 3, 0, 0]
    with pytest.raises(ValueError, match="target"):
        Lens.of(pool).target_weights()


def test_a_pickled_lens_is_small_and_shows_the_same():
    noise = random.Random(5)
    samples = ["".join(noise.choices("abcd", k=200)).encode() for _ in range(100)]
    lens = Lens.of(sketched(samples), anchor=sketched(samples[:5]), target=sketched(samples[:20]))
    fresh = len(pickle.dumps(lens))
    look = lens.look(*joined(samples))
    assert len(pickle.dumps(lens)) == fresh < 300_000  # what was expanded stays behind
    back = pickle.loads(pickle.dumps(lens))
    assert back == lens
    assert np.array_equal(back.weights(), lens.weights())
    assert np.array_equal(back.target_weights(), lens.target_weights())
    again = back.look(*joined(samples))
    assert np.array_equal(again.supported, look.supported)
    assert np.array_equal(again.held, look.held)


def test_noise_looks_unsupported_at_the_fill_that_the_constants_give():
    """The default table, scaled down by 64 with its text; a twentieth of that text is noise, each but once."""
    scale = 6
    cell_bits, size = module.CELL_BITS - scale, SAMPLE_BYTES >> scale
    noise = random.Random(6)
    pool = [base64.b64encode(noise.randbytes(1000)) for _ in range(size // 1336 // 20)]
    for text in sorted(
        {record["response"].encode() for record in demo.corpus()}, key=lambda text: hashlib.md5(text).digest()
    ):
        if sum(map(len, pool)) < size:
            pool.append(text)
    sketch = Sketch(cell_bits=cell_bits)
    sketch.count(*joined(pool))
    unseen = [base64.b64encode(noise.randbytes(1000)) for _ in range(100)]
    lens = Lens.of(sketch)
    look = lens.look(*joined(unseen), counted=np.zeros(100, dtype=bool))
    assert look.shown.min() > 1000 / EVERY / 2
    assert 0 < look.support.mean() < 0.05
    assert 0 < lens.look(*joined(pool[:15])).support.mean() < 0.05
    assert lens.look(*joined(pool[-100:])).support.mean() > 0.5


def test_of_a_long_sample_the_head_is_counted_and_the_rest_is_supported_by_it(monkeypatch):
    noise = random.Random(3)
    long, short = noise.randbytes(3000), noise.randbytes(400)
    for one in (lens_module, seen_module):
        monkeypatch.setattr(one, "HEAD_BYTES", 1000)
    contents = {hashlib.md5(text).hexdigest(): text for text in (long, short, long[2500:] + long[:100])}
    assert head_bytes(contents.values()) == 2000
    sketch = sketch_of(contents, 2000, Choice())
    assert (sketch.samples, sketch.bytes) == (3, 2000)
    look = Lens.of(sketch).look(*joined([long]))
    found = look.positions[look.supported]
    assert set(found // 100) == {0, *range(25, 30)}


def test_what_the_anchor_holds_is_supported_by_it():
    text = b"".join(b"a line that stands once in the pool, number %d\n" % number for number in range(40))
    data, offsets = joined([text, b"another text of the pool, which shares nothing with the first"])
    pool, anchor = Sketch(), Sketch()
    pool.count(data, offsets)
    anchor.count(*joined([text]))
    alone, beside = (Lens.of(pool, anchor=held).look(data, offsets).support for held in (None, anchor))
    assert beside[0] == 1 > alone[0]
    assert beside[1] == alone[1] < 0.5
