"""Pseudo masks of made-up maps, and of finished runs: what was said, decided and taught is heard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blemish.deciding import decide
from blemish.errors import InputError
from blemish.learning.pseudo_calls import Recipe
from blemish.learning.pseudo_masks import PseudoLabels, pixel_labels, pseudo_labels
from blemish.rejudging import rejudge
from blemish.run import read_rows
from blemish.sinks.families import read as read_families
from blemish.teaching import teach
from blemish.verdict.regions import mask_of
from judged_runs import THIRD, scanned, write_stained

SHAPE = (96, 128)  # of the photo: 8 pixels a token
GRID = (12, 16)
RECIPES = (Recipe(), Recipe(masks="level"))


def bump(height: float = 1.0, centre: tuple[float, float] = (6, 5), width: float = 2.0) -> np.ndarray:
    """(12, 16) map: 0.1 and a hill."""
    rows, columns = np.ogrid[: GRID[0], : GRID[1]]
    hill = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * width**2))
    return (0.1 + height * hill).astype(np.float32)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_hill_becomes_a_mask_whose_edge_is_soft(recipe):
    pixels = pixel_labels(bump(), SHAPE, 0.5, recipe)
    assert pixels.mask.shape == pixels.soft.shape == pixels.confidence.shape == SHAPE
    assert pixels.mask[50, 42]  # the hill's top
    assert not pixels.mask[:10].any()
    assert np.array_equal(pixels.mask, pixels.soft > 0.5)
    np.testing.assert_allclose(pixels.confidence, np.abs(2 * pixels.soft - 1), atol=1e-6)
    assert pixels.confidence[50, 42] == pixels.confidence[0, 127] == 1
    outline = pixels.mask & ~np.roll(pixels.mask, 1, axis=1)
    assert pixels.confidence[outline].max() < 0.3
    assert (pixels.ignored & pixels.mask).any() and (pixels.ignored & ~pixels.mask).any()


def test_regions_are_those_of_the_run():
    hard = mask_of(bump(), SHAPE, 0.5)
    ours = pixel_labels(bump(), SHAPE, 0.5, Recipe()).mask
    assert (hard & ours).sum() / (hard | ours).sum() > 0.93  # found on samples of an eighth of a token


def test_the_edge_is_in_tokens():
    widths = [(pixel_labels(bump(), SHAPE, 0.5, Recipe(edge=edge)).confidence < 0.999).sum() for edge in (0.5, 1, 2)]
    assert widths[0] < widths[1] < widths[2]
    twice = pixel_labels(bump(), (192, 256), 0.5, Recipe())  # and not in pixels
    assert (twice.confidence < 0.999).mean() == pytest.approx(widths[1] / (96 * 128), rel=0.1)


def test_a_small_flaw_is_believed_in_its_middle():
    pixels = pixel_labels(bump(width=0.4), SHAPE, 0.5, Recipe())
    assert 0 < pixels.mask.sum() < 150
    assert pixels.confidence[pixels.mask].max() > 0.8


def test_what_the_border_cuts_off_goes_on():
    pixels = pixel_labels(bump(centre=(6, 0)), SHAPE, 0.5, Recipe())
    assert pixels.confidence[50, 0] == 1


@pytest.mark.parametrize(("smallest", "pieces"), [(0.0, 2), (4.0, 1), (500.0, 1)])  # the largest one stays
def test_small_pieces_are_dropped(smallest, pieces):
    from scipy import ndimage

    grid = np.maximum(bump(), bump(0.9, (3, 13), 0.6))
    mask = pixel_labels(grid, SHAPE, 0.5, Recipe(masks="level", smallest=smallest)).mask
    assert ndimage.label(mask)[1] == pieces
    assert mask[50, 42]


@given(arrays(np.float32, (3, 4), elements=st.floats(0, 10, width=32)), st.floats(0, 10), st.sampled_from(RECIPES))
def test_any_map_has_a_mask(grid, level, recipe):
    for shape in ((50, 40), (5, 4)):  # also where photos are smaller than their maps' canvas
        pixels = pixel_labels(grid, shape, level, recipe)
        assert pixels.mask.any()
        assert np.isfinite(pixels.soft).all()
        assert ((pixels.soft >= 0) & (pixels.soft <= 1)).all()


# runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plain``: flaws of their own strength on four photos; ``third``: one flaw on a third of them."""
    home = tmp_path_factory.mktemp("made")
    scanned(write_stained(home / "parts"), home / "plain")
    scanned(write_stained(home / "shared", THIRD), home / "third", families="auto", join=True)
    return home


