"""A frozen detector as one ONNX graph: a photo of any size in, its score and map out.

Writes as nodes what ``frozen`` does in torch and numpy: resize, backbone, tokens, memories, score. ONNX Runtime, numpy
are all that has to be there to run it; what its score means stands in the file. It knows nodes and that file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blemish.bundle import Bundle, DetectorFacts, Eye
from blemish.errors import BackboneError, InputError
from blemish.features.neighbourhood_onnx import token_grids
from blemish.features.onnx_nodes import IR_VERSION, OPSET, Grid, Nodes, require_onnx
from blemish.machine import cores
from blemish.result import upsample
from blemish.scoring.memory import Float32, Memory
from blemish.whole_file import write_whole

if TYPE_CHECKING:
    from blemish.features.registry import Backbone

__all__ = ["detector_graph", "load", "write"]

Shape = tuple[int, int]
ROWS = 1000  # of a bank in one product, which bounds what similarities take: 4 MB of a grid of 32 x 32 tokens
CUBIC = -0.5  # the antialiased bicubic kernel of torch and Pillow
FACTS = "blemish"  # key in the file's metadata: DetectorFacts as JSON


def write(found: Bundle, backbone: Backbone, file: Path) -> None:
    """The detector ``found``, whose ``backbone`` has been loaded, as an ONNX file: complete or not at all.

    Raises ``BackboneError`` as ``detector_graph`` and ``OutputError``."""
    facts = found.facts
    model = detector_graph(
        backbone,
        (facts.height, facts.width),
        facts.radii,
        facts.join,
        found.memories,
        facts.top,
        {FACTS: json.dumps(facts.as_dict())},
    )
    write_whole(file, lambda stream: stream.write(model.SerializeToString()))


def load(file: Path) -> tuple[DetectorFacts, Eye]:
    """What ``write`` has written. Raises ``InputError`` if it is absent, damaged or no detector, ``BackboneError`` if
    ONNX Runtime is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackboneError("Running an ONNX file needs onnxruntime. Type: pip install 'blemish[onnx]'") from error
    if not file.is_file():
        raise InputError(f"There is no file {str(file)!r}. Give one that `blemish export` made.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 4  # errors are raised as well as printed
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        facts = DetectorFacts.of(json.loads(session.get_modelmeta().custom_metadata_map[FACTS]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{str(file)!r} is an ONNX file, but no detector that `blemish export` made.") from error
    except Exception as error:  # ONNX Runtime has no common base for its errors
        raise InputError(f"{str(file)!r} is damaged, or no ONNX file. Export the detector again.") from error

    def see(pixels: npt.NDArray[np.uint8]) -> tuple[float, Float32]:
        score, found = session.run(["score", "map"], {"photo": pixels})
        return float(score), found

    return facts, see


def detector_graph(
    backbone: Backbone,
    shape: Shape,
    radii: Sequence[int],
    join: bool,
    memories: Sequence[Memory],
    top: int,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """An ``onnx.ModelProto``: ``photo: (height, width, 3)`` uint8 RGB of any size -> ``score: ()`` float32 and
    ``map: (h, w)`` float32, one value a token.

    ``shape``: working (height, width), pixels. ``radii`` and ``join``: as ``token_grids`` takes them. ``memories``: one
    for each grid that it returns. ``top``: how many values of the map are averaged for the score. ``metadata`` goes
    into the file as it is.

    Raises ``BackboneError`` if the backbone cannot be written as ONNX, or a package is missing that does it.
    """
    nodes = Nodes()
    layers = _layer_grids(nodes, _resized(nodes, shape, backbone.facts.resize), backbone)
    tokens = token_grids(nodes, layers, radii, join)
    found = _mean(nodes, [_map(nodes, grid, memory) for grid, memory in zip(tokens, memories, strict=True)])
    nodes.result("map", nodes.add("Squeeze", found.name, nodes.whole(0, 1)))
    nodes.result("score", _score(nodes, found, top))
    return _model(nodes, found.shape, metadata or {})


def _resized(nodes: Nodes, shape: Shape, how: str) -> Grid:
    """The photo in the working size, antialiased and not rounded: (1, 3, H, W) in [0, 255].

    As torch has it, weights beyond the border are left out (``exclude_outside``); without that, ONNX gives them to the
    outermost pixels. Rows and columns first, channels last is the order in which ONNX Runtime uses all its threads."""
    photo = nodes.add("Unsqueeze", nodes.floats("photo"), nodes.whole(0))
    resized = nodes.add(
        "Resize",
        photo,
        "",
        "",
        nodes.whole(1, *shape, 3),
        antialias=1,
        exclude_outside=1,
        mode=how.removeprefix("bi"),
        cubic_coeff_a=CUBIC,
    )
    if how == "bicubic":
        resized = nodes.add("Clip", resized, nodes.constant(0), nodes.constant(255))
    return Grid(nodes.add("Transpose", resized, perm=[0, 3, 1, 2]), 3, shape)


def _layer_grids(nodes: Nodes, photo: Grid, backbone: Backbone) -> list[Grid]:
    from blemish.features import effnet, effnet_onnx, traced_onnx  # they load torch

    if isinstance(backbone, effnet.EfficientNetLite2):
        return effnet_onnx.layer_grids(nodes, photo, backbone)
    return traced_onnx.layer_grids(nodes, photo, backbone)


def _map(nodes: Nodes, tokens: Grid, memory: Memory) -> Grid:
    """``Memory.map`` of every token: (1, 1, h, w)."""
    rows = nodes.add("Transpose", tokens.name, perm=[0, 2, 3, 1])
    rows = nodes.add("Reshape", rows, nodes.whole(-1, tokens.channels))
    distance = _nearest(nodes, rows, memory.normal, memory.k)
    found = nodes.add("Mul", distance, nodes.constant(memory.scale))
    found = nodes.add("Add", found, nodes.constant(memory.offset))
    if len(memory.defects):
        beyond = nodes.add("Add", _nearest(nodes, rows, memory.defects, 1), nodes.constant(memory.margin))
        nearer = nodes.add("Relu", nodes.add("Sub", found, beyond))
        found = nodes.add("Add", found, nodes.add("Mul", nearer, nodes.constant(memory.boost)))
    return Grid(nodes.add("Reshape", found, nodes.whole(1, 1, *tokens.shape)), 1, tokens.shape)


def _nearest(nodes: Nodes, tokens: str, bank: Float32, k: int) -> str:
    """(N, 1) mean distance of each of (N, C) ``tokens`` to its ``k`` nearest in ``bank``."""
    kept = []
    for start in range(0, len(bank), ROWS):
        part = bank[start : start + ROWS]
        similar = nodes.add("MatMul", tokens, nodes.constant(np.ascontiguousarray(part.T)))
        kept.append(_largest(nodes, similar, min(k, len(part))))
    similar = kept[0] if len(kept) == 1 else _largest(nodes, nodes.add("Concat", *kept, axis=1), min(k, len(bank)))
    squared = nodes.add("Sub", nodes.constant(2), nodes.add("Mul", similar, nodes.constant(2)))
    distance = nodes.add("Sqrt", nodes.add("Relu", squared))
    return distance if k == 1 else nodes.add("ReduceMean", distance, nodes.whole(1), keepdims=1)


def _largest(nodes: Nodes, values: str, count: int) -> str:
    """The ``count`` largest of every row, in any order."""
    if count == 1:
        return nodes.add("ReduceMax", values, nodes.whole(1), keepdims=1)
    return nodes.add("TopK", values, nodes.whole(count), outputs=2, axis=1, sorted=0)


def _mean(nodes: Nodes, maps: Sequence[Grid]) -> Grid:
    """``fusion.mean_maps``: on the finest grid, coarser ones enlarged first."""
    if len(maps) == 1:
        return maps[0]
    shape = max((grid.shape for grid in maps), key=lambda shape: shape[0] * shape[1])
    total = nodes.add("Sum", *(_enlarged(nodes, grid, shape) for grid in maps))
    return Grid(nodes.add("Div", total, nodes.constant(len(maps))), 1, shape)


def _enlarged(nodes: Nodes, grid: Grid, shape: Shape) -> str:
    """``upsample`` as two products."""
    if grid.shape == shape:
        return grid.name
    rows, columns = (
        upsample(np.eye(size, dtype=np.float32), (size, to)) for size, to in zip(grid.shape, shape, strict=True)
    )
    return nodes.add("MatMul", nodes.constant(rows.T), nodes.add("MatMul", grid.name, nodes.constant(columns)))


def _score(nodes: Nodes, found: Grid, top: int) -> str:
    """Mean of the ``top`` largest values of the map, a number."""
    values = nodes.add("Reshape", found.name, nodes.whole(1, -1))
    largest = _largest(nodes, values, min(top, found.shape[0] * found.shape[1]))
    return nodes.add("ReduceMean", largest, nodes.whole(0, 1), keepdims=0)


def _model(nodes: Nodes, shape: Shape, metadata: Mapping[str, str]) -> Any:
    onnx = require_onnx()
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes.nodes,
        "blemish",
        [value("photo", onnx.TensorProto.UINT8, ["height", "width", 3])],
        [value("score", onnx.TensorProto.FLOAT, []), value("map", onnx.TensorProto.FLOAT, list(shape))],
        nodes.constants,
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="blemish")
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model
