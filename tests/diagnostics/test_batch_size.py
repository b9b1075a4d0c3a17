"""Thinning out the batch: where the power law ends, and that the model never does."""

from __future__ import annotations

import numpy as np
import pytest
from power_law import rows, table

from blemish.diagnostics.batch_size import BatchRow, smallest_batch, thin_out
from blemish.diagnostics.sample import sample, sub_batch
from blemish.diagnostics.scaling import fit_power_law, growth_rates, pooled_rates


def test_the_model_holds_at_every_size() -> None:
    found = thin_out(sample(rows(table(48, 400)), 48, 400), 14)
    assert [row.batch for row in found] == [48, 24, 12, 6]
    for row in found:
        assert row.r2 is not None and row.r2 > 0.97
        assert row.exponent == pytest.approx(-1, abs=0.1)
        assert row.alpha == pytest.approx(6, rel=0.05)
    assert smallest_batch(found) == 6


def crowded(images: int, tokens: int) -> np.ndarray:
    """One match in six is close and follows the power law; the others all lie at about one distance."""
    rng = np.random.default_rng(3)
    distances = table(images, tokens, scale=0.5)
    far = rng.random(distances.shape) > 1 / 6
    distances[far] = rng.uniform(0.99, 1.0, int(far.sum()))
    distances[np.arange(images), np.arange(images)] = np.inf
    return distances


def test_a_law_of_the_close_matches_only_ends_with_small_batches() -> None:
    found = thin_out(sample(rows(crowded(120, 100)), 120, 100), 12)
    assert found[0].r2 is not None and found[0].r2 > 0.95
    assert found[-1].r2 is not None and found[-1].r2 < 0.95
    assert smallest_batch(found) == found[-2].batch  # it ends with the first size that fails
    assert found[-1].batch > 6


def test_the_ranks_stay_in_proportion() -> None:
    """Half of the batch has half as many close matches: fitted to the same share of them, the law still holds."""
    drawn = sample(rows(crowded(160, 60)), 160, 60)
    found = thin_out(drawn, 22)
    assert [row.r2 is not None and row.r2 > 0.95 for row in found[:2]] == [True, True]
    half = growth_rates(sub_batch(drawn, 80, size=4000, seed=0))
    beyond = fit_power_law(pooled_rates(half), 21)
    assert beyond is not None and beyond.r2 < 0.95  # as it would not, to the same number


def test_the_order_of_the_batch_changes_nothing() -> None:
    distances = crowded(40, 30)
    order = np.random.default_rng(1).permutation(40)
    straight = thin_out(sample(rows(distances), 40, 30), 6)
    turned = thin_out(sample(rows(distances[np.ix_(order, order)]), 40, 30), 6)
    for one, other in zip(straight, turned, strict=True):
        assert one.batch == other.batch
        assert one.r2 == pytest.approx(other.r2, rel=1e-9)


def test_nothing_is_said_of_five_photos() -> None:
    assert thin_out(sample(rows(table(5, 20)), 5, 20), 2) == ()
    assert smallest_batch(()) is None


def test_copies_hold_nowhere() -> None:
    distances = np.zeros((12, 12, 5), np.float32)
    found = thin_out(sample(rows(distances), 12, 5), 4)
    assert found == (BatchRow(12, None, None, None),)
    assert smallest_batch(found) is None
