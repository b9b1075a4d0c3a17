"""Is this one product? Photos that fall into groups which hardly resemble each other are several; photos none of which
resembles another are no product at all.

It knows distances between photos; what they show, and that the variants of one product may be right to differ, it
does not: see `SPLIT`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

__all__ = ["Groups", "groups_of", "nearest_photo"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

SPLIT, FEW = 0.35, 0.5  # mean silhouette from which groups are products; and more, over the number of photos
FEWEST, SHARE = 3, 0.05  # photos, and share of all, from which a group is a product and not a flaw or a stray
SAMPLE = 400  # photos looked at; enough to see groups, and cheap in any batch
STRAYS = 0.1  # share of the photos that may belong to no group; leaving more out makes groups of anything
CUTS = 12  # clusters that the photos are cut into at most: strays take some of them


@dataclass(frozen=True, slots=True)
class Groups:
    """Photos by likeness, the largest group first. ``medoids``: the most typical photo of each; ``sizes``: about how
    many photos each has, of all; ``strays``: about how many belong to none. ``silhouette``: -1 to 1, how much nearer
    the photos are to their own group than to the next, strays counting 0."""

    medoids: tuple[int, ...]
    sizes: tuple[int, ...]
    strays: int
    silhouette: float


def groups_of(between: Float32) -> Groups | None:
    """The products among photos with mean token distances ``between: (b, b)``; None if they look like one,
    or if not all were compared: who is left out of a comparison is chosen by likeness, which makes groups.

    Clusters by average linkage, which sets strays aside before it joins what is alike; judged by the mean silhouette
    (Rousseeuw 1987), at the number of clusters that has the highest."""
    chosen = np.linspace(0, len(between) - 1, min(len(between), SAMPLE)).astype(np.intp)
    if len(chosen) < 2 * FEWEST:
        return None
    distances = between[np.ix_(chosen, chosen)]
    if not np.isfinite(distances).all():
        return None
    distances = np.asarray((distances + distances.T) / 2, np.float32)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    best: tuple[float, Ints] | None = None
    for cut in range(2, min(CUTS, len(chosen) // 2) + 1):
        labels = _large(np.asarray(fcluster(tree, cut, "maxclust")))
        inside = labels >= 0
        if labels.max() < 1 or inside.mean() < 1 - STRAYS:
            continue
        value = inside.mean() * _silhouette(distances[np.ix_(inside, inside)], labels[inside])
        if best is None or value > best[0]:
            best = value, labels
    if best is None or best[0] < SPLIT + FEW / len(chosen):
        return None
    silhouette, labels = best
    scale = len(between) / len(chosen)
    members = [np.flatnonzero(labels == group) for group in range(labels.max() + 1)]
    return Groups(
        tuple(int(chosen[own[distances[np.ix_(own, own)].sum(axis=1).argmin()]]) for own in members),
        tuple(round(len(own) * scale) for own in members),
        round(int((labels < 0).sum()) * scale),
        silhouette,
    )


def nearest_photo(between: Float32) -> float:
    """How far photos are from the one that is most like them, the median: (b, b) mean token distances -> 0 to 2.

    It has no unit but that of the backbone's tokens, so a limit belongs to a backbone. What has no unit does not tell
    one product from photos of anything: growth rates of the distances follow the power law in both
    (benchmarks/batch_health.md)."""
    others = np.minimum(between, between.T)
    np.fill_diagonal(others, np.inf)
    return float(np.median(others.min(axis=1)))


def _large(labels: Ints) -> Ints:
    """Clusters numbered by size from 0; -1 for photos of small ones."""
    numbers, counts = np.unique(labels, return_counts=True)
    least = max(FEWEST, SHARE * len(labels))
    ordered = sorted(
        (number for number, count in zip(numbers, counts, strict=True) if count >= least),
        key=lambda number: -int((labels == number).sum()),
    )
    renamed = np.full(len(labels), -1, np.intp)
    for at, number in enumerate(ordered):
        renamed[labels == number] = at
    return renamed


def _silhouette(distances: Float32, labels: Ints) -> float:
    """Mean silhouette of groups of two photos or more, labelled from 0."""
    count = labels.max() + 1
    member = (labels[:, None] == np.arange(count)).astype(np.float32)
    sums = distances @ member
    sizes = member.sum(axis=0)
    at = np.arange(len(labels))
    own = sums[at, labels] / (sizes[labels] - 1)
    means = sums / sizes
    means[at, labels] = np.inf
    other = means.min(axis=1)
    return float(((other - own) / np.maximum(np.maximum(own, other), 1e-12)).mean())
