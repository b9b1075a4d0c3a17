"""coco.json and coco_results.json, read back by pycocotools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from blemish.result import Result
from blemish.sinks import coco, masks
from test_masks_sink import HOSTILE, Shot, a_ring, judged, mask_in, region_masks, spots

# pycocotools' own arrays do not know numpy 2's way of asking
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHOTS = [
    Shot("line 1/two.jpg", "blemished", spots((3, 3), (8, 12))),
    Shot("ring.jpg", "blemished", a_ring(), (240, 320)),
    Shot("corners.jpg", "unsure", spots((0, 0), (11, 15), (0, 15), (11, 0)), (333, 471)),
    Shot("row.jpg", "blemished", spots((0, 4)), (1, 300)),
    Shot("column.jpg", "blemished", spots((4, 0)), (300, 1)),
    Shot("fine.jpg", "ok", spots((3, 3))),
]


def write(result: Result, folder: Path) -> tuple[COCO, COCO]:
    outlines = masks.write(result, folder / "masks", lambda done: None, shapes=True)
    coco.write(result, outlines, folder / "coco.json")
    coco.write_results(result, outlines, folder / "coco_results.json")
    data_set = COCO(str(folder / "coco.json"))
    return data_set, data_set.loadRes(str(folder / "coco_results.json"))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[COCO, COCO]:
    return write(judged(SHOTS, unreadable=["broken.jpg"]), tmp_path_factory.mktemp("coco"))


def of(read: COCO, number: int) -> list[dict]:
    return read.loadAnns(read.getAnnIds(imgIds=[number]))


def test_all_scored_photos_are_images(read: tuple[COCO, COCO]) -> None:
    data_set, _ = read
    images = data_set.dataset["images"]
    assert [image["file_name"] for image in images] == [shot.path for shot in SHOTS]
    assert [(image["height"], image["width"]) for image in images] == [shot.size for shot in SHOTS]
    assert [image["verdict"] for image in images] == [shot.verdict for shot in SHOTS]
    assert [len(of(data_set, image["id"])) for image in images] == [2, 1, 4, 1, 1, 0]
    assert data_set.dataset["categories"] == [{"id": 1, "name": "blemish", "supercategory": "defect"}]
    assert data_set.dataset["info"]["version"] == "1.2.3"
    assert data_set.dataset["licenses"] == []


@pytest.mark.parametrize("number", range(1, len(SHOTS) + 1))
def test_run_lengths_hold_every_pixel(read: tuple[COCO, COCO], number: int) -> None:
    shot = SHOTS[number - 1]
    found = of(read[1], number)
    if shot.verdict == "ok":
        assert found == []
        return
    for one, own in zip(found, region_masks(shot), strict=True):
        np.testing.assert_array_equal(read[1].annToMask(one), own)
    everything = sum((read[1].annToMask(one) for one in found), np.zeros(shot.size, int))
    np.testing.assert_array_equal(everything, mask_in(shot))


@pytest.mark.parametrize("number", range(1, len(SHOTS) + 1))
def test_polygons_are_close(read: tuple[COCO, COCO], number: int) -> None:
    shot = SHOTS[number - 1]
    for one, own in zip(of(read[0], number), region_masks(shot), strict=False):
        drawn = read[0].annToMask(one).astype(bool)
        assert (drawn & own).sum() / (drawn | own).sum() >= 0.95
        assert one["iscrowd"] == 0
        assert all(isinstance(value, int) for polygon in one["segmentation"] for value in polygon)


def test_boxes_areas_and_scores(read: tuple[COCO, COCO]) -> None:
    for number, shot in enumerate(SHOTS, start=1):
        for truth, result in zip(of(read[0], number), of(read[1], number), strict=True):
            own = region_masks(shot)[truth["id"] - of(read[0], number)[0]["id"]]
            rows, columns = np.nonzero(own)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert list(truth["bbox"]) == list(result["bbox"]) == box
            assert truth["area"] == result["area"] == own.sum()
            assert truth["score"] == result["score"] == 0.875
            assert truth["attributes"]["verdict"] == shot.verdict


def test_annotations_are_numbered_from_one_without_gaps(read: tuple[COCO, COCO]) -> None:
    assert [one["id"] for one in read[0].dataset["annotations"]] == list(range(1, 10))


def test_hostile_names(tmp_path: Path) -> None:
    result = judged([Shot(path, "blemished", spots((3, 3)), (8, 9)) for path in HOSTILE])
    data_set, _ = write(result, tmp_path)
    assert [image["file_name"] for image in data_set.dataset["images"]] == HOSTILE


def test_names_and_numbers_that_json_lacks(tmp_path: Path) -> None:
    result = judged([Shot("bad-\udcff.png", "ok", spots()), Shot("b.png", "ok", spots(), score=float("inf"))])
    coco.write(result, {}, tmp_path / "coco.json")
    images = json.loads((tmp_path / "coco.json").read_bytes())["images"]
    assert [(image["file_name"], image["score"]) for image in images] == [("bad-\udcff.png", 0.9), ("b.png", None)]


def test_a_batch_without_a_flaw_and_one_without_photos(tmp_path: Path) -> None:
    for shots in ([Shot("a.png", "ok", spots())], []):
        result = judged(shots, unreadable=["broken.jpg"])
        coco.write(result, {}, tmp_path / "coco.json")
        coco.write_results(result, {}, tmp_path / "coco_results.json")
        data_set = COCO(str(tmp_path / "coco.json"))
        assert (len(data_set.imgs), len(data_set.anns)) == (len(shots), 0)
        assert json.loads((tmp_path / "coco_results.json").read_text()) == []
