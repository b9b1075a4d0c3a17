"""Where the cube of every volume lies in its own file: maps, masks and lesions there, and the voxels behind a picture.

Everything is worked out when it is asked for, from a brain mask of some kilobytes, and voxels are read again: never are
all volumes in memory. It knows geometry and maps, not how these were scored or what is written of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from blemish.errors import BlemishError
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, Tilted, from_cube
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volumes import clipped, read_again
from blemish.judgement import Lesion

__all__ = ["Native", "Volumes", "packed_mask", "unpacked_mask"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Triple = tuple[int, int, int]
Place = tuple[float, float, float]

FINE = 4  # samples from one cell's middle to the next, on which a mask's outline is found before it is enlarged
GREY = 0.4  # of a brain whose file has gone since it was scored


@dataclass(frozen=True, eq=False)
class Native:
    """One volume. ``box``: what its cube holds, straight or tilted, in voxels in RAS order. ``inside: (g, g, g)`` the
    cells that count. ``packed``: its brain mask, see ``packed_mask``. ``sha256``: of its file when it was scanned."""

    file: VolumeFile
    geometry: Geometry
    box: Box | Tilted
    inside: Bools
    packed: bytes
    sha256: str

    @property
    def brain(self) -> Bools:
        """(X, Y, Z) in RAS order."""
        return unpacked_mask(self.packed, self.geometry.ras_shape)

    def scores(self, grid: Float32) -> Float32:
        """A map (g, g, g) on the volume's own voxels, (X, Y, Z) in RAS order; 0 outside the brain."""
        return np.where(self.brain, from_cube(grid, self.box, self.geometry.ras_shape), np.float32(0))

    def mask(self, grid: Float32, level: float) -> Bools:
        """(X, Y, Z) in RAS order: the lesions of ``grid: (g, g, g)``, never empty. ``level``: see ``mask_of``."""
        from blemish.verdict.regions import mask_of  # loads scipy, which a table of scores need not

        found = mask_of(grid, self._samples, level, self.inside)
        brain = self.brain
        depth = from_cube(found, self._sampled, self.geometry.ras_shape)
        mask = (depth > 0.5) & brain
        if not mask.any():  # smaller than a voxel, or at the rim of the brain
            scores = np.where(brain, from_cube(grid, self.box, self.geometry.ras_shape), -np.inf)
            mask[np.unravel_index(int(scores.argmax()), mask.shape)] = True
        return mask

    def lesions(self, grid: Float32, level: float) -> tuple[Lesion, ...]:
        """What stands out in ``grid: (g, g, g)``, most severe first, in voxels of the volume in RAS order."""
        from blemish.verdict.regions import lesions_of

        voxels = max(1, int(np.unpackbits(np.frombuffer(zlib.decompress(self.packed), np.uint8)).sum()))
        found = []
        for lesion in lesions_of(grid, self._samples, level, self.inside):
            start, stop = self._bounds(lesion.start, lesion.stop)
            x, y, z = self._places([lesion.centre])[0].tolist()
            many = max(1, round(lesion.share * voxels))
            found.append(replace(lesion, start=start, stop=stop, centre=(x, y, z), voxels=many))
        return tuple(found)

    def values(self) -> Float32:
        """(X, Y, Z) in 0..1 in RAS order, read again; one grey where the file has gone or is another by now."""
        brain = self.brain
        try:
            return clipped(read_again(self.file, self.sha256).values, brain, keep_outside=True)
        except (BlemishError, OSError):
            return np.where(brain, np.float32(GREY), np.float32(0))

    @property
    def _samples(self) -> Triple:
        x, y, z = (FINE * (side - 1) + 1 for side in self.inside.shape)
        return x, y, z

    @property
    def _sampled(self) -> Box | Tilted:
        """What the samples stand for: the first lies in the middle of the first cell, so they end before the box."""
        x, y, z = self.inside.shape
        return self.box.inset((x, y, z), FINE)

    def _places(self, samples: Sequence[Place]) -> npt.NDArray[np.float64]:
        """(n, 3) places in samples (the middle of the first is 0) as ones in voxels."""
        return self._sampled.places(np.array(samples) + 0.5, self._samples) - 0.5

    def _bounds(self, start: Triple, stop: Triple) -> tuple[Triple, Triple]:
        """The first voxels and the ones behind the last, along every axis, that samples have something of."""
        corners = list(product(*zip(start, stop, strict=True)))
        ends = self._places([(x - 0.5, y - 0.5, z - 0.5) for x, y, z in corners]) + 0.5
        shape = self.geometry.ras_shape
        low = np.clip(np.floor(ends.min(axis=0)), 0, shape).astype(int).tolist()
        high = np.clip(np.ceil(ends.max(axis=0)), 0, shape).astype(int).tolist()
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])


@dataclass(frozen=True)
class Volumes:
    """What a result of volumes has besides its maps, by path. ``bids``: whether the scanned folder is such a data
    set."""

    by_path: Mapping[str, Native]
    bids: bool


def packed_mask(brain: Bools) -> bytes:
    """A mask in a few kilobytes."""
    return zlib.compress(np.packbits(brain).tobytes(), 1)


def unpacked_mask(packed: bytes, shape: Triple) -> Bools:
    """What ``packed_mask`` was given."""
    bits = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)
