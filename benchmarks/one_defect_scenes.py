"""Scenes for one_defect.py: a batch, photos that were taught, photos known to be good, and all distances between them.

Tokens are the scan's: its default backbone, working size and neighbourhood. Half of each real set is for choosing
constants (part 0), the other half is reported (part 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from blemish.features.cache import half
from blemish.features.neighbourhood import token_grids
from blemish.features.registry import Backbone, load_backbone
from blemish.inputs.images import PhotoFile, natural_key, read_photo
from blemish.inputs.synthetic import render_batch
from blemish.inputs.truth import fit_mask, read_mask
from blemish.result import upsample
from blemish.scoring.defects import cover, members, typical
from blemish.scoring.memory import nearest
from blemish.scoring.mutual import neighbours

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]
Pair = tuple[float, float]  # image AUROC, pixel AP

PER_KIND, GOOD = 14, 40  # photos of a real set at most
SIZE, PATCH = 512, 16
STRIDE = 8  # of the pixels that pixel AP is measured on


@dataclass
class Pool:
    """Photos of one set, their tokens and how far each token is from every other photo."""

    name: str
    kinds: npt.NDArray[np.str_]  # (B,), "good" or the flaw
    photos: list[RGB]  # at the working size
    masks: list[npt.NDArray[np.bool_]]
    backbone: Backbone

    @cached_property
    def tokens(self) -> Float32:
        """(B, h, w, C)"""
        return np.stack([self.see(photo) for photo in self.photos])

    @cached_property
    def covers(self) -> Float32:
        return np.stack([cover(mask, self.tokens.shape[1:3]) for mask in self.masks])

    @cached_property
    def distances(self) -> npt.NDArray[np.float16]:
        """(B, N, B), infinite to itself"""
        flat = [grid.reshape(-1, grid.shape[-1]) for grid in self.tokens]
        found = np.full((len(flat), len(flat[0]), len(flat)), np.inf, np.float16)
        for i, one in enumerate(flat):
            for j in range(i + 1, len(flat)):
                similar = one @ flat[j].T
                found[i, :, j] = np.sqrt(np.maximum(2 - 2 * similar.max(axis=1), 0))
                found[j, :, i] = np.sqrt(np.maximum(2 - 2 * similar.max(axis=0), 0))
        return found

    def see(self, photo: RGB) -> Float32:
        features = half(self.backbone.extract(torch.from_numpy(photo).permute(2, 0, 1)[None]))
        grids = [grid.float() for grid in features.grids]
        return np.asarray(token_grids(grids, (3,), True)[0][0])

    def of(self, kind: str) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.kinds == kind)

    @property
    def flaws(self) -> list[str]:
        return [kind for kind in np.unique(self.kinds) if kind not in ("good", "sporadic")]


@dataclass
class Scene:
    """Photos of ``batch`` are compared with each other, ``taught`` are annotated, ``goods`` are known to be good. The
    rest of the batch is tested."""

    pool: Pool
    taught: list[int]
    goods: list[int]
    batch: list[int]
    known: dict[int, tuple[Float32, Pair]] = field(default_factory=dict)

    @cached_property
    def tests(self) -> npt.NDArray[np.intp]:
        return np.array([row for row in self.batch if row not in self.taught])

    @cached_property
    def flawed(self) -> npt.NDArray[np.bool_]:
        return self.pool.kinds[self.tests] != "good"

    @cached_property
    def to_batch(self) -> Float32:
        """(P, T, N) distances of the tests' tokens to every photo of the batch."""
        return np.moveaxis(self.pool.distances[self.tests][:, :, self.batch].astype(np.float32), 2, 0)

    @cached_property
    def mutual(self) -> Float32:
        """(T, N), the scan's own score"""
        return np.sort(self.to_batch, axis=0)[: neighbours(0.3, len(self.batch))].mean(axis=0)

    @cached_property
    def usual(self) -> Float32:
        return typical(self.to_batch)

    def to_goods(self, k: int) -> Float32:
        return self.pool.distances[self.tests][:, :, self.goods[:k]].astype(np.float32).min(axis=2)

    def to_flaw(self, taught: int = 1) -> Float32:
        return self._nearest([self._drawn(row, 0) for row in self.taught[:taught]])

    @cached_property
    def to_surroundings(self) -> Float32:
        return self._nearest([self._drawn(self.taught[0], 1)])

    def _drawn(self, row: int, which: int) -> Float32:
        return np.asarray(self.pool.tokens[row][members(self.pool.covers[row])[which]])

    def _nearest(self, banks: list[Float32]) -> Float32:
        tokens = self.pool.tokens[self.tests]
        return nearest(tokens.reshape(-1, tokens.shape[-1]), np.concatenate(banks)).reshape(len(tokens), -1)

    def remembered(
        self, maps: Float32, quality: Callable[[Scene, Float32], tuple[float, float]]
    ) -> tuple[float, float]:
        """The quality of maps that much is compared with, measured once."""
        if id(maps) not in self.known:
            self.known[id(maps)] = (maps, quality(self, maps))  # the map is kept, so that its id stays its own
        return self.known[id(maps)][1]

    def upsampled(self, maps: Float32) -> Iterator[tuple[Float32, npt.NDArray[np.bool_]]]:
        """Every STRIDE-th pixel of each map and its mask."""
        shape = self.pool.masks[0].shape
        rows, columns = (np.linspace(0, side - 1, side // STRIDE).round().astype(int) for side in shape)
        for row, values in zip(self.tests, maps, strict=True):
            grid = values.reshape(self.pool.tokens.shape[1:3])
            yield upsample(grid, (len(rows), len(columns))), self.pool.masks[row][np.ix_(rows, columns)]


def pools(data: Path | None, part: int) -> Iterator[Pool]:
    backbone = load_backbone("effnet-lite2")
    if data is not None:
        yield _real(data / "cookies", part, backbone)
        yield _real(data / "magnetic_tile", part, backbone)
    for product in ("washer", "bottle", "board"):
        for seed in (11, 12) if part else (1, 2):
            rendered = list(render_batch(product, 44, size=SIZE, seed=seed, recurring=(14,), sporadic=6))
            kinds = np.array([p.kind if p.kind in ("good", "recurring-1") else "sporadic" for p in rendered])
            yield Pool(product, kinds, [p.pixels for p in rendered], [p.mask for p in rendered], backbone)


def scenes(pool: Pool, flaw: str, draws: int, taught: int = 4) -> Iterator[tuple[Scene, Scene | None]]:
    """Batches in which a third of the photos carry the flaw; and the same with other flaws instead, if there are any.
    The first photo that is taught is part of the batch, as in a finished run; further ones are not."""
    for draw in range(draws):
        rng = np.random.default_rng((draw, len(flaw)))
        rows, good = list(rng.permutation(pool.of(flaw))), list(rng.permutation(pool.of("good")))
        drawn, goods, good = [rows[0], *rows[-(taught - 1) :]], good[:4], good[4:32]
        share = rows[: min(len(good) // 2, len(rows) - taught + 1)]
        others = [row for kind in np.unique(pool.kinds) if kind not in ("good", flaw) for row in pool.of(kind)[:4]]
        other = Scene(pool, drawn, goods, [rows[0], *others, *good]) if others else None
        yield Scene(pool, drawn, goods, [*share, *good]), other


def _real(root: Path, part: int, backbone: Backbone) -> Pool:
    photos, masks, kinds = [], [], []
    shape = None
    for folder in sorted((root / "test").iterdir()):
        files = sorted(folder.iterdir(), key=lambda file: natural_key(file.name))[part::2]
        most = GOOD if folder.name == "good" else PER_KIND
        for at in np.linspace(0, len(files) - 1, min(most, len(files))).astype(int):
            pixels = read_photo(PhotoFile(files[at].name, files[at])).pixels
            shape = shape or _working_shape(pixels.shape[0] / pixels.shape[1])
            x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
            resized = torch.nn.functional.interpolate(x, size=shape, mode="bilinear", antialias=True)
            photos.append(resized[0].permute(1, 2, 0).contiguous().numpy())
            drawn = root / "ground_truth" / folder.name / f"{files[at].stem}.png"
            masks.append(np.zeros(shape, bool) if folder.name == "good" else fit_mask(read_mask(drawn), shape))
            kinds.append(folder.name)
    return Pool(root.name, np.array(kinds), photos, masks, backbone)


def _working_shape(aspect: float) -> tuple[int, int]:
    """As the scan's default: the area of a square of 512 pixels, in whole patches."""
    return round(SIZE * aspect**0.5 / PATCH) * PATCH, round(SIZE / aspect**0.5 / PATCH) * PATCH
