"""Families: photos that share a flaw which keeps coming back, and so looks normal to nearest-neighbour scoring.

CoDeGraph (TMLR 10/2025, arXiv 2510.10456): links -> graph -> communities -> tokens out of the references -> scores.
``find_families`` is the door; the published rule is told in ``published``, our own in ``regions`` and ``evidence``.
A large batch is searched in parts, and ``join`` puts together what is spread over them: ``solitary``, ``carriers``,
``spread``.
Nothing here knows photos, files or words for the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from blemish.config import FamilyConfig
from blemish.scoring.families import published
from blemish.scoring.families.carriers import Carriers, carriers
from blemish.scoring.families.completion import complete
from blemish.scoring.families.evidence import MANY_FIRM, Evidence, distinct, fence_of, question, weigh
from blemish.scoring.families.family import MOST, Bools, Community, FoundFamily, Ints, Pass, Search
from blemish.scoring.families.grids import grown, on_grid
from blemish.scoring.families.refine import Alternatives, Level, family_map, find_alternatives
from blemish.scoring.families.regions import Candidate, candidates
from blemish.scoring.families.solitary import solitary
from blemish.scoring.families.spread import JoinedFamily, Spread, join, whole

__all__ = [
    "FEWEST",
    "Alternatives",
    "Carriers",
    "FoundFamily",
    "JoinedFamily",
    "Level",
    "Pass",
    "Search",
    "Spread",
    "alternatives",
    "carriers",
    "find_families",
    "join",
    "on_grid",
    "solitary",
    "whole",
]

FEWEST = 8  # photos below which three that agree are no minority


def find_families(passes: Sequence[Pass], k: int, config: FamilyConfig) -> Search:
    """The families of a batch. ``k``: neighbours that vote in a token's score, which the published rule looks at."""
    if config.rule == "off" or passes[0].images < FEWEST:
        return Search()
    search = published.find(passes, k, config) if config.rule == "published" else _find(passes, config)
    strongest = sorted(search.families, key=lambda family: (-family.strength, family.members[0]))[:MOST]
    return replace(search, families=tuple(strongest))


def alternatives(passes: Sequence[Pass], families: Sequence[FoundFamily]) -> list[Alternatives]:
    """For each pass, the second choices of every match that holds a family's token."""
    return [find_alternatives(one, family_map(one, number, families)) for number, one in enumerate(passes)]


def _find(passes: Sequence[Pass], config: FamilyConfig) -> Search:
    """Our own rule: communities of regions in every pass, those with evidence, joined where they share photos."""
    accepted: list[tuple[int, Candidate, Evidence]] = []
    communities: list[Community] = []
    links = np.zeros((passes[0].images, passes[0].images), dtype=np.float32)
    bounds = [0.0] * len(passes)
    several = len(passes) > 2
    for number, one in enumerate(passes):
        found, between, bounds[number] = candidates(one, config)
        links += between
        if one.aligned:  # of a dozen volumes a single one votes: a carrier that was missed would speak for the family
            found = complete(one, found)
        convincing = []
        for candidate, evidence in zip(found, weigh(one, found), strict=True):
            fence = fence_of(len(candidate.members), several, config)
            far = evidence.beyond_batch > fence and evidence.beyond_place > config.beyond_place
            convinces = far and distinct(one, candidate.members) >= config.smallest
            if convinces:
                convincing.append((candidate, evidence))
            size, density = len(candidate.members), candidate.density
            communities.append(Community(size, density, evidence.beyond_batch, fence, convinces))
        completed = [candidate for candidate, _ in convincing]
        completed = completed if one.aligned else complete(one, completed)
        accepted += [(number, whole, evidence) for whole, (_, evidence) in zip(completed, convincing, strict=True)]
    witnesses = 2 if several else 1  # what one layer of many sees alone is more often its own peculiarity
    groups = [
        group
        for group in _groups(passes, [(number, candidate) for number, candidate, _ in accepted])
        if len({accepted[at][0] for at in group}) >= witnesses
    ]
    families = (_join(passes, [accepted[at] for at in group], config) for group in groups)
    return Search(tuple(families), tuple(communities), links, bounds[0])


def _groups(passes: Sequence[Pass], found: Sequence[tuple[int, Candidate]]) -> list[list[int]]:
    """Candidates that are the same look: at least half of the smaller one's photos are shared, directly or through
    others, and in most of these it is at the same place."""
    masks = [grown(candidate.tokens, passes[number].grid, passes[0].grid) for number, candidate in found]
    parent = list(range(len(found)))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for a, (_, one) in enumerate(found):
        for b, (_, other) in enumerate(found[:a]):
            shared, here, there = np.intersect1d(one.members, other.members, return_indices=True)
            if 2 * len(shared) < min(len(one.members), len(other.members)):
                continue
            if 2 * (masks[a][here] & masks[b][there]).any(axis=1).sum() >= len(shared):
                parent[root(a)] = root(b)
    groups: dict[int, list[int]] = {}
    for at in range(len(found)):
        groups.setdefault(root(at), []).append(at)
    return list(groups.values())


def _join(
    passes: Sequence[Pass], group: Sequence[tuple[int, Candidate, Evidence]], config: FamilyConfig
) -> FoundFamily:
    """One family from candidates of all passes. Its tokens are theirs and the ones around them, which see a part of
    the flaw; what one pass has found is excluded in all, or the others would stay deceived."""
    members = np.unique(np.concatenate([candidate.members for _, candidate, _ in group]))
    tokens = tuple(_excluded(passes, target, members, group) for target in range(len(passes)))
    best = max(group, key=lambda entry: entry[2].beyond_batch)
    strength, fence = best[2].beyond_batch, fence_of(len(best[1].members), len(passes) > 2, config)
    # a third of a dozen volumes is four: their evidence is relative to their place, where a variant would be usual
    return FoundFamily(
        members=members,
        tokens=tokens,
        density=best[1].density,
        strength=strength,
        fence=fence,
        question=question(members, tokens[0], passes[0].images, strength, fence if passes[0].aligned else MANY_FIRM),
        beyond_place=best[2].beyond_place,
    )


def _excluded(
    passes: Sequence[Pass], target: int, members: Ints, group: Sequence[tuple[int, Candidate, Evidence]]
) -> Bools:
    grid = passes[target].grid
    mask = np.zeros((len(members), passes[target].size), dtype=bool)
    for number, candidate, _ in group:
        mask[np.searchsorted(members, candidate.members)] |= grown(candidate.tokens, passes[number].grid, grid)
    return mask
