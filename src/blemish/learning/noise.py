"""Controlled noise on masks and labels, for the question how much of it a model bears that learns from pseudo-masks.

Pure and seeded: equal arguments give equal noise, and nothing is changed in place. Strengths are in units of the flaws
themselves, so that one number means the same for a scratch and a dent, and at any resolution. What
a real scan's errors are is measured in benchmarks/pseudo_masks.md.
It knows arrays, neither files nor models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from blemish.errors import ConfigError

__all__ = ["Noise", "Noisy", "noisy", "overlap"]

Noise = Literal["dilate", "erode", "drop", "blobs", "flip"]
Mask = npt.NDArray[np.bool_]

TOUCHING = np.ones((3, 3), np.bool_)  # also by a corner
LIMITS = {  # of strengths, with their words
    "dilate": (np.inf, "at least 0"),
    "erode": (np.nextafter(1.0, 0.0), "from 0 to below 1"),
    "drop": (1.0, "from 0 to 1"),
    "blobs": (np.inf, "at least 0"),
    "flip": (1.0, "from 0 to 1"),
}
FEWEST_BLOB = 0.02  # of the shorter side: extent of a false blob where no flaw lends its shape


@dataclass(frozen=True)
class Noisy:
    """Masks and labels with noise, and how much that changed."""

    masks: tuple[Mask, ...]  # (H, W) each
    labels: npt.NDArray[np.bool_]  # (n,) True = defective
    iou: float  # of all pixels with the clean masks; 1 where both are empty
    flipped: float  # share of the labels that differ


def noisy(masks: Sequence[Mask], labels: Sequence[bool], kind: Noise, strength: float, seed: int = 0) -> Noisy:
    """``masks``: one (H, W) a photo, empty for good ones; ``labels``: of the photos. Kinds and their ``strength``:

    * ``dilate``: every flaw grows by ``strength`` times the radius of a disc of its area; 0.5 makes it about 2.25 times
      as large;
    * ``erode``: it loses what lies nearer to its rim than ``strength`` times its innermost pixel; below 1, at which
      nothing would be left;
    * ``drop``: each flaw is missed with the probability ``strength``; a photo that loses its last one becomes good, as
      one that a scan has missed;
    * ``blobs``: each photo gets ``strength`` false flaws on average (Poisson), shaped as flaws of this batch and put
      anywhere; a good photo becomes defective;
    * ``flip``: each label is turned with the probability ``strength``. Masks stay, so only what learns from labels
      notices.

    Strength 0 changes nothing. Raises ``ConfigError`` for another kind, or a strength out of its range."""
    _check(masks, labels, kind, strength)
    rng = np.random.default_rng([seed, get_args(Noise).index(kind)])
    before = np.array(labels, dtype=np.bool_)
    if kind == "flip":
        turned = rng.random(len(before)) < strength
        return Noisy(tuple(masks), before ^ turned, 1.0, _share(turned))
    change: dict[str, Callable[[], tuple[Mask, ...]]] = {
        "dilate": lambda: tuple(_dilated(mask, strength) for mask in masks),
        "erode": lambda: tuple(_eroded(mask, strength) for mask in masks),
        "drop": lambda: tuple(_dropped(mask, strength, rng) for mask in masks),
        "blobs": lambda: _with_blobs(masks, strength, rng),
    }
    made = change[kind]()
    lost = np.array([old.any() and not new.any() for old, new in zip(masks, made, strict=True)], dtype=np.bool_)
    won = np.array([new.any() and not old.any() for old, new in zip(masks, made, strict=True)], dtype=np.bool_)
    after = (before & ~lost) | won
    return Noisy(made, after, overlap(made, masks), _share(after != before))


def overlap(masks: Sequence[Mask], clean: Sequence[Mask]) -> float:
    """Intersection over union of all pixels of all photos together; 1 where both are empty everywhere."""
    both = sum(int((one & other).sum()) for one, other in zip(masks, clean, strict=True))
    either = sum(int((one | other).sum()) for one, other in zip(masks, clean, strict=True))
    return both / either if either else 1.0


def _check(masks: Sequence[Mask], labels: Sequence[bool], kind: str, strength: float) -> None:
    if kind not in get_args(Noise):
        raise ConfigError(f"Kinds of noise are {', '.join(get_args(Noise))}; received {kind!r}.")
    most, words = LIMITS[kind]
    if not 0 <= strength <= most or np.isinf(strength):
        raise ConfigError(f"The strength of {kind!r} is a number {words}; received {strength}.")
    if len(masks) != len(labels):
        raise ConfigError(f"There are {len(masks)} masks and {len(labels)} labels; each photo has one of either.")
    for number, mask in enumerate(masks):
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ConfigError(
                f"Mask {number} is {mask.dtype} of shape {mask.shape}; masks are (H, W) bool, for example pixels > 0."
            )


def _flaws(mask: Mask) -> list[tuple[tuple[slice, slice], Mask]]:
    """Each connected flaw: its box in the mask, and its pixels in the box."""
    labels, count = ndimage.label(mask, structure=TOUCHING)
    boxes = ndimage.find_objects(labels, count)
    return [(box, np.asarray(labels[box] == number)) for number, box in enumerate(boxes, start=1)]


def _dilated(mask: Mask, strength: float) -> Mask:
    out = mask.copy()
    for box, flaw in _flaws(mask):
        reach = strength * float(np.sqrt(flaw.sum() / np.pi))
        pad = int(np.ceil(reach))
        canvas = np.pad(flaw, pad)
        near = ndimage.distance_transform_edt(~canvas) <= reach
        top, left = box[0].start - pad, box[1].start - pad
        rows = slice(max(top, 0), min(top + canvas.shape[0], mask.shape[0]))
        columns = slice(max(left, 0), min(left + canvas.shape[1], mask.shape[1]))
        out[rows, columns] |= near[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return out


def _eroded(mask: Mask, strength: float) -> Mask:
    out = np.zeros_like(mask)
    for box, flaw in _flaws(mask):
        depth = ndimage.distance_transform_edt(np.pad(flaw, 1))[1:-1, 1:-1]  # the picture's border is a rim too
        out[box] |= flaw & (depth > strength * depth.max())
    return out


def _dropped(mask: Mask, probability: float, rng: np.random.Generator) -> Mask:
    out = mask.copy()
    for box, flaw in _flaws(mask):
        if rng.random() < probability:
            out[box] &= ~flaw
    return out


def _with_blobs(masks: Sequence[Mask], mean: float, rng: np.random.Generator) -> tuple[Mask, ...]:
    shapes = [flaw for mask in masks for _, flaw in _flaws(mask)]
    made = []
    for mask in masks:
        out = mask.copy()
        for _ in range(int(rng.poisson(mean))):
            shape = shapes[int(rng.integers(len(shapes)))] if shapes else _disc(mask.shape)
            blob = np.rot90(shape, int(rng.integers(4)))[: mask.shape[0], : mask.shape[1]]
            top = int(rng.integers(mask.shape[0] - blob.shape[0] + 1))
            left = int(rng.integers(mask.shape[1] - blob.shape[1] + 1))
            out[top : top + blob.shape[0], left : left + blob.shape[1]] |= blob
        made.append(out)
    return tuple(made)


def _disc(shape: tuple[int, ...]) -> Mask:
    radius = max(1.0, FEWEST_BLOB * min(shape) / 2)
    side = np.arange(-int(radius), int(radius) + 1)
    return np.asarray(side[:, None] ** 2 + side[None] ** 2 <= radius**2)


def _share(changed: npt.NDArray[np.bool_]) -> float:
    return float(changed.mean()) if len(changed) else 0.0
