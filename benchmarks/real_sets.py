"""Quality of the default scan on the real sets, as `blemish scan` and `blemish eval` report it.

BLEMISH_DATA=../shared/data python benchmarks/real_sets.py > benchmarks/real_sets.md
"""

from __future__ import annotations

import sys
import tempfile
from datetime import date
from pathlib import Path

import blemish
from batches import data_folder
from blemish.progress import PlainLines

SETS = ("toy_aliens", "cookies", "magnetic_tile")


def main() -> None:
    data = data_folder()
    if data is None:
        sys.exit("Set BLEMISH_DATA to the folder that holds toy_aliens, cookies and magnetic_tile.")
    backbones = sys.argv[1:] or ["effnet-lite2"]
    print(
        f"# Real sets, default settings\n\nMeasured {date.today()}. All photos of a set in one batch; 95 % intervals by"
    )
    print("resampling photos (1000 resamples). Command:")
    arguments = " ".join(["", *sys.argv[1:]])
    print(f"`BLEMISH_DATA=../shared/data python benchmarks/real_sets.py{arguments} > benchmarks/real_sets.md`\n")
    for backbone in backbones:
        for name in SETS:
            report(data / name, backbone)


def report(folder: Path, backbone: str) -> None:
    result = blemish.scan(folder, backbone=backbone, progress=PlainLines(), cache=False)
    seconds = sum(result.manifest["timings_s"].values())
    with tempfile.TemporaryDirectory() as out:
        run = result.save(Path(out) / "run")
        evaluation = blemish.evaluate(run, folder)
    size = result.manifest["resolved"]["working_size"]
    print(f"## {folder.name}, {backbone}\n")
    print(f"{len(result.scored)} photos at {size['width']} x {size['height']}, {seconds:.0f} s.\n")
    print("| metric | value | 95 % interval |\n|---|---|---|")
    for row in evaluation.rows:
        if row.value is None:
            print(f"| {row.metric} | - | {row.note} |")
        else:
            interval = f"{row.low:.3f} to {row.high:.3f}" if row.low is not None and row.high is not None else ""
            print(f"| {row.metric} | {row.value:.4f} | {interval} |")
    print("".join(f"\n{note}" for note in evaluation.notes) + "\n", flush=True)


if __name__ == "__main__":
    main()
