"""Products to learn from and to be tested on, with their truth, what a scan says of them, and what a tower sees.

Every product is a folder as MVTec AD and VisA have one a class; rendered ones are written as such first. It knows
files and arrays, neither noise nor students.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

import blemish
from blemish.inputs.images import PhotoFile, read_photo
from blemish.inputs.layouts import list_photos
from blemish.inputs.synthetic import render_batch
from blemish.inputs.truth import Truth, fit_mask, read_mask, read_truth
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.prompt_file import Seen
from blemish.learning.pseudo_calls import Recipe
from blemish.learning.pseudo_masks import PixelLabels, pixel_labels, pseudo_labels

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

FINE = 448  # pixels: the least side of masks that noise is put on; students learn from smaller ones
BATCH = 8


@dataclass(frozen=True)
class Product:
    """Half of a product's photos; ``masks``: (FINE, FINE) or larger."""

    words: str
    photos: tuple[PhotoFile, ...]
    labels: tuple[bool, ...]
    masks: tuple[Bools, ...]

    def __len__(self) -> int:
        return len(self.photos)


@dataclass(frozen=True)
class Taught:
    """What students are told of the photos ``rows`` (numbers within the product): one of each a photo."""

    rows: tuple[int, ...]
    labels: tuple[bool, ...]
    masks: tuple[Bools, ...]  # (M, M) as all of these
    soft: tuple[Floats, ...]
    confidence: tuple[Floats, ...]
    photo_weights: tuple[float, ...]


def rendered(name: str, photos: int, bad: int, seed: int, folder: Path, flaws: tuple[float, float]) -> Path:
    """A rendered product as an MVTec-like tree; made once."""
    home = folder / name
    if not home.exists():
        unfinished = folder / f"{name}.part"
        for kind in ("test/good", "test/flawed", "ground_truth/flawed"):
            (unfinished / kind).mkdir(parents=True, exist_ok=True)
        for photo in render_batch(name, photos, size=512, seed=seed, sporadic=bad, flaw_size=flaws):
            stem, flawed = Path(photo.name).stem, photo.kind != "good"
            place = unfinished / "test" / ("flawed" if flawed else "good")
            Image.fromarray(photo.pixels).save(place / f"{stem}.png", compress_level=1)
            if flawed:
                Image.fromarray(photo.mask).save(unfinished / "ground_truth" / "flawed" / f"{stem}_mask.png")
        unfinished.rename(home)
    return home


def halves(folder: Path, most: int, target: int) -> tuple[Product, Product]:
    """One class as photos to learn from and photos to be tested on, good and bad ones in turn; of more than ``most`` in
    each half evenly some, in their proportion."""
    listing = list_photos(folder)
    truth = read_truth(folder, [photo.path for photo in listing.photos])
    known = [(photo, truth[photo.path]) for photo in listing.photos if photo.path in truth]
    kinds = [[pair for pair in known if pair[1].label == label] for label in (False, True)]
    chosen = [_evenly(kind, 2 * round(most * len(kind) / len(known))) for kind in kinds]
    shape = (max(target, FINE),) * 2

    def half(first: int) -> Product:
        pairs = [pair for kind in chosen for pair in kind[first::2]]
        return Product(
            folder.name.replace("_", " "),
            tuple(photo for photo, _ in pairs),
            tuple(known.label for _, known in pairs),
            tuple(fit_mask(read_mask(k.mask), shape) if k.mask else np.zeros(shape, np.bool_) for _, k in pairs),
        )

    return half(0), half(1)


