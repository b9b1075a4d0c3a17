"""What a scan will cost, measured on this machine a moment before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from blemish.errors import ConfigError
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.matching.engine import least_memory, pair_operations, table_bytes
from blemish.matching.store import Budget
from blemish.progress import duration

__all__ = ["estimate"]

DECODE_S = 0.015  # decoding, resizing and hashing a photo of about a megapixel; two threads share it


def estimate(branches: Sequence[Branch], photos: int, budget: Budget, with_index: bool) -> str:
    """One sentence: time for reading and for comparing, memory, and whether scratch files are needed.

    One photo of noise goes through each backbone and one pair of random images through the engine's product; the
    rest is multiplication, so a cached batch will be quicker and a slow disk slower than said. ``with_index``: whether
    the search for families needs to know which tokens match. Raises ``ConfigError`` if the memory would not do for the
    comparison, before any photo is read.
    """
    reading = comparing = 0.0
    held = photos * 3 * branches[0].shape[0] * branches[0].shape[1]
    table = 0
    for branch in branches:
        noise = torch.randint(0, 256, (1, 3, *branch.shape), dtype=torch.uint8, device=branch.device)
        features = half(branch.backbone.extract(noise))  # the first call also pays for set-up
        start = time.perf_counter()
        branch.backbone.extract(noise)
        reading += photos * (time.perf_counter() - start + DECODE_S)
        one = type(features)([grid[0].cpu() for grid in features.grids], features.embedding[0].cpu())
        for grid in branch.tokens(one):
            tokens, channels = grid.shape[0] * grid.shape[1], grid.shape[2]
            least = least_memory(tokens, channels, torch.get_num_threads())
            if least > budget.left:
                raise ConfigError(
                    f"{budget.left / 2**20:.0f} MiB are left for matching and photos of {tokens} tokens need "
                    f"{least / 2**20:.0f}. Allow more with --memory, or use a smaller --size."
                )
            comparing += pair_operations(photos, tokens, channels) / _rate(tokens, channels)
            held += 4 * photos * tokens * channels
            table += table_bytes(photos, tokens, with_index)
    spills = held + table > budget.left
    where = "more than may be held in memory, so scratch files are used" if spills else "in memory"
    return (
        f"Estimated: {duration(reading + comparing)} (reading {duration(reading)}, comparing {duration(comparing)}), "
        f"{(held + table) / 2**30:.1f} GiB of arrays, {where}"
    )


def _rate(tokens: int, channels: int) -> float:
    """Floating-point operations a second of the engine's product."""
    a, b = torch.rand(tokens, channels), torch.rand(channels, tokens)
    product = torch.empty(tokens, tokens)
    return 2 * tokens * tokens * channels / _seconds(lambda: torch.mm(a, b, out=product).amax(0))


def _seconds(call: Callable[[], object], times: int = 3) -> float:
    """Median of a few runs after one that is not counted."""
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[times // 2]
