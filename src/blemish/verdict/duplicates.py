"""Which photos show the same part again: saved anew, resized, brightened, or taken twice without moving it?

It knows distances between photos and, if given, small grey pictures of them; files that are equal byte by byte are
found before. The two fail apart: to token distances a small shift or a change of light is nothing, but compression
noise on plain surfaces looks like another photo; with small pictures it is the other way round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["SIDE", "small_grey", "taken_again"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

COPY = 0.4  # share of the usual distance up to which two photos show the same part again; benchmarks/batch_health.md
USUAL = 0.25  # quantile of a photo's distances that is usual: of its own kind even if the batch is of three products
SIDE = 64  # pixels of a small picture, square whatever the photo's shape
DETAIL = 4.0  # pixels of it: what is smoother is light and not the part
ALIKE = 0.985  # correlation of what is left from which two pictures are of the same photo


def taken_again(between: Float32, small: Float32 | None = None) -> tuple[Ints, ...]:
    """Groups of photos, two or more, that show the same part again; the largest first, then in the order of photos.

    ``between: (b, b)`` mean token distances, infinite where two were not compared; ``small: (b, SIDE, SIDE)`` from
    ``small_grey``, of the same photos."""
    if len(between) < 3:
        return ()
    distances = _symmetric(between)
    usual = np.nanquantile(distances, USUAL, axis=1, method="higher")
    # The larger of both: what a copy's own noise sets apart from all is not far from its original for that.
    same = distances <= COPY * np.maximum(usual[:, None], usual)
    if small is not None:
        same |= _correlation(small) >= ALIKE
    np.fill_diagonal(same, False)
    count, labels = connected_components(coo_array(same), directed=False)
    groups = [np.flatnonzero(labels == label) for label in np.flatnonzero(np.bincount(labels, minlength=count) > 1)]
    return tuple(sorted(groups, key=lambda group: (-len(group), int(group[0]))))


def small_grey(pixels: npt.NDArray[np.uint8]) -> Float32:
    """(H, W, 3) -> (SIDE, SIDE) grey means of equal boxes, which may end within a pixel: resizing keeps them."""
    grey = pixels.mean(axis=2, dtype=np.float32)
    return np.asarray(_boxes(grey.shape[0]) @ grey @ _boxes(grey.shape[1]).T, np.float32)


def _boxes(length: int) -> Float32:
    """(SIDE, length) share of each pixel in each box."""
    edges = np.arange(SIDE + 1)[:, None] * length / SIDE
    covered = np.clip(edges - np.arange(length), 0, 1)  # of each pixel, up to each edge
    return np.asarray(np.diff(covered, axis=0) * SIDE / length, np.float32)


def _symmetric(between: Float32) -> Float32:
    """(b, b) mean of both directions or the one that is known; NaN where neither is, and to itself."""
    known = np.where(np.isfinite(between), between, np.nan)
    np.fill_diagonal(known, np.nan)
    both = np.where(np.isnan(known), known.T, known), np.where(np.isnan(known.T), known, known.T)
    return np.asarray((both[0] + both[1]) / 2, np.float32)


def _correlation(small: Float32) -> Float32:
    """(b, SIDE, SIDE) -> (b, b) correlation of the detail that a photo does not share with the batch."""
    detail = small - ndimage.gaussian_filter(small, (0, DETAIL, DETAIL))
    own = (detail - np.median(detail, axis=0)).reshape(len(small), -1)
    own -= own.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(own, axis=1, keepdims=True)
    own /= np.maximum(lengths, 1.0)  # less than a grey level in all is rounding: equal blanks are not called copies
    return np.asarray(own @ own.T, np.float32)
