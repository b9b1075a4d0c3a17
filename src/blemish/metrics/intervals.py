"""95 % bootstrap intervals of metrics, by resampling images with replacement.

Images and not pixels: the pixels of one photo are no independent observations, and an interval from 40
million of them would be absurdly narrow. For pixel metrics each image is one row of counts, a resample is a
weighted sum of rows, and PRO comes out of the same sums, so 1000 resamples take seconds. The thresholds of
PRO (MuSc) stay those of the whole class in every resample.

The interval is the percentile interval (Efron 1979). It tells how much the value would vary with other photos
drawn alike; with a handful of defective photos, or a metric at exactly 0 or 1 (zero width), it is too
optimistic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from blemish.metrics.pixels import Bins, PixelCounts, coarse
from blemish.metrics.ranking import RankCounts, Undefined, rank_counts, weighted_counts

__all__ = ["Interval", "image_intervals", "pixel_intervals", "row_of"]

ROW_BINS = 2_048  # per image; a row is 27 KB, and 2,048 bins place an interval's ends to about 1e-3
BLOCK = 50  # resamples whose weights and sums are in memory together

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
_C = TypeVar("_C", RankCounts, PixelCounts)


@dataclass(frozen=True, slots=True)
class Interval:
    """``low`` and ``high`` are None if the metric was undefined in more than half of the resamples."""

    low: float | None
    high: float | None
    undefined: int  # resamples that were skipped because the metric does not exist for them


def image_intervals(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    metrics: Mapping[str, Callable[[RankCounts], float]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of metrics of image scores. ``scores``, ``labels``: (B,); ``metrics``: name -> function of
    counts.

    Raises ``ValueError`` as ``rank_counts``.
    """
    label = np.asarray(labels, dtype=np.float64)
    values, value_of = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    rank_counts(scores, labels)  # for its checks

    def resampled() -> Iterator[RankCounts]:
        for block in _weights(label.size, resamples, seed):
            for weight in block:
                yield RankCounts(
                    values,
                    weighted_counts(value_of, weight * label, values.size),
                    weighted_counts(value_of, weight * (1 - label), values.size),
                )

    return _intervals(resampled(), metrics)


def row_of(counts: PixelCounts) -> tuple[Bins, Float32]:
    """Counts of one image as a compact row ``(3, about ROW_BINS)`` for ``pixel_intervals``, with the row's
    bins."""
    joined = coarse(counts, ROW_BINS)
    # float32 holds the counts of an image exactly up to 16 million pixels
    return joined.bins, np.stack([joined.positives, joined.negatives, joined.overlap]).astype(np.float32)


def pixel_intervals(
    cut: Bins,
    rows: Array,
    metrics: Mapping[str, Callable[[PixelCounts], float]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of pixel metrics. ``rows``: (B, 3, K) float32, one ``row_of`` an image, all with the bins
    ``cut``."""
    flat = np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)

    def resampled() -> Iterator[PixelCounts]:
        for block in _weights(len(rows), resamples, seed):
            for total in (block.astype(np.float32) @ flat).astype(np.float64):
                yield PixelCounts(cut, *total.reshape(3, -1))

    return _intervals(resampled(), metrics)


def _weights(images: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each image is drawn, ``(at most BLOCK, images)`` at a time."""
    if images == 0:
        return
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        yield rng.multinomial(images, np.full(images, 1 / images), size=min(BLOCK, resamples - start))


def _intervals(resampled: Iterator[_C], metrics: Mapping[str, Callable[[_C], float]]) -> dict[str, Interval]:
    values: dict[str, list[float]] = {name: [] for name in metrics}
    undefined = dict.fromkeys(metrics, 0)
    for counts in resampled:
        for name, metric in metrics.items():
            try:
                values[name].append(metric(counts))
            except Undefined:
                undefined[name] += 1
    return {name: _percentiles(values[name], undefined[name]) for name in metrics}


def _percentiles(values: list[float], undefined: int) -> Interval:
    if len(values) <= undefined:
        return Interval(None, None, undefined)
    low, high = (float(v) for v in np.percentile(values, [2.5, 97.5]))
    return Interval(low, high, undefined)
