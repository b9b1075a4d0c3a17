"""An ONNX graph that grows node by node. It knows ONNX, nothing of what is computed with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import BackboneError

__all__ = ["IR_VERSION", "OPSET", "Grid", "Nodes", "require_onnx"]

OPSET, IR_VERSION = 18, 8  # the first with an antialiased Resize; ONNX Runtime has them since 1.14 (2023)


@dataclass(frozen=True)
class Grid:
    """A value of the graph: (1, channels, *shape) float32."""

    name: str
    channels: int
    shape: tuple[int, int]  # rows, columns


class Nodes:
    """Values are known by their names, which ``add`` and ``constant`` return."""

    def __init__(self) -> None:
        self._onnx = require_onnx()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.array(values, dtype=dtype, order="C"), name))
        return name

    def whole(self, *numbers: int) -> str:
        """A vector of integers, as axes and shapes are given."""
        return self.constant(numbers, np.int64)

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """A node; the name of its first output. ``outputs``: how many it has to have, wanted or not."""
        name = f"{operator}_{len(self.nodes)}"
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return name

    def floats(self, name: str) -> str:
        return self.add("Cast", name, to=self._onnx.TensorProto.FLOAT)

    def result(self, name: str, value: str) -> None:
        """An output of the graph."""
        self.nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))

    def embed(self, model: Any, photo: str) -> list[str]:
        """Another model becomes part of the graph, its one input being ``photo``: the names of its outputs."""
        graph = self._onnx.compose.add_prefix(self._onnx.inliner.inline_local_functions(model), "backbone/").graph
        self.nodes.append(self._onnx.helper.make_node("Identity", [photo], [graph.input[0].name]))
        self.nodes += graph.node
        self.constants += graph.initializer
        return [output.name for output in graph.output]


def require_onnx() -> Any:
    try:
        import onnx
        import onnx.compose
        import onnx.inliner
    except ImportError as error:
        raise BackboneError("Writing ONNX needs the package onnx. Type: pip install 'blemish[onnx]'") from error
    return onnx
