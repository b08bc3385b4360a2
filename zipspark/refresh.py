"""The refresh job: a subset that follows its corpus, version by version.

::

    corpus ─ what has changed ─▶ rows ─ looked_at, chosen ─▶ what comes and goes ─▶ subset ─▶ ledger ─▶ history

One such step is `zipspark.refreshing.Refresh`. How the three tables are written, and what becomes of a refresh that was
killed, is in `zipspark.storage.refreshes`.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from pyspark.sql import SparkSession

from zipspark.config import RefreshConfig, check_refresh
from zipspark.errors import EngineError, InputError
from zipspark.failures import explain_spark_error
from zipspark.options import layered
from zipspark.refresh_report import has_page, prepare
from zipspark.refreshing import Refresh
from zipspark.report.refreshed import Refreshed
from zipspark.running import explained, start_session
from zipspark.spark.corpus import pinned
from zipspark.spark.progress import side_by_side
from zipspark.storage.deltas import Commit, Table
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.refreshes import REBUILD, Conflict, State, Tables, read_state

logger = logging.getLogger("zipspark")

_TRIES = 5  # looks at where the subset stands, each after somebody else has moved it


def refresh_subset(spark: SparkSession | None = None, **options: Any) -> Refreshed:
    """Bring a subset up to the corpus' newest version, as ``zipspark refresh`` does.

    Args:
        spark: the session to use, with Delta; default: the active one, or a new local one.
        options: those of ``conf/refresh.yml``: ``corpus``, ``subset``, ``id_column``, ``budget``, ...

    Raises:
        UsageError, InputError, EngineError: as the command line; the tables are then as they were.

    >>> refresh_subset(corpus="main.chats", subset="main.chosen", id_column="id", budget="5%")  # doctest: +SKIP
    """
    return refresh_to(layered(RefreshConfig, options), spark)


def refresh_to(config: RefreshConfig, given: SparkSession | None = None) -> Refreshed:
    """``zipspark refresh``. What another refresh, killed, has left undone is done first."""
    with explained(), ExitStack() as opened:
        check_refresh(config)
        assert config.corpus is not None
        assert config.subset is not None
        tables = Tables.of(Table.parse(config.subset))
        source = resolve((config.corpus,))
        if source.table is None:
            raise InputError(f"corpus must be a Delta table, got {config.corpus} with {source.format} files")
        if has_page(config, tables.subset):
            opened.enter_context(ThreadPoolExecutor(1)).submit(prepare)  # while Spark starts
        spark, _ = start_session(config, config, source, Source("delta"), given=given)
        for _ in range(_TRIES):
            try:
                with side_by_side(spark) as start:
                    identity = start(Table.of(source).identity, spark)
                    state = read_state(spark, tables, config.rebuild)
                if config.rebuild:
                    state = state.for_rebuild()
                if state.pending is not None:
                    _make_whole(spark, config, tables, state, state.pending)
                    continue
                corpus = pinned(spark, source)  # behind the state: its version is then no older than what that knows
                if corpus.version is None:
                    raise InputError(f"corpus {corpus.table} is no Delta table: refresh needs versions")
                return Refresh.next(spark, config, tables, state, corpus, identity.result()).run()
            except Conflict as conflict:
                logger.warning("another refresh came first (%s): looking again", conflict)
    raise EngineError(f"other refreshes of {config.subset} keep coming first: run it again once they are done")


def _make_whole(spark: SparkSession, config: RefreshConfig, tables: Tables, state: State, pending: Commit) -> None:
    """Make the rest of a refresh that was killed. Raises `InputError` where that cannot be done any more."""
    if config.dry_run:
        raise InputError(f"refresh {state.number} was killed and is not whole: run without --dry-run first")
    logger.warning("refresh %d was killed behind its commit: the rest of it is made now", state.number)
    try:
        Refresh.again(spark, config, tables, state, pending).run()
    except Conflict:
        raise
    except Exception as error:
        why = explain_spark_error(error)
        if not isinstance(why, InputError):
            raise
        # What it was made from is not there any more, and would not be the next time.
        remedy = "" if str(why).endswith(REBUILD) else REBUILD
        raise InputError(f"refresh {state.number} was killed and its rest cannot be made: {why}{remedy}") from error
