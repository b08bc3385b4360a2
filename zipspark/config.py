"""Every option of zipspark, once: name, type, default, meaning.

The command line, ``conf/*.yml`` and the Python functions all read their options from the two models below, so a flag
``--group-column``, a key ``group_column`` and a keyword ``group_column=`` are the same thing. Which wins:
a flag > a preset given as a flag > the file > a preset in the file > the default (`layered`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from zipspark.errors import UsageError
from zipspark.units import Budget, parse_budget, parse_size

ZLIB_WINDOW = 32 * 1024  # bytes; deflate has no larger one
MAX_WINDOW = 128 * 2**20  # bytes; what zstd decoders accept without being asked (windowLog 27)

SECTIONS = {
    "choice": "How samples are chosen",
    "pool": "Which rows are read, and how",
    "limits": "Limits",
    "spread": "How the work is spread",
    "engine": "Where it runs",
    "result": "Result",
}

Size = Annotated[int, BeforeValidator(lambda value, info: parse_size(value, info.field_name))]
OnOff = Annotated[bool, BeforeValidator(lambda value: _on_off(value))]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {"selector": "lazy", "codec": "zstd", "level": None, "parts": None, "dedup": True},
    # Algorithm 1 as published (arXiv 2407.06645, section 4 and its appendix for the sizes).
    "paper": {"selector": "multistage", "codec": "zlib", "level": 9, "k1": 10000, "k2": 200, "k3": 100}
    | {"parts": 1, "dedup": False},
    # What the released program does, to the pick: see core/presets.py for how it differs from the paper.
    "reference": {"selector": "multistage", "codec": "zlib", "level": 9, "k1": 10000, "k2": 200, "k3": 100}
    | {"parts": 1, "dedup": False, "schema": "reference"},
}


def option(default: Any, section: str, meaning: str, *, metavar: str | None = None, **rules: Any) -> Any:
    """A field with what the command line and ``conf/select.yml`` need to show it."""
    extra: dict[str, Any] = {"section": section, "metavar": metavar}
    return Field(default, description=meaning, json_schema_extra=extra, validate_default=True, **rules)


class Choice(BaseModel):
    """How samples are chosen, whatever they are stored in: the options that `zipspark.core.select` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())

    preset: Literal["default", "paper", "reference"] = option(
        "default", "choice", "default; paper: Algorithm 1 as published; reference: the released program, pick for pick"
    )
    objective: Literal["ratio"] = option("ratio", "choice", "what is minimised: ratio = the set's compression ratio")
    selector: Literal["lazy", "multistage"] = option(
        "lazy", "choice", "lazy greedy, or the paper's K1/K2/K3 rounds (multistage)"
    )
    k1: int = option(10000, "choice", "multistage: candidates re-scored against the set per round", ge=1)
    k2: int = option(200, "choice", "multistage: shortlist of a round, at most k1", ge=1)
    k3: int = option(100, "choice", "multistage: samples picked per round, at most k2", ge=1)
    codec: Literal["zstd", "zlib"] = option("zstd", "choice", "compressor that measures: zstd (wide window) or zlib")
    level: int | None = option(None, "choice", "compression level; null: 3 for zstd, 9 for zlib", ge=1, le=22)
    window: Size = option(
        "16MiB", "choice", "how far back zstd sees, 64KiB to 128MiB (zlib: always 32 KiB)", metavar="SIZE"
    )

    def choice(self) -> dict[str, Any]:
        """These options alone, as `zipspark.core.select` takes them."""
        return self.model_dump(include=set(Choice.model_fields))

    @field_validator("window")
    @classmethod
    def _window_in_range(cls, value: int) -> int:
        if not 64 * 2**10 <= value <= MAX_WINDOW:
            raise ValueError("must be between 64KiB and 128MiB")
        return value

    @model_validator(mode="after")
    def _stages_nest(self) -> Choice:
        if self.k2 > self.k1:
            raise ValueError(f"k2 must be <= k1 ({self.k1}), got {self.k2}")
        if self.k3 > self.k2:
            raise ValueError(f"k3 must be <= k2 ({self.k2}), got {self.k3}")
        if self.codec == "zlib" and self.level is not None and self.level > 9:
            raise ValueError(f"level must be <= 9 for codec zlib, got {self.level}")
        return self


