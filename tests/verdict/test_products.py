"""One product or several: on points in the plane, whose distances are those between photos."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.verdict.products import groups_of


def distances(*groups: tuple[int, float], seed: int = 0) -> np.ndarray:
    """(b, b) for groups of so many photos around a corner so far from the origin, in many dimensions."""
    rng = np.random.default_rng(seed)
    points = []
    for at, (photos, away) in enumerate(groups):
        own = rng.standard_normal((photos, 30))
        own[:, at] += away
        points.append(own)
    every = np.concatenate(points)
    return np.linalg.norm(every[:, None] - every, axis=2).astype(np.float32)


@pytest.mark.parametrize("photos", [6, 10, 30, 100, 500])
def test_one_product_is_one(photos: int) -> None:
    assert groups_of(distances((photos, 0))) is None


# groups -> their sizes
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((30, 30), (30, 30)),
        ((40, 10), (40, 10)),
        ((20, 20, 20), (20, 20, 20)),
        ((5, 5), (5, 5)),
        ((30, 30, 1), (30, 30)),  # a stray hides nothing
    ],
)
def test_products_are_told_apart(sizes: tuple[int, ...], expected: tuple[int, ...]) -> None:
    groups = groups_of(distances(*((size, 15.0) for size in sizes)))
    assert groups is not None
    assert sorted(groups.sizes, reverse=True) == sorted(expected, reverse=True)
    assert groups.strays == sum(sizes) - sum(expected)
    starts = np.cumsum((0, *sizes))
    assert len({int(np.searchsorted(starts, medoid, "right")) for medoid in groups.medoids}) == len(expected)


def test_variants_are_one_product() -> None:
    assert groups_of(distances((30, 4.0), (30, 4.0), (30, 4.0))) is None


def test_a_few_flawed_photos_are_no_product() -> None:
    assert groups_of(distances((98, 0.0), (2, 20.0))) is None


def test_sizes_are_those_of_all_photos_although_a_sample_is_looked_at() -> None:
    groups = groups_of(distances((600, 15.0), (300, 15.0)))
    assert groups is not None
    assert groups.sizes == pytest.approx((600, 300), abs=5)


def test_nothing_is_said_when_not_all_were_compared() -> None:
    between = distances((30, 15.0), (30, 15.0))
    between[3, 50] = np.inf
    assert groups_of(between) is None


@pytest.mark.parametrize("photos", [0, 1, 5])
def test_too_few_photos_say_nothing(photos: int) -> None:
    assert groups_of(np.zeros((photos, photos), np.float32)) is None


def test_equal_photos_are_one_product() -> None:
    assert groups_of(np.zeros((20, 20), np.float32)) is None
