"""Scores without the families' tokens: what every token's nearest match becomes when some may no longer be matched.

CoDeGraph (TMLR 10/2025, arXiv 2510.10456), refinement. Excluded tokens vanish as references only; they keep a score,
which rises. Only matches that were excluded are searched again. The answer is kept for every set of families, so that
a decision about one of them needs no search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.family import Bools, Float32, FoundFamily, Ints, Pass

__all__ = ["Alternatives", "Level", "family_map", "find_alternatives"]

GATHERED = 2**26  # bytes of tokens searched at once
ROWS = 4096  # tokens a product
NOBODY = -1


@dataclass(frozen=True)
class Level:
    """Matches that hold a token of a family, and what takes their place without that family: parallel arrays.

    Entry e: the nearest token in photo ``other`` of ``token`` of ``image`` belongs to ``family``; ``distance`` is the
    nearest outside it, and outside the families of the entry's ``parent`` in the level above."""

    image: npt.NDArray[np.int32]
    other: npt.NDArray[np.int32]
    token: npt.NDArray[np.int32]
    family: npt.NDArray[np.int32]
    distance: Float32
    parent: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Alternatives:
    """Second choices of one pass, third choices where the second belongs to another family, and so on."""

    levels: tuple[Level, ...]

    def chosen(self, families: Collection[int]) -> Iterator[tuple[Level, Bools]]:
        """The levels, and which of their entries count when ``families`` may not be matched. An entry of a lower
        level counts after its parent and replaces its distance."""
        wanted = np.array(sorted(families), dtype=np.int32)
        above: Bools | None = None
        for level in self.levels:
            active = np.isin(level.family, wanted)
            if above is not None:
                active &= above[level.parent]
            yield level, active
            above = active


def family_map(one: Pass, number: int, families: Sequence[FoundFamily]) -> npt.NDArray[np.int32]:
    """(B, N): the family that a token belongs to in pass ``number``, -1 for none; the first where several claim it."""
    owner = np.full((one.images, one.size), NOBODY, dtype=np.int32)
    for at in reversed(range(len(families))):
        for member, tokens in zip(families[at].members, families[at].tokens[number], strict=True):
            owner[member, tokens] = at
    return owner


def find_alternatives(one: Pass, owner: npt.NDArray[np.int32]) -> Alternatives:
    """Second choices of every match that holds a token of a family. ``owner``: see ``family_map``."""
    levels: list[Level] = []
    bearers = np.flatnonzero((owner != NOBODY).any(axis=1))
    pending = _first_level(one, owner, bearers)
    barred, sets = _barred(np.zeros(len(pending.image), np.intp), pending.family, [()])
    while len(pending.image):
        level, nearest = _search(one, owner, pending, barred, sets)
        levels.append(level)
        again = nearest != NOBODY
        pending = Level(
            level.image[again],
            level.other[again],
            level.token[again],
            nearest[again],
            np.empty(int(again.sum()), np.float32),
            np.flatnonzero(again).astype(np.int32),
        )
        barred, sets = _barred(barred[again], pending.family, sets)
    return Alternatives(tuple(levels))


def _first_level(one: Pass, owner: npt.NDArray[np.int32], bearers: Ints) -> Level:
    found: list[npt.NDArray[np.int32]] = []  # (4, n) of every photo
    for i in range(one.images):
        index = one.matches.index(i)[bearers]
        if one.screened:  # what was not compared has no index
            index[~one.compared(i)[bearers]] = 0
        family = np.take_along_axis(owner[bearers], index.astype(np.intp), axis=1)
        family[bearers == i] = NOBODY
        if one.screened:
            family[~one.compared(i)[bearers]] = NOBODY
        if one.inside is not None:
            family[:, ~one.inside[i]] = NOBODY
        other, token = np.nonzero(family != NOBODY)
        found.append(np.stack([np.full(len(other), i), bearers[other], token, family[other, token]]).astype(np.int32))
    image, other, token, family = np.concatenate(found, axis=1)
    return Level(image, other, token, family, np.empty(len(image), np.float32), np.zeros(len(image), np.int32))


