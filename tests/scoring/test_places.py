"""Scores by place: what is usual at a place leaves, what is not stays; units and masks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from blemish.scoring.places import normalised_by_place, weighed_by_place


def maps(*grid: int, images: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 0.1, (images, *grid)).astype(np.float32)


@pytest.mark.parametrize("grid", [(5, 6), (4, 5, 3)])
def test_it_is_the_formula(grid: tuple[int, ...]) -> None:
    """Deviations are averaged over all of these small grids, mirrored at their ends."""
    scores = maps(*grid)
    found = normalised_by_place(scores)
    away = scores - np.median(scores, axis=0)
    deviation = np.median(np.abs(away), axis=0)
    around = ndimage.uniform_filter(deviation.astype(np.float64), 5)
    np.testing.assert_allclose(found, away / np.maximum(around, np.median(around)), rtol=1e-4, atol=1e-5)


def test_weighed_by_the_score_itself() -> None:
    scores = maps(4, 4, 4)
    np.testing.assert_allclose(weighed_by_place(scores), np.maximum(normalised_by_place(scores), 0) * scores, rtol=1e-6)


@pytest.mark.parametrize("images", [3, 4])
def test_a_small_batch_is_judged_where_all_share_a_place(images: int) -> None:
    inside = np.ones((images, 3, 3, 3), np.bool_)
    inside[0, 0] = False
    found = normalised_by_place(maps(3, 3, 3, images=images), inside)
    assert not found[:, 0].any() and found[:, 1:].any()


def test_what_scores_high_in_every_volume_is_usual() -> None:
    fold = maps(4, 4, 4)
    fold[:, 1, 1, 1] += 3
    np.testing.assert_allclose(normalised_by_place(fold), normalised_by_place(maps(4, 4, 4)), atol=1e-4)


def test_what_scores_high_in_one_stands_out() -> None:
    one = maps(4, 4, 4)
    one[2, 1, 1, 1] += 1
    assert np.unravel_index(normalised_by_place(one).argmax(), one.shape) == (2, 1, 1, 1)


def test_the_unit_of_the_scores_does_not_matter() -> None:
    np.testing.assert_allclose(normalised_by_place(maps(4, 4, 4)), normalised_by_place(8 * maps(4, 4, 4)), rtol=1e-4)


def test_what_is_outside_changes_nothing_and_is_usual() -> None:
    inside = np.random.default_rng(1).random((9, 4, 5, 3)) < 0.7
    inside[:, 0, 0, 0] = False
    inside[:, 0, 0, 1] = np.arange(9) < 3  # too few to say what is usual
    found = normalised_by_place(maps(4, 5, 3), inside)
    other = normalised_by_place(np.where(inside, maps(4, 5, 3), 99).astype(np.float32), inside)
    np.testing.assert_array_equal(found, other)
    assert not found[~inside].any() and not found[:, 0, 0, :2].any()
    assert found[inside].any()


# a batch where most places, or all of them, are the same in most volumes; and one that says nothing
@pytest.mark.parametrize("odd", [1, 0])
def test_equal_maps_stay_finite(odd: int) -> None:
    equal = np.ones((6, 4, 4), np.float32)
    equal[0, 2, 2] += odd
    found = normalised_by_place(equal)
    assert np.isfinite(found).all()
    assert (found[0, 2, 2] > 0) == bool(odd) and not np.delete(found.reshape(-1), 10).any()


def test_a_batch_without_anything_inside() -> None:
    assert not normalised_by_place(maps(3, 3), np.zeros((9, 3, 3), bool)).any()
