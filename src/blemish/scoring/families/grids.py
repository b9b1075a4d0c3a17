"""Token masks carried from one grid to another, and how far they reach. Knows masks only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.scoring.families.family import Bools

__all__ = ["EIGHT", "core", "grown", "inner", "on_grid"]

EIGHT = np.ones((3, 3), dtype=int)  # tokens that touch at a corner belong together


def on_grid(tokens: Bools, source: tuple[int, int], target: tuple[int, int]) -> Bools:
    """Token masks (m, N) of one grid on another, (m, N'): every target token that touches a chosen source token."""
    if source == target:
        return tokens
    mask = tokens.reshape(-1, *source)
    rows = [_touched(mask, start, stop, 1) for start, stop in _spans(source[0], target[0])]
    mask = np.stack(rows, axis=1)
    columns = [_touched(mask, start, stop, 2) for start, stop in _spans(source[1], target[1])]
    return np.stack(columns, axis=2).reshape(len(tokens), -1)


def _touched(mask: Bools, start: int, stop: int, axis: int) -> Bools:
    return np.asarray(np.take(mask, range(start, stop), axis=axis).any(axis=axis))


def _spans(source: int, target: int) -> Sequence[tuple[int, int]]:
    return [(at * source // target, -(-(at + 1) * source // target)) for at in range(target)]


def grown(tokens: Bools, source: tuple[int, int], target: tuple[int, int]) -> Bools:
    """Token masks (m, N) on another grid, with the tokens around them."""
    from scipy import ndimage  # here, because a decision does without it

    mask = on_grid(tokens, source, target).reshape(-1, *target)
    return np.asarray(ndimage.binary_dilation(mask, structure=EIGHT[None]).reshape(len(tokens), -1))


def core(tokens: Bools, grid: tuple[int, int]) -> Bools:
    """Token masks (m, N) without the tokens around that ``grown`` has added; a mask that would vanish stays."""
    from scipy import ndimage

    mask = tokens.reshape(-1, *grid)
    shrunk = ndimage.binary_erosion(mask, structure=EIGHT[None], border_value=1).reshape(len(tokens), -1)
    return np.asarray(np.where(shrunk.any(axis=1)[:, None], shrunk, tokens))


def inner(grid: tuple[int, int]) -> Bools:
    """(N,) all tokens but the outermost: how close the part lies to the edge of the picture makes a look that many
    photos share and others do not, and padding does the rest. A look that reaches further in is still found."""
    mask = np.zeros(grid, dtype=bool)
    mask[1:-1, 1:-1] = True
    return mask.reshape(-1)
