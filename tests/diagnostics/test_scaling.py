"""Growth rates and the line through them: by hand, on the model, and with what spoils a logarithm."""

from __future__ import annotations

import numpy as np
import pytest
from power_law import plant, rows, table

from blemish.diagnostics.sample import sample
from blemish.diagnostics.scaling import FLOOR, fit_power_law, growth_rates, last_rank, pooled_rates


def rates_of(distances: np.ndarray) -> np.ndarray:
    return growth_rates(sample(rows(distances), len(distances), distances.shape[2]).d)


def test_growth_rates_by_hand() -> None:
    d = np.array([[0.1, 0.2, 0.2, 0.8], [0.0, 0.0, FLOOR, 10 * FLOOR]], np.float32)
    expected = [[np.log(2), 0, np.log(4)], [0, 0, np.log(10)]]  # below the floor all are alike
    np.testing.assert_allclose(growth_rates(d), expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [2.0, 6.0, 15.0])
def test_the_model_gives_its_own_line(alpha: float) -> None:
    curve = pooled_rates(rates_of(table(60, 200, alpha=alpha)))
    law = fit_power_law(curve, 20)
    assert law is not None
    assert law.exponent == pytest.approx(-1, abs=0.03)
    assert np.exp(-law.intercept) == pytest.approx(alpha, rel=0.05)  # at rank 1 the rate is 1 / alpha
    assert law.r2 > 0.995
    assert (law.first, law.last) == (1, 20)


def test_a_recurring_flaw_does_not_bend_the_curve() -> None:
    distances = table(60, 100)
    plain = pooled_rates(rates_of(distances))
    plant(distances, list(range(12)), 30)  # 6 % of all tokens jump at rank 11
    rates = rates_of(distances)
    assert rates[:, 10].mean() > 2 * plain[10]  # the mean is moved, hence the median
    np.testing.assert_allclose(pooled_rates(rates)[10], plain[10], rtol=0.15)


def test_a_line_is_found_exactly() -> None:
    curve = 0.5 * np.arange(1, 31) ** -0.8
    law = fit_power_law(curve, 12, first=3)
    assert law is not None
    assert (law.first, law.last) == (3, 12)
    np.testing.assert_allclose([law.exponent, np.exp(law.intercept), law.r2], [-0.8, 0.5, 1])


def test_what_is_no_power_law_has_a_low_r2() -> None:
    law = fit_power_law(np.array([0.1, 0.3, 0.1, 0.3, 0.1, 0.3]), 6)
    assert law is not None
    assert law.r2 < 0.3


def test_a_flat_curve_explains_nothing() -> None:
    law = fit_power_law(np.full(8, 0.25), 8)
    assert law is not None
    assert (law.exponent, law.r2) == (pytest.approx(0), 0)


def test_tied_ranks_are_left_out() -> None:
    curve = 1 / np.arange(1, 11)
    curve[[0, 4]] = 0
    law = fit_power_law(curve, 10)
    assert law is not None
    assert law.first == 2
    assert law.exponent == pytest.approx(-1)


@pytest.mark.parametrize("curve", [[], [0.5, 0.25, 0.1], [0.0] * 10, [0.5, 0.0, 0.3, 0.0, 0.1]])
def test_fewer_than_four_ranks_are_no_line(curve: list[float]) -> None:
    assert fit_power_law(np.array(curve), 10) is None


# images, omega, last rank of the fit
@pytest.mark.parametrize(
    ("images", "omega", "last"),
    [
        (200, 60, 59),  # up to where burn-out looks
        (20, 6, 8),  # a small batch has more ranks than that
        (8, 2, 6),  # but not more than B - 2
    ],
)
def test_last_rank(images: int, omega: int, last: int) -> None:
    assert last_rank(images, omega) == last
