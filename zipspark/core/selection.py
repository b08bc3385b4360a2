"""`select`: from samples in memory to a ranking. The one function that Spark applies to part after part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zipspark.config import Choice, check_reference_budget, layered
from zipspark.core.codecs import lengths
from zipspark.core.presets import content_hash, make_objective, make_selector, trained_header
from zipspark.core.selectors import Limit
from zipspark.core.zstd_codec import HEADER_SAMPLES
from zipspark.errors import InputError
from zipspark.units import Budget, parse_budget


@dataclass(frozen=True)
class Ranking:
    """Samples in the order they were picked; every prefix is itself a subset.

    ``len(ranking)`` is the number of picks k, and iterating gives their positions in the samples that were offered.
    """

    indices: npt.NDArray[np.int64]  # (k,) positions in the samples, best first
    gains: npt.NDArray[np.float64]  # (k,) what the objective says each added when it was picked; ratio: bytes, C(x|S)
    sizes: npt.NDArray[np.int64]  # (k,) bytes of each
    header: bytes = b""  # the literal statistics that were used (see `select`)

    @property
    def marginal_ratios(self) -> npt.NDArray[np.float64]:
        """(k,) bytes of each pick over the compressed bytes it added; higher is more redundant."""
        return self.sizes / np.maximum(self.gains, 1.0)

    @property
    def ratio(self) -> float:
        """The set's own compression ratio under the codec that chose it: bytes over compressed bytes."""
        return float(self.sizes.sum() / max(self.gains.sum(), 1.0))

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices.tolist())


def select(
    samples: Sequence[bytes | str],
    budget: Budget | str | int,
    *,
    ids: Sequence[str] | None = None,
    header: bytes | None = None,
    overshoot: bool = False,
    **options: Any,
) -> Ranking:
    """Choose the low-redundancy subset of ``samples``: the core algorithm, in memory, on one core, without Spark.

    Args:
        samples: n texts, each not empty. ``str`` is taken as UTF-8. Duplicates are allowed; they compress well, so they
            are picked last.
        budget: rows (``100``), a share of the rows (``"5%"``) or bytes (``"2.5MB"``). Rows are met to the row; bytes
            are never exceeded, and missed by less than the smallest sample left out. A budget above the pool takes all.
        ids: n unique names by which equal gains are decided, lowest first. Default: the content's hash, so that the
            ranking does not depend on the order of the samples; with presets ``paper`` and ``reference`` the position.
        header: zstd's literal statistics, instead of training them on these samples: parts of one pool share them.
        overshoot: let the last pick exceed a budget of bytes (what a part does, so that it never comes back empty).
        options: those of `zipspark.config.Choice`: preset, objective, selector, k1, k2, k3, codec, level, window.

    Raises:
        UsageError: an option or the budget cannot be used as given.
        InputError: a sample is empty, is not text, or ids repeat.

    >>> texts = [b"to be or not to be", b"that is the question", b"to be or not to be, that is"]
    >>> list(select(texts, budget=2))
    [2, 1]
    """
    choice = layered(Choice, options)
    pool = [_as_bytes(sample, position) for position, sample in enumerate(samples)]
    limit_of = parse_budget(budget).resolve(len(pool))
    if choice.preset == "reference":
        check_reference_budget(limit_of)
    hashes = [content_hash(sample) for sample in pool]
    order = _canonical_order(choice, hashes, ids)
    if header is None:
        contents = dict(zip(hashes, pool, strict=True))  # copies teach nothing
        header = trained_header(choice, [contents[name] for name in sorted(contents)[:HEADER_SAMPLES]])

    ordered = [pool[index] for index in order]
    sizes = lengths(ordered)
    costs = sizes.astype(np.float64)
    units = np.ones(len(ordered)) if limit_of.unit == "rows" else costs
    limit = Limit(limit_of.amount, units, overshoot or choice.preset == "reference")
    picks = make_selector(choice)(make_objective(choice, ordered, header), costs, limit)
    picked = np.asarray(picks.indices, dtype=np.int64)
    # Who may overshoot finishes a whole round (as the released program does): cut where the budget is met.
    count = int(np.searchsorted(np.cumsum(units[picked]), limit_of.amount)) + 1
    picked = picked[:count]
    return Ranking(
        indices=np.asarray(order, dtype=np.int64)[picked],
        gains=np.asarray(picks.gains[:count], dtype=np.float64),
        sizes=sizes[picked],
        header=header,
    )


def _as_bytes(sample: bytes | str, position: int) -> bytes:
    if isinstance(sample, str):
        try:
            sample = sample.encode()
        except UnicodeEncodeError:  # a lone surrogate
            raise InputError(f"samples must be valid text, got one UTF-8 cannot hold at position {position}") from None
    if not isinstance(sample, bytes):
        raise InputError(f"samples must be bytes or str, got {type(sample).__name__} at position {position}")
    if not sample:
        raise InputError(f"samples must not be empty, got an empty one at position {position}")
    return sample


def _canonical_order(choice: Choice, hashes: Sequence[str], ids: Sequence[str] | None) -> list[int]:
    """Positions in the order that decides ties: by id, else by content (copies by position), else as they stand."""
    positions = range(len(hashes))
    if ids is not None:
        if not len(set(ids)) == len(ids) == len(hashes):
            raise InputError(
                f"ids must be unique, one for each of {len(hashes):,} samples, got {len(ids):,} "
                f"with {len(set(ids)):,} names"
            )
        return sorted(positions, key=ids.__getitem__)
    if choice.preset in ("paper", "reference"):
        return list(positions)
    return sorted(positions, key=hashes.__getitem__)
