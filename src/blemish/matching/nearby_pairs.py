"""Two registered volumes: for every token the nearest one near its own place in the other, both ways.

A grid is cut into blocks; the tokens of one volume in a block are multiplied with those of the other around it, and
tokens that are not inside a brain are not even copied. Products only propose: a distance is taken in float32 from the
difference of two tokens, so neither the blocks nor what is multiplied together shows in a bit. It knows two arrays and
a grid, nothing of batches, threads or logs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish.matching.tiles import TileMatches

__all__ = ["NearbyMatcher", "Side", "Windows"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

CELLS = 4  # a side of a block: smaller ones waste less of a slower product
PROPOSED = 4  # proposals a token that are kept before distances are taken: a flat region proposes all of itself
PER_PROPOSAL = 100  # bytes: as proposed, put together, chosen from, and sorted
TOGETHER = 2**18  # numbers of a side whose distances are taken at once: they stay in the cache
ANYWHERE = 2**18  # entries of a product with all of the other volume


@dataclass(frozen=True)
class Side:
    """One volume of a pair."""

    tokens: Float32  # (N, C)
    inside: Bools  # (N,)


@dataclass(frozen=True)
class Windows:
    """The cells of a grid in blocks, each with the cells around it that are in reach of any of its own."""

    blocks: tuple[tuple[Ints, Ints, Bools], ...]  # cells (c,), around (w,), whether they are in reach (c, w)

    @classmethod
    def of(cls, grid: tuple[int, ...], radius: int) -> Windows:
        cells = np.arange(math.prod(grid)).reshape(grid)
        reach: dict[tuple[tuple[int, int, int], ...], Bools] = {}
        blocks = []
        for parts in product(*(_along(side, radius) for side in grid)):
            kind = tuple((part.own.start - part.around.start, len(part.own), len(part.around)) for part in parts)
            if kind not in reach:
                reach[kind] = _reach(parts, radius)
            own, around = (
                cells[tuple(slice(side.start, side.stop) for side in sides)].reshape(-1)
                for sides in ([part.own for part in parts], [part.around for part in parts])
            )
            blocks.append((own, around, reach[kind]))
        return cls(tuple(blocks))

    @property
    def largest(self) -> tuple[int, int]:
        """Cells of a block and around one, at most."""
        return max(len(own) for own, _, _ in self.blocks), max(len(around) for _, around, _ in self.blocks)


@dataclass(frozen=True)
class _Part:
    """Of one side of a grid: the cells of a block, and those within reach of them."""

    own: range
    around: range


def _along(side: int, radius: int) -> Iterator[_Part]:
    for first in range(0, side, CELLS):
        last = min(first + CELLS, side)
        yield _Part(range(first, last), range(max(first - radius, 0), min(last + radius, side)))


def _reach(parts: tuple[_Part, ...], radius: int) -> Bools:
    """(c, w) for a block with these parts along the grid's sides."""
    within = np.ones((1, 1), np.bool_)
    for part in parts:
        line = np.abs(np.array(part.own)[:, None] - np.array(part.around)) <= radius
        both = within[:, None, :, None] & line[None, :, None, :]
        within = both.reshape(len(within) * len(line), -1)
    return within


@dataclass
class _Nearest:
    """The nearest token found so far of each of one side, and a bound that only rises: what lies below it is not."""

    distance: Float32  # (N,)
    index: Ints
    closest: Float32  # the largest product so far

    @classmethod
    def none(cls, count: int) -> _Nearest:
        return cls(np.full(count, np.inf, np.float32), np.zeros(count, np.intp), np.full(count, -np.inf, np.float32))

    def take(self, own: Ints, there: Ints, apart: Float32) -> None:
        """Entries (n,): token ``own`` of this side is ``apart`` from token ``there``. Of equals the first counts."""
        order = np.lexsort((there, apart, own))
        best = order[np.flatnonzero(np.diff(own[order], prepend=-1))]
        own, there, apart = own[best], there[best], apart[best]
        known, before = self.distance[own], self.index[own]
        nearer = (apart < known) | ((apart == known) & (there < before))
        self.distance[own[nearer]], self.index[own[nearer]] = apart[nearer], there[nearer]


@dataclass
class _Proposals:
    """Tokens of the one and of the other side of which either may be the other's nearest."""

    parts: list[tuple[Ints, Ints, Float32]] = field(default_factory=list)
    count: int = 0

    def add(self, rows: Ints, columns: Ints, values: Float32) -> None:
        self.parts.append((rows, columns, values))
        self.count += len(rows)

    def drawn(self) -> tuple[Ints, Ints, Float32]:
        """All of them, which are then forgotten; at least one part was added."""
        rows, columns, values = (np.concatenate(one) for one in zip(*self.parts, strict=True))
        self.parts, self.count = [], 0
        return rows, columns, values


