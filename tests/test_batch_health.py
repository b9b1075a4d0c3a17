"""What is said about a batch: one sentence for each thing worth one, true, with numbers and what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest

from blemish import batch_health
from blemish.inputs.images import Header
from blemish.result import Photo
from blemish.verdict.duplicates import SIDE

COUNT = 60
PATHS = [f"{at:03d}.jpg" for at in range(COUNT)]


def health(
    between: np.ndarray | None = None, *, duplicates: dict[str, str] | None = None, photos: int = COUNT, **more: object
) -> tuple[str, ...]:
    rows = [Photo(path=path, status="ok", duplicate_of=(duplicates or {}).get(path, "")) for path in PATHS]
    header = Header(width=640, height=480, deep=False)
    return batch_health.warnings([header] * photos, rows, PATHS, alike() if between is None else between, (), **more)


def alike(distance: float = 0.3) -> np.ndarray:
    """(b, b) of photos of one product."""
    between = np.random.default_rng(0).uniform(0.95 * distance, 1.05 * distance, (COUNT, COUNT)).astype(np.float32)
    np.fill_diagonal(between, 0)
    return between


def vectors(step: float = 0.0, first: int = 40) -> np.ndarray:
    """(B, E) embeddings, other ones from photo ``first`` on."""
    made = np.random.default_rng(1).standard_normal((COUNT, 16)).astype(np.float32)
    made[first:, 0] += step
    return made


def pictures(gain: np.ndarray | float = 1.0) -> np.ndarray:
    """(b, SIDE, SIDE) of parts that differ everywhere."""
    grey = np.random.default_rng(2).uniform(60, 180, (COUNT, SIDE, SIDE))
    return (grey * np.broadcast_to(gain, COUNT)[:, None, None]).astype(np.float32)


def test_a_healthy_batch_gets_no_word() -> None:
    assert health(ordered=PATHS, embeddings=vectors(), small=pictures(), backbone="effnet-lite2") == ()


def test_what_was_asked_before_can_still_be_asked_alone() -> None:
    assert health() == ()


@pytest.mark.parametrize(("photos", "sizes"), [(COUNT, ("40", "20")), (6_000, ("4000", "2000"))])
def test_two_products_are_named_with_their_sizes_in_the_whole_batch(photos: int, sizes: tuple[str, str]) -> None:
    between = alike()
    between[:40, 40:] = between[40:, :40] = 0.9
    (sentence,) = health(between, photos=photos, ordered=PATHS, embeddings=vectors(20))  # and not the order as well
    assert sentence.startswith(f"these look like two products: about {sizes[0]} photos like 0")
    assert f" and {sizes[1]} like 0" in sentence
    assert "scan them apart" in sentence


def test_three_products_are_called_three() -> None:
    between = alike(0.9)
    for start in (0, 20, 40):
        between[start : start + 20, start : start + 20] /= 3
    (sentence,) = health(between)
    assert sentence.startswith("these look like three products: about 20 photos like ")


def test_a_change_along_the_order_is_told_with_its_place() -> None:
    (sentence,) = health(ordered=PATHS, embeddings=vectors(15))
    assert "next to each other in the folder resemble each other more than chance" in sentence
    assert re.search(r": photos 1 to (39|4[01]) of 60, 000.jpg to 0(38|39|40).jpg, differ from the others", sentence)
    assert "(p below 0.002)" in sentence


def test_light_that_changes_is_told_although_the_backbone_does_not_see_it() -> None:
    small = pictures(np.linspace(1, 1.25, COUNT))
    (sentence,) = health(ordered=PATHS, embeddings=vectors(), small=small)
    assert sentence.startswith("the light changes along the folder")
    assert "of 255, the others of" in sentence


def test_the_order_is_that_of_the_folder_and_not_of_the_sample() -> None:
    gains = np.linspace(1, 1.25, COUNT)
    shuffled = np.random.default_rng(3).permutation(COUNT)
    assert health(ordered=[PATHS[at] for at in shuffled], small=pictures(gains)) == ()
    by_light = gains[np.argsort(shuffled)]  # the photo that comes at place p of the order has the light gains[p]
    (sentence,) = health(ordered=[PATHS[at] for at in shuffled], small=pictures(by_light))
    assert f"{PATHS[shuffled[0]]} to" in sentence or f"to {PATHS[shuffled[-1]]}," in sentence


def test_parts_taken_again_are_counted_with_examples() -> None:
    between = alike()
    for a, b in ((3, 8), (3, 9), (20, 21)):
        between[a, b] = between[b, a] = 0.05
    (sentence,) = health(between)
    assert sentence.startswith("3 photos seem to show a part that another shows too")
    assert "008.jpg like 003.jpg, 021.jpg like 020.jpg" in sentence
    assert "in a sample" not in sentence


def test_of_a_large_batch_only_a_sample_is_known() -> None:
    between = alike()
    between[3, 8] = between[8, 3] = 0.05
    (sentence,) = health(between, photos=900)
    assert sentence.startswith("in a sample of 60 photos, 1 photo seems to show")


def test_exact_copies_are_told_once() -> None:
    between = alike()
    between[3, 8] = between[8, 3] = 0
    (sentence,) = health(between, duplicates={"008.jpg": "003.jpg"})
    assert sentence.startswith("1 photo is an exact copy of another (008.jpg = 003.jpg)")


# mean distance between photos, backbone -> whether it is said
@pytest.mark.parametrize(
    ("distance", "backbone", "said"),
    [(0.75, "effnet-lite2", True), (0.5, "effnet-lite2", False), (0.75, "another", False), (0.75, "", False)],
)
def test_photos_of_anything_are_too_varied(distance: float, backbone: str, said: bool) -> None:
    sentences = health(alike(distance), backbone=backbone)
    assert any("hardly two of these photos are alike" in sentence for sentence in sentences) == said


def test_photos_that_were_not_compared_raise_nothing() -> None:
    between = alike()
    between[:30, 30:] = np.inf
    assert health(between, backbone="effnet-lite2") == ()
