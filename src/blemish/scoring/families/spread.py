"""Families that are spread over the parts of a large batch: what each part has found alone, put together.

A large batch is dealt at random into parts, and each is searched on its own. A flaw that recurs is then on a few
photos of every part: a family in some, lonely regions in others. Both are nodes here, and two nodes are joined by how
much they resemble each other (``resemblance``). Knows what is left of the parts; their tables and tokens are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.config import FamilyConfig
from blemish.scoring.families.carriers import Carriers
from blemish.scoring.families.communities import leiden
from blemish.scoring.families.evidence import fence_of, question
from blemish.scoring.families.family import MOST, FoundFamily, Ints
from blemish.scoring.families.resemblance import Nodes, distinct_photos, endurance, nodes_of, resemblance

Float64 = npt.NDArray[np.float64]

__all__ = ["JoinedFamily", "Spread", "join", "whole"]

# Added to both fences of a look that no part has found to be a family: its regions were chosen for their evidence, so
# lookalikes among them have some, too. Of rendered parts, true looks had strengths from 1.39 and false ones to 1.25.
UNSEEN = 0.25
# Endurance above which the matches of such a look do not run out. Of some 70 candidates among rendered parts, true ones
# had .73 to .96 (a few up to 1.2), false ones nearly always more than 1; without it, 4 false ones are accepted, not 1,
# and 18 where UNSEEN is .05.
ENDURANCE = 1.0
CHANCE = 0.1  # that a look falls to one part alone, below which it is no recurring flaw


@dataclass(frozen=True)
class JoinedFamily:
    """A family of the whole batch."""

    members: Ints  # (m,) ascending, numbers in the whole batch
    of: tuple[tuple[int, int], ...]  # (part, number in the part) of each family and lonely region it is made of
    density: float  # mean resemblance of these, 0 to 1; 0 if it is only one
    strength: float  # how many times as far from the other photos as nearly all tokens of its part
    beyond_place: float  # and as most other photos of its part at the same place
    fence: float  # what each must exceed
    place_fence: float


@dataclass(frozen=True)
class Spread:
    """``alone``: for each part, the numbers that are in no family: they vouch for themselves, and nobody is told."""

    families: tuple[JoinedFamily, ...]  # strongest evidence first
    alone: tuple[Ints, ...]


def join(parts: Sequence[Carriers], images: int, config: FamilyConfig, *, several: bool = False) -> Spread:
    """Families of a batch of ``images`` photos that was dealt at random into ``parts``. ``several``: more than two
    layers and neighbourhoods were looked at.

    They are communities of nodes, in at least ``config.smallest`` photos and at most half of the batch, that are far
    enough from everything else for their number. What one part has found to be a family is never split."""
    nodes = nodes_of(parts)
    first, second, weights = resemblance(nodes)
    communities = leiden(len(nodes.of), first, second, weights, config.resolution, config.seed)
    found = []
    for community, density in zip(communities, _densities(communities, first, second, weights), strict=True):
        family = _weighed(nodes, community, density, config, several)
        enough = config.smallest <= len(family.members) <= images // 2
        far = family.strength > family.fence and family.beyond_place > family.place_fence
        if enough and far and not _by_chance(nodes, community, family, len(parts), config):
            found.append(family)
    families = tuple(sorted(found, key=lambda family: (-family.strength, family.members[0]))[:MOST])
    taken = {of for family in families for of in family.of}
    alone: list[list[int]] = [[] for _ in parts]
    for part, number in nodes.of:
        if (part, number) not in taken:
            alone[part].append(number)
    return Spread(families, tuple(np.array(numbers, dtype=np.intp) for numbers in alone))


def _densities(communities: Sequence[Ints], first: Ints, second: Ints, weights: Float64) -> list[float]:
    """Mean weight of the pairs in each community, 0 for a single node."""
    label = np.zeros(sum(map(len, communities)), dtype=np.intp)
    for at, community in enumerate(communities):
        label[community] = at
    inside = label[first] == label[second]
    sums = np.bincount(label[first[inside]], weights=weights[inside], minlength=len(communities))
    sizes = np.array([len(community) for community in communities])
    return [float(value) for value in sums / np.maximum(sizes * (sizes - 1) / 2, 1)]


def _weighed(nodes: Nodes, community: Ints, density: float, config: FamilyConfig, several: bool) -> JoinedFamily:
    """The evidence of the usual carrier, or of the family with the strongest that a part has found."""
    carriers = np.flatnonzero(np.isin(nodes.node, community))
    of_parts = carriers[nodes.size[nodes.node[carriers]] >= config.smallest]
    members = np.unique(nodes.photo[carriers])
    strength, place = (
        float(max(np.median(values[carriers]), values[of_parts].max(initial=0)))
        for values in (nodes.beyond_batch, nodes.beyond_place)
    )
    fences = fence_of(max(len(members), config.smallest), several, config), config.beyond_place
    if config.rule == "published":
        fences = 0.0, -1.0  # it has evidence of its own, and no lonely regions
    elif not len(of_parts):
        fences = fences[0] + UNSEEN, fences[1] + UNSEEN
    return JoinedFamily(members, tuple(nodes.of[at] for at in sorted(community)), density, strength, place, *fences)


def _by_chance(nodes: Nodes, community: Ints, family: JoinedFamily, parts: int, config: FamilyConfig) -> bool:
    """Few photos that are all in one part, though they were dealt at random, agree by chance; and so do regions that
    no part has found to be a family, unless their matches run out with them. Photos of one and the same part agree,
    too, and are no family."""
    few = len(family.members) <= 2 * config.smallest
    if few and len({part for part, _ in family.of}) == 1 and parts ** (1 - len(family.members)) < CHANCE:
        return True
    if nodes.size[community].max() >= config.smallest:
        return False
    carriers = np.flatnonzero(np.isin(nodes.node, community))
    return endurance(nodes, carriers) > ENDURANCE or distinct_photos(nodes, carriers) < config.smallest


def whole(
    joined: JoinedFamily, found: Sequence[Sequence[FoundFamily]], photos: Sequence[Ints], images: int
) -> FoundFamily:
    """The family with the tokens of all its members. ``found``: of each part, its families and after them its lonely
    regions; ``photos``: of each part, its photos in the whole batch of ``images``."""
    entries = [(found[part][number], photos[part]) for part, number in joined.of]
    tokens = tuple(np.zeros((len(joined.members), mask.shape[1]), dtype=bool) for mask in entries[0][0].tokens)
    for family, numbers in entries:
        rows = np.searchsorted(joined.members, np.asarray(numbers)[family.members])
        for mask, own in zip(tokens, family.tokens, strict=True):
            mask[rows] |= own
    strongest = max((family for family, _ in entries), key=lambda family: (len(family.members) > 1, family.strength))
    return FoundFamily(
        members=joined.members,
        tokens=tokens,
        density=joined.density if len(entries) > 1 else strongest.density,
        strength=joined.strength,
        fence=joined.fence or strongest.fence,  # the published rule's own is in no unit that parts share
        question=question(joined.members, tokens[0], images, joined.strength),
        beyond_place=joined.beyond_place,
    )
