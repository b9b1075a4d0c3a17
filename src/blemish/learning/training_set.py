"""Photos to learn from, seen once by the frozen tower, with what is to be learned about each of their pixels.

Features are kept in half precision, targets in a byte a pixel, both in scratch files where memory does not hold them:
1,000 photos at 518 pixels are 11 GB for four layers of ViT-L/14. It knows arrays; nothing of files, models or losses.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.learning.prompt_file import Seen
from blemish.learning.pseudo_masks import PixelLabels
from blemish.matching.store import ArrayStore, Budget

__all__ = ["Batch", "Filling", "Targets", "TrainingSet"]

Array = npt.NDArray[np.floating]
Targets = Literal["hard", "soft"]

FULL = 255  # 1.0 in a byte
HARD, SOFT, SURE = range(3)  # what is kept of a pixel
FEATURES, PIXELS = 0.8, 0.5  # shares of the memory that is left, for the former and then for the latter


@dataclass(frozen=True)
class Batch:
    """What one step learns from: b photos, on one device. ``target`` (b, H, W) in [0, 1]; ``label`` (b,) 0 and 1;
    ``weights`` and ``photo_weights`` as in ``losses``; ``words`` (b,), numbers of ``TrainingSet.words``."""

    seen: Seen
    target: Tensor
    label: Tensor
    weights: Tensor | None
    photo_weights: Tensor | None
    words: Tensor


@dataclass(frozen=True)
class TrainingSet:
    """n photos in their order; ``Filling`` makes it, or ``of``."""

    image: ArrayStore  # (n, E) half precision, of unit length
    patches: tuple[ArrayStore, ...]  # a layer each, (n, h*w, C) half precision
    grid: tuple[int, int]
    pixels: ArrayStore  # (n, 3, H, W) uint8: hard, soft and confidence
    labels: npt.NDArray[np.bool_]  # (n,) True = defective
    confidence: npt.NDArray[np.float32]  # (n,) in the labels
    words: tuple[str, ...]  # class names that occur
    word: npt.NDArray[np.intp]  # (n,) number of each photo's
    groups: npt.NDArray[np.intp]  # (n,) number of the source that a photo is from
    digest: str  # of everything above

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the targets."""
        return self.pixels.shape[2], self.pixels.shape[3]

    def batch(
        self, rows: npt.NDArray[np.intp], device: torch.device, targets: Targets = "hard", weigh: bool = False
    ) -> Batch:
        """The photos ``rows: (b,)``. ``weigh``: each pixel and photo by its confidence."""
        pixels = _rows(self.pixels, rows)
        sure = pixels[:, SURE].astype(np.float32) / FULL
        target = pixels[:, HARD if targets == "hard" else SOFT].astype(np.float32) / FULL
        seen = Seen(
            torch.from_numpy(_rows(self.image, rows)).to(device),
            tuple(torch.from_numpy(_rows(layer, rows)).to(device) for layer in self.patches),
            self.grid,
        )
        return Batch(
            seen,
            torch.from_numpy(target).to(device),
            torch.from_numpy(self.labels[rows].astype(np.int64)).to(device),
            torch.from_numpy(sure).to(device) if weigh else None,
            torch.from_numpy(self.confidence[rows]).to(device) if weigh else None,
            torch.from_numpy(self.word[rows]).to(device),
        )

    @classmethod
    def of(
        cls,
        seen: Seen,
        masks: Sequence[npt.NDArray[np.bool_]],
        labels: Sequence[bool],
        *,
        soft: Sequence[Array] | None = None,
        confidence: Sequence[Array] | None = None,
        photo_weights: Sequence[float] | None = None,
        words: Sequence[str] | None = None,
        groups: Sequence[int] | None = None,
        budget: Budget | None = None,
    ) -> TrainingSet:
        """From arrays: ``seen`` holds n photos; ``masks``, ``soft`` and ``confidence`` (of pixels) are (H, W) each;
        ``photo_weights``: confidence in the labels; ``words``: each photo's class. What is not given is the mask
        itself, 1, and nothing. ``budget``: None keeps all of it in memory.

        Raises ``ConfigError`` if there are not as many of each."""
        photos = len(seen.image)
        given = (masks, labels, soft, confidence, photo_weights, words, groups)
        if any(one is not None and len(one) != photos for one in given) or not photos:
            counts = [None if one is None else len(one) for one in given]
            raise ConfigError(f"Give one mask, label and so on for each of the {photos} photos; received {counts}.")
        filling = Filling(photos, masks[0].shape, budget or Budget(2**62, Path(tempfile.gettempdir())))
        for at, mask in enumerate(masks):
            as_share = mask.astype(np.float32) if soft is None else np.asarray(soft[at], np.float32)
            sure = np.ones(mask.shape, np.float32) if confidence is None else np.asarray(confidence[at], np.float32)
            filling.add(
                [layer[at].reshape(*seen.grid, -1).cpu().numpy() for layer in seen.patches],
                seen.image[at].cpu().numpy(),
                label=bool(labels[at]),
                pixels=PixelLabels(mask, as_share, sure),
                confidence=1.0 if photo_weights is None else float(photo_weights[at]),
                words="" if words is None else words[at],
                group=0 if groups is None else int(groups[at]),
            )
        return filling.done()


