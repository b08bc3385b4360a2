"""Options: what each layer may decide, and what a value that cannot be used is answered with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zipspark.config import Choice, EngineOptions, PoolOptions, ScoreConfig, SelectConfig, choice_key
from zipspark.errors import UsageError
from zipspark.options import SECTIONS, layered, read_config_file, shown
from zipspark.units import Budget

PRESETS = Choice.PRESETS


def refusal(values, model=SelectConfig):
    with pytest.raises(UsageError) as caught:
        layered(model, values)
    return str(caught.value)


# --- layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "file", "k1"),
    [
        ({}, {}, 10_000),
        ({}, {"k1": 700}, 700),
        ({}, {"preset": "paper", "k1": 700}, 700),  # the file over a preset in the file
        ({"preset": "paper"}, {"k1": 700}, 10_000),  # a preset given as a flag over the file
        ({"preset": "paper", "k1": 900}, {"k1": 700}, 900),
        ({"k1": 900}, {"preset": "paper", "k1": 700}, 900),
    ],
)
def test_a_flag_wins_over_a_preset_flag_over_the_file_over_its_preset(flags, file, k1):
    assert layered(SelectConfig, flags, file).k1 == k1


@pytest.mark.parametrize(
    ("flags", "file", "codec"),
    [
        ({}, {}, "zstd"),
        ({}, {"preset": "paper"}, "zlib"),
        ({}, {"preset": "paper", "codec": "zstd"}, "zstd"),
        ({"preset": "reference"}, {"codec": "zstd"}, "zlib"),
        ({"preset": "default"}, {"preset": "paper"}, "zstd"),
        ({"preset": "default"}, {"codec": "zlib"}, "zstd"),
    ],
)
def test_a_preset_as_a_flag_replaces_that_of_the_file(flags, file, codec):
    assert layered(SelectConfig, flags, file).codec == codec


def test_the_default_preset_of_the_shipped_file_decides_nothing():
    file = read_config_file(Path(__file__).parents[2] / "conf" / "select.yml")
    assert file["preset"] == "default"
    assert layered(SelectConfig, {"selector": "multistage"}, file).objective == "ratio"
    assert layered(SelectConfig, {"selector": "multistage"}) == layered(SelectConfig, {"selector": "multistage"}, file)
    assert layered(SelectConfig, {"preset": "default", "selector": "multistage"}).objective == "ratio"
    assert layered(SelectConfig, {}, file) == SelectConfig()


def test_a_replaced_preset_leaves_nothing_behind():
    assert layered(SelectConfig, {"preset": "default"}, {"preset": "reference"}) == SelectConfig()


@pytest.mark.parametrize("name", ["paper", "reference"])
def test_presets_of_the_paper_are_one_part_without_deduplication_unless_told(name):
    config = layered(SelectConfig, {"preset": name})
    assert (config.parts, config.dedup, config.k1, config.k2, config.k3, config.level) == (
        1,
        False,
        10_000,
        200,
        100,
        9,
    )
    assert layered(SelectConfig, {"preset": name, "dedup": "on"}).dedup


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_known_options_only_and_can_be_used(name):
    assert set(PRESETS[name]) <= {field.alias or key for key, field in SelectConfig.model_fields.items()}
    assert layered(SelectConfig, {"preset": name}).preset == name
    assert layered(Choice, {"preset": name}).preset == name  # which has no parts, dedup or schema


@pytest.mark.parametrize("model", [Choice, PoolOptions, EngineOptions, ScoreConfig, SelectConfig])
def test_every_option_says_what_it_does_and_where_it_belongs(model):
    for name, field in model.model_fields.items():
        assert field.description, name
        assert shown(field)["section"] in SECTIONS, name


def test_what_decides_the_result_is_apart_from_engine_and_display():
    config = layered(SelectConfig, {"budget": 5, "k1": 500})
    elsewhere = layered(SelectConfig, {"budget": 5, "k1": 500, "master": "local[2]", "output": "x", "format": "jsonl"})
    assert choice_key(config) == choice_key(elsewhere) != choice_key(layered(SelectConfig, {"budget": 6, "k1": 500}))


# --- values as people write them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("budget", "5%", Budget("share", 0.05)),
        ("budget", 10, Budget("rows", 10)),
        ("window", "8MiB", 8 * 2**20),
        ("window", "64KiB", 2**16),
        ("window", "128MiB", 2**27),
        ("driver_cap", "1GB", 10**9),
        ("dedup", "on", True),
        ("dedup", "off", False),
        ("dedup", False, False),  # YAML's own off
        ("roles", "user, assistant", ("user", "assistant")),
        ("input", "one.parquet", ("one.parquet",)),
        ("conf", ["a.b=1=2", "c="], {"a.b": "1=2", "c": ""}),
        ("conf", {"spark.x": 4}, {"spark.x": "4"}),
    ],
)
def test_values_are_read_as_people_write_them(key, given, value):
    assert getattr(layered(SelectConfig, {key: given}), key) == value


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k2": 500, "k1": 200}, "k2 must be <= k1 (200), got 500"),
        ({"k3": 500}, "k3 must be <= k2 (200), got 500"),
        ({"codec": "zlib", "level": 10}, "level must be <= 9 for codec zlib, got 10"),
        ({"master": "local[2]", "remote": "sc://x"}, "remote must not stand beside master (local[2]), got sc://x"),
        (
            {"output": "out", "output_schema": "main.chosen"},
            "output_schema must not stand beside output (out), got main.chosen",
        ),
        ({"preset": "reference", "parts": 3}, "parts must be 1 with preset reference, got 3"),
        ({"conf": ["novalue"]}, "conf must be KEY=VALUE, got 'novalue'"),
        ({"window": "1GiB"}, "window must be between 64KiB and 128MiB, got '1GiB'"),
        ({"window": "1KB"}, "window must be between 64KiB and 128MiB, got '1KB'"),
        ({"codec": "lz4"}, "codec must be 'zstd' or 'zlib', got 'lz4'"),
        ({"preset": "papr"}, "preset must be 'default', 'paper' or 'reference', got 'papr'"),
    ],
)
def test_a_bad_value_is_answered_with_field_rule_and_value(values, message):
    assert refusal(values) == message


@pytest.mark.parametrize("budget", [0, "-5", "abc", "200%", "", 2.5, True, [1]])
def test_a_bad_budget_is_answered_with_field_rule_and_value(budget):
    assert re.match(rf"budget (must be|counts) .*got .*{re.escape(str(budget))}", refusal({"budget": budget}))


@pytest.mark.parametrize("budget", ["1MB", Budget("bytes", 5)])
def test_the_released_program_knows_no_bytes(budget):
    values = {"preset": "reference", "budget": budget}
    assert refusal(values).startswith("budget must count rows with preset reference")


@pytest.mark.parametrize(
    "values",
    [
        {"k1": "abc"},
        {"k1": 0},
        {"k1": 2.5},
        {"k1": [1]},
        {"k1": None},
        {"level": 23},
        {"parts": 0},
        {"oversample": 0.5},
        {"max_bad_fraction": 2},
        {"max_bad_fraction": "few"},
        {"dedup": "maybe"},
        {"overwrite": "perhaps"},
        {"window": "wide"},
        {"driver_cap": "0"},
        {"input": 5},
        {"roles": 5},
        {"text_expr": 5},
        {"conf": 5},
        {"format": "csv"},
        {"schema": "xml"},
        {"selector": "best"},
        {"objective": "beauty"},
    ],
    ids=str,
)
def test_a_wrong_type_or_range_is_answered_with_field_rule_and_value(values):
    ((key, value),) = values.items()
    assert re.fullmatch(rf"{key} must be .*, got {re.escape(repr(value))}", refusal(values))


def test_all_that_is_wrong_is_said_at_once():
    assert refusal({"level": 99, "codec": "lz4"}).count("must be") == 2


@pytest.mark.parametrize("layer", ["flags", "file"])
@pytest.mark.parametrize("key", ["budgets", "K1", "schema_", "group-column"])
def test_an_unknown_key_is_answered_with_the_known_ones(layer, key):
    layers = {"flags": {}, "file": {}} | {layer: {key: 1}}
    with pytest.raises(UsageError, match=f"^unknown option '{key}'; known are anchor, budget, .*, work_dir$"):
        layered(SelectConfig, **layers)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_gives_what_it_names_and_no_nulls(tmp_path):
    path = tmp_path / "select.yml"
    path.write_text("budget: 5%  # of the pool\nk1: 300\nk3: null\ndedup: off\n")
    assert read_config_file(path) == {"budget": "5%", "k1": 300, "dedup": False}
    path.write_text("# nothing yet\n")
    assert read_config_file(path) == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        (b"a: [1", "is not YAML"),
        (b"a: \xff\xfe", "is not YAML"),
        (b"- budget\n- 5\n", "must be a mapping of option: value, got list"),
        (b"budget", "must be a mapping of option: value, got str"),
    ],
    ids=["missing", "broken", "no text", "list", "word"],
)
def test_a_file_that_is_no_mapping_is_named_with_what_is_wrong(tmp_path, content, problem):
    path = tmp_path / "select.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"config '{re.escape(str(path))}' {problem}"):
        read_config_file(path)
