"""`zipspark verify`: the ranking of a result derived again from the input as it was, and what changed if it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from zipspark.choosing import References, Run, counter_of, looked_at, picked
from zipspark.config import BESIDE, EngineOptions, SelectConfig, of_key
from zipspark.errors import EXIT_DIFFERS, EXIT_DONE, InputError
from zipspark.pipeline import pinned_all
from zipspark.running import explained, run_key, start_session
from zipspark.spark import references
from zipspark.spark.progress import Progress
from zipspark.spark.session import get_session
from zipspark.spark.tree import checksum_of
from zipspark.storage import schema_output
from zipspark.storage.inputs import Source, is_path, resolve
from zipspark.storage.output import differences, read_manifest
from zipspark.storage.places import Place
from zipspark.storage.stages import Stages


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

    Files are read as they are now; of Delta tables the versions that were read then. Raises `InputError` where OUT is
    no result of ``zipspark select``, or an input, or its version, is gone.
    """
    assert options.output is not None
    schema = options.output if _is_schema(options.output) else None
    if schema is not None:
        with explained():
            manifest = schema_output.read_manifest(get_session(options, delta=True), schema)
    else:
        manifest = read_manifest(options.output)
    if missing := {"checksum", "config", "key", "parts"} - manifest.keys():
        raise InputError(f"{options.output} is no result of zipspark select: its manifest has no {min(missing)}")
    then = manifest["key"]
    for name, read in {"input": then["input"], **then["beside"]}.items():
        if read["format"] == "dataframe":
            raise InputError(f"{options.output} cannot be verified: its {name} was a DataFrame of the caller's")
    beside_out = None if schema else f"{options.output.rstrip('/')}-verify"  # where stages lie
    engine = EngineOptions(**options.model_dump(by_alias=True) | {"output": beside_out})
    config = config_of(manifest, engine)
    with explained():
        source = _as_it_was(resolve(config.input), then["input"])
        tables = {name: references.find(name, getattr(config, name)) for name in BESIDE}
        beside: References = {name: table and _as_it_was(table, then["beside"][name]) for name, table in tables.items()}
        counter = counter_of(config)
        spark, _ = start_session(config, config, source, *beside.values())
        source, beside = pinned_all(spark, source, beside)
        key = run_key(config, source, beside)
        with Stages(spark, engine) as stages:
            stages.claim(key)
            run = Run(spark, config, counter, stages, Progress(spark, quiet=config.quiet))
            again = picked(run, looked_at(run, source, beside))
            if schema is not None:
                ledger = schema_output.read_table(spark, schema, "ledger", manifest)
            else:
                ledger = _ledger(spark, Place.parse(options.output))
            then_ids, ids = _ranking(ledger), again.picks.picked["zip_id"].to_pylist()
    changed = [differences(then, key)]
    if manifest["parts"] != again.plan.parts:
        changed.append(f"parts were {manifest['parts']}, are {again.plan.parts}")
    intact = checksum_of(then_ids) == manifest["checksum"]
    if not intact:
        changed.append(f"{options.output}/ledger is not what was written")
    rank = _first_difference(then_ids, ids)
    inputs = differences(
        {name: then[name] for name in ("input", "beside")}, {name: key[name] for name in ("input", "beside")}
    )
    return Verification(
        output=options.output,
        same=rank is None and intact and not inputs,
        checksum=manifest["checksum"],
        now=again.picks.checksum,
        rank=rank,
        ids=(None, None) if rank is None else (_at(then_ids, rank), _at(ids, rank)),
        changed=tuple(filter(None, changed)),
    )


def config_of(manifest: Mapping[str, Any], engine: EngineOptions) -> SelectConfig:
    """The options that a result was made with, to be run on ``engine``."""
    return of_key(SelectConfig, manifest["config"], engine)


def _as_it_was(source: Source, then: Mapping[str, Any]) -> Source:
    return replace(source, version=then.get("version")) if source.table is not None else source


def _is_schema(name: str) -> bool:
    """Whether OUT is called as a schema is (``catalog.schema``), and no folder is called so."""
    return "." in name and not is_path(name) and not Place.parse(name).exists()


def _ledger(spark: SparkSession, out: Place) -> DataFrame:
    place = out.child("ledger")
    is_delta = place.child("_delta_log").exists()
    return spark.read.format("delta").load(place.uri) if is_delta else spark.read.parquet(place.pattern)


def _ranking(ledger: DataFrame) -> list[str]:
    """The ids in order of rank."""
    picked = ledger.where("decision = 'selected'").select("zip_id", "rank").toArrow().sort_by("rank")
    ids: list[str] = picked["zip_id"].to_pylist()
    return ids


def _first_difference(then: Sequence[str], now: Sequence[str]) -> int | None:
    """
    >>> _first_difference(["a", "b"], ["a", "c"]), _first_difference(["a"], ["a", "b"]), _first_difference(["a"], ["a"])
    (1, 1, None)
    """
    return next((rank for rank, pair in enumerate(zip_longest(then, now)) if pair[0] != pair[1]), None)


def _at(ids: Sequence[str], rank: int) -> str | None:
    return ids[rank] if rank < len(ids) else None
