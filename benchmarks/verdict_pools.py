"""Pools of photos from which `verdict.py` draws its batches: matched once, so every batch is a part of one table.

    BLEMISH_DATA=../shared/data python benchmarks/verdict_pools.py FOLDER [NAME ...]

builds them ahead (a minute or two each). A cached pool is not compared with the code that makes it: delete it after a
change.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from batches import RGB, data_folder, real, synthetic
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.images import resize
from blemish.matching.engine import NearestTable, match
from blemish.matching.store import ArrayStore, Budget

WORKING_SIZE = 512  # the default
GOOD, BAD = 160, 90
FLAW_SIZE = (0.03, 0.2)  # from flaws that hardly show at this working size to plain ones

Labelled = tuple[list[RGB], npt.NDArray[np.bool_], npt.NDArray[np.intp]]  # photos, whether flawed, variant


def _rendered(product: str, seed: int, flaw_size: tuple[float, float] = FLAW_SIZE) -> Callable[[Path], Labelled]:
    def make(_: Path) -> Labelled:
        batch = synthetic(product, GOOD + BAD, flaw_size=flaw_size, sporadic=BAD, size=512, seed=seed)
        return batch.photos, batch.labels, np.zeros(len(batch.labels), np.intp)

    return make


def _real(name: str, part: int = 0, parts: int = 1) -> Callable[[Path], Labelled]:
    def make(data: Path) -> Labelled:
        batch = real(data, name, good=150, bad=120, part=part, parts=parts)
        return batch.photos, batch.labels, np.zeros(len(batch.labels), np.intp)

    return make


SOURCES: dict[str, Callable[[Path], Labelled]] = {
    "washer": _rendered("washer", 201),
    "board": _rendered("board", 202),
    "tiles1": _real("magnetic_tile", 0, 2),
    "cookies": _real("cookies"),
    "washer-faint": _rendered("washer", 203, (0.02, 0.06)),
    "bottle": _rendered("bottle", 301),
    "board2": _rendered("board", 302),
    "tiles2": _real("magnetic_tile", 1, 2),
    "aliens": _real("toy_aliens"),
    "bottle-faint": _rendered("bottle", 303, (0.02, 0.06)),
}


@dataclass
class Pool:
    name: str
    nearest: npt.NDArray[np.float16]  # (P, P, N)
    embeddings: npt.NDArray[np.float32]  # (P, E)
    flawed: npt.NDArray[np.bool_]  # (P,)
    grid: tuple[int, int]


def get_pool(name: str, folder: Path) -> Pool | None:
    """The pool from ``folder``, or built and kept there. None where its photos are not at hand."""
    file = folder / f"{name}.npz"
    if not file.exists():
        data = data_folder()
        if data is None and SOURCES[name].__qualname__.startswith("_real"):
            print(f"{name}: left out, BLEMISH_DATA is not set", file=sys.stderr)
            return None
        start = time.perf_counter()
        photos, flawed, _ = SOURCES[name](data or Path())
        _build(file, photos, flawed)
        print(f"{name}: pool built in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    with np.load(file) as arrays:
        height, width = arrays["grid"]
        return Pool(name, arrays["nearest"], arrays["embeddings"], arrays["flawed"], (int(height), int(width)))


def _build(file: Path, photos: list[RGB], flawed: npt.NDArray[np.bool_]) -> None:
    tokens, embeddings = extracted(photos)
    nearest = matched(tokens).store.read(0, len(tokens)).astype(np.float16)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(unfinished, nearest=nearest, embeddings=embeddings, flawed=flawed, grid=np.array(tokens.shape[1:3]))
    unfinished.replace(file)


def extracted(photos: list[RGB]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Tokens (P, h, w, C) and embeddings (P, E) of the default backbone."""
    backbone = load_backbone("effnet-lite2", None, "cpu")
    facts = backbone.facts
    aspect = float(np.median([photo.shape[0] / photo.shape[1] for photo in photos]))
    height, width = (round(WORKING_SIZE * a / facts.patch) * facts.patch for a in (aspect**0.5, aspect**-0.5))
    branch = Branch(backbone, (height, width), facts.radii, facts.join)
    tokens, embeddings = [], []
    for photo in photos:
        pixels = torch.from_numpy(resize(photo, branch.shape, facts.resize)).permute(2, 0, 1)[None]
        features = half(backbone.extract(pixels))
        (grid,) = branch.tokens(Features([grid[0] for grid in features.grids], features.embedding[0]))
        tokens.append(grid)
        embeddings.append(np.asarray(features.embedding[0], np.float32))
    return np.stack(tokens), np.stack(embeddings)


def matched(tokens: npt.NDArray[np.float32]) -> NearestTable:
    """Distances and indices of every photo's tokens to every other photo."""
    images, height, width, channels = tokens.shape
    store = ArrayStore((images, height * width, channels), np.float32)
    store.write(0, tokens.reshape(store.shape))
    return match(store, Budget(2**33, Path(tempfile.gettempdir())))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:] or list(SOURCES):
        get_pool(wanted, Path(sys.argv[1]))
