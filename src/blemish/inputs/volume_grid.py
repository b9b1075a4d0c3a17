"""The working cube: which part of a volume it holds, and the way there and back.

A box is placed in every volume and stretched to a cube of one size, so that equal places of two cubes can be compared.
Interpolation is separable: three small matrices, no coordinates of single voxels. Arrays in RAS order, (X, Y, Z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "brain_box", "from_cube", "to_cube"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Triple = tuple[float, float, float]

THIN = 0.01  # of the largest plane's area: planes of less brain at its ends do not count, be it a stray voxel


@dataclass(frozen=True)
class Box:
    """``start``, ``stop``: (3,) in voxels of a volume in RAS order, counted at voxels' edges: 0 and X are its ends. May
    reach beyond the volume."""

    start: Triple
    stop: Triple

    @property
    def extent(self) -> Triple:
        x, y, z = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return x, y, z

    def enlarged(self, share: float) -> Box:
        """By ``share`` of its extent, half on either side."""
        reach = [share * side / 2 for side in self.extent]
        return Box(
            _triple([at - more for at, more in zip(self.start, reach, strict=True)]),
            _triple([at + more for at, more in zip(self.stop, reach, strict=True)]),
        )


def brain_box(brain: Bools) -> Box:
    """The box around the brain, without planes at its ends that hold next to nothing of it. The whole volume if there
    is no brain."""
    start, stop = [], []
    for axis in range(3):
        area = brain.sum(axis=tuple(other for other in range(3) if other != axis))
        solid = np.flatnonzero(area > THIN * area.max())
        start.append(float(solid[0]) if solid.size else 0.0)
        stop.append(float(solid[-1]) + 1 if solid.size else float(brain.shape[axis]))
    return Box(_triple(start), _triple(stop))


def to_cube(volume: npt.NDArray[Any], box: Box, size: int) -> Float32:
    """The box of ``volume: (X, Y, Z)`` as (size, size, size) float32; 0 beyond the volume.

    Linear, and averaging where the cube is coarser. Of a mask it gives the share of each voxel that is inside."""
    cube = volume.astype(np.float32, copy=False)
    for axis in range(3):
        weights = _into(volume.shape[axis], box.start[axis], box.stop[axis], size)
        cube = _along(cube, weights, axis)
    return cube


def from_cube(cube: npt.NDArray[Any], box: Box, shape: tuple[int, int, int]) -> Float32:
    """A map on the box, of any fineness (gx, gy, gz), for every voxel of a volume of ``shape``.

    Linear between the centres of cells; beyond the outermost centres their value."""
    values = cube.astype(np.float32, copy=False)
    for axis in range(3):
        weights = _out_of(values.shape[axis], box.start[axis], box.stop[axis], shape[axis])
        values = _along(values, weights, axis)
    return values


def _along(values: Float32, weights: Float32, axis: int) -> Float32:
    """``weights: (out, in)`` applied to one axis."""
    return np.ascontiguousarray(np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis))


def _into(count: int, start: float, stop: float, size: int) -> Float32:
    """(size, count): what every voxel of the cube takes from ``count`` voxels of the volume. A triangle as wide as the
    coarser of the two grids."""
    step = (stop - start) / size
    centres = start + (np.arange(size) + 0.5) * step - 0.5
    weights = np.clip(1 - np.abs(np.arange(count) - centres[:, None]) / max(1.0, step), 0, None)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    weights[(centres < -0.5) | (centres > count - 0.5)] = 0
    return np.asarray(weights, dtype=np.float32)


def _out_of(cells: int, start: float, stop: float, count: int) -> Float32:
    """(count, cells): what every voxel of the volume takes from the cells of a map."""
    at = ((np.arange(count) + 0.5 - start) / (stop - start) * cells - 0.5).clip(0, cells - 1)
    return np.asarray(np.clip(1 - np.abs(np.arange(cells) - at[:, None]), 0, None), dtype=np.float32)


def _triple(values: list[float]) -> Triple:
    x, y, z = values
    return x, y, z
