"""Refreshes for those who schedule Structured Streaming: the same function, run when the corpus has new versions."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, SparkSession

from zipspark.config import RefreshConfig, check_refresh
from zipspark.errors import InputError
from zipspark.options import layered
from zipspark.refresh import refresh_to
from zipspark.running import explained, start_session
from zipspark.storage.deltas import FEED, Table
from zipspark.storage.inputs import Source


def refresh_stream(checkpoint: str, spark: SparkSession | None = None, **options: Any) -> None:
    """Run `zipspark.refresh_subset` once if the corpus has changed since ``checkpoint`` (``availableNow``).

    The stream only says that there is something new: what that is, the refresh finds for itself, so that both ways can
    be mixed and a batch that is tried again changes nothing. Needs the corpus' change feed.

    Args:
        checkpoint: folder of the stream's own bookkeeping, one for each subset.
        spark, options: as for `zipspark.refresh_subset`.

    Raises:
        UsageError, InputError, EngineError: as the command line.

    >>> refresh_stream("/checkpoints/chosen", corpus="main.chats", subset="main.chosen", ...)  # doctest: +SKIP
    """
    config = layered(RefreshConfig, options)
    check_refresh(config)
    assert config.corpus is not None
    failed: list[Exception] = []

    def on_new(batch: DataFrame, number: int) -> None:
        try:
            refresh_to(config, batch.sparkSession)
        except Exception as error:
            failed.append(error)  # Spark would wrap it
            raise

    with explained():
        session, _ = start_session(config, config, Source("delta"), given=spark)
        corpus = Table.parse(config.corpus)
        _, has_feed = corpus.identity(session)
        if not has_feed:
            raise InputError(f"corpus {corpus} must have its change feed on for a stream: set {FEED} to true")
        writing = corpus.stream(session).writeStream.foreachBatch(on_new).trigger(availableNow=True)
        try:
            writing.option("checkpointLocation", checkpoint).start().awaitTermination()
        except Exception as error:
            raise (failed[0] if failed else error) from None
