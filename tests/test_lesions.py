"""Synthetic lesions: of the size asked for, soft, inside the brain, the same at one place when they recur."""

from __future__ import annotations

import numpy as np
import pytest

import volume_files as made
from blemish.errors import ConfigError
from blemish.inputs.synthetic.lesions import Lesion, draw_lesion, moved, paint
from blemish.inputs.volume_grid import Box

SHAPE = (70, 80, 60)
VALUES = made.brain(SHAPE)
BRAIN = VALUES != 0
CENTRE = (35.0, 40.0, 30.0)


@pytest.mark.parametrize("across", [8, 12, 16, 20])
def test_a_lesion_is_as_large_as_asked_for(across: int) -> None:
    for seed in range(5):
        _, mask = paint(VALUES, BRAIN, Lesion(CENTRE, across, -0.5, seed=seed))
        assert (6 * mask.sum() / np.pi) ** (1 / 3) == pytest.approx(across, rel=0.1)


@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_it_is_darker_or_brighter_by_a_share_of_the_tissues_range(shift: float) -> None:
    painted, mask = paint(VALUES, BRAIN, Lesion(CENTRE, 16, shift))
    dark, bright = np.percentile(VALUES[BRAIN], (10, 90))
    moved_by = painted[mask].mean() - VALUES[mask].mean()
    assert moved_by == pytest.approx(shift * (bright - dark), rel=0.15)
    assert painted[BRAIN].min() >= VALUES[BRAIN].min()
    assert painted[BRAIN].max() <= VALUES[BRAIN].max()


def test_its_edge_is_soft() -> None:
    even = np.where(BRAIN, np.float32(100), np.float32(0))
    even[0:35][BRAIN[0:35]] = 90  # two tissues, so that there is a range
    painted, mask = paint(even, BRAIN, Lesion((50.0, 40.0, 30.0), 16, -0.5, edge=4.0))
    steps = np.abs(np.diff(painted[40:60, 40, 30]))
    assert painted[50, 40, 30] < 97
    assert steps.max() < 2.5  # of 5 grey levels in all
    assert mask[50, 40, 30]


def test_its_surroundings_are_pushed_outwards() -> None:
    stripes = np.where(BRAIN, np.float32(50), np.float32(0))
    stripes[45:47][BRAIN[45:47]] = 100  # a sheet, 10 voxels from the centre, 2 beyond the surface
    stripes[20][BRAIN[20]] = 40
    painted, _ = paint(stripes, BRAIN, Lesion(CENTRE, 16, 0.0, swelling=0.3, calm=0.0, seed=3))
    before, after = (np.average(np.arange(40, 55), weights=v[40:55, 40, 30] - 50) for v in (stripes, painted))
    assert 0.5 < after - before < 4
    np.testing.assert_array_equal(painted[:8], stripes[:8])  # far away nothing moves


def test_the_air_stays_as_it_is() -> None:
    painted, mask = paint(VALUES, BRAIN, Lesion((35.0, 8.0, 30.0), 20, 0.5))
    assert not painted[~BRAIN].any()
    assert not mask[~BRAIN].any()


def test_lesions_are_drawn_in_tissue_apart_from_each_other() -> None:
    values = VALUES.copy()
    values[30:40, 30:50, 25:35] = 5  # a ventricle
    rng = np.random.default_rng(1)
    drawn: list[Lesion] = []
    for _ in range(6):
        drawn.append(draw_lesion(values, BRAIN, 8, rng, away_from=drawn))
        x, y, z = (round(at) for at in drawn[-1].centre)
        assert values[x, y, z] > 20
        assert 0.3 <= abs(drawn[-1].shift) <= 0.6
    centres = np.array([one.centre for one in drawn])
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)[~np.eye(6, dtype=bool)]
    assert apart.min() > 12
    assert len({one.shift > 0 for one in drawn}) == 2


def test_the_same_seed_draws_the_same() -> None:
    one, other = (draw_lesion(VALUES, BRAIN, 12, np.random.default_rng(5)) for _ in range(2))
    assert one == other


def test_no_room() -> None:
    with pytest.raises(ConfigError, match="take a smaller one"):
        draw_lesion(VALUES, BRAIN, 200, np.random.default_rng(0))


def test_a_recurring_lesion_lies_at_the_corresponding_place() -> None:
    lesion = Lesion((20.0, 30.0, 40.0), 12, -0.4, seed=9)
    same = moved(lesion, Box((0, 0, 0), (40, 60, 80)), Box((10, 0, 0), (90, 30, 80)), by=(1, 0, 0))
    assert same.centre == (51.0, 15.0, 40.0)
    assert (same.across, same.shift, same.seed) == (12, -0.4, 9)
