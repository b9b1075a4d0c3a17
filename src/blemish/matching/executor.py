"""Where tiles are done: on this machine's cores. Other places have the same face, so that the engine need not know.

Every executor gives the same bits for a tile, in whatever order and company it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from blemish.matching.pairs import Precision, choose_precision
from blemish.matching.store import ArrayStore
from blemish.matching.tiles import Ints, Tile, TileMatches, match_tile, tile_bytes

__all__ = ["Executor", "Job", "LocalExecutor", "Progress"]

Progress = Callable[[int], None]  # of pairs that are finished, from any thread


@dataclass(frozen=True)
class Job:
    """A tile and those of its pairs (n, 2) that are to be matched, in numbers of the batch."""

    tile: Tile
    pairs: Ints

    def local(self) -> Ints:
        """The pairs in numbers of the tile's two sides."""
        return np.asarray(self.pairs - np.array([self.tile.first, self.tile.second]))

    @property
    def one_sided(self) -> bool:
        """Whether both sides are the same images."""
        return self.tile.first == self.tile.second


class Executor(Protocol):
    """Does tiles."""

    def least_bytes(self, tokens: int, channels: int) -> int:
        """Memory without which not even tiles of one image a side can be done."""
        ...

    def tile_bytes(self, block: int, tokens: int, channels: int) -> int:
        """Memory for tiles of ``block`` images a side."""
        ...

    def run(self, tokens: ArrayStore, jobs: Sequence[Job], progress: Progress) -> Generator[TileMatches, None, None]:
        """The matches of every job, in any order; ``tokens``: (B, N, C). Pairs are in numbers of the batch."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """This machine's cores, one tile after the other."""

    threads: int | None = None  # torch's number by default
    precision: Precision | None = None  # what this processor is quickest with by default

    def least_bytes(self, tokens: int, channels: int) -> int:
        return self.tile_bytes(1, tokens, channels)

    def tile_bytes(self, block: int, tokens: int, channels: int) -> int:
        return tile_bytes(block, tokens, channels, self._threads, self._precision)

    def run(self, tokens: ArrayStore, jobs: Sequence[Job], progress: Progress) -> Generator[TileMatches, None, None]:
        for job in jobs:
            tile = job.tile
            left = tokens.read(tile.first, tile.first + tile.left)
            right = None if job.one_sided else tokens.read(tile.second, tile.second + tile.right)
            found = match_tile(
                left, right, job.local(), threads=self._threads, precision=self._precision, progress=progress
            )
            yield replace(found, pairs=job.pairs)

    @property
    def _threads(self) -> int:
        return self.threads or torch.get_num_threads()

    @property
    def _precision(self) -> Precision:
        return self.precision or choose_precision()[0]
