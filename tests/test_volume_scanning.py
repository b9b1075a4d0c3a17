"""A folder of volumes from files to a run folder: what stands out, where its map lies, what is written and kept."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib

import volume_files as made
from blemish import cli, volume_estimate, volume_scanning
from blemish.config import ScanConfig, VolumeConfig
from blemish.deciding import decide
from blemish.errors import ConfigError, InputError
from blemish.inputs.volume_layouts import find_volumes
from blemish.inputs.volumes import voxels_of
from blemish.learning.pseudo_masks import pseudo_labels
from blemish.rejudging import rejudge
from blemish.result import Result
from blemish.scanning import scan
from blemish.sinks.families import read as read_families
from blemish.volume_estimate import lookers
from photos import write_parts
from volume_scans import CONFIG, LESION, SHAPE, brain, stored, write

# stored axes and mm of three kinds of files; an oblique one besides
KINDS = (("RAS", (1, 1, 1)), ("LPS", (1, 1, 1)), ("PIR", (1.5, 1, 2)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("volumes") / "brains")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return scan(folder, CONFIG)


@pytest.fixture(scope="module")
def run(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("run") / "run")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def table(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


# From files to a run


def test_a_planted_lesion_comes_first(result: Result, run: Path) -> None:
    assert result.scored[0].path == "b04.nii.gz"
    assert result.judgement is not None and "6 volumes" in result.judgement.sentence
    scores = nib.load(run / "maps" / "b04_desc-anomaly_statmap.nii.gz").get_fdata()
    peak = np.unravel_index(int(scores.argmax()), scores.shape)
    assert all(side.start - 2 <= at < side.stop + 2 for at, side in zip(peak, LESION, strict=True))
    outside = brain(4, True) == 0
    assert not scores[outside].any()


def test_its_mask_and_its_lesion_are_where_it_is(result: Result, run: Path) -> None:
    mask = nib.load(run / "maps" / "b04_desc-anomaly_mask.nii.gz").get_fdata() > 0
    truth = np.zeros(SHAPE, np.bool_)
    truth[LESION] = True
    assert (mask & truth).sum() > 0.5 * mask.sum() > 0  # scores are weighed: a map is narrower than its lesion
    lesion = result.lesions["b04.nii.gz"][0]
    for at, start, stop, side in zip(lesion.centre, lesion.start, lesion.stop, LESION, strict=True):
        assert side.start <= at < side.stop
        assert start < side.stop and stop > side.start
    there = np.argwhere(mask)
    assert (np.abs(there.min(axis=0) - lesion.start) <= 2).all()
    assert (np.abs(there.max(axis=0) + 1 - lesion.stop) <= 2).all()


def test_what_a_run_holds(result: Result, run: Path) -> None:
    names = {child.name for child in run.iterdir()}
    assert {"maps", "report.html", "results.csv", "run.json", "verdict", "volumes"} <= names
    assert not {"overlays", "masks", "coco.json"} & names
    rows = table(run)
    assert [(row["width"], row["height"], row["depth"]) for row in rows] == [("40", "48", "32")] * 6
    assert (run / "maps" / "patients.tsv").read_text().count("\n") == 7
    described = json.loads((run / "maps" / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["resolved"]["k"] == 1
    assert manifest["counts"]["scored"] == 6


def test_nothing_of_a_patient_is_written(run: Path) -> None:
    for file in (file for file in run.rglob("*") if file.is_file()):
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        assert b"DOE^" not in data, file.name


def test_the_report_shows_volumes(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert page.count('class="volume"') == 6
    assert "blob:" in page and "niivue" in page
    assert "dialog > header" in page  # a style that is not escaped
    assert page.count("'sha256-") == page.count("<script>") == 2  # one a script: NiiVue, and the page's own
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\bphotos?\b", text, re.IGNORECASE), re.findall(r".{40}\bphotos?\b.{20}", text)[:5]


@pytest.mark.parametrize("align", ["box", "affine"])
@pytest.mark.parametrize("axes, spacing", [*KINDS, ("oblique", (1, 1, 1))])
def test_maps_lie_on_their_volumes(axes: str, spacing: tuple[float, float, float], align: str, tmp_path: Path) -> None:
    """Every file is stored another way, and its map as it is; and the same brains find each other nevertheless."""
    if align == "affine":
        pytest.importorskip("SimpleITK", reason="registering needs the extra: pip install 'blemish[register]'")
    matrix = made.OBLIQUE if axes == "oblique" else made.affine(axes, spacing)
    for number in range(4):
        ras = brain(number, number == 2)
        turned = ras if axes == "oblique" else stored(ras, axes)
        made.write_nifti(tmp_path / "brains" / f"b{number}.nii.gz", turned, matrix)
    config = CONFIG.updated(volumes=replace(CONFIG.volumes, align=align))
    run = scan(tmp_path / "brains", config).save(tmp_path / "run")
    assert table(run)[0]["path"] == "b2.nii.gz"
    for kind in ("statmap", "mask"):
        before = nib.load(tmp_path / "brains" / "b2.nii.gz")
        after = nib.load(run / "maps" / f"b2_desc-anomaly_{kind}.nii.gz")
        assert after.shape == before.shape
        np.testing.assert_array_equal(after.affine, before.affine)
        for code in ("sform_code", "qform_code"):
            assert int(after.header[code]) == int(before.header[code])
        np.testing.assert_array_equal(after.header.get_zooms(), before.header.get_zooms())
    ras = nib.as_closest_canonical(nib.load(run / "maps" / "b2_desc-anomaly_statmap.nii.gz")).get_fdata()
    if axes != "oblique":
        peak = np.unravel_index(int(ras.argmax()), ras.shape)
        assert all(side.start - 2 <= at < side.stop + 2 for at, side in zip(peak, LESION, strict=True))


def test_a_dicom_series_among_nifti_files(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for number in range(3):
        made.write_series(tmp_path / "brains" / f"s{number}", brain(number).astype(np.uint16))
    result = scan(tmp_path / "brains", CONFIG)
    assert sorted(result.scores) == ["s0", "s1", "s2"]


# Settings


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes": {"grid": 8, "cube": 64, "radius": -1}},  # anywhere: by the engine of photos
        {"volumes": {"grid": 8, "cube": 64, "places": False}},
        {"volumes": {"grid": 8, "cube": 64, "align": "none", "axes": (2,)}},
        {"join": False},  # a pass a layer, as published
        {"families": "off", "k": 0.5, "image_score": "excess"},
    ],
)
def test_other_ways_find_it_too(changes: dict[str, Any], folder: Path) -> None:
    assert scan(folder, CONFIG, **changes).scored[0].path == "b04.nii.gz"


def test_the_cache_changes_no_bit(folder: Path) -> None:
    first, again = (scan(folder, CONFIG, cache=True) for _ in range(2))
    assert (first.manifest["counts"]["from_cache"], again.manifest["counts"]["from_cache"]) == (0, 6)
    np.testing.assert_array_equal(first.grids, again.grids)
    other = scan(folder, CONFIG, cache=True, volumes={"grid": 4, "cube": 64})
    assert other.manifest["counts"]["from_cache"] == 0


def test_threads_change_no_bit(folder: Path, result: Result) -> None:
    np.testing.assert_array_equal(scan(folder, CONFIG, threads=1).grids, result.grids)


# of eight threads those that have room; what is not a volume takes none
@pytest.mark.parametrize(("free", "threads", "workers"), [(100, 8, 8), (5, 8, 5), (5, 1, 1), (0.5, 8, 1), (-5, 8, 1)])
def test_the_first_look_keeps_within_memory(
    free: float, threads: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write_nifti(tmp_path / "a.nii.gz", made.brain((40, 40, 40)))
    made.write_nifti(tmp_path / "b.nii.gz", made.brain((20, 24, 16)))
    made.write_series(tmp_path / "c", np.ones((30, 20, 10), np.uint16))
    (tmp_path / "d.nii.gz").write_bytes(b"no")
    volumes = find_volumes(tmp_path).volumes
    assert sorted(map(voxels_of, volumes)) == [0, 30 * 20 * 10, 20 * 24 * 16, 40**3]
    monkeypatch.setattr(volume_estimate.torch, "get_num_threads", lambda: threads)
    memory = 2**30
    resident = memory - round(free * volume_estimate.PER_VOXEL * 40**3)
    monkeypatch.setattr(volume_estimate.machine, "resident_memory", lambda: resident)
    assert lookers(replace(CONFIG, memory=memory), volumes) == workers


def test_given_masks_are_used(folder: Path, tmp_path: Path) -> None:
    """Half of every brain: nothing is found in the other half."""
    for number in range(6):
        half = brain(number) > 0
        half[20:] = False
        made.write_nifti(tmp_path / "masks" / f"b{number:02}_mask.nii.gz", half.astype(np.uint8))
    volumes = {"grid": 8, "cube": 64, "masks": str(tmp_path / "masks")}
    result = scan(folder, CONFIG, volumes=volumes)
    assert result.manifest["resolved"]["brain_masks"] == ["given"]
    native = result.volumes.by_path["b04.nii.gz"]  # type: ignore[union-attr]
    assert not native.scores(result.grids[0])[20:].any()


def test_a_run_keeps_the_whole_path_of_its_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And grows from any folder; here from one whose masks lie beside the volumes."""
    for number in range(4):
        made.write_nifti(tmp_path / f"home/in/b{number}.nii.gz", brain(number))
        made.write_nifti(tmp_path / f"home/in/b{number}_mask.nii.gz", (brain(number) > 0).astype(np.uint8))
    monkeypatch.chdir(tmp_path / "home")
    result = scan("in", CONFIG, volumes={"grid": 8, "cube": 64, "masks": "in"})
    assert result.manifest["config"]["volumes"]["masks"] == str(tmp_path / "home" / "in")
    assert result.manifest["resolved"]["brain_masks"] == ["given"]
    result.save(tmp_path / "run")
    write(tmp_path / "more", 1)
    monkeypatch.chdir(tmp_path)
    assert len(scan("more", extends=tmp_path / "run").scored) == 5


