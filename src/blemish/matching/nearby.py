"""Registered volumes: every token is compared only with tokens near its own place in the other volumes.

The same table as the engine's, from far fewer products: a grid of 32 x 32 x 32 cells compared within 2 cells takes 125
products of tokens instead of 32,768. Grids have any number of sides. It knows tensors and nothing of brains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.matching.engine import NearestTable
from blemish.matching.executor import Progress
from blemish.matching.pairs import index_type
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tiles import TileMatches

__all__ = ["match_nearby"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

CELLS = 4  # a side of a block, which is multiplied with its surroundings: smaller ones waste less of a slower product
WORK = 2**28  # bytes of blocks at once: more would not be faster


def match_nearby(
    tokens: ArrayStore,
    grid: tuple[int, ...],
    budget: Budget,
    *,
    radius: int,
    inside: Bools | None = None,
    progress: Progress = lambda pairs: None,
) -> NearestTable:
    """Distances from every token to the nearest token of every other volume within ``radius`` cells of its own place
    along each side of ``grid``; and which token that is.

    ``tokens``: (B, N, C) float32 of unit length; a grid's last side runs first, N is the product of its sides.
    ``inside``: (B, N) the tokens that are compared. The others are nobody's match and 0 away from every other volume
    (their index means nothing), so that they score 0. A token that finds nothing within the radius, where one brain
    reaches further than another, is compared with all tokens that are inside the other volume: the smallest distance
    there is, so that anatomy which merely lies elsewhere raises no suspicion. ``progress(n)``: n more pairs are done.

    Every pair of volumes is multiplied once, for both directions. Products only propose: distances are Euclidean,
    taken in float32 from the difference of two tokens; of equally near tokens the first counts. Memory changes no bit.
    Raises ``ConfigError`` if the sizes do not fit, a volume has no token inside, or ``budget`` is too small. Give the
    table back with its ``release``.
    """
    images, count, channels = tokens.shape
    _check(tokens, grid, radius, inside)
    distances = budget.array((images, images, count), np.float32, share=0.5)
    index = budget.array((images, images, count), index_type(count), share=0.5)
    table = NearestTable(distances, index)
    try:
        windows = _Windows.of(grid, radius)
        at_once = min(budget.left, WORK) // windows.block_bytes(channels)
        if not at_once:
            raise ConfigError(
                f"{budget.left / 2**20:.0f} MiB are left for matching, too little for a radius of {radius}. "
                "Allow more with --memory, or use a smaller radius."
            )
        for i in range(images):
            table.store.write_part(i, i, np.full((1, count), np.inf, np.float32))
            table.index_store.write_part(i, i, np.zeros((1, count), table.index_store.dtype))
            own = _Side(tokens.read(i, i + 1)[0], _row(inside, i, count))
            for j in range(i + 1, images):
                other = _Side(tokens.read(j, j + 1)[0], _row(inside, j, count))
                table.put(_pair(i, j, own, other, windows, at_once))
                progress(1)
    except BaseException:
        table.release(budget)
        raise
    return table


def _check(tokens: ArrayStore, grid: tuple[int, ...], radius: int, inside: Bools | None) -> None:
    images, count, _ = tokens.shape
    if math.prod(grid) != count:
        raise ConfigError(
            f"A grid of {' x '.join(map(str, grid))} has {math.prod(grid)} cells; received {count} tokens."
        )
    if radius < 0:
        raise ConfigError(f"The radius is a number of cells, 0 or more; received {radius}.")
    if inside is not None and inside.shape != (images, count):
        raise ConfigError(f"The mask should be of {images} volumes and {count} tokens; received {inside.shape}.")
    if inside is not None and not inside.any(axis=1).all():
        empty = int(np.flatnonzero(~inside.any(axis=1))[0])
        raise ConfigError(f"Volume {empty + 1} has no token inside its mask. Leave it out, or give another mask.")


def _row(inside: Bools | None, image: int, count: int) -> Bools:
    return np.ones(count, dtype=bool) if inside is None else inside[image]


@dataclass(frozen=True)
class _Side:
    """One volume of a pair."""

    tokens: Float32  # (N, C)
    inside: Bools  # (N,)


@dataclass(frozen=True)
class _Windows:
    """The grid cut into n blocks of c cells, each with the w cells around it that are in reach of any of its own.
    Blocks at the end of a side overlap others, and their surroundings are moved into the grid: all have one size."""

    blocks: Tensor  # (n, c) numbers of cells
    around: Tensor  # (n, w)
    kind: Tensor  # (n,) how a block lies in its surroundings
    reach: Tensor  # (kinds, c, w) whether two cells are within the radius

    @classmethod
    def of(cls, grid: tuple[int, ...], radius: int) -> _Windows:
        sides = [_along(side, radius) for side in grid]
        cells = torch.arange(math.prod(grid)).reshape(grid)
        blocks, around, kinds = [], [], []
        reach: list[Tensor] = []
        kind_of: dict[tuple[int, ...], int] = {}
        for parts in product(*sides):
            key = tuple(first - start for first, start, _, _ in parts)
            if key not in kind_of:
                kind_of[key] = len(reach)
                reach.append(_reach(parts, radius))
            kinds.append(kind_of[key])
            blocks.append(cells[tuple(slice(first, first + own) for first, _, own, _ in parts)].reshape(-1))
            around.append(cells[tuple(slice(start, start + wide) for _, start, _, wide in parts)].reshape(-1))
        return cls(torch.stack(blocks), torch.stack(around), torch.tensor(kinds), torch.stack(reach))

    def block_bytes(self, channels: int) -> int:
        """What working on one block takes: tokens of both sides, the product, what is compared with it, and masks."""
        c, w = self.blocks.shape[1], self.around.shape[1]
        return 4 * channels * (c + w) + 12 * c * w


Part = tuple[int, int, int, int]  # first cell of a block, first cell around it, cells of each


def _along(side: int, radius: int) -> list[Part]:
    """The blocks along one side of a grid."""
    own, wide = min(CELLS, side), min(CELLS + 2 * radius, side)
    firsts = [min(first, side - own) for first in range(0, side, own)]
    return [(first, min(max(first - radius, 0), side - wide), own, wide) for first in firsts]


def _reach(parts: tuple[Part, ...], radius: int) -> Tensor:
    """(c, w) bool, for a block with these parts along the grid's sides."""
    within = torch.ones(1, 1, dtype=torch.bool)
    for first, start, own, wide in parts:
        line = (torch.arange(first, first + own)[:, None] - torch.arange(start, start + wide)).abs() <= radius
        within = (within[:, None, :, None] & line[None, :, None, :]).flatten(2).flatten(0, 1)
    return within


