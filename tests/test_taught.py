"""The folder ``taught/`` of a run: what was written is read again to the bit, and damage is said in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.scoring.examples import Examples
from blemish.taught import Example, Lesson, Taught, read, said_in
from token_batches import unit

PATHS = ("b.png", "a.png", "c.png")


def tokens(count: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 8)))


def made() -> Taught:
    rng = np.random.default_rng(0)
    lessons = (
        Lesson((Example("good", "a.png", "1" * 64),), (Examples.of(0, good=tokens(4, 1)),), 0.5),
        Lesson((Example("defect", "x.png", "2" * 64, 0.1),), (Examples.of(1, defects=tokens(2, 2)),), 0.25),
    )
    maps = [rng.random((3, 2, 2), np.float32) for _ in range(3)]
    embeddings = rng.random((3, 5), np.float32)
    return Taught("features", lessons, {"a.png": "ok"}, PATHS, embeddings, maps[0], maps[1], maps[2])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made().write(tmp_path / "taught")
    return tmp_path


def test_what_was_written_is_read_again(run: Path) -> None:
    found, expected = read(run), made()
    assert found is not None
    for name in ("features", "said", "paths", "trust", "examples"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("base", "good", "lift", "embeddings", "maps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for ours, theirs in zip(found.lessons, expected.lessons, strict=True):
        for one, other in zip(ours.tokens, theirs.tokens, strict=True):
            np.testing.assert_array_equal(one.good, other.good)
            np.testing.assert_array_equal(one.defects, other.defects)
            np.testing.assert_array_equal(one.good_of, other.good_of)
            assert one.good.dtype == np.float32
    assert said_in(run) == {"a.png": "ok"}


def test_a_run_that_was_taught_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert said_in(tmp_path) == {}


def test_maps_follow_the_photos_into_another_order() -> None:
    """Photos change their order whenever their scores do."""
    known, order = made(), ("a.png", "b.png", "c.png")
    np.testing.assert_array_equal(known.base_of(order), known.base[[1, 0, 2]])
    moved = known.with_base(known.base_of(order), order)
    np.testing.assert_array_equal(moved.maps, known.maps[[1, 0, 2]])
    np.testing.assert_array_equal(moved.embeddings, known.embeddings[[1, 0, 2]])
    for other in (("a.png", "b.png"), ("a.png", "b.png", "d.png"), (*order, "d.png")):
        with pytest.raises(InputError, match="other photos than those of the run"):
            known.base_of(other)


def _facts(name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        facts = json.loads((folder / "lessons.json").read_text())
        (folder / "lessons.json").write_text(json.dumps(facts | {name: value}))

    return change


# what happened to the folder
DAMAGE: dict[str, Callable[[Path], object]] = {
    "no lessons": lambda folder: (folder / "lessons.json").unlink(),
    "no maps": lambda folder: (folder / "maps.npz").unlink(),
    "no tokens": lambda folder: (folder / "tokens.npz").unlink(),
    "empty maps": lambda folder: (folder / "maps.npz").write_bytes(b""),
    "maps that are a photo": lambda folder: (folder / "maps.npz").write_bytes(b"\x89PNG" * 9),
    "half of the tokens": lambda folder: (folder / "tokens.npz").write_bytes(
        (folder / "tokens.npz").read_bytes()[:200]
    ),
    "lessons that are a list": lambda folder: (folder / "lessons.json").write_text("[]"),
    "lessons that are nothing": lambda folder: (folder / "lessons.json").write_text("null"),
    "no trust": _facts("lessons", [{"passes": 0, "examples": []}]),
    "trust in words": _facts("lessons", [{"passes": 0, "examples": [], "trust": "much"}]),
    "photos that are a number": _facts("paths", 3),
    "something else said": _facts("said", {"a.png": "fine"}),
    "a lesson of another kind": _facts("lessons", [{"passes": 1, "examples": [{"colour": "red"}]}]),
    "more passes than tokens": _facts("lessons", [{"passes": 9, "examples": []}]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage(run: Path, what: str) -> None:
    DAMAGE[what](run / "taught")
    with pytest.raises(InputError, match="taught' is missing a file or damaged"):
        read(run)
