"""Pictures inside a page: photos as small JPEGs and heat as palette PNGs, both as addresses that hold their data.

It knows pixels and values between 0 and 1; what they show is the page's business.
"""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.result import Float32, Result, upsample
from blemish.sinks.colours import heat

__all__ = ["ahead", "between_tokens", "data_uri", "heat_layer", "jpeg", "margin", "photograph"]

QUALITY = 80  # of the JPEGs
THREADS, AHEAD = 2, 8  # and how many pictures may wait: the page is written as they are made
LEVELS = 64  # colours of an embedded map; as a palette they make it five times smaller than full colour

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """``map(make, items)``, made a little before it is asked for: scaling and encoding let go of the interpreter."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def jpeg(pixels: npt.NDArray[np.uint8], longest: int) -> bytes:
    """``pixels: (H, W, 3)``, made smaller where it is longer than ``longest``."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest), Image.Resampling.HAMMING, reducing_gap=2)  # twice as quick as Lanczos
    return _encoded(picture, "jpeg", quality=QUALITY)


def photograph(result: Result, row: int, longest: int) -> str:
    """The photo of one row, as it was kept or else encoded now."""
    return _uri(result.jpeg(row, longest) if result.jpeg else jpeg(result.pixels(row), longest), "jpeg")


def between_tokens(grid: Float32) -> Float32:
    """``grid: (h, w)`` with one value added between every two: the browser enlarges it smoothly, and what it mixes is
    then close to what mixing values before colouring gives."""
    height, width = grid.shape
    return upsample(grid, (2 * height - 1, 2 * width - 1))


def heat_layer(values: Float32) -> str:
    """``values: (h, w)`` between 0 and 1 in the run's heat colours."""
    levels = Image.fromarray(np.rint(values * (LEVELS - 1)).astype(np.uint8)).convert("P")
    palette = heat(np.linspace(0, 1, LEVELS, dtype=np.float32))
    levels.putpalette(palette[:, :3].tobytes())
    return data_uri(levels, "png", transparency=palette[:, 3].tobytes(), optimize=True)


def margin(tokens: int) -> float:
    """How far, in percent of the photo, a map of ``between_tokens`` reaches over each edge. Maps are enlarged with
    aligned corners (the outermost values lie on the photo's edges), browsers put them half a pixel further in."""
    return 100 * 0.5 / max(2 * tokens - 2, 1)


def data_uri(picture: Image.Image, kind: str, **options: Any) -> str:
    return _uri(_encoded(picture, kind, **options), kind)


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
