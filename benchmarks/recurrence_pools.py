"""Pools of photos from which `recurrence.py` draws its batches: matched once, every batch is a part of the table.

A pool holds good photos, sporadic flaws (each different) and six recurring groups of 60, 20, 20, 10, 10 and 10 photos;
photos are rendered, or real good ones on which one flaw was pasted with a soft edge and an exact mask.
"""

from __future__ import annotations

import colorsys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter

from batches import LabelledBatch, RGB, data_folder
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import load_backbone
from blemish.inputs.images import PhotoFile, natural_key, read_photo, resize
from blemish.inputs.synthetic import render_batch
from blemish.inputs.truth import fit_mask, read_mask
from blemish.matching.engine import NearestTable, match
from blemish.matching.store import ArrayStore, Budget

GROUPS = (60, 20, 20, 10, 10, 10)
GOOD, SPORADIC = 190, 10
MASK_SIZE = 96  # pixels: pixel AP is measured at this size, so that every backbone is judged alike
FLAW_SIZE = (0.06, 0.2)
WORKING_SIZE = {"effnet-lite2": 384, "vit": 252}  # below the defaults, so that the whole sweep takes an hour

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass
class Example:
    pixels: RGB
    mask: Mask
    kind: str  # good, sporadic, recurring-1 ...
    variant: int


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
    token_masks: Mask  # (P, N): tokens of which a flaw covers at least a quarter
    kinds: list[str]
    variants: npt.NDArray[np.intp]
    shape: tuple[int, int]


def rendered(product: str, variants: int, seed: int) -> Iterator[Example]:
    photos = render_batch(
        product,
        GOOD + SPORADIC + sum(GROUPS),
        size=512,
        seed=seed,
        sporadic=SPORADIC,
        recurring=GROUPS,
        variants=variants,
        flaw_size=FLAW_SIZE,
    )
    for photo in photos:
        kind = photo.kind if photo.kind == "good" or photo.kind.startswith("recurring") else "sporadic"
        yield Example(photo.pixels, photo.mask, kind, photo.variant)


def pasted_tiles(data: Path, seed: int) -> Iterator[Example]:
    """Good magnetic tiles; one flaw of a bad tile pasted at one place is a recurring flaw."""
    root = data / "magnetic_tile"
    good = [read_photo(PhotoFile(file.name, file)).pixels for file in _files(root / "test" / "good")]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(good))
    flaws = _tile_flaws(root, rng)
    kinds = [f"recurring-{at}" for at, count in enumerate(GROUPS, 1) for _ in range(count)]
    kinds += ["sporadic"] * SPORADIC
    places = {f"recurring-{at}": (flaws[at - 1], rng.uniform(0.2, 0.8, 2)) for at in range(1, len(GROUPS) + 1)}
    for n, row in enumerate(order):
        pixels = good[row]
        if n >= len(kinds):
            yield Example(pixels, np.zeros(pixels.shape[:2], bool), "good", 0)
            continue
        flaw, place = places.get(kinds[n], (flaws[len(GROUPS) + n % (len(flaws) - len(GROUPS))], rng.uniform(0.15, 0.85, 2)))
        yield Example(*_paste(pixels, flaw, place + rng.normal(0, 0.005, 2), rng), kinds[n], 0)


def tinted_aliens(data: Path, seed: int) -> Iterator[Example]:
    """Good rubber figures in three colours; a patch of another figure's surface, darkened and turned, is the flaw."""
    root = data / "toy_aliens" / "test" / "good"
    photos = [read_photo(PhotoFile(file.name, file)).pixels for file in _files(root)]
    rng = np.random.default_rng(seed)
    kinds = [f"recurring-{at}" for at, count in enumerate((9, 6, 6, 3, 3, 3), 1) for _ in range(count)]
    kinds += ["sporadic"] * 3
    kinds += ["good"] * (len(photos) - len(kinds))
    looks = {f"recurring-{at}": _Stain(rng) for at in range(1, 7)}
    variants = rng.permutation(len(photos)) % 3
    for pixels, kind, variant in zip(photos, [kinds[at] for at in rng.permutation(len(kinds))], variants, strict=True):
        coloured = _turn_hue(pixels, (0.0, 0.33, 0.62)[variant])
        mask = np.zeros(pixels.shape[:2], bool)
        if kind != "good":
            coloured, mask = looks.get(kind, _Stain(rng)).apply(coloured, rng)
        yield Example(coloured, mask, kind, int(variant))


