"""The redundancy matrix: how well the text of one source compresses that of another.

Entry (A, B) is the size of B's text given A's over the size of B's text, both in bytes; lower: A says more of what B
says. B's samples are sized one by one, with A's text as a zstd dictionary. Three things make entries comparable:

* **Equal bytes.** Each source gives two sets of samples, a context and a test, of the same bytes in every source, so
  that a large source does not look better for its size. A source too small for that is marked (`Matrix.small`).
* **Disjoint sets.** Context and test of a source share no sample, so the diagonal is A given *other* samples of A.
* **One test.** A column's entries, and ``alone``, size the same samples of B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zipspark.core.codecs import Codec
from zipspark.core.presets import content_hash
from zipspark.core.zstd_codec import HEADER_SAMPLES, ZstdCodec
from zipspark.errors import InputError
from zipspark.extras import needs
from zipspark.units import format_bytes, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SAMPLE_BYTES = 64 * 2**10  # of a sample no more counts, or one long document would be all there is of its source
FEWEST_BYTES = 32 * 2**10  # a source with less in its test is measured with what it has, and sets no size for others
SHOWN = 40  # groups in a printed table, the largest ones
_COLUMNS = 12  # groups that a table of all entries has room for
_NUMBERED = 25  # up to so many groups the picture has room for numbers

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matrix:
    """How well each of g groups compresses each other; groups are in descending order of ``totals``."""

    groups: tuple[str, ...]
    values: Floats  # (g, g); [a, b] = bytes of b given a / bytes of b
    alone: Floats  # (g,) bytes of b given nothing / bytes of b
    bytes: tuple[int, ...]  # (g,) text in the context of a group, and in its test
    totals: tuple[int, ...]  # (g,) text of the whole group, equal contents once
    left_out: tuple[str, ...] = ()  # groups that are not measured: a single text, or too many groups

    @property
    def small(self) -> tuple[str, ...]:
        """Groups that had less text than the others were measured with: their rows look worse than they are."""
        return tuple(name for name, size in zip(self.groups, self.bytes, strict=True) if size < max(self.bytes))

    def order(self) -> list[str]:
        """The groups in the order of ``--phases auto``: what compresses the others best comes first.

        Greedy: next is the group that lowers the conditional sizes of those that remain by the most in the mean, where
        a size is the smallest over all groups placed so far. Ties: by name. A heuristic: that text which explains other
        text is better learned first is plausible, not proven.

        >>> values = np.array([[0.5, 0.6, 0.9], [0.3, 0.5, 0.4], [0.9, 0.9, 0.5]])
        >>> Matrix(("a", "b", "c"), values, np.full(3, 0.9), (10,) * 3, (10,) * 3).order()
        ['b', 'a', 'c']
        """
        sizes = self.alone.copy()
        left = sorted(range(len(self.groups)), key=self.groups.__getitem__)
        order = []
        while left:
            # Rounded, so that the order of a sum's terms cannot decide a tie.
            saved = {a: round(sum(max(0.0, sizes[b] - self.values[a, b]) for b in left if b != a), 9) for a in left}
            best = max(left, key=saved.__getitem__)
            left.remove(best)
            sizes = np.minimum(sizes, self.values[best])
            order.append(self.groups[best])
        return order

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints; ``values`` are rows, one for each a."""
        return {
            "groups": list(self.groups),
            "values": self.values.tolist(),
            "alone": self.alone.tolist(),
            "bytes": list(self.bytes),
            "totals": list(self.totals),
            "left_out": list(self.left_out),
            "order": self.order(),
        }

    def cells(self) -> list[dict[str, Any]]:
        """One row per entry: ``a, b, conditional, alone``."""
        return [
            {"a": a, "b": b, "conditional": float(self.values[row, column]), "alone": float(self.alone[column])}
            for row, a in enumerate(self.groups)
            for column, b in enumerate(self.groups)
        ]

    def notes(self) -> list[str]:
        """What stands below the table, one sentence a line."""
        said = [
            "row: what is given; column: what is sized, as bytes / bytes of text; lower: the row says more of it.",
            f"measured on {format_bytes(max(self.bytes))} of each group given as much, by content hash; "
            "the diagonal on other samples of the group.",
        ]
        if self.small:
            small = ", ".join(_named(self.small))
            said.append(f"* too little text for an equal measure, rows look worse than they are: {small}.")
        if self.left_out:
            left_out = ", ".join(_named(self.left_out))
            said.append(f"not measured, for holding a single text or being the smallest of too many: {left_out}.")
        if len(self.groups) > SHOWN:
            said.append(f"the largest {SHOWN} of {len(self.groups):,} groups are shown.")
        return [*said, f"order of --phases auto (a heuristic): {', '.join(_named(self.order()))}."]

    def to_table(self) -> Table:
        """For the terminal: all entries of a few groups; of many the `SHOWN` largest, and what helps each most."""
        from rich.table import Table
        from rich.text import Text

        shown = self.groups[:SHOWN]
        table = Table(title="Redundancy", title_justify="left", title_style="bold")
        labels = [Text(f"{number} {name}{' *' * (name in self.small)}") for number, name in enumerate(shown, 1)]
        if len(shown) <= _COLUMNS:  # names, which can be long, stand in the rows alone
            columns = [("given", [Text("  (nothing)"), *labels])]
            for number in range(len(shown)):
                values = [self.alone[number], *self.values[:, number]]
                columns.append((str(number + 1), [Text(f"{value:.3f}") for value in values]))
        else:
            best = [
                int(np.argmin(np.where(np.arange(len(self.groups)) == at, np.inf, self.values[:, at])))
                for at in range(len(shown))
            ]
            columns = [("group", labels), ("given nothing", [Text(f"{value:.3f}") for value in self.alone[:SHOWN]])]
            columns.append(("itself", [Text(f"{value:.3f}") for value in self.values.diagonal()[:SHOWN]]))
            columns.append(("best other", [Text(f"{self.values[a, b]:.3f}") for b, a in enumerate(best)]))
            columns.append(("", [Text(self.groups[a]) for a in best]))
        for title, _ in columns:
            table.add_column(title, justify="right" if title not in ("given", "group", "") else "left", overflow="fold")
        for row in zip(*(cells for _, cells in columns), strict=True):
            table.add_row(*row, end_section=row[0].plain == "  (nothing)")
        return table

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(self.to_table(), *map(Text, self.notes()))

    def figure(self) -> Figure:
        """A heat map, groups in the order of `order`. Raises `UsageError` where matplotlib is not installed."""
        with needs("a picture needs matplotlib", "plots"):
            from matplotlib.figure import Figure
        order = [self.groups.index(name) for name in self.order()]
        names = [shortened(self.groups[index]) for index in order]
        shades = np.vstack([self.alone[order], self.values[np.ix_(order, order)]])
        side = min(24.0, 3.5 + 0.62 * len(names))
        figure = Figure(figsize=(side + 1.5, side), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shades, cmap="viridis", aspect="auto")
        axes.axhline(0.5, color="white", linewidth=3)  # what stands above is no group
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names) + 1), ["(nothing)", *names])
        axes.set_xlabel("text that is compressed")
        axes.set_ylabel("text that is given")
        if len(names) <= _NUMBERED:
            middle = (shades.min() + shades.max()) / 2
            for (row, column), value in np.ndenumerate(shades):
                color = "white" if value < middle else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=9)
        figure.colorbar(image, label="compressed bytes / bytes (lower: more is shared)")
        axes.set_title("How well one source compresses another")
        return figure