def _pair(i: int, j: int, one: _Side, other: _Side, windows: _Windows, at_once: int) -> TileMatches:
    """Both directions of one pair."""
    count = len(one.tokens)
    found = TileMatches.empty(np.array([[i, j]]), count)
    rows, columns = _proposed(one, other, windows, at_once)
    apart = _distances(one.tokens, other.tokens, rows, columns)
    for own, there, a, b, distance, index in (
        (rows, columns, one, other, found.forward[0], found.forward_index[0]),
        (columns, rows, other, one, found.backward[0], found.backward_index[0]),
    ):
        distance[:], index[:] = 0, np.arange(count)  # of a token that is not inside
        first = _nearest(own, there, apart)
        distance[own[first]], index[own[first]] = apart[first], there[first]
        alone = a.inside.copy()
        alone[own] = False
        _anywhere(a, b, np.flatnonzero(alone), distance, index)
    return found


def _proposed(one: _Side, other: _Side, windows: _Windows, at_once: int) -> tuple[Ints, Ints]:
    """(n,) tokens of the one and of the other side of which either may be the other's nearest."""
    a, b = torch.from_numpy(one.tokens), torch.from_numpy(other.tokens)
    within_a, within_b = torch.from_numpy(one.inside), torch.from_numpy(other.inside)
    slack = _slack(a.shape[1])
    best_a, best_b = torch.full((len(a),), -torch.inf), torch.full((len(b),), -torch.inf)
    used = (within_a[windows.blocks].any(1) & within_b[windows.around].any(1)).nonzero().squeeze(1)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for chunk in torch.split(used, at_once):
        blocks, around = windows.blocks[chunk], windows.around[chunk]
        closeness = torch.bmm(_taken(a, blocks), _taken(b, around).transpose(1, 2))
        allowed = _taken(windows.reach, windows.kind[chunk])
        allowed &= within_a[blocks][:, :, None]
        allowed &= within_b[around][:, None, :]
        closeness.masked_fill_(~allowed, -torch.inf)
        high_a, high_b = closeness.amax(2), closeness.amax(1)
        best_a[blocks] = torch.maximum(best_a[blocks], high_a)  # overlapping blocks say the same
        best_b.scatter_reduce_(0, around.reshape(-1), high_b.reshape(-1), "amax")
        # a column's best so far is a bound that only rises: what is dropped now would be dropped later
        bound = torch.minimum((best_a - slack)[blocks][:, :, None], (best_b - slack)[around][:, None, :])
        block, row, column = (closeness >= bound).logical_and_(allowed).nonzero(as_tuple=True)
        kept.append((blocks[block, row], around[block, column], closeness[block, row, column]))
    if not kept:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    rows, columns, values = (torch.cat(parts) for parts in zip(*kept, strict=True))
    near = values >= torch.minimum(best_a[rows], best_b[columns]) - slack
    return rows[near].numpy(), columns[near].numpy()


