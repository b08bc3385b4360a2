"""A subset that follows its corpus: what comes, what goes, and that neither happens twice, or by halves."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from launching import once
from pools import rows
from pyspark.sql import functions as F
from terminal import stages

from zipspark import databricks, refresh_stream, refresh_subset
from zipspark import refreshing as module
from zipspark.cli import run
from zipspark.errors import EngineError, InputError, UsageError
from zipspark.refresh_writing import Writing
from zipspark.storage import refreshes
from zipspark.storage.deltas import FEED
from zipspark.storage.refreshes import Conflict

pytestmark = [pytest.mark.delta, pytest.mark.slow]


OLD, NEW = rows(150), rows(200)[150:]
BUDGET = 12
NOISE = base64.b64encode(random.Random(1).randbytes(900)).decode()


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Lake:
    """A corpus and what its refreshes have made, in one folder."""

    def __init__(self, spark, folder: Path):
        self.spark = spark
        self.folder = folder
        self.corpus = folder / "corpus"

    def refresh(self, **options):
        given = {"corpus": str(self.corpus), "subset": str(self.folder / "chosen"), "id_column": "id"}
        return refresh_subset(self.spark, **given | {"budget": BUDGET, "parts": 2, "quiet": True} | options)

    def sql(self, statement: str):
        return self.spark.sql(statement.replace("CORPUS", f"delta.`{self.corpus}`")).collect()

    def add(self, records, **options):
        # With columns that are called what a refresh calls some of its own.
        rows = self.spark.createDataFrame([row | {"gone": "no", "offered": 1} for row in records])
        writing = rows.coalesce(1).write.format("delta").mode("append")
        writing.options(**options).save(str(self.corpus))

    def table(self, suffix: str = "", version: int | None = None):
        reader = self.spark.read if version is None else self.spark.read.option("versionAsOf", version)
        return reader.format("delta").load(f"{self.folder}/chosen{suffix}")

    def subset(self) -> dict[str, int]:
        """Id -> the refresh it came with, in order of rank."""
        found = self.table().select("zip_id", "zip_rank", "zip_refresh").toArrow().sort_by("zip_rank").to_pylist()
        assert len({row["zip_rank"] for row in found}) == len(found)
        return {row["zip_id"]: row["zip_refresh"] for row in found}

    def history(self) -> list[dict]:
        return self.table("_history").toArrow().sort_by("refresh").to_pylist()

    def ledger(self) -> dict[str, dict]:
        found = self.table("_ledger").toArrow().to_pylist()
        assert len({row["zip_id"] for row in found}) == len(found)
        return {row["zip_id"]: row for row in found}

    def texts(self) -> dict[str, str]:
        found = self.spark.read.format("delta").load(str(self.corpus)).select("id", "text").toArrow().to_pylist()
        return {row["id"]: row["text"] for row in found}

    def check(self):
        """What holds after every refresh."""
        subset, ledger, texts, history = self.subset(), self.ledger(), self.texts(), self.history()
        assert {key for key, row in ledger.items() if row["decision"] == "selected"} == subset.keys()
        assert ledger.keys() == texts.keys()
        own = self.table().select("id", "text", "zip_id").toArrow().to_pylist()
        assert len(own) == len(subset)
        assert all(row["id"] == row["zip_id"] and texts[row["id"]] == row["text"] for row in own)
        assert [row["refresh"] for row in history] == [*range(len(history))]
        last = history[-1]
        assert last["rows"] == len(subset)
        assert last["bytes"] == sum(len(row["text"].encode()) for row in own)
        before = history[-2]["rows"] if len(history) > 1 else 0
        assert last["rows"] == before + last["rows_added"] - last["rows_dropped"]

    def files(self) -> dict[str, int]:
        return {
            str(path): path.stat().st_mtime_ns
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "corpus" not in path.relative_to(self.folder).parts[0]
        }

    def copy(self, folder: Path) -> Lake:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Lake(self.spark, folder)


@pytest.fixture(scope="module")
def begun(spark, tmp_path_factory):
    """After the first refresh."""
    lake = Lake(spark, tmp_path_factory.mktemp("begun"))
    lake.add(OLD, **{FEED: "true"})
    lake.refresh()
    return lake


def elsewhere(do):
    """As another process would: a run of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(do).result()


