"""What a pool is like: how redundant it is, and its sources to each other; which evaluation items it contains."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zipspark.config import Choice, EngineOptions, LeakageConfig, MatrixConfig, MeasureConfig, PoolOptions
from zipspark.core.matrix import Matrix
from zipspark.core.overlap import SPAN
from zipspark.errors import InputError, UsageError
from zipspark.options import layered
from zipspark.running import explained, manifest, said, start_session
from zipspark.spark import survey
from zipspark.spark.corpus import Corpus, read_corpus
from zipspark.spark.entropy import Measurement, measured_whole
from zipspark.spark.leakage import findings, items_of
from zipspark.spark.matrix import matrix_of
from zipspark.spark.progress import Progress
from zipspark.spark.scores import scored
from zipspark.storage.inputs import Source, resolve
from zipspark.storage.output import Output
from zipspark.storage.stages import Stages
from zipspark.units import shortened

EXCERPT = 200  # characters of a matched span that are shown
_SHOWN = 10  # items in a summary
_VERDICTS = ("whole", "part", "none")


@dataclass(frozen=True)
class Leakage:
    """Which evaluation items a pool contains; `to_dict` is what ``--json`` prints."""

    items: pa.Table  # item_id, score, verdict, zip_id, span_start, span_end, text (not with hide_text); the worst first
    seconds: dict[str, float]  # per stage
    output: str | None = None
    facts: dict[str, Any] = field(default_factory=dict, repr=False)  # the manifest

    @property
    def verdicts(self) -> dict[str, int]:
        """Items by verdict."""
        counted = Counter(self.items["verdict"].to_pylist())
        return {verdict: counted[verdict] for verdict in _VERDICTS}

    def to_dict(self) -> dict[str, Any]:
        found = self.items.filter(pc.not_equal(self.items["verdict"], "none"))
        return {
            "items": len(self.items),
            "verdicts": self.verdicts,
            "found": found.slice(0, 1000).to_pylist(),
            "seconds": self.seconds,
            "output": self.output,
        }

    def __rich__(self) -> RenderableType:
        table = Table(title="Leakage", title_justify="left", title_style="bold")
        for name in ("in the pool", "items", "share"):
            table.add_column(name, justify="left" if name == "in the pool" else "right")
        for verdict, count in self.verdicts.items():
            table.add_row(verdict, f"{count:,}", f"{count / max(len(self.items), 1):.1%}")
        parts: list[RenderableType] = [table]
        worst = [row for row in self.items.slice(0, _SHOWN).to_pylist() if row["verdict"] != "none"]
        if worst:
            found = Table(title="Most alike", title_justify="left", title_style="bold")
            for name in ("item", "score", "verdict", "sample", *(["text in common"] if "text" in worst[0] else [])):
                found.add_column(name, no_wrap=True)
            for row in worst:
                cells = [_short(row["item_id"]), f"{row['score']:.2f}", row["verdict"], _short(row["zip_id"] or "")]
                found.add_row(*map(Text, cells), *([Text(_short(row["text"], 40))] if "text" in row else []))
            parts.append(found)
        parts.append(
            Text(
                "score: share of an item's compressed bytes that the nearest samples of the pool save. Templates, "
                f"and items with fewer than {SPAN} bytes of their own, do not count."
            )
        )
        return Group(*parts)


def measure(
    source: DataFrame | str | Sequence[str], *, spark: SparkSession | None = None, **options: Any
) -> Measurement:
    """R of ``source`` as one set, by zlib and zstd: what the entropy law speaks of (`zipspark.entropy`).

    ``source``, ``spark`` and errors are as for `matrix`; options are those of ``zipspark entropy measure``.

    >>> found = measure("pool.parquet", group_column="source")  # doctest: +SKIP
    >>> entropy.append("versions.csv", entropy.Version("v4", found.measured.of("zlib").ratio, "zlib"))  # doctest: +SKIP
    """
    config, frame = _python(MeasureConfig, source, spark, options)
    with explained():
        found = resolve(config.input) if frame is None else frame
        session = _session(config, spark, found)
        return measured_whole(session, found, config, config.codecs, seeds=config.seed_orders or 0)


def matrix(source: DataFrame | str | Sequence[str], *, spark: SparkSession | None = None, **options: Any) -> Matrix:
    """How well each group of ``source`` compresses each other.

    Args:
        source: a DataFrame, or what ``zipspark matrix`` takes as INPUT (paths, folders, globs, a table name).
        spark: the session to use; default: the DataFrame's, the active one, or a new local one.
        options: those of ``zipspark matrix``; ``group_column`` must be given.

    Raises:
        UsageError, InputError, EngineError: as the command line, which ends with 2, 3 and 4 for them.

    >>> found = matrix("pool.parquet", group_column="source")  # doctest: +SKIP
    >>> found.figure().savefig("matrix.png")  # doctest: +SKIP
    """
    config, frame = _python(MatrixConfig, source, spark, options)
    _check_matrix(config)
    return _measured(config, frame, spark)


def matrix_to(config: MatrixConfig) -> Matrix:
    """``zipspark matrix``: the matrix, written to OUT/matrix and OUT/matrix.png where there is an OUT."""
    _check_matrix(config)
    if config.output is None:
        return _measured(config)
    with explained(), Output(config.output, overwrite=config.overwrite) as output:
        source = resolve(config.input)
        spark, codec = start_session(config, Choice(), source)
        with Stages(spark, config) as stages:
            progress = Progress(spark, quiet=config.quiet)
            found, corpus = _matrix(spark, source, config, stages, progress)
            output.write("matrix", spark.createDataFrame(pa.Table.from_pylist(found.cells())))
            try:
                _write_picture(found, output)
            except UsageError as error:  # the table stands without it
                said([f"matrix.png is left out: {error}"])
            facts = {"groups": list(found.groups), "bytes": list(found.bytes), "order": found.order()}
            output.write_manifest(manifest(corpus, config, codec) | facts | {"seconds": progress.seconds})
            output.commit()
    return found


def leakage(
    source: DataFrame | str | Sequence[str],
    against: DataFrame | str | Sequence[str],
    *,
    spark: SparkSession | None = None,
    **options: Any,
) -> Leakage:
    """Which items of the evaluation set ``against`` the pool ``source`` contains, wholly or in part.

    Both are DataFrames, or what ``zipspark leakage`` takes; ``spark``, ``options`` and errors are as for `matrix`.
    """
    names = {} if isinstance(against, DataFrame) else {"against": against}
    config, frame = _python(LeakageConfig, source, spark, options | names)
    with explained():
        found = resolve(config.input) if frame is None else frame
        items = against if isinstance(against, DataFrame) else resolve(config.against or ())
        _check_different(found, items)
        session = _session(config, spark, found, items)
        with Stages(session, config) as stages:
            return _leakage(session, found, items, config, {}, stages, Progress(session, quiet=config.quiet))


def leakage_to(config: LeakageConfig) -> Leakage:
    """``zipspark leakage``: one row per item, written to OUT/leakage."""
    assert config.output is not None
    with explained(), Output(config.output, overwrite=config.overwrite) as output:
        source, items = resolve(config.input), resolve(config.against or ())
        _check_different(source, items)
        spark, codec = start_session(config, Choice(), source, items)
        with Stages(spark, config) as stages:
            found = _leakage(spark, source, items, config, codec, stages, Progress(spark, quiet=config.quiet))
            output.write("leakage", spark.createDataFrame(found.items))
            output.write_manifest(found.facts)
            output.commit()
    return Leakage(found.items, found.seconds, config.output, found.facts)


def _measured(config: MatrixConfig, frame: DataFrame | None = None, spark: SparkSession | None = None) -> Matrix:
    """The matrix of ``frame`` or of the input, with nothing written."""
    with explained():
        source = resolve(config.input) if frame is None else frame
        spark = _session(config, spark, source)
        with Stages(spark, config) as stages:
            return _matrix(spark, source, config, stages, Progress(spark, quiet=config.quiet))[0]


def _matrix(
    spark: SparkSession, source: Source | DataFrame, config: MatrixConfig, stages: Stages, progress: Progress
) -> tuple[Matrix, Corpus]:
    with progress.stage("read", 1, of=2):
        corpus, scores = _scores(spark, "pool", source, config, stages)
    with progress.stage("matrix", 2, of=2):
        found = matrix_of(scores, config.sample)
    return found, corpus


def _leakage(
    spark: SparkSession,
    source: Source | DataFrame,
    against: Source | DataFrame,
    config: LeakageConfig,
    codec: dict[str, Any],
    stages: Stages,
    progress: Progress,
) -> Leakage:
    with progress.stage("items", 1, of=3):
        try:
            of_items, scores = _scores(spark, "against", against, config.against_options(), stages)
        except InputError as error:
            raise InputError(f"against: {error}") from error
        items = items_of(scores)
    with progress.stage("pool", 2, of=3):
        corpus, scores = _scores(spark, "pool", source, config, stages)
    with progress.stage("compare", 3, of=3):
        found = findings(scores, items, stages)
    if not config.hide_text:
        spans = zip(*(found[name].to_pylist() for name in ("text", "span_start", "span_end")), strict=True)
        excerpts = [text.decode(errors="replace")[start : min(end, start + EXCERPT)] for text, start, end in spans]
        found = found.append_column("excerpt", pa.array(excerpts, pa.string()))
    found = found.drop_columns(["content", "text"])
    found = found.rename_columns([{"excerpt": "text"}.get(name, name) for name in found.column_names])
    facts = manifest(corpus, config, codec) | {"against": of_items.fingerprint, "seconds": progress.seconds}
    result = Leakage(found.sort_by([("score", "descending"), ("item_id", "ascending")]), dict(progress.seconds))
    return Leakage(result.items, result.seconds, None, facts | {"items": len(found), "verdicts": result.verdicts})


def _scores(
    spark: SparkSession, name: str, source: Source | DataFrame, options: PoolOptions, stages: Stages
) -> tuple[Corpus, DataFrame]:
    """The corpus, and its scores as a stage; what cannot be used is an `InputError`."""
    corpus = read_corpus(spark, source, options, stages.of(f"{name}_input"))
    said(corpus.warnings)
    scores = stages.write(name, scored(corpus.rows, Choice(), options))
    survey.check(scores, options)
    return corpus, scores


def _python(
    model: type[Any], source: DataFrame | str | Sequence[str], spark: SparkSession | None, options: dict[str, Any]
) -> tuple[Any, DataFrame | None]:
    """The options of a call from Python, and the DataFrame if one is given."""
    frame, names = (source, ()) if isinstance(source, DataFrame) else (None, source)
    if misplaced := options.keys() & {"output", "overwrite", "json"}:
        raise UsageError(f"{min(misplaced)} is for the command line: from Python the result is returned")
    if (spark or frame is not None) and (misplaced := options.keys() & {"master", "remote", "conf", "jars"}):
        raise UsageError(f"{min(misplaced)} must be set on the session that is given, or no session be given")
    return layered(model, {"input": names if isinstance(names, str) else tuple(names), **options}), frame


def _session(config: EngineOptions, spark: SparkSession | None, *sources: Source | DataFrame) -> SparkSession:
    frames = [source for source in sources if isinstance(source, DataFrame)]
    given = spark or (frames[0].sparkSession if frames else None)
    return start_session(config, Choice(), *sources, given=given)[0]


def _check_matrix(config: MatrixConfig) -> None:
    if config.group_column is None:
        raise UsageError("group_column must be given: the column with the groups (sources) to compare")


def _check_different(source: Source | DataFrame, against: Source | DataFrame) -> None:
    """Raises `InputError` where the items are (partly) the pool itself: all of it would be called leaked."""
    if source is against:
        raise InputError("against must be another table than the input")
    if isinstance(source, Source) and isinstance(against, Source):
        shared = {file.path for file in source.files} & {file.path for file in against.files}
        if source.table is not None and source.table == against.table:
            shared = {source.table}
        if shared:
            raise InputError(f"against must be another table than the input, got {min(shared)} in both")


def _write_picture(found: Matrix, output: Output) -> None:
    picture = io.BytesIO()
    found.figure().savefig(picture, format="png", dpi=120)
    place = output.folder.child("matrix.png")
    with place.filesystem.open_output_stream(place.path) as stream:
        stream.write(picture.getvalue())


def _short(text: str, most: int = 14) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return shortened(line, most)
