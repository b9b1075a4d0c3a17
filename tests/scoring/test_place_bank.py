"""Banks that know places: the distances that two volumes have by the engine, and what is kept of many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish.matching.nearby import match_nearby
from blemish.matching.store import ArrayStore, Budget
from blemish.scoring.place_bank import Placed, nearest_nearby, thinned_by_place
from token_batches import unit

GRID = (9, 6, 7)
CELLS = 9 * 6 * 7


def volumes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (B, N, C) and which of them count; outside of the mask they are 0."""
    rng = np.random.default_rng(seed)
    inside = rng.random((count, CELLS)) < 0.7
    return unit(rng.normal(size=(count, CELLS, 12))).astype(np.float32) * inside[:, :, None], inside


def placed(tokens: np.ndarray, inside: np.ndarray) -> Placed:
    cells = np.flatnonzero(inside)
    return Placed(tokens[cells], cells.astype(np.int32))


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
def test_as_the_engine_has_it(radius: int, tmp_path: Path) -> None:
    """To the rounding of a product, also where nothing lies within the radius."""
    tokens, inside = volumes(3)
    store = ArrayStore(tokens.shape, np.float32)
    store.write(0, tokens)
    table = match_nearby(store, GRID, Budget(2**28, tmp_path), radius=radius, inside=inside)
    for other in (1, 2):
        found = nearest_nearby(
            tokens[0].reshape(*GRID, -1), inside[0].reshape(GRID), placed(tokens[other], inside[other]), radius
        )
        np.testing.assert_allclose(found.reshape(-1), table.row(0)[other], atol=1e-3)


def test_a_bank_of_many_is_the_nearest_of_each() -> None:
    tokens, inside = volumes(4)
    grid, counted = tokens[0].reshape(*GRID, -1), inside[0].reshape(GRID)
    banks = [placed(tokens[other], inside[other]) for other in (1, 2, 3)]
    each = [nearest_nearby(grid, counted, bank, 9) for bank in banks]
    np.testing.assert_allclose(nearest_nearby(grid, counted, Placed.joined(banks), 9), np.min(each, axis=0), atol=1e-6)
    anywhere = nearest_nearby(grid, counted, Placed.joined(banks), -1)
    np.testing.assert_allclose(anywhere, np.min(each, axis=0), atol=1e-6)
    assert not anywhere[~counted].any()


def test_the_order_of_a_bank_changes_nothing() -> None:
    tokens, inside = volumes(2)
    bank = placed(tokens[1], inside[1])
    turned = bank.taken(np.random.default_rng(1).permutation(len(bank.at)))
    grid, counted = tokens[0].reshape(*GRID, -1), inside[0].reshape(GRID)
    np.testing.assert_allclose(
        nearest_nearby(grid, counted, turned, 1), nearest_nearby(grid, counted, bank, 1), atol=1e-6
    )


def test_no_cell_keeps_more_than_its_share() -> None:
    rng = np.random.default_rng(0)
    at = rng.integers(0, 5, 60).astype(np.int32)
    bank = Placed(unit(rng.normal(size=(60, 8))).astype(np.float32), at)
    kept = thinned_by_place(bank, 4)
    assert (np.diff(kept) > 0).all()
    assert np.bincount(at[kept], minlength=5).tolist() == np.minimum(np.bincount(at, minlength=5), 4).tolist()
    assert thinned_by_place(bank, 60).tolist() == list(range(60))
