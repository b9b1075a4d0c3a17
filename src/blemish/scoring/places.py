"""Scores measured by what is usual at their place: for aligned scans, where a place means the same in every volume.

Folds and ventricles are hard to match in every brain, and score high in all of them. Pure numpy; nothing calls it
unless asked to, since it helps large lesions and hurts small ones, and hides what recurs in half of a batch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError
from blemish.scoring.families.known import median

__all__ = ["normalised_by_place"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

FEWEST = 4  # scores at a place that say what is usual there


def normalised_by_place(maps: Float32, inside: Bools | None = None, *, floor: float = 0.5) -> Float32:
    """``maps: (B, *grid)`` -> (score - median of the batch at its place) / (median absolute deviation there + floor).

    ``floor``, above 0, is a share of the usual deviation (the median over all places), so that the unit of the scores
    does not matter and a place where all agree makes no noise large. ``inside``: (B, *grid) what counts, by default
    all; 0, the usual, stands for the rest and where fewer than four count. Deviations are not brought to those of a
    normal distribution. Raises ``ConfigError`` if ``floor`` is not positive.
    """
    if floor <= 0:
        raise ConfigError(f"The floor of a place's deviation is above 0; received {floor}.")
    values = maps if inside is None else np.where(inside, maps, np.float32(np.nan))
    known = ~np.isnan(values)
    telling = known & (known.sum(axis=0) >= FEWEST)
    if not telling.any():
        return np.zeros_like(maps, dtype=np.float32)
    away = values - median(values, axis=0)
    deviation = median(np.abs(away), axis=0)
    usual = float(median(np.where(telling.any(axis=0), deviation, np.nan)))
    if usual == 0:  # more than half of the places are the same in most volumes: any unit will do
        usual = float(np.abs(away[telling]).mean()) or 1.0
    return np.where(telling, away / (deviation + floor * usual), 0).astype(np.float32)
