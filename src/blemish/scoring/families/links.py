"""Suspicious links: tokens whose close matches in other photos run out abruptly (neighbour burn-out).

CoDeGraph (TMLR 10/2025, arXiv 2510.10456), stage 1. A link joins a token to a photo that holds one of its near matches.
The endurance ratio of a link is small when the match is near and the token's omega-th match is far: similar neighbours
ran out before rank omega. Knows distances only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.family import Float32

__all__ = ["FLOOR", "coverage_bound", "endurance_ratios", "link_counts", "rank_of", "reference_distances"]

FLOOR = 1e-3  # distances below are rounding: the same bytes, photographed once and copied


def rank_of(share: float, images: int) -> int:
    """The rank omega that a share of the other photos stands for, at least 2 and at most B - 1."""
    return min(max(2, round(share * (images - 1))), images - 1)


def reference_distances(row: Float32, omega: int) -> Float32:
    """d^(omega): distance of every token to its omega-th nearest photo. (B, N) -> (N,)."""
    return np.asarray(np.maximum(np.partition(row, omega - 1, axis=0)[omega - 1], FLOOR))


def endurance_ratios(row: Float32, reference: Float32, typical: float | None = None) -> Float32:
    """zeta = d^(i) / d^(omega) of every link of one photo, infinite for ranks from omega on. (B, N), (N,) -> (B, N).

    ``typical``: the median of d^(omega) over the batch; with it the weighted ratio zeta' = zeta / (d^(omega) / typical)
    is returned. The first match of an ordinary token is often near by chance, and ordinary tokens are many; the weight
    asks besides that the token be far from the usual photo. The paper names the weighted form without its formula.
    """
    scale = 1 / reference if typical is None else typical / np.square(reference)
    ratios = np.maximum(row, FLOOR) * scale
    ratios[row >= reference] = np.inf
    return np.asarray(ratios, dtype=np.float32)


def coverage_bound(smallest: Float32, degree: int, coverage: float) -> float:
    """lambda: the largest ratio of a suspicious link, so that a share ``coverage`` of the photos has at least
    ``degree`` neighbours. ``smallest``: (B, B), smallest ratio among the links from photo i to photo j.

    The same as adding links in ascending order until the coverage is met: photo i has ``degree`` neighbours as soon as
    the bound reaches its ``degree``-th smallest entry, whichever way the link points."""
    images = len(smallest)
    either = np.minimum(smallest, smallest.T)
    np.fill_diagonal(either, np.inf)
    degree = min(degree, images - 1)
    needed = np.sort(np.partition(either, degree - 1, axis=1)[:, degree - 1])
    reached = needed[np.isfinite(needed)]
    wanted = int(np.ceil(coverage * images)) - 1
    return float(reached[min(wanted, len(reached) - 1)]) if len(reached) else 0.0


def link_counts(
    ratios: Callable[[int], Float32], images: int, degree: int, coverage: float
) -> tuple[npt.NDArray[np.int64], float]:
    """Number of suspicious links from photo i to photo j, (B, B), and lambda.

    ``ratios(i)``: (B, N) of photo i. It is called twice for every photo: what is kept in between is (B, B)."""
    smallest = np.stack([ratios(i).min(axis=1) for i in range(images)])
    bound = coverage_bound(smallest, degree, coverage)
    counts = np.stack([(ratios(i) <= bound).sum(axis=1) for i in range(images)])
    return counts, bound
