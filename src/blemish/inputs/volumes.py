"""Volumes become arrays in one orientation, or a reason why not; what the batch has in common is checked elsewhere.

The door of the volume files beside this one: ``volume_layouts`` lists, ``volume_nifti`` and ``volume_dicom`` decode,
``volume_geometry`` turns, ``volume_masks`` finds the brain, ``volume_grid`` brings it to the working cube and back,
``volume_checks`` compares the batch. Nothing here knows tokens or scores.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.errors import UnreadablePhoto
from blemish.inputs.confinement import require_inside
from blemish.inputs.volume_dicom import read_series, series_shape
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volume_masks import BrainMask, brain_mask
from blemish.inputs.volume_nifti import nifti_shape, read_nifti

__all__ = [
    "Volume",
    "clipped",
    "digest",
    "read_again",
    "read_brain",
    "read_mask_on",
    "read_volume",
    "same_grid",
    "voxels_of",
]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

CT_AIR = -500.0  # Hounsfield units; no MR scanner writes values so far below 0
SAME_PLACE = 0.01  # of a voxel by which the corners of two equal grids may differ


@dataclass(frozen=True, eq=False)
class Volume:
    """``values``: (X, Y, Z) float32 in RAS order, as stored otherwise. ``geometry``: of the file. ``sha256``: of the
    file, or of a series' files together. ``modality``: as the listing has it; ``CT`` where the values say so."""

    values: Float32
    geometry: Geometry
    sha256: str
    modality: str


def read_volume(file: VolumeFile) -> Volume:
    """Read one volume and turn it to RAS order.

    Raises ``UnreadablePhoto`` with the reason: damaged, neither NIfTI nor DICOM, not three-dimensional, not a number
    somewhere, constant, no or a singular affine; ``InputError`` if the extra is missing.
    """
    for one in file.files:
        require_inside(one)
    if file.is_series:
        stored, geometry, sha256 = read_series(file.files)
    else:
        stored, geometry, sha256 = read_nifti(file.files[0])
    wrong = stored.size - int(np.isfinite(stored).sum())
    if wrong:
        raise UnreadablePhoto(
            f"{_share(wrong / stored.size)} of its voxels are no numbers (NaN or infinite); set them to 0"
        )
    low, high = float(stored.min()), float(stored.max())
    if low == high:
        raise UnreadablePhoto(f"all of its voxels hold {low:g}")
    values = np.ascontiguousarray(geometry.to_ras(stored))
    modality = "CT" if _is_ct(values) else file.modality
    return Volume(values, geometry, sha256, modality)


def read_again(file: VolumeFile, sha256: str) -> Volume:
    """A volume whose brain and place are known from bytes with this digest. Raises ``UnreadablePhoto`` as
    ``read_volume``, and if they are others by now."""
    volume = read_volume(file)
    if volume.sha256 != sha256:
        raise UnreadablePhoto("it was changed while it was scanned")
    return volume


def voxels_of(file: VolumeFile) -> int:
    """How many voxels a volume has by its header; 0 if it cannot be read, of which ``read_volume`` says why."""
    try:
        shape = series_shape(file.files) if file.is_series else nifti_shape(file.files[0])
    except UnreadablePhoto:
        return 0
    return int(np.prod(shape))


def digest(file: VolumeFile) -> str:
    """``Volume.sha256`` without decoding it. Raises ``UnreadablePhoto`` if it is not there any more."""
    for one in file.files:
        require_inside(one)
    try:
        each = [hashlib.sha256(one.read_bytes()).hexdigest() for one in file.files]
    except OSError as error:
        raise UnreadablePhoto(f"it cannot be read any more ({error.strerror})") from error
    return hashlib.sha256("".join(sorted(each)).encode()).hexdigest() if file.is_series else each[0]


def read_brain(file: VolumeFile, volume: Volume, *, cut: float = 0.05, floor: float = 0.5) -> BrainMask:
    """The brain of a volume, (X, Y, Z) in RAS order: its given mask (above 0), or one made from the voxels.

    ``cut``, ``floor``: see ``volume_masks.robust_mask``. Raises ``UnreadablePhoto`` if the given mask cannot be read,
    is empty, or lies on another grid."""
    if file.brain is None:
        return brain_mask(volume.values, cut=cut, floor=floor)
    try:
        inside = read_mask_on(file.brain, volume.geometry)
    except UnreadablePhoto as reason:
        raise UnreadablePhoto(f"its mask: {reason}") from reason
    if not inside.any():
        raise UnreadablePhoto("its mask is empty")
    return BrainMask(inside, "given")


def read_mask_on(file: Path, volume: Geometry) -> Bools:
    """A NIfTI mask (above 0) of a volume with this geometry, (X, Y, Z) in RAS order. Raises ``UnreadablePhoto`` if it
    cannot be read or lies on another grid."""
    require_inside(file)
    stored, geometry, _ = read_nifti(file)
    if not same_grid(geometry, volume):
        raise UnreadablePhoto(
            f"of another grid ({_said(geometry)}; the volume is {_said(volume)}); resample the mask to the volume"
        )
    return np.ascontiguousarray(geometry.to_ras(stored) > 0)


def same_grid(one: Geometry, other: Geometry) -> bool:
    """Whether voxels of equal place coincide in space once both are in RAS order, whichever way they are stored: equal
    shape, and corners less than 0.01 voxels apart."""
    if one.ras_shape != other.ras_shape:
        return False
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*one.ras_shape, 1]
    apart = np.abs(corners @ (one.ras_affine - other.ras_affine).T).max()
    return bool(apart <= SAME_PLACE * min(one.spacing))


def clipped(
    values: Float32, brain: Bools, low: float = 0.5, high: float = 99.5, *, keep_outside: bool = False
) -> Float32:
    """The batch's one intensity rule: percentiles ``low`` and ``high`` inside the brain become 0 and 1.

    (X, Y, Z) -> (X, Y, Z) float32 in 0..1; 0 outside the brain, unless ``keep_outside``. MR has no unit, so the rule is
    the same for all volumes and its limits are each volume's own (the usual 0.5 and 99.5: the handbook's 5.2).
    Raises ``UnreadablePhoto`` if the brain is of one grey level."""
    bottom, top = np.percentile(values[brain], (low, high))
    if top <= bottom:
        raise UnreadablePhoto("its brain is of one grey level")
    scaled = np.clip((values - np.float32(bottom)) / np.float32(top - bottom), 0, 1)
    if not keep_outside:
        scaled[~brain] = 0
    return np.asarray(scaled, dtype=np.float32)


def _is_ct(values: Float32) -> bool:
    """Air at about -1000 around the head; a tenth of the voxels is asked for, as a stray value proves nothing."""
    return bool((values < CT_AIR).mean() > 0.1)


def _share(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "less than 1 %"


def _said(geometry: Geometry) -> str:
    size = " x ".join(map(str, geometry.shape))
    return f"{size} {geometry.axes}, {' x '.join(f'{side:.2f}' for side in geometry.spacing)} mm"
