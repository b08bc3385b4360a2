"""The options of ``zipspark entropy``: what is measured, the version log, training output, and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, model_validator

from zipspark.config.choice import STRICT
from zipspark.config.pool import EngineOptions, PoolOptions
from zipspark.errors import UsageError
from zipspark.options import SECTIONS, CommaSeparated, option
from zipspark.units import parse_budget, parse_size

ENTROPY_SECTIONS = {
    "log": "The version log",
    "training": "What a training has logged",
    "measure": "What is measured, judged or predicted",
    **{name: SECTIONS[name] for name in ("pool", "limits", "engine", "result")},
}
_POOL_ONLY = dict.fromkeys(
    ("id_column", "quality_column", "quality_min", "quality_weight", "tokenizer", "token_column", "dedup"),
    "a data set is measured whole, as it would be trained on (but for where)",
)
_NOTHING_WRITTEN = dict.fromkeys(("output", "overwrite"), "it writes no folder")
_NOTHING_STAGED = _NOTHING_WRITTEN | {
    "work_dir": "it keeps no stages",
    "hide_text": "it reads no samples",
}


def _tokens(value: Any, field: str) -> Any:
    """A count as people write it: 20000000, 2e7, 20M or 20Mtok."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
        try:
            found = parse_budget(value, field)
        except UsageError:
            found = None
        if found is None or found.unit not in ("rows", "tokens"):
            raise ValueError(f"must be a number of tokens such as 20000000, 2e7 or 20Mtok, got {value!r}")
        return int(found.amount)
    return value


def _by_name(value: Any, field: str, parse: Callable[[str], Any]) -> Any:
    """``70MB`` for all, or ``a=70MB,b=60MB``, as name -> value; the name of all is empty."""
    if isinstance(value, dict):
        return {str(name): parse(str(one)) for name, one in value.items()}
    texts = [value] if isinstance(value, (str, int, float)) else value
    if not isinstance(texts, (list, tuple)):
        return value
    pairs = [text.strip().rpartition("=") for one in texts for text in str(one).split(",")]
    names = [name.strip() for name, _, _ in pairs]
    if len({*names}) < len(names) or ("" in names and len(names) > 1):
        raise ValueError(f"must be one value for all, or one for each name, got {value!r}")
    return {name: parse(text) for name, (_, _, text) in zip(names, pairs, strict=True)}


def _pairs(value: Any) -> Any:
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (list, tuple)):
        texts = [text for one in value for text in str(one).split(",")]
        if wrong := [text for text in texts if "=" not in text]:
            raise ValueError(f"must be KEY=COLUMN, got {wrong[0]!r}")
        return dict(text.strip().split("=", 1) for text in texts)
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number such as 0.8, or METRIC=0.8, got {text!r}") from None


Tokens = Annotated[int, BeforeValidator(lambda value, info: _tokens(value, info.field_name))]
Sizes = Annotated[
    dict[str, int],
    BeforeValidator(
        lambda value, info: _by_name(value, info.field_name, lambda text: parse_size(text, info.field_name))
    ),
]
Thresholds = Annotated[dict[str, float], BeforeValidator(lambda value, info: _by_name(value, info.field_name, _number))]
Columns = Annotated[dict[str, str], BeforeValidator(_pairs)]


class _Entropy(EngineOptions):
    """What the commands share; options of other commands that mean nothing here are refused."""

    NOT_OPTIONS: ClassVar[dict[str, str]] = _NOTHING_STAGED

    @model_validator(mode="after")
    def _mean_something(self) -> _Entropy:
        for name, why in self.NOT_OPTIONS.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is no option here: {why}")
        return self


class _Log(BaseModel):
    model_config = STRICT

    log: str | None = option(
        None,
        "log",
        "version log: a .csv or .parquet file, or a Delta table (a folder or a name in the catalog)",
        metavar="LOG",
    )


class _Training(BaseModel):
    """How training output is read."""

    model_config = STRICT

    epoch_steps: int | None = option(
        None, "training", "optimiser steps of one epoch, where the log of the training has no epochs", ge=1
    )
    epoch_tokens: Tokens | None = option(None, "training", "tokens of one epoch, likewise", ge=1, metavar="TOKENS")
    part: float = option(
        1.0, "training", "how much of the first epoch counts, from its start: compare equal parts", gt=0, le=1
    )
    step_tokens: float | None = option(
        None, "training", "tokens of one step, where the log has none: batch times length", ge=1, allow_inf_nan=False
    )
    unit: Literal["nats", "bits"] = option("nats", "training", "unit of the losses, per token")
    columns: Columns = option(
        {}, "training", "the log's own names: loss=my_loss; keys step, loss, tokens, epoch", metavar="KEY=COLUMN"
    )

    @model_validator(mode="after")
    def _one_length(self) -> _Training:
        if self.epoch_steps is not None and self.epoch_tokens is not None:
            raise ValueError(f"epoch_tokens must not stand beside epoch_steps, got {self.epoch_tokens}")
        return self


class _Plot(BaseModel):
    model_config = STRICT

    plot: str | None = option(
        None, "result", "file of a picture (.png, .pdf, .svg); it is replaced; others go beside it", metavar="FILE"
    )


class MeasureConfig(PoolOptions, _Entropy):
    """Options of ``zipspark entropy measure``."""

    NOT_OPTIONS: ClassVar[dict[str, str]] = _POOL_ONLY | _NOTHING_WRITTEN

    codec: Literal["zlib", "zstd", "both"] = option(
        "both", "measure", "zlib: the paper's, looks back 32 KiB; zstd: looks back 64 MiB"
    )
    seed_orders: int | None = option(
        None, "measure", "measure in so many other orders as well, to see how much the order decides", ge=2, le=100
    )

    @property
    def codecs(self) -> tuple[Literal["zlib", "zstd"], ...]:
        return ("zlib", "zstd") if self.codec == "both" else (self.codec,)


