"""Our own rule's first half: regions of photos whose tokens burn out together, and which of them match each other.

The published graph has photos as nodes, so a flaw of a few tokens drowns in what makes two whole photos alike: the
same specimen, pose or light. Here the nodes are *regions*: connected tokens of one photo that burn out. Two regions
are joined by the share of their tokens that link into each other, so the edges of a small flaw weigh as much as those
of a large one, and a community of regions is one look at one place, however small (docs/families.md has the numbers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.config import FamilyConfig
from blemish.scoring.families.communities import leiden
from blemish.scoring.families.family import Bools, Float32, Ints, Pass
from blemish.scoring.families.grids import inner, joined
from blemish.scoring.families.known import median, quantile
from blemish.scoring.families.links import FLOOR, rank_of

__all__ = ["Candidate", "candidates"]

THREADS = 2  # that sort: more would wait for memory
SLACK = 0.005  # natural log: spread below which tokens count as equal


@dataclass(frozen=True)
class Candidate:
    """A community of regions: ``members`` (m,) photos and ``tokens`` (m, N), the regions' tokens in each."""

    members: Ints
    tokens: Bools
    density: float  # mean weight of the edges between two members' regions


def candidates(one: Pass, config: FamilyConfig) -> tuple[list[Candidate], Float32, float]:
    """Communities of at least ``config.smallest`` photos in one pass, for each of the reference ranks; the weight of
    the edges between two photos' regions, (B, B); and the batch's bound on weighted endurance ratios at the middle
    reference rank, below which a link can be suspicious.

    Several ranks, because burn-out is seen only below the reference rank (a large group needs a large one) and best
    just above it; beyond the size of a legitimate variant, every token of the variant burns out."""
    ranks = [rank_of(share, one.references + 1) for share in config.omega]
    logs = _log_distances(one, [2, *ranks])
    found: list[Candidate] = []
    between = np.zeros((one.images, one.images), dtype=np.float32)
    for reference in logs[1:]:
        found += _candidates(one, reference, logs[0], config, between)
    middle = logs[1 + len(ranks) // 2]
    bound = float(np.exp(-_batch_bound(2 * middle - median(middle) - logs[0], config)))
    return found, between, bound


def _log_distances(one: Pass, ranks: Sequence[int]) -> list[Float32]:
    """ln d^(rank) of every token that counts, one (B, N) for each rank."""
    found = np.empty((len(ranks), one.images, one.size), dtype=np.float32)
    at = np.array(ranks) - 1

    def fill(i: int) -> None:
        ascending = np.sort(np.ascontiguousarray(one.matches.row(i).T), axis=1)
        found[:, i] = np.log(np.maximum(ascending[:, at], FLOOR)).T

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(one.images)))
    return [one.known(logs) for logs in found]


def _candidates(
    one: Pass, reference: Float32, second: Float32, config: FamilyConfig, between: Float32
) -> list[Candidate]:
    """Communities at one reference rank; the weights of their edges are added to ``between``."""
    # -ln zeta' of the second match, so that a pair of photos (a part photographed twice) raises no suspicion
    typical = float(median(reference))
    strength = 2 * reference - typical - second
    bound = np.maximum(_batch_bound(strength, config), _place_bound(strength, config))
    regions, owners = _label((strength > bound) & inner(one.grid), one.grid)
    links = _count_links(one, regions, reference, (bound + typical).astype(np.float32))
    compared = np.stack([one.compared(i) for i in range(one.images)]) if one.screened else None
    return _communities(links, regions, owners, config, between, compared)


def _batch_bound(strength: Float32, config: FamilyConfig) -> float:
    """What a token's strength must exceed to be unusual in the batch. The spread is the standard deviation that the
    median absolute deviation stands for, or that of the upper side if it is larger, as it is where half of every photo
    is the same background."""
    middle, upper = (float(value) for value in quantile(strength, [0.5, 0.84]))
    deviation = 1.4826 * float(median(np.abs(strength - middle)))
    return middle + config.burn_out * max(deviation, upper - middle, SLACK)


