"""The options of each command that reads a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, field_validator, model_validator

from zipspark.config.choice import (
    Choice,
    CoreOptions,
    PlainBudget,
    check_multistage,
    check_reference_budget,
    check_until,
)
from zipspark.config.pool import EngineOptions, PoolOptions
from zipspark.errors import UsageError
from zipspark.limits import check_limits
from zipspark.options import CommaSeparated, Size, layered, option

BESIDE = ("anchor", "keep", "target")  # options of `SelectionOptions` that name tables beside the pool


class ScoreConfig(Choice, PoolOptions, EngineOptions):
    """Options of ``zipspark score``."""


class SelectionOptions(CoreOptions, PoolOptions, EngineOptions):
    """What a choice on Spark depends on, whatever becomes of it."""

    budget: PlainBudget | None = option(
        None,
        "choice",
        "rows (10000), share of the pool (5%), bytes (500MB) or tokens (20Mtok)",
        metavar="BUDGET",
    )
    order: Literal["rank", "dense-first", "easy-first"] = option(
        "rank", "choice", "order of the subset's rows: as picked, lowest ratio first, or highest ratio first"
    )
    phases: CommaSeparated | None = option(
        None, "choice", "groups in the order they are trained on, or auto; null: mixed", metavar="GROUP,...|auto"
    )
    anchor: CommaSeparated | None = option(
        None, "limits", "tables with text that counts as seen and is never chosen", metavar="TABLE,..."
    )
    keep: CommaSeparated | None = option(
        None, "limits", "tables with rows or ids that must be chosen, first of all", metavar="TABLE,..."
    )
    target: CommaSeparated | None = option(
        None, "limits", "tables with text that the choice should be like", metavar="TABLE,..."
    )
    parts: int | None = option(None, "spread", "parts the pool is cut into; null: from its bytes", ge=1)
    oversample: float | None = option(
        None,
        "spread",
        "candidates a part hands up, as a multiple of its share; null: 2, with objective coverage 4",
        ge=1,
        allow_inf_nan=False,
    )
    node_cap: Size = option("256MB", "spread", "most bytes of candidates one task holds", metavar="SIZE")
    driver_cap: Size = option("256MB", "spread", "most bytes of candidates the driver fetches", metavar="SIZE")

    @model_validator(mode="after")
    def _can_be_counted(self) -> SelectionOptions:
        tokens = {"budget": self.budget is not None and self.budget.unit == "tokens", "cost": self.cost == "token"}
        for name, counts in tokens.items():
            if counts and not (self.tokenizer or self.token_column):
                raise ValueError(f"{name} in tokens needs tokenizer or token_column, got {getattr(self, name)}")
        if self.budget is not None:
            check_limits(self.floor, self.cap, self.budget)
        for name, given in (("mix", self.mix is not None), ("floor", self.floor), ("cap", self.cap)):
            if given and self.group_column is None:
                raise ValueError(f"{name} needs group_column, the column with the groups")
        if self.phases and len(set(self.phases)) < len(self.phases):
            raise ValueError(f"phases must name each group once, got {','.join(self.phases)}")
        if self.phases and self.group_column is None:
            raise ValueError("phases need group_column, the column with the groups")
        return self

    @model_validator(mode="after")
    def _reference_is_one_part(self) -> SelectionOptions:
        if self.preset == "reference" and self.parts not in (None, 1):
            raise ValueError(f"parts must be 1 with preset reference, got {self.parts}")
        if self.preset == "reference" and self.budget is not None:
            check_reference_budget(self.budget)
        return self


class SelectConfig(SelectionOptions):
    """Options of ``zipspark select``, flat, as on the command line and in ``conf/select.yml``."""

    format: Literal["parquet", "delta", "jsonl"] = option(
        "parquet", "result", "format of OUT/subset; delta: of all tables of OUT"
    )
    ids_only: bool = option(False, "result", "OUT/subset has ids and ranks alone", strict=True)
    resume: bool = option(
        False,
        "result",
        "go on from what a killed run has completed, and keep that should Spark fail again",
        strict=True,
    )
    output_schema: str | None = option(
        None, "result", "catalog and schema to write tables into, in place of OUT", metavar="CATALOG.SCHEMA"
    )

    @model_validator(mode="after")
    def _one_place(self) -> SelectConfig:
        if self.output_schema and self.output:
            raise ValueError(f"output_schema must not stand beside output ({self.output}), got {self.output_schema}")
        if self.output_schema and self.format == "jsonl":
            raise ValueError("format must be delta with output_schema, which holds Delta tables, got jsonl")
        return self


class RefreshConfig(SelectionOptions):
    """Options of ``zipspark refresh``, flat, as on the command line and in ``conf/refresh.yml``."""

    NOT_OPTIONS: ClassVar[dict[str, str]] = {
        "input": "it reads the corpus",
        "output": "it writes the subset's tables",
        "overwrite": "it writes the subset's tables",
        "keep": "no row stays that the corpus drops",
        "order": "a table that grows is put in order when it is read",
        "phases": "a table that grows is put in order when it is read",
    }

    corpus: str | None = option(None, "refresh", "Delta table with the corpus: a folder or a name", metavar="TABLE")
    subset: str | None = option(
        None,
        "refresh",
        "Delta table to keep fresh: a folder or a name; <subset>_ledger and <subset>_history stand beside it",
        metavar="TABLE",
    )
    mode: Literal["append", "reselect"] = option(
        "append",
        "refresh",
        "append: add from new rows, an amount each time or up to a share; reselect: best of subset and new rows",
    )
    dry_run: bool = option(False, "refresh", "say what would change, and change nothing", strict=True)
    rebuild: bool = option(
        False, "refresh", "choose from the whole corpus again, whatever the last refresh was", strict=True
    )

    @model_validator(mode="after")
    def _of_one_corpus(self) -> RefreshConfig:
        for name in self.NOT_OPTIONS:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is no option of refresh: {self.NOT_OPTIONS[name]}")
        return self


def check_select(config: SelectionOptions, targeted: bool = False) -> None:
    """Raises `UsageError` where neither budget nor stop rule is given; ``targeted``: by a DataFrame, not by name."""
    if config.budget is None and config.until is None:
        raise UsageError("budget must be given (--budget 10000, 5%, 500MB or 20Mtok), or until (--until coverage=0.9)")
    if config.budget is None and config.by_group:
        raise UsageError("mix, floor and cap share a budget: give one beside until")
    target = targeted or bool(config.target)
    check_multistage(config, keep=bool(config.keep), target=target, quality_weight=config.quality_weight is not None)
    if config.until is not None:
        check_until(config.until, config, has_target=target)


def check_refresh(config: RefreshConfig) -> None:
    """Raises `UsageError` where something is missing that a refresh cannot do without."""
    for name, what in (
        ("corpus", "the table that rows come from"),
        ("subset", "the table to keep fresh"),
        ("id_column", "the corpus' column that says which row is which from one version to the next"),
    ):
        if not getattr(config, name):
            raise UsageError(f"{name} must be given: --{name.replace('_', '-')}, {what}")
    if config.budget is None:
        raise UsageError("budget must be given: an amount per refresh, or a share of the corpus such as 5%")
    check_select(config)


def oversampling(config: SelectionOptions) -> float:
    """Candidates of a part as a multiple of its share.

    Of 70 MB in 16 and 64 parts, 2.5 MB chosen: twice loses 0 and 0.5 % of the ratio, but 4 and 8 % of the coverage, of
    which four times loses 0.9 and 2.7 %: what is common in every part is offered by each of them. Of both, twice loses
    0 % of the ratio and 3 to 7 % of the coverage, in half the time; on text held out it is within a point in 8 parts,
    up to 2.2 points in 32.
    """
    if config.oversample is not None:
        return config.oversample
    return 4.0 if config.objective == "coverage" else 2.0


def choice_key(config: BaseModel) -> dict[str, Any]:
    """The options that decide the result, JSON-ready: neither engine nor display (the key of a resumable run)."""
    not_choice = {*EngineOptions.model_fields, "format", "resume", "output_schema", "dry_run", "rebuild"}
    return config.model_dump(mode="json", by_alias=True, exclude=not_choice)


Config = TypeVar("Config", bound=EngineOptions)


def of_key(model: type[Config], key: Mapping[str, Any], engine: EngineOptions) -> Config:
    """The options that `choice_key` was made of, to be run on ``engine``."""
    given = {name: value for name, value in key.items() if value is not None}
    shared = {"output", "overwrite"}
    engine_alone = {name: getattr(engine, name) for name in EngineOptions.model_fields if name not in shared}
    aliases = {name: field.alias or name for name, field in EngineOptions.model_fields.items()}
    return layered(model, given | {aliases[name]: value for name, value in engine_alone.items() if value is not None})


class DoctorConfig(EngineOptions):
    """Options of ``zipspark doctor``."""

    keep_classes: bool = option(
        False,
        "engine",
        "keep Spark's classes in a file that Java reads at once, so that commands here start sooner (180 MB)",
        strict=True,
    )


class MatrixConfig(PoolOptions, EngineOptions):
    """Options of ``zipspark matrix``."""

    sample: Size = option(
        "512KiB", "limits", "text of a group that is given, and text that is sized, 4KiB to 8MiB", metavar="SIZE"
    )

    @field_validator("sample")
    @classmethod
    def _sample_in_range(cls, value: int) -> int:
        if not 4 * 2**10 <= value <= 8 * 2**20:
            raise ValueError("must be between 4KiB and 8MiB")
        return value


class LeakageConfig(PoolOptions, EngineOptions):
    """Options of ``zipspark leakage``; those of the pool are for INPUT, ``against_*`` for the evaluation items."""

    against: CommaSeparated | None = option(
        None, "pool", "evaluation items: paths, folders, globs or a table name", metavar="TABLE,..."
    )
    against_schema: Literal["auto", "text", "sharegpt", "messages", "alpaca", "prompt-response", "preference"] = option(
        "auto", "pool", "layout of an item; auto: from column names and types"
    )
    against_text_expr: str | None = option(
        None, "pool", "Spark SQL expression that gives the text of an item", metavar="SQL"
    )
    against_id_column: str | None = option(None, "pool", "column with the items' unique ids", metavar="COLUMN")

    def against_options(self) -> PoolOptions:
        """How the items are read."""
        return PoolOptions(
            schema_=self.against_schema,
            text_expr=self.against_text_expr,
            id_column=self.against_id_column,
            max_bad_fraction=self.max_bad_fraction,
        )
