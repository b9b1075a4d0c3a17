"""The exact engine: the distance from every token to every other image, each pair of images multiplied once.

It cuts a batch into tiles within a memory budget, has them done, and keeps what they found; what was found before, by
a scan that was killed or for a batch that has grown, is taken over. It knows tensors and nothing of photos.
Source of the score it serves: MuSc (ICLR 2024); halving the work by using both directions of a product is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError
from blemish.matching.executor import Executor, Job, LocalExecutor, Progress
from blemish.matching.pairs import index_type
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tile_log import TileLog
from blemish.matching.tiles import Bools, TileMatches, tiles

__all__ = ["NearestTable", "match", "table_bytes"]

Float32 = npt.NDArray[np.float32]

BLOCK = 16  # images a side of a tile: fewer, and tokens on disk are read again and again; more, and a kill costs more


@dataclass(frozen=True)
class NearestTable:
    """``row(i)[j, p]``: distance of token p of image i to the nearest token of image j; infinite for j = i and for
    images that i was not compared with. ``index(i)[j, p]``: which token of image j that is; meaningless there."""

    store: ArrayStore  # (B, B, N) float32
    index_store: ArrayStore  # (B, B, N) int16, or int32 where the tokens cannot be counted with it

    def row(self, image: int) -> Float32:
        """(B, N) float32."""
        row: Float32 = self.store.read(image, image + 1)[0]
        return row

    def index(self, image: int) -> npt.NDArray[np.integer[Any]]:
        """(B, N) integers."""
        index: npt.NDArray[np.integer[Any]] = self.index_store.read(image, image + 1)[0]
        return index

    def release(self, budget: Budget) -> None:
        """Give the table's memory back."""
        budget.release(self.store)
        budget.release(self.index_store)

    def put(self, found: TileMatches, wanted: Bools | None = None) -> None:
        """Write both directions of every pair, or only those that are ``wanted`` (B, B)."""
        i, j = found.pairs.T
        for image, run in _runs(i, j):
            self._put(image, int(j[run[0]]), found.forward[run], found.forward_index[run], wanted)
        order = np.lexsort((i, j))
        for image, run in _runs(j[order], i[order]):
            at = order[run]
            self._put(image, int(i[at[0]]), found.backward[at], found.backward_index[at], wanted)

    def _put(self, image: int, start: int, distances: Float32, index: Any, wanted: Bools | None) -> None:
        if wanted is not None:
            hidden = ~wanted[image, start : start + len(distances)]
            distances = np.where(hidden[:, None], np.float32(np.inf), distances)
        self.store.write_part(image, start, distances)
        self.index_store.write_part(image, start, index)


def _runs(own: npt.NDArray[np.intp], other: npt.NDArray[np.intp]) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Stretches of entries of one image against neighbouring others: (image, entries)."""
    cuts = np.flatnonzero((np.diff(own) != 0) | (np.diff(other) != 1)) + 1
    for run in np.split(np.arange(len(own)), cuts):
        if len(run):
            yield int(own[run[0]]), run


def table_bytes(images: int, tokens: int) -> int:
    """Size of the table of B images with N tokens each."""
    return (4 + index_type(tokens).itemsize) * images * images * tokens


def match(
    tokens: ArrayStore,
    budget: Budget,
    *,
    executor: Executor | None = None,
    wanted: Bools | None = None,
    log: TileLog | None = None,
    progress: Progress = lambda pairs: None,
) -> NearestTable:
    """Nearest-token distances between all images.

    ``tokens``: (B, N, C) float32 of unit length. ``budget``: bounds the table and the working copies; a table that
    does not fit goes to a scratch file. ``executor``: who does the tiles, by default this machine's cores.
    ``wanted``: (B, B), whether image i is to be compared with image j; by default all are. ``log``: where tiles are
    kept as they are finished, and taken from if they were before. ``progress(n)`` is told of every n finished pairs,
    from several threads. Distances are Euclidean, in float32. Memory, threads, the executor and interruptions change
    no bit, and the order of the batch nothing.
    Raises ``ConfigError`` if the budget holds fewer than two images. Give the table back with its ``release``.
    """
    images, count, channels = tokens.shape
    executor = executor or LocalExecutor()
    work = executor.tile_bytes(min(images, BLOCK), count, channels)
    share = max(0.0, 1 - work / max(budget.left, 1))
    distances = budget.array((images, images, count), np.float32, share)
    index = budget.array((images, images, count), index_type(count), share=max(0.0, 1 - work / max(budget.left, 1)))
    table = NearestTable(distances, index)
    try:
        _fill(table, tokens, budget, executor, wanted, log, progress)
    except BaseException:
        table.release(budget)
        raise
    return table


def _fill(
    table: NearestTable,
    tokens: ArrayStore,
    budget: Budget,
    executor: Executor,
    wanted: Bools | None,
    log: TileLog | None,
    progress: Progress,
) -> None:
    images, count, channels = tokens.shape
    block = min(images, BLOCK)
    while block > 1 and executor.tile_bytes(block, count, channels) > budget.left:
        block -= 1
    if executor.tile_bytes(block, count, channels) > budget.left:
        raise ConfigError(
            f"{budget.left / 2**20:.0f} MiB are left for matching, too little for photos of {count} tokens. "
            "Allow more with --memory, or use a smaller --size."
        )
    for i in range(images):
        _clear(table, i, wanted)
    known = np.zeros((images, images), dtype=bool)
    if log:
        for found in log.read(count, wanted):
            table.put(found, wanted)
            known[found.pairs[:, 0], found.pairs[:, 1]] = True
            progress(len(found.pairs))
    jobs = [
        Job(tile, pairs[~known[pairs[:, 0], pairs[:, 1]]])
        for tile in tiles(images, block)
        if len(pairs := tile.pairs(wanted))
    ]
    with closing(executor.run(tokens, [job for job in jobs if len(job.pairs)], progress)) as results:
        for found in results:
            table.put(found, wanted)
            if log:
                log.append(found)


def _clear(table: NearestTable, i: int, wanted: Bools | None) -> None:
    """An image is infinitely far from itself, and from those that it is not compared with."""
    others = table.store.shape[0]
    absent = np.array([i]) if wanted is None else np.union1d([i], np.flatnonzero(~wanted[i]))
    if len(absent) > others // 2:  # one write instead of many
        table.store.write_part(i, 0, np.full((others, table.store.shape[2]), np.inf, np.float32))
        table.index_store.write_part(i, 0, np.zeros((others, table.store.shape[2]), table.index_store.dtype))
        return
    for j in absent.tolist():
        table.store.write_part(i, j, np.full((1, table.store.shape[2]), np.inf, np.float32))
        table.index_store.write_part(i, j, np.zeros((1, table.store.shape[2]), table.index_store.dtype))
