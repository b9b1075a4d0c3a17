"""Communities: planted cliques come back, whatever the seed or the numbering; density and fence by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.scoring.families.communities import density, leiden, outlier_fence, partition


def symmetric(images: int, *cliques: tuple[list[int], int], noise: int = 0, seed: int = 0) -> np.ndarray:
    """Background weights of 0 to ``noise`` and cliques of the given weights."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.integers(0, noise + 1, (images, images)), 1)
    weights = upper + upper.T
    for members, weight in cliques:
        weights[np.ix_(members, members)] = weight
    np.fill_diagonal(weights, 0)
    return weights


def as_sets(groups: list[np.ndarray]) -> set[frozenset[int]]:
    return {frozenset(group.tolist()) for group in groups}


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_planted_cliques_are_found(seed: int) -> None:
    weights = symmetric(30, ([1, 4, 9, 16, 25], 90), ([2, 3, 5, 7], 60), ([20, 21, 22], 40), noise=3)
    found = partition(weights, percentile=90, seed=seed)
    assert {frozenset({1, 4, 9, 16, 25}), frozenset({2, 3, 5, 7}), frozenset({20, 21, 22})} <= as_sets(found)


def test_every_photo_is_in_one_community_largest_first() -> None:
    found = partition(symmetric(12, ([0, 1, 2], 9), ([5, 6], 4)))
    assert sorted(np.concatenate(found).tolist()) == list(range(12))  # photos without an edge stand alone
    assert [len(group) for group in found] == sorted((len(group) for group in found), reverse=True)
    assert found[0].tolist() == [0, 1, 2]


def test_a_graph_without_edges_is_all_singletons() -> None:
    assert as_sets(partition(np.zeros((4, 4), np.int64))) == {frozenset({at}) for at in range(4)}


def test_the_percentile_is_the_resolution() -> None:
    """Two pairs of weight 10, joined by edges of 6: whole at a resolution below 6, in two above. One edge of 1."""
    weights = symmetric(5, ([0, 1, 2, 3], 6), ([0, 1], 10), ([2, 3], 10), ([3, 4], 1))
    assert as_sets(partition(weights, percentile=0)) == {frozenset({0, 1, 2, 3}), frozenset({4})}
    assert as_sets(partition(weights, percentile=80)) == {frozenset({0, 1}), frozenset({2, 3}), frozenset({4})}


def test_the_potts_model_is_maximised() -> None:
    """Against the best of all partitions of a small graph: sum of e_c - gamma n_c (n_c - 1) / 2."""
    rng = np.random.default_rng(5)
    first, second = np.triu_indices(6, 1)
    for gamma in (0.2, 0.5, 0.8):
        weights = rng.random(len(first))
        groups = leiden(6, first, second, weights, gamma, seed=0)
        best = max(_quality(labels, first, second, weights, gamma) for labels in _partitions(6))
        labels = [next(at for at, group in enumerate(groups) if node in group) for node in range(6)]
        assert _quality(labels, first, second, weights, gamma) == pytest.approx(best)


def test_two_halves_that_belong_together_become_one() -> None:
    """Two triangles of weight 1, joined by edges of 0.4: at a resolution of 0.3 the whole is worth 9.6 - 4.5, which is
    more than 6 - 1.8, but no single node gains by changing sides."""
    weights = np.full((6, 6), 0.4)
    weights[:3, :3] = weights[3:, 3:] = 1
    first, second = np.triu_indices(6, 1)
    found = leiden(6, first, second, weights[first, second], 0.3, seed=0)
    assert [group.tolist() for group in found] == [[0, 1, 2, 3, 4, 5]]


def _quality(labels: list[int], first: np.ndarray, second: np.ndarray, weights: np.ndarray, gamma: float) -> float:
    of = np.array(labels)
    sizes = np.unique(of, return_counts=True)[1]
    return float(weights[of[first] == of[second]].sum() - gamma * (sizes * (sizes - 1) / 2).sum())


def _partitions(nodes: int) -> list[list[int]]:
    found = [[0]]
    for _ in range(nodes - 1):
        found = [[*labels, new] for labels in found for new in range(max(labels) + 2)]
    return found


@st.composite
def graphs(draw: st.DrawFn) -> np.ndarray:
    """Distinct weights: with equal ones a graph can look the same after a renumbering, and then nothing can tell which
    of two equally good partitions was meant."""
    nodes = draw(st.integers(2, 14))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    first, second = np.triu_indices(nodes, 1)
    kept = rng.random(len(first)) < draw(st.sampled_from([0.2, 0.5, 1.0]))
    weights = np.zeros((nodes, nodes), np.int64)
    weights[first, second] = (rng.permutation(len(first)) + 1) * kept
    return weights + weights.T


@settings(max_examples=60)
@given(graphs(), st.randoms(use_true_random=False))
def test_renumbering_the_photos_renumbers_the_communities(weights: np.ndarray, random: object) -> None:
    order = list(range(len(weights)))
    random.shuffle(order)  # type: ignore[attr-defined]
    renumbered = partition(weights[np.ix_(order, order)])
    assert {frozenset(order[node] for node in group) for group in renumbered} == as_sets(partition(weights))


@pytest.mark.parametrize("seed", range(4))
def test_renumbering_a_large_graph_of_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = symmetric(60, (list(range(8)), 500), noise=1000, seed=seed)
    order = rng.permutation(60)
    renumbered = partition(weights[np.ix_(order, order)])
    assert {frozenset(order[group].tolist()) for group in renumbered} == as_sets(partition(weights))


def test_the_same_seed_gives_the_same_partition() -> None:
    weights = symmetric(50, noise=100)
    first, again = partition(weights, seed=3), partition(weights, seed=3)
    assert [group.tolist() for group in first] == [group.tolist() for group in again]


def test_density_is_the_mean_weight_of_ordered_pairs() -> None:
    weights = symmetric(6, ([0, 2, 4, 5], 7))
    assert density(weights, np.array([0, 2, 4, 5])) == 7
    assert density(weights, np.array([0, 1, 2])) == pytest.approx(2 * 7 / 6)  # one pair of three is linked
    assert density(weights, np.array([3])) == 0


# densities, k_iqr -> fence
@pytest.mark.parametrize(
    ("densities", "k_iqr", "fence"),
    [
        ([1, 2, 3, 4, 5], 3.0, 4 + 3 * 2),
        ([1, 2, 3, 4, 5], 4.5, 4 + 4.5 * 2),
        ([2, 2, 2, 2, 50], 3.0, 2),
        ([1, 2, 3, 100], 3.0, 40 + 3 * 20),  # under five communities: quartiles 20 and 40 of the edges
        ([], 1.0, 60),
    ],
)
def test_fence_by_hand(densities: list[float], k_iqr: float, fence: float) -> None:
    edges = np.array([[0, 10, 20], [30, 0, 40], [50, 0, 0]])
    assert outlier_fence(densities, edges, k_iqr) == pytest.approx(fence)


def test_nothing_to_compare_with_flags_nothing() -> None:
    assert outlier_fence([], np.zeros((3, 3), np.int64), 3.0) == np.inf
