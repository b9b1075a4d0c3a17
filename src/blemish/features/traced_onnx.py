"""Backbones without nodes of their own, as torch's exporter writes them, and checked before anybody trusts them.

It knows torch, its exporter and ONNX Runtime; of a backbone only that ``extract`` turns pixels into grids.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from blemish.errors import BackboneError
from blemish.features.onnx_nodes import OPSET, Grid, Nodes
from blemish.features.registry import Backbone

__all__ = ["layer_grids"]

TOLERANCE = 1e-3  # of a grid's largest value; float32 alone gives about 1e-6


def layer_grids(nodes: Nodes, photo: Grid, backbone: Backbone) -> list[Grid]:
    """``photo: (1, 3, H, W)`` in [0, 255] -> the layers of ``backbone``, each (1, C, h, w).

    Raises ``BackboneError`` if onnxscript is missing, or if what was exported does not do what the backbone does."""
    pixels = _sample(photo.shape)
    model = _exported(backbone, pixels)
    expected = backbone.extract(pixels).grids
    _check(model, pixels, expected, backbone.facts.name)
    names = nodes.embed(model, photo.name)
    return [
        Grid(nodes.add("Transpose", name, perm=[0, 3, 1, 2]), grid.shape[3], (grid.shape[1], grid.shape[2]))
        for name, grid in zip(names, expected, strict=True)
    ]


class _Grids(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = backbone
        self.eval()

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._backbone.extract(photos).grids)


def _sample(shape: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, *shape, generator=generator) * 255


def _exported(backbone: Backbone, pixels: Tensor) -> Any:
    name = backbone.facts.name
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BackboneError(
            f"Exporting {name} needs the package onnxscript (effnet-lite2 does not). Type: pip install onnxscript"
        ) from error
    try:
        with _quiet():
            program = torch.onnx.export(
                _Grids(backbone), (pixels,), dynamo=True, opset_version=OPSET, external_data=False, verbose=False
            )
            assert program is not None
            model = program.model_proto
            model.SerializeToString()  # more than 2 GB cannot be one file
    except Exception as error:  # exporter and protobuf raise many kinds; all mean that there is no file
        raise BackboneError(
            f"torch {torch.__version__} cannot write {name} as ONNX: {str(error).strip().splitlines()[0]} The default "
            "backbone, effnet-lite2, always can be."
        ) from error
    return model


def _check(model: Any, pixels: Tensor, expected: list[Tensor], name: str) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for grid, found in zip(expected, session.run(None, {session.get_inputs()[0].name: pixels.numpy()}), strict=True):
        apart = float((torch.from_numpy(found) - grid).abs().max() / grid.abs().max())
        if not apart <= TOLERANCE:
            raise BackboneError(
                f"{name} exported by torch {torch.__version__} differs from the backbone itself by {apart:.1g} of its "
                "largest value. Try another version of torch, or freeze a run of the default backbone."
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of operators and packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
