"""Matching on a GPU: the fused kernel and plain torch, against the published fast mode and that GPU's own product rate.

    python benchmarks/gpu.py > benchmarks/gpu.md
    python benchmarks/gpu.py blocks   # which blocks suit the kernel here; the default was chosen without a GPU

Sides take turns within one run, since clocks drift; every figure is the median of the rounds. TFLOP/s counts what must
be done: 2 N^2 C for every unordered pair. Tokens are random unit vectors: the time does not depend on them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import date

import numpy as np
import torch
from torch import Tensor

from blemish.matching.cuda import Method, Side, choose_method, match_pairs, prepare
from blemish.matching.devices import CudaExecutor
from blemish.matching.engine import BLOCK
from blemish.matching.executor import Job
from blemish.matching.store import ArrayStore
from blemish.matching.tiles import tiles

ROUNDS = 7
CASES = {  # images, tokens, channels
    "default backbone, 512 pixels": (64, 1024, 168),
    "ViT-S/14, 518 pixels": (64, 1369, 384),
    "ViT-L/14, 518 pixels": (64, 1369, 1024),
}
BLOCKS = [  # rows, columns, channels, warps, stages
    (128, 128, 64, 8, 3),
    (128, 128, 64, 8, 2),
    (128, 128, 64, 8, 4),
    (128, 128, 32, 8, 4),
    (128, 64, 64, 4, 3),
    (64, 128, 64, 4, 3),
    (64, 256, 64, 8, 3),
    (256, 64, 64, 8, 3),
]


def main() -> None:
    if not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was measured.")
        return
    device = "cuda:0"
    method, reason = choose_method(device)
    print(f"# Matching on a GPU\n\nMeasured {date.today()}: {torch.cuda.get_device_name(device)}, {reason}.")
    print(f"torch {torch.__version__}. Command: `python {' '.join(['benchmarks/gpu.py', *sys.argv[1:]])}`\n")
    for name, shape in CASES.items():
        print(f"## {name}: {shape[0]} images of {shape[1]} tokens of {shape[2]} numbers\n")
        if sys.argv[1:] == ["blocks"]:
            compare_blocks(device, *shape)
        else:
            compare(device, method, *shape)


def compare(device: str, method: Method, images: int, count: int, channels: int, square: int = 8192) -> None:
    z, everywhere = batch(device, images, count, channels)
    store = ArrayStore(tuple(z.shape), np.float32)
    store.write(0, z.cpu().numpy())
    factors = [torch.randn(square, square, device=device).to(torch.float16) for _ in range(2)]
    plain = prepare(z, "torch")
    work: dict[str, Callable[[], object]] = {
        "half-precision product of two squares": lambda: torch.mm(*factors),
        "plain torch, tokens on the device": lambda: match_pairs(plain, plain, everywhere),
        "published fast mode, tokens on the device": lambda: published(z),
        "a whole match, from host memory and back": lambda: whole(device, method, store),
    }
    if method == "fused":
        fused = prepare(z, "fused")
        work["fused kernel, tokens on the device"] = lambda: match_pairs(fused, fused, everywhere)
        work["fused kernel, its products and minima only"] = lambda: proposals(fused, everywhere)
    times = alternate(work, device)
    needed = images * (images - 1) * float(count) ** 2 * channels
    ceiling = 2 * float(square) ** 3 / times["half-precision product of two squares"]
    print("| what | ms | TFLOP/s | of the product's rate |\n|---|---|---|---|")
    for what, seconds in times.items():
        rate = ceiling if what.startswith("half") else needed / seconds
        print(f"| {what} | {1e3 * seconds:.2f} | {rate / 1e12:.1f} | {rate / ceiling:.0%} |")
    best = fused if method == "fused" else plain
    print(f"\nLargest difference from the published distances: {largest_difference(z, best, everywhere):.1e}.\n")


def compare_blocks(device: str, images: int, count: int, channels: int) -> None:
    from blemish.matching.kernel import Blocks

    z, everywhere = batch(device, images, count, channels)
    print("| rows, columns, channels, warps, stages | ms, products and minima | all |\n|---|---|---|")
    for numbers in BLOCKS:
        try:
            side = prepare(z, "fused", Blocks(*numbers))
            times = alternate(
                {"part": lambda s=side: proposals(s, everywhere), "all": lambda s=side: match_pairs(s, s, everywhere)},
                device,
            )
            print(f"| {numbers} | {1e3 * times['part']:.2f} | {1e3 * times['all']:.2f} |")
        except Exception as error:  # a GPU with too little shared memory for these
            print(f"| {numbers} | {type(error).__name__} | |")
    print()


def batch(device: str, images: int, count: int, channels: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, N, C) and all pairs (n, 2)."""
    z = torch.randn(images, count, channels, generator=torch.Generator().manual_seed(0))
    everywhere = torch.triu_indices(images, images, 1).T.contiguous().int()
    return (z / z.norm(dim=-1, keepdim=True)).to(device), everywhere.to(device)


def published(z: Tensor) -> Tensor:
    """MuSc's fast mode: every image against all at once, the distances in memory. (B, B, N)"""
    images, count, channels = z.shape
    nearest = [
        torch.cdist(image[None], z.reshape(1, -1, channels)).reshape(count, images, count).amin(-1).T for image in z
    ]
    return torch.stack(nearest)


def proposals(side: Side, pairs: Tensor) -> object:
    from blemish.matching.kernel import fused_nearest

    assert side.blocks
    return fused_nearest(side.rounded, side.rounded, side.norms, side.norms, pairs, side.blocks)


def whole(device: str, method: Method, store: ArrayStore) -> None:
    jobs = [Job(tile, tile.pairs()) for tile in tiles(store.shape[0], BLOCK)]
    for _ in CudaExecutor((device,), method).run(store, jobs, lambda pairs: None):
        pass


def largest_difference(z: Tensor, side: Side, pairs: Tensor) -> float:
    table = published(z)
    forward, _, backward, _ = match_pairs(side, side, pairs)
    i, j = pairs.T.long()
    return max(float((table[i, j] - forward).abs().max()), float((table[j, i] - backward).abs().max()))


def alternate(work: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Median seconds of each, which take turns; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS + 1):
        for name, step in work.items():
            _synchronise(device)
            started = time.perf_counter()
            step()
            _synchronise(device)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