def seen(model: AnomalyClip | AprilGan, item: Product, side: int, cache: Path) -> Seen:
    """What the model's frozen tower sees of all photos, (n, ...) in half precision; kept in ``cache``."""
    from safetensors.torch import load_file, save_file

    pair, device = model.pair, model.pair.vision.proj.device
    said = f"{type(model).__name__} {pair.weights_sha256} {model.settings} {item.photos} {side}"
    file = cache / f"{hashlib.sha256(said.encode()).hexdigest()[:24]}.safetensors"
    if not file.exists():
        parts: list[Seen] = []
        for at in range(0, len(item), BATCH):
            some = [Image.fromarray(read_photo(photo).pixels) for photo in item.photos[at : at + BATCH]]
            arrays = [np.asarray(one.resize((side, side), Image.Resampling.BICUBIC)) for one in some]
            pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
            parts.append(model.see(pair.pixels(pixels.to(device))))
        layers = {f"{n}": torch.cat([part.patches[n] for part in parts]) for n in range(len(parts[0].patches))}
        tensors = {"image": torch.cat([part.image for part in parts]), **layers}
        unfinished = file.with_suffix(f".{os.getpid()}")
        save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, unfinished)
        unfinished.replace(file)
        print(f"seen: {len(item)} photos of {item.words} for {type(model).__name__}", file=sys.stderr, flush=True)
    tensors = load_file(file)
    layers_ = tuple(tensors[f"{n}"] for n in range(len(tensors) - 1))
    return Seen(tensors["image"].float(), layers_, (side // pair.facts.patch,) * 2)


def own(item: Product, target: int, runs: Path) -> Taught:
    """What a scan of these photos says, made once: pseudo labels and masks by the default recipe. Raises ``InputError``
    if the scan calls nothing defective."""
    run, photos = runs / item.words, runs / f"{item.words}, photos"
    if not (run / "run.json").exists():
        photos.mkdir(parents=True, exist_ok=True)
        for row, photo in enumerate(item.photos):
            shutil.copyfile(photo.file, photos / f"{row:04d}{photo.file.suffix}")
        blemish.scan(photos, cache=False).save(run)
    found, recipe, shape = pseudo_labels(run), Recipe(), (target, target)
    sure = PixelLabels(np.zeros(shape, np.bool_), np.zeros(shape, np.float32), np.ones(shape, np.float32))
    pixels = [
        pixel_labels(found.grids[photo.path], shape, found.level, recipe) if photo.label else sure
        for photo in found.photos
    ]
    return Taught(
        tuple(int(Path(photo.path).stem) for photo in found.photos),
        tuple(photo.label for photo in found.photos),
        tuple(one.mask for one in pixels),
        tuple(one.soft for one in pixels),
        tuple(one.confidence for one in pixels),
        tuple(photo.confidence for photo in found.photos),
    )


def taught(labels: Sequence[bool], masks: Sequence[Bools], target: int, patch: float) -> Taught:
    """Masks that somebody has drawn, made (target, target). All photos are believed; pixels the less the nearer they
    are to an outline, as in pseudo-masks: wholly from ``patch`` pixels on."""
    small = [fit_mask(mask, (target, target)) for mask in masks]
    soft = [_ramp(mask, patch) for mask in small]
    sure = [np.abs(2 * one - 1) for one in soft]
    return Taught(
        tuple(range(len(small))), tuple(labels), tuple(small), tuple(soft), tuple(sure), tuple(1.0 for _ in small)
    )


def picked(told: Taught, rows: Sequence[int]) -> Taught:
    """Of all photos only ``rows``."""
    return Taught(*(tuple(getattr(told, part.name)[row] for row in rows) for part in fields(Taught)))


def _ramp(mask: Bools, patch: float) -> Floats:
    """From 0 over a half on the outlines to 1, or to the middle of what is thinner than ``patch``."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    inside = ndimage.distance_transform_edt(mask)
    deepest = np.concatenate([[1.0], ndimage.maximum(inside, pieces, np.arange(1, count + 1))])[pieces]
    outside = ndimage.distance_transform_edt(~mask)
    signed = np.where(mask, inside / np.minimum(deepest, patch), -outside / patch)
    return np.asarray(0.5 + np.clip(signed, -1, 1) / 2, dtype=np.float32)


def _evenly(items: list[tuple[PhotoFile, Truth]], count: int) -> list[tuple[PhotoFile, Truth]]:
    return [items[at] for at in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]