def _taken(values: Tensor, numbers: Tensor) -> Tensor:
    """``values[numbers]``, several times as fast for whole rows."""
    return values.index_select(0, numbers.reshape(-1)).reshape(*numbers.shape, *values.shape[1:])


def _slack(channels: int) -> float:
    """How much a float32 product of unit vectors, and half the squared distance that it stands for, can be wrong by,
    twice: what is further below the largest is not the nearest."""
    return (2 * channels + 8) * 2.0**-24


def _anywhere(one: _Side, other: _Side, alone: Ints, distance: Float32, index: npt.NDArray[np.integer[Any]]) -> None:
    """Fill in the nearest of all tokens inside the other volume for the tokens ``alone`` (n,)."""
    if not len(alone):
        return
    allowed = np.flatnonzero(other.inside)
    against = other.tokens[allowed]
    for part in np.array_split(alone, -(-len(alone) // max(1, WORK // (16 * len(allowed))))):
        closeness = one.tokens[part] @ against.T
        near = closeness >= closeness.max(axis=1, keepdims=True) - np.float32(_slack(against.shape[1]))
        row, column = np.nonzero(near)
        rows, columns = part[row], allowed[column]
        apart = _distances(one.tokens, other.tokens, rows, columns)
        first = _nearest(rows, columns, apart)
        distance[rows[first]], index[rows[first]] = apart[first], columns[first]


def _distances(a: Float32, b: Float32, rows: Ints, columns: Ints) -> Float32:
    """(n,) between a[rows] and b[columns], some at a time: a flat region proposes all of itself."""
    apart = np.empty(len(rows), dtype=np.float32)
    for some in _slices(len(rows), max(1, WORK // (12 * a.shape[1]))):
        difference = a[rows[some]] - b[columns[some]]
        apart[some] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return apart


def _slices(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, start + step)


def _nearest(own: Ints, there: Ints, apart: Float32) -> Ints:
    """Which entries (n,) are the nearest of each token of ``own``; of equally near ones the first of ``there``."""
    order = np.lexsort((there, apart, own))
    return order[np.flatnonzero(np.diff(own[order], prepend=-1))]
