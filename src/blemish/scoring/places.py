"""Scores measured by what is usual at their place: for aligned scans, where a place means the same in every volume.

Folds and ventricles are hard to match in every brain, and score high in all of them. Pure functions on arrays. The form
and its constants were chosen in benchmarks/volumes.py; it hides what recurs at one place in half of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.known import median

__all__ = ["Usual", "beside", "normalised_by_place", "unusual_grey", "weighed_by_place"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

FEWEST = 4  # scores at a place that say what is usual there; fewer where the batch has no more
FLAT = 0.01  # share of the mean that is no spread: a unit so small would drown the other map
AROUND = 5  # cells a side of the cube over which deviations are averaged: a dozen volumes say little about one place


@dataclass(frozen=True)
class Usual:
    """What a batch has at every place: arrays (*grid). ``middle``: the median score; ``deviation``: around there, 0
    where too few scores say what is usual."""

    middle: npt.NDArray[np.floating[Any]]
    deviation: npt.NDArray[np.floating[Any]]

    @classmethod
    def of(cls, maps: Float32, inside: Bools | None = None) -> Usual:
        """From ``maps: (B, *grid)``. ``inside``: (B, *grid) what counts, by default all.

        The median absolute deviation is averaged over 5 cells a side and not taken below the usual one (the median over
        all places), so that a place where all agree makes no noise large."""
        from scipy import ndimage

        known = np.ones(maps.shape, np.bool_) if inside is None else inside
        shared = known.sum(axis=0) >= min(FEWEST, len(maps))
        telling = known & shared
        middle, deviation = np.zeros(shared.shape), np.zeros(shared.shape)
        if not telling.any():
            return cls(middle, deviation)
        values = np.where(known, maps, np.float32(np.nan))[:, shared]
        middle[shared] = median(values, axis=0)
        deviation[shared] = median(np.abs(values - middle[shared]), axis=0)
        share = ndimage.uniform_filter(shared.astype(np.float64), AROUND)
        deviation = ndimage.uniform_filter(deviation, AROUND) / np.maximum(share, 1e-9)
        usual = float(np.median(deviation[shared]))
        if usual == 0:  # more than half of the places are the same in most volumes: any unit will do
            usual = float(np.abs((maps - middle)[telling]).mean()) or 1.0
        return cls(middle, np.where(shared, np.maximum(deviation, usual), 0))

    def normalised(self, maps: Float32, inside: Bools | None = None) -> Float32:
        """``maps: (B, *grid)`` -> (score - median) / deviation at its place; 0, the usual, stands for what is not
        ``inside: (B, *grid)`` and where too little is known. Deviations are not brought to those of a normal
        distribution."""
        telling = (self.deviation > 0) if inside is None else inside & (self.deviation > 0)
        unit = np.where(self.deviation > 0, self.deviation, 1)
        return np.where(telling, (maps - self.middle) / unit, 0).astype(np.float32)

    def weighed(self, maps: Float32, inside: Bools | None = None) -> Float32:
        """``maps: (B, *grid)`` -> how far every score lies above the usual at its place, times the score; never below
        0. The product keeps what is both unusual here and unlike anything: either alone is noisy."""
        return np.asarray(np.maximum(self.normalised(maps, inside), 0) * maps, dtype=np.float32)


def weighed_by_place(maps: Float32, inside: Bools | None = None) -> Float32:
    """``maps: (B, *grid)`` weighed by what is usual among themselves. ``inside``: as below."""
    return Usual.of(maps, inside).weighed(maps, inside)


def normalised_by_place(maps: Float32, inside: Bools | None = None) -> Float32:
    """``maps: (B, *grid)`` normalised by what is usual among themselves. ``inside``: (B, *grid) what counts, by default
    all; places where fewer than four count say nothing."""
    return Usual.of(maps, inside).normalised(maps, inside)


def unusual_grey(cells: Float32, inside: Bools, side: str) -> Float32:
    """How far grey levels lie beyond the usual at their place: ``cells: (B, *grid)`` -> (B, *grid), never below 0.

    ``side``: ``bright``, ``dark`` or ``both``. Each volume's levels are first brought to the unit of its own tissue
    (median 0, 84 % below 1): percentiles that a large tumour belongs to would make healthy tissue darker. Tokens say
    what a place looks like; a tumour in FLAIR may look like tissue that is merely brighter, which only its own place
    can tell."""
    away = normalised_by_place(_standardised(cells, inside), inside)
    return np.abs(away) if side == "both" else np.maximum(away if side == "bright" else -away, 0)


def _standardised(cells: Float32, inside: Bools) -> Float32:
    standard = np.zeros_like(cells)
    for own, tissue, into in zip(cells, inside, standard, strict=True):
        middle, upper = np.percentile(own[tissue], (50, 84))
        into[tissue] = (own[tissue] - middle) / (float(upper - middle) or 1.0)
    return standard


def beside(maps: Float32, other: Float32, inside: Bools) -> Float32:
    """The sum of two kinds of maps, (B, *grid) each, in units of their upper spread: how far 84 % of the batch's cells
    reach above half of them. Never below 0."""
    both = np.maximum(_in_units(maps, inside) + _in_units(other, inside), 0)
    return np.asarray(np.where(inside, both, 0), dtype=np.float32)


def _in_units(maps: Float32, inside: Bools) -> Float32:
    middle, upper = np.percentile(maps[inside], (50, 84))
    spread, mean = float(upper - middle), float(np.abs(maps[inside]).mean())
    unit = spread if spread > FLAT * mean else mean or 1.0
    return np.asarray(maps / np.float32(unit))
