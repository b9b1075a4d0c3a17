"""Scores measured by what is usual at their place: for aligned scans, where a place means the same in every volume.

Folds and ventricles are hard to match in every brain, and score high in all of them. Pure functions on arrays. The form
and its constants were chosen in benchmarks/volumes.py; it hides what recurs at one place in half of a batch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.known import median

__all__ = ["normalised_by_place", "weighed_by_place"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

FEWEST = 4  # scores at a place that say what is usual there; fewer where the batch has no more
AROUND = 5  # cells a side of the cube over which deviations are averaged: a dozen volumes say little about one place


def weighed_by_place(maps: Float32, inside: Bools | None = None) -> Float32:
    """``maps: (B, *grid)`` -> how far every score lies above the usual at its place, times the score; never below 0.

    The product keeps what is both unusual here and unlike anything: either alone is noisy. ``inside``: as below."""
    return np.asarray(np.maximum(normalised_by_place(maps, inside), 0) * maps, dtype=np.float32)


def normalised_by_place(maps: Float32, inside: Bools | None = None) -> Float32:
    """``maps: (B, *grid)`` -> (score - median of the batch at its place) / the median absolute deviation around there.

    The deviation is averaged over 5 cells a side and not taken below the usual one (the median over all places), so
    that a place where all agree makes no noise large. ``inside``: (B, *grid) what counts, by default all; 0, the usual,
    stands for the rest and where fewer than four count. Deviations are not brought to those of a normal
    distribution."""
    from scipy import ndimage

    known = np.ones(maps.shape, np.bool_) if inside is None else inside
    shared = known.sum(axis=0) >= min(FEWEST, len(maps))
    telling = known & shared
    if not telling.any():
        return np.zeros_like(maps, dtype=np.float32)
    values = np.where(known, maps, np.float32(np.nan))[:, shared]
    middle, deviation = np.zeros(shared.shape), np.zeros(shared.shape)
    middle[shared] = median(values, axis=0)
    deviation[shared] = median(np.abs(values - middle[shared]), axis=0)
    share = ndimage.uniform_filter(shared.astype(np.float64), AROUND)
    deviation = ndimage.uniform_filter(deviation, AROUND) / np.maximum(share, 1e-9)
    away = maps - middle
    usual = float(np.median(deviation[shared]))
    if usual == 0:  # more than half of the places are the same in most volumes: any unit will do
        usual = float(np.abs(away[telling]).mean()) or 1.0
    return np.where(telling, away / np.maximum(deviation, usual), 0).astype(np.float32)
