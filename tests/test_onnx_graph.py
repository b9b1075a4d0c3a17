"""The exported graph against the torch and numpy path that it is made from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from blemish import onnx_graph
from blemish.bundle import Bundle, DetectorFacts
from blemish.errors import BackboneError, InputError, OutputError
from blemish.features import neighbourhood_onnx, traced_onnx
from blemish.features.neighbourhood import token_grids
from blemish.features.onnx_nodes import Grid, Nodes
from blemish.features.registry import Backbone, load_backbone
from blemish.frozen import Detector, scored
from blemish.onnx_graph import detector_graph
from blemish.scoring.memory import Memory

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RGB = np.ndarray[Any, np.dtype[np.uint8]]
SHAPE = 96, 64  # working size
RADII = {True: (3,), False: (1, 3)}


def photo(height: int, width: int) -> RGB:
    """Smooth colours, an edge and some noise."""
    rng = np.random.default_rng(height + width)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = np.stack([np.sin(9 * x + 5 * y), np.cos(12 * y), (x > y) - 0.5], axis=-1)
    return np.clip(127 + 90 * waves + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def grids(backbone: Backbone, pixels: RGB, radii: tuple[int, ...], join: bool) -> list[np.ndarray]:
    """Tokens by torch: the photo resized in float32 and not rounded."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size=SHAPE, mode=backbone.facts.resize, antialias=True).clamp(0, 255)
    return [grid[0].numpy() for grid in token_grids(backbone.extract(x).grids, radii, join)]


def memories(backbone: Backbone, join: bool, k: int, defects: int) -> tuple[Memory, ...]:
    """Of another photo's tokens, a little astray."""
    rng = np.random.default_rng(k)
    made = []
    for grid in grids(backbone, photo(200, 150), RADII[join], join):
        tokens = grid.reshape(-1, grid.shape[-1]) + rng.normal(0, 0.02, (grid.shape[0] * grid.shape[1], grid.shape[-1]))
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        tokens = tokens.astype(np.float32)
        made.append(Memory(tokens[defects:], tokens[:defects], k=k, scale=1.3, offset=-0.1, boost=0.7))
    return tuple(made)


def session(model: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(model: Any, pixels: RGB) -> tuple[float, np.ndarray]:
    score, found = session(model).run(["score", "map"], {"photo": pixels})
    assert score.shape == ()
    return float(score), found


@pytest.fixture(scope="module")
def effnet() -> Backbone:
    return load_backbone("effnet-lite2")


SHAPES = [
    (96, 64),  # the working size itself
    (300, 200),  # larger, of its proportions
    (37, 51),  # smaller, odd, of others
    (1, 90),
    (211, 1),
    (2000, 1501),
]


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize(
    ("k", "defects", "top"),
    [
        (1, 0, 1),
        (1, 5, 10),
        (3, 0, 10),
        (3, 5, 1),
        (1000, 1, 1000),  # more than there are tokens in the bank, and in the map
    ],
)
def test_same_as_torch_and_numpy(
    k: int, defects: int, top: int, join: bool, effnet: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "ROWS", 7)  # several products a bank, the last one shorter
    banks = memories(effnet, join, k, defects)
    graph = session(detector_graph(effnet, SHAPE, RADII[join], join, banks, top))
    for shape in SHAPES:
        pixels = photo(*shape)
        expected, expected_map = scored(grids(effnet, pixels, RADII[join], join), banks, top)
        score, found = graph.run(["score", "map"], {"photo": pixels})
        assert score == pytest.approx(expected, rel=1e-4), shape
        np.testing.assert_allclose(found, expected_map, rtol=0, atol=1e-4 * np.abs(expected_map).max())


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(96, 64), (33, 200), (64, 96), (97, 63), (1, 1), (1000, 700)])
def test_resize_is_that_of_torch(shape: tuple[int, int], how: str) -> None:
    nodes = Nodes()
    resized = onnx_graph._resized(nodes, SHAPE, how)
    nodes.result("map", resized.name)
    nodes.result("score", nodes.constant(0))
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)  # noise: the hardest
    _, found = run(onnx_graph._model(nodes, (1, 3, *SHAPE), {}), pixels)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = F.interpolate(x, size=SHAPE, mode=how, antialias=True).clamp(0, 255)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=0.02)  # of 255; float32 places of samples


