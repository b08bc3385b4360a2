"""What a shell offers behind ``eval "$(_ZIPSPARK_COMPLETE=bash_source zipspark)"``."""

from __future__ import annotations

import pytest

from zipspark.cli import run


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["zipspark", "re"], ["plain,refresh", "plain,report"]),
        (["zipspark", "select", "--objective", ""], ["plain,both", "plain,ratio", "plain,coverage"]),
        (["zipspark", "select", "--objective", "c"], ["plain,coverage"]),
        (["zipspark", "select", "--preset", "p"], ["plain,paper"]),
        (["zipspark", "select", "--guard", "o"], ["plain,on", "plain,off"]),
        (["zipspark", "entropy", "fit", "--codec", "z"], ["plain,zlib", "plain,zstd"]),
        (["zipspark", "select", "pool"], ["file,pool"]),
        (["zipspark", "select", "--anchor", ""], ["file,"]),
        (["zipspark", "select", "--config", "conf/"], ["file,conf/"]),
        (["zipspark", "report", "out/"], ["file,out/"]),
        (["zipspark", "report", "chosen", "--output", "p"], ["file,p"]),
        (["zipspark", "demo", "--output", "o"], ["file,o"]),
        (["zipspark", "entropy", "check", "--log", "v"], ["file,v"]),
        (["zipspark", "select", "--id-column", "i"], []),
    ],
)
def test_commands_flags_choices_and_files_are_completed(typed, offered, monkeypatch, capsys):
    monkeypatch.setenv("_ZIPSPARK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(typed))
    monkeypatch.setenv("COMP_CWORD", str(len(typed) - 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == offered
