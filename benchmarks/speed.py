"""Start-up, matching, a whole scan of 200 photos and a decision about it, as a user's processes see them.

    python benchmarks/speed.py > benchmarks/speed.md

Every figure is a median over several runs; sides that are compared alternate within one run, since machines drift.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch

from batches import synthetic
from blemish.features.neighbourhood import token_grids
from blemish.features.registry import load_backbone
from blemish.inputs.synthetic import render_batch, write_batch
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from blemish.scoring.mutual import msm, neighbours

BLEMISH = [sys.executable, "-m", "blemish"]
ROUNDS = 5


def main() -> None:
    print(
        f"# Speed\n\nMeasured {date.today()}: {os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}."
    )
    print("Command: `python benchmarks/speed.py > benchmarks/speed.md`\n")
    start_up()
    matching()
    whole_scan()


def start_up() -> None:
    print("## Start-up\n\n| what | median s | min to max | bar |\n|---|---|---|---|")
    for name, command, bar in (
        ("`blemish --help`", [str(Path(sys.executable).with_name("blemish")), "--help"], 0.3),
        ("`import blemish`, interpreter included", [sys.executable, "-c", "import blemish"], 0.2),
        ("the interpreter alone", [sys.executable, "-c", "pass"], None),
    ):
        times = sorted(_run(command)[0] for _ in range(9))
        print(f"| {name} | {times[4]:.3f} | {times[0]:.3f} to {times[-1]:.3f} | {bar or ''} |")
    print()


def matching(images: int = 40) -> None:
    """Our engine against the published formula on the same tokens: torch.cdist of every ordered pair."""
    batch = synthetic("washer", images, size=512, sporadic=5, flaw_size=(0.03, 0.15))
    backbone = load_backbone("effnet-lite2")
    photos = torch.from_numpy(np.stack(batch.photos)).permute(0, 3, 1, 2)
    grids = [token_grids(backbone.extract(photo[None]).grids, (3,), join=True)[0] for photo in photos]
    z = torch.cat(grids).flatten(1, 2)
    tokens = ArrayStore(tuple(z.shape), np.float32)
    tokens.write(0, z.numpy())
    k = neighbours(0.3, images)

    def ours() -> np.ndarray:
        table = match(tokens, Budget(2**31, Path(tempfile.gettempdir())))
        return np.stack([msm(table.row(i), k) for i in range(images)])

    def published() -> np.ndarray:
        scores = []
        for i in range(images):
            nearest = torch.stack([torch.cdist(z[i], z[j]).amin(1) for j in range(images) if j != i])
            scores.append(nearest.topk(k, dim=0, largest=False).values.mean(0))
        return torch.stack(scores).numpy()

    difference = float(np.abs(ours() - published()).max())
    rounds = [(_seconds(ours), _seconds(published)) for _ in range(ROUNDS)]
    ratios = sorted(theirs / own for own, theirs in rounds)
    own, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    pairs = images * (images - 1) // 2
    print(
        f"## Matching\n\n{images} washers at 512 x 512: {z.shape[1]} tokens of {z.shape[2]} channels, {pairs} pairs.\n"
    )
    print("| | median s | ms a pair |\n|---|---|---|")
    print(f"| published formula, `torch.cdist` both ways | {theirs:.2f} | {1e3 * theirs / pairs:.2f} |")
    print(f"| engine, scores included | {own:.2f} | {1e3 * own / pairs:.2f} |")
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"\nRatio {statistics.median(ratios):.2f} (of {ROUNDS} alternating rounds: {spread}; bar 2.5).")
    print(f"Largest score difference {difference:.1e} (bar 1e-5).\n")


def whole_scan(photos: int = 200) -> None:
    print(f"## {photos} photos of 512 x 512, 30 of them in two families, default settings, nothing cached\n")
    print("| run | s | peak memory, MB | reading | comparing | families | writing |\n|---|---|---|---|---|---|---|")
    seconds, peaks, shares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_batch(root / "parts", render_batch("washer", photos, sporadic=6, recurring=(20, 10)))
        for run in range(3):
            out = root / f"run{run}"
            command = [*BLEMISH, "scan", str(root / "parts" / "photos"), "--out", str(out), "--no-cache", "--quiet"]
            taken, peak = _run(command)
            seconds.append(taken)
            peaks.append(peak)
            stages = _timings(out)
            shares.append(stages[2] / taken)
            print(f"| {run + 1} | {taken:.1f} | {peak:.0f} | {' | '.join(f'{s:.1f}' for s in stages)} |", flush=True)
        print(f"\nMedian {statistics.median(seconds):.1f} s (bar 90), peak {max(peaks):.0f} MB (bar 2000).")
        print(f"Finding families takes {100 * statistics.median(shares):.1f} % of a scan (bar 10 %).\n")
        decisions(root / "run0")


def decisions(run: Path) -> None:
    """A decision and its undoing, each a process of its own."""
    answers = (["--is", "variant"], ["--undo"])
    times = sorted(_run([*BLEMISH, "decide", str(run), "1", *answers[n % 2], "--quiet"])[0] for n in range(10))
    print("## A decision about a family of that run\n\n| | median s | min to max | bar |\n|---|---|---|---|")
    print(f"| `blemish decide` | {statistics.median(times):.2f} | {times[0]:.2f} to {times[-1]:.2f} | 2 |")


def _timings(run: Path) -> tuple[float, float, float, float]:
    import json

    timings = json.loads((run / "run.json").read_text())["timings_s"]
    stages = ("reading photos", "comparing photos", "finding families", "writing results")
    return tuple(timings[stage] for stage in stages)  # type: ignore[return-value]


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident megabytes of one process, by the operating system's accounting."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - start
    if status:
        assert process.stderr is not None
        raise SystemExit(process.stderr.read().decode())
    assert process.stderr is not None
    process.stderr.close()
    return taken, usage.ru_maxrss * 1024 / 1e6


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
