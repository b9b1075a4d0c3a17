"""CLIP's vision tower (our own port): residual stream of any block, AnomalyCLIP's second path, WinCLIP's windows.

It knows pixels as normalised tensors and how each published method looks into the tower; nothing of files, words or
scores. Layers are counted from 1. Nothing here switches gradients off: whoever calls decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from blemish.errors import ConfigError
from blemish.features.clip_blocks import Activation, Block, Transformer, filled, sizes_of

__all__ = ["Positions", "VisionTokens", "VisionTower", "resize_positions", "window_indices"]

Positions = Literal["antialiased", "bicubic", "bilinear"]

WINDOW_TOKENS = 2048  # in one pass: enough to keep a core busy, and its largest block of memory stays small


@dataclass(frozen=True)
class VisionTokens:
    """``layers[l]: (b, 1 + h*w, C)``: what left each requested block (residual stream, CLS first; after DPAM's first
    block its second path). ``last``: the same of the last block's ordinary path. ``grid``: (h, w)."""

    layers: list[Tensor]
    last: Tensor
    grid: tuple[int, int]


class VisionTower(nn.Module):
    """``positions``: how the position embedding is brought to another grid than the native one, see
    ``resize_positions``. ``activation``: OpenAI trained with ``quick_gelu``; the published code of MuSc and APRIL-GAN
    runs those weights at 518 px with ``gelu``, which is what reproduces their numbers."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        patch: int,
        native: int,
        embedding: int,
        activation: Activation,
        positions: Positions = "antialiased",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.positions: Positions = positions
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + native**2, width))
        self.ln_pre = nn.LayerNorm(width, eps=eps)
        self.transformer = Transformer(width, depth, heads, hidden, activation, eps)
        self.ln_post = nn.LayerNorm(width, eps=eps)
        self.proj = nn.Parameter(torch.zeros(width, embedding))

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        *,
        heads: int,
        activation: Activation,
        positions: Positions = "antialiased",
        eps: float = 1e-5,
    ) -> VisionTower:
        """The tower that an official state dict belongs to (keys without ``visual.``), frozen.

        A state dict does not tell ``heads``: OpenAI's models have one for each 64 channels.
        Raises ``BackboneError`` if tensors are missing, left over or of another shape.
        """

        def described() -> VisionTower:
            width, _, patch, _ = state["conv1.weight"].shape
            return cls(
                width=width,
                heads=heads,
                patch=patch,
                native=round((len(state["positional_embedding"]) - 1) ** 0.5),
                embedding=state["proj"].shape[1],
                activation=activation,
                positions=positions,
                eps=eps,
                **sizes_of(state),
            )

        return filled(described, state, "a CLIP vision tower")

    @property
    def depth(self) -> int:
        return len(self.transformer.resblocks)

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """(h, w) of patches in ``pixels: (b, 3, H, W)``. Raises ``ConfigError`` unless the patch divides H and W."""
        height, width = pixels.shape[-2:]
        if height % self.patch or width % self.patch or not height or not width:
            raise ConfigError(
                f"This CLIP cuts photos into patches of {self.patch} pixels, got {height} x {width}. "
                f"Give a size that is a multiple of {self.patch}, for example {_nearest(height, self.patch)} x "
                f"{_nearest(width, self.patch)}."
            )
        return height // self.patch, width // self.patch

    def embed(self, pixels: Tensor) -> Tensor:
        """``(b, 3, H, W)`` normalised -> ``(b, 1 + h*w, C)``: CLS and patches with positions, before ``ln_pre``."""
        h, w = self.grid(pixels)
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], dim=1)
        return x + resize_positions(self.positional_embedding, h, w, self.positions)

    def encode(self, pixels: Tensor, layers: Sequence[int] = (), value_value: int = 0) -> VisionTokens:
        """Run the tower over ``pixels: (b, 3, H, W)``, normalised, of any size that the patch divides.

        ``value_value``: in that many of the last blocks, AnomalyCLIP's DPAM takes the tokens of ``layers`` from a
        second path: v-v attention in the place of q-k attention, added up without the MLP. It is 19 of 24 blocks for
        ViT-L/14 (``DPAM_layer = 20`` in its code). ``last`` stays that of the ordinary path.
        Raises ``ConfigError`` for a layer or number of blocks that the tower does not have, or a size that cannot be.
        """
        if unknown := [layer for layer in layers if not 1 <= layer <= self.depth]:
            raise ConfigError(f"This CLIP has layers 1 to {self.depth}, got {', '.join(map(str, unknown))}.")
        if not 0 <= value_value <= self.depth:
            raise ConfigError(
                f"This CLIP has {self.depth} blocks, so v-v attention cannot be in the last {value_value}."
            )
        x = self.ln_pre(self.embed(pixels))
        local = x
        found: dict[int, Tensor] = {}
        for number, block in enumerate(self.transformer.resblocks, start=1):
            if number <= self.depth - value_value:
                local = x = block(x)
            else:
                x, local = cast(Block, block).dual(x, local)
            if number in layers:
                found[number] = local
        return VisionTokens(layers=[found[layer] for layer in layers], last=x, grid=self.grid(pixels))

    def project(self, tokens: Tensor, norm: bool = True) -> Tensor:
        """``(..., C) -> (..., E)``, the space shared with text, not normalised.

        ``project(tokens.last[:, 0])`` is CLIP's image embedding; AnomalyCLIP takes it without ``ln_post``
        (``norm=False``), but the patches with it.
        """
        y: Tensor = (self.ln_post(tokens) if norm else tokens) @ self.proj
        return y

    def windows(self, pixels: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """WinCLIP's windows (Jeong et al. 2023): for each size ``s`` the embeddings ``(b, (h-s+1)*(w-s+1), E)``.

        Every window of s x s patches goes through the tower on its own, with CLS, as if nothing else were in the
        photo; its tokens keep the positions they have there. Windows are row-major by their top-left patch.
        Raises ``ConfigError`` if a window is larger than the grid.
        """
        grid = self.grid(pixels)
        at_sizes = [window_indices(*grid, size).to(pixels.device) for size in sizes]
        embedded = self.embed(pixels)
        return [self._windows(embedded, at) for at in at_sizes]

    def _windows(self, embedded: Tensor, at: Tensor) -> Tensor:
        b, (count, tokens) = len(embedded), at.shape
        cls = torch.zeros(count, 1, dtype=at.dtype, device=at.device)
        at = torch.cat([cls, at + 1], dim=1)  # patch i is token 1 + i
        done = []
        step = max(1, WINDOW_TOKENS // (b * (1 + tokens)))
        for start in range(0, count, step):
            some = at[start : start + step]
            x = self.ln_pre(embedded[:, some].flatten(0, 1))
            for block in self.transformer.resblocks:
                x = block(x)
            done.append(self.project(x[:, 0]).view(b, len(some), -1))
        return torch.cat(done, dim=1)


def window_indices(h: int, w: int, size: int) -> Tensor:
    """``((h-size+1) * (w-size+1), size*size)`` int64: the patches of each window of a grid of h rows and w columns.

    Windows are row-major by their top-left patch, the patches in a window too. Raises ``ConfigError`` if none fits.
    """
    if not 1 <= size <= min(h, w):
        raise ConfigError(f"A window of {size} x {size} patches does not fit a grid of {h} x {w}. Use larger photos.")
    patches = torch.arange(h * w).view(h, w)
    return patches.unfold(0, size, 1).unfold(1, size, 1).reshape(-1, size * size)


def resize_positions(positions: Tensor, h: int, w: int, rule: Positions) -> Tensor:
    """Position embedding for h rows and w columns: ``(1 + n*n, C) -> (1 + h*w, C)``; CLS comes first and stays.

    Published methods differ, and their numbers with them: ``antialiased`` bicubic (open_clip, APRIL-GAN), plain
    ``bicubic`` (MuSc; another cubic kernel, so it differs when enlarging, too), ``bilinear`` (AnomalyCLIP).
    """
    n = round((len(positions) - 1) ** 0.5)
    if (h, w) == (n, n):
        return positions
    square = positions[1:].view(1, n, n, -1).permute(0, 3, 1, 2)
    mode = "bilinear" if rule == "bilinear" else "bicubic"
    resized = nn.functional.interpolate(
        square, size=(h, w), mode=mode, antialias=rule == "antialiased", align_corners=False
    )
    return torch.cat([positions[:1], resized.permute(0, 2, 3, 1).flatten(0, 2)])


def _nearest(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch
