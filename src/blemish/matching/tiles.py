"""The unit of work: a few images against a few others, which can be done anywhere and done again with the same bits.

It knows tokens of two blocks of images and cores; not the batch, its memory or where results are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from blemish.matching.pairs import Matcher, Operands, Precision, choose_precision, index_type, operand_bytes, operands

__all__ = ["Tile", "TileMatches", "in_threads", "match_tile", "tile_bytes", "tiles"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tile:
    """Images ``first`` to ``first + left`` against images ``second`` to ``second + right``, the pairs i < j among
    them. The two blocks are the same, or the first lies before the second."""

    first: int
    left: int
    second: int
    right: int

    def pairs(self, wanted: Bools | None = None) -> Ints:
        """(n, 2) image numbers i < j, by i then j; only those wanted (B, B) in either direction."""
        i, j = np.meshgrid(
            np.arange(self.first, self.first + self.left),
            np.arange(self.second, self.second + self.right),
            indexing="ij",
        )
        pairs = np.stack([i.reshape(-1), j.reshape(-1)], axis=1)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        if wanted is not None:
            pairs = pairs[wanted[pairs[:, 0], pairs[:, 1]] | wanted[pairs[:, 1], pairs[:, 0]]]
        return pairs


def tiles(images: int, block: int) -> Iterator[Tile]:
    """All tiles of a batch, each pair of images in exactly one."""
    for first in range(0, images, block):
        for second in range(first, images, block):
            yield Tile(first, min(block, images - first), second, min(block, images - second))


@dataclass(frozen=True)
class TileMatches:
    """What a tile found for its n pairs (i, j). ``forward``: (n, N) distance of every token of i to its nearest token
    of j, whose number is in ``forward_index``; ``backward`` the same from j to i."""

    pairs: Ints  # (n, 2)
    forward: Float32
    forward_index: npt.NDArray[np.integer[Any]]
    backward: Float32
    backward_index: npt.NDArray[np.integer[Any]]

    @classmethod
    def empty(cls, pairs: Ints, tokens: int) -> TileMatches:
        """To be filled."""
        shape, dtype = (len(pairs), tokens), index_type(tokens)
        return cls(
            pairs,
            np.empty(shape, np.float32),
            np.empty(shape, dtype),
            np.empty(shape, np.float32),
            np.empty(shape, dtype),
        )


def tile_bytes(block: int, tokens: int, channels: int, threads: int, precision: Precision) -> int:
    """Bytes that working on a tile of ``block`` images a side takes: both sides' tokens and operands, its matches, and
    a matcher a thread."""
    images = 2 * block * (4 * tokens * channels + operand_bytes(tokens, channels, precision))
    matches = block * block * 2 * tokens * (4 + index_type(tokens).itemsize)
    return images + matches + threads * Matcher.nbytes(tokens, channels)


def match_tile(
    left: Float32,
    right: Float32 | None,
    pairs: Ints,
    *,
    threads: int,
    precision: Precision | None = None,
    progress: Callable[[int], None] = lambda pairs: None,
) -> TileMatches:
    """Match pairs of images on the CPU.

    ``left``: (l, N, C) tokens of unit length, float32. ``right``: (r, N, C), or None if both sides are the same
    images. ``pairs``: (n, 2), row in ``left`` and row in ``right``. The answer is for ``pairs`` as they are, and does
    not depend on which of them come together or on ``threads``. ``progress(n)``: n more are done, from any thread.
    """
    precision = precision or choose_precision()[0]
    on_left = operands(left, precision)
    on_right = on_left if right is None else operands(right, precision)
    found = TileMatches.empty(pairs, left.shape[1])
    rows = np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(pairs[:, 0])) + 1)
    in_threads(rows, lambda: _Worker(on_left, on_right, found, precision, progress), min(threads, len(rows)))
    return found


class _Worker:
    def __init__(
        self, left: Operands, right: Operands, found: TileMatches, precision: Precision, progress: Callable[[int], None]
    ) -> None:
        self._matcher = Matcher(left.tokens.shape[1], left.tokens.shape[2], precision)
        self._left, self._right, self._found, self._progress = left, right, found, progress

    def run(self, row: Ints, stop: threading.Event) -> None:
        """Match the pairs ``row``, which share their left image; those with neighbouring right ones together."""
        others = self._found.pairs[row, 1]
        for run in np.split(row, np.flatnonzero(np.diff(others) != 1) + 1):
            for start in range(0, len(run), self._matcher.together):
                if stop.is_set():
                    return
                at = run[start : start + self._matcher.together]
                i, j = self._found.pairs[at[0]]
                matched = self._matcher.match(self._left, int(i), self._right, int(j), len(at))
                into = (
                    self._found.forward,
                    self._found.forward_index,
                    self._found.backward,
                    self._found.backward_index,
                )
                for whole, part in zip(into, matched, strict=True):
                    whole[at] = part
        self._progress(len(row))


class Worker(Protocol):
    """What one thread works with."""

    def run(self, row: Ints, stop: threading.Event) -> None:
        """Match the pairs ``row``; no more of them once ``stop`` is set."""
        ...


def in_threads(rows: list[Ints], make: Callable[[], Worker], threads: int) -> None:
    """Every row of pairs is run by one of the threads. One thread a core, each multiplying on its own, beats one
    product spread over all cores: no barrier."""
    stop = threading.Event()
    waiting = iter(rows)
    take = threading.Lock()

    def work() -> None:
        torch.set_num_threads(1)
        worker = make()
        while not stop.is_set():
            with take:
                row = next(waiting, None)
            if row is None:
                return
            worker.run(row, stop)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads) as pool:
            running = [pool.submit(work) for _ in range(threads)]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()  # an interrupt or a failed thread ends the others at their next pair
            for future in done:
                future.result()
    finally:
        torch.set_num_threads(before)
