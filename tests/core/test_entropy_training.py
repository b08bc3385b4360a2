"""Training output of every kind, as one curve; the loss of its first epoch; what bad output is told."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipspark.entropy.training import Curve, first_epoch, read_training, read_trainings
from zipspark.errors import InputError, UsageError

# One training of 50 steps an epoch, logged every 10 steps, and an evaluation every 25.
ROWS = [
    {"step": step, "loss": loss, "num_input_tokens_seen": tokens, "epoch": step / 50, "learning_rate": 1e-4}
    for step, loss, tokens in zip(
        range(10, 101, 10),
        [3.0, 2.5, 2.2, 2.0, 1.9, 1.2, 1.1, 1.0, 1.0, 0.9],
        [1000, 2100, 3000, 4200, 5000, 6000, 7100, 8000, 9200, 10000],
        strict=True,
    )
]
EVALUATIONS = [
    {"step": 25, "epoch": 0.5, "eval_loss": 2.3, "eval_accuracy": 0.4, "eval_runtime": 1.5},
    {"step": 75, "epoch": 1.5, "eval_loss": 2.1, "eval_accuracy": 0.6, "eval_runtime": 1.4},
]
LOSS = (3.0 * 1000 + 2.5 * 1100 + 2.2 * 900 + 2.0 * 1200 + 1.9 * 800) / 5000  # of the first epoch, by hand


def write_state(folder: Path, rows=None) -> Path:
    """As Hugging Face's trainer leaves it, with the row that sums the training up."""
    folder.mkdir(parents=True, exist_ok=True)
    history = sorted([*(rows or ROWS), *EVALUATIONS], key=lambda row: row["step"])
    closing = {"step": 100, "epoch": 2.0, "train_loss": 1.68, "train_runtime": 60.0, "total_flos": 1e15}
    state = {"epoch": 2.0, "global_step": 100, "max_steps": 100, "log_history": [*history, closing]}
    path = folder / "trainer_state.json"
    path.write_text(json.dumps(state))
    return path


def write_lines(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path: Path, rows, delimiter=",") -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_run(run: Path, rows, name: str | None = None) -> Path:
    """As MLflow's file store has a run: a file a metric, names with a slash in folders."""
    for row in rows:
        for metric, value in row.items():
            if metric != "step":
                file = run / "metrics" / metric
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("a") as lines:
                    lines.write(f"1721450907230 {value} {row['step']}\n")
    if name:
        (run / "tags").mkdir()
        (run / "tags" / "mlflow.runName").write_text(name)
    return run


@pytest.fixture
def everything(tmp_path) -> dict[str, Path]:
    rows = sorted([*ROWS, *EVALUATIONS], key=lambda row: row["step"])
    return {
        "state": write_state(tmp_path / "run"),
        "folder": tmp_path / "run",
        "lines": write_lines(tmp_path / "log.jsonl", rows),
        "csv": write_csv(tmp_path / "log.csv", rows),
        "semicolons": write_csv(tmp_path / "other.csv", rows, ";"),
        "mlflow": write_run(tmp_path / "mlruns" / "0" / "abc", rows, "wistful-ant"),
        "mlruns": tmp_path / "mlruns",
    }


@pytest.mark.parametrize("kind", ["state", "folder", "lines", "csv", "semicolons", "mlflow", "mlruns"])
def test_every_format_holds_the_same_curve(everything, kind):
    curve = read_training(everything[kind])
    assert curve.steps.tolist() == [row["step"] for row in ROWS]
    assert curve.losses.tolist() == [row["loss"] for row in ROWS]
    assert curve.tokens is not None
    assert curve.tokens.tolist() == [row["num_input_tokens_seen"] for row in ROWS]
    assert curve.epochs is not None
    assert curve.epochs.tolist() == [row["epoch"] for row in ROWS]
    assert sorted(curve.metrics) == ["eval_accuracy", "eval_loss"]
    steps, values = curve.metrics["eval_accuracy"]
    assert (steps.tolist(), values.tolist()) == ([25, 75], [0.4, 0.6])
    assert first_epoch(curve).loss == pytest.approx(LOSS)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("state", "run"), ("lines", "log"), ("csv", "log"), ("mlflow", "wistful-ant"), ("mlruns", "wistful-ant")],
)
def test_a_curve_has_the_name_of_its_run(everything, kind, name):
    assert read_training(everything[kind]).name == name
    assert read_training(everything[kind], name="v4").name == "v4"


