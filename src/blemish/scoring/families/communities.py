"""Communities of photos or regions that share more links than the batch, how dense they are, and which stand out.

CoDeGraph (TMLR 10/2025, arXiv 2510.10456), stage 3: Leiden (Traag et al. 2019) with the constant Potts model
(Traag et al. 2011), then the quartile rule on the densities. Knows weighted edges only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.family import Ints

__all__ = ["density", "leiden", "outlier_fence", "partition"]

ITERATIONS = 10  # it settles after a few
TRIALS = 4  # of which the best is kept
FEW = 5  # communities below which their quartiles say nothing


def partition(weights: npt.NDArray[np.int64], percentile: float = 25.0, seed: int = 0) -> list[Ints]:
    """Communities of the graph ``weights`` (B, B), symmetric counts: arrays of photos, largest first.

    The resolution is the ``percentile`` of the positive edge weights, as published."""
    first, second = np.nonzero(np.triu(weights, 1))
    values = weights[first, second].astype(float)
    resolution = float(np.percentile(values, percentile)) if len(values) else 1.0
    return leiden(len(weights), first, second, values, resolution, seed)


def leiden(
    nodes: int, first: Ints, second: Ints, weights: npt.NDArray[np.float64], gamma: float, seed: int
) -> list[Ints]:
    """Communities that maximise the sum of e_c - gamma n_c (n_c - 1) / 2: arrays of nodes, largest first.

    ``first``, ``second``, ``weights``: the edges, each once. The same for the same seed, whatever the nodes' numbers:
    Leiden goes through them in order, so they are renamed by an order that the graph alone decides."""
    from graspologic_native import leiden as native_leiden

    communities: list[Ints] = []
    linked = np.unique(np.concatenate([first, second]))
    if len(linked):
        order = _canonical_order(nodes, first, second, weights)
        edges = sorted(
            (*sorted((f"{order[a]:08d}", f"{order[b]:08d}")), float(w))
            for a, b, w in zip(first, second, weights, strict=True)
        )
        _, found = native_leiden(
            edges=edges, resolution=gamma, use_modularity=False, iterations=ITERATIONS, trials=TRIALS, seed=seed
        )
        named = {f"{order[node]:08d}": int(node) for node in linked}
        groups: dict[int, list[int]] = {}
        for name, community in found.items():
            groups.setdefault(community, []).append(named[name])
        communities = _merged(list(groups.values()), nodes, first, second, weights, gamma)
    alone = np.setdiff1d(np.arange(nodes), linked)
    communities += [np.array([node], dtype=np.intp) for node in alone]
    return sorted(communities, key=lambda group: (-len(group), group[0]))


def _merged(
    groups: list[list[int]], nodes: int, first: Ints, second: Ints, weights: npt.NDArray[np.float64], gamma: float
) -> list[Ints]:
    """Join communities as long as that raises the quality: Leiden moves nodes, and in small graphs it can leave two
    halves apart that no single node may leave."""
    label = np.full(nodes, -1, dtype=np.intp)
    for at, group in enumerate(groups):
        label[group] = at
    sizes = np.array([len(group) for group in groups], dtype=float)
    between: dict[tuple[int, int], float] = {}
    for a, b, w in zip(label[first], label[second], weights, strict=True):
        if a != b:
            pair = (int(min(a, b)), int(max(a, b)))
            between[pair] = between.get(pair, 0.0) + float(w)
    while between:
        gains = {pair: w - gamma * sizes[pair[0]] * sizes[pair[1]] for pair, w in between.items()}
        (a, b), gain = max(gains.items(), key=lambda entry: entry[1])
        if gain <= 1e-9:
            break
        label[label == b] = a
        sizes[a] += sizes[b]
        moved: dict[tuple[int, int], float] = {}
        for pair, w in between.items():
            low, high = sorted(a if one == b else one for one in pair)
            if low != high:
                moved[low, high] = moved.get((low, high), 0.0) + w
        between = moved
    return [np.flatnonzero(label == at) for at in np.unique(label[label >= 0])]


def _canonical_order(nodes: int, first: Ints, second: Ints, weights: npt.NDArray[np.float64]) -> Ints:
    """(nodes,): each node's place in an order by its edge weights and those of its neighbours, largest first."""
    around: list[list[tuple[float, int]]] = [[] for _ in range(nodes)]
    for a, b, w in zip(first, second, weights, strict=True):
        around[a].append((float(w), int(b)))
        around[b].append((float(w), int(a)))
    own = [tuple(sorted((-w for w, _ in edges))) for edges in around]
    rank = {key: at for at, key in enumerate(sorted(set(own)))}
    keys = [(own[node], tuple(sorted((-w, rank[own[other]]) for w, other in around[node]))) for node in range(nodes)]
    order = np.empty(nodes, dtype=np.intp)
    order[sorted(range(nodes), key=keys.__getitem__)] = np.arange(nodes)
    return order


def density(weights: npt.NDArray[np.int64], members: Ints) -> float:
    """rho(M): sum of w_ij over ordered pairs of M, divided by |M| (|M| - 1). 0 for one photo."""
    count = len(members)
    return float(weights[np.ix_(members, members)].sum() / (count * (count - 1))) if count > 1 else 0.0


def outlier_fence(densities: Sequence[float], edges: npt.NDArray[np.int64], k_iqr: float) -> float:
    """Q3 + k_IQR (Q3 - Q1) over the communities' densities.

    The paper does not say what to do with few communities; below five the quartiles of the edge weights stand in."""
    values = np.asarray(densities) if len(densities) >= FEW else edges[edges > 0]
    if not len(values):
        return float("inf")
    low, high = np.percentile(values, [25, 75])
    return float(high + k_iqr * (high - low))
