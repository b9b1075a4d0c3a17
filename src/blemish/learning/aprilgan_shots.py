"""APRIL-GAN with a few good photos (Chen et al., arXiv 2305.17382): how little a patch resembles any of theirs.

Nothing is learned: the tokens of the four blocks are compared as they are, in front of the linear layers. Numbers are
those of the official code. It knows what the frozen tower has seen; not which photos are good, nor texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from blemish.errors import ConfigError
from blemish.learning.prompt_file import Seen, enlarged

__all__ = ["few_shot", "joined", "remember"]

Float32 = npt.NDArray[np.float32]
Memory = Sequence[Tensor]  # a layer each: (R, C) tokens of unit length


def remember(good: Sequence[Seen]) -> list[Tensor]:
    """A layer each: (R, C), all patches of the good photos, from ``AprilGan.see``. Raises ``ConfigError`` without any.

    Photos may have different grids."""
    if not sum(len(seen.image) for seen in good):
        raise ConfigError("there is nothing to compare with; give at least one good photo.")
    layers = zip(*(seen.patches for seen in good), strict=True)
    return [torch.cat([_unit(tokens).flatten(0, 1) for tokens in layer]) for layer in layers]


@torch.no_grad()
def few_shot(seen: Seen, memory: Memory, size: tuple[int, int]) -> Tensor:
    """(b, H, W) maps, the sum over layers of the smallest 1 - cosine of a patch to ``memory``, from 0 to twice the
    number of layers. ``size``: (H, W).

    Raises ``ConfigError`` if ``memory`` is of other layers."""
    if [tokens.shape[-1] for tokens in seen.patches] != [known.shape[-1] for known in memory]:
        raise ConfigError("the photos were seen with other layers than those that are remembered; see both alike.")
    layers = [
        torch.stack([1 - (photo @ known.T).amax(dim=1) for photo in _unit(tokens)])  # one at a time: (h*w, R) is large
        for tokens, known in zip(seen.patches, memory, strict=True)
    ]
    grids = [enlarged(layer[..., None], seen.grid, size, align_corners=True) for layer in layers]
    return torch.stack(grids).sum(dim=0)[:, 0]


def joined(photos: Float32, peaks: Float32) -> Float32:
    """Scores in [0, 1] of a batch, as published: (B,) text scores and (B,) maxima of the maps, zero-shot and few-shot
    added -> (B,).

    The mean of both, the maxima scaled so that the lowest of the batch is 0 and the highest 1. So the batch must be all
    test photos of one class, and a score says nothing outside of it. Where all maxima are equal the published code
    divides by zero; here they count as 0.
    """
    span = float(peaks.max() - peaks.min())
    return np.asarray((photos + (peaks - peaks.min()) / (span or 1.0)) / 2, dtype=np.float32)


def _unit(tokens: Tensor) -> Tensor:
    return F.normalize(tokens.float(), dim=-1)  # they may be kept in half precision
