"""Delta tables: comments, checks, commits that say whose they are, tables of a schema, and where its jars come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pools import rows
from pyspark.sql import functions as F

import zipspark
from zipspark import pipeline, selected
from zipspark.config import EngineOptions, SelectConfig
from zipspark.errors import EngineError, InputError, UsageError
from zipspark.spark import delta, session
from zipspark.storage import schema_output
from zipspark.storage.deltas import Table, writer
from zipspark.storage.schema_output import TABLES, SchemaOutput, read_manifest, read_table
from zipspark.storage.stages import folder_of
from zipspark.storage.table_schemas import CHECKS, COLUMNS
from zipspark.verify import verify

pytestmark = pytest.mark.delta
FACTS = {"run_id": "1f3a", "config_hash": "77b0"}
RECORDS = "`the id` string, source string, worth double, `the text` string, more struct<`a b`: int>"


@pytest.fixture(scope="module")
def pool(session_and_delta):
    """Rows for every decision, in columns whose names Parquet alone would not bring into Delta."""
    made = [(row["id"], row["source"], 1.0, row["text"], (1,)) for row in rows(60)]
    made[3] = (*made[3][:3], None, None)  # quarantined
    made[7] = (*made[7][:2], 0.1, *made[7][3:])  # below --quality-min
    made[8] = ("left out", *made[8][1:])
    made[9] = (*made[9][:3], made[10][3], None)  # a copy
    return session_and_delta[0].createDataFrame(made, RECORDS)


@pytest.fixture(scope="module")
def selection(pool):
    return zipspark.select(
        pool.withMetadata("the text", {"comment": "theirs"}),
        12,
        text_expr="`the text`",
        id_column="the id",
        group_column="source",
        quality_column="worth",
        quality_min=0.5,
        where="`the id` != 'left out'",
        anchor=pool.where("`the id` = 'row-00011'"),
        order="dense-first",
        max_bad_fraction=0.1,
    )


@pytest.fixture(scope="module")
def saved(selection, tmp_path_factory):
    """OUT with Delta tables, one of each kind but the manifest."""
    out = tmp_path_factory.mktemp("delta") / "a b%20[1]"
    selection.save(str(out), format="delta")
    return {name: Table.parse(str(out / name)) for name in TABLES}


@pytest.fixture
def two_tables(monkeypatch):
    """Half of the tables: each takes Delta a second or more."""
    for module in (schema_output, selected):
        monkeypatch.setattr(module, "TABLES", ("subset", "ledger"))


@pytest.fixture
def schema(spark, tmp_path):
    name = tmp_path.name  # which has no sign that a schema may not have
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{tmp_path}/schema'")
    yield name
    spark.sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def tables_of(spark, schema) -> set[str]:
    return {row.tableName for row in spark.sql(f"SHOW TABLES IN {schema}").collect() if not row.isTemporary}


# --- what a table says, and refuses ---------------------------------------------------------------------------------


def test_every_decision_is_in_a_ledger_that_meets_its_checks(spark, saved):
    """Were a check not of what select writes, saving would have failed."""
    found = saved["ledger"].read(spark).groupBy("decision").count().collect()
    assert {row.decision for row in found} == {
        "selected",
        "not_selected",
        "duplicate",
        "anchored",
        "guarded",
        "quarantined",
    }


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_one_commit_with_comments_and_checks(spark, saved, selection, kind):
    table = saved[kind]
    comments = {field.name: field.metadata.get("comment") for field in table.read(spark).schema}
    own = {name: comment for name, comment in comments.items() if name in COLUMNS[kind]}
    assert own
    assert all(own[name] == COLUMNS[kind][name] for name in own)
    theirs = {name: comment for name, comment in comments.items() if name not in own}
    assert theirs == (dict.fromkeys(theirs) | {"the text": "theirs"} if kind == "subset" else {})

    properties = {row.key: row.value for row in spark.sql(f"SHOW TBLPROPERTIES {table.sql}").collect()}
    checks = {name[18:]: value for name, value in properties.items() if name.startswith("delta.constraints.")}
    assert checks == {
        name: sql for name, sql in CHECKS[kind].items() if "refresh" not in name and "content" not in name
    }

    [commit] = table.history(spark)
    assert commit.version == 0
    assert commit.facts == {name: selection.manifest[name] for name in ("run_id", "config_hash")}
    assert int(commit.metrics["numOutputRows"]) == table.read(spark).count() == getattr(selection, kind).count()


def test_names_that_parquet_has_and_delta_maps(spark, saved, pool):
    found = saved["subset"].read(spark)
    assert found.columns[:5] == pool.columns
    asked = pool.join(found.select("the id", "zip_rank"), "the id").select("zip_rank", "the text", "more.`a b`")
    there = found.select("zip_rank", "the text", "more.`a b`")
    assert sorted(asked.collect()) == sorted(there.collect())
    assert there.count() == 12


@pytest.mark.parametrize(
    ("kind", "column", "value", "check"),
    [
        ("subset", "zip_id", "null", "zip_id_is_there"),
        ("ledger", "decision", "'chosen'", "decision_is_known"),
        ("ledger", "ratio", "-ratio", "ratio_above_0"),
        ("metrics", "stage", "null", "stage_is_there"),
        ("quarantine", "reason", "null", "reason_is_there"),
    ],
)
def test_a_row_that_breaks_a_check_is_refused(spark, saved, kind, column, value, check):
    table = saved[kind]
    before = table.read(spark).count()
    names = ", ".join(f"{value} AS {name}" if name == column else f"`{name}`" for name in table.read(spark).columns)
    where = "WHERE decision = 'selected'" if kind == "ledger" else ""
    with pytest.raises(Exception, match=f"(?i)check constraint {check}"):
        spark.sql(f"INSERT INTO {table.sql} SELECT {names} FROM {table.sql} {where} LIMIT 1").collect()
    assert table.read(spark).count() == before


LEDGER = {
    "zip_id": "'a'",
    "bytes": "10L",
    "ratio": "1.5D",
    "part": "0",
    "decision": "'selected'",
    "reason": "string(null)",
    "rank": "0L",
    "marginal_ratio": "2.0D",
    "position": "0L",
    "content": "'c'",
    "refresh": "0",
}
SUBSET = {"zip_id": "'a'", "zip_rank": "0L", "zip_ratio": "1D", "zip_marginal_ratio": "1D", "zip_order": "0"} | {
    "zip_refresh": "0"
}
METRICS = {"stage": "'read'", "rows_in": "3L", "rows_out": "2L", "bytes_in": "3L", "bytes_out": "3L"} | {
    "seconds": "0.1D",
    "refresh": "0",
}
QUARANTINE = {"reason": "'empty'", "position": "0L", "refresh": "0"}
BARE = {
    "decision": "'guarded'",
    "reason": "'where'",
    "zip_id": "string(null)",
    "content": "string(null)",
} | dict.fromkeys(("bytes", "ratio", "part", "rank", "marginal_ratio"), "bigint(null)")


@pytest.mark.parametrize(
    ("kind", "good", "changes"),
    [
        (
            "ledger",
            LEDGER,
            [
                ({}, set()),
                ({"marginal_ratio": "double(null)"}, set()),  # objective coverage
                ({"reason": "'keep'"}, set()),
                (BARE, set()),
                (BARE | {"decision": "'quarantined'", "zip_id": "'theirs'"}, set()),
                (LEDGER | BARE | {"decision": "'duplicate'"}, {"text_is_measured"}),
                ({"zip_id": "string(null)"}, {"text_is_measured"}),
                ({"decision": "'not_selected'", "reason": "'part'"}, {"rank_of_selected"}),
                ({"rank": "bigint(null)"}, {"rank_of_selected", "marginal_ratio_of_selected"}),
                ({"rank": "-1L"}, {"rank_from_0"}),
                ({"decision": "string(null)"}, {"decision_is_known", "rank_of_selected", "reason_is_there"}),
                (BARE | {"reason": "string(null)"}, {"reason_is_there"}),
                ({"bytes": "0L"}, {"bytes_above_0"}),
                ({"ratio": "0D"}, {"ratio_above_0"}),
                ({"marginal_ratio": "-1D"}, {"marginal_ratio_of_selected"}),
                ({"part": "-1"}, {"part_from_0"}),
                ({"position": "-1L"}, {"position_from_0"}),
                ({"content": "string(null)"}, {"content_of_text"}),
                ({"refresh": "-1"}, {"refresh_from_0"}),
            ],
        ),
        (
            "subset",
            SUBSET,
            [
                ({}, set()),
                ({"zip_marginal_ratio": "double(null)"}, set()),
                ({"zip_rank": "bigint(null)"}, {"zip_rank_from_0"}),
                ({"zip_ratio": "0D"}, {"zip_ratio_above_0"}),
                ({"zip_marginal_ratio": "0D"}, {"zip_marginal_ratio_above_0"}),
                ({"zip_order": "-1"}, {"zip_order_from_0"}),
                ({"zip_refresh": "-1"}, {"zip_refresh_from_0"}),
            ],
        ),
        (
            "metrics",
            METRICS,
            [
                ({}, set()),
                (dict.fromkeys(("rows_in", "rows_out", "bytes_in", "bytes_out", "seconds"), "bigint(null)"), set()),
                ({"rows_out": "4L"}, {"rows_leave"}),
                ({"bytes_out": "-1L"}, {"bytes_leave"}),
                ({"seconds": "-1D"}, {"seconds_from_0"}),
                ({"refresh": "-1"}, {"refresh_from_0"}),
            ],
        ),
        (
            "quarantine",
            QUARANTINE,
            [({}, set()), ({"position": "-1L"}, {"position_from_0"}), ({"refresh": "-1"}, {"refresh_from_0"})],
        ),
    ],
)
def test_what_each_check_refuses(spark, kind, good, changes):
    """The conditions themselves, on one good row and what breaks it; null is not met."""
    lines = " UNION ALL ".join(
        "SELECT " + ", ".join(f"{value} AS {name}" for name, value in (good | change).items()) for change, _ in changes
    )
    met = [F.coalesce(F.expr(condition), F.lit(False)).alias(name) for name, condition in CHECKS[kind].items()]
    found = spark.sql(lines).coalesce(1).select(*met).collect()
    assert [{name for name in CHECKS[kind] if not row[name]} for row in found] == [broken for _, broken in changes]


# --- by path and by name --------------------------------------------------------------------------------------------


def test_a_table_by_name_is_one_by_path(spark, schema, tmp_path):
    for table in (Table.parse(f"{schema}.subset"), Table.parse(f"{tmp_path}/a `b` %20[1]/subset")):
        assert (table.exists(spark), table.version(spark), table.history(spark)) == (False, None, [])
        ids = spark.range(3).select(F.col("id").cast("string").alias("zip_id"))
        table.create(spark, writer(ids, "subset", FACTS))
        with pytest.raises(Exception, match=r"ALREADY_EXISTS|PATH_EXISTS"):
            table.create(spark, writer(ids, "subset", FACTS))
        table.save(writer(ids, "subset", {"run_id": "2"}).mode("append"))
        assert (table.exists(spark), table.version(spark)) == (True, 1)
        assert (table.read(spark).count(), table.read(spark, version=0).count()) == (6, 3)
        assert [commit.facts for commit in table.history(spark)] == [{"run_id": "2"}, FACTS]
        spark.sql(f"DELETE FROM {table.sql} WHERE zip_id = '1'").collect()
        newest = table.history(spark, limit=1)
        assert [(commit.version, commit.operation, commit.facts) for commit in newest] == [(2, "DELETE", {})]
        neighbour = table.beside("_ledger")
        neighbour.create(spark, writer(ids, "subset", FACTS))
        assert neighbour.read(spark).count() == 3
    assert tables_of(spark, schema) == {"subset", "subset_ledger"}


def test_what_is_no_delta_table(spark, schema, tmp_path):
    spark.range(3).write.parquet(f"{tmp_path}/plain")
    spark.sql(f"CREATE TABLE {schema}.plain (id INT) USING parquet")
    assert Table.parse(f"{tmp_path}/plain").version(spark) is None
    assert Table.parse(f"{schema}.plain").version(spark) is None
    assert Table.parse(f"{schema}.plain").exists(spark)


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a.", "a.`b", "a.b`c`"])
def test_what_is_no_name(name):
    with pytest.raises(UsageError, match=r"must be parts with dots between, as in main\.chats, got"):
        Table.named(name)


# --- tables of a schema ---------------------------------------------------------------------------------------------


def write_tables(spark, schema, rows=3, run="1", then=lambda: None, **options):
    """What a run does with tables of ``rows`` rows, small ones that have what the checks ask for."""

    def frame(column):
        return spark.range(rows, numPartitions=1).select(F.col("id").cast("string").alias(column))

    with SchemaOutput(spark, schema, **options) as output:
        output.write("subset", frame("zip_id"), rows=rows, facts=FACTS | {"run_id": run})
        then()
        output.write("ledger", frame("reason"), facts=FACTS | {"run_id": run})
        output.write_manifest(FACTS | {"run_id": run, "created": "2026-01-02T03:04:05+00:00", "rows": rows})
        output.commit()


def counts(spark, schema) -> dict[str, int]:
    manifest = read_manifest(spark, schema)
    return {name: read_table(spark, schema, name, manifest).count() for name in manifest["tables"]}


@pytest.mark.usefixtures("two_tables")
def test_tables_of_a_schema(spark, schema):
    write_tables(spark, schema)
    assert tables_of(spark, schema) == {"subset", "ledger", "manifest"}
    assert counts(spark, schema) == {"subset": 3, "ledger": 3}
    [row] = spark.table(f"{schema}.manifest").collect()
    assert (row.run_id, row.created.isoformat()[:10]) == ("1", "2026-01-02")
    assert json.loads(row.manifest)["tables"] == {"subset": 0, "ledger": 0}

    with pytest.raises(InputError, match="holds the tables ledger, manifest, subset: name another, or --overwrite"):
        write_tables(spark, schema)

    def fail():
        assert spark.table(f"{schema}.subset").count() == 5
        assert counts(spark, schema) == {"subset": 3, "ledger": 3}  # who goes by the manifest sees none of it
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tables(spark, schema, rows=5, overwrite=True, then=fail)  # by the same run, saved twice
    assert spark.table(f"{schema}.subset").count() == 3
    assert counts(spark, schema) == {"subset": 3, "ledger": 3}

    write_tables(spark, schema, rows=7, overwrite=True, run="3")
    assert counts(spark, schema) == {"subset": 7, "ledger": 7}
    assert read_manifest(spark, schema)["run_id"] == "3"
    assert Table.named(f"{schema}.subset").history(spark, 1)[0].facts["run_id"] == "3"
    checks = spark.sql(f"SHOW TBLPROPERTIES {schema}.subset").where("key like 'delta.constraints.%'").collect()
    assert [row.key for row in checks] == ["delta.constraints.zip_id_is_there"]


@pytest.mark.usefixtures("two_tables")
def test_a_run_that_fails_leaves_no_table(spark, schema):
    bad = spark.range(3).select(F.raise_error(F.concat(F.lit("row "), F.col("id"))).cast("string").alias("zip_id"))

    def run():
        with SchemaOutput(spark, schema) as output:
            output.write("ledger", spark.sql("select 'part' as reason"), facts=FACTS)
            assert tables_of(spark, schema) == {"ledger"}
            output.write("subset", bad, facts=FACTS)

    with pytest.raises(Exception, match=r"row \d"):
        run()
    assert tables_of(spark, schema) == set()


@pytest.mark.usefixtures("two_tables")
@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_what_a_killed_run_has_left_is_replaced_by_one_that_may(spark, schema, monkeypatch, option):
    def killed():
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SchemaOutput, "_undo", lambda _: None)  # which a SIGKILL leaves no time for
        with pytest.raises(KeyboardInterrupt):
            write_tables(spark, schema, rows=5, then=killed)
    assert tables_of(spark, schema) == {"subset"}
    with pytest.raises(InputError, match="holds the table subset of a run that was killed: --resume goes on with it"):
        write_tables(spark, schema)
    write_tables(spark, schema, **{option: True})
    assert counts(spark, schema) == {"subset": 3, "ledger": 3}


@pytest.mark.usefixtures("two_tables")
def test_of_two_runs_at_once_the_second_leaves_the_tables_of_the_first(spark, schema):
    def run():
        with SchemaOutput(spark, schema) as output:
            write_tables(spark, schema)
            output.write("subset", spark.sql("select 'a' as zip_id"), facts=FACTS | {"run_id": "2"})

    with pytest.raises(Exception, match=r"(?i)already exists"):
        run()
    assert counts(spark, schema) == {"subset": 3, "ledger": 3}


@pytest.mark.usefixtures("two_tables")
def test_rows_that_are_lost_are_no_result(spark, schema):
    frame = spark.sql("select 'a' as zip_id")
    with (
        pytest.raises(InputError, match="the subset has 1 rows, not 2"),
        SchemaOutput(spark, schema) as output,
    ):
        output.write("subset", frame, rows=2, facts=FACTS)
    assert tables_of(spark, schema) == set()


def enter(spark, schema, **options):
    with SchemaOutput(spark, schema, **options):
        pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_zipspark_did_not_write_is_never_overwritten(spark, schema, overwrite):
    spark.sql(f"CREATE TABLE {schema}.metrics (mine INT) USING delta")
    with pytest.raises(InputError, match="holds the table metrics, but no table manifest, so zipspark did not write"):
        enter(spark, schema, overwrite=overwrite)
    spark.sql(f"CREATE TABLE {schema}.manifest (mine INT) USING delta")
    with pytest.raises(InputError, match="no table manifest of its own" if overwrite else "or --overwrite"):
        enter(spark, schema, overwrite=overwrite)
    assert tables_of(spark, schema) == {"metrics", "manifest"}


@pytest.mark.parametrize("name", ["no_such_schema", "no_such_catalog.chosen", "spark_catalog.no_such_schema"])
def test_a_schema_that_is_not_there(spark, name):
    with pytest.raises(InputError, match=rf"^output_schema {name} cannot be used: .*CREATE SCHEMA {name}"):
        enter(spark, name)


def test_a_schema_that_cannot_be_written(spark, schema, tmp_path):
    place = tmp_path / "schema"
    if place.exists():
        place.rmdir()
    place.write_text("in the way of every table")
    with pytest.raises(InputError, match=r"^output_schema .* cannot be written: "):
        enter(spark, schema)
    assert tables_of(spark, schema) == set()
    place.unlink()


def test_select_writes_into_a_schema_resumes_and_is_verified(spark, schema, tmp_path):
    pool = tmp_path / "pool"
    spark.createDataFrame(rows(60)).coalesce(1).write.format("delta").save(str(pool))
    given = {"input": (str(pool),), "budget": "12", "work_dir": str(tmp_path), "quiet": True}
    config = SelectConfig(**given, output_schema=f"spark_catalog.{schema}", resume=True)
    summary = pipeline.select_to(config)
    assert summary.output == config.output_schema
    assert tables_of(spark, schema) == {*TABLES, "manifest"}
    assert counts(spark, schema) | {"metrics": 0} == {"subset": 12, "ledger": 60, "quarantine": 0, "metrics": 0}
    assert sorted(place.name for place in tmp_path.iterdir()) == ["pool", "schema"]  # no stages are left

    again = pipeline.select_to(config)
    assert isinstance(again, pipeline.Complete)
    assert again.output == config.output_schema
    spark.sql(f"DELETE FROM {schema}.ledger").collect()  # behind the version that the manifest names
    found = verify(EngineOptions(output=config.output_schema, quiet=True))
    assert found.same, str(found)

    with pytest.raises(UsageError, match="resume needs work_dir where output_schema is given"):
        pipeline.select_to(config.model_copy(update={"work_dir": None}))


@pytest.mark.usefixtures("two_tables")
def test_a_selection_is_saved_into_a_schema(spark, schema, selection):
    selection.save(output_schema=schema)
    assert counts(spark, schema) == {"subset": 12, "ledger": 60}
    for given in ({}, {"path": "out", "output_schema": schema}):
        with pytest.raises(UsageError, match="save must be given a path, or output_schema, and not both"):
            selection.save(**given)


def test_a_schema_has_a_work_folder_of_its_own(tmp_path):
    given = {"work_dir": str(tmp_path), "budget": "1"}
    names = ("main.chosen", "main.chosen", "main.other")
    folders = [folder_of(SelectConfig(**given, output_schema=name)).name for name in names]
    assert folders[0] == folders[1] != folders[2]
    assert folders[0].startswith("main.chosen-")


# --- jars -----------------------------------------------------------------------------------------------------------

JOB = """
import sys
from zipspark.config import EngineOptions
from zipspark.spark.session import get_session
spark = get_session(EngineOptions(master="local[1]", jars=sys.argv[1].split(","), conf={"spark.jars.ivy": sys.argv[2]}))
spark.range(3).write.format("delta").save(sys.argv[2] + "/table")
print(spark.sql(f"DESCRIBE HISTORY delta.`{sys.argv[2]}/table`").count())
"""


def ivy_jars() -> list[Path]:
    """Delta's jars and those it needs, where Spark has kept them."""
    group, artifact, version = delta.delta_coordinates().split(":")
    folders = [folder / "jars" for folder in Path.home().glob(".ivy2*")]
    folders = [folder for folder in folders if (folder / f"{group}_{artifact}-{version}.jar").exists()]
    if not folders:
        pytest.skip("Spark has not fetched Delta's jars into Ivy's cache here")
    return sorted(folders[0].glob("*.jar"))


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("ZIPSPARK_TEST_REMOTE") == "1", reason="a process of its own, the same in both runs")
def test_jars_that_are_named_are_not_fetched(tmp_path):
    jars = [jar for jar in ivy_jars() if jar.name.startswith("io.delta_delta-")]
    (tmp_path / "jars").mkdir()
    for jar in jars[1:]:  # a folder of jars, and one beside it
        (tmp_path / "jars" / jar.name).symlink_to(jar)
    jars = [tmp_path / "jars", jars[0]]
    ivy = tmp_path / "ivy"
    environment = {key: value for key, value in os.environ.items() if "SPARK" not in key}
    done = subprocess.run(
        [sys.executable, "-c", JOB, ",".join(map(str, jars)), str(ivy)],
        env=environment | {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "1", done.stderr
    assert [path.name for path in ivy.iterdir()] == ["table"]  # Ivy has not even made its folders


def test_jars_of_a_running_session(spark, tmp_path):
    jar = empty_jar(tmp_path / "mine.jar")
    with pytest.raises(
        EngineError, match=rf"runs already, without {jar}: call spark.stop\(\) first, or leave out jars"
    ):
        session.get_session(EngineOptions(jars=(str(jar),)))


def empty_jar(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as entries:
        entries.writestr("META-INF/MANIFEST.MF", "")
    return path


def test_which_jars_are_named(tmp_path):
    one, two = empty_jar(tmp_path / "1.jar"), empty_jar(tmp_path / "2.jar")
    (tmp_path / "notes.txt").write_text("")
    far = "s3a://bucket/io.delta_delta-spark_4.2_2.13-4.4.0.jar"
    assert delta.jars_named([str(tmp_path), f"file:{two}", far]) == [*map(str, (one, two, two)), far]
    assert delta.holds_delta([str(one), far])
    assert not delta.holds_delta([str(one), "s3a://bucket/other.jar"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.jar", "jars must name files that are there, got '.*none.jar': there is no .*none.jar"),
        ("notes.txt", "jars must name jars, got '.*notes.txt': .* is none, or damaged"),
        ("", "jars must name jars or folders that hold some, got '.*', which holds none"),
    ],
)
def test_jars_that_are_none(tmp_path, name, said):
    (tmp_path / "notes.txt").write_text("no jar")
    with pytest.raises(UsageError, match=said):
        delta.jars_named([f"{tmp_path}/{name}"])


def test_settings_of_the_user_stay():
    mine = {"spark.sql.extensions": "a.B", "spark.sql.catalog.spark_catalog": "a.Catalog"}
    assert delta.delta_settings(mine) == {"spark.sql.extensions": f"a.B,{delta.DELTA_SETTINGS[delta.EXTENSIONS]}"}
    assert delta.delta_settings({}) == delta.DELTA_SETTINGS
    assert delta.delta_settings(delta.DELTA_SETTINGS) == {delta.EXTENSIONS: delta.DELTA_SETTINGS[delta.EXTENSIONS]}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "[DATA_SOURCE_NOT_FOUND] ... Caused by: java.lang.ClassNotFoundException: delta.DefaultSource",
            "has no Delta: ",
        ),
        (
            "java.lang.NoClassDefFoundError: io/delta/storage/LogStore",
            r"not complete, .*\(java\.lang\.NoClassDef.*Store\)",
        ),
    ],
)
def test_a_session_without_delta_is_told_from_one_with_half_of_its_jars(said, meant):
    class Session:
        @property
        def read(self):
            raise RuntimeError(said)

    with pytest.raises(EngineError, match=meant):
        delta.check_delta(Session())
