"""Noise on masks: each kind does what it says, by as much as its strength, reproducibly, and tells its effect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from blemish.errors import ConfigError
from blemish.learning.noise import noisy, overlap

KINDS = ("dilate", "erode", "drop", "blobs", "flip")


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def batch() -> tuple[list[np.ndarray], list[bool]]:
    """Two good photos, one with a flaw, one with two, one with a flaw that is cut off by the border."""
    shape = (60, 80)
    masks = [np.zeros(shape, bool) for _ in range(5)]
    masks[2] |= disc(shape, (30, 40), 10)
    masks[3] |= disc(shape, (15, 15), 6) | disc(shape, (40, 60), 4)
    masks[4] |= disc(shape, (0, 79), 9)
    return masks, [False, False, True, True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_strength_0_changes_nothing(kind):
    masks, labels = batch()
    got = noisy(masks, labels, kind, 0.0)
    assert all(np.array_equal(new, old) for new, old in zip(got.masks, masks, strict=True))
    assert got.labels.tolist() == labels
    assert (got.iou, got.flipped) == (1.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_seeded_and_changes_nothing_in_place(kind):
    masks, labels = batch()
    one, same = (noisy(masks, labels, kind, 0.6, seed=3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.masks, same.masks, strict=True))
    assert one.labels.tolist() == same.labels.tolist()
    assert all(np.array_equal(a, b) for a, b in zip(masks, batch()[0], strict=True))
    others = [noisy(masks, labels, kind, 0.6, seed=seed) for seed in range(8)]
    random = kind not in {"dilate", "erode"}
    assert (len({(one.iou, tuple(one.labels)) for one in others}) > 1) == random


@pytest.mark.parametrize(
    ("kind", "strength", "area"),
    [
        ("dilate", 0.5, 2.25),  # a disc's radius grows by a half
        ("dilate", 1.0, 4.0),
        ("erode", 0.5, 0.25),  # only what is deeper than half the innermost pixel stays
        ("erode", 0.2, 0.64),
    ],
)
def test_borders_move_in_units_of_the_flaw(kind, strength, area):
    for radius in (8, 24, 48):  # whatever its size, or the resolution
        clean = disc((300, 300), (150, 150), radius)
        (mask,) = noisy([clean], [True], kind, strength).masks
        assert mask.sum() / clean.sum() == pytest.approx(area, rel=0.15)


def test_the_effect_is_the_overlap_with_the_clean_masks():
    masks, labels = batch()
    got = noisy(masks, labels, "dilate", 0.4)
    both = sum((a & b).sum() for a, b in zip(got.masks, masks, strict=True))
    either = sum((a | b).sum() for a, b in zip(got.masks, masks, strict=True))
    assert got.iou == both / either == overlap(got.masks, masks)
    assert 0.3 < got.iou < 0.8
    falling = [noisy(masks, labels, "dilate", strength).iou for strength in (0, 0.2, 0.5, 1, 2)]
    assert falling == sorted(falling, reverse=True)


def test_erosion_leaves_something_of_every_flaw():
    masks, labels = batch()
    masks[0][5, 7] = True  # also of a single pixel
    got = noisy(masks, labels, "erode", 0.99)
    for new, old in zip(got.masks, masks, strict=True):
        assert ndimage.label(new)[1] >= ndimage.label(old, np.ones((3, 3)))[1]
        assert not (new & ~old).any()


def test_flaws_are_dropped_whole_and_labels_follow():
    masks, labels = batch()
    for seed in range(10):
        got = noisy(masks, labels, "drop", 0.5, seed=seed)
        for new, old in zip(got.masks, masks, strict=True):
            pieces, count = ndimage.label(old, np.ones((3, 3)))
            assert all(new[pieces == n].all() or not new[pieces == n].any() for n in range(1, count + 1))
        assert got.labels.tolist() == [bool(mask.any()) for mask in got.masks]
    everything = noisy(masks, labels, "drop", 1.0)
    assert (everything.iou, everything.flipped) == (0.0, 0.6)


def test_false_blobs_look_like_flaws_of_the_batch():
    masks, labels = batch()
    sizes = {int((ndimage.label(mask, np.ones((3, 3)))[0] == n).sum()) for mask in masks for n in (1, 2)} - {0}
    many = [noisy([np.zeros((60, 80), bool), *masks], [False, *labels], "blobs", 0.3, seed=seed) for seed in range(30)]
    single = [one.masks[0] for one in many if one.masks[0].any() and ndimage.label(one.masks[0])[1] == 1]
    assert {int(mask.sum()) for mask in single} & sizes
    assert all(one.labels.tolist() == [mask.any() for mask in one.masks] for one in many)
    assert all((new | old == new).all() for one in many for new, old in zip(one.masks[1:], masks, strict=True))


def test_blobs_where_no_flaw_lends_its_shape():
    got = noisy([np.zeros((40, 30), bool)] * 20, [False] * 20, "blobs", 1.0)
    assert 0.4 < got.flipped < 0.9  # 1 - 1/e
    assert got.iou == 0


def test_flipped_labels_leave_masks_alone():
    masks, labels = (part * 40 for part in batch())
    got = noisy(masks, labels, "flip", 0.25)
    assert got.masks == tuple(masks)
    assert got.iou == 1
    assert got.flipped == np.mean(got.labels != np.array(labels)) == pytest.approx(0.25, abs=0.08)


@given(
    st.lists(st.integers(0, 2**30), min_size=1, max_size=4),
    st.sampled_from(KINDS),
    st.floats(0, 0.99),
    st.integers(0, 100),
)
def test_any_masks_take_any_noise(seeds, kind, strength, seed):
    masks = [np.random.default_rng(s).random((2 + s % 13, 1 + s % 17)) > 0.6 for s in seeds]
    got = noisy(masks, [bool(mask.any()) for mask in masks], kind, strength, seed)
    assert [mask.shape for mask in got.masks] == [mask.shape for mask in masks]
    assert 0 <= got.iou <= 1
    assert 0 <= got.flipped <= 1


@pytest.mark.parametrize(
    ("kind", "strength", "says"),
    [
        ("blur", 0.5, r"Kinds of noise are dilate, erode, drop, blobs, flip; received 'blur'"),
        ("drop", 1.1, r"'drop' is a number from 0 to 1; received 1.1"),
        ("flip", -0.1, r"'flip' is a number from 0 to 1; received -0.1"),
        ("erode", 1.0, r"'erode' is a number from 0 to below 1; received 1.0"),  # nothing would be left
        ("dilate", float("inf"), r"'dilate' is a number at least 0; received inf"),
        ("blobs", float("nan"), r"'blobs' is a number at least 0; received nan"),
    ],
)
def test_bad_values(kind, strength, says):
    with pytest.raises(ConfigError, match=says):
        noisy(*batch(), kind, strength)


def test_bad_masks():
    masks, labels = batch()
    with pytest.raises(ConfigError, match="5 masks and 4 labels"):
        noisy(masks, labels[1:], "drop", 0.5)
    with pytest.raises(ConfigError, match=r"Mask 0 is uint8 of shape \(60, 80\)"):
        noisy([mask.astype(np.uint8) for mask in masks], labels, "drop", 0.5)
