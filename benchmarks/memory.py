"""Memory that a Python worker needs to rank one part, its text included, as multiples of that text.

Each in a process of its own, which has ranked a few samples before: the libraries that every worker holds, 150 MB, do
not count. What it ranks comes from a stream of Arrow batches, as from Spark. Linux only.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import processes
import pyarrow as pa
from arms import OBJECTIVES
from looks import header_of, lens_of, looked_at
from pools import records_of, rendered
from results import Results, option

from zipspark.config import Choice
from zipspark.core.codecs import lengths
from zipspark.core.parts import PART_BYTES
from zipspark.core.presets import content_hash
from zipspark.spark.nodes import Aid, Ranker, RankParts
from zipspark.spark.plan import Quotas
from zipspark.units import format_bytes

BATCH_ROWS = 1000  # of a batch from Spark
SHARE = 15  # a part hands up one byte in so many


@click.command(help=__doc__)
@click.argument("pool", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=54_000, show_default=True, help="samples read from the start of POOL")
@option
def main(pool: Path | None, rows: int, results: Path) -> None:
    """POOL is a Parquet file of records; without one, the demo corpus is used."""
    samples = list(dict.fromkeys(rendered(records_of(pool, rows))))
    part = samples[: int(np.searchsorted(np.cumsum(lengths(samples)), PART_BYTES))]
    contents = dict(sorted((content_hash(text), text) for text in part))
    with Results("memory", pool, results) as out:
        out.table("peak of one part", ("objective", "text of the part", "peak", "times the text"), peaks(contents))


def peaks(contents: dict[str, bytes]) -> Iterator[list[str]]:
    """A row per objective."""
    size = sum(map(len, contents.values()))
    for objective in OBJECTIVES:
        ranks, rows_of_part = task_of(contents, Choice(objective=objective), size)
        with TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            stream = f"{folder}/part.arrow"
            with pa.OSFile(stream, "wb") as file, pa.ipc.new_stream(file, rows_of_part.schema) as writer:
                writer.write_table(rows_of_part, max_chunksize=BATCH_ROWS)
            peak = alone.submit(_peak, ranks, stream).result()
        yield [objective, format_bytes(size), format_bytes(peak), f"{peak / size:.1f}"]


def task_of(contents: dict[str, bytes], choice: Choice, size: int) -> tuple[RankParts, pa.Table]:
    """What Spark's task would do, and the rows it would be given."""
    texts, hashes = list(contents.values()), list(contents)
    lens = lens_of(contents, choice)
    views = looked_at(contents, choice, lens).views
    count = len(texts)
    rows = pa.table(
        {
            "part": pa.array([0] * count, pa.int32()),
            "content": pa.array(hashes),
            "user_id": pa.nulls(count, pa.string()),
            "file": pa.array(["part"] * count),
            "position": pa.array(range(count), pa.int64()),
            "group": pa.nulls(count, pa.string()),
            "bytes": pa.array(lengths(texts)),
            "tokens": pa.nulls(count, pa.int64()),
            "ratio": pa.array([1.0] * count),
            "worth": pa.nulls(count, pa.float64()),
            "kept": pa.array([False] * count),
            "view": pa.array(views, pa.binary()),
        }
    )
    aid = Aid(header_of(contents, choice), lens if choice.covers else None, None)
    quotas = Quotas("bytes", np.array([size / SHARE]), {}, {})
    return RankParts(Ranker(quotas, choice, aid, None, overshoot=True), dedup=True), rows


def _peak(ranks: RankParts, stream: str) -> int:
    """Bytes by which this process grows."""
    with pa.OSFile(stream) as file:
        list(ranks(iter([next(iter(pa.ipc.open_stream(file)))])))
    processes.forget_peak()
    before = processes.resident()
    with pa.OSFile(stream) as file:
        for _ in ranks(iter(pa.ipc.open_stream(file))):
            pass
    return processes.peak() - before


if __name__ == "__main__":
    main()
