"""The scripts behind `make`, on machines made of fake executables: PATH holds nothing else. And Spark's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pyspark
import pytest

from zipspark.spark.session import SQL_SETTINGS

CONF = Path(__file__).parents[2] / "conf"
SCRIPTS = Path(__file__).parents[2] / "scripts"
SH = shutil.which("sh") or "/bin/sh"

# What `java -version` prints first, as released by OpenJDK, Oracle and early-access builds.
NEW_ENOUGH = ['openjdk version "17.0.15" 2025-04-15', 'java version "21" 2023-09-19', 'openjdk version "25-ea"']
TOO_OLD = {'java version "1.8.0_392"': 8, 'openjdk version "11.0.20.1" 2023-08-24': 11, 'openjdk version "9"': 9}


class Machine:
    """A folder of executables that is the whole PATH."""

    def __init__(self, folder: Path, user: int = 1000):
        self.bin = folder
        self.environment = {"PATH": str(folder)}
        self.add("id", f"echo {user}")

    def add(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def add_java(self, version_line: str, name: str = "java") -> Path:
        return self.add(name, f"echo 'Picked up JAVA_TOOL_OPTIONS: -Xmx1g' >&2\necho '{version_line}' >&2")

    def ensure_java(self, *flags: str) -> tuple[int, str]:
        """Exit code and message (stderr; stdout stays empty)."""
        done = subprocess.run(
            [SH, SCRIPTS / "ensure-java", *flags], env=self.environment, capture_output=True, text=True
        )
        assert done.stdout == ""
        return done.returncode, done.stderr


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ["ensure-chromium", "ensure-java", "spark-submit"])
def test_is_executable(name):
    assert os.access(SCRIPTS / name, os.X_OK)


@pytest.mark.parametrize("version_line", NEW_ENOUGH)
def test_says_nothing_where_java_is_new_enough(machine, version_line):
    machine.add_java(version_line)
    assert machine.ensure_java("--check") == (0, "")
    assert machine.ensure_java() == (0, "")


@pytest.mark.parametrize("version_line", TOO_OLD)
def test_names_the_version_that_is_too_old(machine, version_line):
    java = machine.add_java(version_line)
    code, message = machine.ensure_java("--check")
    assert code == 1
    assert f"needs Java 17 or newer, but {java} is version {TOO_OLD[version_line]}. Run: " in message


def test_says_that_none_is_there(machine):
    code, message = machine.ensure_java("--check")
    assert code == 1
    assert "none is on PATH. Run: export JAVA_HOME=" in message


@pytest.mark.parametrize("script", ["exit 1", "echo garbage", "echo 'version \"\"'"])
def test_a_java_that_does_not_run_is_none(machine, script):
    java = machine.add("java", script)
    code, message = machine.ensure_java("--check")
    assert code == 1
    assert f"{java} does not run" in message


@pytest.mark.parametrize(
    ("installer", "command"),
    [
        ("apt-get", "sudo apt-get install default-jre-headless"),
        ("dnf", "sudo dnf install java-21-openjdk-headless"),
        ("brew", "brew install --cask temurin@17"),
    ],
)
def test_names_the_one_command_of_the_system(machine, installer, command):
    machine.add(installer, "exit 1")
    code, message = machine.ensure_java()  # not root, so it must not install either
    assert code == 1
    assert message.endswith(f". Run: {command}\n")


def test_asks_apt_for_17_where_it_is_offered(machine):
    machine.add("apt-get", "exit 1")
    machine.add("apt-cache", "exit 0")
    assert "apt-get install openjdk-17-jre-headless" in machine.ensure_java()[1]


class TestJavaHome:
    def test_comes_before_path(self, machine, tmp_path):
        machine.add_java(NEW_ENOUGH[0], "home with space/bin/java")
        machine.add_java('java version "1.8.0_392"')
        machine.environment["JAVA_HOME"] = str(tmp_path / "home with space")
        assert machine.ensure_java("--check") == (0, "")

    @pytest.mark.parametrize("home_has_java", [True, False])
    def test_is_named_where_it_alone_is_in_the_way(self, tmp_path, home_has_java):
        machine = Machine(tmp_path, user=0)
        machine.add("apt-get", "echo must not be called")
        machine.add_java(NEW_ENOUGH[0])
        if home_has_java:
            machine.add_java('java version "1.8.0_392"', "home/bin/java")
        machine.environment["JAVA_HOME"] = str(tmp_path / "home")
        code, message = machine.ensure_java()
        assert code == 1
        assert f"{tmp_path / 'home'}/bin/java " in message
        assert message.endswith("Run: unset JAVA_HOME\n")

    def test_is_to_be_unset_after_an_installation(self, machine, tmp_path):
        machine.add("dnf", "exit 1")
        machine.environment["JAVA_HOME"] = str(tmp_path)
        assert machine.ensure_java()[1].endswith("dnf install java-21-openjdk-headless && unset JAVA_HOME\n")


class TestRootOnDebian:
    @pytest.fixture
    def debian(self, tmp_path) -> Machine:
        """root, with an apt-get that brings a java and logs how it was called."""
        machine = Machine(tmp_path, user=0)
        java = machine.add_java(NEW_ENOUGH[0], "package/java")
        bring_java = f"{shutil.which('ln')} -s '{java}' '{tmp_path}'"
        machine.add("apt-get", f'echo "apt-get $*"\n[ "$1" != install ] || {bring_java}')
        return machine

    def test_installs_and_says_so(self, debian):
        code, message = debian.ensure_java()
        assert code == 0
        assert "none is on PATH: installing one with apt-get" in message
        assert "apt-get update\napt-get install --yes --no-install-recommends default-jre-headless" in message
        assert debian.ensure_java() == (0, "")

    def test_never_installs_for_a_check(self, debian):
        code, message = debian.ensure_java("--check")
        assert code == 1
        assert message.endswith("Run: apt-get install default-jre-headless\n")  # no sudo for root

    def test_reports_a_failed_installation(self, debian):
        debian.add("apt-get", "exit 100")
        code, message = debian.ensure_java()
        assert code == 1
        assert message.endswith("none is on PATH. Run: apt-get install default-jre-headless\n")


def test_spark_submit_runs_pysparks_own_with_the_environment_first_on_path(tmp_path):
    environment = Machine(tmp_path / "with space" / "bin")
    environment.add("python", f"echo '{environment.bin}/pyspark'")  # asked where pyspark is
    environment.add("pyspark/bin/spark-submit", 'echo "$PATH|$*"')
    (environment.bin / "spark-submit").symlink_to(SCRIPTS / "spark-submit")
    done = subprocess.run(
        [environment.bin / "spark-submit", "job.py", "--budget", "5%"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{environment.bin}:/usr/bin:/bin|job.py --budget 5%\n"


# --- conf ----------------------------------------------------------------------------------------------------------


def test_every_setting_of_spark_has_its_reason():
    paragraphs = (CONF / "spark-defaults.conf").read_text("utf-8").strip().split("\n\n")[1:]  # behind the head
    settings = {}
    for lines in map(str.splitlines, paragraphs):
        *reason, setting = lines
        assert reason
        assert all(line.startswith("# ") for line in reason)
        key, value = setting.split()
        assert key.startswith("spark.")
        settings[key] = value
    assert len(settings) == len(paragraphs)
    assert {key: settings[key] for key in SQL_SETTINGS} == SQL_SETTINGS  # of sessions that zipspark starts


def test_spark_logs_to_stderr_alone():
    text = (CONF / "log4j2.properties").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    settings = dict(line.split(" = ", 1) for line in lines)
    assert settings["appender.stderr.target"] == "SYSTEM_ERR"
    assert [key for key in settings if key.endswith(".type")] == ["appender.stderr.type", "appender.stderr.layout.type"]
    assert settings["rootLogger.appenderRef.stderr.ref"] == settings["appender.stderr.name"]
    loggers = {key.split(".")[1] for key in settings if key.startswith("logger.")}
    for name in loggers:
        assert {f"logger.{name}.name", f"logger.{name}.level"} <= settings.keys()


def test_what_spark_logs_is_logged_by_classes_of_those_names():
    """Those that are to be taken in where text must not be in the log, too."""
    text = (CONF / "log4j2.properties").read_text("utf-8")
    names = re.findall(r"^#?logger\.\w+\.name = (\S+)$", text, flags=re.MULTILINE)
    assert len(names) == 6
    jars = Path(pyspark.__file__).parent / "jars"
    files = [name for jar in jars.glob("*.jar") if jar.name.startswith(("spark-", "hadoop-")) for name in names_in(jar)]
    assert {name.replace(".", "/") + ".class" for name in names} <= set(files)


def names_in(jar: Path) -> list[str]:
    with ZipFile(jar) as opened:
        return opened.namelist()
