"""What every command that runs on Spark shares: session, warnings, manifest, and errors that people understand."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import BESIDE, Choice, EngineOptions, PoolOptions, SelectConfig, choice_key
from zipspark.core.presets import proven_codec
from zipspark.errors import EngineError, InputError, UsageError
from zipspark.spark.batches import library_versions
from zipspark.spark.corpus import Corpus
from zipspark.spark.failures import explain_spark_error, first_line
from zipspark.spark.session import get_session
from zipspark.storage.inputs import Source, located

logger = logging.getLogger("zipspark")


@contextmanager
def explained() -> Iterator[None]:
    """Turns what Spark raises into zipspark's own errors."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (OSError, pa.ArrowException)):  # ours to open, and not there, full or forbidden
            raise InputError(f"input or output cannot be used: {error}") from error
        explained = explain_spark_error(error)
        if explained is None and not type(error).__module__.startswith(("pyspark", "py4j", "grpc")):
            raise
        raise explained or EngineError(f"Spark failed: {first_line(error)}") from error


def start_session(
    engine: EngineOptions, choice: Choice, *sources: Source | DataFrame | None
) -> tuple[SparkSession, dict[str, Any]]:
    """The session, and the codec's facts: it proves itself while Spark starts."""
    formats = [getattr(source, "format", None) for source in sources] + [getattr(engine, "format", None)]
    with ThreadPoolExecutor(1) as beside:
        codec = beside.submit(proven_codec, choice)
        return get_session(engine, delta="delta" in formats), codec.result()


def said(notes: Iterable[str]) -> list[str]:
    """``notes``, said at once: the summary, which repeats them, may be far away, or never come."""
    kept = list(notes)
    for note in kept:
        logger.warning("%s", note)
    return kept


def run_key(
    config: SelectConfig, source: Source | DataFrame, beside: Mapping[str, Source | DataFrame | None]
) -> dict[str, Any]:
    """What a ranking depends on, JSON-ready: versions of what is read, choices, versions of libraries.

    Sources must be pinned. Where files lie does not matter, nor does the engine.
    """
    choices = choice_key(config)
    for name in ("input", *BESIDE):
        del choices[name]
    if config.tokenizer:
        choices["tokenizer"] = hashlib.sha256(Path(config.tokenizer).read_bytes()).hexdigest()
    return {
        "input": fingerprint_of(source),
        "beside": {name: fingerprint_of(table) for name, table in beside.items() if table is not None},
        "choices": choices,
        "versions": library_versions(),
    }


def fingerprint_of(source: Source | DataFrame) -> dict[str, Any]:
    return source.fingerprint() if isinstance(source, Source) else {"format": "dataframe"}


def check_resumable(source: Source | DataFrame, *beside: Source | DataFrame | None) -> None:
    """Raises `UsageError` for what may change unseen between two runs."""
    for table in (source, *beside):
        if table is not None and (found := fingerprint_of(table)).get("version", 0) is None:
            raise UsageError(f"resume needs inputs whose versions are known: {found['name']!r} is no Delta table")


def manifest(corpus: Corpus, config: PoolOptions, codec: dict[str, Any]) -> dict[str, Any]:
    """What a result depends on, and how it is called."""
    key = choice_key(config)
    for name in ("input", *BESIDE):
        if key.get(name):
            key[name] = [located(place) for place in key[name]]
    return {
        "run_id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": corpus.fingerprint,
        "layout": corpus.layout.schema if corpus.layout else "text-expr",
        "config": key,
        "config_hash": hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest(),
        "versions": library_versions(),
        "codec": codec,
    }