@dataclass(frozen=True)
class Sides:
    """What is measured: of each group a context and a test."""

    groups: tuple[str, ...]
    contexts: tuple[bytes, ...]  # (g,) samples, one after the other
    tests: tuple[tuple[bytes, ...], ...]  # (g, ...) samples
    codec: ZstdCodec  # with the literal statistics of all contexts


def measure(groups: Mapping[str, Sequence[bytes]], limit: int = 2**20) -> Matrix:
    """The matrix of samples in memory, on at most ``limit`` bytes of context and of test a group.

    Raises `InputError` when fewer than two groups hold two different samples each.

    >>> verse = [b"the cat sat on the mat %d" % number for number in range(50)]
    >>> found = measure({"cats": verse[:25], "more cats": verse[25:], "numbers": [b"%d" % 7**n for n in range(50)]})
    >>> bool(found.values[found.groups.index("cats"), found.groups.index("more cats")] < 0.5)
    True
    """
    distinct = {name: sorted(set(samples), key=content_hash) for name, samples in groups.items()}
    prepared = sides(distinct, limit)
    values = np.array([sizes_given(prepared.codec, context, prepared.tests) for context in prepared.contexts])
    return assembled(prepared, values, {name: sum(map(len, samples)) for name, samples in distinct.items()})


