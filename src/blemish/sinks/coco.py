"""coco.json and coco_results.json: the regions for programs that read COCO, such as CVAT, FiftyOne and trainers.

COCO has two formats, and each has its way of saying where:

* a data set (``write``), to be imported, corrected and trained on: polygons, as the format demands of single objects
  (``iscrowd`` 0; run lengths are for crowds, and not every program takes them for anything else). People can move their
  points. They follow the regions' rims within two pixels.
* results (``write_results``), to be measured: a plain list with scores and every pixel exactly, as run lengths.
  ``COCO("coco.json").loadRes("coco_results.json")`` reads it. It has no boxes: pycocotools takes them from the pixels,
  and where a file has them it takes areas from the boxes.

All scored photos are images of the data set, those called ok without annotations: they are its negatives. There is one
category, "blemish". Families are attributes instead of categories: their numbers change from run to run, and annotation
programs want every label set up beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blemish.judgement import Region
from blemish.result import Photo, Result
from blemish.sinks.json_rows import opened, plain, write_rows
from blemish.sinks.outlines import Outline

__all__ = ["write", "write_results"]

CATEGORY = {"id": 1, "name": "blemish", "supercategory": "defect"}

Outlines = Mapping[str, Sequence[Outline]]  # of every photo that is not ok, in the order of its regions


def write(result: Result, outlines: Outlines, file: Path) -> None:
    """The data set. Images are numbered by rank; one image and one annotation a line."""
    info = {
        "description": "Found by blemish without labels; nobody has checked it.",
        "version": str(result.manifest.get("blemish", "")),
        "date_created": str(result.manifest.get("created", "")),
    }
    images = (
        {
            "id": number,
            "file_name": photo.path,
            "width": photo.width,
            "height": photo.height,
            "verdict": photo.verdict,
            "score": photo.score,
        }
        for number, photo in enumerate(result.scored, start=1)
    )
    annotations = (
        {
            "id": count,
            **_about(image, region),
            "bbox": [outline.left, outline.top, outline.right - outline.left, outline.bottom - outline.top],
            "area": outline.area,
            "iscrowd": 0,
            "segmentation": [polygon.ravel().tolist() for polygon in outline.polygons],
            "attributes": {"verdict": photo.verdict, "severity": region.severity, "family": photo.family},
        }
        for count, (image, photo, region, outline) in enumerate(_regions(result, outlines), start=1)
    )
    with opened(file) as handle:
        handle.write(f'{{"info": {plain(info)}, "licenses": [], "categories": [{plain(CATEGORY)}],\n"images": ')
        write_rows(handle, images)
        handle.write(',\n"annotations": ')
        write_rows(handle, annotations)
        handle.write("}\n")


def write_results(result: Result, outlines: Outlines, file: Path) -> None:
    """The results. Image numbers are those of ``write``."""
    rows = (
        {
            **_about(image, region),
            "segmentation": {"size": [photo.height, photo.width], "counts": outline.counts},
        }
        for image, photo, region, outline in _regions(result, outlines)
    )
    with opened(file) as handle:
        write_rows(handle, rows)


def _regions(result: Result, outlines: Outlines) -> Iterator[tuple[int, Photo, Region, Outline]]:
    """Every region with the number of its image."""
    for number, photo in enumerate(result.scored, start=1):
        if photo.path in outlines:
            for region, outline in zip(result.regions.get(photo.path, ()), outlines[photo.path], strict=True):
                yield number, photo, region, outline


def _about(image: int, region: Region) -> dict[str, Any]:
    """What both formats say. The score is the region's largest map value: how sure it is that something is there."""
    return {"image_id": image, "category_id": CATEGORY["id"], "score": region.peak}
