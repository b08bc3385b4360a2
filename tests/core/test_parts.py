"""Cutting a pool into parts, and the min-hash that brings look-alikes together."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipspark.core.minhash import min_hashes
from zipspark.core.parts import pack

buckets = st.dictionaries(st.integers(0, 4095), st.integers(1, 10**7), min_size=1, max_size=60)


@given(buckets, st.integers(1, 12))
def test_every_bucket_has_a_part_and_no_part_is_far_above_its_share(sizes, parts):
    placed = pack(sizes, parts)
    assert placed.keys() == sizes.keys()
    load = [0.0] * parts
    for bucket, slices in placed.items():
        for part in slices:
            load[part] += sizes[bucket] / len(slices)
    share = sum(sizes.values()) / parts
    assert max(load) <= 2 * share + 1e-6  # no slice is larger than a share, and goes to the emptiest part


def test_a_template_that_is_most_of_the_pool_is_spread_over_parts():
    assert sorted(pack({7: 900, 8: 100}, parts=4)[7]) == [0, 1, 2, 3]


@given(buckets, st.integers(1, 12))
def test_packing_does_not_depend_on_the_order_of_the_buckets(sizes, parts):
    assert pack(dict(sorted(sizes.items(), reverse=True)), parts) == pack(dict(sorted(sizes.items())), parts)


def slow_min_hash(sample: bytes) -> int:
    """The definition, a gram at a time, in Python's own integers."""
    if not sample:
        return 0
    hashes = []
    for start in range(max(1, len(sample) - 7)):
        value = int.from_bytes(sample[start : start + 8], "little") * 0x9E3779B97F4A7C15 % 2**64
        value ^= value >> 30
        hashes.append(value * 0xBF58476D1CE4E5B9 % 2**64)
    return min(hashes)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_min_hashes_are_those_of_the_definition(samples):
    offsets = np.cumsum([0, *map(len, samples)])
    assert min_hashes(b"".join(samples), offsets).tolist() == [slow_min_hash(sample) for sample in samples]


def test_min_hashes_do_not_depend_on_where_chunks_end(monkeypatch):
    noise = random.Random(3)
    samples = [noise.randbytes(noise.randint(0, 300)) for _ in range(200)]
    offsets = np.cumsum([0, *map(len, samples)])
    whole = min_hashes(b"".join(samples), offsets).tolist()
    monkeypatch.setattr("zipspark.core.minhash._CHUNK", 500)
    assert min_hashes(b"".join(samples), offsets).tolist() == whole


def test_near_copies_mostly_share_a_min_hash():
    noise = random.Random(5)
    text = noise.randbytes(2000)
    copies = [text[:where] + noise.randbytes(2) + text[where + 2 :] for where in range(100, 1900, 20)]
    hashes = min_hashes(b"".join(copies), np.cumsum([0, *map(len, copies)])).tolist()
    assert max(map(hashes.count, hashes)) > 0.9 * len(copies)


@pytest.mark.parametrize("cut", [1000, 4096, 100_003, 299_995])
def test_a_long_sample_is_hashed_in_stretches_and_no_gram_is_missed(monkeypatch, cut):
    data, offsets = random.Random(1).randbytes(300_000), np.array([0, 17, 20, cut, 300_000])
    whole = min_hashes(data, offsets)
    monkeypatch.setattr("zipspark.core.minhash._CHUNK", 1000)
    assert min_hashes(data, offsets).tolist() == whole.tolist()
