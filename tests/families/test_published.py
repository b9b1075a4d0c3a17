"""The published rule: a recurring flaw is flagged and its tokens captured; the dependency ratio by hand."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.config import FamilyConfig
from blemish.scoring.families import Search, find_families, published
from families.clouds import cloud

INF = np.inf
PUBLISHED = FamilyConfig("published")


def test_dependency_ratios_by_hand() -> None:
    """Photo 0 of five, k = 2; photo 1 belongs to the community, which the first token depends on."""
    row = np.array([[INF, INF], [0.1, 0.9], [0.3, 0.2], [0.7, 0.4], [0.5, 0.6]], np.float32)
    ratios = published.dependency_ratios(row, 0, np.array([0, 1]), 2)
    np.testing.assert_allclose(ratios, [(0.3 + 0.5) / (0.1 + 0.3), 1.0], rtol=1e-6)
    outsider = published.dependency_ratios(row, 0, np.array([1, 2]), 2)
    np.testing.assert_allclose(outsider, [(0.5 + 0.7) / (0.1 + 0.3), (0.4 + 0.6) / (0.2 + 0.4)], rtol=1e-6)


def test_dependency_on_nearly_everybody_uses_who_is_left() -> None:
    row = np.array([[INF], [0.1], [0.3], [0.6]], np.float32)
    ratios = published.dependency_ratios(row, 0, np.array([0, 1, 2]), 3)  # only photo 3 is left to vote
    np.testing.assert_allclose(ratios, [0.6 / ((0.1 + 0.3 + 0.6) / 3)], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_recurring_flaw_is_flagged_and_its_tokens_captured(seed: int) -> None:
    planted = cloud(60, (9,), 1, seed=seed)
    members, flaw = planted.looks[0]
    search = published.find(planted.passes(), 5, PUBLISHED)
    caught = [family for family in search.families if set(members) & set(family.members)]
    assert caught, "the planted flaw was not flagged"
    captured = np.zeros(planted.tokens.shape[:2], bool)
    for family in caught:
        captured[family.members] |= family.tokens[0]
    assert captured[np.ix_(members, flaw)].mean() > 0.9
    strangers = {int(i) for family in caught for i in family.members} - set(members.tolist())
    assert len(strangers) <= 1  # a photo with a flaw of its own may have its best match among them
    for family in search.families:
        assert family.density == family.strength > family.fence
    assert sum(community.accepted for community in search.communities) == len(search.families)


def test_percentiles_decide_what_is_excluded() -> None:
    planted = cloud(60, (9,), seed=0)
    shares = [
        np.mean([family.tokens[0].mean() for family in published.find(planted.passes(), 5, config).families])
        for config in (FamilyConfig("published", dependency_percentile=p) for p in (50, 90, 99))
    ]
    assert shares[0] > shares[1] > shares[2] > 0


def test_the_fence_factor_decides_what_is_flagged() -> None:
    planted = cloud(60, (9,), seed=0)
    assert published.find(planted.passes(), 5, FamilyConfig("published", k_iqr=0.0)).families
    assert not published.find(planted.passes(), 5, FamilyConfig("published", k_iqr=1e6)).families


def test_more_than_half_of_the_batch_is_never_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flaw is on 16 of 20: however dense its community is, it cannot be the minority."""
    monkeypatch.setattr(published, "outlier_fence", lambda *_: 0.0)
    search = published.find(cloud(20, (16,), seed=1).passes(), 2, FamilyConfig("published", omega=0.9))
    assert max(community.size for community in search.communities) == 16, "the premise"
    assert {community.size: community.accepted for community in search.communities}[16] is False
    assert all(2 * len(family.members) <= 20 for family in search.families)


def test_find_families_takes_the_rule_from_the_config() -> None:
    planted = cloud(60, (9,), seed=0)
    by_name = find_families(planted.passes(), 5, PUBLISHED)
    directly = published.find(planted.passes(), 5, PUBLISHED)
    assert len(by_name.families) == len(directly.families) > 0
    assert by_name.communities == directly.communities
    strengths = [family.strength for family in by_name.families]
    assert strengths == sorted(strengths, reverse=True)
    assert find_families(planted.passes(), 5, FamilyConfig("off")) == Search()
