"""What trainers leave on disk, as rows of named values: Hugging Face's state, JSON lines, CSV, MLflow's file store."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from zipspark.errors import InputError

Metric = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]  # steps and values
Row = tuple[str, Mapping[str, Any]]  # where it stands, for messages, and its values

# Names under which trainers log the same thing, in any case; the first that is there counts.
NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "step": (
            *("step", "global_step", "steps", "current_steps", "_step", "iter", "iteration"),
            *("train/step", "train/global_step"),
        ),
        "loss": (
            *("loss", "train/loss", "train_loss", "train_loss_step", "training_loss", "loss/train"),
            *("lm_loss", "train/lm_loss"),
        ),
        "tokens": (
            *("num_input_tokens_seen", "tokens_seen", "num_tokens", "total_tokens", "cumulative_tokens"),
            *("consumed_tokens", "train/num_input_tokens_seen", "train/num_tokens", "tokens"),
        ),
        "tokens_per_step": ("tokens_per_step", "batch_tokens", "step_tokens"),
        "epoch": ("epoch", "train/epoch", "epochs"),
    }
)
# What a row says of the training itself: no skill is measured by it.
_SETTINGS = ("learning_rate", "lr", "grad_norm", "timestamp", "time", "total_steps", "percentage", "throughput")
_SPEEDS = ("runtime", "per_second", "total_flos", "elapsed_time", "remaining_time")  # ends of names

LARGEST = 2**53  # of steps and tokens; beyond, files that hold all numbers as floats have lost ones
_STATE = "trainer_state.json"
_HINT = f"give a {_STATE}, a .jsonl or .csv with a row for each logged step, or a run of MLflow's file store"


@dataclass(frozen=True)
class Log:
    """The rows of one training, in the order they were written."""

    where: str  # path, for messages
    name: str  # of the run, as far as the path tells
    rows: tuple[Row, ...]
    whole_rows: bool = True  # a row is all that was logged at once; MLflow logs each metric by itself
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names that have a value in some row, in the order they came up."""
        return list(dict.fromkeys(column for _, row in self.rows for column in row if filled(row, column)))

    def names(self, given: Mapping[str, str]) -> dict[str, str]:
        """What this log calls each of `NAMES`, ``given`` ones first; ``step`` and ``loss`` are always there."""
        there, names = self.columns, {}
        as_written = {column.lower(): column for column in reversed(there)}
        for key, aliases in NAMES.items():
            if key in given and given[key] not in there:
                raise InputError(f"{self.where} has no column {given[key]!r} for {key}; it has {_listed(there)}")
            found = given.get(key) or next((as_written[alias] for alias in aliases if alias in as_written), None)
            if found:
                names[key] = found
            elif key in ("step", "loss"):
                raise InputError(
                    f"{self.where} has no column of {key}: it must be called one of {', '.join(aliases)}, or be named "
                    f"by columns={{'{key}': ...}}; it has {_listed(there)}"
                )
        return names

    def metrics(self, names: Mapping[str, str]) -> dict[str, Metric]:
        """All numbers but those in ``names`` and those on the training itself; of a step logged twice the later one.

        Raises `InputError` for a row that has no loss and no metric either: its loss is missing.
        """
        ours = {name.lower() for name in names.values()} | {alias for aliases in NAMES.values() for alias in aliases}
        found: dict[str, dict[int, float]] = {}
        for place, row in self.rows:
            others = [column for column in row if column.lower() not in ours and not _is_housekeeping(column)]
            numbers = {column: value for column in others if (value := _maybe(row[column])) is not None}
            closing = any(column.endswith(_SPEEDS) and filled(row, column) for column in row)  # sums a training up
            if self.whole_rows and not filled(row, names["loss"]) and not numbers and not closing:
                raise InputError(f"{place} has no {names['loss']}: give the loss of each row, or drop the row")
            for column, value in numbers.items():
                found.setdefault(column, {})[whole_number(place, names["step"], row)] = value
        return {
            name: (np.array(sorted(values), dtype=np.int64), np.array([values[step] for step in sorted(values)]))
            for name, values in sorted(found.items())
        }


def read_log(path: str | PathLike[str]) -> Log:
    """The rows that stand at ``path``; raises `InputError` where there are none, or none that can be read."""
    place = Path(path)
    if place.is_dir():
        return _of_folder(place)
    if not place.exists():
        raise InputError(f"{place} is not there; {_HINT}")
    if place.suffix == ".json":
        return _of_state(place)
    if place.suffix in (".jsonl", ".ndjson"):
        return _of_json_lines(place)
    if place.suffix in (".csv", ".tsv"):
        return _of_csv(place)
    raise InputError(f"{place} is in no format known by its ending; {_HINT}")


def filled(row: Mapping[str, Any], column: str) -> bool:
    return row.get(column) not in (None, "")


def number(place: str, column: str, row: Mapping[str, Any]) -> float:
    """The value of a column that every row of the training has; raises `InputError` for what is no finite number."""
    value = row.get(column)
    if value is None or value == "":
        raise InputError(f"{place} has no {column}, which other rows have: fill it in, or leave the column out")
    try:
        made = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{place}: {column} must be a number, got {value!r:.80}") from None
    if not math.isfinite(made):
        raise InputError(f"{place}: {column} must be a finite number, got {value!r}; mend the row, or drop it")
    return made


