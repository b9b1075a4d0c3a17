"""Tumours in FLAIR volumes of thick slices, against grey levels alone: the baseline that needs no network.

Every patient has a tumour, so there is no patient AUROC: voxels and slices are judged, inside the robust brain masks.
Maps are those of ``blemish.scan``; with ``--grey bright`` grey levels above the usual at their place count beside
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.config import ScanConfig, VolumeConfig
from blemish.inputs.volume_layouts import find_volumes
from blemish.inputs.volume_nifti import read_nifti
from blemish.inputs.volumes import read_brain, read_volume
from blemish.metrics.ranking import auroc, auroc_of, average_precision_of
from blemish.metrics.volumes import best_dice, voxel_counts
from blemish.scanning import scan

__all__ = ["flair"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# only slices across the third axis were ever looked at by a radiologist, the others are interpolated
THICK = VolumeConfig(axes=(2,))
SETTINGS = {
    "16^3, anywhere (published)": replace(THICK, grid=16, radius=-1, places=False),
    "16^3, anywhere (published), three axes": VolumeConfig(grid=16, radius=-1, places=False),
    "32^3, within 2 cells": replace(THICK, places=False),
    "32^3, within 2 cells, weighed by place": THICK,
    "32^3, the defaults (three axes)": VolumeConfig(),
    "32^3, the defaults, --grey bright": VolumeConfig(grey="bright"),
    "32^3, slices as taken, --grey bright": replace(THICK, grey="bright"),
    "16^3, published otherwise, --grey bright": replace(THICK, grid=16, radius=-1, places=False, grey="bright"),
}


def flair(folder: Path) -> None:
    paths, values, brains, tumours = [], [], [], []
    for file in find_volumes(folder).volumes:
        volume = read_volume(file)
        paths.append(file.path)
        values.append(volume.values)
        brains.append(read_brain(file, volume).inside)
        tumours.append(volume.geometry.to_ras(read_nifti(file.files[0].with_name("mask.nii.gz"))[0]) > 0)
    print(f"\n## Tumours in FLAIR of {len(paths)} patients, inside the brain\n")
    print("| map | voxel AUROC | voxel AP | best Dice | slice AUROC within patients |\n|---|---|---|---|---|")
    _row("intensity, standardised, mean of 5 x 5 px", smoothed(values, brains, box=True), tumours, brains)
    _row("intensity, standardised, Gaussian of 5 px", smoothed(values, brains, box=False), tumours, brains)
    for name, volumes in SETTINGS.items():
        result = scan(folder, ScanConfig(volumes=volumes))
        assert result.volumes is not None
        maps = dict(zip(result.scores, result.grids, strict=True))
        tokens = [result.volumes.by_path[path].scores(maps[path]) for path in paths]
        _row(f"tokens {name}", tokens, tumours, brains)


def smoothed(values: Sequence[Float32], brains: Sequence[Bools], *, box: bool) -> list[Float32]:
    """Grey levels, standardised inside the brain and smoothed within slices."""
    from scipy import ndimage

    maps = []
    for grey, brain in zip(values, brains, strict=True):
        tissue = grey[brain]
        standard = np.where(brain, (grey - tissue.mean()) / tissue.std(), 0)
        smooth = ndimage.uniform_filter(standard, (5, 5, 1)) if box else ndimage.gaussian_filter(standard, (5, 5, 0))
        maps.append(np.asarray(smooth, dtype=np.float32))
    return maps


def _row(name: str, maps: Sequence[Float32], truth: Sequence[Bools], brains: Sequence[Bools]) -> None:
    counts = voxel_counts(maps, truth, brains)
    slices = np.mean([_slices(*one) for one in zip(maps, truth, brains, strict=True)])
    print(
        f"| {name} | {auroc_of(counts):.3f} | {average_precision_of(counts):.3f} | {best_dice(counts)[0]:.3f} | "
        f"{slices:.3f} |",
        flush=True,
    )


def _slices(values: Float32, truth: Bools, brain: Bools) -> float:
    """AUROC of one patient's slices by their highest percent; slices of little brain are not judged."""
    area = brain.sum(axis=(0, 1))
    used = np.flatnonzero(area > 0.1 * area.max())
    tops = [float(np.sort(values[..., z][brain[..., z]])[-max(1, int(0.01 * area[z])) :].mean()) for z in used]
    return auroc(tops, [bool((truth[..., z] & brain[..., z]).any()) for z in used])
