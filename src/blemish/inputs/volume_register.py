"""One brain brought to the place of another by an affine transform, found by SimpleITK from small cubes of both.

Cubes of the brains' boxes go in, so both fill them and what a header says of spacing does not matter; out comes how the
box has to be moved, or why that is not to be believed. Nothing here knows files or batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.inputs.volume_grid import Box, Tilted

__all__ = ["SIDE", "Registered", "register", "require_library", "tilted", "typical"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SIDE = 48  # voxels of a cube: 96 took three times as long and agreed no better
LEVELS = ((4, 2.0), (2, 1.0), (1, 0.5))  # coarse to fine: voxels of the cube to one, and by how many it is smoothed
BINS = 32  # of the joint histogram
STEPS = 60  # a level, at most; it ends after about 30
AROUND = 2  # voxels around the brain that are compared too: its outline is there
SCALES = (0.7, 1.4)  # of a brain's box, beyond which no registration of brains of one batch is believed
LEAST_OVERLAP = 0.8  # Dice of the two brains; boxes alone give .94
LOSS = 0.01  # of that Dice or of the correlation, by which a registration may be worse than the boxes alone


@dataclass(frozen=True, eq=False)
class Registered:
    """``matrix``: (4, 4) place in the reference's cube -> place in the other's, each axis from 0 to 1. ``overlap``:
    Dice of the brains, ``likeness``: correlation of their values, both after it. ``doubt``: why it should not be used;
    "" if it should."""

    matrix: Float64
    overlap: float
    likeness: float
    doubt: str


def require_library() -> None:
    """Raises ``InputError`` if SimpleITK is missing."""
    _itk()


def typical(cubes: Sequence[npt.NDArray[Any]]) -> int:
    """Which cube correlates best with the sum of all others: the one for which others have to change least."""
    total = np.zeros(cubes[0].shape)
    for cube in cubes:
        total += cube
    return int(np.argmax([_likeness(cube, total - cube) for cube in cubes]))


def register(reference: Float32, moving: Float32) -> Registered:
    """Bring ``moving`` to ``reference``: (SIDE, SIDE, SIDE) in 0..1 and 0 outside of the brain, both.

    Mutual information of the voxels in and just around the reference's brain, all of them and in one thread: two calls
    give the same bits. Begins with the cubes as they are."""
    itk = _itk()
    fixed, other = _image(reference), _image(moving)
    transform = itk.AffineTransform(3)
    transform.SetCenter([SIDE / 2] * 3)
    method = itk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricFixedMask(itk.Cast(_image(_grown(reference > 0)), itk.sitkUInt8))
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=0.01, numberOfIterations=STEPS, relaxationFactor=0.7, gradientMagnitudeTolerance=1e-8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SetInitialTransform(transform, True)
    try:
        method.Execute(fixed, other)
    except RuntimeError:  # ITK's own words name lines of its source
        return Registered(np.eye(4), 0.0, 0.0, "the brains could not be brought to overlap")
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = np.array(transform.TransformPoint([0.0, 0.0, 0.0])) / SIDE
    found = itk.Resample(other, fixed, transform, itk.sitkLinear, 0.0)
    moved = np.ascontiguousarray(itk.GetArrayFromImage(found).T)
    return _judged(matrix, reference, moving, moved)


def tilted(box: Box, matrix: Float64) -> Tilted:
    """A volume's own ``box``, moved by the ``matrix`` of a ``Registered``."""
    to_voxels = np.diag([*box.extent, 1.0])
    to_voxels[:3, 3] = box.start
    whole = to_voxels @ matrix @ np.linalg.inv(to_voxels)
    first, second, third = ((float(x), float(y), float(z), float(by)) for x, y, z, by in whole[:3])
    return Tilted(box, (first, second, third))


def _judged(matrix: Float64, reference: Float32, moving: Float32, moved: Float32) -> Registered:
    """With the reason why it is not to be believed, if there is one."""
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    overlap, likeness = _overlap(reference, moved), _likeness(reference, moved)
    before = _overlap(reference, moving), _likeness(reference, moving)
    doubt = ""
    if not (SCALES[0] <= scales.min() and scales.max() <= SCALES[1]) or np.linalg.det(matrix[:3, :3]) < 0:
        doubt = f"it would be scaled by {scales.min():.2f} to {scales.max():.2f}"
    elif overlap < LEAST_OVERLAP:
        doubt = f"the brains would overlap by {overlap:.2f} only"
    elif overlap < before[0] - LOSS or likeness < before[1] - LOSS:
        doubt = "it would resemble the others less than by its box alone"
    return Registered(matrix, overlap, likeness, doubt)


def _overlap(one: Float32, other: Float32) -> float:
    """Dice of what is brain in both; interpolation leaves next to nothing around it."""
    least = np.float32(0.05)
    return float(2 * ((one > least) & (other > least)).sum() / max(1, (one > least).sum() + (other > least).sum()))


def _likeness(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    first, second = one - one.mean(dtype=np.float64), other - other.mean(dtype=np.float64)
    return float((first * second).sum() / max(1e-12, np.sqrt((first**2).sum() * (second**2).sum())))


def _grown(brain: Bools) -> Float32:
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(brain, iterations=AROUND), dtype=np.float32)


def _image(cube: Float32) -> Any:
    """ITK's first axis is the last of an array; its origin is the middle of the first voxel."""
    image = _itk().GetImageFromArray(np.ascontiguousarray(cube.T))
    image.SetOrigin([0.5] * 3)
    return image


def _itk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise InputError("--align affine needs SimpleITK. Type: pip install 'blemish[register]'") from error
    return SimpleITK
