"""Where the blemishes are: connected places of a map that stand out, at the photo's original size.

A place is seeded by what exceeds the pixel threshold and reaches down to a share of its own peak: a map is blurred by
what each token has seen, so one level for all would draw a strong flaw far too wide and a faint one too narrow
(benchmarks/regions.md). It knows maps and sizes; which photos are asked about is the image threshold's business.
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

SEEDS = 0.9  # share of the ok photos in which nothing may seed a region
REACH = 0.65  # a region ends where its peak's height above the photo's ground has fallen to this share
GROUND = 0.25  # quantile of a photo's own map: still sound surface where a flaw covers most of the picture
CELL = 4  # samples a side of a token, on which outlines are found: photos may have millions of pixels, tokens do not
SPECK = 0.25  # tokens: a smaller piece is not a region, unless it holds the photo's peak
BESIDE = 0.3  # of the height of the photo's peak: a lower seed beside it is taken for noise
PLACES = 30  # seeds that are followed, highest first: a map of noise has hundreds, and nobody would look at them

TOUCHING = np.ones((3, 3), np.bool_)  # also by a corner


def pixel_threshold(grids: Float32) -> float:
    """The map value that seeds a region, from the maps ``grids: (n, h, w)`` of the photos called ok.

    Nine of ten ok photos stay below it everywhere. Where the image score is a map's largest value, it lies below the
    image threshold as theirs do, and a photo above that one has a seed. 0 where no photo is ok: then every photo's own
    peak decides."""
    return float(np.quantile(grids.reshape(len(grids), -1).max(axis=1), SEEDS)) if len(grids) else 0.0


def mask_of(grid: Float32, shape: tuple[int, int], threshold: float) -> Bools:
    """(h, w) map -> (H, W) mask at ``shape``, the photo's own size: the regions of ``regions_of``, never empty."""
    margin = _margin(grid, threshold)[1]
    mask = np.asarray(upsample(margin, shape) > 0)
    if not mask.any():  # a photo smaller than its canvas can fall between the samples
        row, column = np.unravel_index(np.argmax(margin), margin.shape)
        mask[row * shape[0] // margin.shape[0], column * shape[1] // margin.shape[1]] = True
    return mask


def regions_of(grid: Float32, shape: tuple[int, int], threshold: float) -> tuple[Region, ...]:
    """The places that stand out in ``grid: (h, w)``, most severe first, in pixels of a photo of ``shape`` (H, W).

    At least one: where nothing exceeds ``threshold``, the surroundings of the peak."""
    values, margin = _margin(grid, threshold)
    labels, count = ndimage.label(margin > 0, structure=TOUCHING)
    weights = np.ones(values.shape)
    weights[[0, -1]] /= 2  # half of what these samples stand for lies outside of the picture
    weights[:, [0, -1]] /= 2
    weights /= weights.sum()
    regions = []
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        own = labels[box] == number
        inside, share = values[box][own], float(weights[box][own].sum())
        excess = float(np.maximum(inside - threshold, 0).mean()) / (threshold if threshold > 0 else 1.0)
        top, bottom = _ends(box[0], values.shape[0], shape[0])
        left, right = _ends(box[1], values.shape[1], shape[1])
        area = min(max(1, round(share * shape[0] * shape[1])), (bottom - top) * (right - left))
        regions.append(Region(left, top, right, bottom, area, float(inside.max()), share, share * excess))
    return tuple(sorted(regions, key=lambda region: (-region.severity, -region.peak)))


def _margin(grid: Float32, threshold: float) -> tuple[Float32, Float32]:
    """The map on a canvas of ``CELL`` samples a token, and how far each sample lies inside a region (or, negative,
    outside): its outline is where that is 0, at whatever size it is enlarged to."""
    values = upsample(grid, (CELL * grid.shape[0], CELL * grid.shape[1]))
    top = float(values.max())
    ground = float(np.quantile(grid, GROUND))
    if threshold > 0:
        ground = min(ground, threshold)  # higher where a flaw covers nearly all of the picture
    seeds, count = ndimage.label(values > threshold, structure=TOUCHING)
    if not count:
        seeds, count = (values == top).astype(np.int32), 1
    least = np.float32(1e-6 * max(abs(top), 1e-6))  # keeps a lone sample inside and its surroundings outside
    margin = np.full(values.shape, min(ground - top, 0) - least, np.float32)  # below any sample beside a region
    peaks = np.asarray(ndimage.maximum(values, seeds, np.arange(1, count + 1)))
    heights = peaks - ground
    for seed in np.argsort(-peaks, kind="stable")[:PLACES]:
        core = seeds == seed + 1
        if heights[seed] < BESIDE * heights.max() or (margin[core] > 0).any():  # within the reach of a higher one
            continue
        level = np.float32(ground + REACH * heights[seed])
        part = _part(values, core, level)
        rim = ndimage.binary_dilation(part, TOUCHING)
        own = np.where(part, np.maximum(values - level, least), np.minimum(values - level, -least))
        margin[rim] = np.maximum(margin[rim], own[rim])
    return values, margin


def _part(values: Float32, core: Bools, level: np.float32) -> Bools:
    """The connected pieces above ``level`` that meet ``core``, without specks; the peak at least."""
    pieces, count = ndimage.label(values > level, structure=TOUCHING)
    kept = np.zeros(count + 1, np.bool_)
    kept[pieces[core]] = True
    kept &= np.bincount(pieces.ravel(), minlength=count + 1) >= SPECK * CELL * CELL
    kept[0] = False
    peak = np.unravel_index(np.argmax(np.where(core, values, -np.inf)), values.shape)
    kept[pieces[peak]] = pieces[peak] > 0
    part = np.asarray(kept[pieces])
    part[peak] = True
    return part


def _ends(inside: slice, samples: int, pixels: int) -> tuple[int, int]:
    """Samples of the canvas -> first pixel and the one behind the last; both have their corners aligned."""
    step = (pixels - 1) / max(samples - 1, 1)
    first = int(np.floor((inside.start - 0.5) * step + 0.5))
    last = int(np.ceil((inside.stop - 0.5) * step + 0.5))
    return max(0, min(first, pixels - 1)), min(pixels, max(last, first + 1))
