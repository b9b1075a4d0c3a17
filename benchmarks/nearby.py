"""Pairs of brain volumes compared near their own place: time beside an earlier version, the log, and memory of scans.

    BLEMISH_DATA=../shared/data python benchmarks/nearby.py 5eeb13b > benchmarks/nearby.md

The argument is the revision whose ``matching/nearby.py`` stands beside today's; it is read from git and run on the same
tokens in turn, and must find the same bits (exit status 1 otherwise). Tokens are those of a scan with its defaults.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from batches import data_folder
from blemish.config import VolumeConfig
from blemish.extraction import Branch
from blemish.features.registry import load_backbone
from blemish.inputs.volume_checks import place
from blemish.inputs.volume_layouts import find_volumes
from blemish.matching.engine import NearestTable
from blemish.matching.nearby import match_nearby
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tile_log import TileLog
from blemish.volume_extraction import look, see

VOLUMES, RADIUS = 4, 2
PAIRS = VOLUMES * (VOLUMES - 1) // 2
REPEATS = 7
MEMORY = 2**33
SCANS = ((16, ""), (16, "1500MiB"), (32, ""), (32, "1500MiB"))  # cells a side, --memory
Match = Callable[..., NearestTable]


@dataclass(frozen=True)
class Brains:
    tokens: ArrayStore
    grid: tuple[int, ...]
    inside: npt.NDArray[np.bool_]

    def match(self, how: Match, **options: Any) -> tuple[NearestTable, float, float]:
        """The table, and seconds a pair by the clock and of the processor."""
        clock, processor = time.perf_counter(), time.process_time()
        table = how(
            self.tokens,
            self.grid,
            Budget(MEMORY, Path(tempfile.gettempdir())),
            radius=RADIUS,
            inside=self.inside,
            **options,
        )
        return table, (time.perf_counter() - clock) / PAIRS, (time.process_time() - processor) / PAIRS


def brains(folder: Path) -> Brains:
    """Tokens of the first brains, as a scan with its defaults has them."""
    config = VolumeConfig()
    branch = Branch(load_backbone("effnet-lite2", None, "cpu"), (config.cube, config.cube), (), True, "cpu")
    unreadable: dict[str, str] = {}
    workers = torch.get_num_threads()
    looked = look(find_volumes(folder).volumes[:VOLUMES], unreadable, workers, lambda count: None)
    boxes = place([one.facts for one in looked], config.align).boxes
    budget = Budget(MEMORY, Path(tempfile.gettempdir()))
    seen = see(looked, boxes, branch, config, budget, unreadable, workers, lambda count: None)
    (tokens,) = branch.token_sets
    return Brains(tokens.store, tokens.grid, np.stack([one.inside.reshape(-1) for one in seen.natives]))


def at_revision(revision: str) -> Match:
    """``match_nearby`` as it was."""
    root = Path(__file__).resolve().parent.parent
    git = ["git", "-C", str(root), "show", f"{revision}:src/blemish/matching/nearby.py"]
    source = subprocess.run(git, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "earlier_nearby.py"
        file.write_bytes(source)
        spec = importlib.util.spec_from_file_location("earlier_nearby", file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["earlier_nearby"] = module  # where its dataclasses look for their types
        spec.loader.exec_module(module)
    how: Match = module.match_nearby
    return how


def same_bits(one: NearestTable, other: NearestTable) -> bool:
    apart = [np.arange(VOLUMES) != i for i in range(VOLUMES)]
    return all(
        np.array_equal(one.row(i), other.row(i)) and np.array_equal(one.index(i)[apart[i]], other.index(i)[apart[i]])
        for i in range(VOLUMES)
    )


def side_by_side(real: Brains, earlier: Match, revision: str) -> bool:
    """Both versions in turn, with one thread and with all."""
    print(f"| threads | {revision}, s (processor) | today, s (processor) | ratio | of processor time | bits equal |")
    print("|---|---|---|---|---|---|")
    every = True
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        for how in (earlier, match_nearby):  # the first call also pays for set-up
            real.match(how)
        before, after = [], []
        for _ in range(REPEATS):
            table, *spent = real.match(earlier)
            before.append(spent)
            today, *spent = real.match(match_nearby)
            after.append(spent)
        same = same_bits(table, today)
        every &= same
        (old, old_cpu), (new, new_cpu) = (
            [median(spent[at] for spent in kept) for at in (0, 1)] for kept in (before, after)
        )
        print(
            f"| {threads} | {old:.3f} ({old_cpu:.3f}) | {new:.3f} ({new_cpu:.3f}) | {old / new:.1f} | "
            f"{old_cpu / new_cpu:.1f} | {'yes' if same else 'NO'} |"
        )
    return every


def logged(real: Brains) -> None:
    """What keeping pairs costs, and what having them saves."""
    names = [f"{number:064}" for number in range(VOLUMES)]
    without, keeping, taking = [], [], []
    for _ in range(REPEATS):
        without.append(real.match(match_nearby)[1])
        with tempfile.TemporaryDirectory() as folder:
            for kept in (keeping, taking):
                log = TileLog.open(Path(folder), names)
                assert log
                kept.append(real.match(match_nearby, log=log)[1])
                log.close()
    print("| without a log, ms a pair | kept in one | taken over from one |\n|---|---|---|")
    print("| " + " | ".join(f"{1000 * median(values):.1f}" for values in (without, keeping, taking)) + " |")


def scans(folder: Path) -> None:
    """Whole scans of the twelve brains, nothing cached."""
    print("| --grid | --memory | s | peak memory, MB |\n|---|---|---|---|")
    for grid, memory in SCANS:
        with tempfile.TemporaryDirectory() as root:
            options = ["--grid", str(grid), "--no-cache", "--quiet", "--out", str(Path(root, "run"))]
            options += ["--memory", memory] if memory else []
            start = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-m", "blemish", "scan", str(folder), *options])
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        assert status == 0, "the scan has said why"
        print(f"| {grid} | {memory or 'default'} | {seconds:.0f} | {used.ru_maxrss / 1000:.0f} |", flush=True)


def main(revision: str) -> bool:
    folder = data_folder()
    if folder is None:
        sys.exit("Set BLEMISH_DATA to the folder that holds brain_t1_healthy.")
    folder /= "brain_t1_healthy"
    print(
        f"# Nearby\n\nMeasured {date.today()}: {os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}."
    )
    print(f"Command: `python benchmarks/nearby.py {revision} > benchmarks/nearby.md`. Medians of {REPEATS}, in turn.\n")
    print("## Scans of 12 brains of 1 mm, default backbone\n")
    scans(folder)  # first: a process counts the memory of the one that starts it
    real = brains(folder)
    print(f"\n## A pair of brains, {' x '.join(map(str, real.grid))} cells, radius {RADIUS}\n")
    print(
        f"{real.tokens.shape[2]} channels, {100 * real.inside.mean():.0f} % of the cells in a brain; beside revision "
        f"{revision}.\n"
    )
    same = side_by_side(real, at_revision(revision), revision)
    print("\n## The log\n")
    logged(real)
    return same


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1] if len(sys.argv) > 1 else "HEAD") else 1)