def test_flat_photo_has_the_tokens_of_flat_photos() -> None:
    nodes = Nodes()
    zero = Grid(nodes.add("Mul", onnx_graph._resized(nodes, SHAPE, "bilinear").name, nodes.constant(0)), 3, SHAPE)
    (tokens,) = neighbourhood_onnx.token_grids(nodes, [zero], (3,), True)
    nodes.result("map", tokens.name)
    nodes.result("score", nodes.constant(0))
    _, found = run(onnx_graph._model(nodes, (1, 3, *SHAPE), {}), photo(9, 9))
    (expected,) = token_grids([torch.zeros(1, *SHAPE, 3)], (3,), True)
    np.testing.assert_allclose(found, expected.permute(0, 3, 1, 2).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        ((12, 8), (6, 4)),
        ((7, 9), (3, 4)),  # no whole number of tokens a cell
    ],
)
def test_layers_of_other_sizes_are_pooled_as_in_torch(fine: tuple[int, int], coarse: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(1, c, *shape)).astype(np.float32) for c, shape in ((5, fine), (4, coarse))]
    nodes = Nodes()
    given = [Grid(nodes.constant(layer), layer.shape[1], layer.shape[2:]) for layer in layers]
    (tokens,) = neighbourhood_onnx.token_grids(nodes, given, (3,), True)
    nodes.result("map", tokens.name)
    nodes.result("score", nodes.constant(0))
    _, found = run(onnx_graph._model(nodes, (1, 9, *coarse), {}), photo(9, 9))
    (expected,) = token_grids([torch.from_numpy(layer).permute(0, 2, 3, 1) for layer in layers], (3,), True)
    np.testing.assert_allclose(found, expected.permute(0, 3, 1, 2).numpy(), rtol=1e-5, atol=1e-6)


def test_backbone_by_torchs_exporter() -> None:
    pytest.importorskip("onnxscript")
    backbone = load_backbone("mock")
    banks = memories(backbone, False, 2, 3)
    pixels = photo(150, 99)
    expected, expected_map = scored(grids(backbone, pixels, RADII[False], False), banks, 2)
    score, found = run(detector_graph(backbone, SHAPE, RADII[False], False, banks, 2), pixels)
    assert score == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(found, expected_map, atol=1e-4)


def test_what_the_exporter_gets_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    backbone = load_backbone("mock")
    right = traced_onnx._exported(backbone, torch.zeros(1, 3, *SHAPE))
    monkeypatch.setattr(traced_onnx, "_exported", lambda backbone, pixels: right)
    monkeypatch.setattr(backbone, "extract", lambda pixels: type(backbone).extract(backbone, pixels.flip(3)))
    with pytest.raises(BackboneError, match=r"mock exported by torch .* differs from the backbone itself"):
        traced_onnx.layer_grids(Nodes(), Grid("photo", 3, SHAPE), backbone)


@pytest.mark.parametrize(
    ("package", "backbone", "message"),
    [
        ("onnx", "effnet-lite2", r"pip install 'blemish\[onnx\]'"),
        ("onnxscript", "mock", "needs the package onnxscript .* pip install onnxscript"),
    ],
)
def test_missing_package(package: str, backbone: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackboneError, match=message):
        detector_graph(load_backbone(backbone), SHAPE, (3,), True, [], 1)


FACTS = DetectorFacts(
    product="part",
    backbone="effnet-lite2",
    weights_sha256="",
    licence="",
    layers=(8, 16),
    radii=(3,),
    join=True,
    height=SHAPE[0],
    width=SHAPE[1],
    resize="bilinear",
    deep_ceiling=65535,
    top=2,
    threshold=0.5,
    unsure_low=0.4,
    unsure_high=0.6,
    meaning="made up",
    pixel_threshold=0.5,
    colour_low=0.0,
    colour_high=1.0,
    photos=(),
    made_from={},
    made_by="",
    created="",
)


def test_a_file_is_the_detector_that_was_written(effnet: Backbone, tmp_path: Path) -> None:
    banks = memories(effnet, True, 1, 2)
    onnx_graph.write(Bundle(FACTS, banks, {}), effnet, tmp_path / "part.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["part.onnx"]
    detector = Detector.load(tmp_path / "part.onnx")
    assert detector.facts == FACTS
    pixels = photo(70, 50)
    expected, expected_map = scored(grids(effnet, pixels, (3,), True), banks, 2)
    checked = detector.check(pixels)
    assert checked.score == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(checked.grid, expected_map, atol=1e-4)


def test_running_a_file_loads_no_torch(effnet: Backbone, tmp_path: Path) -> None:
    onnx_graph.write(Bundle(FACTS, memories(effnet, True, 1, 0), {}), effnet, tmp_path / "part.onnx")
    np.save(tmp_path / "photo.npy", photo(70, 50))
    program = (
        "import sys, numpy; sys.modules['torch'] = sys.modules['onnx'] = None; from blemish.frozen import Detector; "
        "print(Detector.load('part.onnx').check(numpy.load('photo.npy')).score > 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr


def test_files_that_are_no_detectors(effnet: Backbone, tmp_path: Path) -> None:
    file = tmp_path / "part.onnx"
    with pytest.raises(InputError, match="There is no file"):
        onnx_graph.load(file)
    file.write_bytes(b"half a download")
    with pytest.raises(InputError, match="damaged, or no ONNX file"):
        onnx_graph.load(file)
    model = detector_graph(effnet, SHAPE, (3,), True, memories(effnet, True, 1, 0), 1, {"blemish": "{}"})
    file.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="no detector that `blemish export` made"):
        onnx_graph.load(file)
    with pytest.raises(OutputError, match="Choose another --out"):
        onnx_graph.write(Bundle(FACTS, memories(effnet, True, 1, 0), {}), effnet, tmp_path / "no" / "part.onnx")