def _place_bound(strength: Float32, config: FamilyConfig) -> Float32:
    """(N,) what it must exceed to be unusual at its place. An edge or a print varies more from photo to photo than a
    plain surface; where photos hardly differ, half of the usual spread counts."""
    low, middle = quantile(strength, [0.16, 0.5], axis=0)
    spread = np.maximum(middle - low, SLACK)  # of the lower side, where no flaw lies
    overall = 1.4826 * median(np.abs(strength - middle))
    bound = middle + config.local_burn_out * np.clip(spread, overall / 2, overall)
    return np.asarray(bound, dtype=np.float32)


def _label(suspicious: Bools, grid: tuple[int, ...]) -> tuple[npt.NDArray[np.int32], Ints]:
    """(B, N) number of the region a token belongs to, 0 for none; and the photo of each region, (R + 1,)."""
    from scipy import ndimage  # here, because it takes as long to load as a decision to be made

    regions = np.zeros(suspicious.shape, dtype=np.int32)
    owners = [-1]
    for i in np.flatnonzero(suspicious.any(axis=1)):
        labels, count = ndimage.label(suspicious[i].reshape(grid), structure=joined(grid))
        regions[i] = np.where(labels > 0, labels + len(owners) - 1, 0).reshape(-1)
        owners += [int(i)] * count
    return regions, np.array(owners, dtype=np.intp)


def _count_links(
    one: Pass, regions: npt.NDArray[np.int32], reference: Float32, bound: Float32
) -> Counter[tuple[int, int]]:
    """Links from region a into region b. A link is a match before the reference rank that is as strong as the bound
    (N,) of the token's place."""
    links: Counter[tuple[int, int]] = Counter()
    for i in np.flatnonzero(regions.any(axis=1)):
        tokens = np.flatnonzero(regions[i])
        logs = np.log(np.maximum(one.matches.row(int(i))[:, tokens], FLOOR))
        own = reference[i, tokens]
        near = (2 * own - logs > bound[tokens]) & (logs < own)
        near[i] = False
        photos, at = np.nonzero(near)
        target = regions[photos, one.matches.index(int(i))[photos, tokens[at]]]
        hit = target > 0
        links.update(zip(regions[i, tokens[at[hit]]].tolist(), target[hit].tolist(), strict=True))
    return links


def _communities(
    links: Counter[tuple[int, int]],
    regions: npt.NDArray[np.int32],
    owners: Ints,
    config: FamilyConfig,
    between: Float32,
    compared: Bools | None,
) -> list[Candidate]:
    """``compared``: (B, B) which photos row i was compared with, where not with all: what was looked at in one
    direction only counts whole."""
    sizes = np.bincount(regions.reshape(-1), minlength=len(owners))
    edges: dict[tuple[int, int], float] = {}
    for (a, b), count in links.items():
        pair = (min(a, b), max(a, b))
        one_way = compared is not None and not compared[owners[b], owners[a]]
        edges[pair] = edges.get(pair, 0.0) + min(1.0, count / sizes[a]) / (1 if one_way else 2)
    if not edges:
        return []
    pairs = np.array(list(edges), dtype=np.intp)
    weights = np.array(list(edges.values()))
    for photos in (owners[pairs], owners[pairs[:, ::-1]]):
        np.add.at(between, (photos[:, 0], photos[:, 1]), weights)
    found = []
    for community in leiden(len(owners), pairs[:, 0], pairs[:, 1], weights, config.resolution, config.seed):
        members = np.unique(owners[community])
        if not config.smallest <= len(members) <= len(between) // 2:
            continue  # too few to be more than chance, or no minority
        inside = np.isin(pairs, community).all(axis=1)
        found.append(
            Candidate(
                members=members,
                tokens=np.isin(regions[members], community),
                density=float(2 * weights[inside].sum() / (len(members) * (len(members) - 1))),
            )
        )
    return found
