"""Brains registered to each other: the tilted cube and back, what is found, what is not believed, and a scan so."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib
from scipy import ndimage

import volume_files as made
from blemish import volume_file
from blemish.config import ScanConfig, VolumeConfig
from blemish.errors import InputError
from blemish.inputs import volume_register
from blemish.inputs.volume_grid import Box, Tilted, brain_box, from_cube, to_cube
from blemish.inputs.volume_register import SIDE, register, tilted, typical
from blemish.rejudging import rejudge
from blemish.result import Result
from blemish.scanning import scan

SHAPE = (56, 64, 48)
BOX = Box((2.5, -3.0, 1.0), (37.5, 51.0, 15.0))
LESION = (8.0, -6.0, 2.0)  # voxels from the middle of a brain that is not turned
AS_IT_IS = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
CONFIG = ScanConfig(backbone="mock", cache=False, volumes=VolumeConfig(grid=8, cube=64, slices=4, align="affine"))


def turn(degrees: float) -> npt.NDArray[np.float64]:
    """(3, 3) about the third axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def brain(seed: int = 0, degrees: float = 0, lesion: bool = False) -> npt.NDArray[np.float32]:
    """Soft blobs of its own places in an uneven ellipsoid, turned, with noise by ``seed``, and perhaps a lesion."""
    place = np.stack(np.meshgrid(*[np.arange(side) for side in SHAPE], indexing="ij")).astype(float)
    middle = (np.array(SHAPE) - 1) / 2
    at = np.tensordot(turn(-degrees), place - middle[:, None, None, None], axes=1)
    inside = ((at / np.array([18, 24, 16])[:, None, None, None]) ** 2).sum(axis=0) + 0.01 * at[0] < 1
    values = np.full(SHAPE, 80.0)
    blobs = np.random.default_rng(7)
    for _ in range(14):
        centre, level = blobs.uniform(-0.7, 0.7, 3) * [18, 24, 16], blobs.uniform(-60, 60)
        values += level * np.exp(-((at - centre[:, None, None, None]) ** 2).sum(axis=0) / 30)
    # a bright and a dark ball in all, so that a lesion moves no percentile
    balls = [((-6, 10, -3), 5, 240), ((-5, -12, 4), 5, 15), (LESION, 4.5, 190)]
    for centre, radius, grey in balls[: 2 + lesion]:
        values = np.where(((at - np.array(centre)[:, None, None, None]) ** 2).sum(axis=0) < radius**2, grey, values)
    values = np.maximum(values + np.random.default_rng(seed).normal(0, 2, SHAPE), 1)
    return np.where(inside, values, 0).astype(np.float32)


def cube(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return to_cube(values / 250, brain_box(values > 0).enlarged(0.08), SIDE)


# The tilted cube and back


def test_a_box_that_is_not_tilted_is_the_box() -> None:
    volume = ndimage.gaussian_filter(np.random.default_rng(0).random((40, 48, 16)), 2).astype(np.float32)
    straight = Tilted(BOX, AS_IT_IS)
    inner = (slice(None), slice(5, -5), slice(None))  # beyond the volume a tilted cube fades within a voxel
    np.testing.assert_allclose(to_cube(volume, straight, 64)[inner], to_cube(volume, BOX, 64)[inner], atol=0.02)
    cells = np.random.default_rng(1).random((8, 9, 10)).astype(np.float32)
    np.testing.assert_allclose(from_cube(cells, straight, volume.shape), from_cube(cells, BOX, volume.shape), atol=1e-5)
    assert straight.sides((1, 1.5, 2)) == pytest.approx(BOX.sides((1, 1.5, 2)))
    at = np.array([[0.0, 3, 8], [8, 9, 10]])
    np.testing.assert_allclose(straight.places(at, (8, 9, 10)), BOX.places(at, (8, 9, 10)))
    assert straight.inset((8, 8, 8), 4).box == BOX.inset((8, 8, 8), 4)


@pytest.mark.parametrize("degrees", [0, 12, -30])
def test_a_place_comes_back_to_its_place(degrees: float) -> None:
    """A blob at an odd place of an anisotropic volume, through a tilted map and back."""
    shape, middle = (40, 48, 16), np.array([20, 24, 8])
    around = turn(degrees) @ np.diag([1.05, 0.95, 1])
    rows = np.column_stack([around, middle - around @ middle]).tolist()
    box = Tilted(BOX, tuple(map(tuple, rows)))
    x, y, z = np.meshgrid(*[np.arange(side) for side in shape], indexing="ij")
    volume = np.exp(-(((x - 22) / 4) ** 2 + ((y - 30) / 5) ** 2 + ((z - 9) / 2) ** 2)).astype(np.float32)
    made_cube = to_cube(volume, box, 32)
    back = from_cube(made_cube, box, shape)
    assert np.unravel_index(back.argmax(), shape) == (22, 30, 9)
    there = np.array([np.unravel_index(made_cube.argmax(), made_cube.shape)]) + 0.5
    np.testing.assert_allclose(box.places(there, (32, 32, 32))[0] - 0.5, (22, 30, 9), atol=1.2)


def test_a_coarser_tilted_cube_averages() -> None:
    volume = np.zeros((32, 32, 32), np.float32)
    volume[::2] = 1  # stripes that every second voxel would turn into black or white
    whole = to_cube(volume, Tilted(Box((0, 0, 0), (32, 32, 32)), AS_IT_IS), 8)
    np.testing.assert_allclose(whole[2:6, 2:6, 2:6], 0.5, atol=0.06)


# What is found


@pytest.fixture
def library() -> None:
    pytest.importorskip("SimpleITK", reason="registering needs the extra: pip install 'blemish[register]'")


@pytest.mark.usefixtures("library")
def test_a_turned_brain_is_turned_back() -> None:
    still, turned = brain(0), brain(1, degrees=12)
    found = register(cube(still), cube(turned))
    assert not found.doubt and found.overlap > 0.95 and found.likeness > 0.97
    again = register(cube(still), cube(turned))
    np.testing.assert_array_equal(found.matrix, again.matrix)  # bit by bit
    box = brain_box(turned > 0).enlarged(0.08)
    reference = to_cube(still, brain_box(still > 0).enlarged(0.08), 64)
    apart = [np.abs(to_cube(turned, place, 64) - reference).mean() for place in (box, tilted(box, found.matrix))]
    assert apart[1] < 0.4 * apart[0]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "other, doubt",
    [
        (np.zeros((SIDE,) * 3, np.float32), "overlap"),  # nothing there
        (np.eye(SIDE, dtype=np.float32)[:, :, None] * np.ones(SIDE, np.float32), "scaled by"),  # a sheet
        (np.random.default_rng(0).random((SIDE,) * 3).astype(np.float32), ""),  # a box full of noise
    ],
)
def test_what_cannot_be_registered(other: npt.NDArray[np.float32], doubt: str) -> None:
    found = register(cube(brain()), other)
    assert found.doubt and doubt in found.doubt


