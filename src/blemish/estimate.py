"""What a scan will cost, measured on this machine a moment before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.neighbourhood import unit_norm
from blemish.matching.engine import table_bytes
from blemish.matching.executor import Job
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tiles import tiles
from blemish.progress import duration
from blemish.workplace import Workplace

__all__ = ["Cost", "compared_pairs", "estimate", "seconds_a_photo"]

IMAGES = 8  # of the tile that is timed
DECODE_S = 0.015  # decoding, resizing and hashing a photo of about a megapixel, in one thread


@dataclass(frozen=True)
class Cost:
    """``text``: one sentence for the user. The rest is by all passes of all backbones together."""

    text: str
    seconds_a_photo: float
    seconds_a_pair: float
    passes: int


def estimate(branches: Sequence[Branch], sizes: Sequence[int], screen: float, budget: Budget, place: Workplace) -> Cost:
    """Time for reading and for comparing, memory, and whether scratch files are needed; for a batch that is divided,
    also what comparing all photos with all would take.

    ``sizes``: photos of each part. ``screen``: share of the others of its part that each is compared with. One photo
    of noise goes through each backbone and a tile of random images through the engine; the rest is
    multiplication, so a cached batch will be quicker and a slow disk slower than said. Raises ``ConfigError`` if the
    memory would not do for the comparison, before any photo is read.
    """
    a_photo = a_pair = 0.0
    photos, largest = sum(sizes), max(sizes)
    held = largest * 3 * branches[0].shape[0] * branches[0].shape[1]
    passes = 0
    for branch in branches:
        noise = torch.randint(0, 256, (1, 3, *branch.shape), dtype=torch.uint8, device=branch.device)
        features = half(branch.backbone.extract(noise))  # the first call also pays for set-up
        a_photo += seconds_a_photo(branch, noise) / place.places
        one = type(features)([grid[0].cpu() for grid in features.grids], features.embedding[0].cpu())
        for grid in branch.tokens(one):
            tokens, channels = grid.shape[0] * grid.shape[1], grid.shape[2]
            least = place.executor.least_bytes(tokens, channels)
            if least > budget.left:
                raise ConfigError(
                    f"{budget.left / 2**20:.0f} MiB are left for matching and photos of {tokens} tokens need "
                    f"{least / 2**20:.0f}. Allow more with --memory, or use a smaller --size."
                )
            passes += 1
            a_pair += _seconds_a_pair(tokens, channels, place)
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


def seconds_a_photo(branch: Branch, noise: Tensor | None = None) -> float:
    """Of the network and the decoder, with all threads: on a CPU each takes a photo of its own. ``noise``: a photo,
    (1, 3, H, W) uint8 on the branch's device."""
    if noise is None:
        noise = torch.randint(0, 256, (1, 3, *branch.shape), dtype=torch.uint8, device=branch.device)
    threads = torch.get_num_threads()
    alone = branch.device == "cpu" and branch.backbone.facts.concurrent
    torch.set_num_threads(1 if alone else threads)
    try:
        network = _seconds(lambda: branch.backbone.extract(noise))
    finally:
        torch.set_num_threads(threads)
    return network / (threads if alone else 1) + DECODE_S / threads


def _seconds_a_pair(tokens: int, channels: int, place: Workplace) -> float:
    """Of the engine, with all that work at the same time."""
    noise = ArrayStore((IMAGES, tokens, channels), np.float32)
    for image in range(IMAGES):
        noise.write(image, unit_norm(torch.randn(1, tokens, channels)).numpy())
    (tile,) = tiles(IMAGES, IMAGES)
    job = Job(tile, tile.pairs())
    work = _seconds(lambda: list(place.executor.run(noise, [job], lambda pairs: None)))
    return work / len(job.pairs) / place.places


def _seconds(call: Callable[[], object]) -> float:
    """Of a call after one that is not counted."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
