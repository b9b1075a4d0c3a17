"""Metrics of volumes: voxels inside the brain, Dice, and lesions found against false alarms per volume.

AUROC, AP and F1 are those of ``ranking``; this file only says what is counted. Judged inside the brain, because
everything else is easy. Higher score = more anomalous. It knows arrays, nothing of files or grids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.metrics.pixels import PixelCounts, pixel_counts
from blemish.metrics.ranking import Counts, Undefined, f1_max_of

__all__ = ["Agreement", "Candidates", "agreement", "best_dice", "candidates", "detection_rate", "dice", "voxel_counts"]

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

APART = 10  # voxels within which a map has one candidate
REACH = 3  # voxels from a lesion at which a candidate still points at it
EVERYWHERE = np.ones((3, 3, 3), np.bool_)  # lesions touch by their corners too (26-connectivity)


@dataclass(frozen=True)
class Candidates:
    """What one volume's map points at. ``lesions``: (L,) the highest candidate at each lesion, -inf where there is
    none. ``false``: (F,) the candidates at no lesion."""

    lesions: Float64
    false: Float64


def voxel_counts(maps: Iterable[Array], masks: Iterable[Array], brains: Iterable[Array]) -> PixelCounts:
    """Voxels of all volumes that lie inside the brains, pooled: for ``auroc_of``, ``average_precision_of`` and
    ``best_dice``. Each of (X, Y, Z), the shapes of volumes may differ.

    PRO must not be taken of these counts: voxels have lost their neighbours. Raises as ``pixels.pixel_counts``."""
    inside = [(m[b > 0][None], t[b > 0][None]) for m, t, b in zip(maps, masks, brains, strict=True)]
    return pixel_counts([m for m, _ in inside], [t for _, t in inside])


def best_dice(counts: Counts) -> tuple[float, float]:
    """Largest Dice over all thresholds, voxels pooled, and the threshold: Dice is F1 of voxels.

    The truth chooses the threshold, so this is an upper bound; ``dice`` judges a mask as it stands. Raises
    ``Undefined`` if only one class is present."""
    return f1_max_of(counts)


def dice(predicted: Array, truth: Array) -> float:
    """2 TP / (2 TP + FP + FN) of two masks of one shape. Raises ``Undefined`` if both are empty."""
    p, t = np.asarray(predicted) > 0, np.asarray(truth) > 0
    if p.shape != t.shape:
        raise ValueError(f"a mask of {p.shape} and a truth of {t.shape} must be of one shape")
    total = int(p.sum()) + int(t.sum())
    if not total:
        raise Undefined("neither the mask nor the truth holds anything")
    return float(2 * int((p & t).sum()) / total)


@dataclass(frozen=True)
class Agreement:
    """A mask beside the truth of one volume. In voxels: what is ``marked``, what is ``drawn`` in the truth, ``both``.
    ``found``: of the truth's ``lesions`` those that the mask touches; ``false``: its pieces that touch none."""

    marked: int
    drawn: int
    both: int
    lesions: int
    found: int
    false: int


def agreement(marked: Array, truth: Array) -> Agreement:
    """Two masks (X, Y, Z) of one volume, each above 0; pieces touch by their corners too."""
    from scipy import ndimage

    m, t = np.asarray(marked) > 0, np.asarray(truth) > 0
    pieces, count = ndimage.label(m, EVERYWHERE)
    lesions, found = ndimage.label(t, EVERYWHERE)
    both = m & t
    return Agreement(
        marked=int(m.sum()),
        drawn=int(t.sum()),
        both=int(both.sum()),
        lesions=found,
        found=len(np.unique(lesions[both])),
        false=count - len(np.unique(pieces[both])),
    )


def candidates(anomaly_map: Array, truth: Array, brain: Array, *, apart: int = APART, reach: int = REACH) -> Candidates:
    """The peaks of ``anomaly_map: (X, Y, Z)`` inside the brain, shared out among the lesions of ``truth``.

    A peak is a voxel that nothing within ``apart`` voxels (along any axis) exceeds. It points at a lesion if it lies
    in it or within ``reach`` voxels. Peaks and not regions above a threshold, because a low threshold makes one region
    of everything, which would hit every lesion without a false alarm."""
    from scipy import ndimage

    values = np.where(brain > 0, np.asarray(anomaly_map, np.float64), -np.inf)
    top = (ndimage.maximum_filter(values, 2 * apart + 1, mode="constant", cval=-np.inf) == values) & (brain > 0)
    plateaus, count = ndimage.label(top, EVERYWHERE)
    lesions, found = ndimage.label(np.asarray(truth) > 0, EVERYWHERE)
    best = np.full(found, -np.inf)
    if not count:
        return Candidates(best, np.empty(0))
    height = ndimage.maximum(values, plateaus, range(1, count + 1))
    # without a lesion every distance is measured to nothing, and none is near
    far, nearest = ndimage.distance_transform_edt(lesions == 0, return_indices=True)
    false = []
    for peak, at in zip(height, ndimage.find_objects(plateaus), strict=True):
        middle = tuple((side.start + side.stop - 1) // 2 for side in at)
        if found and far[middle] <= reach:
            lesion = lesions[tuple(nearest[(slice(None), *middle)])] - 1
            best[lesion] = max(best[lesion], peak)
        else:
            false.append(peak)
    return Candidates(best, np.array(false, dtype=np.float64))


def detection_rate(found: Sequence[Candidates], false_per_volume: float = 1.0) -> float:
    """Share of all lesions that are pointed at, at the threshold with at most so many false candidates a volume on
    average (a point of the FROC curve). Volumes without lesions count with their false candidates. Raises
    ``Undefined`` if there is no lesion."""
    lesions = np.concatenate([one.lesions for one in found]) if found else np.empty(0)
    if not lesions.size:
        raise Undefined("there is no lesion in the truth")
    false = np.sort(np.concatenate([one.false for one in found]))[::-1]
    allowed = int(false_per_volume * len(found) + 1e-9)
    threshold = false[allowed] if allowed < false.size else -np.inf  # strictly above it lie at most ``allowed``
    return float((lesions > threshold).mean())
