"""Every option of zipspark, once: name, type, default, meaning.

The command line, ``conf/*.yml`` and the Python functions all read their options from the models below, so a flag
``--group-column``, a key ``group_column`` and a keyword ``group_column=`` are the same thing (`zipspark.options`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, field_validator, model_validator

from zipspark.errors import UsageError
from zipspark.limits import Mix, Until, check_limits, parse_group_limits, parse_mix, parse_until
from zipspark.options import CommaSeparated, OnOff, Size, option
from zipspark.units import Budget, parse_budget

ZLIB_WINDOW = 32 * 1024  # bytes; deflate has no larger one
BESIDE = ("anchor", "keep", "target")  # options of `SelectConfig` that name tables beside the pool
MAX_WINDOW = 128 * 2**20  # bytes; what zstd decoders accept without being asked (windowLog 27)

_STRICT = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())
_AS_PUBLISHED: dict[str, Any] = {"selector": "multistage", "k1": 10000, "k2": 200, "k3": 100, "codec": "zlib"}
_AS_PUBLISHED |= {"level": 9, "parts": 1, "dedup": False, "guard": False}


class Choice(BaseModel):
    """How samples are chosen, whatever they are stored in: the options that `zipspark.core.select` takes."""

    model_config = _STRICT

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"selector": "lazy", "codec": "zstd", "level": None, "parts": None, "dedup": True, "guard": True},
        # Algorithm 1 as published (arXiv 2407.06645, section 4 and its appendix for the sizes).
        "paper": _AS_PUBLISHED,
        # What the released program does, to the pick: see core/presets.py for how it differs from the paper.
        "reference": _AS_PUBLISHED | {"schema": "reference"},
    }

    preset: Literal["default", "paper", "reference"] = option(
        "default", "choice", "default; paper: Algorithm 1 as published; reference: the released program, pick for pick"
    )
    objective: Literal["ratio", "coverage"] = option(
        "ratio", "choice", "ratio: least compressible set; coverage: set that holds most of what the pool repeats"
    )
    selector: Literal["lazy", "multistage"] = option(
        "lazy", "choice", "lazy greedy, or the paper's K1/K2/K3 rounds (multistage)"
    )
    k1: int = option(10000, "choice", "multistage: candidates re-scored against the set per round", ge=1)
    k2: int = option(200, "choice", "multistage: shortlist of a round, at most k1", ge=1)
    k3: int = option(100, "choice", "multistage: samples picked per round, at most k2", ge=1)
    cost: Literal["byte", "row", "token"] = option("byte", "choice", "what gain is divided by")
    codec: Literal["zstd", "zlib"] = option("zstd", "choice", "compressor that measures: zstd (wide window) or zlib")
    level: int | None = option(None, "choice", "compression level; null: 3 for zstd, 9 for zlib", ge=1, le=22)
    window: Size = option(
        "16MiB", "choice", "how far back zstd sees, 64KiB to 128MiB (zlib: always 32 KiB)", metavar="SIZE"
    )
    gram: int = option(5, "choice", "coverage: bytes of a gram, at most supported_gram", ge=2, le=8)
    supported_gram: int = option(
        8, "choice", "bytes of the gram that another sample must hold as well for text to count", ge=2, le=8
    )
    weight_exponent: float = option(
        1.0, "choice", "coverage: a gram weighs log2(samples that hold it) to this power, up to 4", ge=0, le=4
    )
    weight_cap: float | None = option(
        None, "choice", "coverage: most that log2(samples) counts; null: all of it", gt=0, allow_inf_nan=False
    )
    target_strength: float = option(
        1.0,
        "limits",
        "gain is multiplied by likeness to the target to this power, up to 16",
        ge=0,
        le=16,
    )
    guard: OnOff = option(True, "limits", "leave out what looks like noise (on/off)", metavar="on|off")

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
        if self.gram > self.supported_gram:
            raise ValueError(f"gram must be <= supported_gram ({self.supported_gram}), got {self.gram}")
        if self.preset != "default" and self.objective != "ratio":
            raise ValueError(f"objective must be ratio with preset {self.preset}, got {self.objective}")
        if self.selector == "multistage" and self.cost != "byte":
            raise ValueError(f"cost must be byte with selector multistage, which compares ratios, got {self.cost}")
        if self.codec == "zlib" and self.level is not None and self.level > 9:
            raise ValueError(f"level must be <= 9 for codec zlib, got {self.level}")
        return self


PlainBudget = Annotated[Budget, BeforeValidator(parse_budget), PlainSerializer(lambda limit: limit.plain)]
GroupLimits = Annotated[
    dict[str, Budget],
    BeforeValidator(lambda value, info: parse_group_limits(value, info.field_name)),
    PlainSerializer(lambda limits: {group: limit.plain for group, limit in limits.items()}),
]


class Limits(BaseModel):
    """How much of each group is chosen, and when enough is."""

    model_config = _STRICT

    mix: Annotated[Mix, BeforeValidator(parse_mix), PlainSerializer(str)] | None = option(
        None, "limits", "shares of groups: natural, equal, power=0.5, or weights; null: no quotas", metavar="MIX"
    )
    floor: GroupLimits = option({}, "limits", "least of a group, in the budget's unit or %", metavar="GROUP=AMOUNT")
    cap: GroupLimits = option({}, "limits", "most of a group, in the budget's unit or %", metavar="GROUP=AMOUNT")
    until: Annotated[Until, BeforeValidator(parse_until), PlainSerializer(str)] | None = option(
        None, "limits", "stop at coverage=0.9, target-coverage=0.95 or marginal-ratio=6", metavar="MEASURE=VALUE"
    )

    @property
    def by_group(self) -> bool:
        """Whether each group has an amount of its own."""
        return self.mix is not None or bool(self.floor) or bool(self.cap)


class CoreOptions(Choice, Limits):
    """Options of `zipspark.core.select`."""

    @property
    def covers_groups(self) -> bool:
        """Whether each group is covered for itself, as it has a quota."""
        return self.objective == "coverage" and self.mix is not None


class PoolOptions(BaseModel):
    """Which rows are read, and how a record becomes the bytes that are compressed."""

    model_config = _STRICT

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
    dedup: OnOff = option(True, "pool", "drop exact duplicates of rendered text first (on/off)", metavar="on|off")
    max_bad_fraction: float = option(
        0.01, "limits", "stop when a larger share of rows cannot be read or rendered", ge=0, le=1
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

    model_config = _STRICT

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


class SelectConfig(CoreOptions, PoolOptions, EngineOptions):
    """Options of ``zipspark select``, flat, as on the command line and in ``conf/select.yml``."""

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
    format: Literal["parquet", "delta", "jsonl"] = option("parquet", "result", "format of OUT/subset")
    ids_only: bool = option(False, "result", "OUT/subset has ids and ranks alone", strict=True)
    resume: bool = option(
        False,
        "result",
        "go on from what a killed run has completed, and keep that should this one fail",
        strict=True,
    )

    @model_validator(mode="after")
    def _can_be_counted(self) -> SelectConfig:
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
    def _reference_is_one_part(self) -> SelectConfig:
        if self.preset == "reference" and self.parts not in (None, 1):
            raise ValueError(f"parts must be 1 with preset reference, got {self.parts}")
        if self.preset == "reference" and self.budget is not None:
            check_reference_budget(self.budget)
        return self


def check_multistage(choice: CoreOptions, **given: bool) -> None:
    """Raises `UsageError` for what the paper's rounds do not know; ``given`` says which arguments there are."""
    if choice.selector == "multistage":
        for name in ("target", "worth", "quality_weight"):
            if given.get(name):
                raise UsageError(f"{name} must not stand beside selector multistage, which compares ratios alone")
    if choice.preset == "reference":
        known = {"mix": choice.by_group, "until": choice.until is not None, "keep": given.get("keep", False)}
        for name in (name for name, there in known.items() if there):
            raise UsageError(f"{name} must not stand beside preset reference, which knows a number of rows alone")


