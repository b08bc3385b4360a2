"""The Java that Spark would start, checked first: Spark's own failure says no more than that Java has exited."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from zipspark.errors import EngineError

NEEDED = 17  # the oldest that Spark 4 runs on


def check_java() -> None:
    """Raise `EngineError` unless Spark will find a Java of version 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else "java"  # Spark looks no further than JAVA_HOME when it is set
    path = shutil.which(java)
    if path is None:
        raise EngineError(f"Java {NEEDED} or newer is needed: {_missing(home)}. {_remedy()}")
    major = _major(path)
    if major is None:
        raise EngineError(f"Java {NEEDED} or newer is needed: {path} does not run. {_remedy()}")
    if major < NEEDED:
        raise EngineError(f"Java {NEEDED} or newer is needed: {path} is version {major}. {_remedy()}")


def _major(path: str) -> int | None:
    """17 from ``openjdk version "17.0.15" 2025-04-15``, 8 from ``java version "1.8.0_392"``."""
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else None


def _missing(home: str | None) -> str:
    return f"JAVA_HOME={home} holds no bin/java" if home else "there is no java on PATH"


def _remedy() -> str:
    return "Install one (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or set JAVA_HOME to one"
