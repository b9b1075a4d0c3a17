"""Scores without families' tokens, against searching all photos again; what is kept on disk is kept to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.rescoring import Part, Rescoring, Sensitive
from blemish.scoring.families import Alternatives, FoundFamily, Pass, alternatives
from blemish.scoring.families.refine import family_map, find_alternatives
from blemish.scoring.fusion import fuse_backbones
from blemish.scoring.mutual import rscin
from families.clouds import Cloud, cloud, table_of, unit

IMAGES, K = 14, 4
GRIDS = ((4, 4), (2, 3))
SUBSETS = [chosen for count in range(4) for chosen in combinations(range(3), count)]


def batch() -> list[Pass]:
    """Two passes of different grids. A third of the photos share a look, so that second choices lie in families too."""
    passes = []
    for at, grid in enumerate(GRIDS):
        tokens = cloud(IMAGES, (6,), seed=at, grid=grid, patch=(2, 2)).tokens
        passes.append(Pass(table_of(tokens), Cloud(tokens), grid))
    return passes


def three_families(passes: Sequence[Pass], seed: int = 0) -> list[FoundFamily]:
    """Random tokens, some claimed twice. All of photo 0 belongs to the first family, all of photo 1 to the other two:
    it is excluded whole only with both."""
    rng = np.random.default_rng(seed)
    members = [np.array([0, 2, 3, 5, 8]), np.array([1, 2, 4, 5]), np.array([1, 3, 5, 9])]
    tokens = [[rng.random((len(m), one.grid[0] * one.grid[1])) < 0.5 for one in passes] for m in members]
    for at in range(len(passes)):
        tokens[0][at][0] = True
        tokens[1][at][0] = np.arange(tokens[1][at].shape[1]) % 2 == 0
        tokens[2][at][0] = ~tokens[1][at][0]
    return [FoundFamily(m, tuple(t), 1.0, 2.0, 1.0) for m, t in zip(members, tokens, strict=True)]


def rescoring_of(passes: Sequence[Pass], found: Sequence[FoundFamily], of_backbone: tuple[int, ...]) -> Rescoring:
    second = alternatives(passes, found)
    embeddings = unit(np.random.default_rng(1).normal(size=(IMAGES, 8)))
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
        of_backbone=of_backbone,
        shape=(31, 31),
        image_score="max",
        rscin=(1, 2),
        embeddings=embeddings,
    )


def brute_force(one: Pass, owner: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """(B, h, w): for every token its nearest among the tokens that may be matched, in each photo that has any."""
    tokens = one.tokens.read(0, IMAGES).astype(np.float64)
    allowed = ~np.isin(owner, list(chosen))
    scores = np.empty(tokens.shape[:2])
    for i in range(IMAGES):
        for p in range(tokens.shape[1]):
            distances = sorted(
                np.linalg.norm(tokens[j, allowed[j]] - tokens[i, p], axis=1).min()
                for j in range(IMAGES)
                if j != i and allowed[j].any()
            )
            scores[i, p] = np.mean(distances[:K])
    return scores.reshape(IMAGES, *one.grid)


@pytest.mark.parametrize("chosen", SUBSETS)
def test_every_choice_of_families_is_the_search_without_their_tokens(chosen: tuple[int, ...]) -> None:
    passes = batch()
    found = three_families(passes)
    for number, one in enumerate(passes):
        owner = family_map(one, number, found)
        second = find_alternatives(one, owner)
        assert len(second.levels) >= 2, "the premise: some second choices belong to another family"
        scores = Sensitive.of(one, K, second).without(chosen, K)
        assert np.isfinite(scores).all(), "a photo without a token left has no vote"
        np.testing.assert_allclose(scores, brute_force(one, owner, chosen), atol=1e-5)
        excluded_whole = np.isin(owner, chosen).all(axis=1)
        assert excluded_whole[0] == (0 in chosen)
        assert excluded_whole[1] == ({1, 2} <= set(chosen))


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(SUBSETS))
def test_the_same_for_random_families(seed: int, chosen: tuple[int, ...]) -> None:
    passes = batch()[1:]
    found = three_families(passes, seed)
    (second,) = alternatives(passes, found)
    scores = Sensitive.of(passes[0], K, second).without(chosen, K)
    np.testing.assert_allclose(scores, brute_force(passes[0], family_map(passes[0], 0, found), chosen), atol=1e-5)


def test_scores_only_rise_with_what_is_excluded() -> None:
    """As long as no photo loses its last token, and with it its vote."""
    passes = batch()
    rescoring = rescoring_of(passes, three_families(passes), (2,))
    pairs = [(few, more) for few in SUBSETS for more in SUBSETS if set(few) < set(more) and {1, 2} - set(more)]
    for few, more in pairs:
        if 0 not in set(more) - set(few):
            for one in rescoring.parts[0].passes():
                risen = one.without(more, K) - one.without(few, K)
                assert risen.min() > -1e-6
                assert risen.max() > 0


def test_a_token_of_two_families_belongs_to_the_first() -> None:
    passes = batch()
    found = three_families(passes)
    owner = family_map(passes[0], 0, found)
    assert (owner[0] == 0).all()
    for at, family in enumerate(found):
        for member, tokens in zip(family.members, family.tokens[0], strict=True):
            assert (owner[member, tokens] <= at).all()
            assert (owner[member, tokens] >= 0).all()
    claimed = np.zeros(owner.shape, bool)
    for family in found:
        claimed[family.members] |= family.tokens[0]
    np.testing.assert_array_equal(owner >= 0, claimed)


def test_no_families_no_search() -> None:
    (one, _) = batch()
    assert alternatives([one], []) == [Alternatives(())]
    plain = Sensitive.of(one, K, Alternatives(()))
    np.testing.assert_array_equal(plain.without({0}, K), plain.scores)


def test_nothing_excluded_is_plain_mutual_scoring() -> None:
    passes = batch()
    rescoring = rescoring_of(passes, three_families(passes), (1, 1))
    nobody = np.full((IMAGES, 1), -1)
    plain = [
        brute_force(one, np.broadcast_to(nobody, (IMAGES, one.grid[0] * one.grid[1])), ()).astype(np.float32)
        for one in passes
    ]
    np.testing.assert_allclose(rescoring.maps(()), fuse_backbones(plain), atol=1e-4)
    np.testing.assert_array_equal(rescoring.maps(()), rescoring.maps(frozenset()))
    assert np.abs(rescoring.maps({0, 1, 2}) - rescoring.maps(())).max() > 0.05, "the premise: families matter"


def test_maps_are_the_mean_over_the_passes_of_a_backbone() -> None:
    (one, _) = batch()
    passes = [one, one]
    rescoring = rescoring_of(passes, three_families(passes), (2,))
    single = [each.without({0, 2}, K) for each in rescoring.parts[0].passes()]
    assert np.abs(single[0] - single[1]).max() > 0, "the premise: the passes exclude different tokens"
    np.testing.assert_allclose(rescoring.maps({0, 2}), np.mean(single, axis=0), atol=1e-6)


def test_asking_changes_nothing() -> None:
    passes = batch()
    rescoring = rescoring_of(passes, three_families(passes), (2,))
    before = rescoring.maps(())
    rescoring.maps({0, 1, 2})
    np.testing.assert_array_equal(rescoring.maps(()), before)


def test_image_scores_of_all_or_some() -> None:
    passes = batch()
    rescoring = rescoring_of(passes, three_families(passes), (2,))
    maps = rescoring.maps({1})
    some = rescoring.image_scores(maps, np.array([3, 7]))
    np.testing.assert_allclose(some, maps.max(axis=(1, 2))[[3, 7]], atol=1e-6)  # 30 pixels over 3 steps: the peak stays
    everyone = rescoring.image_scores(maps)
    np.testing.assert_allclose(everyone, rscin(maps.max(axis=(1, 2)), rescoring.embeddings, (1, 2)), atol=1e-5)


@pytest.mark.parametrize("with_families", [True, False])
def test_saved_and_read_again_it_is_the_same_to_the_bit(tmp_path: Path, with_families: bool) -> None:
    passes = batch()
    rescoring = rescoring_of(passes, three_families(passes) if with_families else [], (1, 1))
    file = tmp_path / "rescoring.npz"
    rescoring.save(file)
    back = Rescoring.load(file)
    settings_of = ("of_backbone", "shape", "image_score", "rscin")
    assert [getattr(back, name) for name in settings_of] == [getattr(rescoring, name) for name in settings_of]
    assert [len(one.alternatives.levels) for one in back.parts[0].passes()] == [
        len(one.alternatives.levels) for one in rescoring.parts[0].passes()
    ]
    for one, two in zip(rescoring.parts[0].passes(), back.parts[0].passes(), strict=True):
        for name in ("scores", "slot", "distances"):
            assert getattr(one, name).dtype == getattr(two, name).dtype
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for chosen in SUBSETS if with_families else ((),):
        maps = rescoring.maps(chosen)
        np.testing.assert_array_equal(back.maps(chosen), maps)
        np.testing.assert_array_equal(back.image_scores(maps), rescoring.image_scores(maps))


# what became of the file -> one of the errors that `load` promises
@pytest.mark.parametrize("damage", ["absent", "empty", "text", "cut", "zeroed", "another archive"])
def test_a_damaged_file_raises_what_is_promised(tmp_path: Path, damage: str) -> None:
    passes = batch()
    file = tmp_path / "rescoring.npz"
    rescoring_of(passes, three_families(passes), (2,)).save(file)
    content = bytearray(file.read_bytes())
    half = len(content) // 2
    if damage == "absent":
        file.unlink()
    elif damage == "another archive":
        np.savez(file, other=np.zeros(3))
    else:
        content[half : half + 64] = bytes(64)
        file.write_bytes({"empty": b"", "text": b"hello", "cut": content[:half], "zeroed": content}[damage])
    with pytest.raises((OSError, ValueError, KeyError)):
        Rescoring.load(file).maps({0, 1, 2})


def test_parts_are_scored_apart_and_a_family_has_its_own_numbers_in_each(tmp_path: Path) -> None:
    """Two parts that happen to hold the same photos; family 0 of the batch is family 1 in the first, and 0 and 2 in
    the second."""
    passes = batch()
    one = rescoring_of(passes, three_families(passes), (2,))
    (part,) = one.parts
    both = replace(
        one,
        parts=(replace(part, numbers=((1,), (2,))), replace(part, numbers=((0, 2), ()))),
        embeddings=np.concatenate([one.embeddings, one.embeddings]),
    )
    expected = {0: (one.maps({1}), one.maps({0, 2})), 1: (one.maps({2}), one.maps(()))}
    both.save(tmp_path / "rescoring.npz")
    for each in (both, Rescoring.load(tmp_path / "rescoring.npz")):
        for family, maps in expected.items():
            np.testing.assert_array_equal(each.maps({family}), np.concatenate(maps))
