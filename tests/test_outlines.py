"""Shapes of regions: run lengths are exact, polygons close, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from blemish.judgement import Region
from blemish.sinks.outlines import Outline, outlines, polygons, rings, run_lengths, simplified
from blemish.verdict.regions import mask_of, regions_of

# pycocotools' own arrays do not know numpy 2's way of asking
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RING = np.pad(np.pad(np.zeros((6, 7), bool), 5, constant_values=True), 3)


def filled(shapes: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """What pycocotools makes of polygons: (H, W) bool."""
    runs = coco_mask.frPyObjects([shape.ravel().astype(float).tolist() for shape in shapes], *size)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Small noise: single pixels, pixels that touch at a corner, holes in holes."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    return np.array(bits).reshape(height, width)


@settings(deadline=None, max_examples=200)
@given(mask=masks(), left=st.integers(0, 3), top=st.integers(0, 3), right=st.integers(0, 3), below=st.integers(0, 3))
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray, left: int, top: int, right: int, below: int) -> None:
    photo = np.pad(mask, ((top, below), (left, right)))
    theirs = coco_mask.encode(np.asfortranarray(photo.astype(np.uint8)))["counts"].decode()
    assert run_lengths(mask, left, top, photo.shape) == theirs


def test_long_runs_take_several_letters() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[100:2900, 5:3990:7] = True
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert run_lengths(mask, 0, 0, mask.shape) == theirs


@settings(deadline=None, max_examples=200)
@given(masks())
def test_polygons_of_small_shapes_are_exact(mask: np.ndarray) -> None:
    pieces = polygons(mask)
    assert len(pieces) == ndimage.label(mask, np.ones((3, 3)))[1]
    if mask.any():
        np.testing.assert_array_equal(filled(pieces, mask.shape), mask)


@pytest.mark.parametrize("seed", range(6))
def test_polygons_of_larger_shapes_are_close(seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((240, 300)), rng.uniform(5, 14))
    labels, count = ndimage.label(field > np.quantile(field, rng.uniform(0.6, 0.97)), np.ones((3, 3)))
    large = [number for number in range(1, count + 1) if (labels == number).sum() >= 100]
    assert large
    for number in large:
        own = labels == number
        (polygon,) = polygons(own)
        assert overlap(filled([polygon], own.shape), own) >= 0.95


# the radius in pixels, and how many points people may have to move
@pytest.mark.parametrize(("radius", "points"), [(30, 30), (100, 30), (500, 60)])
def test_polygons_of_round_shapes_have_few_points(radius: int, points: int) -> None:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x**2 + y**2 <= radius**2
    (polygon,) = polygons(disk)
    assert len(polygon) <= points
    assert overlap(filled([polygon], disk.shape), disk) >= 0.98


# what is thinner than a pixel's tolerance must not vanish
@pytest.mark.parametrize(
    "mask",
    [
        np.ones((1, 1), bool),
        np.ones((1, 500), bool),
        np.eye(300, dtype=bool),  # a scratch whose pixels touch at corners only
        np.fliplr(np.eye(300, dtype=bool)),
        np.tri(200, dtype=bool) & ~np.tri(200, k=-3, dtype=bool),
    ],
    ids=["pixel", "line", "diagonal", "other diagonal", "slanted"],
)
def test_thin_shapes_stay(mask: np.ndarray) -> None:
    (polygon,) = polygons(mask)
    assert overlap(filled([polygon], mask.shape), mask) >= 0.95


def test_a_hole_is_joined_to_the_rim_by_a_seam() -> None:
    (polygon,) = polygons(RING)
    np.testing.assert_array_equal(filled([polygon], RING.shape), RING)
    x, y = polygon.T.astype(float)
    # the hole is walked the other way round: its area counts against the rim's
    assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2 == RING.sum()
    rim, hole = rings(RING)
    assert (len(rim), len(hole)) == (4, 4)


def test_nothing_has_no_shape() -> None:
    empty = np.zeros((3, 4), bool)
    assert polygons(empty) == []
    assert coco_mask.decode({"size": [3, 4], "counts": run_lengths(empty, 0, 0, (3, 4))}).sum() == 0


def decoded(shape: Outline, size: tuple[int, int]) -> np.ndarray:
    return coco_mask.decode({"size": list(size), "counts": shape.counts}).astype(bool)


# a region's box is known to a few pixels only: how much wider or narrower it is than its pixels
@pytest.mark.parametrize("off", [0, 1, -1, 2, -2])
def test_a_region_does_not_take_what_reaches_into_its_box(off: int) -> None:
    mask = np.zeros((40, 40), bool)
    mask[4:36, 4] = mask[35, 4:36] = True  # an L, and in the corner it leaves open
    mask[8:18, 16:30] = True
    angle = Region(4 - off, 4 - off, 36 + off, 36 + off, 60, 1.0, 0.1, 0.1)
    block = Region(16 - off, 8 - off, 30 + off, 18 + off, 150, 1.0, 0.1, 0.1)
    shapes = outlines(mask, [block, angle], (3, 3))
    for shape, area, box in zip(shapes, (140, 63), ((16, 8, 30, 18), (4, 4, 36, 36)), strict=True):
        assert shape.area == area == decoded(shape, mask.shape).sum() == filled(list(shape.polygons), mask.shape).sum()
        assert (shape.left, shape.top, shape.right, shape.bottom) == box


def test_regions_without_pieces_of_their_own_have_what_is_in_their_box() -> None:
    mask = np.zeros((30, 60), bool)
    mask[10:20, 5:55] = True  # two regions that have run together
    mask[0, 0] = True  # and nothing at all where a third one is said to be
    boxes = (5, 10, 30, 20), (30, 10, 55, 20), (40, 1, 43, 3)
    shapes = outlines(mask, [Region(*box, 1, 1.0, 0.1, 0.1) for box in boxes], (2, 2))
    assert [(shape.left, shape.top, shape.right, shape.bottom) for shape in shapes] == list(boxes)
    assert [shape.area for shape in shapes] == [250, 250, 6]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [(333, 470), (300, 100)])
def test_the_shapes_of_found_regions_are_the_mask(seed: int, size: tuple[int, int]) -> None:
    mask, shapes = found(seed, size)
    drawn = np.array([decoded(shape, size) for shape in shapes])
    np.testing.assert_array_equal(drawn.any(axis=0), mask)
    assert drawn.sum(axis=0).max() == 1, "a pixel belongs to one region"


@pytest.mark.parametrize("size", [(1, 300), (200, 3), (5, 4), (1, 1)])
def test_photos_smaller_than_a_region_have_shapes_too(size: tuple[int, int]) -> None:
    mask, shapes = found(1, size)
    drawn = np.array([decoded(shape, size) for shape in shapes])
    assert all(shape.polygons and shape.area == own.sum() > 0 for shape, own in zip(shapes, drawn, strict=True))
    assert drawn.any(axis=0)[mask].all()


def found(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, tuple[Outline, ...]]:
    """The mask of a random map, and the shapes of its regions."""
    rng = np.random.default_rng(seed)
    grid = ndimage.gaussian_filter(rng.random((14, 18)), rng.uniform(0.3, 1.5)).astype(np.float32)
    threshold = float(np.quantile(grid, rng.uniform(0.7, 0.99)))
    mask, regions = mask_of(grid, size, threshold), regions_of(grid, size, threshold)
    shapes = outlines(mask, regions, (-(-size[0] // 14), -(-size[1] // 18)))
    assert len(shapes) == len(regions)
    return mask, shapes


def test_simplified_keeps_corners_and_drops_what_lies_on_lines() -> None:
    square = np.array([[0, 0], [5, 0], [10, 0], [10, 10], [5, 10], [0, 10], [0, 4]])
    assert simplified(square, 0.1).tolist() == [[0, 0], [10, 0], [10, 10], [0, 10]]
