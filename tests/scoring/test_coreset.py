"""Greedy k-center: the plain algorithm's choice, few tokens that cover all, and what must never be among them."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.scoring import coreset
from blemish.scoring.coreset import farthest_first, folds, ordinary, thinned


def unit(tokens: np.ndarray) -> np.ndarray:
    return np.asarray(tokens / np.linalg.norm(tokens, axis=-1, keepdims=True), dtype=np.float32)


def some(count: int, seed: int = 0) -> np.ndarray:
    """Tokens in a few clouds of different density."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(7, 12))
    return unit(
        centres[rng.choice(7, count, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01])] + rng.normal(0, 0.2, (count, 12))
    )


def plain(tokens: np.ndarray, size: int, seed: int) -> list[int]:
    """Gonzalez' algorithm as it is told, one token at a time."""
    kept = [int(np.random.default_rng(seed).integers(len(tokens)))]
    distance = np.full(len(tokens), np.inf)
    while len(kept) < size:
        distance = np.minimum(distance, 2 - 2 * tokens @ tokens[kept[-1]])
        kept.append(int(distance.argmax()))
    return kept


def cover(tokens: np.ndarray, kept: np.ndarray) -> float:
    """Distance of the token that is farthest from what is kept."""
    return float(np.sqrt(np.maximum(2 - 2 * (tokens @ tokens[kept].T).max(axis=1), 0)).max())


# tokens, kept, tokens at a time, seed
@pytest.mark.parametrize(
    ("count", "size", "candidates", "seed"),
    [
        (300, 60, 512, 0),  # all are candidates
        (300, 60, 8, 1),  # several rounds
        (300, 60, 1, 2),  # the plain algorithm itself
        (1500, 200, 64, 3),
        (50, 50, 16, 4),  # all are kept
    ],
)
def test_it_is_the_plain_algorithm(
    count: int, size: int, candidates: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreset, "CANDIDATES", candidates)
    monkeypatch.setattr(coreset, "ROWS", 128)
    tokens = some(count, seed)
    told: list[int] = []
    kept = farthest_first(tokens, size, seed=seed, progress=told.append)
    assert kept.tolist() == plain(tokens, size, seed)
    assert sum(told) == size


def test_a_smaller_bank_is_the_beginning_of_a_larger_one() -> None:
    tokens = some(400)
    np.testing.assert_array_equal(farthest_first(tokens, 20), farthest_first(tokens, 90)[:20])


def test_it_covers_rare_looks_better_than_chance() -> None:
    tokens = some(1000)
    drawn = np.random.default_rng(0).choice(1000, 40, replace=False)
    assert cover(tokens, farthest_first(tokens, 40)) < 0.7 * cover(tokens, drawn)


# tokens, asked, kept
@pytest.mark.parametrize(
    ("tokens", "size", "kept"),
    [
        (np.repeat(some(5), 20, axis=0), 50, 5),  # copies need no place of their own
        (np.repeat(some(1), 9, axis=0), 4, 1),  # a perfectly flat part
        (some(3), 10, 3),  # fewer tokens than there is room for
        (some(3), 0, 0),
        (np.empty((0, 12), np.float32), 10, 0),
    ],
)
def test_how_many_are_kept(tokens: np.ndarray, size: int, kept: int) -> None:
    assert len(farthest_first(tokens, size)) == kept


def test_the_highest_values_and_a_familys_tokens_may_not_be_kept() -> None:
    values = np.arange(1000, dtype=np.float32).reshape(4, 250)
    left_out = np.zeros((4, 250), bool)
    left_out[1, :5] = True
    allowed = ordinary(values, left_out)
    assert not allowed[3, -10:].any()  # one in a hundred
    assert not allowed[1, :5].any()
    assert allowed.sum() == 1000 - 10 - 5


def test_of_values_that_are_all_the_same_none_stands_out() -> None:
    assert ordinary(np.full((3, 20), 0.2, np.float32)).all()


def test_thinned_draws_among_the_allowed_and_the_same_each_time() -> None:
    allowed = np.random.default_rng(1).random((10, 100)) < 0.5
    flat = thinned(allowed, limit=60, seed=3)
    assert len(np.unique(flat)) == 60
    assert (np.diff(flat) > 0).all()
    assert allowed.reshape(-1)[flat].all()
    np.testing.assert_array_equal(flat, thinned(allowed, limit=60, seed=3))
    assert thinned(allowed, limit=60, seed=4).tolist() != flat.tolist()
    np.testing.assert_array_equal(thinned(allowed, limit=1000), np.flatnonzero(allowed))


# photos, photos of each part
@pytest.mark.parametrize(
    ("photos", "parts"),
    [
        (40, [10, 10, 10, 10]),
        (10, [3, 3, 2, 2]),
        (3, [1, 1, 1]),  # every photo against the other two
        (1, [1]),
        (0, []),
    ],
)
def test_folds(photos: int, parts: list[int]) -> None:
    assert np.bincount(folds(photos, seed=1)).tolist() == parts
    np.testing.assert_array_equal(folds(photos, seed=1), folds(photos, seed=1))


def test_a_photo_is_scored_in_its_fold_as_an_unseen_one_is() -> None:
    photos = some(60 * 40).reshape(60, 40, 12)
    part = folds(40)
    flat = photos[:40].reshape(-1, 12)
    owner = np.repeat(np.arange(40), 40)

    def farthest(of: int, bank: np.ndarray) -> float:
        return float(np.sqrt(np.maximum(2 - 2 * (photos[of] @ bank.T).max(axis=1), 0)).max())

    whole = farthest_first(flat, 150)
    unseen = np.median([farthest(of, flat[whole]) for of in range(40, 60)])
    alone = np.median([farthest(of, flat[whole[owner[whole] != of]]) for of in range(40)])
    banks = [flat[part[owner] != at][farthest_first(flat[part[owner] != at], 150)] for at in range(4)]
    apart = np.median([farthest(of, banks[part[of]]) for of in range(40)])
    assert abs(apart - unseen) < 0.5 * abs(alone - unseen)
