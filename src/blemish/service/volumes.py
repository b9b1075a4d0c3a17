"""Small copies of a run's volumes and their maps, for a viewer in a browser; the same that the report holds."""

from __future__ import annotations

import base64
from functools import lru_cache

import numpy as np

from blemish.errors import InputError
from blemish.result import ColourScale, Float32, Native
from blemish.service.shelf import RunView
from blemish.sinks.report_volumes import Shown, copy_of, peak_of
from blemish.sinks.slices import three_planes

__all__ = ["hottest_mm", "slices_of", "small_copies"]

BYTES = 4_000_000  # of a copy: alone on its page, it may be finer than those of a report
KEPT = 16


def small_copies(view: RunView, path: str) -> tuple[bytes, bytes]:
    """A volume and its map as .nii.gz. Raises ``InputError`` for a photo."""
    if view.kind != "volumes":
        raise InputError(f"{path!r} is a photo and has no volume. Ask for its picture and its heat.")
    return _copies(view, path)


@lru_cache(KEPT)
def _copies(view: RunView, path: str) -> tuple[bytes, bytes]:
    result = view.result
    assert result.volumes is not None
    native = result.volumes.by_path[path]
    scores = native.scores(np.asarray(result.maps.grid(path)))
    hot = result.scale.apply(scores)
    volume, small_map = copy_of(Shown(native.values(), hot, native.geometry.ras_affine), BYTES)
    return base64.b64decode(volume), base64.b64decode(small_map)


def slices_of(native: Native, grid: Float32, scale: ColourScale) -> str:
    """Three slices through the most anomalous voxel of a volume whose map is ``grid``, as an address that holds its
    data, JPEG."""
    scores = native.scores(grid)
    spacing = np.linalg.norm(native.geometry.ras_affine[:3, :3], axis=0)
    place = peak_of(scores, native.geometry.ras_affine)[0]
    return three_planes(native.values(), scale.apply(scores), spacing, place)


@lru_cache(KEPT)
def hottest_mm(view: RunView, path: str) -> tuple[float, float, float]:
    """Where a volume is most anomalous: right, anterior, superior."""
    assert view.result.volumes is not None
    native = view.result.volumes.by_path[path]
    scores = native.scores(np.asarray(view.result.maps.grid(path)))
    return peak_of(scores, native.geometry.ras_affine)[1]
