"""The ways a part goes wrong, drawn into its layers so that light and pose treat them like the rest.

Every flaw returns its coverage (H, W) in 0..1: how far it replaced or altered the surface at each sample,
from which the exact mask is made. Knows layers; does not know products, photos or cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .layers import (
    COLOUR,
    COVER,
    GLOSS,
    GRAIN,
    SLOPE,
    SUPERSAMPLING,
    Field,
    Part,
    clouds,
    paint,
    smoothstep,
)

FLAWS: tuple[str, ...] = ("scratch", "stain", "chip", "missing")

# What dries, rusts or burns onto parts, as the light it lets through.
_TINTS = ((0.50, 0.30, 0.16), (0.30, 0.28, 0.27), (0.62, 0.50, 0.28), (0.38, 0.30, 0.34))


@dataclass(frozen=True)
class Flaw:
    """One flaw on a part. Rows, columns and extent are in samples of the layers; the angle is in radians."""

    kind: str
    row: float
    column: float
    extent: float
    angle: float
    strength: float
    seed: int
    piece: int = 0


@dataclass(frozen=True)
class _Window:
    """The square of samples a flaw may touch, with coordinates along and across it, in samples."""

    rows: slice
    columns: slice
    along: Field
    across: Field
    noise: Field  # soft, deviation 1
    grit: Field  # rough, deviation 1


def draw_flaw(kind: str, part: Part, extent: float, rng: np.random.Generator, away_from: tuple[Flaw, ...] = ()) -> Flaw:
    """A flaw of about `extent` samples at a random fitting place, far from the given ones."""
    tries = [_draw_once(kind, part, extent, rng, away_from) for _ in range(24 if away_from else 1)]
    return max(tries, key=lambda flaw: min((_distance(flaw, other) for other in away_from), default=0.0))


def recur(flaw: Flaw, side: int, rng: np.random.Generator) -> Flaw:
    """The same flaw on another part: the same shape, its place within 0.5 % of `side`."""
    row, column = rng.uniform(-0.005, 0.005, 2) * side
    return replace(
        flaw,
        row=flaw.row + row,
        column=flaw.column + column,
        angle=flaw.angle + float(rng.normal(0, 0.03)),
        strength=flaw.strength * float(rng.uniform(0.92, 1.0)),
    )


def apply_flaw(flaw: Flaw, part: Part, layers: Field) -> Field:
    """Draw the flaw into layers (10, H, W) in place; returns its coverage (H, W)."""
    coverage = np.zeros(layers.shape[1:], np.float32)
    if flaw.kind == "missing":
        _take_piece(flaw, part, layers, coverage)
        return coverage
    window = _window(flaw, layers.shape[1:])
    view = layers[:, window.rows, window.columns]
    present = view[COVER].copy()
    stroke = {"scratch": _scratch, "stain": _stain, "chip": _chip}[flaw.kind]
    coverage[window.rows, window.columns] = stroke(flaw, part, view, window) * present
    return coverage


def _draw_once(kind: str, part: Part, extent: float, rng: np.random.Generator, away_from: tuple[Flaw, ...]) -> Flaw:
    piece = 0
    if kind == "missing":
        taken = {other.piece for other in away_from if other.kind == "missing"}
        free = [i for i in range(len(part.pieces)) if i not in taken] or list(range(len(part.pieces)))
        by_fit = sorted(free, key=lambda i: abs(math.log(part.pieces[i].extent / extent)))
        piece = int(rng.choice(by_fit[:4]))
        row, column = part.pieces[piece].middle
    else:
        row, column = _place(kind, part.layers[COVER], extent, rng)
    angle, strength, seed = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.0), int(rng.integers(2**32))
    return Flaw(kind, row, column, extent, float(angle), float(strength), seed, piece)


def _place(kind: str, cover: Field, extent: float, rng: np.random.Generator) -> tuple[float, float]:
    """A random sample on the part's outline for a chip, well inside the part for everything else."""
    if kind == "chip":
        return _place_on_outline(cover, rng)
    height, width = cover.shape
    row, column = height // 2, width // 2
    for room in np.linspace(0.35, 0.0, 500):  # content with less room the longer it takes
        reach = min(max(1, round(room * extent)), min(height, width) // 4)
        row, column = int(rng.integers(reach, height - reach)), int(rng.integers(reach, width - reach))
        around = cover[row - reach : row + reach + 1 : reach, column - reach : column + reach + 1 : reach]
        if around.min() > 0.95:
            break
    return float(row), float(column)


def _place_on_outline(cover: Field, rng: np.random.Generator) -> tuple[float, float]:
    """A sample on an edge with at least as much table as part around it: small holes do not chip."""
    reach = max(cover.shape) // 16
    inside = cover > 0.5
    edge = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1))
    edge[:reach], edge[-reach:], edge[:, :reach], edge[:, -reach:] = False, False, False, False
    rows, columns = np.nonzero(edge)
    around = np.mean(
        [cover[rows + dy, columns + dx] for dy in (-reach, 0, reach) for dx in (-reach, 0, reach) if dx or dy],
        axis=0,
    )
    choices = np.flatnonzero(around < 0.7)
    if choices.size == 0:
        choices = np.arange(rows.size)
    pick = int(rng.choice(choices))
    return float(rows[pick]), float(columns[pick])


