"""Regions: made-up maps with a known answer, hard batches, and what has to hold for every map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from blemish.verdict.regions import lesions_of, mask_of, pixel_threshold, regions_of

SHAPE = (256, 320)


def flat(value: float = 0.2, shape: tuple[int, int] = (16, 20)) -> np.ndarray:
    return np.full(shape, value, np.float32)


def with_bumps(*bumps: tuple[int, int, float], blur: float = 1.2) -> np.ndarray:
    """A quiet map with bumps (row, column, height) as wide as a network sees."""
    rows, columns = np.mgrid[:16, :20]
    grid = flat() + np.random.default_rng(0).normal(0, 0.003, (16, 20))
    for row, column, height in bumps:
        grid += height * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * blur**2))
    return grid.astype(np.float32)


def test_one_bump_is_one_region_at_its_place_in_the_photos_own_pixels() -> None:
    (region,) = regions_of(with_bumps((4, 15, 0.5)), SHAPE, 0.3)
    row, column = 4 * 255 / 15, 15 * 319 / 19
    assert region.top < row < region.bottom and region.left < column < region.right
    assert region.peak == pytest.approx(0.7, abs=0.03)  # the bump's top lies between two samples
    assert region.share == pytest.approx(region.area / (SHAPE[0] * SHAPE[1]), rel=0.01)
    assert 0 < region.severity == pytest.approx(region.share * 0.3 / 0.3, rel=0.2)  # mean height about 0.6


def test_outline_follows_the_peak_and_not_the_threshold() -> None:
    grid = with_bumps((8, 10, 0.5))
    masks = [mask_of(grid, SHAPE, threshold).sum() for threshold in (0.25, 0.35, 0.6)]
    assert max(masks) < 1.05 * min(masks)
    stronger = with_bumps((8, 10, 1.0))
    assert mask_of(stronger, SHAPE, 0.25).sum() == pytest.approx(masks[0], rel=0.1)


def test_a_faint_flaw_beside_a_strong_one_is_seen() -> None:
    first, second = regions_of(with_bumps((4, 4, 1.0), (11, 15, 0.4)), SHAPE, 0.3)
    assert first.peak > 1 and second.peak < 0.7
    assert first.severity > second.severity


def test_a_ripple_beside_a_strong_flaw_is_not_a_region() -> None:
    assert len(regions_of(with_bumps((4, 4, 1.0), (11, 15, 0.2)), SHAPE, 0.3)) == 1
    assert len(regions_of(with_bumps((11, 15, 0.2)), SHAPE, 0.3)) == 1


def test_severity_grows_with_size_and_with_height() -> None:
    def severity(height: float, blur: float) -> float:
        return sum(region.severity for region in regions_of(with_bumps((8, 10, height), blur=blur), SHAPE, 0.3))

    assert severity(0.3, 1.2) < severity(0.5, 1.2) < severity(0.8, 1.2)
    assert severity(0.5, 1.2) < severity(0.5, 2.0) < severity(0.5, 3.0)


def test_most_severe_first() -> None:
    regions = regions_of(with_bumps((3, 3, 0.4), (3, 15, 0.9), (12, 9, 0.6)), SHAPE, 0.3)
    assert len(regions) == 3
    assert [region.severity for region in regions] == sorted((r.severity for r in regions), reverse=True)


def test_where_nothing_exceeds_the_threshold_the_peak_is_marked() -> None:
    grid = with_bumps((8, 10, 0.1))
    (region,) = regions_of(grid, SHAPE, 0.9)
    assert region.severity == 0
    assert region.left < 10 * 319 / 19 < region.right
    assert mask_of(grid, SHAPE, 0.9).any()


def test_a_flaw_over_half_of_the_picture_is_one_region() -> None:
    grid = flat()
    grid[:, :10] = 0.8
    grid += np.random.default_rng(0).normal(0, 0.01, grid.shape).astype(np.float32)
    (region,) = regions_of(grid, SHAPE, 0.3)
    assert region.share == pytest.approx(0.5, abs=0.03)


def test_a_flaw_over_nearly_the_whole_picture_is_one_region() -> None:
    grid = flat(0.8)
    grid[0] = 0.2
    grid += np.random.default_rng(0).normal(0, 0.02, grid.shape).astype(np.float32)
    (region,) = regions_of(grid, SHAPE, 0.3)
    assert region.share > 0.85


def test_noise_does_not_shatter_into_specks() -> None:
    grid = np.random.default_rng(0).normal(1, 0.2, (64, 64)).astype(np.float32)
    regions = regions_of(grid, (1024, 1024), float(np.quantile(grid, 0.95)))
    token = 16 * 16
    assert min(region.area for region in regions) >= 0.2 * token


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_constant_maps(value: float) -> None:
    grids = np.stack([flat(value)] * 3)
    threshold = pixel_threshold(grids)
    assert threshold == pytest.approx(value)
    (region,) = regions_of(grids[0], SHAPE, threshold)
    assert region.area >= 1 and region.severity == 0
    assert mask_of(grids[0], SHAPE, threshold).any()


def test_threshold_of_few_ok_photos_and_of_none() -> None:
    one = with_bumps((3, 3, 0.1))
    assert pixel_threshold(one[None]) == pytest.approx(float(one.max()))
    assert pixel_threshold(np.stack([one, flat()])) <= one.max()
    assert pixel_threshold(np.empty((0, 16, 20), np.float32)) == 0
    (region,) = regions_of(with_bumps((8, 10, 1.0)), SHAPE, 0.0)
    assert region.share < 0.1


def test_no_ok_photo_in_ten_lifts_the_threshold() -> None:
    quiet = [with_bumps((3, 3, 0.1))] * 19
    assert pixel_threshold(np.stack([*quiet, with_bumps((3, 3, 5.0))])) == pytest.approx(
        pixel_threshold(np.stack(quiet))
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (16, 20), (61, 1000), (1024, 700)])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (16, 20)])
def test_any_size_of_photo_and_map(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    values = np.random.default_rng(1).random(grid, dtype=np.float32)
    regions = regions_of(values, shape, 0.9)
    assert regions and mask_of(values, shape, 0.9).shape == shape
    assert all(0 <= r.left < r.right <= shape[1] and 0 <= r.top < r.bottom <= shape[0] and r.area >= 1 for r in regions)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), blur=st.sampled_from([0.7, 1.5]), quantile=st.floats(0.5, 1.0))
def test_boxes_areas_and_masks_agree(seed: int, blur: float, quantile: float) -> None:
    noise = np.random.default_rng(seed).normal(size=(12, 15))
    grid = (ndimage.gaussian_filter(noise, blur) + 2).astype(np.float32)
    threshold = float(np.quantile(grid, quantile))
    regions, mask = regions_of(grid, (240, 300), threshold), mask_of(grid, (240, 300), threshold)
    boxes = np.zeros_like(mask)
    for region in regions:
        assert region.area <= (region.right - region.left) * (region.bottom - region.top)
        boxes[max(region.top - 5, 0) : region.bottom + 5, max(region.left - 5, 0) : region.right + 5] = True
        assert mask[region.top : region.bottom, region.left : region.right].any()
    assert not (mask & ~boxes).any()  # a sample of the canvas is 5 pixels here
    assert sum(region.area for region in regions) == pytest.approx(mask.sum(), rel=0.15, abs=75)  # three samples
    assert sum(region.share for region in regions) <= 1 + 1e-9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 4.0]))
def test_the_units_of_a_map_do_not_matter(seed: int, scale: float) -> None:
    noise = np.random.default_rng(seed).normal(size=(12, 15))
    grid = (ndimage.gaussian_filter(noise, 1.0) + 2).astype(np.float32)
    threshold = float(np.float32(np.quantile(grid, 0.95)))
    plain, scaled = regions_of(grid, SHAPE, threshold), regions_of(scale * grid, SHAPE, scale * threshold)
    assert [(r.left, r.top, r.area) for r in plain] == [(r.left, r.top, r.area) for r in scaled]
    assert [r.severity for r in plain] == pytest.approx([r.severity for r in scaled], rel=1e-4)
    np.testing.assert_array_equal(mask_of(grid, SHAPE, threshold), mask_of(scale * grid, SHAPE, scale * threshold))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_mirrored_map_has_mirrored_regions(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(12, 15))
    grid = (ndimage.gaussian_filter(noise, 1.0) + 2).astype(np.float32)
    threshold = float(np.quantile(grid, 0.95))
    plain, mirrored = mask_of(grid, SHAPE, threshold), mask_of(grid[:, ::-1], SHAPE, threshold)
    assert (plain != mirrored[:, ::-1]).mean() < 0.002  # interpolation rounds differently from the other side


VOXELS = (48, 60, 72)


def volume(*bumps: tuple[int, int, int, float], blur: float = 1.0) -> np.ndarray:
    """A quiet map of 8 x 10 x 12 tokens with bumps (x, y, z, height)."""
    places = np.mgrid[:8, :10, :12]
    grid = 0.2 + np.random.default_rng(0).normal(0, 0.003, (8, 10, 12))
    for *centre, height in bumps:
        away = places - np.reshape(centre, (3, 1, 1, 1))
        grid += height * np.exp(-np.square(away).sum(axis=0) / (2 * blur**2))
    return grid.astype(np.float32)


def test_a_lesion_lies_at_its_place_in_voxels_of_the_volume() -> None:
    (lesion,) = lesions_of(volume((2, 6, 9, 0.5)), VOXELS, 0.3)
    expected = [2 * 47 / 7, 6 * 59 / 9, 9 * 71 / 11]
    np.testing.assert_allclose(lesion.centre, expected, atol=1)
    for start, at, stop, side in zip(lesion.start, lesion.centre, lesion.stop, VOXELS, strict=True):
        assert 0 <= start < at < stop <= side
    assert lesion.peak == pytest.approx(0.7, abs=0.05)
    assert lesion.share == pytest.approx(lesion.voxels / np.prod(VOXELS), rel=0.02)
    mask = mask_of(volume((2, 6, 9, 0.5)), VOXELS, 0.3)
    assert mask.shape == VOXELS and mask.sum() == pytest.approx(lesion.voxels, rel=0.3)
    where = np.nonzero(mask)
    assert all(start - 2 <= at.min() for start, at in zip(lesion.start, where, strict=True))
    assert all(at.max() < stop + 2 for stop, at in zip(lesion.stop, where, strict=True))


def test_two_lesions_behind_each_other_are_two() -> None:
    first, second = lesions_of(volume((1, 5, 5, 1.0), (6, 5, 5, 0.6)), VOXELS, 0.3)
    assert first.severity > second.severity
    assert first.stop[0] <= second.start[0]


def test_what_lies_outside_of_the_brain_makes_no_lesion_larger() -> None:
    """Most of the grid is 0 there: taken for the usual, it would put the outline around the whole brain."""
    grid = volume((2, 6, 9, 0.2))
    wide, inside = np.zeros((16, 20, 24), np.float32), np.zeros((16, 20, 24), bool)
    wide[4:12, 5:15, 6:18], inside[4:12, 5:15, 6:18] = grid, True
    (alone,) = lesions_of(grid, VOXELS, 0.3)
    (lesion,) = lesions_of(wide, (96, 120, 144), 0.3, inside)
    assert lesion.voxels == pytest.approx(alone.voxels, rel=0.2)
    assert lesion.share == pytest.approx(alone.share, rel=0.2)
    assert lesion.severity == pytest.approx(alone.severity, rel=0.3)


def test_a_volume_where_nothing_exceeds_the_threshold_has_its_peak_marked() -> None:
    (lesion,) = lesions_of(volume((4, 5, 5, 0.1)), VOXELS, 0.9)
    assert lesion.severity == 0
    tiny = mask_of(volume((4, 5, 5, 0.1)), (3, 3, 3), 0.9)
    assert tiny.any()