def test_the_last_checkpoint_of_a_folder_counts(tmp_path):
    write_state(tmp_path / "v5" / "checkpoint-900", ROWS[:2])
    write_state(tmp_path / "v5" / "checkpoint-1000", ROWS[:5])
    curve = read_training(tmp_path / "v5")
    assert (curve.name, len(curve.steps)) == ("v5", 5)


def test_first_epoch_is_told_with_what_it_covers(everything):
    found = first_epoch(read_training(everything["state"]))
    assert (found.rows, found.steps, found.tokens, found.share, found.whole) == (5, 50, 5000, 1.0, True)
    assert json.loads(json.dumps(found.to_dict()))["loss"] == found.loss
    assert "5,000 tokens" in str(found)
    assert "seen whole" in str(found)


def test_without_tokens_steps_weigh(everything):
    rows = [{name: row[name] for name in ("step", "loss", "epoch")} for row in ROWS]
    found = first_epoch(read_training(write_lines(everything["lines"], rows)))
    assert found.loss == pytest.approx(np.mean([3.0, 2.5, 2.2, 2.0, 1.9]))
    assert found.tokens is None
    assert "no tokens" in str(found)


def test_a_row_that_reaches_into_the_second_epoch_is_left_out():
    curve = Curve("v", [20, 40, 60], [3.0, 2.0, 0.1], epochs=[0.4, 0.8, 1.2])
    found = first_epoch(curve)
    assert (found.loss, found.rows, found.share, found.whole) == (2.5, 2, 0.8, True)


def test_an_epoch_under_way_is_not_whole_and_its_share_is_said():
    curve = Curve("v", [10, 20, 30], [3.0, 2.0, 1.0], epochs=[0.1, 0.2, 0.3])
    found = first_epoch(curve)
    assert (found.share, found.whole) == (pytest.approx(0.3), False)
    assert "30% seen" in str(found)


def test_an_epoch_that_ends_between_two_logs_is_whole():
    curve = Curve("v", [10, 20, 30], [3.0, 2.0, 1.0], epochs=[0.32, 0.64, 0.96])
    assert first_epoch(curve).whole


def test_length_of_an_epoch_can_be_given():
    curve = Curve("v", [10, 20, 30, 40], [4.0, 3.0, 2.0, 1.0], tokens=[100, 200, 300, 400])
    assert first_epoch(curve, steps=20).loss == 3.5
    assert first_epoch(curve, tokens=300).loss == 3.0
    assert first_epoch(curve, steps=80).share == 0.5
    assert not first_epoch(curve, steps=80).whole


def test_a_part_of_the_epoch_is_the_same_measure_for_a_training_under_way_and_a_past_one():
    past = Curve("past", [10, 20, 30, 40, 50], [4.0, 3.0, 2.0, 1.0, 0.5], epochs=[0.25, 0.5, 0.75, 1.0, 1.25])
    new = Curve("new", [10, 20], [4.0, 3.0], epochs=[0.25, 0.5])
    assert first_epoch(past, part=0.5).loss == first_epoch(new, part=0.5).loss == 3.5
    with pytest.raises(UsageError, match="needs its length"):
        first_epoch(Curve("v", [1, 2], [1.0, 1.0]), part=0.5)


@pytest.mark.parametrize("epochs", [[0, 0, 1, 1], [1, 1, 2, 2]])
def test_epochs_may_be_numbered(epochs):
    found = first_epoch(Curve("v", [10, 20, 30, 40], [4.0, 3.0, 1.0, 1.0], epochs=epochs))
    assert (found.loss, found.whole, found.share) == (3.5, True, 1.0)


def test_one_row_an_epoch_is_that_epoch():
    found = first_epoch(Curve("v", [33, 66, 99], [2.0, 1.0, 0.5], epochs=[1.0, 2.0, 3.0]))
    assert (found.loss, found.rows, found.whole) == (2.0, 1, True)


def test_where_nothing_says_where_the_epoch_ends_it_is_said():
    found = first_epoch(Curve("v", [1, 2], [2.0, 1.0]))
    assert (found.share, found.whole, found.loss) == (None, False, 1.5)
    assert "nothing says" in found.known


def test_a_log_that_begins_in_the_middle_does_not_count_from_zero():
    curve = Curve(
        "v", [1000, 1010, 1020], [9.0, 2.0, 1.0], tokens=[100_000, 101_000, 102_000], epochs=[0.5, 0.505, 0.51]
    )
    found = first_epoch(curve)
    assert (found.tokens, found.steps, found.loss) == (3000, 30, 4.0)
    assert found.share == pytest.approx(0.015)
    assert not found.whole
    to_the_end = Curve("v", [1000, 1010, 1020], [9.0, 2.0, 1.0], epochs=[0.99, 1.0, 1.01])
    assert not first_epoch(to_the_end).whole
    numbered = Curve("v", [1000, 1010, 1020], [9.0, 2.0, 1.0], epochs=[0, 0, 1])
    assert not first_epoch(numbered).whole


