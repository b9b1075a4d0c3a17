"""The tree of pseudo-masks: what stands where, that others can read it, and that it is complete or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError, OutputError, RunError
from blemish.evaluation import evaluate
from blemish.inputs.truth import read_mask, read_truth
from blemish.learning import pseudo_tree
from blemish.learning.pseudo_calls import Recipe
from blemish.learning.pseudo_masks import PseudoLabels, pseudo_labels
from judged_runs import THIRD, contents, scanned, write_stained


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``parts/``: photos in two folders, one of them with photos that are called the same; ``run``: their scan."""
    home = tmp_path_factory.mktemp("made")
    write_stained(home / "parts" / "a")
    (home / "parts" / "b").mkdir()
    for number in range(6):
        Image.open(home / "parts" / "a" / f"{number}.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
            home / "parts" / "b" / f"{number}.bmp"
        )
    scanned(home / "parts", home / "run")
    return home


@pytest.fixture(scope="module")
def labels(home: Path) -> PseudoLabels:
    return pseudo_labels(home / "run")


@pytest.fixture(scope="module")
def tree(home: Path, labels: PseudoLabels) -> Path:
    return pseudo_tree.write(labels, home / "tree")


def test_what_stands_where(labels, tree):
    assert sorted(path.name for path in tree.iterdir()) == [
        *("confidence", "ground_truth", "labels.csv", "pseudo.json", "soft", "test", "train")
    ]
    good = [photo for photo in labels.photos if not photo.label]
    defective = [photo for photo in labels.photos if photo.label]
    assert len(list((tree / "train" / "good").iterdir())) == len(list((tree / "test" / "good").iterdir())) == len(good)
    assert len(list((tree / "test" / "defect").iterdir())) == len(defective) > 0
    for folder, suffix in (("ground_truth", "_mask.png"), ("soft", ".png"), ("confidence", ".png")):
        names = {file.name for file in (tree / folder / "defect").iterdir()}
        assert names == {f"{photo.stem}{suffix}" for photo in (tree / "test" / "defect").iterdir()}
    stored = json.loads((tree / "pseudo.json").read_text())
    assert Recipe(**stored["recipe"]) == labels.recipe
    assert stored["left_out"] == labels.left_out
    assert stored["counts"]["good"] == len(good)


def test_reading_gives_back_what_was_written(home, labels, tree):
    found = pseudo_tree.read(tree)
    assert [one.path for one in found] == [photo.path for photo in labels.photos]
    for one, photo in zip(found, labels.photos, strict=True):
        assert (one.label, one.kind, one.confidence) == (photo.label, photo.kind, photo.confidence)
        assert one.photo.read_bytes() == (home / "parts" / photo.path).read_bytes()
        pixels = labels.pixels(photo)
        if one.mask is None or one.soft is None or one.certainty is None:
            assert not photo.label
            continue
        assert np.array_equal(read_mask(one.mask), pixels.mask)
        np.testing.assert_allclose(pseudo_tree.read_share(one.soft), pixels.soft, atol=1e-5)
        np.testing.assert_allclose(pseudo_tree.read_share(one.certainty), pixels.confidence, atol=1e-5)


def test_our_truth_reader_reads_the_tree(tmp_path, tree):
    """Whether the tree, its test split or the photos of one kind were scanned."""
    files = sorted(path.relative_to(tree).as_posix() for path in tree.glob("test/*/*"))
    for above in ("", "test/"):
        found = read_truth(tree, [file.removeprefix(above) for file in files])
        assert len(found) == len(files)
        for path, truth in found.items():
            assert truth.label == ("good" not in path)
            assert (truth.mask is not None) == truth.label
            assert truth.mask is None or read_mask(truth.mask).any()


def test_evaluating_a_scan_of_the_tree_and_the_run_itself(tmp_path, home, labels, tree):
    run = scanned(tree / "test", tmp_path / "again")
    assert evaluate(run, tree, resamples=0).without_truth == 0
    own = evaluate(home / "run", tree / "labels.csv", resamples=0)
    assert own.defective == sum(photo.label for photo in labels.photos)
    assert own.without_truth == len(labels.left_out)
    assert next(row for row in own.rows if row.metric == "image AUROC").value == 1  # it agrees with itself