def stir(lake: Lake) -> None:
    """New rows, one of them noise and one a copy of a chosen one; others are deleted and changed."""
    chosen = [*lake.subset()]
    others = [row["id"] for row in OLD if row["id"] not in chosen]
    lake.ids = chosen[0], chosen[5], others[0], others[7]
    texts = lake.texts()
    copy = NEW[0] | {"id": "copy", "text": texts[chosen[3]]}
    lake.add([*NEW, copy, NEW[0] | {"id": "noise", "text": NOISE}])
    lake.sql(f"DELETE FROM CORPUS WHERE id IN ('{chosen[0]}', '{others[0]}')")
    lake.sql(f"UPDATE CORPUS SET text = concat(text, ' and so on') WHERE id IN ('{chosen[5]}', '{others[7]}')")
    lake.sql(f"UPDATE CORPUS SET source = 'elsewhere' WHERE id = '{chosen[1]}'")  # its text stays what it was


@pytest.fixture(scope="module")
def stirred(begun, tmp_path_factory):
    lake = begun.copy(tmp_path_factory.mktemp("stirred"))
    stir(lake)
    return lake


@pytest.fixture(scope="module")
def appended(stirred, tmp_path_factory):
    lake = stirred.copy(tmp_path_factory.mktemp("appended"))
    lake.done = lake.refresh()
    return lake


@pytest.fixture
def lake(begun, tmp_path):
    return begun.copy(tmp_path)


def test_the_first_refresh_makes_the_tables(begun):
    begun.check()
    assert len(begun.subset()) == BUDGET
    (row,) = begun.history()
    assert (row["changes"], row["rows_added"], row["corpus_version"]) == ("all", BUDGET, 0)
    assert row["ratio_before"] is None
    assert row["ratio_after"] > 1
    for suffix, refused in (("", "zip_rank"), ("_ledger", "rank")):
        table = f"delta.`{begun.folder}/chosen{suffix}`"
        comments = {row.col_name: row.comment for row in begun.spark.sql(f"DESCRIBE TABLE {table}").collect()}
        assert "ranking" in comments[refused]
        copy = begun.table(suffix).limit(1).withColumn(refused, F.lit(-1).cast("bigint"))
        with pytest.raises(Exception, match="CHECK constraint"):
            copy.write.format("delta").mode("append").save(f"{begun.folder}/chosen{suffix}")


@once
def test_the_same_version_twice_changes_nothing(begun):
    before = begun.files()
    assert begun.refresh().refresh is None
    assert begun.refresh(budget="50%", mode="reselect").refresh is None
    assert begun.files() == before


def test_append_takes_new_rows_and_drops_what_is_gone(begun, stirred, appended):
    appended.check()
    before, after = begun.subset(), appended.subset()
    dropped, changed, _, changed_too = stirred.ids
    assert {key for key in before if key not in after or after[key] == 1} - {changed} == {dropped}
    came = [key for key, refresh in after.items() if refresh == 1]
    assert len(came) == BUDGET
    assert set(came) <= {row["id"] for row in NEW} | {changed, changed_too, "copy"}
    assert [*after][-BUDGET:] == came  # their ranks go on from those that are there
    ledger = appended.ledger()
    assert ledger["copy"]["decision"] == "anchored"
    assert ledger["noise"]["decision"] == "guarded"
    row = appended.history()[-1]
    found = {name: row[f"rows_{name}"] for name in ("new", "updated", "deleted")}
    assert (row["changes"], found) == ("feed", {"new": 52, "updated": 2, "deleted": 2})
    assert row["ratio_before"] == begun.history()[0]["ratio_after"]
    said = row | {"mode": "append", "dry_run": False, "report": f"{appended.folder}/chosen_report.html"}
    assert appended.done.to_dict().items() <= said.items()


