"""Does the order mean anything? On clouds of vectors whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.verdict.drift import LEAST, SAMPLE, Drift, drift

Float32 = np.ndarray


def cloud(photos: int, seed: int = 0, dimensions: int = 12) -> Float32:
    return np.random.default_rng(seed).standard_normal((photos, dimensions)).astype(np.float32)


def found(vectors: Float32) -> Drift:
    result = drift(vectors)
    assert result is not None
    return result


@pytest.mark.parametrize("photos", [40, 100, 200])
def test_a_shuffled_folder_shows_no_drift(photos: int) -> None:
    warned = sum(found(cloud(photos, seed)).found for seed in range(20))
    assert warned <= 1  # p is 0.01


def test_a_slow_change_is_found_and_cut_in_the_middle() -> None:
    vectors = cloud(100)
    vectors[:, 0] += np.linspace(0, 12, 100)
    result = found(vectors)
    assert result.found
    assert result.p == 0.001
    assert result.stretch.own > 0.75 > result.stretch.chance
    assert 35 <= result.stretch.last - result.stretch.first + 1 <= 65


# first and last photo that differ
@pytest.mark.parametrize(("first", "last"), [(60, 99), (0, 39), (40, 69)])
def test_the_stretch_that_differs_is_named(first: int, last: int) -> None:
    vectors = cloud(100)
    vectors[first : last + 1, 0] += 15
    stretch = found(vectors).stretch
    other = {(0, first - 1), (last + 1, 99)}  # where it is at an end, the rest keeps to itself as much
    assert any(abs(stretch.first - a) + abs(stretch.last - b) <= 6 for a, b in {(first, last), *other})


def test_parts_taken_several_times_in_a_row_are_no_drift() -> None:
    warned = 0
    for seed in range(20):
        vectors = np.repeat(cloud(20, seed), 5, axis=0) + 0.05 * cloud(100, seed + 100)
        warned += drift(vectors) is not None and found(vectors).found
    assert warned <= 1


def test_bursts_do_not_hide_a_drift() -> None:
    parts = cloud(40)
    parts[:, 0] += np.linspace(0, 15, 40)
    assert found(np.repeat(parts, 3, axis=0) + 0.05 * cloud(120, 1)).found


def test_a_change_that_goes_on_is_not_taken_for_a_burst() -> None:
    assert found(np.linspace(0, 1, 60, dtype=np.float32)[:, None]).found


def test_too_few_photos_say_nothing() -> None:
    assert drift(cloud(LEAST - 1)) is None
    assert drift(cloud(LEAST)) is not None


def test_equal_photos_say_nothing_and_raise_nothing() -> None:
    result = drift(np.ones((60, 4), np.float32))
    assert result is None or not result.found


def test_a_large_batch_is_sampled_and_its_photos_are_still_counted_in_full() -> None:
    vectors = cloud(3 * SAMPLE, dimensions=4)
    vectors[2 * SAMPLE :, 0] += 15
    result = found(vectors)
    assert result.found
    assert {result.stretch.first, result.stretch.last} & {0, 3 * SAMPLE - 1}
    edges = (result.stretch.first, result.stretch.last + 1)
    assert min(abs(edge - 2 * SAMPLE) for edge in edges) < 0.06 * len(vectors)


def test_the_same_batch_gives_the_same_answer() -> None:
    assert drift(cloud(80)) == drift(cloud(80))


def test_reversing_the_order_keeps_the_evidence() -> None:
    vectors = cloud(100)
    vectors[:, 0] += np.linspace(0, 3, 100)
    assert found(vectors).excess == pytest.approx(found(vectors[::-1]).excess, abs=0.03)
