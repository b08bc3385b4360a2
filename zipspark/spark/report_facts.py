"""The facts of a report that a run has at hand: two looks at its tables, and the picks that the driver holds.

The first look counts the ledger's rows by decision, size and ratio. So it is known how common each kind of row is, and
the second one fetches no more of each, with their texts, than a page can show: those of the lowest content hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from zipspark.core.seen import lowest_share
from zipspark.report.facts import MOST_TEXT, Example, Excluded, Facts, Fuller, Histogram, Point
from zipspark.report.summary import Summary
from zipspark.spark.identity import beside, with_ids
from zipspark.spark.ledger import LEDGER_COLUMNS

CHOOSABLE = ("selected", "not_selected")  # decisions of rows that could be chosen: of copies the one that counts

_POINTS = 200  # of the curve of the ranking
_PICKS = 10  # that are shown, of the first and of the last
_OF_REASON = 3  # rows that are shown of those excluded for it
_SAMPLES = 200  # rows to be searched
_SAMPLE_TEXT = 4_000  # characters of each of them
_SURE = 8  # times as many rows as are shown are asked for, on average: never too few
_BINS = 40  # of a histogram, at most
_PER_DOUBLING = {"bytes": 4, "ratio": 8}  # bins that are counted, in each doubling
_KEY = "key"  # what rows are sampled by: mostly the content hash

Row = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """A run's tables, as a report looks at them."""

    ledger: DataFrame  # `LEDGER_COLUMNS` and ``content`` (`zipspark.spark.ledger.ledger`)
    texts: DataFrame  # file, position, text and record of the same rows: a stage
    picked: pa.Table  # zip_id, bytes and marginal_ratio of the picks, in order of rank
    hide_text: bool


def facts_of(summary: Summary, manifest: Mapping[str, Any], found: Material, full: Fuller | None = None) -> Facts:
    """What a report shows of a run, with what was computed for it, if anything."""
    counted = _counted(found.ledger)
    kinds = Counter[tuple[str, str]]()
    for row in counted:
        kinds[row["decision"], row["code"]] += row["rows"]
    count = len(found.picked)
    shown = {"first": range(min(_PICKS, count)), "last": range(max(_PICKS, count - _PICKS), count)}
    ids = [found.picked["zip_id"][rank].as_py() for ranks in shown.values() for rank in ranks]
    choosable = sum(rows for (decision, _), rows in kinds.items() if decision in CHOOSABLE)
    is_sample = F.col("decision").isin(*CHOOSABLE) & _below(2 * _SAMPLES / max(choosable, 1))
    wanted = reduce(or_, [_excluded_few(kinds), is_sample], F.col("zip_id").isin(ids))
    rows = with_texts(_coded(found.ledger).where(wanted).withColumn("is_sample", is_sample), found)
    picks = {row["rank"]: example(row) for row in rows if row["rank"] is not None}
    return Facts(
        summary=summary,
        manifest={name: value for name, value in manifest.items() if name != "summary"},  # it stands beside
        ranking=ranking(found.picked),
        histograms=tuple(_histogram(name, counted) for name in _PER_DOUBLING),
        excluded=tuple(_excluded(kind, counted, rows) for kind in _largest_first(kinds) if kind[0] not in CHOOSABLE),
        first=tuple(picks[rank] for rank in shown["first"]),
        last=tuple(picks[rank] for rank in shown["last"]),
        samples=tuple(example(row, _SAMPLE_TEXT) for row in [row for row in rows if row["is_sample"]][:_SAMPLES]),
        full=full,
    )


def ranking(picked: pa.Table) -> tuple[Point, ...]:
    """The curve of the ranking, in stretches of about as many samples; none where picks have no marginal ratio.

    Args:
        picked: ``bytes`` and ``marginal_ratio``, in order of rank.
    """
    sizes = picked["bytes"].to_numpy().astype(np.float64)
    ratios = picked["marginal_ratio"].to_numpy().astype(np.float64)  # null: nan
    if not len(sizes) or np.isnan(ratios).any():
        return ()
    ends = np.unique(np.ceil(np.linspace(0, len(sizes), min(_POINTS, len(sizes)) + 1)[1:]).astype(np.int64))
    size, added = (np.concatenate([[0.0], np.cumsum(values)])[[0, *ends]] for values in (sizes, sizes / ratios))
    of_stretches = np.diff(size) / np.maximum(np.diff(added), 1.0)
    return tuple(map(Point, ends.tolist(), size[1:].astype(np.int64).tolist(), of_stretches.tolist()))


def ledger_again(ledger: DataFrame, rows: DataFrame) -> DataFrame:
    """A ledger that was written, with ``content``, and with places where ``rows`` lie now.

    Args:
        rows: the same rows, read again: ``file, position, user_id, group, content, problem, left_out``. Those with a
            text, or an id of the user's, are known by their ``zip_id``; of the others the rows themselves say why.
    """
    both = {"group": "then_group", "decision": "then_decision", "reason": "then_reason"}
    then = ledger.drop("file", "position").withColumnsRenamed(both)
    now = with_ids(rows.select("file", "position", "user_id", "group", "content", "problem", "left_out"))
    otherwise = F.when(F.col("problem").isNotNull(), "quarantined").otherwise("guarded")
    decided = now.join(then.where("zip_id is not null"), "zip_id", "left").withColumns(
        {
            "group": F.coalesce("then_group", "group"),
            "decision": F.coalesce("then_decision", otherwise),
            "reason": F.coalesce("then_reason", "problem", "left_out"),
        }
    )
    return decided.select(*LEDGER_COLUMNS, "content")