def test_steps_may_be_counted_from_zero():
    assert first_epoch(Curve("v", [0, 1, 2], [3.0, 2.0, 1.0])).loss == 2.0
    tenth = Curve("v", [0, 10], [12.0, 1.0])
    assert first_epoch(tenth).loss == pytest.approx((12.0 + 10 * 1.0) / 11)
    assert Curve("v", [0, 9], [1.0, 1.0]).with_tokens(5).tokens.tolist() == [5, 50]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 500), st.floats(0, 12)), min_size=1, max_size=30),
    st.integers(1, 30),
)
def test_loss_is_the_mean_over_tokens_of_whole_rows_in_the_epoch(rows, cut):
    """Against a sum over single tokens: every token has the loss of the row that it was logged in."""
    steps = np.cumsum([min(row[0], rows[1][0]) if at == 0 and len(rows) > 1 else row[0] for at, row in enumerate(rows)])
    tokens = np.cumsum([row[1] for row in rows])
    length = int(steps[min(cut, len(rows)) - 1])
    per_token = [
        loss for step, (_, count, loss) in zip(steps, rows, strict=True) if step <= length for _ in range(count)
    ]
    found = first_epoch(Curve("v", steps, [row[2] for row in rows], tokens), steps=length)
    assert found.loss == pytest.approx(math.fsum(per_token) / len(per_token), abs=1e-9)
    assert found.tokens == len(per_token)


def test_tokens_of_each_row_are_summed_up_and_that_is_noted(tmp_path):
    rows = [{"step": step, "loss": 2.0, "tokens": tokens} for step, tokens in [(1, 50), (2, 70), (3, 60)]]
    curve = read_training(write_csv(tmp_path / "a.csv", rows))
    assert curve.tokens.tolist() == [50, 120, 180]
    assert "does not ascend" in curve.notes[0]
    rows[2]["tokens"] = 80  # ascending by chance
    path = write_csv(tmp_path / "b.csv", rows)
    assert read_training(path).tokens.tolist() == [50, 70, 80]
    assert read_training(path, cumulative=False).tokens.tolist() == [50, 120, 200]


def test_tokens_of_a_step_count_for_the_steps_between_rows(tmp_path):
    rows = [{"step": step, "loss": 2.0, "tokens_per_step": 100} for step in (10, 20, 40)]
    assert read_training(write_csv(tmp_path / "a.csv", rows)).tokens.tolist() == [1000, 2000, 4000]
    rows = [{"step": step, "loss": 2.0, "batch_tokens": 100} for step in (0, 1, 2)]
    assert read_training(write_csv(tmp_path / "b.csv", rows)).tokens.tolist() == [100, 200, 300]
    assert Curve("v", [10, 40], [1.0, 1.0]).with_tokens(100).tokens.tolist() == [1000, 4000]


def test_other_names_and_bits_can_be_said(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"n": 1, "xent": 2.0}, {"n": 2, "xent": 1.0}])
    curve = read_training(path, columns={"step": "n", "loss": "xent"}, unit="bits")
    assert curve.losses.tolist() == pytest.approx([2 * math.log(2), math.log(2)])
    with pytest.raises(UsageError, match="columns names"):
        read_training(path, columns={"losses": "xent"})
    with pytest.raises(UsageError, match="unit must be"):
        read_training(path, unit="bytes")


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    curve = read_training(path)
    assert curve.steps.tolist() == [1]
    assert "cut short" in curve.notes[0]
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo\n')  # a whole line, and wrong
    with pytest.raises(InputError, match="line 2 is no JSON"):
        read_training(path)


def test_metrics_beside_losses_are_kept_and_settings_are_not(tmp_path):
    rows = [{"step": 1, "loss": 2.0, "acc": 0.5, "lr": 0.1, "mode": "train", "grad_norm": 1.0}]
    curve = read_training(write_lines(tmp_path / "a.jsonl", rows))
    assert list(curve.metrics) == ["acc"]