def sides(groups: Mapping[str, Sequence[bytes]], limit: int) -> Sides:
    """Cut each group's samples (distinct, in the order of their content hash) into context and test of equal bytes.

    Groups with a single sample are left out. Raises `InputError` when fewer than two remain.
    """
    halves = {name: _halves(samples) for name, samples in sorted(groups.items()) if len(samples) > 1}
    if len(halves) < 2:
        found = ", ".join(_named(sorted(groups))) or "none"
        raise InputError(f"a matrix needs at least 2 groups with 2 different samples each, got {found}")
    held = {name: min(sum(map(len, half)) for half in both) for name, both in halves.items()}
    enough = [size for size in held.values() if size >= FEWEST_BYTES]
    size = min(limit, min(enough, default=max(held.values())))
    contexts = [_first(context, size) for context, _ in halves.values()]
    tests = [_first(test, min(size, held[name])) for name, (_, test) in halves.items()]
    each = max(1, HEADER_SAMPLES // len(halves))
    trained = ZstdCodec().trained([sample for context in contexts for sample in context[:each]])
    return Sides(tuple(halves), tuple(map(b"".join, contexts)), tuple(map(tuple, tests)), trained)


def sizes_given(codec: Codec, context: bytes, tests: Sequence[Sequence[bytes]]) -> Floats:
    """(g,) bytes of each test's samples given ``context`` (empty: given nothing) over their bytes."""
    samples = [sample for test in tests for sample in test]
    given = codec.context([*samples, context])
    if context:
        given.add(len(samples))
        sizes = np.array([given.conditional_size(index)[0] for index in range(len(samples))])
    else:
        sizes = given.sizes_alone()[:-1]
    starts = np.cumsum([0, *map(len, tests[:-1])])
    shares: Floats = np.add.reduceat(sizes, starts) / [sum(map(len, test)) for test in tests]
    return shares


def assembled(prepared: Sides, values: Floats, totals: Mapping[str, int]) -> Matrix:
    """The matrix with its groups in descending order of ``totals`` (bytes of a whole group), ties by name."""
    alone = sizes_given(prepared.codec, b"", prepared.tests)
    order = sorted(range(len(prepared.groups)), key=lambda at: (-totals[prepared.groups[at]], prepared.groups[at]))
    return Matrix(
        groups=tuple(prepared.groups[at] for at in order),
        values=values[np.ix_(order, order)],
        alone=alone[order],
        bytes=tuple(sum(map(len, prepared.tests[at])) for at in order),
        totals=tuple(totals[prepared.groups[at]] for at in order),
        left_out=tuple(sorted(totals.keys() - set(prepared.groups))),
    )


def _halves(samples: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Each sample, cut to `SAMPLE_BYTES`, to the side that has less so far."""
    both: tuple[list[bytes], list[bytes]] = [], []
    held = [0, 0]
    for sample in samples:
        side = int(held[0] > held[1])
        both[side].append(sample[:SAMPLE_BYTES])
        held[side] += len(both[side][-1])
    return both


def _first(samples: Sequence[bytes], size: int) -> list[bytes]:
    """The first ``size`` bytes of them, the last sample cut."""
    taken: list[bytes] = []
    for sample in samples:
        if size <= 0:
            break
        taken.append(sample[:size])
        size -= len(taken[-1])
    return taken


def _named(names: Sequence[str]) -> list[str]:
    return [*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])]
