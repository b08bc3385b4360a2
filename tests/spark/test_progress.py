"""Progress is seen on stderr or in the log, and breaks nothing."""

from __future__ import annotations

import io
import logging
import re
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from zipspark.spark import progress as module
from zipspark.spark.progress import Progress


def slow_job(spark):
    def slowly(batches):
        import time

        for batch in batches:
            time.sleep(0.3)  # 8 tasks on two cores: more than the second that a rate needs
            yield batch

    return spark.range(0, 8, 1, 8).mapInArrow(slowly, "id long").toArrow()


def test_off_a_terminal_there_are_log_lines(spark, caplog, capsys, monkeypatch):
    monkeypatch.setattr(module, "IN_LOG", 0.3)
    progress = Progress(spark)
    with caplog.at_level(logging.INFO, "zipspark"), progress.stage("parts", 3, of=7, samples=8):
        slow_job(spark)
    lines = [record.message for record in caplog.records]
    assert lines[0] == "[3/7] parts  0:00"
    assert len(lines) > 3
    assert any("/8 tasks" in line for line in lines[1:-1])
    assert re.fullmatch(r"\[3/7\] parts  8 tasks  \d samples/s  0:\d\d  done", lines[-1])
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_one_line(spark, capsys, monkeypatch, caplog):
    progress, screen = Progress(spark), io.StringIO()
    progress._console = Console(file=screen, force_terminal=True, width=100)
    with caplog.at_level(logging.INFO, "zipspark"), progress.stage("merge", 1, of=2, samples=8):
        slow_job(spark)
    assert re.search(r"\[1/2\] merge  \d/8 tasks  ", screen.getvalue())
    assert re.search(r"\[1/2\] merge  8 tasks  \d samples/s  0:\d\d  done\n", screen.getvalue())
    assert caplog.records == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("done", "said"),
    [(0, "0:10"), (1, "0:10"), (10, "0:10  about 0:10 left"), (20, "0:10"), (5, "0:10  about 0:30 left")],
)
def test_what_is_left_is_told_once_enough_tasks_are_done(done, said):
    tasks = SimpleNamespace(count=lambda: (done, 20))
    line = module._Line("parts", 3, 7, None, time.monotonic() - 10, tasks)
    assert line.now() == f"[3/7] parts  {done}/20 tasks  {said}"


def test_quiet_shows_nothing_but_counts_seconds(spark, caplog, capsys):
    progress = Progress(spark, quiet=True)
    with caplog.at_level(logging.INFO, "zipspark"):
        for _ in range(2):
            with progress.stage("parts", 1, of=1):
                slow_job(spark)
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")
    assert list(progress.seconds) == ["parts"]
    assert progress.seconds["parts"] > 1


def test_nothing_that_spark_refuses_breaks_a_run():
    progress = Progress(None)  # as bare as a session can be
    with progress.stage("parts", 1, of=1):
        pass
    assert progress.seconds["parts"] >= 0


def test_an_error_passes_through_and_is_timed(spark):
    progress = Progress(spark)

    def fail():
        with progress.stage("parts", 1, of=1):
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        fail()
    assert "parts" in progress.seconds
    assert not any(tag.startswith("zipspark") for tag in spark.getTags())
