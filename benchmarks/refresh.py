"""What a refresh takes beside the selection of everything, each as a command: new rows come to a Delta table.

The corpus is POOL without some of its rows, as a Delta table with its change feed on; the first refresh chooses from
all of it. Then, run by run, a share of the rows that were held back comes, a refresh follows, and `zipspark select`
chooses from the whole table. Work is CPU seconds of all processes from the changes that are read to the ranking: of a
refresh its stages changes to merge, of a selection score to merge. Linux only; needs Delta's jars.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from pyspark.sql import functions as F
from results import Results, option
from watching import Used, job, of_classes

from zipspark.config import EngineOptions
from zipspark.spark.session import get_session
from zipspark.storage.deltas import FEED

WORK = ("changes", "score", "look", "survey", "parts", "merge")
COLUMNS = ("run", "command", "wall, s", "wall to select", "CPU, s", "CPU to select", "work, CPU s", "work to select")


@click.command(help=__doc__)
@click.argument("pool", type=click.Path(exists=True, path_type=Path))
@click.option("--budget", default="5%", show_default=True)
@click.option("--share", default=0.01, show_default=True, help="of POOL's rows that come in each run")
@click.option("--master", default="local[2]", show_default=True)
@click.option("--runs", default=3, show_default=True)
@option
def main(pool: Path, budget: str, share: float, master: str, runs: int, results: Path) -> None:
    """POOL is a Parquet file."""
    with tempfile.TemporaryDirectory() as made, Results("refresh", pool, results, ["pyspark", "delta-spark"]) as out:
        folder = Path(made)
        corpus, coming = tables(pool, folder, share, runs, master)
        same = ("--budget", budget, "--id-column", "id", "--master", master)
        refresh = ("refresh", "--corpus", corpus, "--subset", f"{folder}/chosen", *same)
        said, first = job(*refresh)
        out.say(of_classes())
        out.say(f"The first refresh: {said['rows']:,} rows chosen, {first.wall:.1f} s, {first.cpu:.1f} CPU s.")
        rows: list[Sequence[str]] = []
        for run, new in enumerate(coming, 1):
            appended(new, corpus, master)
            said, following = job(*refresh)
            _, whole = job("select", corpus, *same, "--output", f"{folder}/whole{run}")
            rows += compared(
                run, f"refresh, {said['rows_new']:,} rows new, {said['rows_added']:,} added", following, whole
            )
        out.table(f"refresh --budget {budget}, {share:.1%} of the rows new, {master}", COLUMNS, rows)


def tables(pool: Path, folder: Path, share: float, runs: int, master: str) -> tuple[str, list[str]]:
    """(the corpus, a Delta table; Parquet folders with the rows that come in each run)."""
    spark = get_session(EngineOptions(master=master), delta=True)
    rows = spark.read.parquet(str(pool)).drop("id").withColumn("id", F.monotonically_increasing_id().cast("string"))
    dealt = rows.withColumn("run", F.floor(F.rand(0) / share)).persist()

    dealt.where(F.col("run") >= runs).drop("run").write.format("delta").option(FEED, "true").save(f"{folder}/corpus")
    coming = [f"{folder}/coming{run}" for run in range(runs)]
    for run, place in enumerate(coming):
        dealt.where(F.col("run") == run).drop("run").write.parquet(place)
    spark.stop()
    return f"{folder}/corpus", coming


def appended(new: str, corpus: str, master: str) -> None:
    spark = get_session(EngineOptions(master=master), delta=True)
    spark.read.parquet(new).coalesce(1).write.format("delta").mode("append").save(corpus)
    spark.stop()


def compared(run: int, name: str, refresh: Used, select: Used) -> Iterator[list[str]]:
    """A row of each."""
    for what, used in ((name, refresh), ("select", select)):
        pairs = ((used.wall, select.wall), (used.cpu, select.cpu), (_work(used), _work(select)))
        cells = [cell for figure, of in pairs for cell in (f"{figure:.1f}", f"{figure / of:.2f}")]
        yield [str(run), what, *cells]


def _work(used: Used) -> float:
    return sum(seconds for stage, seconds in used.cpu_of.items() if stage in WORK)


if __name__ == "__main__":
    main()
