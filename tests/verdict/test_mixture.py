"""One way of scoring as a mixture: what it must say whatever its constants are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.verdict import mixture
from blemish.verdict.detectors import MAP_SPREAD
from blemish.verdict.mixture import Fit, fit
from scores import CENTRE, logs

# what is known of the spread of good photos
SPREADS = pytest.mark.parametrize("usual", [MAP_SPREAD, None])


def share(found: Fit, at: float) -> float:
    """A quantile of the share's posterior."""
    order = np.argsort(found.shares)
    below = np.cumsum(found.share_weights[order])
    return float(found.shares[order][min(int(np.searchsorted(below, at)), len(order) - 1)])


def alarms(found: Fit, thresholds: np.ndarray) -> np.ndarray:
    """(T,) expected share of good photos above each."""
    return np.asarray(found.weights @ found.false_alarms(thresholds))


@settings(max_examples=25)
@given(order=st.permutations(range(30)), usual=st.sampled_from([MAP_SPREAD, None]))
def test_the_order_of_the_photos_means_nothing(order: list[int], usual: float | None) -> None:
    values = logs(26, 4)
    np.testing.assert_allclose(fit(values[order], usual).defective, fit(values, usual).defective[order], atol=1e-9)


@settings(max_examples=25)
@given(
    values=st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=40),
    usual=st.sampled_from([MAP_SPREAD, None]),
)
def test_any_values_give_probabilities_that_rise_with_them(values: list[float], usual: float | None) -> None:
    given_values = np.array(values)
    found = fit(given_values, usual)
    rising = found.defective[np.argsort(given_values, kind="stable")]
    assert np.isfinite(found.defective).all()
    assert ((rising >= 0) & (rising <= 1 + 1e-9)).all()
    assert (np.diff(rising) >= 0).all()
    for weights in (found.weights, found.share_weights):
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1)
    assert ((found.shares >= 0) & (found.shares <= 1)).all()
    rates = found.false_alarms(np.linspace(-4, 4, 50))
    assert ((rates >= 0) & (rates <= 1)).all()
    assert (np.diff(rates, axis=1) <= 1e-12).all(), "a higher threshold has no more false alarms"


@SPREADS
@pytest.mark.parametrize("moved", [-7.0, 0.3, 40.0])
def test_where_zero_lies_means_nothing(usual: float | None, moved: float) -> None:
    values = logs(40, 6)
    here, there = fit(values, usual), fit(values + moved, usual)
    np.testing.assert_allclose(there.defective, here.defective, atol=1e-5)
    assert there.typical[0] - here.typical[0] == pytest.approx(moved, abs=1e-5)


@pytest.mark.parametrize("unit", [1e-4, 0.01, 30.0, 1e5])
def test_without_a_usual_spread_the_unit_means_nothing(unit: float) -> None:
    values = logs(40, 6)
    here, there = fit(values, None), fit(unit * values, None)
    np.testing.assert_allclose(there.defective, here.defective, atol=1e-5)
    assert there.typical[1] == pytest.approx(unit * here.typical[1], rel=1e-5)


@SPREADS
@pytest.mark.parametrize("photos", [3, 10, 300, 2_000])
def test_photos_that_all_score_the_same_are_good(usual: float | None, photos: int) -> None:
    found = fit(np.full(photos, -1.3), usual)
    assert found.defective.max() < 0.05
    assert share(found, 0.95) < 0.05
    assert found.typical[0] == pytest.approx(-1.3, abs=0.05)
    assert alarms(found, np.array([0.0]))[0] < 0.01


# photos taken twice, of a hundred
@pytest.mark.parametrize("copies", [2, 6, 20])
def test_copies_that_score_next_to_nothing_are_no_evidence(copies: int) -> None:
    values = logs(100, 5)
    with_copies = np.concatenate([values, np.full(copies, CENTRE - 7.0)])
    alone, found = fit(values, MAP_SPREAD), fit(with_copies, MAP_SPREAD)
    assert found.defective[-copies:].max() < 0.01, "they are not defective"
    np.testing.assert_allclose(found.defective[: len(values)], alone.defective, atol=0.1)
    assert found.typical[0] == pytest.approx(alone.typical[0], abs=MAP_SPREAD / 2)


@SPREADS
def test_three_photos_are_certain_of_nothing(usual: float | None) -> None:
    found = fit(np.array([-1.0, -0.95, -0.4]), usual)
    assert np.isfinite(found.defective).all()
    assert share(found, 0.95) - share(found, 0.05) > 0.05


@pytest.mark.parametrize("bad", [0, 30, 600])
def test_thousands_of_photos_are_grouped_without_another_answer(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = logs(5_000 - bad, bad)
    grouped = fit(values, MAP_SPREAD)
    monkeypatch.setattr(mixture, "POINTS", 2_000)
    finer = fit(values, MAP_SPREAD)
    assert grouped.typical == pytest.approx(finer.typical, abs=MAP_SPREAD / 5)
    assert share(grouped, 0.5) == pytest.approx(share(finer, 0.5), abs=0.01)
    assert float(np.abs(grouped.defective - finer.defective).mean()) < 0.005
    assert grouped.defective.sum() == pytest.approx(bad, abs=0.1 * bad + 5)


@SPREADS
@pytest.mark.parametrize("seed", range(4))
def test_well_separated_defects_are_counted(usual: float | None, seed: int) -> None:
    found = fit(logs(80, 20, seed=seed), usual)
    assert share(found, 0.05) <= 0.2 <= share(found, 0.95) + 0.003  # shares are told apart in steps
    assert found.defective[80:].min() > 0.5
    assert found.defective[:80].mean() < 0.02


@SPREADS
def test_clean_batches_are_clean(usual: float | None) -> None:
    called = [fit(logs(100, seed=seed), usual).defective > 0.5 for seed in range(20)]
    assert float(np.mean(called)) < 0.005


def test_half_of_the_photos_may_be_equal() -> None:
    """Say a synthetic or a saturated batch: the others still have something to say."""
    values = np.concatenate([np.full(30, 0.2), logs(20, 3) - CENTRE + 0.2])
    found = fit(values, MAP_SPREAD)
    assert found.defective[-3:].min() > 0.5
    assert np.isfinite(found.false_alarms(np.linspace(-1, 2, 9))).all()


@pytest.mark.parametrize("photos", [200, 3000])
def test_the_interval_of_false_alarms_narrows_and_stays_true_as_a_batch_grows(photos: int) -> None:
    held, widths = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        normal, skew = rng.normal(size=photos), 0.22  # between two skews of the first grid
        values = np.expm1(skew * normal) / skew * 0.065
        values[: photos // 30] = 0.065 * rng.gamma(3, 4, photos // 30)
        found = fit(values, 0.065)
        threshold = 0.065 * np.expm1(skew * 2.5) / skew
        rates = found.false_alarms(np.array([threshold]))[:, 0]
        order = np.argsort(rates)
        below = np.cumsum(found.weights[order])
        low, high = (rates[order][int(np.searchsorted(below, end))] for end in (0.05, 0.95))
        held.append(low <= 0.00621 <= high)  # of a normal distribution beyond 2.5 deviations
        widths.append(high - low)
    assert sum(held) >= 4
    assert np.mean(widths) < (0.03 if photos == 200 else 0.008)
