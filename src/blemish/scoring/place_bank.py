"""Banks of aligned volumes: tokens that know their cell, compared with tokens near the same place.

The distances that ``matching.nearby`` finds between two volumes, for one volume and a bank of tokens from many. It
knows unit tokens and numbers of cells; nothing of volumes, files or backbones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from blemish.scoring.coreset import farthest_first
from blemish.scoring.memory import nearest

__all__ = ["Placed", "nearest_nearby", "thinned_by_place"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]

CELLS = 4  # a side of a block whose cells are compared with the bank around it in one product


@dataclass(frozen=True)
class Placed:
    """``tokens: (M, C)`` of unit length. ``at: (M,)``: the number of each one's cell, a grid's last side running first;
    -1 where a place means nothing, as on photos."""

    tokens: Float32
    at: Ints

    @classmethod
    def anywhere(cls, tokens: Float32) -> Placed:
        return cls(tokens, np.full(len(tokens), -1, np.int32))

    @classmethod
    def joined(cls, parts: Sequence[Placed]) -> Placed:
        return cls(np.concatenate([part.tokens for part in parts]), np.concatenate([part.at for part in parts]))

    def taken(self, which: npt.NDArray[np.generic]) -> Placed:
        """Some of them: flags or numbers."""
        return Placed(self.tokens[which], self.at[which])


def nearest_nearby(tokens: Float32, inside: Bools, bank: Placed, radius: int) -> Float32:
    """``tokens: (*grid, C)``, of which those ``inside: (*grid)`` count, -> (*grid) distance of each to the nearest of
    ``bank`` whose cell is within ``radius`` along each side; 0 of those that do not count.

    ``radius`` below 0: to the nearest of all. So it is for a token that finds nothing within the radius: anatomy which
    merely lies elsewhere raises no suspicion."""
    grid = inside.shape
    cells = tokens.reshape(-1, tokens.shape[-1])
    found = np.zeros(inside.size, np.float32)
    counted = np.flatnonzero(inside)
    if radius < 0:
        found[counted] = nearest(cells[counted], bank.tokens)
        return found.reshape(grid)
    bank = bank.taken(np.argsort(bank.at, kind="stable"))
    starts = np.searchsorted(bank.at, np.arange(inside.size + 1))
    place = np.stack(np.unravel_index(bank.at, grid), axis=1)
    best = np.full(inside.size, -np.inf, np.float32)
    for block, around in _blocks(inside, radius):
        rows = np.concatenate([np.arange(starts[first], starts[last + 1]) for first, last in around])
        if not len(rows):
            continue
        own = np.stack(np.unravel_index(block, grid), axis=1)
        similar = cells[block] @ bank.tokens[rows].T
        for side in range(len(grid)):
            similar[np.abs(own[:, side, None] - place[rows, side]) > radius] = -np.inf
        best[block] = similar.max(axis=1)
    near = np.isfinite(best)
    found[near] = np.sqrt(np.maximum(2 - 2 * best[near], 0))
    alone = counted[~near[counted]]
    if len(alone):
        found[alone] = nearest(cells[alone], bank.tokens)
    return found.reshape(grid)


def thinned_by_place(bank: Placed, most: int) -> npt.NDArray[np.intp]:
    """Numbers, ascending, of at most ``most`` tokens of each cell: those that lie near all others of it."""
    order = np.argsort(bank.at, kind="stable")
    kept = []
    for cell in np.split(order, np.flatnonzero(np.diff(bank.at[order])) + 1):
        kept.append(cell if len(cell) <= most else cell[farthest_first(bank.tokens[cell], most)])
    return np.sort(np.concatenate(kept))


def _blocks(inside: Bools, radius: int) -> Iterator[tuple[npt.NDArray[np.intp], list[tuple[int, int]]]]:
    """Blocks of the grid with the cells of each that count, and the runs of cells (first, last) within its reach."""
    grid = inside.shape
    numbers = np.arange(inside.size).reshape(grid)
    for firsts in product(*(range(0, side, CELLS) for side in grid)):
        own = tuple(slice(first, first + CELLS) for first in firsts)
        block = numbers[own][inside[own]]
        if not len(block):
            continue
        reach = tuple(slice(max(0, first - radius), first + CELLS + radius) for first in firsts)
        runs = numbers[reach].reshape(-1, numbers[reach].shape[-1])
        yield block, [(int(run[0]), int(run[-1])) for run in runs]