def test_logs_of_other_trainers_are_read(tmp_path):
    llama_factory = [
        {"current_steps": 10, "total_steps": 20, "loss": 2.0, "lr": 1e-4, "epoch": 0.5, "elapsed_time": "0:00:09"},
        {"current_steps": 20, "total_steps": 20, "loss": 1.0, "lr": 1e-4, "epoch": 1.0, "elapsed_time": "0:00:18"},
        {"current_steps": 20, "total_steps": 20, "epoch": 1.0, "elapsed_time": "0:00:19"},
    ]
    curve = read_training(write_lines(tmp_path / "trainer_log.jsonl", llama_factory))
    assert (curve.steps.tolist(), curve.metrics) == ([10, 20], {})
    lightning = "epoch,step,train_loss_step,val_acc\n0,49,2.0,\n0,99,1.5,\n0,99,,0.4\n1,149,1.0,\n"
    (tmp_path / "metrics.csv").write_text(lightning)
    curve = read_training(tmp_path / "metrics.csv")
    assert (curve.steps.tolist(), list(curve.metrics)) == ([49, 99, 149], ["val_acc"])
    assert first_epoch(curve).rows == 2
    (tmp_path / "export.csv").write_text('"Step","Train/Loss","Accuracy"\n1,2.0,0.1\n')
    curve = read_training(tmp_path / "export.csv")
    assert (curve.losses.tolist(), list(curve.metrics)) == ([2.0], ["Accuracy"])


