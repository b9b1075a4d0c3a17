"""Run folders: nothing half-written looks finished, nothing of the user's is overwritten."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from blemish import run as run_folder
from blemish.config import ScanConfig
from blemish.errors import OutputError, RunError
from blemish.result import Result
from blemish.run import check_out, default_out, read_manifest, staging
from blemish.scanning import scan
from photos import write_parts


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = write_parts(tmp_path_factory.mktemp("parts"), 5, flawed=(3,))
    write_parts(folder / "sub", 1, flawed=())
    (folder / "broken.png").write_bytes(b"")
    return scan(folder, ScanConfig(backbone="mock", cache=False))


def test_every_file_of_a_run(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "run")
    assert sorted(file.name for file in out.iterdir()) == [
        "maps",
        "overlays",
        "report.html",
        "results.csv",
        "results.jsonl",
        "run.json",
    ]
    manifest = read_manifest(out)
    assert manifest["timings_s"].pop("writing results") > 0
    assert manifest == json.loads(json.dumps(result.manifest))
    assert tifffile.imread(out / "maps" / "sub" / "0.png.tif").shape == result.shape
    with Image.open(out / "overlays" / "3.png.jpg") as overlay:
        assert overlay.size == (64, 64)


def test_tables_have_one_row_a_photo_most_anomalous_first(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "run")
    with (out / "results.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == [
        "path",
        "score",
        "rank",
        "percentile",
        "width",
        "height",
        "status",
        "reason",
        "duplicate_of",
    ]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6", ""]
    assert (rows[0]["path"], rows[0]["status"], rows[0]["percentile"]) == ("3.png", "ok", "100.0")
    assert (rows[-1]["path"], rows[-1]["status"], rows[-1]["score"]) == ("broken.png", "unreadable", "")
    assert "empty file" in rows[-1]["reason"]
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["path"] for line in lines] == [row["path"] for row in rows]
    assert lines[-1]["score"] is None
    assert [float(row["score"]) for row in rows[:-1]] == list(result.scores.values())


def test_maps_at_the_original_size_or_none(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "original", maps="original")
    written = tifffile.imread(out / "maps" / "3.png.tif")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, result.maps.at("3.png", (64, 64)))
    assert not (result.save(tmp_path / "none", maps="none") / "maps").exists()


def test_default_out_lies_beside_the_photos(tmp_path: Path) -> None:
    assert default_out(tmp_path / "parts") == tmp_path / "parts-blemish"
    assert default_out(tmp_path / "list.csv") == tmp_path / "list-blemish"


def _fill(folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / name).write_text("{}")


# what --out is already, whether --overwrite was given, words of the error
@pytest.mark.parametrize(
    ("contents", "overwrite", "words"),
    [
        ("run.json", False, "holds a run already. Add --overwrite"),
        ("thesis.docx", False, "holds other files and no run"),
        ("thesis.docx", True, "holds other files and no run"),
    ],
)
def test_existing_folders_are_not_overwritten(tmp_path: Path, contents: str, overwrite: bool, words: str) -> None:
    _fill(tmp_path / "out", contents)
    with pytest.raises(OutputError, match=words):
        check_out(tmp_path / "out", tmp_path / "photos", overwrite)
    assert (tmp_path / "out" / contents).exists()


@pytest.mark.parametrize("inside", [".", "out", "deep/out"])
def test_out_inside_the_photos_is_refused(tmp_path: Path, inside: str) -> None:
    with pytest.raises(OutputError, match=r"lies inside the photos.*-blemish"):
        check_out(tmp_path / inside, tmp_path, overwrite=True)


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_out(tmp_path / "out", None, overwrite=True)


def test_overwriting_replaces_the_whole_run(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "run")
    (out / "stale.txt").write_text("of the old run")
    result.save(out, overwrite=True)
    assert not (out / "stale.txt").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full; nothing was left"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_a_failing_disk_leaves_the_old_run_and_no_scraps(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    out = result.save(tmp_path / "run")
    before = (out / "run.json").read_bytes()

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(run_folder, "write_sinks", fail)
    with pytest.raises(RunError, match=words):
        result.save(out, overwrite=True)
    assert (out / "run.json").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]


def test_a_folder_left_by_a_killed_run_is_cleared(tmp_path: Path) -> None:
    _fill(tmp_path / "run.partial", "blemish.partial")
    with staging(tmp_path / "run") as folder:
        (folder / "run.json").write_text("{}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"), staging(tmp_path / "file" / "run"):
        pass


def test_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a finished run"):
        read_manifest(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OutputError, match="Cannot read"):
        read_manifest(tmp_path)
