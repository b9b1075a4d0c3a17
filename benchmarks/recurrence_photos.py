"""Photos with flaws that recur, for `recurrence.py`: rendered parts, and real good photos with a flaw put on them.

Knows pixels and masks, nothing of backbones or batches. Every source yields good photos, sporadic flaws (each
different) and six recurring groups, so that any number of groups can be drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from batches import RGB
from blemish.inputs.images import PhotoFile, natural_key, read_photo
from blemish.inputs.synthetic import render_batch
from blemish.inputs.truth import read_mask

GROUPS = (60, 20, 20, 10, 10, 10)
GOOD, SPORADIC = 190, 10
FLAW_SIZE = (0.06, 0.2)  # shares of the photo: flaws that a scan with these backbones can see
MARGIN = 6  # pixels of surface kept around the crop of a flaw, over which it fades out

Mask = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    pixels: RGB
    mask: Mask
    kind: str  # good, sporadic, recurring-1 ...
    variant: int
    specimen: int  # two photos of one specimen never stand in one batch


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
    for specimen, photo in enumerate(photos):
        kind = photo.kind if photo.kind == "good" or photo.kind.startswith("recurring") else "sporadic"
        yield Example(photo.pixels, photo.mask, kind, photo.variant, specimen)


def real(root: Path, *kinds: str) -> Iterator[Example]:
    """Photos as they are; masks are empty, since these sets have none for each kind."""
    files = [(kind, file) for kind in kinds for file in listed(root / "test" / kind)]
    for specimen, (kind, file) in enumerate(files):
        pixels = read_photo(PhotoFile(file.name, file)).pixels
        yield Example(pixels, np.zeros(pixels.shape[:2], bool), "good" if kind == "good" else "sporadic", 0, specimen)


def pasted_tiles(root: Path, seed: int) -> Iterator[Example]:
    """Good magnetic tiles; one flaw of a bad tile, pasted at one place of several good ones, is a recurring flaw."""
    good = [read_photo(PhotoFile(file.name, file)).pixels for file in listed(root / "test" / "good")]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(good))
    flaws = _tile_flaws(root, rng)
    kinds = _flawed_kinds(GROUPS, SPORADIC)
    places = {f"recurring-{at}": (flaws[at - 1], rng.uniform(0.2, 0.8, 2)) for at in range(1, len(GROUPS) + 1)}
    for n, row in enumerate(order):
        pixels = good[row]
        if n >= len(kinds):
            yield Example(pixels, np.zeros(pixels.shape[:2], bool), "good", 0, n)
            continue
        elsewhere = flaws[len(GROUPS) + n % (len(flaws) - len(GROUPS))], rng.uniform(0.15, 0.85, 2)
        flaw, place = places.get(kinds[n], elsewhere)
        yield Example(*_paste(pixels, flaw, place + rng.normal(0, 0.005, 2), rng), kinds[n], 0, n)


def tinted_aliens(root: Path, seed: int) -> Iterator[Example]:
    """Good rubber figures turned to three colours, which are the variants; a soft-edged stain is the flaw.

    There are only 58 of them, so each stands in the pool without a flaw, and most with one as well."""
    photos = [read_photo(PhotoFile(file.name, file)).pixels for file in listed(root / "test" / "good")]
    rng = np.random.default_rng(seed)
    kinds = _flawed_kinds((18, 8, 8, 4, 4, 4), 6)
    kinds += ["good"] * (len(photos) - len(kinds))
    looks = {f"recurring-{at}": Stain(rng) for at in range(1, len(GROUPS) + 1)}
    variants = rng.permutation(len(photos)) % 3
    order = rng.permutation(len(photos))
    for specimen, (pixels, variant, at) in enumerate(zip(photos, variants, order, strict=True)):
        coloured = _turn_hue(pixels, (0.0, 0.33, 0.62)[variant])
        yield Example(coloured, np.zeros(pixels.shape[:2], bool), "good", int(variant), specimen)
        if kinds[at] != "good":
            stain = looks.get(kinds[at]) or Stain(rng)
            yield Example(*stain.apply(coloured, rng), kinds[at], int(variant), specimen)


class Stain:
    """A soft-edged stain at one place of a figure's body: one look, put on any photo."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.place = rng.uniform((0.40, 0.30), (0.60, 0.75))  # on the body, as shares of height and width
        self.radius = rng.uniform(0.03, 0.08)  # a share of the width
        self.stretch = rng.uniform(0.5, 2.0)
        self.colour = rng.uniform(0, 255, 3)
        self.phases, self.heights = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.1, 0.3, 3)  # of its wavy outline

    def apply(self, pixels: RGB, rng: np.random.Generator) -> tuple[RGB, Mask]:
        height, width = pixels.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        cy, cx = (self.place + rng.normal(0, 0.005, 2)) * (height, width)
        dy, dx = (y - cy) * self.stretch, (x - cx) / self.stretch
        angle = np.arctan2(dy, dx)
        waves = zip(self.phases, self.heights, strict=True)
        outline = 1 + sum(a * np.sin((n + 2) * angle + p) for n, (p, a) in enumerate(waves))
        inside = self.radius * width * outline - np.hypot(dy, dx)
        part = pixels.min(axis=2) < 230  # not on the white beside the figure
        alpha = np.clip(inside / 4 + 0.5, 0, 1) * 0.75 * part
        mixed = pixels * (1 - alpha[..., None]) + self.colour * alpha[..., None]
        return np.rint(mixed).astype(np.uint8), (inside > 0) & part


def listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda file: natural_key(file.name))


def _flawed_kinds(groups: tuple[int, ...], sporadic: int) -> list[str]:
    return [f"recurring-{at}" for at, count in enumerate(groups, 1) for _ in range(count)] + ["sporadic"] * sporadic


def _turn_hue(pixels: RGB, turn: float) -> RGB:
    hsv = np.array(Image.fromarray(pixels).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(turn * 255)) % 256
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def _tile_flaws(root: Path, rng: np.random.Generator) -> list[tuple[Float64, Mask]]:
    """Crops of flaws: brightness relative to the surrounding surface (h, w), and their masks."""
    flaws: list[tuple[Float64, Mask]] = []
    for kind in ("blowhole", "break", "crack", "fray", "blowhole", "break", "crack"):
        files = listed(root / "test" / kind)
        for at in rng.permutation(len(files)):
            grey = read_photo(PhotoFile("", files[at])).pixels.mean(axis=2)
            mask = read_mask(root / "ground_truth" / kind / f"{files[at].stem}.png")
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            if not 0.12 < max(height / grey.shape[0], width / grey.shape[1]) < 0.35:
                continue
            top, left = max(rows[0] - MARGIN, 0), max(columns[0] - MARGIN, 0)
            crop = np.s_[top : rows[-1] + MARGIN + 1, left : columns[-1] + MARGIN + 1]
            flaws.append((grey[crop] - np.median(grey[crop][~mask[crop]]), mask[crop]))
            break
    different = len(flaws)
    while len(flaws) < len(GROUPS) + SPORADIC:  # sporadic ones: the same flaws turned, elsewhere
        relief, mask = flaws[len(flaws) % different]
        turns = 1 + len(flaws) // different
        flaws.append((np.rot90(relief, turns), np.rot90(mask, turns)))
    return flaws


def _paste(pixels: RGB, flaw: tuple[Float64, Mask], place: Float64, rng: np.random.Generator) -> tuple[RGB, Mask]:
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
