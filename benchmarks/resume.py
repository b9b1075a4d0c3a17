"""Scans that are killed at random moments and started again, as often as is asked for: what is lost, what is the same.

    python benchmarks/resume.py 20 > benchmarks/resume.md

A scan is a process of its own, ended by SIGKILL. It fails (exit status 1) if a bit differs from a scan that nobody
disturbs, or if more tiles are done twice than kills have interrupted.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from blemish.matching import engine
from blemish.matching.executor import Job, LocalExecutor, Progress
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tile_log import TileLog
from blemish.matching.tiles import TileMatches

IMAGES, TOKENS, CHANNELS = 60, 64, 32
BLOCK = 4  # so that there are many tiles
TILES = sum(1 for _ in engine.tiles(IMAGES, BLOCK))


class Counting(LocalExecutor):
    """Notes in a file which tiles it begins, one byte each."""

    started: Path

    def run(self, tokens: ArrayStore, jobs: Sequence[Job], progress: Progress) -> Iterator[TileMatches]:
        with self.started.open("ab", buffering=0) as file:
            for job in jobs:
                file.write(b".")
                yield from super().run(tokens, [job], progress)


def scan(folder: Path) -> None:
    """Match a batch with the log in ``folder``, and leave the table there."""
    torch.set_num_threads(1)
    engine.BLOCK = BLOCK
    z = np.random.default_rng(0).normal(size=(IMAGES, TOKENS, CHANNELS)).astype(np.float32)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    log = TileLog.open(folder / "log", [f"{image:064}" for image in range(IMAGES)])
    assert log, "a process that was killed holds nothing"
    executor = Counting(threads=1)
    object.__setattr__(executor, "started", folder / "started")
    table = engine.match(tokens, Budget(2**28, folder), executor=executor, log=log)
    assert not log.broken
    for name, store in (("distances", table.store), ("index", table.index_store)):
        np.save(folder / name, store.read(0, IMAGES))


def main(kills: int) -> bool:
    with tempfile.TemporaryDirectory() as root:
        undisturbed, killed = Path(root, "undisturbed"), Path(root, "killed")
        for folder in (undisturbed, killed):
            folder.mkdir()
        _process(undisturbed).join()  # the first pays for imports
        began = time.perf_counter()
        _process(undisturbed).join()
        seconds = time.perf_counter() - began
        chance = random.Random(0)
        done = sum(_kill(killed, chance, kills, seconds) for _ in range(kills))
        _process(killed).join()
        same = all(
            (killed / name).read_bytes() == (undisturbed / name).read_bytes() for name in ("distances.npy", "index.npy")
        )
        twice = _size(killed / "started") - TILES
        pairs = _pairs(killed / "log")
    print(
        f"# Killed scans\n\nMeasured {date.today()}: {os.cpu_count()} cores, {platform.machine()}, "
        f"torch {torch.__version__}.\n"
        f"{IMAGES} images of {TOKENS} tokens, {TILES} tiles; killed at random moments, and at last left alone.\n"
    )
    print("| kills | bits equal | tiles computed twice (at most one a kill) | pairs in the log |\n|---|---|---|---|")
    print(f"| {done} | {'yes' if same else 'NO'} | {twice} | {pairs} of {IMAGES * (IMAGES - 1) // 2} |")
    return same and 0 <= twice <= done and pairs == IMAGES * (IMAGES - 1) // 2


def _process(folder: Path) -> BaseProcess:
    process = _CONTEXT.Process(target=scan, args=(folder,))
    process.start()
    return process


def _kill(folder: Path, chance: random.Random, kills: int, seconds: float) -> bool:
    """Start a scan and kill it: while it starts, or in a tile that is early enough for the next to be killed too."""
    process = _process(folder)
    if chance.random() < 0.2:
        process.join(chance.random() * seconds / 4)
    else:
        begun = _size(folder / "started") + chance.randint(1, max(1, TILES // (kills + 1)))
        while process.is_alive() and _size(folder / "started") < begun:
            time.sleep(1e-4)
        time.sleep(chance.random() * seconds / TILES)
    process.kill()
    process.join()
    return process.exitcode != 0


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _pairs(folder: Path) -> int:
    """In the log; all different, or it is none."""
    log = TileLog.open(folder, [f"{image:064}" for image in range(IMAGES)])
    assert log
    pairs = [tuple(pair) for found in log.read(TOKENS) for pair in found.pairs.tolist()]
    log.close()
    return len(pairs) if len(set(pairs)) == len(pairs) else 0


_CONTEXT = multiprocessing.get_context("forkserver")  # imports torch once

if __name__ == "__main__":
    _CONTEXT.set_forkserver_preload(["torch", "blemish.matching.engine"])
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 20) else 1)