def _distance(a: Flaw, b: Flaw) -> float:
    return math.hypot(a.row - b.row, a.column - b.column)


def _window(flaw: Flaw, shape: tuple[int, ...]) -> _Window:
    """The flaw's surroundings. Drawn whole before it is cut at the canvas, so that jitter keeps the shape."""
    reach = math.ceil(0.75 * flaw.extent) + 4 * SUPERSAMPLING
    top, left = math.floor(flaw.row) - reach, math.floor(flaw.column) - reach
    size = 2 * reach + 1
    rows = slice(max(0, top), min(shape[0], top + size))
    columns = slice(max(0, left), min(shape[1], left + size))
    rng = np.random.default_rng(flaw.seed)
    noise = clouds((size, size), rng, roughness=0.35, smallest=3.0)
    grit = clouds((size, size), rng, roughness=0.8, smallest=3.0)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) - flaw.row)[:, None]
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) - flaw.column)[None, :]
    cos, sin = math.cos(flaw.angle), math.sin(flaw.angle)
    inside = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return _Window(rows, columns, cos * x + sin * y, cos * y - sin * x, noise[inside], grit[inside])


def _scratch(flaw: Flaw, part: Part, view: Field, window: _Window) -> Field:
    """One to three near-parallel grooves: one flank catches the light, the other loses it."""
    rng = np.random.default_rng(flaw.seed)
    core = np.array(part.core, np.float32)[:, None, None]
    coverage = np.zeros_like(window.along)
    lines = int(rng.integers(1, 4)) if flaw.extent > 30 * SUPERSAMPLING else 1
    for line in range(lines):
        length = flaw.extent * (1.0 if line == 0 else rng.uniform(0.3, 0.8))
        start = 0.0 if line == 0 else rng.uniform(-0.1, 0.1) * flaw.extent
        offset = 0.0 if line == 0 else rng.normal(0, 0.05) * flaw.extent + 3 * SUPERSAMPLING
        width = max(0.9 * SUPERSAMPLING, rng.uniform(0.007, 0.013) * flaw.extent) * (1.0 if line == 0 else 0.8)
        t = (window.along - start) / length
        path = offset + length * (rng.uniform(-0.25, 0.25) * t * t + 0.02 * np.sin(7 * t + rng.uniform(0, 6)))
        ends = smoothstep(0.5 - np.abs(t), 0.0, 0.12)
        q = (window.across - path) / (width * (0.6 + 0.4 * ends))
        groove = np.exp(-q * q) * ends
        flank = 2.2 * flaw.strength * q * groove
        cos, sin = math.cos(flaw.angle), math.sin(flaw.angle)
        view[SLOPE] += np.stack([-sin * flank, cos * flank])
        view[GRAIN] *= 1 - groove
        torn = groove * flaw.strength * np.clip(0.65 + 0.25 * window.noise, 0.3, 1)
        paint(view, 0.45 * (1.25 * view[COLOUR] + 0.04) + 0.55 * core, torn)
        shaded = flaw.strength * np.exp(-3 * (q - 0.7) ** 2) * ends  # the groove's own shadow
        view[COLOUR] *= 1 - 0.6 * shaded
        view[GLOSS] *= (1 - 0.5 * torn) * (1 - 0.8 * shaded)
        coverage = np.maximum(coverage, np.exp(-0.5 * q * q) * ends)
    return coverage