class _Stain:
    """A soft-edged stain at one place of the figure's body."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.place = rng.uniform((0.40, 0.30), (0.60, 0.75))  # on the body, as shares of height and width
        self.radius = rng.uniform(0.03, 0.08)
        self.stretch = rng.uniform(0.5, 2.0)
        self.colour = rng.uniform(0, 255, 3)
        self.waves = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.1, 0.3, 3)

    def apply(self, pixels: RGB, rng: np.random.Generator) -> tuple[RGB, Mask]:
        height, width = pixels.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        cy, cx = (self.place + rng.normal(0, 0.005, 2)) * (height, width)
        dy, dx = (y - cy) * self.stretch, (x - cx) / self.stretch
        angle = np.arctan2(dy, dx)
        edge = 1 + sum(a * np.sin((n + 2) * angle + p) for n, (p, a) in enumerate(zip(*self.waves, strict=True)))
        inside = self.radius * width * edge - np.hypot(dy, dx)
        part = pixels.min(axis=2) < 230  # not beside the figure
        alpha = np.clip(inside / 4 + 0.5, 0, 1) * 0.75 * part
        mixed = pixels * (1 - alpha[..., None]) + self.colour * alpha[..., None]
        return np.rint(mixed).astype(np.uint8), (inside > 0) & part


def _turn_hue(pixels: RGB, turn: float) -> RGB:
    hsv = np.array(Image.fromarray(pixels).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(turn * 255)) % 256
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def _tile_flaws(root: Path, rng: np.random.Generator) -> list[tuple[npt.NDArray[np.float64], Mask]]:
    """Crops of flaws: brightness relative to the surrounding surface (h, w), and their masks."""
    flaws = []
    for kind in ("blowhole", "break", "crack", "fray", "blowhole", "break", "crack"):
        files = _files(root / "test" / kind)
        for at in rng.permutation(len(files)):
            grey = read_photo(PhotoFile("", files[at])).pixels.mean(axis=2)
            mask = read_mask(root / "ground_truth" / kind / f"{files[at].stem}.png")
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            share = max(height / grey.shape[0], width / grey.shape[1])
            if not 0.12 < share < 0.35:
                continue
            margin = 6
            top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
            crop = np.s_[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1]
            around = np.median(grey[crop][~mask[crop]])
            flaws.append((grey[crop] - around, mask[crop]))
            break
    while len(flaws) < len(GROUPS) + SPORADIC:  # sporadic ones: the same flaws turned and mirrored, elsewhere
        relief, mask = flaws[len(flaws) % 7]
        turns = 1 + len(flaws) // 7
        flaws.append((np.rot90(relief, turns), np.rot90(mask, turns)))
    return flaws


def _paste(
    pixels: RGB, flaw: tuple[npt.NDArray[np.float64], Mask], place: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[RGB, Mask]:
    relief, flaw_mask = flaw
    height, width = pixels.shape[:2]
    h, w = min(relief.shape[0], height), min(relief.shape[1], width)
    top = int(np.clip(place[0] * height - h / 2, 0, height - h))
    left = int(np.clip(place[1] * width - w / 2, 0, width - w))
    grown = Image.fromarray(flaw_mask[:h, :w].astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))
    alpha = np.asarray(grown.filter(ImageFilter.GaussianBlur(1.5)), float) / 255
    changed = pixels.astype(float)
    changed[top : top + h, left : left + w] += (alpha * relief[:h, :w] * rng.uniform(0.9, 1.1))[..., None]
    mask = np.zeros((height, width), bool)
    mask[top : top + h, left : left + w] = flaw_mask[:h, :w]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8), mask


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda file: natural_key(file.name))


def build(name: str, backbone_name: str, examples: Iterator[Example]) -> Pool:
    """Extract and match a pool."""
    backbone = load_backbone(backbone_name, None, "cpu")
    facts = backbone.facts
    branch = None
    passes: list[list[Float32]] = []
    grids: list[tuple[int, int]] = []
    masks, token_masks, kinds, variants = [], [], [], []
    for example in examples:
        if branch is None:
            height, width = example.pixels.shape[:2]
            side, aspect = WORKING_SIZE[backbone_name], height / width
            shape = tuple(round(side * a / facts.patch) * facts.patch for a in (aspect**0.5, aspect**-0.5))
            branch = Branch(backbone, (shape[0], shape[1]), facts.radii, facts.join)
        pixels = torch.from_numpy(resize(example.pixels, branch.shape, facts.resize)).permute(2, 0, 1)[None]
        features = half(backbone.extract(pixels))
        tokens = branch.tokens(type(features)([grid[0] for grid in features.grids], features.embedding[0]))
        passes.append([grid.reshape(-1, grid.shape[-1]) for grid in tokens])
        grids = [grid.shape[:2] for grid in tokens]
        masks.append(fit_mask(example.mask, (MASK_SIZE, MASK_SIZE)))
        cover = resize(np.repeat(example.mask[..., None].astype(np.uint8) * 255, 3, 2), grids[0], "bilinear")
        token_masks.append(cover[..., 0].reshape(-1) > 64)
        kinds.append(example.kind)
        variants.append(example.variant)
    assert branch is not None
    matched = []
    for at, grid in enumerate(grids):
        tokens = np.stack([photo[at] for photo in passes])
        store = ArrayStore(tokens.shape, np.float32)
        store.write(0, tokens)
        table = match(store, Budget(2**33, Path(tempfile.gettempdir())), with_index=True)
        assert table.index_store is not None
        everything = slice(0, len(tokens))
        matched.append(
            Pass(tokens, table.store.read(0, len(tokens)), table.index_store.read(0, len(tokens)), grid)
        )
    return Pool(
        name, backbone_name, matched, np.stack(masks), np.stack(token_masks), kinds, np.array(variants), branch.shape
    )
