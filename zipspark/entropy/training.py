"""Training output as a learning curve, and the loss L of its first epoch, in nats per token.

L is the second input of the entropy law (arXiv 2407.06645, section 3): the training loss of the first epoch, in which
no sample has been seen before. A part of that epoch is enough to compare by (``part`` of `first_epoch`). The mean is::

    L = sum of w_i * loss_i / sum of w_i,   over the logged rows i that end in the first epoch,

where w_i are the tokens that row i stands for: those of the steps after the row before it up to its own, which is what
the Hugging Face trainer averages for a row. A log that gives the loss of its last step only is a sample of these.
Without tokens w_i are steps. A row that reaches into the second epoch is left out whole: from there on, samples are
seen again, and their loss says what is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from zipspark.entropy.training_files import LARGEST, NAMES, Metric, filled, number, read_log, whole_number
from zipspark.errors import InputError, UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_ENDS = 1e-6  # epochs are logged as rounded fractions


@dataclass(frozen=True, eq=False)
class Curve:
    """What one training run logged, n rows in the order of its steps.

    Raises `InputError` for no rows, steps that do not ascend, losses that are no numbers from 0, tokens that do not
    ascend, and epochs that fall.

    >>> curve = Curve("v1", [10, 20, 40], [3.0, 2.0, 1.5], tokens=[1000, 2000, 4000])
    >>> curve.spans.tolist()
    [1000.0, 1000.0, 2000.0]
    """

    name: str
    steps: Ints  # (n,) optimiser steps done, ascending
    losses: Floats  # (n,) nats per token, the mean since the row before
    tokens: Ints | None = None  # (n,) tokens trained on up to and with the step
    epochs: Floats | None = None  # (n,) epochs done as a fraction; or the number of the epoch, from 0 or 1
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # name -> (steps (m,), values (m,)), accuracies say
    notes: tuple[str, ...] = ()  # how the log was read where it could be read otherwise

    def __post_init__(self) -> None:
        arrays = {"steps": self.steps, "losses": self.losses, "tokens": self.tokens, "epochs": self.epochs}
        for name, values in arrays.items():
            if values is not None:
                kind = np.int64 if name in ("steps", "tokens") else np.float64
                object.__setattr__(self, name, np.atleast_1d(_array(self.name, name, values).astype(kind)))
        count = len(self.steps)
        if not count:
            raise InputError(f"{self.name}: a curve needs at least one row with a step and a loss, got none")
        for name in ("losses", "tokens", "epochs"):
            values = getattr(self, name)
            if values is not None and len(values) != count:
                raise InputError(f"{self.name}: {name} must be as many as steps ({count}), got {len(values)}")
        _check_ascending(self.name, "step", self.steps, "sort the rows, and drop those of a run that was started again")
        for step, loss in zip(self.steps, self.losses, strict=True):
            if not (math.isfinite(loss) and loss >= 0):
                raise InputError(
                    f"{self.name}: loss must be a number from 0 in nats per token, got {loss:g} at step {step}; "
                    "drop the row, or end the curve before the training went wrong"
                )
        if self.tokens is not None:
            _check_ascending(self.name, "tokens", self.tokens, "give the tokens seen since the start of the training")
        if self.epochs is not None and (np.diff(self.epochs) < 0).any():
            at = int(np.flatnonzero(np.diff(self.epochs) < 0)[0]) + 1
            raise InputError(f"{self.name}: epoch must not fall, got {self.epochs[at]:g} at step {self.steps[at]}")

        made = {name: _metric(self.name, name, *pair) for name, pair in self.metrics.items()}
        object.__setattr__(self, "metrics", made)

    @property
    def spans(self) -> Floats:
        """(n,) tokens (steps, where there are none) that each row stands for.

        The first row stands for no more steps than the second does: a log may begin in the middle of a training.
        """
        done = self.steps if self.tokens is None else self.tokens
        spans = np.diff(done, prepend=0).astype(np.float64)
        spans[0] *= self._first_share
        if self.tokens is None:
            spans += self.steps == 0  # steps counted from 0: row 0 is one step
        return spans

    @property
    def _first_share(self) -> float:
        """How much of what was done up to the first row the row stands for."""
        if len(self.steps) == 1 or self.steps[0] == 0:
            return 1.0
        return min(1.0, float(self.steps[1] - self.steps[0]) / float(self.steps[0]))

    def head(self, rows: int) -> Curve:
        """Its first ``rows`` rows, with all metrics."""
        tokens = None if self.tokens is None else self.tokens[:rows]
        epochs = None if self.epochs is None else self.epochs[:rows]
        return replace(self, steps=self.steps[:rows], losses=self.losses[:rows], tokens=tokens, epochs=epochs)

    def with_tokens(self, per_step: float) -> Curve:
        """The same curve with ``per_step`` tokens at each step (batch size by sequence length, where all are full)."""
        if not (math.isfinite(per_step) and per_step >= 1):
            raise UsageError(f"tokens per step must be at least 1, got {per_step!r}")
        first = self.steps[0] == 0  # the row of step 0 was logged after one step
        return replace(self, tokens=_counts(self.name, (self.steps + first) * per_step))


@dataclass(frozen=True)
class FirstEpoch:
    """L and what it was measured on."""

    loss: float  # L, nats per token
    rows: int  # logged rows that count: the first ones of the curve
    steps: int  # optimiser steps these rows stand for
    tokens: int | None  # tokens they stand for; None where the log has none, and L weighs steps
    share: float | None  # of the first epoch that they cover, 0 to 1; None: nothing says where it ends
    whole: bool  # the epoch was seen to its end, to within one logging interval
    known: str  # how it is known where the epoch ends

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __str__(self) -> str:
        seen = "of unknown length" if self.share is None else "seen whole" if self.whole else f"{self.share:.0%} seen"
        weighed = "steps, as the log has no tokens" if self.tokens is None else f"{self.tokens:,} tokens"
        return f"L = {self.loss:.4f} nats per token, mean over {weighed}; first epoch {seen} ({self.known})"


def first_epoch(curve: Curve, *, steps: int | None = None, tokens: int | None = None, part: float = 1.0) -> FirstEpoch:
    """L of the rows that end in the first epoch (see above for the formula).

    Args:
        steps: optimiser steps of one epoch, where the log has no epochs (or others than meant).
        tokens: tokens of one epoch, likewise.
        part: how much of the epoch to take, from its start. A loss falls along an epoch, so a training that is under
            way compares with the same part of past ones, not with their whole epochs.

    Raises:
        UsageError: an argument out of range, or ``part`` where nothing says where the epoch ends.
        InputError: no row ends in (the part of) the first epoch; ``tokens`` of a curve that has none.

    >>> curve = Curve("v1", [10, 20, 30, 40], [3.0, 2.0, 1.0, 0.5], [100, 200, 400, 500], epochs=[0.4, 0.8, 1.2, 1.6])
    >>> first_epoch(curve).loss, first_epoch(curve).whole, first_epoch(curve, steps=30).loss
    (2.5, True, 1.75)
    """
    _check_options(curve, steps, tokens, part)
    done: Floats  # (n,) share of the epoch at the end of each row
    if steps is not None:
        done, known = (curve.steps + (curve.steps[0] == 0)) / steps, f"an epoch was said to be {steps:,} steps"
    elif tokens is not None and curve.tokens is not None:
        done, known = curve.tokens / tokens, f"an epoch was said to be {tokens:,} tokens"
    elif curve.epochs is None or _are_numbers(curve.epochs):
        if part < 1:
            raise UsageError(f"{curve.name}: a part of an epoch needs its length; give its steps or its tokens")
        return _of_numbered(curve)
    else:
        done, known = curve.epochs, "epochs in the log"
    rows = int((done <= part + _ENDS).sum())
    if not rows:
        raise InputError(
            f"{curve.name}: no logged row ends in the first {'epoch' if part == 1 else f'{part:g} of the first epoch'},"
            f" the first one ends at {done[0]:.3g} epochs; log more often, or give the loss itself"
        )
    share = float(done[rows - 1] - done[0] * (1 - curve._first_share))
    gap = float(done[rows - 1] - done[rows - 2]) if rows > 1 else float(done[0])
    whole = rows < len(done) or done[-1] + gap > part + _ENDS or done[-1] >= part - _ENDS
    return _first(curve, rows, min(1.0, share), bool(whole) and part == 1 and curve._first_share == 1, known)


def read_training(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    unit: Literal["nats", "bits"] = "nats",
    cumulative: bool | None = None,
) -> Curve:
    """The curve in a file or folder that a trainer wrote.

    * ``trainer_state.json`` of Hugging Face, or a folder with one (or with ``checkpoint-*`` folders: the last counts),
    * JSON lines or CSV with a column of steps and one of losses, and perhaps tokens and epochs: see `NAMES`,
    * a run of MLflow's file store (``mlruns/<experiment>/<run>``), or a folder with a single run in it.

    Rows without a loss hold metrics, as evaluations write them; all other numbers become `Curve.metrics`.

    Args:
        name: of the curve; by default that of the file, folder or run.
        columns: the log's own names where they are others, as ``{"loss": "my_loss"}``; keys as in `NAMES`.
        unit: of the losses in the log.
        cumulative: whether the column of tokens counts from the start of the training; by default whether it ascends.

    Raises:
        UsageError: a key of ``columns`` or a unit that does not exist.
        InputError: nothing there, another format, a column missing or not of numbers, a row without its loss.
    """
    if unit not in ("nats", "bits"):
        raise UsageError(f"unit must be nats or bits, got {unit!r}")
    if unknown := sorted(set(columns or {}) - set(NAMES)):
        raise UsageError(f"columns names {', '.join(NAMES)}, got {unknown[0]!r}")
    log = read_log(path)
    names = log.names(columns or {})
    train = [(place, row) for place, row in log.rows if filled(row, names["loss"])]
    notes = log.notes
    steps = np.array([whole_number(place, names["step"], row) for place, row in train])
    losses = np.array([number(place, names["loss"], row) for place, row in train])
    tokens = epochs = None
    if column := names.get("tokens_per_step"):
        tokens = np.cumsum(
            [number(place, column, row) for place, row in train] * np.diff(steps, prepend=min(0, steps[0] - 1))
        )
    elif column := names.get("tokens"):
        tokens = np.array([number(place, column, row) for place, row in train])
        if cumulative is False or (cumulative is None and (np.diff(tokens) <= 0).any()):
            tokens = np.cumsum(tokens)
            if cumulative is None:
                notes += (f"{column} does not ascend in {log.where}: read as the tokens of each row, not as a sum",)
    if column := names.get("epoch"):
        epochs = np.array([number(place, column, row) for place, row in train])
    return Curve(
        name=name or log.name,
        steps=steps,
        losses=losses * (math.log(2) if unit == "bits" else 1.0),
        tokens=None if tokens is None else _counts(name or log.name, tokens),
        epochs=epochs,
        metrics=log.metrics(names),
        notes=notes,
    )


def read_trainings(paths: Sequence[str | PathLike[str]], **options: Any) -> list[Curve]:
    """`read_training` of each path; those that come out with the same name are called by their paths."""
    curves = [read_training(path, **options) for path in paths]
    names = [curve.name for curve in curves]
    return [
        replace(curve, name=str(path)) if names.count(curve.name) > 1 else curve
        for path, curve in zip(paths, curves, strict=True)
    ]


def _of_numbered(curve: Curve) -> FirstEpoch:
    """L where the log has the number of each row's epoch, or nothing."""
    if curve.epochs is None:
        return _first(curve, len(curve.steps), None, False, "nothing says where it ends: all rows taken for one epoch")
    if curve.epochs[0] > 1:
        raise InputError(
            f"{curve.name}: the log begins in epoch {curve.epochs[0]:g}, and L is the loss of the first; give the "
            "log from its start"
        )
    rows = int((curve.epochs == curve.epochs[0]).sum())
    whole = rows < len(curve.epochs) and curve._first_share == 1
    return _first(curve, rows, 1.0 if whole else None, whole, "numbers of epochs in the log")


