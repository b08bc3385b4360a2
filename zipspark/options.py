"""How options work: declared once on a pydantic model, read from flags, a file and presets, shown in help and YAML.

Which there are stands in `zipspark.config`. Which layer wins: a flag > a preset given as a flag > the file > a preset
in the file > the default (`layered`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo

from zipspark.errors import UsageError
from zipspark.units import parse_size

SECTIONS = {
    "refresh": "What is refreshed",
    "choice": "How samples are chosen",
    "pool": "Which rows are read, and how",
    "limits": "Limits",
    "spread": "How the work is spread",
    "engine": "Where it runs",
    "result": "Result",
}

Size = Annotated[int, BeforeValidator(lambda value, info: parse_size(value, info.field_name))]
OnOff = Annotated[bool, BeforeValidator(lambda value: _on_off(value))]
Share = Annotated[float, BeforeValidator(lambda value: _share(value))]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(lambda value: _comma_separated(value))]


def option(default: Any, section: str, meaning: str, *, metavar: str | None = None, **rules: Any) -> Any:
    """A field with what the command line and ``conf/select.yml`` need to show it."""
    extra: dict[str, Any] = {"section": section, "metavar": metavar}
    return Field(default, description=meaning, json_schema_extra=extra, validate_default=True, **rules)


Model = TypeVar("Model", bound=BaseModel)


def layered(model: type[Model], flags: Mapping[str, Any], file: Mapping[str, Any] | None = None) -> Model:
    """Merge the layers of options into one checked ``model``; raises `UsageError` naming field, rule and value.

    ``flags`` and ``file`` hold only what was given. Presets expand to options one layer below where they were named.
    """
    known = {field.alias or name: field for name, field in model.model_fields.items()}
    merged: dict[str, Any] = {}
    for layer in (file or {}, flags):
        for key in layer:
            if key not in known:
                raise UsageError(f"unknown option {key!r}; known are {', '.join(sorted(known))}")
        if layer is flags or "preset" not in flags:  # a preset given as a flag replaces the file's
            preset = presets_of(model).get(str(layer.get("preset")), {})
            # What would be so without it is not set: it would count as given.
            merged |= {
                key: value
                for key, value in preset.items()
                if key in known and (key in merged or value != known[key].default)
            }
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


def _on_off(value: Any) -> Any:
    # YAML 1.1 reads a bare on/off as a boolean already.
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _share(value: Any) -> Any:
    """``2%`` as the number it is."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        with suppress(ValueError):
            return float(value.rstrip()[:-1]) / 100
    return value


def _comma_separated(value: Any) -> Any:
    """One text with commas, or several (a flag that is repeated, a list of a file)."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        return value
    parts = tuple(part.strip() for text in texts for part in text.split(","))
    if not all(parts):
        raise ValueError(f"must hold names that are not empty, got {value!r}")
    return parts


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


def as_yaml(model: type[BaseModel], but: Container[str] = ()) -> str:
    """A file with every option of ``model``, its meaning and its default; ``conf/select.yml`` is what this returns.

    What a preset decides stands as null, "not given": otherwise ``preset: paper`` in the file would change nothing.
    """
    decided = {key for preset in presets_of(model).values() for key in preset}
    lines: list[str] = []
    for section, title in SECTIONS.items():
        options = {key: field for key, field in options_of(model, section).items() if key not in but}
        lines += [f"# --- {title} ---", ""] if options else []
        for key, field in options.items():
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


def presets_of(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Preset -> what it decides; a model that has presets says so as ``PRESETS``."""
    return getattr(model, "PRESETS", {})


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
