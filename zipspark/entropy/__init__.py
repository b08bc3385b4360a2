"""The entropy law of data (arXiv 2407.06645): measure data sets, log versions, fit, warn, compare, predict.

A model's score Z goes with the compression ratio R of its training data and the mean loss L of the first epoch, once
sample quality and consistency are held: it falls in both. R is a property of text, and a low R is no promise of a good
model; what the law is good for is to compare versions of one data set, trained in one way.

======================================================  ===============================================================
question                                                module
======================================================  ===============================================================
How redundant is a data set, as a whole and by group?   `measure` (`zipspark.entropy.measure.measure`), `streams`
What does it say of a held-out sample?                  `consistency`: a stand-in for L where nothing is trained yet
What was L? What did the training log?                  `training` (`training_files`: which formats)
Which versions were there?                              `versions` (`log_files`: how a log is kept)
Does Z follow R and L? What is L at this R?             `law` (`ranks`, `fits`), `bands`
Is the new version likely to be worse?                  `warning`, `policy` (thresholds)
How fast was each data set learned, and what when?      `curves`, `grokking`
What would more tokens give?                            `scaling` (`scaling_law`, `scaling_profile`)
What does it look like?                                 `law_figures`, `curve_figures`
======================================================  ===============================================================

Nothing here needs Spark: tables are measured by ``zipspark entropy measure``. Fits need scipy, pictures matplotlib:
``pip install 'zipspark[entropy]'``.

>>> from zipspark import entropy
>>> past = [entropy.Version(f"v{n}", ratio=ratio) for n, ratio in enumerate([3.90, 3.95, 3.85, 3.92])]
>>> entropy.check([*past, entropy.Version("v4", ratio=4.6)]).level
'watch'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zipspark.entropy.bands import Band, loss_given_ratio
    from zipspark.entropy.consistency import HeldOut, held_out_bits
    from zipspark.entropy.curve_figures import (
        figure_of_curves,
        figure_of_ratios,
        figure_of_scaling,
        figure_of_scaling_by_ratio,
        figure_of_skills,
    )
    from zipspark.entropy.curves import CodeLength, Comparison, Speed, code_length, compare, speed
    from zipspark.entropy.grokking import Skill, skills
    from zipspark.entropy.law import Law, fit
    from zipspark.entropy.law_figures import figure_of_band, figure_of_law, figure_of_versions
    from zipspark.entropy.measure import Measured, Ratios, SetRatios
    from zipspark.entropy.policy import Policy
    from zipspark.entropy.scaling import Scaling, ScalingByRatio, fit_scaling, fit_scaling_by_ratio, points_of
    from zipspark.entropy.scaling_law import Prediction
    from zipspark.entropy.streams import Sample, Spread, hashed, in_order, spread_over_orders
    from zipspark.entropy.training import Curve, FirstEpoch, first_epoch, read_training, read_trainings
    from zipspark.entropy.versions import LOG, Version, append, from_table, merged, read_log, to_table
    from zipspark.entropy.warning import Verdict, check, from_history

__all__ = [
    "LOG",
    "Band",
    "CodeLength",
    "Comparison",
    "Curve",
    "FirstEpoch",
    "HeldOut",
    "Law",
    "Measured",
    "Policy",
    "Prediction",
    "Ratios",
    "Sample",
    "Scaling",
    "ScalingByRatio",
    "SetRatios",
    "Skill",
    "Speed",
    "Spread",
    "Verdict",
    "Version",
    "append",
    "check",
    "code_length",
    "compare",
    "figure_of_band",
    "figure_of_curves",
    "figure_of_law",
    "figure_of_ratios",
    "figure_of_scaling",
    "figure_of_scaling_by_ratio",
    "figure_of_skills",
    "figure_of_versions",
    "first_epoch",
    "fit",
    "fit_scaling",
    "fit_scaling_by_ratio",
    "from_history",
    "from_table",
    "hashed",
    "held_out_bits",
    "in_order",
    "loss_given_ratio",
    "merged",
    "points_of",
    "read_log",
    "read_training",
    "read_trainings",
    "skills",
    "speed",
    "spread_over_orders",
    "to_table",
]
_MODULES = {
    "Band": "bands",
    "CodeLength": "curves",
    "Comparison": "curves",
    "Curve": "training",
    "FirstEpoch": "training",
    "HeldOut": "consistency",
    "LOG": "versions",
    "Law": "law",
    "Measured": "measure",
    "Policy": "policy",
    "Prediction": "scaling_law",
    "Ratios": "measure",
    "Sample": "streams",
    "Scaling": "scaling",
    "ScalingByRatio": "scaling",
    "SetRatios": "measure",
    "Skill": "grokking",
    "Speed": "curves",
    "Spread": "streams",
    "Verdict": "warning",
    "Version": "versions",
    "append": "versions",
    "check": "warning",
    "code_length": "curves",
    "compare": "curves",
    "figure_of_band": "law_figures",
    "figure_of_curves": "curve_figures",
    "figure_of_law": "law_figures",
    "figure_of_ratios": "curve_figures",
    "figure_of_scaling": "curve_figures",
    "figure_of_scaling_by_ratio": "curve_figures",
    "figure_of_skills": "curve_figures",
    "figure_of_versions": "law_figures",
    "first_epoch": "training",
    "fit": "law",
    "fit_scaling": "scaling",
    "fit_scaling_by_ratio": "scaling",
    "from_history": "warning",
    "from_table": "versions",
    "hashed": "streams",
    "held_out_bits": "consistency",
    "in_order": "streams",
    "loss_given_ratio": "bands",
    "merged": "versions",
    "points_of": "scaling",
    "read_log": "versions",
    "read_training": "training",
    "read_trainings": "training",
    "skills": "grokking",
    "speed": "curves",
    "spread_over_orders": "streams",
    "to_table": "versions",
}


def __getattr__(name: str) -> Any:
    # An executor that measures must not wait for the fits, nor a check for the codecs. `measure` is the module's name.
    if name in _MODULES:
        return getattr(import_module(f"zipspark.entropy.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
