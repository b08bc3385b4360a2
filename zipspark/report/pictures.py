"""Figures on their way to files: what ``--plot FILE`` writes."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zipspark.errors import InputError, UsageError
from zipspark.extras import needs
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Picture:
    """Figures on their way to FILE and to its neighbours; a FILE that cannot be written is refused before the work."""

    name: str | None  # None: none is wanted
    _made: dict[str, Figure | None] = field(default_factory=dict)  # what comes behind the name's stem -> figure

    def __post_init__(self) -> None:
        if self.name is None:
            return
        with needs("a picture needs matplotlib", "entropy"):
            from matplotlib.backend_bases import FigureCanvasBase
        known = FigureCanvasBase.filetypes
        if self._format not in known:
            raise UsageError(f"plot must end in one of .{', .'.join(sorted(known))}, got {self.name!r}")
        place = Place.parse(self.name)
        if place.is_dir():
            raise InputError(f"plot {place} is a folder: name a file")
        place.check_writable()

    @property
    def _format(self) -> str:
        return os.path.splitext(self.name or "")[1].removeprefix(".").lower()

    def add(self, suffix: str, figure: Figure | None) -> None:
        """Where there is no picture this time (None), that of an earlier run goes: it would be taken for this one's."""
        self._made[suffix] = figure

    def save(self) -> tuple[str, ...]:
        """Write all; each file is there whole or not at all. Returns their names."""
        written = []
        for suffix, figure in self._made.items():
            stem, ending = os.path.splitext(self.name or "")
            name = f"{stem}{suffix}{ending}"
            place = Place.parse(name)
            if figure is not None:
                picture = io.BytesIO()
                figure.savefig(picture, format=self._format, dpi=120)
                place.write_whole(picture.getvalue())
                written.append(name)
            elif not place.is_dir():
                place.delete()
        return tuple(written)
