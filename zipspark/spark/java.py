"""The Java that Spark would start: whether it is there, and what it is told where it works on this machine alone.

Spark's own failure says no more than that Java has exited, so it is checked first. And of the seconds that a start of
Spark takes, many go into reading and checking its classes, every time anew: Java can keep them in a file (class-data
sharing, JEP 350), which `keep_classes` has it write and every later start here reads.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from zipspark.errors import EngineError

NEEDED = 17  # the oldest that Spark 4 runs on

# Java's second compiler pays off after minutes; here it only takes the cores from the work (0.85 to 0.9 of the wall
# time of 136,000 rows on two cores without it). Room for code is then a fifth of the usual, and full after half a
# minute of small jobs: Java stops compiling, and everything is slow from there on.
_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
# Where a file of classes does not fit after all, Java goes on without it, and says so on stdout.
_TO_STDERR = "-Xlog:all=off -Xlog:all=warning:stderr"


def local_java(java: str | None) -> str:
    """The flags of a Java that does all of the work on this machine; ``java``: what `check_java` gave, if it was asked.

    With the classes that were kept, where they were. They are Spark's, and of no use to another Java or other jars.
    """
    kept = kept_classes(java) if java else None
    if kept is None or not os.path.isfile(kept):  # where nobody may look, there is none
        return _COMPILER
    return f'{_COMPILER} {_TO_STDERR} -XX:SharedArchiveFile="{kept}"'


def kept_classes(java: str) -> Path:
    """The file with the classes of Spark for the Java that says ``java`` of itself; perhaps it is not there.

    Java takes it for these very jars alone: where they are installed anew, at the same place too, it is another file.
    """
    import pyspark

    place = os.path.dirname(pyspark.__file__)
    of = "\0".join((java, pyspark.__version__, place))
    newest = max((jar.stat().st_mtime_ns for jar in Path(place, "jars").glob("*.jar")), default=0)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # some users have no home
    return Path(cache, "zipspark", f"spark-classes-{hashlib.sha256(of.encode()).hexdigest()[:16]}-{newest:x}.jsa")


def keep_classes() -> Path:
    """Make that file (some 180 MB), or make it anew, by a selection that nobody sees. Raises `EngineError`."""
    place = kept_classes(check_java())
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent) as folder:
            new = Path(folder, place.name)
            flags = f'{_COMPILER} {_TO_STDERR} -XX:ArchiveClassesAtExit="{new}"'
            job = ["select", str(_some_texts(folder)), "--budget", "10%", "--output", f"{folder}/out", "--quiet"]
            engine = ["--master", "local[2]", "--conf", f"spark.driver.extraJavaOptions={flags}"]
            # Java writes the file when the job has ended. It holds the pipe until then, so this waits for it.
            command = [sys.executable, "-m", "zipspark", *job, *engine]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
            if done.returncode or not new.exists():
                last = done.stderr.strip().rpartition("\n")[2] or "Java wrote none"
                raise EngineError(f"the classes of Spark could not be kept in {place}: {last}")
            new.replace(place)
            for old in place.parent.glob(f"{place.stem.rpartition('-')[0]}*.jsa"):  # of jars that were there before
                if old != place:
                    old.unlink()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the classes of Spark could not be kept in {place}: {error}") from None
    return place


def check_java() -> str:
    """What the Java that Spark will find says of itself. Raises `EngineError` unless it is of version 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else "java"  # Spark looks no further than JAVA_HOME when it is set
    path = shutil.which(java)
    if path is None:
        raise EngineError(f"Java {NEEDED} or newer is needed: {_missing(home)}. {_remedy()}")
    said = _said(path)
    major = _major(said)
    if major is None:
        raise EngineError(f"Java {NEEDED} or newer is needed: {path} does not run. {_remedy()}")
    if major < NEEDED:
        raise EngineError(f"Java {NEEDED} or newer is needed: {path} is version {major}. {_remedy()}")
    return said


def _some_texts(folder: str) -> Path:
    """A pool: the paragraphs of zipspark's own code."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    texts = [text for file in files for text in file.read_text(encoding="utf-8").split("\n\n")]
    place = Path(folder, "pool.parquet")
    pq.write_table(pa.table({"text": texts}), place)
    return place


def _said(path: str) -> str:
    """What ``java -version`` prints; nothing where it does not run."""
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr + done.stdout


def _major(said: str) -> int | None:
    """17 from ``openjdk version "17.0.15" 2025-04-15``, 8 from ``java version "1.8.0_392"``."""
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else None


def _missing(home: str | None) -> str:
    return f"JAVA_HOME={home} holds no bin/java" if home else "there is no java on PATH"


def _remedy() -> str:
    return "Install one (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or set JAVA_HOME to one"