def test_families_are_kinds(tmp_path):
    run = scanned(write_stained(tmp_path / "parts", THIRD), tmp_path / "run", families="auto", join=True)
    from blemish.deciding import decide
    from blemish.sinks.families import read as read_families

    decide(run, 1, "defect")
    family = read_families(run / "families.json")[0]
    tree = pseudo_tree.write(pseudo_labels(run), tmp_path / "tree")
    assert {file.name for file in (tree / "test" / f"family-{family.number}").iterdir()} == set(family.paths)
    assert len(list((tree / "ground_truth" / f"family-{family.number}").iterdir())) == len(family.paths)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.png", "b.jpg"], ["a.png", "b.jpg"]),
        (["x/a.png", "y/a.png"], ["x__a.png", "y__a.png"]),  # trainers do not look into folders
        (["a.png", "a.jpg"], ["a.png", "a~2.jpg"]),  # masks are found by the stem
        (["A.png", "a.png"], ["A.png", "a~2.png"]),  # some disks do not tell capitals
        (["x/a.png", "x__a.png"], ["x__a.png", "x__a~2.png"]),
        (["Ä ß.png"], ["Ä ß.png"]),
        (["\udce4.png"], ["\udce4.png"]),  # of a disk whose names are in another encoding
    ],
)
def test_names(paths, names):
    assert list(pseudo_tree._names(paths).values()) == names


def test_long_names_are_cut_and_stay_apart():
    paths = [f"{'long/' * 60}{end}.png" for end in "ab"]
    one, other = pseudo_tree._names(paths).values()
    assert one != other
    assert len(one.encode()) <= 230


def test_copies_are_no_links(tmp_path, labels):
    for copy in (False, True):
        tree = pseudo_tree.write(labels, tmp_path / str(copy), copy=copy)
        links = {file.stat().st_nlink > 1 for file in (tree / "test").rglob("*.png")}
        assert links == {not copy}


def test_turned_photos_stand_upright(tmp_path):
    """Cameras store how they were held; many trainers do not look at that, and masks would not fit."""
    write_stained(tmp_path / "parts")
    for file in list((tmp_path / "parts").iterdir()):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        Image.open(file).resize((80, 64)).save(file.with_suffix(".jpg"), quality=95, exif=exif)
        file.unlink()
    labels = pseudo_labels(scanned(tmp_path / "parts", tmp_path / "run"))
    found = pseudo_tree.read(pseudo_tree.write(labels, tmp_path / "tree"))
    assert {one.photo.suffix for one in found} == {".png"}
    for one in found:
        with Image.open(one.photo) as photo, Image.open(one.mask or one.photo) as mask:
            assert photo.size == mask.size == (64, 80)
            assert photo.getexif().get(0x0112, 1) == 1


def test_equal_runs_give_equal_trees(tmp_path, labels, tree):
    assert contents(pseudo_tree.write(labels, tmp_path / "again")) == contents(tree)


def test_an_occupied_folder_is_refused(tmp_path, labels):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"files that blemish did not write \(mine.txt\)"):
        pseudo_tree.write(labels, tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_inside_the_photos_is_refused(home, labels):
    with pytest.raises(OutputError, match="lies inside the photos"):
        pseudo_tree.write(labels, home / "parts" / "tree")


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (OSError(28, "No space left on device"), RunError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_complete_or_not_there(tmp_path, labels, monkeypatch, broken, error):
    calls = []

    def failing(picture, *arguments, **settings):
        calls.append(picture)
        if len(calls) > 4:
            raise broken
        return saved(picture, *arguments, **settings)

    saved = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(error):
        pseudo_tree.write(labels, tmp_path / "new" / "tree")
    assert list((tmp_path / "new").iterdir()) == []


def test_photos_that_have_gone(tmp_path):
    run = scanned(write_stained(tmp_path / "parts"), tmp_path / "run")
    labels = pseudo_labels(run)
    (tmp_path / "parts" / labels.photos[0].path).unlink()
    with pytest.raises(InputError, match=r"1 of 24 photos of .* are not there any more"):
        pseudo_tree.write(labels, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda tree: (tree / "pseudo.json").unlink(), "is not a folder of pseudo-masks"),
        (lambda tree: (tree / "pseudo.json").write_text("{}"), "is not a folder of pseudo-masks .*'schema'"),
        (lambda tree: (tree / "pseudo.json").write_text('{"schema": 9}'), "its schema is 9, this blemish reads 1"),
        (lambda tree: shutil.rmtree(tree / "soft"), "files of .* are missing, first "),
    ],
)
def test_damaged_trees(tmp_path, tree, damage, says):
    copy = Path(shutil.copytree(tree, tmp_path / "copy"))
    damage(copy)
    with pytest.raises(InputError, match=says):
        pseudo_tree.read(copy)


def test_soft_masks_that_are_none(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "eight.png")
    (tmp_path / "text.png").write_text("none")
    for name, says in (("eight.png", "its mode is L, not 16 bits"), ("text.png", "cannot be read")):
        with pytest.raises(InputError, match=says):
            pseudo_tree.read_share(tmp_path / name)
