"""A prompt model's way of seeing as a backbone, so that its photos go the way of all photos and are cached; and back.

It knows what both models have in common: patches and the photo as a whole, by the frozen tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.features.clip_views import ClipView, view_of
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.prompt_file import Seen

__all__ = ["PromptModel", "seen_of", "view"]

PromptModel = AnomalyClip | AprilGan
Float = npt.NDArray[np.floating]


def view(model: PromptModel, size: int | None = None) -> ClipView:
    """What ``model`` sees of photos; nothing learned is in it, so models of one kind share their features. ``size``:
    default working size in pixels."""
    if isinstance(model, AnomalyClip):
        reading = f"AnomalyCLIP, v-v attention in the last {model.settings.value_value} blocks"
    else:
        reading = "APRIL-GAN"
    return view_of(model.pair, partial(_see, model), layers=model.settings.layers, reading=reading, size=size)


def seen_of(grids: Sequence[Float], embedding: Float, device: torch.device | str = "cpu") -> Seen:
    """``grids``: a layer each, (h, w, C) or (b, h, w, C); ``embedding``: (E,) or (b, E)."""
    stacks = [torch.from_numpy(grid if grid.ndim == 4 else grid[None]).to(device) for grid in grids]
    image = torch.from_numpy(np.atleast_2d(embedding)).to(device)
    _, h, w, _ = stacks[0].shape
    return Seen(image, tuple(stack.flatten(1, 2) for stack in stacks), (h, w))


def _see(model: PromptModel, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    seen = model.see(pixels)
    return [layer.reshape(len(layer), *seen.grid, -1) for layer in seen.patches], seen.image
