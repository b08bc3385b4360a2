"""What is read, where the work runs and what is printed: options that commands share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, field_validator, model_validator

from zipspark.config.choice import STRICT
from zipspark.options import CommaSeparated, OnOff, Share, option


class PoolOptions(BaseModel):
    """Which rows are read, and how a record becomes the bytes that are compressed."""

    model_config = STRICT

    input: tuple[str, ...] = option((), "pool", "paths, folders, globs or a table name", metavar="INPUT")
    schema_: Literal["auto", "text", "sharegpt", "messages", "alpaca", "prompt-response", "preference", "reference"] = (
        option("auto", "pool", "layout of a record; auto: from column names and types", alias="schema")
    )
    text_expr: str | None = option(None, "pool", "Spark SQL expression that gives the text of a row", metavar="SQL")
    roles: CommaSeparated | None = option(
        None, "pool", "roles whose messages count, comma-separated; null: all", metavar="ROLE,..."
    )
    where: str | None = option(None, "pool", "Spark SQL condition; only rows that meet it are offered", metavar="SQL")
    id_column: str | None = option(None, "pool", "column with your own unique ids", metavar="COLUMN")
    group_column: str | None = option(None, "pool", "column with the group (source) of a row", metavar="COLUMN")
    quality_column: str | None = option(
        None, "pool", "column with a score of a row's worth, from any model", metavar="COLUMN"
    )
    quality_min: float | None = option(None, "pool", "rows with a lower score are left out", allow_inf_nan=False)
    quality_weight: float | None = option(
        None, "pool", "gain is multiplied by score to this power", gt=0, allow_inf_nan=False
    )
    tokenizer: str | None = option(None, "pool", "tokenizer.json that counts tokens", metavar="FILE")
    token_column: str | None = option(None, "pool", "column with the tokens of a row", metavar="COLUMN")
    dedup: OnOff = option(True, "pool", "drop exact duplicates of rendered text first (on/off)")
    max_bad_fraction: Share = option(
        0.01, "limits", "stop when a larger share of rows cannot be read or rendered, 0.01 or 1%", ge=0, le=1
    )

    @model_validator(mode="after")
    def _fit_together(self) -> PoolOptions:
        if self.text_expr is not None:
            for name, given in (("schema", self.schema_ != "auto"), ("roles", self.roles is not None)):
                if given:
                    raise ValueError(f"{name} must not stand beside text_expr, which says what the text is")
        if self.tokenizer and self.token_column:
            raise ValueError(f"token_column must not stand beside tokenizer, got {self.token_column}")
        for name in ("quality_min", "quality_weight"):
            if getattr(self, name) is not None and self.quality_column is None:
                raise ValueError(f"{name} needs quality_column, the column with the scores")
        return self

    @field_validator("input", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class EngineOptions(BaseModel):
    """Where the work runs and what the result looks like."""

    model_config = STRICT

    master: str | None = option(None, "engine", "Spark master; null: as the environment says, else local[*]")
    remote: str | None = option(None, "engine", "Spark Connect address (sc://... or local[2])")
    conf: dict[str, str] = option({}, "engine", "Spark setting, may be repeated", metavar="KEY=VALUE")
    jars: CommaSeparated | None = option(
        None,
        "engine",
        "jars for Spark, such as Delta's; null: Spark fetches Delta's where zipspark starts it",
        metavar="PATH,...",
    )
    work_dir: str | None = option(
        None,
        "engine",
        "folder for stages; null: beside OUT as .<name>.work, without an OUT a temporary one of this machine",
        metavar="URI",
    )
    output: str | None = option(None, "result", "folder to write, must not exist unless overwrite", metavar="OUT")
    overwrite: bool = option(False, "result", "replace an existing OUT once the new one is whole", strict=True)
    json_: bool = option(
        False, "result", "print one JSON object on stdout and nothing else there", alias="json", strict=True
    )
    quiet: bool = option(False, "result", "no progress and no summary", strict=True)
    hide_text: bool = option(
        False, "result", "no text of samples in logs, errors, summaries and reports (leakage: nor in OUT)", strict=True
    )

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
