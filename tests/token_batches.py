"""Batches of tokens for tests of the matching engine, what is true of them by definition, and what the engine says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blemish.matching.engine import match
from blemish.matching.executor import Job, LocalExecutor, Progress
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tiles import TileMatches

SCRATCH = Path("/tmp") if Path("/tmp").is_dir() else Path()
PLENTY = 2**28
PRECISIONS = ("bfloat16", "float32")


def unit(z: np.ndarray) -> np.ndarray:
    """Tokens of unit length, float32."""
    return (z / np.linalg.norm(z, axis=-1, keepdims=True)).astype(np.float32)


def unit_tokens(images: int, tokens: int, channels: int, seed: int = 0) -> np.ndarray:
    """(B, N, C) in random directions."""
    return unit(np.random.default_rng(seed).normal(size=(images, tokens, channels)))


def clustered_tokens(images: int, tokens: int, channels: int, spread: float, seed: int = 0) -> np.ndarray:
    """(B, N, C) near one of a few directions, those of one cluster about ``spread`` apart."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(6, channels)))
    z = centres[rng.integers(0, 6, (images, tokens))]
    return unit(z + spread * (2 * channels) ** -0.5 * rng.normal(size=z.shape))


def true_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, C) and (N, C) -> (N, N) Euclidean distances in double precision, by their definition."""
    return np.linalg.norm(a[:, None].astype(np.float64) - b[None].astype(np.float64), axis=-1)


def assert_nearest(distances: np.ndarray, index: np.ndarray, exact: np.ndarray) -> None:
    """``distances`` (N,) are the smallest of every row of ``exact`` (N, N), to the precision of float32, and ``index``
    is where they stand; of two that are so near each other either will do."""
    smallest = exact.min(axis=1)
    np.testing.assert_allclose(distances, smallest, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(exact[np.arange(len(exact)), index], smallest, rtol=2e-6, atol=1e-9)


def stored(z: np.ndarray, on_disk: bool = False) -> ArrayStore:
    tokens = ArrayStore(z.shape, np.float32, SCRATCH if on_disk else None)
    tokens.write(0, z)
    return tokens


class Tables(NamedTuple):
    distances: np.ndarray  # (B, B, N)
    index: np.ndarray  # (B, B, N)


def tables(z: np.ndarray, *, memory: int = PLENTY, on_disk: bool = False, **options: Any) -> Tables:
    """What the engine finds with one thread, if ``options`` name no other executor."""
    options.setdefault("executor", LocalExecutor(threads=1))
    table = match(stored(z, on_disk), Budget(memory, SCRATCH), **options)
    everybody = range(len(z))
    return Tables(np.stack([table.row(i) for i in everybody]), np.stack([table.index(i) for i in everybody]))


def assert_same_bits(found: Tables, expected: Tables) -> None:
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.index, expected.index)


class Recording:
    """A local executor that remembers what it was asked to do."""

    def __init__(self, threads: int = 1, precision: str | None = None) -> None:
        self._inner = LocalExecutor(threads, precision)
        self.jobs: list[Job] = []

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs that were matched."""
        return [(int(i), int(j)) for job in self.jobs for i, j in job.pairs]

    def least_bytes(self, tokens: int, channels: int) -> int:
        return self._inner.least_bytes(tokens, channels)

    def tile_bytes(self, block: int, tokens: int, channels: int) -> int:
        return self._inner.tile_bytes(block, tokens, channels)

    def run(self, tokens: ArrayStore, jobs: Sequence[Job], progress: Progress) -> Iterator[TileMatches]:
        for job in jobs:
            self.jobs.append(job)
            yield from self._inner.run(tokens, [job], progress)
