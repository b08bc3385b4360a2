"""The Spark session: the one that is there, or one made so that it works on the machine as it is.

Who decides what, first match: a session that runs already and is left as it was found; ``--master`` or ``--remote``;
spark-submit, ``SPARK_REMOTE`` or ``spark-defaults.conf``; and only then this machine, ``local[*]``.
What Spark says when it cannot do its work is said again for a person in `zipspark.failures`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from zipspark.config import EngineOptions
from zipspark.errors import EngineError
from zipspark.failures import explain_spark_error, first_line
from zipspark.spark.delta import check_delta, delta_coordinates, delta_settings, fetch_jars, holds_delta, jars_named
from zipspark.spark.java import check_java, local_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["explain_spark_error", "get_session", "spark_log"]

REACH_SECONDS = 5.0  # for a TCP connection to a master; Spark itself tries for a minute, gRPC for ten

# Of every session that is started here, where neither --conf nor the operator says otherwise.
SQL_SETTINGS = {
    # mapInArrow matches columns by position and would not notice two that are swapped.
    "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
    # 10,000 rows of long documents would be gigabytes in a Python worker (Spark's own cap is 64 MiB; 4.1 and newer).
    "spark.sql.execution.arrow.maxBytesPerBatch": "16m",
    # The same instants on a laptop and on a cluster.
    "spark.sql.session.timeZone": "UTC",
}


def get_session(engine: EngineOptions, delta: bool = False) -> SparkSession:
    """The session to work in; with ``delta`` one that reads and writes Delta tables.

    Raises `EngineError` with what to do: pyspark, Java or pandas missing or of a wrong version, a master that does not
    answer, Delta's jars out of reach, and options that a running session contradicts; `UsageError` for ``--jars`` that
    are not there.
    """
    _check_libraries()
    session = _running()
    if session is None:
        session = _start(engine, delta)
    else:
        _agree(session, engine)
    if int(session.version.split(".")[0]) < 4:
        raise _too_old(session.version)
    if delta:
        check_delta(session)
    return session


def spark_log() -> str | None:
    """The file with all that Spark said in this process, kept after its end; None where Spark logs elsewhere."""
    atexit.unregister(_forget_log)
    return str(_log) if _log else None


# --- what is there -------------------------------------------------------------------------------------------------


def _check_libraries() -> None:
    try:
        import pyspark
    except ImportError:
        raise EngineError("pyspark is not installed. Run: pip install 'zipspark[spark]'") from None
    if int(pyspark.__version__.split(".")[0]) < 4:
        raise _too_old(pyspark.__version__)
    # pyspark's own check is against the oldest pandas it works with, and only when a UDF is met.
    from pyspark.sql.pandas.utils import require_minimum_pandas_version

    try:
        require_minimum_pandas_version()
        if int((version := metadata.version("pandas")).split(".")[0]) >= 3:
            raise ImportError(f"pyspark {pyspark.__version__} breaks on pandas {version}")
    except ImportError as error:
        raise EngineError(f"{first_line(error).rstrip('.')}. Run: pip install 'pandas>=2.2,<3'") from None


def _too_old(version: str) -> EngineError:
    bring = "Databricks Runtime 17.0, Amazon EMR's emr-spark-8.0.0 and Dataproc image 3.0 or newer bring it"
    return EngineError(f"Spark {version} is too old: zipspark needs 4.0 or newer; {bring}")


def _running() -> SparkSession | None:
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is None and "DATABRICKS_RUNTIME_VERSION" in os.environ:
        session = SparkSession.builder.getOrCreate()  # theirs: active in the notebook's thread, not in every one
    return session


def _agree(session: SparkSession, engine: EngineOptions) -> None:
    """Set on a running session what was asked for by name, and nothing else: it is somebody's."""
    asked = engine.conf | ({"spark.master": engine.master} if engine.master else {})
    for key, value in asked.items():
        found = session.conf.get(key, None)
        if found == value:
            continue
        try:
            if key == "spark.master":
                raise ValueError("a session takes another value, and stays where it is")
            session.conf.set(key, value)
        except Exception:  # one class in classic, another in Connect
            raise EngineError(
                f"a Spark session runs already, with {key}={found}: call spark.stop() first, or leave out {value!r}"
            ) from None
    loaded = {jar.rpartition("/")[2] for jar in (session.conf.get("spark.jars", None) or "").split(",")}
    for jar in jars_named(engine.jars or ()):
        if jar.rpartition("/")[2] not in loaded:
            raise EngineError(
                f"a Spark session runs already, without {jar}: call spark.stop() first, or leave out jars"
            )


