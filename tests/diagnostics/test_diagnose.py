"""The whole diagnosis: plain values, whatever the batch; invariant to its order; and its reading in words."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from power_law import plant, rows, table

from blemish.diagnostics import Diagnosis, diagnose
from blemish.diagnostics.burnout import BurnOutSummary
from blemish.diagnostics.reading import reading


def whole(distances: np.ndarray, omega: int, **options: float) -> Diagnosis:
    return diagnose(rows(distances), len(distances), distances.shape[2], omega=omega, **options)


@pytest.fixture(scope="module")
def ordinary() -> Diagnosis:
    return whole(table(60, 100), 18)


@pytest.fixture(scope="module")
def flawed() -> Diagnosis:
    distances = table(60, 100)
    plant(distances, list(range(9)), 40)
    return whole(distances, 18, bound=0.12)


def test_the_model_is_recovered(ordinary: Diagnosis) -> None:
    assert ordinary.alpha == pytest.approx(6, rel=0.03)
    assert ordinary.plateau is not None and ordinary.plateau.alpha == pytest.approx(6, rel=0.03)
    assert ordinary.power_law is not None and ordinary.power_law.r2 > 0.98
    assert ordinary.burn_out is not None and ordinary.burn_out.share < 0.015
    assert (ordinary.sampled, len(ordinary.growth)) == (6000, 58)
    assert ordinary.endurance.bound is None


def test_a_planted_flaw_is_found_and_leaves_the_index(flawed: Diagnosis) -> None:
    assert flawed.alpha == pytest.approx(6, rel=0.05)
    assert flawed.burn_out is not None
    assert flawed.burn_out.most_often == 8
    assert flawed.burn_out.counts[7] >= 9 * 40
    assert sum(flawed.endurance.selected) >= 9 * 40 * 8


def test_it_is_plain_json_and_has_no_nan(flawed: Diagnosis) -> None:
    values = flawed.as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["power_law"]["exponent"] == flawed.power_law.exponent
    assert values["burn_out"]["counts"] == list(flawed.burn_out.counts)


@pytest.mark.parametrize("images", [3, 4, 5, 6])
@pytest.mark.parametrize("omega", [0, 1, 2, 30])
@pytest.mark.parametrize("kind", ["model", "zeros", "equal", "copies", "one token"])
def test_no_batch_is_too_odd(images: int, omega: int, kind: str) -> None:
    distances = table(images, 1 if kind == "one token" else 10)
    if kind == "zeros":
        distances[:] = 0
    elif kind == "equal":
        distances[:] = 0.7
    elif kind == "copies":  # the first two photos are one
        distances[0, 1] = distances[1, 0] = 0
    found = whole(distances, omega, bound=0.2)
    assert 2 <= found.omega <= images - 1
    json.dumps(found.as_dict(), allow_nan=False)
    assert found.reading
    if kind in {"zeros", "equal"}:
        assert (found.alpha, found.power_law, found.burn_out) == (None, None, None)


def test_a_photo_that_is_there_twice() -> None:
    distances = table(30, 100)
    distances[0, 1] = distances[1, 0] = 0
    found = whole(distances, 9)
    assert found.burn_out is not None and found.burn_out.most_often == 1
    assert found.burn_out.counts[0] >= 200
    assert "photographed twice" in found.reading


def test_the_order_of_the_batch_changes_nothing() -> None:
    distances = table(40, 700)  # of which 500 are sampled
    plant(distances, [3, 11, 20, 21, 38], 80)
    order = np.random.default_rng(7).permutation(40)
    straight, turned = whole(distances, 12), whole(distances[np.ix_(order, order)], 12)
    assert turned.burn_out == straight.burn_out
    assert turned.endurance == straight.endurance
    assert turned.reading == straight.reading
    assert turned.alpha == pytest.approx(straight.alpha, rel=1e-12)
    np.testing.assert_allclose(turned.growth, straight.growth, rtol=1e-12)
    np.testing.assert_allclose(turned.hill.alpha, straight.hill.alpha, rtol=1e-9)


def test_the_seed_matters_little_and_repeats() -> None:
    distances = table(40, 700)
    one, again, other = (whole(distances, 12, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.growth != other.growth
    assert other.alpha == pytest.approx(one.alpha, rel=0.03)


def test_two_hundred_photos_take_little_time() -> None:
    row = table(2, 200 * 1024).reshape(4, 200, 1024)[1]
    started = time.process_time()
    diagnose(lambda _: row, 200, 1024, omega=60)
    assert time.process_time() - started < 10  # about 0.6 s; sorting all tokens instead of a sample would take 10


def test_the_reading_of_ordinary_photos(ordinary: Diagnosis) -> None:
    assert "thin out as the theory says (R² 0.99" in ordinary.reading
    assert "tail index is 6.0" in ordinary.reading
    assert "1.6 times as far" in ordinary.reading  # 18^(1/6)
    assert "no sign of a flaw" in ordinary.reading
    assert 2 <= ordinary.reading.count(". ") + 1 <= 5


def test_the_reading_of_a_recurring_flaw(flawed: Diagnosis) -> None:
    assert "match 8 other photos and no more" in flawed.reading
    assert "rare variant of a good part" in flawed.reading
    assert "no sign" not in flawed.reading


def test_a_small_flaw_shows_as_a_peak() -> None:
    """Fewer patches than chance may burn out, but most of them at one rank."""
    distances = table(60, 100)
    plant(distances, list(range(9)), 4)
    found = whole(distances, 18)
    assert found.burn_out is not None and found.burn_out.share < 0.02
    assert "match 8 other photos and no more" in found.reading


# what the diagnosis holds, what its reading must say
@pytest.mark.parametrize(
    ("changes", "r2", "exponent", "said"),
    [
        ({}, 0.96, -0.9, "about as the theory says"),
        ({}, 0.90, -0.9, "not as evidence"),
        ({}, 0.99, -0.5, "not the one of the theory"),
        ({"plateau": None}, 0.99, -0.9, "depends on how many matches"),
        ({"photos": 12}, 0.99, -0.9, "all of this is a hint"),
        ({"smallest_batch": 30}, 0.99, -0.9, "scan at least 30 at a time"),
        ({"burn_out": BurnOutSummary(0.09, 0.01, 7.4, (30,) * 17)}, 0.99, -0.9, "at no number of photos in particular"),
    ],
)
def test_the_reading_says_what_is_weak(
    ordinary: Diagnosis, changes: dict[str, object], r2: float, exponent: float, said: str
) -> None:
    law = replace(ordinary.power_law, r2=r2, exponent=exponent)
    assert said in reading(replace(ordinary, power_law=law, **changes))


def test_the_reading_of_what_cannot_be_read() -> None:
    assert "4 photos are too few" in whole(table(4, 10), 2).reading
    assert "equally good matches" in whole(np.full((30, 30, 5), 0.4, np.float32), 9).reading
