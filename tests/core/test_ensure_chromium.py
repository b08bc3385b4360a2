"""scripts/ensure-chromium, on machines made of fake executables: PATH holds nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "ensure-chromium"
SH = shutil.which("sh") or "/bin/sh"


@pytest.fixture
def run(tmp_path):
    """Runs the script where there are these commands; returns exit code and message (stderr; stdout stays empty)."""

    def run(user: int = 1000, **commands: str) -> tuple[int, str]:
        for name, script in {"id": f"echo {user}", **commands}.items():
            path = tmp_path / name.replace("_", "-")
            path.write_text(f"#!{SH}\n{script}\n")
            path.chmod(0o755)
        done = subprocess.run([SH, SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
        assert done.stdout == ""
        return done.returncode, done.stderr

    return run


@pytest.mark.parametrize("name", ["chromium", "chromium_browser", "google_chrome"])
def test_says_nothing_where_there_is_one(run, name):
    assert run(**{name: "exit 9"}) == (0, "")


def test_root_on_debian_installs_one(run, tmp_path):
    installed = tmp_path / "chromium"
    install = f"echo >{installed} && {shutil.which('chmod')} +x {installed}"
    code, said = run(user=0, apt_get=f'case "$*" in *install*chromium*) {install} ;; esac')
    assert code == 0
    assert "installing one" in said


def test_says_what_to_run_where_it_may_not_or_cannot(run):
    assert run(apt_get="exit 1") == (
        1,
        "The browser tests need Chromium, and none is on PATH. Run: sudo apt-get install chromium\n",
    )
    code, said = run(user=0, apt_get="echo no network >&2; exit 100")
    assert code == 1
    assert said.endswith("Run: apt-get install chromium\n")