# --- a session of our own ------------------------------------------------------------------------------------------


def _start(engine: EngineOptions, delta: bool) -> SparkSession:
    from pyspark.sql import SparkSession

    defaults = _spark_defaults()
    remote = engine.remote or (None if engine.master else os.environ.get("SPARK_REMOTE"))
    master = engine.master or (None if remote or _configured(defaults) else "local[*]")
    is_local = (master or remote or "").startswith("local")
    starts_java = "PYSPARK_GATEWAY_PORT" not in os.environ and not (remote or "").startswith("sc://")

    _check_reachable(remote or master or "")
    java = check_java() if starts_java else None
    settings = {"spark.app.name": "zipspark"}
    if is_local:
        settings |= _local_settings() | {"spark.driver.extraJavaOptions": local_java(java)}
    if is_local or (starts_java and defaults.get("spark.master", "").startswith("local")):
        os.environ["PYSPARK_PYTHON"] = sys.executable  # workers are this very Python: on PATH there may be another
    settings = {key: value for key, value in settings.items() if key not in defaults} | engine.conf
    jars = jars_named(engine.jars or ())
    if starts_java:
        found = defaults | settings
        if jars:
            settings["spark.jars"] = ",".join(filter(None, [found.get("spark.jars"), *jars]))
        has_delta = holds_delta(jars)
        if delta or has_delta:
            settings |= delta_settings(found)
        if delta and not has_delta:
            packages = [found.get("spark.jars.packages"), delta_coordinates()]
            settings["spark.jars.packages"] = ",".join(filter(None, packages))
            fetch_jars(settings)
    elif jars:
        where = "the server" if (remote or "").startswith("sc://") else "spark-submit"
        raise EngineError(f"jars must be given to {where}, which starts Spark here, got {','.join(jars)}")

    _quieten_pyspark()
    builder = SparkSession.builder
    builder = builder.remote(remote) if remote else builder.master(master) if master else builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        with _java_logs_to_file() if starts_java else contextlib.nullcontext(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Failed to set")  # Connect, of settings that its server has had already
            session = builder.getOrCreate()
    except Exception as error:
        raise EngineError(_why_not_started(error)) from None
    for key, value in SQL_SETTINGS.items():
        if session.conf.get(key, None) is None:  # set by nobody
            session.conf.set(key, value)
    return session


def _configured(defaults: dict[str, str]) -> bool:
    """True where somebody else has said what Spark runs on: spark-submit, or the operator's files."""
    arguments = os.environ.get("PYSPARK_SUBMIT_ARGS", "")
    return (
        "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started Java, and Java this process
        or re.search(r"--(master|remote)\b|spark\.(master|remote)=", arguments) is not None
        or not defaults.keys().isdisjoint({"spark.master", "spark.remote"})
    )


def _spark_defaults() -> dict[str, str]:
    """What ``spark-defaults.conf`` sets: a builder would override it, so it has to be known before."""
    homes = [os.environ.get("SPARK_HOME"), _pyspark_home()]
    folder = os.environ.get("SPARK_CONF_DIR") or next(f"{home}/conf" for home in homes if home)
    try:
        lines = Path(folder, "spark-defaults.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (re.split(r"\s*=\s*|\s+", line.strip(), maxsplit=1) for line in lines if not line.lstrip().startswith("#"))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _pyspark_home() -> str:
    import pyspark

    return os.path.dirname(pyspark.__file__)


def _local_settings() -> dict[str, str]:
    """For Java and its workers on this machine alone."""
    settings = {
        "spark.ui.enabled": "false",  # a port less to be taken, a second less to start
        "spark.ui.showConsoleProgress": "false",  # `zipspark.spark.progress` shows it
        # Nothing outside has to reach the driver, and a laptop's own name often leads nowhere (VPN, no DNS).
        "spark.driver.host": "localhost",
        "spark.driver.bindAddress": "127.0.0.1",
        # Of 200 partitions most would be empty here. Adaptive execution, on by default, only ever joins small ones.
        "spark.sql.shuffle.partitions": "16",
        "spark.databricks.delta.snapshotPartitions": "2",  # Delta reads its log in 50 tasks otherwise
    }
    if memory := machine_memory():
        # A quarter: Spark's own 1 GB is too little for a shuffle of documents, and the rest is for Python workers.
        settings["spark.driver.memory"] = f"{min(8192, max(1024, memory // 4 // 2**20))}m"
    return settings


def machine_memory() -> int | None:
    """Bytes that this process may use: the machine's, or its container's; None where it cannot be told."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):  # no control groups, or "max"
        machine = min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return machine


def memory_setting(text: str, unit: str = "m") -> int:
    """Bytes of a setting of Spark's such as 8g or 512m; a bare number is in ``unit``, which differs by setting.

    >>> memory_setting("8g"), memory_setting("512"), memory_setting("1048576", unit="b")
    (8589934592, 536870912, 1048576)
    """
    number, given = re.fullmatch(r"(\d+)([bkmgtp]?)b?", text.strip().lower()).groups()  # type: ignore[union-attr]
    return int(number) << 10 * "bkmgtp".index(given or unit)


def _check_reachable(url: str) -> None:
    """Raise `EngineError` where no host of ``spark://a:7077,b:7077`` or ``sc://host:15002/;...`` takes a connection."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("spark", "sc"):
        return
    hosts = re.split(r"[/;]", rest)[0]  # behind these there may be a token
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if ":" in host else (host, "", "15002" if scheme == "sc" else "7077")
        with contextlib.suppress(OSError, ValueError):
            socket.create_connection((name.strip("[]"), int(port)), REACH_SECONDS).close()
            return
    option = "master" if scheme == "spark" else "remote"
    raise EngineError(f"{option} {scheme}://{hosts} does not answer: start it, or check host, port and network")


# --- what Spark says -----------------------------------------------------------------------------------------------

_log: Path | None = None  # of the Java that this process has started


@contextlib.contextmanager
def _java_logs_to_file() -> Iterator[None]:
    """Java started in here writes its stderr to a file, for all its life.

    Nothing else quietens it: the JVM's own warnings and Ivy's downloads never pass log4j, and when it does not start
    that file is all there is to explain it.
    """
    global _log
    handle, name = tempfile.mkstemp(prefix="zipspark-spark-", suffix=".log")
    _log = Path(name)
    atexit.register(_forget_log)
    sys.stderr.flush()
    ours = os.dup(2)
    os.dup2(handle, 2)
    os.close(handle)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def _quieten_pyspark() -> None:
    """PySpark writes errors of queries to stderr, as a page of JSON each, beside raising them."""
    from pyspark.logger import PySparkLogger

    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True


def _forget_log() -> None:
    if _log:
        _log.unlink(missing_ok=True)


def _why_not_started(error: Exception) -> str:
    """Java's last word where it ended before it could be spoken to, else the error's own."""
    said = _log.read_text(encoding="utf-8", errors="replace") if _log and _log.exists() else ""
    fatal = re.search(r"^(?:Exception in thread \"main\" [\w.$]+: |Error: |(?=Invalid ))(.+)", said, flags=re.MULTILINE)
    reason = first_line(error)
    if "All masters are unresponsive" in said:
        reason = "the master does not answer"
    elif fatal and "JAVA_GATEWAY_EXITED" in str(error):
        reason = fatal[1]
    log = spark_log()
    return f"Spark did not start: {reason}" + (f" (its log: {log})" if log else "")
