"""`zipspark report`: the report of a result made anew, with ``--full`` also what takes computing.

The result's own ledger says what was selected; the input, which must be what it was, gives the texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from zipspark.choosing import Looked, Run, looked_at, picked
from zipspark.config import EngineOptions, MatrixConfig, SelectConfig, choice_of
from zipspark.core.lens import Lens
from zipspark.core.seen import Eye, counted_below, lowest_share
from zipspark.errors import InputError, UsageError
from zipspark.refresh_report import SubsetReport, refreshed_table, report_of
from zipspark.report.facts import Cluster, Facts, Fuller, PartsLoss
from zipspark.report.page import page
from zipspark.report.summary import SetLine, Summary
from zipspark.rerunning import Rerun, Result, rerun
from zipspark.running import explained
from zipspark.spark import survey
from zipspark.spark.baselines import baselines
from zipspark.spark.clusters import clusters
from zipspark.spark.corpus import read_corpus
from zipspark.spark.coverage import coverage
from zipspark.spark.identity import at_places
from zipspark.spark.matrix import matrix_of
from zipspark.spark.measure import ratio_of
from zipspark.spark.report_facts import Material, facts_of, ledger_again
from zipspark.spark.samples import choosable_scores
from zipspark.spark.scores import hashed_rows, with_text
from zipspark.spark.sketches import head_length, sketch_of
from zipspark.storage.output import REPORT
from zipspark.storage.places import Place
from zipspark.units import Budget, parse_size

_PARTS_BYTES = 8 * 10**6  # of the pool, on which it is measured what parts cost
_MOST_PARTS = 32
_ROOM = 256 * 10**6  # bytes: more than all candidates of that are
_STAGES = 4  # of a full report: score, look, compare, report
_OF_PARTS = 6  # more, where the run had parts: survey, parts and merge, twice


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    output: str  # OUT: a folder or a schema
    path: str
    facts: Facts

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints: where it is, and the main figures."""
        summary, full = self.facts.summary, self.facts.full
        sets = [*summary.sets, *(full.sets if full else ())]
        said: dict[str, Any] = {"output": self.output, "report": self.path, "sets": [asdict(line) for line in sets]}
        said["decisions"] = summary.decisions
        if full is not None:
            said["coverage"] = {curve.name: curve.share[-1] for curve in full.coverage if curve.share}
            said["clusters"] = [_figures(cluster) for cluster in full.clusters]
            said["parts"] = full.parts and asdict(full.parts)
        return said


def report(options: EngineOptions, file: str | None = None, full: bool = False) -> Report | SubsetReport:
    """Write the report of OUT to ``file``; one that is there is replaced once the new one is whole.

    OUT (``options.output``) is what ``zipspark select`` wrote, a folder or a schema, or the subset of ``zipspark
    refresh``. By default the page goes to ``OUT/report.html``, or beside the subset's table.

    Raises:
        UsageError: OUT is a schema, or a table of a catalog, and no ``file`` is named; ``full`` of a subset.
        InputError: OUT is neither; or an input has changed, or is gone.
    """
    if (subset := refreshed_table(options)) is not None:
        if full:
            raise UsageError(f"full is for what zipspark select wrote, and {subset} is the subset of zipspark refresh")
        return report_of(subset, options, file)
    result = Result.read(options)
    if "summary" not in result.manifest:
        raise InputError(f"{result.output} cannot be reported on: its manifest has no summary; select again")
    if file is None and result.schema is not None:
        raise UsageError(f"output must be given: --output FILE, as {result.output} is a schema, which holds no files")
    place = Place.parse(file) if file else Place.parse(result.output).child(REPORT)
    place.check_writable()
    with rerun(result, options, "report") as past:
        if past.changed_inputs:
            raise InputError(f"{result.output} cannot be reported on, its input has changed: {past.changed_inputs}")
        facts = (_full if full else _plain)(result, past)
    with explained():
        place.write_whole(page(facts).encode())
    return Report(result.output, str(place), facts)


def _plain(result: Result, past: Rerun) -> Facts:
    """The facts that the run had."""
    run = past.run
    with run.progress.stage("read", 1, of=2):
        corpus = read_corpus(run.spark, past.source, run.config, run.stages.of("input"))
        rows = run.stages.write("rows", hashed_rows(corpus.rows, run.config))
    with run.progress.stage("report", 2, of=2):
        return facts_of(_summary(result.manifest), result.manifest, _material(result, run, rows))


def _full(result: Result, past: Rerun) -> Facts:
    """The same, with what is computed for it."""
    count = _STAGES + (_OF_PARTS if result.manifest["parts"] > 1 else 0)
    run = replace(past.run, progress=past.run.progress.within(0, of=count))
    looked = looked_at(run, past.source, past.beside)
    with run.progress.stage("compare", 3, of=count):
        found = _material(result, run, looked.scores)
        size = pc.sum(found.picked["bytes"]).as_py()
        groups, shown = clusters(found, run.stages.of("hashes"))
        fuller = Fuller(
            sets=baselines(found, size),
            coverage=coverage(found, _eye(run, looked), size, looked.pool.bytes),
            matrix=_matrix(run, looked),
            groups=groups,
            clusters=shown,
            parts=None,
        )
    fuller = replace(fuller, parts=_parts_loss(run, looked, result.manifest, size))
    with run.progress.stage("report", count, of=count):
        return facts_of(_summary(result.manifest), result.manifest, found, fuller)


