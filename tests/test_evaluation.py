"""Evaluation of a finished run: truth from trees and CSV files, masks, the table, what is said beneath it."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from blemish.errors import InputError
from blemish.evaluation import evaluate
from blemish.evaluation_table import metric_rows
from blemish.inputs.truth import fit_mask, read_mask, read_truth
from blemish.metrics.intervals import Interval
from blemish.metrics.ranking import auroc_of, rank_counts
from blemish.progress import Silent
from truth_runs import SHAPE, photos_of, save_mask, write_run, write_tree

KINDS = {"good": 6, "bad": 4, "crack": 3}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "part", KINDS)


def row(evaluation, name: str):
    return next(row for row in evaluation.rows if row.metric == name)


@pytest.mark.parametrize("below", ["", "test", ".."])  # the scanned folder, seen from the truth's root
def test_run_of_any_folder_finds_its_truth(tree, below):
    paths = photos_of(tree, (tree / below).resolve())
    found = read_truth(tree, paths)
    assert list(found) == paths
    for path, truth in found.items():
        assert truth.kind in path
        assert truth.label == (truth.kind != "good") == (truth.mask is not None)
        if truth.mask:
            assert truth.mask.parent.name == truth.kind
            assert truth.mask.stem.removesuffix("_mask") == Path(path).stem


def test_root_may_be_the_test_folder_itself(tree):
    paths = photos_of(tree, tree / "test")
    found = read_truth(tree / "test", paths)
    assert {path: truth.label for path, truth in found.items()} == {p: "good" not in p for p in paths}
    assert all(truth.mask for truth in found.values() if truth.label)


def test_equal_names_elsewhere_lend_no_label(tree):
    """A run of folders that the tree does not know must not be matched by bare file names."""
    with pytest.raises(InputError, match=r"'line2/0.png'.*'test/bad/0.png'"):
        read_truth(tree, ["line2/0.png", "line2/1.png"])
    with pytest.raises(InputError, match="None of the run's"):
        read_truth(tree, ["ad/0.png"])  # the end of a folder's name is not its name
    # good has photo 5 and bad does not, so this run can only be of test/good
    assert {truth.kind for truth in read_truth(tree, [f"{n}.png" for n in range(6)]).values()} == {"good"}
    with pytest.raises(InputError, match="could be those in"):
        read_truth(tree, ["0.png", "1.png"])


def test_photos_of_the_test_go_before_those_of_the_training(tree):
    (tree / "train" / "good").mkdir(parents=True)
    for n in range(4):
        (tree / "train" / "good" / f"{n}.png").touch()
    (tree / "test" / "bad").rename(tree / "test" / "other")
    assert len(read_truth(tree, ["good/0.png", "good/1.png"])) == 2
    assert read_truth(tree, ["train/good/0.png"])["train/good/0.png"].label is False


def test_not_a_truth(tree, tmp_path):
    with pytest.raises(InputError, match="no truth at"):
        read_truth(tmp_path / "absent", ["a.png"])
    with pytest.raises(InputError, match="test/good"):
        read_truth(tree / "ground_truth", ["a.png"])


def write_csv(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def test_csv_labels_and_masks(tmp_path):
    save_mask(tmp_path / "masks" / "b.png", np.ones((4, 4)))
    table = write_csv(
        tmp_path / "truth.csv",
        "\ufeffimage_path,label,mask_path,remark\n"
        "sub/a.jpg,0,masks/b.png,a mask of a normal photo is not read\n"
        "sub\\b.jpg,1,masks\\b.png,\n"
        "./c.jpg,OK,,\n"
        "d.jpg,scratch,masks/gone.png,\n"
        "e.jpg,,,no label is no truth\n",
    )
    found = read_truth(table, ["sub/a.jpg", "sub/b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"])
    assert {path: (truth.label, truth.kind) for path, truth in found.items()} == {
        "sub/a.jpg": (False, "0"),
        "sub/b.jpg": (True, "1"),
        "c.jpg": (False, "OK"),
        "d.jpg": (True, "scratch"),
    }
    assert [path for path, truth in found.items() if truth.mask] == ["sub/b.jpg"]


# (image_path in the table, paths of the run, the one it belongs to)
TRAILING = [
    ("/data/line/sub/a.jpg", ["sub/a.jpg", "sub/b.jpg"], "sub/a.jpg"),  # table longer
    ("a.jpg", ["sub/a.jpg", "sub/b.jpg"], "sub/a.jpg"),  # run longer
    ("a.jpg", ["x/a.jpg", "y/a.jpg", "b.jpg"], None),  # two photos it could be
    ("a.jpg", ["x/a.jpg", "a.jpg"], "a.jpg"),  # equal goes before trailing
    ("a.jpg", ["xa.jpg"], None),  # whole names only
]


@pytest.mark.parametrize(("listed", "paths", "match"), TRAILING)
def test_csv_matches_by_unique_trailing_part(tmp_path, listed, paths, match):
    table = write_csv(tmp_path / "t.csv", f"image_path;label\n{listed};1\n")
    if match is None:
        with pytest.raises(InputError, match="None of the run's"):
            read_truth(table, paths)
    else:
        assert list(read_truth(table, paths)) == [match]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,1\n", "lacks the column image_path"),
        ("", "lacks the column image_path and label"),
        ("image_path,label\na.jpg,1\na.jpg,good\n", "both normal and defective"),
    ],
)
def test_csv_that_teaches(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_truth(write_csv(tmp_path / "t.csv", text), ["a.jpg"])


def test_mask_modes(tmp_path):
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:6] = True
    grey = Image.fromarray(mask.astype(np.uint8))  # VisA: kinds of defect are 1, 2, ...
    palette = grey.convert("L").convert("P")
    palette.putpalette([0, 0, 0, 200, 0, 0])
    opaque = Image.merge("LA", (grey, Image.new("L", grey.size, 255)))
    images = {
        "grey.png": grey,
        "bits.png": Image.fromarray(mask),
        "colour.png": Image.merge("RGB", (grey, Image.new("L", grey.size), Image.new("L", grey.size))),
        "deep.png": Image.fromarray(mask.astype(np.uint16) * 9),
        "palette.png": palette,
        "opaque.png": opaque,
    }
    for name, image in images.items():
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read_mask(tmp_path / name), mask, err_msg=name)


def test_mask_folder_is_merged(tmp_path):
    parts = np.zeros((2, 6, 8))
    parts[0, 0, 0] = parts[1, 5, 7] = 1
    for n, part in enumerate(parts):
        save_mask(tmp_path / "7" / f"00{n}.png", part)
    np.testing.assert_array_equal(read_mask(tmp_path / "7"), parts.any(axis=0))
    save_mask(tmp_path / "7" / "002.png", np.ones((3, 3)))
    with pytest.raises(InputError, match="one size"):
        read_mask(tmp_path / "7")


def test_broken_mask_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"x\.png cannot be read"):
        read_mask(tmp_path / "x.png")


def test_fit_mask_takes_half_the_area():
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, :2] = True  # half of the first quarter
    mask[2:, :2] = True  # all of the third
    mask[2, 2] = True  # a quarter of the last
    np.testing.assert_array_equal(fit_mask(mask, (2, 2)), [[True, False], [True, False]])
    mask[0, 0] = mask[2:, :2] = False  # nothing reaches a half now: the first pixel covered most stays
    np.testing.assert_array_equal(fit_mask(mask, (2, 2)), [[True, False], [False, False]])
    assert not fit_mask(np.zeros((4, 4), dtype=bool), (2, 2)).any()


@pytest.mark.parametrize("shape", [(7, 5), (13, 31), (100, 64)])
def test_fit_mask_keeps_place_and_area(shape):
    mask = np.zeros((60, 50), dtype=bool)
    mask[12:40, 10:30] = True
    fitted = fit_mask(mask, shape)
    rows, columns = np.nonzero(fitted)
    assert fitted.mean() == pytest.approx(mask.mean(), abs=0.08)
    assert (rows.mean() + 0.5) / shape[0] == pytest.approx(26 / 60, abs=0.05)
    assert (columns.mean() + 0.5) / shape[1] == pytest.approx(20 / 50, abs=0.05)


def test_values_equal_scikit_learn(tree, tmp_path):
    paths = photos_of(tree, tree)
    run = write_run(tmp_path / "run", paths)
    found = evaluate(run, tree, resamples=100)
    labels = ["good" not in path for path in paths]
    with (run / "results.csv").open() as file:
        scores = {line["path"]: float(line["score"]) for line in csv.DictReader(file)}
    image_scores = [scores[path] for path in paths]
    assert row(found, "image AUROC").value == pytest.approx(roc_auc_score(labels, image_scores))
    assert row(found, "image AP").value == pytest.approx(average_precision_score(labels, image_scores))

    truths = read_truth(tree, paths)
    values = np.concatenate([tifffile.imread(run / "maps" / f"{path}.tif").ravel() for path in paths])
    masks = [truths[path].mask for path in paths]
    pixels = np.concatenate(
        [(fit_mask(read_mask(mask), SHAPE) if mask else np.zeros(SHAPE, bool)).ravel() for mask in masks]
    )
    assert row(found, "pixel AUROC").value == pytest.approx(roc_auc_score(pixels, values))
    assert row(found, "pixel AP").value == pytest.approx(average_precision_score(pixels, values))
    assert (found.photos, found.normal, found.defective, found.pixel_photos) == (13, 6, 7, 13)
    assert found.kinds == {"bad": 4, "crack": 3, "good": 6}
    for line in found.rows:
        assert 0 <= line.low <= line.value <= line.high <= 1, line
    assert "upper bound" in row(found, "pixel F1-max").note
    assert {"PRO (MuSc)", "PRO (MVTec)"} <= {line.metric for line in found.rows}
    assert any("above 0" in note for note in found.notes)
    json.dumps(found.as_dict(), allow_nan=False)


def test_same_seed_same_evaluation_whatever_the_order(tree, tmp_path):
    paths = photos_of(tree, tree)
    first = evaluate(write_run(tmp_path / "run", paths), tree, resamples=50)
    table = (tmp_path / "run" / "results.csv").read_text().splitlines()
    (tmp_path / "run" / "results.csv").write_text("\n".join([table[0], *table[:0:-1]]) + "\n")
    assert evaluate(tmp_path / "run", tree, resamples=50) == first


def test_progress_reaches_the_end_of_each_stage(tree, tmp_path):
    stages = []

    class Listener(Silent):
        @contextmanager
        def stage(self, name, total):
            steps = []
            yield steps.append
            stages.append((name, total, sum(steps)))

    run = write_run(tmp_path / "run", photos_of(tree, tree))
    save_mask(tree / "ground_truth" / "bad" / "1_mask.png", np.zeros((64, 96)))
    evaluate(run, tree, resamples=0, progress=Listener())
    assert stages == [("surveying maps", 13, 13), ("counting pixels", 12, 12)]


def test_without_resamples_there_are_no_intervals(tree, tmp_path):
    found = evaluate(write_run(tmp_path / "run", photos_of(tree, tree)), tree, resamples=0)
    assert all(line.value is not None and line.low is None and line.high is None for line in found.rows)
    assert "interval" not in " ".join(found.notes)


@pytest.mark.parametrize(
    ("resampled", "shown"),
    [((0.6, 0.7), (0.6, 0.75)), ((0.8, 0.9), (0.75, 0.9)), ((0.6, 0.9), (0.6, 0.9)), ((None, None), (None, None))],
)
def test_an_interval_holds_its_value(resampled, shown):
    """Resamples are counted in coarser bins than the value."""
    counts = rank_counts([1, 2, 3, 4], [0, 1, 0, 1])
    (row,) = metric_rows(counts, {"AUROC": auroc_of}, {"AUROC": Interval(*resampled, 0)}, 10)
    assert (row.value, row.low, row.high) == (0.75, *shown)


def test_run_without_maps_gives_image_metrics_and_says_so(tree, tmp_path):
    found = evaluate(write_run(tmp_path / "run", photos_of(tree, tree), maps=False), tree, resamples=20)
    assert row(found, "image AUROC").value is not None
    assert row(found, "pixel AUROC").value is None
    assert "no anomaly maps" in row(found, "PRO (MVTec)").note
    assert any("--maps none" in note for note in found.notes)


def test_whatever_is_left_out_is_said(tree, tmp_path):
    (tree / "ground_truth" / "bad" / "0_mask.png").unlink()
    save_mask(tree / "ground_truth" / "bad" / "1_mask.png", np.zeros((64, 96)))
    wide = np.zeros((64, 200))
    wide[:30, :90] = 1
    save_mask(tree / "ground_truth" / "bad" / "2_mask.png", wide)
    run = write_run(tmp_path / "run", [*photos_of(tree, tree), "extra/new.png"])
    (run / "maps" / "test" / "good" / "0.png.tif").unlink()
    with (run / "results.csv").open("a") as file:
        file.write("test/crack/9.png,,,,,,unreadable,truncated,\r\n")
    (tree / "test" / "crack" / "9.png").touch()
    found = evaluate(run, tree, resamples=20)
    notes = "\n".join(found.notes)
    assert found.without_truth == 1
    assert "1 photo without a truth left out, for example extra/new.png" in notes
    assert "test/crack/9.png" in notes
    assert "1 defective photo without a mask, for example test/bad/0.png" in notes
    assert "mask is empty, for example test/bad/1.png" in notes
    assert "another shape than the photo" in notes
    assert "that of test/bad/2.png" in notes
    assert "1 photo without a map: test/good/0.png" in notes
    assert "Only 7 defective" in notes
    assert found.pixel_photos == 13 - 3


def test_undefined_metrics_are_skipped_with_the_reason(tree, tmp_path):
    run = write_run(tmp_path / "run", [f"test/good/{n}.png" for n in range(6)])
    found = evaluate(run, tree, resamples=20)
    assert all(line.value is None for line in found.rows)
    assert "nothing in the truth is defective" in row(found, "image AUROC").note
    run = write_run(tmp_path / "run2", photos_of(tree, tree))
    for mask in (tree / "ground_truth").rglob("*.*"):
        save_mask(mask, np.zeros((64, 96)))
    found = evaluate(run, tree, resamples=20)
    assert found.pixel_photos == 6
    assert "defective" in row(found, "pixel AUROC").note
    assert "no mask holds" in row(found, "PRO (MuSc)").note


def test_csv_truth_without_masks(tmp_path):
    paths = ["good1.jpg", "good2.jpg", "bad1.jpg", "bad2.jpg"]
    table = write_csv(tmp_path / "t.csv", "image_path,label\n" + "\n".join(f"{p},{p[:-5]}" for p in paths))
    found = evaluate(write_run(tmp_path / "run", paths), table, resamples=20)
    assert row(found, "image AP").value is not None
    assert "no defective photo with a mask" in row(found, "pixel AP").note


def test_not_a_run(tree, tmp_path):
    with pytest.raises(InputError, match="not a finished run"):
        evaluate(tmp_path, tree)
    run = write_run(tmp_path / "run", photos_of(tree, tree))
    (run / "run.json").write_text('{"schema": 2, "blemish": "9.0"}')
    with pytest.raises(InputError, match="schema 2"):
        evaluate(run, tree)
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match="not the manifest"):
        evaluate(run, tree)


def test_damaged_map_is_named(tree, tmp_path):
    run = write_run(tmp_path / "run", photos_of(tree, tree))
    file = run / "maps" / "test" / "bad" / "0.png.tif"
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"0\.png\.tif"):
        evaluate(run, tree)
    tifffile.imwrite(file, np.full(SHAPE, np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="finite"):
        evaluate(run, tree)
