"""Losses: what weights and soft targets do, and what happens to losses that are no numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blemish.errors import RunError
from blemish.learning.losses import anomalyclip_pixel_loss, aprilgan_pixel_loss, dice, finite, focal, image_loss

SIZE = (3, 8, 10)


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, 2, 8, 10) probabilities and a hard mask, the first photo's empty."""
    random = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(SIZE[0], 2, *SIZE[1:], generator=random).mul(3).softmax(dim=1)
    target = (torch.rand(SIZE, generator=random) > 0.7).float()
    target[0] = 0
    return probabilities, target


@given(st.integers(0, 2**20))
def test_weights_of_one_change_no_bit(seed):
    probabilities, target = case(seed)
    ones, photos = torch.ones(SIZE), torch.ones(SIZE[0])
    for loss in (anomalyclip_pixel_loss, aprilgan_pixel_loss):
        published = loss([probabilities], target)
        for weights in ((ones, None), (None, photos), (ones, photos)):
            assert torch.equal(loss([probabilities], target, *weights), published)


@given(st.integers(0, 2**20))
def test_what_weighs_nothing_changes_nothing(seed):
    probabilities, target = case(seed)
    weights, photos = torch.ones(SIZE), torch.tensor([1.0, 1.0, 0.0])
    weights[:, :, 5:] = 0
    kept = [aprilgan_pixel_loss([probabilities], target, weights, photos)]
    other, wrong = probabilities.clone(), target.clone()
    other[:, :, :, 5:], wrong[:, :, 5:] = 0.5, 1 - wrong[:, :, 5:]  # the pixels
    other[2], wrong[2] = 0.9, 1.0  # and the photo
    assert torch.equal(aprilgan_pixel_loss([other], wrong, weights, photos), kept[0])
    left = aprilgan_pixel_loss([probabilities[:2, :, :, :5]], target[:2, :, :5])
    assert float(kept[0]) == pytest.approx(float(left), rel=1e-5)


def test_a_photo_counts_by_its_weight():
    probabilities, target = case(1)
    alone = [float(dice(probabilities[n : n + 1, 1], target[n : n + 1])) for n in range(3)]
    weighted = dice(probabilities[:, 1], target, None, torch.tensor([1.0, 0.0, 3.0]))
    assert float(weighted) == pytest.approx((alone[0] + 3 * alone[2]) / 4, rel=1e-5)


@pytest.mark.parametrize(
    "weights",
    [
        (torch.zeros(SIZE), None),  # all pixels lie in the ignore band
        (None, torch.zeros(SIZE[0])),  # no photo is believed
    ],
)
def test_nothing_believed_is_no_loss(weights):
    probabilities, target = case(2)
    probabilities.requires_grad_()
    loss = anomalyclip_pixel_loss([probabilities], target, *weights)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(probabilities.grad, torch.zeros_like(probabilities))


def test_a_photo_without_believed_pixels_is_left_out_of_dice():
    probabilities, target = case(3)
    weights = torch.ones(SIZE)
    weights[1] = 0
    others = dice(probabilities[[0, 2], 1], target[[0, 2]])
    assert float(dice(probabilities[:, 1], target, weights)) == pytest.approx(float(others), rel=1e-6)


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [
        (0.0, 0.0, 0.05),  # surely sound: pulled to 0
        (0.3, 0.3, 0.49),  # the focal loss pulls to the right side of a half,
        (0.5, 0.49, 0.51),
        (0.8, 0.51, 0.8),  # but not all the way: it cares little about what is nearly right
        (1.0, 0.95, 1.0),
    ],
)
def test_soft_targets_pull_to_their_own_side(share, low, high):
    grid = torch.linspace(0.001, 0.999, 999)
    losses = [float(focal(torch.stack([1 - p, p])[None, :, None, None], torch.full((1, 1, 1), share))) for p in grid]
    assert low <= float(grid[int(torch.tensor(losses).argmin())]) <= high


def test_soft_labels_mix_the_image_losses():
    logits = torch.tensor([[0.3, -1.2]])
    sound, anomalous = (float(image_loss(logits, torch.tensor([label]))) for label in (0, 1))
    assert float(image_loss(logits, torch.tensor([0.25]))) == pytest.approx(0.75 * sound + 0.25 * anomalous, rel=1e-6)
    two = torch.cat([logits, logits])
    weighted = image_loss(two, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    assert float(weighted) == pytest.approx((sound + 3 * anomalous) / 4, rel=1e-6)


def test_sure_and_wrong_is_finite():
    """Half precision rounds probabilities to 0 and 1."""
    probabilities = torch.zeros(1, 2, 2, 2, dtype=torch.float16)
    probabilities[:, 0] = 1
    loss = anomalyclip_pixel_loss([probabilities], torch.ones(1, 2, 2))
    assert math.isfinite(float(loss))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_step(value):
    with pytest.raises(RunError, match=rf"The loss became {value} at epoch 3, batch 7\..*lower learning rate"):
        finite(torch.tensor(value), "epoch 3, batch 7")
    fine = torch.tensor(1.5)
    assert finite(fine, "epoch 3, batch 7") is fine
