"""A selection as a run of MLflow: what was asked for, what came of it, and its report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from zipspark.errors import InputError, UsageError
from zipspark.extras import needs
from zipspark.running import explained
from zipspark.storage.output import MANIFEST, REPORT, read_manifest
from zipspark.storage.places import Place

if TYPE_CHECKING:
    from zipspark.selected import Selection

_MOST_VALUE = 500  # characters of a parameter, of what every version of MLflow takes


def log_to_mlflow(result: Selection | str | os.PathLike[str], **run: Any) -> str:
    """Log a selection to MLflow: into the active run, or into a new one, which is ended. Returns the run's id.

    ========= ====================================================================================================
    params    the options of the choice, but those that are null, each as ``zipspark.NAME``
    metrics   ``ratio``, ``samples`` and ``bytes`` of ``pool``, ``subset`` and ``random`` (``zipspark.subset.ratio``);
              ``rows.selected`` and the ledger's other decisions; ``seconds.score`` and the other stages; ``parts``
    tags      ``zipspark.run_id``, ``zipspark.checksum`` of the ordered ids, ``zipspark.version``
    artifacts ``manifest.json`` and ``report.html``
    ========= ====================================================================================================

    Args:
        result: what `zipspark.select` returned, or OUT, a folder that ``zipspark select`` wrote, on any store.
        run: what ``mlflow.start_run`` takes, for a new run: ``run_name``, ``experiment_id``, ...

    Raises:
        UsageError: MLflow is not installed; ``run`` is given while a run is active; or the active run holds another
            selection, as a run takes one.
        InputError: OUT is no result of ``zipspark select``.

    >>> log_to_mlflow("chosen", run_name="chosen of 10 %")  # doctest: +SKIP
    """
    with needs("logging to MLflow needs its library", "mlflow"):
        import mlflow
    manifest, page = _of_folder(result) if isinstance(result, str | os.PathLike) else _of_selection(result)
    active = mlflow.active_run()
    if active and run:
        raise UsageError(
            f"{min(run)} is for a new run, and run {active.info.run_id} is active: end it, or leave it out"
        )
    with nullcontext(active) if active else mlflow.start_run(**run) as into:
        try:
            mlflow.log_params({f"zipspark.{name}": value for name, value in _params(manifest.get("config") or {})})
        except mlflow.MlflowException as error:
            raise UsageError(f"run {into.info.run_id} cannot take this selection: {error.message}") from None
        mlflow.log_metrics({f"zipspark.{name}": value for name, value in _metrics(manifest)})
        mlflow.set_tags({f"zipspark.{name}": value for name, value in _tags(manifest).items()})
        mlflow.log_text(json.dumps(manifest, indent=2, ensure_ascii=False, default=str), MANIFEST)
        if page is not None:
            mlflow.log_text(page, REPORT)
        return str(into.info.run_id)


def _of_selection(selection: Selection) -> tuple[dict[str, Any], str | None]:
    return selection.manifest, selection.report()


def _of_folder(out: str | os.PathLike[str]) -> tuple[dict[str, Any], str | None]:
    manifest = read_manifest(out)
    if "summary" not in manifest:
        raise InputError(f"{out} is no result of zipspark select: its manifest has no summary")
    page = Place.parse(out).child(REPORT)
    with explained():
        return manifest, page.read_text() if page.exists() else None


def _params(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if value not in (None, [], {}):
            said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield name, said if len(said) <= _MOST_VALUE else f"{said[: _MOST_VALUE - 3]}..."


def _metrics(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    summary = manifest["summary"]
    for line in summary["sets"]:
        for name in ("ratio", "samples", "bytes"):
            if line["samples"] and math.isfinite(line[name]):
                yield f"{line['name']}.{name}", line[name]
    for decision, rows in summary["decisions"].items():
        yield f"rows.{decision}", rows
    for stage, seconds in (manifest.get("seconds") or summary["seconds"]).items():
        yield f"seconds.{stage}", seconds
    yield "parts", summary["parts"]


def _tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    tags = {"run_id": manifest.get("run_id"), "checksum": manifest["summary"]["checksum"]}
    tags["version"] = (manifest.get("versions") or {}).get("zipspark")
    return {name: str(value) for name, value in tags.items() if value}
