"""Which session is used, what is set on it, and what is said when there can be none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pyspark
import pytest

from zipspark.config import EngineOptions
from zipspark.errors import EngineError, InputError, UsageError
from zipspark.spark import delta, java, session
from zipspark.spark.session import explain_spark_error, get_session

ROOT = Path(__file__).parents[2]
JOB = """
from zipspark.config import EngineOptions
from zipspark.spark.session import get_session
spark = get_session(EngineOptions({options}))
keys = "spark.master", "spark.app.name", "spark.sql.session.timeZone", "spark.sql.shuffle.partitions"
print("|".join([*(str(spark.conf.get(key, None)) for key in keys), str(spark.range(3).count())]))
"""


def environment(**more: str) -> dict[str, str]:
    """As it was before this process had a session."""
    return {key: value for key, value in os.environ.items() if "SPARK" not in key} | more


def run(*command: str | Path, **more: str) -> tuple[str, str]:
    """What a fresh process says: stdout and stderr."""
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=180)
    return done.stdout.strip(), done.stderr


# Two Connect servers on one machine want the same port. The classic run has these tests.
alone = pytest.mark.skipif(os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="starts a Connect server of its own")


# --- which one -----------------------------------------------------------------------------------------------------


def test_a_running_session_is_used_as_it_is(spark):
    before = spark.conf.getAll
    assert get_session(EngineOptions()) is spark
    assert spark.conf.getAll == before


def test_a_running_session_gets_what_was_asked_for_by_name(spark):
    get_session(EngineOptions(master="local[2]", conf={"spark.sql.files.maxRecordsPerFile": "7"}))
    assert spark.conf.get("spark.sql.files.maxRecordsPerFile") == "7"
    spark.conf.unset("spark.sql.files.maxRecordsPerFile")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"master": "local[7]"}, r"spark.master=local\[2\]: call spark.stop\(\) first, or leave out 'local\[7\]'"),
        ({"conf": {"spark.driver.memory": "9g"}}, "spark.driver.memory=1g"),
    ],
)
@pytest.mark.usefixtures("spark")
def test_a_running_session_is_not_what_was_asked_for(options, said):
    with pytest.raises(EngineError, match=said):
        get_session(EngineOptions(**options))


def test_what_every_session_of_ours_has(spark):
    assert {key: spark.conf.get(key) for key in session.SQL_SETTINGS} == session.SQL_SETTINGS
    assert spark.conf.get("spark.sql.shuffle.partitions") == "4"  # --conf wins


@alone
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["master", "remote"])
def test_on_its_own_spark_runs_here_and_is_quiet(tmp_path, connect_port, mode):
    options = {"master": "", "remote": "remote='local[1]'"}[mode]
    said, noise = run(sys.executable, "-c", JOB.format(options=options), TMPDIR=str(tmp_path))
    assert said == f"local[{'*' if mode == 'master' else 1}]|zipspark|UTC|16|3"
    assert noise == ""
    assert list(tmp_path.glob("zipspark-*")) == []  # nothing went wrong: no log is kept


@pytest.mark.slow
def test_spark_defaults_choose_the_master(tmp_path):
    (tmp_path / "spark-defaults.conf").write_text(
        "# ours\nspark.master local[1]\nspark.sql.session.timeZone=Asia/Tokyo\n"
    )
    said, _ = run(sys.executable, "-c", JOB.format(options=""), SPARK_CONF_DIR=str(tmp_path))
    assert said == "local[1]|zipspark|Asia/Tokyo|None|3"


@pytest.mark.slow
def test_spark_submit_chooses_the_master(tmp_path):
    job = tmp_path / "job.py"
    job.write_text(JOB.format(options="conf={'spark.sql.shuffle.partitions': '9'}"))
    flags = "--master", "local[1]", "--conf", "spark.sql.session.timeZone=Asia/Tokyo"
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    said, _ = run(submit, *flags, job, PYSPARK_PYTHON=sys.executable)
    assert said == "local[1]|zipspark|Asia/Tokyo|9|3"


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("spark.master yarn", {"spark.master": "yarn"}),
        ("  spark.master\t =  yarn  ", {"spark.master": "yarn"}),
        ("spark.driver.extraJavaOptions -Da=b -Dc=d", {"spark.driver.extraJavaOptions": "-Da=b -Dc=d"}),
        ("#spark.master yarn", {}),
        ("", {}),
    ],
)
def test_spark_defaults_are_read_as_spark_reads_them(tmp_path, monkeypatch, line, setting):
    (tmp_path / "spark-defaults.conf").write_text(line)
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert session._spark_defaults() == setting


# --- none ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(session, "_running", lambda: None)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"master": "spark://127.0.0.1:1"}, "master spark://127.0.0.1:1 does not answer"),
        ({"master": "spark://127.0.0.1:1,127.0.0.1:2"}, "master spark://127.0.0.1:1,127.0.0.1:2 does not answer"),
        ({"remote": "sc://127.0.0.1:1/;token=secret"}, "remote sc://127.0.0.1:1 does not answer"),
        ({"remote": "sc://[::1]:1"}, r"remote sc://\[::1\]:1 does not answer"),
    ],
)
def test_a_master_that_does_not_answer(options, said):
    started = time.monotonic()
    with pytest.raises(EngineError, match=f"^{said}: start it, or check host, port and network$"):
        get_session(EngineOptions(**options))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("options", ["master='foo'", "conf={'spark.driver.memory': 'lots'}"])
def test_what_java_said_is_quoted_and_its_log_kept(tmp_path, options):
    reason = (
        "Master must either be yarn or start with" if "master" in options else "Invalid maximum heap size: -Xmxlots"
    )
    _, said = run(sys.executable, "-c", JOB.format(options=options), TMPDIR=str(tmp_path))
    log = next(tmp_path.glob("zipspark-spark-*.log"))
    last = said.splitlines()[-1]
    assert last.startswith(f"zipspark.errors.EngineError: Spark did not start: {reason}")
    assert last.endswith(f"(its log: {log})")
    assert reason in log.read_text()


@pytest.mark.parametrize(
    ("first_line", "said"),
    [
        ('openjdk version "11.0.20.1" 2023-08-24', "{java} is version 11"),
        ('java version "1.8.0_392"', "{java} is version 8"),
        ("no java at all", "{java} does not run"),
        (None, "JAVA_HOME={home} holds no bin/java"),
    ],
)
def test_java_too_old_or_missing(tmp_path, monkeypatch, first_line, said):
    path = tmp_path / "bin" / "java"
    path.parent.mkdir()
    if first_line:
        path.write_text(f"#!/bin/sh\necho 'Picked up JAVA_TOOL_OPTIONS: -Xmx1g' >&2\necho '{first_line}' >&2\n")
        path.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError) as error:
        java.check_java()
    expected = said.format(java=path, home=tmp_path)
    assert str(error.value).startswith(f"Java 17 or newer is needed: {expected}. Install one (")


def test_classes_that_were_kept_are_used_by_the_java_they_are_of(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    kept = java.kept_classes("java 17")
    assert java.local_java("java 17") == java.local_java("java 21") == java.local_java(None)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert java.local_java("java 17").endswith(f'-XX:SharedArchiveFile="{kept}"')
    assert "Archive" not in java.local_java("java 21") + java.local_java(None)


def test_jars_that_are_installed_anew_have_a_file_of_their_own(tmp_path, monkeypatch):
    jar = tmp_path / "jars" / "spark.jar"
    jar.parent.mkdir()
    jar.touch()
    monkeypatch.setattr(pyspark, "__file__", str(tmp_path / "__init__.py"))
    before = java.kept_classes("java 17")
    assert java.kept_classes("java 17") == before
    os.utime(jar, (1, 2))
    assert java.kept_classes("java 17") != before


@alone
def test_java_starts_from_the_classes_that_doctor_keeps():
    if not java.kept_classes(java.check_java()).exists():
        missing = "zipspark doctor --keep-classes was not run, as `make test` does"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    # With -Xshare:on Java does not start where it cannot use the file.
    strict = f"{java.local_java(java.check_java())} -Xshare:on"
    job = JOB.format(options=f"master='local[1]', conf={{'spark.driver.extraJavaOptions': {strict!r}}}")
    said, _ = run(sys.executable, "-c", job)
    assert said.startswith("local[1]|zipspark|")


@alone
def test_an_archive_of_other_jars_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = java.kept_classes(java.check_java())
    kept.parent.mkdir()
    kept.write_bytes(b"not what Java has written" * 1000)
    said, _ = run(sys.executable, "-c", JOB.format(options="master='local[1]'"), XDG_CACHE_HOME=str(tmp_path))
    assert said.startswith("local[1]|zipspark|")


def test_classes_that_cannot_be_kept_are_an_error(tmp_path, monkeypatch):
    (tmp_path / "zipspark").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"the classes of Spark could not be kept in .*File exists"):
        java.keep_classes()


def test_no_java_on_the_path(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no java on PATH"):
        java.check_java()


def test_a_spark_before_4(monkeypatch):
    monkeypatch.setattr(pyspark, "__version__", "3.5.4")
    with pytest.raises(
        EngineError, match=r"^Spark 3\.5\.4 is too old: zipspark needs 4\.0 or newer; Databricks Runtime 17"
    ):
        get_session(EngineOptions())


def test_a_pandas_that_pyspark_breaks_on(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "3.0.1")
    with pytest.raises(EngineError, match=r"breaks on pandas 3\.0\.1\. Run: pip install 'pandas>=2\.2,<3'$"):
        get_session(EngineOptions())


def test_a_pandas_that_is_too_old(monkeypatch):
    import pandas

    monkeypatch.setattr(pandas, "__version__", "1.5.3")
    with pytest.raises(EngineError, match=r"your version is 1\.5\.3\. Run: pip install 'pandas>=2\.2,<3'$"):
        get_session(EngineOptions())


# --- Delta ---------------------------------------------------------------------------------------------------------


@pytest.mark.delta
def test_delta_where_it_is(spark):
    assert get_session(EngineOptions(), delta=True) is spark


@pytest.mark.slow
def test_a_running_session_without_delta():
    script = JOB.format(options="master='local[1]'") + "get_session(EngineOptions(), delta=True)"
    _, said = run(sys.executable, "-c", script)
    last = said.splitlines()[-1]
    assert last.startswith("zipspark.errors.EngineError: the running Spark session has no Delta: ")
    assert f"--packages {delta.delta_coordinates()} --conf spark.sql.extensions=" in last


def test_jars_that_are_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(delta, "delta_coordinates", lambda: "io.delta:no-such-thing:0")
    settings = {"spark.jars.packages": delta.delta_coordinates(), "spark.jars.ivy": str(tmp_path)}
    with pytest.raises(
        EngineError, match=r"cannot be fetched \(io.delta#no-such-thing;0: not found\): check the network"
    ):
        delta.fetch_jars(settings)


def test_jars_are_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(delta, "FETCH_SECONDS", 0.5)
    settings = {"spark.jars.packages": delta.delta_coordinates(), "spark.jars.ivy": str(tmp_path)}
    with pytest.raises(EngineError, match=r"no answer for 0\.5 s"):
        delta.fetch_jars(settings)


# --- failures of jobs ----------------------------------------------------------------------------------------------


def explained(do) -> Exception | None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each engine has its own
        do()
    return explain_spark_error(raised.value)


@pytest.mark.parametrize("kind", [InputError, UsageError, EngineError])
def test_our_own_errors_come_back_from_executors(spark, kind):
    def fail(batches):
        try:
            raise ValueError("zipspark.errors.EngineError: not this one")
        except ValueError as error:
            raise kind("selection.k3 must be <= k2 (200), got 'ü: 5'") from error
        yield from batches

    found = explained(spark.range(3).mapInArrow(fail, "id long").collect)
    assert type(found) is kind
    assert str(found) == "selection.k3 must be <= k2 (200), got 'ü: 5'"


def test_an_error_within_ours_is_itself():
    error = UsageError("k1 must be above 0")
    assert explain_spark_error(error) is error


def test_executors_without_a_library(spark):
    def fail(batches):
        import no_such_library.deep  # noqa: F401

        yield from batches

    found = explained(spark.range(3).mapInArrow(fail, "id long").collect)
    assert isinstance(found, EngineError)
    assert "the executors' Python has no no_such_library" in str(found)


def test_a_worker_that_dies(spark):
    def die(batches):
        os._exit(9)
        yield from batches

    found = explained(spark.range(3).mapInArrow(die, "id long").collect)
    assert isinstance(found, EngineError)
    assert str(found).startswith("a Python worker or an executor died")


def test_a_damaged_file_is_named(spark, tmp_path):
    path = tmp_path / "pool.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    for read in (spark.read, spark.read.schema("id long")):  # met by the driver, met by a task
        found = explained(lambda read=read: read.parquet(str(path)).collect())
        assert isinstance(found, InputError)
        assert f"{path} cannot be read: it is damaged" in str(found)


def test_a_file_that_disappears_is_named(spark, tmp_path):
    spark.range(3).coalesce(1).write.parquet(str(tmp_path / "pool"))
    frame = spark.read.parquet(str(tmp_path / "pool")).withColumnRenamed("id", "x")
    frame.schema  # noqa: B018 - the files are listed
    file = next((tmp_path / "pool").glob("*.parquet"))
    file.write_bytes(b"")
    found = explained(lambda: (file.unlink(), frame.collect()))
    assert isinstance(found, InputError)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select nope from range(3)", "A column, variable, or function parameter with name `nope` cannot be resolved"),
        ("select id frm range(3) (", "Syntax error at or near"),
        ("select * from no_such_table", "The table or view `no_such_table` cannot be found"),
    ],
)
def test_what_spark_cannot_analyse_is_bad_input(spark, sql, said):
    found = explained(lambda: spark.sql(sql).collect())
    assert isinstance(found, InputError)
    assert str(found).startswith(said)
    assert "\n" not in str(found)
    assert "SQLSTATE" not in str(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Task 3 failed: java.lang.OutOfMemoryError: Java heap space", "Spark ran out of memory"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9", "another Python version"),
        (
            "java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.",
            "connection to Spark was lost",
        ),
        ('status = StatusCode.UNAVAILABLE details = "failed to connect"', "connection to Spark was lost"),
    ],
)
def test_what_is_not_easily_caused(text, said):
    found = explain_spark_error(RuntimeError(text))
    assert isinstance(found, EngineError)
    assert said in str(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file s3a://b/part-0.parquet. File ...",
            "s3a://b/part-0.parquet is gone: .* or VACUUM has removed",
        ),
        ("[FAILED_READ_FILE] Encountered error while reading file s3a://b/1.parquet. Cause", "is damaged"),
        ("java.nio.file.AccessDeniedException: s3a://b/out: 403 Forbidden", "not permitted .*: s3a://b/out: 403"),
    ],
)
def test_files_that_are_gone_damaged_or_forbidden(text, said):
    found = explain_spark_error(RuntimeError(text))
    assert isinstance(found, InputError)
    assert re.search(said, str(found))


def test_what_nothing_is_known_of(spark):
    assert explained(spark.range(3).selectExpr("1 / (id - 1)").collect) is None
