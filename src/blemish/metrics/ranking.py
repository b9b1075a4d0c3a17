"""Ranking metrics: AUROC, average precision and F1-max, from scores or from counts per score value.

It knows numbers and labels, nothing of images. Every function exists twice: on ``scores, labels`` (exact),
and ``*_of`` on counts per distinct value or per bin, which is what pixels pooled over a class and bootstrap
resamples go through. Higher score = more anomalous.

Convention: a metric that does not exist for the data raises ``Undefined`` with the reason as its text. Some
published evaluations return 0 instead, which then enters averages as if it were a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blemish.errors import BlemishError

__all__ = [
    "Counts",
    "RankCounts",
    "Undefined",
    "auroc",
    "auroc_of",
    "average_precision",
    "average_precision_of",
    "f1_max",
    "f1_max_of",
    "rank_counts",
    "weighted_counts",
]

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


class Undefined(BlemishError):  # noqa: N818 - it names a state of the data, which callers skip and report
    """The metric has no value for this data; the text says what is lacking."""


class Counts(Protocol):
    """How many defective and normal samples hold each value (or lie between it and the next): all
    ``(K,)``."""

    @property
    def values(self) -> Float64: ...  # ascending
    @property
    def positives(self) -> Float64: ...
    @property
    def negatives(self) -> Float64: ...


@dataclass(frozen=True, slots=True)
class RankCounts:
    """``Counts`` of the distinct values of some scores."""

    values: Float64
    positives: Float64
    negatives: Float64


def rank_counts(scores: npt.ArrayLike, labels: npt.ArrayLike) -> RankCounts:
    """Count defective (label true or 1) and normal samples per distinct score.

    ``scores``, ``labels``: same shape, any number of axes. Raises ``ValueError`` for different shapes, NaN
    scores, or labels other than 0 and 1.
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if score.shape != label.shape:
        raise ValueError(f"scores have shape {score.shape}, labels {label.shape}: give one label per score")
    if np.isnan(score).any():
        raise ValueError("scores hold NaN, which has no rank: leave these samples out")
    if not np.isin(label, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (defective)")
    values, inverse = np.unique(score.ravel(), return_inverse=True)
    label = label.ravel().astype(np.float64)
    return RankCounts(
        values, weighted_counts(inverse, label, values.size), weighted_counts(inverse, 1 - label, values.size)
    )


def weighted_counts(value_of: Array, weights: Array, size: int) -> Float64:
    """Sum of ``weights: (S,)`` over the samples with each value; ``value_of: (S,)`` indices < ``size``."""
    return np.bincount(value_of, weights=weights, minlength=size).astype(np.float64, copy=False)


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve: the share of (defective, normal) pairs in the right order, ties counting
    half.

    Equal to the Mann-Whitney statistic. Raises ``Undefined`` if only one class is present, ``ValueError`` as
    ``rank_counts``.
    """
    return auroc_of(rank_counts(scores, labels))


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """AP = sum over thresholds of (R_n - R_(n-1)) P_n, without interpolation.

    Not the trapezoid area under the precision-recall curve (anomalib's AUPR), which is another number.
    Raises ``Undefined`` if only one class is present, ``ValueError`` as ``rank_counts``.
    """
    return average_precision_of(rank_counts(scores, labels))


def f1_max(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """Largest F1 = 2PR / (P + R) over all thresholds, and the highest score that reaches it when
    ``score >= threshold`` is called defective.

    The labels choose the threshold, so this is an upper bound and not the F1 of a deployed detector.
    Raises ``Undefined`` if only one class is present, ``ValueError`` as ``rank_counts``.
    """
    return f1_max_of(rank_counts(scores, labels))


def auroc_of(counts: Counts) -> float:
    """``auroc`` of counts. Binned values count as tied: off by at most half the largest share of a bin."""
    positives, negatives = _both_classes(counts)
    normal_below = np.cumsum(counts.negatives) - counts.negatives / 2
    return float((counts.positives / positives) @ (normal_below / negatives))


def average_precision_of(counts: Counts) -> float:
    """``average_precision`` of counts."""
    positives, _ = _both_classes(counts)
    caught, called = _descending(counts)
    precision = np.divide(caught, called, out=np.zeros_like(caught), where=called > 0)
    return float((counts.positives[::-1] / positives) @ precision)


def f1_max_of(counts: Counts) -> tuple[float, float]:
    """``f1_max`` of counts."""
    positives, _ = _both_classes(counts)
    caught, called = _descending(counts)
    f1 = 2 * caught / (positives + called)  # = 2PR / (P + R), without its 0/0
    best = int(np.argmax(f1))
    return float(f1[best]), float(counts.values[::-1][best])


def _descending(counts: Counts) -> tuple[Float64, Float64]:
    """Defective samples, and all samples, at or above each value; highest value first."""
    caught = np.cumsum(counts.positives[::-1])
    return caught, caught + np.cumsum(counts.negatives[::-1])


def _both_classes(counts: Counts) -> tuple[float, float]:
    positives, negatives = float(counts.positives.sum()), float(counts.negatives.sum())
    if positives <= 0:
        raise Undefined("nothing in the truth is defective")
    if negatives <= 0:
        raise Undefined("nothing in the truth is normal")
    return positives, negatives
