"""Normal and anomalous memory: distances, image score, token windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.errors import ConfigError
from blemish.scoring import memory
from blemish.scoring.foreground import foreground
from blemish.scoring.memory import (
    Memory,
    cosine_nearest,
    image_score,
    mean_of_top,
    mean_of_top_share,
    nearest,
    spread,
    windows,
)


def _unit(*shape: int, seed: int = 0) -> np.ndarray:
    tokens = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 50])  # one, several, more than the bank holds
@pytest.mark.parametrize("rows", [4096, 7])  # the bank at once, and in pieces that do not divide it
def test_nearest_is_the_mean_over_the_k_nearest(k: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ROWS", rows)
    tokens, bank = _unit(5, 8), _unit(30, 8, seed=1)
    distances = np.sort(np.linalg.norm(tokens[:, None] - bank, axis=-1), axis=1)[:, :k]
    np.testing.assert_allclose(nearest(tokens, bank, k), distances.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(cosine_nearest(tokens, bank, k), (distances**2 / 2).mean(axis=1), atol=1e-5)


def test_a_token_of_the_bank_is_at_distance_zero() -> None:
    bank = _unit(30, 8)
    np.testing.assert_allclose(nearest(bank[:4], bank), 0, atol=1e-3)


def test_only_tokens_nearer_to_a_defect_than_to_anything_normal_are_raised() -> None:
    normal, defects = np.eye(4, dtype=np.float32)[:1], np.eye(4, dtype=np.float32)[1:2]
    tokens = np.eye(4, dtype=np.float32)  # normal, the defect, neither, neither
    found = Memory(normal, defects, offset=0.05, boost=3, margin=0.1).map(tokens)
    apart = 2**0.5 + 0.05
    np.testing.assert_allclose(found, [0.05, apart + 3 * (apart - 0.1), apart, apart], atol=1e-6)


def test_a_memory_is_a_line_of_the_distance() -> None:
    tokens = np.eye(4, dtype=np.float32)
    found = Memory(tokens[:1], tokens[:0], scale=2, offset=1).map(tokens)
    np.testing.assert_allclose(found, [1, 1 + 2 * 2**0.5, 1 + 2 * 2**0.5, 1 + 2 * 2**0.5], atol=1e-6)


# values, share -> their mean: rounded down, never none
@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (200, 0.01, 198.5),  # two of 0..199
        (299, 0.01, 297.5),  # still two
        (99, 0.01, 98),  # less than one value: the maximum
        (4, 1.0, 1.5),  # all
    ],
)
def test_mean_of_top_share(count: int, share: float, expected: float) -> None:
    assert mean_of_top_share(np.arange(count, dtype=np.float32), share) == expected


def test_mean_of_top_takes_what_there_is() -> None:
    assert mean_of_top(np.array([[1, 2], [3, 6]], np.float32), 9) == 3


def test_image_score_of_a_flaw_on_a_matching_photo_is_its_distance() -> None:
    distances = np.zeros((20, 20), np.float32)
    distances[3, 4:6] = 0.5  # two tokens of 400 are the top 0.5 %
    assert image_score(distances) == pytest.approx(0.5)


def test_image_score_does_not_count_what_the_whole_photo_lacks() -> None:
    flawed = np.full((20, 20), 0.3, np.float32)
    flawed[3, 4:6] = 0.5
    assert image_score(flawed) == pytest.approx((0.5**2 - 0.3**2) ** 0.5)
    assert image_score(np.full((20, 20), 0.3, np.float32)) == 0, "everywhere equally far: another light, not a flaw"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_windows_are_unit_means(size: int) -> None:
    grid = _unit(8, 9, 5)
    found = windows(grid, size)
    assert found.shape == (9 - size, 10 - size, 5)
    mean = grid[1 : 1 + size, 2 : 2 + size].mean(axis=(0, 1))
    np.testing.assert_allclose(found[1, 2], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("size", [0, 5])  # none, larger than the shorter side
def test_a_window_must_fit_the_grid(size: int) -> None:
    with pytest.raises(ConfigError, match="4 x 6"):
        windows(_unit(4, 6, 3), size)


@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5))
def test_spread_covers_every_token_and_keeps_a_constant(size: int, rows: int, columns: int) -> None:
    tokens = spread(np.full((rows, columns), 2.5, np.float32), size)
    assert tokens.shape == (rows + size - 1, columns + size - 1)
    np.testing.assert_allclose(tokens, 2.5)


def test_spread_is_the_mean_over_the_covering_windows() -> None:
    tokens = spread(np.array([[0, 3], [0, 0]], np.float32), 2)
    np.testing.assert_allclose(tokens, [[0, 1.5, 3], [0, 0.75, 1.5], [0, 0, 0]])


def test_foreground_is_the_part_in_the_middle_and_knows_no_sign() -> None:
    grid = np.zeros((12, 12, 6), np.float32)
    grid[3:9, 3:9, 2] = 60
    kept = foreground(grid)
    assert kept[3:9, 3:9].all()
    assert not kept[:2].any()
    np.testing.assert_array_equal(foreground(-grid), kept)
