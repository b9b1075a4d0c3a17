"""Where the blemishes are: connected places of a map above the pixel threshold, at the photo's original size.

It knows maps and sizes; which photos are asked about is the threshold's business. Nothing here needs torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from blemish.judgement import Region
from blemish.result import upsample

__all__ = ["mask_of", "pixel_threshold", "regions_of"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def pixel_threshold(grids: Float32) -> float:
    """The map value from which a pixel is not ordinary, from maps ``grids: (n, h, w)`` of photos called ok."""
    return float(np.quantile(grids.reshape(len(grids), -1).max(axis=1), 0.9))


def mask_of(grid: Float32, shape: tuple[int, int], threshold: float) -> Bools:
    """(h, w) map -> (H, W) mask at ``shape``, the photo's own size."""
    return np.asarray(upsample(grid, shape) > threshold)


def regions_of(grid: Float32, shape: tuple[int, int], threshold: float) -> tuple[Region, ...]:
    """The regions of ``mask_of``, most severe first."""
    values = upsample(grid, shape)
    labels, count = ndimage.label(values > threshold, structure=np.ones((3, 3)))
    regions = []
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        inside = values[box][labels[box] == number]
        share = inside.size / values.size
        excess = float(inside.mean() - threshold) / threshold
        rows, columns = box
        regions.append(
            Region(
                columns.start,
                rows.start,
                columns.stop,
                rows.stop,
                inside.size,
                float(inside.max()),
                share,
                share * excess,
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.severity))
