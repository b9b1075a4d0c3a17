"""Who is sent to a person: the doubtful ones, never many, and along with the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.verdict.rejection import Band

SCORES = np.linspace(2.0, 1.0, 41)  # most anomalous first, as everywhere
RISING = 1 / (1 + np.exp(-12 * (SCORES - 1.5)))  # probability of a defect: even at 1.5
EVERYONE = np.ones(len(SCORES), bool)


def scores_of(rows: np.ndarray) -> np.ndarray:
    return SCORES[rows]


@given(
    threshold=st.floats(0, 3),
    most=st.integers(0, 50),
    seed=st.integers(0, 99),
)
def test_never_more_than_allowed_and_never_the_settled(threshold: float, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    open_ = rng.uniform(size=len(SCORES)) < 0.7
    found = Band(SCORES, rng.uniform(size=len(SCORES)), open_).unsure(threshold, most)
    assert len(found) <= most
    assert len(set(found.tolist())) == len(found)
    assert found.tolist() == sorted(found.tolist())
    assert open_[found].all()


def test_nobody_where_the_case_is_clear() -> None:
    assert len(Band(SCORES, np.full(41, 1e-6), EVERYONE).unsure(2.1, 41)) == 0, "clean"
    half = np.where(SCORES > 1.51, 1.0, 0.0)
    assert len(Band(SCORES, half, EVERYONE).unsure(1.5125, 41)) == 0, "half of them defective, a gap between"


def test_the_doubtful_ones_are_those_around_the_threshold() -> None:
    found = Band(SCORES, RISING, EVERYONE).unsure(1.5, 6)
    assert len(found) == 6
    assert np.abs(scores_of(found) - 1.5).max() < 0.12


def test_a_photo_that_its_score_does_not_explain_is_doubtful() -> None:
    """The other detectors believe in a defect that the score hardly shows."""
    defective = np.where(SCORES > 1.7, 0.999, 1e-4)
    defective[35] = 0.45
    assert 35 in Band(SCORES, defective, EVERYONE).unsure(1.7125, 4)


@pytest.mark.parametrize(("low", "high"), [(1.3, 1.5), (1.5, 1.7), (1.2, 1.8)])
def test_a_threshold_that_is_moved_takes_the_band_along(low: float, high: float) -> None:
    band = Band(SCORES, RISING, EVERYONE)
    below, above = (scores_of(band.unsure(threshold, 5)) for threshold in (low, high))
    assert len(below) == len(above) == 5
    assert np.mean(above) - np.mean(below) == pytest.approx(high - low, abs=0.1)


@pytest.mark.parametrize("threshold", [-1.0, 0.999, 2.0, 9.0])
def test_a_threshold_beyond_all_photos_is_no_error(threshold: float) -> None:
    found = Band(SCORES, RISING, EVERYONE).unsure(threshold, 4)
    assert len(found) <= 4


def test_a_threshold_far_above_a_clean_batch_leaves_nobody_in_doubt() -> None:
    assert len(Band(SCORES, np.full(41, 1e-5), EVERYONE).unsure(9.0, 10)) == 0


def test_where_everybody_is_settled_nobody_is_asked_about() -> None:
    assert len(Band(SCORES, RISING, ~EVERYONE).unsure(1.5, 10)) == 0


def test_equal_scores_are_no_error() -> None:
    found = Band(np.ones(10), np.full(10, 0.4), np.ones(10, bool)).unsure(1.0, 3)
    assert len(found) <= 3
