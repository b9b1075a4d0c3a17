"""Per-region overlap (PRO): the two variants in use, which give different numbers for the same maps.

At a threshold, PRO is the mean over all defect regions (8-connected) of the share of the region that is
called defective, so that a small flaw weighs as much as a large one; it is drawn against the false positive
rate over all normal pixels, and the area up to a limit is the score. Published tables rarely say which
variant they hold:

* ``pro_musc``: 200 equidistant thresholds, points with FPR < 0.3 kept, their FPR stretched to [0, 1]. Used by
  MuSc, AnomalyCLIP, APRIL-GAN and WinCLIP re-implementations. Not invariant to a monotone change of the
  scores: with long-tailed maps (exp of a well-behaved one) the same ranking can score 0.23 instead of 0.52.
* ``pro_mvtec``: the exact curve, interpolated at the limit and divided by it. Used by the MVTec AD evaluation
  script, AnomalyDINO and anomalib.

Both are functions of pixel counts; exact up to the binning described in ``pixels``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.metrics.pixels import PixelCounts, pixel_counts
from blemish.metrics.ranking import Undefined

__all__ = ["pro_musc", "pro_musc_of", "pro_mvtec", "pro_mvtec_of"]

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

LIMIT = 0.3  # customary limit of the false positive rate


def pro_musc(maps: Iterable[Array], masks: Iterable[Array], *, limit: float = LIMIT) -> float:
    """PRO as MuSc computes it, exact. ``maps``, ``masks``: (B, H, W), or sequences of (H, W).

    Raises ``Undefined`` as ``pro_musc_of``, ``ValueError`` as ``pixels.survey``.
    """
    return pro_musc_of(pixel_counts(maps, masks, keep=None), limit=limit)


def pro_mvtec(maps: Iterable[Array], masks: Iterable[Array], *, limit: float = LIMIT) -> float:
    """PRO as the MVTec AD evaluation computes it, exact. ``maps``, ``masks``: as in ``pro_musc``.

    Raises ``Undefined`` as ``pro_mvtec_of``, ``ValueError`` as ``pixels.survey``.
    """
    return pro_mvtec_of(pixel_counts(maps, masks, keep=None), limit=limit)


def pro_musc_of(counts: PixelCounts, *, limit: float = LIMIT) -> float:
    """MuSc's ``cal_pro_score``. Thresholds lie between the extremes of everything that was surveyed.

    Raises ``Undefined`` without a defect region or a normal pixel, and where the original gives NaN: all maps
    constant, or fewer than two different FPR below the limit.
    """
    fpr, overlap = _curve(counts)
    if counts.bins.steps.size == 0:
        raise Undefined("all map values are the same, so there are no thresholds between them")
    below = counts.values.size - 1 - counts.bins.steps  # position of each threshold on the descending curve
    fpr, overlap = fpr[below], overlap[below]
    kept = fpr < limit
    if not kept.any() or np.ptp(fpr[kept]) == 0:
        raise Undefined(f"fewer than two of its 200 thresholds differ in false positive rate below {limit:g}")
    fpr, overlap = fpr[kept][::-1], overlap[kept][::-1]
    return _area(overlap, (fpr - fpr[0]) / (fpr[-1] - fpr[0]))


def pro_mvtec_of(counts: PixelCounts, *, limit: float = LIMIT) -> float:
    """The MVTec AD evaluation's ``compute_pro`` and ``trapezoid``, divided by ``limit``.

    Raises ``Undefined`` without a defect region or a normal pixel.
    """
    fpr, overlap = (np.concatenate([[0.0], axis]) for axis in _curve(counts))
    inside = fpr <= limit
    x = np.append(fpr[inside], limit)
    y = np.append(overlap[inside], np.interp(limit, fpr, overlap))
    return _area(y, x) / limit


def _curve(counts: PixelCounts) -> tuple[Float64, Float64]:
    """False positive rate and mean region overlap at or above each bin, highest bin first."""
    regions, normal = counts.regions, float(counts.negatives.sum())
    if regions <= 0:
        raise Undefined("no mask holds a defect region")
    if normal <= 0:
        raise Undefined("the masks leave no normal pixel")
    return np.cumsum(counts.negatives[::-1]) / normal, np.cumsum(counts.overlap[::-1]) / regions


def _area(y: Float64, x: Float64) -> float:
    return float((y[1:] + y[:-1]) @ np.diff(x)) / 2
