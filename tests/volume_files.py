"""Small volumes on disk for tests: NIfTI files with any geometry, and DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

OBLIQUE = np.array(  # 20 degrees about z, then 10 about x; 1 x 1.5 x 3 mm
    [[0.940, -0.505, 0.178, -30.5], [0.342, 1.388, -0.490, 12.25], [0.0, 0.260, 2.954, -7.75], [0, 0, 0, 1]]
)


def affine(axes: str = "RAS", spacing: tuple[float, float, float] = (1, 1, 1)) -> npt.NDArray[np.float64]:
    """(4, 4) of a grid whose stored axes point as ``axes`` says."""
    matrix = np.zeros((4, 4))
    matrix[:, 3] = (-10.5, 4.25, 7.0, 1)
    for axis, letter in enumerate(axes):
        to = next(to for to, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        matrix[to, axis] = spacing[axis] * (1 if letter in "RAS" else -1)
    return matrix


def brain(shape: tuple[int, int, int] = (20, 24, 16), seed: int = 0) -> npt.NDArray[np.float32]:
    """An ellipsoid of textured tissue in exact zeros, as a stripped brain is."""
    inside = ellipsoid(shape, 0.42)
    texture = np.random.default_rng(seed).normal(100, 10, shape)
    return np.where(inside, texture, 0).astype(np.float32)


def head(shape: tuple[int, int, int] = (64, 64, 24), air: float = 2.0, seed: int = 0) -> npt.NDArray[np.float32]:
    """Noisy air, bright skin, dark skull, brain: not stripped."""
    rng = np.random.default_rng(seed)
    values = np.rint(rng.gamma(1.5, air / 1.5, shape))
    for radius, level in ((0.48, 180.0), (0.43, 12.0), (0.36, 100.0)):
        values = np.where(ellipsoid(shape, radius), rng.normal(level, 0.08 * level, shape), values)
    return values.astype(np.float32)


def ellipsoid(shape: tuple[int, int, int], radius: float) -> npt.NDArray[np.bool_]:
    """``radius``: half axes as a share of the sides."""
    axes = [(np.arange(side) + 0.5) / side - 0.5 for side in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.asarray(x**2 + y**2 + z**2 < radius**2)


def write_nifti(file: Path, values: npt.NDArray[Any], matrix: npt.NDArray[np.float64] | None = None) -> Path:
    import nibabel as nib

    file.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine() if matrix is None else matrix)
    image.header["descrip"] = b"DOE^JANE 19700101"  # what must never be repeated
    nib.save(image, file)
    return file


def write_series(folder: Path, values: npt.NDArray[np.uint16], **changes: Any) -> list[Path]:
    """``values: (columns, rows, slices)``. ``changes``: tags of all slices; a callable gets the slice's number, and
    None leaves the tag out."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    uid, files = generate_uid(entropy_srcs=[folder.name]), []
    for number in range(values.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[folder.name, str(number)])
        slice_ = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        tags = {
            "PatientName": "Doe^Jane",
            "PatientBirthDate": "19700101",
            "Modality": "MR",
            "SeriesInstanceUID": uid,
            "SeriesNumber": 3,
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-5.0, -8.0, 10.0 + 2.5 * number],
            "PixelSpacing": [1.5, 0.75],  # between rows, between columns
            "Rows": values.shape[1],
            "Columns": values.shape[0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "PixelData": np.ascontiguousarray(values[:, :, number].T).tobytes(),
        } | {name: value(number) if callable(value) else value for name, value in changes.items()}
        for name, value in tags.items():
            if value is not None:
                setattr(slice_, name, value)
        # names in an order of their own: the slices' places count
        file = folder / f"IM{(7 * number) % 100:04d}"
        slice_.save_as(file, enforce_file_format=True)
        files.append(file)
    return files
