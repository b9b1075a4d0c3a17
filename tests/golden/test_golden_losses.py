"""Our losses against the values that AnomalyCLIP's and APRIL-GAN's own code computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blemish.learning.losses import anomalyclip_pixel_loss, aprilgan_pixel_loss, dice, focal, image_loss


def load(golden: Path, name: str) -> dict[str, torch.Tensor]:
    with np.load(golden / f"{name}.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files if file[key].dtype.kind in "fiu"}


@pytest.fixture(scope="module")
def anomalyclip(golden):
    return load(golden, "anomalyclip_tiny")


@pytest.fixture(scope="module")
def aprilgan(golden):
    return load(golden, "aprilgan_tiny")


@pytest.mark.parametrize("weighted", [False, True])  # weights of 1 change nothing
def test_anomalyclip(anomalyclip, weighted):
    maps, mask = anomalyclip["similarity_maps"], anomalyclip["gt_mask"]
    weights = (torch.ones_like(mask), torch.ones(len(mask))) if weighted else ()
    ours = [
        [focal(one, mask, *weights), dice(one[:, 1], mask, *weights), dice(one[:, 0], 1 - mask, *weights)]
        for one in maps
    ]
    np.testing.assert_allclose(ours, anomalyclip["loss_focal_diceA_diceN_per_layer"], rtol=0, atol=1e-6)
    pixels = anomalyclip_pixel_loss(list(maps), mask, *weights)
    assert float(pixels) == pytest.approx(float(anomalyclip["loss_pixel_times4"]), abs=1e-5)
    whole = pixels + image_loss(anomalyclip["class_logits"], anomalyclip["label"], *weights[1:])
    assert float(whole) == pytest.approx(float(anomalyclip["loss_total"]), abs=1e-5)


def test_image_term(anomalyclip):
    logits, label = anomalyclip["class_logits"], anomalyclip["label"]
    for ours in (image_loss(logits, label), image_loss(logits, label.float())):  # hard, and soft targets that are hard
        assert float(ours) == pytest.approx(float(anomalyclip["loss_ce"]), abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_aprilgan(aprilgan, weighted):
    maps, mask = aprilgan["softmax_maps"], aprilgan["gt_mask"]
    weights = (torch.ones_like(mask), torch.ones(len(mask))) if weighted else ()
    ours = [[focal(one, mask, *weights), dice(one[:, 1], mask, *weights)] for one in maps]
    np.testing.assert_allclose(ours, aprilgan["loss_focal_dice_per_layer"], rtol=0, atol=1e-6)
    whole = aprilgan_pixel_loss(list(maps), mask, *weights)
    assert float(whole) == pytest.approx(float(aprilgan["loss_total"]), abs=1e-5)