def _search(
    one: Pass, owner: npt.NDArray[np.int32], pending: Level, barred: Ints, sets: Sequence[tuple[int, ...]]
) -> tuple[Level, npt.NDArray[np.int32]]:
    """Fill the distances of ``pending``; and the family of each new nearest token. ``barred``: which of ``sets`` of
    families each entry may not match."""
    distance = np.full(len(pending.image), np.inf, dtype=np.float32)
    family = np.full(len(pending.image), NOBODY, dtype=np.int32)
    order = np.lexsort((barred, pending.other))
    at_once = max(1, GATHERED // (4 * one.tokens.shape[2]))
    for start in range(0, len(order), at_once):
        entries = order[start : start + at_once]
        searched = _gather(one, pending, entries)
        # entries with the same other photo and the same families in the way are searched in one product
        cuts = np.flatnonzero(np.diff(pending.other[entries]) | np.diff(barred[entries])) + 1
        for group in np.split(np.arange(len(entries)), cuts):
            first = entries[group[0]]
            other = int(pending.other[first])
            may = ~np.isin(owner[other], sets[barred[first]])
            if one.inside is not None:
                may &= one.inside[other]
            if not may.any():
                continue  # a photo that is excluded whole keeps an infinite distance: it has no vote
            against = one.tokens.read(other, other + 1)[0]
            rows = ROWS if one.radius is None else max(1, GATHERED // (4 * one.size))
            for part in np.array_split(group, -(-len(group) // rows)):
                at = _nearest(one, searched[part], pending.token[entries[part]], against, may)
                distance[entries[part]] = _distances(searched[part], against[at])
                family[entries[part]] = owner[other, at]
    filled = Level(pending.image, pending.other, pending.token, pending.family, distance, pending.parent)
    return filled, family


def _nearest(one: Pass, searched: Float32, token: npt.NDArray[np.int32], against: Float32, may: Bools) -> Ints:
    """(n,) which of the tokens ``against`` (N, C) that ``may`` (N,) be matched is nearest to each of ``searched``
    (n, C), whose numbers are ``token``: within the radius, or anywhere where there is none within."""
    if one.radius is None:
        return _anywhere(searched, against, np.flatnonzero(may))
    found = _within(one.grid, one.radius, searched, token, against, may)
    lonely = found == NOBODY
    if lonely.any():
        found[lonely] = _anywhere(searched[lonely], against, np.flatnonzero(may))
    return found


def _anywhere(searched: Float32, against: Float32, allowed: Ints) -> Ints:
    return np.asarray(allowed[(searched @ against[allowed].T).argmax(axis=1)])


def _within(
    grid: tuple[int, ...], radius: int, searched: Float32, token: npt.NDArray[np.int32], against: Float32, may: Bools
) -> Ints:
    """The window's places one after the other; NOBODY where there is nothing."""
    sides = np.array(grid)[:, None]
    places = np.stack(np.unravel_index(token, grid))  # (sides of the grid, n)
    best = np.full(len(token), np.inf, dtype=np.float32)
    found = np.full(len(token), NOBODY, dtype=np.intp)
    for offset in product(*(range(-min(radius, side - 1), min(radius, side - 1) + 1) for side in grid)):
        there = places + np.array(offset)[:, None]
        rows = np.flatnonzero(((there >= 0) & (there < sides)).all(axis=0))
        cells = np.ravel_multi_index(tuple(there[:, rows]), grid)
        rows, cells = rows[may[cells]], cells[may[cells]]
        apart = _distances(searched[rows], against[cells])
        nearer = apart < best[rows]
        best[rows[nearer]], found[rows[nearer]] = apart[nearer], cells[nearer]
    return found


def _gather(one: Pass, pending: Level, entries: Ints) -> Float32:
    """(n, C) tokens of ``entries``; every photo is read once."""
    found = np.empty((len(entries), one.tokens.shape[2]), dtype=np.float32)
    images = pending.image[entries]
    order = np.argsort(images, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(images[order])) + 1):
        image = int(images[group[0]])
        found[group] = one.tokens.read(image, image + 1)[0][pending.token[entries[group]]]
    return found


def _distances(a: Float32, b: Float32) -> Float32:
    difference = a - b
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference)), dtype=np.float32)


def _barred(
    barred: Ints, family: npt.NDArray[np.int32], sets: Sequence[tuple[int, ...]]
) -> tuple[Ints, list[tuple[int, ...]]]:
    """``family`` added to what each entry may not match: which set it is now, and the sets, each named once. A batch
    can have any number of families, since only the sets that occur are kept; a photo bears few."""
    families = int(family.max(initial=0)) + 1
    key = barred * families + family
    there = np.zeros(len(sets) * families, dtype=bool)
    there[key] = True  # quicker than sorting millions of entries
    keys = np.flatnonzero(there)
    pairs = [divmod(at, families) for at in keys.tolist()]
    wider = [tuple(sorted({*sets[before], added}, reverse=True)) for before, added in pairs]
    known = sorted(set(wider))
    number = {one: at for at, one in enumerate(known)}
    of_key = np.zeros(len(there), dtype=np.intp)
    of_key[keys] = [number[one] for one in wider]
    return of_key[key], known
