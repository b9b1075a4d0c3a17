"""Small made-up runs with maps, and the trees that hold their truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SHAPE = (32, 48)  # of the maps; the photos are twice that


def save_mask(path: Path, mask: np.ndarray, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask * value).astype(np.uint8)).save(path)


def write_tree(root: Path, kinds: dict[str, int]) -> Path:
    """test/<kind>/<n>.png, and ground_truth with one of each way to name a mask."""
    for kind, count in kinds.items():
        for n in range(count):
            photo = root / "test" / kind / f"{n}.png"
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.touch()  # photos are told by name; nothing reads them here
            if kind != "good":
                mask = np.zeros((64, 96))
                mask[10:30, 20 + n : 50] = 1
                suffix = "_mask.png" if kind == "bad" else ".bmp"
                save_mask(root / "ground_truth" / kind / f"{n}{suffix}", mask)
    return root


def photos_of(tree: Path, scanned: Path) -> list[str]:
    return [
        file.relative_to(scanned).as_posix()
        for file in sorted((tree / "test").rglob("*.png"))
        if file.is_relative_to(scanned)
    ]


def write_run(folder: Path, paths: list[str], *, maps: bool = True, seed: int = 0, **manifest: object) -> Path:
    """A run whose maps are noise, raised in a fixed square where the photo's path does not say good."""
    rng = np.random.default_rng(seed)
    (folder / "maps").mkdir(parents=True)
    lines = []
    for path in paths:
        anomaly_map = rng.normal(size=SHAPE).astype(np.float32)
        if "good" not in path:
            anomaly_map[5:15, 10:25] += 1.0
        if maps:
            file = folder / "maps" / f"{path}.tif"
            file.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(file, anomaly_map)
        score = anomaly_map.max() + rng.normal()
        lines.append([path, f"{score:.6f}", 1, 50.0, 96, 64, "ok", "", ""])
    header = ["path", "score", "rank", "percentile", "width", "height", "status", "reason", "duplicate_of"]
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    (folder / "run.json").write_text(json.dumps({"schema": 1, "blemish": "0.1.0", **manifest}))
    return folder