@once
def test_tables_of_a_catalog(stirred, begun, appended, tmp_path):
    """The same, where corpus and subset have names and lie wherever the catalog has them."""
    schema, spark = f"lake_{tmp_path.name}", stirred.spark
    shutil.copytree(stirred.corpus, tmp_path / "corpus")
    spark.sql(f"CREATE SCHEMA {schema} LOCATION '{tmp_path}/schema'")
    try:
        spark.sql(f"CREATE TABLE {schema}.corpus USING delta LOCATION '{tmp_path}/corpus'")
        spark.sql(f"RESTORE TABLE {schema}.corpus TO VERSION AS OF 0").collect()
        given = {"corpus": f"{schema}.corpus", "subset": f"spark_catalog.{schema}.chosen", "id_column": "id"}
        given |= {"budget": BUDGET, "parts": 2, "quiet": True}

        def subset() -> dict[str, int]:
            found = spark.table(f"{schema}.chosen").toArrow().sort_by("zip_rank").to_pylist()
            return {row["zip_id"]: row["zip_refresh"] for row in found}

        refresh_subset(spark, **given)
        assert subset() == begun.subset()
        spark.sql(f"RESTORE TABLE {schema}.corpus TO VERSION AS OF 4").collect()
        done = refresh_subset(spark, **given)
        assert (done.rows_new, done.rows_updated, done.rows_deleted) == (52, 2, 2)
        assert subset() == appended.subset()
        assert refresh_subset(spark, **given).refresh is None
        assert spark.table(f"{schema}.chosen_history").count() == 2
        assert spark.table(f"{schema}.chosen_ledger").count() == len(appended.ledger())
    finally:
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


@once
def test_a_session_that_takes_no_settings_comes_to_the_same(stirred, appended, tmp_path, monkeypatch):
    """As Databricks' serverless compute has them: rows are taken out without MERGE."""
    lake = stirred.copy(tmp_path)
    conf = type(lake.spark.conf)
    known = conf.set

    def refusing(self, key, value):
        if "delta" in key:
            raise RuntimeError(f"[CONFIG_NOT_AVAILABLE] {key}")
        known(self, key, value)

    monkeypatch.setattr(conf, "set", refusing)
    lake.refresh()
    lake.check()
    assert lake.subset() == appended.subset()
    assert lake.ledger() == appended.ledger()
    for one, operation in ((lake, "WRITE"), (appended, "MERGE")):
        last = one.spark.sql(f"DESCRIBE HISTORY delta.`{one.folder}/chosen` LIMIT 1").toArrow().to_pylist()[0]
        assert last["operation"] == operation
    assert lake.refresh().refresh is None


def test_settings_for_one_statement_leave_those_of_the_user(spark):
    mine, other = "spark.databricks.delta.commitInfo.userMetadata", "spark.databricks.delta.write.txnAppId"
    spark.conf.set(mine, "the user's")
    try:
        with refreshes._settings(spark, {mine: "ours", other: "ours"}) as are_set:
            assert are_set
            assert (spark.conf.get(mine), spark.conf.get(other)) == ("ours", "ours")
        assert (spark.conf.get(mine), spark.conf.get(other, None)) == ("the user's", None)
    finally:
        spark.conf.unset(mine)


@once
def test_without_the_feed_a_diff_finds_the_same(stirred, begun, appended, tmp_path):
    lake = begun.copy(tmp_path)
    lake.sql(f"ALTER TABLE CORPUS SET TBLPROPERTIES ({FEED} = false)")
    stir(lake)
    lake.refresh()
    lake.check()
    assert lake.history()[-1]["changes"] == "diff"
    assert lake.subset() == appended.subset()
    assert lake.history()[-1]["ratio_after"] == appended.history()[-1]["ratio_after"]


@once
def test_reselect_keeps_the_size_and_says_what_left(begun, stirred, tmp_path):
    lake = stirred.copy(tmp_path)
    done = lake.refresh(mode="reselect")
    lake.check()
    before, after = begun.subset(), lake.subset()
    assert len(after) == BUDGET
    again = {key for key in before.keys() & after.keys() if after[key] == 1}  # with another text
    assert again <= {stirred.ids[1]}
    assert done.rows_dropped == len(before.keys() - after.keys()) + len(again)
    assert done.rows_added == len(after.keys() - before.keys()) + len(again)
    assert {key for key, refresh in after.items() if refresh == 0} <= before.keys()
    assert 1 in after.values()
    assert lake.table().agg({"zip_rank": "max"}).collect()[0][0] == BUDGET - 1


@once
def test_a_share_is_of_the_corpus(lake):
    lake.add(NEW)
    lake.refresh(budget="20%")
    lake.check()
    offered = [row for row in lake.ledger().values() if row["decision"] in ("selected", "not_selected")]
    assert abs(len(lake.subset()) - 0.2 * len(offered)) < 1
    lake.add([row | {"id": f"{row['id']}-again"} for row in NEW[:3]])
    done = lake.refresh(budget="10%")  # there are more already: nothing comes, and every row is in the ledger
    assert (done.rows_new, done.rows_added, done.rows_dropped) == (3, 0, 0)
    lake.check()


