"""Where the blemishes are: connected places of a map that stand out, at the original size of the photo or volume.

A place is seeded by what exceeds the pixel threshold and reaches down to a share of its own peak: a map is blurred by
what each token has seen, so one level for all would draw a strong flaw far too wide and a faint one too narrow
(benchmarks/regions.md). It knows maps and sizes; which photos are asked about is the image threshold's business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from blemish.judgement import Lesion, Region
from blemish.result import upsample

__all__ = ["lesions_of", "mask_of", "pixel_threshold", "regions_of"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
T = TypeVar("T")

SEEDS = 0.9  # share of the ok photos in which nothing may seed a region
REACH = 0.65  # a region ends where its peak's height above the photo's ground has fallen to this share
REACH_3D = 0.45  # of a volume, whose maps are weighed by place and so steeper (docs/volumes.md)
GROUND = 0.25  # quantile of a photo's own map: still sound surface where a flaw covers most of the picture
CELL = 4  # samples a side of a token, on which outlines are found: photos may have millions of pixels, tokens do not
CELL_3D = 2  # the same of a volume, where they are 8 to a token
SPECK = 0.25  # tokens: a smaller piece is not a region, unless it holds the photo's peak
BESIDE = 0.3  # of the height of the photo's peak: a lower seed beside it is taken for noise
PLACES = 30  # seeds that are followed, highest first: a map of noise has hundreds, and nobody would look at them

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Place:
    box: tuple[slice, ...]  # samples of the canvas
    centre: tuple[float, ...]  # samples
    peak: float
    share: float
    severity: float


def pixel_threshold(grids: Float32) -> float:
    """The map value that seeds a region, from the maps ``grids: (n, h, w)``, or of volumes, of the photos called ok.

    Nine of ten ok photos stay below it everywhere. Where the image score is a map's largest value, it lies below the
    image threshold as theirs do, and a photo above that one has a seed. 0 where no photo is ok: then every photo's own
    peak decides."""
    return float(np.quantile(grids.reshape(len(grids), -1).max(axis=1), SEEDS)) if len(grids) else 0.0


def mask_of(grid: Float32, shape: Shape, threshold: float, inside: Bools | None = None) -> Bools:
    """(h, w) map -> (H, W) mask at ``shape``, the photo's own size: the regions of ``regions_of``, never empty; or
    (x, y, z) map -> mask (X, Y, Z): the lesions of ``lesions_of`` with the same ``inside``."""
    margin = _margin(grid, threshold, inside)[1]
    mask = np.asarray(upsample(margin, shape) > 0)
    if not mask.any():  # a photo smaller than its canvas can fall between the samples
        top = np.unravel_index(np.argmax(margin), margin.shape)
        mask[tuple(at * side // samples for at, side, samples in zip(top, shape, margin.shape, strict=True))] = True
    return mask


def regions_of(grid: Float32, shape: tuple[int, int], threshold: float) -> tuple[Region, ...]:
    """The places that stand out in ``grid: (h, w)``, most severe first, in pixels of a photo of ``shape`` (H, W).

    At least one: where nothing exceeds ``threshold``, the surroundings of the peak."""
    values, margin = _margin(grid, threshold)
    regions = []
    for place in _places(values, margin, threshold):
        (top, bottom), (left, right) = _box(place, values.shape, shape)
        area = min(max(1, round(place.share * shape[0] * shape[1])), (bottom - top) * (right - left))
        regions.append(Region(left, top, right, bottom, area, place.peak, place.share, place.severity))
    return tuple(sorted(regions, key=lambda region: (-region.severity, -region.peak)))


def lesions_of(
    grid: Float32, shape: tuple[int, int, int], threshold: float, inside: Bools | None = None
) -> tuple[Lesion, ...]:
    """The same for ``grid: (x, y, z)``, in voxels of a volume of ``shape`` (X, Y, Z).

    ``inside``: (x, y, z) the cells that count; the values of the others say nothing of what is usual, and shares are
    of these."""
    values, margin = _margin(grid, threshold, inside)
    counting = 1.0 if inside is None else max(float(inside.mean()), 1 / inside.size)
    lesions = []
    for place in _places(values, margin, threshold):
        box = _box(place, values.shape, shape)
        most = math.prod(stop - start for start, stop in box)
        share = min(1.0, place.share / counting)
        lesions.append(
            Lesion(
                start=_triple([start for start, _ in box]),
                stop=_triple([stop for _, stop in box]),
                voxels=min(max(1, round(place.share * math.prod(shape))), most),
                centre=_triple(
                    [
                        at * (side - 1) / max(samples - 1, 1)
                        for at, side, samples in zip(place.centre, shape, values.shape, strict=True)
                    ]
                ),
                peak=place.peak,
                share=share,
                severity=share * place.severity / place.share,
            )
        )
    return tuple(sorted(lesions, key=lambda lesion: (-lesion.severity, -lesion.peak)))


def _places(values: Float32, margin: Float32, threshold: float) -> Iterator[_Place]:
    labels, count = ndimage.label(margin > 0, structure=_touching(margin))
    weights = np.ones(values.shape)
    for axis in range(values.ndim):  # half of what the outermost samples stand for lies outside of the picture
        np.moveaxis(weights, axis, 0)[[0, -1]] /= 2
    weights /= weights.sum()
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        own = labels[box] == number
        inside, share = values[box][own], float(weights[box][own].sum())
        excess = float(np.maximum(inside - threshold, 0).mean()) / (threshold if threshold > 0 else 1.0)
        centre = tuple(float(at.mean() + along.start) for at, along in zip(np.nonzero(own), box, strict=True))
        yield _Place(box, centre, float(inside.max()), share, share * excess)


def _box(place: _Place, samples: Shape, shape: Shape) -> list[tuple[int, int]]:
    """First pixel and the one behind the last, along each axis."""
    return [_ends(*along) for along in zip(place.box, samples, shape, strict=True)]


def _touching(values: npt.NDArray[Any]) -> Bools:
    """Samples that touch belong together, also by a corner."""
    return np.ones((3,) * values.ndim, np.bool_)


def _canvas(grid: Shape) -> Shape:
    """Samples along each side. Of volumes, one on every token, so that its value is seen, and one between."""
    return tuple(CELL * side for side in grid) if len(grid) == 2 else tuple(CELL_3D * (side - 1) + 1 for side in grid)


def _cell(dimensions: int) -> int:
    return CELL if dimensions == 2 else CELL_3D


def _margin(grid: Float32, threshold: float, inside: Bools | None = None) -> tuple[Float32, Float32]:
    """The map on a canvas of some samples a token, and how far each sample lies inside a region (or, negative,
    outside): its outline is where that is 0, at whatever size it is enlarged to."""
    values = upsample(grid, _canvas(grid.shape))
    top = float(values.max())
    ground = float(np.quantile(grid if inside is None or not inside.any() else grid[inside], GROUND))
    if threshold > 0:
        ground = min(ground, threshold)  # higher where a flaw covers nearly all of the picture
    seeds, count = ndimage.label(values > threshold, structure=_touching(values))
    if not count:
        seeds, count = (values == top).astype(np.int32), 1
    least = np.float32(1e-6 * max(abs(top), 1e-6))  # keeps a lone sample inside and its surroundings outside
    margin = np.full(values.shape, min(ground - top, 0) - least, np.float32)  # below any sample beside a region
    peaks = np.asarray(ndimage.maximum(values, seeds, np.arange(1, count + 1)))
    heights = peaks - ground
    reach = REACH if values.ndim == 2 else REACH_3D
    for seed in np.argsort(-peaks, kind="stable")[:PLACES]:
        core = seeds == seed + 1
        if heights[seed] < BESIDE * heights.max() or (margin[core] > 0).any():  # within the reach of a higher one
            continue
        level = np.float32(ground + reach * heights[seed])
        part = _part(values, core, level)
        rim = ndimage.binary_dilation(part, _touching(values))
        own = np.where(part, np.maximum(values - level, least), np.minimum(values - level, -least))
        margin[rim] = np.maximum(margin[rim], own[rim])
    return values, margin


def _part(values: Float32, core: Bools, level: np.float32) -> Bools:
    """The connected pieces above ``level`` that meet ``core``, without specks; the peak at least."""
    pieces, count = ndimage.label(values > level, structure=_touching(values))
    kept = np.zeros(count + 1, np.bool_)
    kept[pieces[core]] = True
    kept &= np.bincount(pieces.ravel(), minlength=count + 1) >= SPECK * _cell(values.ndim) ** values.ndim
    kept[0] = False
    peak = np.unravel_index(np.argmax(np.where(core, values, -np.inf)), values.shape)
    kept[pieces[peak]] = pieces[peak] > 0
    part = np.asarray(kept[pieces])
    part[peak] = True
    return part


def _triple(values: list[T]) -> tuple[T, T, T]:
    first, second, third = values
    return first, second, third


def _ends(inside: slice, samples: int, pixels: int) -> tuple[int, int]:
    """Samples of the canvas -> first pixel and the one behind the last; both have their corners aligned."""
    step = (pixels - 1) / max(samples - 1, 1)
    first = int(np.floor((inside.start - 0.5) * step + 0.5))
    last = int(np.ceil((inside.stop - 0.5) * step + 0.5))
    return max(0, min(first, pixels - 1)), min(pixels, max(last, first + 1))
