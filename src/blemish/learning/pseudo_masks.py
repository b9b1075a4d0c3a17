"""Pseudo labels and masks: what a finished run says about its photos, as something that a model can learn from.

What the user has said or taught counts most, then what was decided about families, then the run's own verdict. Photos
that the verdict is unsure about are left out, or carry what little confidence there is. That a batch can teach a text
model is CoDeGraph's idea, which leaves the recipe open; the plain one (Otsu's threshold for photos, Q3 + 3 IQR of the
good photos for pixels) is kept for comparison: benchmarks/pseudo_masks.md. It knows runs, not what is learnt from them,
nor how they are written down (``pseudo_tree``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from blemish import verdict_file
from blemish.errors import InputError
from blemish.learning.pseudo_calls import PseudoPhoto, Recipe, called_by_otsu, labelled, soundest
from blemish.paths import RUN_VERDICT
from blemish.result import upsample
from blemish.run import read_rows
from blemish.run_folder import read_manifest, require_photos
from blemish.sinks.families import read as read_families
from blemish.taught import said_in
from blemish.verdict.regions import mask_of

__all__ = ["PixelLabels", "PseudoLabels", "PseudoPhoto", "Recipe", "pixel_labels", "pseudo_labels"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

CELL = 8  # samples a side of a token, on which outlines and the distance from them are found
IGNORE_WITHIN = 0.5  # confidence below which a pixel lies in the ignore band: half of ``edge`` from an outline
TOUCHING = np.ones((3, 3), np.bool_)  # also by a corner


@dataclass(frozen=True)
class PixelLabels:
    """One photo's pixels, (H, W) at its own size. ``confidence`` is 0 on an outline and 1 from ``edge`` tokens on."""

    mask: Bools
    soft: Float32  # share of belief that a pixel is defective; the mask is where it exceeds a half
    confidence: Float32  # |2 soft - 1|

    @property
    def ignored(self) -> Bools:
        """The ignore band along the outlines, where a pixel of the mask is nearly as often wrong as right."""
        return np.asarray(self.confidence < IGNORE_WITHIN)


@dataclass(frozen=True)
class PseudoLabels:
    """What a run says. ``photos`` are those that may be learnt from, in the run's order."""

    run: Path
    recipe: Recipe
    photos: tuple[PseudoPhoto, ...]
    left_out: Mapping[str, str]  # path -> why
    level: float  # map value that seeds a region, or that all pixels of a mask exceed
    grids: Mapping[str, Float32]  # path -> (h, w) map
    shapes: Mapping[str, tuple[int, int]]  # path -> (height, width) of the photo

    def pixels(self, photo: PseudoPhoto) -> PixelLabels:
        """A good photo's mask is empty, and as sure as its label."""
        shape = self.shapes[photo.path]
        if not photo.label:
            return PixelLabels(np.zeros(shape, np.bool_), np.zeros(shape, np.float32), np.ones(shape, np.float32))
        return pixel_labels(self.grids[photo.path], shape, self.level, self.recipe)


def pseudo_labels(run: Path, recipe: Recipe | None = None, *, both: bool = True) -> PseudoLabels:
    """Pseudo labels of the photos of a finished ``run``; masks when they are asked for.

    Raises ``InputError`` if it is not a finished run; and where ``both`` are needed, if it has no photo that counts as
    defective, or none as good."""
    recipe = recipe or Recipe()
    run = run.expanduser().resolve()
    manifest = read_manifest(run)
    require_photos(manifest, run, "learned from")
    photos = [photo for photo in read_rows(run) if photo.status == "ok"]
    kept = verdict_file.read(run / RUN_VERDICT)
    if [photo.score for photo in photos] != kept.estimated.scores.tolist():
        raise InputError(f"{str(run / 'results.jsonl')!r} does not fit the run's verdict. Scan again.")
    families, said = read_families(run / "families.json"), said_in(run)
    if recipe.labels == "otsu":
        calls, probability = called_by_otsu(kept.estimated.scores)
    else:
        calls = [photo.verdict or "unsure" for photo in photos]
        probability = kept.estimated.defective
        if _user_set(manifest):
            word = {"blemished": 1.0, "ok": 0.0}
            probability = np.array([word.get(call, p) for call, p in zip(calls, probability.tolist(), strict=True)])
    found, left_out = labelled(photos, calls, probability, families, said, recipe)
    found, too_high = soundest(found, {photo.path: photo.score or 0.0 for photo in photos}, recipe.sound)
    left_out |= too_high
    grids = {photo.path: grid for photo, grid in zip(photos, kept.grids, strict=True)}
    level = kept.level
    if recipe.masks == "level":
        level = _level([grids[photo.path] for photo in found if not photo.label])
        faint = [photo for photo in found if photo.label and grids[photo.path].max() <= level]
        left_out |= {photo.path: "nothing on its map exceeds the level of the masks" for photo in faint}
        found = [photo for photo in found if photo not in faint]
    if both:
        _require_both(found, left_out, run)
    shapes = {photo.path: (photo.height or 0, photo.width or 0) for photo in photos}
    return PseudoLabels(run, recipe, tuple(found), left_out, level, grids, shapes)


