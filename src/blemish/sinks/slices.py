"""Three slices of a volume as one small picture, its heat on it: axial, coronal, sagittal.

It knows arrays in RAS order; the patient's left is on the left, up is anterior on the axial slice and superior on the
others, and voxels that are no cubes are stretched to their true shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.sinks.colours import heat
from blemish.sinks.embedded import QUALITY, data_uri

__all__ = ["three_planes"]

Float32 = npt.NDArray[np.float32]

WIDTH = 660  # pixels of the picture
GAP = 6


def three_planes(values: Float32, hot: Float32, spacing: npt.NDArray[np.float64], place: tuple[int, int, int]) -> str:
    """``values``, ``hot``: (X, Y, Z) in 0..1 in RAS order. ``spacing``: mm a voxel. ``place``: the voxel that all three
    slices go through. A JPEG as an address that holds its data, 660 pixels wide, one scale in mm for all three."""
    x, y, z = place
    planes = [(one[:, :, z], one[:, y, :], one[x, :, :]) for one in (values, hot)]
    wide, deep, high = (length * side for length, side in zip(values.shape, spacing, strict=True))
    sides = ((wide, deep), (wide, high), (deep, high))
    scale = (WIDTH - 2 * GAP) / sum(width for width, _ in sides)
    sizes = [(max(1, round(scale * width)), max(1, round(scale * height))) for width, height in sides]
    tallest = max(height for _, height in sizes)
    sheet = Image.new("RGB", (sum(width for width, _ in sizes) + 2 * GAP, tallest))
    left = 0
    for grey, hot_grey, size in zip(*planes, sizes, strict=True):
        sheet.paste(_slice(grey, hot_grey, size), (left, (tallest - size[1]) // 2))
        left += size[0] + GAP
    return data_uri(sheet, "jpeg", quality=QUALITY)


def _slice(values: Float32, hot: Float32, size: tuple[int, int]) -> Image.Image:
    """(across, up) -> a picture of ``size``. Values are enlarged before they are coloured: no colours are mixed."""
    grey = _enlarged(values, size)[..., np.newaxis] * np.float32(255)
    colours = heat(_enlarged(hot, size)).astype(np.float32)
    strength = colours[..., 3:] / 255
    return Image.fromarray(np.rint(grey * (1 - strength) + colours[..., :3] * strength).astype(np.uint8))


def _enlarged(values: Float32, size: tuple[int, int]) -> Float32:
    upright = np.ascontiguousarray(values.T[::-1], dtype=np.float32)  # rows from the top, columns to the right
    larger = np.asarray(Image.fromarray(upright).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    return larger.clip(0, 1)
