"""Several ways to score the same photos, which a verdict listens to besides the score itself.

Each is a number a photo, higher = more anomalous. It knows maps and embeddings as arrays. Where they agree a photo is
sure; how far they disagree is its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Detector", "detectors"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

TOPS = (0.005, 0.01)  # shares of a map's tokens whose largest values are averaged
REFERENCES = 1024  # photos that each is compared with as a whole; more would say no more, and grow with the square
VOTES = 0.3  # share of these that vote
FLOOR = 1e-3  # of the median: copies of one photo score 0, which has no logarithm

# What the logarithms of good photos' scores spread by; six sets gave 0.025 to 0.12, whole photos 0.17 to 0.32.
MAP_SPREAD, WHOLE_SPREAD = 0.065, 0.2


@dataclass(frozen=True)
class Detector:
    """``values: (B,)`` on the scale on which good photos are about normal; ``usual_spread`` there, if it is known."""

    name: str
    values: Float64
    usual_spread: float | None

    @classmethod
    def of(cls, name: str, raw: Float32, usual_spread: float | None) -> Detector:
        """Distances are compared as logarithms, so that their unit does not matter. What is no distance (no
        ``usual_spread``) stays as it is."""
        values = raw.astype(np.float64)
        middle = float(np.median(values))
        if usual_spread is None or values.min() < 0 or middle <= 0:
            return cls(name, values, None)
        return cls(name, np.log(np.maximum(values, FLOOR * middle)), usual_spread)


def detectors(
    scores: Float32,
    grids: Float32,
    passes: Sequence[Float32],
    embeddings: Float32,
    *,
    maps_are_distances: bool = True,
    scores_are_distances: bool = True,
) -> list[Detector]:
    """The image score first, then others: the largest values of each map averaged, the maxima of each matching pass
    where there are several, and last the photo as a whole.

    ``scores: (B,)``, ``grids: (B, h, w)`` or of volumes (B, x, y, z), ``passes``: (B,) of each, ``embeddings: (B, E)``.
    Maps of several backbones are standardised and no distances; neither are scores that were taken from such maps,
    re-scored by similar photos, or measured from the usual at their place."""
    found = [Detector.of("score", scores, MAP_SPREAD if scores_are_distances else None)]
    of_maps = MAP_SPREAD if maps_are_distances else None
    tokens = math.prod(grids.shape[1:])
    for share in TOPS:
        count = max(2, math.ceil(share * tokens))
        if count < tokens:
            found.append(Detector.of(f"top {share:.1%}", _top(grids, count), of_maps))
    if len(passes) > 1:
        found += [Detector.of(f"pass {at}", one, MAP_SPREAD) for at, one in enumerate(passes, start=1)]
    return [*found, Detector.of("whole photo", _whole(embeddings), WHOLE_SPREAD)]


def _top(grids: Float32, count: int) -> Float32:
    """(B,) mean of the ``count`` largest values of each map, some photos at a time: selecting copies them."""
    tops = []
    for start in range(0, len(grids), REFERENCES):
        flat = grids[start : start + REFERENCES].reshape(-1, math.prod(grids.shape[1:]))
        tops.append(np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:].mean(axis=1))
    return np.concatenate(tops)


def _whole(embeddings: Float32) -> Float32:
    """(B,) mean cosine distance of each photo to the nearest others, as a whole."""
    images = len(embeddings)
    if images == 1:
        return np.zeros(1, np.float32)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    chosen = np.unique(np.linspace(0, images - 1, min(images, REFERENCES)).astype(np.intp))
    votes = max(1, int(VOTES * (len(chosen) - 1)))
    found = np.empty(images, np.float32)
    for start in range(0, images, REFERENCES):
        rows = np.arange(start, min(start + REFERENCES, images))
        apart = np.maximum(1 - unit[rows] @ unit[chosen].T, 0)
        apart[rows[:, None] == chosen] = np.inf
        found[rows] = np.partition(apart, votes - 1, axis=1)[:, :votes].mean(axis=1)
    return found
