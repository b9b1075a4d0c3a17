"""What an evaluation says: rows of metrics with their intervals, and the notes beneath; and how a run's scores become
the first of them.

It knows scores, labels and counts, not maps: pixels of photos are counted in ``evaluation``, voxels in
``volume_evaluation``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from blemish.errors import InputError
from blemish.inputs.truth import Truth
from blemish.metrics.intervals import Interval, image_intervals
from blemish.metrics.pixels import PixelCounts
from blemish.metrics.ranking import (
    Counts,
    RankCounts,
    Undefined,
    auroc_of,
    average_precision_of,
    f1_max_of,
    rank_counts,
)

__all__ = [
    "Evaluation",
    "Row",
    "Scored",
    "counted",
    "coverage_notes",
    "f1_max",
    "metric_rows",
    "read_scored",
    "score_rows",
]

_C = TypeVar("_C", RankCounts, PixelCounts)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric. ``value`` is None if it is undefined, ``low`` and ``high`` are the ends of its 95 %
    interval or None; the note says why, and what else one should know."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found; ``notes`` are sentences that belong beneath the table."""

    run: str
    truth: str
    photos: int  # with a score
    normal: int
    defective: int
    kinds: dict[str, int]  # folder name or label -> scored photos
    without_truth: int  # scored photos that enter no metric
    pixel_photos: int  # photos that enter the pixel metrics
    resamples: int
    seed: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scored:
    """A line of results.csv. ``score`` is None for an unreadable photo; ``verdict``: what the run calls it."""

    path: str
    score: float | None
    size: tuple[int, int] | None  # width, height
    verdict: str = ""


def read_scored(run: Path) -> list[Scored]:
    """Its photos or volumes in the order of names. Raises ``InputError`` if ``run`` is damaged."""
    try:
        with (run / "results.csv").open(encoding="utf-8-sig", newline="") as file:
            # in the order of names, so that resamples do not depend on the ranking
            return sorted((_photo(line) for line in csv.DictReader(file)), key=lambda photo: photo.path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The run in {run} is damaged ({error}). Scan again.") from error


def _photo(line: Mapping[str, str]) -> Scored:
    sized = line["width"] and line["height"]
    return Scored(
        path=line["path"],
        score=float(line["score"]) if line["status"] == "ok" else None,
        size=(int(line["width"]), int(line["height"])) if sized else None,
        verdict=line.get("verdict") or "",
    )


def coverage_notes(
    photos: Sequence[Scored], truths: Mapping[str, Truth], resampled: int, unit: str = "photo"
) -> Iterator[str]:
    """``resampled``: defective ones behind the intervals; 0 if there are none. ``unit``: what one is called."""
    strangers = [photo.path for photo in photos if photo.score is not None and photo.path not in truths]
    unread = [photo.path for photo in photos if photo.score is None and photo.path in truths]
    if strangers:
        yield f"{counted(strangers, unit)} without a truth left out, for example {strangers[0]}."
    if unread:
        yield f"{counted(unread, unit)} with a truth were unreadable to the scan, for example {unread[0]}."
    if 0 < resampled < 10:
        yield f"Only {resampled} defective: every interval is rough, rather too narrow than too wide."


def counted(things: Sequence[object], noun: str) -> str:
    """``3 photos``."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def f1_max(counts: Counts) -> float:
    """Without its threshold."""
    return f1_max_of(counts)[0]


def score_rows(
    known: Sequence[Scored], truths: Mapping[str, Truth], resamples: int, seed: int, unit: str = "image"
) -> tuple[Row, ...]:
    """How well scores alone tell what has a truth. ``unit``: what the metrics are named after."""
    scores = np.array([photo.score for photo in known], dtype=np.float64)
    labels = [truths[photo.path].label for photo in known]
    metrics: dict[str, Callable[[RankCounts], float]] = {
        f"{unit} AUROC": auroc_of,
        f"{unit} AP": average_precision_of,
        f"{unit} F1-max": f1_max,
    }
    intervals = image_intervals(scores, labels, metrics, resamples=resamples, seed=seed)
    return metric_rows(rank_counts(scores, labels), metrics, intervals, resamples)


def metric_rows(
    counts: _C,
    metrics: Mapping[str, Callable[[_C], float]],
    intervals: Mapping[str, Interval],
    resamples: int,
) -> tuple[Row, ...]:
    """A row a metric of ``counts``; one that does not exist for them says why."""
    rows = []
    for name, metric in metrics.items():
        try:
            value = metric(counts)
        except Undefined as reason:
            rows.append(Row(name, None, None, None, f"undefined: {reason}"))
            continue
        interval = intervals[name]
        notes = [_meaning(name, counts)]
        if interval.undefined:
            notes.append(f"undefined in {interval.undefined} of {resamples} resamples, which were skipped")
        rows.append(Row(name, value, *_holding(value, interval), "; ".join(filter(None, notes))))
    return tuple(rows)


def _holding(value: float, interval: Interval) -> tuple[float | None, float | None]:
    """Both ends, widened to hold ``value`` where they miss it: resamples are counted in coarser bins than it is, and
    with few photos they may all lie to one side of it."""
    if interval.low is None or interval.high is None:
        return None, None
    return min(interval.low, value), max(interval.high, value)


def _meaning(name: str, counts: Counts) -> str:
    if name.endswith(("F1-max", "best Dice")):
        return f"the labels chose the threshold ({f1_max_of(counts)[1]:.4g}): an upper bound"
    if name == "PRO (MuSc)":
        return "200 equidistant thresholds, FPR < 0.3 stretched to 1; depends on the scale of the scores"
    if name == "PRO (MVTec)":
        return "exact curve up to FPR 0.3"
    return ""
