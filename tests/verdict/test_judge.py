"""From an estimate and what the user knows to a judgement, at every stop of the slider."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.config import VerdictConfig
from blemish.judgement import Judgement, Stop
from blemish.verdict import Groups, judge
from blemish.verdict.threshold import Estimate
from scores import estimated, falling

LEVEL = 0.5


@pytest.fixture(scope="module")
def estimate() -> Estimate:
    """A tenth of a hundred photos is defective."""
    return estimated(falling(90, 10))


def verdict(estimate: Estimate, config: VerdictConfig | None = None, **groups: tuple[int, ...]) -> Judgement:
    return judge(estimate, config or VerdictConfig(), LEVEL, Groups(**groups))


def called(estimate: Estimate, judgement: Judgement, stop: Stop) -> set[int]:
    """Rows that are blemished at a stop, as ``Judgement`` defines it."""
    above = set(np.flatnonzero(estimate.scores > stop.threshold).tolist()) - set(judgement.spared)
    return (above | set(judgement.always)) - set(stop.unsure)


# carriers and asked, rows from 0: above any threshold, near it, below it, in both
GROUPS = pytest.mark.parametrize(
    ("carriers", "asked"),
    [
        ((), ()),
        ((0, 1, 2), ()),
        ((5, 50, 99), ()),
        ((), (0, 1, 2)),
        ((), (8, 40, 90)),
        ((1, 2, 60), (2, 3, 61)),
        (tuple(range(100)), ()),
        ((), tuple(range(100))),
    ],
)


@GROUPS
@pytest.mark.parametrize("photos", ["100", "9"])
def test_every_stop_counts_what_it_calls(carriers: tuple[int, ...], asked: tuple[int, ...], photos: str) -> None:
    batch = estimated(falling(90, 10) if photos == "100" else falling(8, 1))
    known = [tuple(row for row in rows if row < len(batch.scores)) for rows in (carriers, asked)]
    judgement = verdict(batch, carriers=known[0], asked=known[1])
    thresholds = [stop.threshold for stop in judgement.stops]
    assert all(one < other for one, other in pairwise(thresholds)), "ascending"
    assert thresholds.count(judgement.threshold) == 1
    chosen = judgement.stops[thresholds.index(judgement.threshold)]
    assert (chosen.sentence, chosen.unsure) == (judgement.sentence, judgement.unsure)
    assert judgement.always == known[0]
    for stop in judgement.stops:
        assert stop.blemished == len(called(batch, judgement, stop))
        assert list(stop.unsure) == sorted(set(stop.unsure))
        assert all(0 <= row < len(batch.scores) for row in stop.unsure)


def test_the_stops_reach_from_all_photos_to_none(estimate: Estimate) -> None:
    judgement = verdict(estimate, VerdictConfig(max_unsure=0))
    counts = [stop.blemished for stop in judgement.stops]
    assert counts[0] == 100 and counts[-1] == 0
    assert counts == sorted(counts, reverse=True)
    assert set(range(20)) <= set(counts), "every photo's own stop where they matter"


def test_thousands_of_photos_have_a_slider_of_a_hundred_stops() -> None:
    judgement = verdict(estimated(falling(2_900, 100)))
    counts = [int((falling(2_900, 100) > np.log(stop.threshold)).sum()) for stop in judgement.stops]
    assert 80 <= len(counts) <= 130
    assert counts[0] == 3_000 and counts[-1] == 0
    assert set(range(50)) <= set(counts)


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (VerdictConfig(), "estimated from these photos"),
        (VerdictConfig(threshold=0.5), "as you said"),
        (VerdictConfig(max_false_alarms=0.01), "at most 1 % false alarms, as you asked"),
        (VerdictConfig(expect_defects=0.12), "12 % defects, as you expect"),
    ],
)
def test_the_rule_says_where_the_threshold_comes_from(estimate: Estimate, config: VerdictConfig, rule: str) -> None:
    assert verdict(estimate, config).rule == rule


def test_what_the_user_says_is_done(estimate: Estimate) -> None:
    assert verdict(estimate, VerdictConfig(threshold=0.5)).threshold == 0.5
    strict, lax = (verdict(estimate, VerdictConfig(max_false_alarms=rate)) for rate in (0.001, 0.05))
    assert strict.threshold > lax.threshold
    assert estimate.expected_false_alarms(np.array([lax.threshold]))[0] <= 0.05
    expected = verdict(estimate, VerdictConfig(expect_defects=0.25))
    assert int((estimate.scores > expected.threshold).sum()) == 25


@pytest.mark.parametrize(("carriers", "asked"), [((), ()), ((20, 60), (0, 30))])
def test_what_the_slider_shows_is_what_typing_its_threshold_gives(
    estimate: Estimate, carriers: tuple[int, ...], asked: tuple[int, ...]
) -> None:
    shown = verdict(estimate, carriers=carriers, asked=asked)
    for stop in shown.stops[::7]:
        typed = verdict(estimate, VerdictConfig(threshold=stop.threshold), carriers=carriers, asked=asked)
        (same,) = (other for other in typed.stops if other.threshold == typed.threshold)
        assert (same.blemished, same.unsure) == (stop.blemished, stop.unsure)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1e-9, 1e6, 7])
def test_any_threshold_can_be_typed(estimate: Estimate, threshold: float) -> None:
    judgement = verdict(estimate, VerdictConfig(threshold=threshold))
    assert judgement.threshold == threshold
    assert 0 <= judgement.false_alarms.low <= judgement.false_alarms.high <= 1


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 1.0])
def test_no_more_are_sent_to_a_person_than_may_be(share: float) -> None:
    judgement = verdict(estimated(falling(70, 30, apart=3.0)), VerdictConfig(max_unsure=share))
    assert all(len(stop.unsure) <= round(100 * share) for stop in judgement.stops)


def test_a_decided_flaw_is_blemished_whatever_its_score(estimate: Estimate) -> None:
    judgement = verdict(estimate, carriers=(97, 98, 99))
    for stop in judgement.stops:
        assert {97, 98, 99} <= called(estimate, judgement, stop)


def test_what_is_usual_for_a_rare_variant_is_spared_at_every_threshold(estimate: Estimate) -> None:
    judgement = verdict(estimate, spared=(0, 1, 50))
    assert judgement.spared == (0, 1, 50)
    for stop in judgement.stops:
        assert not {0, 1, 50} & (called(estimate, judgement, stop) | set(stop.unsure))
        assert stop.blemished == len(called(estimate, judgement, stop))


def test_a_family_that_waits_for_the_user_is_not_condemned(estimate: Estimate) -> None:
    judgement = verdict(estimate, asked=(0, 1, 2))
    for stop in judgement.stops:
        assert not {0, 1, 2} & called(estimate, judgement, stop)
        assert ({0, 1, 2} & set(stop.unsure)) == set(np.flatnonzero(estimate.scores[:3] > stop.threshold).tolist())
    assert "as flaw or variant" in judgement.sentence


@settings(max_examples=30)
@given(
    photos=st.integers(3, 9),
    bad=st.integers(0, 4),
    seed=st.integers(0, 20),
    rule=st.sampled_from([{}, {"expect_defects": 0.5}, {"max_false_alarms": 0.2}]),
    carriers=st.booleans(),
)
def test_fewer_than_ten_photos_condemn_nobody(
    photos: int, bad: int, seed: int, rule: dict[str, float], carriers: bool
) -> None:
    bad = min(bad, photos - 1)
    batch = estimated(falling(photos - bad, bad, seed=seed), seed)
    judgement = verdict(batch, VerdictConfig(**rule), carriers=(0, 1) if carriers else ())
    assert all(stop.blemished == 0 for stop in judgement.stops)
    assert f"Only {photos} photos: too few to be sure" in judgement.sentence


def test_a_typed_threshold_is_obeyed_by_few_photos_too() -> None:
    batch = estimated(falling(6, 2))
    judgement = verdict(batch, VerdictConfig(threshold=float(batch.scores[1:3].mean()), max_unsure=0))
    assert judgement.stops[[stop.threshold for stop in judgement.stops].index(judgement.threshold)].blemished == 2
    assert judgement.sentence == "2 of 8 photos are blemished."


def test_two_products_are_asked_about(estimate: Estimate) -> None:
    assert verdict(estimate, products=(50, 50)).sentence.endswith("are these two products?")


def test_equal_scores_are_called_together() -> None:
    batch = estimated(np.full(30, -1.0))
    judgement = verdict(batch)
    assert {stop.blemished + len(stop.unsure) for stop in judgement.stops} <= {0, 30} | set(range(4))
    assert judgement.sentence == "All 30 photos score the same: nothing can be said about them."
