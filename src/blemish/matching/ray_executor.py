"""Tiles done by the machines of a Ray cluster, with the bits that this machine would give.

Blocks of tokens are put into the object store when a tile needs them and let go when none does; tiles are tasks. What
does a tile on a node is another executor, which is sent along; a node shows with every tile that it computes as the
others do. It knows tiles and blocks; how tasks are sent, and what happens when a worker is lost, is ``cluster``'s.
"""

from __future__ import annotations

import hashlib
import socket
from collections import Counter, OrderedDict
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import RunError
from blemish.matching.cluster import AT_ONCE, Cluster
from blemish.matching.executor import Executor, Job, LocalExecutor, Progress
from blemish.matching.pairs import choose_precision
from blemish.matching.store import ArrayStore
from blemish.matching.tiles import Ints, Tile, TileMatches

__all__ = ["RayExecutor"]

KEPT = 0.3  # of the smallest object store, for blocks that are kept for further tiles; the rest is for results

Float32 = npt.NDArray[np.float32]
Arrays = tuple[Float32, npt.NDArray[np.integer[Any]], Float32, npt.NDArray[np.integer[Any]]]


def _one_core() -> LocalExecutor:
    return LocalExecutor(threads=1, precision=choose_precision()[0])


@dataclass(frozen=True)
class RayExecutor:
    """A tile is done by ``on_node``, which gets one core, and ``gpus``. By default that is the core alone, with the
    precision that this machine's processor is quickest with: nodes do not choose."""

    cluster: Cluster
    on_node: Executor = field(default_factory=_one_core)
    gpus: int = 0

    def least_bytes(self, tokens: int, channels: int) -> int:
        return self.tile_bytes(1, tokens, channels)

    def tile_bytes(self, block: int, tokens: int, channels: int) -> int:
        """Of this machine: two blocks on their way, and where the cluster is this machine, its workers."""
        if not self.cluster.local:
            return 2 * block * 4 * tokens * channels
        return AT_ONCE * self.cluster.places(self.gpus) * self.on_node.tile_bytes(block, tokens, channels)

    def run(self, tokens: ArrayStore, jobs: Sequence[Job], progress: Progress) -> Generator[TileMatches, None, None]:
        """As ``Executor`` says. Raises ``RunError`` if a node computes otherwise than this machine or, on GPUs, than
        the others."""
        blocks = _Blocks(self.cluster, tokens, jobs)
        expected = "" if self.gpus else _fingerprint(self.on_node, *tokens.shape[1:])  # type: ignore[arg-type]

        def arguments(job: Job) -> tuple[Any, ...]:
            return *blocks.sides(job.tile), job.local(), self.on_node

        results = self.cluster.each(_match, blocks.ordered(jobs), arguments, gpus=self.gpus)
        with closing(results):
            for job, (host, found, arrays) in results:
                expected = expected or found
                if found != expected:
                    raise RunError(
                        f"The node {host} does not compute as the others ({found}; expected {expected}): another "
                        "version of blemish, torch or numpy, or another kind of processor. Use nodes of one kind, set "
                        "up alike."
                    )
                blocks.finished(job.tile)
                progress(len(job.pairs))
                forward, forward_index, backward, backward_index = arrays
                yield TileMatches(job.pairs, forward, forward_index, backward, backward_index)


class _Blocks:
    """Blocks of tokens in the object store: those that were used last, as many as there is room for."""

    def __init__(self, cluster: Cluster, tokens: ArrayStore, jobs: Sequence[Job]) -> None:
        self._cluster, self._tokens = cluster, tokens
        self._uses = Counter(side for job in jobs for side in _sides(job.tile))
        self._kept: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._block = max((images for _, images in self._uses), default=1)
        nbytes = self._block * 4 * tokens.shape[1] * tokens.shape[2]
        self._most = max(2, int(KEPT * cluster.store_bytes()) // nbytes)

    def ordered(self, jobs: Sequence[Job]) -> list[Job]:
        """Tiles of the same few blocks together, so that what is kept is used before it is let go."""
        images = self._block * (self._most // 2)
        return sorted(
            jobs,
            key=lambda job: (job.tile.first // images, job.tile.second // images, job.tile.first, job.tile.second),
        )

    def sides(self, tile: Tile) -> tuple[Any, Any]:
        """References to both sides; None for the second if it is the first."""
        references = [self._reference(side) for side in _sides(tile)]
        return references[0], references[1] if len(references) > 1 else None

    def finished(self, tile: Tile) -> None:
        """Let go of what no further tile needs."""
        for side in _sides(tile):
            self._uses[side] -= 1
            if not self._uses[side]:
                self._kept.pop(side, None)

    def _reference(self, side: tuple[int, int]) -> Any:
        if side not in self._kept:
            self._kept[side] = self._cluster.put(self._tokens.read(side[0], side[0] + side[1]))
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)  # tasks that have been sent off still hold it
        self._kept.move_to_end(side)
        return self._kept[side]


def _sides(tile: Tile) -> list[tuple[int, int]]:
    """First image and number of images of each block."""
    if tile.first == tile.second:
        return [(tile.first, tile.left)]
    return [(tile.first, tile.left), (tile.second, tile.right)]


@cache
def _fingerprint(executor: Executor, tokens: int, channels: int) -> str:
    """The version of blemish, and a digest of what ``executor`` finds here for a pair of made-up images. Processors
    differ in the order in which they add, and then in the last bit."""
    made_up = np.random.default_rng(0).integers(-128, 128, (2, tokens, channels)).astype(np.float32)
    made_up /= np.float32(128 * channels**0.5)
    found = _done(executor, made_up, None, np.array([[0, 1]]))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in found))
    return f"blemish {version('blemish')}, {digest.hexdigest()[:16]}"


def _match(left: Float32, right: Float32 | None, pairs: Ints, executor: Executor) -> tuple[str, str, Arrays]:
    """The task: the node, its fingerprint, and what it finds for ``pairs`` of rows of the two sides."""
    fingerprint = _fingerprint(executor, left.shape[1], left.shape[2])  # type: ignore[arg-type]
    return socket.gethostname(), fingerprint, _done(executor, left, right, pairs)


def _done(executor: Executor, left: Float32, right: Float32 | None, pairs: Ints) -> Arrays:
    first, second = len(left), 0 if right is None else len(right)
    store = ArrayStore((first + second, *left.shape[1:]), np.float32)
    store.write(0, left)
    tile = Tile(0, first, 0, first)
    if right is not None:
        store.write(first, right)
        tile, pairs = Tile(0, first, first, second), pairs + np.array([0, first])
    (found,) = executor.run(store, [Job(tile, pairs)], lambda pairs: None)
    return found.forward, found.forward_index, found.backward, found.backward_index
