"""A seeded sample of a batch's patches, with the distance of each to its nearest patch in every other photo.

It knows rows of distances and nothing of photos or files. Everything else in this room looks at the sample, so that
a diagnosis costs the same for 10,000 patches and for 10 million.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError

__all__ = ["SAMPLE", "Sample", "sample", "sub_batch"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

SAMPLE = 20_000  # tokens: the pooled growth rate of a rank is then known to about 1 %
LEAST = 3  # photos: with two there is one match a token, and nothing to compare it with
_QUANTUM = 1e-6  # of the mean distance of a photo: far above the rounding of a mean, far below what tells photos apart


@dataclass(frozen=True, slots=True)
class Sample:
    """n = B * m tokens, m of every image, those of one image side by side.

    ``d: (n, B - 1)`` float32: the mutual similarity vector of each token, its distances to the nearest token of every
    other image in ascending order (CoDeGraph, TMLR 2025, arXiv 2510.10456).
    ``nearest: (n, B)`` float32: the same distances by image, infinite to the token's own.
    ``image``, ``token``: (n,) where each token comes from.
    ``usual: (B,)`` float64: mean distance of each image to the others, which orders the images whatever their order
    in the batch.
    """

    d: Float32
    nearest: Float32
    image: Indices
    token: Indices
    usual: Float64

    @property
    def images(self) -> int:
        return int(self.nearest.shape[1])

    @property
    def per_image(self) -> int:
        return len(self.nearest) // self.images


def sample(row: Callable[[int], Float32], images: int, tokens: int, *, size: int = SAMPLE, seed: int = 0) -> Sample:
    """The same number of tokens of every image, at most ``size`` together (but one an image at least).

    ``row(i)``: (B, N) distances of token p of image i to its nearest token in image j; the entry j = i is not read.
    ``images``, ``tokens``: B and N. Which tokens are drawn depends on the seed and on the distances of the image, not
    on its place in the batch: another order of the batch gives the same sample.
    Raises ``InputError`` for fewer than three images; ``ValueError`` if a row has another shape, or a distance to
    another image is negative or not finite.
    """
    if images < LEAST:
        raise InputError(f"a batch of {images} cannot be diagnosed. Scan {LEAST} photos at least, better 30 or more.")
    each = min(tokens, max(1, size // images))
    nearest = np.full((images, each, images), np.inf, np.float32)
    token = np.empty((images, each), np.intp)
    usual = np.empty(images)
    for i in range(images):
        distances = row(i)
        if distances.shape != (images, tokens):
            raise ValueError(f"row({i}) is {distances.shape}, expected ({images}, {tokens})")
        others = np.delete(distances, i, axis=0)
        usual[i] = others.mean(dtype=np.float64)
        if not np.isfinite(usual[i]) or others.min() < 0:
            raise ValueError(f"row({i}) holds a negative or non-finite distance to another image")
        rng = np.random.default_rng([seed, round(usual[i] / _QUANTUM)])
        token[i] = rng.choice(tokens, each, replace=False)
        nearest[i, :, np.arange(images) != i] = others[:, token[i]]
    flat = nearest.reshape(images * each, images)
    return Sample(_ascending(flat), flat, np.repeat(np.arange(images), each), token.ravel(), usual)


def sub_batch(drawn: Sample, images: int, *, size: int, seed: int) -> Float32:
    """``d: (n, images - 1)`` of the sampled tokens, had only ``images`` images been in the batch; n <= ``size``, but
    one token an image at least.

    Which images is drawn by the seed from an order of the images that does not depend on the batch's.
    """
    rng = np.random.default_rng([seed, images])
    chosen = np.argsort(drawn.usual, kind="stable")[rng.choice(drawn.images, images, replace=False)]
    each = min(drawn.per_image, max(1, size // images))  # the tokens of an image come in random order: any will do
    tokens = chosen[:, None] * drawn.per_image + np.arange(each)
    return _ascending(drawn.nearest[np.ix_(tokens.ravel(), chosen)])


def _ascending(nearest: Float32) -> Float32:
    """(n, B) with infinity to the own image -> (n, B - 1)."""
    return np.sort(nearest, axis=1)[:, :-1]
