"""The pool that a benchmark works on, and what is kept out of it to be predicted.

records ─▶ samples ─▶ Split: without copies, a tenth of the prompts held out, a tenth kept as examples
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from zipspark import demo
from zipspark.core.rendering import detect_layout, kinds_of_records, layout_renderer

TENTHS = 10  # prompts are dealt out in tenths: the first is held out, the second gives examples of what is wanted
MEASURED = 150  # held-out samples of a source, at most; of examples as many
LEAST = 100  # a source with fewer prompts is left out: its figure would be chance
POOL_PART = 8  # a budget is at most this part of the pool, or there is little to choose
LIKE_POOL = "like the pool"  # held-out samples drawn from all sources at once, as many as MEASURED of four sources


ONE_SOURCE = "all"  # of records that name none


def records_of(pool: Path | None, rows: int, skip: int = 0) -> list[dict[str, Any]]:
    """``rows`` records behind the first ``skip``, of ``pool`` or, without one, of the demo corpus."""
    return first_records(pool, skip + rows)[skip:] if pool else list(islice(demo.corpus(), skip, skip + rows))


def first_records(path: Path, rows: int) -> list[dict[str, Any]]:
    batches = pq.ParquetFile(path).iter_batches()
    records: list[dict[str, Any]] = []
    while len(records) < rows and (batch := next(batches, None)) is not None:
        records += batch.slice(0, rows - len(records)).to_pylist()
    return records


def rendered(records: Sequence[dict[str, Any]]) -> Iterable[bytes]:
    return map(layout_renderer(detect_layout(kinds_of_records(records[:1000]))), records)


def source_of(record: Mapping[str, Any]) -> str:
    return str(record.get("source") or ONE_SOURCE)


def prompt(record: Mapping[str, Any]) -> str:
    """What a person says first in ``record``; empty where nobody asks anything, as in plain text."""
    for message in record.get("conversations") or ():
        if message["from"] == "human":
            return str(message["value"])
    return str(record.get("prompt") or "")


def of_large_sources(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    prompts: dict[str, set[bytes]] = {}
    for record, text in zip(records, rendered(records), strict=True):
        prompts.setdefault(source_of(record), set()).add(prompt(record).encode() or text)
    return [record for record in records if len(prompts[source_of(record)]) >= LEAST]


@dataclass(frozen=True)
class Split:
    """A pool and what was kept out of it, no prompt being on two sides."""

    samples: list[bytes]  # n, without copies
    sources: list[str]  # n
    held_out: Mapping[str, Sequence[bytes]]  # by source, and LIKE_POOL
    examples: Mapping[str, Sequence[bytes]]  # by source: samples in neither, that a choice may be told to resemble
    questions: Mapping[str, Sequence[bytes]]  # by source: all prompts of the tenth that examples are from
    budget: int  # bytes
    seed: int


def split_of(records: Sequence[dict[str, Any]], budget: int, seed: int, measured: int = MEASURED) -> Split:
    """Another draw of the prompts held out for each seed; ``measured`` samples of a source at most are kept.

    A record without a prompt is its own; one without a source is of `ONE_SOURCE`.
    """
    pool: dict[bytes, str] = {}
    held_out: dict[str, dict[bytes, None]] = {}  # dict for set: it keeps the order
    examples: dict[str, dict[bytes, None]] = {}
    questions: dict[str, dict[bytes, None]] = {}
    for record, text in zip(records, rendered(records), strict=True):
        source, asked = source_of(record), prompt(record).encode() or text
        digest = blake2b(asked, digest_size=8, salt=seed.to_bytes(8)).digest()
        tenth = int.from_bytes(digest, "little") % TENTHS
        if tenth == 0:
            held_out.setdefault(source, {})[text] = None
        elif tenth == 1:
            examples.setdefault(source, {})[text] = None
            questions.setdefault(source, {})[asked] = None
        else:
            pool.setdefault(text, source)
    chance = np.random.default_rng(seed)

    def drawn(texts: Sequence[bytes], count: int) -> list[bytes]:
        return [texts[at] for at in chance.permutation(len(texts))[:count]]

    kept_out = {source: drawn(list(texts), measured) for source, texts in sorted(held_out.items())}
    kept_out[LIKE_POOL] = drawn([text for texts in held_out.values() for text in texts], 4 * measured)
    return Split(
        samples=list(pool),
        sources=list(pool.values()),
        held_out=kept_out,
        examples={source: drawn(list(texts), measured) for source, texts in sorted(examples.items())},
        questions={source: list(texts) for source, texts in questions.items()},
        budget=min(budget, sum(map(len, pool)) // POOL_PART),
        seed=seed,
    )
