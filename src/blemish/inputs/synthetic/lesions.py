"""Made-up lesions in real volumes, for benchmarks and tests: soft edges, grey levels of the tissue, some mass effect.

A lesion is described first and then painted, so that the same one can recur at one place in many brains. Arrays in,
arrays out; which volume gets which lesion is its caller's. Nothing here knows what the detector does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError
from blemish.inputs.volume_grid import Box

__all__ = ["Lesion", "draw_lesion", "moved", "paint"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SHIFTS = (0.3, 0.6)  # how much darker or brighter, in the range of the brain's grey levels (10th to 90th percentile)
BUMPS = 0.12  # by how much of the radius the outline is uneven
LONGER = 1.25  # ratio of an axis of the ellipsoid to the mean one, at most
TRIES = 2000


@dataclass(frozen=True)
class Lesion:
    """``centre``: (3,) voxels. ``across``: the mean diameter, voxels. ``shift``: of the grey level, in the range of the
    brain's (10th to 90th percentile), negative is darker. ``edge``: voxels over which it fades. ``swelling``: by how
    much of its radius tissue is pushed aside. ``calm``: share of the tissue's own contrast that is gone inside.
    ``seed``: of its outline."""

    centre: tuple[float, float, float]
    across: float
    shift: float
    edge: float = 2.0
    swelling: float = 0.15
    calm: float = 0.5
    seed: int = 0


def draw_lesion(
    values: Float32,
    brain: Bools,
    across: float,
    rng: np.random.Generator,
    *,
    shifts: tuple[float, float] = SHIFTS,
    away_from: Sequence[Lesion] = (),
) -> Lesion:
    """A lesion somewhere in tissue: (X, Y, Z) values and brain.

    Its centre lies at least 0.8 radii below the brain's surface and not in fluid (darker than the 20th percentile, its
    surroundings averaged), and three radii from the lesions of ``away_from``; darker as often as brighter, by a
    uniform share of ``shifts``. Raises ``ConfigError`` if there is no such place."""
    from scipy import ndimage

    radius = across / 2
    deep = ndimage.distance_transform_edt(brain) >= 0.8 * radius
    local = ndimage.uniform_filter(values, max(3, round(radius)))
    places = np.argwhere(deep & (local > np.percentile(values[brain], 20)))
    for at in rng.permutation(len(places))[:TRIES]:
        centre = places[at]
        if all(np.linalg.norm(centre - other.centre) > 3 * (radius + other.across / 2) / 2 for other in away_from):
            shift = float(rng.uniform(*shifts)) * (-1 if rng.random() < 0.5 else 1)
            return Lesion(_triple(centre), across, shift, seed=int(rng.integers(2**31)))
    raise ConfigError(f"No place in the brain for a lesion of {across:g} voxels; take a smaller one.")


def moved(lesion: Lesion, source: Box, target: Box, by: Sequence[float] = (0, 0, 0)) -> Lesion:
    """The same lesion at the corresponding place of another brain (``source``, ``target``: the brains' boxes), off it
    ``by`` some voxels."""
    share = (np.array(lesion.centre) - source.start) / source.extent
    return replace(lesion, centre=_triple(target.start + share * target.extent + np.array(by)))


def paint(values: Float32, brain: Bools, lesion: Lesion) -> tuple[Float32, Bools]:
    """The volume with the lesion, and the lesion's mask (where it has at least half of its effect).

    (X, Y, Z) -> (X, Y, Z) twice. What lies outside the brain stays as it is, and grey levels stay within those of the
    brain."""
    from scipy import ndimage

    radius = lesion.across / 2
    reach = int(np.ceil(3.0 * radius + lesion.edge))
    low = np.maximum(np.rint(lesion.centre).astype(int) - reach, 0)
    high = np.minimum(np.rint(lesion.centre).astype(int) + reach + 1, values.shape)
    patch = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    offset = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"))
    offset = offset - np.array(lesion.centre)[:, None, None, None]
    away = _away(offset, radius, lesion.seed)
    share = np.clip(0.5 + (radius - away) / lesion.edge, 0, 1)
    share = share * share * (3 - 2 * share) * brain[patch]

    tissue = values[brain]
    dark, bright = np.percentile(tissue, (10, 90))
    source = offset * _pulled(away, radius, lesion.swelling) + (np.array(lesion.centre) - low)[:, None, None, None]
    pushed = ndimage.map_coordinates(values[patch], source, order=1, mode="nearest")
    pushed = np.where(brain[patch], pushed, values[patch])
    inside = brain[patch].astype(np.float32)
    weight = np.maximum(ndimage.gaussian_filter(inside, radius / 2), 1e-6)
    calm = ndimage.gaussian_filter(pushed * inside, radius / 2) / weight  # of tissue alone
    calmed = pushed + lesion.calm * share * (calm - pushed)
    shifted = np.clip(calmed + share * lesion.shift * (bright - dark), tissue.min(), tissue.max())
    painted = values.copy()
    painted[patch] = np.where(brain[patch], np.where(share > 0, shifted, pushed), values[patch])
    mask = np.zeros(values.shape, np.bool_)
    mask[patch] = share >= 0.5
    return painted, mask


def _away(offset: Float64, radius: float, seed: int) -> Float64:
    """How far every voxel is from the centre of an uneven ellipsoid, (3, ...) -> (...): ``radius`` at its surface."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    longer = np.exp(rng.uniform(-1, 1, 3) * np.log(LONGER))
    longer /= longer.prod() ** (1 / 3)
    along = np.tensordot(turn / longer[:, None], offset, axes=1)
    distance = np.sqrt((along**2).sum(axis=0))
    waves, phases = rng.normal(size=(4, 3)), rng.uniform(0, 2 * np.pi, 4)
    direction = along / np.maximum(distance, 1e-9)
    bumps = np.sin(3 * np.tensordot(waves, direction, axes=1) + phases[:, None, None, None]).mean(axis=0)
    return np.asarray(distance * (1 + BUMPS * bumps))


def _pulled(away: Float64, radius: float, swelling: float) -> Float64:
    """From where, as a share of its own distance, the tissue at a distance comes: less than 1, as it was pushed out.
    Strongest at the surface, fading within a radius beyond it."""
    beyond = np.maximum(away - radius, 0) / radius
    return np.asarray(1 - swelling * np.exp(-(beyond**2)) / np.maximum(away / radius, 1))


def _triple(values: npt.ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in np.asarray(values))
    return x, y, z
