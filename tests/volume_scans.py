"""Folders of tiny brains to scan: alike but for their noise, some with a lesion."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

import volume_files as made
from blemish.config import ScanConfig, VolumeConfig

SHAPE = (40, 48, 32)
LESION = (slice(24, 31), slice(18, 25), slice(12, 19))
CONFIG = ScanConfig(backbone="mock", cache=False, volumes=VolumeConfig(grid=8, cube=64, slices=4))

DARK = (slice(14, 22), slice(28, 36), slice(10, 16))  # as dark and bright as a brain gets: a lesion moves no percentile
BRIGHT = (slice(10, 18), slice(14, 22), slice(18, 23))


def brain(number: int, lesion: bool = False) -> npt.NDArray[np.float32]:
    """The same brain with noise of its own, in RAS order, and perhaps a lesion of a grey level between."""
    rng = np.random.default_rng(number)
    values = made.brain(SHAPE, 0)
    inside = values > 0
    for place, level in ((DARK, 40), (BRIGHT, 170), *(((LESION, 140),) if lesion else ())):
        values[place] = level
    return np.where(inside, np.maximum(values + rng.normal(0, 2, SHAPE), 1), 0).astype(np.float32)


def stored(ras: npt.NDArray[np.float32], axes: str) -> npt.NDArray[np.float32]:
    """In RAS order -> as a file with these axes has it."""
    matrix = nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    turn = nib.orientations.ornt_transform(*matrix)
    return np.asarray(nib.orientations.apply_orientation(ras, turn), np.float32)


def write(folder: Path, count: int = 6, lesions: tuple[int, ...] = (4,)) -> Path:
    for number in range(count):
        made.write_nifti(folder / f"b{number:02}.nii.gz", brain(number, number in lesions))
    return folder