@once
def test_killed_between_its_commits_it_is_made_whole(stirred, appended, tmp_path, monkeypatch):
    lake = stirred.copy(tmp_path)

    def killed(*_):
        raise Killed

    for step in ("ledger", "history"):  # the second one while it makes the first one whole
        with monkeypatch.context() as patched:
            patched.setattr(Writing, step, killed)
            with pytest.raises(Killed):
                lake.refresh()
        assert len(lake.history()) == 1
    assert lake.refresh(budget=3).refresh is None  # what was left is made with the options it was begun with
    lake.check()
    assert lake.subset() == appended.subset()
    assert len(lake.history()) == 2
    same = ("refresh", "rows_added", "rows_dropped", "rows", "bytes", "ratio_after", "corpus_version", "config_hash")
    for name in same[:-1]:
        assert lake.history()[-1][name] == appended.history()[-1][name]
    decisions = [{key: (row["decision"], row["rank"]) for key, row in one.ledger().items()} for one in (lake, appended)]
    assert decisions[0] == decisions[1]


@once
def test_a_refresh_that_only_looked_is_made_whole_too(lake, monkeypatch):
    """Nothing comes and nothing goes; what it has written of the ledger must not stand in the next one's way."""
    lake.add([NEW[0] | {"text": NOISE}])

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Writing, "history", killed)
        with pytest.raises(Killed):
            lake.refresh()
    lake.add(NEW[1:20])
    done = lake.refresh(budget=4)
    assert (done.refresh, done.rows_added) == (2, 4)
    lake.check()
    assert lake.ledger()[NEW[0]["id"]]["decision"] == "guarded"


@pytest.fixture
def killed(monkeypatch):
    """Let a refresh end behind the subset's commit."""

    def behind_its_commit(lake: Lake, **options) -> None:
        def end(*_):
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Writing, "ledger", end)
            with pytest.raises(Killed):
                lake.refresh(**options)

    return behind_its_commit


@once
def test_a_first_refresh_that_was_killed_is_made_whole_behind_an_optimize(begun, tmp_path, killed):
    lake = Lake(begun.spark, tmp_path)
    shutil.copytree(begun.corpus, lake.corpus)
    killed(lake)
    lake.spark.sql(f"OPTIMIZE delta.`{lake.folder}/chosen` ZORDER BY (zip_rank)").collect()
    assert lake.refresh().refresh is None
    lake.check()
    assert lake.subset() == begun.subset()
    lake.add(NEW)
    assert lake.refresh().refresh == 1
    lake.check()


@once
def test_what_cannot_be_made_whole_gives_way_to_a_rebuild(stirred, tmp_path, killed):
    lake = stirred.copy(tmp_path)
    killed(lake)
    shutil.rmtree(lake.corpus)
    lake.add(OLD)
    before = lake.files()
    why = "refresh 1 was killed and its rest cannot be made: corpus .* is not the table of refresh 0: rebuild=True"
    with pytest.raises(InputError, match=why):
        lake.refresh()
    assert lake.files() == before
    killed(lake, rebuild=True)  # and the rebuild too
    done = lake.refresh(budget=3)  # it is the one that is made whole
    assert done.refresh is None
    assert [(row["refresh"], row["mode"], row["rows"]) for row in lake.history()][1:] == [(2, "rebuild", BUDGET)]
    assert {*lake.subset().values()} <= {0, 2}
    assert {key for key, row in lake.ledger().items() if row["decision"] == "selected"} == lake.subset().keys()
    lake.add([NEW[0] | {"id": "one more"}])
    assert lake.refresh(budget=1).refresh == 3


@once
def test_another_choice_is_never_written_beside_what_was_committed(stirred, tmp_path, killed):
    lake, anchor = stirred.copy(tmp_path), tmp_path / "anchor"
    lake.spark.createDataFrame(OLD[:1]).write.format("delta").save(str(anchor))
    killed(lake, anchor=str(anchor))
    came = [key for key, refresh in lake.subset().items() if refresh == 1]
    texts = [row for row in NEW if row["id"] in came]
    lake.spark.createDataFrame(texts).write.format("delta").mode("append").save(str(anchor))
    before = lake.files()
    with pytest.raises(InputError, match=r"its rest cannot be made: it would choose other rows now, .*: rebuild=True"):
        lake.refresh(anchor=str(anchor))
    assert lake.files() == before


