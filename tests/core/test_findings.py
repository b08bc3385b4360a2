"""`zipspark doctor` where pyspark itself is missing, and what a finding says."""

from __future__ import annotations

import json

from test_rules import run_without_pyspark

from zipspark.errors import EngineError, InputError
from zipspark.report.findings import Check, Diagnosis, checked

DOCTOR = """
import sys
from zipspark.cli import run
sys.exit(run(["doctor", "--json"]))
"""


def test_without_pyspark_the_others_are_looked_at():
    done = run_without_pyspark(DOCTOR)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout)
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["pyspark"]["said"] == "not installed"
    assert checks["pyspark"]["command"] == "pip install 'zipspark[spark]'"
    assert checks["Spark"]["said"].startswith("not tried without pyspark")
    assert checks["Python"]["state"] == checks["work folder"]["state"] == "ok"


def raising(error: Exception):
    def look() -> Check:
        raise error

    return look


def test_what_a_check_raises_is_its_finding():
    assert checked("x", raising(EngineError("Spark is gone. Run: start it"))) == Check(
        "x", "broken", "Spark is gone", "start it"
    )
    assert checked("x", raising(InputError("no room")), "make some") == Check("x", "broken", "no room", "make some")
    found = checked("x", raising(RuntimeError("s3://me:secret@bucket/x is closed\nand more")))
    assert found == Check("x", "broken", "s3://bucket/x is closed")
    assert checked("x", raising(ModuleNotFoundError("No module named 'y'")), "pip install y").command == "pip install y"


def test_notes_are_healthy_and_faults_are_not():
    fine = (Check("a", "ok", "1"), Check("longer", "note", "2", "do this"))
    assert Diagnosis(fine).healthy
    assert not Diagnosis((*fine, Check("c", "broken", "3"))).healthy
    assert str(Diagnosis(fine)).splitlines() == [
        "ok      a       1",
        "note    longer  2",
        "                → do this",
    ]
