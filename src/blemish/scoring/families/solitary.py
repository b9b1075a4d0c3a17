"""Regions that stand alone: flaws of which a part of a large batch holds too few to be a family there.

A part is searched on its own. A flaw that recurs in the whole batch may be on one or two of its photos, and then it
looks like any other lonely flaw; only beside the other parts can it be told (``spread``). Knows one part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.config import FamilyConfig
from blemish.scoring.families.evidence import high_of, isolation, log_distances, shared, usual_of
from blemish.scoring.families.family import Bools, Float32, FoundFamily, Pass, Search
from blemish.scoring.families.grids import grown, inner, on_grid, touching
from blemish.scoring.families.known import median

__all__ = ["TAKEN_AWAY", "solitary"]

TAKEN_AWAY = 5  # nearest photos a token must do without; where more share a look, the part's own search finds it
PER_PHOTO = 3  # regions, the strongest
PER_PART = 0.5  # regions, as a share of the photos: a flaw is an exception


def solitary(passes: Sequence[Pass], search: Search, config: FamilyConfig) -> tuple[FoundFamily, ...]:
    """Regions outside the families of ``search`` that are unlike the batch and unlike their place, though a handful of
    their nearest photos is not asked: families of one photo each, strongest first. Only for our own rule.

    Evidence is that of ``weigh``, token by token; where there are several passes, two must agree."""
    if config.rule != "auto" or passes[0].images <= 2 * TAKEN_AWAY:
        return ()
    evidence = [_evidence(one) for one in passes]
    suspicious = _suspicious(passes, evidence, search, config)
    regions = [
        _weighed(passes, evidence, int(photo), region)
        for photo in np.flatnonzero(suspicious.any(axis=1))
        for region in _regions(suspicious[photo], passes[0].grid)
    ]
    kept: dict[int, int] = {}
    found: list[FoundFamily] = []
    for region in sorted(regions, key=lambda family: -family.strength):
        photo = int(region.members[0])
        kept[photo] = kept.get(photo, 0) + 1
        if kept[photo] <= PER_PHOTO:
            found.append(region)
    return tuple(found[: round(PER_PART * passes[0].images)])


def _evidence(one: Pass) -> tuple[Float32, Float32]:
    """(B, N) each: logarithms of how many times as far a token is from the other photos as nearly all tokens of the
    batch, and as most photos at its place."""
    distances = isolation(one, TAKEN_AWAY)
    logs = log_distances(distances)
    high = high_of(distances if one.inside is None else distances[:, shared(one)])
    return (logs - high).astype(np.float32), (logs - usual_of(logs)).astype(np.float32)


def _suspicious(
    passes: Sequence[Pass], evidence: Sequence[tuple[Float32, Float32]], search: Search, config: FamilyConfig
) -> Bools:
    """(B, N) tokens of the first pass that stand alone and belong to no family."""
    witnesses = 2 if len(passes) > 2 else 1
    votes = np.zeros((passes[0].images, passes[0].size), dtype=np.int32)
    for one, (batch, place) in zip(passes, evidence, strict=True):
        alone = (batch > np.log(config.beyond_batch)) & (place > np.log(config.beyond_place)) & inner(one.grid)
        votes += on_grid(alone, one.grid, passes[0].grid)
    suspicious = votes >= witnesses
    for family in search.families:
        suspicious[family.members] &= ~family.tokens[0]
    return np.asarray(suspicious)


def _regions(tokens: Bools, grid: tuple[int, ...]) -> list[Bools]:
    """(N,) masks of the connected regions of one photo's ``tokens`` (N,)."""
    from scipy import ndimage

    labels, count = ndimage.label(tokens.reshape(grid), structure=touching(grid))
    return [(labels == at).reshape(-1) for at in range(1, count + 1)]


def _weighed(
    passes: Sequence[Pass], evidence: Sequence[tuple[Float32, Float32]], photo: int, region: Bools
) -> FoundFamily:
    """One region with its evidence, that of the pass which sees it best; its tokens and the ones around them leave the
    references of every pass, or the others would stay deceived."""
    sides = [on_grid(region[None], passes[0].grid, one.grid) for one in passes]
    beyond = [
        (_typical(batch[photo, side[0]]), _typical(place[photo, side[0]]))
        for side, (batch, place) in zip(sides, evidence, strict=True)
    ]
    best = max(beyond)
    return FoundFamily(
        members=np.array([photo], dtype=np.intp),
        tokens=tuple(grown(side, one.grid, one.grid) for side, one in zip(sides, passes, strict=True)),
        density=0.0,
        strength=float(np.exp(best[0])),
        fence=1.0,
        beyond_place=float(np.exp(best[1])),
    )


def _typical(logs: Float32) -> float:
    return float(np.nan_to_num(median(logs), nan=-np.inf))  # a pass that knows none of these tokens sees nothing