@once
def test_of_two_at_once_one_counts(stirred, appended, tmp_path, monkeypatch):
    lake = stirred.copy(tmp_path)
    choose, other = module.chosen, []

    def chosen(*arguments):
        picked = choose(*arguments)
        if not other:
            other.append(True)
            other.append(elsewhere(lake.refresh))
        return picked

    monkeypatch.setattr(module, "chosen", chosen)
    done = lake.refresh()
    assert (done.refresh, other[1].refresh) == (None, 1)
    lake.check()
    assert lake.subset() == appended.subset()
    assert len(lake.history()) == 2


@once
def test_two_that_begin_at_once_make_one_subset(begun, tmp_path, monkeypatch):
    lake = Lake(begun.spark, tmp_path)
    shutil.copytree(begun.corpus, lake.corpus)
    write, other = Writing.subset, []

    def second(refresh, *arguments):
        if not other:
            other.append(True)
            other.append(elsewhere(lake.refresh))
        return write(refresh, *arguments)

    monkeypatch.setattr(Writing, "subset", second)
    assert lake.refresh().refresh is None
    assert other[1].refresh == 0
    lake.check()
    assert lake.subset() == begun.subset()


@once
def test_one_that_lands_while_another_looks_is_no_error(stirred, appended, tmp_path, monkeypatch):
    lake = stirred.copy(tmp_path)
    other = []

    def landing(read):
        """Behind the first look, whatever is looked at, the other one comes, from beginning to end."""

        def looked(*arguments, **options):
            found = read(*arguments, **options)
            if not other:
                other.append(True)
                other.append(elsewhere(lake.refresh))
            return found

        return looked

    monkeypatch.setattr(refreshes, "_rows", landing(refreshes._rows))
    monkeypatch.setattr(refreshes.Table, "history", landing(refreshes.Table.history))
    assert lake.refresh().refresh is None
    assert other[1].refresh == 1
    lake.check()
    assert lake.subset() == appended.subset()
    assert len(lake.history()) == 2


@once
def test_a_ledger_whose_files_were_moved_is_read_where_it_is(stirred, appended, tmp_path):
    lake = stirred.copy(tmp_path)
    table = f"delta.`{lake.folder}/chosen_ledger`"
    settings = {
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",  # tasks that look for files; else 10,000
    }
    with refreshes._settings(lake.spark, settings):
        lake.spark.sql(f"OPTIMIZE {table} ZORDER BY (zip_id)").collect()
        lake.spark.sql(f"VACUUM {table} RETAIN 0 HOURS").collect()
    with pytest.raises(Exception, match=r"not exist|FileNotFound|FILE_NOT"):
        lake.table("_ledger", lake.history()[-1]["ledger_version"]).collect()
    lake.refresh()
    lake.check()
    assert lake.subset() == appended.subset()


@once
def test_one_that_never_comes_first_says_so(stirred, tmp_path, monkeypatch):
    lake = stirred.copy(tmp_path)
    before = lake.files()

    def never(*_):
        raise Conflict("version 7")

    monkeypatch.setattr(module.Refresh, "run", never)
    with pytest.raises(EngineError, match="keep coming first"):
        lake.refresh()
    assert lake.files() == before


@once
def test_a_column_more_comes_along_and_another_type_is_refused(lake, tmp_path):
    lake.add([row | {"language": "en"} for row in NEW[:20]], mergeSchema="true")
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps(row) + "\n" for row in NEW[:7]))
    lake.refresh(budget=5, anchor=str(held))
    decisions = {key: row["decision"] for key, row in lake.ledger().items()}
    assert {decisions[row["id"]] for row in NEW[:7]} == {"anchored"}  # beside what the subset holds
    assert lake.table().where("zip_refresh = 1").select("language").distinct().collect()[0][0] == "en"
    assert lake.table().where("zip_refresh = 0 and language is null").count() == BUDGET
    lake.check()
    before = lake.files()
    broken = lake.spark.createDataFrame(NEW[20:30]).selectExpr("id", "source", "length(text) as text")
    broken.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(str(lake.corpus))
    with pytest.raises(InputError):
        lake.refresh()
    assert lake.files() == before


