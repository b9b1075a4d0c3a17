"""DICOM: the series of a folder, and a series as one volume. Needs pydicom (extra ``volumes``).

Only the tags named here are ever read, so that nothing about the patient enters memory. Errors are worded here and
never repeat pydicom's words, which can quote a tag's value.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs.volume_geometry import Geometry, checked_affine
from blemish.inputs.volume_nifti import check_shape

__all__ = ["Series", "find_series", "is_dicom", "read_series", "series_shape"]

_NAMING = ("SeriesInstanceUID", "SeriesNumber", "Modality", "Rows", "NumberOfFrames")
_PLACING = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
_PIXELS = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "NumberOfFrames", "PlanarConfiguration", "PixelData"),
)
MARK = b"DICM"  # behind the preamble, which is 128 bytes of anything
UNEVEN = 0.05  # of the usual distance between slices, by which one may differ
APART = 1e-3  # by which the directions of two slices may differ


@dataclass(frozen=True)
class Series:
    """``files``: the slices, in no order yet. ``number``: the series number, 0 if it has none. ``modality``: MR,
    CT, ..."""

    files: tuple[Path, ...]
    number: int
    modality: str


def is_dicom(file: Path) -> bool:
    """Whether the file has DICOM's mark after its preamble; names say little, as many have no suffix."""
    try:
        with file.open("rb") as stream:
            stream.seek(128)
            return stream.read(4) == MARK
    except OSError:
        return False


def find_series(files: Sequence[Path]) -> list[Series]:
    """The series among the DICOM files of one folder, by number; files without images are left out."""
    by_uid: dict[str, list[tuple[Path, int, str]]] = {}
    for file in files:
        try:
            tags = _tags(file, _NAMING)
            if "Rows" not in tags:
                continue
            uid, number, modality = (tags.get(name, "") for name in _NAMING[:3])
            by_uid.setdefault(str(uid), []).append((file, int(number or 0), str(modality or "")))
        except InputError:
            raise
        except Exception:  # it is reported when its series is read: the folder's other files name it
            by_uid.setdefault("", []).append((file, 0, ""))
    found = [Series(tuple(file for file, _, _ in slices), slices[0][1], slices[0][2]) for slices in by_uid.values()]
    return sorted(found, key=lambda series: (series.number, series.files[0].name))


def read_series(files: Sequence[Path]) -> tuple[npt.NDArray[np.float32], Geometry, str]:
    """The slices as one volume (columns, rows, slices) float32, its geometry, and the sha256 of all files together.

    Slices are ordered along their normal. Raises ``UnreadablePhoto`` with the reason: a missing slice, two at one
    place (a series in time), differing directions, a compression that cannot be decoded, several frames in a file.
    """
    slices = [_slice(file) for file in files]
    across = slices[0].across
    if any(one.values.shape != slices[0].values.shape for one in slices):
        raise UnreadablePhoto("its slices differ in size")
    if any(np.abs(one.across - across).max() > APART for one in slices):
        raise UnreadablePhoto("its slices point in different directions, as those of a localizer do")
    normal = np.cross(across[:, 0], across[:, 1])
    places = np.array([one.position @ normal for one in slices])
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    check_shape((slices[0].values.shape[1], slices[0].values.shape[0], len(slices)))
    usual = float(np.median(steps))
    if usual <= 0 or steps.min() < 0.5 * usual:
        raise UnreadablePhoto("several of its slices lie at one place: a series in time, or two series in one")
    if np.abs(steps - usual).max() > UNEVEN * usual:
        raise UnreadablePhoto("its slices are not evenly spaced: one is missing, or the series is tilted")
    ordered = [slices[at] for at in order]
    first, last = ordered[0], ordered[-1]
    affine = np.eye(4)
    affine[:3, 0] = across[:, 0] * first.spacing[1]
    affine[:3, 1] = across[:, 1] * first.spacing[0]
    affine[:3, 2] = (last.position - first.position) / (len(ordered) - 1)
    affine[:3, 3] = first.position
    affine[:2] *= -1  # DICOM's axes run to the left and to the back
    values = np.stack([one.values.T for one in ordered], axis=-1).astype(np.float32, copy=False)
    digest = hashlib.sha256("".join(sorted(one.sha256 for one in slices)).encode()).hexdigest()
    x, y, z = values.shape
    return values, Geometry((x, y, z), checked_affine(affine)), digest


def series_shape(files: Sequence[Path]) -> tuple[int, ...]:
    """(columns, rows, slices) by the tags of the first file. Raises ``UnreadablePhoto``."""
    try:
        tags = _tags(files[0], ("Rows", "Columns"))
        return int(tags.Columns), int(tags.Rows), len(files)
    except InputError:
        raise
    except Exception as error:  # pydicom raises anything on damaged files
        raise UnreadablePhoto(f"a slice is damaged ({type(error).__name__})") from error


@dataclass(frozen=True, eq=False)
class _Slice:
    values: npt.NDArray[np.float32]  # (rows, columns)
    position: npt.NDArray[np.float64]  # (3,) of the first pixel, mm
    across: npt.NDArray[np.float64]  # (3, 2) unit vectors along a row and down a column
    spacing: tuple[float, float]  # between rows, between columns, mm
    sha256: str


def _slice(file: Path) -> _Slice:
    try:
        data = file.read_bytes()
        if data[128:132] != MARK:
            raise UnreadablePhoto("neither a NIfTI file (.nii, .nii.gz) nor DICOM")
        with _quiet():
            tags = pydicom().dcmread(_stream(data), specific_tags=[*_PLACING, *_PIXELS])
            if int(tags.get("NumberOfFrames", None) or 1) > 1:
                raise UnreadablePhoto("several frames in one file (enhanced DICOM); convert it to NIfTI")
            if int(tags.get("SamplesPerPixel", None) or 1) != 1:
                raise UnreadablePhoto("colour pictures, not grey levels")
            missing = [name for name in _PLACING[:3] if name not in tags]
            if missing:
                raise UnreadablePhoto(f"its slices do not say where they lie ({', '.join(missing)} missing)")
            pixels = tags.pixel_array.astype(np.float32)
            values = pixels * float(tags.get("RescaleSlope", 1)) + float(tags.get("RescaleIntercept", 0))
            turn = np.array(tags.ImageOrientationPatient, dtype=np.float64).reshape(2, 3).T
            rows, columns = (float(side) for side in tags.PixelSpacing)
            position = np.array(tags.ImagePositionPatient, dtype=np.float64)
    except (UnreadablePhoto, InputError):
        raise
    except FileNotFoundError as error:
        raise UnreadablePhoto("there is no such file") from error
    except PermissionError as error:
        raise UnreadablePhoto("no permission to read a slice") from error
    except Exception as error:  # decoders that are not installed among them
        raise UnreadablePhoto(
            f"a slice is damaged or compressed in a way that cannot be decoded here ({type(error).__name__})"
        ) from error
    return _Slice(values, position, turn, (rows, columns), hashlib.sha256(data).hexdigest())


def _stream(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


def _tags(file: Path, names: tuple[str, ...]) -> Any:
    with _quiet():
        return pydicom().dcmread(os.fspath(file), stop_before_pixels=True, specific_tags=list(names))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without pydicom's warnings, which quote values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pydicom() -> Any:
    """The module. Raises ``InputError`` with what to type if it is not installed."""
    try:
        import pydicom as module
    except ImportError as error:
        raise InputError("DICOM series need pydicom. Type: pip install 'blemish[volumes]'") from error
    return module