def test_bids(tmp_path: Path) -> None:
    """One modality of two, maps named as derivatives, although a picture lies there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (tmp_path / "data" / "figure.png").write_bytes(b"")
    for number in range(3):
        for kind in ("T1w", "FLAIR"):
            made.write_nifti(tmp_path / f"data/sub-{number}/anat/sub-{number}_{kind}.nii.gz", brain(number))
    with pytest.raises(InputError, match="one modality at a time"):
        scan(tmp_path / "data", CONFIG)
    volumes = {"grid": 8, "cube": 64, "modality": "T1w"}
    run = scan(tmp_path / "data", CONFIG, volumes=volumes).save(tmp_path / "run")
    name = "sub-1/anat/sub-1_space-orig_desc-anomaly_statmap"
    assert (run / "maps" / f"{name}.nii.gz").is_file()
    assert json.loads((run / "maps" / f"{name}.json").read_text())["Sources"] == [
        "bids:raw:sub-1/anat/sub-1_T1w.nii.gz"
    ]
    assert _raw(run) == "../../data"
    rejudge(run, threshold=0.0)
    assert _raw(run) == "../../data"
    moved = scan(tmp_path / "data", CONFIG, volumes=volumes).save(tmp_path / "some where" / "run")
    assert _raw(moved) == "../../../data"
    (tmp_path / "data").rename(tmp_path / "raw data")
    assert _raw(scan(tmp_path / "raw data", CONFIG, volumes=volumes).save(tmp_path / "again")) == "../../raw%20data"


def _raw(run: Path) -> str:
    """Where the maps of a run say that their source is."""
    described = json.loads((run / "maps" / "dataset_description.json").read_text())
    return str(described["DatasetLinks"]["raw"])


def test_photos_win_in_a_folder_of_both(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    shutil.copytree(folder, tmp_path / "both")
    for number in range(3):
        Image.fromarray(np.full((64, 64, 3), 60 * number, np.uint8)).save(tmp_path / "both" / f"{number}.png")
    assert scan(tmp_path / "both", ScanConfig(backbone="mock", cache=False, size=64)).volumes is None


@pytest.mark.parametrize(
    "volumes, words",
    [
        ({"grey": "bright", "masks": "/nowhere"}, "--masks, --grey is for volumes"),
        ({"grid": 16, "radius": 3}, "--grid, --radius is for volumes"),
        ({"slices": 4}, "slices in [volumes] is for volumes"),
    ],
)
def test_photos_have_no_use_for_options_of_volumes(volumes: dict[str, Any], words: str, tmp_path: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.fromarray(np.full((64, 64, 3), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(ConfigError, match=re.escape(words)):
        scan(tmp_path, ScanConfig(backbone="mock", cache=False, size=64), volumes=volumes)
    with pytest.raises(ConfigError, match=re.escape(words)):
        scan(tmp_path, method="text", text={"class_name": "brain"}, volumes=volumes)


# What cannot be used


def _four(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.stack([values, values], axis=-1)


def _holes(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    values[10, 10, 10] = np.nan
    return values


def _tomogram(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.where(values > 0, values, np.float32(-1000))


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (_four, "4-D"),
        (lambda values: values[:, :, :1], "single slices"),
        (_holes, "no numbers"),
        (np.zeros_like, "all of its voxels hold 0"),
        (_tomogram, "CT among MR"),
    ],
)
def test_what_is_wrong_is_listed(spoil: Callable[..., Any], reason: str, tmp_path: Path) -> None:
    write(tmp_path / "brains", 3)
    made.write_nifti(tmp_path / "brains" / "odd.nii.gz", spoil(brain(9)))
    result = scan(tmp_path / "brains", CONFIG)
    (odd,) = result.unreadable
    assert odd.path == "odd.nii.gz" and reason in odd.reason
    run = result.save(tmp_path / "run")
    assert reason.replace("<", "&lt;") in (run / "report.html").read_text()
    assert table(run)[-1]["status"] == "unreadable"


def test_a_truncated_file_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "brains", 4)
    file = tmp_path / "brains" / "b03.nii.gz"
    file.write_bytes(file.read_bytes()[:2000])
    (odd,) = scan(tmp_path / "brains", CONFIG).unreadable
    assert "end too early" in odd.reason


@pytest.mark.parametrize("align", ["box", "affine"])
@pytest.mark.parametrize("shape", [SHAPE, (20, 24, 16)])
def test_a_volume_that_changes_during_the_scan_is_listed(
    shape: tuple[int, int, int], align: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not its new voxels would fit into the old brain."""
    folder = write(tmp_path / "brains")
    looking = volume_scanning.look

    def look(*given: Any) -> Any:
        found = looking(*given)
        made.write_nifti(folder / "b02.nii.gz", made.brain(shape, 7))
        return found

    monkeypatch.setattr(volume_scanning, "look", look)
    result = scan(folder, CONFIG, volumes={**asdict(CONFIG.volumes), "align": align})
    (left,) = (photo for photo in result.photos if photo.status == "unreadable")
    assert (left.path, left.reason) == ("b02.nii.gz", "it was changed while it was scanned")