def check_until(until: Until, choice: CoreOptions, has_target: bool) -> None:
    """Raises `UsageError` for a measure that the objective does not have."""
    for measure, value, objective in (
        ("marginal-ratio", until.marginal_ratio, "ratio"),
        ("coverage", until.coverage, "coverage"),
        ("target-coverage", until.target_coverage, "coverage"),
    ):
        if value is not None and choice.objective != objective:
            raise UsageError(f"until {measure} needs objective {objective}, got {choice.objective}")
    if until.target_coverage is not None and choice.covers_groups:
        raise UsageError("until target-coverage must not stand beside mix: each group is covered for itself there")
    if until.target_coverage is not None and not has_target:
        raise UsageError(f"until target-coverage needs a target, got target-coverage={until.target_coverage}")


def check_select(config: SelectConfig, targeted: bool = False) -> None:
    """Raises `UsageError` where neither budget nor stop rule is given; ``targeted``: by a DataFrame, not by name."""
    if config.budget is None and config.until is None:
        raise UsageError("budget must be given (--budget 10000, 5%, 500MB or 20Mtok), or until (--until coverage=0.9)")
    if config.budget is None and config.by_group:
        raise UsageError("mix, floor and cap share a budget: give one beside until")
    target = targeted or bool(config.target)
    check_multistage(config, keep=bool(config.keep), target=target, quality_weight=config.quality_weight is not None)
    if config.until is not None:
        check_until(config.until, config, has_target=target)


def check_reference_budget(budget: Budget) -> None:
    """The released program knows budgets in rows only; raises `UsageError` for bytes and tokens."""
    if budget.unit in ("bytes", "tokens"):
        raise UsageError(f"budget must count rows with preset reference, as the released program does, got {budget}")


def oversampling(config: SelectConfig) -> float:
    """Candidates of a part as a multiple of its share.

    Of 70 MB in 8 and 32 parts, 2.5 MB chosen: twice loses 0 and 0.4 % of the ratio, but 2 and 6 % of the coverage, of
    which four times loses 0.4 and 1.7 %: what is common in every part is offered by each of them.
    """
    if config.oversample is not None:
        return config.oversample
    return 4.0 if config.objective == "coverage" else 2.0


def choice_of(config: Choice) -> Choice:
    """The options of ``config`` that a selection itself takes, alone: what executors are sent."""
    return Choice(**{name: getattr(config, name) for name in Choice.model_fields})


def choice_key(config: BaseModel) -> dict[str, Any]:
    """The options that decide the result, JSON-ready: neither engine nor display (the key of a resumable run)."""
    not_choice = {*EngineOptions.model_fields, "format", "resume"}
    return config.model_dump(mode="json", by_alias=True, exclude=not_choice)


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
    hide_text: bool = option(False, "result", "no text of items in OUT and in the summary", strict=True)

    def against_options(self) -> PoolOptions:
        """How the items are read."""
        return PoolOptions(
            schema_=self.against_schema,
            text_expr=self.against_text_expr,
            id_column=self.against_id_column,
            max_bad_fraction=self.max_bad_fraction,
        )
