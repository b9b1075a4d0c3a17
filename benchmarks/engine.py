"""The engine near this machine's limit: matching against its matrix products and the published mode, where the time
goes, a whole scan, and memory as the operating system counts it.

    python benchmarks/engine.py > benchmarks/engine.md

Sides that are compared alternate, at least seven times; medians are quoted, with the spread.
"""

from __future__ import annotations

import json
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
from PIL import Image

from batches import synthetic
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.synthetic import render_batch
from blemish.matching.engine import match
from blemish.matching.executor import LocalExecutor
from blemish.matching.pairs import Matcher, Precision, choose_precision, operands
from blemish.matching.store import ArrayStore, Budget
from blemish.scoring.mutual import msm, neighbours

BLEMISH = [sys.executable, "-m", "blemish"]
ROUNDS = 7
SQUARE = 4096  # side of the matrices that the machine's own rate is measured with


def main() -> None:
    print(
        f"# Engine\n\nMeasured {date.today()}: {os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}."
    )
    print(f"Command: `python benchmarks/engine.py > benchmarks/engine.md`. {choose_precision()[1].capitalize()}.\n")
    sets = [("effnet-lite2", _tokens("effnet-lite2", 60, 512)), ("vit, first pass", _tokens("vit", 24, 518))]
    _rates(sets)
    _published([sets[0], ("vit, first pass", sets[1][1][:12])])
    _profile(sets)
    _scan_200()


def _tokens(name: str, photos: int, side: int) -> np.ndarray:
    """(B, N, C) of washers, some of them flawed, in the backbone's first pass."""
    batch = synthetic("washer", photos, size=512, sporadic=5, flaw_size=(0.03, 0.15))
    backbone = load_backbone(name)
    branch = Branch(backbone, (side, side), backbone.facts.radii, backbone.facts.join)
    found = []
    for photo in batch.photos:
        x = torch.from_numpy(np.asarray(Image.fromarray(photo).resize((side, side)))).permute(2, 0, 1)[None]
        features = half(backbone.extract(x))
        found.append(branch.tokens(Features([grid[0] for grid in features.grids], features.embedding[0]))[0])
    z = np.stack(found)
    return z.reshape(len(z), -1, z.shape[-1])


def _table(z: np.ndarray, precision: Precision | None = None) -> Callable[[], list[np.ndarray]]:
    """Match and score, as a scan does."""
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    k = neighbours(0.3, len(z))

    def run() -> list[np.ndarray]:
        table = match(tokens, Budget(2**32, Path(tempfile.gettempdir())), executor=LocalExecutor(precision=precision))
        return [msm(table.row(i), k) for i in range(len(z))]

    return run


def _rates(sets: list[tuple[str, np.ndarray]]) -> None:
    square = torch.rand(SQUARE, SQUARE)
    out = torch.empty(SQUARE, SQUARE)
    print("## Matching against the machine's own matrix product\n")
    print(
        f"Rate on the halved work, 2 N^2 C for each pair, scores included, against float32 `torch.mm` of {SQUARE} x "
        f"{SQUARE} with all threads. Bar 85 %.\n"
    )
    print("| tokens | product in | GFLOP/s | `torch.mm` | ratio | spread |\n|---|---|---|---|---|---|")
    for name, z in sets:
        work = len(z) * (len(z) - 1) * float(z.shape[1]) ** 2 * z.shape[2]
        for precision in dict.fromkeys((choose_precision()[0], "float32")):
            run = _table(z, precision)
            run()
            rounds = [
                (work / _seconds(run), 2 * SQUARE**3 / _seconds(lambda: torch.mm(square, square, out=out)))
                for _ in range(ROUNDS)
            ]
            ratios = sorted(ours / theirs for ours, theirs in rounds)
            ours, theirs = (statistics.median(column) / 1e9 for column in zip(*rounds, strict=True))
            shape = " x ".join(map(str, z.shape))
            middle = 100 * statistics.median(ratios)
            spread = f"{100 * ratios[0]:.0f} to {100 * ratios[-1]:.0f} %"
            print(
                f"| {name}, {shape} | {precision} | {ours:.0f} | {theirs:.0f} | {middle:.0f} % | {spread} |", flush=True
            )
    print()


