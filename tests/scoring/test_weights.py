"""Weights of channels: what each strategy does where the answer is known, and what every one must keep."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.errors import ConfigError
from blemish.metrics.ranking import auroc
from blemish.scoring.weights import STRATEGIES, choose, separation, weighted

FAMILIES = ["rotate", "flip", "distort", "skew"] * 6
FLAWED = np.arange(24) % 8 < 4  # both kinds in every family


def copies(*informative: float, seed: int = 0) -> np.ndarray:
    """(24, S, 5) noise; a flawed copy stands out in each channel at one token by so much."""
    rng = np.random.default_rng(seed)
    channels = rng.normal(0, 1, (24, len(informative), 5)).astype(np.float32)
    channels[FLAWED, :, 2] += np.array(informative, np.float32)
    return channels


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weights_are_a_share_of_one(strategy: str) -> None:
    weights = choose(copies(3, 0, 1), FLAWED, FAMILIES, strategy, draws=200)
    assert weights.shape == (3,) and (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights, choose(copies(3, 0, 1), FLAWED, FAMILIES, strategy, draws=200))


# strategy, least weight of the only channel that tells anything, among three
@pytest.mark.parametrize(
    ("strategy", "least"),
    [
        ("monte-carlo", 0.5),
        ("normal", 0.5),
        ("student", 0.5),
        ("shrunk", 0.42),  # half-way back to a third
        ("left-out", 0.5),
    ],
)
def test_the_telling_channel_is_found(strategy: str, least: float) -> None:
    assert choose(copies(0, 4, 0), FLAWED, FAMILIES, strategy)[1] > least


def test_ties_lean_towards_uniform() -> None:
    """Every channel tells all copies apart, so that every draw is as good."""
    weights = choose(copies(90, 90, 90, 90), FLAWED, FAMILIES, "monte-carlo")
    np.testing.assert_allclose(weights, 0.25, atol=0.02)


def test_what_does_not_hold_in_a_left_out_family_is_not_believed() -> None:
    """One channel tells flawed copies in three families but is upside down in every one that is left out next."""
    channels = copies(0, 0, seed=1)
    turned = np.arange(24) % 4
    for family in range(4):
        of = turned == family
        channels[FLAWED & of, family % 2, 2] += 9
        channels[~FLAWED & of, 1 - family % 2, 2] += 9
    np.testing.assert_allclose(choose(channels, FLAWED, FAMILIES, "left-out", draws=300), 0.5)


def test_separation_is_the_auroc() -> None:
    scores = np.random.default_rng(2).integers(0, 5, (7, 24)).astype(float)
    np.testing.assert_allclose(separation(scores, FLAWED), [auroc(row, FLAWED) for row in scores])


def test_weighted_maps() -> None:
    np.testing.assert_allclose(weighted(np.array([[1, 2], [4, 0]], np.float32), (0.25, 0.75)), [3.25, 0.5])


# flawed, strategy, what the message says
@pytest.mark.parametrize(
    ("flawed", "strategy", "says"),
    [
        (FLAWED, "best", "no strategy 'best'"),
        (np.ones(24, bool), "monte-carlo", "24 flawed and 0 good"),
    ],
)
def test_errors(flawed: np.ndarray, strategy: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        choose(copies(1, 1), flawed, FAMILIES, strategy)
