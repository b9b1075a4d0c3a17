"""The estimate of a batch: thresholds that mean what they say, whoever is listened to."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish import verdict_file
from blemish.verdict.detectors import MAP_SPREAD, WHOLE_SPREAD, Detector, detectors
from blemish.verdict.mixture import Fit
from blemish.verdict.threshold import Estimate, between, estimate
from scores import CENTRE, detectors_of, estimated, falling, logs

BATCHES = {
    "clean": falling(100),
    "a tenth is defective": falling(90, 10),
    # four spreads apart, and no wider than the good ones
    "good and bad overlap": -np.sort(-np.concatenate([logs(60), logs(40, seed=5) + 4 * MAP_SPREAD])),
    # two spreads apart: nothing is to be seen of them
    "hidden": -np.sort(-np.concatenate([logs(70), logs(30, seed=5) + 2 * MAP_SPREAD])),
    "small": falling(10, 2),
    "three": falling(3),
    "all alike": np.full(50, CENTRE),
}


@pytest.fixture(scope="module")
def estimates() -> dict[str, Estimate]:
    return {name: estimated(values) for name, values in BATCHES.items()}


@pytest.mark.parametrize("name", BATCHES)
def test_fewer_allowed_false_alarms_are_a_higher_threshold(estimates: dict[str, Estimate], name: str) -> None:
    found = estimates[name]
    rates = [0.2, 0.05, 0.01, 0.002, 1e-4]
    thresholds = np.array([found.allowing(rate) for rate in rates])
    assert (np.diff(thresholds) >= 0).all()
    expected = found.expected_false_alarms(thresholds)
    assert (expected <= np.array(rates) * (1 + 1e-6)).all()
    just_below = found.expected_false_alarms(thresholds * (1 - 1e-3))
    assert (just_below >= np.array(rates) * 0.9).all(), "and no higher than it need be"


@pytest.mark.parametrize("name", BATCHES)
def test_the_interval_of_false_alarms_is_ordered_and_falls(estimates: dict[str, Estimate], name: str) -> None:
    found = estimates[name]
    low, middle, high = found.false_alarms(np.linspace(found.scores.min() / 2, 2 * found.scores.max(), 80))
    assert ((low >= 0) & (low <= middle) & (middle <= high) & (high <= 1)).all()
    for rates in (low, middle, high):
        assert (np.diff(rates) <= 1e-12).all()


def test_false_alarms_are_what_good_photos_give() -> None:
    """One per cent asked for, one per cent or less got on photos that were never seen."""
    got = []
    for seed in range(20):
        threshold = estimated(logs(90, 10, seed=seed), seed).allowing(0.01)
        got.append(float(np.mean(np.exp(logs(20_000, seed=500 + seed)) > threshold)))
    assert np.mean(got) <= 0.015


# share that is expected of 40 photos -> how many are called
@pytest.mark.parametrize(
    ("share", "called"),
    [
        (0.0, 0),
        (0.01, 0),  # less than half a photo
        (0.025, 1),
        (0.05, 2),
        (0.5, 20),
        (1.0, 40),
    ],
)
def test_the_expected_share_is_called(share: float, called: int) -> None:
    found = estimated(logs(40))
    assert int((found.scores > found.expecting(share)).sum()) == called


# scores, how many are wanted -> how many are called
@pytest.mark.parametrize(
    ("scores", "wanted", "called"),
    [
        ([4.0, 3.0, 2.0, 1.0], 2, 2),
        ([4.0, 3.0, 3.0, 1.0], 2, 1),  # both or none of the equal ones: none
        ([3.0, 3.0, 3.0, 3.0], 2, 0),
        ([3.0, 3.0, 3.0, 3.0], 4, 4),
        ([3.0, 3.0], 9, 2),
        ([0.0, 0.0, -1.0], 0, 0),  # just above zero is above
        ([-1.0, -2.0, -3.0], 1, 1),
        ([np.nextafter(1.0, 2), 1.0], 1, 1),  # no number lies between them
        ([1e-12, 0.0], 1, 1),
    ],
)
def test_a_threshold_lies_between_scores(scores: list[float], wanted: int, called: int) -> None:
    descending = np.array(scores)
    assert int((descending > between(descending, wanted)).sum()) == called


@given(scores=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30), wanted=st.integers(0, 31))
def test_never_more_than_wanted_are_above(scores: list[float], wanted: int) -> None:
    descending = -np.sort(-np.array(scores))
    threshold = between(descending, wanted)
    above = int((descending > threshold).sum())
    assert above <= wanted
    if above < min(wanted, len(scores)):
        assert descending[above] == descending[min(wanted, len(scores)) - 1], "only equal scores keep together"


@settings(max_examples=15)
@given(order=st.permutations(range(24)))
def test_the_order_of_the_photos_means_nothing(order: list[int]) -> None:
    values = logs(20, 4)
    listened = detectors_of(values)
    moved = [Detector(one.name, one.values[order], one.usual_spread) for one in listened]
    here, there = estimate(np.exp(values), listened), estimate(np.exp(values)[order], moved)
    np.testing.assert_allclose(there.defective, here.defective[order], atol=1e-9)
    np.testing.assert_allclose(there.high, here.high[order])
    assert there.best() == pytest.approx(here.best())
    assert there.share.estimate == pytest.approx(here.share.estimate)


def test_defects_that_stand_apart_are_called_and_the_share_is_two_sided(estimates: dict[str, Estimate]) -> None:
    found = estimates["a tenth is defective"]
    assert int((found.scores > found.best()).sum()) == pytest.approx(10, abs=1)
    assert found.share.low <= 0.1 <= found.share.high
    assert not found.at_least and not found.overlapping


def test_nothing_is_called_where_nothing_stands_out(estimates: dict[str, Estimate]) -> None:
    for name in ("clean", "three", "all alike"):
        assert not (estimates[name].scores > estimates[name].best()).any(), name
    assert estimates["all alike"].share.low == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("name", "overlapping", "share"), [("good and bad overlap", True, 0.4), ("hidden", False, 0.3)]
)
def test_where_good_and_bad_overlap_only_the_least_share_is_known(
    estimates: dict[str, Estimate], name: str, overlapping: bool, share: float
) -> None:
    found = estimates[name]
    assert found.at_least
    assert found.overlapping == overlapping  # worth a word only where there is something to be seen
    assert found.share.low <= share
    assert found.share.high == 1


@pytest.mark.parametrize("name", BATCHES)
def test_intervals_hold_their_estimates(estimates: dict[str, Estimate], name: str) -> None:
    found = estimates[name]
    assert ((found.low <= found.scores) & (found.scores <= found.high)).all()
    assert 0 <= found.share.low <= found.share.estimate <= found.share.high <= 1


def test_detectors_that_disagree_about_a_photo_widen_its_interval() -> None:
    values = logs(60)
    listened = detectors_of(values, noise=0.1)
    listened[1].values[7] += 10 * MAP_SPREAD
    found = estimate(np.exp(values), listened)
    width = (found.high - found.low) / found.scores
    assert width[7] > 3 * np.median(width)


@pytest.mark.parametrize("seed", range(3))
def test_known_carriers_are_not_learnt_from(seed: int) -> None:
    values = logs(65, 5, seed=seed)
    alone = estimated(values, seed)
    carriers = CENTRE + MAP_SPREAD * np.linspace(3, 9, 30)
    every = np.concatenate([values, carriers])
    found = estimated(every, seed, known=range(70, 100))
    calls = [one.scores[:70] > one.best() for one in (alone, found)]
    np.testing.assert_array_equal(calls[0], calls[1])
    np.testing.assert_allclose(found.defective[:70], alone.defective, atol=0.15)
    assert found.allowing(0.01) == pytest.approx(alone.allowing(0.01), rel=1e-6)
    assert (found.defective[70:] == 1).all()
    assert found.share.low <= 0.35 <= found.share.high
    assert found.share.low >= 0.3


# spreads above the centre at which the carriers lie: among good photos, between, far above all others
@pytest.mark.parametrize(("low", "high"), [(-1, 2), (3, 9), (40, 60)])
@pytest.mark.parametrize("role", ["known", "open_"])
@pytest.mark.parametrize("bad", [0, 5])
def test_what_families_decide_does_not_decide_for_the_others(low: float, high: float, role: str, bad: int) -> None:
    values = logs(70 - bad, bad)
    every = np.concatenate([values, CENTRE + MAP_SPREAD * np.linspace(low, high, 30)])
    alone, found = estimated(values), estimated(every, **{role: range(70, 100)})  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.scores[:70] > found.best(), alone.scores > alone.best())
    if low > 30:
        assert (found.scores[70:] > found.best()).all(), "they stand out, so somebody is asked about them"


def test_nobody_knows_how_many_of_those_asked_about_are_defective() -> None:
    every = np.concatenate([logs(70, 5), CENTRE + MAP_SPREAD * np.linspace(6, 9, 25)])
    found = estimated(every, open_=range(75, 100))
    alone = estimated(logs(70, 5))
    assert found.share.high >= 0.25
    assert found.share.low <= 0.05
    np.testing.assert_array_equal(found.scores[:75] > found.best(), alone.scores > alone.best())
    assert found.allowing(0.01) == pytest.approx(alone.allowing(0.01), rel=1e-6)


def test_a_batch_of_nothing_but_carriers_is_still_an_answer() -> None:
    found = estimated(logs(4), known=range(3))
    assert np.isfinite(found.best())


def test_the_photo_as_a_whole_is_listened_to_where_it_agrees() -> None:
    values = logs(90, 10, apart=3.5)
    rng = np.random.default_rng(5)
    confirming = (
        np.where(np.arange(100) >= 90, 8 * WHOLE_SPREAD, 0) + 3 * (values - CENTRE) + 0.02 * rng.normal(size=100)
    )
    deaf = estimate(np.exp(values), detectors_of(values))
    heard = estimate(np.exp(values), detectors_of(values, whole=confirming))
    assert heard.defective[90:].mean() > deaf.defective[90:].mean() + 0.05


def test_another_light_that_the_score_does_not_see_condemns_nobody() -> None:
    """Half of the photos were taken under another light: apart as wholes, at random for the score."""
    rng = np.random.default_rng(6)
    for seed in range(5):
        values = logs(60, seed=seed)
        lit = np.where(rng.permutation(60) < 12, 8 * WHOLE_SPREAD, 0) + WHOLE_SPREAD * rng.normal(size=60)
        found = estimate(np.exp(values), detectors_of(values, seed, whole=lit))
        assert int((found.scores > found.best()).sum()) <= 1


# what scores can be
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-1.0, 1.0),  # of two backbones, or re-scored
        (-5.0, -1.0),
        (0.0, 0.0),
        (0.0, 1.0),
    ],
)
def test_zero_and_negative_scores_are_scores(low: float, high: float) -> None:
    rng = np.random.default_rng(7)
    scores = np.linspace(low, high, 30, dtype=np.float32)
    grids = np.broadcast_to(scores[:, None, None], (30, 6, 6)).copy()
    found = estimate(scores, detectors(scores, grids, (), rng.normal(size=(30, 8)).astype(np.float32)))
    assert np.isfinite([found.best(), found.allowing(0.01), found.expecting(0.1)]).all()
    assert np.isfinite(found.defective).all()
    assert ((found.low <= found.scores) & (found.scores <= found.high)).all()


def test_an_outlier_among_negative_scores_is_found() -> None:
    rng = np.random.default_rng(8)
    scores = rng.normal(-2, 0.1, 60).astype(np.float32)
    scores[0] = 1.0
    grids = np.broadcast_to(scores[:, None, None], (60, 6, 6)).copy()
    found = estimate(scores, detectors(scores, grids, (), rng.normal(size=(60, 8)).astype(np.float32)))
    assert np.flatnonzero(found.scores > found.best()).tolist() == [0]


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_several_passes_speak_for_themselves(passes: int) -> None:
    rng = np.random.default_rng(9)
    scores = rng.uniform(1, 2, 20).astype(np.float32)
    listened = detectors(
        scores, rng.uniform(size=(20, 16, 16)).astype(np.float32), [scores] * passes, rng.normal(size=(20, 4))
    )
    assert (listened[0].name, listened[-1].name) == ("score", "whole photo")
    assert sum(one.name.startswith("pass") for one in listened) == (passes if passes > 1 else 0)
    assert all(one.values.shape == (20,) and np.isfinite(one.values).all() for one in listened)


@pytest.mark.parametrize("name", BATCHES)
def test_an_estimate_is_read_as_it_was_written(estimates: dict[str, Estimate], name: str, tmp_path: Path) -> None:
    found = estimates[name]
    grids = np.zeros((len(found.scores), 2, 3), np.float32)
    verdict_file.write(found, grids, (), 0.5, (), {}, tmp_path / "verdict")
    read = verdict_file.read(tmp_path / "verdict").estimated
    for kind, one, other in ((Estimate, found, read), (Fit, found.model, read.model)):
        for field in fields(kind):
            if field.name != "model":
                np.testing.assert_array_equal(getattr(other, field.name), getattr(one, field.name), err_msg=field.name)
    thresholds = np.linspace(0.1, 1, 20)
    np.testing.assert_array_equal(read.false_alarms(thresholds), found.false_alarms(thresholds))
    assert read.share == found.share
    assert read.best() == found.best()
