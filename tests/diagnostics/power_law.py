"""Distances drawn from the model: to every other image each token's distance is scale * Beta(alpha, 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def table(images: int, tokens: int, *, alpha: float = 6.0, scale: float = 1.0, seed: int = 0) -> Float32:
    """(B, B, N) as the matching engine lays it out, infinite to the own image."""
    rng = np.random.default_rng(seed)
    distances = (scale * rng.random((images, images, tokens)) ** (1 / alpha)).astype(np.float32)
    distances[np.arange(images), np.arange(images)] = np.inf
    return distances


def plant(distances: Float32, images: list[int], tokens: int) -> None:
    """A flaw shared by ``images`` on their first ``tokens`` tokens: among themselves a twentieth as far as before."""
    for i in images:
        distances[i, images, :tokens] *= 0.05


def rows(distances: Float32) -> Callable[[int], Float32]:
    return lambda i: distances[i]
