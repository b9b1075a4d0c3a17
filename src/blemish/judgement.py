"""What a verdict is made of: plain values that a result carries, every sink shows and `blemish verdict` changes.

It knows numbers and words; how they were decided is told in ``blemish.verdict``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

__all__ = ["Call", "Interval", "Judgement", "Lesion", "Mark", "Region", "Stop"]

Call = Literal["ok", "blemished", "unsure"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate (median) with its 90 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Region:
    """One connected place that stands out of a photo's map, in pixels of the photo's own size.

    The box's ``right`` and ``bottom`` lie outside. ``peak``: largest map value. ``share``: of the picture's area.
    ``severity``: share x mean excess of the map over the pixel threshold (never below 0), in units of that
    threshold."""

    left: int
    top: int
    right: int
    bottom: int
    area: int
    peak: float
    share: float
    severity: float


@dataclass(frozen=True, slots=True)
class Lesion:
    """One connected place that stands out of a volume's map, in voxels of the volume's own grid.

    ``start`` and ``stop``: the box along each axis; ``stop`` lies outside. ``centre``: mean position. ``peak``: largest
    map value. ``share``: of the voxels that count, by default all. ``severity``: as of a ``Region``."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    voxels: int
    centre: tuple[float, float, float]
    peak: float
    share: float
    severity: float


Mark = TypeVar("Mark", Region, Lesion)  # what stands out: of photos, or of volumes


@dataclass(frozen=True, slots=True)
class Stop:
    """One threshold of the report's slider and what it means. Rows count the scored photos, most anomalous first."""

    threshold: float
    blemished: int  # photos called so
    unsure: tuple[int, ...]  # rows that a person should look at
    sentence: str


@dataclass(frozen=True)
class Judgement:
    """The decision about a batch, with its meaning.

    A photo is blemished if its score exceeds ``threshold`` and it is not ``spared``, or if it is among ``always``;
    unless it is unsure."""

    threshold: float  # image score
    pixel_threshold: float  # map value that seeds a region
    rule: str  # where the threshold comes from, in words
    share: Interval  # of the photos that are defective
    at_least: bool  # only the lower end of ``share`` is known: good and bad scores overlap
    false_alarms: Interval  # share of good photos that the threshold calls blemished
    sentence: str
    unsure: tuple[int, ...]  # rows
    always: tuple[int, ...]  # rows that are blemished whatever their score: they carry a family's flaw
    spared: tuple[int, ...]  # rows that are not, whatever their score: usual photos of a rare legitimate variant
    stops: tuple[Stop, ...]  # ascending thresholds; ``threshold`` is one of them
