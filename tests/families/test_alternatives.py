"""Second choices for any number of families: what is chosen from them is what a new search would find."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.scoring.families import FoundFamily, alternatives
from families.clouds import cloud


def families_everywhere(images: int, tokens: int, count: int, seed: int) -> tuple[FoundFamily, ...]:
    """Families of one photo and a few tokens each, several on every photo: more than a machine word has bits."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(count):
        mask = np.zeros((1, tokens), bool)
        mask[0, rng.permutation(tokens)[: rng.integers(1, 12)]] = True
        found.append(FoundFamily(np.array([at % images]), (mask,), 0.0, 1.0, 1.0))
    return tuple(found)


@pytest.mark.parametrize("seed", range(3))
def test_many_families_are_a_new_search(seed: int) -> None:
    planted = cloud(12, seed=seed)
    (one,) = planted.passes()
    found = families_everywhere(12, 64, 150, seed)
    owner = np.full((12, 64), -1)
    for at in reversed(range(len(found))):
        owner[found[at].members[0], found[at].tokens[0][0]] = at
    (second,) = alternatives([one], found)
    assert len(second.levels) > 3, "the premise: third and fourth choices are needed"
    rng = np.random.default_rng(seed)
    for count in (0, 1, 75, 150):
        chosen = rng.permutation(150)[:count].tolist()
        distances = np.stack([one.matches.row(i) for i in range(12)])
        for level, active in second.chosen(chosen):
            distances[level.image[active], level.other[active], level.token[active]] = level.distance[active]
        for i in range(12):
            for j in set(range(12)) - {i}:
                allowed = ~np.isin(owner[j], chosen)
                apart = np.linalg.norm(planted.tokens[i][:, None] - planted.tokens[j][allowed], axis=2)
                expected = apart.min(axis=1) if allowed.any() else np.full(64, np.inf)
                np.testing.assert_allclose(distances[i, j], expected, atol=2e-4)
