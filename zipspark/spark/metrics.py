"""The ledger summed up: what went in and out of each step, for the summary and the metrics table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.limits import NO_GROUP
from zipspark.spark.ledger import DECISIONS


@dataclass(frozen=True)
class Counts:
    """The ledger, summed up: rows and bytes per group, decision and the code of the reason."""

    table: pa.Table  # group, decision, code, rows, bytes

    @property
    def decisions(self) -> dict[str, int]:
        """Rows per decision, of those that there are."""
        found = self._sum("rows", lambda row: row["decision"])
        return {name: found[name] for name in DECISIONS if name in found}

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """Group -> rows that could be chosen, rows that were; without groups nothing."""
        offered = self._sum(
            "rows", lambda row: row["group"] if row["decision"] in ("selected", "not_selected") else None
        )
        chosen = self._sum("rows", lambda row: row["group"] if row["decision"] == "selected" else None)
        named = {group: (rows, chosen.get(group, 0)) for group, rows in sorted(offered.items())}
        return {} if named.keys() == {NO_GROUP} else named

    def _sum(self, column: str, key: Callable[[dict[str, Any]], str | None]) -> dict[str, int]:
        total: dict[str, int] = {}
        for row in self.table.to_pylist():
            if (name := key(row)) is not None:
                total[name] = total.get(name, 0) + (row[column] or 0)
        return total


def counts(ledger: DataFrame) -> Counts:
    """Sum up a ledger; a null group is called ``(none)``."""
    code = F.coalesce(F.split_part("reason", F.lit(":"), F.lit(1)), F.lit(""))
    keyed = ledger.select(
        F.coalesce("group", F.lit(NO_GROUP)).alias("group"),
        "decision",
        F.when(F.col("decision").isin("not_selected", "quarantined", "guarded"), code).otherwise("").alias("code"),
        "bytes",
    )
    summed = keyed.groupBy("group", "decision", "code").agg(F.count("*").alias("rows"), F.sum("bytes").alias("bytes"))
    return Counts(summed.toArrow())


METRICS = pa.schema(
    [
        ("stage", pa.string()),
        ("group", pa.string()),  # null for a whole stage
        ("rows_in", pa.int64()),
        ("rows_out", pa.int64()),
        ("bytes_in", pa.int64()),
        ("bytes_out", pa.int64()),
        ("seconds", pa.float64()),  # of a whole stage
    ]
)
# Where rows leave, in order: the stage, and which (decision, code) end there.
_LEAVE = (
    ("read", lambda decision, code: decision == "quarantined"),
    ("filter", lambda decision, code: decision == "guarded" and code in ("where", "quality")),
    ("deduplicate", lambda decision, code: decision == "duplicate"),
    ("anchor", lambda decision, code: decision == "anchored"),
    ("guard", lambda decision, code: decision == "guarded"),
    ("parts", lambda decision, code: decision == "not_selected" and code == "part"),
    ("merge", lambda decision, code: decision == "not_selected" and code == "merge"),
)


def metrics(counted: Counts, seconds: Mapping[str, float]) -> pa.Table:
    """`METRICS`: rows and bytes in and out of each step and group, then the seconds of each stage of the run."""
    lines: list[dict[str, Any]] = []
    left = counted.table.to_pylist()
    for stage, leaves in _LEAVE:
        of_groups = {
            group: dict.fromkeys(METRICS.names[2:6], 0) | {"stage": stage, "group": group}
            for group in sorted({row["group"] for row in left})
        }
        staying = []
        for row in left:
            stays = not leaves(row["decision"], row["code"])
            for unit in ("rows", "bytes"):
                of_groups[row["group"]][f"{unit}_in"] += row[unit] or 0
                of_groups[row["group"]][f"{unit}_out"] += (row[unit] or 0) * stays
            if stays:
                staying.append(row)
        lines += of_groups.values()
        left = staying
    lines += [{"stage": name, "seconds": spent} for name, spent in seconds.items()]
    return pa.Table.from_pylist(lines, METRICS)