def pixel_labels(grid: Float32, shape: tuple[int, int], level: float, recipe: Recipe) -> PixelLabels:
    """(h, w) map of a defective photo -> its pixels at ``shape`` (H, W). The mask is never empty: where nothing exceeds
    ``level``, it is the map's peak, and for regions its surroundings."""
    canvas = (CELL * grid.shape[0], CELL * grid.shape[1])
    inside = mask_of(grid, canvas, level) if recipe.masks == "regions" else upsample(grid, canvas) > level
    if not inside.any():  # the map's peak lies between the samples
        inside[tuple(np.argwhere(upsample(grid, canvas) == upsample(grid, canvas).max())[0])] = True
    inside = _without_small(inside, recipe.smallest * CELL**2)
    soft = upsample((0.5 + _belief(inside, recipe.edge * CELL) / 2).astype(np.float32), shape)
    mask = np.asarray(soft > 0.5)
    if not mask.any():  # a photo smaller than its canvas can fall between the samples
        mask[np.unravel_index(np.argmax(soft), shape)] = True
    return PixelLabels(mask, soft, np.asarray(np.abs(2 * soft - 1), dtype=np.float32))


def _user_set(manifest: Mapping[str, Any]) -> bool:
    """Whether the user has said where the threshold is, or how many photos are defective: then the calls are theirs."""
    asked = (manifest.get("config") or {}).get("verdict") or {}
    return asked.get("threshold") is not None or asked.get("expect_defects") is not None


def _level(grids: Sequence[Float32]) -> float:
    """Q3 + 3 IQR of the values on the maps (h, w) of the photos labelled good; no bound where there is none."""
    if not grids:
        return -np.inf
    first, third = np.quantile(np.stack(grids), [0.25, 0.75])
    return float(third + 3 * (third - first))


def _belief(inside: Bools, edge: float) -> Float32:
    """From -1, ``edge`` samples outside, over 0 on the outlines to 1, ``edge`` samples inside; or in the middle of a
    piece that is thinner, so that small flaws are believed too."""
    outside = ndimage.distance_transform_edt(~inside) - 0.5  # a sample's own middle is half a sample from the outline
    pieces, count = ndimage.label(inside, structure=TOUCHING)
    # the picture's border is no outline: what is cut off there goes on; a piece that fills the picture has none at all
    depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1] - 0.5
    if inside.all():
        return np.ones(inside.shape, np.float32)
    reach = np.minimum(ndimage.maximum(depth, pieces, np.arange(count + 1)), edge)
    reach[0] = edge
    return np.asarray(np.clip(np.where(inside, depth / reach[pieces], -outside / edge), -1, 1), dtype=np.float32)


def _without_small(inside: Bools, least: float) -> Bools:
    pieces, count = ndimage.label(inside, structure=TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = sizes >= least
    kept[0], kept[np.argmax(sizes)] = False, True
    return np.asarray(kept[pieces])


def _require_both(found: Sequence[PseudoPhoto], left_out: Mapping[str, str], run: Path) -> None:
    defective = sum(photo.label for photo in found)
    counts = f"{defective} defective, {len(found) - defective} good, {len(left_out)} left out"
    if not defective:
        raise InputError(
            f"No photo of {str(run)!r} counts as defective ({counts}), so there is nothing to learn from it. Decide "
            "about its families, say how many defects to expect (`blemish verdict RUN --expect-defects 5%`), or take "
            "a run with defects."
        )
    if defective == len(found):
        raise InputError(
            f"No photo of {str(run)!r} counts as good ({counts}), so nothing tells a defect from the part itself. "
            "Take a run in which most photos are good."
        )
