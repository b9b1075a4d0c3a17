"""Where a volume lies in space: how it is turned into one orientation, and what its file says of geometry.

Volumes are worked on in RAS order (first axis to the patient's right, then anterior, then superior) by exchanging and
flipping axes only, so that the way back is exact; an oblique scan stays oblique. Nothing here keeps text of a header:
names and remarks may identify a patient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import UnreadablePhoto

__all__ = ["GEOMETRY_FIELDS", "Affine", "Geometry", "axes_of", "checked_affine"]

Affine = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

GEOMETRY_FIELDS = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)
LEAST_COSINE = 1e-3  # of the angle between an axis and the plane of the two others; below, the affine is singular


@dataclass(frozen=True, eq=False)
class Geometry:
    """``shape``: (X, Y, Z) as stored. ``affine``: (4, 4), stored voxels to millimetres in RAS. ``fields``: the NIfTI
    header's own geometry fields, byte for byte; empty for DICOM. ``nifti2``: which of the two headers they are of."""

    shape: tuple[int, int, int]
    affine: Affine
    fields: dict[str, Array] = field(default_factory=dict)
    nifti2: bool = False

    @property
    def axes(self) -> str:
        """Which way the stored axes point: RAS, LPS, ... The nearest, where the scan is oblique."""
        return axes_of(self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along the axes of the RAS order."""
        stored = np.linalg.norm(self.affine[:3, :3], axis=0)
        right, anterior, superior = (float(stored[axis]) for axis, _ in self._turn())
        return right, anterior, superior

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """(X, Y, Z) in RAS order."""
        x, y, z = (self.shape[axis] for axis, _ in self._turn())
        return x, y, z

    @property
    def ras_affine(self) -> Affine:
        """(4, 4): voxels in RAS order to millimetres."""
        turned = np.zeros((4, 4))
        turned[:, 3] = self.affine[:, 3]
        for to, (axis, backwards) in enumerate(self._turn()):
            turned[:, to] = -self.affine[:, axis] if backwards else self.affine[:, axis]
            if backwards:
                turned[:, 3] += (self.shape[axis] - 1) * self.affine[:, axis]
        return turned

    def to_ras(self, stored: Array) -> Array:
        """(X, Y, Z) as stored -> a view in RAS order."""
        turn = self._turn()
        turned = stored.transpose([axis for axis, _ in turn])
        return turned[tuple(slice(None, None, -1 if backwards else 1) for _, backwards in turn)]

    def to_stored(self, ras: Array) -> Array:
        """The way back: a view in the file's own order."""
        turn = self._turn()
        straight = ras[tuple(slice(None, None, -1 if backwards else 1) for _, backwards in turn)]
        return straight.transpose(np.argsort([axis for axis, _ in turn]))

    def _turn(self) -> list[tuple[int, bool]]:
        """For every axis of the RAS order: which stored axis it is, and whether that runs backwards."""
        return _turn_of(self.affine)


def axes_of(affine: Affine) -> str:
    """The letters of a (4, 4) affine: the direction in which every stored axis grows, such as RAS or LPS."""
    letters = [""] * 3
    for to, (axis, backwards) in enumerate(_turn_of(affine)):
        letters[axis] = ("LPI" if backwards else "RAS")[to]
    return "".join(letters)


def checked_affine(affine: npt.ArrayLike) -> Affine:
    """(4, 4) float64. Raises ``UnreadablePhoto`` with the reason if it does not span three dimensions."""
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise UnreadablePhoto("its affine holds values that are no numbers; correct the header")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (lengths > 0).all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < LEAST_COSINE:
        raise UnreadablePhoto("its affine is singular (an axis has no length, or two coincide); correct the header")
    return matrix


def _turn_of(affine: Affine) -> list[tuple[int, bool]]:
    """The assignment of stored axes to RAS directions with the largest sum of cosines: best as a whole, so that an
    oblique scan near 45 degrees never uses one axis twice."""
    from itertools import permutations

    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    size = np.abs(directions)
    best = max(permutations(range(3)), key=lambda order: round(sum(size[to, order[to]] for to in range(3)), 9))
    return [(axis, bool(directions[to, axis] < 0)) for to, axis in enumerate(best)]
