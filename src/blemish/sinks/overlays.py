"""overlays/<path>.jpg: every scored photo at the working resolution with its anomaly map laid over it.

All photos of a run are coloured by the run's one scale: equal colours mean equal map values in any two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from blemish.result import RGB, ColourScale, Float32, Result
from blemish.sinks.colours import heat
from blemish.sinks.names import beside

__all__ = ["save", "write"]

THREADS = 2
QUALITY = 88  # of the JPEG: no visible blocks around a hot spot's rim


def write(result: Result, folder: Path, advance: Callable[[int], None], only: Collection[str] | None = None) -> None:
    """``advance(1)`` a photo. Subfolders are made as the paths have them. ``only``: paths, by default all."""
    maps = result.maps

    def draw(row: int) -> None:
        path = result.scored[row].path
        if only is None or path in only:
            save(result.pixels(row), maps[path], result.scale, beside(folder, path, ".jpg"))
        advance(1)

    with ThreadPoolExecutor(THREADS) as pool:  # drawing and encoding let go of the interpreter
        for _ in pool.map(draw, range(len(result.scored))):
            pass


def save(pixels: RGB, anomaly_map: Float32, scale: ColourScale, file: Path) -> None:
    """One picture: ``pixels: (H, W, 3)`` under the heat of ``anomaly_map: (H, W)``."""
    picture = Image.fromarray(pixels)
    layer = Image.fromarray(heat(scale.apply(anomaly_map)))
    picture.paste(layer, mask=layer)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, quality=QUALITY)
