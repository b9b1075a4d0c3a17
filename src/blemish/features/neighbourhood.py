"""From a backbone's layer grids to the tokens that are matched (LNAMD: local neighbourhood aggregation).

Pure functions on ``(b, h, w, C)`` grids. Nothing here knows photos, distances or scores.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["TokenGrid", "aggregate", "lnamd", "token_grids", "unit_norm"]

TokenGrid = Tensor  # (b, h, w, C), every token of length 1


def unit_norm(x: Tensor) -> Tensor:
    """Scale the last axis to length 1. A zero vector (a perfectly flat photo) becomes the constant unit vector, so
    that flat matches flat and nothing is ever NaN."""
    norm = x.norm(dim=-1, keepdim=True)
    usable = norm > 1e-12  # not so if it is NaN
    unit: Tensor = x / norm.clamp_(min=1e-12)
    return unit if usable.all() else unit.masked_fill_(~usable, x.shape[-1] ** -0.5)


def aggregate(grid: Tensor, r: int) -> Tensor:
    """Mean over the r x r neighbourhood of every token, zeros beyond the border counted in: (b, h, w, C) -> same.

    Equal to MuSc's unfold with adaptive pooling, whose output length is C (Li et al. 2024, section 3.2)."""
    if r == 1:
        return grid
    pooled = F.avg_pool2d(grid.permute(0, 3, 1, 2), r, stride=1, padding=r // 2, count_include_pad=True)
    return pooled.permute(0, 2, 3, 1)


def lnamd(grid: Tensor, r: int) -> TokenGrid:
    """LNAMD of one layer and one neighbourhood r (odd): (b, h, w, C) -> unit tokens of the same shape.

    LayerNorm over the whole block (h, w and C jointly, no affine, eps 1e-5), mean over r x r, unit length
    (MuSc, Li et al. 2024, equations 1 and 2 and the authors' code)."""
    return unit_norm(aggregate(F.layer_norm(grid, grid.shape[1:]), r))


def token_grids(grids: list[Tensor], radii: tuple[int, ...], join: bool) -> list[TokenGrid]:
    """All token grids of a backbone's output: one per layer and r, or with ``join`` one per r.

    Joined: every layer is pooled to the coarsest grid and brought to unit length, so that each has the same say;
    then averaged over r x r and concatenated: one matching pass instead of one per layer, and the fine layer's
    small flaws are not matched alone, where their features mean little.
    """
    if not join:
        return [lnamd(grid, r) for grid in grids for r in radii]
    coarsest = min((tuple(grid.shape[1:3]) for grid in grids), key=lambda shape: shape[0] * shape[1])
    layers = [unit_norm(_pool_to(grid, coarsest)) for grid in grids]
    return [unit_norm(torch.cat([aggregate(layer, r) for layer in layers], dim=-1)) for r in radii]


def _pool_to(grid: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(grid.shape[1:3]) == shape:
        return grid
    pooled = F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), (shape[0], shape[1]))
    return pooled.permute(0, 2, 3, 1)
