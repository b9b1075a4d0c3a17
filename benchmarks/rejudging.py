"""How long another threshold takes on a run of 5,000 photos, as a whole process: `blemish verdict RUN ...`.

    python benchmarks/rejudging.py FOLDER > table.md

prints a table of `verdict.md`. The photos are 96 pixels wide, made in FOLDER and scanned at a small size: a verdict
depends on the number of photos and on how many are marked, not on how large they are, but for new masks, whose size is
that of the photo.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from blemish.inputs.synthetic import render_batch

PHOTOS, SIDE, RENDERED = 5000, 96, 100
RUNS = 5
ASKED = (
    ("the batch decides, as before", []),
    ("--max-false-alarms 1%", ["--max-false-alarms", "1%"]),
    ("--expect-defects 5%", ["--expect-defects", "5%"]),
    ("--threshold, a tenth of the photos", None),
    ("--export coco,labelstudio", ["--export", "coco,labelstudio"]),
)


def main(folder: Path) -> None:
    run = folder / "run"
    if not run.exists():
        make(folder / "photos")
        command("scan", str(folder / "photos"), "--out", str(run), "--size", "96", "--quiet")
    rows = (run / "results.csv").read_text().splitlines()[1:]
    tenth = rows[PHOTOS // 10].split(",")[1]
    print("| asked | seconds, median of five | slowest | marked photos |")
    print("|---|---|---|---|")
    for name, flags in ASKED:
        chosen = ["--threshold", tenth] if flags is None else flags
        took = []
        for _ in range(RUNS):
            start = time.perf_counter()
            command("verdict", str(run), "--quiet", *chosen)
            took.append(time.perf_counter() - start)
        marked = sum(1 for _ in (run / "masks").rglob("*.png"))
        print(f"| {name} | {statistics.median(took):.2f} | {max(took):.2f} | {marked} |", flush=True)


def make(folder: Path) -> None:
    """Rendered parts, each several times with other noise and light."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    parts = render_batch("washer", RENDERED, size=SIDE, seed=1, sporadic=5, recurring=())
    for number, part in enumerate(parts):
        for copy in range(PHOTOS // RENDERED):
            light = part.pixels * rng.uniform(0.97, 1.03) + rng.normal(0, 4, part.pixels.shape)
            picture = Image.fromarray(np.clip(np.rint(light), 0, 255).astype(np.uint8))
            picture.save(folder / f"{number:03d}-{copy:02d}.png")


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "blemish", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
