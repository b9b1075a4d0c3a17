"""Registered volumes: every token is compared only with tokens near its own place in the other volumes.

The same table as the engine's, from far fewer products: a grid of 32 x 32 x 32 cells compared within 2 cells takes 125
products of tokens instead of 32,768. Grids have any number of sides. It deals pairs to cores and keeps what they find;
what was found before, by a scan that was killed or for a batch that has grown, is taken over. It knows tensors and
nothing of brains.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from blemish.errors import ConfigError
from blemish.matching.engine import NearestTable
from blemish.matching.executor import Progress
from blemish.matching.nearby_pairs import NearbyMatcher, Side, Windows
from blemish.matching.pairs import index_type
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tile_log import TileLog
from blemish.matching.tiles import Ints, TileMatches, in_threads

__all__ = ["match_nearby"]

Bools = npt.NDArray[np.bool_]


def match_nearby(
    tokens: ArrayStore,
    grid: tuple[int, ...],
    budget: Budget,
    *,
    radius: int,
    inside: Bools | None = None,
    log: TileLog | None = None,
    progress: Progress = lambda pairs: None,
) -> NearestTable:
    """Distances from every token to the nearest token of every other volume within ``radius`` cells of its own place
    along each side of ``grid``; and which token that is.

    ``tokens``: (B, N, C) float32 of unit length; a grid's last side runs first, N is the product of its sides.
    ``inside``: (B, N) the tokens that are compared. The others are nobody's match and 0 away from every other volume
    (their index means nothing), so that they score 0. A token that finds nothing within the radius, where one brain
    reaches further than another, is compared with all tokens that are inside the other volume: the smallest distance
    there is, so that anatomy which merely lies elsewhere raises no suspicion. ``log``: where pairs are kept as they are
    finished, and taken from if they were before; of the same ``grid``, ``radius`` and masks. ``progress(n)``: n more
    pairs are done, from any thread.

    Every pair of volumes is multiplied once, for both directions, each by one core. Products only propose: distances
    are Euclidean, taken in float32 from the difference of two tokens; of equally near tokens the first counts. Memory,
    threads and interruptions change no bit. Raises ``ConfigError`` if the sizes do not fit, a volume has no token
    inside, or ``budget`` is too small. Give the table back with its ``release``.
    """
    images, count, channels = tokens.shape
    _check(tokens, grid, radius, inside)
    distances = budget.array((images, images, count), np.float32, share=0.5)
    index = budget.array((images, images, count), index_type(count), share=0.5)
    table = NearestTable(distances, index)
    try:
        windows = Windows.of(grid, radius)
        # besides a matcher, both volumes of a pair where they lie in a file
        each = NearbyMatcher.nbytes(windows, count, channels) + (0 if tokens.in_memory else 8 * count * channels)
        threads = min(torch.get_num_threads(), budget.left // each)
        if threads < 1:
            raise ConfigError(
                f"{budget.left / 2**20:.0f} MiB are left for matching, too little for a radius of {radius}. "
                "Allow more with --memory, or use a smaller radius."
            )
        todo = _todo(table, log, progress)
        lock = threading.Lock()

        def keep(found: TileMatches) -> None:
            with lock:
                table.put(found)
                if log:
                    log.append(found)
            progress(1)

        in_threads(todo, lambda: _Worker(tokens, inside, windows, keep), max(1, min(threads, len(todo))))
    except BaseException:
        table.release(budget)
        raise
    return table


def _todo(table: NearestTable, log: TileLog | None, progress: Progress) -> list[Ints]:
    """The pairs (1, 2) that are not known, by their first volume; what is known is in ``table`` then, and that a volume
    is not compared with itself."""
    images, _, count = table.store.shape
    known = np.zeros((images, images), np.bool_)
    for i in range(images):
        table.store.write_part(i, i, np.full((1, count), np.inf, np.float32))
        table.index_store.write_part(i, i, np.zeros((1, count), table.index_store.dtype))
    for found in log.read(count) if log else ():
        table.put(found)
        known[found.pairs[:, 0], found.pairs[:, 1]] = True
        progress(len(found.pairs))
    return list(np.argwhere(np.triu(~known, 1))[:, None])


class _Worker:
    """What one core does; the first volume of its last pair stays at hand."""

    def __init__(
        self, tokens: ArrayStore, inside: Bools | None, windows: Windows, keep: Callable[[TileMatches], None]
    ) -> None:
        self._tokens, self._inside, self._keep = tokens, inside, keep
        self._matcher = NearbyMatcher(windows, tokens.shape[2])
        self._own: tuple[int, Side] | None = None

    def run(self, pair: Ints, stop: threading.Event) -> None:
        i, j = pair[0].tolist()
        if self._own is None or self._own[0] != i:
            self._own = i, self._side(i)
        self._keep(self._matcher.match(i, j, self._own[1], self._side(j)))

    def _side(self, image: int) -> Side:
        count = self._tokens.shape[1]
        inside = np.ones(count, np.bool_) if self._inside is None else self._inside[image]
        return Side(self._tokens.read(image, image + 1)[0], inside)


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
