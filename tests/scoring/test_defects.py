"""Anomalous memory: which tokens an annotation stands for, and what it may and may not raise."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.errors import ConfigError
from blemish.scoring.defects import cover, likeness, margin, members, raised, resemblance, slack, taught, typical


def box(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


# mask of 8 x 8 pixels on 4 x 4 tokens, window, tokens of the flaw, tokens of sound surface
MEMBERS = [
    (box((8, 8), slice(2, 4), slice(2, 6)), 1, [(1, 1), (1, 2)], 14),  # on the grid
    (box((8, 8), slice(2, 4), slice(3, 6)), 1, [(1, 1), (1, 2)], 14),  # half of a token is enough
    (box((8, 8), slice(0, 3), slice(0, 2)), 1, [(0, 0), (1, 0)], 14),  # half of the second one
    (box((8, 8), slice(5, 6), slice(5, 6)), 1, [(2, 2)], 15),  # smaller than a token: the one that it covers most
    (box((8, 8), slice(0, 3), slice(0, 3)), 1, [(0, 0), (0, 1), (1, 0)], 12),  # a quarter of (1, 1): neither
    (box((8, 8), slice(2, 4), slice(2, 4)), 2, [(0, 0), (0, 1), (1, 0), (1, 1)], 5),  # windows: a quarter of four
    (np.zeros((8, 8), bool), 1, [], 16),  # nothing is drawn
    (np.ones((8, 8), bool), 1, [(r, c) for r in range(4) for c in range(4)], 0),  # all of it
]


@pytest.mark.parametrize(("mask", "size", "flaw", "sound"), MEMBERS)
def test_members(mask: np.ndarray, size: int, flaw: list[tuple[int, int]], sound: int) -> None:
    flawed, normal = members(cover(mask, (4, 4), size))
    assert [tuple(at) for at in np.argwhere(flawed)] == flaw
    assert normal.sum() == sound
    assert not (flawed & normal).any()


# mask shape, tokens: sides need not be multiples
@pytest.mark.parametrize(("pixels", "tokens"), [((10, 7), (3, 2)), ((5, 5), (5, 5)), ((4, 6), (8, 3))])
def test_cover_is_a_share_of_area(pixels: tuple[int, int], tokens: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(pixels) > 0.5
    covered = cover(mask, tokens)
    assert covered.shape == tokens
    assert covered.mean() == pytest.approx(mask.mean(), abs=1e-6)
    np.testing.assert_allclose(cover(np.ones(pixels, bool), tokens), 1, atol=1e-6)


def test_several_photos_make_one_bank() -> None:
    grids = [np.full((2, 2, 3), value, np.float32) for value in (1, 2)]
    shares = [np.array([[1, 0], [0, 0.3]], np.float32), np.array([[0.5, 0.5], [0, 0]], np.float32)]
    bank = taught(grids, shares)
    assert bank.defects[:, 0].tolist() == [1, 2, 2]
    assert bank.normal[:, 0].tolist() == [1, 1, 2, 2]


def test_nothing_drawn() -> None:
    with pytest.raises(ConfigError, match="their masks are empty"):
        taught([np.ones((2, 2, 3), np.float32)], [np.zeros((2, 2), np.float32)])


# distances to other photos, the typical one
@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([np.inf, 1, 2, 9], 2),  # itself has no vote
        ([0.1, 0.1, 5, 5, 5], 5),  # two of five share the flaw
        ([3], 3),
        ([np.inf], np.inf),
    ],
)
def test_typical(distances: list[float], expected: float) -> None:
    assert typical(np.array(distances, np.float32)[:, None])[0] == expected


def batch(flawed: int, ordinary: float, photos: int = 20) -> np.ndarray:
    """(photos, 6) how much nearer tokens are to a flaw than to sound surface: by ``ordinary``, but for token 3 of the
    first ``flawed`` photos, which show it."""
    nearer = np.full((photos, 6), ordinary, np.float32)
    nearer[:flawed, 3] = 0.4
    return nearer


# photos with the flaw of 20, what ordinary tokens reach, slack, margin
@pytest.mark.parametrize(
    ("flawed", "ordinary", "slack", "expected"),
    [
        (7, -0.3, 0.0, 0.0),  # sound surface is not like the flaw: all that is nearer to it counts
        (7, 0.1, 0.0, 0.1),  # by chance it is: what chance reaches does not count
        (0, 0.1, 0.0, 0.1),  # also when nothing shows the flaw
        (7, -0.1, 0.2, -0.1),  # to many photos at once, distances are smaller
        (7, -0.3, 0.2, -0.2),  # but not by more than this
        (20, 0.0, 0.0, 0.4),  # a flaw in every photo is not told from the ordinary
    ],
)
def test_margin(flawed: int, ordinary: float, slack: float, expected: float) -> None:
    assert margin(batch(flawed, ordinary), slack) == pytest.approx(expected, abs=1e-6)


def test_only_what_resembles_the_flaw_is_raised() -> None:
    nearer = batch(7, 0.05)
    found = raised(nearer, margin(nearer))
    assert (np.argwhere(found > 1e-6) == [(row, 3) for row in range(7)]).all()
    assert found[0, 3] == pytest.approx(0.35)


def test_a_flaw_that_does_not_occur_changes_nothing() -> None:
    nearer = batch(0, -0.2)
    assert not raised(nearer, margin(nearer)).any()
    assert resemblance(nearer).sentence().startswith("No other photo")


# photos with the flaw, what ordinary tokens reach, photos that resemble it, what is said
@pytest.mark.parametrize(
    ("flawed", "ordinary", "rows", "says"),
    [
        (3, -0.2, [0, 1, 2], "3 other photos have"),
        (1, -0.2, [0], "1 other photo has"),
        (3, 0.1, list(range(20)), "also looks like sound surface"),
    ],
)
def test_resemblance(flawed: int, ordinary: float, rows: list[int], says: str) -> None:
    found = resemblance(batch(flawed, ordinary))
    assert found.photos.tolist() == rows
    assert says in found.sentence()


def test_likeness_is_the_published_similarity() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5, 8))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    found = likeness(np.linalg.norm(a - b, axis=1).astype(np.float32))
    np.testing.assert_allclose(found, (1 + (a * b).sum(axis=1)) / 2, atol=1e-6)


def test_slack_is_measured_where_the_flaw_would_be_found() -> None:
    normal = np.full((20, 6), 0.5, np.float32)
    defect = normal - batch(20, -0.3)
    usual = normal + 0.05
    usual[:, 3] += 0.1  # token 3 is the likest
    assert slack(usual, normal, defect) == pytest.approx(0.15)
    assert slack(normal - 0.1, normal, defect) == 0
