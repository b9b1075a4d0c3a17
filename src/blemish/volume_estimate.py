"""What a scan of volumes will cost: memory left for its arrays, and time, measured a moment before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from blemish import machine
from blemish.config import ScanConfig
from blemish.errors import ConfigError
from blemish.extraction import Branch, activations
from blemish.features.neighbourhood import unit_norm
from blemish.features.volume_tokens import BATCH
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volumes import voxels_of
from blemish.matching.engine import table_bytes
from blemish.matching.nearby import match_nearby
from blemish.matching.store import ArrayStore, Budget
from blemish.progress import duration
from blemish.volume_extraction import Looked

__all__ = ["VolumeCost", "estimated", "lookers", "room"]

PER_VOXEL = 24  # bytes of a volume at its peak: as stored, in RAS order, clipped, its mask and what finds it
PER_CUBE_VOXEL = 12
PER_CELL = 40  # of the maps of a large batch, which are weighed together when its parts are done
LEAST_FOR_ARRAYS = 2**26
READ_S = 1e-7  # a voxel: decoding it twice and looking for the brain, in one thread
REGISTER_S = 0.4  # a volume, in one thread: its small cube is the same whatever its size
BRAIN = 0.5  # of the box around it, about
SMALL = 12  # cells a side of the two volumes of noise that are compared


@dataclass(frozen=True)
class VolumeCost:
    """``text``: a sentence for the user."""

    text: str
    seconds_a_volume: float
    seconds_a_pair: float


def lookers(config: ScanConfig, files: Sequence[VolumeFile]) -> int:
    """How many volumes may be read at the same time for the first look, before anything but headers is known."""
    threads = torch.get_num_threads()
    if threads == 1:
        return 1
    left = (config.memory or machine.available_memory() // 2) - machine.resident_memory()
    each = PER_VOXEL * max(map(voxels_of, files), default=0)
    return max(1, min(threads, left // max(1, each)))


def room(
    config: ScanConfig, branch: Branch, looked: Sequence[Looked], together: int, scratch: Path
) -> tuple[int, Budget]:
    """How many volumes to look at at the same time, and what of ``--memory`` is left for arrays once the interpreter,
    the networks and these volumes have theirs. ``together``: volumes that are compared with each other, at most.

    Raises ``ConfigError`` if that is next to nothing."""
    total = config.memory or machine.available_memory() // 2
    voxels = max(int(np.prod(one.geometry.shape)) for one in looked)
    each = PER_VOXEL * voxels + PER_CUBE_VOXEL * config.volumes.cube**3 + BATCH * activations(branch)
    most = torch.get_num_threads() if branch.device == "cpu" and branch.backbone.facts.concurrent else 1
    left = total - machine.resident_memory()
    workers = max(1, min(most, left // 3 // each))
    left -= workers * each
    if together < len(looked):
        left -= PER_CELL * len(looked) * config.volumes.grid**3
    if left < LEAST_FOR_ARRAYS:
        needed = (total - left + LEAST_FOR_ARRAYS) / 2**20
        raise ConfigError(
            f"{total / 2**20:.0f} MiB of memory are too little for volumes of {voxels:,} voxels and slices of "
            f"{config.volumes.cube} x {config.volumes.cube}: allow --memory {needed:.0f}MiB."
        )
    return workers, Budget(left, scratch)


def estimated(branch: Branch, config: ScanConfig, sizes: Sequence[int], budget: Budget, workers: int) -> VolumeCost:
    """One batch of slices and one pair of small volumes are timed, the rest is multiplication; so a cached batch will
    be quicker. ``sizes``: volumes of each part. ``workers``: that are looked at at the same time."""
    volumes = config.volumes
    noise = torch.randint(0, 256, (BATCH, 3, *branch.shape), dtype=torch.uint8, device=branch.device)
    grids = branch.backbone.extract(noise).grids
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if workers > 1 else threads)
    try:
        start = time.perf_counter()
        branch.backbone.extract(noise)
        a_batch = time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    batches = len(volumes.axes) * -(-volumes.cube // volumes.slices) / BATCH
    a_volume = (batches * a_batch + READ_S * volumes.cube**3) / workers
    if volumes.align == "affine":
        a_volume += (REGISTER_S + READ_S / 2 * volumes.cube**3) / workers
    channels = sum(min(grid.shape[-1], 64) for grid in grids) * len(volumes.axes)
    a_pair = _seconds_a_pair(volumes.grid, channels, volumes.radius, budget)
    reading, comparing = sum(sizes) * a_volume, sum(size * (size - 1) / 2 for size in sizes) * a_pair
    held = 4 * max(sizes) * volumes.grid**3 * channels + table_bytes(max(sizes), volumes.grid**3)
    where = "more than may be held in memory, so scratch files are used" if held > budget.left else "in memory"
    text = (
        f"Estimated: {duration(reading + comparing)} (reading {duration(reading)}, comparing {duration(comparing)}), "
        f"{held / 2**30:.1f} GiB of arrays, {where}"
    )
    return VolumeCost(text, a_volume, a_pair)


def _seconds_a_pair(grid: int, channels: int, radius: int, budget: Budget) -> float:
    side = min(grid, SMALL)
    store = ArrayStore((2, side**3, channels), np.float32)
    store.write(0, unit_norm(torch.randn(2, side**3, channels)).numpy())
    reach = side if radius < 0 else radius
    for _ in range(2):  # the first call also pays for set-up
        start = time.perf_counter()
        match_nearby(store, (side,) * 3, budget, radius=min(reach, side - 1)).release(budget)
        seconds = time.perf_counter() - start
    # tokens, times those that each is compared with; what is outside of the brain is compared with nothing, and every
    # core has a pair of its own
    return seconds / torch.get_num_threads() * (grid / side) ** (6 if radius < 0 else 3) * (1 if radius < 0 else BRAIN)
