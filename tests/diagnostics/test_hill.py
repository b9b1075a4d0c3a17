"""The tail index: Hill's formula, its bias, the plateau, and what must not move it."""

from __future__ import annotations

import numpy as np
import pytest
from power_law import plant, rows, table

from blemish.diagnostics.hill import HillCurve, hill_curve, hill_estimates, plateau, robust_alpha
from blemish.diagnostics.sample import sample
from blemish.diagnostics.scaling import growth_rates


def rates_of(distances: np.ndarray) -> np.ndarray:
    return growth_rates(sample(rows(distances), len(distances), distances.shape[2]).d)


def test_the_estimate_is_hills() -> None:
    d = np.sort(np.random.default_rng(0).uniform(0.1, 1, (3, 12)).astype(np.float32), axis=1)
    for k in (2, 5, 10):
        by_hand = 1 / np.log(d[:, k, None] / d[:, :k]).mean(axis=1) * (k - 1) / k
        np.testing.assert_allclose(hill_estimates(growth_rates(d), np.array([k]))[:, 0], by_hand, rtol=1e-5)


@pytest.mark.parametrize("k", [5, 10, 30])
def test_the_mean_estimate_is_unbiased(k: int) -> None:
    estimates = hill_estimates(rates_of(table(60, 200)), np.array([k]))
    assert estimates.mean() == pytest.approx(6, rel=0.025)
    assert estimates.mean() * k / (k - 1) > 6.1  # and would not be without its correction


@pytest.mark.parametrize("alpha", [2.0, 6.0, 15.0])
def test_the_curve_is_level_on_the_model(alpha: float) -> None:
    curve = hill_curve(rates_of(table(60, 200, alpha=alpha)), 30)
    assert (curve.k[0], curve.k[-1]) == (2, 30)
    np.testing.assert_allclose(curve.alpha, alpha, rtol=0.04)
    assert all(low < middle < high for low, middle, high in zip(curve.low, curve.alpha, curve.high, strict=True))
    level = plateau(curve)
    assert level is not None
    assert (level.first, level.last) == (2, 30)
    assert level.alpha == pytest.approx(alpha, rel=0.02)


def test_the_plateau_is_the_level_part() -> None:
    alpha = (12.0, 9.0, 6.1, 6.0, 5.9, 6.0, 4.0, 3.0)
    level = plateau(HillCurve((2, 3, 4, 6, 8, 12, 16, 20), alpha, alpha, alpha))
    assert level is not None
    assert (level.first, level.last, level.alpha) == (4, 12, 6.0)


def test_a_falling_curve_has_no_plateau() -> None:
    k = tuple(range(2, 40))
    falling = tuple(20 / each for each in k)
    assert plateau(HillCurve(k, falling, falling, falling)) is None


def test_a_recurring_flaw_does_not_move_the_index() -> None:
    distances = table(60, 100)
    before = robust_alpha(rates_of(distances), 18)
    plant(distances, list(range(12)), 30)  # 6 % of all tokens
    rates = rates_of(distances)
    after = robust_alpha(rates, 18)
    assert before == pytest.approx(6, rel=0.03)
    assert after == pytest.approx(before, rel=0.05)
    assert 1 / (rates[:, :17] * np.arange(1, 18)).mean() < 4.5  # the plain mean is moved
    assert hill_curve(rates, 30).alpha[-1] == pytest.approx(6, rel=0.1)


def test_copies_leave_no_index() -> None:
    assert robust_alpha(np.zeros((10, 6)), 4) is None
    assert hill_curve(np.zeros((10, 6)), 6) == HillCurve((), (), (), ())
    assert plateau(HillCurve((), (), (), ())) is None


def test_values_of_k_at_which_many_tokens_tie_are_left_out() -> None:
    rates = rates_of(table(20, 100))
    rates[:600, :3] = 0  # 30 % of the tokens have four equal best matches
    assert hill_curve(rates, 10).k[0] == 4


@pytest.mark.parametrize("k", [1, 7])
def test_k_outside_the_ranks(k: int) -> None:
    with pytest.raises(ValueError, match="between 2 and 6"):
        hill_estimates(np.ones((4, 6)), np.array([k]))