class LogConfig(PoolOptions, _Entropy, _Log, _Training):
    """Options of ``zipspark entropy log``; those of the pool are for the tables of ``data`` and ``held_out``."""

    NOT_OPTIONS: ClassVar[dict[str, str]] = _POOL_ONLY | _NOTHING_WRITTEN | {"input": "data names the tables"}

    version: str | None = option(None, "log", "name of the data set's version", metavar="NAME")
    data: CommaSeparated | None = option(
        None, "measure", "the version's data: paths, folders, globs or a table name; R is measured", metavar="TABLE,..."
    )
    ratio: float | None = option(
        None, "measure", "R as it was measured elsewhere: bytes / compressed bytes", gt=0, allow_inf_nan=False
    )
    codec: Literal["zlib", "zstd"] | None = option(
        None,
        "measure",
        "codec of R; null: zlib, which does not mind the size of the set; of a given ratio unknown",
    )
    loss: float | None = option(
        None, "training", "L, mean training loss of the first epoch, nats per token", ge=0, allow_inf_nan=False
    )
    training: str | None = option(
        None, "training", "L from output: trainer_state.json, .jsonl, .csv or an MLflow run", metavar="PATH"
    )
    tokens: Tokens | None = option(None, "training", "tokens that L is the mean over", ge=1, metavar="TOKENS")
    score: float | None = option(
        None, "log", "Z, performance of the model trained on it; higher is better", allow_inf_nan=False
    )
    held_out: CommaSeparated | None = option(
        None,
        "measure",
        "fixed held-out sample: its bits per byte given the data, a stand-in for L before there is one",
        metavar="TABLE,...",
    )
    replace: bool = option(False, "log", "correct what the log says of the version already", strict=True)

    @model_validator(mode="after")
    def _said_once(self) -> LogConfig:
        for name, other in (("ratio", "data"), ("loss", "training"), ("tokens", "training")):
            if getattr(self, name) is not None and getattr(self, other) is not None:
                raise ValueError(f"{name} must not stand beside {other}, which says it, got {getattr(self, name)}")
        if self.held_out and not self.data:
            raise ValueError("held_out needs data, the tables that it is measured against")
        if self.codec and self.ratio is None and self.data is None:
            raise ValueError(f"codec needs data or ratio, got {self.codec}")
        if self.tokens is not None and self.loss is None:
            raise ValueError(f"tokens needs loss, which is the mean over them, got {self.tokens}")
        return self


class FitConfig(_Entropy, _Log, _Plot):
    """Options of ``zipspark entropy fit``."""

    confidence: float = option(0.95, "measure", "confidence of the intervals", gt=0, lt=1)
    codec: Literal["zlib", "zstd", "given"] | None = option(
        None,
        "measure",
        "take the versions whose R this codec measured; null: all must have the same",
    )


class CheckConfig(_Entropy, _Log, _Plot):
    """Options of ``zipspark entropy check``."""

    version: str | None = option(None, "log", "the version that is judged; null: the last", metavar="NAME")
    history: str | None = option(
        None,
        "log",
        "refresh history of a subset, <subset>_history: its refreshes are versions refresh-0, refresh-1, ...",
        metavar="TABLE",
    )
    policy: str | None = option(None, "measure", "YAML file with thresholds", metavar="FILE")


class CurvesConfig(_Entropy, _Log, _Training, _Plot):
    """Options of ``zipspark entropy curves``."""

    curves: tuple[str, ...] = option((), "training", "training output of each run", metavar="PATH")
    names: CommaSeparated | None = option(None, "training", "names of the curves, in their order", metavar="NAME,...")
    bytes: Sizes = option(
        {}, "measure", "text of the data set(s): 70MB, or v1=70MB,v2=60MB by name of curve", metavar="SIZE"
    )
    loss: float | None = option(
        None, "measure", "loss that all are timed to; null: one that all reach", ge=0, allow_inf_nan=False
    )
    thresholds: Thresholds = option(
        {}, "measure", "skills: 0.8 for all metrics, or accuracy=0.8", metavar="METRIC=VALUE"
    )
    falls: CommaSeparated | None = option(None, "measure", "metrics that are better low", metavar="METRIC,...")


class PredictConfig(_Entropy, _Log, _Training, _Plot):
    """Options of ``zipspark entropy predict``."""

    tokens: Tokens | None = option(None, "measure", "tokens of the run that is predicted", ge=1, metavar="TOKENS")
    ratio: float | None = option(
        None, "measure", "R of its data: R is fitted as a covariate over the log", gt=0, allow_inf_nan=False
    )
    version: str | None = option(None, "log", "version whose R it is, in place of ratio", metavar="NAME")
    codec: Literal["zlib", "zstd", "given"] | None = option(
        None,
        "measure",
        "with ratio: take the versions whose R this codec measured; null: all must have the same",
    )
    training: str | None = option(
        None, "training", "predict along the first epoch of one training, in place of a log", metavar="PATH"
    )
    confidence: float = option(0.9, "measure", "confidence of the band", gt=0, lt=1)

    @model_validator(mode="after")
    def _one_source(self) -> PredictConfig:
        if self.training and self.log:
            raise ValueError(f"training must not stand beside log ({self.log}), got {self.training}")
        if self.ratio is not None and self.version is not None:
            raise ValueError(f"ratio must not stand beside version ({self.version}), got {self.ratio:g}")
        if self.training and (self.ratio is not None or self.version is not None):
            raise ValueError(f"training is of one data set: ratio and version need a log, got {self.training}")
        return self
