"""One Spark session for all tests of a process: classic, or Spark Connect where ZIPSPARK_TEST_REMOTE=1 is set.

A process cannot have both, so the suite is run twice::

    python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder
    ZIPSPARK_TEST_REMOTE=1 python -m pytest tests/spark --numprocesses=2 --dist=loadfile --no-loadscope-reorder

Either half may run in several processes, each with a session of its own.
"""

from __future__ import annotations

import os
import socket
import sys

import pytest
from filelock import FileLock

from zipspark.config import EngineOptions
from zipspark.errors import EngineError
from zipspark.spark.session import get_session

REMOTE = os.environ.get("ZIPSPARK_TEST_REMOTE") == "1"

# Compiling a query costs more than running it on a few rows. Tests that start a Spark of their own on one machine
# compile, as users do, and find the same ids.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
CONF = INTERPRETED | {
    # Few rows, many tests: an empty task costs as much as a full one.
    "spark.sql.shuffle.partitions": "4",
    # A quarter of a large machine is far more than a test may need: what needs it, fails here.
    "spark.driver.memory": "1g",
    # Each join of a small table holds a page of its own for as long as somebody holds the plan: 16 MB with this memory.
    "spark.buffer.pageSize": "1m",
    # The same for Delta's log, which Spark reads as a table.
    "spark.databricks.delta.snapshotPartitions": "1",
}


def pytest_collection_modifyitems(items):
    """Files with slow tests first: a file is run by one process, and one that begins last keeps the other waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def session_and_delta(request):
    """The session, and why it has no Delta (None where it has). Its jars are asked for only if a test needs them."""
    conf = CONF | (_own_port() if REMOTE else {})
    engine = EngineOptions(conf=conf, **({"remote": "local[2]"} if REMOTE else {"master": "local[2]"}))
    wanted = any(item.get_closest_marker("delta") for item in request.session.items)
    try:
        session, missing = get_session(engine, delta=wanted), None if wanted else "no test asked for Delta"
    except EngineError as error:
        if not wanted:
            raise
        session, missing = get_session(engine), str(error)
    yield session, missing
    session.stop()


def _own_port():
    """A port for this process' Connect server: all would take 15002, and a client of ``local`` looks nowhere else."""
    from pyspark.sql.connect.client import DefaultChannelBuilder

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    DefaultChannelBuilder.default_port = staticmethod(lambda: port)
    return {"spark.connect.grpc.binding.port": str(port)}


@pytest.fixture(scope="session")
def spark(session_and_delta):
    return session_and_delta[0]


@pytest.fixture(scope="module", autouse=True)
def _session_as_it_was():
    """What one file sets is not to slow down or change the next: Delta's log in 50 tasks is three times the time."""
    yield
    spark = sys.modules.get("pyspark.sql")  # tests/core does without
    session = spark.SparkSession.getActiveSession() if spark else None
    found = {key: session.conf.get(key, None) for key in CONF} if session else CONF
    assert found == CONF


@pytest.fixture
def connect_port(tmp_path_factory):
    """The port that a command's Connect server listens on: of two tests that start one the second waits."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "connect-port.lock"):
        yield


@pytest.fixture(autouse=True)
def _skip_without_delta(request):
    if request.node.get_closest_marker("delta"):
        _, missing = request.getfixturevalue("session_and_delta")
        if missing:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
