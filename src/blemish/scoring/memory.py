"""Memory banks: tokens that somebody vouches for, or that show a defect, and what a photo's tokens score against them.

Normal memory after PatchCore (Roth et al. 2022) and AnomalyDINO (Damm et al. 2025): the distance of a token to the
nearest normal ones. Anomalous memory after Abdali et al. (arXiv 2507.23712): how much it resembles a known defect. It
knows unit tokens and maps as arrays; nothing of photos, files or backbones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError

__all__ = [
    "Memory",
    "cosine_nearest",
    "image_score",
    "mean_of_top",
    "mean_of_top_share",
    "nearest",
    "spread",
    "windows",
]

Float32 = npt.NDArray[np.float32]

ROWS = 4096  # of a bank at a time


@dataclass(frozen=True)
class Memory:
    """What one matching pass of a photo is compared with.

    ``normal: (M, C)`` and ``defects: (D, C)`` are unit tokens; D may be 0. The map is

        found + boost * max(0, found - distance to the nearest defect - margin),  found = scale * distance + offset

    in which ``distance`` is the mean Euclidean distance to the ``k`` nearest normal tokens. Only a token that is nearer
    to a defect than to anything normal is raised, so a defect that resembles nothing in a photo changes nothing there.
    ``margin``: what ordinary photos reach by chance, see ``defects.margin``. ``at: (M,)``: of a bank of volumes, the
    cell of each normal token, see ``place_bank``.
    """

    normal: Float32
    defects: Float32
    k: int = 1
    scale: float = 1.0
    offset: float = 0.0
    boost: float = 1.0
    margin: float = 0.0
    at: npt.NDArray[np.int32] | None = None

    def map(self, tokens: Float32) -> Float32:
        """``tokens: (N, C)`` of unit length -> (N,), higher = more anomalous."""
        return self.values(nearest(tokens, self.normal, self.k), self.to_defects(tokens))

    def to_defects(self, tokens: Float32) -> Float32:
        """(*grid) distances of ``tokens: (*grid, C)`` to the nearest defect; empty where there is none."""
        if not len(self.defects):
            return self.defects
        return nearest(tokens.reshape(-1, tokens.shape[-1]), self.defects).reshape(tokens.shape[:-1])

    def values(self, distance: Float32, to_defects: Float32) -> Float32:
        """The same from distances of tokens to the bank and, unless empty, to the nearest defect; in their shape."""
        found = np.asarray(self.scale * distance + self.offset, dtype=np.float32)
        if to_defects.size:
            found += self.boost * np.maximum(0, found - to_defects - self.margin)
        return np.asarray(found, dtype=np.float32)


def nearest(tokens: Float32, bank: Float32, k: int = 1) -> Float32:
    """(N,) mean Euclidean distance of each of ``tokens: (N, C)`` to its ``k`` nearest in ``bank: (M, C)``, all of unit
    length. ``k`` may exceed M, which then counts."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * _most_similar(tokens, bank, k), 0)).mean(axis=0), dtype=np.float32)


def cosine_nearest(tokens: Float32, bank: Float32, k: int = 1) -> Float32:
    """The same as a mean of cosine distances, 1 - cos, as AnomalyDINO publishes it; ``k`` 1 orders tokens alike."""
    return np.asarray(1 - _most_similar(tokens, bank, k).mean(axis=0), dtype=np.float32)


def _most_similar(tokens: Float32, bank: Float32, k: int) -> Float32:
    """(min(k, M), N) largest cosines of every token with the bank, in no order."""
    kept = np.empty((0, len(tokens)), dtype=np.float32)
    for start in range(0, len(bank), ROWS):
        similar = bank[start : start + ROWS] @ tokens.T
        if k == 1:
            similar = similar.max(axis=0, keepdims=True)
        kept = np.concatenate([kept, similar])
        if len(kept) > k:
            kept = np.partition(kept, len(kept) - k, axis=0)[-k:]
    return kept


def mean_of_top(values: Float32, count: int) -> float:
    """Mean of the ``count`` largest of a map's values; ``count`` 1 is their maximum."""
    flat = values.reshape(-1)
    count = min(count, len(flat))
    return float(np.partition(flat, len(flat) - count)[-count:].mean())


def mean_of_top_share(values: Float32, share: float) -> float:
    """Mean of the largest ``share`` of a map's values, rounded down but never none; 0.01 is AnomalyDINO's image score
    (Damm et al. 2025, section 3.2), which below 100 tokens is the maximum."""
    return mean_of_top(values, max(1, int(values.size * share)))


def image_score(distances: Float32) -> float:
    """One photo's score from the distances of its tokens to a normal memory, any shape; in the same unit.

    The root of: the mean of the largest 0.5 % squared distances (at least one) minus their 5th percentile. A photo from
    another light, lens or cast of the material is a little farther from the few normal ones everywhere; what even its
    best-matching places lack is therefore not counted as flawed. A flaw must leave 5 % of the photo sound.
    ``benchmarks/few_shot.md``: beside AnomalyDINO's score it gains much with one normal photo of a material whose
    pieces differ, loses a little elsewhere, and is equal on average.
    """
    squared = np.square(distances, dtype=np.float32)
    excess = mean_of_top_share(squared, 0.005) - float(np.quantile(squared, 0.05))
    return float(np.sqrt(max(excess, 0.0)))


def windows(grid: Float32, size: int) -> Float32:
    """Mean tokens of all ``size`` x ``size`` windows, of unit length: (h, w, C) -> (h - size + 1, w - size + 1, C).

    The scales of Abdali et al. (arXiv 2507.23712) are 1, 2, 3 and 7 tokens; 1 returns unit tokens as they are.
    Raises ``ConfigError`` for a window larger than the grid."""
    h, w = grid.shape[:2]
    if not 1 <= size <= min(h, w):
        raise ConfigError(
            f"a window must have 1 to {min(h, w)} tokens a side on a grid of {h} x {w}; received {size}. "
            "Choose a smaller window, or a larger working size."
        )
    if size == 1:
        return grid
    rows = sum((grid[at : h - size + 1 + at] for at in range(1, size)), grid[: h - size + 1])
    both = sum((rows[:, at : w - size + 1 + at] for at in range(1, size)), rows[:, : w - size + 1])
    length = np.linalg.norm(both, axis=-1, keepdims=True)
    return np.asarray(both / np.maximum(length, 1e-12), dtype=np.float32)


def spread(scores: Float32, size: int) -> Float32:
    """Scores of windows back on tokens: (h - size + 1, w - size + 1) -> (h, w), for each token the mean over the
    windows that cover it (fewer towards the border, but never none)."""
    rows, columns = scores.shape
    total = np.zeros((rows + size - 1, columns + size - 1), dtype=np.float32)
    count = np.zeros_like(total)
    for down in range(size):
        for right in range(size):
            total[down : down + rows, right : right + columns] += scores
            count[down : down + rows, right : right + columns] += 1
    return np.asarray(total / count, dtype=np.float32)
