"""Maps of several passes become one: layers, scales and backbones. Pure numpy, nothing of photos or distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.result import upsample

__all__ = ["fuse_backbones", "mean_maps"]

Float32 = npt.NDArray[np.float32]


def mean_maps(maps: Sequence[Float32]) -> Float32:
    """Mean over layers and scales: maps (B, h_l, w_l) -> (B, h, w) on the finest of their grids; volumes have a third
    side.

    The published mean; enlarging a coarser grid first changes nothing but its resolution, both being linear."""
    if len(maps) == 1:
        return maps[0]
    shape = max((m.shape[1:] for m in maps), key=math.prod)
    total = np.zeros((len(maps[0]), *shape), dtype=np.float64)
    for m in maps:
        total += m if m.shape[1:] == shape else upsample(m, shape)
    return (total / len(maps)).astype(np.float32)


def fuse_backbones(maps: Sequence[Float32]) -> Float32:
    """Mean of several backbones' maps (B, h_b, w_b), each first brought to the batch's median 0 and to a spread
    (median to 99th percentile) of 1, since distances in different feature spaces have different units."""
    if len(maps) == 1:
        return maps[0]
    standard = []
    for m in maps:
        middle, high = np.percentile(m, [50, 99])
        spread = high - middle if high > middle else float(m.std())
        standard.append((m - middle) / (spread if spread > 1e-6 else 1.0))  # a constant map says nothing
    return mean_maps([m.astype(np.float32) for m in standard])
