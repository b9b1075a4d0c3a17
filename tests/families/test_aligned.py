"""Volumes that are aligned: families by what is usual at each place, where folds are further from each other than a
lesion in plain tissue is from anything."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from blemish.config import FamilyConfig
from blemish.matching.nearby import match_nearby
from blemish.matching.store import Budget
from blemish.scoring.families import Pass, find_families
from blemish.scoring.families.completion import complete
from blemish.scoring.families.evidence import weigh
from blemish.scoring.families.grids import joined, touching
from blemish.scoring.families.regions import Candidate
from families.clouds import Cloud, unit
from token_batches import PLENTY, SCRATCH, stored

GRID, VOLUMES, CARRIERS = (10, 10, 10), 12, (1, 4, 6, 9)
LESION = np.zeros(GRID, bool)
LESION[2:5, 2:5, 2:5] = True
FOLDS = np.zeros(GRID, bool)
FOLDS[6:] = True  # two fifths of a brain, unlike in every brain
WIDTH = 12


def brains(seed: int, *, lesion: bool = True) -> np.ndarray:
    """(B, N, C): plain tissue that differs little, folds that differ a lot, and a lesion that is as far from tissue as
    two folds are from each other."""
    rng = np.random.default_rng(seed)
    tissue = unit(rng.normal(size=(1, *GRID, WIDTH)))
    spread = np.where(FOLDS, 0.9, 0.25)[None, ..., None]
    tokens = tissue + spread * unit(rng.normal(size=(VOLUMES, *GRID, WIDTH)))
    if lesion:
        look = unit(rng.normal(size=WIDTH))
        for volume in CARRIERS:
            tokens[volume][LESION] += 0.65 * look
    return unit(tokens).reshape(VOLUMES, -1, WIDTH).astype(np.float32)


def aligned(tokens: np.ndarray) -> Pass:
    table = match_nearby(stored(tokens), GRID, Budget(PLENTY, SCRATCH), radius=1)
    return Pass(table, Cloud(tokens), GRID, radius=1)


@pytest.mark.parametrize("seed", range(4))
def test_a_lesion_no_further_than_folds_are_is_found(seed: int) -> None:
    one = aligned(brains(seed))
    away = np.stack([np.sort(one.matches.row(at), axis=0)[4].reshape(GRID) for at in CARRIERS])
    folds = np.stack([np.sort(one.matches.row(at), axis=0)[4].reshape(GRID) for at in range(VOLUMES)])[:, FOLDS]
    assert np.median(away[:, LESION]) < np.quantile(folds, 0.95), "the premise: folds are as far"
    (family,) = find_families([one], 1, FamilyConfig()).families
    assert tuple(family.members) == CARRIERS
    assert not family.question, "four of twelve are a third, which is no variant where places are comparable"
    lesion, tokens = LESION.reshape(-1), family.tokens[0]
    assert tokens[:, lesion].mean() > 0.9
    assert not tokens[:, ~ndimage.binary_dilation(LESION, touching(GRID), 2).reshape(-1)].any()


@pytest.mark.parametrize("seed", range(4))
def test_without_a_lesion_nothing_recurs(seed: int) -> None:
    assert not find_families([aligned(brains(seed, lesion=False))], 1, FamilyConfig()).families


def test_what_the_other_members_do_not_share_is_left_out() -> None:
    """One member's region holds a third of its folds, another carrier was missed: both are mended."""
    one = aligned(brains(0))
    tokens = np.tile(LESION.reshape(-1), (3, 1))
    tokens[0] |= FOLDS.reshape(-1)
    (whole,) = complete(one, [Candidate(np.array(CARRIERS[:3]), tokens, 1.0)])
    assert tuple(whole.members) == CARRIERS
    assert not whole.tokens[:, FOLDS.reshape(-1)].any()
    assert whole.tokens[:, LESION.reshape(-1)].mean() > 0.8


def test_cells_of_one_region_share_a_face() -> None:
    assert joined((4, 4)).sum() == 9, "photos: corners too"
    assert joined(GRID).sum() == 7


@pytest.mark.parametrize("without", [0, 1])
def test_what_all_volumes_have_is_no_exception(without: int) -> None:
    """And nothing is left to compare it with."""
    one = aligned(brains(0))
    members = np.arange(VOLUMES - without)
    usual = Candidate(members, np.tile(LESION.reshape(-1), (len(members), 1)), 1.0)
    rare = Candidate(np.array(CARRIERS), np.tile(LESION.reshape(-1), (len(CARRIERS), 1)), 1.0)
    for spread in (one, Pass(one.matches, one.tokens, GRID)):
        found = weigh(spread, [usual, rare])
        assert (found[0].beyond_batch, found[0].beyond_place) == (0, 0)
        assert found[1].beyond_place > 1
        assert weigh(spread, [usual]) == found[:1]
