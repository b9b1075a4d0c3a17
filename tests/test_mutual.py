"""Mutual scoring and the fusion of maps: small cases worked out by hand, and what must never happen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blemish.errors import ConfigError
from blemish.result import ColourScale, upsample
from blemish.scoring.fusion import fuse_backbones, mean_maps
from blemish.scoring.mutual import image_scores, msm, neighbours, rscin


# share, photos, K
@pytest.mark.parametrize(
    ("share", "images", "k"),
    [
        (0.3, 11, 3),
        (0.3, 3, 1),  # the floor of 0.6 is 0: one neighbour at least
        (0.1, 11, 1),
        (0.3, 200, 59),
        (1.0, 5, 4),
        (0.29, 101, 29),  # 0.29 * 100 is 28.999... in binary
    ],
)
def test_neighbours(share: float, images: int, k: int) -> None:
    assert neighbours(share, images) == k


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_outside_its_range(share: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        neighbours(share, 10)


def test_msm_is_the_mean_of_the_smallest() -> None:
    nearest = np.array([[np.inf, np.inf], [3, 1], [1, 2], [2, 9]], np.float32)
    np.testing.assert_allclose(msm(nearest, 2), [1.5, 1.5])


@given(
    arrays.arrays(np.float32, (4, 5), elements=st.floats(0, 2, width=32)),
    st.tuples(st.integers(5, 40), st.integers(5, 40)),
)
def test_upsampling_equals_torch(grid: np.ndarray, shape: tuple[int, int]) -> None:
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(grid)[None, None], shape, mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(upsample(grid, shape), expected[0, 0].numpy(), atol=1e-5)


@given(
    arrays.arrays(np.float32, (2, 3, 4, 5), elements=st.floats(0, 2, width=32)),
    st.tuples(st.integers(3, 12), st.integers(4, 12), st.integers(5, 12)),
)
def test_upsampling_a_volume_equals_torch(grids: np.ndarray, shape: tuple[int, int, int]) -> None:
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(grids)[:, None], shape, mode="trilinear", align_corners=True
    )
    np.testing.assert_allclose(upsample(grids, shape), expected[:, 0].numpy(), atol=1e-5)


def test_upsampling_keeps_the_bits_of_the_photos_that_were_scored_before() -> None:
    """The arithmetic of two sides, in its order: kept maps and thresholds were made with it."""
    grid = np.random.default_rng(0).normal(size=(3, 7, 9)).astype(np.float32)
    across, down = np.linspace(0, 8, 31), np.linspace(0, 6, 22)
    left, above = np.minimum(across.astype(int), 7), np.minimum(down.astype(int), 5)
    columns = grid[..., left] + (across - left).astype(np.float32) * (grid[..., left + 1] - grid[..., left])
    step = (down - above).astype(np.float32)[:, None]
    rows = columns[:, above] + step * (columns[:, above + 1] - columns[:, above])
    np.testing.assert_array_equal(upsample(grid, (22, 31)), rows)


def test_upsampling_a_single_row() -> None:
    np.testing.assert_allclose(upsample(np.array([[1.0, 3.0]], np.float32), (2, 3)), [[1, 2, 3], [1, 2, 3]])


def test_volumes_have_scores_and_mean_maps() -> None:
    maps = np.random.default_rng(0).random((3, 4, 5, 6), np.float32)
    np.testing.assert_allclose(image_scores(maps, (4, 5, 6), "max"), maps.reshape(3, -1).max(axis=1), rtol=1e-6)
    excess = image_scores(maps, (4, 5, 6), "excess")
    np.testing.assert_allclose(excess, (maps - np.median(maps, axis=0)).reshape(3, -1).max(axis=1), rtol=1e-5)
    coarse = np.ones((3, 2, 3, 2), np.float32)
    np.testing.assert_allclose(mean_maps([coarse, maps]), (1 + maps) / 2, rtol=1e-6)


def test_image_score_is_the_largest_value_of_the_enlarged_map() -> None:
    grids = np.zeros((3, 2, 2), np.float32)
    grids[:, 0, 0] = 5  # an edge that is hard to match in every photo
    grids[1, 1, 1] = 4  # a flaw
    np.testing.assert_array_equal(image_scores(grids, (5, 5), "max"), [5, 5, 5])
    np.testing.assert_array_equal(image_scores(grids, (5, 5), "excess"), [0, 4, 0])


def test_rscin_off_and_degenerate() -> None:
    embeddings = np.eye(3)
    np.testing.assert_array_equal(rscin([1, 2, 3], embeddings, ()), np.float32([1, 2, 3]))
    np.testing.assert_array_equal(rscin([2, 2, 2], embeddings, (1,)), np.zeros(3))
    assert np.isfinite(rscin([1, 2, 3], embeddings, (1, 9))).all()  # more neighbours than photos
    star = [[1, 0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]]  # similarities that cancel
    np.testing.assert_allclose(rscin([1, 2, 3], star, (3,)), [0, 0.5, 1])


def test_mean_maps_on_the_finest_grid() -> None:
    coarse, fine = np.ones((2, 2, 3), np.float32), np.full((2, 4, 6), 3, np.float32)
    np.testing.assert_allclose(mean_maps([coarse, fine]), np.full((2, 4, 6), 2))


def test_fused_backbones_weigh_alike_whatever_their_units() -> None:
    noise = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(fuse_backbones([noise, 1000 * noise + 7]), fuse_backbones([noise, noise]), atol=1e-3)
    assert fuse_backbones([noise]) is noise
    assert np.isfinite(fuse_backbones([noise, np.zeros_like(noise)])).all()


def test_colour_scale_does_not_let_the_noise_of_a_clean_batch_glow() -> None:
    clean = np.random.default_rng(0).normal(1, 0.01, (20, 8, 8)).astype(np.float32)
    assert ColourScale.of(clean).apply(clean).mean() < 0.2
    flawed = clean.copy()
    flawed[0, :2, :2] = 2
    assert ColourScale.of(flawed).apply(flawed)[0, 0, 0] == 1


def test_colour_scale_of_constant_and_empty_maps() -> None:
    for maps in (np.zeros((0, 2, 2), np.float32), np.ones((3, 2, 2), np.float32)):
        scale = ColourScale.of(maps)
        assert scale.high > scale.low
