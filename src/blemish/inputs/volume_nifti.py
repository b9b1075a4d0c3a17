"""NIfTI files: voxels as stored and their geometry, or a reason why not; and images with the geometry of an input.

Needs nibabel (extra ``volumes``). Of the header only geometry is looked at; its free text never leaves this file.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs.volume_geometry import GEOMETRY_FIELDS, Geometry, checked_affine

__all__ = ["NIFTI_SUFFIXES", "check_shape", "nibabel", "nifti_image", "nifti_shape", "read_nifti"]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MAX_VOXELS = 2**28  # 1 GB as float32: a head at 0.4 mm; anything above is a mistake or an attack
LEAST_SLICES = 4  # along every axis: fewer are slices, not a volume


def read_nifti(file: Path) -> tuple[npt.NDArray[np.float32], Geometry, str]:
    """The voxels (X, Y, Z) float32 as stored, their geometry, and the file's sha256.

    Raises ``UnreadablePhoto`` with a short reason; ``InputError`` if nibabel is missing.
    """
    nib = nibabel()
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        with nib.imageglobals.LoggingOutputSuppressor():
            image = nib.load(file)
            geometry = _geometry(image)
            values = np.asarray(image.dataobj, dtype=np.float32).reshape(geometry.shape)
    except UnreadablePhoto:
        raise
    except (EOFError, zlib.error) as error:
        raise UnreadablePhoto("damaged: the compressed data end too early or are broken; copy it again") from error
    except MemoryError as error:
        raise UnreadablePhoto("too large for the memory that is free") from error
    except FileNotFoundError as error:
        raise UnreadablePhoto("there is no such file") from error
    except PermissionError as error:
        raise UnreadablePhoto("no permission to read it") from error
    except Exception as error:  # nibabel raises anything on damaged files; its words may repeat the header's
        raise UnreadablePhoto(f"damaged, or no NIfTI file ({type(error).__name__})") from error
    return values, geometry, digest


def nifti_shape(file: Path) -> tuple[int, ...]:
    """What the header says, no voxel being decoded. Raises ``UnreadablePhoto`` where ``read_nifti`` would not come to
    decoding either; ``InputError`` if nibabel is missing."""
    nib = nibabel()
    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            return _geometry(nib.load(file)).shape
    except UnreadablePhoto:
        raise
    except Exception as error:  # as there
        raise UnreadablePhoto(f"damaged, or no NIfTI file ({type(error).__name__})") from error


def nifti_image(stored: npt.NDArray[Any], geometry: Geometry) -> Any:
    """A nibabel image of ``stored: (X, Y, Z)``, with the geometry fields of the file it belongs to as they were.

    A volume from DICOM gets its affine as both sform and qform, "scanner" (code 1). Raises ``ValueError`` for another
    shape."""
    if stored.shape != geometry.shape:
        raise ValueError(f"an array of {stored.shape} does not lie on the grid of {geometry.shape}")
    nib = nibabel()
    kind = nib.Nifti2Image if geometry.nifti2 else nib.Nifti1Image
    if not geometry.fields:
        image = kind(stored, geometry.affine)
        image.set_sform(geometry.affine, 1)
        image.set_qform(geometry.affine, 1)
        image.header.set_xyzt_units("mm")
        return image
    header = kind.header_class()
    header.set_data_shape(stored.shape)
    header.set_data_dtype(stored.dtype)
    for name, value in geometry.fields.items():
        header[name] = value
    # nibabel adjusts a header to an affine unless they agree; the fields are set again, so that not a bit moves
    image = kind(stored, header.get_best_affine(), header)
    for name, value in geometry.fields.items():
        image.header[name] = value
    return image


def nibabel() -> Any:
    """The module. Raises ``InputError`` with what to type if it is not installed."""
    try:
        import nibabel as nib
    except ImportError as error:
        raise InputError("Volumes need nibabel and pydicom. Type: pip install 'blemish[volumes]'") from error
    return nib


def _geometry(image: Any) -> Geometry:
    """Checked before voxels are decoded: a wrong header is no reason to fill the memory."""
    header = image.header
    shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    check_shape(shape)
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind not in "iuf":
        raise UnreadablePhoto("its voxels are colours or complex numbers; one grey level each is needed")
    fields = {name: np.array(header[name]) for name in GEOMETRY_FIELDS if name in header}
    if "sform_code" not in fields:
        raise UnreadablePhoto("an Analyze file, which has no orientation; save it as NIfTI")
    if not int(fields["sform_code"]) and not int(fields["qform_code"]):
        raise UnreadablePhoto("its header has no orientation (sform and qform codes are 0); set one")
    x, y, z = shape
    return Geometry((x, y, z), checked_affine(image.affine), fields, nifti2=int(header["sizeof_hdr"]) == 540)


def check_shape(shape: tuple[int, ...]) -> None:
    """Raises ``UnreadablePhoto`` unless it is three-dimensional, of several slices, and not absurdly large."""
    said = " x ".join(map(str, shape))
    if len(shape) > 3:
        raise UnreadablePhoto(f"{len(shape)}-D ({said}), a series in time or of directions; give one volume of it")
    if len(shape) < 3 or min(shape) < LEAST_SLICES:
        raise UnreadablePhoto(f"{said} voxels: single slices, not a volume ({LEAST_SLICES} along every axis needed)")
    if int(np.prod(shape)) > MAX_VOXELS:
        raise UnreadablePhoto(f"{said} voxels are too many; resample it")
