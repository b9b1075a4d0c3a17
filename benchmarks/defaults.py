"""Where the default working size, layers, neighbourhood and K come from: quality against seconds.

    BLEMISH_DATA=../shared/data python benchmarks/defaults.py > benchmarks/defaults.md

Defaults are chosen on one half of the batches and reported on the other. Seconds are those of one batch on this
machine, medians over the batches; compare columns, not runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from batches import LabelledBatch, data_folder, real, synthetic
from blemish.features import neighbourhood
from blemish.features.cache import half
from blemish.features.effnet import EfficientNetLite2
from blemish.features.registry import Backbone, Features, load_backbone
from blemish.inputs.images import resize
from blemish.inputs.truth import fit_mask
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from blemish.metrics.ranking import auroc, average_precision
from blemish.result import upsample
from blemish.scoring.fusion import mean_maps
from blemish.scoring.mutual import image_scores, msm, neighbours

MASK_SIZE = 192  # pixels; pixel AP is measured at this size so that every setting is judged alike
SMALL, LARGE = (0.015, 0.03), (0.08, 0.2)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    name: str
    size: int
    layers: tuple[int, ...]
    tokens: Callable[[list[Tensor]], list[Tensor]]
    mirror: bool = True  # False: the network pads with zeros, as published


def joined(*radii: int) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda grids: neighbourhood.token_grids(grids, radii, join=True)


def separate(*radii: int) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda grids: neighbourhood.token_grids(grids, radii, join=False)


def joined_after_layer_norm(r: int) -> Callable[[list[Tensor]], list[Tensor]]:
    def tokens(grids: list[Tensor]) -> list[Tensor]:
        return neighbourhood.token_grids([torch.nn.functional.layer_norm(g, g.shape[1:]) for g in grids], (r,), True)

    return tokens


def zero_padded(r: int) -> Callable[[list[Tensor]], list[Tensor]]:
    """Joined, but with zeros beyond the border of the token grid; see also Setting.mirror."""

    def tokens(grids: list[Tensor]) -> list[Tensor]:
        shape = grids[-1].shape[1:3]
        layers = [neighbourhood.unit_norm(neighbourhood._pool_to(grid, tuple(shape))) for grid in grids]
        return [neighbourhood.unit_norm(torch.cat([neighbourhood.aggregate(layer, r) for layer in layers], -1))]

    return tokens


SETTINGS = (
    Setting("256, separate, r 1 3", 256, (8, 16), separate(1, 3)),
    Setting("256, joined, r 3", 256, (8, 16), joined(3)),
    Setting("384, joined, r 3", 384, (8, 16), joined(3)),
    Setting("448, joined, r 3", 448, (8, 16), joined(3)),
    Setting("512, joined, r 1", 512, (8, 16), joined(1)),
    Setting("512, joined, r 3", 512, (8, 16), joined(3)),
    Setting("512, joined, r 3, zeros beyond the border", 512, (8, 16), zero_padded(3), mirror=False),
    Setting("512, joined, r 5", 512, (8, 16), joined(5)),
    Setting("512, joined, r 1 3", 512, (8, 16), joined(1, 3)),
    Setting("512, joined after LayerNorm, r 3", 512, (8, 16), joined_after_layer_norm(3)),
    Setting("512, stride 16 alone, r 3", 512, (16,), separate(3)),
    Setting("512, strides 4 8 16 joined, r 3", 512, (4, 8, 16), joined(3)),
    Setting("640, joined, r 3", 640, (8, 16), joined(3)),
)
SHARES = (0.1, 0.3, 0.6)
IMAGE_SCORES: dict[str, Callable[[Float32, tuple[int, int]], Float32]] = {
    "excess": lambda maps, shape: image_scores(maps, shape, "excess"),
    "max": lambda maps, shape: image_scores(maps, shape, "max"),
    "mean of top 1 %": lambda maps, shape: np.array([top_mean(upsample(m, shape), 0.01) for m in maps]),
}


def top_mean(m: Float32, share: float) -> float:
    return float(np.sort(m, axis=None)[-max(1, int(share * m.size)) :].mean())


def main() -> None:
    chosen_on, reported_on = batches()
    print("# Defaults of effnet-lite2: quality against seconds\n")
    print(f"Measured {date.today()}, {torch.get_num_threads()} cores.")
    print("Command: `BLEMISH_DATA=../shared/data python benchmarks/defaults.py > benchmarks/defaults.md`\n")
    for title, group in (("Chosen on", chosen_on), ("Reported on", reported_on)):
        print(f"## {title}: {', '.join(batch.name for batch in group)}\n")
        table(group)


def batches() -> tuple[list[LabelledBatch], list[LabelledBatch]]:
    def parts(product: str, variants: int = 1) -> list[LabelledBatch]:
        return [
            synthetic(product, 40, flaw_size=extent, sporadic=10, variants=variants, name=f"{product}, {word} flaws")
            for word, extent in (("small", SMALL), ("large", LARGE))
        ]

    chosen_on, reported_on = parts("washer"), [*parts("bottle", 3), *parts("board")]
    data = data_folder()
    if data is None:
        print("BLEMISH_DATA is not set: real sets are left out", file=sys.stderr)
        return chosen_on, reported_on
    chosen_on += [real(data, "magnetic_tile", good=40, bad=20, part=0, parts=2), real(data, "cookies", good=20, bad=15)]
    reported_on += [
        real(data, "magnetic_tile", good=40, bad=20, part=1, parts=2),
        real(data, "toy_aliens", good=40, bad=20),
    ]
    return chosen_on, reported_on


def table(group: list[LabelledBatch]) -> None:
    rows: dict[tuple[str, float, str], list[tuple[float, float]]] = {}
    seconds: dict[str, list[tuple[float, float]]] = {}
    for batch in group:
        for setting in SETTINGS:
            maps_by_share, reading, comparing = run(batch, setting)
            seconds.setdefault(setting.name, []).append((reading / len(batch.photos), comparing))
            for share, maps in maps_by_share.items():
                pixel_ap = pixel_average_precision(batch, maps)
                for rule, score in IMAGE_SCORES.items():
                    image = auroc(score(maps, (setting.size, setting.size)), batch.labels)
                    rows.setdefault((setting.name, share, rule), []).append((image, pixel_ap))
            print(f"{batch.name}: {setting.name} done", file=sys.stderr)
    names = " | ".join(batch.name for batch in group)
    print(f"| setting | K | image score | mean image AUROC | mean pixel AP | ms a photo | s to compare | {names} |")
    print("|" + "---|" * (7 + len(group)))
    for (name, share, rule), values in rows.items():
        if rule == "mean of top 1 %" and share != 0.3:
            continue  # a loser, shown at one K only
        image, pixel = (np.array(column) for column in zip(*values, strict=True))
        reading, comparing = np.median(seconds[name], axis=0)
        each = " | ".join(f"{i:.3f} / {p:.3f}" for i, p in values)
        means = f"{image.mean():.3f} | {np.nanmean(pixel):.3f}"
        print(f"| {name} | {share:.0%} | {rule} | {means} | {1e3 * reading:.0f} | {comparing:.1f} | {each} |")
    print("\nPer batch: image AUROC / pixel AP.\n")


def run(batch: LabelledBatch, setting: Setting) -> tuple[dict[float, Float32], float, float]:
    """Maps (B, h, w) for each K, seconds to extract and seconds to compare."""
    backbone = load_backbone("effnet-lite2", setting.layers)
    shape = (setting.size, setting.size)
    budget = Budget(8 * 2**30, Path(tempfile.gettempdir()))
    stores: list[tuple[ArrayStore, tuple[int, int]]] = []
    reading = 0.0
    for row, photo in enumerate(batch.photos):
        pixels = torch.from_numpy(resize(photo, shape))[None].permute(0, 3, 1, 2)
        start = time.perf_counter()
        features = backbone.extract(pixels) if setting.mirror else without_mirror(backbone, pixels)
        grids = setting.tokens([grid.float() for grid in half(features).grids])
        reading += time.perf_counter() - start
        if not stores:
            for grid in grids:
                _, h, w, channels = grid.shape
                stores.append((budget.array((len(batch.photos), h * w, channels), np.float32, 1.0), (h, w)))
        for (store, _), grid in zip(stores, grids, strict=True):
            store.write(row, grid.reshape(1, -1, grid.shape[-1]).numpy())
    maps: dict[float, list[Float32]] = {share: [] for share in SHARES}
    start = time.perf_counter()
    for store, (h, w) in stores:
        nearest = match(store, budget)
        for share in SHARES:
            k = neighbours(share, len(batch.photos))
            maps[share].append(np.stack([msm(nearest.row(i), k).reshape(h, w) for i in range(len(batch.photos))]))
        budget.release(nearest.store)
        budget.release(store)
    comparing = time.perf_counter() - start
    return {share: mean_maps(per_pass) for share, per_pass in maps.items()}, reading, comparing


def without_mirror(backbone: Backbone, pixels: Tensor) -> Features:
    assert isinstance(backbone, EfficientNetLite2)
    with torch.inference_mode():
        maps = backbone(pixels.float() / 127.5 - 1)
    return Features([maps[stride].permute(0, 2, 3, 1) for stride in backbone.layers], torch.zeros(1))


def pixel_average_precision(batch: LabelledBatch, maps: Float32) -> float:
    if batch.masks is None:
        return float("nan")
    masks = np.stack([fit_mask(mask, (MASK_SIZE, MASK_SIZE)) for mask in batch.masks])
    return average_precision(upsample(maps, masks.shape[1:]).ravel(), masks.ravel())


if __name__ == "__main__":
    main()
