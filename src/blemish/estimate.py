"""What a scan will cost, measured on this machine a moment before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from blemish.errors import ConfigError
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.neighbourhood import unit_norm
from blemish.matching.engine import table_bytes
from blemish.matching.executor import LocalExecutor
from blemish.matching.store import Budget
from blemish.matching.tiles import match_tile
from blemish.progress import duration

__all__ = ["Cost", "compared_pairs", "estimate"]

DECODE_S = 0.015  # decoding, resizing and hashing a photo of about a megapixel; two threads share it


@dataclass(frozen=True)
class Cost:
    """``text``: one sentence for the user. The rest is by all passes of all backbones together."""

    text: str
    seconds_a_photo: float
    seconds_a_pair: float
    passes: int


def estimate(branches: Sequence[Branch], sizes: Sequence[int], screen: float, budget: Budget) -> Cost:
    """Time for reading and for comparing, memory, and whether scratch files are needed; for a batch that is divided,
    also what comparing all photos with all would take.

    ``sizes``: photos of each part. ``screen``: share of the others of its part that each is compared with. One photo
    of noise goes through each backbone and a few pairs of random images through the engine; the rest is
    multiplication, so a cached batch will be quicker and a slow disk slower than said. Raises ``ConfigError`` if the
    memory would not do for the comparison, before any photo is read.
    """
    a_photo = a_pair = 0.0
    photos, largest = sum(sizes), max(sizes)
    held = largest * 3 * branches[0].shape[0] * branches[0].shape[1]
    executor = LocalExecutor()
    passes = 0
    for branch in branches:
        noise = torch.randint(0, 256, (1, 3, *branch.shape), dtype=torch.uint8, device=branch.device)
        features = half(branch.backbone.extract(noise))  # the first call also pays for set-up
        start = time.perf_counter()
        branch.backbone.extract(noise)
        a_photo += time.perf_counter() - start + DECODE_S
        one = type(features)([grid[0].cpu() for grid in features.grids], features.embedding[0].cpu())
        for grid in branch.tokens(one):
            tokens, channels = grid.shape[0] * grid.shape[1], grid.shape[2]
            least = executor.least_bytes(tokens, channels)
            if least > budget.left:
                raise ConfigError(
                    f"{budget.left / 2**20:.0f} MiB are left for matching and photos of {tokens} tokens need "
                    f"{least / 2**20:.0f}. Allow more with --memory, or use a smaller --size."
                )
            passes += 1
            a_pair += _seconds_a_pair(tokens, channels)
            held += 4 * largest * tokens * channels + table_bytes(largest, tokens)
    reading, comparing = photos * a_photo, sum(compared_pairs(size, screen) for size in sizes) * a_pair
    spills = held > budget.left
    where = "more than may be held in memory, so scratch files are used" if spills else "in memory"
    text = (
        f"Estimated: {duration(reading + comparing)} (reading {duration(reading)}, comparing {duration(comparing)}), "
        f"{held / 2**30:.1f} GiB of arrays, {where}"
    )
    if len(sizes) > 1:
        text += (
            f"; comparing all photos with all (--subset all) would take {duration(compared_pairs(photos, 1) * a_pair)}"
        )
    return Cost(text, a_photo, a_pair, passes)


def compared_pairs(images: int, screen: float) -> float:
    """Pairs that are multiplied: with screening, those that either photo wants, at most."""
    return images * (images - 1) / 2 * min(1.0, screen * (2 - screen))


def _seconds_a_pair(tokens: int, channels: int) -> float:
    """Of the engine, with all threads."""
    noise = unit_norm(torch.randn(2, tokens, channels)).numpy()
    threads = torch.get_num_threads()
    pairs = np.array([[at % 2, 1 - at % 2] for at in range(4 * threads)])  # every thread gets some
    return _seconds(lambda: match_tile(noise, None, pairs, threads=threads)) / len(pairs)


def _seconds(call: Callable[[], object], times: int = 3) -> float:
    """Median of a few runs after one that is not counted."""
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[times // 2]
