"""What a choice has come to, and how it is written: tables, manifest, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from pyspark.sql import DataFrame

from zipspark.errors import UsageError
from zipspark.failures import code_of, first_line
from zipspark.report.facts import Facts
from zipspark.report.page import page
from zipspark.report.summary import Summary
from zipspark.running import explained, said
from zipspark.spark.delta import check_delta
from zipspark.spark.ledger import LEDGER_COLUMNS
from zipspark.spark.progress import side_by_side
from zipspark.spark.report_facts import Material, facts_of
from zipspark.storage.output import REPORT, Format, Output
from zipspark.storage.schema_output import TABLES, SchemaOutput
from zipspark.units import format_bytes


@dataclass(frozen=True, repr=False)
class Selection:
    """A finished choice: tables as DataFrames, and what is to be said of them."""

    subset: DataFrame  # the input's columns and zip_id, zip_rank, zip_ratio, zip_marginal_ratio, in order of rank
    decided: DataFrame  # the ledger, and ``content``, the hash of a row's text (`zipspark.spark.ledger`)
    quarantine: DataFrame  # file, position, reason, record of rows that could not be read or rendered
    metrics: DataFrame  # rows and bytes per stage and group, seconds per stage
    summary: Summary
    manifest: dict[str, Any]  # input, options, versions, checksum: what the ranking depends on
    material: Material  # what a report is made of

    @property
    def ledger(self) -> DataFrame:
        """One row per input row, with `zipspark.spark.ledger.LEDGER_COLUMNS`."""
        return self.decided.select(*LEDGER_COLUMNS)

    def facts(self) -> Facts:
        """What a report shows, as plain numbers and texts."""
        return facts_of(self.summary, self.manifest, self.material)

    def report(self) -> str:
        """The report as one HTML file that needs nothing beside it: what stands in ``OUT/report.html``."""
        with explained(self.material.hide_text):
            return page(self.facts())

    def save(
        self,
        path: str | None = None,
        *,
        output_schema: str | None = None,
        format: Format = "parquet",
        overwrite: bool = False,
    ) -> None:
        """Write OUT as ``zipspark select --output`` or ``--output-schema`` does.

        Raises `InputError` when it exists or cannot be written.
        """
        if format not in get_args(Format):
            raise UsageError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
        output: Output | SchemaOutput
        if path is not None and output_schema is None:
            output = Output(path, overwrite)
        elif output_schema is not None and path is None:
            output, format = SchemaOutput(self.subset.sparkSession, output_schema, overwrite), "delta"
        else:
            raise UsageError("save must be given a path, or output_schema, and not both")
        if format == "delta":
            check_delta(self.subset.sparkSession)
        with explained(self.material.hide_text), output:
            write_tables(self, output, format)
            output.write_manifest(self.manifest)
            output.commit()

    def __repr__(self) -> str:
        chosen = next(line for line in self.summary.sets if line.name == "subset")
        size = format_bytes(chosen.bytes)
        return f"Selection({chosen.samples:,} samples, {size}, ratio {chosen.ratio:.2f}: subset, ledger, summary, ...)"

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


def write_tables(selection: Selection, output: Output | SchemaOutput, format: Format) -> None:
    """All tables of a selection; with delta all are Delta tables, with jsonl the subset alone is JSON lines.

    Into a folder also the report, for want of which no run fails.
    """
    facts = {name: selection.manifest[name] for name in ("run_id", "config_hash")}

    def write(name: str) -> None:
        of_table: Format = format if format == "delta" or name == "subset" else "parquet"
        rows = selection.manifest["selected"] if name == "subset" else None
        output.write(name, getattr(selection, name), of_table, rows, facts)

    with side_by_side(selection.subset.sparkSession, len(TABLES) + 1) as start:
        reported = start(_write_report, selection, output)
        for written in [start(write, name) for name in TABLES]:
            written.result()
        reported.result()


def _write_report(selection: Selection, output: Output | SchemaOutput) -> None:
    if not isinstance(output, Output):  # a schema holds no files
        return
    try:
        output.write_text(REPORT, page(selection.facts()))
    except Exception as error:
        why = code_of(error) if selection.material.hide_text else first_line(error)
        said([f"{REPORT} is left out, zipspark report makes it later: {why}"])
