"""A run of volumes frozen into a detector for one: the run's scale, maps on the volume's grid, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib

import volume_files as made
from blemish import bundle, cli
from blemish.checked import CheckedVolume
from blemish.checking import Results, check_files, listed
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.freezing import freeze
from blemish.frozen import Detector, export_onnx
from blemish.run import read_rows
from blemish.scanning import scan
from blemish.teaching import teach
from blemish.watching import watch_folder
from volume_scans import CONFIG, LESION, SHAPE, brain, stored, write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    return scan(write(folder / "brains", 12), CONFIG).save(folder / "run")


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    return freeze(run, run.parent / "brains.blemish").file


@pytest.fixture(scope="module")
def detector(file: Path) -> Detector:
    return Detector.load(file)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_lesion_and_a_sound_brain(detector: Detector, tmp_path: Path) -> None:
    ill = detector.check(made.write_nifti(tmp_path / "ill.nii.gz", brain(80, True)))
    sound = detector.check(made.write_nifti(tmp_path / "sound.nii.gz", brain(81)))
    assert isinstance(ill, CheckedVolume)
    assert ill.score > 2 * sound.score
    assert ill.verdict != "ok" and sound.verdict == "ok"
    peak = np.unravel_index(int(ill.map.argmax()), ill.map.shape)
    assert all(side.start - 2 <= at < side.stop + 2 for at, side in zip(peak, LESION, strict=True))
    assert ill.lesions and not sound.lesions


def test_scores_are_on_the_scale_of_the_run(run: Path, tmp_path: Path) -> None:
    """Scan fourteen brains; freeze the run of the first twelve: the last two score alike, ill or sound."""
    everything = write(tmp_path / "brains", 14, (12,))  # of two alike, each would vouch for the other
    together = {photo.path: photo.score for photo in scan(everything, CONFIG).scored}
    found = Detector.load(freeze(run, tmp_path / "x.blemish").file)
    assert found.check(everything / "b12.nii.gz").score == pytest.approx(together["b12.nii.gz"], rel=0.35)
    sound = [score for path, score in together.items() if path not in ("b04.nii.gz", "b12.nii.gz") and score]
    assert min(sound) / 1.5 < found.check(everything / "b13.nii.gz").score < 1.5 * max(sound)


def test_the_runs_own_volumes_are_refused(run: Path, detector: Detector) -> None:
    good = next(row.path for row in read_rows(run) if row.verdict == "ok")
    with pytest.raises(InputError, match="volumes that the detector was made from"):
        detector.check(run.parent / "brains" / good)


def test_maps_lie_on_the_volumes(detector: Detector, tmp_path: Path) -> None:
    """Whichever way it is stored, with its affine; and the score is the same."""
    ras = brain(80, True)
    straight = made.write_nifti(tmp_path / "ras.nii.gz", ras)
    turned = made.write_nifti(tmp_path / "lps.nii.gz", stored(ras, "LPS"), made.affine("LPS"))
    with Results(tmp_path / "out", detector) as results:
        lines = list(check_files(detector, listed([straight, turned], detector), results))
    assert lines[0]["score"] == lines[1]["score"]
    assert lines[0]["lesions"] == lines[1]["lesions"] != []
    for source in (straight, turned):
        maps = [one for one in (tmp_path / "out" / "maps").rglob("*.nii.gz") if one.name.startswith(source.name[:3])]
        assert sorted(one.name.rpartition("_")[2] for one in maps) == ["mask.nii.gz", "statmap.nii.gz"]
        for one in maps:
            np.testing.assert_array_equal(nib.load(one).affine, nib.load(source).affine)
            assert nib.load(one).shape == nib.load(source).shape
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 2


def test_what_was_taught_goes_with_it(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    made.write_nifti(tmp_path / "good.nii.gz", brain(60))
    teach(copy, defects=[("b04.nii.gz", made.write_nifti(tmp_path / "mask.nii.gz", mask))])
    teach(copy, good=[tmp_path / "good.nii.gz"])
    ill = made.write_nifti(tmp_path / "ill.nii.gz", brain(80, True))
    before = Detector.load(freeze(run, tmp_path / "before.blemish").file).check(ill)
    after = Detector.load(freeze(copy, tmp_path / "after.blemish").file)
    assert after.facts.made_from["defect_tokens"] > 0
    assert after.check(ill).grid.max() > before.grid.max()


@pytest.mark.parametrize("changes", [{"align": "none"}, {"radius": -1, "places": False}])
def test_other_ways(changes: dict[str, object], tmp_path: Path) -> None:
    folder = write(tmp_path / "brains", 8)
    volumes = {"grid": 8, "cube": 64, "slices": 4, **changes}
    made_from = scan(folder, CONFIG, volumes=volumes, join=False).save(tmp_path / "run")
    found = Detector.load(freeze(made_from, tmp_path / "x.blemish").file)
    ill = found.check(made.write_nifti(tmp_path / "ill.nii.gz", brain(80, True)))
    assert ill.score > found.check(made.write_nifti(tmp_path / "sound.nii.gz", brain(81))).score


def test_a_folder_is_watched(detector: Detector, tmp_path: Path) -> None:
    made.write_nifti(tmp_path / "incoming" / "one.nii.gz", brain(80, True))
    made.write_series(tmp_path / "incoming" / "series", brain(81).astype(np.uint16))
    (tmp_path / "incoming" / "bad.nii.gz").write_bytes(b"no")
    with Results(tmp_path / "out", detector) as results:
        lines = list(
            watch_folder(detector, tmp_path / "incoming", results, once=True, interval=0.01, sleep=lambda s: None)
        )
    assert [line["path"] for line in lines] == ["bad.nii.gz", "one.nii.gz", "series"]
    assert "damaged" in lines[0]["error"]
    assert (tmp_path / "out" / "maps" / "series_desc-anomaly_statmap.nii.gz").is_file()


def test_the_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "freeze", run, "--out", tmp_path / "x.blemish") == 0
    assert "a volume is blemished" in capsys.readouterr().out or True
    ill = made.write_nifti(tmp_path / "ill.nii.gz", brain(80, True))
    assert call(monkeypatch, "check", tmp_path / "x.blemish", ill, "--out", tmp_path / "out") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["verdict"] != "ok" and line["lesions"]


def test_what_is_refused(run: Path, file: Path, detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tokens is for photos"):
        freeze(run, tmp_path / "x.blemish", tokens=100)
    with pytest.raises(InputError, match="ONNX is for photos"):
        export_onnx(file, tmp_path / "x.onnx")
    with pytest.raises(InputError, match="is for volumes"):
        detector.check(np.zeros((8, 8, 3), np.uint8))
    made.write_nifti(tmp_path / "two" / "a.nii.gz", brain(1))
    made.write_nifti(tmp_path / "two" / "b.nii.gz", brain(2))
    with pytest.raises(InputError, match="holds 2 volumes"):
        detector.check(tmp_path / "two")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG" + bytes(400))
    absent, photo = check_files(detector, listed([tmp_path / "absent.nii.gz", tmp_path / "photo.png"], detector))
    assert absent["error"] == "there is no such file"
    assert photo["error"] == "neither a NIfTI file (.nii, .nii.gz) nor DICOM"


def test_a_tomogram_is_no_brain_of_this_kind(run: Path, detector: Detector, tmp_path: Path) -> None:
    """Neither judged nor taught from; and a detector from before says what it always said."""
    tomogram = made.write_nifti(tmp_path / "ct.nii.gz", np.where(brain(81) > 0, brain(81), -1000).astype(np.float32))
    with pytest.raises(UnreadablePhoto, match="a CT among MR volumes"):
        detector.check(tomogram)
    with pytest.raises(InputError, match="a CT among MR volumes"):
        teach(Path(shutil.copytree(run, tmp_path / "run")), good=[tomogram])
    facts = detector.facts.as_dict()
    del facts["volume"]["ct"]
    assert bundle.DetectorFacts.of(facts).volume.ct is None
    with pytest.raises(ValueError, match="ct is 'yes'"):
        bundle.VolumeView.of({**facts["volume"], "ct": "yes"})


@pytest.mark.parametrize("stripped", [True, False])
def test_given_brains_have_to_be_those_that_would_be_found(stripped: bool, tmp_path: Path) -> None:
    """A volume that comes later has no mask."""
    folder = write(tmp_path / "brains", 8)
    for number in range(8):
        given = brain(number) > 0
        given[:, : 0 if stripped else 20] = False
        made.write_nifti(tmp_path / "masks" / f"b{number:02}.nii.gz", given.astype(np.uint8))
    run = scan(folder, CONFIG, volumes={**asdict(CONFIG.volumes), "masks": str(tmp_path / "masks")})
    run = run.save(tmp_path / "run")
    good = made.write_nifti(tmp_path / "good.nii.gz", brain(60))
    if stripped:
        teach(run, good=[good])
        assert freeze(run, tmp_path / "x.blemish").file.is_file()
        return
    teach(run, good=["b01.nii.gz"])
    with pytest.raises(ConfigError, match=r"scanned with brain masks .*'b00.nii.gz' would be found elsewhere"):
        freeze(run, tmp_path / "x.blemish")
    with pytest.raises(ConfigError, match="scanned with brain masks"):
        teach(run, good=[good])


def test_a_detector_of_volumes_is_read_back(file: Path) -> None:
    found = bundle.read(file)
    assert found.facts.volume is not None and found.usual is not None
    assert bundle.DetectorFacts.of(json.loads(json.dumps(found.facts.as_dict()))) == found.facts
    assert found.memories[0].at is not None
    assert len(found.memories[0].at) == len(found.memories[0].normal)


def test_a_run_whose_frame_has_no_place_for_one_more(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copy / "run.json").read_text())
    manifest["config"]["volumes"]["align"] = "affine"
    (copy / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="place is found together"):
        freeze(copy, tmp_path / "x.blemish")