class PoolOptions(BaseModel):
    """Which rows are read, and how a record becomes the bytes that are compressed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())

    input: tuple[str, ...] = option((), "pool", "paths, folders, globs or a table name", metavar="INPUT")
    schema_: Literal["auto", "text", "sharegpt", "messages", "alpaca", "prompt-response", "preference", "reference"] = (
        option("auto", "pool", "layout of a record; auto: from column names and types", alias="schema")
    )
    text_expr: str | None = option(None, "pool", "Spark SQL expression that gives the text of a row", metavar="SQL")
    roles: tuple[str, ...] | None = option(
        None, "pool", "roles whose messages count, comma-separated; null: all", metavar="ROLE,..."
    )
    id_column: str | None = option(None, "pool", "column with your own unique ids", metavar="COLUMN")
    group_column: str | None = option(None, "pool", "column with the group (source) of a row", metavar="COLUMN")
    dedup: OnOff = option(True, "pool", "drop exact duplicates of rendered text first (on/off)", metavar="on|off")
    max_bad_fraction: float = option(
        0.01, "limits", "stop when a larger share of rows cannot be read or rendered", ge=0, le=1
    )

    @model_validator(mode="after")
    def _one_rendering(self) -> PoolOptions:
        if self.text_expr is not None:
            for name, given in (("schema", self.schema_ != "auto"), ("roles", self.roles is not None)):
                if given:
                    raise ValueError(f"{name} must not stand beside text_expr, which says what the text is")
        return self

    @field_validator("input", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("roles", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class EngineOptions(BaseModel):
    """Where the work runs and what the result looks like."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())

    master: str | None = option(None, "engine", "Spark master; null: as the environment says, else local[*]")
    remote: str | None = option(None, "engine", "Spark Connect address (sc://... or local[2])")
    conf: dict[str, str] = option({}, "engine", "Spark setting, may be repeated", metavar="KEY=VALUE")
    work_dir: str | None = option(None, "engine", "folder for stages; null: beside OUT as .<name>.work", metavar="URI")
    output: str | None = option(None, "result", "folder to write, must not exist unless overwrite", metavar="OUT")
    overwrite: bool = option(False, "result", "replace an existing OUT once the new one is whole", strict=True)
    json_: bool = option(
        False, "result", "print one JSON object on stdout and nothing else there", alias="json", strict=True
    )
    quiet: bool = option(False, "result", "no progress and no summary", strict=True)

    @field_validator("conf", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            for pair in value:
                if "=" not in str(pair):
                    raise ValueError(f"must be KEY=VALUE, got {pair!r}")
            return dict(str(pair).split("=", 1) for pair in value)
        if isinstance(value, dict):
            return {str(key): str(item) for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _one_engine(self) -> EngineOptions:
        if self.master and self.remote:
            raise ValueError(f"remote must not stand beside master ({self.master}), got {self.remote}")
        return self


class ScoreConfig(Choice, PoolOptions, EngineOptions):
    """Options of ``zipspark score``."""


class SelectConfig(Choice, PoolOptions, EngineOptions):
    """Options of ``zipspark select``, flat, as on the command line and in ``conf/select.yml``."""

    budget: Annotated[Budget, BeforeValidator(lambda value: parse_budget(value))] | None = option(
        None, "choice", "rows (10000), share of the pool (5%) or bytes of text (500MB)", metavar="BUDGET"
    )
    parts: int | None = option(None, "spread", "parts the pool is cut into; null: from its bytes", ge=1)
    oversample: float = option(
        2.0, "spread", "candidates a part hands up, as a multiple of its share", ge=1, allow_inf_nan=False
    )
    driver_cap: Size = option("256MB", "spread", "most bytes of candidates the driver fetches", metavar="SIZE")
    format: Literal["parquet", "delta", "jsonl"] = option("parquet", "result", "format of OUT/subset")

    @model_validator(mode="after")
    def _reference_is_one_part(self) -> SelectConfig:
        if self.preset == "reference" and self.parts not in (None, 1):
            raise ValueError(f"parts must be 1 with preset reference, got {self.parts}")
        if self.preset == "reference" and self.budget is not None:
            check_reference_budget(self.budget)
        return self


def check_reference_budget(budget: Budget) -> None:
    """The released program knows budgets in rows only; raises `UsageError` for bytes."""
    if budget.unit == "bytes":
        raise UsageError(f"budget must count rows with preset reference, as the released program does, got {budget}")


Model = TypeVar("Model", bound=BaseModel)


def layered(model: type[Model], flags: Mapping[str, Any], file: Mapping[str, Any] | None = None) -> Model:
    """Merge the layers of options into one checked ``model``; raises `UsageError` naming field, rule and value.

    ``flags`` and ``file`` hold only what was given. Presets expand to options one layer below where they were named.
    """
    known = {field.alias or name for name, field in model.model_fields.items()}
    merged: dict[str, Any] = {}
    for layer in (file or {}, flags):
        for key in layer:
            if key not in known:
                raise UsageError(f"unknown option {key!r}; known are {', '.join(sorted(known))}")
        if layer is flags or "preset" not in flags:  # a preset given as a flag replaces the file's
            preset = PRESETS.get(str(layer.get("preset")), {})
            merged |= {key: value for key, value in preset.items() if key in known}
        merged |= layer
    return checked(model, merged)


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Build ``model`` from ``values``, turning pydantic's report into one `UsageError` for a person."""
    for name, field in model.model_fields.items():
        value = values.get(field.alias or name)
        if isinstance(value, bool) and {int, float} & {field.annotation, *get_args(field.annotation)}:
            raise UsageError(f"{field.alias or name} must be a number, got {value}")  # to Python True is a 1
    try:
        return model(**values)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise UsageError("; ".join(lines)) from None


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The keys of a YAML file. Raises `UsageError` when it is missing, not YAML or not a flat mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config {str(path)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"config {str(path)!r} is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"config {str(path)!r} must be a mapping of option: value, got {type(content).__name__}")
    return {str(key): value for key, value in content.items() if value is not None}


def choice_key(config: BaseModel) -> dict[str, Any]:
    """The options that decide the result, JSON-ready: neither engine nor display (the key of a resumable run)."""
    not_choice = {*EngineOptions.model_fields, "driver_cap", "format"}
    return config.model_dump(mode="json", by_alias=True, exclude=not_choice)


def _on_off(value: Any) -> Any:
    # YAML 1.1 reads a bare on/off as a boolean already.
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _explain(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
    if problem["type"] == "extra_forbidden":
        return f"unknown option {field!r}"
    if problem["type"] == "value_error":  # from a validator above, which may have named field and value already
        message = str(problem["msg"]).removeprefix("Value error, ")
        if not field or message.startswith(f"{field} "):
            return message
        if ", got " in message:
            return f"{field} {message}"
    else:
        rule = str(problem["msg"]).partition(", got ")[0]
        message = rule.replace("Input should be", "must be")
    return f"{field} {message}, got {problem['input']!r}"


def as_yaml(model: type[BaseModel]) -> str:
    """A file with every option of ``model``, its meaning and its default; ``conf/select.yml`` is what this returns.

    What a preset decides stands as null, "not given": otherwise ``preset: paper`` in the file would change nothing.
    """
    decided = {key for preset in PRESETS.values() for key in preset}
    lines: list[str] = []
    for section, title in SECTIONS.items():
        lines += [f"# --- {title} ---", ""]
        for key, field in options_of(model, section).items():
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            shown = yaml.safe_dump({key: default}, default_flow_style=True, width=10**6).strip()[1:-1]
            meaning = f"# {field.description}"
            if key in decided and default is not None:
                meaning, shown = (
                    f"{meaning} [default: {shown.partition(': ')[2]}; null: as the preset says]",
                    f"{key}: null",
                )
            lines += [meaning, shown, ""]
    return "\n".join(lines).rstrip() + "\n"


def options_of(model: type[BaseModel], section: str) -> dict[str, FieldInfo]:
    """The fields of ``model`` in ``section``, by the name users give them."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return {key: field for key, field in fields.items() if shown(field)["section"] == section}


def is_switch(field: FieldInfo) -> bool:
    """Whether the flag stands alone (``--quiet``) rather than before a value (``--dedup on``)."""
    return field.annotation is bool and not any(isinstance(rule, BeforeValidator) for rule in field.metadata)


def shown(field: FieldInfo) -> dict[str, Any]:
    """``section`` and ``metavar`` of a field made by `option`."""
    return cast(dict[str, Any], field.json_schema_extra)
