"""The one colour ramp that heat is shown in, wherever it is shown.

It knows values between 0 and 1 and nothing of scores, photos or files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["heat", "stops_of_heat"]

# The upper four fifths of "plasma" (CC0, from matplotlib), from violet to yellow. Lightness rises evenly with the
# value, and the cold end is what a red-green blind person sees as blue and the hot end as yellow: a hot spot is a
# light core in a dark rim, on grey metal as well as on a green or red product.
_PLASMA = np.array(
    [
        (92, 1, 166),
        (132, 5, 167),
        (167, 33, 151),
        (197, 64, 126),
        (221, 94, 102),
        (242, 132, 75),
        (252, 175, 62),
        (247, 226, 37),
    ],
    dtype=np.float64,
)
_CLEAR, _FULL = 0.08, 0.8  # values at which opacity starts, and at which it reaches its full strength
_STRENGTH = 0.82  # that strength: the flaw still shows through
_LEVELS = 256


def _ramp() -> npt.NDArray[np.uint8]:
    """``(256, 4)`` RGBA. Opacity rises as a smooth step, so that the ordinary spread of a batch (a quarter of the
    scale and less) stays a breath on the photo and what stands out of it does so clearly."""
    values = np.linspace(0, 1, _LEVELS)
    anchors = np.linspace(0, 1, len(_PLASMA))
    colours = [np.interp(values, anchors, _PLASMA[:, channel]) for channel in range(3)]
    step = np.clip((values - _CLEAR) / (_FULL - _CLEAR), 0, 1)
    opacity = 255 * _STRENGTH * step**2 * (3 - 2 * step)
    return np.rint(np.stack([*colours, opacity], axis=1)).astype(np.uint8)


_RAMP = _ramp()


def heat(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """``values: (...)`` from 0 (cold) to 1 (hot) as RGBA ``(..., 4)`` uint8, alpha not premultiplied."""
    levels = (values * (_LEVELS - 1) + 0.5).astype(np.uint8)
    # one gather of 32-bit words is several times faster than one of four bytes each
    return np.take(_RAMP.view(np.uint32)[:, 0], levels)[..., np.newaxis].view(np.uint8)


def stops_of_heat(count: int = 18) -> dict[str, list[int]]:
    """The ramp at ``count`` places for those who mix in between: R, G, B, A and the places I, all 0 to 255."""
    at = np.linspace(0, 1, count, dtype=np.float32)
    red, green, blue, alpha = heat(at).T.tolist()
    return {"R": red, "G": green, "B": blue, "A": alpha, "I": np.rint(255 * at).astype(int).tolist()}
