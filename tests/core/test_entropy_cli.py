"""``zipspark entropy`` where no Spark is needed: what is printed, exit codes, pictures, and what bad input is told."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from test_rules import run_without_pyspark

from zipspark import entropy
from zipspark.cli import run
from zipspark.config import (
    ENTROPY_SECTIONS,
    CheckConfig,
    CurvesConfig,
    FitConfig,
    LogConfig,
    MeasureConfig,
    PredictConfig,
)
from zipspark.entropy.law import fit
from zipspark.entropy.versions import Version, read_log
from zipspark.errors import UsageError
from zipspark.options import layered, shown

PNG = b"\x89PNG\r\n"
PAST = {"v1": (3.92, 1.84), "v2": (3.85, 1.81), "v3": (4.05, 1.88), "v4": (3.98, 1.83), "v5": (3.90, 1.82)}


def score(ratio: float, loss: float) -> float:
    return 12 - 0.5 * ratio - 2 * loss


@pytest.fixture
def log(tmp_path) -> str:
    """Five versions with all that the law asks for, of which the score is an exact plane."""
    path = tmp_path / "versions.csv"
    for name, (ratio, loss) in PAST.items():
        entropy.append(
            path, Version(name, ratio=ratio, codec="zlib", loss=loss, score=score(ratio, loss), tokens=10**6)
        )
    return str(path)


@pytest.fixture
def called(capsys):
    """Runs ``zipspark entropy`` and gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(["entropy", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def training(path: Path, floor: float, epochs: float = 1.25, tokens: bool = True) -> Path:
    """100 rows of loss floor + 60 N^-0.35, with an accuracy every tenth."""
    noise = random.Random(1)
    lines = []
    for step in range(10, 1001, 10):
        seen = step * 2048
        row = {"step": step, "loss": floor + 60 * seen**-0.35 + noise.gauss(0, 0.002), "epoch": epochs * step / 1000}
        lines.append(row | ({"num_input_tokens_seen": seen} if tokens else {}))
        if step % 100 == 0:
            lines.append({"step": step, "eval_accuracy": step / 1000})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


# --- log --------------------------------------------------------------------------------------------------------------


def test_a_version_is_logged_in_parts(tmp_path, called):
    path = tmp_path / "versions.parquet"
    code, said, _ = called("log", "--log", path, "--version", "v1", "--ratio", 3.9, "--codec", "zlib")
    assert (code, said.split("  -> ")[0]) == (0, "v1: R 3.9 (zlib), L not known yet, Z not known yet")
    assert called("log", "--log", path, "--version", "v1", "--loss", 1.8, "--tokens", "20Mtok")[0] == 0
    code, said, _ = called("log", "--log", path, "--version", "v1", "--score", 6.2, "--json")
    found = json.loads(said)
    assert code == 0
    assert found["missing"] == []
    assert {name: found["version"][name] for name in ("ratio", "codec", "loss", "loss_from", "tokens", "score")} == {
        **{"ratio": 3.9, "codec": "zlib", "loss": 1.8, "loss_from": "given", "tokens": 20_000_000, "score": 6.2}
    }
    [row] = read_log(path)
    assert row.to_dict() == found["version"]


def test_what_was_logged_is_only_replaced_when_told(log, called):
    code, _, said = called("log", "--log", log, "--version", "v1", "--score", 1)
    assert (code, "is in the log already with another score" in said) == (3, True)
    assert called("log", "--log", log, "--version", "v1", "--score", 1, "--replace")[0] == 0
    assert read_log(log)[0].score == 1


def test_a_loss_is_read_from_training_output(tmp_path, called):
    path, output = tmp_path / "v.csv", training(tmp_path / "run.jsonl", 1.6)
    code, said, _ = called("log", "--log", path, "--version", "v1", "--training", output, "--json")
    found = json.loads(said)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    first = [row["loss"] for row in rows if row.get("epoch", 2) <= 1]
    assert code == 0
    assert found["version"]["loss"] == pytest.approx(sum(first) / len(first))
    assert found["version"]["loss_from"] == str(output)
    assert found["first_epoch"]["whole"]
    assert found["version"]["tokens"] == 800 * 2048


def test_a_part_of_an_epoch_is_said_to_be_one(tmp_path, called):
    output = training(tmp_path / "run.jsonl", 1.6, epochs=0.5)
    code, said, _ = called("log", "--log", tmp_path / "v.csv", "--version", "v1", "--training", output)
    assert (code, "not of a whole first epoch" in said) == (0, True)


def test_losses_in_bits_under_a_name_of_their_own(tmp_path, called):
    output = tmp_path / "run.csv"
    output.write_text("when,bits\n1,4\n2,2\n")
    columns = ("--columns", "step=when,loss=bits", "--unit", "bits", "--step-tokens", 100)
    assert called("log", "--log", tmp_path / "v.csv", "--version", "v1", "--training", output, *columns)[0] == 0
    [row] = read_log(tmp_path / "v.csv")
    assert (row.loss, row.tokens) == (pytest.approx(3 * math.log(2)), 200)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--version", "v1"], 2, "nothing to log"),
        (["--loss", 1.8], 2, "version must be given"),
        (["--version", "v1", "--loss", "nan"], 2, "loss must be"),
        (["--version", "v1", "--loss", 1.8, "--training", "x"], 2, "loss must not stand beside training"),
        (["--version", "v1", "--ratio", 3, "--data", "x.jsonl"], 2, "ratio must not stand beside data"),
        (["--version", "v1", "--ratio", 0], 2, "ratio must be greater than 0, got '0'"),
        (["--version", "v1", "--codec", "zlib", "--score", 1], 2, "codec needs data or ratio"),
        (["--version", "v1", "--score", 1, "--tokens", "5MB"], 2, "tokens must be a number of tokens"),
        (["--version", "v1", "--score", 1, "--held-out", "x.jsonl"], 2, "held_out needs data"),
        (["--version", "v1", "--training", "nowhere.csv"], 3, "nowhere.csv is not there"),
        (["--version", " ", "--score", 1], 3, "version must be a name"),
        (["--version", "v1", "--score", 1, "--id-column", "id"], 2, "No such option"),
    ],
    ids=str,
)
def test_what_cannot_be_logged(arguments, code, message, tmp_path, called):
    path = tmp_path / "v.csv"
    ended, said, told = called("log", "--log", path, *arguments)
    assert (ended, said) == (code, "")
    assert message in told
    assert "Traceback" not in told
    assert not path.exists()


