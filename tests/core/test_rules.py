"""Rules of the design that no type checker knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("zipspark", "jobs") for path in (ROOT / folder).rglob("*.py"))

# Spark Connect and serverless refuse the first group; the second gives other rows each time a task is run again.
FORBIDDEN = {
    "sparkContext": r"\bsparkContext\b|\bSparkContext\b|\bsc\.",
    "RDDs": r"\.rdd\b|\.toJavaRDD|\bparallelize\(",
    "the JVM": r"\._j[a-z]+\b|\b_jvm\b",
    "broadcast variables": r"(?<!\bF)(?<!functions)\.broadcast\(|\bBroadcast\b",  # F.broadcast is a hint for a join
    "accumulators": r"[aA]ccumulator",
    "cache": r"\.(un)?(cache|persist)\(|\.checkpoint\(|\.localCheckpoint\(",
    "ids by position": r"monotonically_increasing_id|\bspark_partition_id\(",
    "random columns": r"\bF\.(rand|randn|uuid|shuffle)\(|functions\.(rand|randn|uuid|shuffle)\(|\.randomSplit\(",
}
ALLOWED = {"sparkContext": {"zipspark/spark/progress.py"}}  # guarded: what is not there is not shown


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_nothing_forbidden_is_used(rule):
    assert len(SOURCES) > 10
    found = [
        f"{name}:{number}: {line.strip()}"
        for path in SOURCES
        if (name := path.relative_to(ROOT).as_posix()) not in ALLOWED.get(rule, ())
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(FORBIDDEN[rule], line) and not _is_text(line)
    ]
    assert not found


def _is_text(line: str) -> bool:
    """Spark's own messages may be quoted, and comments may say why something is not used."""
    return re.match(r"""\s*(#|\|?\s*r?["'])""", line) is not None


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("sparkContext", "spark.sparkContext.statusTracker()"),
        ("RDDs", "df.rdd.map(f)"),
        ("the JVM", "spark._jvm.System"),
        ("the JVM", "df._jdf"),
        ("broadcast variables", "spark.broadcast(x)"),
        ("cache", "df.cache()"),
        ("random columns", "df.withColumn('r', F.rand(1))"),
    ],
)
def test_the_rules_find_what_they_name(rule, line):
    assert re.search(FORBIDDEN[rule], line)


def test_a_hint_for_a_join_is_no_broadcast_variable():
    assert not re.search(FORBIDDEN["broadcast variables"], "df.join(F.broadcast(small), 'id')")


WITHOUT_PYSPARK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyspark", "delta"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run_without_pyspark(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT_PYSPARK + script], capture_output=True, text=True)


def test_core_needs_no_pyspark():
    modules = [path.relative_to(ROOT) for path in SOURCES if path.is_relative_to(ROOT / "zipspark" / "core")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules]
    assert "zipspark.core" in names
    done = run_without_pyspark("".join(f"import {name}\n" for name in names))
    assert done.returncode == 0, done.stderr


def test_spark_without_pyspark_is_an_engine_error():
    done = run_without_pyspark(
        "from zipspark.config import EngineOptions\n"
        "from zipspark.spark.session import get_session\n"
        "get_session(EngineOptions())\n"
    )
    assert done.stderr.splitlines()[-1] == (
        "zipspark.errors.EngineError: pyspark is not installed. Run: pip install 'zipspark[spark]'"
    )