def with_texts(few: DataFrame, found: Material) -> list[Row]:
    """Some rows of a ledger on the driver, with ``text`` and ``characters``, in the order of their content hash."""
    few = few.withColumn(_KEY, _key())
    if found.hide_text:
        rows = few.withColumns({"text": F.lit(None).cast("string"), "characters": F.lit(0)})
    else:
        text = F.coalesce(F.col("text").cast("string"), "record")
        shown = F.substring(text, 1, MOST_TEXT).alias("text")
        rows = beside(few, found.texts, shown, F.coalesce(F.char_length(text), F.lit(0)).alias("characters"))
    return sorted(rows.toArrow().to_pylist(), key=lambda row: (row[_KEY], row["zip_id"] or "", row["position"]))


def offered(ledger: DataFrame) -> DataFrame:
    """The rows of a ledger that could be chosen."""
    return ledger.where(F.col("decision").isin(*CHOOSABLE))


def example(row: Row, most: int = MOST_TEXT) -> Example:
    """A row of `with_texts`, with at most so many characters of its text."""
    text = row["text"] if row["text"] is None else row["text"][:most]
    return Example(
        zip_id=row["zip_id"] or f"{row['file'] or 'row'}:{row['position']}",
        group=row["group"],
        bytes=row["bytes"] or 0,
        ratio=row["ratio"],
        rank=row["rank"],
        marginal_ratio=row["marginal_ratio"],
        text=text,
        left_out=0 if text is None else row["characters"] - len(text),
    )


def _key() -> Column:
    """The content hash; duplicates, which share theirs with many, are known by their ids."""
    of_text = F.coalesce("content", F.md5(F.concat_ws(":", "file", "position")))
    return F.when(F.col("decision") == "duplicate", F.md5("zip_id")).otherwise(of_text)


def _below(share: float) -> Column:
    below = lowest_share(share)
    return F.lit(True) if below is None else _key() < below


def _coded(ledger: DataFrame) -> DataFrame:
    """With ``code``, what a reason begins with; of decisions that have one reason only it is empty."""
    code = F.coalesce(F.split_part("reason", F.lit(":"), F.lit(1)), F.lit(""))
    return ledger.withColumn("code", F.when(F.col("decision").isin("guarded", "quarantined"), code).otherwise(""))


def _counted(ledger: DataFrame) -> list[Row]:
    """``rows`` and ``size`` (bytes) of each decision, code, and bin of ``bytes`` and ``ratio``; no bin: no text."""
    bins = {
        # What lies on an edge, a power of 2, is in the bin above it, however the logarithm is rounded.
        name: F.floor(F.log2(F.greatest(F.col(name), F.lit(2.0**-20))) * each + 1e-9).cast("int").alias(name)
        for name, each in _PER_DOUBLING.items()
    }
    sized = _coded(ledger).select("decision", "code", F.col("bytes").alias("size"), *bins.values())
    counted = sized.groupBy("decision", "code", *bins).agg(F.count("*").alias("rows"), F.sum("size").alias("size"))
    found: list[Row] = counted.toArrow().to_pylist()
    return found


def _excluded_few(kinds: Mapping[tuple[str, str], int]) -> Column:
    """Whether a row is one of a few of those that were excluded for the same reason."""
    few = [
        (F.col("decision") == decision) & (F.col("code") == code) & _below(_SURE * _OF_REASON / rows)
        for (decision, code), rows in sorted(kinds.items())
        if decision not in CHOOSABLE
    ]
    return reduce(or_, few, F.lit(False))


def _largest_first(kinds: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    return sorted(kinds, key=lambda kind: (-kinds[kind], kind))


def _excluded(kind: tuple[str, str], counted: Iterable[Row], shown: Sequence[Row]) -> Excluded:
    of_kind = [row for row in counted if (row["decision"], row["code"]) == kind]
    few = [row for row in shown if (row["decision"], row["code"]) == kind][:_OF_REASON]
    return Excluded(
        *kind,
        rows=sum(row["rows"] for row in of_kind),
        bytes=sum(row["size"] or 0 for row in of_kind),
        examples=tuple(map(example, few)),
    )


def _histogram(name: str, counted: Iterable[Row]) -> Histogram:
    """Of what could be chosen; neighbouring bins are one until there are few enough."""
    each = float(_PER_DOUBLING[name])
    rows = {decision: Counter[int]() for decision in CHOOSABLE}
    for row in counted:
        if row["decision"] in CHOOSABLE:
            rows[row["decision"]][row[name]] += row["rows"]
    found = sorted({number for of in rows.values() for number in of})
    while found and found[-1] - found[0] >= _BINS:
        rows = {decision: _halved(of) for decision, of in rows.items()}
        found, each = sorted({number for of in rows.values() for number in of}), each / 2
    numbers = range(found[0], found[-1] + 1) if found else range(0)
    return Histogram(
        name=name,
        edges=tuple(2.0 ** (number / each) for number in [*numbers, *([numbers.stop] if found else [])]),
        selected=tuple(rows["selected"][number] for number in numbers),
        not_selected=tuple(rows["not_selected"][number] for number in numbers),
    )


def _halved(counts: Counter[int]) -> Counter[int]:
    halved = Counter[int]()
    for number, rows in counts.items():
        halved[number // 2] += rows
    return halved