# --- fit, check -------------------------------------------------------------------------------------------------------


def test_fit_says_the_plane_and_draws_it(log, tmp_path, called):
    code, said, _ = called("fit", "--log", log, "--json", "--plot", tmp_path / "new folder" / "law.png")
    found = json.loads(said)
    assert code == 0
    assert found["law"]["ratio"]["value"] == pytest.approx(-0.5)
    assert found["law"]["loss"]["value"] == pytest.approx(-2)
    assert found["law"] == json.loads(json.dumps(fit(read_log(log)).to_dict()))
    assert len(found["loss_given_ratio"]["residuals"]) == 5
    assert [Path(name).read_bytes()[:6] for name in found["plots"]] == [PNG, PNG]
    assert sorted(one.name for one in (tmp_path / "new folder").iterdir()) == ["law-loss.png", "law.png"]


def test_fit_for_people(log, tmp_path, called):
    code, said, _ = called("fit", "--log", log, "--plot", tmp_path / "law.svg")
    assert code == 0
    assert said.startswith("Z = 12 -0.5 R -2 L")
    assert said.endswith(f"pictures: {tmp_path}/law.svg, {tmp_path}/law-loss.svg\n")
    assert (tmp_path / "law.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("ratio", "loss", "code", "level"),
    [(3.93, 1.83, 0, "ok"), (4.6, 1.95, 10, "watch"), (3.93, 2.4, 10, "watch"), (4.6, 3.9, 20, "risk")],
)
def test_check_ends_with_the_level(log, ratio, loss, code, level, called):
    entropy.append(log, Version("v6", ratio=ratio, codec="zlib", loss=loss))
    ended, said, _ = called("check", "--log", log, "--version", "v6", "--json")
    found = json.loads(said)
    assert (ended, found["exit_code"], found["level"]) == (code, code, level)
    assert found["past"] == [*PAST]
    ended, said, _ = called("check", "--log", log)  # the last
    assert (ended, said.splitlines()[0]) == (code, f"v6: {level}")


