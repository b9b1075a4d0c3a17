"""What the stages of family finding hand to each other. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["MOST", "Bools", "Community", "Float32", "FoundFamily", "Ints", "Matches", "Pass", "Search", "Tokens"]

MOST = 60  # families kept, the strongest: more are a sign of a batch without a common product

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


class Matches(Protocol):
    """What matching found in one pass over B photos of N tokens."""

    def row(self, image: int) -> Float32:
        """(B, N): distance of token p of ``image`` to its nearest token in photo j; infinite for j = image and for
        the photos that ``image`` was not compared with."""
        ...

    def index(self, image: int) -> npt.NDArray[np.integer[Any]]:
        """(B, N): which token of photo j that is; meaningless where the distance is infinite."""
        ...


class Tokens(Protocol):
    """The tokens of one pass."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, N, C)"""
        ...

    def read(self, start: int, stop: int) -> Float32:
        """Photos ``start`` to ``stop``: (stop - start, N, C), unit length."""
        ...


@dataclass(frozen=True)
class Pass:
    """One layer and neighbourhood: its tokens on ``grid``, (h, w) of a photo or (x, y, z) of a volume, N in all, and
    their nearest tokens.

    ``references``: how many photos each was compared with; 0 stands for all others. Screening leaves fewer, the same
    number for each photo, and not in both directions: i may be compared with j, but not j with i. Ranks count within
    them.

    ``inside``: (B, N) the tokens that count, by default all. The others, which lie outside of the brain, are 0 away
    from everything and nobody's match; no statistics see them. ``radius``: how many cells from a token's own place its
    matches were looked for, by default anywhere."""

    matches: Matches
    tokens: Tokens
    grid: tuple[int, ...]
    references: int = 0
    inside: Bools | None = None
    radius: int | None = None

    def __post_init__(self) -> None:
        if not self.references:
            object.__setattr__(self, "references", self.images - 1)

    @property
    def images(self) -> int:
        return self.tokens.shape[0]

    @property
    def size(self) -> int:
        """N, tokens of each photo."""
        return math.prod(self.grid)

    @property
    def screened(self) -> bool:
        return self.references < self.images - 1

    @property
    def aligned(self) -> bool:
        """Whether a place means the same in all of them: tokens were compared near their own only."""
        return self.radius is not None

    def compared(self, image: int) -> Bools:
        """(B,) the photos that ``image`` was compared with."""
        return np.asarray(np.isfinite(self.matches.row(image)[:, 0]))

    def own(self, image: int) -> Bools | slice:
        """Which of the tokens of ``image`` count."""
        return slice(None) if self.inside is None else self.inside[image]

    def known(self, values: Float32) -> Float32:
        """``values`` (B, N), NaN where a token does not count."""
        return values if self.inside is None else np.where(self.inside, values, np.float32(np.nan))


@dataclass(frozen=True)
class FoundFamily:
    """Photos that share a look which the others do not have."""

    members: Ints  # (m,) ascending
    tokens: tuple[Bools, ...]  # per pass (m, N): the tokens that carry the look
    density: float  # of links among the members
    strength: float  # the evidence, and what it had to exceed: both in the rule's own unit
    fence: float
    question: str = ""  # why the batch alone cannot tell flaw from variant; empty where it can
    beyond_place: float = 0.0  # our own rule's second piece of evidence


@dataclass(frozen=True)
class Community:
    """One community that was weighed, accepted as (part of) a family or not."""

    size: int
    density: float
    strength: float
    fence: float  # what the strength had to exceed
    accepted: bool


@dataclass(frozen=True)
class Search:
    """What was found, and what it was chosen from."""

    families: tuple[FoundFamily, ...] = ()  # strongest evidence first
    communities: tuple[Community, ...] = ()
    links: Float32 | None = None  # (B, B) symmetric: how strongly two photos are joined
    link_bound: float | None = None  # largest weighted endurance ratio of a suspicious link in the first pass
