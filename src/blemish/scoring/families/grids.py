"""Token masks carried from one grid to another, and how far they reach. Knows masks only.

A grid is (h, w) for photos and (x, y, z) for volumes; nothing here asks which.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.family import Bools

__all__ = ["core", "grown", "inner", "joined", "on_grid", "touching"]

Grid = tuple[int, ...]


def touching(grid: Grid) -> npt.NDArray[np.intp]:
    """Which neighbours belong together, for ``scipy.ndimage``: all that touch, be it at a corner."""
    return np.ones((3,) * len(grid), dtype=np.intp)


def joined(grid: Grid) -> npt.NDArray[np.intp]:
    """Which suspicious neighbours are one region: as ``touching`` in a photo. In a volume those that share a face: with
    26 neighbours a token, chance alone joins a lesion to half of a brain's folds."""
    if len(grid) < 3:
        return touching(grid)
    away = np.abs(np.indices((3,) * len(grid)) - 1).sum(axis=0)
    return np.asarray(away <= 1, dtype=np.intp)


def on_grid(tokens: Bools, source: Grid, target: Grid) -> Bools:
    """Token masks (m, N) of one grid on another, (m, N'): every target token that touches a chosen source token."""
    if source == target:
        return tokens
    mask = tokens.reshape(-1, *source)
    for axis, (own, wanted) in enumerate(zip(source, target, strict=True), start=1):
        mask = np.stack([_touched(mask, start, stop, axis) for start, stop in _spans(own, wanted)], axis=axis)
    return mask.reshape(len(tokens), -1)


def _touched(mask: Bools, start: int, stop: int, axis: int) -> Bools:
    return np.asarray(np.take(mask, range(start, stop), axis=axis).any(axis=axis))


def _spans(source: int, target: int) -> Sequence[tuple[int, int]]:
    return [(at * source // target, -(-(at + 1) * source // target)) for at in range(target)]


def grown(tokens: Bools, source: Grid, target: Grid) -> Bools:
    """Token masks (m, N) on another grid, with the tokens around them."""
    from scipy import ndimage  # here, because a decision does without it

    mask = on_grid(tokens, source, target).reshape(-1, *target)
    return np.asarray(ndimage.binary_dilation(mask, structure=touching(target)[None]).reshape(len(tokens), -1))


def core(tokens: Bools, grid: Grid) -> Bools:
    """Token masks (m, N) without the tokens around that ``grown`` has added; a mask that would vanish stays."""
    from scipy import ndimage

    mask = tokens.reshape(-1, *grid)
    shrunk = ndimage.binary_erosion(mask, structure=touching(grid)[None], border_value=1).reshape(len(tokens), -1)
    return np.asarray(np.where(shrunk.any(axis=1)[:, None], shrunk, tokens))


def inner(grid: Grid) -> Bools:
    """(N,) all tokens but the outermost: how close the part lies to the edge of the picture makes a look that many
    photos share and others do not, and padding does the rest. A look that reaches further in is still found."""
    mask = np.zeros(grid, dtype=bool)
    mask[(slice(1, -1),) * len(grid)] = True
    return mask.reshape(-1)
