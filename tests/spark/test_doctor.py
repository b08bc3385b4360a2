"""`zipspark doctor`: each thing that can be missing is taken away, and has to be found missing."""

from __future__ import annotations

import importlib
import json
import os
from importlib import metadata

import pytest
from launching import once

from zipspark import doctor
from zipspark.cli import run
from zipspark.config import DoctorConfig
from zipspark.spark import health, session
from zipspark.spark.java import check_java, kept_classes


@pytest.fixture(autouse=True)
def _session(spark, monkeypatch):
    """The command finds this session running, and not that pyspark notes where a Connect server is."""
    monkeypatch.delenv("SPARK_REMOTE", raising=False)


def found(capsys, *arguments: str, code: int = 0) -> dict[str, dict]:
    assert run(["doctor", *arguments, "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["healthy"] is (code == 0)
    return {check["name"]: check for check in said["checks"]}


def test_where_all_is_well(capsys):
    checks = found(capsys)
    needed = ["Python", "pyspark", "pandas", "pyarrow", "Java", "Spark", "tasks", "stages", "work folder"]
    assert {name: checks[name]["state"] for name in needed} == dict.fromkeys(needed, "ok")
    assert "4." in checks["Spark"]["said"]
    assert "same versions" in checks["tasks"]["said"]
    assert "version" in checks["Java"]["said"]
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "note", "→") for line in lines)
    assert len([line for line in lines if "→" not in line]) == len(checks)


@once
def test_classes_that_are_kept_or_could_be(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    check = found(capsys, "--master", "local[2]")["classes"]
    assert (check["state"], check["command"]) == ("note", "zipspark doctor --keep-classes")
    kept = kept_classes(check_java())
    kept.parent.mkdir()
    kept.write_bytes(b"0" * 1000)
    assert found(capsys)["classes"]["said"] == f"of Spark, in {kept} (1.0 kB)"


@once
def test_no_java(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    checks = found(capsys, code=4)
    assert checks["Java"]["state"] == "broken"
    assert "there is no java on PATH" in checks["Java"]["said"]
    assert "apt-get install openjdk" in checks["Java"]["command"]
    assert checks["Spark"] == {
        "name": "Spark",
        "state": "broken",
        "said": "not tried without Java",
        "command": "mend these first",
    }
    assert checks["work folder"]["state"] == "ok"  # the others go on


@once
def test_a_java_that_is_too_old(capsys, monkeypatch, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'java version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "is version 8" in found(capsys, code=4)["Java"]["said"]


@once
@pytest.mark.parametrize(
    ("version", "state"),
    [("3.0.1", "broken"), ("2.1.4", "broken"), ("1.5.3", "broken"), ("2.2.0", "ok"), ("2.3.3", "ok")],
)
def test_pandas(monkeypatch, version, state):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    check = doctor.checked("pandas", doctor._pandas)
    assert check.state == state
    assert (check.command == "pip install 'pandas>=2.2,<3'") == (state == "broken")


@once
def test_what_is_not_installed(capsys, monkeypatch):
    imported = importlib.import_module

    def without(name: str):
        if name in ("pandas", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name)

    monkeypatch.setattr(doctor, "import_module", without)
    checks = found(capsys, code=4)
    assert (checks["pandas"]["state"], checks["pandas"]["said"]) == ("broken", "not installed")
    assert checks["scipy"]["state"] == "note"
    assert checks["scipy"]["command"] == "pip install 'zipspark[entropy]'"


@once
def test_an_optional_library_alone_is_no_fault(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_EXTRAS", (("no_such_module", "plots", "pictures"),))
    checks = found(capsys)
    assert checks["no_such_module"]["said"] == "not installed; optional, for pictures"


@once
def test_a_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    checks = found(capsys, "--work-dir", str(tmp_path / "file" / "work"), code=4)
    assert checks["work folder"]["state"] == "broken"
    assert "is a file, not a folder" in checks["work folder"]["said"]
    assert checks["stages"]["state"] == "broken"


@once
def test_a_given_folder_is_left_as_it_was(capsys, tmp_path):
    checks = found(capsys, "--work-dir", str(tmp_path))
    assert str(tmp_path) in checks["stages"]["said"]
    assert not list(tmp_path.iterdir())


def test_executors_with_another_zstd(capsys, monkeypatch):
    here = health.library_versions() | {"zstd": "1.0.0"}
    monkeypatch.setattr(health, "library_versions", lambda: here)
    checks = found(capsys, code=4)
    assert checks["tasks"]["state"] == "broken"
    assert "on an executor, 1.0.0 here" in checks["tasks"]["said"]
    assert "zstandard==" in checks["tasks"]["command"]


@once
def test_zlib_ng_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "IS_CLASSIC_ZLIB", False)
    check = doctor._libraries()
    assert check.state == "note"
    assert "zlib-ng" in check.said


@once
def test_a_full_disk_is_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 10**18)
    assert doctor._disk(str(tmp_path / "not" / "there")).state == "note"


@once
def test_a_check_that_fails_says_so_and_nothing_else(capsys, monkeypatch):
    def fail(session):
        raise RuntimeError("first line\nsecond line s3://me:secret@bucket/x")

    monkeypatch.setattr(health, "_tasks", fail)
    checks = found(capsys, code=4)
    assert checks["tasks"]["said"] == "first line"
    assert checks["memory"]["state"] in ("ok", "note")


@once
def test_spark_that_does_not_start(monkeypatch):
    monkeypatch.setattr(session, "_running", lambda: None)
    diagnosis = doctor.diagnosed(DoctorConfig(master="spark://localhost:1"))
    checks = {check.name: check for check in diagnosis.checks}
    assert not diagnosis.healthy
    assert "spark://localhost:1 does not answer" in checks["Spark"].said
    assert "tasks" not in checks
    assert "classes" not in checks  # of use on this machine alone
    assert checks["work folder"].state == "ok"


def test_a_heap_as_large_as_the_machine(spark, monkeypatch):
    monkeypatch.setattr(session, "machine_memory", lambda: 2**30)
    check = health._memory(spark)
    if os.environ.get("ZIPSPARK_TEST_REMOTE") == "1":
        return
    assert check.state == "note"
    assert check.command == "--conf spark.driver.memory=256m"


@pytest.mark.delta
def test_delta(capsys):
    check = found(capsys)["Delta"]
    assert check["state"] == "ok"
    assert "a table of 10 rows" in check["said"]


def test_without_delta_all_else_works(capsys, monkeypatch):
    monkeypatch.setattr(health, "_delta_spark", lambda: "delta-spark is not installed")
    check = found(capsys)["Delta"]
    assert check["state"] == "note"
    assert "all that is no Delta table works" in check["said"]
    assert check["command"] == "pip install 'zipspark[spark]'"


@once
@pytest.mark.parametrize(
    ("options", "environment", "starts"),
    [
        ({}, {}, True),
        ({"remote": "sc://host"}, {}, False),
        ({"remote": "local[2]"}, {}, True),
        ({}, {"SPARK_REMOTE": "sc://host"}, False),
        ({"master": "local[1]"}, {"SPARK_REMOTE": "sc://host"}, True),
        ({}, {"PYSPARK_GATEWAY_PORT": "1"}, False),
    ],
)
def test_who_starts_java(monkeypatch, options, environment, starts):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert doctor._starts_java(DoctorConfig(**options)) is starts
