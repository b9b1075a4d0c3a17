"""Photos that were compared with some of the others only: ranks count within these, and the families stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from blemish.config import FamilyConfig
from blemish.scoring.families import FoundFamily, Pass, alternatives, carriers, find_families, solitary
from blemish.scoring.families.completion import complete
from blemish.scoring.families.evidence import distinct, weigh
from blemish.scoring.families.published import dependency_ratios
from blemish.scoring.families.regions import Candidate
from families.clouds import Cloud, Planted, Table, cloud, table_of

AUTO = FamilyConfig()
INF = np.inf


@dataclass(frozen=True)
class Screened(Table):
    """Distances to the photos that nobody looked at are infinite, and the indices there are nonsense."""

    def index(self, image: int) -> np.ndarray:
        return np.where(np.isfinite(self.nearest[image]), self.indices[image], -9999)


def screened(planted: Planted, references: int, seed: int = 0) -> Pass:
    """Each photo with the ones most like it, give or take: not in both directions."""
    table = table_of(planted.tokens)
    nearest = table.nearest.copy()
    rng = np.random.default_rng(seed)
    for i, row in enumerate(nearest):
        between = row.mean(axis=1) * rng.uniform(0.8, 1.25, len(row))
        between[i] = INF
        row[np.argsort(between)[references:]] = INF
    return Pass(Screened(nearest, table.indices), Cloud(planted.tokens), planted.grid, references)


def members_of(found: Sequence[FoundFamily]) -> set[tuple[int, ...]]:
    return {tuple(family.members.tolist()) for family in found}


def test_all_are_references_unless_it_is_said() -> None:
    (one,) = cloud(9, seed=0).passes()
    assert (one.references, one.screened) == (8, False)
    few = screened(cloud(9, seed=0), 4)
    assert (few.references, few.screened) == (4, True)
    assert few.compared(2).sum() == 4


@pytest.mark.parametrize("rule", ["auto", "published"])
def test_saying_that_all_are_references_changes_no_bit(rule: str) -> None:
    planted = cloud(40, (6,), 2, seed=0)
    (one,) = planted.passes()
    config = FamilyConfig(rule)
    plain = find_families([one], 4, config)
    said = find_families([Pass(one.matches, one.tokens, one.grid, 39)], 4, config)
    assert plain.communities == said.communities
    assert [family.strength for family in plain.families] == [family.strength for family in said.families]
    np.testing.assert_array_equal(plain.links, said.links)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.7, 0.5])
def test_planted_families_are_found_among_fewer(seed: int, share: float) -> None:
    planted = cloud(60, (4, 8), seed=seed)
    one = screened(planted, round(share * 60))
    found = find_families([one], 4, AUTO).families
    assert len(found) == 2
    for members, flaw in planted.looks:
        (family,) = (family for family in found if set(members) <= set(family.members))
        strangers = np.setdiff1d(family.members, members)
        assert len(strangers) <= (0 if share > 0.5 else 1)
        assert family.tokens[0][np.isin(family.members, members)][:, flaw].mean() > 0.9


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("batch", [{}, {"variants": (0.5, 0.5)}], ids=["clean", "variants"])
def test_nothing_is_found_where_nothing_recurs(batch: dict[str, object], seed: int) -> None:
    assert not find_families([screened(cloud(60, **batch, seed=seed), 36)], 4, AUTO).families


def test_alternatives_leave_pairs_alone_that_nobody_compared() -> None:
    planted = cloud(40, (6,), seed=0)
    one = screened(planted, 24)
    families = find_families([one], 4, AUTO).families
    (second,) = alternatives([one], families)
    (whole,) = alternatives(planted.passes(), families)
    assert 0 < len(second.levels[0].image) < len(whole.levels[0].image)
    known = {tuple(entry[:3]): entry[3] for entry in entries(whole.levels[0])}
    for image, other, token, distance in entries(second.levels[0]):
        assert one.compared(int(image))[int(other)]
        assert distance == pytest.approx(known[image, other, token], abs=1e-6)


def entries(level: object) -> list[tuple[float, ...]]:
    columns = (getattr(level, name).tolist() for name in ("image", "other", "token", "distance"))
    return list(zip(*columns, strict=True))


def test_members_that_were_not_compared_have_no_say() -> None:
    """Photo 8 shows the look of 1 to 3, but was compared with two of them only; photo 9 with one."""
    planted = cloud(20, seed=0)
    flaw = np.zeros(64, bool)
    flaw[[18, 19, 26, 27]] = True
    planted.tokens[np.ix_([1, 2, 3, 8, 9], flaw)] = -planted.tokens[0, flaw]
    nearest = table_of(planted.tokens).nearest.copy()
    nearest[8, 3] = INF
    nearest[9, [2, 3]] = INF
    one = Pass(Table(nearest, table_of(planted.tokens).indices), Cloud(planted.tokens), planted.grid, 16)
    candidate = Candidate(np.array([1, 2, 3]), np.tile(flaw, (3, 1)), 1.0)
    (whole,) = complete(one, [candidate])
    assert whole.members.tolist() == [1, 2, 3, 8]


def test_a_look_that_was_compared_with_its_own_only_has_no_evidence() -> None:
    planted = cloud(12, (4,), seed=0)
    members, flaw = planted.looks[0]
    table = table_of(planted.tokens)
    nearest = table.nearest.copy()
    nearest[np.ix_(members, np.setdiff1d(np.arange(12), members))] = INF
    one = Pass(Table(nearest, table.indices), Cloud(planted.tokens), planted.grid, 3)
    candidate = Candidate(members, np.tile(flaw, (4, 1)), 1.0)
    (evidence,) = weigh(one, [candidate])
    assert (evidence.beyond_batch, evidence.beyond_place) == (0, 0)
    (whole,) = complete(one, [candidate])
    assert whole.members.tolist() == members.tolist()


def test_dependency_without_another_vote_is_unknown() -> None:
    row = np.array([[INF], [0.1], [0.3], [INF]], np.float32)
    assert dependency_ratios(row, 0, np.array([0, 1, 2]), 2).tolist() == [1]


def test_copies_are_known_among_fewer() -> None:
    planted = cloud(40, (2,), seed=1)
    members, _ = planted.looks[0]
    one = screened(planted.copied(int(members[0]), 2), 24)
    assert distinct(one, np.array([*members, 40])) == 2


@pytest.mark.parametrize("seed", range(2))
def test_lonely_regions_are_seen_among_fewer(seed: int) -> None:
    planted = cloud(60, (2,), seed=seed)
    one = screened(planted, 36)
    found = solitary([one], find_families([one], 4, AUTO), AUTO)
    assert set(planted.looks[0][0].tolist()) <= {int(region.members[0]) for region in found}
    kept = carriers(one, found, np.arange(60))
    assert np.isfinite(kept.isolation).all()
    assert np.isfinite(kept.nearest).all()
