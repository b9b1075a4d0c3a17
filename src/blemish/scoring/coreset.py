"""Which tokens a frozen detector keeps: few that lie near all the others.

Greedy k-center after PatchCore (Roth et al. 2022, section 3.2; the algorithm is Gonzalez 1985): the token that is
farthest from what was kept so far is kept next. It knows unit tokens and their scores; nothing of photos, files or
backbones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["SIZE", "farthest_first", "folds", "ordinary", "thinned"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]

SIZE = 2000  # tokens of a bank
THINNED = 20_000  # tokens among which they are chosen
ORDINARY = 0.99  # share of the tokens of ok photos that may be kept
FOLDS = 4  # parts of the photos, each scored by a bank of the others
ROWS = 8192  # tokens compared at once
CANDIDATES = 512  # farthest tokens among which the next ones are looked for
COPY = 1e-6  # squared distance within the rounding of float32


def ordinary(values: Float32, left_out: Bools | None = None, share: float = ORDINARY) -> Bools:
    """``values: (n, N)``, the batch's map values of photos that it calls ok -> (n, N), which tokens may be kept.

    A flaw that the verdict missed is among the highest values, and k-center, which looks for what is far from
    everything, would keep all of it. ``left_out: (n, N)``: tokens that carry a family's flaw."""
    level = np.quantile(values, share)
    allowed = values <= level
    return np.asarray(allowed if left_out is None else allowed & ~left_out)


def thinned(allowed: Bools, *, limit: int = THINNED, seed: int = 0) -> Ints:
    """Flat indices, ascending, of at most ``limit`` of the tokens ``allowed: (n, N)``, drawn at random: only these need
    be in memory, and their number bounds the time that ``farthest_first`` takes."""
    flat = np.flatnonzero(allowed)
    if len(flat) <= limit:
        return flat
    return np.sort(np.random.default_rng(seed).choice(flat, limit, replace=False))


def folds(photos: int, *, seed: int = 0) -> Ints:
    """(photos,) the part, from 0, that each photo belongs to: a bank chosen among the tokens of the other parts scores
    it as the whole bank scores a photo that it has not seen.

    To leave only its own tokens out of the whole bank scores it too high: what it has in common with others may be
    kept from it alone, since k-center keeps no second token of the same look."""
    parts = np.arange(photos) % max(1, min(FOLDS, photos))
    return np.asarray(np.random.default_rng(seed).permutation(parts), dtype=np.intp)


def farthest_first(
    tokens: Float32, size: int = SIZE, *, seed: int = 0, progress: Callable[[int], None] = lambda kept: None
) -> Ints:
    """Indices of at most ``size`` of ``tokens: (T, C)``, each of unit length, in the order in which they were kept: the
    first m are what a smaller size would have given. Fewer where all others are copies of these. ``progress(n)``: n
    more are kept.

    Exact, and yet products of matrices instead of one pass over all tokens for each that is kept: distances only fall,
    so while one of the ``CANDIDATES`` farthest is as far as the farthest token beside them was, it is the next one.
    """
    size = min(size, len(tokens))
    if size < 1:
        return np.empty(0, dtype=np.intp)
    kept = [int(np.random.default_rng(seed).integers(len(tokens)))]
    distance = np.full(len(tokens), np.inf, dtype=np.float32)  # squared, to the nearest that is kept
    new = kept[:]
    while True:
        _approach(distance, tokens, new)
        progress(len(new))
        new = _next(distance, tokens, size - len(kept)) if len(kept) < size else []
        if not new:
            return np.array(kept, dtype=np.intp)
        kept += new


def _next(distance: Float32, tokens: Float32, most: int) -> list[int]:
    """At least one, at most ``most`` of the tokens that follow; none if only copies are left."""
    count = min(CANDIDATES, len(tokens))
    order = np.argpartition(-distance, count - 1)
    candidates = np.sort(order[:count])
    beside = float(distance[order[count:]].max()) if count < len(tokens) else 0.0
    own, apart = distance[candidates], _squared(tokens[candidates], tokens[candidates])
    found: list[int] = []
    while len(found) < most:
        at = int(np.argmax(own))
        if own[at] <= COPY or (found and own[at] < beside):
            break
        found.append(int(candidates[at]))
        np.minimum(own, apart[at], out=own)
    return found


def _approach(distance: Float32, tokens: Float32, kept: list[int]) -> None:
    """Lower ``distance`` to that from the tokens ``kept``."""
    for start in range(0, len(tokens), ROWS):
        part = slice(start, start + ROWS)
        np.minimum(distance[part], _squared(tokens[kept], tokens[part]).min(axis=0), out=distance[part])


def _squared(a: Float32, b: Float32) -> Float32:
    return np.asarray(np.maximum(2 - 2 * (a @ b.T), 0))
