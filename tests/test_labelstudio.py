"""labelstudio.json fits the labelling interface that its module shows, and its percentages are the right pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from blemish.result import Result
from blemish.sinks import labelstudio, masks
from test_masks_sink import HOSTILE, Shot, a_ring, judged, region_masks, spots

# pycocotools' own arrays do not know numpy 2's way of asking
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHOTS = [
    Shot("line 1/two.jpg", "blemished", spots((3, 3), (8, 12))),
    Shot("ring.jpg", "unsure", a_ring(), (240, 320)),
    Shot("row.jpg", "blemished", spots((0, 4)), (1, 300)),
    Shot("large.jpg", "blemished", spots((0, 0), (11, 15)), (1500, 2000)),
    Shot("fine.jpg", "ok", spots((3, 3)), score=0.25),
]


def tasks_of(result: Result, folder: Path) -> list[dict[str, Any]]:
    file = folder / "labelstudio.json"
    labelstudio.write(result, masks.write(result, folder / "masks", lambda done: None, shapes=True), file)
    tasks: list[dict[str, Any]] = json.loads(file.read_bytes())
    return tasks


def file_of(task: dict[str, Any]) -> str:
    """As Label Studio reads the address: from its document root."""
    address = urlsplit(task["data"]["image"])
    assert (address.scheme, address.netloc, address.path, address.fragment) == ("", "", "/data/local-files/", "")
    (path,) = parse_qs(address.query, strict_parsing=True)["d"]
    return path


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return tasks_of(judged(SHOTS, unreadable=["broken.jpg"]), tmp_path_factory.mktemp("labels"))


def test_one_task_a_scored_photo(tasks: list[dict[str, Any]]) -> None:
    assert [file_of(task) for task in tasks] == [f"parts 1/{shot.path}" for shot in SHOTS]
    assert [task["data"]["path"] for task in tasks] == [shot.path for shot in SHOTS]
    assert [task["data"]["verdict"] for task in tasks] == [shot.verdict for shot in SHOTS]
    predictions = [prediction for task in tasks for prediction in task["predictions"]]
    assert {prediction["model_version"] for prediction in predictions} == {"blemish 1.2.3"}
    assert [prediction["score"] for prediction in predictions] == [0.9, 0.9, 0.9, 0.9, 0.25]


def test_predictions_fit_the_interface_that_the_module_shows(tasks: list[dict[str, Any]]) -> None:
    view = ElementTree.fromstring(re.search(r"<View>.*</View>", labelstudio.__doc__ or "", re.DOTALL)[0])
    image = view.find("Image")
    assert image is not None
    assert image.get("value") == "$image"
    tags = {tag.get("name"): tag for tag in view if tag.tag != "Image"}
    results = [result for task in tasks for prediction in task["predictions"] for result in prediction["result"]]
    for result in results:
        tag = tags[result["from_name"]]
        assert tag.tag.lower() == result["type"]
        assert tag.get("toName") == image.get("name") == result["to_name"]
        chosen = result["value"][result["type"]]
        assert set(chosen) <= {child.get("value") for child in tag}
    assert {result["type"] for result in results} == {"choices", "polygonlabels"}
    assert len({result["id"] for result in results}) == len(results)


def test_every_photo_has_its_verdict_and_what_is_ok_no_regions(tasks: list[dict[str, Any]]) -> None:
    for task, shot in zip(tasks, SHOTS, strict=True):
        verdict, *rest = task["predictions"][0]["result"]
        assert verdict["value"] == {"choices": [shot.verdict]}
        assert len(rest) == (0 if shot.verdict == "ok" else len(region_masks(shot)))


@pytest.mark.parametrize("number", range(len(SHOTS) - 1))
def test_percentages_are_the_regions_pixels(tasks: list[dict[str, Any]], number: int) -> None:
    shot = SHOTS[number]
    height, width = shot.size
    _, *found = tasks[number]["predictions"][0]["result"]
    for one, own in zip(found, region_masks(shot), strict=True):
        assert (one["original_height"], one["original_width"], one["image_rotation"]) == (height, width, 0)
        points = np.array(one["value"]["points"])
        assert points.min() >= 0
        assert points.max() <= 100
        pixels = points * (width, height) / 100
        (runs,) = coco_mask.frPyObjects([pixels.ravel().tolist()], height, width)
        drawn = coco_mask.decode(runs).astype(bool)
        assert (drawn & own).sum() / (drawn | own).sum() >= 0.95


def test_hostile_names(tmp_path: Path) -> None:
    tasks = tasks_of(judged([Shot(path, "unsure", spots((3, 3)), (8, 9)) for path in HOSTILE]), tmp_path)
    assert [file_of(task) for task in tasks] == [f"parts 1/{path}" for path in HOSTILE]
    assert [task["data"]["path"] for task in tasks] == HOSTILE


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    (task,) = tasks_of(judged([Shot("bad-\udcff.png", "ok", spots())]), tmp_path)
    assert task["data"]["path"] == "bad-\udcff.png"
    assert file_of(task) == "parts 1/bad-\\udcff.png"


# the scanned folder or CSV, and the folder that Label Studio finds below its document root
@pytest.mark.parametrize(
    ("source", "folder"),
    [("/data/parts", "parts/"), ("/data/parts/list.CSV", "parts/"), ("/", ""), ("", "")],
)
def test_addresses_begin_with_the_scanned_folders_name(tmp_path: Path, source: str, folder: str) -> None:
    result = judged([Shot("a.png", "ok", spots())], manifest={"source": source})
    (task,) = tasks_of(result, tmp_path)
    assert file_of(task) == f"{folder}a.png"
