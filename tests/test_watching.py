"""A folder that photos arrive in, with the time in the test's hands: what happens between two looks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blemish.checking import LINES, Results
from blemish.errors import ConfigError, InputError, OutputError
from blemish.freezing import freeze
from blemish.frozen import Detector
from blemish.watching import require_watchable, watch_folder
from judged_runs import scanned, stained, write_stained

GOOD, BAD = 1000, 2000  # seeds


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos that the detector was made from; ``part.blemish`` beside them."""
    home = tmp_path_factory.mktemp("made")
    freeze(scanned(write_stained(home / "parts"), home / "run"), home / "part.blemish")
    return home / "parts"


@pytest.fixture(scope="module")
def detector(bank: Path) -> Detector:
    return Detector.load(bank.with_name("part.blemish"))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


class OverError(Exception):
    """Nothing more will happen."""


def watched(
    detector: Detector, inbox: Path, *steps: Callable[[], Any], notes: list[str] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """The lines that are printed while one of ``steps`` happens between any two looks, and after them nothing."""
    left = list(steps)

    def sleep(seconds: float) -> None:
        assert seconds == 0.5
        if not left:
            raise OverError
        left.pop(0)()

    lines = []
    note = (lambda words: None) if notes is None else notes.append
    try:
        with Results(inbox.with_name("out"), detector) as results:
            for line in watch_folder(detector, inbox, results, note=note, sleep=sleep, **options):
                lines.append(line)
    except OverError:
        return lines
    assert options.get("once"), "it ends on its own only if that was wanted"
    return lines


def nothing() -> None:
    """Time passes."""


def photo(file: Path, seed: int = GOOD, strength: float = 0.0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stained(seed, strength)).save(file)


def paths(lines: list[dict[str, Any]]) -> list[str]:
    return [line["path"] for line in lines]


def stored(inbox: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (inbox.with_name("out") / LINES).read_text().splitlines()]


def test_photos_are_judged_as_they_arrive(detector: Detector, inbox: Path) -> None:
    lines = watched(
        detector,
        inbox,
        lambda: (photo(inbox / "10.png"), photo(inbox / "2.png")),
        nothing,
        lambda: photo(inbox / "sub" / "1.png", BAD, 1.0),
        nothing,
        nothing,
    )
    assert paths(lines) == ["2.png", "10.png", "sub/1.png"], "in natural order"
    assert [line["verdict"] for line in lines] == ["ok", "ok", "blemished"]
    assert lines == stored(inbox)
    assert lines[0] == detector.check(inbox / "2.png").as_dict() | {
        "path": "2.png",
        "bytes": (inbox / "2.png").stat().st_size,
        "modified_ns": (inbox / "2.png").stat().st_mtime_ns,
    }
    pictures = list(inbox.with_name("out").rglob("*.jpg"))
    assert pictures == [inbox.with_name("out") / "overlays" / "sub" / "1.png.jpg"], "of what is not ok"


def test_a_file_that_grows_is_waited_for(detector: Detector, inbox: Path, tmp_path: Path) -> None:
    photo(tmp_path / "whole.png", BAD, 1.0)
    data, file = (tmp_path / "whole.png").read_bytes(), inbox / "a.png"

    def written(share: float) -> Callable[[], object]:
        return lambda: file.write_bytes(data[: int(share * len(data))])

    growing = [written(share) for share in (0.1, 0.2, 0.7, 1.0)]
    assert watched(detector, inbox, *growing) == [], "not yet looked at twice as it is"
    (line,) = watched(detector, inbox, nothing)
    assert line["score"] == detector.check(file).score


def test_a_file_that_is_written_in_place_is_waited_for(detector: Detector, inbox: Path) -> None:
    """Some programs reserve the whole size first."""
    file = inbox / "a.png"
    photo(file)

    def touched(second: int) -> Callable[[], object]:
        return lambda: os.utime(file, ns=(0, second * 10**9))

    assert watched(detector, inbox, touched(1), touched(2), touched(3)) == []
    assert paths(watched(detector, inbox, nothing, nothing)) == ["a.png"]


def test_unfinished_and_hidden_names_are_left_alone(detector: Detector, inbox: Path) -> None:
    photo(inbox / "b.png")
    (inbox / "b.png").rename(inbox / "b.png.part")
    photo(inbox / ".c.png")
    (inbox / "notes.txt").write_text("hello")
    finish = [nothing, lambda: (inbox / "b.png.part").rename(inbox / "b.png"), nothing]
    assert paths(watched(detector, inbox, *finish)) == ["b.png"]


def test_a_file_that_is_replaced_is_judged_again(detector: Detector, inbox: Path) -> None:
    photo(inbox / "a.png")
    lines = watched(detector, inbox, nothing, lambda: photo(inbox / "a.png", BAD, 1.0), nothing, nothing)
    assert [line["verdict"] for line in lines] == ["ok", "blemished"]


def test_a_restart_judges_only_what_is_new(detector: Detector, inbox: Path) -> None:
    photo(inbox / "a.png")
    photo(inbox / "b.png")
    (inbox / "c.png").write_bytes(b"broken")
    assert len(watched(detector, inbox, nothing)) == 3
    assert watched(detector, inbox, nothing, nothing) == []
    photo(inbox / "b.png", BAD, 1.0)  # while nobody watches
    photo(inbox / "d.png")
    assert paths(watched(detector, inbox, nothing)) == ["b.png", "d.png"]
    assert paths(stored(inbox)) == ["a.png", "b.png", "c.png", "b.png", "d.png"]


def test_a_folder_that_goes_and_comes_back(detector: Detector, inbox: Path) -> None:
    away = inbox.with_name("away")
    photo(inbox / "a.png")
    notes: list[str] = []
    lines = watched(
        detector,
        inbox,
        nothing,
        lambda: inbox.rename(away),
        nothing,
        lambda: (photo(away / "b.png"), away.rename(inbox)),
        nothing,
        notes=notes,
    )
    assert paths(lines) == ["a.png", "b.png"], "what was judged is not judged again"
    assert notes == [f"{inbox} is not there; waiting for it", f"{inbox} is back"]


def test_what_cannot_be_judged_gets_a_line_and_ends_nothing(detector: Detector, inbox: Path, bank: Path) -> None:
    (inbox / "1.png").write_bytes(b"broken")
    (inbox / "2.png").write_bytes(b"")
    (inbox / "3.png").mkdir()
    (inbox / "4.png").write_bytes((bank / "10.png").read_bytes())
    (inbox / "5.png").symlink_to(inbox / "nowhere.png")
    photo(inbox / "6.png")
    lines = watched(detector, inbox, nothing, lambda: photo(inbox / "1.png"), nothing, nothing)
    said = {line["path"]: line.get("error") for line in lines[:5]}
    reasons = {"1.png": "not an image", "2.png": "empty file", "3.png": "a folder", "4.png": "was made from"}
    assert said.keys() == {*reasons, "6.png"}
    assert all(words in str(said[path]) for path, words in reasons.items())
    assert said["6.png"] is None
    assert (lines[5]["path"], lines[5]["verdict"]) == ("1.png", "ok"), "mended in the meantime"
    assert len(lines) == 6


def test_a_file_that_vanishes_while_it_is_looked_at(
    detector: Detector, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(inbox / "a.png")
    photo(inbox / "b.png")
    read = detector.read

    def gone(file: Any) -> np.ndarray:
        (inbox / "a.png").unlink(missing_ok=True)
        return read(file)

    monkeypatch.setattr(detector, "read", gone)
    first, second = watched(detector, inbox, nothing, nothing)
    assert (first["path"], first["error"]) == ("a.png", "there is no such file")
    assert second["verdict"] == "ok"


@pytest.mark.parametrize("names", [(), ("a.png",), ("a.png", "broken.png", "sub/b.png")])
def test_once_ends_when_all_is_judged(detector: Detector, inbox: Path, names: tuple[str, ...]) -> None:
    for name in names:
        photo(inbox / name)
    if "broken.png" in names:
        (inbox / "broken.png").write_bytes(b"broken")
    assert paths(watched(detector, inbox, *[nothing] * 5, once=True)) == list(names)
    assert watched(detector, inbox, once=True) == []


# what the last line of the results was before somebody was killed, or edited it
@pytest.mark.parametrize(
    "last",
    [
        b'{"path": "b.png", "sco',
        b"\x00\x00\x00",
        b"\xff\xfe",
        b"3\n",
        b"[1]\n",
        b'{"path": 1, "bytes": 1e999}',
        b"\n\n",
    ],
)
def test_a_line_that_was_cut_short(detector: Detector, inbox: Path, last: bytes) -> None:
    photo(inbox / "a.png")
    assert len(watched(detector, inbox, nothing)) == 1
    file = inbox.with_name("out") / LINES
    before = file.read_bytes()
    file.write_bytes(before + last)
    photo(inbox / "b.png")
    (line,) = watched(detector, inbox, nothing)
    assert line["path"] == "b.png"
    assert file.read_bytes().startswith(before)
    assert json.loads(file.read_bytes().splitlines()[-1]) == line, "on a line of its own"
    assert watched(detector, inbox, nothing) == []


def test_a_disk_that_is_full_ends_it(detector: Detector, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    photo(inbox / "a.png", BAD, 1.0)
    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"No space left .* same command again"):
        patch.setattr("blemish.sinks.overlays.save", fail)
        watched(detector, inbox, nothing)
    assert (inbox.with_name("out") / LINES).read_bytes() == b"", "no line without its picture"
    assert paths(watched(detector, inbox, nothing)) == ["a.png"]


# folder, results folder, interval -> words
@pytest.mark.parametrize(
    ("folder", "out", "interval", "error", "words"),
    [
        ("in", "in", 0.5, InputError, "so its pictures would be judged"),
        ("in", "in/out", 0.5, InputError, "so its pictures would be judged"),
        ("in", "in/../in/out", 0.5, InputError, "so its pictures would be judged"),
        ("in", "link/out", 0.5, InputError, "so its pictures would be judged"),
        ("none", "out", 0.5, InputError, "There is no folder"),
        ("file", "out", 0.5, InputError, "There is no folder"),
        ("in", "out", 0.0, ConfigError, "above 0"),
        ("in", "out", -1.0, ConfigError, "above 0"),
        ("in", "out", float("nan"), ConfigError, "above 0"),
        ("in", "out", float("inf"), ConfigError, "above 0"),
    ],
)
def test_what_cannot_be_watched(
    inbox: Path, folder: str, out: str, interval: float, error: type[Exception], words: str
) -> None:
    home = inbox.parent
    (home / "link").symlink_to(inbox)
    (home / "file").write_text("")
    with pytest.raises(error, match=words):
        require_watchable(home / folder, home / out, interval)


def test_a_folder_may_be_watched_whose_results_lie_beside_or_above(inbox: Path) -> None:
    require_watchable(inbox, inbox.with_name("in-checked"), 0.5)
    require_watchable(inbox, inbox.parent, 0.5)
