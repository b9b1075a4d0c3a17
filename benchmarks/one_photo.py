"""One photo, from its file to its verdict: a detector exported to ONNX against the same one in torch.

    python benchmarks/one_photo.py > benchmarks/one_photo.md

Both sides are what ``blemish check`` runs, after loading; they alternate, since machines drift. Processor time and the
smallest of all times stand beside the median, which a busy machine disturbs most.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

from batches import synthetic
from blemish import bundle, onnx_graph
from blemish.bundle import Bundle, DetectorFacts
from blemish.features.registry import load_backbone
from blemish.frozen import Detector
from blemish.scoring.memory import Memory

SIZE = 512  # of what the network sees
SIDES = (1024, 512)  # of the files
BANKS = (1000, 2000, 4000, 10_000)  # tokens
CHANNELS = 168
ROUNDS, CALLS = 6, 4  # the first call of every round is not counted: another detector has had the caches before it
THREADS = 2
BAR = 50  # ms
PROFILED = 4000  # the bank that torch searches too, and of which the shares are told
PARTS = {
    "Resize": "resize to the working size",
    "Conv": "network",
    "MatMul": "bank",
    "ReduceMax": "bank",
}

Timed = tuple[float, float]  # seconds, seconds of processor time
Detectors = dict[tuple[str, int], Detector]  # by side and bank


def main() -> None:
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detectors, megabytes = made(folder)
        files = photos(folder)
        load = os.getloadavg()[0]
        taken = rounds(detectors, files)
        busy = (load + os.getloadavg()[0]) / 2
        print("## One photo, from its file to its verdict\n")
        print(
            f"Measured {date.today()}: {os.cpu_count()} cores, {THREADS} threads, {platform.machine()}, ONNX Runtime "
            f"{onnxruntime.__version__}, torch {torch.__version__}; load average while measuring {busy:.1f} ({THREADS} "
            "is what the benchmark makes)."
        )
        print("Command: `python benchmarks/one_photo.py` (the tables; the rest is written by hand)\n")
        print(
            f"effnet-lite2 at {SIZE} x {SIZE}, one nearest token, {ROUNDS} alternating rounds of {CALLS} calls, the "
            f"first of them not counted. Bar: a median under {BAR} ms. Each cell: median / smallest / processor time "
            "(median), ms.\n"
        )
        table(taken, files)
        print("\nThe ONNX file, MB: " + ", ".join(f"{size:.1f} with {bank:,} tokens" for bank, size in megabytes) + ".")
        shares(folder / f"{PROFILED}.onnx", next(iter(files.values())))


def made(folder: Path) -> tuple[Detectors, list[tuple[int, float]]]:
    """Detectors by kind and size of their bank, and the sizes of the ONNX files. Time does not depend on what the
    tokens are, so they are drawn at random."""
    backbone = load_backbone("effnet-lite2")
    rng = np.random.default_rng(0)
    detectors, megabytes = {}, []
    for bank in BANKS:
        tokens = rng.normal(size=(bank, CHANNELS))
        tokens = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
        found = Bundle(facts(backbone.weights_sha256), (Memory(tokens, tokens[:0]),), {})
        torch_file, onnx_file = folder / f"{bank}.blemish", folder / f"{bank}.onnx"
        bundle.write(found, torch_file)
        onnx_graph.write(found, backbone, onnx_file)
        detectors["onnx", bank] = Detector.load(onnx_file)
        if bank == PROFILED:
            detectors["torch", bank] = Detector.load(torch_file)
        megabytes.append((bank, onnx_file.stat().st_size / 1e6))
    return detectors, megabytes


def facts(weights: str) -> DetectorFacts:
    return DetectorFacts(
        product="washer",
        backbone="effnet-lite2",
        weights_sha256=weights,
        licence="Apache-2.0",
        layers=(8, 16),
        radii=(3,),
        join=True,
        height=SIZE,
        width=SIZE,
        resize="bilinear",
        deep_ceiling=65535,
        top=1,
        threshold=2,
        unsure_low=2,
        unsure_high=2,
        meaning="",
        pixel_threshold=2,
        colour_low=0,
        colour_high=1,
        photos=(),
        made_from={},
        made_by="",
        created="",
    )


def photos(folder: Path) -> dict[str, Path]:
    """One part's photo in two formats and sizes, by what it is called in the table."""
    picture = Image.fromarray(synthetic("washer", 2, size=max(SIDES), flaw_size=(0.03, 0.15), sporadic=1).photos[0])
    files = {}
    for side in SIDES:
        small = picture.resize((side, side), Image.Resampling.LANCZOS)
        for kind, options in (("jpg", {"quality": 92}), ("png", {})):
            file = folder / f"{side}.{kind}"
            small.save(file, **options)
            files[f"{kind.upper()}, {side} x {side}, {file.stat().st_size / 1000:.0f} kB"] = file
    return files


def rounds(detectors: Detectors, files: dict[str, Path]) -> dict[tuple[str, int, str], list[Timed]]:
    """By side, bank and photo."""
    taken: dict[tuple[str, int, str], list[Timed]] = defaultdict(list)
    for _ in range(ROUNDS):
        for photo, file in files.items():
            for (side, bank), detector in detectors.items():
                for call in range(CALLS):
                    start, cpu = time.perf_counter(), time.process_time()
                    detector.check(file)
                    if call:
                        taken[side, bank, photo].append((time.perf_counter() - start, time.process_time() - cpu))
    return taken


def table(taken: dict[tuple[str, int, str], list[Timed]], files: dict[str, Path]) -> None:
    print("| photo | bank, tokens | ONNX Runtime | torch |\n|---|---|---|---|")
    for photo in files:
        for bank in BANKS:
            cells = []
            for side in ("onnx", "torch"):
                if (side, bank, photo) not in taken:
                    cells.append("")
                    continue
                wall, cpu = zip(*taken[side, bank, photo], strict=True)
                numbers = statistics.median(wall), min(wall), statistics.median(cpu)
                cells.append(" / ".join(f"{1e3 * number:.0f}" for number in numbers))
            print(f"| {photo} | {bank:,} | {' | '.join(cells)} |")


def shares(file: Path, photo: Path) -> None:
    """Where the graph's time goes on one thread: for every node the smallest of its times, added up by kind."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(file.with_suffix(""))
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    for _ in range(ROUNDS * CALLS):
        session.run(None, {"photo": pixels})
    least: dict[str, float] = {}
    kind = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event["name"].endswith("_kernel_time"):
            least[event["name"]] = min(event["dur"], least.get(event["name"], np.inf))
            kind[event["name"]] = event["args"]["op_name"]
    total: dict[str, float] = defaultdict(float)
    for name, microseconds in least.items():
        total[PARTS.get(kind[name], "everything else")] += microseconds / 1000
    print("\n| part of the graph | ms on one thread |\n|---|---|")
    for part, milliseconds in total.items():
        print(f"| {part} | {milliseconds:.1f} |")


if __name__ == "__main__":
    main()
