"""Where the cube of every volume lies in its own file: maps, masks and lesions there, and the voxels behind a picture.

Everything is worked out when it is asked for, from a brain mask of some kilobytes, and voxels are read again: never are
all volumes in memory. It knows geometry and maps, not how these were scored or what is written of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from blemish.errors import BlemishError
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, from_cube
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volumes import clipped, read_volume
from blemish.judgement import Lesion

__all__ = ["Native", "Volumes", "packed_mask"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Triple = tuple[int, int, int]

FINE = 4  # samples from one cell's middle to the next, on which a mask's outline is found before it is enlarged
GREY = 0.4  # of a brain whose file has gone since it was scored


@dataclass(frozen=True, eq=False)
class Native:
    """One volume. ``box``: what its cube holds, in voxels in RAS order. ``inside: (g, g, g)`` the cells that count.
    ``packed``: its brain mask, see ``packed_mask``. ``sha256``: of its file when it was scanned."""

    file: VolumeFile
    geometry: Geometry
    box: Box
    inside: Bools
    packed: bytes
    sha256: str = ""

    @property
    def brain(self) -> Bools:
        """(X, Y, Z) in RAS order."""
        shape = self.geometry.ras_shape
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)

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
        return tuple(
            replace(
                lesion,
                start=self._corner(lesion.start, np.floor),
                stop=self._corner(lesion.stop, np.ceil),
                centre=self._place(lesion.centre),
                voxels=max(1, round(lesion.share * voxels)),
            )
            for lesion in lesions_of(grid, self._samples, level, self.inside)
        )

    def values(self) -> Float32:
        """(X, Y, Z) in 0..1 in RAS order, read again; one grey where the file has gone or is another by now."""
        brain = self.brain
        try:
            volume = read_volume(self.file)
            if volume.geometry.shape == self.geometry.shape:
                return clipped(volume.values, brain, keep_outside=True)
        except (BlemishError, OSError):
            pass
        return np.where(brain, np.float32(GREY), np.float32(0))

    @property
    def _samples(self) -> Triple:
        x, y, z = (FINE * (side - 1) + 1 for side in self.inside.shape)
        return x, y, z

    @property
    def _sampled(self) -> Box:
        """What the samples stand for: the first lies in the middle of the first cell, so they end before the box."""
        inset = [
            (side / cells - side / cells / FINE) / 2
            for side, cells in zip(self.box.extent, self.inside.shape, strict=True)
        ]
        x, y, z = ((at + by, to - by) for at, to, by in zip(self.box.start, self.box.stop, inset, strict=True))
        return Box((x[0], y[0], z[0]), (x[1], y[1], z[1]))

    def _place(self, samples: tuple[float, float, float]) -> tuple[float, float, float]:
        """A place in samples (the middle of the first is 0) as one in voxels."""
        box = self._sampled
        x, y, z = (
            start + (at + 0.5) * side / count - 0.5
            for at, start, side, count in zip(samples, box.start, box.extent, self._samples, strict=True)
        )
        return x, y, z

    def _corner(self, samples: Triple, to_voxels: np.ufunc) -> Triple:
        """A corner between samples as one between voxels, within the volume."""
        x, y, z = self._place((samples[0] - 0.5, samples[1] - 0.5, samples[2] - 0.5))
        whole = (int(to_voxels(at + 0.5)) for at in (x, y, z))
        x_, y_, z_ = (min(max(at, 0), side) for at, side in zip(whole, self.geometry.ras_shape, strict=True))
        return x_, y_, z_


@dataclass(frozen=True)
class Volumes:
    """What a result of volumes has besides its maps, by path. ``bids``: whether the scanned folder is such a data
    set."""

    by_path: Mapping[str, Native]
    bids: bool


def packed_mask(brain: Bools) -> bytes:
    """A mask in a few kilobytes."""
    return zlib.compress(np.packbits(brain).tobytes(), 1)
