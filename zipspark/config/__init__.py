"""Every option of zipspark, once: name, type, default, meaning.

The command line, ``conf/*.yml`` and the Python functions all read their options from the models below, so a flag
``--group-column``, a key ``group_column`` and a keyword ``group_column=`` are the same thing (`zipspark.options`).
"""

from zipspark.config.choice import (
    MAX_WINDOW,
    ZLIB_WINDOW,
    Choice,
    CoreOptions,
    GroupLimits,
    Limits,
    check_multistage,
    check_reference_budget,
    check_until,
    choice_of,
)
from zipspark.config.commands import (
    BESIDE,
    DoctorConfig,
    LeakageConfig,
    MatrixConfig,
    RefreshConfig,
    ScoreConfig,
    SelectConfig,
    SelectionOptions,
    check_refresh,
    check_select,
    choice_key,
    of_key,
    oversampling,
)
from zipspark.config.entropy import (
    ENTROPY_SECTIONS,
    CheckConfig,
    CurvesConfig,
    FitConfig,
    LogConfig,
    MeasureConfig,
    PredictConfig,
)
from zipspark.config.pool import EngineOptions, PoolOptions

__all__ = [
    "BESIDE",
    "ENTROPY_SECTIONS",
    "MAX_WINDOW",
    "ZLIB_WINDOW",
    "CheckConfig",
    "Choice",
    "CoreOptions",
    "CurvesConfig",
    "DoctorConfig",
    "EngineOptions",
    "FitConfig",
    "GroupLimits",
    "LeakageConfig",
    "Limits",
    "LogConfig",
    "MatrixConfig",
    "MeasureConfig",
    "PoolOptions",
    "PredictConfig",
    "RefreshConfig",
    "ScoreConfig",
    "SelectConfig",
    "SelectionOptions",
    "check_multistage",
    "check_reference_budget",
    "check_refresh",
    "check_select",
    "check_until",
    "choice_key",
    "choice_of",
    "of_key",
    "oversampling",
]
