"""Where the brain is: from the zeros around a stripped one, or a robust guess where the skull is still there.

Arrays in, arrays out. Nothing here trusts a header: sizes are shares of the head's own extent, because headers of
thick slices are often wrong about spacing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["BrainMask", "brain_mask", "is_stripped", "robust_mask", "zeros_mask"]

Bools = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

BORDER_SHARE = 0.5  # of the six outer faces that one value has to fill before it can be a stripped background
SPECKLE_SHARE = 0.02  # of the air around a stripped brain that may differ from its one value
REACH = 3  # voxels, of at most ``HEAD_SIDE``, around the bright part of a head that may be its dim rim
HEAD_SIDE = 128  # the guess is made on at most this many voxels along an axis
LEAST_SHARE = 0.02  # of the volume; less than this is no brain


@dataclass(frozen=True)
class BrainMask:
    """``inside: (X, Y, Z)``; ``how``: what was done and why, a few words for the user."""

    inside: Bools
    how: str


def brain_mask(values: Float32, *, cut: float = 0.05, floor: float = 0.5) -> BrainMask:
    """The mask of ``values: (X, Y, Z)``: ``zeros_mask`` if the volume is stripped, ``robust_mask`` if not.

    ``cut`` and ``floor`` as in ``robust_mask``. Where neither finds a plausible brain, everything that is not
    background is taken, and ``how`` says so.
    """
    if is_stripped(values):
        return BrainMask(zeros_mask(values), "stripped: what is not background")
    guess = robust_mask(values, cut=cut, floor=floor)
    if guess.mean() >= LEAST_SHARE:
        return BrainMask(guess, "not stripped: a robust guess at the brain")
    return BrainMask(_head(values), "not stripped, and no brain found in it: the whole head")


def is_stripped(values: Float32) -> bool:
    """Whether one exact value surrounds one piece of tissue.

    A scanner's air is noise, even where it is mostly 0; a head whose air was set to 0 has the dark ring of the skull
    under a bright skin, a stripped brain has not.
    """
    background = _outer_value(values)
    if background is None:
        return False
    step = _step(values)
    values = values[:: step[0], :: step[1], :: step[2]]  # single voxels, as an average of two values is a third
    from scipy import ndimage

    air = ~ndimage.binary_dilation(_head(values), iterations=REACH)
    if not air.any() or (values[air] != background).mean() > SPECKLE_SHARE:
        return False
    return not _has_skull(values, values != background)


def zeros_mask(values: Float32) -> Bools:
    """Everything of a stripped volume but its background: enclosed zeros (ventricles of a wiped mask) are filled."""
    from scipy import ndimage

    background = _outer_value(values)
    solid = values != (0 if background is None else background)
    labels, pieces = ndimage.label(solid)
    if pieces > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        solid = labels == sizes.argmax()
    return np.asarray(ndimage.binary_fill_holes(solid))


def robust_mask(values: Float32, *, cut: float = 0.05, floor: float = 0.5) -> Bools:
    """A guess at the brain inside a head: (X, Y, Z) -> (X, Y, Z).

    Tissue (brighter than ``floor`` times the median of the head's core) is thinned by ``cut`` of the head's extent
    along every axis, which parts the brain from the scalp where dark skull lies between them; the piece nearest the
    core is grown back by as much, and holes are filled. Meant for judging and scaling, not for volumetry.
    """
    from scipy import ndimage

    step = _step(values)
    small = ndimage.uniform_filter(values, step)[:: step[0], :: step[1], :: step[2]] if max(step) > 1 else values
    head = _head(small)
    if not head.any():
        return np.zeros(values.shape, np.bool_)
    extent = _extent(head)
    depth = _depth(head, extent)
    core = depth > 0.5 * depth.max()
    level = float(np.median(small[core]))
    # voxels at the volume's own border are no surface: the field of view cuts the head there
    tissue = head & (small > floor * level)
    labels, pieces = ndimage.label(_depth(tissue, extent, at_the_border=True) > cut)
    if not pieces:
        return np.zeros(values.shape, np.bool_)
    votes = np.bincount(labels[core], minlength=pieces + 1)
    votes[0] = 0
    if not votes.any():
        return np.zeros(values.shape, np.bool_)
    brain = labels == votes.argmax()
    grown = _filled((ndimage.distance_transform_edt(~brain, sampling=tuple(1 / extent)) < cut) & head)
    for axis in range(3):
        grown = np.repeat(grown, step[axis], axis=axis)
    return np.asarray(grown[: values.shape[0], : values.shape[1], : values.shape[2]])


def _step(values: Float32) -> tuple[int, int, int]:
    x, y, z = (max(1, -(-side // HEAD_SIDE)) for side in values.shape)
    return x, y, z


def _head(values: Float32) -> Bools:
    """The largest piece that is clearly brighter than the air around it, holes filled."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(values, 1.0)
    found = smooth > 0.6 * _otsu(np.minimum(smooth, np.percentile(smooth, 98)))
    labels, pieces = ndimage.label(found)
    if not pieces:
        return np.asarray(found)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return _filled(labels == sizes.argmax())


def _filled(mask: Bools) -> Bools:
    """Holes filled in every slice across each axis, so that a cavity that opens at the volume's end is one too."""
    from scipy import ndimage

    filled = mask.copy()
    for axis in range(3):
        for at in range(mask.shape[axis]):
            plane = (slice(None),) * axis + (at,)
            filled[plane] |= ndimage.binary_fill_holes(mask[plane])
    return filled


def _outer_value(values: Float32) -> float | None:
    """The value that fills most of the six outer faces; None if none does."""
    faces = np.concatenate([values.take((0, -1), axis).ravel() for axis in range(3)])
    distinct, count = np.unique(faces, return_counts=True)
    return float(distinct[count.argmax()]) if count.max() >= BORDER_SHARE * faces.size else None


def _has_skull(values: Float32, solid: Bools) -> bool:
    """Whether, going inwards from the surface, it is bright, then dark, then bright again: skin, skull, brain."""
    filled = _filled(solid)
    depth = _depth(filled, _extent(filled))
    edges = np.linspace(0, 0.2, 11)
    shells = [values[(depth > low) & (depth <= high)] for low, high in pairwise(edges)]
    profile = np.array([np.median(shell) for shell in shells if shell.size])
    if profile.size < 4:
        return False
    dark = int(profile[:-1].argmin())
    return bool(dark > 0 and profile[dark] < 0.6 * min(profile[:dark].max(), profile[dark + 1 :].max()))


def _extent(mask: Bools) -> npt.NDArray[np.float64]:
    """(3,) voxels from the first to the last plane that holds some of the mask."""
    planes = [np.flatnonzero(mask.any(axis=_others(axis))) for axis in range(3)]
    return np.array([at[-1] - at[0] + 1.0 for at in planes])


def _depth(mask: Bools, extent: npt.NDArray[np.float64], *, at_the_border: bool = False) -> npt.NDArray[np.float64]:
    """How far every voxel lies below the mask's surface, in shares of ``extent``.

    ``at_the_border``: the volume's own border is no surface, as only the field of view ends there."""
    from scipy import ndimage

    padded = np.pad(mask, 1, mode="edge") if at_the_border else np.pad(mask, 1)
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=tuple(1 / extent))[1:-1, 1:-1, 1:-1])


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def _otsu(values: Float32) -> float:
    """The threshold that parts a histogram of 256 bins best (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    usable = (below > 0) & (above > 0)
    if not usable.any():
        return float(centres[0])
    mean_below = mass / np.maximum(below, 1)
    mean_above = (mass[-1] - mass) / np.maximum(above, 1)
    between = np.where(usable, below.astype(np.float64) * above * (mean_below - mean_above) ** 2, -1)
    return float(centres[between.argmax()])
