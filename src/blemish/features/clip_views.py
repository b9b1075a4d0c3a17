"""CLIP as a backbone: the grids are what a method that knows words reads from the image tower.

Photos then go the way of all photos (decoded once, resized, cached by their content, many threads or batches for a
GPU). It knows the image tower and how WinCLIP looks into it; nothing of words or scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blemish.features.clip import ClipPair
from blemish.features.registry import BackboneFacts, Features

__all__ = ["ClipView", "See", "view_of", "windows"]

See = Callable[[Tensor], tuple[list[Tensor], Tensor]]  # normalised (b, 3, H, W) -> grids (b, h, w, C), photos (b, E)


@dataclass
class ClipView:
    """A ``registry.Backbone``. Its grids are to be taken as they are: without neighbourhoods, of any length."""

    pair: ClipPair
    facts: BackboneFacts
    layers: tuple[int, ...]
    see: See
    weights_sha256: str

    @torch.inference_mode()
    def extract(self, photos: Tensor) -> Features:
        """``photos: (b, 3, H, W)`` uint8 RGB, H and W multiples of ``facts.patch``."""
        grids, embedding = self.see(self.pair.pixels(photos))
        return Features(grids, embedding)


def view_of(
    pair: ClipPair, see: See, *, layers: Sequence[int], reading: str, size: int | None = None, activations: int = 1000
) -> ClipView:
    """``layers``: blocks that are read, counted from 1. ``reading``: what else decides the features besides weights and
    layers. ``size``: default working size in pixels; None: what CLIP was trained on. ``activations``: see
    ``BackboneFacts``."""
    known, vision = pair.facts, pair.vision
    first: Any = vision.transformer.resblocks[0]
    manner = f"{reading}, {first.mlp.activation}, positions {vision.positions}"
    return ClipView(
        pair,
        BackboneFacts(
            name=known.name,
            summary="CLIP, photos and words",
            source=known.source,
            licence=known.licence,
            patch=known.patch,
            layers=tuple(layers),
            all_layers=tuple(range(1, vision.depth + 1)),
            mean=known.mean,
            std=known.std,
            size=size or known.native,
            join=False,
            radii=(),
            resize=known.resize,
            concurrent=True,
            activations=activations,
            reading=manner,
        ),
        tuple(layers),
        see,
        pair.weights_sha256,
    )


def windows(pair: ClipPair, sizes: Sequence[int], *, tokens: bool) -> ClipView:
    """WinCLIP's view: a grid for each size of window, and the photo as a whole.

    ``sizes``: patches a side; the grid of size m is (h - m + 1, w - m + 1) windows by their top-left patch, each seen
    alone; sizes that do not fit a photo's grid are left out. ``tokens``: in the place of size 1, the last block's
    tokens of the whole photo after the final LayerNorm, as WinCLIP+ has them; they come for nothing."""
    said = ", ".join(f"{size}x{size}" for size in sizes)
    return view_of(
        pair,
        partial(_windows, pair, tuple(sizes), tokens),
        layers=(pair.vision.depth,),
        reading=f"windows {said}{' and tokens' if tokens else ''}",
        activations=3000,  # measured on WinCLIP's ViT-B/16+ at 240 pixels: 112 MiB, 162 with all sizes
    )


def _windows(pair: ClipPair, sizes: tuple[int, ...], tokens: bool, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    vision = pair.vision
    whole = vision.encode(pixels).last
    h, w = vision.grid(pixels)
    grids = [vision.ln_post(whole[:, 1:]).reshape(len(pixels), h, w, -1)] if tokens else []
    fitting = [size for size in sizes if size <= min(h, w)]
    for size, found in zip(fitting, vision.windows(pixels, fitting), strict=True):
        grids.append(found.reshape(len(pixels), h - size + 1, w - size + 1, -1))
    return grids, vision.project(whole[:, 0])
