"""Examples of volumes: good ones, a lesson with its mask, a recurring one, and what is refused."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

import volume_files as made
from blemish import cli, taught
from blemish.deciding import decide
from blemish.errors import ConfigError, InputError
from blemish.rejudging import rejudge
from blemish.run import read_rows
from blemish.scanning import scan
from blemish.teaching import teach
from volume_scans import CONFIG, LESION, SHAPE, brain, write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen brains; a lesion in six, so that it finds itself."""
    folder = tmp_path_factory.mktemp("taught")
    return scan(write(folder / "brains", 14, (1, 3, 5, 7, 9, 11)), CONFIG, families="off").save(folder / "run")


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def lesion(file: Path) -> Path:
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    return made.write_nifti(file, mask)


def places(run: Path) -> dict[str, int]:
    return {row.path: row.rank or 0 for row in read_rows(run)}


ILL = {f"b{n:02}.nii.gz" for n in (1, 3, 5, 7, 9, 11)}


def test_a_marked_lesion_is_known_again(run: Path, tmp_path: Path) -> None:
    before = places(run)
    done = teach(run, defects=[("b03.nii.gz", lesion(tmp_path / "mask.nii.gz"))])
    after = places(run)
    assert sum(after[path] for path in ILL) < sum(before[path] for path in ILL)
    others = ILL - {"b03.nii.gz"}  # which is not compared with itself
    assert {path for path, rank in after.items() if rank <= 5} == others
    assert done.resemblance is not None and len(done.resemblance.photos) >= 5
    verdicts = {row.path: (row.verdict, row.reason) for row in read_rows(run)}
    assert verdicts["b03.nii.gz"] == ("blemished", "as you said")
    assert (run / "maps" / "b03_desc-anomaly_mask.nii.gz").is_file()
    assert rejudge(run, threshold=1e6).photos[0].verdict is not None
    assert {row.path: row.verdict for row in read_rows(run)}["b03.nii.gz"] == "blemished"  # nothing overrules it


def test_good_volumes_from_elsewhere(run: Path, tmp_path: Path) -> None:
    """Files that the scan has never seen lie where the run's lie."""
    for number in (40, 41):
        made.write_nifti(tmp_path / "good" / f"g{number}.nii.gz", brain(number))
    before = places(run)
    done = teach(run, good=[tmp_path / "good"], trust=0.8)
    assert [example.kind for example in done.examples] == ["good", "good"]
    after = places(run)
    assert sum(after[path] for path in ILL) < sum(before[path] for path in ILL)
    known = taught.read(run)
    assert known is not None and known.lessons[0].tokens[0].good_at.min() >= 0


def test_undo_brings_every_number_back(run: Path, tmp_path: Path) -> None:
    first = [(row.path, row.score) for row in read_rows(run)]
    maps = np.load(run / "verdict" / "maps.npy")
    teach(run, good=["b00.nii.gz"])
    teach(run, defects=[("b03.nii.gz", lesion(tmp_path / "mask.nii.gz"))])
    assert [(row.path, row.score) for row in read_rows(run)] != first
    teach(run, undo=True)
    assert {row.path: row.verdict for row in read_rows(run)}["b00.nii.gz"] == "ok"
    teach(run, undo=True)
    assert [(row.path, row.score) for row in read_rows(run)] == first
    np.testing.assert_array_equal(np.load(run / "verdict" / "maps.npy"), maps)


def test_a_mask_as_an_array_or_of_a_series_of_its_own(run: Path) -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[LESION] = True
    assert teach(run, defects=[("b03.nii.gz", mask)]).examples[0].kind == "defect"
    with pytest.raises(InputError, match="given before"):
        teach(run, defects=[("b03.nii.gz", mask)])


