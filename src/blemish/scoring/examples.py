"""What a few examples say about a batch: good photos, and defects that somebody has marked.

Few-shot with an anomalous sample after Abdali et al. (arXiv 2507.23712), with the batch's own maps in the place of
their text scores. It knows tokens and maps as arrays; how the constants were chosen: benchmarks/one_defect.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from blemish.scoring.defects import typical
from blemish.scoring.place_bank import Placed

__all__ = ["TRUST", "Examples", "Near", "taught_maps", "to_good", "to_typical"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

TRUST = 0.25  # weight of the distance to the good photos; the rest is the batch's own
BOOST = 1.0  # of how much nearer a token is to a defect than to a typical photo


@dataclass(frozen=True)
class Examples:
    """The tokens of one matching pass, of unit length, each with the number of the example that it is from."""

    good: Float32  # (n, C) all of the good photos
    good_of: Ints  # (n,)
    good_at: Ints  # (n,) the cell of each, see ``place_bank``
    defects: Float32  # (d, C) those under the masks
    defects_of: Ints  # (d,)

    @classmethod
    def of(cls, number: int, *, good: Placed | Float32 | None = None, defects: Float32 | None = None) -> Examples:
        """One example: tokens (m, C) of the one kind or of the other; good ones may know their places."""
        if not isinstance(good, Placed):
            (given,) = (tokens for tokens in (good, defects) if tokens is not None)
            good = Placed.anywhere(given if defects is None else given[:0])
        defects = good.tokens[:0] if defects is None else defects
        return cls(good.tokens, _all(number, good.tokens), good.at, defects, _all(number, defects))

    @property
    def placed(self) -> Placed:
        """The good ones."""
        return Placed(self.good, self.good_at)

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def keeping(self, good: npt.NDArray[np.generic]) -> Examples:
        """Only some of the good ones: flags or numbers."""
        return replace(self, good=self.good[good], good_of=self.good_of[good], good_at=self.good_at[good])

    def without(self, numbers: Sequence[int]) -> Examples:
        """Some examples left out: a photo may not be compared with itself."""
        if not numbers:
            return self
        defects = ~np.isin(self.defects_of, numbers)
        kept = replace(self, defects=self.defects[defects], defects_of=self.defects_of[defects])
        return kept.keeping(~np.isin(self.good_of, numbers))


def _all(number: int, tokens: Float32) -> Ints:
    return np.full(len(tokens), number, dtype=np.int32)


Near = Callable[[Placed], Float32]  # distances of a photo's tokens, in the shape of their grid, to the nearest of some


def to_good(near: Near, examples: Examples) -> Float32 | None:
    """How far every token is from the nearest of a good photo; None where there is none."""
    return near(examples.placed) if len(examples.good) else None


def to_typical(near: Near, photos: Sequence[Placed]) -> Float32:
    """How far every token is from a typical photo of some: from its nearest token."""
    return typical(np.stack([near(photo) for photo in photos]))


def taught_maps(base: Float32, good: Float32, lifted: Float32, trust: float = TRUST) -> Float32:
    """Maps (B, h, w) of a batch with what the examples say of it: ``good``, distances to the good photos, and
    ``lifted``, what ``defects.raised`` gave. Either is empty where there are no such examples. ``trust``: the weight of
    the good photos."""
    maps = (1 - trust) * base + trust * good if good.size else base
    return np.asarray(maps + BOOST * lifted if lifted.size else maps, dtype=np.float32)
