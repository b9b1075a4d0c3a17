"""Files through a detector: lines, pictures of what is not ok, and a results folder that anything may happen to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from blemish.checking import LINES, Results, check_files, listed
from blemish.errors import InputError, OutputError
from blemish.freezing import freeze
from blemish.frozen import Detector
from judged_runs import contents, scanned, stained, write_stained


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    home = tmp_path_factory.mktemp("made")
    run = scanned(write_stained(home / "parts"), home / "run")
    return Detector.load(freeze(run, home / "part.blemish").file)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two good ones, two with a stain, one of them below, and a broken one."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, strength in (("1.png", 0.0), ("2.png", 1.0), ("10.png", 0.0), ("sub/3.jpg", 0.8)):
        Image.fromarray(stained(1000, strength)).save(folder / name)
    (folder / "4.png").write_bytes(b"broken")
    return folder


def test_a_line_for_each_in_their_order(detector: Detector, photos: Path) -> None:
    given = [photos / "2.png", photos / "none.png", photos, photos / "2.png"]
    lines = list(check_files(detector, listed(given, detector)))
    names = [Path(line["path"]).relative_to(photos).as_posix() for line in lines]
    assert names == ["2.png", "none.png", "1.png", "2.png", "4.png", "10.png", "sub/3.jpg", "2.png"]
    verdicts = [line.get("verdict", line.get("error")) for line in lines]
    assert verdicts[1] == "there is no such file"
    assert "not an image" in str(verdicts[4])
    assert [verdicts[at] for at in (0, 2, 3, 5, 6, 7)] == [
        "blemished",
        "ok",
        "blemished",
        "ok",
        "blemished",
        "blemished",
    ]
    assert lines[0] == lines[3] == lines[7]
    assert set(lines[0]) == {"path", "score", "verdict", "threshold", "boxes"}
    assert all(json.loads(json.dumps(line)) == line for line in lines)


def test_a_folder_without_photos(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        listed([tmp_path], detector)


def test_lines_and_pictures_are_kept(
    detector: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    out = tmp_path / "new" / "out"
    with Results(out, detector) as results:
        lines = list(check_files(detector, listed([Path("photos")], detector), results))
    assert [json.loads(line) for line in (out / LINES).read_text().splitlines()] == lines
    assert set(contents(out)) == {LINES, "overlays/photos/2.png.jpg", "overlays/photos/sub/3.jpg.jpg"}
    with Image.open(out / "overlays" / "photos" / "2.png.jpg") as picture:
        assert picture.size == (64, 64)
    with Results(out, detector) as results:
        list(check_files(detector, listed([Path("photos") / "1.png"], detector), results))
    assert len((out / LINES).read_text().splitlines()) == len(lines) + 1, "it goes on in the same file"


# how a stained photo is named -> its picture below the results
@pytest.mark.parametrize("name", ["../photos/2.png", "ABSOLUTE", "./2.png", "sub/../2.png"])
def test_pictures_stay_in_the_results(
    detector: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(photos)
    before = contents(photos)
    path = photos / "2.png" if name == "ABSOLUTE" else Path(name)
    with Results(tmp_path / "out", detector) as results:
        (line,) = check_files(detector, listed([path], detector), results)
    assert line["path"] == str(path), "as it was typed"
    assert contents(photos) == before
    (picture,) = (tmp_path / "out").rglob("*.jpg")
    assert picture.name == "2.png.jpg"
    assert picture.is_relative_to(tmp_path / "out" / "overlays")


def test_large_photos_have_small_pictures(detector: Detector, tmp_path: Path) -> None:
    Image.fromarray(stained(1, 1.0, (700, 1120))).save(tmp_path / "large.png")
    with Results(tmp_path / "out", detector) as results:
        (line,) = check_files(detector, listed([tmp_path / "large.png"], detector), results)
    (left, top, right, bottom), *_ = line["boxes"]
    assert right - left > 200 and bottom - top > 100, "boxes are in pixels of the photo"
    (file,) = (tmp_path / "out").rglob("*.jpg")
    with Image.open(file) as picture:
        assert picture.size == (1024, 640)  # as pictures are at most


def test_names_that_are_no_unicode(detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(stained(1, 1.0)).save(folder / "a.png")
    (folder / "a.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    with Results(tmp_path / "out", detector) as results:
        (line,) = check_files(detector, listed([folder], detector), results)
    assert json.loads((tmp_path / "out" / LINES).read_text()) == line
    assert line["verdict"] == "blemished"


def test_a_results_folder_that_cannot_be(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"Cannot write to .* Choose another --out"):
            Results(place, detector)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_picture_that_cannot_be_written_ends_it(detector: Detector, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "overlays").write_text("in the way")
    with Results(tmp_path / "out", detector) as results, pytest.raises(OutputError, match="Cannot write to"):
        list(check_files(detector, listed([photos], detector), results))
