"""The main job as a user starts it: wall time with JVM start, seconds per stage, largest Python worker.

    python benchmarks/main_job.py POOL [--budget 10000] [--runs 3] [any flags of zipspark select]

Workers are watched through /proc (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool")
    parser.add_argument("--budget", default="10000")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--runs", type=int, default=3)
    options, flags = parser.parse_known_args()
    walls = []
    for run in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "zipspark", "select", options.pool, "--output", f"{folder}/out"]
            command += ["--budget", options.budget, "--master", options.master, "--json", *flags]
            started = time.perf_counter()
            with Workers() as workers:
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            walls.append(time.perf_counter() - started)
            said = json.loads(done.stdout)
        stages = "  ".join(f"{name} {seconds:.1f}" for name, seconds in said["seconds"].items())
        ratios = "  ".join(f"{line['name']} {line['ratio']:.2f}" for line in said["sets"])
        print(f"run {run}: {walls[-1]:.1f} s  [{stages}]  worker {workers.peak / 1e6:.0f} MB  R: {ratios}", flush=True)
    print(f"wall: median {statistics.median(walls):.1f} s, min {min(walls):.1f} s, max {max(walls):.1f} s")


class Workers:
    """Peak resident memory of any Python worker that Spark starts meanwhile, in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Workers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and int(process.name) != os.getpid():
                    self.peak = max(self.peak, _peak_of(process))


def _peak_of(process: Path) -> int:
    try:
        if b"pyspark.daemon" not in (process / "cmdline").read_bytes():
            return 0
        status = (process / "status").read_text()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