def test_curves_of_one_name_are_called_by_their_paths(tmp_path):
    paths = [tmp_path / place / "log.jsonl" for place in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write_lines(path, ROWS)
    other = write_lines(tmp_path / "other.jsonl", ROWS)
    assert [curve.name for curve in read_trainings([*paths, other])] == [*map(str, paths), "other"]


BAD_LINES = [
    ("", "holds no rows"),
    ("\n \n", "holds no rows"),
    ("{step: 1}\n", "line 1 is no JSON"),
    ("[1, 2]\n", "line 1 must be an object"),
    ('{"step": 1, "nll": 2.0}\n', r"no column of loss.*columns=\{'loss'.*it has step, nll"),
    ('{"loss": 2.0}\n', "no column of step"),
    ('{"step": 1, "loss": NaN}\n', "line 1: loss must be a finite number"),
    ('{"step": 1, "loss": Infinity}\n', "loss must be a finite number"),
    ('{"step": 1, "loss": "low"}\n', "loss must be a number, got 'low'"),
    ('{"step": 1, "loss": true}\n', "loss must be a finite number, got True"),
    ('{"step": 1, "loss": [2.0]}\n', "loss must be a number"),
    ('{"step": 1, "loss": 2}\n{"step": 2, "loss": null}\n', "line 2 has no loss"),
    ('{"step": 1, "loss": 2}\n{"step": 2}\n', "line 2 has no loss"),
    ('{"step": 1, "loss": 2}\n{"loss": 2}\n', "line 2 has no step"),
    ('{"step": 1.5, "loss": 2}\n', "step must be a whole number"),
    ('{"step": 1e300, "loss": 2}\n', "step must be a whole number"),
    ('{"step": 2, "loss": 2}\n{"step": 1, "loss": 2}\n', "step must ascend, got 1 after 2"),
    ('{"step": 2, "loss": 2}\n{"step": 2, "loss": 2}\n', "step must ascend, got 2 after 2"),
    ('{"step": 1, "loss": -2}\n', "loss must be a number from 0"),
    ('{"step": 1, "loss": 2, "tokens": 5}\n{"step": 2, "loss": 2}\n', "line 2 has no tokens, which other rows have"),
    ('{"step": 1, "loss": 2, "tokens": 1e300}\n', "tokens must be numbers of at most"),
    ('{"step": 1, "loss": 2, "epoch": 1.5}\n{"step": 2, "loss": 2, "epoch": 0.5}\n', "epoch must not fall"),
    ("[" * 100_000, "no JSON"),
    ('{"step": 1, "loss": ' + "9" * 5000 + "}\n", "no JSON"),
]


@pytest.mark.parametrize(("text", "message"), BAD_LINES)
def test_bad_lines_are_told_where_and_why(tmp_path, text, message):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_training(path)


BAD_CSV = [
    ("", "holds no rows"),
    ("step,loss\n", "holds no rows"),
    ("step,loss\n1,\n", "no column of loss"),
    ("step,loss\n1,2.0\n2,\n", "line 3 has no loss"),
    ("step,loss,lr\n1,2.0,0.1\n2,,0.1\n", "line 3 has no loss"),
    ("step,loss\n1,2.0\n2,nan\n", "line 3: loss must be a finite number"),
    ("step,loss\n1,abc\n", "line 2: loss must be a number, got 'abc'"),
    ("step;loss\n1;2,0\n", "loss must be a number, got '2,0'"),
    ("step,loss\n1,2,3\n", "line 2 has more fields"),
    ("1,2.0\n2,1.0\n", "no column of step"),
]


@pytest.mark.parametrize(("text", "message"), BAD_CSV)
def test_bad_csv_is_told_where_and_why(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_training(path)


BAD_STATES = [
    "",
    "[]",
    "{}",
    '{"log_history": 3}',
    '{"log_history": [3]}',
    '{"log_history": []}',
    "[" * 100_000,
    "\xff",
]


@pytest.mark.parametrize("text", BAD_STATES)
def test_what_is_no_trainer_state_is_told(tmp_path, text):
    path = tmp_path / "trainer_state.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"trainer_state\.json"):
        read_training(path)


def test_bad_places_are_told(tmp_path, everything):
    with pytest.raises(InputError, match="is not there"):
        read_training(tmp_path / "nothing.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither a trainer_state"):
        read_training(tmp_path / "empty")
    (tmp_path / "log.bin").write_bytes(b"1")
    with pytest.raises(InputError, match="no format known"):
        read_training(tmp_path / "log.bin")
    write_run(tmp_path / "mlruns" / "0" / "second", ROWS)
    with pytest.raises(InputError, match=r"2 runs of MLflow.*abc.*second"):
        read_training(tmp_path / "mlruns")
    with pytest.raises(InputError, match="no column 'nll' for loss"):
        read_training(everything["csv"], columns={"loss": "nll"})


def test_bad_metrics_of_mlflow_are_told(tmp_path):
    run = write_run(tmp_path / "run", [{"step": 0, "loss": 2.0}, {"step": 0, "loss": 1.0}])  # logged without steps
    with pytest.raises(InputError, match="log each loss with its step"):
        read_training(run)
    (run / "metrics" / "loss").write_text("2.0\n")
    with pytest.raises(InputError, match="timestamp, a value and a step"):
        read_training(run)


BAD_CURVES = [
    ({"steps": [], "losses": []}, "at least one row"),
    ({"steps": [1, 2], "losses": [1.0]}, "losses must be as many as steps"),
    ({"steps": [1], "losses": ["a"]}, "losses must be numbers"),
    ({"steps": [1, 2], "losses": [1.0, math.nan]}, "got nan at step 2"),
    ({"steps": [-1], "losses": [1.0]}, "step must not be negative"),
    ({"steps": [1, 2], "losses": [1.0, 1.0], "tokens": [5, 5]}, "tokens must ascend"),
    ({"steps": [1], "losses": [1.0], "metrics": {"a": ([1, 1], [0, 0])}}, "step of a must ascend"),
    ({"steps": [1], "losses": [1.0], "metrics": {"a": ([1], [0, 0])}}, "as many values as steps"),
]


@pytest.mark.parametrize(("values", "message"), BAD_CURVES)
def test_bad_curves_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Curve("v", **values)


def test_bad_questions_are_refused():
    curve = Curve("v", [10, 20], [2.0, 1.0], epochs=[1.5, 3.0])
    with pytest.raises(InputError, match="no logged row ends in the first epoch"):
        first_epoch(curve)
    with pytest.raises(InputError, match="begins in epoch 3"):
        first_epoch(Curve("v", [10, 20], [2.0, 1.0], epochs=[3, 3]))
    with pytest.raises(InputError, match="no tokens"):
        first_epoch(curve, tokens=5)
    with pytest.raises(InputError, match="before any token"):
        first_epoch(Curve("v", [0], [2.0], tokens=[0]))
    for options, message in [
        ({"steps": 0}, "at least 1"),
        ({"part": 0.0}, "part of the epoch"),
        ({"part": math.nan}, "part of the epoch"),
        ({"steps": 1, "tokens": 1}, "got both"),
    ]:
        with pytest.raises(UsageError, match=message):
            first_epoch(curve, **options)
    with pytest.raises(UsageError, match="tokens per step"):
        curve.with_tokens(math.nan)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([".jsonl", ".csv", ".json"]),
    st.one_of(
        st.binary(max_size=60),
        st.text('{}[]":,0123456789.eE-NaInfystploskch\n ', max_size=80).map(str.encode),
        st.lists(
            st.dictionaries(
                st.sampled_from(["step", "loss", "tokens", "epoch", "acc"]),
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
            ),
            max_size=5,
        ).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    ),
)
def test_whatever_a_file_holds_there_is_a_curve_or_a_message(tmp_path_factory, ending, content):
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(content)
    try:
        curve = read_training(path)
    except InputError:
        return
    assert np.isfinite(curve.losses).all()
    assert (np.diff(curve.steps) > 0).all()
