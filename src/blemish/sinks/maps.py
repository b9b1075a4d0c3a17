"""maps/<path>.tif: the anomaly map of every scored photo as float32 TIFF, values as scored and never rescaled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blemish.result import Photo, Result
from blemish.sinks.names import beside

__all__ = ["write"]

THREADS = 2


def write(
    result: Result,
    folder: Path,
    resolution: str,
    advance: Callable[[int], None],
    only: Collection[str] | None = None,
) -> None:
    """``resolution``: working (the scan's own), original (the photo's) or none. ``advance(1)`` a photo. ``only``:
    paths, by default all."""
    import tifffile

    maps = result.maps

    def save(photo: Photo) -> None:
        if resolution != "none" and (only is None or photo.path in only):
            assert photo.width is not None and photo.height is not None
            shape = (photo.height, photo.width) if resolution == "original" else result.shape
            file = beside(folder, photo.path, ".tif")
            file.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(file, maps.at(photo.path, shape), photometric="minisblack", metadata=None)
        advance(1)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(save, result.scored):
            pass
