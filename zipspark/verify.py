"""`zipspark verify`: the ranking of a result derived again from the input as it was, and what changed if it differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.choosing import STAGES, looked_at, picked
from zipspark.config import EngineOptions
from zipspark.errors import EXIT_DIFFERS, EXIT_DONE
from zipspark.rerunning import Result, rerun
from zipspark.spark.tree import checksum_of
from zipspark.storage.output import differences


@dataclass(frozen=True)
class Verification:
    """What came out: ``same`` when ranking and inputs are what they were."""

    output: str
    same: bool
    checksum: str  # of the ordered ids, as the manifest says
    now: str  # as derived again
    rank: int | None  # the first that differs
    ids: tuple[str | None, str | None]  # there: then and now; None behind the end
    changed: tuple[str, ...]  # inputs, versions, parts: what may be the reason

    @property
    def exit_code(self) -> int:
        return EXIT_DONE if self.same else EXIT_DIFFERS

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.output}: {'same' if self.same else 'differs'}"]
        if self.rank is not None:
            then, now = (name or "nothing" for name in self.ids)
            lines.append(f"first at rank {self.rank:,}: {then} then, {now} now")
        elif not self.same:
            lines.append("the ranking is the same")
        lines += [f"changed: {change}" for change in self.changed]
        return "\n".join(lines)


def verify(options: EngineOptions) -> Verification:
    """Derive the ranking of OUT (``options.output``, a folder or a schema) again, with the options in its manifest.

    Raises `InputError` where OUT is no result of ``zipspark select``, or an input, or its version, is gone.
    """
    result = Result.read(options)
    manifest = result.manifest
    with rerun(result, options, "verify") as past:
        # Of what a run does only the choice.
        run = replace(past.run, progress=past.run.progress.within(0, of=STAGES.index("account")))
        looked = looked_at(run, past.source, past.beside)
        again = picked(run, looked)
        ledger = result.ledger(past.run.spark)
        then_ids = _ranking(ledger)
        # Of a view, or of a table that is no Delta, nothing else tells that it has changed.
        is_bare = past.source.table is not None and past.source.version is None
        other_rows = is_bare and _rows_of(ledger) != _rows_of(looked.scores)
        ids = again.picks.picked["zip_id"].to_pylist()
    changed = [differences(past.then, past.key)]
    if manifest["parts"] != again.plan.parts:
        changed.append(f"parts were {manifest['parts']}, are {again.plan.parts}")
    if other_rows:
        changed.append(f"{past.source.table} holds other rows")
    intact = checksum_of(then_ids) == manifest["checksum"]
    if not intact:
        changed.append(f"{result.output}/ledger is not what was written")
    rank = _first_difference(then_ids, ids)
    return Verification(
        output=result.output,
        same=rank is None and intact and not past.changed_inputs and not other_rows,
        checksum=manifest["checksum"],
        now=again.picks.checksum,
        rank=rank,
        ids=(None, None) if rank is None else (_at(then_ids, rank), _at(ids, rank)),
        changed=tuple(filter(None, changed)),
    )


def _ranking(ledger: DataFrame) -> list[str]:
    """The ids in order of rank."""
    picked = ledger.where("decision = 'selected'").select("zip_id", "rank").toArrow().sort_by("rank")
    ids: list[str] = picked["zip_id"].to_pylist()
    return ids


def _rows_of(rows: DataFrame) -> dict[str, Any]:
    """What tells the rows of one input from another's, in whatever order: their number, sizes and own ratios."""
    each = F.xxhash64("bytes", "ratio").cast("decimal(38, 0)")
    found: dict[str, Any] = rows.agg(F.count("*").alias("rows"), F.sum(each).alias("hashes")).toArrow().to_pylist()[0]
    return found


def _first_difference(then: Sequence[str], now: Sequence[str]) -> int | None:
    """
    >>> _first_difference(["a", "b"], ["a", "c"]), _first_difference(["a"], ["a", "b"]), _first_difference(["a"], ["a"])
    (1, 1, None)
    """
    return next((rank for rank, pair in enumerate(zip_longest(then, now)) if pair[0] != pair[1]), None)


def _at(ids: Sequence[str], rank: int) -> str | None:
    return ids[rank] if rank < len(ids) else None
