"""Tokens compared near their own place: the same as looking everywhere in the window, whatever the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import ConfigError
from blemish.matching import nearby_pairs
from blemish.matching.nearby import match_nearby
from blemish.matching.store import Budget
from token_batches import PLENTY, SCRATCH, Tables, assert_same_bits, clustered_tokens, stored, tables, unit, unit_tokens

GRIDS = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
)


def found(z: np.ndarray, grid: tuple[int, ...], radius: int, *, memory: int = PLENTY, **options: Any) -> Tables:
    table = match_nearby(stored(z), grid, Budget(memory, SCRATCH), radius=radius, **options)
    everybody = range(len(z))
    return Tables(np.stack([table.row(i) for i in everybody]), np.stack([table.index(i) for i in everybody]))


def by_definition(z: np.ndarray, grid: tuple[int, ...], radius: int, inside: np.ndarray) -> Tables:
    """Every token against every other, one by one."""
    images, count, _ = z.shape
    places = np.stack(np.unravel_index(np.arange(count), grid), axis=1)
    near = (np.abs(places[:, None] - places[None]) <= radius).all(axis=2)
    expected = Tables(np.zeros((images, images, count), np.float32), np.zeros((images, images, count), int))
    for i in range(images):
        for j in range(images):
            difference = z[i][:, None] - z[j][None]
            apart = np.sqrt((difference.astype(np.float64) ** 2).sum(axis=2))
            allowed = near & inside[j]
            allowed[~allowed.any(axis=1)] = inside[j]
            apart[~allowed] = np.inf
            expected.distances[i, j] = np.where(inside[i], apart.min(axis=1), 0)
            expected.index[i, j] = apart.argmin(axis=1)
        expected.distances[i, i] = np.inf
    return expected


def brain(images: int, count: int, seed: int, share: float = 0.6) -> np.ndarray:
    inside = np.random.default_rng(seed).random((images, count)) < share
    inside[:, seed % count] = True
    return inside


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(0, 5), st.integers(0, 1000), st.booleans())
def test_it_is_what_looking_at_every_token_of_the_window_finds(
    grid: tuple[int, ...], radius: int, seed: int, masked: bool
) -> None:
    z = unit_tokens(3, int(np.prod(grid)), 5, seed)
    inside = brain(3, z.shape[1], seed) if masked else np.ones(z.shape[:2], bool)
    expected = by_definition(z, grid, radius, inside)
    distances, index = found(z, grid, radius, inside=inside if masked else None)
    np.testing.assert_allclose(distances, expected.distances, rtol=2e-6)
    for i in range(3):
        for j in {0, 1, 2} - {i}:
            np.testing.assert_array_equal(index[i, j][inside[i]], expected.index[i, j][inside[i]])


@pytest.mark.parametrize("grid", [(6, 7), (4, 5, 3)])
def test_a_radius_as_large_as_the_grid_is_the_engine(grid: tuple[int, ...]) -> None:
    z = clustered_tokens(4, int(np.prod(grid)), 24, 0.3)
    distances, index = tables(z)
    near = found(z, grid, max(grid))
    np.testing.assert_allclose(near.distances, distances, rtol=2e-6)
    between = ~np.eye(4, dtype=bool)
    np.testing.assert_array_equal(near.index[between], index[between])


def test_a_batch_in_another_order_finds_the_same() -> None:
    z, inside = clustered_tokens(5, 64, 12, 0.1), brain(5, 64, 0)
    order = np.array([3, 0, 4, 2, 1])
    straight = found(z, (4, 4, 4), 1, inside=inside)
    turned = found(z[order], (4, 4, 4), 1, inside=inside[order])
    assert_same_bits(turned, Tables(*(values[np.ix_(order, order)] for values in straight)))


def test_memory_and_the_size_of_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    z, inside = clustered_tokens(3, 7 * 6 * 5, 16, 0.05), brain(3, 210, 1)
    plenty = found(z, (7, 6, 5), 2, inside=inside)
    for name, values in {"CELLS": (2, 3, 8), "PROPOSED": (0, 1), "TOGETHER": (16, 100), "ANYWHERE": (1, 300)}.items():
        for value in values:
            with monkeypatch.context() as patched:
                patched.setattr(nearby_pairs, name, value)
                assert_same_bits(found(z, (7, 6, 5), 2, inside=inside), plenty)


def test_a_table_that_does_not_fit_goes_to_a_file() -> None:
    z = clustered_tokens(66, 125, 4, 0.1)
    assert_same_bits(found(z, (5, 5, 5), 1, memory=2**22), found(z, (5, 5, 5), 1))


def test_threads_change_no_bit() -> None:
    z, inside = clustered_tokens(6, 216, 16, 0.05), brain(6, 216, 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = found(z, (6, 6, 6), 2, inside=inside)
        torch.set_num_threads(4)
        assert_same_bits(found(z, (6, 6, 6), 2, inside=inside), alone)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_copies_are_no_distance_away_and_of_equal_tokens_the_first_counts() -> None:
    z = np.repeat(unit_tokens(1, 1, 8), 27, axis=1).repeat(2, axis=0)
    distances, index = found(z, (3, 3, 3), 1)
    assert not distances[0, 1].any()
    assert index[0, 1, 0] == 0 and index[0, 1, 26] == 13


def test_nearly_equal_tokens_are_told_apart() -> None:
    """A product in float32 cannot: the nearest is one of many at a ten-thousandth."""
    rng = np.random.default_rng(0)
    base = unit_tokens(1, 1, 32)[0, 0]
    z = unit(base + 1e-4 * rng.normal(size=(2, 27, 32)) / 32**0.5)
    z[1] = z[0][rng.permutation(27)]
    distances, _ = found(z, (3, 3, 3), 3)
    assert not distances[0, 1].any() and not distances[1, 0].any()


def test_outside_of_the_brain() -> None:
    z, inside = unit_tokens(3, 125, 6), np.zeros((3, 125), bool)
    inside[:, :30] = True
    inside[0, 120] = True  # where the others have nothing near
    distances, index = found(z, (5, 5, 5), 1, inside=inside)
    assert not distances[0, 1][~inside[0]].any() and np.isinf(distances[0, 0]).all()
    apart = np.linalg.norm(z[1, :30] - z[0, 120], axis=1)
    assert distances[0, 1, 120] == pytest.approx(apart.min()) and index[0, 1, 120] == apart.argmin()
    changed = z.copy()
    changed[~inside] = 0  # whatever is there
    assert_same_bits(found(changed, (5, 5, 5), 1, inside=inside), Tables(distances, index))


def test_pairs_are_counted() -> None:
    told: list[int] = []
    found(unit_tokens(4, 8, 3), (2, 2, 2), 1, progress=told.append)
    assert sum(told) == 6


# what is asked for, and what the error says
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (3, 3)}, "9 cells; received 8"),
        ({"radius": -1}, "0 or more"),
        ({"inside": np.ones((2, 7), bool)}, "3 volumes and 8 tokens"),
        ({"inside": np.arange(24).reshape(3, 8) > 7}, "Volume 1 has no token inside"),
        ({"memory": 10}, "--memory"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        found(unit_tokens(3, 8, 3), **{"grid": (2, 2, 2), "radius": 1, **options})
