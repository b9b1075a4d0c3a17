"""Maps of volumes as NIfTI files: the input's grid bit by bit, BIDS names, a table, and nothing of the patient."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib

import volume_files as made
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_layouts import VolumeFile, find_volumes
from blemish.inputs.volumes import Volume, read_volume
from blemish.result import Photo
from blemish.sinks.nifti_bids import (
    MapFacts,
    marked_ml,
    output_names,
    write_dataset,
    write_maps,
    write_patients,
)

FACTS = MapFacts("how little a voxel's surroundings resemble the other volumes", 0.25, "1.2.3")
SHAPE = (10, 12, 8)
# of the first 348 bytes: where things lie in space, shape of three axes (dim_info and the tail of dim apart)
SAME = {
    "dim": slice(42, 48),
    "pixdim": slice(76, 92),
    "units": slice(123, 124),
    "codes, quaternion, rows": slice(252, 328),
}
PRIVATE = {
    "descrip": slice(148, 228),
    "aux_file": slice(228, 252),
    "intent_name": slice(328, 344),
    "db_name": slice(4, 32),
}
NAMES = (b"DOE", b"Doe", b"JANE", b"Jane", b"1970")


def read(file: Path) -> Volume:
    return read_volume(VolumeFile(file.name, (file,)))


def written(folder: Path, volume: Volume, values: npt.NDArray[np.float32]) -> tuple[Path, Path]:
    write_maps(folder, "a_desc-anomaly", volume.geometry, values, values > 0.5, FACTS)
    return folder / "a_desc-anomaly_statmap.nii.gz", folder / "a_desc-anomaly_mask.nii.gz"


def a_file(folder: Path, matrix: npt.NDArray[np.float64], sform: int = 1, qform: int = 1, units: str = "mm") -> Path:
    """A volume that only holds values at which one can tell every axis, and a header full of a patient."""
    values = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    image = nib.Nifti1Image(values, matrix)
    image.set_sform(matrix, sform)
    image.set_qform(matrix, qform)
    image.header.set_xyzt_units(units, "sec")
    for name in PRIVATE:
        image.header[name] = b"DOE^JANE 197001"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane, born 19700101"))
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / "a.nii.gz")
    return folder / "a.nii.gz"


CASES = {
    "RAS": (made.affine("RAS"), 1, 1, "mm"),
    "LPS": (made.affine("LPS"), 2, 1, "mm"),
    "axes exchanged": (made.affine("SPL"), 4, 2, "mm"),
    "oblique": (made.OBLIQUE, 1, 1, "mm"),
    "anisotropic": (made.affine("LAS", (0.47, 0.9375, 5.0)), 1, 1, "mm"),
    "only a qform": (made.affine("RAS", (1, 1.1, 1.2)), 0, 1, "mm"),
    "only an sform": (made.OBLIQUE, 3, 0, "mm"),
    "no unit said": (made.affine("RPI"), 1, 1, "unknown"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_grid_of_the_input_bit_by_bit(tmp_path: Path, case: str) -> None:
    file = a_file(tmp_path, *CASES[case])
    volume = read(file)
    before = gzip.decompress(file.read_bytes())
    source = nib.load(file)
    for one, kind in zip(written(tmp_path / "out", volume, volume.values), (np.float32, np.uint8), strict=True):
        after, image = gzip.decompress(one.read_bytes()), nib.load(one)
        for name, part in SAME.items():
            assert after[part] == before[part], name
        assert image.shape == SHAPE
        np.testing.assert_array_equal(image.affine, source.affine)
        assert [int(image.header[code]) for code in ("sform_code", "qform_code")] == list(CASES[case][1:3])
        assert image.header.get_zooms() == source.header.get_zooms()
        assert image.header.get_xyzt_units() == source.header.get_xyzt_units()
        assert image.get_data_dtype() == kind
        # the map is the volume itself here: every voxel is back where the file had it
        stored = np.asarray(source.dataobj)
        np.testing.assert_array_equal(np.asarray(image.dataobj), stored if kind is np.float32 else stored > 0.5)


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_the_patient_is_written(tmp_path: Path, case: str) -> None:
    volume = read(a_file(tmp_path, *CASES[case]))
    files = written(tmp_path / "out", volume, volume.values)
    for file in files:
        header = gzip.decompress(file.read_bytes())[:352]
        for name, part in PRIVATE.items():
            assert not header[part].strip(b"\0"), name
        assert not nib.load(file).header.extensions
        assert header[348:352] == b"\0\0\0\0"  # no extension follows
    assert not [name for file in (tmp_path / "out").rglob("*") for name in NAMES if name in _bytes(file)]


def _bytes(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def test_a_series_gets_a_file_of_its_own_geometry(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (6, 8, 5)).astype(np.uint16)
    files = made.write_series(tmp_path / "in", values)
    volume = read_volume(VolumeFile("in", tuple(files)))
    for file in written(tmp_path / "out", volume, volume.values):
        image = nib.load(file)
        np.testing.assert_array_equal(image.affine, np.float32(volume.geometry.affine))
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
        np.testing.assert_allclose(image.header.get_qform(), volume.geometry.affine, atol=1e-5)
        assert image.header.get_zooms() == (0.75, 1.5, 2.5)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")  # as its slices are stored
        assert not [name for name in NAMES if name in _bytes(file)]
    np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), values > 0.5)


def test_equal_maps_are_equal_files(tmp_path: Path) -> None:
    volume = read(a_file(tmp_path, made.OBLIQUE))
    first, second = (written(tmp_path / name, volume, volume.values) for name in ("one", "two"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_sidecars_say_what_a_value_means(tmp_path: Path) -> None:
    geometry = Geometry(SHAPE, made.affine("LPS", (2, 2, 2.5)))
    scores = np.zeros(SHAPE)
    scores[2:4, 3, 5] = 0.75
    source = "bids:raw:sub-1/anat/sub-1_T1w.nii.gz"
    write_maps(tmp_path, "sub-1/anat/sub-1_desc-anomaly", geometry, scores, scores > 0, FACTS, source)
    base = tmp_path / "sub-1/anat"
    score, mask = (json.loads((base / f"sub-1_desc-anomaly_{kind}.json").read_text()) for kind in ("statmap", "mask"))
    assert score["Description"] == FACTS.meaning
    assert (score["Units"], score["Threshold"]) == ("arbitrary", 0.25)
    assert mask["Type"] == "ROI"
    assert mask["MarkedVolume"] == pytest.approx(2 * 10 / 1000) == marked_ml(scores > 0, geometry)
    for one in (score, mask):
        assert one["Sources"] == [source]
        assert one["SpatialReference"] == source
        assert one["GeneratedBy"] == [{"Name": "blemish", "Version": "1.2.3"}]


def test_without_a_judgement_there_is_no_mask(tmp_path: Path) -> None:
    facts = MapFacts("a score", None, "1.2.3")
    write_maps(tmp_path, "a_desc-anomaly", Geometry(SHAPE, np.eye(4)), np.zeros(SHAPE), None, facts)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "a_desc-anomaly_statmap.json",
        "a_desc-anomaly_statmap.nii.gz",
    ]
    about = json.loads((tmp_path / "a_desc-anomaly_statmap.json").read_text())
    assert "Threshold" not in about
    assert about["SpatialReference"] == "orig"


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.zeros(SHAPE[::-1]), "an array of"),  # the stored order, not RAS: refused instead of written awry
        (np.full((8, 10, 12), np.nan), "not finite"),
    ],
)
def test_maps_that_do_not_fit(tmp_path: Path, scores: npt.NDArray[np.float64], words: str) -> None:
    geometry = Geometry(SHAPE, made.affine("ASR"))
    with pytest.raises(ValueError, match=words):
        write_maps(tmp_path, "a", geometry, scores, None, FACTS)


@pytest.mark.parametrize(
    ("path", "bids", "name"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", True, "sub-01/anat/sub-01_space-orig_desc-anomaly"),
        # every entity of the source stays
        (
            "sub-01/ses-2/anat/sub-01_ses-2_acq-mprage_run-1_FLAIR.nii",
            True,
            "sub-01/ses-2/anat/sub-01_ses-2_acq-mprage_run-1_space-orig_desc-anomaly",
        ),
        # a volume in a template's space stays there, and our desc takes the place of its own
        (
            "sub-01/anat/sub-01_space-MNI305_res-2_desc-preproc_T1w.nii.gz",
            True,
            "sub-01/anat/sub-01_space-MNI305_res-2_desc-anomaly",
        ),
        ("1000_SS.nii.gz", False, "1000_SS_desc-anomaly"),
        ("a/t1.final.NII", False, "a/t1.final_desc-anomaly"),
        ("scans/series-3", False, "scans/series-3_desc-anomaly"),  # a DICOM series: its folder
        (".", False, "volume_desc-anomaly"),  # a series in the scanned folder itself
    ],
)
def test_names(path: str, bids: bool, name: str) -> None:
    assert output_names([path], bids) == {path: name}


def test_no_two_names_are_alike() -> None:
    paths = ["a.nii", "a.nii.gz", "A.nii.gz", "b.nii.gz"]
    assert list(output_names(paths, False).values()) == [
        "a_desc-anomaly",
        "a_desc-anomaly2",
        "A_desc-anomaly3",  # not every file system tells capitals apart
        "b_desc-anomaly",
    ]


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside"):
        write_maps(tmp_path, "../a_desc-anomaly", Geometry(SHAPE, np.eye(4)), np.zeros(SHAPE), None, FACTS)


def test_what_is_written_is_read_as_a_derivative(tmp_path: Path) -> None:
    write_dataset(tmp_path, "Anomaly maps", "1.2.3", "../..")
    described = json.loads((tmp_path / "dataset_description.json").read_text())
    assert described == {
        "Name": "Anomaly maps",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "blemish", "Version": "1.2.3"}],
        "DatasetLinks": {"raw": "../.."},
    }
    assert (tmp_path / ".bidsignore").read_text() == "*_statmap.*\npatients.*\n"


def test_a_scan_does_not_take_maps_for_brains(tmp_path: Path) -> None:
    """Where a run lies among a data set's derivatives, neither volumes nor brain masks come from it."""
    made.write_nifti(tmp_path / "sub-1/anat/sub-1_T1w.nii.gz", made.brain())
    (tmp_path / "dataset_description.json").write_text("{}")
    geometry = Geometry(SHAPE, np.eye(4))
    name = output_names(["sub-1/anat/sub-1_T1w.nii.gz"], bids=True).popitem()[1]
    write_maps(tmp_path / "derivatives/blemish", name, geometry, np.zeros(SHAPE), np.zeros(SHAPE), FACTS)
    (found,) = find_volumes(tmp_path).volumes
    assert (found.path, found.brain) == ("sub-1/anat/sub-1_T1w.nii.gz", None)