def _first(curve: Curve, rows: int, share: float | None, whole: bool, known: str) -> FirstEpoch:
    spans = curve.spans[:rows]
    if not spans.sum():
        raise InputError(f"{curve.name}: the only row of the first epoch was logged before any token; log more often")
    steps = replace(curve, tokens=None).spans[:rows].sum()
    return FirstEpoch(
        loss=float((spans * curve.losses[:rows]).sum() / spans.sum()),
        rows=rows,
        steps=round(float(steps)),
        tokens=None if curve.tokens is None else round(float(spans.sum())),
        share=share,
        whole=whole,
        known=known,
    )


def _are_numbers(epochs: Floats) -> bool:
    """Whether epochs are numbered (0, 0, 1, 1 or 1, 1, 2) rather than counted as done (0.5, 1.0, 1.5 or 1, 2, 3)."""
    return bool((epochs == np.rint(epochs)).all()) and bool(epochs[0] == 0 or (np.diff(epochs) == 0).any())


def _check_options(curve: Curve, steps: int | None, tokens: int | None, part: float) -> None:
    if steps is not None and tokens is not None:
        raise UsageError("an epoch is given by its steps or by its tokens, got both")
    for name, value in (("steps", steps), ("tokens", tokens)):
        if value is not None and value < 1:
            raise UsageError(f"{name} of an epoch must be at least 1, got {value}")
    if not 0 < part <= 1:
        raise UsageError(f"part of the epoch must be above 0 and at most 1, got {part!r}")
    if tokens is not None and curve.tokens is None:
        raise InputError(f"{curve.name} has no tokens: give the epoch in steps, or tokens per step with `with_tokens`")


