"""Reading volumes: turned to RAS and back exactly, bad files named, brains found, nothing of the patient repeated."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib

import volume_files as made
from blemish.errors import UnreadablePhoto
from blemish.inputs.volume_geometry import Geometry, axes_of
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volume_masks import brain_mask, is_stripped, robust_mask, zeros_mask
from blemish.inputs.volume_nifti import nifti_image
from blemish.inputs.volumes import clipped, read_brain, read_volume

ALL_AXES = ["".join(axes) for order in permutations(("RL", "AP", "SI")) for axes in product(*order)]


def read(file: Path, brain: Path | None = None):  # type: ignore[no-untyped-def]
    return read_volume(VolumeFile(file.name, (file,), "", brain))


@pytest.mark.parametrize("axes", ALL_AXES)
def test_every_orientation_is_turned_to_ras_and_back(axes: str) -> None:
    stored = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    geometry = Geometry(stored.shape, made.affine(axes, (1.0, 2.0, 3.0)))
    ras = geometry.to_ras(stored)
    assert geometry.axes == axes
    assert axes_of(geometry.ras_affine) == "RAS"
    assert ras.shape == geometry.ras_shape
    np.testing.assert_array_equal(geometry.to_stored(ras), stored)
    at = (1, 2, 3)  # a voxel keeps its place in space
    moved = np.argwhere(ras == stored[at])[0]
    np.testing.assert_allclose(geometry.ras_affine @ [*moved, 1], geometry.affine @ [*at, 1])
    np.testing.assert_allclose(np.linalg.norm(geometry.ras_affine[:3, :3], axis=0), geometry.spacing)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "matrix",
    [
        made.affine("RAS"),
        made.affine("LPS"),
        made.affine("PIR", (0.9, 0.9, 5.0)),  # anisotropic, stored by sagittal slices
        made.OBLIQUE,
    ],
    ids=["RAS", "LPS", "anisotropic", "oblique"],
)
def test_a_map_is_written_on_the_grid_of_its_file(tmp_path: Path, matrix: npt.NDArray[np.float64], suffix: str) -> None:
    values = made.brain((12, 9, 7))
    image = nib.Nifti1Image(values, matrix)
    image.set_sform(matrix, 4)  # MNI
    image.set_qform(matrix, 1)  # scanner
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / f"a{suffix}")
    before = nib.load(tmp_path / f"a{suffix}")

    volume = read(tmp_path / f"a{suffix}")
    assert axes_of(volume.geometry.ras_affine) == "RAS"
    nib.save(nifti_image(volume.geometry.to_stored(volume.values), volume.geometry), tmp_path / "b.nii")
    after = nib.load(tmp_path / "b.nii")

    np.testing.assert_array_equal(after.get_fdata(), values)
    np.testing.assert_array_equal(after.affine, before.affine)
    for name in ("pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z"):
        assert after.header[name].tobytes() == before.header[name].tobytes(), name
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (4, 1)
    assert after.header.get_xyzt_units() == ("mm", "sec")


def test_only_a_qform_stays_only_a_qform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(made.brain((8, 8, 8)), None)
    image.set_qform(made.OBLIQUE, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    volume = read(tmp_path / "a.nii")
    after = nifti_image(volume.geometry.to_stored(volume.values), volume.geometry)
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (0, 1)
    np.testing.assert_array_equal(after.affine, nib.load(tmp_path / "a.nii").affine)


def test_nifti_2_stays_nifti_2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(made.brain((8, 8, 8)), made.OBLIQUE / 3), tmp_path / "a.nii")
    volume = read(tmp_path / "a.nii")
    after = nifti_image(volume.values, volume.geometry)
    assert isinstance(after, nib.Nifti2Image)
    np.testing.assert_array_equal(after.affine, nib.load(tmp_path / "a.nii").affine)


def test_nothing_of_the_header_but_geometry_is_written(tmp_path: Path) -> None:
    volume = read(made.write_nifti(tmp_path / "a.nii", made.brain()))
    after = nifti_image(volume.geometry.to_stored(volume.values), volume.geometry)
    assert b"DOE" not in after.header.binaryblock
    assert "DOE" not in repr(volume)


def _volume_of(kind: str) -> npt.NDArray[np.float32]:
    values = made.brain()
    if kind == "nan":
        values[0, 0, 0] = np.nan
    elif kind == "infinite":
        values[:10] = np.inf
    elif kind == "constant":
        values[:] = 7
    elif kind == "time":
        values = np.repeat(values[..., None], 3, axis=3)
    elif kind == "slice":
        values = values[:, :, :1]
    elif kind == "flat":
        values = values[:, :, 0]
    return values


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "less than 1 % of its voxels are no numbers"),
        ("infinite", "50 % of its voxels are no numbers"),
        ("constant", "all of its voxels hold 7"),
        ("time", r"4-D \(20 x 24 x 16 x 3\)"),
        ("slice", "single slices, not a volume"),
        ("flat", "single slices, not a volume"),
    ],
)
def test_voxels_that_cannot_be_used(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(UnreadablePhoto, match=reason):
        read(made.write_nifti(tmp_path / "a.nii.gz", _volume_of(kind)))


def test_a_fourth_axis_of_one_is_no_series(tmp_path: Path) -> None:
    file = made.write_nifti(tmp_path / "a.nii.gz", made.brain()[..., None])
    assert read(file).values.shape == (20, 24, 16)


def test_colours_are_no_grey_levels(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UnreadablePhoto, match="one grey level each"):
        read(made.write_nifti(tmp_path / "a.nii", colours))


def test_a_header_without_orientation(tmp_path: Path) -> None:
    image = nib.Nifti1Image(made.brain(), None)
    image.header["pixdim"][1:4] = (1, 2, 3)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(UnreadablePhoto, match=r"no orientation .*; set one$"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.png", "a.dcm"])
def test_what_is_no_volume_at_all(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadablePhoto, match="there is no such file"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b"x" * 400)
    with pytest.raises(UnreadablePhoto, match="no NIfTI file" if "nii" in name else "neither a NIfTI file"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ((0, 0, 0), "singular"),  # an axis without length
        ((1, 0, 0), "singular"),  # two that coincide
        ((np.nan, 0, 1), "no numbers"),
    ],
)
def test_a_wrong_affine(tmp_path: Path, column: tuple[float, float, float], reason: str) -> None:
    image = nib.Nifti1Image(made.brain(), made.affine())
    nib.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    for row, value in enumerate(column):  # sform rows of four float32 begin at byte 280
        data[280 + 16 * row + 8 : 280 + 16 * row + 12] = np.float32(value).tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(UnreadablePhoto, match=reason):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", ["truncated gzip", "truncated", "not gzip", "empty", "text"])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    whole = made.write_nifti(tmp_path / "whole.nii", made.brain()).read_bytes()
    file, content = {
        "truncated gzip": ("a.nii.gz", gzip.compress(whole)[:-3000]),
        "truncated": ("a.nii", whole[:-3000]),
        "not gzip": ("a.nii.gz", whole),
        "empty": ("a.nii", b""),
        "text": ("a.nii", b"DOE^JANE, born 1970"),
    }[kind]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UnreadablePhoto, match="damaged") as caught:
        read(tmp_path / file)
    assert "DOE" not in str(caught.value)


def test_air_at_minus_a_thousand_is_ct(tmp_path: Path) -> None:
    values = made.head(air=0) * 0.5 - 1000
    assert read(made.write_nifti(tmp_path / "a.nii", values)).modality == "CT"


# background, whether it counts as stripped
@pytest.mark.parametrize("background", [0.0, 1.0, -3.0])
def test_a_stripped_brain_is_what_differs_from_the_background(background: float) -> None:
    values = made.brain((40, 44, 36))
    inside = values != 0
    values[~inside] = background
    values[18:22, 20:24, 16:20] = background  # a ventricle that was wiped
    assert is_stripped(values)
    np.testing.assert_array_equal(zeros_mask(values), inside)
    assert brain_mask(values).how.startswith("stripped")


@pytest.mark.parametrize("air", [2.0, 0.5, 0.0], ids=["noise", "mostly zeros", "zeroed"])
def test_the_skull_is_left_out(air: float) -> None:
    values = made.head(air=air)
    truth = made.ellipsoid(values.shape, 0.36)
    found = brain_mask(values)
    assert found.how.startswith("not stripped")
    assert 2 * (found.inside & truth).sum() / (found.inside.sum() + truth.sum()) > 0.9
    assert not (found.inside & ~made.ellipsoid(values.shape, 0.43)).any()


def test_a_mask_does_not_trust_spacing_or_size() -> None:
    """The same head with twice the voxels has the same mask."""
    values = made.head((48, 48, 20))
    fine = np.repeat(np.repeat(values, 3, axis=0), 3, axis=1)
    coarse = np.repeat(np.repeat(robust_mask(values), 3, axis=0), 3, axis=1)
    found = robust_mask(fine)
    assert 2 * (found & coarse).sum() / (found.sum() + coarse.sum()) > 0.9


def test_no_brain_at_all() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (16, 16, 16)).astype(np.float32)
    assert brain_mask(noise).inside.any()


def test_a_given_mask(tmp_path: Path) -> None:
    values = made.brain()
    file = made.write_nifti(tmp_path / "a.nii", values, made.affine("LPS"))
    own = np.zeros(values.shape, np.uint8)
    own[5:9, 5:9, 5:9] = 1
    mask = made.write_nifti(tmp_path / "m.nii", own, made.affine("LPS"))
    listed = VolumeFile("a.nii", (file,), "", mask)
    volume = read_volume(listed)
    found = read_brain(listed, volume)
    assert found.how == "given"
    np.testing.assert_array_equal(volume.geometry.to_stored(found.inside), own > 0)


@pytest.mark.parametrize(
    ("shape", "matrix", "reason"),
    [
        ((20, 24, 15), made.affine(), "another grid"),
        ((20, 24, 16), made.affine("LPS"), "another grid"),  # equal shape, other way round
        ((20, 24, 16), made.affine(spacing=(1, 1, 1.01)), "another grid"),  # 0.16 voxels at the far end
        ((20, 24, 16), made.affine(), "empty"),
    ],
)
def test_a_mask_that_does_not_fit(
    tmp_path: Path, shape: tuple[int, int, int], matrix: npt.NDArray[np.float64], reason: str
) -> None:
    file = made.write_nifti(tmp_path / "a.nii", made.brain())
    mask = made.write_nifti(tmp_path / "m.nii", np.full(shape, int(reason != "empty"), np.uint8), matrix)
    listed = VolumeFile("a.nii", (file,), "", mask)
    with pytest.raises(UnreadablePhoto, match=reason):
        read_brain(listed, read_volume(listed))


def test_one_rule_for_grey_levels() -> None:
    """A scanner's gain and offset change nothing, nor do a few outliers."""
    values = made.brain()
    inside = values != 0
    scaled = clipped(values, inside)
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert not scaled[~inside].any()
    np.testing.assert_allclose(clipped(3 * values + 20, inside), scaled, atol=1e-5)
    hot = values.copy()
    hot[10, 12, 8] = 1e6
    np.testing.assert_allclose(clipped(hot, inside)[~(hot == 1e6)], scaled[~(hot == 1e6)], atol=0.02)
    with pytest.raises(UnreadablePhoto, match="one grey level"):
        clipped(np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4), np.bool_))
