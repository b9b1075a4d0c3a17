"""Large batches: does a photo cost what it costs in a batch of 200, is memory kept, is the answer the exact one?

    python benchmarks/large.py FOLDER > benchmarks/large.md

FOLDER is filled with photos on the first run (several minutes) and used again. 2,000 washers are rendered; the
10,000 are each of them five times, with other light, framing and noise, so that no two are the same. Working
size 256; 192 where exact matching of 2,000 photos has to be waited for. Scans run in processes of their own; their peak
memory is the operating system's account of them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blemish.inputs.synthetic import render_batch, write_batch

BLEMISH = [sys.executable, "-m", "blemish"]
PHOTOS, SIDE, SIZE = 2000, 320, "256"
EXACT_SIZE = "192"  # small enough for two million pairs
SPORADIC, RECURRING = 60, (8, 20, 60, 200)
COPIES = 5


def main() -> None:
    root = Path(sys.argv[1]).absolute()
    small, large = root / "small", root / "large"
    if not small.exists():
        write_batch(small, render_batch("washer", PHOTOS, size=SIDE, sporadic=SPORADIC, recurring=RECURRING, seed=7))
    if not large.exists():
        _multiply(small / "photos", large)
    few = root / "few"
    if not few.exists():
        few.mkdir()
        for photo in sorted((small / "photos").iterdir())[:200]:
            (few / photo.name).write_bytes(photo.read_bytes())
    print(f"# Large batches\n\nMeasured {date.today()}: {os.cpu_count()} cores.")
    print("Command: `python benchmarks/large.py FOLDER > benchmarks/large.md`.\n")
    print(
        f"{PHOTOS} washers of {SIDE} x {SIDE} at --size {SIZE}, {SPORADIC} with a flaw of their own and "
        f"{', '.join(map(str, RECURRING))} in groups that share one; nothing cached before.\n"
    )
    runs = {}
    for name, photos, options in (
        ("200", few, ()),
        ("2,000", small / "photos", ()),
        ("200, again", few, ()),
        ("10,000, --memory 1GiB", large, ("--memory", "1GiB")),
        ("200, once more", few, ()),
    ):
        runs[name] = _scan(photos, root / f"run-{len(runs)}", SIZE, *options)
    base = statistics.median(run["ms a photo"] for name, run in runs.items() if name.startswith("200"))
    print("| photos | s | ms a photo | of the median of 200 | peak memory, MB |\n|---|---|---|---|---|")
    for name, run in runs.items():
        print(
            f"| {name} | {run['s']:.0f} | {run['ms a photo']:.1f} | {run['ms a photo'] / base:.2f} | {run['MB']:.0f} |"
        )
    print(f"\nThe interpreter with everything imported and nothing scanned: {_idle():.0f} MB.\n")
    print(f"## Against exact matching: 2,000 photos at --size {EXACT_SIZE}\n")
    print("Members found of each planted group, and others in the same family.\n")
    print("| who is compared | s | image AUROC | pixel AP | groups | families |\n|---|---|---|---|---|---|")
    groups = _planted(small)
    for number, (name, options) in enumerate(
        (
            ("subsets of 250", ()),
            ("subsets of 400, the more similar half", ("--subset", "400", "--screen", "0.5")),
            ("all with all", ("--subset", "all", "--memory", "10GiB")),
        )
    ):
        run = _scan(small / "photos", root / f"quality-{number}", EXACT_SIZE, *options)
        auroc, ap = _quality(root / f"quality-{number}", small)
        found = _families(root / f"quality-{number}", groups)
        print(f"| {name} | {run['s']:.0f} | {auroc:.4f} | {ap:.4f} | {found} |", flush=True)


def _multiply(photos: Path, out: Path) -> None:
    out.mkdir()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_copies, sorted(photos.iterdir()), [out] * PHOTOS, chunksize=50))


def _copies(photo: Path, out: Path) -> None:
    picture = np.asarray(Image.open(photo), dtype=np.float32)
    rng = np.random.default_rng(int(photo.stem))
    for copy in range(COPIES):
        y, x = rng.integers(0, 9, 2)
        cut = picture[y : y + SIDE - 8, x : x + SIDE - 8] * rng.uniform(0.95, 1.05) + rng.normal(0, 2, 3)
        noisy = cut + rng.normal(0, 2, cut.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out / f"{photo.stem}-{copy}.jpg", quality=92)


def _scan(photos: Path, out: Path, size: str, *options: str) -> dict[str, Any]:
    kept = out.with_suffix(".json")
    if kept.exists():  # measured by an earlier run of this script that was stopped
        return dict(json.loads(kept.read_text()))
    cache = out.with_suffix(".cache")
    shutil.rmtree(cache, ignore_errors=True)
    command = [*BLEMISH, "scan", str(photos), "--out", str(out), "--size", size, "--quiet", "--overwrite", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "BLEMISH_CACHE": str(cache)})
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command} failed")
    count = json.loads((out / "run.json").read_text())["counts"]["scored"]
    run = {"s": taken, "ms a photo": 1000 * taken / count, "MB": usage.ru_maxrss * 1024 / 1e6}
    kept.write_text(json.dumps(run))
    return run


def _idle() -> float:
    program = (
        "import blemish.scanning; from blemish.features.registry import load_backbone; load_backbone('effnet-lite2')"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    return os.wait4(process.pid, 0)[2].ru_maxrss * 1024 / 1e6


def _quality(run: Path, batch: Path) -> tuple[float, float]:
    command = [*BLEMISH, "eval", str(run), "--truth", str(batch / "truth.csv"), "--resamples", "2", "--json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["rows"]
    value = {row["metric"]: row["value"] for row in rows}
    return value["image AUROC"], value["pixel AP"]


def _planted(batch: Path) -> dict[str, set[str]]:
    """Kind of flaw -> the photos that have it, of the groups."""
    groups: dict[str, set[str]] = {}
    with (batch / "truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"].startswith("recurring"):
                groups.setdefault(row["kind"], set()).add(Path(row["image_path"]).name)
    return groups


def _families(run: Path, groups: dict[str, set[str]]) -> str:
    found = [
        {member["path"] for member in family["members"]}
        for family in json.loads((run / "families.json").read_text())["families"]
    ]
    words = []
    for members in sorted(groups.values(), key=len):
        best = max(found, key=lambda family: len(family & members), default=set())
        words.append(f"{len(best & members)} of {len(members)}, {len(best - members)}")
    others = sum(not any(len(family & members) > len(family) / 2 for members in groups.values()) for family in found)
    return f"{'; '.join(words)} | {len(found)}, {others} of no group"


if __name__ == "__main__":
    main()
