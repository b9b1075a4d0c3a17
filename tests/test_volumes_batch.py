"""Which volumes a folder holds, what the batch has in common, and the working cube and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

import volume_files as made
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.inputs.volume_checks import Frame, VolumeFacts, differences, other_scanners, place
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, brain_box, from_cube, to_cube
from blemish.inputs.volume_layouts import VolumeFile, find_brain_masks, find_volumes
from blemish.inputs.volumes import digest, read_volume


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_plain_folder(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "p10/flair.nii.gz",
        "p10/mask.nii.gz",
        "p2/flair.nii",
        "p2/flair_seg.nii",
        ".hidden/a.nii",
        "notes.txt",
    )
    touch(tmp_path, "massive.nii", "p2/README", "p2/labels_T1.nii")  # names that only look like masks' or slices'
    touch(tmp_path, "run/maps/flair.nii.gz")
    (tmp_path / "run/run.json").write_text('{"blemish": "0.1"}')  # an earlier run's maps are no volumes
    listing = find_volumes(tmp_path)
    paths = [volume.path for volume in listing.volumes]
    assert paths == ["massive.nii", "p2/flair.nii", "p2/labels_T1.nii", "p10/flair.nii.gz"]
    assert listing.notes == ("2 masks passed over, as their names say",)


def test_modalities_by_the_names_of_files(tmp_path: Path) -> None:
    """As BraTS names them, in folders that could be taken for modalities."""
    for patient in ("t1", "BraTS20_Training_001", "ct"):
        touch(tmp_path, *(f"{patient}/{patient}_{kind}.nii.gz" for kind in ("t1", "t1ce", "t2", "flair", "seg")))
    touch(tmp_path, "t2/T1-p07-brain.nii", "t1/p08.nii", "t1/flair_p09.nii")
    kinds = {volume.path: volume.modality for volume in find_volumes(tmp_path).volumes}
    assert len(kinds) == 15
    assert kinds["t1/t1_flair.nii.gz"] == kinds["t1/flair_p09.nii"] == "FLAIR"
    assert kinds["ct/ct_t1ce.nii.gz"] == "T1ce"
    assert kinds["t2/T1-p07-brain.nii"] == kinds["BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz"] == "T1w"
    assert kinds["t1/p08.nii"] == ""
    for name in ("T1w", "t1"):
        listing = find_volumes(tmp_path, name)
        assert len(listing.volumes) == 4
        assert listing.notes[-1] == "11 volumes of other modalities passed over"
    with pytest.raises(InputError, match="no dwi volumes, but 1 whose names say none, 4 FLAIR, 3 T1ce"):
        find_volumes(tmp_path, "dwi")
    touch(tmp_path / "plain", "a.nii", "b.nii")
    with pytest.raises(InputError, match=r"No name of the 2 volumes .* says a modality"):
        find_volumes(tmp_path / "plain", "T1w")


def test_a_bids_data_set(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dataset_description.json",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "derivatives/strip/sub-02/ses-1/anat/sub-02_ses-1_desc-brain_mask.nii.gz",
        "derivatives/strip/sub-01/anat/sub-01_space-MNI_desc-brain_mask.nii.gz",
        "derivatives/strip/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    )
    with pytest.raises(InputError, match=r"1 FLAIR, 3 T1w\. Compare one modality at a time"):
        find_volumes(tmp_path)
    listing = find_volumes(tmp_path, "t1w")
    found = [(volume.path.rsplit("/", 1)[-1], volume.brain is not None) for volume in listing.volumes]
    assert found == [
        ("sub-01_T1w.nii.gz", False),  # its mask is of a template's grid
        ("sub-02_ses-1_T1w.nii.gz", True),
        ("sub-02_ses-2_T1w.nii.gz", False),
    ]
    assert listing.notes == ("1 volumes of other modalities passed over",)
    with pytest.raises(InputError, match="no T2w volumes, but 1 FLAIR, 3 T1w"):
        find_volumes(tmp_path, "T2w")


def test_folders_without_volumes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        find_volumes(tmp_path / "nowhere")
    (tmp_path / "run.json").write_text('{"blemish": "0.1"}')
    with pytest.raises(InputError, match="is a run of blemish"):
        find_volumes(tmp_path)
    (tmp_path / "run.json").unlink()
    touch(tmp_path, "mask.nii.gz", "a.jpg")
    with pytest.raises(InputError, match="holds no volumes"):
        find_volumes(tmp_path)


def test_brain_masks_from_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a/1.nii.gz", "a/2.nii.gz", "b/2.nii.gz", "c/3.nii", "d/4.nii")
    touch(tmp_path / "masks", "a/1.nii.gz", "a/2.nii.gz", "2_mask.nii.gz", "3_brain_mask.nii.gz")
    listing = find_brain_masks(tmp_path / "masks", find_volumes(tmp_path / "in"))
    found = {volume.path: volume.brain and volume.brain.name for volume in listing.volumes}
    assert found == {
        "a/1.nii.gz": "1.nii.gz",
        "a/2.nii.gz": "2.nii.gz",  # by its path
        "b/2.nii.gz": None,  # two volumes of that name
        "c/3.nii": "3_brain_mask.nii.gz",
        "d/4.nii": None,
    }
    assert listing.notes[-1].startswith("2 of 5 volumes have no brain mask")
    touch(tmp_path / "other", "x.nii")
    with pytest.raises(InputError, match="None of the 1 masks"):
        find_brain_masks(tmp_path / "other", find_volumes(tmp_path / "in"))


def test_brain_masks_beside_the_volumes(tmp_path: Path) -> None:
    """No volume is its own mask, by whatever path its folder is given."""
    touch(tmp_path / "in", "h0.nii.gz", "h0_mask.nii.gz", "h1.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for folder in (tmp_path / "in", tmp_path / "link"):
        listing = find_brain_masks(folder, find_volumes(tmp_path / "in"))
        assert [volume.brain and volume.brain.name for volume in listing.volumes] == ["h0_mask.nii.gz", None]
        assert listing.notes[-1].startswith("1 of 2 volumes have no brain mask")
    (tmp_path / "in/h0_mask.nii.gz").unlink()
    with pytest.raises(InputError, match="None of the 0 masks"):
        find_brain_masks(tmp_path / "in", find_volumes(tmp_path / "in"))


def test_the_cube_of_a_box_of_its_own_size_is_the_box() -> None:
    volume = np.random.default_rng(0).random((9, 10, 11)).astype(np.float32)
    cube = to_cube(volume, Box((1, 2, 3), (7, 8, 9)), 6)
    np.testing.assert_allclose(cube, volume[1:7, 2:8, 3:9], atol=1e-6)
    back = from_cube(cube, Box((1, 2, 3), (7, 8, 9)), (9, 10, 11))
    np.testing.assert_allclose(back[1:7, 2:8, 3:9], cube, atol=1e-6)


def test_beyond_the_volume_is_nothing() -> None:
    cube = to_cube(np.ones((4, 4, 4), np.float32), Box((-4, 0, 0), (4, 4, 8)), 8)
    assert not cube[:4].any()
    assert not cube[:, :, 4:].any()
    np.testing.assert_allclose(cube[4:, :, :4], 1, atol=1e-6)


def test_a_coarser_cube_averages() -> None:
    volume = np.zeros((16, 16, 16), np.float32)
    volume[::2] = 1  # stripes that every second voxel would turn into black or white
    cube = to_cube(volume, Box((0, 0, 0), (16, 16, 16)), 4)
    np.testing.assert_allclose(cube[1:3], 0.5, atol=1e-6)


def test_a_place_comes_back_to_its_place() -> None:
    """A blob at an odd place of an anisotropic volume, through a coarse map and back."""
    box, shape = Box((2.5, -3.0, 1.0), (37.5, 51.0, 15.0)), (40, 48, 16)
    x, y, z = np.meshgrid(*[np.arange(side) for side in shape], indexing="ij")
    volume = np.exp(-(((x - 22) / 4) ** 2 + ((y - 30) / 5) ** 2 + ((z - 9) / 2) ** 2)).astype(np.float32)
    back = from_cube(to_cube(volume, box, 32), box, shape)
    assert np.unravel_index(back.argmax(), shape) == (22, 30, 9)


def test_the_box_leaves_stray_voxels_out() -> None:
    brain = np.zeros((30, 30, 30), np.bool_)
    brain[5:20, 6:26, 7:27] = True
    brain[29, 29, 29] = True
    assert brain_box(brain) == Box((5, 6, 7), (20, 26, 27))
    assert brain_box(np.zeros((4, 5, 6), np.bool_)) == Box((0, 0, 0), (4, 5, 6))
    assert Box((0, 0, 0), (10, 20, 40)).enlarged(0.1) == Box((-0.5, -1, -2), (10.5, 21, 42))


def facts(
    name: str = "a",
    shape: tuple[int, int, int] = (100, 120, 100),
    matrix: npt.NDArray[np.float64] | None = None,
    box: Box = Box((10, 10, 10), (90, 110, 90)),  # noqa: B008 - a frozen value
    modality: str = "T1w",
) -> VolumeFacts:
    return VolumeFacts(name, Geometry(shape, made.affine() if matrix is None else matrix), box, modality)


def shifted(*millimetres: float, axes: str = "RAS") -> npt.NDArray[np.float64]:
    matrix = made.affine(axes)
    matrix[:3, 3] += millimetres
    return matrix


# another volume beside two usual ones; what is said
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (facts("b"), []),
        (facts("b", modality="MR"), []),  # a DICOM series, whose contrast no tag names
        (facts("b", modality="PT"), ["different modalities (2 T1w, 1 PT)"]),
        (facts("b", modality="T2w"), ["different modalities (2 T1w, 1 T2w)"]),
        (facts("b", shape=(101, 120, 100)), ["2 different shapes"]),
        (facts("b", matrix=made.affine(spacing=(1, 1, 1.2)), box=Box((10, 10, 9), (90, 110, 77))), ["another spacing"]),
        (facts("b", matrix=shifted(50, 0, 0)), ["not registered"]),
        # LPS of the same place in space: the far corner is the origin
        (
            facts("b", matrix=shifted(99, 119, 0, axes="LPS")),
            ["orientations"],
        ),
        # 20 slices of 5 mm whose header says 1 mm: its brain is 16 mm high
        (
            facts("b", shape=(100, 120, 20), box=Box((10, 10, 2), (90, 110, 18))),
            ["no brain has", "shapes", "not registered"],
        ),
    ],
)
def test_what_differs_in_a_batch(other: VolumeFacts, said: list[str]) -> None:
    found = differences([facts("a"), facts("c"), other], "none")
    assert len(found) == len(said), found
    for sentence, expected in zip(found, said, strict=True):
        assert expected in sentence


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("sub-1/anat/sub-1_T1w.nii", "sub-2/anat/sub-2_T1w.nii", "sub-3.nii"), []),
        (("p1.nii", "p1/p1.nii", "x/p1.nii"), []),  # nothing says that these are one
        (("sub-1_ses-1_T1w.nii", "sub-1_ses-2_T1w.nii", "sub-2_T1w.nii"), ["One patient has", "sub-1 (2)"]),
        (("sub-1_run-1.nii", "new/sub-1_run-2.nii", "sub-2/a", "sub-2/b"), ["2 patients have", "sub-1 (2)"]),
    ],
)
def test_a_patient_beside_itself(paths: tuple[str, ...], said: list[str]) -> None:
    found = differences([facts(path) for path in paths], "none")
    assert len(found) == bool(said) and all(word in found[0] for word in said)


def test_a_box_needs_no_registration() -> None:
    assert differences([facts("a"), facts("b", matrix=shifted(50, 0, 0))], "box") == []


# one more volume beside registered ones: what is wrong with its place
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (facts("b", matrix=shifted(4, -6, 3)), ""),
        # stored the other way round, it lies where it lies
        (facts("b", matrix=shifted(99, 119, 0, axes="LPS")), ""),
        (facts("b", matrix=shifted(80, 0, 0)), "lies 79 mm from where"),
        (facts("b", matrix=shifted(900, 0, 0)), "lies 899 mm from where"),
        (facts("b", matrix=made.OBLIQUE), "axes point another way"),
    ],
)
def test_one_more_volume_has_to_lie_where_the_others_do(other: VolumeFacts, said: str) -> None:
    batch = [facts("a"), facts("c"), facts("d", matrix=shifted(2, 0, 0))]
    placed = [one.geometry for one in batch], place(batch, "none").boxes
    frame = Frame.of(list(zip(*placed, strict=True)), "none")
    if not said:
        assert frame.box(other).extent == pytest.approx(place(batch, "none").boxes[0].extent)
        return
    with pytest.raises(UnreadablePhoto, match=said):
        frame.box(other)
    # which does not matter where every brain's own box is meant
    assert Frame(0.0, None).box(other) == place([other], "box").boxes[0]


def test_ct_among_mr() -> None:
    batch = [facts("a"), facts("b"), facts("c", modality="CT")]
    assert list(other_scanners(batch)) == ["c"]
    assert list(other_scanners([facts("a"), *[facts(name, modality="CT") for name in "xyz"]])) == ["a"]
    assert other_scanners([facts("a", modality="CT"), facts("b", modality="CT")]) == {}


def test_boxes_are_stretched() -> None:
    batch = [facts("a"), facts("b", box=Box((0, 0, 0), (50, 60, 100)))]
    boxes = place(batch, "box", margin=0.1).boxes
    assert boxes[1].start == pytest.approx((-5, -6, -10))
    assert boxes[1].stop == pytest.approx((55, 66, 110))


def test_registered_volumes_keep_their_places() -> None:
    """One is cropped: the same place in space is the same place in the cube."""
    cropped = facts("b", shape=(90, 110, 95), matrix=shifted(5, 4, 3), box=Box((5, 6, 7), (85, 106, 87)))
    placing = place([facts("a"), cropped], "none", margin=0)
    assert "common coordinates" in placing.reason
    a, b = placing.boxes
    assert np.subtract(a.start, b.start) == pytest.approx((5, 4, 3))
    assert a.extent == pytest.approx((100, 100, 100))  # the longest side of the brain, for all axes


def test_unregistered_volumes_are_centred_at_one_scale() -> None:
    half = facts("b", matrix=shifted(500, 0, 0) @ np.diag([0.5, 0.5, 0.5, 1]), box=Box((20, 20, 20), (180, 220, 180)))
    placing = place([facts("a"), half], "none", margin=0)
    assert "middle of each brain" in placing.reason
    assert placing.boxes[0] == Box((0, 10, 0), (100, 110, 100))
    assert placing.boxes[1].extent == pytest.approx((200, 200, 200))  # 100 mm too
    assert np.add(placing.boxes[1].start, placing.boxes[1].stop) / 2 == pytest.approx((100, 120, 100))


def test_an_unknown_alignment() -> None:
    with pytest.raises(ConfigError, match="none, box, affine"):
        place([facts()], "warp")


def test_a_digest_without_decoding(tmp_path: Path) -> None:
    file = VolumeFile("a.nii.gz", (made.write_nifti(tmp_path / "a.nii.gz", made.brain()),))
    assert digest(file) == read_volume(file).sha256
    pytest.importorskip("pydicom")
    series = VolumeFile("s", tuple(made.write_series(tmp_path / "s", made.brain().astype(np.uint16))))
    assert digest(series) == read_volume(series).sha256


@pytest.mark.parametrize("align, apart", [("box", 0.0), ("box", 30.0), ("none", 0.0), ("none", 100.0)])
def test_one_more_lies_where_the_batch_would_have_it(align: str, apart: float) -> None:
    """``apart``: mm between the origins; registered volumes share a cube, others have one around each brain."""
    facts = []
    for number in range(3):
        matrix = np.eye(4)
        matrix[0, 3] = apart * number
        facts.append(VolumeFacts(str(number), Geometry((50, 60, 40), matrix), Box((5, 6, 4), (45, 50, 36))))
    boxes = place(facts, align).boxes
    frame = Frame.of([(one.geometry, box) for one, box in zip(facts, boxes, strict=True)], align)
    for one, box in zip(facts, boxes, strict=True):
        found = frame.box(one)
        np.testing.assert_allclose([found.start, found.stop], [box.start, box.stop], atol=1e-9)


def test_another_way_of_aligning_has_no_place_for_one_more() -> None:
    facts = VolumeFacts("a", Geometry((50, 60, 40), np.eye(4)), Box((5, 6, 4), (45, 50, 36)))
    with pytest.raises(ConfigError, match="place is found together"):
        Frame.of([(facts.geometry, facts.box)], "affine")
