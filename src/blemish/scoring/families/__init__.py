"""Families: photos that share a flaw which keeps coming back, and so looks normal to nearest-neighbour scoring.

CoDeGraph (TMLR 10/2025, arXiv 2510.10456): links -> graph -> communities -> tokens out of the references -> scores.
``find_families`` is the door; the published rule is told in ``published``, our own in ``regions`` and ``evidence``.
Nothing here knows photos, files or words for the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from blemish.config import FamilyConfig
from blemish.scoring.families import published
from blemish.scoring.families.evidence import Evidence, distinct, question, weigh
from blemish.scoring.families.family import Bools, Community, FoundFamily, Ints, Pass, Search
from blemish.scoring.families.refine import Alternatives, Level, family_map, find_alternatives
from blemish.scoring.families.regions import EIGHT, Candidate, candidates

__all__ = [
    "FEWEST",
    "Alternatives",
    "FoundFamily",
    "Level",
    "Pass",
    "Search",
    "alternatives",
    "find_families",
    "on_grid",
]

FEWEST = 8  # photos below which three that agree are no minority
MOST = 60  # families kept, the strongest: more are a sign of a batch without a common product


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


def on_grid(tokens: Bools, source: tuple[int, int], target: tuple[int, int]) -> Bools:
    """Token masks (m, N) of one grid on another, (m, N'): every target token that touches a chosen source token."""
    if source == target:
        return tokens
    mask = tokens.reshape(-1, *source)
    rows = [_touched(mask, start, stop, 1) for start, stop in _spans(source[0], target[0])]
    mask = np.stack(rows, axis=1)
    columns = [_touched(mask, start, stop, 2) for start, stop in _spans(source[1], target[1])]
    return np.stack(columns, axis=2).reshape(len(tokens), -1)


def _touched(mask: Bools, start: int, stop: int, axis: int) -> Bools:
    return np.asarray(np.take(mask, range(start, stop), axis=axis).any(axis=axis))


def _spans(source: int, target: int) -> list[tuple[int, int]]:
    return [(at * source // target, -(-(at + 1) * source // target)) for at in range(target)]


def _find(passes: Sequence[Pass], config: FamilyConfig) -> Search:
    """Our own rule: communities of regions in every pass, those with evidence, joined where they share photos."""
    accepted: list[tuple[int, Candidate, Evidence]] = []
    communities: list[Community] = []
    links = np.zeros((passes[0].images, passes[0].images), dtype=np.float32)
    for number, one in enumerate(passes):
        found, between = candidates(one, config)
        links += between
        for candidate, evidence in zip(found, weigh(one, found), strict=True):
            convincing = evidence.beyond_batch > config.beyond_batch and evidence.beyond_place > config.beyond_place
            if convincing and distinct(one, candidate.members) >= config.smallest:
                accepted.append((number, candidate, evidence))
            communities.append(Community(len(candidate.members), candidate.density, evidence.beyond_batch, convincing))
    groups = _groups([candidate for _, candidate, _ in accepted])
    families = (_join(passes, [accepted[at] for at in group], config) for group in groups)
    return Search(tuple(families), tuple(communities), links, config.beyond_batch)


def _groups(found: Sequence[Candidate]) -> list[list[int]]:
    """Candidates that share at least half of the smaller one's photos, directly or through others."""
    parent = list(range(len(found)))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for a in range(len(found)):
        for b in range(a):
            shared = np.isin(found[a].members, found[b].members).sum()
            if 2 * shared >= min(len(found[a].members), len(found[b].members)):
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
    return FoundFamily(
        members=members,
        tokens=tokens,
        density=best[1].density,
        strength=best[2].beyond_batch,
        fence=config.beyond_batch,
        question=question(members, tokens[0], passes[0].images),
    )


def _excluded(
    passes: Sequence[Pass], target: int, members: Ints, group: Sequence[tuple[int, Candidate, Evidence]]
) -> Bools:
    from scipy import ndimage  # here, because a decision does without it

    grid = passes[target].grid
    mask = np.zeros((len(members), grid[0] * grid[1]), dtype=bool)
    for number, candidate, _ in group:
        mask[np.searchsorted(members, candidate.members)] |= on_grid(candidate.tokens, passes[number].grid, grid)
    grown = ndimage.binary_dilation(mask.reshape(-1, *grid), structure=EIGHT[None])
    return np.asarray(grown.reshape(mask.shape))