def whole_number(place: str, column: str, row: Mapping[str, Any]) -> int:
    made = number(place, column, row)
    if made != int(made) or not 0 <= made < LARGEST:
        raise InputError(f"{place}: {column} must be a whole number from 0 to {LARGEST:g}, got {made:g}")
    return int(made)


def _of_folder(folder: Path) -> Log:
    if (folder / _STATE).is_file():
        return _of_state(folder / _STATE)
    checkpoints = {path: _checkpoint(path) for path in folder.glob(f"checkpoint-*/{_STATE}")}
    if checkpoints:
        return _of_state(max(checkpoints, key=checkpoints.__getitem__))
    if (folder / "metrics").is_dir():
        return _of_mlflow(folder)
    runs = sorted({path.parent for pattern in ("*/metrics", "*/*/metrics") for path in folder.glob(pattern)})
    runs = [run for run in runs if ".trash" not in run.parts and any((run / "metrics").iterdir())]
    if len(runs) > 1:
        names = ", ".join(str(run) for run in runs[:8]) + (", ..." if len(runs) > 8 else "")
        raise InputError(f"{folder} holds {len(runs)} runs of MLflow; give one of them: {names}")
    if not runs:
        raise InputError(f"{folder} holds neither a {_STATE} nor a run of MLflow with metrics; {_HINT}")
    return _of_mlflow(runs[0])


def _checkpoint(state: Path) -> int:
    ending = state.parent.name.rpartition("-")[2]
    return int(ending) if ending.isdecimal() else -1


def _of_state(path: Path) -> Log:
    try:
        state = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}; {_HINT}") from None
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        raise InputError(f"{path} has no list of rows log_history, as Hugging Face's {_STATE} has; {_HINT}")
    folder = path.resolve().parent
    if path.name != _STATE:
        name = path.stem
    else:
        name = folder.parent.name if folder.name.startswith("checkpoint-") else folder.name
    return _log(path, name, [(f"{path}: log_history[{at}]", row) for at, row in enumerate(history)])


def _of_json_lines(path: Path) -> Log:
    rows: list[Row] = []
    notes: tuple[str, ...] = ()
    lines = _text(path).splitlines(keepends=True)
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if at == len(lines) and not line.endswith("\n") and rows:  # it is being written
                notes = (f"the last line of {path} is cut short and was left out",)
                break
            raise InputError(f"{path} line {at} is no JSON: {error}; give one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{path} line {at} must be an object such as {{'step': 10, 'loss': 2.3}}, got {line:.80}")
        rows.append((f"{path} line {at}", row))
    return _log(path, path.stem, rows, notes=notes)


def _of_csv(path: Path) -> Log:
    lines = _text(path).splitlines()
    header = lines[0] if lines else ""
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    rows: list[Row] = []
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if None in row:
                named = ", ".join(reader.fieldnames or ())
                raise InputError(f"{path} line {reader.line_num} has more fields than the header names: {named}")
            rows.append((f"{path} line {reader.line_num}", {name.strip(): value for name, value in row.items()}))
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num} is no CSV: {error}; {_HINT}") from None
    return _log(path, path.stem, rows)


def _of_mlflow(run: Path) -> Log:
    """All metrics of a run, one row a step; a file of a metric has lines "timestamp value step"."""
    by_step: dict[int, dict[str, Any]] = {}
    for file in sorted(path for path in (run / "metrics").rglob("*") if path.is_file()):
        metric = file.relative_to(run / "metrics").as_posix()
        for step, value in _mlflow_lines(file, check=metric in NAMES["loss"]):
            by_step.setdefault(step, {"step": step})[metric] = value
    label = run / "tags" / "mlflow.runName"
    name = _text(label).strip() if label.is_file() else ""
    rows: list[Row] = [(f"{run}: step {step}", by_step[step]) for step in sorted(by_step)]
    return _log(run, name or run.resolve().name, rows, whole_rows=False)


def _mlflow_lines(file: Path, check: bool) -> Iterator[tuple[int, str]]:
    """(step, value as text); of what is to ``check`` the steps must ascend."""
    last = -1
    for at, line in enumerate(_text(file).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 3 or not fields[2].isdecimal():  # newer releases add fields after the step
            raise InputError(f"{file} line {at} must be a timestamp, a value and a step from 0, got {line!r:.80}")
        step = int(fields[2])
        if check and step <= last:
            raise InputError(
                f"{file} line {at}: step must ascend, got {step} after {last}; log each loss with its step, and a "
                "training that was started again as a run of its own"
            )
        last = step
        yield step, fields[1]


def _log(path: Path, name: str, rows: list[Row], whole_rows: bool = True, notes: tuple[str, ...] = ()) -> Log:
    if not rows:
        raise InputError(f"{path} holds no rows: has the training logged anything yet? {_HINT}")
    return Log(str(path), name, tuple(rows), whole_rows, notes)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8; {_HINT}") from None


def _is_housekeeping(column: str) -> bool:
    return column.rpartition("/")[2].lower() in _SETTINGS or column.lower().endswith(_SPEEDS)


def _maybe(value: Any) -> float | None:
    """A finite number, or nothing: of metrics that nobody asked for, what is no number is passed over."""
    try:
        made = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return made if math.isfinite(made) and not isinstance(value, bool) else None


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])]) or "none"
