"""Tokens of volumes: every axis in one frame, slabs and projections as published, nothing outside the brain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.features.mock import MockBackbone
from blemish.features.registry import Features, backbone_facts
from blemish.features.volume_tokens import cells_inside, projection, slice_tokens, volume_tokens

MOCK = MockBackbone((1, 2), torch.device("cpu"))


def tokens_across(volume: Tensor, axis: int, grid: int, overlap: float = 1.0, step: int = 1) -> Tensor:
    """The first layer, (grid, grid, grid, 4)."""
    return slice_tokens(volume, axis, MOCK, grid, 64, overlap, step, volume.shape[0], 42)[0]


# where a bright point lies in a cube of 32; cells are 8 voxels
@pytest.mark.parametrize("point", [(2, 12, 29), (29, 2, 12), (12, 29, 2), (0, 8, 31)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_point_is_found_where_it_is_across_every_axis(point: tuple[int, int, int], axis: int) -> None:
    volume = torch.full((32, 32, 32), 0.5)
    blank = tokens_across(volume, axis, 4)
    volume[point] = 1.0
    changed = (tokens_across(volume, axis, 4) - blank).norm(dim=-1)
    assert changed.nonzero().tolist() == [[at // 8 for at in point]]


def test_a_point_in_the_joined_tokens() -> None:
    """All three axes of a token speak of the same place: the cell's number is that of (x, y, z), last axis first."""
    volume = torch.full((32, 32, 32), 0.5)
    blank = volume_tokens(volume, MOCK, grid=4)
    volume[2, 12, 29] = 1.0
    found = volume_tokens(volume, MOCK, grid=4)
    assert found.grid == (4, 4, 4)
    for layer, before in zip(found.layers, blank.layers, strict=True):
        changed = (layer - before).reshape(64, 3, 4).norm(dim=-1)
        assert changed.nonzero().tolist() == [[np.ravel_multi_index((0, 1, 3), (4, 4, 4)), side] for side in range(3)]


def test_a_token_is_the_mean_of_its_slab() -> None:
    volume = torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(0))
    found = tokens_across(volume, 2, 4)
    eighth = (volume * 255).round() / 255
    mean = eighth.reshape(4, 8, 4, 8, 4, 8).mean(dim=(1, 3, 5))
    expected = torch.nn.functional.normalize(torch.stack([mean] * 3 + [torch.full_like(mean, 0.5)], dim=-1), dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_overlapping_slabs_see_their_neighbours() -> None:
    volume = torch.full((32, 32, 32), 0.5)
    blank = tokens_across(volume, 0, 4, overlap=2.0)
    volume[9] = 1.0  # the second slab; with twice the thickness the first sees it too
    changed = (tokens_across(volume, 0, 4, overlap=2.0) - blank).norm(dim=-1).amax(dim=(1, 2))
    assert (changed > 1e-6).tolist() == [True, True, False, False]


@pytest.mark.parametrize("step", [2, 3, 16])  # 16: a step wider than a cell leaves none of them empty
def test_fewer_slices_of_an_even_volume_change_nothing(step: int) -> None:
    volume = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(32, 32, 32)
    torch.testing.assert_close(tokens_across(volume, 0, 4, step=step), tokens_across(volume, 0, 4))


def test_a_finer_grid_than_the_network_is_interpolated_and_larger_slices_are_finer() -> None:
    volume = torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(0))
    assert tokens_across(volume, 1, 8).shape == (8, 8, 8, 4)
    fine = volume_tokens(volume, MOCK, grid=8, slice_size=64)
    assert fine.layers[0].shape == (512, 12)
    assert fine.layers[0].norm(dim=1).allclose(torch.ones(512))


class Wide:
    """A backbone of many channels that counts how many of its tokens are alive."""

    def __init__(self, channels: int) -> None:
        self.facts = backbone_facts("mock")
        self.weights_sha256, self.layers = "", (1,)
        self.channels = channels

    def extract(self, photos: Tensor) -> Features:
        draw = torch.randn(3, self.channels, generator=torch.Generator().manual_seed(1))
        mean = torch.nn.functional.avg_pool2d(photos.float() / 255, 8).permute(0, 2, 3, 1)
        return Features([torch.sin(7 * mean @ draw)], mean.mean(dim=(1, 2)))


def test_a_projection_keeps_distances() -> None:
    volume = torch.rand(64, 64, 64, generator=torch.Generator().manual_seed(0))
    full = volume_tokens(volume, Wide(512), grid=4, width=512).layers[0]
    small = volume_tokens(volume, Wide(512), grid=4, width=64).layers[0]
    assert (full.shape, small.shape) == ((64, 3 * 512), (64, 3 * 64))
    a, b = torch.pdist(full), torch.pdist(small)
    assert np.corrcoef(a, b)[0, 1] > 0.9
    assert (b / a).mean() == pytest.approx(1, abs=0.05)


def test_the_projection_is_the_published_one_and_the_same_for_all() -> None:
    matrix = projection(1024, 64, 42)
    torch.testing.assert_close(matrix.norm(dim=0), torch.full((64,), 1 / 8))
    torch.testing.assert_close(matrix, projection(1024, 64, 42), atol=0, rtol=0)
    assert not torch.equal(matrix, projection(1024, 64, 43))


def test_tokens_outside_the_brain_are_dropped() -> None:
    volume = torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(0))
    brain = torch.zeros(32, 32, 32)
    brain[8:24, 8:24, 0:9] = 1
    inside = cells_inside(brain, 4)
    assert inside.sum() == 8  # the ninth plane is in the second layer of cells
    assert cells_inside(brain, 4, share=0.2).sum() == 4
    everything, kept = volume_tokens(volume, MOCK, grid=4), volume_tokens(volume, MOCK, grid=4, inside=inside)
    assert kept.cells.tolist() == inside.reshape(-1).nonzero().squeeze(1).tolist()
    torch.testing.assert_close(kept.layers[0], everything.layers[0][kept.cells], atol=0, rtol=0)


def test_one_axis_alone() -> None:
    found = volume_tokens(torch.rand(32, 32, 32), MOCK, grid=4, axes=(2,))
    assert found.layers[0].shape == (64, 4)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((32, 32, 24), {}, "made of a cube"),
        ((32, 32, 32), {"grid": 5}, "not a multiple of the grid"),
        ((36, 36, 36), {"grid": 4}, "choose a multiple of 8"),
        ((32, 32, 32), {"grid": 4, "inside": torch.ones(8, 8, 8, dtype=torch.bool)}, "512 cells; the grid has 64"),
    ],
)
def test_sizes_that_do_not_fit(shape: tuple[int, int, int], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        volume_tokens(torch.zeros(shape), MOCK, **options)  # type: ignore[arg-type]


def test_a_cell_may_not_split_a_voxel_of_the_mask() -> None:
    with pytest.raises(ConfigError, match="not a multiple"):
        cells_inside(torch.ones(10, 10, 10), 4)
