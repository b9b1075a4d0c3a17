"""labelstudio.json: all scored photos as tasks of Label Studio, with what blemish thinks of them as predictions.

Import the file into a project with this labelling interface:

    <View>
      <Image name="image" value="$image" zoom="true"/>
      <Choices name="verdict" toName="image" choice="single" showInline="true">
        <Choice value="ok"/> <Choice value="blemished"/> <Choice value="unsure"/>
      </Choices>
      <PolygonLabels name="label" toName="image">
        <Label value="blemish" background="#f7e225"/>
      </PolygonLabels>
    </View>

Photos stay where they are. Label Studio shows files of its own machine if it is started with
LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder that holds
the scanned folder, and if the project has the scanned folder as a local source storage (added, not synced: a sync makes
a second task of every photo). Addresses name no other folder of the machine.

Regions are polygons, not brush strokes: a brush is a picture of four channels at the photo's size that the browser has
to unpack for every region, and the points of a polygon can be moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from blemish.result import Photo, Result
from blemish.sinks.json_rows import opened, write_rows
from blemish.sinks.outlines import Outline

__all__ = ["write"]

DIGITS = 3  # of a coordinate in percent: a tenth of a pixel of the largest photos


def write(result: Result, outlines: Mapping[str, Sequence[Outline]], file: Path) -> None:
    """One task a line, most anomalous first. ``outlines``: of the regions of every photo that is not ok."""
    folder = _folder(result)
    version = f"blemish {result.manifest.get('blemish', '')}".strip()
    tasks = (
        {
            "data": {
                "image": f"/data/local-files/?d={quote(folder + photo.path, errors='backslashreplace')}",
                "path": photo.path,
                "verdict": photo.verdict,
                "score": photo.score,
                "family": photo.family,
                "severity": photo.severity,
            },
            "predictions": [
                {
                    "model_version": version,
                    "score": photo.score,
                    "result": _prediction(result, photo, outlines.get(photo.path, ())),
                }
            ],
        }
        for photo in result.scored
    )
    with opened(file) as handle:
        write_rows(handle, tasks)


def _folder(result: Result) -> str:
    """The name of the folder that paths start at, with a slash."""
    source = Path(result.manifest.get("source", ""))
    folder = source.parent if source.suffix.lower() == ".csv" else source
    return f"{folder.name}/" if folder.name else ""


def _prediction(result: Result, photo: Photo, outlines: Sequence[Outline]) -> list[dict[str, Any]]:
    assert photo.width is not None and photo.height is not None
    target = {
        "to_name": "image",
        "original_width": photo.width,
        "original_height": photo.height,
        "image_rotation": 0,
    }
    found: list[dict[str, Any]] = []
    if photo.verdict is not None:
        choice = {"choices": [photo.verdict]}
        found.append(
            {"id": f"{photo.rank}-verdict", "from_name": "verdict", "type": "choices", **target, "value": choice}
        )
    size = np.array([photo.width, photo.height])
    regions = result.regions.get(photo.path, ())
    pieces = [
        (region.peak, polygon)
        for region, outline in zip(regions, outlines, strict=True)
        for polygon in outline.polygons
    ]
    for number, (score, polygon) in enumerate(pieces, start=1):
        value = {"points": _percent(polygon, size), "closed": True, "polygonlabels": ["blemish"]}
        found.append(
            {
                "id": f"{photo.rank}-{number}",
                "from_name": "label",
                "type": "polygonlabels",
                **target,
                "score": score,
                "value": value,
            }
        )
    return found


def _percent(polygon: npt.NDArray[np.int64], size: npt.NDArray[np.int64]) -> list[list[float]]:
    points: list[list[float]] = np.round(100 * polygon / size, DIGITS).tolist()
    return points
