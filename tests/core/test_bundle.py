"""`databricks.yml` against what it is about: options, entry points, its own variables. And what a wheel task does."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from zipspark import databricks
from zipspark.config import RefreshConfig, SelectConfig, check_refresh, check_select
from zipspark.errors import InputError, UsageError
from zipspark.options import layered, read_config_file

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "databricks.yml").read_text("utf-8")
BUNDLE = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = BUNDLE["resources"]["jobs"]
OF_JOB = {"select_subset": SelectConfig, "refresh_subset": RefreshConfig}


def wheel_task(job: str) -> dict[str, Any]:
    (task,) = JOBS[job]["tasks"]
    return {**task["python_wheel_task"], "environment_key": task["environment_key"]}


def options(job: str) -> set[str]:
    return {field.alias or name for name, field in OF_JOB[job].model_fields.items()} | {"config"}


def test_a_development_and_a_production_target():
    targets = BUNDLE["targets"]
    assert {name: target["mode"] for name, target in targets.items()} == {"dev": "development", "prod": "production"}
    assert [name for name, target in targets.items() if target.get("default")] == ["dev"]


def test_variables_that_are_used_are_declared_and_the_other_way():
    assert set(re.findall(r"\$\{var\.(\w+)\}", TEXT)) == BUNDLE["variables"].keys()
    others = set(re.findall(r"\$\{([^}]+)\}", TEXT)) - {f"var.{name}" for name in BUNDLE["variables"]}
    assert others == {"bundle.name", "bundle.target", "workspace.file_path"}


def test_the_wheel_is_built_here_and_installed_where_tasks_run():
    (artifact,) = BUNDLE["artifacts"].values()
    assert (artifact["type"], artifact["path"]) == ("whl", ".")
    assert artifact["build"].endswith("--wheel-dir dist .")
    for job in JOBS.values():
        (environment,) = job["environments"]
        assert environment["spec"].keys() == {"environment_version", "dependencies"}  # serverless
        assert environment["spec"]["dependencies"] == ["./dist/*.whl"]
        assert "job_clusters" not in job


@pytest.mark.parametrize("job", OF_JOB)
def test_a_task_runs_an_entry_point_of_the_wheel(job):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    task = wheel_task(job)
    assert task["package_name"] == project["name"]
    assert task["entry_point"] == job
    assert task["environment_key"] == JOBS[job]["environments"][0]["environment_key"]
    module, _, function = project["entry-points"]["packages"][job].partition(":")
    assert getattr(sys.modules[module], function).__doc__


@pytest.mark.parametrize("job", OF_JOB)
def test_every_parameter_is_an_option_and_reaches_the_task(job):
    of_job = {parameter["name"]: parameter["default"] for parameter in JOBS[job]["parameters"]}
    of_task = wheel_task(job)["named_parameters"]
    assert of_job.keys() <= of_task.keys() <= options(job)
    assert all(isinstance(value, str) for value in (*of_job.values(), *of_task.values()))  # what the API takes
    for name in of_job:
        assert of_task[name] == f"{{{{job.parameters.{name}}}}}"
    for name in of_task.keys() - of_job.keys():
        assert "{{" not in of_task[name]
    assert (ROOT / of_task["config"].replace("${workspace.file_path}", ".")).is_file()
    assert Path(of_task["config"]).parent.name in BUNDLE["sync"]["paths"]


def test_the_refresh_is_scheduled_and_never_runs_twice_at_once():
    job = JOBS["refresh_subset"]
    cron = BUNDLE["variables"]["schedule"]["default"]
    assert job["schedule"]["quartz_cron_expression"] == "${var.schedule}"
    assert len(cron.split()) == 6  # seconds first
    assert job["schedule"]["timezone_id"] == "UTC"
    assert job["max_concurrent_runs"] == 1
    assert "schedule" not in JOBS["select_subset"]


VALUES = {
    "corpus": "main.raw.chats",
    "id_column": "id",
    "output_schema": "main.llm",
    "subset": "main.llm.chosen",
    "work_dir": "/Volumes/main/llm/work/zipspark",
}


@pytest.mark.parametrize("job", OF_JOB)
def test_defaults_of_a_job_are_options_that_fit_together(job):
    variables = {name: var["default"] for name, var in BUNDLE["variables"].items() if "default" in var} | VALUES
    assert variables.keys() == BUNDLE["variables"].keys()
    parameters = {parameter["name"]: parameter["default"] for parameter in JOBS[job]["parameters"]}

    def filled(value: str) -> str:
        value = re.sub(r"\{\{job\.parameters\.(\w+)\}\}", lambda found: parameters[found[1]], value)
        return re.sub(r"\$\{var\.(\w+)\}", lambda found: variables[found[1]], value)

    named = wheel_task(job)["named_parameters"]
    config = named.pop("config").replace("${workspace.file_path}", str(ROOT))
    flags: dict[str, Any] = {}
    for argument in databricks.command_line(OF_JOB[job], [f"--{key}={filled(value)}" for key, value in named.items()]):
        if argument.startswith("--no-"):
            flags[argument.removeprefix("--no-").replace("-", "_")] = False
        elif argument.startswith("--"):
            name, _, value = argument.removeprefix("--").partition("=")
            flags[name.replace("-", "_")] = value
        else:
            flags["input"] = argument
    chosen = layered(OF_JOB[job], flags, read_config_file(config))
    assert (chosen.work_dir, chosen.group_column) == (VALUES["work_dir"], None)
    if isinstance(chosen, SelectConfig):
        check_select(chosen)
        assert (chosen.input, chosen.output_schema, chosen.overwrite) == (("main.raw.chats",), "main.llm", False)
    else:
        check_refresh(chosen)
        assert (chosen.corpus, chosen.subset, chosen.mode) == ("main.raw.chats", "main.llm.chosen", "append")
        assert (chosen.dry_run, chosen.rebuild) == (False, False)


def test_the_commands_of_the_tasks_are_there():
    assert {"select", "refresh"} <= databricks.cli.zipspark.commands.keys()


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["--budget=5%"], UsageError, "input must be given"),
        (["--input=x/y.jsonl", "--output=out", "--budget=0"], UsageError, "budget must be above 0"),
        (["--input=x/y.jsonl", "--bugdet=5"], UsageError, "--bugdet"),
        (["--input=x/y.jsonl", "--overwrite=yes"], UsageError, "overwrite must be true or false, got 'yes'"),
        (["--input=no/such/file.jsonl", "--output=out", "--budget=5"], InputError, "file.jsonl does not exist"),
        (["--remote=sc://h:1/;token=HUSH", "--master=local[1]"], UsageError, "remote must not stand beside master"),
    ],
)
def test_a_task_fails_with_the_error_itself(arguments, kind, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["task", *arguments])
    with pytest.raises(kind) as error:
        databricks.select_subset()
    assert said in str(error.value)
    assert "HUSH" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_task_of_a_refresh_fails_with_the_error_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = ["task", "--corpus=no/such/file.jsonl", "--subset=chosen", "--id_column=id", "--dry_run=true"]
    for more, kind, said in (([], UsageError, "budget must be given"), (["--budget=5%"], InputError, "does not exist")):
        monkeypatch.setattr(sys, "argv", [*task, *more])
        with pytest.raises(kind, match=said):
            databricks.refresh_subset()
    assert list(tmp_path.iterdir()) == []
