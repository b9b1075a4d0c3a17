"""Healthy brains with made-up lesions, written as the folders that a user would scan, and their truth.

A lesion is placed in each brain of one half, then in each of the other half, and again with other lesions: which brains
carry them matters more than the method. Nothing here scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.inputs.synthetic.lesions import Lesion, draw_lesion, moved, paint
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, brain_box
from blemish.inputs.volume_layouts import find_volumes
from blemish.inputs.volume_nifti import nibabel, nifti_image
from blemish.inputs.volumes import read_brain, read_volume

__all__ = ["Brain", "Case", "a_third", "halves", "healthy", "write"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Brain:
    """A volume in RAS order, its brain, and the box around that."""

    name: str
    values: Float32
    inside: Bools
    box: Box
    geometry: Geometry

    @property
    def file(self) -> str:
        """What ``write`` calls it."""
        return self.name.removesuffix(".gz")


@dataclass(frozen=True)
class Case:
    """``batch``: all brains, some with a lesion. ``masks``: (X, Y, Z) each, in RAS order; empty of healthy ones."""

    batch: list[Brain]
    masks: list[Bools]


def healthy(folder: Path) -> list[Brain]:
    brains = []
    for file in find_volumes(folder).volumes:
        volume = read_volume(file)
        inside = read_brain(file, volume).inside
        brains.append(Brain(file.path, volume.values, inside, brain_box(inside), volume.geometry))
    return brains


def halves(brains: Sequence[Brain], across: float, seeds: Sequence[int]) -> Iterator[Case]:
    """For every seed and half: the batch with one lesion in each brain of the half."""
    for seed in seeds:
        order = np.random.default_rng((seed, 77)).permutation(len(brains))
        for half in (0, 1):
            case = _clean(brains)
            for at in order[half::2]:
                own = brains[at]
                rng = np.random.default_rng((seed, int(at), int(across)))
                _paint(case, at, own, draw_lesion(own.values, own.inside, across, rng))
            yield case


def a_third(brains: Sequence[Brain], across: float, seed: int) -> Case:
    """A third of the brains with the same lesion at corresponding places, a voxel to and fro."""
    rng = np.random.default_rng((seed, 99, int(across)))
    order = rng.permutation(len(brains))[: len(brains) // 3]
    first = brains[order[0]]
    common = draw_lesion(first.values, first.inside, across, rng)
    case = _clean(brains)
    for at in order:
        own = brains[at]
        _paint(case, at, own, moved(common, first.box, own.box, rng.uniform(-1, 1, 3)))
    return case


def _clean(brains: Sequence[Brain]) -> Case:
    return Case(list(brains), [np.zeros(brain.values.shape, np.bool_) for brain in brains])


def _paint(case: Case, at: int, own: Brain, lesion: Lesion) -> None:
    values, case.masks[at] = paint(own.values, own.inside, lesion)
    case.batch[at] = Brain(own.name, values, own.inside, own.box, own.geometry)


def write(case: Case, folder: Path) -> None:
    """The batch as a folder to scan; uncompressed, as it is read twice."""
    folder.mkdir()
    for brain in case.batch:
        stored = np.ascontiguousarray(brain.geometry.to_stored(brain.values))
        nibabel().save(nifti_image(stored, brain.geometry), folder / brain.file)
