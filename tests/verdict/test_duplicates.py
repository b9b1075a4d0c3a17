"""Which photos show a part again: by distances between photos, and by small pictures of them."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.verdict.duplicates import SIDE, small_grey, taken_again


def batch(photos: int = 12, seed: int = 0) -> np.ndarray:
    """(b, b) distances of unrelated photos, about 1."""
    between = np.random.default_rng(seed).uniform(0.9, 1.1, (photos, photos)).astype(np.float32)
    np.fill_diagonal(between, 0)
    return between


def near(between: np.ndarray, *pairs: tuple[int, int], distance: float = 0.2) -> np.ndarray:
    for a, b in pairs:
        between[a, b] = between[b, a] = distance
    return between


def listed(groups: tuple[np.ndarray, ...]) -> list[list[int]]:
    return [group.tolist() for group in groups]


# distances that are small -> groups
@pytest.mark.parametrize(
    ("pairs", "groups"),
    [
        ([], []),
        ([(3, 7)], [[3, 7]]),
        ([(3, 7), (0, 1)], [[0, 1], [3, 7]]),
        ([(3, 7), (7, 9), (0, 1)], [[3, 7, 9], [0, 1]]),  # like the same photo: the same part
    ],
)
def test_much_nearer_than_usual_is_the_same_part(pairs: list[tuple[int, int]], groups: list[list[int]]) -> None:
    assert listed(taken_again(near(batch(), *pairs))) == groups


def test_alike_is_not_the_same() -> None:
    assert taken_again(near(batch(), (3, 7), distance=0.6)) == ()


def test_two_photos_have_no_usual_distance() -> None:
    assert taken_again(np.zeros((2, 2), np.float32)) == ()


def test_a_quarter_of_copies_does_not_make_them_usual() -> None:
    same = [(a, b) for a in range(3) for b in range(a)]
    assert listed(taken_again(near(batch(12), *same))) == [[0, 1, 2]]


def test_photos_that_were_not_compared_are_left_alone() -> None:
    between = near(batch(), (3, 7))
    between[7, 3] = np.inf  # one direction is enough
    between[0, 4:] = between[4:, 0] = np.inf
    assert listed(taken_again(between)) == [[3, 7]]


def test_of_two_products_each_has_its_own_usual_distance() -> None:
    between = batch(20)
    between[:10, :10] *= 0.35
    between[10:, 10:] *= 0.35
    np.fill_diagonal(between, 0)
    assert taken_again(between) == ()


def photo(seed: int, size: tuple[int, int] = (150, 200)) -> np.ndarray:
    """(H, W, 3) a part with stains of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:150j, 0:1:200j]
    grey = 90 + 60 * x
    for cy, cx in rng.uniform(0.1, 0.9, (20, 2)):
        grey += rng.uniform(-40, 40) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.001)
    return np.clip(grey, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


# what was done to the photo that is in the batch a second time
@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: np.clip(pixels * 1.06, 0, 255).astype(np.uint8),
        lambda pixels: np.clip(pixels + np.random.default_rng(9).normal(0, 2, pixels.shape), 0, 255).astype(np.uint8),
        lambda pixels: pixels[1::2, 1::2],
    ],
)
def test_small_pictures_show_a_copy_that_distances_do_not(change) -> None:
    photos = [photo(seed) for seed in range(10)]
    photos.append(change(photos[4]))
    small = np.stack([small_grey(one) for one in photos])
    assert taken_again(batch(11)) == ()
    assert listed(taken_again(batch(11), small)) == [[4, 10]]


def test_blank_photos_are_not_called_copies() -> None:
    small = np.full((8, SIDE, SIDE), 200, np.float32)
    assert taken_again(batch(8), small) == ()


@pytest.mark.parametrize("size", [(64, 64), (100, 333), (40, 70)])
def test_a_small_picture_keeps_the_mean_of_any_photo(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    small = small_grey(pixels)
    assert small.shape == (SIDE, SIDE)
    assert small.mean() == pytest.approx(pixels.mean(), rel=1e-3)
