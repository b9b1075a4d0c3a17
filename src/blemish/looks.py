"""What a family looks like, so that it is known again in photos that nobody has seen yet.

A look is the tokens of its most typical photo, and how much the family's own photos differ from it. It knows arrays.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Look", "look_of"]

Float32 = npt.NDArray[np.float32]

MOST_TOKENS = 64  # of a look that covers the part, evenly chosen
MOST_MEMBERS = 24  # compared to find the most typical one
MARGIN = 1.25  # how many times its own spread another family may be away and still be the same


@dataclass(frozen=True)
class Look:
    """``tokens: (t, C)`` of unit length; ``reach``: median distance of the family's other photos; ``features``: what
    made the tokens, since those of different backbones or sizes cannot be compared."""

    tokens: Float32
    reach: float
    features: str

    def resembles(self, other: Look) -> bool:
        """Whether two families differ no more than the photos of one of them do."""
        if self.features != other.features:
            return False
        return _apart(self.tokens, other.tokens) <= MARGIN * max(self.reach, other.reach)

    def encoded(self) -> dict[str, str | float | int]:
        """Plain values for a text file; tokens lose half of their digits."""
        data = base64.b64encode(self.tokens.astype("<f2").tobytes()).decode()
        return {"tokens": data, "count": len(self.tokens), "reach": self.reach, "features": self.features}

    @classmethod
    def decoded(cls, values: dict[str, str | float | int]) -> Look:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` if ``values`` are not what ``encoded`` gave."""
        tokens = np.frombuffer(base64.b64decode(str(values["tokens"]), validate=True), dtype="<f2")
        shaped = tokens.reshape(int(values["count"]), -1).astype(np.float32)
        return cls(shaped, float(values["reach"]), str(values["features"]))


def look_of(members: Sequence[Float32], features: str) -> Look:
    """The look of a family from its members' tokens, each (t_i, C) and not empty."""
    kept = [
        _thinned(members[at]) for at in np.linspace(0, len(members) - 1, min(len(members), MOST_MEMBERS)).astype(int)
    ]
    apart = np.zeros((len(kept), len(kept)))
    for a in range(len(kept)):
        for b in range(a):
            apart[a, b] = apart[b, a] = _apart(kept[a], kept[b])
    to_others = np.array([np.median(np.delete(row, at)) for at, row in enumerate(apart)])
    typical = int(to_others.argmin())
    return Look(kept[typical], float(to_others[typical]), features)


def _thinned(tokens: Float32) -> Float32:
    return np.asarray(tokens[_evenly(len(tokens), MOST_TOKENS)])


def _evenly(count: int, most: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def _apart(a: Float32, b: Float32) -> float:
    """How far two sets of tokens are apart: the median distance of a token to the nearest of the other set, seen from
    the set where it is larger."""
    squares = 2 - 2 * (a @ b.T)
    near = np.sqrt(np.maximum(squares, 0))
    return float(max(np.median(near.min(axis=1)), np.median(near.min(axis=0))))
