"""overlays/<path>.jpg and the colour ramp: one scale for a whole run, cold parts of a photo untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.result import ColourScale, Photo, Result
from blemish.sinks import overlays
from blemish.sinks.colours import heat

SHAPE = (64, 96)
GREY = 128


def a_result(grids: np.ndarray, paths: list[str], scale: ColourScale | None = None) -> Result:
    """Flat grey photos with the given maps."""
    grids = grids.astype(np.float32)
    return Result(
        photos=tuple(Photo(path=path, status="ok", score=1.0, rank=i + 1) for i, path in enumerate(paths)),
        grids=grids,
        shape=SHAPE,
        pixels=lambda row: np.full((*SHAPE, 3), GREY, np.uint8),
        scale=scale or ColourScale.of(grids),
    )


def written(result: Result, folder: Path) -> list[np.ndarray]:
    overlays.write(result, folder, lambda done: None)
    return [np.asarray(Image.open(folder / f"{photo.path}.jpg")).astype(int) for photo in result.scored]


def test_equal_map_values_have_equal_colours_in_photos_of_different_ranges(tmp_path: Path) -> None:
    grids = np.zeros((2, 4, 6))
    grids[:, :, :3] = 0.5  # the hottest of the first photo, the middle of the second
    grids[1, :, 3:] = 1.0
    first, second = written(a_result(grids, ["a.png", "b.png"], ColourScale(0, 1)), tmp_path)
    assert np.abs(first[:, :16] - second[:, :16]).max() <= 2
    assert np.abs(first[:, :16] - GREY).max() > 20
    assert np.abs(second[:, :16] - second[:, -16:]).max() > 20


@pytest.mark.parametrize("value", [0.0, 7.0, 1e-12])  # a batch in which nothing differs from anything
def test_zero_variance_maps_leave_the_photos_as_they_are(tmp_path: Path, value: float) -> None:
    for picture in written(a_result(np.full((3, 4, 6), value), ["a.png", "b.png", "c.png"]), tmp_path):
        assert np.abs(picture - GREY).max() <= 1


def test_subfolders_and_names_are_kept_and_every_photo_is_counted(tmp_path: Path) -> None:
    paths = ["line 1/a.png", "line 2/deep/a.png", "Prüfling 07 – 部品.jpg", "no_extension"]
    done: list[int] = []
    result = a_result(np.zeros((4, 4, 6)), paths)
    overlays.write(result, tmp_path, done.append)
    assert done == [1, 1, 1, 1]
    for path in paths:
        with Image.open(tmp_path / f"{path}.jpg") as picture:
            assert (picture.format, picture.size) == ("JPEG", (SHAPE[1], SHAPE[0]))


def test_the_photo_itself_is_not_painted_on(tmp_path: Path) -> None:
    """The result goes on to other sinks, so its pixels must stay what they are."""
    pixels = np.full((*SHAPE, 3), GREY, np.uint8)
    result = Result(
        photos=(Photo(path="a.png", status="ok", score=1.0, rank=1),),
        grids=np.ones((1, 4, 6), np.float32),
        shape=SHAPE,
        pixels=lambda row: pixels,
        scale=ColourScale(0, 1),
    )
    overlays.write(result, tmp_path, lambda done: None)
    assert (pixels == GREY).all()


def test_heat_is_clear_when_cold_and_grows_lighter_and_more_opaque() -> None:
    ramp = heat(np.linspace(0, 1, 256, dtype=np.float32)).astype(float)
    lightness = ramp[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert ramp[0, 3] == 0
    assert (np.diff(ramp[:, 3]) >= 0).all()
    assert (np.diff(lightness) > -1).all()  # but for rounding
    assert ramp[-1, 3] < 255  # the flaw still shows through


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 5)])
def test_heat_takes_any_shape(shape: tuple[int, ...]) -> None:
    assert heat(np.zeros(shape, np.float32)).shape == (*shape, 4)
