"""R of a whole set: what one pass finds is what compressing everything at once finds."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from hashlib import md5

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from zipspark.core.zstd_codec import ZstdCodec
from zipspark.entropy.measure import MOST_GROUPS, Measured, measure
from zipspark.entropy.streams import CODECS, Sample, Stream, hashed, in_order, order_key, spread_over_orders
from zipspark.errors import InputError, UsageError


def sentences(count: int, seed: int = 0) -> list[bytes]:
    """Texts that draw their sentences from a stock of 200."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(400)]
    stock = [" ".join(draw.choices(words, k=8)) for _ in range(200)]
    return [(". ".join(draw.sample(stock, draw.randint(1, 6))) + f" {number}").encode() for number in range(count)]


def noise(count: int, size: int = 500) -> list[bytes]:
    draw = random.Random(1)
    return [draw.randbytes(size) for _ in range(count)]


def zstd_at_once(data: bytes, log: int) -> int:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=log, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return len(stream.compress(data) + stream.flush())


@pytest.fixture(scope="module")
def rows() -> list[Sample]:
    texts = sentences(2000)
    groups = [("prose", "letters", None)[number % 7 % 3] for number in range(len(texts))]
    return hashed([*texts, *noise(100), *texts[:50]], [*groups, *["noise"] * 100, *groups[:50]])


@pytest.fixture(scope="module")
def found(rows) -> Measured:
    return measure(rows)


def test_the_whole_set_is_as_if_compressed_at_once(rows, found):
    everything = b"".join(row.text for row in rows)
    assert (found.whole.rows, found.whole.bytes, found.whole.copies) == (2150, len(everything), 50)
    assert found.of("zlib").ratio == len(everything) / len(zlib.compress(everything, 9))
    assert found.of("zstd").ratio == len(everything) / zstd_at_once(everything, 26)


def test_samples_alone(rows, found):
    sizes = [len(zlib.compress(row.text, 9)) for row in rows]
    ratios = found.of("zlib")
    assert ratios.alone == sum(sizes)
    each = [len(row.text) / size for row, size in zip(rows, sizes, strict=True)]
    assert ratios.mean_ratio == pytest.approx(sum(each) / len(rows))
    assert ratios.pooled_ratio == found.whole.bytes / sum(sizes)
    assert ratios.gap == pytest.approx(ratios.ratio / ratios.pooled_ratio) == sum(sizes) / ratios.compressed
    alone = ZstdCodec().sizes([row.text for row in rows])
    assert found.of("zstd").alone == alone.sum()


def test_a_group_is_what_it_is_by_itself(rows, found):
    assert list(found.groups) == sorted(found.groups, key=lambda name: -found.groups[name].bytes)
    assert set(found.groups) == {"prose", "letters", "noise", "(none)"}
    for name, group in found.groups.items():
        members = [row for row in rows if (row.group or "(none)") == name]
        alone = measure(members, most_groups=0)
        assert alone.groups == {}
        assert (group.rows, group.bytes, group.copies) == (alone.whole.rows, alone.whole.bytes, alone.whole.copies)
        assert group.codecs["zlib"] == alone.of("zlib")
        # the window is another
        assert group.codecs["zstd"].ratio == pytest.approx(alone.of("zstd").ratio, rel=0.01)
    assert sum(group.rows for group in found.groups.values()) == found.whole.rows
    assert found.group_ratios("zlib") == {name: group.codecs["zlib"].ratio for name, group in found.groups.items()}
    assert found.group_ratios() == found.group_ratios("zlib")


def test_rows_without_any_group_make_no_group():
    assert measure(hashed(sentences(20))).groups == {}


@given(st.lists(st.tuples(st.binary(max_size=30), st.sampled_from(["a", "b", None])), max_size=30))
def test_any_set_in_any_order_of_rows(pairs):
    pairs.append((b"one at least", None))
    measured = measure(hashed(*zip(*pairs, strict=True)))
    again = measure(hashed(*zip(*reversed(pairs), strict=True)))
    assert measured == again
    texts = [text for text, _ in pairs if text]
    everything = b"".join(sorted(texts, key=lambda text: md5(text).hexdigest()))
    assert measured.of("zlib").compressed == len(zlib.compress(everything, 9))
    assert measured.whole.rows + measured.empty == len(pairs)
    assert measured.whole.copies == len(texts) - len(set(texts))
    json.dumps(measured.to_dict(), allow_nan=False)


