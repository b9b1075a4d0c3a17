"""Pose, light and expose: from a stack of layers to the pixels a sensor would have written.

Knows nothing of products and flaws; what it is given, it photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .layers import COLOUR, COVER, GLOSS, GRAIN, SHADOW, SLOPE, SUPERSAMPLING, Canvas, Field, Studio

# How much the half vector turns across the photo: lamp and camera are an arm's length away.
NEARNESS = 0.25
READ_NOISE, SHOT_NOISE = 0.0022, 0.010


@dataclass(frozen=True)
class Shot:
    """Everything that differs between two photos of the same part."""

    angle: float  # degrees, counter-clockwise
    scale: float
    shift: tuple[float, float]  # x, y as shares of the side
    key_offset: tuple[float, float, float]
    exposure: float
    warmth: float  # red over blue
    falloff: tuple[float, float]  # change of light across the photo, per side
    noise_seed: int


def draw_shot(rng: np.random.Generator, tilt: float) -> Shot:
    """A camera on a stand and a part laid down by hand: small differences in everything."""
    return Shot(
        angle=float(rng.uniform(-tilt, tilt)),
        scale=float(rng.uniform(0.98, 1.02)),
        shift=(float(rng.uniform(-0.015, 0.015)), float(rng.uniform(-0.01, 0.01))),
        key_offset=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03)), 0.0),
        exposure=float(np.exp(rng.normal(0, 0.035))),
        warmth=float(np.exp(rng.normal(0, 0.012))),
        falloff=(float(rng.normal(0, 0.04)), float(rng.normal(0, 0.04))),
        noise_seed=int(rng.integers(2**32)),
    )


def pose(field: Field, shot: Shot, canvas: Canvas, turn: float = 0.0) -> Field:
    """One layer (2H, 2W), drawn supersampled, as it lies in the photo: (H, W).

    `turn` rotates it first, about its own centre, in degrees. Each pixel is the mean of the four samples it
    covers, which is what keeps edges clean.
    """
    radians = math.radians(shot.angle + turn)
    cos, sin = (SUPERSAMPLING / shot.scale * f(radians) for f in (math.cos, math.sin))
    x = -canvas.width / 2 - shot.shift[0] * canvas.side
    y = -canvas.height / 2 - shot.shift[1] * canvas.side
    coefficients = (
        *(cos, -sin, cos * x - sin * y + field.shape[1] / 2),
        *(sin, cos, sin * x + cos * y + field.shape[0] / 2),
    )
    image = Image.fromarray(np.ascontiguousarray(field))
    posed = image.transform(
        (canvas.width, canvas.height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(posed, np.float32)


def pose_layers(layers: Field, shot: Shot, canvas: Canvas) -> Field:
    """All layers in the photo's frame; directions on the surface turn with the part."""
    # Beyond its own canvas a part casts no shadow; PIL fills with 0, so that darkness is posed, not light.
    darkness = 1 - layers[SHADOW]
    posed = np.stack([_pose_unless_even(layer, shot, canvas) for layer in (*layers[:SHADOW], darkness)])
    posed[SHADOW] = 1 - posed[SHADOW]
    cos, sin = math.cos(math.radians(shot.angle)), math.sin(math.radians(shot.angle))
    for directions in (SLOPE, GRAIN):
        x, y = posed[directions]
        posed[directions] = np.stack([cos * x + sin * y, cos * y - sin * x])
    return posed


def _pose_unless_even(layer: Field, shot: Shot, canvas: Canvas) -> Field:
    """`pose`, spared where a layer has one value throughout, as the grain of unbrushed things has."""
    value = layer[0, 0]
    if value == layer[-1, -1] and bool((layer == value).all()):
        return np.full((canvas.height, canvas.width), value, np.float32)
    return pose(layer, shot, canvas)


