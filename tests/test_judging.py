"""A verdict put on photos: calls, reasons and regions, on made-up maps, with and without families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.config import VerdictConfig
from blemish.judging import Judged, estimate_of, judged, seed_level
from blemish.rescoring import Evidence
from blemish.result import Family, Member, Photo
from blemish.verdict import Estimate

GRID = (12, 16)
SIZE = (120, 160)


def batch_of(good: int, bad: int, seed: int = 0) -> tuple[list[Photo], np.ndarray, np.ndarray]:
    """Photos, maps (B, h, w) and embeddings (B, E), most anomalous first: the defective ones have a hot place."""
    rng = np.random.default_rng(seed)
    grids = rng.gamma(60, 1 / 60, (good + bad, *GRID)).astype(np.float32)
    for at in range(bad):
        row, column = rng.integers(1, 8, 2)
        grids[at, row : row + 3, column : column + 3] += rng.uniform(1.5, 3)
    scores = grids.reshape(good + bad, -1).max(axis=1)
    order = np.argsort(-scores, kind="stable")
    photos = [
        Photo(f"{at:03}.png", "ok", score=float(scores[row]), rank=at + 1, width=SIZE[1], height=SIZE[0])
        for at, row in enumerate(order)
    ]
    return photos, grids[order], rng.normal(size=(good + bad, 6)).astype(np.float32)


def family(
    photos: Sequence[Photo],
    rows: Sequence[int],
    kind: Literal["defect", "variant", "unsure"] = "defect",
    by: Literal["blemish", "user"] = "blemish",
    all_over: float = 0.02,
    number: int = 1,
) -> Family:
    """``all_over``: share of the picture that carries the look."""
    place = np.zeros(GRID, np.float32)
    place.reshape(-1)[: round(all_over * place.size)] = 1.0
    members = tuple(Member(photos[row].path, "0" * 64, 0.1, 0.1, 0.3, 0.3) for row in rows)
    return Family(number, kind, by, members, place, 1.0, 2.0, 1.0, 0.5, 0.9)


def verdict(
    batch: tuple[list[Photo], np.ndarray, np.ndarray], families: Sequence[Family] = (), **rule: Any
) -> tuple[Judged, Estimate]:
    photos, grids, embeddings = batch
    found = estimate_of(photos, grids, Evidence(embeddings), families)
    level = seed_level(found, grids)
    return judged(photos, grids, found, level, families, (), VerdictConfig(**rule), {}), found


@pytest.fixture(scope="module")
def batch() -> tuple[list[Photo], np.ndarray, np.ndarray]:
    return batch_of(54, 6)


def calls(made: Judged, rows: Sequence[int]) -> list[str | None]:
    return [made.photos[row].verdict for row in rows]


@pytest.mark.parametrize("rule", [{}, {"expect_defects": 0.3}, {"max_false_alarms": 0.05}, {"threshold": 1.2}])
def test_calls_regions_and_counts_agree(
    batch: tuple[list[Photo], np.ndarray, np.ndarray], rule: dict[str, float]
) -> None:
    made, found = verdict(batch, **rule)
    judgement = made.judgement
    for row, photo in enumerate(made.photos):
        assert photo.path == batch[0][row].path
        assert photo.low is not None and photo.high is not None and photo.score is not None
        assert photo.low <= photo.score <= photo.high
        expected = "unsure" if row in judgement.unsure else "blemished" if photo.score > judgement.threshold else "ok"
        assert photo.verdict == expected
        assert photo.area_share is not None and 0 <= photo.area_share <= 1
        if photo.verdict == "ok":
            assert (photo.regions, photo.area_share, photo.severity, photo.reason) == (0, 0, 0, "")
            assert photo.path not in made.regions
        else:
            assert photo.regions == len(made.regions[photo.path]) >= 1
            assert photo.area_share > 0
            assert all(0 <= one.left < one.right <= SIZE[1] for one in made.regions[photo.path])
            assert bool(photo.reason) == (photo.verdict == "unsure")
    chosen = [stop for stop in judgement.stops if stop.threshold == judgement.threshold]
    assert [stop.blemished for stop in chosen] == [calls(made, range(60)).count("blemished")]
    assert made.regions.keys() == {photo.path for photo in made.photos if photo.verdict != "ok"}
    assert len(found.scores) == 60


def test_hot_places_are_called_and_marked(batch: tuple[list[Photo], np.ndarray, np.ndarray]) -> None:
    made, _ = verdict(batch)
    assert set(calls(made, range(6))) == {"blemished"}
    assert calls(made, range(6, 60)).count("blemished") <= 1
    for row in range(6):
        region = made.regions[made.photos[row].path][0]
        y, x = np.unravel_index(batch[1][row].argmax(), GRID)
        assert region.left <= (x + 0.5) * SIZE[1] / GRID[1] <= region.right
        assert region.top <= (y + 0.5) * SIZE[0] / GRID[0] <= region.bottom


@settings(max_examples=10)
@given(order=st.permutations(range(20)))
def test_the_order_of_the_photos_means_nothing(order: list[int]) -> None:
    """Read in another order, each photo is called what it was called."""
    photos, grids, embeddings = batch_of(17, 3, seed=4)
    here, _ = verdict((photos, grids, embeddings))
    moved = np.array(order)[np.argsort([-photos[row].score for row in order], kind="stable")]  # type: ignore[operator]
    there, _ = verdict(([photos[row] for row in moved], grids[moved], embeddings[moved]))
    assert {photo.path: photo.verdict for photo in there.photos} == {photo.path: photo.verdict for photo in here.photos}
    assert there.judgement.sentence == here.judgement.sentence


# who has decided what about the family, how much of the picture it covers -> its members' call
@pytest.mark.parametrize(
    ("kind", "by", "all_over", "call", "reason"),
    [
        ("defect", "blemish", 0.02, "blemished", ""),
        ("defect", "user", 0.02, "blemished", ""),
        ("defect", "blemish", 0.5, "unsure", "family 1: a flaw or a variant?"),  # it may be another variant
        ("defect", "user", 0.5, "blemished", ""),  # asked and answered
        ("unsure", "blemish", 0.02, "unsure", "family 1: a flaw or a variant?"),
    ],
)
def test_a_family_that_stands_out(
    batch: tuple[list[Photo], np.ndarray, np.ndarray], kind: Any, by: Any, all_over: float, call: str, reason: str
) -> None:
    rows = (0, 1, 2)
    made, _ = verdict(batch, [family(batch[0], rows, kind, by, all_over)])
    assert calls(made, rows) == [call] * 3
    assert {made.photos[row].reason for row in rows} == {reason}
    assert ("as flaw or variant" in made.judgement.sentence) == (call == "unsure")


def test_carriers_of_a_decided_flaw_are_blemished_whatever_they_score(
    batch: tuple[list[Photo], np.ndarray, np.ndarray],
) -> None:
    rows = (30, 45, 59)
    made, found = verdict(batch, [family(batch[0], rows)])
    assert calls(made, rows) == ["blemished"] * 3
    assert (found.defective[list(rows)] == 1).all()
    assert all(made.regions[made.photos[row].path] for row in rows), "where to look is told of them, too"
    assert made.judgement.always == rows
    strict, _ = verdict(batch, [family(batch[0], rows)], threshold=99.0)
    assert calls(strict, rows) == ["blemished"] * 3


def test_a_rare_variant_is_spared_but_not_a_flaw_on_it() -> None:
    """Fewer of its kind than vote, so all of them score high."""
    photos, grids, embeddings = batch_of(54, 6)
    grids[1:6] = grids[10:15] + 1.5
    grids[0] = grids[9] + 1.5
    grids[0, 4:6, 4:6] += 9.0
    scores = grids.reshape(60, -1).max(axis=1)
    assert scores[0] > scores[1:6].max() and scores[1:6].min() > scores[6:].max()
    photos = [replace(photo, score=float(score)) for photo, score in zip(photos, scores, strict=True)]
    order = np.argsort(-scores, kind="stable")
    batch = [photos[row] for row in order], grids[order], embeddings[order]
    plain, _ = verdict(batch)
    assert "ok" not in calls(plain, range(6)), "before the user has said that it is a variant"
    made, _ = verdict(batch, [family(batch[0], range(6), "variant", "user", 0.5)])
    assert calls(made, range(1, 6)) == ["ok"] * 5
    assert made.photos[0].verdict != "ok"
    assert set(made.judgement.spared) == {1, 2, 3, 4, 5}
    assert all(made.photos[row].regions == 0 for row in made.judgement.spared)


def test_a_variant_that_scores_as_the_others_do_changes_nothing_about_them(
    batch: tuple[list[Photo], np.ndarray, np.ndarray],
) -> None:
    plain, _ = verdict(batch)
    made, _ = verdict(batch, [family(batch[0], (30, 40, 50), "variant", "user", 0.5)])
    assert calls(made, range(6)) == calls(plain, range(6))
    assert calls(made, (30, 40, 50)) == ["ok"] * 3


def test_a_family_that_waits_does_not_move_the_threshold_of_the_others(
    batch: tuple[list[Photo], np.ndarray, np.ndarray],
) -> None:
    plain, _ = verdict(batch)
    rows = (0, 1, 2)
    made, _ = verdict(batch, [family(batch[0], rows, all_over=0.5)])
    assert calls(made, (3, 4, 5)) == calls(plain, (3, 4, 5)) == ["blemished"] * 3


def test_photos_that_wait_are_asked_about_where_nothing_else_stands_out() -> None:
    batch = batch_of(40, 4)
    made, _ = verdict(batch, [family(batch[0], range(4), "unsure")])
    assert calls(made, range(4)) == ["unsure"] * 4
    assert "blemished" not in calls(made, range(4, 44))
    assert "Nothing here stands out" not in made.judgement.sentence


def test_a_photo_of_two_families_waits_for_the_one_that_is_asked_about(
    batch: tuple[list[Photo], np.ndarray, np.ndarray],
) -> None:
    made, _ = verdict(batch, [family(batch[0], (0, 1, 2)), family(batch[0], (2, 3, 4), "unsure", number=2)])
    assert calls(made, (0, 1, 2, 3)) == ["blemished", "blemished", "unsure", "unsure"]
    assert made.photos[2].reason == "family 2: a flaw or a variant?"


@pytest.mark.parametrize("photos", range(3, 10))
@pytest.mark.parametrize("rule", [{}, {"max_false_alarms": 0.1}, {"expect_defects": 0.5}])
def test_few_photos_are_looked_at_and_not_condemned(photos: int, rule: dict[str, float]) -> None:
    made, _ = verdict(batch_of(photos - 1, 1, seed=photos), **rule)
    assert "blemished" not in calls(made, range(photos))
    for photo in made.photos:
        assert photo.reason == ("too few photos to be sure" if photo.verdict == "unsure" else "")


def test_few_photos_are_condemned_by_a_typed_threshold() -> None:
    batch = batch_of(7, 1)
    made, _ = verdict(batch, threshold=(batch[0][0].score + batch[0][1].score) / 2, max_unsure=0)  # type: ignore[operator]
    assert calls(made, range(8)) == ["blemished"] + ["ok"] * 7


def test_regions_that_are_known_are_not_looked_for_again(
    batch: tuple[list[Photo], np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, grids, _ = batch
    made, found = verdict(batch)
    monkeypatch.setattr("blemish.verdict.regions.regions_of", None)
    level = made.judgement.pixel_threshold
    again = judged(photos, grids, found, level, (), (), VerdictConfig(), made.regions)
    assert again.photos == made.photos
    assert again.regions == made.regions


def test_another_threshold_moves_no_region(batch: tuple[list[Photo], np.ndarray, np.ndarray]) -> None:
    made, _ = verdict(batch)
    lower, _ = verdict(batch, expect_defects=0.5)
    assert lower.judgement.pixel_threshold == made.judgement.pixel_threshold
    assert {path: lower.regions[path] for path in made.regions} == made.regions
    assert len(lower.regions) > len(made.regions)


def test_a_judgement_does_not_depend_on_an_earlier_one(batch: tuple[list[Photo], np.ndarray, np.ndarray]) -> None:
    photos, grids, _ = batch
    made, found = verdict(batch)
    old = [replace(photo, verdict="unsure", reason="near the threshold", regions=3, severity=1.0) for photo in photos]
    again = judged(old, grids, found, made.judgement.pixel_threshold, (), (), VerdictConfig(), {})
    assert again.photos == made.photos