@once
class TestWhatIsRefused:
    @pytest.fixture
    def refused(self, lake):
        def check(match: str, error=InputError, **options):
            before = lake.files()
            with pytest.raises(error, match=match):
                lake.refresh(**options)
            assert lake.files() == before

        return check

    def test_a_key_that_is_not_there(self, lake, refused):
        lake.add(NEW[:1])
        refused("id_column.*'key'", id_column="key")

    def test_another_key(self, lake, refused):
        lake.add(NEW[:1])
        refused("id_column is 'text', but the last refresh went by 'id'.*: rebuild=True", id_column="text")

    def test_a_folder_of_something_else(self, lake, refused, tmp_path):
        place = tmp_path / "theirs"
        lake.spark.createDataFrame(OLD[:5]).write.parquet(str(place))
        before = sorted(place.iterdir())
        refused("theirs is no Delta table: name another", subset=str(place))
        assert sorted(place.iterdir()) == before

    def test_ids_that_repeat(self, lake, refused):
        lake.add([NEW[0], NEW[0] | {"text": "another text of the same id, long enough to be a sample"}])
        refused(f"must name each row of the corpus once, got {NEW[0]['id']}|must not repeat")

    def test_a_feed_that_is_switched_off(self, appended, tmp_path):
        lake = appended.copy(tmp_path)
        lake.sql(f"ALTER TABLE CORPUS SET TBLPROPERTIES ({FEED} = false)")
        before = lake.files()
        with pytest.raises(InputError, match=r"change feed .* is off .*: rebuild=True"):
            lake.refresh()
        assert lake.files() == before

    def test_a_feed_that_was_off_for_a_while(self, begun, appended, tmp_path):
        """What came meanwhile is in no feed: without a word it would never be looked at."""
        first, later = begun.copy(tmp_path / "first"), appended.copy(tmp_path / "later")
        for lake in (first, later):
            lake.sql(f"ALTER TABLE CORPUS SET TBLPROPERTIES ({FEED} = false)")
            lake.add([row | {"id": f"{row['id']}-off"} for row in NEW[:3]])
            lake.sql(f"ALTER TABLE CORPUS SET TBLPROPERTIES ({FEED} = true)")
            lake.add([row | {"id": f"{row['id']}-on"} for row in NEW[3:5]])
        assert (first.refresh().rows_new, first.history()[-1]["changes"]) == (5, "diff")
        before = later.files()
        with pytest.raises(InputError, match="no change feed of its versions 5 to 8 any more: rebuild=True"):
            later.refresh()
        assert later.files() == before

    def test_a_corpus_that_was_set_back(self, begun, appended, tmp_path):
        lake = appended.copy(tmp_path)
        shutil.rmtree(lake.corpus)
        shutil.copytree(begun.corpus, lake.corpus)
        before = lake.files()
        with pytest.raises(InputError, match="is at version 0, it was at 4 before: rebuild=True"):
            lake.refresh()
        assert lake.files() == before

    def test_a_feed_that_is_cleaned_away(self, stirred, tmp_path):
        lake = stirred.copy(tmp_path)
        shutil.rmtree(lake.corpus / "_change_data")
        before = lake.files()
        with pytest.raises(InputError, match="no change feed of its versions 1 to 4 any more: rebuild=True"):
            lake.refresh()
        assert lake.files() == before

    def test_another_corpus_and_then_a_rebuild(self, lake, refused):
        shutil.rmtree(lake.corpus)
        lake.add(OLD[:60])
        refused("is not the table of refresh 0: rebuild=True")
        lake.refresh(rebuild=True, budget=5)
        lake.check()
        assert len(lake.subset()) == 5
        assert lake.history()[-1]["mode"] == "rebuild"
        assert 1 in lake.subset().values()

    def test_a_subset_that_something_else_has_changed(self, lake, refused):
        lake.add(NEW[:1])
        lake.spark.sql(f"OPTIMIZE delta.`{lake.folder}/chosen`").collect()
        lake.spark.sql(f"DELETE FROM delta.`{lake.folder}/chosen` WHERE zip_rank = 3").collect()
        refused(r"changed by something else since refresh 0 \(version \d: DELETE\): rebuild=True")
        lake.refresh(rebuild=True)
        last = lake.history()[-1]
        assert (last["rows"], last["mode"]) == (len(lake.subset()), "rebuild")
        assert last["bytes"] == sum(
            len(row["text"].encode()) for row in lake.table().select("text").toArrow().to_pylist()
        )

    def test_a_subset_of_somebody_else(self, lake, refused):
        lake.add(OLD)
        shutil.rmtree(lake.folder / "chosen_history")
        shutil.rmtree(lake.folder / "chosen")
        lake.spark.createDataFrame(OLD).write.format("delta").save(f"{lake.folder}/chosen")
        refused("written by something else than zipspark refresh")
        refused("written by something else than zipspark refresh", rebuild=True)

    def test_a_subset_that_was_made_anew(self, appended, tmp_path):
        lake = appended.copy(tmp_path)
        lake.add(NEW[:1])
        shutil.rmtree(lake.folder / "chosen")
        lake.spark.createDataFrame(OLD).write.format("delta").save(f"{lake.folder}/chosen")
        before = lake.files()
        with pytest.raises(InputError, match="not the table that refresh 1 left"):
            lake.refresh()
        assert lake.files() == before

    def test_a_subset_that_is_gone(self, lake, refused):
        shutil.rmtree(lake.folder / "chosen")
        refused("chosen is gone, but .*chosen_ledger is there")

    def test_a_place_that_cannot_be_written(self, lake, refused):
        lake.add(NEW[:1])
        refused("not permitted to read or write: Cannot create file:/proc/zipspark", subset="/proc/zipspark/chosen")

    def test_files_are_no_corpus(self, lake, tmp_path):
        path = tmp_path / "pool.jsonl"
        path.write_text(json.dumps(OLD[0]))
        with pytest.raises(InputError, match=r"corpus must be a Delta table, got .* with json files"):
            lake.refresh(corpus=str(path))

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"corpus": None}, "corpus must be given"),
            ({"id_column": None}, "id_column must be given"),
            ({"budget": None}, "budget must be given"),
            ({"output": "x"}, "output is no option of refresh"),
            ({"input": "x"}, "input is no option of refresh"),
            ({"keep": "x"}, "keep is no option of refresh"),
        ],
    )
    def test_options(self, refused, options, match):
        refused(match, UsageError, **options)


