"""The volumes of report.html as the plain values that ``report_volumes.html`` shows.

Every volume has a picture of three slices through its most unusual place, and a small copy of itself and of its map for
NiiVue, the viewer, which is written into the page too. So the page works from disk, fetches nothing, and shows slices
even where a browser has no WebGL. Copies are 8-bit NIfTI files that hold geometry and nothing of the patient.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_nifti import nifti_image
from blemish.result import ColourScale, Photo
from blemish.sinks.colours import stops_of_heat
from blemish.sinks.embedded import ahead
from blemish.sinks.report_scripts import script_of, source_of
from blemish.sinks.slices import three_planes

__all__ = ["Shown", "copy_of", "peak_of", "volumes_page"]

Float32 = npt.NDArray[np.float32]

BUDGET = 24_000_000  # bytes of all copies: with NiiVue's 2.3 MB and the pictures a page stays below 30
FINENESS = (1.0, 2.0, 3.0, 4.0, 6.0)  # mm of a copy's voxels, the first whose copies fit
MAP_FINENESS = 3.0  # mm; a map's own cells are coarser
LEAST_BYTES = 0.15  # a voxel, of any copy: the finer ones that cannot fit are not tried
PICTURES = 400  # volumes with a picture and a copy


@dataclass(frozen=True, eq=False)
class Shown:
    """One volume, in RAS order. ``values``: (X, Y, Z) in 0..1, as ``volumes.clipped`` gives them. ``scores``: the same
    shape, the map. ``affine``: (4, 4), voxels to millimetres."""

    values: Float32
    scores: Float32
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Card:
    """``picture``: three slices, beside each other. ``peak``: the most unusual place in mm (right, anterior, superior).
    ``volume``, ``map``: .nii.gz in base64."""

    photo: Photo
    score: str
    interval: str
    picture: str
    alt: str
    peak: tuple[float, float, float]
    volume: str
    map: str


def volumes_page(
    photos: Sequence[Photo], show: Callable[[int], Shown], scale: ColourScale, digits: int, budget: int = BUDGET
) -> dict[str, Any]:
    """What the template names. ``photos``: the scored rows, most unusual first. ``show``: row -> its volume, called as
    the page is written. ``digits``: decimals of scores. ``budget``: bytes for all copies. ``cards`` makes the pictures
    and can be gone through once."""
    count = min(len(photos), PICTURES)
    names = ("vendor/niivue.umd.js", "report_volumes.js") if count else ()
    return {
        "cards": ahead(lambda row: _card(photos[row], show(row), scale, digits, budget // count), range(count)),
        "count": count,
        "rest": photos[count:],
        "digits": digits,
        "settings": _for_script({"colours": stops_of_heat(), "low": scale.low, "high": scale.high}),
        "style": Markup(source_of("volumes.css")),
        "scripts": [script_of(name) for name in names],
    }


def copy_of(shown: Shown, limit: int) -> tuple[str, str]:
    """A volume and its map (0..1 as well) as small .nii.gz files in base64; the volume's is of ``limit`` bytes, unless
    6 mm are not coarse enough."""
    volume, tried = "", set[tuple[int, int, int]]()
    for side in FINENESS:
        factors = _factors(shown.affine, side)
        cells = np.prod([-(-length // factor) for length, factor in zip(shown.values.shape, factors, strict=True)])
        if factors in tried or (cells * LEAST_BYTES > limit and side < FINENESS[-1]):
            continue
        tried.add(factors)
        volume = _nifti(shown.values, shown.affine, factors)
        if len(volume) <= limit:
            break
    return volume, _nifti(shown.scores, shown.affine, _factors(shown.affine, MAP_FINENESS))


def _card(photo: Photo, shown: Shown, scale: ColourScale, digits: int, limit: int) -> Card:
    place, (right, anterior, superior) = peak_of(shown.scores, shown.affine)
    hot = scale.apply(shown.scores)
    volume, small_map = copy_of(Shown(shown.values, hot, shown.affine), limit)
    interval = f"{photo.low:.{digits}f} to {photo.high:.{digits}f}" if photo.low is not None else ""
    return Card(
        photo=photo,
        score="" if photo.score is None else f"{photo.score:.{digits}f}",
        interval=interval,
        picture=three_planes(shown.values, hot, np.linalg.norm(shown.affine[:3, :3], axis=0), place),
        alt=(
            f"{photo.path}: axial, coronal and sagittal slice through its most unusual place, "
            f"{_said(right, 'right', 'left')}, {_said(anterior, 'anterior', 'posterior')}, "
            f"{_said(superior, 'superior', 'inferior')} of the origin"
        ),
        peak=(round(right, 1), round(anterior, 1), round(superior, 1)),
        volume=volume,
        map=small_map,
    )


def peak_of(
    scores: Float32, affine: npt.NDArray[np.float64]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """The voxel where ``scores: (X, Y, Z)`` are highest, and where that is in mm (right, anterior, superior)."""
    x, y, z = (int(at) for at in np.unravel_index(int(scores.argmax()), scores.shape))
    right, anterior, superior = (float(value) for value in (affine @ [x, y, z, 1])[:3])
    return (x, y, z), (right, anterior, superior)


def _said(mm: float, positive: str, negative: str) -> str:
    return f"{abs(mm):.0f} mm {positive if mm >= 0 else negative}"


def _factors(affine: npt.NDArray[np.float64], side: float) -> tuple[int, int, int]:
    """How many voxels along every axis become one."""
    x, y, z = (max(1, round(side / spacing)) for spacing in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def _nifti(values: Float32, affine: npt.NDArray[np.float64], factors: tuple[int, int, int]) -> str:
    """``values: (X, Y, Z)`` in 0..1, averaged over blocks, as 8-bit NIfTI in base64."""
    small = values
    for axis, factor in enumerate(factors):
        if factor > 1:
            length = small.shape[axis]
            starts = np.arange(0, length, factor)
            size = np.minimum(factor, length - starts).astype(np.float32)  # the last block may be narrower
            shape = [1, 1, 1]
            shape[axis] = -1
            small = np.add.reduceat(small, starts, axis=axis) / size.reshape(shape)
    coarse = np.array(affine)
    coarse[:3, :3] = affine[:3, :3] * factors
    coarse[:3, 3] += affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    levels = np.rint(255 * np.clip(small, 0, 1)).astype(np.uint8)
    x, y, z = levels.shape
    image = nifti_image(levels, Geometry((x, y, z), coarse))
    return base64.b64encode(gzip.compress(image.to_bytes(), 6, mtime=0)).decode()


def _for_script(values: Any) -> Markup:
    """JSON for a data block: nothing in it ends the element."""
    return Markup(json.dumps(values).replace("<", "\\u003c"))