def test_the_most_typical_is_the_one_between_the_others() -> None:
    assert typical([cube(brain(at, degrees)) for at, degrees in enumerate((-10, 12, 1, -12, 10))]) == 2


# A scan


def write(folder: Path, matrix: npt.NDArray[np.float64] | None = None) -> Path:
    for number, degrees in enumerate((0, 8, -8, 5)):
        made.write_nifti(folder / f"b{number}.nii.gz", brain(number, degrees, number == 3), matrix)
    return folder


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    pytest.importorskip("SimpleITK", reason="registering needs the extra: pip install 'blemish[register]'")
    return scan(write(tmp_path_factory.mktemp("aligned") / "brains"), CONFIG)


def test_a_lesion_is_found_where_it_is(result: Result, tmp_path: Path) -> None:
    assert result.scored[0].path == "b3.nii.gz"
    assert result.manifest["resolved"]["placing"].startswith("an affine transform to b")
    run = result.save(tmp_path / "run")
    scores = nib.load(run / "maps" / "b3_desc-anomaly_statmap.nii.gz").get_fdata()
    middle = (np.array(SHAPE) - 1) / 2 + turn(5) @ LESION
    peak = np.array(np.unravel_index(int(scores.argmax()), scores.shape))
    assert np.abs(peak - middle).max() < 5  # a cell is as wide
    lesion = result.lesions["b3.nii.gz"][0]
    assert np.abs(np.array(lesion.centre) - middle).max() < 4
    assert (np.array(lesion.start) <= middle + 1).all() and (middle - 1 < lesion.stop).all()
    mask = nib.load(run / "maps" / "b3_desc-anomaly_mask.nii.gz").get_fdata() > 0
    there = np.argwhere(mask)
    assert (there.min(axis=0) >= np.array(lesion.start) - 2).all()
    assert (there.max(axis=0) < np.array(lesion.stop) + 2).all()


def test_a_run_keeps_its_tilt(result: Result, tmp_path: Path) -> None:
    """So that another threshold draws masks at the same places."""
    run = result.save(tmp_path / "run")
    assert result.volumes is not None
    stored = volume_file.read(run / "volumes")
    boxes = [one.box for one in result.volumes.by_path.values()]
    assert [one.box for one in stored.by_path.values()] == boxes
    assert sum(isinstance(box, Tilted) for box in boxes) == 3  # all but the reference
    mask = run / "maps" / "b3_desc-anomaly_mask.nii.gz"
    before = mask.read_bytes()
    low, high = sorted(photo.score or 0 for photo in result.scored)[-2:]
    rejudge(run, threshold=(low + high) / 2)
    assert len(list((run / "maps").glob("*_mask.nii.gz"))) == 1
    after = nib.load(mask).get_fdata()
    assert (nib.Nifti1Image.from_bytes(gzip.decompress(before)).get_fdata() * after).any()


def test_two_runs_and_any_threads_give_the_same_bits(
    result: Result, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))
    folder = Path(result.manifest["source"])
    for cached in (0, 4):
        again = scan(folder, CONFIG, threads=1, cache=True)
        np.testing.assert_array_equal(again.grids, result.grids)
        assert again.manifest["counts"]["from_cache"] == cached


def test_what_stays_in_its_box_is_named(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_register, "LEAST_OVERLAP", 1.1)
    folder = Path(result.manifest["source"])
    other = scan(folder, CONFIG)
    (warning,) = (one for one in other.warnings if "registered" in one)
    assert "3 of 4 volumes could not be registered" in warning
    assert warning.count("would overlap by") == 3
    boxed = scan(folder, CONFIG, volumes={"grid": 8, "cube": 64, "slices": 4, "align": "box"})
    np.testing.assert_array_equal(other.grids, boxed.grids)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"pip install 'blemish\[register\]'"):
        scan(write(tmp_path / "brains"), CONFIG)