def test_a_policy_decides(log, tmp_path, called):
    entropy.append(log, Version("v6", ratio=4.6, codec="zlib"))
    policy = tmp_path / "policy.yml"
    policy.write_text("spreads: 100\n")
    assert called("check", "--log", log)[0] == 10
    assert called("check", "--log", log, "--policy", policy)[0] == 0
    policy.write_text("spread: 100\n")
    code, _, said = called("check", "--log", log, "--policy", policy)
    assert (code, "unknown option 'spread'" in said) == (2, True)


def test_check_draws_the_versions_and_the_band_where_there_is_one(log, tmp_path, called):
    entropy.append(log, Version("v6", ratio=4.6, codec="zlib", loss=1.9))
    picture, band = tmp_path / "v6.png", tmp_path / "v6-loss.png"
    assert called("check", "--log", log, "--plot", picture, "--quiet") == (10, "", "")
    assert [file.read_bytes()[:6] for file in (picture, band)] == [PNG, PNG]
    other = tmp_path / "other-loss.png"
    other.write_bytes(b"somebody's")
    code, said, _ = called("check", "--log", log, "--version", "v2", "--plot", picture)
    assert (code, "no picture of losses: " in said, band.exists()) == (0, True, False)  # the one of v6 is not v2's
    assert picture.read_bytes()[:6] == PNG
    assert other.exists()


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["fit", "--log", "{}/no.csv"], 3, "is not there; log a version first"),
        (["fit", "--log", "{}/no.txt"], 2, "a log is a .csv or .parquet file, or a Delta table"),
        (["fit", "--log", "{}/other.csv"], 3, "no column version"),
        (["fit", "--log", "{}/few.csv"], 3, "needs at least 4 versions with ratio, loss and score, got 1"),
        (["fit", "--log", "{}/flat.csv"], 3, "ratio is 3 in all 4 versions"),
        (["fit", "--log", "{}/bad.csv"], 3, "line 2: loss of version v1 must be at least 0 and finite, got nan"),
        (["fit"], 2, "log must be given"),
        (["fit", "--log", "{}/few.csv", "--confidence", 2], 2, "confidence must be less than 1"),
        (["fit", "--log", "{}/few.csv", "--plot", "x.doc"], 2, "plot must end in one of"),
        (["fit", "--log", "{}/few.csv", "--plot", "{}/few.csv/x.png"], 3, "cannot be written"),
        (["fit", "--log", "{}/few.csv", "--plot", "{}/folder.png"], 3, "is a folder"),
        (["check"], 2, "log or history must be given"),
        (["check", "--log", "{}/few.csv", "--version", "v9"], 3, "version must be one of the log's (v1), got 'v9'"),
        (["check", "--history", "{}/few.csv"], 3, "history must be a Delta table"),
        (["curves"], 2, "curves must be given"),
        (["curves", "{}/few.csv"], 3, "no column of step"),
        (["curves", "{}/nowhere"], 3, "is not there"),
        (["predict", "--tokens", 5], 2, "log or training must be given"),
        (["predict", "--log", "{}/few.csv"], 2, "tokens must be given"),
        (["predict", "--log", "{}/few.csv", "--tokens", "1M"], 3, "at least 4 versions with tokens, loss"),
        (["predict", "--log", "x.csv", "--tokens", 5, "--training", "y"], 2, "training must not stand beside log"),
        (["predict", "--log", "{}/few.csv", "--tokens", 5, "--version", "v7"], 3, "version v7 is not in the log"),
    ],
    ids=str,
)
def test_bad_input_is_told_what_to_supply(command, code, message, tmp_path, called):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "few.csv").write_text("version,ratio,loss,score\nv1,3,2,5\n")
    (tmp_path / "flat.csv").write_text("version,ratio,loss,score\nv1,3,2,5\nv2,3,2.1,5.1\nv3,3,2.2,5\nv4,3,2,4\n")
    (tmp_path / "bad.csv").write_text("version,ratio,loss,score\nv1,3,nan,5\n")
    before = sorted(tmp_path.rglob("*"))
    command = [str(one).format(tmp_path) for one in command]
    ended, said, told = called(*command, "--json")
    assert (ended, json.loads(said)["exit_code"]) == (code, code)
    assert message in told
    assert "Traceback" not in told
    assert sorted(tmp_path.rglob("*")) == before


