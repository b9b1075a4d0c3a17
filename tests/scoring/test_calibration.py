"""The line from frozen distances to the batch's scores: what it must recover, and what must not bend it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blemish.errors import ConfigError
from blemish.scoring.calibration import line_through

SPREAD = np.linspace(0.3, 0.5, 40)


def bent(places: slice, value: float) -> np.ndarray:
    y = 0.8 * SPREAD + 0.05
    y[places] = value
    return y


# frozen scores, batch scores, scale and offset expected
@pytest.mark.parametrize(
    ("frozen", "batch", "scale", "offset"),
    [
        (SPREAD, SPREAD, 1.0, 0.0),  # the same number
        (SPREAD, 0.8 * SPREAD + 0.05, 0.8, 0.05),
        (SPREAD, 30 * SPREAD - 12, 30.0, -12.0),  # standardised maps are no distances
        (SPREAD, bent(slice(36, 40), 5.0), 0.8, 0.05),  # four flaws that the batch sees far better
        (SPREAD, bent(slice(0, 4), -5.0), 0.8, 0.05),  # copies of a photo, which score nothing in a batch
        (SPREAD, SPREAD[::-1], 1.0, 0.0),  # no order in common: middle on middle, spread on spread
        (np.full(40, 0.4), np.full(40, 0.3), 1.0, -0.1),  # nothing differs: moved only
        (SPREAD, np.full(40, 0.3), 1.0, -0.1),  # nor here, and a frozen score must go on to mean something
        (np.array([0.2, 0.4]), np.array([0.1, 0.2]), 0.5, 0.0),  # two photos show no spread
        (np.array([0.4]), np.array([0.5]), 1.25, 0.0),
        (np.zeros(3), np.full(3, 0.2), 1.0, 0.2),  # three copies
    ],
)
def test_line(frozen: np.ndarray, batch: np.ndarray, scale: float, offset: float) -> None:
    line = line_through(frozen, batch)
    assert [line.scale, line.offset] == pytest.approx([scale, offset], abs=1e-6)


def test_noise_does_not_flatten_it() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0.4, 0.03, 400)
    noisy = true + rng.normal(0, 0.02, 400)
    line = line_through(noisy, true)
    assert np.polyfit(noisy, true, 1)[0] < 0.75  # a regression pulls every score to the middle
    threshold = float(np.quantile(true, 0.85))
    assert (line(noisy) > threshold).mean() == pytest.approx(0.15, abs=0.02)


def test_difference_is_that_of_half_of_the_photos() -> None:
    batch = SPREAD + np.where(np.arange(40) % 4 < 2, 0, np.where(np.arange(40) % 2, 0.01, -0.01))
    line = line_through(SPREAD, batch)
    assert 0.5 <= (np.abs(line(SPREAD) - batch) <= line.difference + 1e-12).mean() < 0.9


@example([2.2250738585e-313], 1.0, 1.0)  # next to nothing: the scale would be infinite
@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(0.1, 10), st.floats(-1, 1))
def test_it_keeps_the_order_and_is_finite(values: list[float], scale: float, offset: float) -> None:
    line = line_through(values, scale * np.array(values) + offset)
    assert line.scale > 0
    assert np.isfinite([line.scale, line.offset, line.difference]).all()


# frozen, batch
@pytest.mark.parametrize(
    ("frozen", "batch"),
    [
        ([], []),
        ([0.1, 0.2], [0.1]),  # not of the same photos
        ([0.1, np.nan], [0.1, 0.2]),
        ([[0.1, 0.2]], [[0.1, 0.2]]),  # maps
    ],
)
def test_what_is_no_pairs_of_scores(frozen: list[float], batch: list[float]) -> None:
    with pytest.raises(ConfigError, match="two finite scores a photo"):
        line_through(frozen, batch)
