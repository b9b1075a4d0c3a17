"""Masks on grids of two and three sides: carried over, grown, shrunk, and without their rim."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.scoring.families.grids import core, grown, inner, on_grid, touching


def masks(grid: tuple[int, ...]) -> np.ndarray:
    """(3, N), the last of them empty."""
    drawn = np.random.default_rng(0).random((3, int(np.prod(grid)))) < 0.15
    drawn[2] = False
    return drawn


@pytest.mark.parametrize(("source", "target"), [((4, 6), (7, 3)), ((4, 3, 5), (2, 6, 7)), ((2, 2, 2), (5, 5, 5))])
def test_a_token_of_the_other_grid_that_touches_a_chosen_one(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    tokens = masks(source)
    found = on_grid(tokens, source, target).reshape(3, *target)
    for cell in np.ndindex(*target):
        reach = tuple(
            slice(at * own // there, -(-(at + 1) * own // there))
            for at, own, there in zip(cell, source, target, strict=True)
        )
        np.testing.assert_array_equal(
            found[:, *cell], tokens.reshape(3, *source)[:, *reach].any(axis=(*range(1, len(source) + 1),))
        )


@pytest.mark.parametrize("grid", [(7, 8), (5, 6, 5)])
def test_grown_reaches_all_neighbours_and_core_takes_them_back(grid: tuple[int, ...]) -> None:
    tokens = masks(grid)
    wide = grown(tokens, grid, grid)
    places = np.stack(np.unravel_index(np.arange(tokens.shape[1]), grid), axis=1)
    near = (np.abs(places[:, None] - places[None]) <= 1).all(axis=2)
    np.testing.assert_array_equal(wide, (tokens[:, None] & near).any(axis=2))
    one = np.zeros(grid, bool)
    one[(slice(2, 3),) * len(grid)] = True
    one = one.reshape(1, -1)
    np.testing.assert_array_equal(core(grown(one, grid, grid), grid), one)
    np.testing.assert_array_equal(core(one, grid), one)  # it would vanish


def test_inner_leaves_the_outermost_out() -> None:
    assert inner((4, 5)).sum() == 2 * 3
    assert inner((4, 5, 6)).sum() == 2 * 3 * 4
    assert not inner((2, 9, 9)).any()


@pytest.mark.parametrize(("grid", "neighbours"), [((3, 3), 9), ((2, 5, 7), 27)])
def test_all_that_touch_belong_together(grid: tuple[int, ...], neighbours: int) -> None:
    assert touching(grid).sum() == neighbours and touching(grid).ndim == len(grid)