# --- curves, predict --------------------------------------------------------------------------------------------------


def test_curves_side_by_side(tmp_path, called):
    runs = [training(tmp_path / f"{name}.jsonl", floor) for name, floor in (("a", 1.6), ("b", 1.9))]
    log = tmp_path / "v.csv"
    entropy.append(log, Version("a", ratio=4.2, codec="zstd", bytes=6_000_000))
    plot = tmp_path / "curves.png"
    options = ("--log", log, "--bytes", "b=7MB", "--thresholds", "0.55", "--plot", plot)
    code, said, _ = called("curves", *runs, *options, "--json")
    assert code == 0
    found = json.loads(said)
    a, b = found["curves"]
    assert (a["ratios"], b["ratios"]) == ({"zstd": 4.2}, {})
    for one, size in ((a, 6e6), (b, 7e6)):
        bits = one["first_epoch"]["loss"] * one["first_epoch"]["tokens"] / math.log(2)
        assert one["code_length"]["ratio"] == pytest.approx(8 * size / bits)
    assert a["speed"]["tokens_to_loss"] < b["speed"]["tokens_to_loss"]
    assert a["skills"][0]["step"] == 600
    names = ["curves.png", "curves-ratios.png", "curves-skills-1.png", "curves-skills-2.png"]
    assert [Path(name).name for name in found["plots"]] == names
    assert all((tmp_path / name).read_bytes()[:6] == PNG for name in names)
    code, said, _ = called("curves", *runs, "--names", "one,two", "--bytes", "7MB")
    assert code == 0
    assert all(word in said for word in ("one", "two", "bits/byte", "tokens to"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bytes", "c=7MB"], "no curve is called 'c'"),
        (["--bytes", "many"], "bytes must be a size such as 8MiB"),
        (["--bytes", "7MB,a=3MB"], "must be one value for all, or one for each name"),
        (["--names", "one,two"], "names must be as many as curves (1), got 2"),
        (["--thresholds", "bleu=0.5"], "no curve has a metric 'bleu'; there are eval_accuracy"),
        (["--thresholds", "high"], "must be a number such as 0.8"),
        (["--columns", "loss"], "must be KEY=COLUMN"),
        (["--step-tokens", "100"], "step_tokens is for a training that logs no tokens"),
        (["--epoch-steps", "10", "--epoch-tokens", "1k"], "epoch_tokens must not stand beside epoch_steps"),
    ],
    ids=str,
)
def test_what_curves_are_refused(options, message, tmp_path, called):
    code, said, told = called("curves", training(tmp_path / "a.jsonl", 1.6), *options)
    assert code in (2, 3)
    assert message in told
    assert not said


def test_predict_along_a_training(tmp_path, called):
    output = training(tmp_path / "a.jsonl", 1.6)
    plot = tmp_path / "law.png"
    code, said, _ = called("predict", "--training", output, "--tokens", "8M", "--plot", plot, "--json")
    found = json.loads(said)
    assert code == 0
    assert found["loss"]["extrapolated"]
    assert not found["of_log"]
    assert found["loss"]["middle"] == pytest.approx(1.6 + 60 * 8e6**-0.35, rel=0.005)
    assert found["loss"]["low"] < found["loss"]["middle"] < found["loss"]["high"]
    assert 0.8 * 800 * 2048 < max(found["law"]["tokens"]) < 800 * 2048  # what is seen again teaches something else
    assert plot.read_bytes()[:6] == PNG
    code, _, said = called("predict", "--training", output, "--tokens", "1e9")
    assert (code, "tokens must be within 10 times of those fitted" in said) == (2, True)


