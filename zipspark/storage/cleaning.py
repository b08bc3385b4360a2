"""What was killed and has left something beside OUT: stages of runs, of verify and report, half a new OUT."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyarrow.fs import FileSelector

from zipspark.config import EngineOptions
from zipspark.storage.output import mark_in, unfinished
from zipspark.storage.owners import is_running
from zipspark.storage.places import Place
from zipspark.storage.stages import (
    PURPOSES,
    aside,
    completed,
    delete_stages,
    folder_of,
    folders_in,
    read_state,
)


@dataclass(frozen=True)
class Leftover:
    """One folder that can go, or must stay as somebody works in it."""

    place: Place
    stages: tuple[str, ...]  # that are complete, in the order they were
    bytes: int
    in_use: bool  # by a process of this machine

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.place),
            "stages": list(self.stages),
            "bytes": self.bytes,
            "in_use": self.in_use,
        }


def leftovers(engine: EngineOptions) -> list[Leftover]:
    """What there is beside ``engine.output``, or in ``engine.work_dir``, for that OUT, schema or subset."""
    assert engine.output is not None
    outputs = [engine.output, *(aside(engine.output, purpose) for purpose in PURPOSES)]
    if engine.work_dir:
        works = [work for output in outputs for work in folders_in(engine.work_dir, output)]
    else:
        works = [work for output in outputs if (work := folder_of(EngineOptions(output=output))) and work.exists()]
    found = [
        Leftover(work, tuple(row["stage"] for row in completed(work)), _size(work), _is_in_use(work)) for work in works
    ]
    own = folder_of(engine)
    assert own is not None
    in_use = _is_in_use(own)
    return found + [
        Leftover(place, (), _size(place), in_use or is_running(mark_in(place) or {}))
        for place in _half_written(Place.parse(engine.output))
    ]


def remove(found: Leftover) -> None:
    delete_stages(found.place)


def _is_in_use(work: Place) -> bool:
    state = read_state(work)
    return state is not None and is_running(state)


def _half_written(out: Place) -> Iterator[Place]:
    """New OUTs that were never committed. Old ones laid aside are not these: they may be all there is."""
    if unfinished(out) is not None:
        yield out
    if out.parent.is_dir():
        name = re.compile(rf"\.{re.escape(out.name)}\.new-[0-9a-f]{{8}}")
        yield from (place for place in out.parent.list() if name.fullmatch(place.name))


def _size(folder: Place) -> int:
    files = folder.filesystem.get_file_info(FileSelector(folder.path, recursive=True, allow_not_found=True))
    return sum(file.size or 0 for file in files)
