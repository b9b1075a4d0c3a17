"""What a run that grows is read from, and what its old and new photos are called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from blemish.config import ScanConfig
from blemish.errors import InputError
from blemish.extending import Earlier, describe
from blemish.inputs.layouts import list_photos
from blemish.paths import RUN_SCHEMA

OLD = ("p0.png", "p1.png", "shift/p2.png")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def write_run(run: Path, source: Path, config: ScanConfig | None = None) -> Path:
    """What ``Earlier`` reads of a run of ``source``."""
    run.mkdir()
    listing = list_photos(source)
    config = config or ScanConfig()
    manifest = {"schema": RUN_SCHEMA, "blemish": "1", "source": str(source.resolve()), "config": config.as_dict()}
    files = {photo.path: photo.file for photo in listing.photos}
    (run / "run.json").write_text(json.dumps(manifest))
    (run / "division.json").write_text(json.dumps(describe([list(files)], files, {}, ["a-b"])))
    return run


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return touch(tmp_path / "old", *OLD)


@pytest.fixture
def run(tmp_path: Path, old: Path) -> Path:
    return write_run(tmp_path / "run", old)


def names(run: Path, source: Path) -> list[str]:
    """Of the new photos."""
    listing = Earlier.read(run).with_new(list_photos(source))
    assert [photo.path for photo in listing.photos[: len(OLD)]] == list(OLD)
    assert all(photo.file.is_file() for photo in listing.photos)
    return [photo.path for photo in listing.photos[len(OLD) :]]


@pytest.mark.parametrize("gone", [1, 3])
def test_a_run_whose_photos_are_missing_does_not_grow(run: Path, old: Path, tmp_path: Path, gone: int) -> None:
    for name in OLD[:gone]:
        (old / name).unlink()
    new = list_photos(touch(tmp_path / "new", "p9.png"))
    with pytest.raises(InputError, match=rf"{gone} of 3 photos of .*run' are not there any more, first '/.*p0\.png'"):
        Earlier.read(run).with_new(new)


def test_new_photos_in_the_scanned_folder_are_called_like_the_old_ones(run: Path, old: Path) -> None:
    touch(old, "p10.png", "shift/p11.png", "later/p12.png")
    assert names(run, old) == ["later/p12.png", "p10.png", "shift/p11.png"]
    assert names(run, old / "shift") == ["shift/p11.png"]  # also when only a part of it is given


def test_new_photos_from_elsewhere_are_called_by_their_folder(run: Path, tmp_path: Path) -> None:
    assert names(run, touch(tmp_path / "new", "p0.png", "a/p9.png")) == ["new/a/p9.png", "new/p0.png"]
    # one that is called like a folder of the run does not clash with it
    assert names(run, touch(tmp_path / "b" / "shift", "p2.png", "p3.png")) == ["shift-2/p2.png", "shift-2/p3.png"]


def test_a_folder_above_the_scanned_one_gives_both_kinds(tmp_path: Path) -> None:
    above = tmp_path / "line"
    run = write_run(tmp_path / "run", touch(above / "old", *OLD))
    touch(above, "old/p10.png", "p10.png")
    assert names(run, above) == ["p10.png", "line/p10.png"]


def test_photos_added_to_a_csv_are_called_like_the_old_ones(tmp_path: Path) -> None:
    rows = touch(tmp_path / "old", *OLD, "p10.png") / "list.csv"
    rows.write_text("\n".join(["image_path", *OLD]))
    run = write_run(tmp_path / "run", rows)
    rows.write_text("\n".join(["image_path", *OLD, "p10.png"]))
    assert names(run, rows) == ["p10.png"]


def test_a_name_that_the_run_has_is_not_given_twice(tmp_path: Path, old: Path) -> None:
    """The photos of a run that grew before can be called like what comes into its first folder now."""
    run = write_run(tmp_path / "run", old)
    stored = json.loads((run / "division.json").read_text())
    elsewhere = touch(tmp_path / "other" / "new", "p9.png") / "p9.png"
    stored["parts"][0].append(["new/p9.png", str(elsewhere)])
    (run / "division.json").write_text(json.dumps(stored))
    touch(old, "new/p9.png", "new/p10.png")
    listing = Earlier.read(run).with_new(list_photos(old))
    assert [photo.path for photo in listing.photos[4:]] == ["old/new/p9.png", "new/p10.png"]


def test_photos_are_known_through_links(run: Path, old: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(old)
    with pytest.raises(InputError, match="already"):
        names(run, tmp_path / "link")
    touch(old, "p10.png")
    assert names(run, tmp_path / "link") == ["p10.png"]
    new = touch(tmp_path / "new", "p9.png")
    (new / "again.png").symlink_to(old / "p0.png")
    assert names(run, new) == ["new/p9.png"]


def test_links_in_circles_do_not_stop_it(run: Path, tmp_path: Path) -> None:
    new = touch(tmp_path / "new", "p9.png")
    (new / "p8.png").symlink_to(new / "p8.png")
    listing = Earlier.read(run).with_new(list_photos(new))
    assert [photo.path for photo in listing.photos[3:]] == ["new/p8.png", "new/p9.png"]


def test_links_are_stored_as_they_are(tmp_path: Path, old: Path) -> None:
    """The user's mount may lead elsewhere tomorrow."""
    (tmp_path / "link").symlink_to(old)
    stored = describe([["p0.png"]], {"p0.png": tmp_path / "link" / "p0.png"}, {}, [])
    assert stored["parts"] == [[["p0.png", str(tmp_path / "link" / "p0.png")]]]


def test_the_listing_says_what_is_old_and_new(run: Path, tmp_path: Path) -> None:
    new = touch(tmp_path / "new", "p9.png", "p10.png")
    assert Earlier.read(run).with_new(list_photos(new)).note == "3 photos of run and 2 new"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: (run / "division.json").unlink(), "older blemish; scan all photos once, then it can grow"),
        (lambda run: (run / "division.json").write_text("{"), "is damaged"),
        (lambda run: (run / "division.json").write_text('{"parts": [], "tiles": 3}'), "is damaged"),
        (lambda run: (run / "division.json").write_bytes(b"\xff"), "is damaged"),
        (lambda run: (run / "run.json").unlink(), "not a finished run"),
        (shutil.rmtree, "not a finished run"),
    ],
)
def test_a_run_that_cannot_grow_says_why(run: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(run)
    with pytest.raises(InputError, match=words):
        Earlier.read(run)


def test_swapped_arguments_are_recognised(run: Path, old: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you swap them\? RUN comes first: blemish scan --extend RUN NEW_FOLDER"):
        Earlier.read(old, folder=run)
    with pytest.raises(InputError, match="not a finished run: it has no"):
        Earlier.read(old, folder=touch(tmp_path / "new", "p9.png"))
    assert Earlier.read(run, folder=old).source == old.resolve()
    assert Earlier.read(run, folder=run).source == old.resolve()  # the listing refuses it


def test_only_what_decides_the_result_is_inherited(tmp_path: Path, old: Path) -> None:
    decides = ScanConfig(backbone="mock", size=128, k=0.5, subset=100, screen=0.5, maps="none")
    machine = replace(
        decides,
        device="cuda:1",
        executor="ray",
        ray_address="auto",
        memory=2**30,
        threads=3,
        cache=False,
    )
    assert Earlier.read(write_run(tmp_path / "run", old, machine)).config == decides