def test_predict_over_a_log_with_and_without_the_ratio(tmp_path, called):
    log = tmp_path / "v.csv"

    def loss(tokens: float, ratio: float) -> float:
        return 1 + 2 / ratio + 30 * tokens**-0.3

    for number, tokens in enumerate([10**8, 10**5, 10**6, 10**7, 3 * 10**5, 3 * 10**6]):
        ratio = 3 + 0.5 * (number % 3)
        entropy.append(log, Version(f"v{number}", ratio=ratio, codec="zlib", loss=loss(tokens, ratio), tokens=tokens))
    entropy.append(log, Version("next", ratio=3.25, codec="zlib"))
    command = ("predict", "--log", log, "--tokens", "50Mtok")
    code, said, _ = called(*command, "--version", "next", "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["ratio"], found["of_log"]) == (3.25, True)
    assert found["loss"]["middle"] == pytest.approx(loss(5e7, 3.25), rel=0.01)
    assert found["notes"] == ["not in the fit, for want of tokens, loss, ratio by one codec: next."]
    code, said, _ = called(*command)
    assert code == 0
    assert said.startswith("mean loss over 50,000,000 tokens: ")


# --- all of them ------------------------------------------------------------------------------------------------------

MODELS = (MeasureConfig, LogConfig, FitConfig, CheckConfig, CurvesConfig, PredictConfig)


@pytest.mark.parametrize("model", MODELS)
def test_every_option_is_explained_and_shown(model, called):
    command = model.__name__.removesuffix("Config").lower()
    code, said, _ = called(command, "--help")
    assert (code, "Example: zipspark entropy " in said) == (0, True)
    for name, field in model.model_fields.items():
        assert field.description, name
        assert shown(field)["section"] in ENTROPY_SECTIONS, name
        flag = f"--{(field.alias or name).replace('_', '-')} "
        assert (flag in said) == (name not in (*model.NOT_OPTIONS, "input", "curves")), name


@pytest.mark.parametrize("model", MODELS)
def test_options_of_other_commands_are_refused(model):
    for name in model.NOT_OPTIONS:
        kind = model.model_fields[name].annotation
        value = not model.model_fields[name].default if kind is bool else 1 if "float" in str(kind) else "x"
        with pytest.raises(UsageError, match=rf"{name} is no option here|needs quality_column"):
            layered(model, {name: value})


def test_a_file_gives_options_and_flags_win(log, tmp_path, called):
    file = tmp_path / "check.yml"
    file.write_text(f"log: {log}\nversion: v5\njson: true\n")
    assert json.loads(called("check", "--config", file)[1])["version"] == "v5"
    assert json.loads(called("check", "--config", file, "--version", "v4")[1])["version"] == "v4"


def test_no_spark_is_needed_but_to_measure(log, tmp_path):
    script = f"""
from zipspark import entropy
from zipspark.cli import run
assert [getattr(entropy, name) for name in entropy.__all__]
output = {str(training(tmp_path / "a.jsonl", 1.6))!r}
codes = [
    run(["entropy", "log", "--log", {log!r}, "--version", "v6", "--ratio", "3.9", "--codec", "zlib", "--quiet"]),
    run(["entropy", "fit", "--log", {log!r}, "--quiet"]),
    run(["entropy", "check", "--log", {log!r}, "--quiet"]),
    run(["entropy", "curves", output, "--quiet"]),
    run(["entropy", "predict", "--training", output, "--tokens", "1M", "--quiet"]),
    run(["entropy", "measure", output]),
    run(["entropy", "fit", "--log", "main.versions"]),
]
print(codes)
"""
    done = run_without_pyspark(script)
    assert done.stdout.strip() == "[0, 0, 0, 0, 0, 4, 4]", done.stderr
    assert done.stderr.count("pyspark is not installed. Run: pip install 'zipspark[spark]'") == 2


def test_the_public_names_are_those_of_all():
    assert set(entropy.__all__) == set(entropy._MODULES)
    modules = {path.stem for path in Path(entropy.__file__).parent.glob("*.py")}
    for name in entropy.__all__:
        member = getattr(entropy, name)
        assert name not in modules, "a module's name cannot be a function's"
        assert name == "LOG" or member.__module__.startswith("zipspark.entropy."), name
        assert member.__doc__, name
    assert set(entropy._MODULES.values()) <= modules
    for module in modules - {"__init__"}:
        assert f"`{module}`" in entropy.__doc__, "the map names every module"
    assert set(entropy.__all__) <= set(dir(entropy))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = entropy.nothing_like_it
