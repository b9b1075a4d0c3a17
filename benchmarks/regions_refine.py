"""A mask's edges refined at test time: per photo, a linear classifier of pixels trained from the confident ones.

The idea of "Test Time Training for Industrial Anomaly Segmentation" (Costanzino et al., 2024, TTT4AS): what the map
is sure of, on both sides, teaches a small classifier of this photo's features, which then decides the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from blemish.result import upsample

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

COMPONENTS = 16  # of the network's finest layer
SOUND = 0.35  # below this share of the peak's height above the ground a pixel is surely sound
SAMPLE = 6000  # sound pixels that are trained on
RIDGE = 1e-3


def refined(
    values: Float32,
    flawed: Bools,
    wide: Bools,
    pixels: npt.NDArray[np.uint8],
    fine: Float32 | None,
    *,
    seen: bool,
    bar: float,
) -> Bools:
    """Map ``values`` (H, W), surely and possibly flawed pixels ``flawed``, ``wide`` (H, W) -> mask (H, W).

    ``pixels``: (H', W', 3) photo. ``fine``: (h, w, C) network features, or None for colours only. ``seen``: the
    classifier is also shown the map. ``bar``: what its answer, -1 to 1, has to exceed."""
    x = _features(values if seen else None, values.shape, pixels, fine)
    ground = float(np.quantile(values, 0.25))
    bad = x[flawed.ravel()]
    sound = x[(values < ground + SOUND * (values.max() - ground)).ravel()]
    sound = sound[:: max(1, len(sound) // SAMPLE)]
    if not len(bad) or not len(sound):
        return flawed
    both = np.concatenate([bad, sound])
    truth = np.concatenate([np.ones(len(bad)), -np.ones(len(sound))])
    weight = np.concatenate([np.full(len(bad), 0.5 / len(bad)), np.full(len(sound), 0.5 / len(sound))])
    weighted = (both * weight[:, None]).T
    solution = np.linalg.solve(weighted @ both + RIDGE * np.eye(x.shape[1]), weighted @ truth)
    mask = wide & ((x @ solution).reshape(values.shape) > bar)
    return mask if mask.any() else flawed


def _features(
    values: Float32 | None, shape: tuple[int, int], pixels: npt.NDArray[np.uint8], fine: Float32 | None
) -> Float32:
    """(H * W, F) standardised: colours at three scales, contrast at three, the layer's principal components."""
    colours = np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BOX), np.float32) / 255
    grey = colours.mean(axis=2)
    contrasts = [np.abs(grey - ndimage.gaussian_filter(grey, s)) for s in (2, 6)]
    contrasts.append(ndimage.gaussian_gradient_magnitude(grey, 1.0))
    parts = [colours, *(ndimage.gaussian_filter(colours, (s, s, 0)) for s in (1.5, 4)), np.stack(contrasts, axis=-1)]
    if fine is not None:
        flat = fine.reshape(-1, fine.shape[-1]).astype(np.float64)
        flat -= flat.mean(axis=0)
        main = np.linalg.eigh(flat.T @ flat)[1][:, ::-1][:, :COMPONENTS]
        grids = (flat @ main).reshape(*fine.shape[:2], -1).astype(np.float32)
        parts.append(np.moveaxis(upsample(np.moveaxis(grids, -1, 0), shape), 0, -1))
    if values is not None:
        parts.append(values[..., None])
    x = np.concatenate(parts, axis=-1).reshape(shape[0] * shape[1], -1)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
