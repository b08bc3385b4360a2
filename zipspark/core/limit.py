"""A budget while it is spent, with quotas, floors and caps of groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import numpy as np
import numpy.typing as npt

from zipspark.core.objectives import Floats

Groups = npt.NDArray[np.int64]


class Limit:
    """A budget while it is spent, with what each group must get and may get of it at most.

    What the floors reserve is for their groups alone; the rest is free. A pick spends its group's floor first. Amounts
    for each group (quotas) are floors that are caps too, with nothing free. No pick exceeds what it may spend, unless
    ``overshoot`` lets the last of a group do so.

    Args:
        units: (n,) what each sample takes: ones where rows are counted, bytes or tokens where these are.
        amount: the budget.
        groups: (n,) the group of each sample, an index into the next two; default: all are in one.
        floors, caps: (g,) least and most of each group; default: 0 and all.
    """

    def __init__(
        self,
        units: Floats,
        amount: float,
        groups: Groups | None = None,
        floors: Sequence[float] = (0.0,),
        caps: Sequence[float] = (math.inf,),
        overshoot: bool = False,
    ) -> None:
        self.units = units
        self.groups = np.zeros(len(units), dtype=np.int64) if groups is None else groups
        self.overshoot = overshoot
        # The same as lists, which answer one index faster.
        self._units: list[float] = units.tolist()
        self._groups: list[int] = self.groups.tolist()
        self._left = amount
        self._floors, self._caps = list(floors), list(caps)  # what is left of each
        self._free = amount - sum(floors)

    @property
    def reached(self) -> bool:
        """Whether nothing is left."""
        return self._left <= 0

    def fits(self, index: int) -> bool:
        group = self._groups[index]
        room = min(self._free + self._floors[group], self._caps[group])
        return room > 0 if self.overshoot else self._units[index] <= room

    def rooms(self) -> Floats:
        """(g,) what is left for each group."""
        return np.minimum(self._free + np.asarray(self._floors), self._caps)

    def fitting(self) -> npt.NDArray[np.bool_]:
        """`fits` of every sample, (n,)."""
        rooms = self.rooms()[self.groups]
        return rooms > 0 if self.overshoot else self.units <= rooms

    def spend(self, index: int) -> None:
        group, units = self._groups[index], self._units[index]
        if self.overshoot:  # what goes beyond its own room is not taken from others'
            units = min(units, max(self._free + self._floors[group], 0), max(self._caps[group], 0))
        reserved = min(units, self._floors[group])
        self._floors[group] -= reserved
        self._free -= units - reserved
        self._caps[group] -= units
        self._left -= units

    def copy(self) -> Limit:
        """A limit with as much left, spent apart."""
        apart = copy(self)
        apart._floors, apart._caps = list(self._floors), list(self._caps)
        return apart