def test_a_volume_that_changed_since_has_no_picture(tmp_path: Path) -> None:
    result = scan(write(tmp_path / "brains"), CONFIG)
    made.write_nifti(tmp_path / "brains" / "b02.nii.gz", brain(7))
    assert result.volumes is not None
    values = {path: one.values() for path, one in result.volumes.by_path.items()}
    assert [path for path, found in values.items() if len(np.unique(found)) == 2] == ["b02.nii.gz"]


def test_a_mask_of_another_grid_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "brains", 4)
    for number in range(4):
        mask = (brain(number) > 0).astype(np.uint8)
        made.write_nifti(tmp_path / "masks" / f"b{number:02}.nii.gz", mask if number else mask[:20])
    result = scan(tmp_path / "brains", CONFIG, volumes={"grid": 8, "cube": 64, "masks": str(tmp_path / "masks")})
    (odd,) = result.unreadable
    assert odd.path == "b00.nii.gz" and "another grid" in odd.reason


def test_copies_are_told_of(tmp_path: Path) -> None:
    write(tmp_path / "brains", 4, ())
    shutil.copy(tmp_path / "brains" / "b00.nii.gz", tmp_path / "brains" / "z.nii.gz")
    result = scan(tmp_path / "brains", CONFIG)
    assert {photo.path: photo.duplicate_of for photo in result.scored}["z.nii.gz"] == "b00.nii.gz"
    assert any("same bytes" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"size": 256}, "--size is for photos"),
        ({"screen": 0.5}, "--subset sets how many"),
        ({"executor": "ray"}, "by this machine's cores"),
        ({"exports": ("masks", "coco")}, "are for photos"),
        ({"backbone": "mock+effnet-lite2"}, "one backbone"),
        ({"method": "text", "backbone": "effnet-lite2", "text": {"class_name": "brain"}}, "holds volumes"),
        ({"volumes": {"grid": 4, "cube": 36}}, "multiple of"),  # of the backbone's patch, 8
        ({"memory": 2**28}, "--memory"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        scan(folder, CONFIG.updated(**changes))


@pytest.mark.parametrize(
    "values, words",
    [
        ({"grid": 2}, "4 to 128"),
        ({"cube": 100}, "multiple of --grid"),
        ({"radius": -2}, "--radius"),
        ({"align": "warp"}, "box, affine or none"),
        ({"slices": 0}, "every slice"),
        ({"axes": (0, 0)}, "each once"),
        ({"axes": (3,)}, "0,1,2"),
        ({"places": 1}, "volumes.places"),
        ({"grid": True}, "volumes.grid"),
    ],
)
def test_values_that_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        VolumeConfig(**values)


def test_two_volumes_are_too_few(tmp_path: Path) -> None:
    write(tmp_path / "brains", 2)
    with pytest.raises(InputError, match="at least 3"):
        scan(tmp_path / "brains", CONFIG)


# Another threshold, and a decision


def test_another_threshold(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    maps = {file.name: file.read_bytes() for file in (copy / "maps").glob("*statmap*")}
    scores = [float(row["score"]) for row in table(copy)]
    judged = rejudge(copy, threshold=(scores[1] + scores[2]) / 2)
    assert [photo.verdict for photo in judged.scored[:3]] == ["blemished", "blemished", "ok"]
    assert len(list((copy / "maps").glob("*_mask.nii.gz"))) == 2
    assert {file.name: file.read_bytes() for file in (copy / "maps").glob("*statmap*")} == maps
    assert "2 of 6 volumes are blemished" in (copy / "report.html").read_text()
    again = rejudge(copy, threshold=scores[0] + 1)
    assert not list((copy / "maps").glob("*_mask.nii.gz"))
    assert again.lesions == {}


@pytest.fixture(scope="module")
def recurring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen brains, four with one and the same lesion."""
    folder = write(tmp_path_factory.mktemp("recurring") / "brains", 14, (2, 5, 9, 12))
    return scan(folder, CONFIG).save(folder.parent / "run")


def test_a_recurring_lesion_is_a_family(recurring: Path) -> None:
    family, *_ = read_families(recurring / "families.json")
    assert family.paths == ("b02.nii.gz", "b05.nii.gz", "b09.nii.gz", "b12.nii.gz")
    assert family.score_without > 2 * family.score_with
    assert family.place.shape == (8, 8, 8)
    # in the frame of the brains' box, which is a little larger than the brain: the lesion's middle is in it
    member = family.members[0]
    for low, high, side, length in zip(
        (member.front, member.top, member.left), (member.back, member.bottom, member.right), LESION, SHAPE, strict=True
    ):
        assert low < (side.start + side.stop) / 2 / length < high
    assert "4 volumes share a look" in (recurring / "report.html").read_text()


def test_a_decision_scores_again(recurring: Path, tmp_path: Path) -> None:
    """Without any volume: their files may be gone, and their pictures are grey then."""
    run = Path(shutil.copytree(recurring, tmp_path / "run"))
    flaw = decide(run, 1, "defect")
    assert {photo.path for photo in flaw.result.scored[:4]} == set(flaw.family.paths)
    assert flaw.after > 2 * flaw.before
    assert all(photo.verdict != "ok" for photo in flaw.result.scored[:4])
    assert len(list((run / "maps").glob("*_mask.nii.gz"))) >= 4
    variant = decide(run, 1, "variant")
    assert variant.after < flaw.after
    decide(run, 1, undo=True)
    first = {row["path"]: row["score"] for row in table(recurring)}
    assert {row["path"]: row["score"] for row in table(run)} == first


def test_a_diagnosis_speaks_of_volumes(
    recurring: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "diagnose", recurring) == 0
    said = capsys.readouterr().out
    assert "volumes" in said and "photo" not in said and "patch" not in said
    assert "1 families" in said


def test_nothing_is_learned_from_volumes(run: Path) -> None:
    with pytest.raises(InputError, match="run of volumes"):
        pseudo_labels(run)


def test_neither_kind_of_run_grows_by_the_other(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = write_parts(tmp_path / "parts")
    assert call(monkeypatch, "scan", "--extend", run, parts) == 2
    assert "extended by volumes" in capsys.readouterr().err
    photos = scan(parts, ScanConfig(backbone="mock", cache=False)).save(tmp_path / "run")
    assert call(monkeypatch, "scan", "--extend", photos, folder) == 2
    assert "not extended by volumes" in capsys.readouterr().err


# The command line


def test_the_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--backbone", "mock", "--grid", "8", "--radius", "all", "--axes", "0,2", "--align", "none", "--no-cache"]
    assert call(monkeypatch, *["scan", str(folder), "--out", str(tmp_path / "run"), *options]) == 0
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["config"]["volumes"]["radius"] == -1
    assert manifest["config"]["volumes"]["axes"] == [0, 2]
    assert "b04.nii.gz" in capsys.readouterr().out
    assert call(monkeypatch, *["verdict", str(tmp_path / "run"), "--expect-defects", "20%"]) == 0


def test_radius_is_a_number_or_all(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, *["scan", str(folder), "--radius", "far"]) == 2
    assert "--radius takes a number" in capsys.readouterr().err


def test_settings_as_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from blemish.config import read_config

    assert call(monkeypatch, *["scan", ".", "--grid", "16", "--print-config"]) == 0
    file = tmp_path / "settings.toml"
    file.write_text(capsys.readouterr().out)
    assert read_config(file).volumes == VolumeConfig(grid=16)


def test_without_the_extra_it_says_what_to_type(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match=re.escape("pip install 'blemish[volumes]'")):
        scan(folder, CONFIG)