def photograph(layers: Field, table: Field, shot: Shot, studio: Studio, canvas: Canvas) -> np.ndarray:
    """The photo, (H, W, 3) uint8, of posed layers (10, H, W) on a table (3, H, W)."""
    radiance = _lit(layers, shot, studio, canvas)
    behind = table * layers[SHADOW]
    radiance = behind + layers[COVER] * (radiance - behind)
    radiance *= _illumination(shot, canvas)
    return _develop(radiance, shot)


def _lit(layers: Field, shot: Shot, studio: Studio, canvas: Canvas) -> Field:
    """Radiance (3, H, W): diffuse light from room and key, and reflections of the two softboxes."""
    key = np.add(studio.towards_key, shot.key_offset)
    key /= np.linalg.norm(key)
    x, y = layers[SLOPE]
    facing = (key[2] - x * key[0] - y * key[1]) / np.sqrt(1 + x * x + y * y)
    diffuse = studio.room + (1 - studio.room) * np.maximum(facing, 0)
    fill = np.array([-0.9 * key[0], -0.6 * key[1], key[2]])
    fill /= np.linalg.norm(fill)
    glare = _reflection(layers, key, studio, canvas) + 0.35 * _reflection(layers, fill, studio, canvas)
    lit: Field = layers[COLOUR] * diffuse + layers[GLOSS] * (studio.glare * glare + 0.025)
    return lit


def _reflection(layers: Field, light: np.ndarray, studio: Studio, canvas: Canvas) -> Field:
    """How much of a softbox each point mirrors, (H, W) in 0..1.

    A surface mirrors it where its slope is that of the half vector; brushing smears this across the grain,
    which draws the bright fans on turned metal (the elliptic lobe of Ward, SIGGRAPH 1992, in slope space).
    """
    x = layers[SLOPE][0] + light[0] / (light[2] + 1) - NEARNESS * canvas.x
    y = layers[SLOPE][1] + light[1] / (light[2] + 1) - NEARNESS * canvas.y
    across = x * layers[GRAIN][0] + y * layers[GRAIN][1]
    off = np.maximum(x * x + y * y - across * across, 0) / studio.softbox**2
    mirrored: Field = 1 / (1 + off**studio.crispness)
    return mirrored


def _illumination(shot: Shot, canvas: Canvas) -> Field:
    """Light over the photo, (3, H, W): exposure, white balance, uneven light and the lens's vignetting."""
    x, y = canvas.x, canvas.y
    field = (1 + shot.falloff[0] * x + shot.falloff[1] * y) * (1 - 0.32 * (x * x + y * y))
    white = np.array([shot.warmth, 1, 1 / shot.warmth], np.float32) * shot.exposure
    return white[:, None, None] * field


def _develop(radiance: Field, shot: Shot) -> np.ndarray:
    """Sensor noise in linear light, then a film-like shoulder and the sRGB curve: (H, W, 3) uint8."""
    rng = np.random.default_rng(shot.noise_seed)
    noise = rng.standard_normal(radiance.shape, dtype=np.float32)
    noise *= np.sqrt(READ_NOISE**2 + SHOT_NOISE**2 * np.maximum(radiance, 0))
    index = np.clip((radiance + noise) * (_TONES.size / _BRIGHTEST), 0, _TONES.size - 1).astype(np.int32)
    return np.ascontiguousarray(_TONES[index].transpose(1, 2, 0))


_BRIGHTEST = 4.0


def _tone_curve() -> np.ndarray:
    """Linear radiance 0.._BRIGHTEST to 8 bits, (16384,): highlights roll off instead of clipping."""
    linear = np.linspace(0, _BRIGHTEST, 16384)
    knee = 0.7
    rolled = np.where(linear < knee, linear, knee + (1 - knee) * np.tanh((linear - knee) / (1 - knee) * 0.8))
    srgb = np.where(rolled < 0.0031308, 12.92 * rolled, 1.055 * rolled ** (1 / 2.4) - 0.055)
    tones: np.ndarray = np.clip(np.rint(255 * srgb), 0, 255).astype(np.uint8)
    return tones


_TONES = _tone_curve()