def _array(curve: str, name: str, values: Any) -> Floats:
    try:
        made = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{curve}: {name} must be numbers, got {values!r:.80}") from None
    wrong = ~(np.abs(made) <= LARGEST)
    if name != "losses" and wrong.any():  # losses are told with their step
        raise InputError(f"{curve}: {name} must be numbers of at most {LARGEST:g}, got {made[wrong][0]:g}")
    return made


def _counts(curve: str, tokens: Floats) -> Ints:
    return np.rint(_array(curve, "tokens", tokens)).astype(np.int64)


def _metric(curve: str, name: str, steps: Any, values: Any) -> Metric:
    made = _array(curve, f"steps of {name}", steps).astype(np.int64), _array(curve, name, values)
    if len(made[0]) != len(made[1]) or not len(made[0]):
        raise InputError(f"{curve}: {name} must have as many values as steps, got {len(made[1])} and {len(made[0])}")
    _check_ascending(curve, f"step of {name}", made[0], "sort its values, and keep one for each step")
    return made


def _check_ascending(curve: str, name: str, values: npt.NDArray[Any], remedy: str) -> None:
    if (wrong := np.flatnonzero(np.diff(values) <= 0)).size:
        at = int(wrong[0])
        raise InputError(f"{curve}: {name} must ascend, got {values[at + 1]:g} after {values[at]:g}; {remedy}")
    if values[0] < 0:
        raise InputError(f"{curve}: {name} must not be negative, got {values[0]:g}")
