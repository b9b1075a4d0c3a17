"""What the photos of one batch share, and how one of them is taken.

Knows products, flaws and the camera; which photo gets which flaw is decided in `__init__`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from . import board, bottle, washer
from .camera import Shot, draw_shot, photograph, pose, pose_layers
from .flaws import FLAWS, Flaw, apply_flaw, draw_flaw
from .layers import COLOUR, GLOSS, SUPERSAMPLING, Canvas, Field, Part, Product

CATALOGUE: dict[str, Product] = {"washer": washer.PRODUCT, "bottle": bottle.PRODUCT, "board": board.PRODUCT}

MASK_FROM = 0.35  # share of a pixel that a flaw must have changed for the mask to count it


class Batch:
    """What the photos of a batch share: the table and the specimens, each built when first photographed."""

    def __init__(self, product: str, size: int, seed: int) -> None:
        self.product: Product = CATALOGUE[product]
        width = round(size * self.product.width)
        self.canvas = Canvas(size, width, size)
        self.fine = Canvas(SUPERSAMPLING * size, SUPERSAMPLING * width, SUPERSAMPLING * size)
        self.entropy = (seed, tuple(CATALOGUE).index(product))
        self.table = self.product.table(self.canvas, self.rng(0))
        self.specimen = functools.cache(self._build)

    def rng(self, *purpose: int) -> np.random.Generator:
        """A generator of its own for each purpose, so that photos do not depend on the order of rendering."""
        return np.random.default_rng((*self.entropy, *purpose))

    def _build(self, variant: int, specimen: int) -> Part:
        return self.product.build(self.fine, variant, self.rng(1, variant, specimen))

    def recurring_flaws(self, groups: int, extents: tuple[float, float]) -> tuple[Flaw, ...]:
        """One flaw per group, kinds in turn, each far from those before it."""
        rng, part = self.rng(2), self.specimen(0, 0)
        first = int(rng.integers(len(FLAWS)))
        flaws: tuple[Flaw, ...] = ()
        for group in range(groups):
            kind = FLAWS[(first + group) % len(FLAWS)]
            flaws += (draw_flaw(kind, part, log_uniform(extents, rng), rng, away_from=flaws),)
        return flaws

    def take(self, part: Part, flaw: Flaw | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Photograph a part, with or without a flaw: pixels (H, W, 3) uint8 and mask (H, W) bool."""
        shot = draw_shot(rng, self.product.tilt)
        turn = float(rng.uniform(0, 360)) if self.product.turned else 180.0 * int(rng.integers(2))
        layers, mask = part.layers, np.zeros((self.canvas.height, self.canvas.width), np.bool_)
        if flaw is not None:
            layers = layers.copy()
            coverage = apply_flaw(flaw, part, layers)
            mask = pose(coverage, shot, self.canvas) > MASK_FROM
        posed = pose_layers(layers, shot, self.canvas)
        self._texture(posed, part, shot, turn)
        return photograph(posed, self.table, shot, self.product.studio, self.canvas), mask

    def _texture(self, posed: Field, part: Part, shot: Shot, turn: float) -> None:
        texture = pose(part.texture, shot, self.canvas, turn)
        posed[COLOUR] *= 1 + 0.05 * texture
        posed[GLOSS] *= np.maximum(1 + 0.14 * texture, 0)


def log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """A random size between two, small ones as likely as large ones."""
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))