def _published(sets: list[tuple[str, np.ndarray]]) -> None:
    print("## Matching against the published fast mode\n")
    print("`torch.cdist` of every image against all others at once, scores included. Bar 3, scores equal to 1e-5.\n")
    print("| tokens | engine, s | published, s | ratio | spread | score difference |\n|---|---|---|---|---|---|")
    for name, z in sets:
        run, tokens = _table(z), torch.from_numpy(z)
        k = neighbours(0.3, len(z))

        def published(tokens: torch.Tensor = tokens, k: int = k) -> list[np.ndarray]:
            scores = []
            for i in range(len(tokens)):
                others = torch.cat([tokens[:i], tokens[i + 1 :]])
                nearest = torch.cdist(tokens[i][None], others).amin(2)
                scores.append(nearest.topk(k, dim=0, largest=False).values.mean(0).numpy())
            return scores

        difference = max(float(np.abs(a - b).max()) for a, b in zip(run(), published(), strict=True))
        rounds = [(_seconds(run), _seconds(published)) for _ in range(ROUNDS)]
        ratios = sorted(theirs / ours for ours, theirs in rounds)
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"| {name}, {' x '.join(map(str, z.shape))} | {ours:.2f} | {theirs:.2f} | {statistics.median(ratios):.2f} "
            f"| {ratios[0]:.2f} to {ratios[-1]:.2f} | {difference:.1e} |",
            flush=True,
        )
    print()


def _profile(sets: list[tuple[str, np.ndarray]]) -> None:
    """Milliseconds of the steps of a pair, in one thread."""
    precision = choose_precision()[0]
    if precision == "float32":
        return
    print("## Where the time of a pair goes, one thread\n")
    print("| tokens | product, ms | minima and bounds | comparing with them | verifying in float32 | whole pair |")
    print("|---|---|---|---|---|---|")
    torch.set_num_threads(1)
    for name, z in sets:
        ready = operands(z[:20], precision)
        matcher = Matcher(z.shape[1], z.shape[2], precision)
        steps: dict[str, float] = {}
        for method in ("_propose", "_verify"):
            _timed(matcher, method, steps)
        out = torch.empty(z.shape[1], z.shape[1], dtype=torch.bfloat16)
        pairs = [(i, j) for i in range(10) for j in range(10, 20)]
        product = _seconds(lambda: [torch.mm(ready.left[i], ready.right[j].T, out=out) for i, j in pairs])  # noqa: B023
        steps.clear()
        whole = _seconds(lambda: [matcher.match(ready, i, ready, j) for i, j in pairs])  # noqa: B023
        propose, verify = steps["_propose"], steps["_verify"]
        values = (product, whole - product - propose - verify, propose, verify, whole)
        print(f"| {name} | {' | '.join(f'{1e3 * value / len(pairs):.2f}' for value in values)} |", flush=True)
    torch.set_num_threads(os.cpu_count() or 1)
    print()


def _timed(matcher: Matcher, name: str, into: dict[str, float]) -> None:
    plain = getattr(matcher, name)

    def timed(*given: object) -> object:
        start = time.perf_counter()
        result = plain(*given)
        into[name] = into.get(name, 0.0) + time.perf_counter() - start
        return result

    setattr(matcher, name, timed)


def _scan_200(photos: int = 200) -> None:
    print(f"## {photos} photos of 1024 x 1024, JPEG, default settings, nothing cached\n")
    print(
        "| --memory | s | peak memory, MB | reading | comparing | families | writing |\n|---|---|---|---|---|---|---|"
    )
    idle = _run([sys.executable, "-c", IMPORTS])[1]
    seconds, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "parts").mkdir()
        for number, photo in enumerate(render_batch("washer", photos, size=1024, sporadic=6, recurring=(20, 10))):
            Image.fromarray(photo.pixels).save(root / "parts" / f"{number:03}.jpg", quality=92)
        for memory in ("default", "default", "700MiB"):
            out = root / "run"
            command = [*BLEMISH, "scan", str(root / "parts"), "--out", str(out), "--overwrite", "--no-cache", "--quiet"]
            taken, peak = _run([*command, *(() if memory == "default" else ("--memory", memory))])
            if memory == "default":
                seconds.append(taken)
                peaks.append(peak)
            timings = json.loads((out / "run.json").read_text())["timings_s"]
            stages = ("reading photos", "comparing photos", "finding families", "writing results")
            print(
                f"| {memory} | {taken:.1f} | {peak:.0f} | {' | '.join(f'{timings[s]:.1f}' for s in stages)} |",
                flush=True,
            )
    print(f"\nMedian {statistics.median(seconds):.1f} s (bar 60), peak {max(peaks):.0f} MB (bar 1500).")
    print(f"The interpreter with everything imported and the weights loaded takes {idle:.0f} MB of it.")


IMPORTS = "import blemish.scanning; from blemish.features.registry import load_backbone; load_backbone('effnet-lite2')"


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident megabytes of one process, by the operating system's accounting."""
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
