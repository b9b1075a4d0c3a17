"""Mutual scoring (MuSc, Li et al., ICLR 2024): photos of a batch score each other, without labels.

Pure functions on distances and maps. They know nothing of photos, files or how distances were found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError
from blemish.result import upsample

__all__ = ["highest", "image_scores", "mean_of_first", "mean_of_smallest", "msm", "neighbours", "rscin"]

Float32 = npt.NDArray[np.float32]

ROWS = 1024  # photos re-scored at once
TOP = 0.001  # share of a volume's cells whose mean is its score


def neighbours(share: float, images: int) -> int:
    """K: the number of nearest other images that vote, floor(share * (B - 1)) but never 0.

    Published: 30 % (MuSc), 10 % (CoDeGraph's baseline); the published code gives NaN where the floor is 0."""
    if not 0 < share <= 1:
        raise ConfigError(f"k is the share of other photos that vote, above 0 and at most 1; received {share}.")
    return max(1, int(share * (images - 1) + 1e-9))


def msm(nearest: Float32, k: int) -> Float32:
    """Mutual scoring of one image: (B, N) nearest-token distances to every image, infinite to itself -> (N,).

    Each token's mean over its k smallest distances (MuSc, equation 4)."""
    return mean_of_smallest(nearest, k)


def mean_of_smallest(distances: Float32, k: int) -> Float32:
    """Mean of the k smallest of every column: (n, N) -> (N,). Infinite ones have no vote, unless there are no others.

    Sorted as rows: several times as fast as selecting along columns."""
    return mean_of_first(np.sort(np.ascontiguousarray(distances.T), axis=1), k)


def mean_of_first(ascending: Float32, k: int) -> Float32:
    """The same for distances that are rows, (N, n), and sorted already."""
    smallest = ascending[:, :k]
    if np.isfinite(smallest[:, -1]).all():
        return np.asarray(smallest.mean(axis=1))
    voting = np.isfinite(smallest)
    votes = voting.sum(axis=1)
    total = np.where(voting, smallest, 0).sum(axis=1)
    return np.asarray(np.where(votes > 0, total / np.maximum(votes, 1), np.inf), dtype=np.float32)


def image_scores(
    grids: Float32, shape: tuple[int, ...], rule: str, only: npt.NDArray[np.intp] | None = None
) -> Float32:
    """Score of each photo from the maps ``grids: (B, h, w)`` at the working resolution ``shape`` -> (B,); of each
    volume from (B, x, y, z), where ``shape`` may be the grid itself: enlarged, a map has hardly another maximum.

    ``only``: the photos that are asked for, by default all.

    ``max``: the map's largest value, as published. ``excess``: the largest value of the map minus the batch's median
    map. An edge or a hole of the part is hard to match in every photo; only what exceeds the usual at its place
    counts. It helps while fewer than half of the photos are flawed at one place, and hurts beyond.
    """
    usual = np.median(grids, axis=0) if rule == "excess" else np.zeros(grids.shape[1:], np.float32)
    asked = grids if only is None else grids[only]
    return np.array([upsample(grid - usual, shape).max() for grid in asked], dtype=np.float32)


def highest(
    maps: Float32, inside: npt.NDArray[np.bool_] | None = None, only: npt.NDArray[np.intp] | None = None
) -> Float32:
    """Score of each volume from ``maps: (B, x, y, z)`` -> (B,): the mean of the highest thousandth of its cells.

    A volume has ten times as many cells as a photo, so that its largest value alone is more often noise
    (benchmarks/volumes.py). ``inside``: (B, x, y, z) the cells that count. ``only``: the volumes that are asked for."""
    asked = range(len(maps)) if only is None else only
    scores = []
    for at in asked:
        cells = maps[at].reshape(-1) if inside is None else maps[at][inside[at]]
        count = max(1, int(TOP * cells.size))
        scores.append(np.partition(cells, cells.size - count)[-count:].mean())
    return np.array(scores, dtype=np.float32)


def rscin(scores: npt.ArrayLike, embeddings: npt.ArrayLike, ks: Sequence[int]) -> Float32:
    """Re-scoring by similar images (MuSc's RsCIN): (B,) scores, (B, E) image embeddings -> (B,).

    Scores are min-max normalised over the batch, then each becomes the similarity-weighted mean over its k most
    similar images, itself included; the mean over ``ks``. The published code skips unit length for DINO backbones,
    so that a photo need not be its own nearest; pass unit-length embeddings unless that is to be reproduced.
    0 among ``ks`` returns the scores unchanged, as published."""
    s = np.asarray(scores, dtype=np.float64)
    if 0 in ks or not len(ks):
        return s.astype(np.float32)
    e = np.asarray(embeddings, dtype=np.float64)
    span = s.max() - s.min()
    s = (s - s.min()) / span if span > 0 else np.zeros_like(s)
    smoothed = np.zeros_like(s)
    for start in range(0, len(s), ROWS):  # all similarities at once would grow with the square of the batch
        own = slice(start, start + ROWS)
        similarity = e[own] @ e.T
        order = np.argsort(-similarity, axis=1, kind="stable")
        for k in ks:
            kept = order[:, : min(k, len(s))]
            weights = np.take_along_axis(similarity, kept, axis=1)
            total = weights.sum(axis=1)
            usable = np.abs(total) > 1e-6  # similarities of both signs can cancel: such a photo keeps its score
            smoothed[own] += np.where(usable, (weights * s[kept]).sum(axis=1) / np.where(usable, total, 1), s[own])
    return (smoothed / len(ks)).astype(np.float32)