def _stain(flaw: Flaw, part: Part, view: Field, window: _Window) -> Field:
    """A dried liquid: it filters the colour beneath, darkest at its ragged rim, and dulls the gloss."""
    rng = np.random.default_rng(flaw.seed)
    tint = np.array(_TINTS[int(rng.integers(len(_TINTS)))], np.float32)
    radius = 0.5 * flaw.extent
    squash = rng.uniform(0.65, 1.0)
    distance = 1 - np.hypot(window.along, window.across / squash) / radius + 0.16 * window.noise
    body = smoothstep(distance, 0.0, 0.35)
    rim = smoothstep(distance, 0.0, 0.16) * (1 - smoothstep(distance, 0.16, 0.5))
    alpha = flaw.strength * np.clip(0.72 * body + 0.3 * rim + 0.08 * window.noise * body, 0, 1)
    residue = 0.10 * tint[:, None, None]  # so that it also shows on black
    view[COLOUR] += alpha * (view[COLOUR] * tint[:, None, None] + residue - view[COLOUR])
    view[GLOSS] *= 1 - 0.75 * alpha
    return np.clip(alpha * 2, 0, 1)


def _chip(flaw: Flaw, part: Part, view: Field, window: _Window) -> Field:
    """A bite out of the edge: the table shows through, between facets of fractured material."""
    rng = np.random.default_rng(flaw.seed)
    radius = 0.5 * flaw.extent
    bearing = np.arctan2(window.across, window.along)
    wobble = sum(rng.normal(0, 0.22 / k) * np.cos(k * bearing + rng.uniform(0, 6.3)) for k in range(2, 6))
    ragged = 1 + wobble + 0.07 * window.noise + 0.035 * window.grit
    depth = radius * ragged - np.hypot(window.along, window.across)
    broken = np.clip(0.5 + depth / SUPERSAMPLING, 0, 1)
    rim = max(1.2 * SUPERSAMPLING, part.fracture * radius)
    into = depth / (rim * np.clip(1 + 0.4 * window.noise + 0.12 * window.grit, 0.3, 2))  # 0 at the surface, 1 gone
    gone = np.clip(0.5 + (into - 1) * rim / SUPERSAMPLING, 0, 1)
    view[SLOPE] += broken * (_facets(flaw, window, radius) - view[SLOPE])
    view[GRAIN] *= 1 - broken
    view[GLOSS] *= 1 - 0.4 * broken
    shade = np.clip(1 - 0.4 * np.clip(into, 0, 1) + 0.16 * window.grit, 0.25, 1.3)
    shade *= 1 - 0.35 * np.exp(-np.abs(depth) / SUPERSAMPLING)  # the crack's own edge
    paint(view, np.array(part.core, np.float32)[:, None, None] * shade, broken)
    view[COVER] *= 1 - gone
    return broken


def _facets(flaw: Flaw, window: _Window, radius: float) -> Field:
    """Slopes (2, h, w) of a fracture: it falls towards the bite's middle in rough steps."""
    dy, dx = np.gradient(window.noise * 0.08 * radius + window.grit * 0.5 * SUPERSAMPLING)
    distance = np.hypot(window.along, window.across) + 1
    along, across = 0.7 * window.along / distance, 0.7 * window.across / distance
    cos, sin = math.cos(flaw.angle), math.sin(flaw.angle)
    return np.stack([cos * along - sin * across + dx, sin * along + cos * across + dy])


def _take_piece(flaw: Flaw, part: Part, layers: Field, coverage: Field) -> None:
    """Show what lies beneath a piece; only where that differs is the flaw."""
    piece = part.pieces[flaw.piece]
    _, height, width = piece.without.shape
    rows, columns = slice(piece.top, piece.top + height), slice(piece.left, piece.left + width)
    view = layers[:, rows, columns]
    change = np.abs(view[COLOUR] - piece.without[COLOUR]).max(0)
    change = np.maximum(change, 0.2 * np.abs(view[SLOPE] - piece.without[SLOPE]).max(0))
    change = np.maximum(change, np.abs(view[COVER] - piece.without[COVER]))
    coverage[rows, columns] = smoothstep(change, 0.005, 0.05)
    view[:] = piece.without
