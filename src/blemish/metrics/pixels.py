"""Pixel values of many anomaly maps, pooled over a class in bounded memory.

Two passes over the maps, one map in memory at a time: ``survey`` learns where the values lie, ``bins`` cuts
them into about 130,000 bins, ``update`` counts normal and defective pixels in them. All pixel metrics, both
PRO variants included, are functions of the counts.

Bin edges are values of normal *and* of defective pixels at equal distances in rank, not in value: equidistant
bins would put nearly all pixels of a long-tailed map into one. So a bin holds about 1/32,768 of either class
at most (or one tied value); AUROC, AP, F1-max and PRO (MVTec) were off by about 1e-5 where compared with
exact values, and tests hold them to 1e-4. While no class exceeds 65,536 pixels every distinct value is an
edge and all are exact. PRO (MuSc) is always exact: its 200 thresholds are edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.metrics.ranking import Undefined

__all__ = ["Bins", "PixelCounts", "Spread", "bins", "coarse", "empty", "pixel_counts", "survey", "update"]

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

KEPT = 65_536  # values of each class that a survey keeps at most
MUSC_STEPS = 200  # thresholds of PRO (MuSc)


@dataclass(frozen=True, slots=True)
class Sample:
    """Sorted values, every ``stride``-th of a class in rank order within its image."""

    values: Float64 = field(default_factory=lambda: np.empty(0))
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """What the first pass knows of the values: ends of the range, and a sample of either class."""

    low: float = np.inf
    high: float = -np.inf
    normal: Sample = field(default_factory=Sample)
    defective: Sample = field(default_factory=Sample)


@dataclass(frozen=True, slots=True)
class Bins:
    """Bin k holds ``edges[k] <= value < edges[k + 1]``, the last one is open. ``edges``: (K,) ascending.

    ``steps``: the bins that begin just above the thresholds of PRO (MuSc), ascending.
    """

    edges: Float64
    steps: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Pixels per bin, all ``(K,)``. In ``overlap`` each pixel of a defect region weighs 1 / the region's
    area, so that every region adds 1 in all, whatever its size."""

    bins: Bins
    positives: Float64
    negatives: Float64
    overlap: Float64

    @property
    def values(self) -> Float64:
        return self.bins.edges

    def __add__(self, other: PixelCounts) -> PixelCounts:
        """Counts of both; their bins must be the same."""
        return replace(
            self,
            positives=self.positives + other.positives,
            negatives=self.negatives + other.negatives,
            overlap=self.overlap + other.overlap,
        )

    @property
    def regions(self) -> float:
        return float(self.overlap.sum())


def survey(spread: Spread, anomaly_map: Array, mask: Array, *, keep: int | None = KEPT) -> Spread:
    """First pass: take in one ``anomaly_map: (H, W)`` with its ``mask: (H, W)``, non-zero where defective.

    ``keep=None`` keeps every value. Raises ``ValueError`` for other shapes, and for NaN or infinite values.
    """
    values, defective = _checked(anomaly_map, mask)
    return Spread(
        low=min(spread.low, float(values.min())),
        high=max(spread.high, float(values.max())),
        normal=_thinned(spread.normal, values[~defective], keep),
        defective=_thinned(spread.defective, values[defective], keep),
    )


def bins(spread: Spread) -> Bins:
    """Edges for the second pass. Raises ``Undefined`` if nothing was surveyed."""
    if spread.low > spread.high:
        raise Undefined("there is no anomaly map with a truth")
    # MuSc calls a pixel defective if value > threshold; a bin that begins at the next number says the same
    above = np.nextafter(_musc_thresholds(spread.low, spread.high), np.inf)
    edges = np.unique(np.concatenate([[spread.low], spread.normal.values, spread.defective.values, above]))
    return Bins(edges, np.searchsorted(edges, above))


def empty(cut: Bins) -> PixelCounts:
    zero = np.zeros(cut.edges.size)
    return PixelCounts(cut, zero, zero, zero)


def update(counts: PixelCounts, anomaly_map: Array, mask: Array) -> PixelCounts:
    """Second pass: ``counts`` with one surveyed map added. Raises ``ValueError`` as ``survey``."""
    from scipy import ndimage

    values, defective = _checked(anomaly_map, mask)
    edges = counts.bins.edges
    ordered = np.sort(values[~defective])
    negatives = np.diff(np.searchsorted(ordered, edges), append=ordered.size)
    counts = replace(counts, negatives=counts.negatives + negatives)
    if not defective.any():
        return counts
    # regions touch by their corners too (8-connectivity), as in every published evaluation that was checked
    labelled = ndimage.label(defective, structure=np.ones((3, 3)))[0][defective]
    bin_of = np.searchsorted(edges, values[defective], side="right") - 1
    share = 1 / np.bincount(labelled)[labelled]
    return replace(
        counts,
        positives=counts.positives + np.bincount(bin_of, minlength=edges.size),
        overlap=counts.overlap + np.bincount(bin_of, weights=share, minlength=edges.size),
    )


def pixel_counts(maps: Iterable[Array], masks: Iterable[Array], *, keep: int | None = KEPT) -> PixelCounts:
    """Both passes over maps already in memory: ``maps``, ``masks`` hold arrays (H, W), or are (B, H, W).

    ``keep=None`` is exact at any size, at the cost of one float64 per distinct value. Raises ``ValueError``
    as ``survey`` and for unequal numbers of maps and masks, ``Undefined`` if there are none.
    """
    pairs = list(zip(maps, masks, strict=True))
    spread = Spread()
    for anomaly_map, mask in pairs:
        spread = survey(spread, anomaly_map, mask, keep=keep)
    counts = empty(bins(spread))
    for anomaly_map, mask in pairs:
        counts = update(counts, anomaly_map, mask)
    return counts


def coarse(counts: PixelCounts, size: int) -> PixelCounts:
    """Join neighbouring bins to about ``size`` bins; the thresholds of PRO (MuSc) stay edges."""
    cut = counts.bins
    starts = np.unique(np.concatenate([np.linspace(0, cut.edges.size, size, endpoint=False, dtype=np.intp), cut.steps]))
    return PixelCounts(
        Bins(cut.edges[starts], np.searchsorted(starts, cut.steps)),
        *(np.add.reduceat(row, starts) for row in (counts.positives, counts.negatives, counts.overlap)),
    )


def _musc_thresholds(low: float, high: float) -> Float64:
    """As in MuSc's utils/metrics.py: equidistant from the smallest to the largest value of the class."""
    if low == high:
        return np.empty(0)
    return np.arange(low, high, (high - low) / MUSC_STEPS)


def _thinned(sample: Sample, values: Float64, keep: int | None) -> Sample:
    """Merge one image's values into the sample; halve it, keeping the lowest, until it fits."""
    merged = np.sort(np.concatenate([sample.values, np.sort(values)[:: sample.stride]]))
    stride = sample.stride
    while keep is not None and merged.size > keep:
        merged, stride = merged[::2], stride * 2
    return Sample(merged, stride)


def _checked(anomaly_map: Array, mask: Array) -> tuple[Float64, npt.NDArray[np.bool_]]:
    values, defective = np.asarray(anomaly_map, dtype=np.float64), np.asarray(mask) > 0
    if values.ndim != 2 or values.shape != defective.shape or values.size == 0:
        raise ValueError(f"map {values.shape} and mask {defective.shape} must be two arrays of one (H, W)")
    if not np.isfinite(values).all():
        raise ValueError("the anomaly map holds NaN or infinite values")
    return values, defective