def test_the_table_of_patients(tmp_path: Path) -> None:
    photos = [
        Photo("sub-2/ses-a/anat/sub-2_ses-a_T1w.nii.gz", "ok", 0.5, 1, 100.0, verdict="unsure", low=0.25, high=0.75),
        Photo("sub-1/anat/sub-1\t_T1w.nii.gz", "unreadable", reason="damaged\nfile"),  # hostile: a tab, a line end
    ]
    write_patients(tmp_path, photos, bids=True, marked={photos[0].path: 1.5})
    with (tmp_path / "patients.tsv").open(newline="") as table:
        first, second = csv.DictReader(table, delimiter="\t")
    assert (first["participant_id"], first["session_id"]) == ("sub-2", "ses-a")
    assert [first[name] for name in ("score", "rank", "verdict", "low", "high", "marked_ml")] == [
        *("0.5", "1", "unsure", "0.25", "0.75", "1.5")
    ]
    assert (second["participant_id"], second["session_id"], second["score"]) == ("sub-1", "n/a", "n/a")
    assert (second["path"], second["reason"]) == ("sub-1/anat/sub-1 _T1w.nii.gz", "damaged file")
    described = json.loads((tmp_path / "patients.json").read_text())
    assert set(first) - {"participant_id", "session_id"} == set(described)


def test_the_table_of_a_plain_folder_has_no_participants(tmp_path: Path) -> None:
    write_patients(tmp_path, [Photo("sub-1.nii.gz", "ok", 0.5)], bids=False, marked={})
    assert (tmp_path / "patients.tsv").read_text().startswith("path\tscore\t")
