"""A turned steel flange with six countersunk bolt holes and a laser-engraved ring of text, on a bench."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from .layers import (
    COLOUR,
    COVER,
    GLOSS,
    GRAIN,
    SHADOW,
    SLOPE,
    Canvas,
    Field,
    Part,
    Product,
    Studio,
    blur,
    cast_shadow,
    clouds,
    cut_pieces,
    lettering,
    paint,
    smoothstep,
)

OUTER, BORE, BOLT_CIRCLE, BOLT_HOLE = 0.395, 0.125, 0.292, 0.034
COLLAR, STEP = 0.192, 0.010  # outer radius and height of the raised collar round the bore
COUNTERSINK = 0.012
TEXT, TEXT_RADIUS, TEXT_HEIGHT = "SKN 6204-2Z  C3  316L  LOT 7F", 0.3585, 0.021
STEEL = (0.205, 0.206, 0.208)

_STUDIO = Studio(towards_key=(-0.42, -0.50, 0.76), room=0.42, softbox=0.125, crispness=1, glare=1.3)


def build(canvas: Canvas, variant: int, rng: np.random.Generator) -> Part:
    """One flange; there is a single variant. Pieces: the bolt holes, then the engraved characters."""
    del variant
    x, y = canvas.x, canvas.y
    radius, bearing = np.hypot(x, y), np.arctan2(y, x)
    texture = _turning_marks(canvas, radius, bearing, rng)
    blank = _turned_blank(canvas, radius)
    holes = _bolt_holes(x, y)
    letters, letter_boxes = _ring_text(canvas)
    full = _finish(canvas, blank, np.maximum(0, COUNTERSINK - holes), holes, letters)
    bare = _finish(canvas, blank, np.zeros_like(holes), np.ones_like(holes), np.zeros_like(letters))
    # The shadow of a missing hole is that of the full part: it is covered anyway.
    return Part(full, texture, cut_pieces(full, bare, _hole_boxes(canvas) + letter_boxes), core=(0.5, 0.5, 0.5))


def bench(canvas: Canvas, rng: np.random.Generator) -> Field:
    """(3, H, W): a painted bench with fine grit and a few old marks."""
    grit = clouds((canvas.height, canvas.width), rng, roughness=1.2, smallest=1.2)
    wear = clouds((canvas.height, canvas.width), rng, roughness=0.3)
    grey = 0.235 * (1 + 0.035 * grit + 0.035 * wear) * (1.06 - 0.28 * canvas.y - 0.18 * canvas.x)
    return np.array([0.97, 1.0, 1.03], np.float32)[:, None, None] * grey


def _turned_blank(canvas: Canvas, radius: Field) -> Field:
    """Height (H, W) of the flange before drilling: chamfered rims, the collar, and a shallow groove."""
    inside = np.minimum(OUTER - radius, radius - BORE)
    chamfer = -0.9 * np.maximum(0, 0.011 - inside)
    collar = STEP * smoothstep(COLLAR - radius, -0.003, 0.009)
    groove = -0.0035 * np.exp(-(((radius - 0.332) / 0.0028) ** 2))
    fillet = -0.002 * np.exp(-(((radius - COLLAR - 0.008) / 0.005) ** 2))
    height: Field = chamfer + collar + groove + fillet
    return height


def _bolt_holes(x: Field, y: Field) -> Field:
    """Distance (H, W) to the nearest bolt hole's rim, negative inside it."""
    angles = np.arange(6) * math.pi / 3 + 0.26
    rims = [np.hypot(x - BOLT_CIRCLE * math.cos(a), y - BOLT_CIRCLE * math.sin(a)) - BOLT_HOLE for a in angles]
    nearest: Field = np.minimum.reduce(rims)
    return nearest


def _hole_boxes(canvas: Canvas) -> list[tuple[float, float, float, float]]:
    reach = (BOLT_HOLE + COUNTERSINK + 0.004) * canvas.side
    boxes = []
    for a in np.arange(6) * math.pi / 3 + 0.26:
        column = canvas.width / 2 + BOLT_CIRCLE * math.cos(a) * canvas.side
        row = canvas.height / 2 + BOLT_CIRCLE * math.sin(a) * canvas.side
        boxes.append((column - reach, row - reach, column + reach, row + reach))
    return boxes


