"""What a few examples say about a batch: good photos, and defects that somebody has marked.

Few-shot with an anomalous sample after Abdali et al. (arXiv 2507.23712), with the batch's own maps in the place of
their text scores. It knows tokens and maps as arrays; how the constants were chosen: benchmarks/one_defect.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.scoring.defects import typical
from blemish.scoring.memory import nearest

__all__ = ["TRUST", "Examples", "taught_maps", "to_good", "to_typical"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

TRUST = 0.25  # weight of the distance to the good photos; the rest is the batch's own
BOOST = 1.0  # of how much nearer a token is to a defect than to a typical photo


@dataclass(frozen=True)
class Examples:
    """The tokens of one matching pass, of unit length, each with the number of the example that it is from."""

    good: Float32  # (n, C) all of the good photos
    good_of: Ints  # (n,)
    defects: Float32  # (d, C) those under the masks
    defects_of: Ints  # (d,)

    @classmethod
    def of(cls, number: int, *, good: Float32 | None = None, defects: Float32 | None = None) -> Examples:
        """One example: tokens (m, C) of the one kind or of the other."""
        (given,) = (tokens for tokens in (good, defects) if tokens is not None)
        none = np.zeros((0, given.shape[1]), np.float32)
        good, defects = none if good is None else good, none if defects is None else defects
        return cls(good, _all(number, good), defects, _all(number, defects))

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        return cls(
            np.concatenate([part.good for part in parts]),
            np.concatenate([part.good_of for part in parts]),
            np.concatenate([part.defects for part in parts]),
            np.concatenate([part.defects_of for part in parts]),
        )

    def without(self, numbers: Sequence[int]) -> Examples:
        """Some examples left out: a photo may not be compared with itself."""
        if not numbers:
            return self
        good, defects = ~np.isin(self.good_of, numbers), ~np.isin(self.defects_of, numbers)
        return Examples(self.good[good], self.good_of[good], self.defects[defects], self.defects_of[defects])


def _all(number: int, tokens: Float32) -> Ints:
    return np.full(len(tokens), number, dtype=np.int32)


def to_good(tokens: Float32, examples: Examples) -> Float32 | None:
    """(N,) distance of each of ``tokens: (N, C)`` to the nearest of a good photo; None where there is none."""
    return nearest(tokens, examples.good) if len(examples.good) else None


def to_typical(tokens: Float32, photos: Sequence[Float32]) -> Float32:
    """(N,) distance of ``tokens: (N, C)`` to a typical photo of some, each (n, C): to its nearest token."""
    return typical(np.stack([nearest(tokens, photo) for photo in photos]))


def taught_maps(base: Float32, good: Float32, lifted: Float32, trust: float = TRUST) -> Float32:
    """Maps (B, h, w) of a batch with what the examples say of it: ``good``, distances to the good photos, and
    ``lifted``, what ``defects.raised`` gave. Either is empty where there are no such examples. ``trust``: the weight of
    the good photos."""
    maps = (1 - trust) * base + trust * good if good.size else base
    return np.asarray(maps + BOOST * lifted if lifted.size else maps, dtype=np.float32)
