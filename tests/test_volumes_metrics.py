"""Metrics of volumes: small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.metrics.ranking import Undefined, auroc_of, average_precision_of
from blemish.metrics.volumes import Candidates, best_dice, candidates, detection_rate, dice, voxel_counts

SHAPE = (30, 30, 30)


def point(*places: tuple[int, int, int], heights: tuple[float, ...] | None = None) -> np.ndarray:
    values = np.zeros(SHAPE)
    for place, height in zip(places, heights or (1.0,) * len(places), strict=True):
        values[place] = height
    return values


EVERYWHERE = np.ones(SHAPE, np.bool_)


def test_only_the_brain_is_judged() -> None:
    """Two volumes of different shapes; outside the brain the map is as wrong as can be."""
    maps = [np.array([[[0.1, 0.2, 0.9, 5.0]]]), np.array([[[0.3, 0.8, 5.0]]])]
    masks = [np.array([[[0, 0, 1, 0]]]), np.array([[[0, 1, 0]]])]
    brains = [np.array([[[1, 1, 1, 0]]]), np.array([[[1, 1, 0]]])]
    counts = voxel_counts(maps, masks, brains)
    assert auroc_of(counts) == 1
    assert average_precision_of(counts) == 1
    assert best_dice(counts) == (1, 0.8)


def test_dice() -> None:
    assert dice(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 1])) == pytest.approx(2 / 5)
    assert dice(np.array([0, 0]), np.array([1, 0])) == 0
    with pytest.raises(Undefined, match="neither"):
        dice(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="one shape"):
        dice(np.zeros(3), np.zeros(4))


def test_peaks_are_shared_out() -> None:
    truth = np.zeros(SHAPE, np.bool_)
    truth[4:8, 4:8, 4:8] = True
    truth[20:23, 20:23, 20:23] = True
    # in the first lesion; 2 voxels beside it, but lower and close, so no peak of its own; far from both
    found = candidates(
        point((5, 5, 5), (9, 5, 5), (5, 25, 25), heights=(0.7, 0.5, 0.9)) - 1, truth, EVERYWHERE, apart=5
    )
    assert found.lesions[0] == pytest.approx(-0.3)
    assert found.false.max() == pytest.approx(-0.1)


def test_a_peak_beside_a_lesion_points_at_it() -> None:
    truth = np.zeros(SHAPE, np.bool_)
    truth[10:12, 10:12, 10:12] = True
    values = point((14, 10, 10))
    assert candidates(values, truth, EVERYWHERE, reach=3).lesions[0] == 1
    assert candidates(values, truth, EVERYWHERE, reach=2).lesions[0] < 1


def test_outside_the_brain_nothing_is_a_candidate() -> None:
    brain = EVERYWHERE.copy()
    brain[15:] = False
    found = candidates(point((20, 5, 5), (5, 5, 5), heights=(2, 1)), np.zeros(SHAPE), brain)
    assert found.lesions.size == 0
    assert found.false.max() == 1
    nothing = candidates(point((5, 5, 5)), np.zeros(SHAPE), np.zeros(SHAPE))
    assert nothing.false.size == 0


def test_an_even_map_finds_nothing_in_particular() -> None:
    truth = np.zeros(SHAPE, np.bool_)
    truth[0:2, 0:2, 0:2] = True
    found = candidates(np.ones(SHAPE), truth, EVERYWHERE)
    assert found.lesions[0] == -np.inf  # one plateau, whose middle is elsewhere


def test_detection_at_a_rate_of_false_alarms() -> None:
    volumes = [
        Candidates(np.array([0.9, 0.3]), np.array([0.5, 0.2])),
        Candidates(np.array([-np.inf, 0.6]), np.array([0.8])),
        Candidates(np.array([]), np.array([0.4, 0.1])),  # a healthy volume counts too
    ]
    # false, highest first: .8 .5 .4 .2 .1; lesions: .9 .6 .3 and one never pointed at
    for per_volume, rate in ((0, 0.25), (1 / 3, 0.5), (1, 0.75), (100, 0.75)):
        assert detection_rate(volumes, per_volume) == rate
    with pytest.raises(Undefined, match="no lesion"):
        detection_rate([volumes[2]])
