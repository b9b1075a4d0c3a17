"""Where the default working size, layers, neighbourhood and K come from: quality against seconds.

    BLEMISH_DATA=../shared/data python benchmarks/defaults.py > benchmarks/defaults.md

Defaults are chosen on one half of the batches and reported on the other; naming one half (``chosen`` or ``reported``)
measures that alone. Seconds are of one thread, which neighbours on the machine disturb least: medians over the
batches; compare rows of one table.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from batches import LabelledBatch, data_folder, real, synthetic
from blemish.features import neighbourhood
from blemish.features.cache import half
from blemish.features.registry import load_backbone
from blemish.inputs.images import resize
from blemish.inputs.truth import fit_mask
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from blemish.metrics.ranking import auroc, average_precision
from blemish.result import upsample
from blemish.scoring.fusion import mean_maps
from blemish.scoring.mutual import image_scores, msm, neighbours

MASK_SIZE = 192  # pixels; pixel AP is measured at this size so that every setting is judged alike
MARGIN = 32  # pixels
SMALL, LARGE = (0.015, 0.03), (0.08, 0.2)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    name: str
    size: int
    layers: tuple[int, ...]
    tokens: Callable[[list[Tensor]], list[Tensor]]
    mirror: bool = False  # show the network a mirrored margin, so that its zero padding stays out of sight


def joined(*radii: int) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda grids: neighbourhood.token_grids(grids, radii, join=True)


def separate(*radii: int) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda grids: neighbourhood.token_grids(grids, radii, join=False)


def joined_after_layer_norm(r: int) -> Callable[[list[Tensor]], list[Tensor]]:
    def tokens(grids: list[Tensor]) -> list[Tensor]:
        return neighbourhood.token_grids([torch.nn.functional.layer_norm(g, g.shape[1:]) for g in grids], (r,), True)

    return tokens


def cut_back(r: int) -> Callable[[list[Tensor]], list[Tensor]]:
    """Joined tokens of a photo that was mirrored beyond its border, without those of the margin."""

    def tokens(grids: list[Tensor]) -> list[Tensor]:
        margin = MARGIN // 16
        return [z[:, margin:-margin, margin:-margin] for z in neighbourhood.token_grids(grids, (r,), join=True)]

    return tokens


SETTINGS = (
    Setting("256, separate, r 1 3", 256, (8, 16), separate(1, 3)),
    Setting("256, joined, r 3", 256, (8, 16), joined(3)),
    Setting("384, joined, r 3", 384, (8, 16), joined(3)),
    Setting("512, joined, r 1", 512, (8, 16), joined(1)),
    Setting("512, joined, r 3", 512, (8, 16), joined(3)),
    Setting("512, joined, r 3, mirrored beyond the border", 512, (8, 16), cut_back(3), mirror=True),
    Setting("512, joined, r 5", 512, (8, 16), joined(5)),
    Setting("512, joined, r 1 3", 512, (8, 16), joined(1, 3)),
    Setting("512, joined after LayerNorm, r 3", 512, (8, 16), joined_after_layer_norm(3)),
    Setting("512, stride 16 alone, r 3", 512, (16,), separate(3)),
    Setting("640, joined, r 3", 640, (8, 16), joined(3)),
)
SHARES = (0.1, 0.3, 0.6)
TOP = "mean of top 1 %"
IMAGE_SCORES: dict[str, Callable[[Float32, tuple[int, int]], Float32]] = {
    "excess": lambda maps, shape: image_scores(maps, shape, "excess"),
    "max": lambda maps, shape: image_scores(maps, shape, "max"),
    TOP: lambda maps, shape: np.array([top_mean(upsample(m, shape), 0.01) for m in maps]),
}


def top_mean(m: Float32, share: float) -> float:
    count = max(1, int(share * m.size))
    return float(np.partition(m, -count, axis=None)[-count:].mean())


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["chosen", "reported"]
    print("# Defaults of effnet-lite2: quality against seconds\n")
    print(f"Measured {date.today()}, one thread.")
    print("Command: `BLEMISH_DATA=../shared/data python benchmarks/defaults.py > benchmarks/defaults.md`\n")
    for half_name, group in zip(("chosen", "reported"), batches(), strict=True):
        if half_name in wanted:
            made = [make() for make in group]
            print(f"## {half_name.capitalize()} on: {', '.join(batch.name for batch in made)}\n")
            table(made)


def batches() -> tuple[list[Callable[[], LabelledBatch]], list[Callable[[], LabelledBatch]]]:
    """The two halves, each batch made when its turn comes."""

    def parts(product: str, variants: int = 1) -> list[Callable[[], LabelledBatch]]:
        return [
            partial(
                synthetic,
                product,
                30,
                flaw_size=extent,
                sporadic=10,
                variants=variants,
                name=f"{product}, {word} flaws",
            )
            for word, extent in (("small", SMALL), ("large", LARGE))
        ]

    chosen_on, reported_on = parts("washer"), [*parts("bottle", 3), *parts("board")]
    data = data_folder()
    if data is None:
        print("BLEMISH_DATA is not set: real sets are left out", file=sys.stderr)
        return chosen_on, reported_on
    tiles = partial(real, data, "magnetic_tile", good=30, bad=15, parts=2)
    chosen_on += [partial(tiles, part=0), partial(real, data, "cookies", good=20, bad=15)]
    reported_on += [partial(tiles, part=1), partial(real, data, "toy_aliens", good=30, bad=15)]
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
                    if rule == TOP and share != 0.3:
                        continue  # a loser, shown at one K only
                    image = auroc(score(maps, (setting.size, setting.size)), batch.labels)
                    rows.setdefault((setting.name, share, rule), []).append((image, pixel_ap))
            print(f"{batch.name}: {setting.name} done", file=sys.stderr)
    names = " | ".join(batch.name for batch in group)
    print(f"| setting | K | image score | mean image AUROC | mean pixel AP | ms a photo | s to compare | {names} |")
    print("|" + "---|" * (7 + len(group)))
    for (name, share, rule), values in rows.items():
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
        if setting.mirror:
            pixels = torch.nn.functional.pad(pixels.float(), (MARGIN,) * 4, mode="reflect").to(torch.uint8)
        start = time.perf_counter()
        grids = setting.tokens([grid.float() for grid in half(backbone.extract(pixels)).grids])
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
        nearest.release(budget)
        budget.release(store)
    comparing = time.perf_counter() - start
    return {share: mean_maps(per_pass) for share, per_pass in maps.items()}, reading, comparing


def pixel_average_precision(batch: LabelledBatch, maps: Float32) -> float:
    if batch.masks is None:
        return float("nan")
    masks = np.stack([fit_mask(mask, (MASK_SIZE, MASK_SIZE)) for mask in batch.masks])
    return average_precision(upsample(maps, masks.shape[1:]).ravel(), masks.ravel())


if __name__ == "__main__":
    main()