class NearbyMatcher:
    """Matches pairs one after the other; its buffers are used again. Not to be shared between threads."""

    def __init__(self, windows: Windows, channels: int) -> None:
        own, around = windows.largest
        self._windows = windows
        self._slack = np.float32(_slack(channels))
        self._a, self._b = torch.empty(own, channels), torch.empty(around, channels)
        self._product = torch.empty(own * around)

    @staticmethod
    def nbytes(windows: Windows, tokens: int, channels: int) -> int:
        """Bytes that matching a pair takes at most: buffers, what is proposed near and anywhere, and what is found."""
        own, around = windows.largest
        buffers = 4 * channels * (own + around) + 8 * own * around
        proposals = PROPOSED * tokens + own * around
        anywhere = min(ANYWHERE, tokens**2) + tokens
        differences = min(12 * TOGETHER, 12 * channels * max(proposals, anywhere))
        tokens_there = 4 * channels * tokens  # those that are looked at anywhere
        return buffers + PER_PROPOSAL * max(proposals, anywhere) + differences + tokens_there + 60 * tokens

    def match(self, i: int, j: int, one: Side, other: Side) -> TileMatches:
        """Both directions of the pair of volumes (i, j).

        A token that is not inside is 0 away and its index means nothing. One that has nothing inside the other volume
        within reach is compared with all that is inside there."""
        count = len(one.tokens)
        found = TileMatches.empty(np.array([[i, j]]), count)
        forward, backward = self._near(one, other)
        for own, a, b, distance, index in (
            (forward, one, other, found.forward[0], found.forward_index[0]),
            (backward, other, one, found.backward[0], found.backward_index[0]),
        ):
            _anywhere(a, b, np.flatnonzero(a.inside & np.isinf(own.closest)), own)
            distance[:] = np.where(a.inside, own.distance, np.float32(0))
            index[:] = np.where(a.inside, own.index, np.arange(count))
        return found

    def _near(self, one: Side, other: Side) -> tuple[_Nearest, _Nearest]:
        """What lies within reach."""
        forward, backward = _Nearest.none(len(one.tokens)), _Nearest.none(len(one.tokens))
        proposals = _Proposals()
        for own, around, reach in self._windows.blocks:
            in_own, in_around = np.flatnonzero(one.inside[own]), np.flatnonzero(other.inside[around])
            if not len(in_own) or not len(in_around):
                continue
            rows, columns = own[in_own], around[in_around]
            closeness = self._multiplied(one, other, rows, columns)
            closeness[~reach[in_own].take(in_around, axis=1)] = -np.inf
            forward.closest[rows] = closest = closeness.max(axis=1)  # a row is in one block
            backward.closest[columns] = np.maximum(backward.closest[columns], closeness.max(axis=0))
            near = closeness >= (np.maximum(closest, -2) - self._slack)[:, None]  # never what is out of reach
            near |= closeness >= np.maximum(backward.closest[columns], -2) - self._slack
            row, column = np.divmod(np.flatnonzero(near), len(columns))
            proposals.add(rows[row], columns[column], closeness[row, column])
            if proposals.count > PROPOSED * len(one.tokens):
                self._settle(one, other, proposals, forward, backward)
        if proposals.parts:
            self._settle(one, other, proposals, forward, backward)
        return forward, backward

    def _multiplied(self, one: Side, other: Side, rows: Ints, columns: Ints) -> Float32:
        """(n, m) products of the tokens ``rows`` of the one with ``columns`` of the other."""
        a, b = self._a[: len(rows)], self._b[: len(columns)]
        # "clip" because numpy would otherwise copy the buffer to be safe from an index error half-way
        np.take(one.tokens, rows, axis=0, out=a.numpy(), mode="clip")
        np.take(other.tokens, columns, axis=0, out=b.numpy(), mode="clip")
        closeness = self._product[: len(rows) * len(columns)].view(len(rows), len(columns))
        return np.asarray(torch.mm(a, b.T, out=closeness).numpy())

    def _settle(self, one: Side, other: Side, proposals: _Proposals, forward: _Nearest, backward: _Nearest) -> None:
        """Take the distances of what was proposed and still may be nearest."""
        rows, columns, values = proposals.drawn()
        near = np.flatnonzero(values >= np.minimum(forward.closest[rows], backward.closest[columns]) - self._slack)
        rows, columns = rows[near], columns[near]
        apart = _distances(one.tokens, other.tokens, rows, columns)
        forward.take(rows, columns, apart)
        backward.take(columns, rows, apart)


def _slack(channels: int) -> float:
    """How much a float32 product of unit vectors, and half the squared distance that it stands for, can be wrong by,
    twice: what is further below the largest is not the nearest."""
    return (2 * channels + 8) * 2.0**-24


def _anywhere(one: Side, other: Side, alone: Ints, nearest: _Nearest) -> None:
    """Fill in the nearest of all tokens inside the other volume for the tokens ``alone`` (n,)."""
    if not len(alone):
        return
    allowed = np.flatnonzero(other.inside)
    against = torch.from_numpy(other.tokens[allowed])
    slack = np.float32(_slack(against.shape[1]))
    for part in np.array_split(alone, -(-len(alone) * len(allowed) // ANYWHERE)):
        closeness = torch.mm(torch.from_numpy(one.tokens[part]), against.T).numpy()
        row, column = np.nonzero(closeness >= closeness.max(axis=1, keepdims=True) - slack)
        rows, columns = part[row], allowed[column]
        nearest.take(rows, columns, _distances(one.tokens, other.tokens, rows, columns))


def _distances(a: Float32, b: Float32, rows: Ints, columns: Ints) -> Float32:
    """(n,) between a[rows] and b[columns]."""
    apart = np.empty(len(rows), dtype=np.float32)
    step = max(1, TOGETHER // a.shape[1])
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        difference: npt.NDArray[Any] = a[rows[some]]
        difference -= b[columns[some]]
        apart[some] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return apart
