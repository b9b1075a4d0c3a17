"""DICOM series as volumes: placed as the scanner says, bad series named, nothing of the patient repeated."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
pytest.importorskip("pydicom", reason="volumes need the extra: pip install 'blemish[volumes]'")

import volume_files as made
from blemish.errors import UnreadablePhoto
from blemish.inputs.volume_dicom import find_series, is_dicom, read_series
from blemish.inputs.volume_layouts import find_volumes
from blemish.inputs.volumes import read_volume

VALUES = np.random.default_rng(0).integers(0, 4000, (6, 5, 8)).astype(np.uint16)  # columns, rows, slices


def test_a_series_lies_where_the_scanner_says(tmp_path: Path) -> None:
    made.write_series(tmp_path / "t1", VALUES)
    volume = read_volume(find_volumes(tmp_path).volumes[0])
    assert volume.geometry.axes == "LPS"
    assert volume.geometry.spacing == (0.75, 1.5, 2.5)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), VALUES)
    # column 4, row 3, slice 2: -5 + 4 * .75 to the left, -8 + 3 * 1.5 to the back, 10 + 2 * 2.5 up
    np.testing.assert_allclose(volume.geometry.affine @ [4, 3, 2, 1], [2.0, 3.5, 15.0, 1])


def test_an_oblique_series(tmp_path: Path) -> None:
    row, column = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, -0.8])
    normal = np.cross(row, column)
    made.write_series(
        tmp_path / "t1",
        VALUES,
        ImageOrientationPatient=[*row, *column],
        ImagePositionPatient=lambda number: list(np.array([1.0, 2.0, 3.0]) + 4.0 * number * normal),
    )
    geometry = read_volume(find_volumes(tmp_path).volumes[0]).geometry
    lps = np.array([1.0, 2.0, 3.0]) + 2 * 0.75 * row + 1 * 1.5 * column + 5 * 4.0 * normal
    np.testing.assert_allclose((geometry.affine @ [2, 1, 5, 1])[:3], lps * [-1, -1, 1], atol=1e-9)


def test_rescaling_and_hashes(tmp_path: Path) -> None:
    files = made.write_series(tmp_path / "t1", VALUES, RescaleSlope=2, RescaleIntercept=-1024, Modality="CT")
    values, _, sha256 = read_series(files)
    np.testing.assert_array_equal(values, 2 * VALUES.astype(np.float32) - 1024)
    assert read_series(files[::-1])[2] == sha256  # in whatever order the folder is listed


def test_a_series_without_a_folder_of_its_own(tmp_path: Path) -> None:
    made.write_series(tmp_path, VALUES)
    assert [one.path for one in find_volumes(tmp_path).volumes] == ["series-3"]


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    made.write_series(tmp_path / "a", VALUES)
    made.write_series(tmp_path / "b", VALUES, SeriesNumber=12, Modality="CT")
    both = tmp_path / "both"
    both.mkdir()
    for folder in "ab":
        for file in (tmp_path / folder).iterdir():
            file.rename(both / f"{folder}{file.name}")
        (tmp_path / folder).rmdir()
    listing = find_volumes(tmp_path)
    assert [(one.path, one.modality, len(one.files)) for one in listing.volumes] == [
        ("both/series-3", "MR", 8),
        ("both/series-12", "CT", 8),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ImagePositionPatient": lambda n: [0, 0, 2.5 * (n + (n > 4))]}, "not evenly spaced"),  # a slice is missing
        ({"ImagePositionPatient": lambda n: [0, 0, 2.5 * (n // 2)]}, "lie at one place"),  # two echoes
        ({"ImageOrientationPatient": lambda n: [1, 0, 0, 0, int(n < 4), int(n >= 4)]}, "different directions"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient missing"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"SamplesPerPixel": 3}, "grey levels"),
        ({"PixelData": b"12"}, "damaged"),
    ],
)
def test_series_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    files = made.write_series(tmp_path / "t1", VALUES, **changes)
    with pytest.raises(UnreadablePhoto, match=reason) as caught:
        read_series(files)
    assert "Doe" not in str(caught.value)


def test_few_slices_and_slices_of_two_sizes(tmp_path: Path) -> None:
    few = made.write_series(tmp_path / "few", VALUES[:, :, :2])
    with pytest.raises(UnreadablePhoto, match="single slices"):
        read_series(few)
    with pytest.raises(UnreadablePhoto, match="differ in size"):
        read_series([*few, *made.write_series(tmp_path / "large", np.zeros((9, 9, 2), np.uint16))])


def test_nothing_is_said_of_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even where a tag is so wrong that the reader would quote it."""
    made.write_series(tmp_path / "t1", VALUES, PatientName="Doe^Jane", PatientID="4711")
    data = next(iter((tmp_path / "t1").iterdir()))
    data.write_bytes(data.read_bytes().replace(b"19700101", b"DoeJane!"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = read_volume(find_volumes(tmp_path).volumes[0])
    said = "".join(capfd.readouterr()) + repr(volume) + repr(volume.geometry) + "".join(str(w.message) for w in caught)
    assert "Doe" not in said
    assert "4711" not in said


def test_files_that_come_with_pydicom() -> None:
    """One real slice of MR and one of CT: read as DICOM, refused as volumes."""
    from pydicom.data import get_testdata_file

    for name, modality in (("MR_small.dcm", "MR"), ("CT_small.dcm", "CT")):
        file = Path(get_testdata_file(name, download=False))
        assert is_dicom(file)
        series = find_series([file])
        assert [one.modality for one in series] == [modality]
        with pytest.raises(UnreadablePhoto, match="single slices"):
            read_series(series[0].files)
    assert not is_dicom(Path(__file__))