def test_what_zlib_forgets_and_zstd_does_not():
    """Texts far apart in the order; the same but for their first byte, so that they are no copies."""
    texts = noise(400)
    twice = hashed([text + b"." for text in texts] + [b"!" + text for text in texts])
    found = measure(twice)
    assert found.of("zlib").ratio < 1.2
    assert found.of("zstd").ratio > 1.8
    assert found.of("zstd").gap > 1.8
    copies = measure(hashed(texts * 2))
    assert copies.whole.copies == 400
    assert copies.of("zlib").ratio > 1.8


def test_noise_has_no_gap():
    for codec, most in (("zlib", 1.03), ("zstd", 1.001)):  # zlib: frames of 11 bytes
        found = measure(hashed(noise(400)), codec).of()
        assert 0.999 < found.gap < most
        assert 0.99 < found.ratio <= 1


def test_groups_beyond_the_most_count_in_the_whole_alone():
    texts = sentences(300)
    groups = [f"rare {number}" if number % 3 == 0 else "usual" for number in range(len(texts))]
    found = measure(hashed(texts, groups), most_groups=5)
    assert "usual" in found.groups
    assert len(found.groups) == 5
    assert found.not_apart == 96 == sum("rare" in group for group in groups) - 4
    assert found.whole == measure(hashed(texts, groups), most_groups=MOST_GROUPS).whole
    assert any("96 rows are of too many groups" in note for note in found.notes())
    assert measure(hashed(texts, groups), most_groups=0).not_apart == 0


def test_one_codec_and_its_library(rows):
    found = measure(rows, "zstd")
    assert list(found.whole.codecs) == ["zstd"] == list(found.libraries)
    assert found.of() == found.of("zstd")
    assert not any("32 KiB" in note for note in found.notes())
    with pytest.raises(UsageError, match=r"codec must be one that was measured \(zstd\), got 'zlib'"):
        found.of("zlib")