class Filling:
    """A set that is being made, a photo at a time. ``size``: (H, W) of the targets; ``photos``: at most so many."""

    def __init__(self, photos: int, size: tuple[int, ...], budget: Budget) -> None:
        self._photos, self._budget = photos, budget
        self._size = size
        self._image: ArrayStore | None = None
        self._patches: tuple[ArrayStore, ...] = ()
        self._grid = (0, 0)
        self._pixels: ArrayStore | None = None
        self._facts: list[tuple[bool, float, str, int]] = []
        self._digest = hashlib.sha256(json.dumps(list(size)).encode())

    def add(
        self,
        grids: Sequence[Array],
        image: Array,
        *,
        label: bool,
        pixels: PixelLabels | None,
        confidence: float = 1.0,
        words: str = "",
        group: int = 0,
    ) -> None:
        """The next photo. ``grids``: a layer each, (h, w, C); ``image``: (E,); ``pixels`` at ``size``, None where
        nothing is defective, and that is sure."""
        if self._image is None or self._pixels is None:
            self._image, self._pixels = self._stores(grids, image)
        row, (height, width) = len(self._facts), self._size
        planes = np.zeros((1, 3, height, width), np.uint8)
        planes[0, SURE] = FULL
        if pixels is not None:
            planes[0, HARD] = pixels.mask * np.uint8(FULL)
            planes[0, SOFT], planes[0, SURE] = _byte(pixels.soft), _byte(pixels.confidence)
        halves = [np.ascontiguousarray(one, np.float16).reshape(1, -1, one.shape[-1]) for one in grids]
        photo = np.ascontiguousarray(image, np.float16)[None]
        self._image.write(row, photo)
        self._pixels.write(row, planes)
        for store, half in zip(self._patches, halves, strict=True):
            store.write(row, half)
        facts = (label, confidence, words, group)
        self._facts.append(facts)
        for content in (photo.data, planes.data, *(half.data for half in halves)):
            self._digest.update(content)
        self._digest.update(json.dumps(facts).encode())

    def done(self) -> TrainingSet:
        """What was added; at least one photo."""
        assert self._image is not None and self._pixels is not None
        for store in (self._image, self._pixels, *self._patches):
            store.shrink(len(self._facts))  # photos that could not be read leave no rows
        labels, confidence, words, groups = zip(*self._facts, strict=True)
        distinct = tuple(dict.fromkeys(words))
        return TrainingSet(
            self._image,
            self._patches,
            self._grid,
            self._pixels,
            np.array(labels, np.bool_),
            np.array(confidence, np.float32),
            distinct,
            np.array([distinct.index(word) for word in words], np.intp),
            np.array(groups, np.intp),
            self._digest.hexdigest(),
        )

    def _stores(self, grids: Sequence[Array], image: Array) -> tuple[ArrayStore, ArrayStore]:
        h, w, _ = grids[0].shape
        self._grid = (h, w)
        left = range(len(grids), 0, -1)  # layers that have no place yet
        self._patches = tuple(
            self._budget.array((self._photos, h * w, grid.shape[-1]), np.float16, share=FEATURES / others)
            for others, grid in zip(left, grids, strict=True)
        )
        pixels = self._budget.array((self._photos, 3, *self._size), np.uint8, share=PIXELS)
        return self._budget.array((self._photos, len(image)), np.float16, share=1.0), pixels


def _rows(store: ArrayStore, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.generic]:
    return np.concatenate([store.read(int(row), int(row) + 1) for row in rows])


def _byte(share: Array) -> npt.NDArray[np.uint8]:
    """[0, 1] -> 0 to 255."""
    return np.asarray(np.round(np.clip(share, 0, 1) * FULL), dtype=np.uint8)
