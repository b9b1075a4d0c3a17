"""EfficientNet-Lite2 as ONNX nodes, written by hand from the folded weights: no exporter, no tracing.

It knows the network of ``effnet`` and ONNX, nothing of tokens or scores.
"""

from __future__ import annotations

from blemish.features.effnet import _STRIDE_AFTER_BLOCK, EfficientNetLite2, _Conv, _MBConv, _same
from blemish.features.onnx_nodes import Grid, Nodes

__all__ = ["layer_grids"]


def layer_grids(nodes: Nodes, photo: Grid, network: EfficientNetLite2) -> list[Grid]:
    """``photo: (1, 3, H, W)`` in [0, 255] -> the layers of ``network.layers``, each (1, C, H / stride, W / stride)."""
    name = nodes.add("Sub", nodes.add("Div", photo.name, nodes.constant(127.5)), nodes.constant(1))
    limits = nodes.constant(0), nodes.constant(6)
    x = _convolved(nodes, Grid(name, 3, photo.shape), network.stem, limits)
    by_stride: dict[int, Grid] = {}
    for index, block in enumerate(network.blocks):
        assert isinstance(block, _MBConv)
        y = x if block.expand is None else _convolved(nodes, x, block.expand, limits)
        y = _convolved(nodes, _convolved(nodes, y, block.depthwise, limits), block.project)
        x = Grid(nodes.add("Add", y.name, x.name), y.channels, y.shape) if block.residual else y
        by_stride[_STRIDE_AFTER_BLOCK.get(index, 0)] = x
        if max(network.layers) in by_stride:
            break
    return [by_stride[stride] for stride in network.layers]


def _convolved(nodes: Nodes, x: Grid, conv: _Conv, limits: tuple[str, str] | None = None) -> Grid:
    """A convolution, clipped to ``limits`` (ReLU6)."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    (top, bottom), (left, right) = (_same(size, kernel, stride) for size in x.shape)
    assert conv.bias is not None
    name = nodes.add(
        "Conv",
        x.name,
        *(nodes.constant(values.detach().cpu().numpy()) for values in (conv.weight, conv.bias)),
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[top, left, bottom, right],
        group=conv.groups,
    )
    shape = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    return Grid(nodes.add("Clip", name, *limits) if limits else name, conv.out_channels, shape)
