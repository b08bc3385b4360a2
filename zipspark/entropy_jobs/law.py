"""``zipspark entropy fit`` and ``check``: the law over a log, and a version against those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zipspark.config import CheckConfig, FitConfig
from zipspark.entropy import bands, law, versions, warning
from zipspark.entropy.policy import Policy
from zipspark.entropy.versions import Version
from zipspark.entropy_jobs.inputs import delta_table, running, versions_of
from zipspark.errors import InputError, UsageError
from zipspark.report.pictures import Picture
from zipspark.storage.inputs import Source, is_path


@dataclass(frozen=True)
class Fitted:
    """The law over a log, and the loss that ratios suggest."""

    law: law.Law
    band: bands.Band
    plots: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"law": self.law.to_dict(), "loss_given_ratio": self.band.to_dict(), "plots": list(self.plots)}

    def __str__(self) -> str:
        return f"{self.law}\n\nWhat R suggests of the loss:\n{self.band}"


def fit_to(config: FitConfig) -> Fitted:
    """``zipspark entropy fit``: the score on ratio and loss, and the loss on the ratio."""
    picture = Picture(config.plot)
    rows = versions_of(config)
    found = law.fit(rows, config.confidence, config.codec)
    band = bands.loss_given_ratio(rows, config.confidence, found.codec)
    if config.plot:
        from zipspark.entropy import law_figures as figures

        picture.add("", figures.figure_of_law(found, rows))
        picture.add("-loss", figures.figure_of_band(band, rows))
    return Fitted(found, band, picture.save())


@dataclass(frozen=True)
class Checked:
    """The verdict on a version."""

    verdict: warning.Verdict
    plots: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 ok, 10 watch, 20 risk."""
        return self.verdict.exit_code

    def to_dict(self) -> dict[str, Any]:
        return self.verdict.to_dict() | {"plots": list(self.plots), "plot_notes": list(self.notes)}

    def __str__(self) -> str:
        return "\n".join([str(self.verdict), *(f"  note: {note}" for note in self.notes)])


def check_to(config: CheckConfig) -> Checked:
    """``zipspark entropy check``: a version against all before it, of a log, of a refresh history, or of both."""
    if config.log is None and config.history is None:
        raise UsageError("log or history must be given: --log LOG, --history SUBSET_history, or both")
    picture = Picture(config.plot)
    policy = Policy.read(config.policy) if config.policy else Policy()
    rows = versions.merged([*_history(config), *(versions_of(config) if config.log else [])])
    verdict = warning.check(rows, config.version, policy)
    notes = []
    if config.plot:
        from zipspark.entropy import law_figures as figures

        upto = [row.version for row in rows].index(verdict.version) + 1
        picture.add("", figures.figure_of_versions(rows[:upto], policy))
        past = [row for row in rows if row.version in verdict.past and row.loss is not None]
        try:
            band = figures.figure_of_band(bands.loss_given_ratio(past, policy.confidence), verdict=verdict)
        except InputError as error:  # the verdict stands without it
            band = None
            notes.append(f"no picture of losses: {error}")
        picture.add("-loss", band)
    return Checked(verdict, picture.save(), tuple(notes))


def _history(config: CheckConfig) -> list[Version]:
    if config.history is None:
        return []
    table = delta_table(config.history)
    if table is None:
        raise InputError(f"history must be a Delta table, <subset>_history of zipspark refresh, got {config.history!r}")
    with running(config, Source("delta")) as spark:
        if table.version(spark) is None:
            hint = "" if is_path(config.history) else f"; a path has a slash (./{config.history})"
            raise InputError(f"history {table} is not there, or no Delta table: give <subset>_history{hint}")
        return warning.from_history(table.read(spark).toArrow())
