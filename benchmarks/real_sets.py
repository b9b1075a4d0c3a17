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

SETS = {"toy_aliens": 1, "cookies": 1, "magnetic_tile": 2}  # every n-th photo of each kind; tiles are many and alike


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
        for name, every in SETS.items():
            report(data / name, every, backbone)


def report(folder: Path, every: int, backbone: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / folder.name
        for kind in sorted((folder / "test").iterdir()):
            (photos / "test" / kind.name).mkdir(parents=True)
            for file in sorted(kind.iterdir())[::every]:
                (photos / "test" / kind.name / file.name).symlink_to(file)
        result = blemish.scan(photos, backbone=backbone, progress=PlainLines(), cache=False)
        evaluation = blemish.evaluate(result.save(Path(scratch) / "run"), folder)
    seconds = sum(result.manifest["timings_s"].values())
    size = result.manifest["resolved"]["working_size"]
    print(f"## {folder.name}, {backbone}\n")
    which = "" if every == 1 else f" (every {every}nd of a kind)"
    print(f"{len(result.scored)} photos{which} at {size['width']} x {size['height']}, {seconds:.0f} s.\n")
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
