"""How small a flaw the scan still sees: synthetic 1024-pixel photos, flaws of one size each, two working sizes.

    python benchmarks/flaw_size.py > benchmarks/flaw_size.md

A token covers 32 pixels of these photos at --size 512 and 21 at --size 768.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import numpy as np

import blemish
from blemish.inputs.synthetic import render_batch, write_batch
from blemish.metrics.ranking import auroc
from blemish.result import upsample

PHOTO, PHOTOS, FLAWED = 1024, 30, 12
EXTENTS = (16, 32, 48)  # pixels of the photo
PRODUCTS = ("washer", "board")
SIZES = (512, 768)


def main() -> None:
    print("# How small a flaw is still seen\n")
    print(f"Measured {date.today()}. {PHOTOS} photos of {PHOTO} x {PHOTO} pixels, {FLAWED} with one flaw each.")
    print("Command: `python benchmarks/flaw_size.py > benchmarks/flaw_size.md`\n")
    print("Found: share of flaws whose highest map value exceeds that of every good photo but one.\n")
    heads = " | ".join(f"{size}: image AUROC | {size}: found" for size in SIZES)
    print(f"| flaw, pixels | tokens at {SIZES[0]} | {heads} |\n|{'---|' * (2 + 2 * len(SIZES))}")
    for extent in EXTENTS:
        per_product = np.array([seen(product, extent) for product in PRODUCTS])
        cells = " | ".join(f"{a:.3f} | {f:.0%}" for a, f in per_product.mean(axis=0))
        print(f"| {extent} | {extent / (16 * PHOTO / SIZES[0]):.2f} | {cells} |", flush=True)
    print(f"\nMeans over {', '.join(PRODUCTS)}.")


def seen(product: str, extent: int) -> list[tuple[float, float]]:
    """(image AUROC, share found) at each working size."""
    share = extent / PHOTO
    rendered = list(render_batch(product, PHOTOS, size=PHOTO, seed=extent, sporadic=FLAWED, flaw_size=(share, share)))
    with tempfile.TemporaryDirectory() as folder:
        write_batch(Path(folder), rendered)
        results = [blemish.scan(Path(folder) / "photos", size=size, cache=False) for size in SIZES]
    figures = []
    for result in results:
        masks = {photo.name: photo.mask for photo in rendered}
        usual = np.median(result.grids, axis=0)
        excess = {path: upsample(result.maps.grid(path) - usual, (PHOTO, PHOTO)) for path in result.scores}
        good = sorted(float(m.max()) for path, m in excess.items() if not masks[path].any())
        peaks = [float(m[masks[path]].max()) for path, m in excess.items() if masks[path].any()]
        image = auroc(list(result.scores.values()), [masks[path].any() for path in result.scores])
        figures.append((image, float(np.mean(np.array(peaks) > good[-2]))))
    return figures


if __name__ == "__main__":
    main()