def test_memory_does_not_grow_with_the_set():
    """80 MB of samples, two groups, zlib's slow passes left out."""
    program = """
import resource
from zipspark.entropy.measure import measure
from zipspark.entropy.streams import Sample
def samples(count):
    for number in range(count):
        yield Sample(f"{number:08x}", "ab"[number % 2], b"%08d" % (number % 5) * 2500)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
measure(samples(100), "zstd")
before = peak()
print(measure(samples(4000), "zstd").whole.bytes, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True)
    size, grown = map(int, done.stdout.split())
    assert size == 80_000_000
    # Two groups of 4 MiB windows, a block of 4 MiB, and the whole set's window: 64 MiB, the most there is.
    assert grown < 64 + 30, grown


def test_what_is_printed(found):
    console = Console(file=io.StringIO(), width=140)
    console.print(found)
    shown = console.file.getvalue()
    assert "(whole set)" in shown
    assert f"{found.of('zstd').ratio:.3f}" in shown
    assert "ascending content hash" in shown
    assert "50 rows are exact copies" in shown


def test_what_goes_into_json(found):
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["order"] == "ascending content hash"
    assert told["codecs"]["zlib"]["gap"] == found.of("zlib").gap
    assert told["groups"]["noise"]["rows"] == 100
    assert set(told["libraries"]) == set(CODECS)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "got 0 rows"),
        ([("aa", None, b"")], "got 1 rows, all without a byte"),
        ([("bb", None, b"x"), ("aa", None, b"y")], "ascending order of content hash, but in row 1 aa follows bb"),
        ([("aa", None, "x")], "text must be bytes, got str in row 0"),
        ([("aa", None, None)], "text must be bytes, got NoneType in row 0"),
        ([(7, None, b"x")], "content hash must be a string, got 7 in row 0"),
        ([("aa", 3, b"x")], "group must be a string, got 3 in row 0"),
        ([("aa", b"x")], r"\(content hash, group, text\): row 0 is not"),
        ([b"text"], "row 0 is not"),
        ([None], "row 0 is not"),
    ],
)
def test_bad_rows_are_told(samples, said):
    with pytest.raises(InputError, match=said):
        measure(samples)


@pytest.mark.parametrize("row", [("aa", None, "x"), (7, None, b"x"), ("aa", b"x"), None])
def test_bad_rows_are_told_before_they_are_sorted(row):
    with pytest.raises(InputError, match=r"(in row 1 of|samples must be .* row 1 is not)"):
        in_order([("aa", None, b"x"), row])


@pytest.mark.parametrize("codecs", [[], ["gzip"], "xz", ["zlib", "lz4"]])
def test_unknown_codecs_are_told(codecs):
    with pytest.raises(UsageError, match="codecs must be of zlib, zstd"):
        measure(hashed([b"x"]), codecs)


def test_copies_stand_by_group():
    for groups in (["y", "x", None], [None, "y", "x"]):
        assert [sample.group for sample in hashed([b"same"] * 3, groups)] == [None, "x", "y"]


def test_texts_that_are_none_are_told():
    for texts, groups, said in (
        ([None], None, "got NoneType in place 0"),
        (["fine", "\ud800"], None, "half a surrogate pair in place 1"),
        (["a", "b"], ["x"], "2 texts, 1 groups"),
    ):
        with pytest.raises(InputError, match=said):
            hashed(texts, groups)
    with pytest.raises(UsageError, match="most_groups must be 0 or more, got -1"):
        measure(hashed([b"x"]), most_groups=-1)


@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from(CODECS), st.integers(0, 300))
def test_a_stream_stops_at_its_limit(texts, codec, limit):
    stream = Stream(codec, limit=limit)
    taken: list[bytes] = []
    for text in texts:
        stream.feed(text)
        if sum(map(len, taken)) + len(text) <= limit:
            taken.append(text)
    data = b"".join(taken)
    assert (stream.rows, stream.size) == (len(taken), len(data))
    assert stream.finish() == (len(zlib.compress(data, 9)) if codec == "zlib" else zstd_at_once(data, 20))


@pytest.mark.parametrize(
    ("window", "between", "seen"),
    [
        ({"limit": 2**21}, 2**20, True),
        ({"window": 2**20}, 2**20, False),
        ({"window": 2**10}, 2**18, True),  # 1 MiB is the narrowest
        ({}, 20 * 2**20, True),
    ],
)
def test_how_far_back_a_stream_looks(window, between, seen):
    draw = random.Random(2)
    first = draw.randbytes(2**19)
    stream = Stream("zstd", **window)
    for text in (first, draw.randbytes(between), first):
        stream.feed(text)
    assert stream.rows == 3
    compressed = stream.finish()
    assert (compressed < stream.size - 2**18) is seen
    assert compressed > between + 2**19 - 2**10


def test_orders_are_seeded_and_differ(rows):
    spread = spread_over_orders(lambda seed: in_order(rows, seed), seeds=4)
    for codec in CODECS:
        found = spread[codec]
        assert (len(found.ratios), len(set(found.ratios))) == (4, 4)
        assert found.low == min(found.ratios) <= found.mean <= found.high == max(found.ratios)
        assert found.high / found.low < 1.03
        assert json.loads(json.dumps(found.to_dict()))["mean"] == found.mean
        assert f"over {len(found.ratios)} orders" in str(found)
    by_hand = sorted(rows, key=lambda row: md5(b"2:" + row.content.encode()).hexdigest())
    everything = b"".join(row.text for row in by_hand)
    assert spread["zlib"].ratios[2] == len(everything) / len(zlib.compress(everything, 9))
    assert spread_over_orders(lambda seed: in_order(reversed(rows), seed), 4, "zstd") == {"zstd": spread["zstd"]}


def test_what_orders_need(rows):
    with pytest.raises(UsageError, match="seeds must be 2 or more"):
        spread_over_orders(lambda seed: in_order(rows, seed), seeds=1)
    with pytest.raises(InputError, match=r"ascending order of order_key\(content hash, 0\)"):
        spread_over_orders(lambda seed: rows)
    once: Iterator[Sample] = iter(in_order(rows, 0))
    with pytest.raises(InputError, match=r"samples\(1\) must give the whole set each time, got 0 rows .*samples\(0\)"):
        spread_over_orders(lambda seed: once)
    with pytest.raises(InputError, match=r"samples\(1\) must give the whole set each time, got 2,149 rows"):
        spread_over_orders(lambda seed: in_order(rows[seed:], seed))
    with pytest.raises(InputError, match=r"samples\(0\) must give the whole set each time, got 0 rows of 0 bytes$"):
        spread_over_orders(lambda seed: [])
    keys = [order_key(row.content, 3) for row in in_order(rows, 3)]
    assert keys == sorted(keys)
