"""Suspicious links: endurance ratios by hand, the coverage rule against its definition, counts and the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blemish.scoring.families import Pass
from blemish.scoring.families.graph import similarity_graph
from blemish.scoring.families.links import (
    FLOOR,
    coverage_bound,
    endurance_ratios,
    link_counts,
    rank_of,
    reference_distances,
)
from families.clouds import Cloud, Table, cloud

INF = np.inf
# One photo of two tokens against five photos, itself the first; the second token has a match that ran out at rank 2.
ROW = np.array([[INF, INF], [0.2, 0.1], [0.4, 0.8], [0.3, 0.1], [0.5, 1.0]], np.float32)


# share, photos -> rank
@pytest.mark.parametrize(
    ("share", "images", "rank"),
    [
        (0.3, 91, 27),
        (0.1, 8, 2),  # never the first match, which would be compared with itself
        (0.99, 10, 9),  # never beyond the last photo
        (0.5, 3, 2),
    ],
)
def test_rank_of(share: float, images: int, rank: int) -> None:
    assert rank_of(share, images) == rank


def test_reference_distance_is_the_omega_th_smallest() -> None:
    np.testing.assert_allclose(reference_distances(ROW, 3), [0.4, 0.8])
    np.testing.assert_allclose(reference_distances(ROW, 2), [0.3, 0.1])


def test_endurance_ratios_by_hand() -> None:
    ratios = endurance_ratios(ROW, np.array([0.4, 0.8], np.float32))
    expected = [[INF, INF], [0.5, 0.125], [INF, INF], [0.75, 0.125], [INF, INF]]  # infinite from rank omega on
    np.testing.assert_allclose(ratios, expected, rtol=1e-6)


def test_weighted_endurance_ratios_by_hand() -> None:
    """zeta' = zeta / (d_omega / m): with m = 0.2 the first token's ratios halve, the second's become a quarter."""
    ratios = endurance_ratios(ROW, np.array([0.4, 0.8], np.float32), typical=0.2)
    np.testing.assert_allclose(ratios[1], [0.5 / 2, 0.125 / 4], rtol=1e-6)
    np.testing.assert_allclose(ratios[3], [0.75 / 2, 0.125 / 4], rtol=1e-6)


def test_copies_divide_by_no_zero() -> None:
    row = np.array([[INF], [0.0], [0.0], [0.0], [0.5]], np.float32)
    reference = reference_distances(row, 3)
    assert reference == pytest.approx(FLOOR)
    np.testing.assert_array_equal(endurance_ratios(row, reference), [[INF], [1.0], [1.0], [1.0], [INF]])


def naive_bound(smallest: np.ndarray, degree: int, coverage: float) -> float:
    """The rule as it is told: links in ascending order, until enough photos have enough distinct neighbours."""
    images = len(smallest)
    degree = min(degree, images - 1)
    neighbours: list[set[int]] = [set() for _ in range(images)]
    links = sorted((smallest[i, j], i, j) for i in range(images) for j in range(images) if i != j)
    bound = 0.0
    for ratio, i, j in links:
        if not np.isfinite(ratio):
            break
        before = sum(len(found) >= degree for found in neighbours)
        if before >= coverage * images:
            break
        neighbours[i].add(j)
        neighbours[j].add(i)
        if sum(len(found) >= degree for found in neighbours) > before:
            bound = float(ratio)
    return bound


@st.composite
def smallest_ratios(draw: st.DrawFn) -> np.ndarray:
    images = draw(st.integers(2, 9))
    value = st.sampled_from([*np.linspace(0.1, 0.9, 9), INF])  # few values, hence ties; and photos without a link
    return draw(arrays.arrays(np.float32, (images, images), elements=value.map(np.float32)))


@given(smallest_ratios(), st.integers(1, 5), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_coverage_bound_is_the_rule_as_told(smallest: np.ndarray, degree: int, coverage: float) -> None:
    assert coverage_bound(smallest, degree, coverage) == pytest.approx(naive_bound(smallest, degree, coverage))


def test_link_counts_by_hand() -> None:
    """Three photos of two tokens; every photo has a neighbour as soon as 0.3 is reached, so 0.4 and 0.9 are out."""
    ratios = np.array(
        [
            [[INF, INF], [0.1, 0.3], [0.9, 0.4]],
            [[0.2, 0.2], [INF, INF], [INF, 0.3]],
            [[0.4, 0.9], [0.9, 0.9], [INF, INF]],
        ],
        np.float32,
    )
    counts, bound = link_counts(lambda i: ratios[i], 3, degree=1, coverage=1.0)
    assert bound == pytest.approx(0.3)
    np.testing.assert_array_equal(counts, [[0, 2, 0], [2, 0, 1], [0, 0, 0]])
    counts, bound = link_counts(lambda i: ratios[i], 3, degree=1, coverage=0.6)  # the first two photos are enough
    assert bound == pytest.approx(0.1)
    np.testing.assert_array_equal(counts, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_the_graph_adds_passes_and_directions() -> None:
    planted = cloud(20, (5,), seed=3)
    (one,) = planted.passes()
    single, bound = similarity_graph([one], 0.3, weighted=True, degree=3, coverage=0.95)
    np.testing.assert_array_equal(single, single.T)
    assert not single.diagonal().any()
    twice, again = similarity_graph([one, one], 0.3, weighted=True, degree=3, coverage=0.95)
    assert bound == again > 0
    np.testing.assert_array_equal(twice, 2 * single)


def test_a_layer_with_larger_distances_is_selected_within_itself() -> None:
    """Ratios have no unit, and the weight is relative to the layer's own median."""
    planted = cloud(20, (5,), seed=3)
    (one,) = planted.passes()
    assert isinstance(one.matches, Table)
    far = Pass(Table(one.matches.nearest * 10, one.matches.indices), Cloud(planted.tokens), planted.grid)
    for weighted in (True, False):
        options = {"weighted": weighted, "degree": 3, "coverage": 0.95}
        plain, scaled = similarity_graph([one], 0.3, **options)[0], similarity_graph([far], 0.3, **options)[0]
        assert np.abs(plain - scaled).sum() <= 2  # a link at the bound may round to either side


def test_weighting_favours_the_shared_flaw() -> None:
    """Chance pairs of ordinary tokens outnumber a small flaw's links unless links of lonely tokens count more."""
    planted = cloud(40, (6,), seed=0)
    members, _ = planted.looks[0]

    def share(weighted: bool) -> float:
        graph, _ = similarity_graph(planted.passes(), 0.3, weighted=weighted, degree=3, coverage=0.95)
        return float(graph[np.ix_(members, members)].sum() / graph.sum())

    assert share(True) > share(False) + 0.05
