"""Copies of an annotated photo, turned, mirrored, bent or seen askew, with its mask moved alike.

A detector taught from one photo is tried on such copies (pseudo-validation after Abdali et al., arXiv 2507.23712). What
lies beyond the border is mirrored in, since black corners would look anomalous. It knows pixels; nothing of scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.errors import InputError

__all__ = ["AUGMENTATIONS", "Copy", "augmented", "turned"]

RGB = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

AUGMENTATIONS = ("rotate", "flip", "distort", "skew")

ANGLE = 40.0  # degrees; the smallest is a quarter of it
SHIFT = 0.03  # of the shorter side, so that a mirrored photo meets the token grid elsewhere
BEND = 0.03  # of the shorter side: standard deviation of the displacement
KNOTS = 5  # a side of the field that bends: waves no shorter than half of the photo
TILT = 0.12  # of either side: how far a corner moves
KEPT = 0.5  # of the flaw's area must still be in the picture


@dataclass(frozen=True)
class Copy:
    """``pixels: (H, W, 3)``, ``mask: (H, W)`` and which of ``AUGMENTATIONS`` made it."""

    pixels: RGB
    mask: Mask
    family: str


def augmented(pixels: RGB, mask: Mask, count: int, seed: int = 0) -> Iterator[Copy]:
    """``count`` copies of ``pixels: (H, W, 3)`` and ``mask: (H, W)``, the families in turn; equal arguments give equal
    copies. A normal photo has an empty mask.

    A copy that pushes most of the flaw out of the picture is made again with half the strength. Raises ``InputError``
    if the mask has another size than the photo."""
    if pixels.shape[:2] != mask.shape:
        raise InputError(
            f"The mask is {mask.shape[1]} x {mask.shape[0]} pixels, its photo {pixels.shape[1]} x {pixels.shape[0]}; "
            "draw the mask on the photo itself, in its size."
        )
    return (_copy(pixels, mask, at, seed) for at in range(count))


def turned(pixels: RGB, mask: Mask) -> Iterator[Copy]:
    """Seven copies, each 45 degrees further round: references of a part that lies as it falls (AnomalyDINO, Damm et al.
    2025, turns its references alike)."""
    for degrees in range(45, 360, 45):
        places = _rotated(mask.shape, degrees)
        yield _moved(pixels, _sample(mask.astype(np.float32), places) >= 0.5, places, "rotate")


def _copy(pixels: RGB, mask: Mask, at: int, seed: int) -> Copy:
    family = AUGMENTATIONS[at % len(AUGMENTATIONS)]
    strength = 1.0
    while True:
        places = _places(family, mask.shape, np.random.default_rng((seed, at)), strength)
        moved = _sample(mask.astype(np.float32), places) >= 0.5
        if moved.sum() >= KEPT * mask.sum() and (moved.any() or not mask.any()):
            break
        if strength < 0.01:  # a flaw of single pixels can fall between them
            moved, places = mask.copy(), _still(mask.shape)
            break
        strength /= 2
    return _moved(pixels, moved, places, family)


def _moved(pixels: RGB, mask: Mask, places: Float32, family: str) -> Copy:
    """``pixels`` taken from ``places``; the ``mask`` has been moved."""
    bands = [_sample(pixels[..., band].astype(np.float32), places) for band in range(pixels.shape[2])]
    return Copy(np.clip(np.rint(np.stack(bands, axis=-1)), 0, 255).astype(np.uint8), mask, family)


def _places(family: str, shape: tuple[int, ...], rng: np.random.Generator, strength: float) -> Float32:
    """Where each pixel of the copy is taken from: (2, H, W), rows and columns of the photo."""
    if family == "rotate":
        return _rotated(shape, strength * rng.uniform(ANGLE / 4, ANGLE) * rng.choice((-1, 1)))
    if family == "flip":
        return _flipped(shape, int(rng.integers(1, 4)), strength * SHIFT * rng.uniform(-1, 1, 2))
    if family == "distort":
        return _still(shape) + strength * BEND * min(shape) * _waves(shape, rng)
    return _askew(shape, strength * TILT * rng.uniform(-1, 1, (4, 2)))


def _still(shape: tuple[int, ...]) -> Float32:
    return np.indices(shape, dtype=np.float32)


def _rotated(shape: tuple[int, ...], degrees: float) -> Float32:
    centre = (np.array(shape, dtype=np.float32) - 1)[:, None, None] / 2
    y, x = _still(shape) - centre
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.asarray(np.stack([cos * y - sin * x, sin * y + cos * x]) + centre, dtype=np.float32)


def _flipped(shape: tuple[int, ...], axes: int, shift: npt.NDArray[np.float64]) -> Float32:
    """``axes``: 1 top to bottom, 2 left to right, 3 both."""
    places = _still(shape)
    for axis in (0, 1):
        if axes & (axis + 1):
            places[axis] = shape[axis] - 1 - places[axis]
        places[axis] += shift[axis] * min(shape)
    return places


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    """(2, H, W) smooth, about normal."""
    knots = rng.standard_normal((2, KNOTS, KNOTS)).astype(np.float32)
    size = (shape[1], shape[0])
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in knots])


def _askew(shape: tuple[int, ...], moves: npt.NDArray[np.float64]) -> Float32:
    """The projective map that moves the four corners by ``moves: (4, 2)``, in shares of height and width."""
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], dtype=np.float64)
    rows, wanted = [], []
    for (y, x), (v, u) in zip(corners, corners + moves, strict=True):
        rows += [[y, x, 1, 0, 0, 0, -y * v, -x * v], [0, 0, 0, y, x, 1, -y * u, -x * u]]
        wanted += [v, u]
    a = np.append(np.linalg.solve(np.array(rows), np.array(wanted)), 1).reshape(3, 3)
    size = np.maximum(np.array(shape, dtype=np.float64) - 1, 1)[:, None, None]
    y, x = _still(shape) / size
    w = a[2, 0] * y + a[2, 1] * x + a[2, 2]
    v, u = (a[0, 0] * y + a[0, 1] * x + a[0, 2]) / w, (a[1, 0] * y + a[1, 1] * x + a[1, 2]) / w
    return np.asarray(np.stack([v, u]) * size, dtype=np.float32)


def _sample(image: Float32, places: Float32) -> Float32:
    """``image: (H, W)`` at ``places: (2, H, W)``, bilinear, mirrored beyond its border."""
    from scipy.ndimage import map_coordinates

    return np.asarray(map_coordinates(image, places, order=1, mode="reflect"), dtype=np.float32)
