"""What is said of a refresh: on the terminal, as JSON, and in the history table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from zipspark.units import format_bytes


@dataclass(frozen=True)
class Refreshed:
    """What a refresh has done, or with ``dry_run`` would do."""

    refresh: int | None  # its number; None: the subset is of this version of the corpus already
    corpus_version: int
    mode: str
    changes: str | None  # how it knew what had changed: all, feed or diff
    rows_new: int
    rows_updated: int
    rows_deleted: int
    rows_added: int
    bytes_added: int
    rows_dropped: int
    bytes_dropped: int
    rows: int  # of the subset
    bytes: int
    ratio_before: float | None
    ratio_after: float | None
    dry_run: bool
    report: str | None = None  # the page that was written beside the tables

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.refresh is None:
            return f"nothing to do: the subset is of version {self.corpus_version} of the corpus, {self.rows:,} rows"
        would = "would be " if self.dry_run else ""
        ratios = [f"{ratio:.3f}" if ratio else "none" for ratio in (self.ratio_before, self.ratio_after)]
        lines = [
            f"refresh {self.refresh} ({self.mode}), corpus version {self.corpus_version}, by {self.changes}",
            "corpus  every row was looked at"
            if self.changes == "all"
            else f"corpus  {self.rows_new:,} rows new, {self.rows_updated:,} changed, {self.rows_deleted:,} deleted",
            f"subset  {self.rows_added:,} rows {would}added ({format_bytes(self.bytes_added)}), "
            f"{self.rows_dropped:,} {would}dropped ({format_bytes(self.bytes_dropped)}): "
            f"{self.rows:,} rows, {format_bytes(self.bytes)}",
        ]
        if not self.dry_run:
            lines.append(f"ratio   {ratios[0]} before, {ratios[1]} after")
        if self.report:
            lines.append(f"report  {self.report}")
        return "\n".join(lines)
