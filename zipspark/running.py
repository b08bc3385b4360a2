"""What every command that runs on Spark shares: session, warnings, manifest, and errors that people understand."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel
from pyspark.sql import DataFrame, SparkSession

from zipspark.config import BESIDE, Choice, EngineOptions, PoolOptions, SelectConfig, choice_key
from zipspark.core.presets import proven_codec
from zipspark.errors import EngineError, InputError, UsageError, ZipsparkError
from zipspark.failures import code_of, explain_spark_error, first_line, without_text
from zipspark.logs import one_run, run_id
from zipspark.spark.batches import library_versions
from zipspark.spark.corpus import Corpus
from zipspark.spark.delta import check_delta
from zipspark.spark.session import get_session
from zipspark.storage.inputs import Source, located
from zipspark.storage.places import SECRET_NAME, redact_all
from zipspark.wording import worded

logger = logging.getLogger("zipspark")

_hides: ContextVar[bool] = ContextVar("zipspark_hides", default=False)  # whether the run hides the text of samples


@contextmanager
def explained(hide_text: bool = False) -> Iterator[None]:
    """One run. What Spark raises in it becomes zipspark's own error, which names options as the caller knows them.

    No error says a password or a key, nor, with ``hide_text`` or where `start_session` was told to hide it, the text
    of a sample.
    """
    hides = _hides.set(_hides.get() or hide_text)
    try:
        with one_run():
            yield
    except Exception as error:
        hide = _hides.get()
        ours = _said_again(error, hide)
        if ours is None:
            raise
        message = worded(redact_all(str(ours)))
        if ours is error and message == str(error) and not hide:
            raise
        # Where nobody catches it, Python prints an error with its cause, all that Spark said.
        is_clean = ours is not error and not hide and redact_all(str(error)) == str(error)
        raise type(ours)(message) from (error if is_clean else None)
    finally:
        _hides.reset(hides)


def hide_texts(hide: bool) -> None:
    """From here on errors of this run say no text of samples, if it is to ``hide`` them."""
    _hides.set(_hides.get() or hide)


def _said_again(error: Exception, hide: bool) -> ZipsparkError | None:
    """The error of ours that says what ``error`` means; None for a mistake in zipspark, whose traceback is wanted."""
    if isinstance(error, ConnectionError):  # py4j's, of a Java that is no more
        return EngineError(
            "Spark's Java has ended, most often for want of memory: give it more (--conf spark.driver.memory=8g)"
        )
    if isinstance(error, OSError) or (isinstance(error, pa.ArrowException) and not hide):
        return InputError(f"input or output cannot be used: {error}")  # ours to open, and not there, full or forbidden
    if ours := explain_spark_error(error):
        return without_text(ours) if hide else ours
    if hide:
        return EngineError(code_of(error))
    if type(error).__module__.startswith(("pyspark", "py4j", "grpc")):
        return EngineError(f"Spark failed: {first_line(error)}")
    return None


def start_session(
    engine: EngineOptions, choice: Choice, *sources: Source | DataFrame | None, given: SparkSession | None = None
) -> tuple[SparkSession, dict[str, Any]]:
    """The session, ``given`` or found or made, and the codec's facts: it proves itself while Spark starts."""
    _hides.set(engine.hide_text)
    formats = [source.format for source in sources if isinstance(source, Source)] + [getattr(engine, "format", None)]
    if given is not None:
        if "delta" in formats:
            check_delta(given)
        return given, proven_codec(choice)
    with ThreadPoolExecutor(1) as beside:
        codec = beside.submit(proven_codec, choice)
        try:
            return get_session(engine, delta="delta" in formats), codec.result()
        except ZipsparkError as error:  # it may show a setting's value
            raise type(error)(_without_secrets(str(error), engine.conf)) from None


def _without_secrets(text: str, conf: Mapping[str, str]) -> str:
    for key, value in conf.items():
        if SECRET_NAME.search(key) and len(value) > 3:  # less would be found in any word
            text = text.replace(value, "***")
    return text


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


def located_key(config: BaseModel) -> dict[str, Any]:
    """The options that decide the result, JSON-ready; paths so that they can be given from anywhere."""
    key = choice_key(config)
    for name in ("input", "against", "corpus", "subset", *BESIDE):
        if places := key.get(name):
            key[name] = located(places) if isinstance(places, str) else [located(place) for place in places]
    return key


def hash_of(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def manifest(corpus: Corpus, config: PoolOptions, codec: dict[str, Any]) -> dict[str, Any]:
    """What a result depends on, and how it is called."""
    key = located_key(config)
    return {
        "run_id": run_id(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": corpus.fingerprint,
        "layout": corpus.layout.schema if corpus.layout else "text-expr",
        "config": key,
        "config_hash": hash_of(key),
        "versions": library_versions(),
        "codec": codec,
    }
