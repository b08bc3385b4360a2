"""Grams of whole buffers against the definition, one gram at a time in Python's own integers."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipspark.core import grams as module
from zipspark.core.grams import EVERY, FEATURES, blocks, distinct, grams

LENGTHS = [(5, 8), (2, 2), (2, 8), (8, 8), (3, 7)]


def multiplied(gram: bytes) -> int:
    return int.from_bytes(gram, "little") * 0x9E3779B97F4A7C15 % 2**64


def mixed(gram: bytes) -> int:
    value = multiplied(gram)
    value ^= value >> 30
    return value * 0xBF58476D1CE4E5B9 % 2**64


def slow_grams(samples: list[bytes], gram: int, long: int) -> list[list[tuple[int, int, int]]]:
    """(position, bucket, hash of the long gram) of each sampled gram, by sample."""
    found, base = [], 0
    for sample in samples:
        found.append(
            [
                (base + at, mixed(sample[at : at + gram]) * FEATURES >> 64, whole ^ whole >> 31)
                for at in range(len(sample) - long + 1)
                if multiplied(sample[at : at + gram]) < 2**64 // EVERY
                for whole in [mixed(sample[at : at + long])]
            ]
        )
        base += len(sample)
    return found


def fast_grams(data, offsets, gram=5, long=8) -> list[list[tuple[int, int, int]]]:
    found = grams(data, offsets, gram, long)
    entries = list(zip(found.positions.tolist(), found.buckets.tolist(), found.longs.tolist(), strict=True))
    return [entries[low:high] for low, high in zip(found.rows[:-1], found.rows[1:], strict=True)]


def joined(samples: list[bytes]):
    return b"".join(samples), np.cumsum([0, *map(len, samples)])


@pytest.mark.parametrize("lengths", LENGTHS)
@given(samples=st.lists(st.binary(max_size=60), max_size=12))
def test_grams_are_those_of_the_definition(samples, lengths):
    assert fast_grams(*joined(samples), *lengths) == slow_grams(samples, *lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("chunk", [1, 7, 8, 64, 501])
def test_grams_do_not_depend_on_where_chunks_end(monkeypatch, chunk, lengths):
    noise = random.Random(chunk)
    samples = [noise.randbytes(noise.choice([0, 1, 7, 8, 9, 15, noise.randint(0, 300)])) for _ in range(40)]
    expected = slow_grams(samples, *lengths)
    assert fast_grams(*joined(samples), *lengths) == expected
    monkeypatch.setattr(module, "_CHUNK", chunk)
    assert fast_grams(*joined(samples), *lengths) == expected


def test_a_gram_reaches_over_no_end_of_a_sample():
    text = random.Random(0).randbytes(4000)
    whole = {entry[0] for entry in fast_grams(text, np.array([0, 4000]))[0]}
    halves = fast_grams(text, np.array([0, 1500, 1500, 1503, 4000]))
    assert [len(part) > 0 for part in halves] == [True, False, False, True]
    assert {entry[0] for part in halves for entry in part} == {
        at for at in whole if not 1500 - 8 < at < 1500 and not 1503 - 8 < at < 1503
    } - {1500, 1501, 1502}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()])
def test_buffers_of_sliced_arrow_arrays(kind):
    texts = ["", "naïve café, naïve café", "短い", "x" * 40, "", "to be or not to be, that is the question 🙂"] * 3
    array = pa.array([text.encode() if "binary" in str(kind) else text for text in texts], type=kind)
    for part in (array, array.slice(4, 9), array.slice(5), array.slice(3, 0), array.slice(4, 1)):
        wide = "large" in str(kind)
        _, offsets, data = part.buffers()
        offsets = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)[part.offset :][: len(part) + 1]
        found = fast_grams(data, offsets)
        expected = slow_grams(
            [value.as_py().encode() if kind in (pa.string(), pa.large_string()) else value.as_py() for value in part],
            5,
            8,
        )
        shift = int(offsets[0])
        assert found == [[(at + shift, *rest) for at, *rest in sample] for sample in expected]
        assert sum(map(len, found)) > 0 or len(part) < 2


def test_one_in_four_is_sampled_and_buckets_and_hashes_are_spread_evenly():
    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz ", k=400_000)).encode()
    found = grams(text, np.array([0, len(text)]))
    assert len(found.positions) / len(text) == pytest.approx(1 / EVERY, rel=0.02)
    for values, bits in ((found.buckets, 22), (found.longs, 64)):
        for low in range(0, bits - 7, 8):
            share = np.bincount((values >> np.asarray(low, values.dtype)).astype(np.uint8)) / len(values)
            # 256 shares of 100,000 distinct or nearly distinct grams: five standard deviations.
            assert len(share) == 256
            assert abs(share * 256 - 1).max() < 5 * (256 / len(values)) ** 0.5


def test_the_same_text_is_sampled_alike_wherever_it_stands():
    text = random.Random(2).randbytes(500)
    alone = fast_grams(text, np.array([0, 500]))[0]
    behind = fast_grams(*joined([b"something else", text]))[1]
    assert [entry[1:] for entry in behind] == [entry[1:] for entry in alone]


@pytest.mark.parametrize("lengths", [(1, 8), (6, 5), (5, 9)])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match=r"2 <= gram <= supported_gram <= 8"):
        grams(b"text", np.array([0, 4]), *lengths)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_blocks_cut_all_samples_within_both_bounds(sizes, rows, size):
    offsets = np.cumsum([3, *sizes])
    cut = list(blocks(offsets, rows, size))
    assert [at for block in cut for at in range(block.start, block.stop)] == list(range(len(sizes)))
    for block in cut:
        assert 1 <= block.stop - block.start <= rows
        assert block.stop - block.start == 1 or offsets[block.stop] - offsets[block.start] <= size


@given(st.lists(st.integers(0, 20)))
def test_distinct_gives_each_value_once_ascending(values):
    assert distinct(np.array(values, dtype=np.uint32)).tolist() == sorted(set(values))