def _material(result: Result, run: Run, rows: DataFrame) -> Material:
    """Of the result's ledger, and of its input's ``rows`` with their texts, a stage."""
    ledger = run.stages.write("ledger", ledger_again(result.ledger(run.spark), rows))
    picked = ledger.where("decision = 'selected'").select("zip_id", "bytes", "rank", "marginal_ratio").toArrow()
    if len(picked) != result.manifest["selected"]:
        raise InputError(f"{result.output}/ledger is not what was written: it does not fit its manifest and its input")
    return Material(ledger, rows, picked.sort_by("rank"), run.config.hide_text or run.config.ids_only)


def _summary(manifest: Mapping[str, Any]) -> Summary:
    """The summary that a manifest holds."""
    said = dict(manifest["summary"])
    said["sets"] = tuple(SetLine(**line) for line in said["sets"])
    said["groups"] = {name: tuple(counts) for name, counts in said["groups"].items()}
    said["mix"] = {name: tuple(amounts) for name, amounts in said["mix"].items()}
    said["notes"] = tuple(said["notes"])
    return Summary(**said | {"seconds": manifest.get("seconds", said["seconds"])})


def _eye(run: Run, looked: Looked) -> Eye:
    """What sees the features of samples as the run's objective coverage would."""
    choice = choice_of(run.config).model_copy(update={"objective": "coverage", "guard": False})
    if looked.eye.lens is not None:
        return replace(looked.eye, choice=choice)
    rows = with_text(looked.scores)
    total = rows.agg(F.sum(head_length("text")).alias("bytes")).toArrow()["bytes"][0].as_py()
    lens = Lens.of(sketch_of(rows, total, choice), weight_exponent=choice.weight_exponent, weight_cap=choice.weight_cap)
    return Eye(choice, lens, below=counted_below(total))


def _matrix(run: Run, looked: Looked) -> dict[str, Any] | None:
    """That of the groups that could be chosen; None without at least two of them."""
    if run.config.group_column is None:
        return None
    try:
        limit = parse_size(MatrixConfig.model_fields["sample"].default)
        return matrix_of(choosable_scores(looked.scores, looked.samples), limit).to_dict()
    except InputError:
        return None


def _parts_loss(run: Run, looked: Looked, manifest: Mapping[str, Any], size: int) -> PartsLoss | None:
    """What it costs to choose in parts: as much of a sample of the pool as the run chose of it all, without quotas."""
    if manifest["parts"] == 1:
        return None
    below = lowest_share(_PARTS_BYTES / max(looked.pool.bytes, 1))
    few = looked.samples if below is None else looked.samples.where(F.col("content") < below)
    few = few.withColumn("kept", F.lit(False))
    pool = survey.survey(few, looked.pool.rows, run.config, by_group=False)
    if not pool.samples:  # a few long texts are not sampled by hash
        return None
    unit = manifest["budget"]["unit"]
    chosen = {"rows": manifest["selected"], "bytes": size}.get(unit, manifest["budget"]["amount"])
    amount = max(1, round(chosen * pool.total(unit) / max(looked.pool.total(unit), 1)))
    plain = {name: SelectConfig.model_fields[name].default for name in ("mix", "floor", "cap", "until", "phases")}
    plain |= {"node_cap": _ROOM, "driver_cap": _ROOM, "budget": Budget(unit, amount)}
    sample = replace(looked, samples=few, pool=pool, kept=None)
    parts = min(manifest["parts"], _MOST_PARTS)

    def chosen_in(count: int, before: int) -> tuple[set[str], int, float]:
        """Ids, bytes and ratio; the stages that they lie in are the next one's too."""
        config = run.config.model_copy(update=plain | {"parts": count})
        progress = run.progress.within(before, of=_STAGES + _OF_PARTS)
        picks = picked(replace(run, config=config, progress=progress), sample).picks
        ratio = ratio_of(at_places(looked.scores, picks.table), picks.bytes)
        return {*picks.picked["zip_id"].to_pylist()}, picks.bytes, ratio

    one, many = chosen_in(1, before=1), chosen_in(parts, before=4)  # a choice counts score and look too
    common = len(one[0] & many[0]) / len(one[0])
    return PartsLoss(manifest["parts"], parts, pool.bytes, one[1], one=one[2], many=many[2], common=common)


def _figures(cluster: Cluster) -> dict[str, Any]:
    """A cluster without its texts."""
    return {name: getattr(cluster, name) for name in ("samples", "bytes", "selected", "ratio")}
