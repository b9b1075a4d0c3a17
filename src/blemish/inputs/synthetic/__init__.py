"""Made-up product photos with known flaws, for demonstrations, tests and benchmarks that need no download.

`render_batch` yields photos of one product with sporadic flaws, each different, and recurring ones, each the
same in many photos, with exact masks; `write_batch` saves them as the plain folder a user would have, and the
truth beside it. How a product, a flaw or a photo is drawn is told in the other files of this folder; nothing
here knows what the detector does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from blemish.errors import ConfigError

from .batch import CATALOGUE, Batch, log_uniform
from .flaws import FLAWS, draw_flaw, recur
from .layers import SUPERSAMPLING

__all__ = ["FLAWS", "PRODUCTS", "SyntheticPhoto", "render_batch", "write_batch"]

PRODUCTS: tuple[str, ...] = tuple(CATALOGUE)

SPECIMENS = 3  # differently made parts per variant; texture, pose and light tell further photos of one apart
SMALLEST = 64


@dataclass(frozen=True)
class SyntheticPhoto:
    """One rendered photo and the truth about it."""

    name: str  # "0001.jpg": the order of names reveals nothing
    pixels: np.ndarray  # (H, W, 3) uint8, sRGB
    mask: np.ndarray  # (H, W) bool, where the flaw changed the part; all False for a good part
    kind: str  # "good", one of FLAWS, or "recurring-1", "recurring-2", ...
    variant: int  # 0-based legitimate variant


def render_batch(
    product: str,
    photos: int,
    *,
    size: int = 512,
    seed: int = 0,
    sporadic: int = 0,
    recurring: Sequence[int] = (),
    variants: int = 1,
    flaw_size: tuple[float, float] = (0.03, 0.15),
) -> Iterator[SyntheticPhoto]:
    """Render a batch of photos of one product, one by one.

    product: one of `PRODUCTS`.
    photos: how many, flawed ones included.
    size: height in pixels; also the width, but the bottle is portrait: 0.75 * size wide.
    seed: equal arguments give equal pixels; no global random state is read or changed.
    sporadic: photos with one flaw each, every one different in kind, place, size and look.
    recurring: photos in each recurring group, e.g. (12, 8): within a group all have the same flaw in the same
        place of the part, within 1 % of the photo's side.
    variants: legitimate variants mixed evenly (the bottle has three; the others have one).
    flaw_size: smallest and largest extent of a flaw as a share of the photo's side, but never below 4 pixels.
        Missing pieces are whole, so they are those whose size comes nearest.

    Raises ConfigError at once, before the first photo is asked for.
    """
    _check_batch(product, photos, size, seed, variants)
    _check_flaws(photos, sporadic, recurring, flaw_size)
    batch = Batch(product, size, seed)
    kinds, variant_of = _shuffled(batch.rng(4), photos, sporadic, recurring, variants)
    return _render(batch, kinds, variant_of, len(recurring), flaw_size)


def write_batch(out: Path, photos: Iterable[SyntheticPhoto], *, jpeg_quality: int = 92) -> Path:
    """Write photos/, masks/ (0 and 255, flawed photos only) and truth.csv to `out`; returns it.

    truth.csv has the columns image_path (relative to photos/), label (0 good, 1 flawed), mask_path
    (relative to `out`, empty for good photos), kind and variant.
    """
    (out / "photos").mkdir(parents=True, exist_ok=True)
    (out / "masks").mkdir(exist_ok=True)
    rows = []
    for photo in photos:
        Image.fromarray(photo.pixels).save(out / "photos" / photo.name, quality=jpeg_quality)
        flawed = photo.kind != "good"
        mask_path = f"masks/{Path(photo.name).stem}.png" if flawed else ""
        if flawed:
            Image.fromarray(photo.mask.astype(np.uint8) * 255).save(out / mask_path)
        rows.append((photo.name, int(flawed), mask_path, photo.kind, photo.variant))
    with (out / "truth.csv").open("w", newline="", encoding="utf-8") as file:  # last: it says that all are there
        truth = csv.writer(file, lineterminator="\n")
        truth.writerow(("image_path", "label", "mask_path", "kind", "variant"))
        truth.writerows(rows)
    return out


def _render(
    batch: Batch, kinds: list[str], variant_of: np.ndarray, groups: int, flaw_size: tuple[float, float]
) -> Iterator[SyntheticPhoto]:
    smallest, largest = (max(share * batch.fine.side, 4.0 * SUPERSAMPLING) for share in flaw_size)
    extents = (smallest, largest)
    recurring = {f"recurring-{i}": flaw for i, flaw in enumerate(batch.recurring_flaws(groups, extents), 1)}
    for i, kind in enumerate(kinds):
        rng, variant = batch.rng(3, i), int(variant_of[i])
        part = batch.specimen(variant, int(rng.integers(SPECIMENS)))
        flaw = None
        if kind in recurring:
            flaw = recur(recurring[kind], batch.fine.side, rng)
        elif kind != "good":
            flaw = draw_flaw(kind, part, log_uniform(extents, rng), rng)
        pixels, mask = batch.take(part, flaw, rng)
        yield SyntheticPhoto(f"{i + 1:04d}.jpg", pixels, mask, kind, variant)


def _shuffled(
    rng: np.random.Generator, photos: int, sporadic: int, recurring: Sequence[int], variants: int
) -> tuple[list[str], np.ndarray]:
    """The kind and the variant of each photo, shuffled independently."""
    kinds = [FLAWS[i % len(FLAWS)] for i in range(sporadic)]
    for group, count in enumerate(recurring, start=1):
        kinds += [f"recurring-{group}"] * count
    kinds += ["good"] * (photos - len(kinds))
    return [kinds[i] for i in rng.permutation(photos)], rng.permutation(photos) % variants


def _check_batch(product: str, photos: int, size: int, seed: int, variants: int) -> None:
    if product not in CATALOGUE:
        raise ConfigError(f"There is no synthetic product {product!r}; choose one of {', '.join(PRODUCTS)}.")
    if photos < 1:
        raise ConfigError(f"A batch needs at least 1 photo, but photos={photos}.")
    if size < SMALLEST:
        raise ConfigError(f"size={size} is too small to show a part; use at least {SMALLEST} pixels.")
    if seed < 0:
        raise ConfigError(f"seed={seed} is negative; use 0 or more.")
    available = CATALOGUE[product].variants
    if not 1 <= variants <= available:
        possible = "only 1" if available == 1 else f"1 to {available}"
        raise ConfigError(f"variants={variants} is not possible: {product} has {possible}.")


def _check_flaws(photos: int, sporadic: int, recurring: Sequence[int], flaw_size: tuple[float, float]) -> None:
    if sporadic < 0 or any(count < 1 for count in recurring):
        raise ConfigError(
            f"Received sporadic={sporadic} and recurring={tuple(recurring)}; "
            "sporadic must be 0 or more and each recurring group must have 1 photo or more."
        )
    flawed = sporadic + sum(recurring)
    if flawed > photos:
        raise ConfigError(
            f"sporadic and recurring ask for {flawed} flawed photos, but photos={photos}; "
            f"raise photos to {flawed} or more."
        )
    if not 0.01 <= flaw_size[0] <= flaw_size[1] <= 0.5:
        raise ConfigError(
            f"flaw_size={flaw_size} must be (smallest, largest) as shares of the side, between 0.01 and 0.5."
        )
