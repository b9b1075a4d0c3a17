"""The working cube: which part of a volume it holds, and the way there and back.

A box is placed in every volume and stretched to a cube of one size, so that equal places of two cubes can be compared.
It may be tilted, where brains were registered. A straight box is interpolated by three small matrices, a tilted one
voxel by voxel. Arrays in RAS order, (X, Y, Z). Nothing here knows how a box was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "Matrix", "Tilted", "brain_box", "from_cube", "to_cube"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Triple = tuple[float, float, float]
Matrix = tuple[tuple[float, float, float, float], ...]  # three rows

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

    def inset(self, cells: tuple[int, int, int], fine: int) -> Box:
        """What is left of a box of ``cells`` once half a cell, less half of one of its ``fine`` parts, is gone at
        either end of every axis: what samples stand for of which the first lies in the middle of the first cell."""
        gone = [(side / count - side / count / fine) / 2 for side, count in zip(self.extent, cells, strict=True)]
        return Box(
            _triple([at + by for at, by in zip(self.start, gone, strict=True)]),
            _triple([at - by for at, by in zip(self.stop, gone, strict=True)]),
        )

    def sides(self, spacing: Triple) -> Triple:
        """Millimetres along its axes, in a volume of ``spacing`` mm."""
        return _triple([side * mm for side, mm in zip(self.extent, spacing, strict=True)])

    def places(self, at: Float64, cells: tuple[int, int, int]) -> Float64:
        """(n, 3) places in a box of ``cells``, counted in these from its corner -> in voxels as ``start`` is."""
        return np.asarray(np.array(self.start) + at * np.array(self.extent) / np.array(cells))


@dataclass(frozen=True)
class Tilted:
    """A box that was moved: turned, sheared, stretched. ``box``: where it lay. ``matrix``: (3, 4) place in the box as
    it lay -> place in the volume, both counted in voxels as ``Box`` does."""

    box: Box
    matrix: Matrix

    def inset(self, cells: tuple[int, int, int], fine: int) -> Tilted:
        """See ``Box.inset``."""
        return Tilted(self.box.inset(cells, fine), self.matrix)

    def sides(self, spacing: Triple) -> Triple:
        """See ``Box.sides``."""
        edges = np.array(self.matrix)[:, :3] * np.array(self.box.extent) * np.array(spacing)[:, None]
        return _triple(np.linalg.norm(edges, axis=0).tolist())

    def places(self, at: Float64, cells: tuple[int, int, int]) -> Float64:
        """See ``Box.places``."""
        matrix = np.array(self.matrix)
        return np.asarray(self.box.places(at, cells) @ matrix[:, :3].T + matrix[:, 3])

    def voxels(self, count: tuple[int, int, int]) -> tuple[Float64, Float64]:
        """(3, 3) and (3,): index of a cell, of ``count`` along the axes -> index of a voxel, both of their middles."""
        matrix, step = np.array(self.matrix), np.array(self.box.extent) / count
        turn = matrix[:, :3] * step
        return turn, matrix[:, :3] @ (np.array(self.box.start) + step / 2) + matrix[:, 3] - 0.5


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


def to_cube(volume: npt.NDArray[Any], box: Box | Tilted, size: int) -> Float32:
    """The box of ``volume: (X, Y, Z)`` as (size, size, size) float32; 0 beyond the volume.

    Linear, and averaging where the cube is coarser. Of a mask it gives the share of each voxel that is inside."""
    if isinstance(box, Tilted):
        return _into_tilted(volume.astype(np.float32, copy=False), box, size)
    cube = volume.astype(np.float32, copy=False)
    for axis in range(3):
        weights = _into(volume.shape[axis], box.start[axis], box.stop[axis], size)
        cube = _along(cube, weights, axis)
    return cube


def from_cube(cube: npt.NDArray[Any], box: Box | Tilted, shape: tuple[int, int, int]) -> Float32:
    """A map on the box, of any fineness (gx, gy, gz), for every voxel of a volume of ``shape``.

    Linear between the centres of cells; beyond the outermost centres their value."""
    values = cube.astype(np.float32, copy=False)
    if isinstance(box, Tilted):
        x, y, z = cube.shape
        turn, offset = box.voxels((x, y, z))
        back = np.asarray(np.linalg.inv(turn), np.float64)
        return _resampled(values, back, -back @ offset, shape, "nearest")
    for axis in range(3):
        weights = _out_of(values.shape[axis], box.start[axis], box.stop[axis], shape[axis])
        values = _along(values, weights, axis)
    return values


def _along(values: Float32, weights: Float32, axis: int) -> Float32:
    """``weights: (out, in)`` applied to one axis."""
    return np.ascontiguousarray(np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis))


def _into_tilted(volume: Float32, box: Tilted, size: int) -> Float32:
    turn, offset = box.voxels((size, size, size))
    for axis, step in enumerate(np.linalg.norm(turn, axis=1)):
        # interpolation is a triangle one voxel wide; what a triangle as wide as a step lacks to it comes before
        wide = np.sqrt(max(step**2 - 1, 0))
        if wide > 1:
            volume = _averaged(volume, wide, axis)
    return _resampled(volume, turn, offset, (size, size, size), "grid-constant")


def _averaged(volume: Float32, wide: float, axis: int) -> Float32:
    """By a triangle that falls to 0 within ``wide`` voxels; 0 beyond the volume."""
    from scipy import ndimage

    reach = int(wide)
    weights = 1 - np.abs(np.arange(-reach, reach + 1)) / wide
    return np.asarray(ndimage.convolve1d(volume, weights / weights.sum(), axis=axis, mode="constant"), np.float32)


def _resampled(values: Float32, turn: Float64, offset: Float64, shape: tuple[int, int, int], beyond: str) -> Float32:
    """``values`` at ``turn @ index + offset`` for every index of ``shape``. ``beyond``: see scipy."""
    from scipy import ndimage  # takes as long to load as all of this module's numpy

    found = ndimage.affine_transform(values, turn, offset, shape, np.float32, order=1, mode=beyond, prefilter=False)
    return np.asarray(found)


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
