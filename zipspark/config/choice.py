"""How samples are chosen and how much of each group: what `zipspark.core.select` takes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, field_validator, model_validator

from zipspark.errors import UsageError
from zipspark.limits import Mix, Until, parse_group_limits, parse_mix, parse_until
from zipspark.options import OnOff, Size, option
from zipspark.units import Budget, parse_budget

ZLIB_WINDOW = 32 * 1024  # bytes; deflate has no larger one
MAX_WINDOW = 128 * 2**20  # bytes; what zstd decoders accept without being asked (windowLog 27)

STRICT = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())
_AS_PUBLISHED: dict[str, Any] = {"selector": "multistage", "k1": 10000, "k2": 200, "k3": 100, "codec": "zlib"}
_AS_PUBLISHED |= {"objective": "ratio", "level": 9, "parts": 1, "dedup": False, "guard": False}


class Choice(BaseModel):
    """How samples are chosen, whatever they are stored in: the options that `zipspark.core.select` takes."""

    model_config = STRICT

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"objective": "both", "selector": "lazy", "codec": "zstd", "level": None}
        | {"parts": None, "dedup": True, "guard": True},
        # Algorithm 1 as published (arXiv 2407.06645, section 4 and its appendix for the sizes).
        "paper": _AS_PUBLISHED,
        # What the released program does, to the pick: see core/presets.py for how it differs from the paper.
        "reference": _AS_PUBLISHED | {"schema": "reference"},
    }

    preset: Literal["default", "paper", "reference"] = option(
        "default", "choice", "default; paper: Algorithm 1 as published; reference: the released program, pick for pick"
    )
    objective: Literal["both", "ratio", "coverage"] = option(
        "both",
        "choice",
        "ratio: least compressible set; coverage: set that holds most of what the pool repeats; both: in turns, a "
        "quarter of the budget by ratio",
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
    guard: OnOff = option(True, "limits", "leave out what looks like noise (on/off)")

    @model_validator(mode="before")
    @classmethod
    def _rounds_compare_ratios(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("selector") == "multistage" and given.get("objective") is None:
            return given | {"objective": "ratio"}
        return given

    @field_validator("window")
    @classmethod
    def _window_in_range(cls, value: int) -> int:
        if not 64 * 2**10 <= value <= MAX_WINDOW:
            raise ValueError("must be between 64KiB and 128MiB")
        return value

    @property
    def compresses(self) -> bool:
        """Whether the objective sees what samples compress to."""
        return self.objective != "coverage"

    @property
    def covers(self) -> bool:
        """Whether the objective sees what samples have in common with the pool."""
        return self.objective != "ratio"

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
        if self.selector == "multistage" and self.objective == "both":
            raise ValueError("objective must be ratio or coverage with selector multistage, got both")
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

    model_config = STRICT

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
        return self.covers and self.mix is not None


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
    for measure, value, known, objective in (
        ("marginal-ratio", until.marginal_ratio, choice.compresses, "ratio"),
        ("coverage", until.coverage, choice.covers, "coverage"),
        ("target-coverage", until.target_coverage, choice.covers, "coverage"),
    ):
        if value is not None and not known:
            raise UsageError(f"until {measure} needs objective both or {objective}, got {choice.objective}")
    if until.target_coverage is not None and choice.covers_groups:
        raise UsageError("until target-coverage must not stand beside mix: each group is covered for itself there")
    if until.target_coverage is not None and not has_target:
        raise UsageError(f"until target-coverage needs a target, got target-coverage={until.target_coverage}")


def check_reference_budget(budget: Budget) -> None:
    """The released program knows budgets in rows only; raises `UsageError` for bytes and tokens."""
    if budget.unit in ("bytes", "tokens"):
        raise UsageError(f"budget must count rows with preset reference, as the released program does, got {budget}")


def choice_of(config: Choice) -> Choice:
    """The options of ``config`` that a selection itself takes, alone: what executors are sent."""
    return Choice(**{name: getattr(config, name) for name in Choice.model_fields})
