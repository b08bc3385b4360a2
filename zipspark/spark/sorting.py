"""How the Python workers of this machine should sort.

numpy sorts by AVX-512 where a processor has it. On AMD's Zen 4, whose compress-store is microcode, that takes seven
times as long as by AVX2 (measured: 26 and 3.6 ns a key of 32 bits), and counting grams is mostly sorting. numpy reads
what it must not use when it is imported, so it has to be told before a worker starts.
"""

from __future__ import annotations

import os
import time

import numpy as np

_VARIABLE = "NPY_DISABLE_CPU_FEATURES"
_KEYS = 2**14
_SLOW = 8e-9  # seconds a key: AVX2 and good AVX-512 take 2 to 5, Zen 4's AVX-512 takes 15


def prepare_workers() -> None:
    """Tell the Python workers that this process will start, by its environment, to sort by AVX2 if that is faster here.

    What is sorted stays the same. Does nothing where somebody has set the variable.
    """
    wide = _wide_features()
    if _VARIABLE not in os.environ and wide and _seconds_a_key() > _SLOW:
        os.environ[_VARIABLE] = " ".join(wide)


def _wide_features() -> list[str]:
    """What numpy calls the AVX-512 of this processor; none where it has no AVX2 to fall back to either."""
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    names = [name for name in found if "AVX512" in name or name == "X86_V4"]
    return names if {"AVX2", "X86_V3"} & {*found} else []


def _seconds_a_key() -> float:
    keys = np.random.default_rng(0).integers(0, 2**32, _KEYS, dtype=np.uint32)
    best = float("inf")
    for _ in range(5):  # the best: others may have the core for a moment
        again = keys.copy()
        started = time.perf_counter()
        again.sort()
        best = min(best, time.perf_counter() - started)
    return best / _KEYS
