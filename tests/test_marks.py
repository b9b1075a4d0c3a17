"""Where a user says that a defect is: what is believed, and one sentence for each slip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.inputs.marks import read_mark

SHAPE = (40, 60)  # height, width of the photo


def drawn(
    left: int = 10, top: int = 5, right: int = 20, bottom: int = 15, shape: tuple[int, int] = SHAPE
) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def saved(file: Path, mask: np.ndarray, mode: str = "L") -> Path:
    Image.fromarray(mask).convert(mode).save(file)
    return file


EXPECTED = drawn() > 0


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P"])
def test_masks_of_all_kinds(tmp_path: Path, mode: str) -> None:
    file = saved(tmp_path / "mask.png", drawn(), mode)
    for mark in (file, str(file)):
        np.testing.assert_array_equal(read_mark(mark, "a.png", SHAPE), EXPECTED)


# a mark that is no file
@pytest.mark.parametrize(
    "mark", [EXPECTED, drawn(), drawn().astype(np.float32) / 255, "10,5,20,15", " 10 , 5,20 ,15 ", "010,05,20,15"]
)
def test_boxes_and_arrays(mark: Any) -> None:
    found = read_mark(mark, "a.png", SHAPE)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, EXPECTED)


@pytest.mark.parametrize("box", ["0,0,54,40", "59,39,60,40"])
def test_boxes_that_just_fit(box: str) -> None:
    assert read_mark(box, "a.png", SHAPE).any()


# a mark -> words
@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("0,0,61,40", "does not lie on 'a.png', which is 60 x 40 pixels"),
        ("0,0,60,41", "does not lie on"),
        ("70,50,80,60", "does not lie on"),
        ("20,5,10,15", "left,top,right,bottom"),
        ("10,15,20,5", "left,top,right,bottom"),
        ("10,5,10,15", "does not lie on"),  # no width
        ("-1,5,20,15", "no mask '-1,5,20,15'.*a box left,top,right,bottom"),
        ("1,2,3", "no mask '1,2,3'"),
        ("1.5,2,3,4", "no mask"),
        ("", "no mask"),
        ("a\0b", "no mask"),
        ("١,٢,٣,٤", "no mask"),  # digits, but of another script
        ("none.png", "There is no mask 'none.png'"),
        (np.zeros(SHAPE), "The mask given of 'a.png' is empty"),
        (np.full(SHAPE, np.nan), "is empty"),
        (np.ones(SHAPE), "covers 100% .* wrong way round"),
        (np.ones((60, 40)), "turned; draw it on the photo as viewers show it"),
        (np.ones((40, 61)), "is 61 x 40 pixels and 'a.png' is 60 x 40"),
        (np.ones((40, 60, 3)), "must be the same"),
        (np.ones(()), "must be the same"),
    ],
)
def test_marks_that_are_refused(mark: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_mark(mark, "a.png", SHAPE)


# more digits than Python turns into a number; a longer name than files can have
@pytest.mark.parametrize("long", ["10,5,20," + "9" * 6000, "x" * 5000], ids=["digits", "name"])
def test_marks_without_end(long: str) -> None:
    with pytest.raises(InputError, match="no mask"):
        read_mark(long, "a.png", SHAPE)


# a mask's file -> words
@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [
        ("mask.jpg", drawn(), "is a JPEG"),
        ("MASK.JPEG", drawn(), "is a JPEG"),
        ("empty.png", drawn() * 0, "is empty. Paint the defect white"),
        ("inverted.png", 255 - drawn(0, 0, 3, 3), "covers 100%.*wrong way round"),
        ("small.png", drawn(shape=(20, 30)), "30 x 20 pixels and 'a.png' is 60 x 40"),
        ("turned.png", drawn().T, "turned"),
    ],
)
def test_masks_that_are_refused(tmp_path: Path, name: str, mask: np.ndarray, words: str) -> None:
    file = saved(tmp_path / name, mask)
    with pytest.raises(InputError, match=words):
        read_mark(file, "a.png", SHAPE)


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, words in (("text.png", "text.png"), ("folder", "There is no mask"), ("none.png", "There is no mask")):
        with pytest.raises(InputError, match=words):
            read_mark(tmp_path / name, "a.png", SHAPE)


def test_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "mask.png", drawn())
    monkeypatch.setenv("HOME", str(tmp_path))
    np.testing.assert_array_equal(read_mark("~/mask.png", "a.png", SHAPE), EXPECTED)
