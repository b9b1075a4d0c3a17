"""Pairs of images on a CUDA device: the fused kernel where Triton is, plain torch where it is not.

The product takes tokens rounded to half precision and the norms of those very numbers (methods 2.5), and only
proposes: distances are taken anew, in float32, from the tokens themselves. What is proposed may be farther than the
nearest by what rounding moves it, a few 1e-5 for unit tokens. So distances are not the CPU's to the last bit, but for
one method and kind of device they are the same whatever devices, tiles and company a pair is done in.

It knows tensors of two sides of images; ``devices`` knows tiles, streams and processes. Plain torch works on the device
"cpu" too, for tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from blemish.matching.kernel import Blocks

__all__ = ["PRODUCT_BYTES", "Method", "Side", "choose_method", "cuda_devices", "match_pairs", "prepare"]

Method = Literal["fused", "torch"]

PRODUCT_BYTES = 2**28  # of products and gathered tokens that plain torch works on at once
MOST_PAIRS = 32  # that it does at once, however small


def cuda_devices() -> tuple[str, ...]:
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


@cache
def choose_method(device: str) -> tuple[Method, str]:
    """How pairs are multiplied on a device, and why. The fused kernel is tried first, on two small images."""
    if torch.device(device).type != "cuda":
        return "torch", f"plain torch: {device} is no CUDA device"
    if find_spec("triton") is None:
        return "torch", "plain torch: Triton is not installed; pip install 'blemish[cuda]'"
    if torch.version.cuda and torch.cuda.get_device_capability(device) < (8, 0):
        major, minor = torch.cuda.get_device_capability(device)
        return "torch", f"plain torch: the fused kernel needs compute capability 8.0, {device} has {major}.{minor}"
    import triton

    try:
        with torch.cuda.device(device):
            difference = _difference_of_methods(device)
    except Exception as error:  # whatever a compiler, its tools or a driver may come up with
        first = (str(error).strip().splitlines() or [""])[0]
        return "torch", f"plain torch: Triton {triton.__version__} failed ({type(error).__name__}: {first})"
    if not difference < 1e-3:
        return "torch", f"plain torch: distances of Triton {triton.__version__} were off by {difference:.2g}"
    return "fused", f"fused kernel: Triton {triton.__version__}"


def _difference_of_methods(device: str) -> float:
    tokens = torch.randn(2, 200, 72, generator=torch.Generator().manual_seed(0))
    tokens = (tokens / tokens.norm(dim=-1, keepdim=True)).to(device)
    pairs = torch.tensor([[0, 1]], dtype=torch.int32, device=device)
    fused, plain = (match_pairs(side, side, pairs) for side in (prepare(tokens, "fused"), prepare(tokens, "torch")))
    return max(float((x - y).abs().max()) for x, y in ((fused[0], plain[0]), (fused[2], plain[2])))


@dataclass(frozen=True)
class Side:
    """Images on a device. ``rounded``: float16, filled up to the kernel's blocks, or for plain torch float32 numbers
    that fit in half precision. ``norms``: half the squared lengths of the rounded tokens, infinite for padding.
    ``blocks``: those of the kernel, None for plain torch."""

    tokens: Tensor  # (n, N, C) float32
    rounded: Tensor  # (n, N + padding, C + padding)
    norms: Tensor  # (n, N + padding) float32
    blocks: Blocks | None

    def tensors(self) -> tuple[Tensor, ...]:
        return self.tokens, self.rounded, self.norms


def prepare(tokens: Tensor, method: Method, blocks: Blocks | None = None) -> Side:
    """(n, N, C) float32 on any device, contiguous -> what ``match_pairs`` takes, and by which method."""
    images, count, channels = tokens.shape
    shape, dtype = (count, channels), torch.float32
    if method == "fused":
        from blemish.matching.kernel import Blocks

        blocks = blocks or Blocks()
        shape, dtype = blocks.padded(count, channels), torch.float16
    rounded = tokens.new_zeros(images, *shape, dtype=dtype)
    norms = tokens.new_full((images, shape[0]), torch.inf)
    for image, on_device, norm in zip(tokens, rounded, norms, strict=True):  # one by one: whatever the company, one sum
        half = image.half()
        on_device[:count, :channels] = half
        norm[:count] = half.float().square().sum(-1) / 2
    return Side(tokens, rounded, norms, blocks)


def match_pairs(left: Side, right: Side, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distances (n, N) from tokens of ``left`` to the nearest of ``right`` and its number, and the same back.

    ``pairs``: (n, 2) int32 on the sides' device, row of ``left`` and row of ``right``. Of tokens that are equally near
    after rounding it is the first."""
    if left.blocks is None:
        return _match_plainly(left, right, pairs)
    from blemish.matching.kernel import fused_distances, fused_nearest

    count = left.tokens.shape[1]
    of_left, of_right = fused_nearest(left.rounded, right.rounded, left.norms, right.norms, pairs, left.blocks)
    return (
        fused_distances(left.tokens, right.tokens, pairs, 0, of_left),
        of_left[:, :count],
        fused_distances(right.tokens, left.tokens, pairs, 1, of_right),
        of_right[:, :count],
    )


def _match_plainly(left: Side, right: Side, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As many pairs at once as fit, always as many: a library may choose another product for another number."""
    count, channels = left.tokens.shape[1:]
    group = max(1, min(MOST_PAIRS, PRODUCT_BYTES // (4 * count * (count + 6 * channels))))
    found = []
    with _tensor_float(left.tokens.device):
        for start in range(0, len(pairs), group):
            some = pairs[start : start + group]
            i, j = torch.cat([some, some[:1].expand(group - len(some), 2)]).T.long()
            value = torch.bmm(left.rounded[i], right.rounded[j].mT)
            value -= left.norms[i][:, :, None]
            value -= right.norms[j][:, None, :]
            of_left, of_right = value.argmax(2), value.argmax(1)
            a, b = left.tokens[i], right.tokens[j]
            forward, backward = _distances(a, b, of_left), _distances(b, a, of_right)
            found.append([part[: len(some)] for part in (forward, of_left, backward, of_right)])
    forward, of_left, backward, of_right = (torch.cat(parts) for parts in zip(*found, strict=True))
    return forward, of_left, backward, of_right


def _distances(a: Tensor, b: Tensor, nearest: Tensor) -> Tensor:
    """(n, N) distance of every token of ``a`` to that of ``b`` which ``nearest`` (n, N) names."""
    return (a - b.take_along_dim(nearest[..., None], 1)).square_().sum(-1).sqrt_()


@contextlib.contextmanager
def _tensor_float(device: torch.device) -> Iterator[None]:
    """Let tensor cores multiply float32: numbers that fit in half precision lose nothing in TF32, and sums are float32.
    (A half-precision product in torch would be rounded to half precision.)"""
    settings: Any = torch.backends.cuda.matmul
    name, value = ("fp32_precision", "tf32") if hasattr(settings, "fp32_precision") else ("allow_tf32", True)
    if device.type != "cuda":
        yield
        return
    before = getattr(settings, name)
    setattr(settings, name, value)
    try:
        yield
    finally:
        setattr(settings, name, before)
