"""Token clouds without photos: ordinary tokens near a manifold of few dimensions at each place, and planted looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blemish.scoring.families import Pass

GRID = (8, 8)
CHANNELS = 24
SPREAD = 0.15  # of ordinary tokens along their manifold


@dataclass(frozen=True)
class Table:
    """Every token's nearest token in every photo, by definition."""

    nearest: np.ndarray  # (B, B, N), infinite on the diagonal
    indices: np.ndarray  # (B, B, N)

    def row(self, image: int) -> np.ndarray:
        return self.nearest[image]

    def index(self, image: int) -> np.ndarray:
        return self.indices[image]

    def reordered(self, order: Sequence[int]) -> Table:
        return Table(self.nearest[np.ix_(order, order)], self.indices[np.ix_(order, order)])


@dataclass(frozen=True)
class Cloud:
    tokens: np.ndarray  # (B, N, C) unit length, float32

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tokens.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.tokens[start:stop]


@dataclass
class Planted:
    """A batch, and what was done to it: for every look its photos and its tokens, (N,)."""

    tokens: np.ndarray
    grid: tuple[int, ...] = GRID
    looks: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def passes(self) -> list[Pass]:
        return [Pass(table_of(self.tokens), Cloud(self.tokens), self.grid)]

    def copied(self, photo: int, times: int) -> Planted:
        """The same with ``times - 1`` copies of a photo at the end."""
        copies = np.repeat(self.tokens[photo : photo + 1], times - 1, axis=0)
        return Planted(np.concatenate([self.tokens, copies]), self.grid)


def table_of(tokens: np.ndarray) -> Table:
    images, count, channels = tokens.shape
    nearest = np.full((images, images, count), np.inf, np.float32)
    indices = np.zeros((images, images, count), np.int16)
    others = tokens.reshape(-1, channels)
    for i in range(images):
        indices[i] = (tokens[i] @ others.T).reshape(count, images, count).argmax(axis=2).T
        matches = np.take_along_axis(tokens, indices[i][:, :, None].astype(np.intp), axis=1)
        nearest[i] = np.linalg.norm(tokens[i] - matches, axis=2)
        nearest[i, i] = np.inf
    return Table(nearest, indices)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def cloud(
    images: int,
    groups: Sequence[int] = (),
    sporadic: int = 0,
    variants: Sequence[float] = (1.0,),
    *,
    seed: int = 0,
    grid: tuple[int, ...] = GRID,
    patch: tuple[int, ...] = (2, 3),
    dimensions: int = 3,
) -> Planted:
    """``groups``: photos that share a look, each group its own look at its own place; ``sporadic``: photos with a look
    of their own; ``variants``: shares of the photos whose every place looks otherwise; ``dimensions``: of the
    manifold at each place; the fewer, the sooner two tokens at its end agree by chance."""
    rng = np.random.default_rng(seed)
    count = math.prod(grid)
    bases = unit(rng.normal(size=(len(variants), count, CHANNELS)))
    directions = rng.normal(size=(len(variants), count, dimensions, CHANNELS)) / CHANNELS**0.5
    bounds = np.round(np.cumsum(variants) * images).astype(int)
    variant = rng.permutation(np.searchsorted(bounds, np.arange(images), side="right"))
    latent = rng.normal(size=(images, count, dimensions))
    raw = bases[variant] + SPREAD * np.einsum("bnd,bndc->bnc", latent, directions[variant])
    raw += rng.normal(0, 0.01, raw.shape)
    shuffled = rng.permutation(images)
    looks = []
    start = 0
    for size in [*groups, *([1] * sporadic)]:
        members = np.sort(shuffled[start : start + size])
        start += size
        where = np.zeros(grid, bool)
        corner = [int(rng.integers(side - own + 1)) for side, own in zip(grid, patch, strict=True)]
        where[tuple(slice(at, at + own) for at, own in zip(corner, patch, strict=True))] = True
        where = where.reshape(-1)
        look = unit(rng.normal(size=(int(where.sum()), CHANNELS)))
        raw[np.ix_(members, where)] = look + rng.normal(0, 0.03, (size, len(look), CHANNELS))
        if size > 1:
            looks.append((members, where))
    return Planted(unit(raw), grid, tuple(looks))
