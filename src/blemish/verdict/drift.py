"""Do the photos change along their order, as they do when the light changes during a shift?

If the order means nothing, the photos that look most alike lie anywhere in it. The test compares how far apart in the
order they lie with what chance gives (Cummings, Snorrason, Mueller 2023, "Detecting Dataset Drift and Non-IID Sampling
via k-Nearest Neighbors", arXiv 2305.15696). Then it looks for the stretch that keeps most to itself, by the number of
neighbours across its ends (Chen, Zhang 2015, "Graph-based change-point detection", Annals of Statistics 43).

It knows a vector for each photo and the order. What the photos show, and whether the order is one of time, it does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Drift", "Stretch", "drift"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

LEAST = 36  # photos: six of them may be one part under six lights, and six parts are the fewest that have an order
LONGEST, PART = 8, 6  # photos of a burst, and no more than a sixth of the batch: what goes on changing is a drift
NEIGHBOURS, SHARE = 10, 1 / 6  # of each photo, but no more than this share of the photos
BURST = 3  # a photo continues a burst if it and the one before are among each other's so many nearest, either way
ROUNDS = 2  # of joining photos to bursts: the first leaves some in halves, a third would join what drifts
SAMPLE = 2_000  # photos looked at of a large batch, evenly along the order
DRAWS = 999  # random orders
LEVEL, EXCESS = (
    0.01,
    0.1,
)  # of the p-value and of ``Drift.excess``: in a large batch chance alone allows next to nothing
PIECES = 20  # of the order, at whose ends a stretch may begin and end
SHORTEST = 2  # pieces of a stretch


@dataclass(frozen=True, slots=True)
class Stretch:
    """Photos ``first`` to ``last`` of the order, counted from 0, both included, that keep to themselves.

    ``own``: share of the photos' nearest neighbours that lie on the same side, both within the stretch or both outside;
    ``chance``: what that is in a random order."""

    first: int
    last: int
    own: float
    chance: float


@dataclass(frozen=True, slots=True)
class Drift:
    """``p``: share of random orders that show as much, the one at hand counted in. ``excess``: by how much the
    distribution of the distances between neighbours in the order exceeds that of chance at most (one-sided
    Kolmogorov-Smirnov statistic, 0 to 1)."""

    p: float
    excess: float
    stretch: Stretch

    @property
    def found(self) -> bool:
        """Whether the order means something, by more than a trace."""
        return self.p <= LEVEL and self.excess >= EXCESS


def drift(vectors: Float32, *, seed: int = 0) -> Drift | None:
    """Tests ``vectors: (n, E)``, one a photo in the order in question; None for too few.

    Photos in a row that are among each other's nearest count as one: the same part taken several times says nothing
    about the order of the parts. Distances are Euclidean. Cost: n^2 E for n up to ``SAMPLE``, then constant."""
    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), SAMPLE)).astype(np.intp)
    if len(chosen) < LEAST:
        return None
    starts, means = np.arange(len(chosen)), vectors[chosen].astype(np.float64)
    longest = min(LONGEST, len(chosen) // PART)
    for _ in range(ROUNDS):
        ahead = _bursts(_distances(means), np.diff(np.append(starts, len(chosen))), longest)
        sizes = np.diff(np.append(ahead, len(means)))
        starts, means = starts[ahead], np.add.reduceat(means, ahead, axis=0) / sizes[:, None]
    near = _nearest(_distances(means), min(NEIGHBOURS, max(2, round(SHARE * len(starts)))))
    count = len(near)
    excess = _excess(near, np.arange(count))
    rng = np.random.default_rng(seed)
    as_much = sum(_excess(near, rng.permutation(count)) >= excess for _ in range(DRAWS))
    first, last, own, chance = _stretch(near)
    ends = np.append(chosen[starts], len(vectors))
    return Drift(
        (1 + as_much) / (1 + DRAWS),
        excess,
        Stretch(int(ends[first]), int(ends[last + 1]) - 1, own, chance),
    )


def _distances(vectors: npt.NDArray[np.floating]) -> Float32:
    """Squared Euclidean distances (n, n), infinite to itself. Centred first, which keeps float32 exact enough."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float32)
    squares = (centred**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * (centred @ centred.T)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances, np.float32)


def _nearest(distances: Float32, k: int) -> Ints:
    """(n, k) nearest others of each, in no order."""
    return np.argpartition(distances, k - 1, axis=1)[:, :k]


def _bursts(distances: Float32, sizes: Ints, longest: int) -> Ints:
    """Where bursts begin: at photos that are not among the ``BURST`` nearest of the one before, nor it among theirs.
    ``sizes``: how many photos each of these stands for, of which a burst has no more than ``longest``."""
    near = _nearest(distances, BURST)
    before = np.arange(len(near) - 1)
    goes_on = (near[:-1] == before[:, None] + 1).any(axis=1) | (near[1:] == before[:, None]).any(axis=1)
    starts, length = [0], int(sizes[0])
    for at, joined in enumerate(goes_on, start=1):
        length += int(sizes[at])
        if not joined or length > longest:
            starts.append(at)
            length = int(sizes[at])
    return np.array(starts, np.intp)


def _excess(near: Ints, place: Ints) -> float:
    """One-sided Kolmogorov-Smirnov statistic of the distances between neighbours when photo i stands at ``place[i]``,
    against the distances of any two photos, of which n - t are t apart."""
    n = len(near)
    apart = np.abs(place[near] - place[:, None]).ravel()
    seen = np.cumsum(np.bincount(apart, minlength=n)[1:]) / apart.size
    expected = np.cumsum(np.arange(n - 1, 0, -1)) / (n * (n - 1) / 2)
    return float((seen - expected).max())


def _stretch(near: Ints) -> tuple[int, int, float, float]:
    """First and last of the stretch that has the fewest neighbours across its ends, measured against chance and the
    scatter of chance, which goes with the root of inside times outside; then its ``own`` and ``chance``."""
    n, k = near.shape
    pieces = min(PIECES, n)
    piece = np.arange(n) * pieces // n
    pairs = np.bincount((piece[:, None] * pieces + piece[near]).ravel(), minlength=pieces**2)
    sums = np.zeros((pieces + 1, pieces + 1))
    sums[1:, 1:] = pairs.reshape(pieces, pieces).cumsum(axis=0).cumsum(axis=1)
    bounds = np.searchsorted(piece, np.arange(pieces + 1))
    best = (-np.inf, 0, 0, 0.0, 0.0)
    for start in range(pieces):
        for stop in range(start + SHORTEST, pieces + 1):
            inside = int(bounds[stop] - bounds[start])
            if stop - start > pieces - SHORTEST:
                continue
            within = sums[stop, stop] - sums[start, stop] - sums[stop, start] + sums[start, start]
            touching = sums[stop, -1] - sums[start, -1] + sums[-1, stop] - sums[-1, start]
            across = (touching - 2 * within) / (n * k)
            expected = 2 * inside * (n - inside) / (n * (n - 1))
            value = (expected - across) / (inside * (n - inside)) ** 0.5
            if value > best[0]:
                best = value, start, stop, 1 - across, 1 - expected
    _, start, stop, own, chance = best
    return int(bounds[start]), int(bounds[stop]) - 1, float(own), float(chance)