def test_anywhere_and_apart(tmp_path: Path) -> None:
    """Without places, without weights, a pass a layer."""
    folder = write(tmp_path / "brains", 6)
    volumes = {"grid": 8, "cube": 64, "radius": -1, "places": False, "align": "none"}
    run = scan(folder, CONFIG, volumes=volumes, join=False).save(tmp_path / "run")
    made.write_nifti(tmp_path / "good.nii.gz", brain(50))
    teach(run, good=[tmp_path / "good.nii.gz"])
    assert teach(run, defects=[("b04.nii.gz", lesion(tmp_path / "mask.nii.gz"))]).result.scored[0].path == "b04.nii.gz"


def test_a_recurring_lesion(tmp_path: Path) -> None:
    folder = write(tmp_path / "brains", 14, (2, 5, 9, 12))
    run = scan(folder, CONFIG).save(tmp_path / "run")
    decide(run, 1, "defect")
    done = teach(run, families=[1])
    assert {photo.path for photo in done.result.scored[:4]} == {f"b{n:02}.nii.gz" for n in (2, 5, 9, 12)}
    decide(run, 1, "variant")  # keeps what was taught
    assert taught.read(run) is not None


@pytest.mark.parametrize(
    "mask, words",
    [
        (np.zeros(SHAPE, np.uint8), "is empty"),
        (np.ones(SHAPE, np.uint8), "nearly all"),
        (np.ones((20, 48, 32), np.uint8), "another grid"),
    ],
)
def test_masks_that_do_not_fit(mask: np.ndarray, words: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        teach(run, defects=[("b03.nii.gz", made.write_nifti(tmp_path / "mask.nii.gz", mask))])


def test_a_mask_outside_of_the_brain(run: Path, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 0, 0] = 1
    with pytest.raises(InputError, match="outside of its brain"):
        teach(run, defects=[("b03.nii.gz", made.write_nifti(tmp_path / "mask.nii.gz", mask))])


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--turned is for photos"):
        teach(run, good=["b00.nii.gz"], turned=True)
    with pytest.raises(InputError, match=r"no volume 'absent\.nii\.gz'"):
        teach(run, good=["absent.nii.gz"])
    with pytest.raises(InputError, match="no such file"):
        teach(run, defects=[("b03.nii.gz", "10,10,20,20")])
    (tmp_path / "text.nii.gz").write_text("no volume")
    with pytest.raises(InputError, match="Cannot read"):
        teach(run, good=[tmp_path / "text.nii.gz"])
    (tmp_path / "photo.png").write_bytes(b"\x89PNG" + bytes(400))
    with pytest.raises(InputError, match="neither a NIfTI file"):
        teach(run, good=[tmp_path / "photo.png"])


def test_a_volume_that_has_changed(original: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(original.parent / "brains", tmp_path / "brains"))
    run = scan(folder, CONFIG, families="off").save(tmp_path / "run")
    made.write_nifti(folder / "b00.nii.gz", brain(77))
    with pytest.raises(InputError, match="changed since it was scanned"):
        teach(run, good=["b01.nii.gz"])
    (folder / "b00.nii.gz").unlink()
    with pytest.raises(InputError, match="not there any more"):
        teach(run, good=["b01.nii.gz"])


def test_another_scan_knows_what_was_taught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless its cells are others, whose places are not those of the lesson."""
    folder, run = write(tmp_path / "brains"), tmp_path / "run"
    scan(folder, CONFIG).save(run)
    made.write_nifti(tmp_path / "good.nii.gz", brain(50))
    teach(run, good=[tmp_path / "good.nii.gz"])
    options = ["--backbone", "mock", "--overwrite", "--no-cache", "--config", str(tmp_path / "set.toml")]
    for grid, kept in ((8, "taught"), (4, "taught-before")):
        (tmp_path / "set.toml").write_text(f"[volumes]\ngrid = {grid}\ncube = 64\nslices = 4\n")
        monkeypatch.setattr("sys.argv", ["blemish", "scan", str(folder), "--out", str(run), *options])
        with contextlib.suppress(SystemExit):
            cli.main()
        assert (run / kept / "lessons.json").is_file(), capsys.readouterr()
