"""Quantiles of what is known: numpy's own where everything is, and numpy's slow ones where NaN stands for the rest."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.scoring.families.known import median, quantile

RNG = np.random.default_rng(0)
WHOLE = RNG.normal(size=(9, 7)).astype(np.float32)
HOLES = np.where(RNG.random((9, 7)) < 0.4, np.float32(np.nan), WHOLE)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("share", [0.75, [0.16, 0.5]])
def test_without_gaps_it_is_numpy_to_the_bit(axis: int | None, share: float | list[float]) -> None:
    np.testing.assert_array_equal(quantile(WHOLE, share, axis), np.quantile(WHOLE, share, axis=axis))
    np.testing.assert_array_equal(median(WHOLE, axis), np.median(WHOLE, axis=axis))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("share", [0.75, [0.16, 0.5], 0.0, 1.0])
def test_with_gaps_it_is_the_quantile_of_the_rest(axis: int | None, share: float | list[float]) -> None:
    np.testing.assert_allclose(quantile(HOLES, share, axis), np.nanquantile(HOLES, share, axis=axis), rtol=1e-6)
    np.testing.assert_allclose(median(HOLES, axis), np.nanmedian(HOLES, axis=axis), rtol=1e-6)


def test_where_nothing_is_known_nothing_is_said() -> None:
    nothing = HOLES.copy()
    nothing[:, 2] = np.nan
    found = quantile(nothing, 0.5, 0)
    assert np.isnan(found[2]) and np.isfinite(np.delete(found, 2)).all()
    assert np.isnan(median(np.full(3, np.nan)))
