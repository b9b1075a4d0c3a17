"""A frozen detector asked in every way: one number for one photo, one sentence for what is no photo."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from blemish import bundle
from blemish.checking import Results, check_files, listed
from blemish.errors import BackboneError, InputError, UnreadablePhoto
from blemish.freezing import freeze
from blemish.frozen import Checked, Detector
from blemish.inputs.images import PhotoFile
from blemish.watching import watch_folder
from judged_runs import call, scanned, stained, write_stained

GREY = np.repeat(np.linspace(20, 230, 64).astype(np.uint8)[None], 64, axis=0)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``part.blemish`` beside the photos that it was made from."""
    home = tmp_path_factory.mktemp("made")
    run = scanned(write_stained(home / "parts"), home / "run")
    return freeze(run, home / "part.blemish").file


@pytest.fixture(scope="module")
def detector(part: Path) -> Detector:
    return Detector.load(part)


def save(file: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, **options)
    return file


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0])
def test_one_number_whichever_way_it_is_asked(
    strength: float,
    part: Path,
    detector: Detector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pixels = stained(1000, strength, (100, 90))
    (tmp_path / "in").mkdir()
    file = save(tmp_path / "in" / "new.png", pixels)
    with Image.open(file) as picture:
        asked: list[Checked] = [detector.check(one) for one in (file, str(file), pixels, pixels[::1], picture)]
    asked.append(Detector.load(part).check(file))
    lines = [found.as_dict() for found in asked]
    lines += check_files(detector, listed([tmp_path / "in"], detector))
    assert call(monkeypatch, "check", part, file) == 0
    assert call(monkeypatch, "check", part, tmp_path / "in", "--out", tmp_path / "checked") == 0
    assert call(monkeypatch, "watch", part, tmp_path / "in", "--once", "--quiet", "--interval", "0.001") == 0
    lines += [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 10
    for name in ("score", "verdict", "threshold", "boxes"):
        assert {json.dumps(line[name]) for line in lines} == {json.dumps(lines[0][name])}
    assert all(np.array_equal(found.grid, asked[0].grid) for found in asked)


def test_what_is_said_of_a_photo(detector: Detector) -> None:
    good, bad = detector.check(stained(1000)), detector.check(stained(1000, 1.0))
    assert (good.verdict, bad.verdict) == ("ok", "blemished")
    assert good.score < detector.facts.threshold < bad.score
    assert good.regions == () and good.as_dict()["boxes"] == []
    (left, top, right, bottom), *_ = bad.as_dict()["boxes"]
    assert left < 24 and right > 8 and top < 48 and bottom > 32, "over the stain"
    assert bad.map.shape == (64, 64) and bad.map.max() == pytest.approx(bad.score, rel=0.2)
    assert (good.path, good.note, "note" in good.as_dict()) == ("", "", False)


def test_between_ok_and_blemished_it_is_unsure(detector: Detector) -> None:
    facts = detector.facts
    asked = {
        facts.unsure_low: "ok",
        facts.unsure_low + 1e-9: "unsure",
        facts.threshold: "unsure",
        facts.unsure_high: "unsure",
        facts.unsure_high + 1e-9: "blemished",
    }
    for score, verdict in asked.items():
        made = Detector(facts, lambda pixels, score=score: (score, np.zeros((8, 8), np.float32)))
        assert made.check(stained(0)).verdict == verdict


# size (height, width) of a photo -> whether it is said that it is squeezed
@pytest.mark.parametrize(
    ("size", "odd"),
    [
        ((64, 64), False),
        ((640, 640), False),
        ((31, 33), False),
        ((64, 96), True),
        ((200, 20), True),
        ((1, 1), False),
        ((300, 1), True),  # one pixel wide
        ((1, 300), True),
    ],
)
def test_photos_of_any_size(detector: Detector, size: tuple[int, int], odd: bool) -> None:
    pixels = np.ascontiguousarray(np.resize(stained(1000), (*size, 3)))
    found = detector.check(pixels)
    assert np.isfinite(found.score)
    assert found.shape == size
    assert ("squeezed" in found.note) == odd == ("note" in found.as_dict())
    for box in found.as_dict()["boxes"]:
        assert 0 <= box[0] < box[2] <= size[1] and 0 <= box[1] < box[3] <= size[0]


def _turned(file: Path) -> np.ndarray:
    """Stored lying on its side, with a note of that."""
    upright = stained(1000, 1.0, (96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(file, exif=exif)
    return upright


def _rgba(file: Path) -> np.ndarray:
    """Half of it transparent, which is white."""
    pixels = stained(1000)
    alpha = np.full((64, 64, 1), 255, np.uint8)
    alpha[:, 32:] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=2), "RGBA").save(file)
    return np.where(alpha == 0, 255, pixels).astype(np.uint8)


def _grey(file: Path) -> np.ndarray:
    Image.fromarray(GREY).save(file)
    return np.repeat(GREY[..., None], 3, axis=2)


def _palette(file: Path) -> np.ndarray:
    Image.fromarray(stained(1000)).quantize(64).save(file)
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def _sixteen(file: Path) -> np.ndarray:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(file)
    return np.repeat(GREY[..., None], 3, axis=2)


def _deep_tiff(file: Path) -> np.ndarray:
    pixels = stained(1000)
    tifffile.imwrite(file, pixels.astype(np.uint16) * 257, photometric="rgb")
    return pixels


# a file, and a function that writes it and says what its pixels are
KINDS: dict[str, Callable[[Path], np.ndarray]] = {
    "turned.jpg": _turned,
    "half.png": _rgba,
    "grey.png": _grey,
    "palette.png": _palette,
    "sixteen.png": _sixteen,
    "deep.tif": _deep_tiff,
}


@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_of_photos(detector: Detector, tmp_path: Path, name: str) -> None:
    expected = KINDS[name](tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        if name == "turned.jpg":  # what a JPEG keeps of it
            expected = np.rot90(np.asarray(picture), -1)
        found = detector.check(tmp_path / name)
        assert found.score == detector.check(np.ascontiguousarray(expected)).score
        assert found.shape == expected.shape[:2]
        if name != "deep.tif":  # of which Pillow leaves 8 bits
            assert found.score == detector.check(picture).score, "an opened picture is the same photo"


def test_arrays_as_others_make_them(detector: Detector) -> None:
    pixels = stained(1000, 0.5)
    expected = detector.check(pixels).score
    fixed = pixels.copy()
    fixed.flags.writeable = False
    backwards = np.ascontiguousarray(pixels[..., ::-1])[..., ::-1]  # OpenCV's BGR, turned round
    for same in (
        fixed,
        backwards,
        np.asfortranarray(pixels),
        np.ascontiguousarray(pixels.transpose(1, 0, 2)).swapaxes(0, 1),
    ):
        assert detector.check(same).score == expected


# what is given in the place of a photo
@pytest.mark.parametrize(
    "given",
    [
        np.zeros((64, 64), np.uint8),  # grey
        np.zeros((64, 64, 4), np.uint8),  # with alpha
        np.zeros((3, 64, 64), np.uint8),  # channels first
        np.zeros((1, 64, 64, 3), np.uint8),  # a batch
        np.zeros((64, 64, 3), np.float32),  # 0 to 1
        np.zeros((64, 64, 3), np.uint16),
        np.zeros((64, 64, 3), bool),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros((), np.uint8),
        [[[0, 0, 0]]],
        None,
        3,
        b"photo.png",
        {"path": "photo.png"},
    ],
)
def test_what_is_no_photo(detector: Detector, given: Any) -> None:
    with pytest.raises(InputError, match=r"A photo is .*received"):
        detector.check(given)


# file, its content -> reason
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.png", None, "there is no such file"),
        ("empty.png", b"", "empty file"),
        ("text.png", b"hello", "not an image"),
        ("short.png", b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
        ("folder.png", ..., "a folder"),
        ("part.blemish", b"PK\x03\x04", "not an image"),
    ],
)
def test_files_that_are_no_photos(detector: Detector, tmp_path: Path, name: str, content: Any, reason: str) -> None:
    file = tmp_path / name
    if content is ...:
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(UnreadablePhoto, match=reason):
        detector.check(file)
    (line,) = check_files(detector, [PhotoFile(name, file)])
    assert line.keys() == {"path", "error"}


def test_a_photo_of_the_bank_is_not_judged(part: Path, detector: Detector, tmp_path: Path) -> None:
    """Whatever it is called; a flawed photo of the run is not in the bank."""
    renamed = tmp_path / "renamed.png"
    renamed.write_bytes((part.parent / "parts" / "10.png").read_bytes())
    with pytest.raises(InputError, match="one of the photos that the detector was made from"):
        detector.check(renamed)
    assert detector.check(part.parent / "parts" / "23.png").verdict == "blemished"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights_sha256": "1" * 64}, BackboneError, "made with weights 111111111111 of mock; installed are 000000"),
        ({"backbone": "efnet"}, BackboneError, "efnet"),
        ({"backbone": "/no/such/model"}, BackboneError, "/no/such/model"),
        ({"layers": (7,)}, BackboneError, "7"),
    ],
)
def test_a_detector_of_another_backbone(
    part: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    found = bundle.read(part)
    bundle.write(replace(found, facts=replace(found.facts, **change)), tmp_path / "other.blemish")
    with pytest.raises(error, match=words):
        Detector.load(tmp_path / "other.blemish")


def test_loading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        Detector.load(tmp_path / "none.blemish")


def test_home_is_known(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(part.parent))
    assert Detector.load("~/part.blemish").check("~/parts/23.png").path == "~/parts/23.png"


def test_two_detectors_do_not_disturb_each_other(part: Path, detector: Detector) -> None:
    """Scores do not depend on what was judged before."""
    first = detector.check(stained(1000)).score
    detector.check(stained(7, 1.0, (200, 300)))
    Detector.load(part).check(stained(8))
    assert detector.check(stained(1000)).score == first


def test_results_and_watching_share_the_number(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    file = save(tmp_path / "in" / "a.png", stained(1000, 1.0))
    with Results(tmp_path / "out", detector) as results:
        (line,) = watch_folder(detector, tmp_path / "in", results, once=True, sleep=lambda seconds: None)
    assert line["score"] == detector.check(file).score
