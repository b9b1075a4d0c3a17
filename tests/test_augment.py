"""Copies of annotated photos: the mask moves with the photo, nothing black comes in, and the flaw stays in sight."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.inputs.augment import AUGMENTATIONS, augmented


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey photo with a white disc, and the disc's mask."""
    y, x = np.indices(shape)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    pixels = np.full((*shape, 3), 90, np.uint8)
    pixels[mask] = 230
    return pixels, mask


# shape, centre, radius
PHOTOS = [
    ((96, 96), (40, 52), 12),
    ((60, 100), (30, 20), 8),  # not square
    ((96, 96), (4, 4), 4),  # in the corner, which a rotation takes out of the picture
    ((96, 64), (50, 33), 1),  # a few pixels
]


@pytest.mark.parametrize(("shape", "centre", "radius"), PHOTOS)
def test_the_mask_moves_with_the_flaw(shape: tuple[int, int], centre: tuple[int, int], radius: int) -> None:
    pixels, mask = disc(shape, centre, radius)
    copies = list(augmented(pixels, mask, 16, seed=1))
    assert [copy.family for copy in copies] == list(AUGMENTATIONS) * 4
    for copy in copies:
        assert copy.pixels.shape == pixels.shape and copy.pixels.dtype == np.uint8
        assert copy.mask.sum() >= mask.sum() / 2
        grey = copy.pixels[..., 0]  # 160 lies half-way between flaw and ground
        assert copy.mask[grey > 165].all() and not copy.mask[grey < 155].any()


def test_borders_are_mirrored_in() -> None:
    pixels, mask = disc((64, 64), (32, 32), 6)
    assert min(copy.pixels.min() for copy in augmented(pixels, mask, 8)) == 90


def test_copies_differ_and_repeat_by_seed() -> None:
    pixels, mask = disc((64, 80), (20, 30), 9)
    first, again = (list(augmented(pixels, mask, 8, seed=3)) for _ in range(2))
    other = list(augmented(pixels, mask, 8, seed=4))
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.pixels, same.pixels)
        assert (one.pixels != different.pixels).any()
        assert (one.pixels != pixels).any()


def test_a_single_pixel_is_never_lost() -> None:
    pixels, mask = np.full((40, 40, 3), 50, np.uint8), np.zeros((40, 40), bool)
    mask[39, 0] = True
    assert all(copy.mask.any() for copy in augmented(pixels, mask, 12, seed=2))


def test_a_normal_photo_stays_normal() -> None:
    pixels, _ = disc((40, 40), (20, 20), 5)
    assert not any(copy.mask.any() for copy in augmented(pixels, np.zeros((40, 40), bool), 8))


def test_a_mask_of_another_size() -> None:
    with pytest.raises(InputError, match="30 x 20 pixels, its photo 40 x 40"):
        augmented(np.zeros((40, 40, 3), np.uint8), np.zeros((20, 30), bool), 4)
