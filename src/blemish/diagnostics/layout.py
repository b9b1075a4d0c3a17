"""Where to draw the photos of a graph: every community a disc of dots, the discs packed around the first.

Pure numbers, no chance in them: the same graph is always drawn the same way.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Discs", "disc_layout"]

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

GOLDEN = np.pi * (3 - np.sqrt(5))  # the angle by which a sunflower turns from seed to seed
GAP = 1.6  # between discs, in distances between dots

Discs = dict[int, tuple[float, float, float]]  # community -> x, y, radius


def disc_layout(strength: Float64, communities: Integers, first: Integers) -> tuple[Float64, Discs]:
    """Positions of B photos and the discs of their communities; neighbouring dots are about 1 apart.

    ``strength: (B,)`` total weight of each photo, the strongest stands in the middle of its disc; ``communities: (B,)``
    labels; ``first``: the labels that are placed in the middle of the picture. -> (B, 2), label -> (x, y, radius).
    """
    labels, sizes = np.unique(communities, return_counts=True)
    order = np.lexsort((labels, -sizes, ~np.isin(labels, first)))
    positions = np.empty((len(communities), 2))
    discs: Discs = {}
    for label, size in zip(labels[order].tolist(), sizes[order].tolist(), strict=True):
        members = np.flatnonzero(communities == label)
        members = members[np.argsort(-strength[members], kind="stable")]
        radius = 0.56 * size**0.5  # sunflower seeds at 0.56 sqrt(n) are about 1 apart
        centre = _free_place(np.array(list(discs.values())), radius)
        seeds = np.arange(size)
        spokes = 0.56 * np.sqrt(seeds + 0.5) * (size > 1)
        positions[members] = centre + spokes[:, None] * np.stack(
            [np.cos(seeds * GOLDEN), np.sin(seeds * GOLDEN)], axis=1
        )
        discs[label] = (float(centre[0]), float(centre[1]), radius)
    return positions, discs


def _free_place(placed: Float64, radius: float) -> Float64:
    """The first place on a sunflower spiral where a disc of this radius touches none of ``placed: (n, 3)``."""
    if not len(placed):
        return np.zeros(2)
    steps = np.arange(4_000)
    while True:
        out = 0.35 * np.sqrt(steps)
        # wider than high, as the picture is
        spots = np.stack([1.7 * out * np.cos(steps * GOLDEN), out * np.sin(steps * GOLDEN)], axis=1)
        away = np.hypot(*(spots[:, None] - placed[None, :, :2]).transpose(2, 0, 1))
        free = (away >= placed[None, :, 2] + radius + GAP).all(axis=1)
        if free.any():
            return np.asarray(spots[int(free.argmax())])
        steps = steps + len(steps)
