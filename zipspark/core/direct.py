"""`select`: the whole algorithm in memory, on one core, without Spark.

::

    samples ─ sketch ─▶ lens ─ look ─▶ views, guarded ─ rank ─▶ ranking

The same steps, in the same order, are what the Spark job does; there each is spread over executors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from zipspark.config import CoreOptions, check_multistage, check_reference_budget, check_until
from zipspark.core.codecs import lengths
from zipspark.core.lens import Lens
from zipspark.core.mixture import bounds, check_kept
from zipspark.core.presets import content_hash, trained_header
from zipspark.core.seen import Eye, counted_below, head_bytes, look_at, needs_lens, reach_of, salts_of, sketch_of
from zipspark.core.selection import Offer, Quota, Ranking, rank
from zipspark.core.sketch import HEAD_BYTES
from zipspark.core.views import features_of
from zipspark.core.zstd_codec import HEADER_SAMPLES
from zipspark.errors import InputError, UsageError
from zipspark.limits import NO_GROUP
from zipspark.options import layered
from zipspark.units import Budget, parse_budget


def select(
    samples: Sequence[bytes | str],
    budget: Budget | str | int | None = None,
    *,
    ids: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    tokens: Sequence[int] | None = None,
    worth: Sequence[float] | None = None,
    keep: Iterable[int] = (),
    anchor: Sequence[bytes | str] = (),
    target: Sequence[bytes | str] = (),
    header: bytes | None = None,
    **options: Any,
) -> Ranking:
    """Choose the low-redundancy subset of ``samples``: the core algorithm, in memory, on one core, without Spark.

    Args:
        samples: n texts, each not empty. ``str`` is taken as UTF-8. Duplicates are allowed; they compress well, so they
            are picked last.
        budget: rows (``100``), a share of the rows that are not guarded (``"5%"``), bytes (``"2.5MB"``) or tokens
            (``"20ktok"``). Rows are met to the row; bytes and tokens are never exceeded, and missed by less than the
            smallest sample left out. A budget above the pool takes all. None: all, or as far as ``until`` says.
        ids: n unique names by which equal gains are decided, lowest first. Default: the content's hash, so that the
            ranking does not depend on the order of the samples; with presets ``paper`` and ``reference`` the position.
        groups: n names (None: no group), for the options ``mix``, ``floor`` and ``cap``.
        tokens: n counts, for a budget or cost in tokens.
        worth: n factors of gain, 0 or more (a quality score).
        keep: positions that must be picked; they come first and spend of the budget.
        anchor: texts that count as seen; a sample equal to one of them is not picked.
        target: texts that the choice should be like (``target_strength``).
        header: zstd's literal statistics, instead of training them on these samples: parts of one pool share them.
        options: those of `zipspark.config.Choice` and `zipspark.config.Limits`.

    Raises:
        UsageError: an option or the budget cannot be used as given.
        InputError: a sample is empty or not text, ids repeat, a column has another length, or quotas cannot be met.

    >>> texts = [b"the cat sat on the mat", b"the cat sat on the mats", b"a dog barks at the moon"]
    >>> list(select(texts, budget=2, guard=False))
    [0, 2]
    """
    choice = layered(CoreOptions, options)
    keep = list(keep)
    check_multistage(choice, keep=bool(keep), target=bool(target), worth=worth is not None)
    pool = _texts(samples, "samples")
    _check_columns(len(pool), ids=ids, groups=groups, tokens=tokens, worth=worth)
    if choice.cost == "token" and tokens is None:
        raise UsageError("cost in tokens needs tokens, one count per sample")
    if choice.until is not None:
        check_until(choice.until, choice, has_target=bool(target))
    hashes = [content_hash(sample) for sample in pool]
    contents = dict(zip(hashes, pool, strict=True))  # copies teach nothing
    sample = {name: contents[name][:HEAD_BYTES] for name in sorted(contents)[:HEADER_SAMPLES]}
    if header is None:
        header = trained_header(choice, list(sample.values()))

    seen_before, like = _texts(anchor, "anchor"), _texts(target, "target")
    anchored, wanted = _by_hash(seen_before), _by_hash(like)
    total = head_bytes(pool)
    named = [NO_GROUP if group is None else str(group) for group in groups or ()]
    in_groups = choice.covers_groups and bool(named)
    lens = None
    if needs_lens(choice, bool(anchored), bool(wanted)):
        lens = Lens.of(
            sketch_of(contents, total, choice, dict(zip(hashes, named, strict=True)) if in_groups else None),
            weight_exponent=choice.weight_exponent,
            weight_cap=choice.weight_cap,
            anchor=sketch_of(anchored, head_bytes(seen_before), choice) if anchored else None,
            target=sketch_of(wanted, head_bytes(like), choice) if wanted else None,
            target_strength=choice.target_strength,
            salts=sorted({*salts_of(named).tolist()}) if in_groups else (),
        )
    eye = Eye(choice, None)
    if lens is not None:
        eye = Eye.opened(choice, lens, sample, in_groups, counted_below(total))
    seen = look_at(pool, hashes, None, eye, named)
    kept = np.zeros(len(pool), dtype=bool)
    kept[_positions(keep, len(pool))] = True
    out = {index: reason for index, reason in enumerate(seen.guarded) if reason and not kept[index]}
    free = [at for at, name in enumerate(hashes) if kept[at] or (at not in out and name not in anchored)]

    def taken(column: Sequence[Any] | None, kind: Any) -> Any:
        return None if column is None else np.asarray(column, dtype=kind)[free]

    by_position = ids is None and choice.preset in ("paper", "reference")
    names = [f"{name}-{at:012}" for at, name in enumerate(hashes)] if ids is None else ids  # copies by position
    offer = Offer(
        views=[seen.views[at] for at in free],
        sizes=lengths(pool)[free],
        ids=None if by_position else [names[at] for at in free],
        tokens=taken(tokens, np.int64),
        groups=[named[at] for at in free] if named else None,
        worth=seen.likeness[free] * (1.0 if worth is None else taken(worth, np.float64)),
        kept=kept[free],
    )
    quota = _quota(choice, budget, offer)
    reach = None
    if lens and choice.until and choice.until.by_share:
        reach = reach_of(features_of(offer.views, choice), lens, bool(wanted))
    ranking = rank(offer, quota, choice, lens=lens, header=header, until=choice.until, reach=reach)
    return replace(ranking, indices=np.asarray(free, dtype=np.int64)[ranking.indices], guarded=out)


def _quota(choice: CoreOptions, budget: Budget | str | int | None, offer: Offer) -> Quota:
    """The budget in rows, bytes or tokens, by group where that is asked for."""
    if budget is None:
        if choice.until is None:
            raise UsageError("budget must be given, or until")
        if choice.by_group:
            raise UsageError("mix, floor and cap share a budget: give one beside until")
        budget = Budget("rows", len(offer.sizes))
    limit = parse_budget(budget).resolve(len(offer.sizes))
    if limit.unit == "tokens" and offer.tokens is None:
        raise UsageError("budget in tokens needs tokens, one count per sample")
    if choice.preset == "reference":
        check_reference_budget(limit)
    assert limit.unit != "share"
    units = offer.taken(limit.unit)
    forced = np.zeros(len(units), dtype=bool) if offer.kept is None else offer.kept
    if not choice.by_group:
        check_kept({"": float(units[forced].sum())} if forced.any() else {}, limit, float(units[forced].sum()))
        return Quota(limit.unit, limit.amount)
    if offer.groups is None:
        raise UsageError("mix, floor and cap need groups, one name per sample")
    held, kept = Counter[str](), Counter[str]()
    for group, amount, must in zip(offer.groups, units.tolist(), forced.tolist(), strict=True):
        held[group] += amount
        kept[group] += amount * must
    return Quota(limit.unit, limit.amount, *bounds(choice.mix, choice.floor, choice.cap, limit, held, +kept))


def _check_columns(count: int, **columns: Sequence[Any] | None) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise InputError(f"{name} must have one entry for each of {count:,} samples, got {len(column):,}")
    ids = columns["ids"]
    if ids is not None and len(set(ids)) != count:
        raise InputError(f"ids must be unique, got {count:,} with {len(set(ids)):,} names")
    for name, rule in (("worth", "numbers of 0 or more"), ("tokens", "counts of 0 or more")):
        column = columns[name]
        if column is None:
            continue
        try:
            numbers = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{name} must be {rule}, got something else among {count:,}") from None
        if not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise InputError(f"{name} must be {rule}, got {float(numbers[~(numbers >= 0) | np.isinf(numbers)][0]):g}")


def _positions(keep: Iterable[Any], count: int) -> list[int]:
    positions = list(keep)
    for position in positions:
        if not (isinstance(position, Integral) and 0 <= int(position) < count):
            raise InputError(f"keep must hold positions of the {count:,} samples, got {position}")
    return positions


def _by_hash(texts: Sequence[bytes]) -> dict[str, bytes]:
    return {content_hash(text): text for text in texts}


def _texts(samples: Sequence[bytes | str], name: str) -> list[bytes]:
    if isinstance(samples, (str, bytes)):
        raise InputError(f"{name} must be a list of texts, got one text of {len(samples):,} characters")
    return [_as_bytes(sample, position, name) for position, sample in enumerate(samples)]


def _as_bytes(sample: bytes | str, position: int, name: str) -> bytes:
    if isinstance(sample, str):
        try:
            sample = sample.encode()
        except UnicodeEncodeError:  # a lone surrogate
            raise InputError(f"{name} must be valid text, got one UTF-8 cannot hold at position {position}") from None
    if not isinstance(sample, bytes):
        raise InputError(f"{name} must be bytes or str, got {type(sample).__name__} at position {position}")
    if not sample:
        raise InputError(f"{name} must not be empty, got an empty one at position {position}")
    return sample
