"""Pools of photos with masks on which `regions.py` measures: matched once, with what a mask could be refined from.

A cached pool is not compared with the code that makes it: delete it after a change.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from batches import RGB, LabelledBatch, data_folder, real, synthetic
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.images import resize
from blemish.inputs.synthetic.batch import Batch
from blemish.inputs.synthetic.flaws import draw_flaw
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from blemish.scoring.mutual import msm, neighbours

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

WORKING_SIZE = 512  # the default
PHOTO = 512  # side of the synthetic photos
GOOD, BAD = 60, 40
SMALL, LARGE = (0.03, 0.2), (0.3, 0.5)  # flaws, as shares of the side
GRADES, GRADED_GOOD = 6, 40
SERIES = 2 * (("scratch", "size"), ("scratch", "contrast"), ("stain", "size"), ("stain", "contrast"), ("chip", "size"))


def _rendered(product: str, seed: int, flaw_size: tuple[float, float]) -> Callable[[Path | None], LabelledBatch]:
    return lambda _: synthetic(product, GOOD + BAD, flaw_size=flaw_size, sporadic=BAD, size=PHOTO, seed=seed)


def _real(name: str, part: int = 0, parts: int = 1) -> Callable[[Path | None], LabelledBatch]:
    return lambda data: real(data or Path(), name, good=GOOD, bad=BAD, part=part, parts=parts)


SELECTION = {
    "washer": _rendered("washer", 401, SMALL),
    "washer, large flaws": _rendered("washer", 402, LARGE),
    "tiles 1/2": _real("magnetic_tile", 0, 2),
}
REPORTED = {
    "bottle": _rendered("bottle", 501, SMALL),
    "bottle, large flaws": _rendered("bottle", 502, LARGE),
    "board": _rendered("board", 503, SMALL),
    "tiles 2/2": _real("magnetic_tile", 1, 2),
    "cookies": _real("cookies"),
}
GRADED = {"graded washer": ("washer", 601), "graded bottle": ("bottle", 602), "graded board": ("board", 603)}


@dataclass
class Pool:
    name: str
    nearest: npt.NDArray[np.float16]  # (P, P, N)
    grid: tuple[int, int]
    flawed: Bools  # (P,)
    masks: list[Bools]  # at the photo's own size
    pixels: RGB  # (P, H, W, 3) at the working size
    fine: npt.NDArray[np.float16]  # (P, 2h, 2w, C) the backbone's finest layer

    def maps(self, rows: Rows) -> Float32:
        """Mutual scores of these photos among themselves: (n, h, w)."""
        k = neighbours(0.3, len(rows))
        grids = []
        for at, row in enumerate(rows):
            nearest = self.nearest[row][rows].astype(np.float32)
            nearest[at] = np.inf
            grids.append(msm(nearest, k).reshape(self.grid))
        return np.stack(grids)


def get_pool(name: str, folder: Path) -> Pool | None:
    """The pool from ``folder``, or built and kept there. None where its photos are not at hand."""
    file = folder / f"{name.replace('/', '-')}.npz"
    if not file.exists():
        sources = SELECTION | REPORTED
        if name in sources and sources[name].__qualname__.startswith("_real") and data_folder() is None:
            print(f"{name}: left out, BLEMISH_DATA is not set", file=sys.stderr)
            return None
        _build(file, sources[name](data_folder()) if name in sources else _graded(*GRADED[name]))
    with np.load(file) as arrays:
        height, width = arrays["grid"]
        flawed = arrays["labels"]
        masks = [arrays[f"mask{row}"] for row in range(len(flawed))]
        return Pool(name, arrays["nearest"], (int(height), int(width)), flawed, masks, arrays["pixels"], arrays["fine"])


def graded_rows(series: int) -> Rows:
    """The photos of one of ``SERIES``, weakest flaw first."""
    return GRADED_GOOD + series * GRADES + np.arange(GRADES)


def _graded(product: str, seed: int) -> LabelledBatch:
    """Good photos, then for each of ``SERIES`` one flaw of one part at growing size (3 to 30 % of the side) or
    contrast (10 to 100 %), each photographed anew."""
    batch = Batch(product, PHOTO, seed)
    side = batch.fine.side
    taken = []
    for photo in range(GRADED_GOOD):
        rng = batch.rng(3, photo)
        taken.append(batch.take(batch.specimen(0, int(rng.integers(3))), None, rng))
    for number, (kind, what) in enumerate(SERIES):
        rng = batch.rng(5, number)
        part = batch.specimen(0, int(rng.integers(3)))
        flaw = draw_flaw(kind, part, (0.3 if what == "size" else 0.12) * side, rng)
        for grade, growth in enumerate(np.geomspace(0.1, 1, GRADES)):
            grown = (
                replace(flaw, extent=0.3 * side * growth, strength=0.85)
                if what == "size"
                else replace(flaw, strength=growth)
            )
            taken.append(batch.take(part, grown, batch.rng(6, number, grade)))
    photos, masks = zip(*taken, strict=True)
    return LabelledBatch(product, list(photos), np.arange(len(taken)) >= GRADED_GOOD, list(masks))


def _build(file: Path, batch: LabelledBatch) -> None:
    backbone = load_backbone("effnet-lite2", None, "cpu")
    facts = backbone.facts
    aspect = float(np.median([photo.shape[0] / photo.shape[1] for photo in batch.photos]))
    height, width = (round(WORKING_SIZE * a / facts.patch) * facts.patch for a in (aspect**0.5, aspect**-0.5))
    branch = Branch(backbone, (height, width), facts.radii, facts.join)
    tokens, pixels, fine = [], [], []
    for photo in batch.photos:
        pixels.append(resize(photo, branch.shape, facts.resize))
        features = half(backbone.extract(torch.from_numpy(pixels[-1]).permute(2, 0, 1)[None]))
        (grid,) = branch.tokens(Features([grid[0] for grid in features.grids], features.embedding[0]))
        tokens.append(grid)
        fine.append(features.grids[0][0].numpy())
    shape = tokens[0].shape
    store = ArrayStore((len(tokens), shape[0] * shape[1], shape[2]), np.float32)
    store.write(0, np.stack(tokens).reshape(store.shape))
    table = match(store, Budget(2**33, Path(tempfile.gettempdir())))
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(
        unfinished,
        nearest=table.store.read(0, len(tokens)).astype(np.float16),
        grid=np.array(shape[:2]),
        labels=batch.labels,
        pixels=np.stack(pixels),
        fine=np.stack(fine),
        **{f"mask{row}": mask for row, mask in enumerate(batch.masks or [])},
    )
    unfinished.replace(file)
