"""The sample: which tokens, which distances, and that neither depends on the order of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from power_law import rows, table

from blemish.diagnostics.sample import sample, sub_batch
from blemish.errors import InputError


def test_every_sampled_token_has_its_own_distances() -> None:
    distances = table(7, 30)
    drawn = sample(rows(distances), 7, 30, size=40)
    assert drawn.per_image == 5  # 40 / 7
    assert np.bincount(drawn.image).tolist() == [5] * 7
    for d, nearest, image, token in zip(drawn.d, drawn.nearest, drawn.image, drawn.token, strict=True):
        np.testing.assert_array_equal(nearest, distances[image, :, token])
        np.testing.assert_array_equal(d, np.sort(np.delete(distances[image, :, token], image)))
        assert np.isinf(nearest[image])


def test_a_small_batch_is_taken_whole_and_no_token_twice() -> None:
    drawn = sample(rows(table(5, 12)), 5, 12)
    assert len(set(zip(drawn.image.tolist(), drawn.token.tolist(), strict=True))) == 5 * 12


def test_the_diagonal_is_not_read() -> None:
    distances = table(5, 12)
    expected = sample(rows(distances), 5, 12)
    distances[np.arange(5), np.arange(5)] = 0
    np.testing.assert_array_equal(sample(rows(distances), 5, 12).nearest, expected.nearest)


def test_the_seed_chooses_the_tokens() -> None:
    draw = rows(table(6, 200))
    first, again, other = (sample(draw, 6, 200, size=60, seed=seed).token for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_images_are_sampled_at_different_places() -> None:
    token = sample(rows(table(6, 200)), 6, 200, size=60).token.reshape(6, -1)
    assert len({tuple(places) for places in token.tolist()}) == 6


def test_another_order_of_the_batch_gives_the_same_tokens() -> None:
    distances = table(9, 50)
    order = np.random.default_rng(5).permutation(9)
    drawn = sample(rows(distances), 9, 50, size=90)
    turned = sample(rows(distances[np.ix_(order, order)]), 9, 50, size=90)
    places = drawn.token.reshape(9, -1)
    np.testing.assert_array_equal(turned.token.reshape(9, -1), places[order])
    np.testing.assert_array_equal(turned.d.reshape(9, -1, 8), drawn.d.reshape(9, -1, 8)[order])


def test_a_sub_batch_forgets_the_other_images() -> None:
    distances = table(8, 20)
    drawn = sample(rows(distances), 8, 20)
    d = sub_batch(drawn, 5, size=35, seed=0)
    assert d.shape == (5 * 7, 4)
    assert (np.diff(d, axis=1) >= 0).all()
    known = {tuple(np.sort(nearest)[:-1]) for nearest in drawn.nearest.tolist()}
    assert all(any(set(few) <= set(full) for full in known) for few in d.tolist())


def test_a_sub_batch_does_not_depend_on_the_order() -> None:
    distances = table(8, 20)
    order = np.random.default_rng(2).permutation(8)
    d = sub_batch(sample(rows(distances), 8, 20), 5, size=35, seed=0)
    turned = sub_batch(sample(rows(distances[np.ix_(order, order)]), 8, 20), 5, size=35, seed=0)
    np.testing.assert_array_equal(turned, d)


@pytest.mark.parametrize("images", [0, 1, 2])
def test_too_few_images(images: int) -> None:
    with pytest.raises(InputError, match="Scan 3 photos at least"):
        sample(rows(table(3, 4)), images, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
def test_a_distance_that_is_none(value: float) -> None:
    distances = table(4, 6)
    distances[2, 3, 1] = value
    with pytest.raises(ValueError, match=r"row\(2\) holds"):
        sample(rows(distances), 4, 6)


def test_a_row_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \(4, 7\)"):
        sample(rows(table(4, 6)), 4, 7)
