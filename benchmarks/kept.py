"""Results of runs that take long, kept one by one as they end: a command that was interrupted goes on where it was.

Beside a table NAME-POOL.md stands NAME-POOL.jsonl, a line per run: {"of": options, "run": which, "found": result}.
Lines of other options stay and are not looked at. The code is no part of options: remove the file when that changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Kept:
    """The runs that were made with options ``of``."""

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        self._path = path
        self._of = json.loads(json.dumps(of))  # as it is read back
        self._found: dict[str, Json] = {}
        for line in path.read_text(encoding="utf-8").split("\n")[1:] if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line that was being written when the run was killed
                continue
            if row["of"] == self._of:
                self._found[json.dumps(row["run"], sort_keys=True)] = row["found"]

    def get(self, run: Mapping[str, Any]) -> Json | None:
        return self._found.get(json.dumps(run, sort_keys=True))

    def of(self, run: Mapping[str, Any], find: Callable[[], Json]) -> Json:
        """What was found of ``run``; where it is not known yet, ``find`` is asked and its answer kept."""
        found = self.get(run)
        if found is None:
            found = self._found[json.dumps(run, sort_keys=True)] = json.loads(json.dumps(find()))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as lines:
                # A line starts with its end: one that was cut off must not take the next with it.
                lines.write("\n" + json.dumps({"of": self._of, "run": run, "found": found}))
        return found
