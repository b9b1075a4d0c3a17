"""What prompt models are trained with: focal and dice on maps, cross-entropy on photos, as published or weighted.

Probabilities come with the classes (normal, anomalous) along axis 1. A target may be soft: the share of a pixel or
photo that is anomalous. Weights say how far a pixel or photo is believed; with none, or with ones, every loss is the
published one to the bit. It knows tensors, not where they come from.

Sources: the official code of AnomalyCLIP (arXiv 2310.18961) and of APRIL-GAN (arXiv 2305.17382), which use the same
focal and dice; golden files hold their values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from blemish.errors import RunError

__all__ = ["anomalyclip_pixel_loss", "aprilgan_pixel_loss", "dice", "finite", "focal", "image_loss"]

FOCUS = 2.0  # exponent of the focal loss
FOCAL_SMOOTH = 1e-5  # a pixel's class is that sure, and its probability never below it
DICE_SMOOTH = 1.0  # pixels added to both sides of the fraction
PIXELS = 4.0  # AnomalyCLIP: weight of the maps against the photo's label


def anomalyclip_pixel_loss(
    maps: Sequence[Tensor], target: Tensor, weights: Tensor | None = None, photo_weights: Tensor | None = None
) -> Tensor:
    """4 x the sum over layers of focal + dice(anomalous, target) + dice(normal, 1 - target); a scalar.

    ``maps``: a layer each, (n, 2, H, W) probabilities; the others as for ``focal``."""
    losses = [
        focal(one, target, weights, photo_weights)
        + dice(one[:, 1], target, weights, photo_weights)
        + dice(one[:, 0], 1 - target, weights, photo_weights)
        for one in maps
    ]
    return PIXELS * torch.stack(losses).sum()


def aprilgan_pixel_loss(
    maps: Sequence[Tensor], target: Tensor, weights: Tensor | None = None, photo_weights: Tensor | None = None
) -> Tensor:
    """The sum over layers of focal + dice(anomalous, target); a scalar. Arguments as for AnomalyCLIP."""
    losses = [
        focal(one, target, weights, photo_weights) + dice(one[:, 1], target, weights, photo_weights) for one in maps
    ]
    return torch.stack(losses).sum()


def focal(
    probabilities: Tensor, target: Tensor, weights: Tensor | None = None, photo_weights: Tensor | None = None
) -> Tensor:
    """Focal loss, gamma 2, no class weights: the mean over pixels, weighted; a scalar.

    ``probabilities: (n, 2, H, W)``; ``target: (n, H, W)`` in [0, 1]; ``weights: (n, H, W)`` and ``photo_weights: (n,)``
    at least 0, a weight of 0 leaves the pixel or photo out; where nothing is left, the loss is 0. A pixel that is
    anomalous by a share has that share of the loss of an anomalous pixel and the rest of a normal one's: less would be
    gained by mixing the probabilities first, since at a half they would not matter at all. It pulls a soft pixel to the
    right side of a half, but not all the way: a focal loss cares little about what is nearly right."""
    sound, anomalous = probabilities.float().unbind(dim=1)
    loss = target * _focal_of(anomalous, sound) + (1 - target) * _focal_of(sound, anomalous)
    if weights is None and photo_weights is None:
        return loss.mean()
    believed = torch.ones_like(loss) if weights is None else weights.expand_as(loss)
    if photo_weights is not None:
        believed = believed * photo_weights[:, None, None]
    return _mean(loss, believed)


def dice(
    probability: Tensor, target: Tensor, weights: Tensor | None = None, photo_weights: Tensor | None = None
) -> Tensor:
    """Binary dice loss, 1 - (2 |PT| + 1) / (|P| + |T| + 1) for each photo, then their mean, weighted; a scalar.

    ``probability``, ``target``, ``weights``: (n, H, W). A pixel's weight counts within its photo's fraction, which
    hardly moves when all of them are halved; so a photo's own weight, ``photo_weights: (n,)``, counts in the mean. A
    photo all of whose pixels are left out counts in neither."""
    probability, target = probability.float().flatten(1), target.float().flatten(1)
    if weights is None:
        believed = None
        both, sizes = (probability * target).sum(1), probability.sum(1) + target.sum(1)
    else:
        believed = weights.float().flatten(1)
        both = (believed * probability * target).sum(1)
        sizes = (believed * probability).sum(1) + (believed * target).sum(1)
    loss = 1 - (2 * both + DICE_SMOOTH) / (sizes + DICE_SMOOTH)
    if believed is None and photo_weights is None:
        return loss.mean()
    of_photos = torch.ones_like(loss) if photo_weights is None else photo_weights.to(loss.dtype)
    if believed is not None:
        of_photos = of_photos * believed.any(dim=1)
    return _mean(loss, of_photos)


def image_loss(logits: Tensor, label: Tensor, photo_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of photos, as AnomalyCLIP's image term; a scalar.

    ``logits: (n, 2)`` normal, anomalous; ``label: (n,)`` 0 and 1, or the share of belief in a defect;
    ``photo_weights: (n,)``."""
    if not label.is_floating_point() and photo_weights is None:
        return F.cross_entropy(logits.float(), label.long())
    anomalous = label.to(torch.float32)
    loss = F.cross_entropy(logits.float(), torch.stack([1 - anomalous, anomalous], dim=1), reduction="none")
    return loss.mean() if photo_weights is None else _mean(loss, photo_weights)


def finite(loss: Tensor, step: str) -> Tensor:
    """``loss``, a scalar, if it is a number. Raises ``RunError`` otherwise; ``step`` says where: "epoch 2, batch 7"."""
    if not bool(torch.isfinite(loss)):
        raise RunError(
            f"The loss became {loss.item()} at {step}. Train with a lower learning rate, and in float32 if it was half "
            "precision; if it happens at the first step, the features or masks hold values that are not numbers."
        )
    return loss


def _focal_of(right: Tensor, wrong: Tensor) -> Tensor:
    """The loss of pixels whose class has the probability ``right``, the other one ``wrong``; the published code calls
    the class sure to 1 - 1e-5 and adds 1e-5 to the probability."""
    likely = (1 - FOCAL_SMOOTH) * right + FOCAL_SMOOTH * wrong + FOCAL_SMOOTH
    return -((1 - likely) ** FOCUS) * likely.log()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; the plain one, to the bit, where all weights are 1; 0 where all are 0."""
    weights = weights.to(values.dtype)
    whole = weights.mean()
    return (values * weights).mean() / torch.where(whole > 0, whole, torch.ones_like(whole))
