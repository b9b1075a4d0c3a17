"""Weights of channels for one_defect.py: strategies of scoring/weights.py on augmented copies of two photos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from blemish.inputs.augment import augmented
from blemish.scoring.defects import cover, likeness, margin, members, raised
from blemish.scoring.memory import nearest, spread, windows
from blemish.scoring.mutual import neighbours
from blemish.scoring.weights import STRATEGIES, choose, weighted
from one_defect_scenes import Pair, Scene

Float32 = npt.NDArray[np.float32]

WINDOWS = (1, 2, 3)
COPIES = 12  # of the flawed photo, and as many of the good one


def weigh(found: dict[str, list[Pair]], scene: Scene, gain: Callable[[Scene, Float32, Float32], Pair]) -> None:
    """Channels: mutual score, then distance to sound surface and likeness to the flaw for windows of 1, 2, 3 tokens.
    Sound surface is that of the annotated photo; one more good photo is copied, as in the paper."""
    pool, drawn, good = scene.pool, scene.taught[0], scene.goods[0]
    banks = [_banks(scene, drawn, size) for size in WINDOWS]
    tests = np.stack([_channels(m, pool.tokens[r], banks) for r, m in zip(scene.tests, scene.mutual, strict=True)])
    copies, flawed, families = [], [], []
    for row in (drawn, good):
        for copy in augmented(pool.photos[row], pool.masks[row], COPIES, seed=row):
            grid = pool.see(copy.pixels)
            copies.append(_channels(_mutual(scene, grid, row), grid, banks))
            flawed.append(row == drawn)
            families.append(copy.family)
    cached = np.stack(copies)
    peaks = cached.max(axis=2, keepdims=True)  # as published: the largest value of each channel is weighed
    for strategy in STRATEGIES:
        weights = choose(peaks, flawed, families, strategy)
        found[strategy].append(gain(scene, scene.mutual, weighted(tests, weights)))
    flaw = scene.to_flaw()
    taught = scene.mutual + raised(scene.usual, flaw, margin(scene.usual, flaw))
    found["no weights: raised"].append(gain(scene, scene.mutual, taught))


def _banks(scene: Scene, row: int, size: int) -> tuple[Float32, Float32]:
    grid = windows(scene.pool.tokens[row], size)
    flawed, sound = members(cover(scene.pool.masks[row], scene.pool.tokens.shape[1:3], size))
    return grid[flawed], grid[sound]


def _mutual(scene: Scene, grid: Float32, row: int) -> Float32:
    """What the scan would score a copy of photo ``row``, which itself is left out."""
    tokens = grid.reshape(-1, grid.shape[-1])
    others = [scene.pool.tokens[j].reshape(tokens.shape) for j in scene.batch if j != row]
    to_each = np.sort(np.stack([nearest(tokens, other) for other in others]), axis=0)
    return np.asarray(to_each[: neighbours(0.3, len(others) + 1)].mean(axis=0))


def _channels(mutual: Float32, grid: Float32, banks: list[tuple[Float32, Float32]]) -> Float32:
    """(7, N), all in [0, 1]: half of 1 - cos, and half of 1 + cos."""
    found = [mutual**2 / 4]
    for size, (flaws, sound) in zip(WINDOWS, banks, strict=True):
        window = windows(grid, size)
        flat = window.reshape(-1, window.shape[-1])
        for values in (nearest(flat, sound) ** 2 / 4, likeness(nearest(flat, flaws))):
            found.append(spread(values.reshape(window.shape[:2]), size).reshape(-1))
    return np.stack(found)
