"""How good a run of volumes was: truths from folders, derivatives and tables, and the figures by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

import volume_files as made
from blemish.errors import InputError
from blemish.evaluation import Evaluation, evaluate
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volume_truth import read_volume_truth
from blemish.metrics.volumes import Agreement, agreement
from blemish.published.table import evaluate_classes
from blemish.scanning import scan
from blemish.volume_evaluation import _at_verdict
from volume_scans import CONFIG, LESION, SHAPE, stored, write


def lesion() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    return mask


def masks(folder: Path, name: str = "b{:02}.nii.gz", count: int = 6, lesions: tuple[int, ...] = (4,)) -> Path:
    for number in range(count):
        made.write_nifti(folder / name.format(number), lesion() if number in lesions else np.zeros(SHAPE, np.uint8))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    return scan(write(folder / "brains"), CONFIG).save(folder / "run", maps="none")


def value(found: Evaluation, metric: str) -> float:
    (row,) = (row for row in found.rows if row.metric == metric)
    assert row.value is not None, row.note
    return row.value


def test_a_run_against_masks(run: Path, tmp_path: Path) -> None:
    """Also where no map was written: the verdict has kept them."""
    found = evaluate(run, masks(tmp_path / "truth"), resamples=50)
    assert (found.photos, found.normal, found.defective, found.pixel_photos) == (6, 5, 1, 6)
    assert value(found, "patient AUROC") == 1
    assert value(found, "voxel AUROC") > 0.95
    assert 0 < value(found, "Dice at the verdict") <= value(found, "best Dice") + 0.05
    assert value(found, "lesions found at the verdict") == 1
    assert value(found, "lesions found at 1 false peak a volume") == 1
    assert json.dumps(found.as_dict())


@pytest.mark.parametrize("name", ["deep/b{:02}.nii.gz", "b{:02}_mask.nii", "b{:02}-lesion.nii.gz", "b{:02}_seg.nii.gz"])
def test_masks_are_found_by_name(name: str, run: Path, tmp_path: Path) -> None:
    assert evaluate(run, masks(tmp_path / "truth", name), resamples=0).defective == 1


def test_a_table_names_masks(run: Path, tmp_path: Path) -> None:
    masks(tmp_path / "somewhere", lesions=(4,))
    rows = [f"b{n:02}.nii.gz,{int(n == 4)},{'somewhere/b04.nii.gz' if n == 4 else ''}" for n in range(5)]
    (tmp_path / "truth.csv").write_text("\n".join(["path,label,mask", *rows]))
    found = evaluate(run, tmp_path / "truth.csv", resamples=0)
    assert (found.normal, found.defective, found.without_truth) == (4, 1, 1)
    assert value(found, "voxel AUROC") > 0.95
    assert any("without a truth" in note for note in found.notes)


def test_derivatives_are_found_by_subject(tmp_path: Path) -> None:
    volume = VolumeFile("sub-1/anat/sub-1_T1w.nii.gz", (tmp_path / "sub-1/anat/sub-1_T1w.nii.gz",), "T1w")
    folder = tmp_path / "derivatives" / "sub-1" / "anat"
    made.write_nifti(volume.files[0], np.ones(SHAPE, np.float32))
    made.write_nifti(folder / "sub-1_space-orig_desc-brain_mask.nii.gz", np.ones(SHAPE, np.uint8))
    mask = made.write_nifti(folder / "sub-1_space-orig_label-lesion_mask.nii.gz", lesion())
    for root in (tmp_path, tmp_path / "derivatives"):
        assert read_volume_truth(root, [volume])[volume.path].mask == mask
    made.write_nifti(folder / "sub-1_desc-other_mask.nii.gz", lesion())
    with pytest.raises(InputError, match="Two masks"):
        read_volume_truth(tmp_path, [volume])


def test_a_folder_a_patient(tmp_path: Path) -> None:
    volumes = [VolumeFile(f"p{n}/flair.nii.gz", (tmp_path / f"p{n}/flair.nii.gz",)) for n in range(2)]
    for n, volume in enumerate(volumes):
        made.write_nifti(volume.files[0], np.ones(SHAPE, np.float32))
        made.write_nifti(tmp_path / f"p{n}/mask.nii.gz", lesion() * n)
    found = read_volume_truth(tmp_path, volumes)
    assert [found[volume.path].label for volume in volumes] == [False, True]


def test_another_orientation_is_the_same_grid(run: Path, tmp_path: Path) -> None:
    """Stored from left to right or right to left, a mask lies where it lies."""
    truth = masks(tmp_path / "truth", lesions=())
    matrix = np.diag([-1.0, 1, 1, 1])
    matrix[:3, 3] = made.affine()[:3, 3] + [SHAPE[0] - 1, 0, 0]
    made.write_nifti(truth / "b04.nii.gz", stored(lesion().astype(np.float32), "LAS"), matrix)
    assert value(evaluate(run, truth, resamples=0), "voxel AUROC") > 0.95


def test_another_grid_is_left_out(run: Path, tmp_path: Path) -> None:
    truth = masks(tmp_path / "truth", lesions=(3, 4))
    made.write_nifti(truth / "b03.nii.gz", np.ones((20, 48, 32), np.uint8))
    found = evaluate(run, truth, resamples=0)
    assert (found.defective, found.pixel_photos) == (2, 5)
    assert any("another grid" in note for note in found.notes)


@pytest.mark.parametrize("others, volumes", [((), 0), ((3,), 5)])
def test_lesions_outside_of_the_brain_are_left_out(
    others: tuple[int, ...], volumes: int, run: Path, tmp_path: Path
) -> None:
    truth = masks(tmp_path / "truth", lesions=others)
    corner = np.zeros(SHAPE, np.uint8)
    corner[:3, :3, :3] = 1
    made.write_nifti(truth / "b04.nii.gz", corner)
    found = evaluate(run, truth, resamples=0)
    assert (found.defective, found.pixel_photos) == (1 + len(others), volumes)
    assert any("1 volume whose lesions lie outside of the brain" in note for note in found.notes)


def test_without_masks_and_lesions_nothing_is_divided() -> None:
    nothing = Agreement(marked=0, drawn=0, both=0, lesions=0, found=0, false=0)
    dice, found, false = _at_verdict([nothing])
    assert (dice.value, found.value, false.value) == (None, None, 0)
    assert dice.note.startswith("undefined")


def test_without_a_lesion_there_is_nothing_to_find(run: Path, tmp_path: Path) -> None:
    found = evaluate(run, masks(tmp_path / "truth", lesions=()), resamples=0)
    assert all(row.value is None and row.note for row in found.rows)


@pytest.mark.parametrize("truth, words", [("absent", "no truth at"), ("empty", "None of the 0 masks")])
def test_no_truth(truth: str, words: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        evaluate(run, tmp_path / truth)


def test_a_damaged_mask_is_named(run: Path, tmp_path: Path) -> None:
    truth = masks(tmp_path / "truth")
    (truth / "b01.nii.gz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"b01.nii.gz cannot be read"):
        evaluate(run, truth)


def test_runs_of_volumes_stand_alone(run: Path, tmp_path: Path) -> None:
    truth = masks(tmp_path / "truth")
    assert evaluate_classes([run], truth).rows[0].evaluation.defective == 1
    with pytest.raises(InputError, match="by itself"):
        evaluate_classes([run, run], truth)


def test_masks_beside_each_other() -> None:
    marked, truth = np.zeros((8, 8, 8), np.bool_), np.zeros((8, 8, 8), np.bool_)
    truth[0:2, 0:2, 0:2] = truth[5:7, 5:7, 5:7] = True
    marked[1:3, 1:2, 1:2] = marked[0, 7, 7] = True
    found = agreement(marked, truth)
    assert (found.marked, found.drawn, found.both) == (3, 16, 1)
    assert (found.lesions, found.found, found.false) == (2, 1, 1)
