"""What every command that runs on Spark shares: session, warnings, manifest, and errors that people understand."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import Choice, EngineOptions, PoolOptions, choice_key
from zipspark.core.presets import proven_codec
from zipspark.errors import EngineError, InputError
from zipspark.spark.batches import library_versions
from zipspark.spark.corpus import Corpus
from zipspark.spark.failures import explain_spark_error, first_line
from zipspark.spark.session import get_session
from zipspark.storage.inputs import Source
from zipspark.storage.places import redact

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


def manifest(corpus: Corpus, config: PoolOptions, codec: dict[str, Any]) -> dict[str, Any]:
    """What a result depends on, and how it is called."""
    key = choice_key(config)
    for name in ("input", "anchor", "keep", "target"):
        if key.get(name):
            key[name] = [redact(place) for place in key[name]]
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