def _ring_text(canvas: Canvas) -> tuple[Field, list[tuple[float, float, float, float]]]:
    """Engraving (H, W) along a circle, and the box of each character."""
    page = np.zeros((canvas.height, canvas.width), np.float32)
    boxes = []
    step = 1.06 * TEXT_HEIGHT / TEXT_RADIUS
    for i, character in enumerate(TEXT):
        if character == " ":
            continue
        around = math.pi * 1.5 + (i - len(TEXT) / 2 + 0.5) * step  # centred on twelve o'clock
        column = canvas.width / 2 + TEXT_RADIUS * math.cos(around) * canvas.side
        row = canvas.height / 2 + TEXT_RADIUS * math.sin(around) * canvas.side
        glyph = lettering(character, max(4, round(TEXT_HEIGHT * canvas.side)))
        padded = Image.fromarray(np.pad(glyph, 1 + max(glyph.shape) // 3))
        upright = np.asarray(padded.rotate(-math.degrees(around) - 90, Image.Resampling.BICUBIC))
        left, top = round(column - upright.shape[1] / 2), round(row - upright.shape[0] / 2)
        target = page[top : top + upright.shape[0], left : left + upright.shape[1]]
        np.maximum(target, np.clip(upright, 0, 1), out=target)
        reach = 0.62 * TEXT_HEIGHT * canvas.side
        boxes.append((column - reach, row - reach, column + reach, row + reach))
    return page, boxes


def _turning_marks(canvas: Canvas, radius: Field, bearing: Field, rng: np.random.Generator) -> Field:
    """Fine concentric tool marks (H, W), mean 0: noise that changes fast with radius, slowly with bearing."""
    rings, sectors = canvas.side // 2, 256
    coarse = blur(rng.standard_normal((rings, sectors), dtype=np.float32), 0.8)
    along = np.fft.rfft(coarse, axis=1) * np.exp(-((np.arange(sectors // 2 + 1) / 3.0) ** 2))
    streaks = np.fft.irfft(along, n=sectors, axis=1)
    streaks = streaks / (streaks.std() + 1e-9) + 0.5 * rng.standard_normal((rings, 1))
    ring = np.minimum((radius * canvas.side * 0.98).astype(np.int32), rings - 1)
    sector = ((bearing / (2 * np.pi) + 0.5) * sectors).astype(np.int32) % sectors
    grit = clouds(radius.shape, rng, roughness=1.2, smallest=2.0)
    marks: Field = (0.75 * streaks[ring, sector] + 0.35 * grit).astype(np.float32)
    return marks


def _finish(canvas: Canvas, blank: Field, sunk: Field, holes: Field, letters: Field) -> Field:
    """Layers of a flange from its turned height, its countersinks (depth), holes (distance) and engraving."""
    x, y = canvas.x, canvas.y
    radius = np.hypot(x, y)
    layers = canvas.blank()
    layers[COVER] = canvas.fill(np.minimum(np.minimum(OUTER - radius, radius - BORE), holes))
    layers[SLOPE] = canvas.slope_of(blur(blank - 0.8 * sunk - 0.0012 * letters, 1.0))
    machined = 1 - np.clip(sunk / COUNTERSINK * 4, 0, 1)
    layers[GRAIN] = 0.985 * machined * (1 - letters) * np.stack([x / (radius + 1e-6), y / (radius + 1e-6)])
    layers[COLOUR] = np.array(STEEL, np.float32)[:, None, None] * (0.92 + 0.08 * smoothstep(radius, 0.18, 0.2))
    edge = np.exp(-np.maximum(0, np.minimum(OUTER - radius, radius - BORE)) / 0.004)
    layers[COLOUR] *= 1 - 0.18 * edge
    layers[GLOSS] = 0.62 * (1 - 0.25 * edge)
    paint(layers, (0.045, 0.042, 0.04), 0.82 * letters)
    layers[GLOSS] *= 1 - 0.8 * letters
    depth_of_hole = blur((radius < BORE).astype(np.float32) + (holes < 0), 0.008 * canvas.side)
    layers[SHADOW] = cast_shadow(canvas, layers[COVER], _STUDIO.towards_key, 0.065) * (1 - 0.45 * depth_of_hole)
    return layers


PRODUCT = Product(build=build, table=bench, studio=_STUDIO, tilt=6.0, turned=True)
