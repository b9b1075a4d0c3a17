"""Pools of photos from which `recurrence.py` draws its batches: matched once, so every batch is a part of the table.

    BLEMISH_DATA=../shared/data python benchmarks/recurrence_pools.py FOLDER [NAME@BACKBONE ...]

builds them ahead (minutes each). A cached pool is not compared with the code that makes it: delete it after a change.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from batches import data_folder
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.images import resize
from blemish.inputs.truth import fit_mask
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from recurrence_photos import Example, Mask, pasted_tiles, real, rendered, tinted_aliens

MASK_SIZE = 96  # pixels: pixel AP is measured at this size, so that every backbone is judged alike
WORKING_SIZE = {"effnet-lite2": 384, "vit": 252}  # below the defaults, so that a pool takes minutes

SOURCES: dict[str, Callable[[Path], Iterator[Example]]] = {
    "washer": lambda data: rendered("washer", 1, 1),
    "bottle": lambda data: rendered("bottle", 3, 2),
    "board21": lambda data: rendered("board", 1, 21),
    "aliens": lambda data: real(data / "toy_aliens", "good", "anomaly"),
    "cookies": lambda data: real(data / "cookies", "good"),
    "tiles5": lambda data: pasted_tiles(data / "magnetic_tile", 5),
    "tinted6": lambda data: tinted_aliens(data / "toy_aliens", 6),
    "board": lambda data: rendered("board", 1, 103),
    "bottle2": lambda data: rendered("bottle", 3, 114),
    "tiles": lambda data: pasted_tiles(data / "magnetic_tile", 105),
    "tinted": lambda data: tinted_aliens(data / "toy_aliens", 106),
}
RENDERED = ("washer", "bottle", "board21", "board", "bottle2")

Float32 = npt.NDArray[np.float32]


@dataclass
class Pass:
    """One matching pass of a pool: tokens (P, N, C), distances and indices (P, P, N)."""

    tokens: Float32
    nearest: Float32
    index: npt.NDArray[np.int16]
    grid: tuple[int, int]


@dataclass
class Pool:
    name: str
    backbone: str
    passes: list[Pass]
    masks: Mask  # (P, MASK_SIZE, MASK_SIZE)
    kinds: npt.NDArray[np.str_]
    variants: npt.NDArray[np.intp]
    specimens: npt.NDArray[np.intp]


def get_pool(name: str, backbone: str, folder: Path | None) -> Pool | None:
    """The pool from ``folder``, or built and kept there. None where its photos are not at hand."""
    file = folder / f"{name}-{backbone}.npz" if folder else None
    if file and file.exists():
        return load(file, name, backbone)
    data = data_folder()
    if data is None and name not in RENDERED:
        print(f"{name}: left out, BLEMISH_DATA is not set", file=sys.stderr)
        return None
    start = time.perf_counter()
    pool = build(name, backbone, SOURCES[name](data or Path()))
    print(f"{name} {backbone}: pool built in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    if file:
        save(file, pool)
    return pool


def build(name: str, backbone_name: str, examples: Iterator[Example]) -> Pool:
    """Extract and match a pool."""
    backbone = load_backbone(backbone_name, None, "cpu")
    facts = backbone.facts
    branch: Branch | None = None
    photos: list[list[Float32]] = []  # tokens of each pass
    grids: list[tuple[int, int]] = []
    masks: list[Mask] = []
    labels: list[tuple[str, int, int]] = []
    for example in examples:
        if branch is None:  # the first photo's shape is that of all
            shape = _working_shape(example.pixels.shape, WORKING_SIZE[backbone_name], facts.patch)
            branch = Branch(backbone, shape, facts.radii, facts.join)
        pixels = torch.from_numpy(resize(example.pixels, branch.shape, facts.resize)).permute(2, 0, 1)[None]
        features = half(backbone.extract(pixels))
        tokens = branch.tokens(Features([grid[0] for grid in features.grids], features.embedding[0]))
        photos.append([grid.reshape(-1, grid.shape[-1]) for grid in tokens])
        grids = [(grid.shape[0], grid.shape[1]) for grid in tokens]
        masks.append(fit_mask(example.mask, (MASK_SIZE, MASK_SIZE)))
        labels.append((example.kind, example.variant, example.specimen))
    kinds, variants, specimens = zip(*labels, strict=True)
    passes = [_match(np.stack([photo[at] for photo in photos]), grid) for at, grid in enumerate(grids)]
    return Pool(
        name,
        backbone_name,
        passes,
        np.stack(masks),
        np.array(kinds),
        np.array(variants),
        np.array(specimens),
    )


def _working_shape(photo: tuple[int, ...], side: int, patch: int) -> tuple[int, int]:
    """A shape of about ``side`` squared pixels with the photo's aspect ratio, whole patches."""
    aspect = photo[0] / photo[1]
    height, width = (round(side * a / patch) * patch for a in (aspect**0.5, aspect**-0.5))
    return height, width


def _match(tokens: Float32, grid: tuple[int, int]) -> Pass:
    store = ArrayStore(tokens.shape, np.float32)
    store.write(0, tokens)
    table = match(store, Budget(2**33, Path(tempfile.gettempdir())))
    return Pass(tokens, table.store.read(0, len(tokens)), table.index_store.read(0, len(tokens)), grid)


def save(file: Path, pool: Pool) -> None:
    arrays = {
        f"{field}_{at}": getattr(one, field)
        for at, one in enumerate(pool.passes)
        for field in ("tokens", "nearest", "index", "grid")
    }
    arrays |= {field: getattr(pool, field) for field in ("masks", "kinds", "variants", "specimens")}
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(file)


def load(file: Path, name: str, backbone: str) -> Pool:
    with np.load(file) as arrays:
        count = sum(key.startswith("tokens_") for key in arrays.files)
        passes = [
            Pass(
                arrays[f"tokens_{at}"],
                arrays[f"nearest_{at}"],
                arrays[f"index_{at}"],
                (int(arrays[f"grid_{at}"][0]), int(arrays[f"grid_{at}"][1])),
            )
            for at in range(count)
        ]
        fields = ("masks", "kinds", "variants", "specimens")
        return Pool(name, backbone, passes, *(arrays[field] for field in fields))


if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = sys.argv[2:] or [f"{name}@{backbone}" for name in SOURCES for backbone in WORKING_SIZE]
    for spec in wanted:
        name, _, backbone = spec.partition("@")
        get_pool(name, backbone, Path(sys.argv[1]))
