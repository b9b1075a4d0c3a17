"""Burn-out and endurance: planted flaws are found, chance is not, and the ratios are what they should be."""

from __future__ import annotations

import numpy as np
import pytest
from power_law import plant, rows, table

from blemish.diagnostics.burnout import BurnOutSummary, burn_out, summary, typical_rates
from blemish.diagnostics.endurance import endurance, endurance_histogram, weighted_endurance
from blemish.diagnostics.hill import robust_alpha
from blemish.diagnostics.sample import sample
from blemish.diagnostics.scaling import growth_rates, pooled_rates

THEORY = 1 / (6 * np.arange(1, 18))  # ranks below 18 with a tail index of 6


@pytest.mark.parametrize("others", [1, 5, 14])
def test_a_planted_flaw_burns_out_at_its_size(others: int) -> None:
    distances = table(60, 40)
    plant(distances, list(range(others + 1)), 6)
    drawn = sample(rows(distances), 60, 40)
    rates = growth_rates(drawn.d)
    found = burn_out(rates, typical_rates(pooled_rates(rates), 18, robust_alpha(rates, 18)))
    flawed = (drawn.image <= others) & (drawn.token < 6)
    assert (found.rank[flawed] == others).all()
    assert (found.peak[flawed] > found.bound).all()
    assert (found.rank[~flawed] > 0).mean() < 0.015
    assert summary(found, 18).most_often == others


@pytest.mark.parametrize("chance", [0.01, 0.1])
def test_chance_burns_out_as_often_as_it_may(chance: float) -> None:
    rates = growth_rates(sample(rows(table(60, 300)), 60, 300).d)
    found = summary(burn_out(rates, THEORY, chance=chance), 18, chance=chance)
    assert 0.7 * chance < found.share < 1.2 * chance
    counts = np.array(found.counts)
    assert len(counts) == 17
    assert counts.max() < 4 * counts.mean()  # evenly over the ranks


def test_a_flaw_beyond_omega_is_not_seen() -> None:
    distances = table(60, 40)
    plant(distances, list(range(26)), 6)
    drawn = sample(rows(distances), 60, 40)
    found = burn_out(growth_rates(drawn.d), THEORY)
    flawed = (drawn.image < 26) & (drawn.token < 6)
    assert (found.rank[flawed] > 0).mean() < 0.05


def test_the_burn_out_point_by_hand() -> None:
    # i * tau_i: 0.1, 4, 0.3 and 3, 0.2, 0.3; times alpha = 2 it must exceed ln(3 / 0.01) = 5.70
    rates = np.array([[0.1, 2.0, 0.1], [3.0, 0.1, 0.1], [0.1, 0.1, 0.1]])
    found = burn_out(rates, 1 / (2 * np.arange(1, 4)))
    assert found.bound == pytest.approx(np.log(300))
    assert found.rank.tolist() == [2, 1, 0]
    np.testing.assert_allclose(found.peak, [8, 6, 0.6])
    assert summary(found, 4) == BurnOutSummary(pytest.approx(2 / 3), 0.01, found.bound, (1, 1, 0))


def test_a_flatter_slope_is_allowed_for() -> None:
    """Rates that fall off as i^-0.8 exceed the theory's bound at high ranks, and the measured one at all alike."""
    rates = np.random.default_rng(0).exponential(np.arange(1, 30) ** -0.8 / 6, (20_000, 29))
    plain = np.array(summary(burn_out(rates, 1 / (6 * np.arange(1, 30))), 30).counts)
    measured = np.array(summary(burn_out(rates, typical_rates(pooled_rates(rates), 30, 6.0)), 30).counts)
    assert plain[20:].sum() > 4 * plain[:9].sum()
    assert measured[20:].sum() < 1.6 * measured[:9].sum()
    assert 0.007 < measured.sum() / len(rates) < 0.013


def test_ranks_at_which_most_tie_take_the_theory() -> None:
    np.testing.assert_allclose(typical_rates(np.array([0.0, 0.3, 0.0, 0.1]), 4, 2.0), [1 / 2, 0.3, 1 / 6])


# counts by rank, whether the commonest stands out
@pytest.mark.parametrize(
    ("counts", "stands_out"),
    [
        ((5, 6, 80, 4), True),
        ((50, 60, 80, 40), False),  # a broad hump
        ((0, 0, 9, 0), False),  # a handful of tokens
        ((600, 100), True),
        ((600,), False),  # with one rank there is nothing to stand out from
        ((0, 0), False),
    ],
)
def test_what_stands_out(counts: tuple[int, ...], stands_out: bool) -> None:
    assert BurnOutSummary(0.1, 0.01, 5.0, counts).stands_out is stands_out


@pytest.mark.parametrize(("omega", "alpha"), [(1, 6.0), (8, 6.0), (4, 0.0), (4, float("nan"))])
def test_what_burn_out_cannot_use(omega: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="must"):
        typical_rates(np.ones(6), omega, alpha)


def test_endurance_follows_its_beta_law() -> None:
    """ratio^alpha at rank i is Beta(i, omega - i), whose mean is i / omega."""
    ratios = endurance(sample(rows(table(60, 200)), 60, 200).d, 18)
    np.testing.assert_allclose((ratios**6).mean(axis=0), np.arange(1, 18) / 18, atol=0.01)


def test_the_weight_asks_for_unusual_patches() -> None:
    d = np.array([[0.1, 0.2], [0.2, 0.4], [0.4, 0.8]], np.float32)
    np.testing.assert_allclose(endurance(d, 2)[:, 0], 0.5)
    np.testing.assert_allclose(weighted_endurance(d, 2)[:, 0], [1, 0.5, 0.25], rtol=1e-6)


def test_the_histogram_counts_every_link_once() -> None:
    distances = table(30, 50)
    plant(distances, list(range(5)), 10)
    d = sample(rows(distances), 30, 50).d
    plain, split = endurance_histogram(d, 9), endurance_histogram(d, 9, 0.12)
    assert sum(plain.links) == 30 * 50 * 8
    assert plain.links == split.links
    assert sum(plain.selected) == 0
    assert sum(split.selected) == 5 * 10 * 4  # each planted token to the four others, and no other link
    assert all(some <= every for some, every in zip(split.selected, split.links, strict=True))


def test_copies_have_ratios_of_one() -> None:
    assert (endurance(np.zeros((4, 5), np.float32), 3) == 1).all()
    assert (weighted_endurance(np.zeros((4, 5), np.float32), 3) == 1).all()


@pytest.mark.parametrize("omega", [1, 6])
def test_omega_outside_the_ranks(omega: int) -> None:
    with pytest.raises(ValueError, match="between 2 and 5"):
        endurance(np.ones((4, 5), np.float32), omega)
