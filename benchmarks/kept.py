"""Results of runs that take long, kept one by one as they end: a command that was interrupted goes on where it was.

Beside the tables NAME-POOL.md stands NAME-POOL.jsonl, a line per run: {"of": conditions, "run": which, "on": date,
"found": result}. Conditions are all that a result depends on: options, the pool's bytes, the code and the versions of
packages. Lines of other conditions stay and are not looked at.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import zipspark

Json = dict[str, Any]

HERE = Path(__file__).parent
CODE = ("core", "spark", "entropy", "config", "demo.py")  # of zipspark: what can change a figure
ALWAYS = ("numpy", "scipy", "zstandard", "pyarrow", "pyspark")  # packages that any figure may depend on
ENDS = 2**20  # bytes of a pool that are read at each end; a Parquet file's last ones say what all others are
_IMPORTED = re.compile(r'^\s*(?:from|import) (\w+)|import_module\("(\w+)"\)', re.MULTILINE)
_SHOWS = {"results", "kept", "paired"}  # modules that print figures and make none


class Kept:
    """The runs of benchmark ``name`` (the module of that file) that were made with options ``of`` on ``pool``.

    ``packages`` are those that it uses where they are there: what was found without one is not taken for its answer
    once it is installed.
    """

    def __init__(
        self, path: Path, name: str, of: Mapping[str, Any], pool: Path | None, packages: Sequence[str] = ()
    ) -> None:
        conditions = {
            "options": of,
            "pool": pool and _ends(pool),
            "code": code(name),
            "python": platform.python_version(),  # the demo corpus comes with it
            "packages": {package: version_of(package) for package in (*ALWAYS, *packages)},
        }
        self._path = path
        self._of = json.loads(json.dumps(conditions))  # as it is read back
        self._found: dict[str, Json] = {}
        self._dates: dict[str, str] = {}  # by run: when one that was kept from before was made
        self._asked: set[str] = set()
        for line in path.read_text(encoding="utf-8").split("\n")[1:] if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line that was being written when the run was killed
                continue
            if row["of"] == self._of:
                run = json.dumps(row["run"], sort_keys=True)
                self._found[run], self._dates[run] = row["found"], row["on"]

    def get(self, run: Mapping[str, Any]) -> Json | None:
        return self._found.get(json.dumps(run, sort_keys=True))

    def of(self, run: Mapping[str, Any], find: Callable[[], Json]) -> Json:
        """What was found of ``run``; where it is not known yet, ``find`` is asked and its answer kept."""
        key = json.dumps(run, sort_keys=True)
        if key not in self._found:
            self._found[key] = json.loads(json.dumps(find()))
            line = {"of": self._of, "run": run, "on": f"{datetime.now(UTC):%Y-%m-%d}", "found": self._found[key]}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as lines:
                # A line starts with its end: one that was cut off must not take the next with it.
                lines.write("\n" + json.dumps(line))
        self._asked.add(key)
        return self._found[key]

    def said(self) -> str:
        """How many of the runs that were asked for are older than this command, in a sentence for its table."""
        old = [self._dates[run] for run in self._asked if run in self._dates]
        since = f", the oldest of {min(old)}; their code, pool and packages are the same" if old else ""
        return f"{len(old)} of {len(self._asked)} runs were kept from before{since}."


def code(name: str) -> str:
    """A digest of the sources that module ``name`` of this folder runs: those of zipspark, its own, and what it imports
    from this folder, but for what only prints."""
    package = Path(zipspark.__file__).parent
    files = [file for part in CODE for file in _sources(package / part)]
    files += [HERE / f"{module}.py" for module in sorted(_with_imports(name) - _SHOWS)]
    digest = blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.name}\0".encode() + blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _sources(place: Path) -> Iterator[Path]:
    """The Python files of a package or a module; none where it is not there."""
    if place.suffix:
        yield from [place] if place.exists() else ()
    else:
        yield from sorted(place.rglob("*.py"))


def _with_imports(name: str) -> set[str]:
    """``name`` and the modules of this folder that it imports, by way of others too, wherever in them."""
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        texts = [(HERE / f"{module}.py").read_text(encoding="utf-8") for module in new]
        named = {module for text in texts for pair in _IMPORTED.findall(text) for module in pair if module}
        new = {module for module in named if (HERE / f"{module}.py").exists()} - found
    return found


def _ends(pool: Path) -> Json:
    """What tells a file from one of the same name."""
    size = pool.stat().st_size
    with pool.open("rb") as file:
        digest = blake2b(file.read(ENDS), digest_size=8)
        file.seek(max(0, size - ENDS))
        digest.update(file.read())
    return {"bytes": size, "ends": digest.hexdigest()}
