"""overlays/<path>.jpg: every scored photo at the working resolution with its anomaly map laid over it.

All photos of a run are coloured by the run's one scale: equal colours mean equal map values in any two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from blemish.result import Result
from blemish.sinks.colours import heat
from blemish.sinks.names import beside

__all__ = ["write"]

QUALITY = 88  # of the JPEG: no visible blocks around a hot spot's rim


def write(result: Result, folder: Path, advance: Callable[[int], None]) -> None:
    """``advance(1)`` a photo. Subfolders are made as the paths have them."""
    maps = result.maps
    for row, photo in enumerate(result.scored):
        picture = Image.fromarray(result.pixels(row))
        layer = Image.fromarray(heat(result.scale.apply(maps[photo.path])))
        picture.paste(layer, mask=layer)
        file = beside(folder, photo.path, ".jpg")
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=QUALITY)
        advance(1)
