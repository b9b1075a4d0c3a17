"""masks/<path>.png: 255 where a photo is blemished and 0 elsewhere, 8 bits, one channel, at the photo's own size.

Every photo called blemished or unsure has one: an unsure photo is to be looked at by a person, and the mask says where.
What is called ok has none, so that the folder lists the photos that need attention; a program that wants masks of all
photos takes 0 for those that are missing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from blemish.result import Photo, Result
from blemish.sinks.names import beside
from blemish.sinks.outlines import Outline, outlines

__all__ = ["marked", "write"]

THREADS = 2


def marked(result: Result) -> tuple[Photo, ...]:
    """The photos that have a mask, in the result's order."""
    if result.judgement is None:
        return ()
    return tuple(photo for photo in result.scored if photo.verdict in {"blemished", "unsure"})


def write(
    result: Result,
    folder: Path,
    advance: Callable[[int], None],
    only: Collection[str] | None = None,
    *,
    shapes: bool = False,
) -> dict[str, tuple[Outline, ...]]:
    """Write the masks; with ``shapes``, return those of every photo's regions for the sinks that follow: enlarging a
    map to the photo's size is most of the work of either. ``advance(1)`` a mask. ``only``: paths whose file is written,
    by default all."""
    if result.judgement is None:
        return {}
    maps, threshold = result.maps, result.judgement.pixel_threshold

    def save(photo: Photo) -> tuple[Outline, ...]:
        assert photo.width is not None and photo.height is not None
        if not shapes and only is not None and photo.path not in only:
            advance(1)
            return ()
        from blemish.verdict.regions import mask_of  # loads scipy, which a verdict without a new mask need not

        grid = maps.grid(photo.path)
        mask = mask_of(grid, (photo.height, photo.width), threshold)
        if only is None or photo.path in only:
            file = beside(folder, photo.path, ".png")
            file.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
            # runs of equal bytes are all there is to compress: a third of the usual strategy's size, and quicker
            picture.save(file, compress_level=1, compress_type=zlib.Z_RLE)
        token = math.ceil(photo.height / grid.shape[0]), math.ceil(photo.width / grid.shape[1])
        found = outlines(mask, result.regions.get(photo.path, ()), reach=token) if shapes else ()
        advance(1)
        return found

    photos = marked(result)
    with ThreadPoolExecutor(THREADS) as pool:  # enlarging and encoding let go of the interpreter
        return dict(zip((photo.path for photo in photos), pool.map(save, photos), strict=True))
