"""What survives of a part of a large batch for telling which flaws recur in several parts: the photos that carry a
look, and a few tokens of it.

A struct of plain arrays, a few kilobytes for every flawed photo and nothing for the others, so that a part's tables
and tokens can go and a run can keep it. Knows one part; ``spread`` knows all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.evidence import VOTES, isolation_of, isolation_without
from blemish.scoring.families.family import Bools, Float32, FoundFamily, Ints, Pass
from blemish.scoring.families.grids import core
from blemish.scoring.families.solitary import TAKEN_AWAY
from blemish.scoring.mutual import neighbours

__all__ = ["Carriers", "carriers"]

TOKENS = 16  # of a look in one photo, evenly chosen: neighbours say the same
PLACES = 3  # along each side of the grid
RANKS = TAKEN_AWAY + 3  # more photos of one part that share a look are a family there


@dataclass(frozen=True)
class Carriers:
    """The n photos of a part that carry a look, once for each look, and the t tokens that show it."""

    photo: npt.NDArray[np.int64]  # (n,) number in the whole batch
    family: npt.NDArray[np.int32]  # (n,) number in the part, counted from 0
    beyond_batch: Float32  # (n,) evidence of the family: see ``evidence.Evidence``
    beyond_place: Float32  # (n,)
    carrier: npt.NDArray[np.int32]  # (t,) ascending: which of the n a token is of
    tokens: npt.NDArray[np.float16]  # (t, C) unit length, of the first pass
    isolation: Float32  # (t,) mean distance to the nearest photos of the part without the look
    nearest: Float32  # (t, RANKS) ascending distances to the nearest photos of the part, with the look or without
    overview: npt.NDArray[np.float16]  # (n, 9 or 27, C) tokens of the whole photo, at the same places in each

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Name -> array, to be saved; ``Carriers(**arrays)`` reads them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def carriers(one: Pass, found: Sequence[FoundFamily], photos: Ints) -> Carriers:
    """``one``: the part's first pass. ``found``: its families and after them its solitary regions, numbered in this
    order. ``photos``: (B,) the part's photos in the whole batch."""
    rows = [(at, row) for at, family in enumerate(found) for row in range(len(family.members))]
    members = np.array([found[at].members[row] for at, row in rows], dtype=np.intp)
    kept = [_kept(one, found[at], row) for at, row in rows]
    nothing = np.empty((0, one.tokens.shape[2])), np.empty(0), np.empty((0, RANKS))
    tokens, isolation, nearest = (np.concatenate(values) for values in zip(nothing, *kept, strict=True))
    return Carriers(
        photo=np.asarray(photos, dtype=np.int64)[members],
        family=np.array([at for at, _ in rows], dtype=np.int32),
        beyond_batch=np.array([found[at].strength for at, _ in rows], dtype=np.float32),
        beyond_place=np.array([found[at].beyond_place for at, _ in rows], dtype=np.float32),
        carrier=np.repeat(np.arange(len(rows), dtype=np.int32), [len(values) for values, _, _ in kept]),
        tokens=tokens.astype(np.float16),
        isolation=isolation.astype(np.float32),
        nearest=nearest.astype(np.float32),
        overview=_overview(one, members),
    )


def _kept(one: Pass, family: FoundFamily, row: int) -> tuple[Float32, Float32, Float32]:
    """Tokens, isolation and nearest distances of one carrier."""
    image = int(family.members[row])
    shown = _shown(one, image, family.tokens[0][row])
    distances = one.matches.row(image)[:, shown]
    if len(family.members) == 1:
        isolation = isolation_of(distances, TAKEN_AWAY, one.references)
    else:
        isolation = isolation_without(distances, family.members, neighbours(VOTES, one.references + 1))
    return one.tokens.read(image, image + 1)[0][shown], isolation, np.sort(distances, axis=0)[:RANKS].T


def _shown(one: Pass, image: int, tokens: Bools) -> Ints:
    """Which of a member's ``tokens`` (N,) are kept."""
    if one.inside is not None:  # what was added around them may lie outside of the brain
        tokens = tokens & one.inside[image]
    inside = np.flatnonzero(core(tokens[None], one.grid)[0])
    return inside[np.linspace(0, len(inside) - 1, min(len(inside), TOKENS)).astype(np.intp)]


def _overview(one: Pass, members: Ints) -> npt.NDArray[np.float16]:
    """(n, PLACES to the power of the grid's sides, C) tokens that tell whether two photos show the same part."""
    middles = np.arange(1, 2 * PLACES, 2) / (2 * PLACES)
    along = np.meshgrid(*((middles * side).astype(np.intp) for side in one.grid), indexing="ij")
    places = np.ravel_multi_index(tuple(along), one.grid).reshape(-1)
    found = np.empty((len(members), len(places), one.tokens.shape[2]), dtype=np.float16)
    for at, image in enumerate(members):
        found[at] = one.tokens.read(int(image), int(image) + 1)[0][places]
    return found
