"""Our own rule's third part: the photos and tokens of a family that missed the threshold by a little.

A threshold on burn-out decides where to look; who belongs is a question of likeness. A token joins if its nearest
tokens in most of the members are the family's own, and as near as the members are to each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.scoring.families.evidence import VOTES, isolation_without
from blemish.scoring.families.family import Bools, Float32, Ints, Pass
from blemish.scoring.families.links import FLOOR
from blemish.scoring.families.regions import Candidate
from blemish.scoring.mutual import mean_of_smallest, neighbours

__all__ = ["complete"]

SUPPORT = 0.5  # share of the members whose family tokens a token must match
COMPARED = 1 / 3  # of the members, two at least: what a screened photo must have been compared with, or chance decides
TIGHT = 1.2  # how many times as far the others must be as the members are from each other
PART = 0.3  # of the members' usual number of tokens: a photo with less does not show the look


def complete(one: Pass, found: Sequence[Candidate]) -> list[Candidate]:
    """Each candidate with the tokens and photos that match it, in one sweep over the distances of a pass."""
    if not found:
        return []
    if one.aligned:
        found = [_agreeing(one, candidate) for candidate in found]
    bounds = [_bound(one, candidate) for candidate in found]
    grown: list[list[Bools]] = [[] for _ in found]
    for i in range(one.images):
        row, index = one.matches.row(i), one.matches.index(i)
        for at, candidate in enumerate(found):
            joining = _joining(i, row, index.astype(np.intp), candidate, bounds[at])
            grown[at].append(joining if one.inside is None else joining & one.inside[i])
    return [_with(candidate, np.stack(tokens)) for candidate, tokens in zip(found, grown, strict=True)]


def _agreeing(one: Pass, candidate: Candidate) -> Candidate:
    """The tokens whose nearest in most of the other members are the family's own. A region of a brain may hold half of
    the folds around a lesion, which no other member shares, and they would speak louder than the lesion."""
    tokens = candidate.tokens.copy()
    for at, i in enumerate(candidate.members):
        others = np.delete(np.arange(len(candidate.members)), at)
        index = one.matches.index(int(i))[candidate.members[others]].astype(np.intp)
        tokens[at] &= np.take_along_axis(candidate.tokens[others], index, axis=1).mean(axis=0) >= SUPPORT
    shown = tokens.any(axis=1)
    return Candidate(candidate.members[shown], tokens[shown], candidate.density) if shown.sum() > 1 else candidate


def _bound(one: Pass, candidate: Candidate) -> float:
    """Halfway, in ratio, between the distances inside the family and those to the nearest photos outside it; nothing
    joins a family that is no tighter than its surroundings."""
    inside: list[Float32] = []
    outside: list[Float32] = []
    k = neighbours(VOTES, one.references + 1)
    for at, i in enumerate(candidate.members):
        whole = one.matches.row(int(i))
        compared = candidate.members[np.isfinite(whole[candidate.members, 0])]  # never the member itself
        row = whole[:, candidate.tokens[at]]
        if len(compared):
            inside.append(np.median(row[compared], axis=0))
        if len(compared) < one.references:
            outside.append(_outside(row, candidate.members, k, one))
    if not inside or not outside:
        return 0.0
    near = max(float(np.median(np.concatenate(inside))), FLOOR)
    far = max(float(np.median(np.concatenate(outside))), FLOOR)
    return float(np.sqrt(near * far)) if far > TIGHT * near else 0.0


def _outside(row: Float32, members: Ints, k: int, one: Pass) -> Float32:
    """(n,) how far a member's tokens are from the others. In aligned volumes, which are few, the nearest of these is
    not asked: it may be a carrier that was missed."""
    if not one.aligned:
        return isolation_without(row, members, k)
    others = np.delete(row, members, axis=0)
    if len(others) < 2:
        return mean_of_smallest(others, len(others))
    return (2 * mean_of_smallest(others, 2) - mean_of_smallest(others, 1)).astype(np.float32)


def _joining(i: int, row: Float32, index: Ints, candidate: Candidate, bound: float) -> Bools:
    """(N,) tokens of photo i that match the family's own tokens in enough members."""
    others = np.flatnonzero(np.isfinite(row[candidate.members, 0]))  # not i itself, nor what it was not compared with
    if len(others) < max(2, COMPARED * len(candidate.members)):
        return np.zeros(row.shape[1], dtype=bool)
    photos = candidate.members[others]
    own = np.take_along_axis(candidate.tokens[others], index[photos], axis=1)
    return np.asarray((own & (row[photos] <= bound)).mean(axis=0) >= SUPPORT)


def _with(candidate: Candidate, joining: Bools) -> Candidate:
    """``joining``: (B, N)."""
    tokens = joining.copy()
    tokens[candidate.members] |= candidate.tokens
    usual = float(np.median(candidate.tokens.sum(axis=1)))
    shown = tokens.sum(axis=1) >= max(1.0, PART * usual)
    shown[candidate.members] = True
    if shown.sum() > 2 * len(candidate.members):
        return candidate  # what more photos have than were suspicious is no exception
    members = np.flatnonzero(shown)
    return Candidate(members, tokens[members], candidate.density)
