"""Token grids as ONNX nodes: what ``neighbourhood`` does in torch. It knows grids, nothing of photos or scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.features.onnx_nodes import Grid, Nodes

__all__ = ["token_grids"]

SHORTEST = 1e-12  # a vector that is no longer counts as zero, as in ``neighbourhood.unit_norm``
LAYER_NORM_EPS = 1e-5


def token_grids(nodes: Nodes, grids: Sequence[Grid], radii: Sequence[int], join: bool) -> list[Grid]:
    """As ``neighbourhood.token_grids``: one grid of unit tokens a layer and r, or with ``join`` one an r."""
    if not join:
        normed = [_normed(nodes, grid) for grid in grids]
        return [_unit(nodes, _aggregated(nodes, grid, r)) for grid in normed for r in radii]
    coarsest = min((grid.shape for grid in grids), key=lambda shape: shape[0] * shape[1])
    layers = [_unit(nodes, _pooled(nodes, grid, coarsest)) for grid in grids]
    return [_unit(nodes, _concatenated(nodes, [_aggregated(nodes, layer, r) for layer in layers])) for r in radii]


def _unit(nodes: Nodes, x: Grid) -> Grid:
    """Tokens of length 1; a zero vector becomes the constant unit vector."""
    norm = nodes.add("ReduceL2", x.name, nodes.whole(1), keepdims=1)
    unit = nodes.add("Div", x.name, nodes.add("Max", norm, nodes.constant(SHORTEST)))
    usable = nodes.add("Greater", norm, nodes.constant(SHORTEST))
    return Grid(nodes.add("Where", usable, unit, nodes.constant(x.channels**-0.5)), x.channels, x.shape)


def _aggregated(nodes: Nodes, x: Grid, r: int) -> Grid:
    """Mean over r x r, zeros beyond the border counted in."""
    if r == 1:
        return x
    name = nodes.add("AveragePool", x.name, kernel_shape=[r, r], strides=[1, 1], pads=[r // 2] * 4, count_include_pad=1)
    return Grid(name, x.channels, x.shape)


def _pooled(nodes: Nodes, x: Grid, shape: tuple[int, int]) -> Grid:
    """Mean over what falls to each cell of a coarser grid: two products, as these need not be whole tokens."""
    if x.shape == shape:
        return x
    rows, columns = (_shares(size, to) for size, to in zip(x.shape, shape, strict=True))
    name = nodes.add("MatMul", nodes.constant(rows), x.name)
    return Grid(nodes.add("MatMul", name, nodes.constant(columns.T)), x.channels, shape)


def _shares(size: int, to: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(to, size): torch's adaptive mean, whose windows run from floor(i * size / to) to ceil((i + 1) * size / to)."""
    shares = np.zeros((to, size))
    for i in range(to):
        first, end = i * size // to, -(-(i + 1) * size // to)
        shares[i, first:end] = 1 / (end - first)
    return shares


def _normed(nodes: Nodes, x: Grid) -> Grid:
    """LayerNorm over the whole block, without weights: those of the operator would be as large as the block."""
    block = nodes.whole(1, 2, 3)
    centred = nodes.add("Sub", x.name, nodes.add("ReduceMean", x.name, block))
    variance = nodes.add("ReduceMean", nodes.add("Mul", centred, centred), block)
    spread = nodes.add("Sqrt", nodes.add("Add", variance, nodes.constant(LAYER_NORM_EPS)))
    return Grid(nodes.add("Div", centred, spread), x.channels, x.shape)


def _concatenated(nodes: Nodes, grids: Sequence[Grid]) -> Grid:
    if len(grids) == 1:
        return grids[0]
    name = nodes.add("Concat", *(grid.name for grid in grids), axis=1)
    return Grid(name, sum(grid.channels for grid in grids), grids[0].shape)
