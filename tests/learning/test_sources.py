"""What a prompt model can learn from: runs, pseudo-masks and known truth read alike, and what is none of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.learning import pseudo_tree
from blemish.learning.pseudo_masks import pseudo_labels
from blemish.learning.sources import Source, read_source, require_both
from judged_runs import BOX, scanned, stained, write_stained

SHAPE = (40, 80)
FLAWS = (0.0,) * 20 + (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``metal_nut/``: photos; ``run``: their scan; ``masks``: what it says of them; ``truth.csv``."""
    home = tmp_path_factory.mktemp("made")
    write_stained(home / "metal_nut", FLAWS)
    scanned(home / "metal_nut", home / "run")
    pseudo_tree.write(pseudo_labels(home / "run"), home / "masks")
    return home


def write_truth(root: Path, good: str, bad: str, masks: str, suffix: str = "") -> Path:
    """Two good photos and one that is flawed, with its mask, in the places of a published set."""
    for at, folder in enumerate((good, good, bad)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(stained(at, at // 2)).save(root / folder / f"{at}.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 1
    (root / masks).mkdir(parents=True)
    Image.fromarray(mask).save(root / masks / f"2{suffix}.png")
    return root


@pytest.fixture(params=["mvtec", "visa", "csv"])
def truth(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    if request.param == "mvtec":
        yield "bottle", write_truth(tmp_path / "bottle", "test/good", "test/crack", "ground_truth/crack", "_mask")
    elif request.param == "visa":
        yield (
            "candle",
            write_truth(tmp_path / "candle", "Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"),
        )
    else:
        root = write_truth(tmp_path / "all", "a", "b", "drawn")
        rows = ("image_path,label,mask_path", "a/0.png,good,", "a/1.png,0,", "b/2.png,bent,drawn/2.png")
        (root / "steel_plate.csv").write_text("\n".join(rows))
        yield "steel plate", root / "steel_plate.csv"


def counts(source: Source) -> tuple[int, int]:
    return source.defective, len(source.items) - source.defective


def test_a_run_teaches_what_its_pseudo_labels_say(home: Path) -> None:
    source, labels = read_source(str(home / "run")), pseudo_labels(home / "run")
    assert (source.kind, source.words) == ("run", "metal nut")
    assert [(one.photo.path, one.label, one.confidence) for one in source.items] == [
        (one.path, one.label, one.confidence) for one in labels.photos
    ]
    assert source.left_out == labels.left_out
    assert all(one.photo.file.is_file() for one in source.items)
    for item, photo in zip(source.items, labels.photos, strict=True):
        pixels = item.pixels((64, 64))
        assert (pixels is None) == (not photo.label)
        if pixels is not None:
            assert np.array_equal(pixels.mask, labels.pixels(photo).mask)
            assert item.pixels(SHAPE).mask.shape == SHAPE  # type: ignore[union-attr]
    assert f"{source.defective} defective" in source.notes[0]


def test_a_run_that_knows_only_a_lower_bound_says_so(home: Path, tmp_path: Path) -> None:
    """And so does one whose families wait."""
    run = tmp_path / "run"
    shutil.copytree(home / "run", run)
    facts = json.loads((run / "verdict" / "facts.json").read_text())
    (run / "verdict" / "facts.json").write_text(json.dumps({**facts, "at_least": False}))
    assert len(read_source(str(run)).notes) == 1
    (run / "verdict" / "facts.json").write_text(json.dumps({**facts, "at_least": True}))
    families = json.loads((run / "families.json").read_text())
    member = {"path": "0.png", "sha256": "", "box": {"left": 0, "top": 0, "right": 1, "bottom": 1}}
    asking = {
        **{"number": 1, "kind": "unsure", "decided_by": "blemish", "question": "which?", "members": [member]},
        **dict.fromkeys(("strength", "fence", "density", "score_with", "score_without"), 1.0),
        "place": {"height": 1, "width": 1, "shares": [[0.0]]},
    }
    (run / "families.json").write_text(json.dumps({**families, "families": [asking]}))
    notes = "\n".join(read_source(str(run)).notes)
    assert "more photos may be defective" in notes and "1 family waits" in notes


def test_pseudo_masks_are_their_run(home: Path) -> None:
    run, tree = read_source(str(home / "run")), read_source(str(home / "masks"))
    assert (tree.kind, tree.words) == ("tree", "metal nut")
    assert [(one.photo.path, one.label, one.confidence) for one in tree.items] == [
        (one.photo.path, one.label, one.confidence) for one in run.items
    ]
    for one, other in zip(tree.items, run.items, strict=True):
        stored, made = one.pixels((64, 64)), other.pixels((64, 64))
        assert (stored is None) == (made is None)
        if stored is not None and made is not None:
            assert np.array_equal(stored.mask, made.mask)
            np.testing.assert_allclose(stored.soft, made.soft, atol=1e-4)
            np.testing.assert_allclose(stored.confidence, made.confidence, atol=1e-4)
        resized = one.pixels(SHAPE)
        assert resized is None or resized.soft.shape == resized.mask.shape == resized.confidence.shape == SHAPE


def test_a_tree_is_named_after_its_run_even_if_that_is_gone(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "masks", tmp_path / "masks")
    file = tmp_path / "masks" / "pseudo.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "run": str(tmp_path / "hex_bolt-blemish")}))
    assert read_source(str(tmp_path / "masks")).words == "hex bolt"


def test_known_truth(truth: tuple[str, Path]) -> None:
    words, path = truth
    source = read_source(str(path))
    assert (source.kind, source.words, counts(source)) == ("truth", words, (1, 2))
    assert all(one.confidence == 1 for one in source.items)
    (flawed,) = [one for one in source.items if one.label]
    pixels = flawed.pixels((64, 64))
    assert pixels is not None
    assert np.array_equal(np.argwhere(pixels.mask)[[0, -1]], [[BOX[1], BOX[0]], [BOX[3] - 1, BOX[2] - 1]])
    assert np.array_equal(pixels.mask, pixels.soft) and (pixels.confidence == 1).all()
    assert [one.pixels(SHAPE) for one in source.items if not one.label] == [None, None]


def test_a_flaw_that_nobody_has_drawn_is_left_out(tmp_path: Path) -> None:
    root = write_truth(tmp_path / "nut", "test/good", "test/crack", "ground_truth/crack", "_mask")
    Image.fromarray(stained(9, 1)).save(root / "test" / "crack" / "9.png")
    source = read_source(str(root))
    assert counts(source) == (1, 2)
    assert source.left_out == {"test/crack/9.png": "defective, but nobody has drawn where"}


# what is typed, and the words that are understood
@pytest.mark.parametrize(
    ("typed", "words"), [("hex bolt={}/run", "hex bolt"), ("={}/run", "metal nut"), ("{}/a=b", "metal nut")]
)
def test_words_before_the_path(home: Path, tmp_path: Path, typed: str, words: str) -> None:
    for name in ("run", "a=b"):
        shutil.copytree(home / "run", tmp_path / name)
    assert read_source(typed.format(tmp_path)).words == words


# none of the three kinds, and what is said
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root / "nowhere", "There is no"),
        (lambda root: "screw " * 200 + f"={root}/nowhere", "There is no"),
        (lambda root: f"nut\0={root}/nowhere", "There is no"),
        (lambda root: write_stained(root / "photos"), "Give a finished run, a folder of pseudo-masks, or photos"),
        (lambda root: _with(root / "model.safetensors", "x"), "Give a finished run, a folder of pseudo-masks"),
        (lambda root: _with(root / "list.csv", "image_path\n0.png"), "lacks the column label.*Give a finished run"),
    ],
)
def test_a_source_that_is_none(make: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_source(str(make(tmp_path)))  # type: ignore[operator]


def _with(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_both_kinds_of_photos_are_needed_in_all_sources_together(tmp_path: Path) -> None:
    whole = read_source(str(write_truth(tmp_path / "nut", "test/good", "test/crack", "ground_truth/crack", "_mask")))
    (tmp_path / "nut" / "test" / "crack" / "2.png").unlink()
    good = read_source(str(tmp_path / "nut"))
    require_both([good, whole])
    with pytest.raises(InputError, match=r"No photo in .*nut' is defective \(0 defective, 2 good\)"):
        require_both([good])
    (tmp_path / "nut" / "test" / "good" / "1.png").unlink()
    only = Source("nut", whole.path, "truth", tuple(one for one in whole.items if one.label), {}, ())
    with pytest.raises(InputError, match=r"is good \(1 defective, 0 good\)"):
        require_both([only])
