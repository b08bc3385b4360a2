"""The report of a refreshed subset: written behind each refresh, or made anew from its tables.

It stands beside the tables where those are folders: ``chosen_report.html`` beside ``chosen_history``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from zipspark.config import EngineOptions, RefreshConfig, of_key
from zipspark.errors import InputError, UsageError
from zipspark.refresh_choice import own
from zipspark.report.facts import MOST_TEXT, Example
from zipspark.report.history import History, judged
from zipspark.report.page import history_page, prepared
from zipspark.running import explained, hide_texts
from zipspark.spark.corpus import read_corpus
from zipspark.spark.report_facts import example
from zipspark.spark.session import get_session
from zipspark.storage.deltas import Table
from zipspark.storage.inputs import is_path
from zipspark.storage.output import MANIFEST
from zipspark.storage.places import Place
from zipspark.storage.refreshes import Tables, commit_of, read_state

_SHOWN = 10  # rows that came
SUFFIX = "_report.html"


@dataclass(frozen=True)
class SubsetReport:
    """A report of a refreshed subset, written."""

    output: str  # the subset's table
    path: str
    facts: History

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints: where it is, the last refresh, and what those before say of its ratio."""
        verdict = judged(self.facts)
        return {
            "output": self.output,
            "report": self.path,
            "refreshes": len(self.facts.refreshes),
            "last": self.facts.refreshes[-1],
            "check": verdict and verdict.to_dict(),
        }


def place_of(subset: Table) -> Place | None:
    """Where a refresh writes its report; None: the tables are in a catalog, which has no place for files."""
    return None if subset.uri is None else Place.parse(subset.uri + SUFFIX)


def has_page(config: RefreshConfig, subset: Table) -> bool:
    """Whether a refresh writes one."""
    return place_of(subset) is not None and not config.dry_run


def prepare() -> None:
    """What takes longest of a page, to be done while Spark works: its scripts, and the import of what draws."""
    prepared()
    with suppress(ImportError):
        importlib.import_module("matplotlib.figure")


def came(rows: DataFrame, config: RefreshConfig) -> tuple[Example, ...]:
    """The first by rank of ``rows`` of the subset, which have the corpus' columns and zip_*."""
    columns = {"zip_id": "zip_id", "ratio": "zip_ratio", "rank": "zip_rank", "marginal_ratio": "zip_marginal_ratio"}
    known = rows.select(*(F.col(of).alias(name) for name, of in columns.items()))
    first = known.orderBy("rank").limit(_SHOWN).toArrow().to_pylist()
    texts = _texts(rows.where(F.col("zip_id").isin([row["zip_id"] for row in first])), config)
    return tuple(example(row | texts[row["zip_id"]]) for row in first)


def _texts(few: DataFrame, config: RefreshConfig) -> dict[str, dict[str, Any]]:
    """Group, bytes and text of rows of the subset, by their ids, which are the user's own."""
    config = config.model_copy(update={"where": None})  # they were chosen, whatever it says by now
    canonical = read_corpus(few.sparkSession, own(few), config, None).rows
    text = F.col("text").cast("string")
    shown = F.lit(None).cast("string") if config.hide_text else F.substring(text, 1, MOST_TEXT)
    found = canonical.select(
        F.col("user_id").alias("zip_id"),
        "group",
        F.octet_length("text").alias("bytes"),
        F.char_length(text).alias("characters"),
        shown.alias("text"),
    )
    return {row["zip_id"]: row for row in found.toArrow().to_pylist()}


def refreshed_table(options: EngineOptions) -> Table | None:
    """The table that OUT names, where it is no result of ``zipspark select``: no folder of its, and no schema's name.

    A folder with a Delta table in it, or a name (``schema.table``) whose ``_history`` a session finds.
    """
    assert options.output is not None
    with explained(options.hide_text):
        place = Place.parse(options.output)
        if place.child(MANIFEST).exists():
            return None
        if place.child("_delta_log").exists():
            return Table(place.redacted, place.uri)
        if "." not in options.output or is_path(options.output) or place.exists():
            return None
        table, spark = Table.parse(options.output), get_session(options, delta=True)
        try:
            return table if table.beside("_history").exists(spark) else None
        except AnalysisException:  # a schema's name is not always one that a table could have
            return None


def report_of(subset: Table, options: EngineOptions, file: str | None) -> SubsetReport:
    """Make the report of a refreshed ``subset`` anew; ``file``: where, by default beside the table.

    Raises:
        UsageError: the table is a catalog's, and no ``file`` is named.
        InputError: no refresh has made the table, or something else has changed it since.
    """
    place = Place.parse(file) if file else place_of(subset)
    if place is None:
        raise UsageError(f"output must be given: --output FILE, as {subset} is a catalog's table, which has no folder")
    place.check_writable()
    with explained(options.hide_text):
        facts = _facts(get_session(options, delta=True), Tables.of(subset), options)
        place.write_whole(history_page(facts).encode())
    return SubsetReport(str(subset), str(place), facts)


def _facts(spark: SparkSession, tables: Tables, options: EngineOptions) -> History:
    state = read_state(spark, tables)
    if state.last is None:
        raise InputError(f"{tables.subset} cannot be reported on: it has no {tables.history} with a refresh in it")
    config = _config(spark, tables, state.history, options)
    hide_texts(config.hide_text)
    # As it is now: what is allowed to have changed it since moves rows, and may have removed the files of then.
    version = state.version if state.pending is None else state.last["subset_version"]
    last = tables.subset.read(spark, version).where(F.col("zip_refresh") == state.last["refresh"])
    return History(str(tables.subset), state.history, came(last, config))


def _config(
    spark: SparkSession, tables: Tables, history: Sequence[dict[str, Any]], options: EngineOptions
) -> RefreshConfig:
    """The options of the last refresh, which its commit of the subset has."""
    last = history[-1]["refresh"]
    commit = commit_of(spark, tables.subset, last)
    if commit is None:
        raise InputError(
            f"{tables.subset} has lost the commit of refresh {last}, and with it its options: the next refresh that "
            "finds something new, or --rebuild, writes the report"
        )
    hides = options.hide_text or bool(commit.facts.get("hide_text"))
    return of_key(RefreshConfig, commit.facts["config"], options.model_copy(update={"hide_text": hides}))
