"""Tokens of a volume from a backbone for photos: slices along three axes, pooled to cubes, brought to one frame.

After the training-free 3-D scheme for brain MRI (arXiv 2602.15315): every token stands for a cube of the volume and
says how it looks from three sides. Tensors in, tensors out; files, masks and scores are not known here.

The full-width tokens of a slice live until the cubes they belong to are complete; what is kept is projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from blemish.errors import ConfigError
from blemish.features.neighbourhood import unit_norm
from blemish.features.registry import Backbone

__all__ = ["AXES", "VolumeTokens", "cell_means", "cells_inside", "projection", "slice_tokens", "volume_tokens"]

AXES = (0, 1, 2)  # slices across the first, second and third axis: sagittal, coronal, axial for a volume in RAS order
BATCH = 8  # slices in one call of the backbone


@dataclass(frozen=True)
class VolumeTokens:
    """``layers[l]``: (N, C_l) float32, unit length, of the cells that are kept. ``cells``: (N,) their numbers in the
    grid, counted along the last axis first. ``grid``: (gx, gy, gz)."""

    layers: list[Tensor]
    cells: Tensor
    grid: tuple[int, int, int]


def volume_tokens(
    volume: Tensor,
    backbone: Backbone,
    *,
    grid: int = 16,
    inside: Tensor | None = None,
    width: int = 64,
    overlap: float = 1.0,
    slice_step: int = 1,
    slice_size: int | None = None,
    axes: tuple[int, ...] = AXES,
    seed: int = 42,
) -> VolumeTokens:
    """Tokens of ``volume: (S, S, S)`` float in 0..1 on ``grid`` x ``grid`` x ``grid`` cells.

    ``inside``: (grid, grid, grid) bool, the cells that are kept (``cells_inside``), by default all. ``width``: channels
    a layer is projected to, per axis; a layer that has no more stays as it is. ``overlap``: thickness of the slab that
    is averaged to a cell, in cells; 1 is published. ``slice_step``: every how manieth slice is looked at.
    ``slice_size``: side of the slices as the network sees them, by default S; finer tokens come from larger slices.
    ``axes``: across which axes slices are cut; volumes of thick slices may do better with the one they were taken in.
    ``seed``: of the projection; layer number l uses ``seed + l``.

    The published scheme is grid 16, width 64, S = 224, four layers of a ViT-L/14 matched one by one. Raises
    ``ConfigError`` if S is not a multiple of the grid, or the slices not of the backbone's patch.
    """
    size = volume.shape[0]
    seen = slice_size or size
    if volume.shape != (size, size, size):
        raise ConfigError(f"Tokens are made of a cube; received {' x '.join(map(str, volume.shape))}.")
    if grid < 1 or size % grid:
        raise ConfigError(f"The cube's side, {size}, is not a multiple of the grid, {grid}.")
    if seen % backbone.facts.patch:
        raise ConfigError(
            f"Slices of {seen} pixels do not fit {backbone.facts.name}: choose a multiple of {backbone.facts.patch}."
        )
    keep = torch.ones(grid**3, dtype=torch.bool) if inside is None else inside.reshape(-1).cpu()
    if keep.numel() != grid**3:
        raise ConfigError(f"The mask has {keep.numel()} cells; the grid has {grid**3}.")
    by_axis = [slice_tokens(volume, axis, backbone, grid, width, overlap, slice_step, seen, seed) for axis in axes]
    cells = keep.nonzero().squeeze(1)
    layers = []
    for sides in zip(*by_axis, strict=True):
        joined = torch.cat([side.reshape(grid**3, -1)[cells] for side in sides], dim=1)
        layers.append(unit_norm(joined))
    return VolumeTokens(layers, cells, (grid, grid, grid))


def slice_tokens(
    volume: Tensor,
    axis: int,
    backbone: Backbone,
    grid: int,
    width: int,
    overlap: float,
    slice_step: int,
    slice_size: int,
    seed: int,
) -> list[Tensor]:
    """Per layer (grid, grid, grid, c) in the volume's own frame, from slices across one axis. c <= ``width``.

    A slab's slices are averaged at full width, brought to unit length and only then projected, as published; so no
    more full-width tokens are held than the slabs that a slice belongs to.
    """
    size = volume.shape[0]
    across = volume.movedim(axis, 0)  # slices first; the other two axes keep their order
    rows = (torch.arange(0, size, slice_step) + min(slice_step, size) // 2).clamp(max=size - 1)
    weights = _slabs(rows, size, grid, overlap)
    last = [int(weights[cell].nonzero().max()) for cell in range(grid)]
    sums: dict[int, list[Tensor]] = {}
    done: list[list[Tensor]] = [[] for _ in range(grid)]
    matrices: list[Tensor | None] = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        grids = backbone.extract(_as_photos(across[some.to(volume.device)], slice_size)).grids
        fitted = [_fit(layer, grid) for layer in grids]
        if not matrices:
            matrices = [_projection_or_none(layer.shape[-1], width, seed + at) for at, layer in enumerate(grids)]
        share = weights[:, start : start + len(some)].to(fitted[0])
        for cell in share.any(dim=1).nonzero().squeeze(1).tolist():
            added = [torch.tensordot(share[cell], layer, dims=1) for layer in fitted]
            sums[cell] = [old + new for old, new in zip(sums[cell], added, strict=True)] if cell in sums else added
        for cell in [cell for cell in sums if last[cell] < start + len(some)]:
            done[cell] = [_projected(x, m) for x, m in zip(sums.pop(cell), matrices, strict=True)]
    return [torch.stack(layer).movedim(0, axis) for layer in zip(*done, strict=True)]


def projection(channels: int, width: int, seed: int) -> Tensor:
    """(channels, width): Gaussian with columns of unit length, scaled by 1 / sqrt(width); the same on every machine
    for the same seed (drawn on the CPU in float64)."""
    draw = torch.randn(channels, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scaled: Tensor = draw / draw.norm(dim=0) / width**0.5
    return scaled.float()


def cells_inside(brain: Tensor, grid: int, share: float = 0.0) -> Tensor:
    """Which cells hold brain: (S, S, S), bool or the share of every voxel, -> (grid, grid, grid) bool.

    A cell counts if more than ``share`` of its volume is brain; 0 is published (any voxel)."""
    if brain.shape[0] % grid:
        raise ConfigError(f"The mask's side, {brain.shape[0]}, is not a multiple of the grid, {grid}.")
    shares: Tensor = F.avg_pool3d(brain.float()[None, None], brain.shape[0] // grid)[0, 0]
    return shares > share


def cell_means(volume: Tensor, brain: Tensor, grid: int) -> Tensor:
    """The mean of ``volume: (S, S, S)``, 0 outside of the brain, over the brain in every cell: (grid, grid, grid).
    ``brain``: (S, S, S) the share of every voxel; 0 where there is none."""
    side = brain.shape[0] // grid
    means, shares = (F.avg_pool3d(one.float()[None, None], side)[0, 0] for one in (volume, brain))
    return torch.where(shares > 0, means / shares.clamp(min=1e-6), 0)


def _as_photos(slices: Tensor, size: int) -> Tensor:
    """(b, S, S) in 0..1 -> (b, 3, size, size) uint8: grey in three channels."""
    x = slices.float()[:, None]
    if x.shape[-1] != size:
        x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return (x * 255).round_().clamp_(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)


def _fit(layer: Tensor, grid: int) -> Tensor:
    """(b, h, w, C) -> (b, grid, grid, C): averaged where the layer is finer, interpolated where it is coarser."""
    if layer.shape[1:3] == (grid, grid):
        return layer
    x = layer.permute(0, 3, 1, 2)
    if layer.shape[1] % grid == 0 and layer.shape[2] % grid == 0:
        x = F.avg_pool2d(x, (layer.shape[1] // grid, layer.shape[2] // grid))
    else:
        x = F.interpolate(x, (grid, grid), mode="bilinear", align_corners=False, antialias=True)
    return x.permute(0, 2, 3, 1)


def _slabs(rows: Tensor, size: int, grid: int, overlap: float) -> Tensor:
    """(grid, n): the weight of every slice in every cell; they sum to 1 over the slices that a cell averages.

    ``rows``: (n,) the slices. A cell that holds none (steps wider than cells) takes the nearest."""
    side = size / grid
    centres = (torch.arange(grid) + 0.5) * side
    away = (rows + 0.5 - centres[:, None]).abs()
    member = (away < overlap * side / 2 + 1e-6) | (away == away.amin(dim=1, keepdim=True))
    return member.float() / member.sum(dim=1, keepdim=True)


def _projection_or_none(channels: int, width: int, seed: int) -> Tensor | None:
    """None where there is nothing to save: a projection to more channels only adds noise."""
    return projection(channels, width, seed) if channels > width else None


def _projected(tokens: Tensor, matrix: Tensor | None) -> Tensor:
    unit = unit_norm(tokens)
    return unit if matrix is None else unit @ matrix.to(unit)
