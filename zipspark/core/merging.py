"""The merge tree, planned from bytes alone: never from cores, so that a ranking does not depend on the machine.

::

    part 0 ─┐
    part 1 ─┼─▶ node 0 ─┐                       every part and node runs the same `select` on what lies beneath it:
    part 2 ─┘           ├─▶ root ─▶ ranking     budget x its share of the pool x the level's oversampling
    part 3 ─┬─▶ node 1 ─┘
    ...    ─┘

**As flat as the caps allow.** A merge compares everything beneath it, so the best tree is parts and a root. Nodes come
in between only where the candidates of all parts do not fit a root, and then hand up as much as the root can hold.
Constant oversampling would not do there: a node that hands up as many times its share as its children did hands up all
it got. Two things shrink from level to level: oversampling (x2 of the parts, say x1.4 of the nodes, x1 of the root),
and what is lost to rounding (a part owes 0.003 rows of a small budget, and hands up one).

**Where the root runs.** On the driver where the candidates fit ``driver_cap``; else as one executor task, and the
driver gets ids and ranks.

**A budget above one node's cap.** No task can hold the result, so the tree ends below the root: every node picks its
share and no more, and `interleave` mixes their rankings. What is lost: near-copies beneath different nodes are never
compared, and a rank says how early its own node picked a sample. Parts are cut by content, which keeps most near-copies
together.

**Quotas of groups** (a partition matroid) need no other tree. Of each group every node hands up budget of the group x
share of the group beneath it x oversampling, or all it has of it. Summed over a level that is at least the group's
budget (what one node lacks is not in the pool), so the root can always fill every quota. It costs up to one sample per
group and node in rounding, which the plan counts (``groups``).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from zipspark.core.parts import PART_BYTES
from zipspark.errors import UsageError
from zipspark.units import format_bytes

CANDIDATE_BYTES = 100  # what a candidate, or a pick, weighs beside its text or features: id, place, numbers
_PLANNED = 0.9  # of the root's cap; the rest is for rounding up, node by node
_LEAST = 1.25  # times the budget a root must receive, or it has next to nothing left to choose from
_SAMPLES = 30  # of mean size (of each group) in a node: enough for any tree (see `_Pool.nodes`)

Root = Literal["part", "driver", "task", "interleaved"]


@dataclass(frozen=True)
class Level:
    """Parts, nodes, or the root. ``bytes_in`` and ``bytes_out`` are expected of the largest node.

    >>> plan_tree(10**9, 10**6, 5000, "rows", 2.0, node_cap=10**8, driver_cap=10**8).levels[1]
    Level(nodes=1, fan_in=42, parts_each=42, oversample=1.0, bytes_in=11046200, bytes_out=5500000)
    """

    nodes: int
    fan_in: int  # child c of the level below feeds node c // fan_in; 1 for parts
    parts_each: int  # part p lies beneath node p // parts_each
    oversample: float  # what a node hands up, as a multiple of its share of the budget; 1 for whoever comes last
    bytes_in: int  # candidates it holds (text or features, and `CANDIDATE_BYTES` each); for parts: of text
    bytes_out: int  # candidates it hands up

    def quotas(self, held: npt.ArrayLike, amount: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """What each node hands up, in the budget's unit: never less than its share x ``oversample``.

        Args:
            held: (parts,) what each part holds in the budget's unit; or (parts, groups).
            amount: the budget; or (groups,) that of each group.

        Returns (nodes,) or (nodes, groups).

        >>> Level(2, 2, 2, 1.5, 0, 0).quotas(held=[40, 20, 40], amount=50)
        array([45., 30.])
        """
        of_parts = np.asarray(held, dtype=np.float64)
        amounts = np.asarray(amount, dtype=np.float64)
        if self.nodes == 1 and self.oversample == 1:
            return np.asarray(amounts[np.newaxis])  # no sum of shares is as exact as this
        beneath = np.add.reduceat(of_parts, np.arange(0, len(of_parts), self.parts_each), axis=0)
        total = np.maximum(of_parts.sum(axis=0), np.finfo(np.float64).tiny)
        return np.asarray(np.ceil(amounts * (beneath / total) * self.oversample))


@dataclass(frozen=True)
class Tree:
    """Parts, the levels above them, and where the last one runs.

    >>> tree = plan_tree(10**9, 10**6, 5000, "rows", 2.0, node_cap=10**8, driver_cap=10**6)
    >>> str(tree), tree.root, tree.driver_bytes
    ('42 parts → one task', 'task', 500000)
    """

    levels: tuple[Level, ...]  # parts first, root (or the nodes that are interleaved) last
    root: Root
    # part: the only part's ranking is the result · driver, task: where the root runs · interleaved: there is none
    driver_bytes: int  # expected on the driver: candidates of a root there, else ids and ranks of the picks
    picks_on_driver: bool  # false where even ids and ranks exceed driver_cap: they stay a table

    @property
    def parts(self) -> int:
        return self.levels[0].nodes

    def __str__(self) -> str:
        names = [f"{self.parts:,} {'parts' if self.parts > 1 else 'part'}"]
        names += [f"{level.nodes:,} nodes" for level in self.levels[1:] if level.nodes > 1]
        last = {"part": [], "driver": ["driver"], "task": ["one task"], "interleaved": ["interleaved"]}
        return " → ".join(names + last[self.root])


def plan_tree(
    pool_bytes: int,
    pool_rows: int,
    budget_amount: float,
    budget_unit: Literal["rows", "bytes", "tokens"],
    oversample: float,
    node_cap: int,
    driver_cap: int,
    parts: int | None = None,
    view_bytes_per_byte: float = 1.0,
    *,
    groups: int = 1,
    pool_tokens: int | None = None,
    handed_up: Sequence[float] | npt.NDArray[Any] | None = None,
) -> Tree:
    """Plan the tree for a pool.

    Args:
        pool_bytes, pool_rows: of what can be chosen; exact duplicates count once where they are dropped.
        budget_amount, budget_unit: as resolved, not a share; ``tokens`` needs ``pool_tokens``.
        oversample: what a part hands up, as a multiple of its share; nodes hand up as much or what a root can hold.
        node_cap, driver_cap: most bytes of candidates that one task and the driver hold.
        parts: how many, instead of as many as the bytes ask for.
        view_bytes_per_byte: what a candidate weighs on its way up per byte of its text: 1 for text.
        groups: how many have a budget of their own.
        handed_up: (parts,) what the parts did hand up, in bytes of view and `CANDIDATE_BYTES` each, once that is known:
            the levels above are planned from it. Picks can be longer than the pool's mean (``--cost row``).

    Raises:
        UsageError: parts are too large for ``node_cap``, or it is too small to merge anything.

    >>> str(plan_tree(70_000_000, 54_000, 2_500_000, "bytes", 2.0, node_cap=256 * 10**6, driver_cap=256 * 10**6))
    '3 parts → driver'
    >>> str(plan_tree(10**12, 7 * 10**8, 250_000_000, "bytes", 2.0, node_cap=256 * 10**6, driver_cap=64 * 10**6))
    '41,667 parts → 3 nodes → interleaved'
    """
    if oversample < 1:
        raise UsageError(f"oversample must be >= 1, got {oversample:g}")
    in_pool = {"rows": pool_rows, "bytes": pool_bytes, "tokens": pool_tokens}[budget_unit]
    if in_pool is None:
        raise ValueError("pool_tokens must be given for a budget of tokens")
    share = min(1.0, budget_amount / max(in_pool, 1))
    mean = pool_bytes / max(pool_rows, 1)
    weight = view_bytes_per_byte + CANDIDATE_BYTES / max(mean, 1.0)  # of a candidate, per byte of its text
    count = _part_count(pool_bytes, pool_rows, node_cap, max(1.0, weight), parts)

    pick_bytes = math.ceil(share * pool_rows * CANDIDATE_BYTES)
    picks_fit = pick_bytes <= driver_cap
    if count == 1:
        only = Level(1, 1, 1, 1.0, pool_bytes, math.ceil(share * pool_bytes * weight))
        return Tree((only,), "part", pick_bytes if picks_fit else 0, picks_fit)
    pool = _Pool(count, pool_bytes * weight, share * pool_bytes * weight, groups * mean * weight, oversample)
    bottom = Level(count, 1, 1, oversample, math.ceil(pool_bytes / count), math.ceil(pool.from_part))
    if handed_up is not None:
        pool = pool.scaled(float(np.sum(handed_up)), float(np.max(handed_up)))
    levels = (bottom, *pool.nodes(node_cap, max(node_cap, driver_cap)))
    top = levels[-1]
    if top.nodes > 1:
        return Tree(levels, "interleaved", pick_bytes if picks_fit else 0, picks_fit)
    if top.bytes_in <= driver_cap:
        return Tree(levels, "driver", top.bytes_in, True)
    return Tree(levels, "task", pick_bytes if picks_fit else 0, picks_fit)


def _part_count(pool_bytes: int, pool_rows: int, node_cap: int, weight: float, asked: int | None) -> int:
    """Parts so that two shares fit a node: `parts.pack` may fill a part so far, and two must meet in a node."""
    fewest = 1 if pool_bytes * weight <= node_cap else math.ceil(2 * pool_bytes * weight / node_cap)
    if asked is None:
        return max(1, min(pool_rows, max(fewest, math.ceil(pool_bytes / PART_BYTES))))
    count = min(asked, max(1, pool_rows))
    if count < min(fewest, pool_rows):
        needed = pool_bytes * weight if count == 1 else 2 * pool_bytes * weight / count
        raise UsageError(
            f"parts must be at least {fewest:,} for {format_bytes(pool_bytes)} of text with node_cap "
            f"{format_bytes(node_cap)}, got {asked:,}; raise --parts, leave it out, or set --node-cap {_enough(needed)}"
        )
    return count


@dataclass(frozen=True)
class _Pool:
    """What the levels above the parts are planned from; all bytes are of candidates."""

    parts: int
    total: float  # if everything were handed up
    budget: float  # of the result
    rounding: float  # what a node hands up at most beyond its share: one sample per group
    oversample: float
    measured: tuple[float, float] | None = None  # of all parts, and of the one that handed up most

    @property
    def from_part(self) -> float:
        return min(self.total, self.budget * self.oversample + self.parts * self.rounding) / self.parts

    def scaled(self, handed_up: float, largest: float) -> _Pool:
        """The same with candidates as long as they turned out to be."""
        factor = handed_up / max(self.from_part * self.parts, 1.0)
        return _Pool(
            self.parts,
            self.total * factor,
            self.budget * factor,
            self.rounding * factor,
            self.oversample,
            (handed_up, largest),
        )

    def nodes(self, node_cap: int, root_cap: int) -> list[Level]:
        """The levels above the parts.

        With a root ``budget * between <= 0.9 * root_cap``, so a root can take over once rounding is down to a tenth of
        it. Before, a node's rounding is more than 1/14 of what it hands up (no node has more than 1.5 times the mean of
        parts beneath it), so that two children's candidates fit a node which can hold `_SAMPLES` of each group.
        """
        handed_up, out = self.measured or (self.from_part * self.parts, self.from_part)  # of a level, of its largest
        planned = _PLANNED * root_cap
        one_root = handed_up <= root_cap or self.budget * min(self.oversample, _LEAST) <= planned
        between = min(self.oversample, planned / max(self.budget, 1.0)) if one_root else self.oversample
        levels: list[Level] = []
        children, parts_each = self.parts, 1
        while not (one_root and handed_up <= root_cap):
            if 2 * out > node_cap:
                enough = _enough(max(2 * out, self.rounding * _SAMPLES))
                raise UsageError(
                    f"node_cap must be at least {enough} for two children's candidates to meet in a node (each hands "
                    f"up {format_bytes(out)}), got {format_bytes(node_cap)}; set --node-cap {enough}"
                )
            nodes = -(-children // int(node_cap // out))
            fan_in = -(-children // nodes)
            parts_each *= fan_in
            share = self.budget * min(1.0, parts_each / self.parts)
            into, out = fan_in * out, min(fan_in * out, share * between + self.rounding)
            handed_up = min(handed_up, self.budget * between + nodes * self.rounding)
            # Without a root: on while what is handed up is mostly rounding, which another level takes away.
            if not one_root and (2 * out > node_cap or handed_up <= root_cap):
                out = min(into, share + self.rounding)
                return [*levels, Level(nodes, fan_in, parts_each, 1.0, math.ceil(into), math.ceil(out))]
            levels.append(Level(nodes, fan_in, parts_each, between, math.ceil(into), math.ceil(out)))
            children = nodes
        return [*levels, Level(1, children, self.parts, 1.0, math.ceil(handed_up), math.ceil(self.budget))]


def _enough(size: float) -> str:
    """``size``, rounded up to two digits, as a flag takes it."""
    unit = 10 ** max(0, math.floor(math.log10(max(size, 1.0))) - 1)
    return format_bytes(math.ceil(size / unit) * unit).replace(" ", "")


def interleave(lengths: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The order in which rankings of ``lengths`` are mixed: of each position the ranking whose next pick stands there.

    Every prefix of t positions holds of ranking j the floor or the ceiling of t x its share, so less than one pick more
    or less. Each pick has a window of positions in which that holds, and the earliest end goes first, ties by lower j;
    that always works out: these are the windows of proportionate progress (Baruah, Cohen, Plaxton, Varvel 1996).

    Returns (sum of lengths,) indices of rankings. Takes O(n log j), about a second for a million positions.

    >>> interleave([4, 2, 1]).tolist()
    [0, 0, 1, 0, 1, 0, 2]
    """
    sizes = [int(length) for length in lengths]
    total, count = sum(sizes), len(sizes)
    order = np.empty(total, dtype=np.int64)
    placed = [0] * count  # picks of each ranking so far
    waiting: dict[int, list[int]] = {0: [index for index, size in enumerate(sizes) if size]}  # first position -> who
    ready: list[int] = []  # a heap of (end of window) * count + ranking
    for position in range(total):
        for index in waiting.pop(position, ()):
            end = -(-(placed[index] + 1) * total // sizes[index])
            heapq.heappush(ready, end * count + index)
        index = heapq.heappop(ready) % count
        order[position] = index
        placed[index] += 1
        if placed[index] < sizes[index]:
            start = placed[index] * total // sizes[index]
            waiting.setdefault(max(start, position + 1), []).append(index)
    return order
