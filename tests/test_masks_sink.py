"""masks/<path>.png: exactly the pixels of the verdict, for every photo that is not ok."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from blemish.judgement import Call, Interval, Judgement, Region
from blemish.result import ColourScale, Photo, Result
from blemish.sinks import masks
from blemish.verdict.regions import mask_of

THRESHOLD = 0.5
NOBODY = Interval(0.0, 0.0, 0.0)
JUDGEMENT = Judgement(0.5, THRESHOLD, "a test", NOBODY, False, NOBODY, "One photo is blemished.", (), (), (), ())
HOSTILE = [
    "Prüfling 07 – 部品/ё.png",
    "new\nline\t\x1b[31m.png",
    'quo"te\\slash &<b>?#%41.png',
    "\u202egnp.exe.png",
    "x" * 251 + ".png",
]


@dataclass(frozen=True)
class Shot:
    path: str
    verdict: Call | None
    grid: np.ndarray  # (h, w), of one shape in a result
    size: tuple[int, int] = (120, 160)  # (H, W)
    score: float = 0.9


def spots(*spots: tuple[int, int], shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    """A map with peaks at tokens (row, column)."""
    grid = np.zeros(shape, np.float32)
    for row, column in spots:
        grid[row, column] = 1.0
    return grid


def a_ring(shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    """A map whose mask has a hole."""
    grid = np.zeros(shape, np.float32)
    grid[3:9, 3:11] = 1.0
    grid[5:7, 5:9] = 0.0
    return grid


def judged(shots: Sequence[Shot], unreadable: Sequence[str] = (), **more: Any) -> Result:
    """A result with regions, most anomalous first as given."""
    photos, regions = [], {}
    for rank, shot in enumerate(shots, start=1):
        found = regions_in(shot) if shot.verdict in {"blemished", "unsure"} else ()
        if found:
            regions[shot.path] = found
        height, width = shot.size
        photos.append(
            Photo(
                shot.path,
                "ok",
                score=shot.score,
                rank=rank,
                percentile=50.0,
                width=width,
                height=height,
                verdict=shot.verdict,
                low=shot.score - 0.25,
                high=shot.score + 0.25,
                regions=len(found),
                area_share=sum(region.share for region in found),
                severity=sum(region.severity for region in found),
            )
        )
    photos += [Photo(path, "unreadable", reason="empty file") for path in unreadable]
    grids = np.stack([shot.grid for shot in shots]) if shots else np.zeros((0, 12, 16), np.float32)
    values: dict[str, Any] = {
        "manifest": {"source": "/data/parts 1", "blemish": "1.2.3", "created": "2025-01-01T00:00:00+00:00"},
        "judgement": JUDGEMENT,
        "regions": regions,
    }
    return Result(
        photos=tuple(photos),
        grids=grids,
        shape=(64, 64),
        pixels=lambda row: np.zeros((64, 64, 3), np.uint8),
        scale=ColourScale(0, 1),
        **{**values, **more},
    )


def mask_in(shot: Shot) -> np.ndarray:
    return mask_of(shot.grid, shot.size, THRESHOLD)


def region_masks(shot: Shot) -> list[np.ndarray]:
    """(H, W) bool of every region, in the order of ``regions_in``."""
    labels, count = ndimage.label(mask_in(shot), np.ones((3, 3)))
    return [labels == number for number in range(1, count + 1)]


def regions_in(shot: Shot) -> tuple[Region, ...]:
    found = []
    for own in region_masks(shot):
        (rows, columns), area = ndimage.find_objects(own.astype(int))[0], int(own.sum())
        box = (columns.start, rows.start, columns.stop, rows.stop)
        found.append(Region(*box, area, peak=0.875, share=area / own.size, severity=0.5 * area / own.size))
    return tuple(found)


def written(shots: Sequence[Shot], folder: Path) -> list[np.ndarray]:
    masks.write(judged(shots), folder, lambda done: None)
    pictures = []
    for shot in shots:
        with Image.open(folder / f"{shot.path}.png") as picture:
            assert (picture.format, picture.mode) == ("PNG", "L")
            pictures.append(np.asarray(picture))
    return pictures


# the size of the photo; maps have 12 x 16 tokens
@pytest.mark.parametrize("size", [(120, 160), (333, 47), (7, 5), (1, 400), (400, 1), (1, 1)])
@pytest.mark.parametrize("grid", [spots((5, 5)), spots((0, 0), (11, 15), (11, 0)), a_ring(), spots()])
def test_masks_are_0_and_255_at_the_photos_own_size(tmp_path: Path, size: tuple[int, int], grid: np.ndarray) -> None:
    shot = Shot("a.jpg", "blemished", grid, size)
    (picture,) = written([shot], tmp_path)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.where(mask_in(shot), 255, 0))


def test_blemished_and_unsure_photos_have_masks_and_no_others(tmp_path: Path) -> None:
    shots = [
        Shot("line 1/a.jpg", "blemished", spots((3, 3))),
        Shot("b.jpg", "unsure", spots((3, 3))),
        Shot("c.jpg", "ok", spots((3, 3))),
        Shot("d.jpg", None, spots((3, 3))),
    ]
    done: list[int] = []
    result = judged(shots, unreadable=["f.jpg"])
    outlines = masks.write(result, tmp_path, done.append, shapes=True)
    files = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")]
    assert sorted(files) == ["b.jpg.png", "line 1/a.jpg.png"]
    assert sum(done) == 2 == len(masks.marked(result))
    assert list(outlines) == ["line 1/a.jpg", "b.jpg"]
    assert [len(shapes) for shapes in outlines.values()] == [1, 1]


def test_hostile_names(tmp_path: Path) -> None:
    result = judged([Shot(path, "unsure", spots((3, 3)), (8, 9)) for path in HOSTILE])
    masks.write(result, tmp_path, lambda done: None)
    assert len(list(tmp_path.rglob("*.png"))) == len(HOSTILE)


def test_without_a_verdict_nothing_is_written(tmp_path: Path) -> None:
    result = replace(judged([Shot("a.jpg", "blemished", spots((3, 3)))]), judgement=None)
    assert masks.write(result, tmp_path / "masks", lambda done: None) == {}
    assert masks.marked(result) == ()
    assert list(tmp_path.iterdir()) == []


def test_only_some_masks_but_the_shapes_of_all(tmp_path: Path) -> None:
    result = judged([Shot("a.jpg", "blemished", spots((3, 3))), Shot("b.jpg", "unsure", spots((3, 3)))])
    outlines = masks.write(result, tmp_path, lambda done: None, only={"b.jpg"}, shapes=True)
    assert [file.name for file in tmp_path.iterdir()] == ["b.jpg.png"]
    assert {path: len(shapes) for path, shapes in outlines.items()} == {"a.jpg": 1, "b.jpg": 1}


@pytest.mark.parametrize("only", [None, {"b.jpg"}, set()])
def test_masks_are_the_same_whether_shapes_are_wanted(tmp_path: Path, only: set[str] | None) -> None:
    result = judged([Shot("a.jpg", "blemished", spots((3, 3))), Shot("b.jpg", "unsure", spots((3, 3)))])
    done: list[int] = []
    masks.write(result, tmp_path / "without", done.append, only)
    masks.write(result, tmp_path / "with", lambda done: None, only, shapes=True)
    assert sum(done) == 2
    files = [
        {file.name: file.read_bytes() for file in (tmp_path / folder).rglob("*")} for folder in ("without", "with")
    ]
    assert files[0] == files[1]
    assert files[0].keys() == {f"{path}.png" for path in ({"a.jpg", "b.jpg"} if only is None else only)}
