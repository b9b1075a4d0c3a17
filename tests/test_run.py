"""Run folders: nothing half-written looks finished, nothing of the user's is overwritten."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from blemish.config import EXPORTS, ScanConfig
from blemish.errors import InputError, OutputError, RunError
from blemish.result import Result
from blemish.run import summary
from blemish.run_folder import check_out, default_out, read_manifest, staging
from blemish.scanning import scan
from blemish.sinks import csv as csv_sink
from blemish.sinks import jsonl
from photos import write_parts
from test_masks_sink import JUDGEMENT


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = write_parts(tmp_path_factory.mktemp("parts"), 5, flawed=(3,))
    write_parts(folder / "sub", 1, flawed=())
    (folder / "broken.png").write_bytes(b"")
    return scan(folder, ScanConfig(backbone="mock", cache=False))


def test_every_file_of_a_run(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "run")
    assert sorted(file.name for file in out.iterdir()) == [
        "diagnosis.json",
        "division.json",
        "families.json",
        "maps",
        "masks",
        "nearest.npz",
        "overlays",
        "report.html",
        "results.csv",
        "results.jsonl",
        "run.json",
        "verdict",
    ]
    manifest = read_manifest(out)
    assert manifest["timings_s"].pop("writing results") > 0
    assert manifest.pop("verdict") == json.loads(json.dumps(summary(result)["verdict"]))
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
        "verdict",
        "low",
        "high",
        "regions",
        "area_share",
        "severity",
        "width",
        "height",
        "status",
        "reason",
        "duplicate_of",
        "family",
    ]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6", ""]
    assert (rows[0]["path"], rows[0]["status"], rows[0]["percentile"]) == ("3.png", "ok", "100.0")
    assert (rows[-1]["path"], rows[-1]["status"], rows[-1]["score"]) == ("broken.png", "unreadable", "")
    assert "empty file" in rows[-1]["reason"]
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["path"] for line in lines] == [row["path"] for row in rows]
    assert lines[-1]["score"] is None
    assert {row["family"] for row in rows} == {""}  # six photos are too few to have families
    assert {line["family"] for line in lines} == {None}
    assert [float(row["score"]) for row in rows[:-1]] == list(result.scores.values())


def test_a_verdict_is_written_where_there_is_one(result: Result, tmp_path: Path) -> None:
    first = replace(result.photos[0], verdict="blemished", low=0.25, high=0.75, regions=0, area_share=0.0, severity=0.0)
    others = [replace(photo, verdict="ok") for photo in result.scored[1:]]
    asked = {**result.manifest, "config": {**result.manifest["config"], "exports": list(EXPORTS)}}
    judged = replace(
        result, photos=(first, *others, *result.unreadable), judgement=JUDGEMENT, regions={}, manifest=asked
    )
    without = replace(result, judgement=None, regions={}).save(tmp_path / "without")
    out = judged.save(tmp_path / "run")
    added = {file.name for file in out.iterdir()} - {file.name for file in without.iterdir()}
    assert added == {"coco.json", "coco_results.json", "labelstudio.json", "masks"}
    assert [file.name for file in (out / "masks").iterdir()] == ["3.png.png"]
    judged.save(out, overwrite=True)  # these files are blemish's own
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    values = [
        [line[name] for name in ("verdict", "low", "high", "regions", "area_share", "severity")] for line in lines
    ]
    assert values[0] == ["blemished", 0.25, 0.75, 0, 0.0, 0.0]
    assert (lines[1]["verdict"], values[-1]) == ("ok", [None] * 6)  # the last is unreadable
    with (out / "results.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [rows[0][name] for name in ("verdict", "low", "high", "regions")] == ["blemished", "0.25", "0.75", "0"]
    assert [rows[-1][name] for name in ("verdict", "low", "high", "regions", "area_share", "severity")] == [""] * 6


def test_tables_take_names_that_are_no_unicode(result: Result, tmp_path: Path) -> None:
    odd = replace(result, photos=(replace(result.photos[0], path="bad-\udcff.png"),))
    jsonl.write(odd, tmp_path / "results.jsonl")
    csv_sink.write(odd, tmp_path / "results.csv")
    assert json.loads((tmp_path / "results.jsonl").read_bytes())["path"] == "bad-\udcff.png"
    assert "bad-\\udcff.png" in (tmp_path / "results.csv").read_text(encoding="utf-8")


def test_maps_at_the_original_size_or_none(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "original", maps="original")
    written = tifffile.imread(out / "maps" / "3.png.tif")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, result.maps.at("3.png", (64, 64)))
    assert not (result.save(tmp_path / "none", maps="none") / "maps").exists()


def test_default_out_lies_beside_the_photos(tmp_path: Path) -> None:
    assert default_out(tmp_path / "parts") == tmp_path / "parts-blemish"
    assert default_out(tmp_path / "list.csv") == tmp_path / "list-blemish"


MANIFEST = '{"blemish": "0.1.0", "schema": 1}'


def _fill(folder: Path, **files: str) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


# what --out is already, whether --overwrite was given, words of the error
@pytest.mark.parametrize(
    ("files", "overwrite", "words"),
    [
        ({"run_json": MANIFEST}, False, "holds a run already. Add --overwrite"),
        ({"thesis_docx": ""}, False, "did not write.*thesis.docx"),
        ({"thesis_docx": ""}, True, "did not write.*thesis.docx"),
        ({"run_json": MANIFEST, "thesis_docx": ""}, True, "did not write.*thesis.docx"),
        ({"run_json": "{}"}, True, "is not the manifest of a run"),
    ],
)
def test_existing_folders_are_not_overwritten(
    tmp_path: Path, files: dict[str, str], overwrite: bool, words: str
) -> None:
    _fill(tmp_path / "out", **files)
    with pytest.raises(OutputError, match=words):
        check_out(tmp_path / "out", tmp_path / "photos", overwrite)
    assert len(list((tmp_path / "out").iterdir())) == len(files)


@pytest.mark.parametrize("inside", [".", "out", "deep/out"])
def test_out_inside_the_photos_is_refused(tmp_path: Path, inside: str) -> None:
    with pytest.raises(OutputError, match=r"lies inside the photos.*-blemish"):
        check_out(tmp_path / inside, tmp_path, overwrite=True)


def test_out_above_the_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project" / "photos").mkdir(parents=True)
    with pytest.raises(OutputError, match="holds the photos themselves"):
        check_out(tmp_path / "project", tmp_path / "project" / "photos", overwrite=True)


def test_saving_into_the_photos_is_refused(result: Result) -> None:
    with pytest.raises(OutputError, match="lies inside the photos"):
        result.save(Path(result.manifest["source"]) / "run")


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_out(tmp_path / "out", None, overwrite=True)


def test_overwriting_replaces_the_run_and_touches_nothing_beside_it(result: Result, tmp_path: Path) -> None:
    out = result.save(tmp_path / "run")
    (out / "maps" / "stale.tif").write_text("of the old run")
    neighbours = [tmp_path / "run.old", tmp_path / "run.partial"]
    for neighbour in neighbours:
        neighbour.mkdir()
        (neighbour / "notes.txt").write_text("mine")
    result.save(out, overwrite=True)
    assert not (out / "maps" / "stale.tif").exists()
    assert all((neighbour / "notes.txt").exists() for neighbour in neighbours)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "run.old", "run.partial"]


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

    monkeypatch.setattr("blemish.sinks.overlays.write", fail)
    with pytest.raises(RunError, match=words):
        result.save(out, overwrite=True)
    assert (out / "run.json").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]


@pytest.mark.skipif(os.name != "posix", reason="needs a process that can be killed")
def test_what_a_killed_run_leaves_is_cleared_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from blemish.run_folder import staging\n"
        "with staging(Path(sys.argv[1])): print('ready', flush=True); time.sleep(60)"
    )
    out = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with staging(out) as folder:
            (folder / "run.json").write_text(MANIFEST)
            assert len(list(tmp_path.glob(".run.*.partial"))) == 2, "the living run's folder stays"
        other.kill()
        other.wait()
    with staging(out, overwrite=True) as folder:
        (folder / "run.json").write_text(MANIFEST)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_two_scans_to_one_place_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(OutputError, match="holds a run already"), staging(out) as late:
        (late / "run.json").write_text(MANIFEST)
        with staging(out) as early:
            (early / "run.json").write_text(MANIFEST)
            (early / "report.html").write_text("the first")
    assert (out / "report.html").read_text() == "the first"
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_mount_point_is_written_from_inside(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "mounted"
    out.mkdir()
    inode = out.stat().st_ino
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == out)
    result.save(out)
    result.save(out, overwrite=True)
    assert out.stat().st_ino == inode, "a mount point cannot be replaced"
    assert read_manifest(out)["schema"] == 1
    assert {file.name for file in out.iterdir()} == {file.name for file in result.save(tmp_path / "run").iterdir()}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"), staging(tmp_path / "file" / "run"):
        pass


def test_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a finished run"):
        read_manifest(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="not the manifest"):
        read_manifest(tmp_path)
