"""What a scan of a folder of volumes takes: whole processes, cold cache, wall and peak memory."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["cost"]

RUNS = 3


def cost(folder: Path) -> None:
    print("\n## Cost of a scan, whole process, nothing cached\n")
    print("| grid | wall, median of 3 (least to most) | processor time | peak memory |\n|---|---|---|---|")
    for grid in (16, 32):
        walls, cpus, peaks = zip(*[_timed(folder, grid) for _ in range(RUNS)], strict=True)
        print(
            f"| {grid}^3 | {statistics.median(walls):.0f} s ({min(walls):.0f} to {max(walls):.0f}) | "
            f"{statistics.median(cpus):.0f} s | {max(peaks) / 2**20:.2f} GiB |",
            flush=True,
        )


def _timed(folder: Path, grid: int) -> tuple[float, float, int]:
    """Wall and processor seconds, and KiB at the peak."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "blemish", "scan", str(folder), "--out", f"{scratch}/run", "--grid", str(grid)]
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, "BLEMISH_CACHE": f"{scratch}/cache"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return wall, used.ru_utime + used.ru_stime, _kib(used)


def _kib(used: resource.struct_rusage) -> int:
    return used.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
