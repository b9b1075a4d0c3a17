"""APRIL-GAN's few-shot part on made-up tokens; golden/test_golden_prompt_models.py has the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.learning.aprilgan_shots import few_shot, joined, remember
from blemish.learning.prompt_file import Seen

SIZE = (12, 8)
WIDTHS = (5, 7)  # channels of the two layers: not alike, so that they cannot be mixed up


def seen(count: int, grid: tuple[int, int], seed: int) -> Seen:
    random = torch.Generator().manual_seed(seed)
    patches = tuple(torch.randn(count, grid[0] * grid[1], width, generator=random) for width in WIDTHS)
    return Seen(torch.zeros(count, 3), patches, grid)


def test_a_remembered_photo_is_faultless():
    photos = seen(2, (3, 2), 0)
    torch.testing.assert_close(few_shot(photos, remember([photos]), SIZE), torch.zeros(2, *SIZE), rtol=0, atol=1e-5)


def test_the_odd_patch_stands_out_in_its_own_cell():
    good, photos = seen(1, (3, 2), 0), seen(1, (3, 2), 0)
    for layer in photos.patches:
        layer[0, 3] *= -1  # row 1, column 1
    found = few_shot(photos, remember([good]), (3, 2))[0]
    assert found.flatten().argmax() == 3
    assert (found > 0.01).sum() == 1


# photos remembered one by one or together, in any order, on other grids too, in half precision or not
@pytest.mark.parametrize("half", [False, True])
def test_memory_is_one_bag(half):
    photos, first, second = seen(3, (2, 2), 1), seen(2, (3, 2), 2), seen(1, (4, 5), 3)
    memory, other = remember([first, second]), remember([second, first])
    assert [tuple(layer.shape) for layer in memory] == [(2 * 6 + 20, width) for width in WIDTHS]
    torch.testing.assert_close(few_shot(photos, memory, SIZE), few_shot(photos, other, SIZE))
    if half:
        rounded = Seen(photos.image, tuple(layer.half() for layer in photos.patches), photos.grid)
        torch.testing.assert_close(few_shot(rounded, memory, SIZE), few_shot(photos, memory, SIZE), rtol=0, atol=5e-3)


def test_more_good_photos_never_raise_a_map():
    photos, first, second = seen(2, (3, 2), 1), seen(1, (3, 2), 2), seen(1, (3, 2), 3)
    one, two = (few_shot(photos, remember(good), SIZE) for good in ([first], [first, second]))
    assert (two <= one + 1e-6).all() and (two < one).any()
    assert (one >= 0).all() and (one <= 2 * len(WIDTHS)).all()


def test_scores_are_scaled_within_the_batch():
    photos, peaks = np.float32([0.2, 0.4, 1.0]), np.float32([1.0, 2.0, 4.0])
    np.testing.assert_allclose(joined(photos, peaks), [0.1, (0.4 + 1 / 3) / 2, 1.0], rtol=1e-6)


# photos whose highest values do not differ -> half of the text score, not NaN
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_to_scale(count):
    photos, peaks = np.linspace(0, 1, count, dtype=np.float32), np.full(count, 3, np.float32)
    np.testing.assert_array_equal(joined(photos, peaks), photos / 2)


def no_photos() -> list[Tensor]:
    return remember([seen(0, (3, 2), 0)])


def other_layers() -> Tensor:
    return few_shot(seen(1, (3, 2), 0), remember([seen(1, (3, 2), 0)])[:1], SIZE)


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: remember([]), "at least one good photo"), (no_photos, "at least one good"), (other_layers, "alike")],
)
def test_what_cannot_be_compared(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