@once
def test_the_command(stirred, appended, tmp_path, capsys, monkeypatch):
    lake = stirred.copy(tmp_path)
    before = lake.files()
    arguments = ["refresh", "--corpus", str(lake.corpus), "--subset", f"{lake.folder}/chosen", "--id-column", "id"]
    arguments += ["--budget", str(BUDGET), "--parts", "2"]
    assert run([*arguments, "--dry-run", "--quiet", "--json"]) == 0
    expected = appended.done.to_dict() | {"dry_run": True, "ratio_after": None, "report": None}
    assert json.loads(capsys.readouterr().out) == expected
    assert lake.files() == before
    assert run([*arguments]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(
        "refresh 1 (append), corpus version 4, by feed\ncorpus  52 rows new, 2 changed, 2 deleted\n"
    )
    names = ["changes", "score", "look", "survey", "parts", "merge", "account", "write"]
    assert stages(said.err) == [f"{number}/8 {name}" for number, name in enumerate(names, 1)]
    assert lake.subset() == appended.subset()
    assert run([*arguments, "--id-column", "key", "--rebuild", "--quiet"]) == 3
    assert "key" in capsys.readouterr().err
    parameters = [f"--corpus={lake.corpus}", f"--subset={lake.folder}/chosen", "--id_column=id", f"--budget={BUDGET}"]
    monkeypatch.setattr(sys, "argv", ["task", *parameters, "--rebuild=false", "--mode="])
    databricks.refresh_subset()  # as Databricks does: it returns
    assert "nothing to do: the subset is of version 4" in capsys.readouterr().out


def test_a_stream_refreshes_when_there_is_something_new(stirred, appended, tmp_path):
    lake = stirred.copy(tmp_path)
    given = {"corpus": str(lake.corpus), "subset": f"{lake.folder}/chosen", "id_column": "id", "quiet": True}
    for _ in range(2):
        refresh_stream(f"{tmp_path}/checkpoint", lake.spark, budget=BUDGET, parts=2, **given)
        assert lake.subset() == appended.subset()
        assert len(lake.history()) == 2
    lake.add([NEW[0] | {"id": "one more"}])
    said = r"^id_column is 'text', but the last refresh went by 'id': rows .*: rebuild=True chooses .* again$"
    with pytest.raises(InputError, match=said):
        refresh_stream(f"{tmp_path}/checkpoint", lake.spark, budget=BUDGET, **given | {"id_column": "text"})
    lake.sql(f"ALTER TABLE CORPUS SET TBLPROPERTIES ({FEED} = false)")
    with pytest.raises(InputError, match="must have its change feed on for a stream"):
        refresh_stream(f"{tmp_path}/checkpoint", lake.spark, budget=BUDGET, parts=2, **given)


def shown(page: Path) -> dict:
    return json.loads(re.search(r'id="document">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_its_report_stands_beside_and_is_made_anew(appended, tmp_path, capsys):
    lake = appended.copy(tmp_path)
    written = lake.folder / "chosen_report.html"
    then = shown(written)
    assert then["verdict"]["headline"].startswith(f"{len(lake.subset())} rows after refresh 1: {BUDGET} rows came")
    came = next(one for one in then["sections"] if one["id"] == "came")["blocks"][0]["items"]
    texts = lake.texts()
    of_refresh = [texts[key] for key, refresh in lake.subset().items() if refresh == 1]
    assert [item["text"]["sample"] for item in came] == of_refresh[: len(came)]
    written.unlink()
    assert run(["report", f"{lake.folder}/chosen", "--quiet", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["report"], said["refreshes"], said["last"]["refresh"]) == (str(written), 2, 1)
    assert said["check"]["level"] == "ok"
    assert sections(shown(written)) == sections(then)  # but for names of folders
    assert run(["report", f"{lake.folder}/chosen", "--full", "--quiet"]) == 2
    assert "full is for what zipspark select wrote" in capsys.readouterr().err


def test_of_a_catalogs_table_it_is_the_same_wherever_the_clock_is(appended, tmp_path, capsys):
    lake, schema, file = appended, f"lake_{tmp_path.name}", tmp_path / "page.html"
    zone = lake.spark.conf.get("spark.sql.session.timeZone")
    lake.spark.sql(f"CREATE SCHEMA {schema} LOCATION '{tmp_path}/schema'")
    try:
        for suffix in ("", "_ledger", "_history"):
            location = f"{lake.folder}/chosen{suffix}"
            lake.spark.sql(f"CREATE TABLE {schema}.chosen{suffix} USING delta LOCATION '{location}'")
        table = f"spark_catalog.{schema}.chosen"
        assert run(["report", table, "--quiet"]) == 2
        assert "--output FILE, as spark_catalog" in capsys.readouterr().err
        lake.spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
        assert run(["report", table, "--output", str(file), "--quiet"]) == 0
    finally:
        lake.spark.conf.set("spark.sql.session.timeZone", zone)
        lake.spark.sql(f"DROP SCHEMA {schema} CASCADE")
    again, then = shown(file), shown(lake.folder / "chosen_report.html")
    assert sections(again) == sections(then)
    assert again["foot"] == then["foot"]  # with the time of the refresh


def sections(document: dict) -> list:
    return [one for one in document["sections"] if one["id"] in ("last", "came", "refreshes")]


@once
def test_what_a_refresh_hid_stays_hidden(begun, tmp_path):
    lake = begun.copy(tmp_path)
    lake.add(NEW[:20])
    lake.refresh(hide_text=True)
    assert not [row for row in NEW[:20] if row["text"] in json.dumps(shown(lake.folder / "chosen_report.html"))]
    assert run(["report", f"{lake.folder}/chosen", "--output", f"{tmp_path}/again.html", "--quiet"]) == 0
    assert not [row for row in NEW[:20] if row["text"] in json.dumps(shown(tmp_path / "again.html"))]


@once
def test_a_page_that_fails_costs_no_refresh(stirred, tmp_path, monkeypatch, caplog):
    lake = stirred.copy(tmp_path)
    before = (lake.folder / "chosen_report.html").read_bytes()

    def fail(_):
        raise OSError("disk is full")

    monkeypatch.setattr(module, "history_page", fail)
    lake.refresh()
    lake.check()
    assert "chosen_report.html is not written, zipspark report makes it later: disk is full" in caplog.text
    assert (lake.folder / "chosen_report.html").read_bytes() == before
