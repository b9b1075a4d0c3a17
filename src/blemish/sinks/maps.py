"""maps/<path>.tif: the anomaly map of every scored photo as float32 TIFF, values as scored and never rescaled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from blemish.result import Result
from blemish.sinks.names import beside

__all__ = ["write"]


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
    for photo in result.scored:
        if resolution != "none" and (only is None or photo.path in only):
            assert photo.width is not None and photo.height is not None
            shape = (photo.height, photo.width) if resolution == "original" else result.shape
            file = beside(folder, photo.path, ".tif")
            file.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(file, maps.at(photo.path, shape), photometric="minisblack", metadata=None)
        advance(1)
