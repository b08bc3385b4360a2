"""Learning curves as code lengths: how much a model has to be told of a data set, how fast it learns, what it can when.

**Prequential code length** (Dawid 1984, Rissanen 1984; for language models Delétang et al. 2023, arXiv 2309.10668): a
model that predicts each batch before it trains on it can code the batch in its loss. Over the first epoch, in which
every sample is new,

    bits = sum of loss_i * tokens_i / ln 2      bits per byte = bits / bytes of text      ratio = 8 / bits per byte,

with losses in nats per token. That ratio stands beside those of zlib and zstd: bytes over compressed bytes, lower is
less redundant. It holds for the tokens that are trained on: where prompts are masked, the bytes are those of answers.

**Speed** is measured on the first epoch too, as later ones show what is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from zipspark.entropy.grokking import Skill, shown, skills_in_common, table_of_skills
from zipspark.entropy.training import Curve, FirstEpoch, Floats, first_epoch
from zipspark.errors import InputError, UsageError
from zipspark.extras import needs

_END = 0.1  # of an epoch, over which a curve's loss at its end is averaged
FEWEST_ROWS = 3  # for a slope: two rows have one whatever they are


@dataclass(frozen=True)
class CodeLength:
    """What the first epoch of a training takes to code, under the model that learns from it."""

    bits: float  # of the rows of the first epoch
    tokens: int  # that these rows stand for
    bytes: float | None  # of text that these tokens are
    whole: bool  # the rows are the whole epoch; where not, its start, which is dearer than the rest

    @property
    def bits_per_token(self) -> float:
        return self.bits / self.tokens

    @property
    def bits_per_byte(self) -> float | None:
        return None if self.bytes is None else self.bits / self.bytes

    @property
    def ratio(self) -> float | None:
        """Bytes over compressed bytes, 8 / bits per byte; None without bytes, and where nothing was left to code."""
        return 8 * self.bytes / self.bits if self.bytes is not None and self.bits else None

    def to_dict(self) -> dict[str, Any]:
        made = {"bits_per_token": self.bits_per_token, "bits_per_byte": self.bits_per_byte, "ratio": self.ratio}
        return asdict(self) | made


@dataclass(frozen=True)
class Speed:
    """How fast the loss of the first epoch falls."""

    loss: float  # nats per token, the loss that is to be reached
    tokens_to_loss: float | None  # tokens until it is; None: not in the first epoch, as far as it was logged
    slope: float | None  # of log loss on log tokens, least squares; -0.1: ten times the tokens, a fifth less loss
    area: float  # nats under the curve up to ``tokens``: the code length of these tokens
    tokens: int  # up to where slope and area were measured

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Compared:
    """One curve of a comparison."""

    name: str
    first: FirstEpoch
    code: CodeLength | None  # None where the log has no tokens, as with ``speed``
    speed: Speed | None
    skills: tuple[Skill, ...] = ()  # in the order they came
    ratios: Mapping[str, float] = field(default_factory=dict)  # codec -> R of the same data set, as was given

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "first_epoch": self.first.to_dict(),
            "code_length": self.code and self.code.to_dict(),
            "speed": self.speed and self.speed.to_dict(),
            "skills": [skill.to_dict() for skill in self.skills],
            "ratios": dict(self.ratios),
        }


@dataclass(frozen=True)
class Comparison:
    """Learning curves side by side, in the order they were given."""

    rows: tuple[Compared, ...]
    notes: tuple[str, ...] = ()  # what could not be measured, and what to supply

    def to_dict(self) -> dict[str, Any]:
        return {"curves": [row.to_dict() for row in self.rows], "notes": list(self.notes)}

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        codecs = list(dict.fromkeys(codec for row in self.rows for codec in row.ratios))
        table = Table(title="Learning curves, first epoch", title_justify="left", title_style="bold")
        table.add_column("curve", overflow="fold")
        loss = next((f"{row.speed.loss:.3f}" for row in self.rows if row.speed), "")
        titles = ["L", "tokens", "bits/byte", "model's R", *(f"{codec} R" for codec in codecs), f"tokens to {loss}"]
        for title in [*titles, "slope", "nats under it"]:
            table.add_column(title.removesuffix(" to "), justify="right")
        for row in self.rows:
            cells = [*(["-"] * 2 if row.code is None else [shown(row.code.bits_per_byte), shown(row.code.ratio)])]
            cells += [shown(row.ratios.get(codec)) for codec in codecs]
            if row.speed is None:
                cells += ["-"] * 3
            else:
                reached = shown(row.speed.tokens_to_loss, ",.0f", "not reached")
                cells += [reached, shown(row.speed.slope, ".4f"), f"{row.speed.area:.4g}"]
            tokens = "-" if row.first.tokens is None else f"{row.first.tokens:,}"
            table.add_row(Text(row.name), f"{row.first.loss:.4f}", tokens, *cells)
        parts: list[Any] = [table]
        if any(row.skills for row in self.rows):
            parts.append(table_of_skills({row.name: row.skills for row in self.rows}))
        return Group(*parts, *map(Text, self.notes))


def code_length(curve: Curve, bytes: int | None = None, **epoch: Any) -> CodeLength:
    """The prequential code length of the first epoch (formula above).

    Args:
        bytes: of text in the whole data set. Where a part of the epoch was seen, as large a part of the bytes counts:
            samples are taken to come in no order of size.
        epoch: how long an epoch is and which part of it to take, as `first_epoch` has it.

    Raises:
        InputError: the curve has no tokens, or no row in the first epoch.
        UsageError: ``bytes`` below 1.

    >>> curve = Curve("v1", [1, 2], [2.0, 1.0], tokens=[1000, 2000])
    >>> found = code_length(curve, bytes=8000)
    >>> round(found.bits), round(found.bits_per_byte, 3), round(found.ratio, 2)
    (4328, 0.541, 14.79)
    """
    if bytes is not None and bytes < 1:
        raise UsageError(f"bytes of the data set must be at least 1, got {bytes}")
    first = first_epoch(curve, **epoch)
    if first.tokens is None:
        raise InputError(
            f"{curve.name} has no tokens, and a code length is loss times tokens: log num_input_tokens_seen (Hugging "
            "Face: include_num_input_tokens_seen), or give the tokens of a step"
        )
    head = curve.head(first.rows)
    covered = first.share if first.share is not None else 1.0
    return CodeLength(
        bits=float((head.losses * curve.spans[: first.rows]).sum() / math.log(2)),
        tokens=first.tokens,
        bytes=None if bytes is None else bytes * covered,
        whole=first.whole,
    )


def falling(curve: Curve) -> Floats:
    """(n,) the losses made to fall: the closest curve, by squares weighed by tokens, that never rises.

    Batches differ, so the first logged loss below a value may be luck; this says where the curve is below it, and has
    no window to choose (isotonic regression; Barlow et al. 1972). Raises `UsageError` where scipy is not installed.

    >>> falling(Curve("v1", [1, 2, 3, 4], [4.0, 2.0, 3.0, 1.0])).tolist()
    [4.0, 2.5, 2.5, 1.0]
    """
    with needs("the speed of a curve needs scipy", "entropy"):
        from scipy.optimize import isotonic_regression  # type: ignore[import-untyped,unused-ignore]
    weights = np.maximum(curve.spans, 1e-9)  # a row logged before any token weighs nothing
    made: Floats = np.asarray(isotonic_regression(curve.losses, weights=weights, increasing=False).x)
    return made


def speed(curve: Curve, loss: float, upto: int | None = None, **epoch: Any) -> Speed:
    """How fast the first epoch's loss falls: tokens until it is at ``loss``, slope, area.

    A row's loss is taken to be that at its end. Tokens to a loss are read off `falling`, in straight lines between
    rows, and count wherever in the first epoch it is reached, beyond ``upto`` as well.

    Args:
        loss: nats per token, to be reached.
        upto: tokens, where the measure ends; by default where the first epoch (as far as it was logged) does. Curves
            compare by slope and area on the same tokens only.
        epoch: as `first_epoch` has it.

    Raises:
        InputError: the curve has no tokens, or no row in the first epoch or up to ``upto``.
        UsageError: ``loss`` is no number from 0; scipy is not installed.
    """
    if not (math.isfinite(loss) and loss >= 0):
        raise UsageError(f"the loss to reach must be a number from 0, got {loss!r}")
    head = curve.head(first_epoch(curve, **epoch).rows)
    if head.tokens is None:
        raise InputError(f"{curve.name} has no tokens: log them, or give the tokens of a step")
    end = int(min(head.tokens[-1], upto)) if upto is not None else int(head.tokens[-1])
    if end < head.tokens[0]:
        raise InputError(
            f"{curve.name}: no row ends in the first {end:,} tokens; the first one ends at {head.tokens[0]:,}"
        )
    nats = np.cumsum(head.spans * head.losses)
    within = head.tokens <= end
    return Speed(
        loss=loss,
        tokens_to_loss=_crossing(head.tokens.astype(np.float64), falling(head), loss),
        slope=_slope(head.tokens[within], head.losses[within]),
        area=float(np.interp(end, head.tokens, nats)),
        tokens=end,
    )


def compare(
    curves: Iterable[Curve],
    *,
    bytes: Mapping[str, int] | None = None,
    ratios: Mapping[str, Mapping[str, float]] | None = None,
    loss: float | None = None,
    thresholds: float | Mapping[str, float] | None = None,
    falls: Collection[str] = (),
    **epoch: Any,
) -> Comparison:
    """Curves side by side: L, code length, speed on the same tokens and to the same loss, skills.

    Args:
        bytes: curve -> bytes of text of its whole data set.
        ratios: curve -> codec -> R of its data set, to stand beside the ratio of the model.
        loss: nats per token that all are timed to; by default the highest of the mean losses over the last tenth of
            each one's tokens, which all of them reach.
        thresholds, falls: as `skills` has them; a metric that only some of the curves have is told of those.
        epoch: as `first_epoch` has it.

    Raises:
        UsageError: no curves, two of one name, or bytes and ratios of a curve that is not there.
        InputError: as the single measures do; a curve without tokens has no code length and no speed, which is noted.
    """
    given = tuple(curves)
    _check_names(given, bytes or {}, ratios or {})
    firsts = [first_epoch(curve, **epoch) for curve in given]
    heads = [curve.head(first.rows) for curve, first in zip(given, firsts, strict=True) if first.tokens is not None]
    upto = min((int(head.tokens[-1]) for head in heads if head.tokens is not None), default=None)
    if loss is None and heads:
        loss = max(map(_loss_at_end, heads))
    rows, notes = [], []
    for curve, first in zip(given, firsts, strict=True):
        timed = first.tokens is not None and loss is not None
        size = (bytes or {}).get(curve.name)
        compared = Compared(
            name=curve.name,
            first=first,
            code=code_length(curve, size, **epoch) if timed else None,
            speed=speed(curve, loss, upto, **epoch) if timed and loss is not None else None,
            skills=skills_in_common(curve, thresholds, falls),
            ratios=dict((ratios or {}).get(curve.name, {})),
        )
        rows.append(compared)
        notes += _notes(curve, compared, size)
    return Comparison(tuple(rows), tuple(notes))


def _notes(curve: Curve, row: Compared, size: int | None) -> list[str]:
    said = [f"{curve.name}: {note}." for note in curve.notes]
    if row.code is None:
        said.append(f"{curve.name}: the log has no tokens, so no code length and no speed; log or give them.")
    elif size is None:
        said.append(f"{curve.name}: bits per byte need the bytes of text of its data set.")
    elif (per_byte := row.code.bits_per_byte) is not None and per_byte > 8:
        said.append(f"{curve.name}: {per_byte:.1f} bits per byte is more than the text itself; are these its bytes?")
    if row.first.share is None:
        said.append(f"{curve.name}: nothing says where its first epoch ends; all rows were taken for one.")
    elif not row.first.whole:
        said.append(f"{curve.name}: {row.first.share:.0%} of the first epoch; its start is dearer than the rest.")
    return said


def _check_names(curves: Sequence[Curve], *keyed: Mapping[str, Any]) -> None:
    names = [curve.name for curve in curves]
    if not names:
        raise UsageError("a comparison needs at least one curve, got none")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two curves are called {twice[0]!r}: give each a name of its own")
    for mapping in keyed:
        if unknown := sorted(set(mapping) - set(names)):
            raise UsageError(f"no curve is called {unknown[0]!r}; there are {', '.join(names)}")


def _loss_at_end(head: Curve) -> float:
    """Mean over the last tenth of the tokens: a few rows may be low by luck."""
    assert head.tokens is not None
    last = head.tokens >= (1 - _END) * head.tokens[-1]
    return float(np.average(head.losses[last], weights=np.maximum(head.spans[last], 1e-9)))


def _crossing(tokens: Floats, losses: Floats, loss: float) -> float | None:
    """Tokens at which falling ``losses`` are at ``loss``."""
    at = int((losses > loss).sum())
    if at == len(losses):
        return None
    if at == 0:
        return float(tokens[0])
    share = (losses[at - 1] - loss) / (losses[at - 1] - losses[at])
    return float(tokens[at - 1] + share * (tokens[at] - tokens[at - 1]))


def _slope(tokens: Any, losses: Floats) -> float | None:
    usable = (tokens > 0) & (losses > 0)
    if usable.sum() < FEWEST_ROWS:
        return None
    x, y = np.log(tokens[usable].astype(np.float64)), np.log(losses[usable])
    return float(((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum())
