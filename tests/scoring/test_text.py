"""WinCLIP, WinCLIP+ and the three memories against slow loops, and what must hold for any embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.errors import ConfigError
from blemish.scoring.text import (
    Views,
    association,
    banks,
    channel_names,
    combined,
    enlarged,
    few_shot,
    harmonic,
    image_channels,
    map_channels,
    text_pair,
    text_scores,
    window_patches,
    zero_shot,
)
from blemish.scoring.weights import choose, weighted

GRID = (5, 7)
TEXT = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)


def seen(photos: int, seed: int = 0, grid: tuple[int, int] = GRID, sizes: tuple[int, ...] = (1, 2, 3)) -> Views:
    """Random views, of any length."""
    rng = np.random.default_rng(seed)
    windows = {
        m: rng.normal(0, 2, (photos, (grid[0] - m + 1) * (grid[1] - m + 1), 4)).astype(np.float32) for m in sizes
    }
    return Views(rng.normal(0, 3, (photos, 4)).astype(np.float32), windows, grid)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# grid, window, windows, patches of the last one
WINDOWS = [
    ((5, 7), 1, 35, [34]),
    ((5, 7), 2, 24, [26, 27, 33, 34]),
    ((2, 3), 2, 2, [1, 2, 4, 5]),  # two places side by side
    ((3, 3), 3, 1, [0, 1, 2, 3, 4, 5, 6, 7, 8]),  # the whole photo
    ((15, 15), 7, 81, None),  # the 112 pixels of arXiv 2507.23712
]


@pytest.mark.parametrize(("grid", "size", "count", "last"), WINDOWS)
def test_windows_are_row_major(grid: tuple[int, int], size: int, count: int, last: list[int] | None) -> None:
    found = window_patches(grid, size)
    assert found.shape == (size * size, count)
    assert (np.diff(found[0]) > 0).all() and (np.diff(found, axis=0) > 0).all()
    if last is not None:
        assert found[:, -1].tolist() == last


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9))
def test_harmonic_is_the_mean_over_the_windows_that_cover(size: int, down: int, right: int, seed: int) -> None:
    grid = (size + down, size + right)
    patches = window_patches(grid, size)
    scores = np.random.default_rng(seed).uniform(0, 1, (2, 3, patches.shape[1])).astype(np.float32)
    scores[0, 0, 0] = 0
    found = harmonic(scores, grid, size).reshape(2, 3, -1)
    for patch in range(grid[0] * grid[1]):
        over = scores[..., (patches == patch).any(axis=0)]
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(found[..., patch], over.shape[-1] / (1 / over).sum(axis=-1), rtol=1e-5)


def test_rounding_below_zero_is_zero_and_nan_stays() -> None:
    scores = np.array([[-1e-8, 1], [np.nan, 1]], np.float32)
    np.testing.assert_array_equal(harmonic(scores, (1, 2), 1)[:, 0], [[0, 1], [np.nan, 1]])


# anomalous minus normal cosine, temperature, probability; the extremes neither overflow nor warn
@pytest.mark.parametrize(
    ("embedding", "temperature", "expected"),
    [
        ((1, 1, 0, 0), 0.07, 0.5),
        ((0, 5, 0, 0), 0.07, 1 / (1 + np.exp(-1 / 0.07))),
        ((5, 0, 0, 0), 0.07, 1 / (1 + np.exp(1 / 0.07))),
        ((-1, 1, 0, 0), 1e-6, 1),
        ((1, -1, 0, 0), 1e-6, 0),
        ((0, 0, 0, 0), 0.07, 0.5),  # no direction: nothing is said
    ],
)
def test_text_scores(embedding: tuple[float, ...], temperature: float, expected: float) -> None:
    assert text_scores(np.array(embedding, np.float32), TEXT, temperature) == pytest.approx(expected, rel=1e-5)


def test_a_pair_of_unit_means_does_not_weigh_by_length() -> None:
    long, short = np.array([[10, 0]], np.float32), np.array([[0, 1]], np.float32)
    plain = text_pair(np.concatenate([long, short]), long)
    unit = text_pair(np.concatenate([long, short]), long, unit_mean=True)
    np.testing.assert_allclose(plain, [[5, 0.5], [10, 0]])
    np.testing.assert_allclose(unit, [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-6)


def test_zero_shot_is_the_harmonic_mean_over_scales() -> None:
    views = seen(2)
    image, maps = zero_shot(views, TEXT)
    two, three = (harmonic(text_scores(views.windows[m], TEXT), GRID, m) for m in (2, 3))
    np.testing.assert_allclose(maps, 3 / (1 / image[:, None, None] + 1 / two + 1 / three), rtol=1e-4)
    assert maps.shape == (2, *GRID) and maps.dtype == image.dtype == np.float32


def test_association_is_half_the_smallest_cosine_distance() -> None:
    one, bank = seen(2).windows[1], seen(1, seed=5).windows[1][0]
    expected = [[min(1 - cosine(token, r) for r in bank) / 2 for token in photo] for photo in one]
    np.testing.assert_allclose(association(one, bank), expected, atol=1e-6)
    np.testing.assert_allclose(association(one[0], bank), expected[0], atol=1e-6)  # one photo, without an axis for it
    np.testing.assert_allclose(association(-bank[:1], bank[:1]), 1)


def test_few_shot_sees_no_difference_to_itself_and_none_in_order_or_length() -> None:
    views, good = seen(2), seen(3, seed=1)
    assert few_shot(views, views).max() < 1e-5
    maps = few_shot(views, good)
    other = Views(good.image, {m: 7 * w[::-1] for m, w in good.windows.items()}, GRID)
    np.testing.assert_allclose(few_shot(views, other), maps, atol=1e-6)
    each = [harmonic(association(views.windows[m], good.windows[m].reshape(-1, 4)), GRID, m) for m in (1, 2, 3)]
    np.testing.assert_allclose(maps, np.mean(each, axis=0), atol=1e-6)


def test_the_two_published_combinations() -> None:
    zero, few = (np.array([0.2], np.float32), np.full((1, 1, 2), 0.4, np.float32)), np.array([[[0.1, 0.6]]], np.float32)
    for summed, expected in ((False, [0.25, 0.5]), (True, [0.5, 1])):
        image, maps = combined(zero, few, summed=summed)
        assert image[0] == pytest.approx(0.4)
        np.testing.assert_allclose(maps[0, 0], expected, rtol=1e-6)


def test_enlarged_keeps_means_and_never_leaves_the_range() -> None:
    maps = np.random.default_rng(3).uniform(0, 1, (2, 3, 4)).astype(np.float32)
    found = enlarged(maps, (12, 8))
    assert found.shape == (2, 12, 8)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), rtol=1e-5)
    assert found.max() <= maps.max() and found.min() >= maps.min()
    np.testing.assert_allclose(enlarged(np.array([[0, 1]], np.float32), (1, 4)), [[0, 0.25, 0.75, 1]])


@pytest.fixture
def marked() -> tuple[Views, np.ndarray]:
    """One photo with a flaw on the first patch."""
    mask = np.zeros((10, 14), bool)
    mask[:2, :2] = True
    return seen(1, seed=2), mask


def test_banks_of_one_marked_photo(marked: tuple[Views, np.ndarray]) -> None:
    views, mask = marked
    known = banks(views, [mask])
    assert {m: (len(bank.defects), len(bank.normal)) for m, bank in known.items()} == {
        1: (1, 34),
        2: (1, 23),
        3: (1, 14),
    }
    names = ("text", "normal 1x1", "flaw 1x1", "normal 2x2", "flaw 2x2", "normal 3x3", "flaw 3x3")
    assert channel_names(known) == names
    windows = {m: np.concatenate([w, w]) for m, w in views.windows.items()}
    twice = Views(np.concatenate([views.image, views.image]), windows, GRID)
    with_good = banks(twice, [mask, np.zeros_like(mask)])  # nothing drawn: all of it is sound
    assert (len(with_good[1].defects), len(with_good[1].normal)) == (1, 34 + 35)


def test_channels_of_the_marked_photo_itself(marked: tuple[Views, np.ndarray]) -> None:
    """Its flaw is found where it was drawn, and its sound surface at no distance."""
    views, mask = marked
    known = banks(views, [mask])
    scores, maps = image_channels(views, TEXT, known), map_channels(views, TEXT, known)
    assert scores.shape == (1, 7) and maps.shape == (1, 7, 35)
    flaw = [at for at, name in enumerate(channel_names(known)) if name.startswith("flaw")]
    np.testing.assert_allclose(scores[0, flaw], 1, atol=1e-6)
    assert maps[0, 2].argmax() == 0  # flaw 1x1
    assert maps[0, 1].argmax() == 0 and np.sort(maps[0, 1])[-2] < 1e-6  # normal 1x1
    assert scores.min() >= 0 and scores.max() <= 1 and maps.min() >= 0 and maps.max() <= 1


def test_weights_for_these_channels(marked: tuple[Views, np.ndarray]) -> None:
    views, mask = marked
    known = banks(views, [mask])
    copies = seen(12, seed=9)
    flawed = np.arange(12) % 2 == 0
    for windows in copies.windows.values():
        windows[flawed, 0] = 0
    for m, bank in known.items():
        copies.windows[m][flawed, 0] = bank.defects[0]
    weights = choose(image_channels(copies, TEXT, known)[..., None], flawed, ["flip"] * 12, "monte-carlo")
    assert weights.shape == (7,)
    assert weighted(map_channels(copies, TEXT, known), weights).shape == (12, 35)


def test_a_flaw_that_no_window_of_a_size_avoids_has_no_sound_channel() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    known = banks(seen(1, grid=(3, 3), sizes=(1, 2)), [mask])
    assert channel_names(known) == ("text", "normal 1x1", "flaw 1x1", "flaw 2x2")


def test_errors() -> None:
    with pytest.raises(ConfigError, match="1 to 5 patches a side on a grid of 5 x 7; received 6"):
        window_patches(GRID, 6)
    with pytest.raises(ConfigError, match="no references"):
        association(seen(1).windows[1], np.zeros((0, 4), np.float32))
    with pytest.raises(ConfigError, match="nothing is drawn"):
        banks(seen(1), [np.zeros((10, 14), bool)])
