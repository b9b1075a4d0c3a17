"""What a user drew on a flawed photo, as tokens, and what it changes in a map (anomalous memory).

After Abdali et al. (arXiv 2507.23712): one photo with a mask gives tokens of the flaw and tokens of sound surface. In
the paper, likeness to the flaw is one more term of a weighted sum (``likeness``). Here it only raises a token that is
nearer to the flaw than to sound surface, by more than the batch's photos reach by chance, so that teaching a flaw which
does not occur leaves the map as it is. It knows unit tokens, distances and masks as arrays; nothing of photos, files or
backbones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError

__all__ = [
    "Resemblance",
    "Taught",
    "cover",
    "likeness",
    "margin",
    "members",
    "raised",
    "resemblance",
    "taught",
    "typical",
]

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

COVERED = 0.5  # share of a window that the flaw must cover
ORDINARY = 0.6  # share of the batch's photos whose likest token is not raised; flaws are taken to be in fewer than 40 %


@dataclass(frozen=True)
class Taught:
    """``defects: (D, C)`` and ``normal: (M, C)``: unit tokens of flaws and of sound surface beside them."""

    defects: Float32
    normal: Float32


def cover(mask: Mask, shape: tuple[int, int], size: int = 1) -> Float32:
    """Share of each ``size`` x ``size`` window of tokens that the flaw covers: (H, W) -> (h - size + 1, w - size + 1).

    ``shape``: (h, w) of the token grid, of which H and W need not be multiples."""
    along = _overlap(mask.shape[0], shape[0], size) @ mask.astype(np.float32)
    return np.asarray(along @ _overlap(mask.shape[1], shape[1], size).T, dtype=np.float32)


def members(covered: Float32) -> tuple[Mask, Mask]:
    """Which windows show the flaw and which sound surface, from their ``cover``; both of its shape.

    The flaw: at least half covered. If it is smaller than that everywhere, the window that it covers most. Sound: not
    covered at all. What lies between belongs to neither. An empty mask has no flaw."""
    flawed = covered >= COVERED
    if not flawed.any() and covered.any():
        flawed = covered == covered.max()
    return flawed, covered <= 0


def taught(grids: Sequence[Float32], covered: Sequence[Float32]) -> Taught:
    """The tokens of some annotated photos: ``grids: (h, w, C)`` of unit length and what is ``covered: (h, w)`` of each,
    tokens or windows. Raises ``ConfigError`` if nothing is drawn on any of them."""
    pairs = [(grid, *members(share)) for grid, share in zip(grids, covered, strict=True)]
    if not any(flawed.any() for _, flawed, _ in pairs):
        raise ConfigError(
            f"nothing is drawn on the {len(pairs)} photos that should show a defect: their masks are empty. "
            "Mark the flaw, or give the photos as good ones."
        )
    defects = np.concatenate([grid[flawed] for grid, flawed, _ in pairs])
    return Taught(defects, np.concatenate([grid[sound] for grid, _, sound in pairs]))


def typical(distances: Float32) -> Float32:
    """Distance to a typical photo of the batch: (B, ...) distances to every photo, infinite to itself -> (...), median.

    Mutual scoring takes the nearest 30 % of the photos, among which a flaw that recurs finds itself; the median photo
    is sound while fewer than half of the batch share the flaw."""
    ascending = np.sort(distances, axis=0)
    finite = np.isfinite(ascending).sum(axis=0, keepdims=True)
    return np.asarray(np.take_along_axis(ascending, np.maximum(finite - 1, 0) // 2, axis=0)[0], dtype=np.float32)


def margin(nearer: Float32, slack: float = 0.0) -> float:
    """How much nearer to the flaw than to sound surface ordinary photos come by chance.

    ``nearer: (B, ...)``: the distance of the batch's tokens to sound surface minus that to the flaw. The likest token
    of each photo counts, and of these the 60th percentile: 40 % of the photos may show the flaw. Never below
    ``-slack``: 0 where sound surface is a typical photo; to more photos at once the distance is smaller, by that."""
    likest = nearer.reshape(len(nearer), -1).max(axis=1)
    return max(-slack, float(np.quantile(likest, ORDINARY)))


def slack(usual: Float32, normal: Float32, defect: Float32) -> float:
    """By how much ``normal`` falls short of the ``typical`` distance ``usual``, all (B, N): the median over the photos,
    each at its token that is likest to the flaw. For detectors that measure against a whole bank of normal tokens."""
    likest = (normal - defect).reshape(len(normal), -1).argmax(axis=1)[:, None]
    short = np.take_along_axis((usual - normal).reshape(len(normal), -1), likest, axis=1)
    return max(0.0, float(np.median(short)))


def raised(nearer: Float32, beyond: float) -> Float32:
    """What is added to a map, in its unit, where tokens are ``nearer`` to a flaw by more than ``beyond``, the
    ``margin``."""
    return np.asarray(np.maximum(0, nearer - beyond), dtype=np.float32)


def likeness(defect: Float32) -> Float32:
    """Similarity to the flaw in [0, 1] as published, (1 + cos) / 2, from the Euclidean distance of unit tokens."""
    return np.asarray(1 - np.square(defect) / 4, dtype=np.float32)


@dataclass(frozen=True)
class Resemblance:
    """How much of the batch resembles what was taught.

    ``photos: (n,)`` rows with a token nearer to the flaw than to sound surface, the likest first. ``margin``: above 0
    when so many photos are among them that the taught tokens themselves must look ordinary."""

    photos: npt.NDArray[np.intp]
    margin: float

    def sentence(self, unit: str = "photo") -> str:
        """What a user is told; ``unit``: what one is called."""
        count, sound = len(self.photos), "sound surface" if unit == "photo" else "sound tissue"
        if not count:
            return f"No other {unit} shows anything that looks more like this defect than like {sound}."
        if self.margin > 0:
            return (
                f"What was marked also looks like {sound}, so only what is clearly liker to it is raised: "
                f"mark the flaw more tightly if good {unit}s move up."
            )
        have = f"other {unit} has" if count == 1 else f"other {unit}s have"
        return f"{count} {have} a place that is more like this defect than like a typical {unit}."


def resemblance(nearer: Float32) -> Resemblance:
    """From the same differences as ``margin``, (B, ...), without the photos that were taught."""
    likest = nearer.reshape(len(nearer), -1).max(axis=1)
    order = np.argsort(-likest, kind="stable")
    return Resemblance(order[likest[order] > 0], margin(nearer))


def _overlap(pixels: int, tokens: int, size: int) -> Float32:
    """(tokens - size + 1, pixels): the share of each window that each pixel takes; rows sum to 1."""
    edges = np.linspace(0, pixels, tokens + 1)
    starts, ends = edges[: tokens - size + 1, None], edges[size:, None]
    at = np.arange(pixels)
    inside = np.clip(np.minimum(ends, at + 1) - np.maximum(starts, at), 0, 1)
    return np.asarray(inside / (ends - starts), dtype=np.float32)
