"""What zipspark and `zipspark.core` offer is what their ``__all__`` says."""

from types import ModuleType

import pytest

import zipspark
import zipspark.core
from zipspark import cli


def test_all_is_exactly_what_is_public():
    public = {
        name
        for name, member in vars(zipspark.core).items()
        if not name.startswith("_") and not isinstance(member, ModuleType)
    }
    assert zipspark.core.__all__ == sorted(public)


def test_all_of_zipspark_is_there_and_nothing_else_is_promised():
    for name in zipspark.__all__:
        assert getattr(zipspark, name) is not None
    ours = {name for name, member in vars(zipspark).items() if getattr(member, "__module__", "").startswith("zipspark")}
    classes = {name for name in ours if not name.startswith("_")}
    assert classes - {"Selection", "Leakage"} <= set(zipspark.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = zipspark.nothing_like_it


@pytest.mark.parametrize(
    ("command", "said"), [("select", "nothing was written"), ("refresh", "the next refresh goes on from there")]
)
def test_what_is_interrupted_says_what_has_become_of_it(command, said, monkeypatch, capsys):
    def stopped(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.zipspark, "main", stopped)
    assert cli.run([command, "--quiet"]) == 130
    assert capsys.readouterr().err == f"zipspark: interrupted; {said}\n"
