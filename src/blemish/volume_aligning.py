"""Every brain of a batch brought to the place of its most typical one: where its cube lies then.

It knows files and what the first look at them has left; how two brains are registered is ``inputs.volume_register``'s
business, and no token or score is known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import UnreadablePhoto
from blemish.extraction import in_order, prepare_thread
from blemish.inputs.volume_checks import Placing
from blemish.inputs.volume_grid import Box, Tilted, to_cube
from blemish.inputs.volume_register import SIDE, Registered, register, tilted, typical
from blemish.inputs.volumes import clipped, read_again
from blemish.volume_extraction import Looked
from blemish.volume_space import unpacked_mask

__all__ = ["Aligned", "aligned"]

Float16 = npt.NDArray[np.float16]


NAMED = 5  # volumes in a warning


@dataclass(frozen=True)
class Aligned:
    """``doubts``: path -> why a volume stayed in its box."""

    placing: Placing
    doubts: dict[str, str]

    @property
    def warning(self) -> str:
        """A sentence on the volumes that stayed; "" if there are none."""
        if not self.doubts:
            return ""
        named = "; ".join(f"{path} ({doubt})" for path, doubt in list(self.doubts.items())[:NAMED])
        more = len(self.doubts) - NAMED
        return (
            f"{len(self.doubts)} of {len(self.placing.boxes)} volumes could not be registered and are only brought to "
            f"one cube by the box around their brain: {named}{f'; and {more} more' if more > 0 else ''}."
        )


def aligned(looked: Sequence[Looked], boxes: Sequence[Box], workers: int, advance: Callable[[int], None]) -> Aligned:
    """Register every volume to one of them, beginning with ``boxes``: what would fill their cubes otherwise.

    The reference keeps its box, so the cubes are as large as those of boxes are; what cannot be registered keeps its
    own. ``workers``: threads, each with a volume of its own; how many changes no bit. ``advance(1)``: twice a volume,
    as it is read and as it is registered."""
    stop = threading.Event()

    def read(at: int) -> Float16:
        one = looked[at]
        brain = unpacked_mask(one.packed, one.geometry.ras_shape)
        try:
            values = clipped(read_again(one.file, one.sha256).values, brain)
        except UnreadablePhoto:  # since the first look; the reason is told when its tokens are due
            values = np.zeros(brain.shape, np.float32)
        return to_cube(values, boxes[at], SIDE).astype(np.float16)

    cubes = []  # of all volumes, 220 KB each
    with closing(in_order(read, range(len(looked)), workers, stop, prepare_thread)) as steps:
        for cube in steps:
            cubes.append(cube)
            advance(1)
    reference = typical(cubes)

    def registered(at: int) -> Registered:
        return register(cubes[reference].astype(np.float32), cubes[at].astype(np.float32))

    places: list[Box | Tilted] = []
    doubts: dict[str, str] = {}
    with closing(in_order(registered, range(len(looked)), workers, threading.Event(), prepare_thread)) as found:
        for at, (one, box, its) in enumerate(zip(looked, boxes, found, strict=True)):
            if at == reference or its.doubt:
                places.append(box)
            else:
                places.append(tilted(box, its.matrix))
            if at != reference and its.doubt:
                doubts[one.file.path] = its.doubt
            advance(1)
    reason = f"an affine transform to {looked[reference].file.path}, the volume most like all others together"
    return Aligned(Placing(places, reason), doubts)
