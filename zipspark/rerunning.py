"""A result that is there, and the run that made it, to be gone through again: for ``verify`` and ``report``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from zipspark.choosing import Run, counter_of
from zipspark.config import BESIDE, EngineOptions, SelectConfig, of_key
from zipspark.errors import InputError
from zipspark.running import explained, run_key, start_session
from zipspark.spark import references
from zipspark.spark.progress import Progress
from zipspark.spark.references import References
from zipspark.spark.session import get_session
from zipspark.storage import schema_output
from zipspark.storage.inputs import Source, is_path, resolve
from zipspark.storage.output import differences, read_manifest
from zipspark.storage.places import Place
from zipspark.storage.stages import Purpose, Stages, aside


@dataclass(frozen=True)
class Result:
    """A finished result of ``zipspark select``."""

    output: str  # a folder, or a schema
    manifest: dict[str, Any]
    schema: str | None  # None: it is a folder

    @classmethod
    def read(cls, options: EngineOptions) -> Result:
        """What ``options.output`` names. Raises `InputError` where that is no result of ``zipspark select``."""
        assert options.output is not None
        schema = options.output if _is_schema(options.output) else None
        if schema is not None:
            with explained():
                manifest = schema_output.read_manifest(get_session(options, delta=True), schema)
        else:
            manifest = read_manifest(options.output)
        if missing := {"checksum", "config", "key", "parts"} - manifest.keys():
            raise InputError(f"{options.output} is no result of zipspark select: its manifest has no {min(missing)}")
        return cls(options.output, manifest, schema)

    @property
    def is_delta(self) -> bool:
        return self.schema is not None or self._ledger.child("_delta_log").exists()

    def ledger(self, spark: SparkSession) -> DataFrame:
        if self.schema is not None:
            return schema_output.read_table(spark, self.schema, "ledger", self.manifest)
        read, place = spark.read, self._ledger
        return read.format("delta").load(place.uri) if self.is_delta else read.parquet(place.pattern)

    @property
    def _ledger(self) -> Place:
        return Place.parse(self.output).child("ledger")


@dataclass(frozen=True)
class Rerun:
    """The run that made a result, about to begin: the same options, its inputs as they were."""

    run: Run
    source: Source
    beside: References
    key: dict[str, Any]  # of the inputs, options and libraries as they are now
    then: dict[str, Any]  # as they were

    @property
    def changed_inputs(self) -> str:
        """How the inputs differ from what they were; empty where they do not."""
        inputs = ("input", "beside")
        return differences({name: self.then[name] for name in inputs}, {name: self.key[name] for name in inputs})


@contextmanager
def rerun(result: Result, options: EngineOptions, purpose: Purpose) -> Iterator[Rerun]:
    """The run behind ``result``, on the engine of ``options``, with stages beside OUT: ``.<name>~<purpose>.work``.

    Files are read as they are now, of Delta tables the versions that were read then. What the run hid stays
    hidden. Raises `InputError` where an input, or its version, is gone, or was a DataFrame.
    """
    then = result.manifest["key"]
    for name, read in {"input": then["input"], **then["beside"]}.items():
        if read["format"] == "dataframe":
            raise InputError(f"{result.output}: no {purpose} of it, as its {name} was a DataFrame of the caller's")
    beside_out = None if result.schema else aside(result.output, purpose)
    hides = options.hide_text or bool(result.manifest.get("hide_text"))
    engine = EngineOptions(**options.model_dump(by_alias=True) | {"output": beside_out, "hide_text": hides})
    config = config_of(result.manifest, engine)
    with explained():
        source = _as_it_was(resolve(config.input), then["input"])
        tables = {name: references.find(name, getattr(config, name)) for name in BESIDE}
        beside: References = {name: table and _as_it_was(table, then["beside"][name]) for name, table in tables.items()}
        counter = counter_of(config)
        delta = Source("delta") if result.is_delta else None
        spark, _ = start_session(config, config, source, *beside.values(), delta)
        source, beside = references.pinned_all(spark, source, beside)
        key = run_key(config, source, beside)
        with Stages(spark, engine) as stages:
            stages.claim(key)
            run = Run(spark, config, counter, stages, Progress(spark, quiet=config.quiet))
            yield Rerun(run, source, beside, key, then)


def config_of(manifest: Mapping[str, Any], engine: EngineOptions) -> SelectConfig:
    """The options that a result was made with, to be run on ``engine``."""
    return of_key(SelectConfig, manifest["config"], engine)


def _as_it_was(source: Source, then: Mapping[str, Any]) -> Source:
    return replace(source, version=then.get("version")) if source.table is not None else source


def _is_schema(name: str) -> bool:
    """Whether OUT is called as a schema is (``catalog.schema``), and no folder is called so."""
    return "." in name and not is_path(name) and not Place.parse(name).exists()
