"""Workers are told to sort by AVX2 where AVX-512 is slow, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zipspark.spark import sorting


@pytest.mark.parametrize(
    ("wide", "seconds", "told"),
    [(["X86_V4", "AVX512_ICL"], 15e-9, "X86_V4 AVX512_ICL"), (["X86_V4"], 3e-9, None), ([], 15e-9, None)],
)
def test_only_a_slow_sort_is_avoided(monkeypatch, wide, seconds, told):
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "")  # so that it is put back
    monkeypatch.delenv("NPY_DISABLE_CPU_FEATURES")
    monkeypatch.setattr(sorting, "_wide_features", lambda: wide)
    monkeypatch.setattr(sorting, "_seconds_a_key", lambda: seconds)
    sorting.prepare_workers()
    assert os.environ.get("NPY_DISABLE_CPU_FEATURES") == told


def test_what_somebody_has_set_stays(monkeypatch):
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "AVX2")
    monkeypatch.setattr(sorting, "_wide_features", lambda: ["X86_V4"])
    monkeypatch.setattr(sorting, "_seconds_a_key", lambda: 1.0)
    sorting.prepare_workers()
    assert os.environ["NPY_DISABLE_CPU_FEATURES"] == "AVX2"


def test_numpy_takes_the_names_and_sorts_the_same():
    program = "import numpy as np; print(np.sort(np.array([3, 1, 2] * 99, np.uint32)).sum())"
    names = {"NPY_DISABLE_CPU_FEATURES": " ".join(sorting._wide_features())}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=os.environ | names, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "594\n", "")
