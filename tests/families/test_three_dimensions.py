"""Volumes go through the rooms of photos: matching, families, scores without them, decisions, verdict, regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from blemish import part_file, verdict_file
from blemish.comparing import ComparedPart, compare, together
from blemish.config import FamilyConfig, ScanConfig, VerdictConfig
from blemish.extraction import Branch, TokenSet
from blemish.family_facts import decided, describe, excluded
from blemish.features.registry import load_backbone
from blemish.judgement import Lesion
from blemish.judging import estimate_of, judged_by, seed_level
from blemish.matching.engine import match
from blemish.matching.nearby import match_nearby
from blemish.matching.store import Budget
from blemish.part_file import DonePart
from blemish.rescoring import Part, Rescoring, Sensitive
from blemish.result import Decision, Family, Photo, ranked
from blemish.scoring.families import FoundFamily, Pass, Search, alternatives, carriers, find_families, solitary
from blemish.scoring.families.refine import family_map, find_alternatives
from blemish.verdict.regions import lesions_of
from families.clouds import Cloud, Planted, cloud, table_of, unit
from token_batches import PLENTY, SCRATCH, stored

GRID, PATCH = (8, 8, 8), (2, 2, 2)
VOLUMES, CARRIERS, SPORADIC = 24, 8, 3
K = 3
AUTO = FamilyConfig()
PATHS = tuple(f"{at:02}.nii.gz" for at in range(VOLUMES))


def batch(seed: int = 0) -> Planted:
    """A third of the volumes share a lesion at one place, three have one of their own."""
    return cloud(VOLUMES, (CARRIERS,), SPORADIC, seed=seed, grid=GRID, patch=PATCH, dimensions=8)


def brains(planted: Planted) -> np.ndarray:
    """(B, N): a ball, of whose rim every volume lacks a fifth. The lesion is inside."""
    away = np.linalg.norm(np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in GRID), indexing="ij")), axis=0)
    lacking = np.random.default_rng(0).random((VOLUMES, *GRID)) < 0.2
    inside = ((away < 1.2) & ~(lacking & (away > 1))).reshape(VOLUMES, -1)
    for _, where in planted.looks:
        inside |= where
    return inside


def passes_of(planted: Planted, how: str) -> list[Pass]:
    tokens = planted.tokens
    if how == "engine":
        return [Pass(match(stored(tokens), Budget(PLENTY, SCRATCH)), Cloud(tokens), GRID)]
    inside = brains(planted) if how == "brains" else None
    table = match_nearby(stored(tokens), GRID, Budget(PLENTY, SCRATCH), radius=2, inside=inside)
    return [Pass(table, Cloud(tokens), GRID, inside=inside, radius=2)]


@dataclass(frozen=True)
class Scanned:
    planted: Planted
    passes: list[Pass]
    search: Search
    rescoring: Rescoring

    @property
    def members(self) -> np.ndarray:
        return self.planted.looks[0][0]

    @property
    def lesion(self) -> np.ndarray:
        return self.planted.looks[0][1].reshape(GRID)


def scanned(how: str, seed: int = 0) -> Scanned:
    planted = batch(seed)
    passes = passes_of(planted, how)
    search = find_families(passes, K, AUTO)
    return Scanned(planted, passes, search, rescoring_of(passes, search.families))


def rescoring_of(passes: Sequence[Pass], found: Sequence[FoundFamily]) -> Rescoring:
    second = alternatives(passes, found)
    sensitive = tuple(Sensitive.of(one, K, other) for one, other in zip(passes, second, strict=True))
    return Rescoring(
        parts=(
            Part(
                tuple(one.scores for one in sensitive),
                lambda: sensitive,
                K,
                tuple((number,) for number in range(len(found))),
            ),
        ),
        of_backbone=(len(passes),),
        shape=GRID,
        image_score="max",
        rscin=(),
        embeddings=unit(np.random.default_rng(1).normal(size=(VOLUMES, 8))),
    )


def families_of(one: Scanned, decisions: Sequence[Decision] = ()) -> tuple[Family, ...]:
    found = describe(one.search.families, GRID, PATHS, PATHS)
    return decided(found, decisions, [None] * len(found))


HOW = pytest.mark.parametrize("how", ["engine", "nearby", "brains"])


@HOW
@pytest.mark.parametrize("seed", range(3))
def test_a_lesion_that_recurs_is_found_where_it_is_and_scores_high_from_then_on(how: str, seed: int) -> None:
    one = scanned(how, seed)
    (family,) = families_of(one)
    assert [member.path for member in family.members] == [PATHS[at] for at in one.members]
    assert family.place.shape == GRID
    assert family.place[one.lesion].min() > 0.8
    assert family.place[~ndimage.binary_dilation(one.lesion, np.ones((3, 3, 3)), 2)].max(initial=0) < 0.2
    ordinary = np.ones((VOLUMES, *GRID), bool)
    ordinary[one.members] = False
    before, after = one.rescoring.maps(()), one.rescoring.maps({0})
    assert before.shape == (VOLUMES, *GRID)
    if one.passes[0].inside is not None:
        ordinary &= one.passes[0].inside.reshape(before.shape)
        assert not before[~one.passes[0].inside.reshape(before.shape)].any()
        assert not after[~one.passes[0].inside.reshape(before.shape)].any()
    high = np.quantile(before[ordinary], 0.95)
    assert np.median(before[one.members][:, one.lesion]) < high, "the premise: it vouches for itself"
    assert np.quantile(after[one.members][:, one.lesion], 0.1) > np.quantile(before[ordinary], 0.98)


@HOW
def test_boxes_of_members_are_in_three_dimensions(how: str) -> None:
    one = scanned(how)
    (family,) = families_of(one)
    corner = [at.min() / side for at, side in zip(np.nonzero(one.lesion), GRID, strict=True)]
    for member in family.members:
        first = (member.front, member.top, member.left)
        behind = (member.back, member.bottom, member.right)
        for at, low, high, side, own in zip(corner, first, behind, GRID, PATCH, strict=True):
            assert at - 2 / side <= low <= at and at + own / side <= high <= at + (own + 2) / side


@HOW
def test_rescoring_is_the_search_without_the_tokens_of_the_family(how: str) -> None:
    """By definition: the nearest that may be matched within reach, or anywhere where there is none."""
    one = scanned(how)
    (single,) = one.passes
    owner = family_map(single, 0, one.search.families)
    scores = Sensitive.of(single, K, find_alternatives(single, owner)).without({0}, K)
    tokens = one.planted.tokens.astype(np.float64)
    inside = np.ones(owner.shape, bool) if single.inside is None else single.inside
    places = np.stack(np.unravel_index(np.arange(512), GRID), axis=1)
    near = (np.abs(places[:, None] - places[None]) <= (single.radius or 8)).all(axis=2)
    for i in (int(one.members[0]), int(np.setdiff1d(np.arange(VOLUMES), one.members)[0])):
        nearest = []
        for j in np.delete(np.arange(VOLUMES), i):
            may = near & (inside[j] & (owner[j] < 0))
            may[~may.any(axis=1)] = inside[j] & (owner[j] < 0)
            apart = np.sqrt(np.maximum(2 - 2 * tokens[i] @ tokens[j].T, 0))
            nearest.append(np.where(may, apart, np.inf).min(axis=1))
        expected = np.where(inside[i], np.sort(nearest, axis=0)[:K].mean(axis=0), 0)
        np.testing.assert_allclose(scores[i].reshape(-1), expected, atol=1e-4)


def test_what_lies_outside_of_the_brains_changes_no_family() -> None:
    """Neither by its tokens nor by its number, four of five cells; nor do cells that few of the others have."""
    planted = batch()
    inside = brains(planted)
    inside |= np.random.default_rng(1).random(inside.shape) < 0.1
    wide = np.zeros((VOLUMES, 12, 12, 12), bool)
    wide[:, 2:10, 2:10, 2:10] = inside.reshape(VOLUMES, *GRID)
    tokens = np.zeros((*wide.shape, planted.tokens.shape[2]), np.float32)
    tokens[:, 2:10, 2:10, 2:10] = planted.tokens.reshape(VOLUMES, *GRID, -1)
    outer = tokens.reshape(VOLUMES, 12**3, -1)
    table = match_nearby(
        stored(outer), (12, 12, 12), Budget(PLENTY, SCRATCH), radius=2, inside=wide.reshape(VOLUMES, -1)
    )
    one = Pass(table, Cloud(outer), (12, 12, 12), inside=wide.reshape(VOLUMES, -1), radius=2)
    (family,) = find_families([one], K, AUTO).families
    assert family.members.tolist() == planted.looks[0][0].tolist()
    lesion = np.zeros((12, 12, 12), bool)
    lesion[2:10, 2:10, 2:10] = planted.looks[0][1].reshape(GRID)
    assert family.tokens[0][:, lesion.reshape(-1)].mean() > 0.9


def test_the_same_tokens_laid_out_flat_have_the_same_distances_and_scores() -> None:
    planted = batch()
    (cube,) = passes_of(planted, "engine")
    flat = Pass(table_of(planted.tokens), Cloud(planted.tokens), (8, 64))
    for i in range(VOLUMES):
        np.testing.assert_allclose(cube.matches.row(i), flat.matches.row(i), atol=1e-6)
    scores = [Sensitive.of(one, K, find_alternatives(one, family_map(one, 0, ()))).scores for one in (cube, flat)]
    np.testing.assert_allclose(scores[0].reshape(VOLUMES, -1), scores[1].reshape(VOLUMES, -1), atol=1e-6)


def test_the_published_rule_takes_volumes() -> None:
    planted = batch()
    search = find_families(passes_of(planted, "engine"), K, FamilyConfig(rule="published"))
    assert search.communities


@HOW
def test_a_decision_takes_the_family_back(how: str, tmp_path: Path) -> None:
    """From what a run keeps."""
    one = scanned(how)
    one.rescoring.save(tmp_path / "kept.npz")
    kept = Rescoring.load(tmp_path / "kept.npz")
    assert kept.shape == GRID
    said = Decision("variant", tuple((PATHS[at], PATHS[at]) for at in one.members))
    (defect,), (variant,) = families_of(one), families_of(one, [said])
    assert (defect.kind, variant.kind) == ("defect", "variant")
    np.testing.assert_array_equal(kept.maps(excluded([variant])), one.rescoring.maps(()))
    np.testing.assert_array_equal(kept.maps(excluded([defect])), one.rescoring.maps({0}))


@HOW
def test_the_verdict_marks_lesions_in_voxels(how: str, tmp_path: Path) -> None:
    one = scanned(how)
    families = families_of(one)
    maps = one.rescoring.maps({0})
    photos = [Photo(path, "ok") for path in PATHS]
    rows, order = ranked(photos, one.rescoring.image_scores(maps), {})
    grids = maps[order]
    evidence = one.rescoring.evidence({0}).ordered(order)
    estimated = estimate_of(rows, grids, evidence, families)
    level = seed_level(estimated, grids)
    inside = np.ones(grids.shape, bool) if one.passes[0].inside is None else one.passes[0].inside.reshape(maps.shape)

    def found(row: int) -> tuple[Lesion, ...]:
        return lesions_of(grids[row], (64, 64, 64), level, inside[order][row])

    verdict = judged_by(found, rows, estimated, level, families, (), VerdictConfig(), {})
    calls = {photo.path: photo.verdict for photo in verdict.photos}
    assert all(calls[PATHS[at]] == "blemished" for at in one.members)
    middle = [at.mean() * 63 / 7 for at in np.nonzero(one.lesion)]  # corners are aligned
    for at in one.members:
        worst = verdict.regions[PATHS[at]][0]
        assert all(start <= centre < stop for start, centre, stop in zip(worst.start, middle, worst.stop, strict=True))
        assert worst.share < 0.15
    verdict_file.write(estimated, grids, (), level, (), verdict.regions, tmp_path / "verdict")
    kept = verdict_file.read(tmp_path / "verdict")
    assert kept.lesions == verdict.regions and not kept.regions


@HOW
def test_the_middle_of_a_scan_takes_volumes(how: str) -> None:
    """Families, scores, distances between volumes and the diagnosis, from tables to what is left of them."""
    planted = batch()
    inside = brains(planted) if how == "brains" else None
    budget = Budget(PLENTY, SCRATCH)
    store = stored(planted.tokens)
    branch = Branch(load_backbone("mock"), (64, 64), (1,), True, token_sets=[TokenSet(store, GRID)])
    if how == "engine":
        table, radius = match(store, budget), None
    else:
        table, radius = match_nearby(store, GRID, budget, radius=2, inside=inside), 2
    part = compare(
        [branch],
        PATHS,
        [table],
        ScanConfig(),
        budget,
        k=K,
        references=VOLUMES - 1,
        inside=inside,
        radius=radius,
        advance=lambda passes: None,
    )
    assert part.grids == [[GRID]]
    batch_of_one = together([part], [branch], PATHS, PATHS, unit(np.ones((VOLUMES, 4))), ScanConfig(), ())
    (family,) = batch_of_one.families
    assert [member.path for member in family.members] == [PATHS[at] for at in planted.looks[0][0]]
    assert family.score_without > family.score_with
    assert batch_of_one.grids.shape == (VOLUMES, *GRID)
    assert part.diagnosis is not None and part.diagnosis["sampled"]
    apart = part.between[~np.eye(VOLUMES, dtype=bool)]
    assert apart.min() > 0.3, "cells outside of the brains are 0 away from everything"


def test_a_part_of_a_large_batch_is_kept(tmp_path: Path) -> None:
    """Its lonely regions, which are all that it may have of a family, and the places of its overview."""
    one = scanned("brains")
    alone = solitary(one.passes, one.search, AUTO)
    assert alone, "the sporadic lesions"
    carried = carriers(one.passes[0], (*one.search.families, *alone), np.arange(VOLUMES))
    assert carried.overview.shape[1] == 27
    compared = ComparedPart(
        scores=one.rescoring.parts[0].scores,
        passes=one.rescoring.parts[0].passes,
        of_backbone=(1,),
        k=K,
        found=one.search.families,
        own=1,
        looks=(),
        carriers=carried,
        between=np.zeros((0, 0), np.float32),
        diagnosis=None,
    )
    assert compared.grids == [[GRID]]
    done = DonePart(PATHS, PATHS, one.rescoring.embeddings, {}, (), compared)
    part_file.write_part(done, tmp_path / "part.npz")
    read = part_file.read_part(tmp_path / "part.npz")
    assert read is not None and read.compared.grids == [[GRID]]
    np.testing.assert_array_equal(read.compared.found[0].tokens[0], one.search.families[0].tokens[0])
