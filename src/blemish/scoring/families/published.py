"""The published rule, to the letter: one graph of photos, dense communities, tokens that depend on their community.

CoDeGraph (TMLR 10/2025, arXiv 2510.10456). It is kept beside our own rule (``regions``) as the thing to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.config import FamilyConfig
from blemish.scoring.families.communities import density, outlier_fence, partition
from blemish.scoring.families.family import Bools, Community, Float32, FoundFamily, Ints, Pass, Search
from blemish.scoring.families.graph import similarity_graph
from blemish.scoring.mutual import mean_of_smallest

__all__ = ["dependency_ratios", "find"]


def find(passes: Sequence[Pass], k: int, config: FamilyConfig) -> Search:
    """Families by the published rule. ``k``: neighbours that vote in a token's score.

    A community of more than half of the batch cannot be the minority and is never flagged."""
    images = passes[0].images
    weights, bound = similarity_graph(
        passes, config.omega[0], weighted=config.weighted, degree=config.degree, coverage=config.coverage
    )
    found = [group for group in partition(weights, config.percentile, config.seed) if len(group) >= config.smallest]
    densities = [density(weights, members) for members in found]
    fence = outlier_fence(densities, weights, config.k_iqr)
    communities = tuple(
        Community(len(members), rho, rho, fence, rho > fence and 2 * len(members) <= images)
        for rho, members in zip(densities, found, strict=True)
    )
    families = (
        FoundFamily(
            members=members,
            tokens=tuple(_dependent_tokens(one, members, k, config.dependency_percentile) for one in passes),
            density=community.density,
            strength=community.strength,
            fence=fence,
        )
        for community, members in zip(communities, found, strict=True)
        if community.accepted
    )
    return Search(tuple(families), communities, weights.astype(np.float32), bound if config.weighted else None)


def dependency_ratios(row: Float32, image: int, members: Ints, k: int) -> Float32:
    """r_M = a_{B without M} / a_B of every token of one photo: how much worse it matches without the community.

    ``row``: (B, N) -> (N,). ``a`` is the mean over the k nearest photos."""
    others = np.delete(np.arange(len(row)), np.union1d(members, [image]))
    without = mean_of_smallest(row[others], min(k, len(others)))
    everyone = mean_of_smallest(np.delete(row, image, axis=0), k)
    ratios = without / np.maximum(everyone, 1e-12)
    ratios[~np.isfinite(without)] = 1  # compared with nobody else: nothing says that it depends on them
    return np.asarray(ratios, dtype=np.float32)


def _dependent_tokens(one: Pass, members: Ints, k: int, percentile: float) -> Bools:
    """(m, N): tokens of the members whose ratio exceeds the ``percentile`` of all tokens outside."""
    ratios = [dependency_ratios(one.matches.row(i), i, members, k) for i in range(one.images)]
    outside = np.concatenate([ratios[i] for i in np.setdiff1d(np.arange(one.images), members)])
    bound = np.percentile(outside, percentile)
    return np.stack([ratios[i] > bound for i in members])