@pytest.fixture
def copy_of(home: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(home / name, tmp_path / name))


def positives(labels: PseudoLabels) -> dict[str, str]:
    return {photo.path: photo.kind for photo in labels.photos if photo.label}


def test_labels_follow_the_verdict(home):
    labels = pseudo_labels(home / "plain", Recipe(sound=1))
    rows = {row.path: row for row in read_rows(home / "plain")}
    called = {path for path, row in rows.items() if row.verdict == "blemished"}
    assert called and set(positives(labels)) == called
    assert {photo.path for photo in labels.photos} | set(labels.left_out) == set(rows)
    assert {path for path, row in rows.items() if row.verdict == "unsure"} == set(labels.left_out)
    for photo in labels.photos:
        pixels = labels.pixels(photo)
        assert pixels.mask.shape == (64, 64)
        assert pixels.mask.any() == photo.label
        if photo.label:
            assert pixels.mask[32:48, 8:24].sum() > 0.3 * pixels.mask.sum()  # where the flaws are
        else:
            assert pixels.confidence.min() == 1


def test_of_what_is_ok_only_the_sounder_half_is_good(home):
    every, half = (pseudo_labels(home / "plain", Recipe(sound=sound)) for sound in (1, 0.5))
    scores = {row.path: row.score for row in read_rows(home / "plain")}
    good = {photo.path for photo in half.photos if not photo.label}
    others = {photo.path for photo in every.photos if not photo.label} - good
    assert max(scores[path] for path in good) <= min(scores[path] for path in others)
    assert positives(every) == positives(half)


def test_a_threshold_that_the_user_has_set_is_the_users_word(copy_of):
    run = copy_of("plain")
    threshold = sorted((row.score for row in read_rows(run)), reverse=True)[7] * 1.0001
    rejudge(run, threshold=threshold, max_unsure=0)
    labels = pseudo_labels(run)
    assert len(positives(labels)) == 7
    assert {photo.confidence for photo in labels.photos} == {1.0}


def test_families_are_kinds_and_decisions_are_heard(copy_of):
    run = copy_of("third")
    family = read_families(run / "families.json")[0]
    decide(run, family.number, "defect")
    decided = read_families(run / "families.json")[0]
    labels = pseudo_labels(run)
    kind = f"family-{decided.number}"
    assert {path for path, of in positives(labels).items() if of == kind} == set(decided.paths)
    assert {photo.confidence for photo in labels.photos if photo.kind == kind} == {1.0}
    decide(run, decided.number, "variant")
    with pytest.raises(InputError, match=r"counts as defective \(0 defective, .*nothing to learn from it"):
        pseudo_labels(run)


def test_what_was_taught_counts_most(copy_of):
    run = copy_of("plain")
    worst, best = read_rows(run)[0].path, read_rows(run)[-1].path
    teach(run, good=[worst])
    labels = {photo.path: photo for photo in pseudo_labels(run, Recipe(sound=1)).photos}
    assert (labels[worst].label, labels[worst].why, labels[worst].confidence) == (False, "as you said", 1.0)
    assert not labels[best].label


@pytest.mark.parametrize("recipe", [Recipe(labels="otsu"), Recipe(masks="level"), Recipe(unsure="weigh", sound=1)])
def test_other_recipes(home, recipe):
    labels = pseudo_labels(home / "plain", recipe)
    found = positives(labels)
    assert found
    assert all(labels.pixels(photo).mask.any() for photo in labels.photos if photo.label)
    if recipe.unsure == "weigh":
        assert not labels.left_out


def test_a_run_without_defects(tmp_path):
    run = scanned(write_stained(tmp_path / "good", (0.0,) * 12), tmp_path / "run")
    with pytest.raises(InputError, match=r"No photo of .* counts as defective.*--expect-defects"):
        pseudo_labels(run)


def test_a_run_without_good_photos(copy_of):
    run = copy_of("plain")
    rejudge(run, threshold=0.0, max_unsure=0)
    with pytest.raises(InputError, match=r"No photo of .* counts as good \(24 defective, 0 good"):
        pseudo_labels(run)


def test_what_is_no_run(tmp_path, copy_of):
    with pytest.raises(InputError, match="is not a finished run"):
        pseudo_labels(tmp_path)
    run = copy_of("plain")
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    lines[0]["score"] += 1
    (run / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="does not fit the run's verdict"):
        pseudo_labels(run)
