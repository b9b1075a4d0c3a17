"""The components of the circuit board, each drawn onto a patch of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .board_layout import CRYSTAL_SIZE, HEADER_PINS, HEADER_PITCH, PIN_PLACES, Can, Chip, Passive
from .layers import GLOSS, Canvas, Field, lettering, paint, stamp

GOLD, TIN, EPOXY = (0.50, 0.31, 0.09), (0.44, 0.44, 0.45), (0.016, 0.016, 0.018)


@dataclass(frozen=True)
class Patch:
    """A window of the board around a component, in coordinates relative to the component's middle."""

    canvas: Canvas
    x: Field
    y: Field
    layers: Field
    height: Field
    relief: Field

    def box(self, half_w: float, half_h: float, corner: float, x: float = 0.0, y: float = 0.0) -> Field:
        """Signed distance (h, w) to a rounded box at (x, y), positive inside."""
        return rounded_box(self.x - x, self.y - y, half_w, half_h, corner)

    def radius(self, x: float = 0.0, y: float = 0.0) -> Field:
        radius: Field = np.hypot(self.x - x, self.y - y)
        return radius

    def put(self, shape: Field, colour: tuple[float, ...], gloss: float, height: Field | float) -> None:
        """Lay something solid down: its distance field, colour, gloss and height above the board."""
        alpha = self.canvas.fill(shape)
        paint(self.layers, (colour[0], colour[1], colour[2]), alpha)
        self.layers[GLOSS] += alpha * (gloss - self.layers[GLOSS])
        self.height[:] += alpha * (height - self.height)

    def metal(
        self,
        half_w: float,
        half_h: float,
        x: float = 0.0,
        y: float = 0.0,
        *,
        raised: float = 0.0,
        colour: tuple[float, ...] = TIN,
    ) -> None:
        """A pad, leg or end cap with a rounded, mirror-like top."""
        shape = self.box(half_w, half_h, min(half_w, half_h) * 0.35, x, y)
        dome = raised + 0.004 * np.clip(shape / 0.008, 0, 1) ** 0.5
        self.put(shape, colour, 0.55, dome if raised else 0.0)

    def write(
        self,
        text: str,
        height: float,
        colour: tuple[float, float, float],
        y: float = 0.0,
        turned: bool = False,
    ) -> None:
        mark = lettering(text, max(4, round(height * self.canvas.side)))
        ink = np.zeros_like(self.height)
        middle = ink.shape[1] / 2, ink.shape[0] / 2 + y * self.canvas.side
        stamp(ink, np.rot90(mark) if turned else mark, *middle)
        paint(self.layers, colour, 0.82 * ink)


def rounded_box(x: Field, y: Field, half_w: float, half_h: float, corner: float) -> Field:
    dx, dy = np.abs(x) - half_w + corner, np.abs(y) - half_h + corner
    return corner - np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) - np.minimum(np.maximum(dx, dy), 0)


def draw_chip(patch: Patch, chip: Chip) -> None:
    w, h = chip.width, chip.height
    draw_legs(patch, chip, raised=0.003)
    shape = patch.box(w / 2, h / 2, 0.004)
    patch.put(shape, EPOXY, 0.075, 0.016 - 0.9 * np.maximum(0, 0.006 - shape))
    patch.put(0.007 - patch.radius(-w * 0.36, h * 0.36), EPOXY, 0.04, 0.0145)
    size = h * (0.085 if chip.sides == 4 else 0.17)
    for i, line in enumerate(chip.marking):
        drop = (i - (len(chip.marking) - 1) / 2) * size * 1.75
        patch.write(line, size, (0.20, 0.20, 0.19), drop)


def draw_passive(patch: Patch, passive: Passive, fired: float) -> None:
    """`fired` is how light the ceramic came out of the kiln."""
    draw_ends(patch, passive, 0.0105, raised=0.004)
    body = patch.box(*((0.0108, 0.013) if passive.upright else (0.013, 0.0108)), 0.001)
    height = 0.0085 - 0.5 * np.maximum(0, 0.003 - body)
    if passive.value:
        patch.put(body, (0.02, 0.02, 0.022), 0.10, height)
        patch.write(passive.value, 0.009, (0.55, 0.55, 0.53), turned=passive.upright)
    else:
        patch.put(body, (0.30 * fired, 0.19 * fired, 0.105 * fired), 0.10, height)


def draw_can(patch: Patch, can: Can) -> None:
    """An electrolytic capacitor seen from above: black foot, aluminium top, its dark stripe, its vent."""
    radius = can.radius
    foot = patch.box(radius * 1.08, radius * 1.08, radius * 0.3)
    patch.put(foot, (0.02, 0.02, 0.022), 0.08, 0.006)
    distance = patch.radius()
    rim = np.maximum(0, 0.010 - (radius - distance))
    patch.put(radius - distance, (0.36, 0.36, 0.37), 0.42, 0.03 - 6 * rim**1.5)
    stripe = np.minimum(radius * 0.88 - distance, -patch.x - radius * 0.45)
    patch.put(stripe, (0.03, 0.03, 0.035), 0.12, 0.03)
    for sign in (-1, 1):
        line = np.abs(patch.x + sign * patch.y) / math.sqrt(2)
        patch.put(np.minimum(0.0012 - line, radius * 0.55 - distance), (0.2, 0.2, 0.2), 0.2, 0.029)


def draw_crystal(patch: Patch) -> None:
    w, h = CRYSTAL_SIZE
    patch.put(patch.box(w / 2, h / 2, h / 2), (0.33, 0.33, 0.33), 0.4, 0.003)
    top = patch.box(w / 2 - 0.006, h / 2 - 0.006, h / 2 - 0.006)
    patch.put(top, (0.40, 0.40, 0.40), 0.5, 0.014 - 0.7 * np.maximum(0, 0.006 - top))
    patch.write("16.000", 0.013, (0.08, 0.08, 0.08))


def draw_header(patch: Patch) -> None:
    half = HEADER_PINS * HEADER_PITCH / 2
    patch.put(patch.box(half, 0.021, 0.004), (0.022, 0.022, 0.024), 0.09, 0.014)
    for pin in PIN_PLACES:
        patch.put(patch.box(0.0115, 0.0155, 0.002, pin), (0.010, 0.010, 0.011), 0.04, 0.011)
        square = patch.box(0.0062, 0.0062, 0.001, pin)
        patch.put(square, GOLD, 0.7, 0.022 - 0.8 * np.maximum(0, 0.003 - square))


def draw_legs(patch: Patch, chip: Chip, raised: float) -> None:
    """The gull-wing legs of a chip, or with no height the pads below them."""
    count, pitch, thick = (14, 0.0118, 0.0034) if chip.sides == 4 else (4, 0.0225, 0.0055)
    long = 0.011 if raised else 0.0135
    for i in range(count):
        along = (i - (count - 1) / 2) * pitch
        for end in (-1, 1):
            patch.metal(thick, long, along, end * (chip.height / 2 + 0.009), raised=raised)
            if chip.sides == 4:
                patch.metal(long, thick, end * (chip.width / 2 + 0.009), along, raised=raised)


def draw_ends(patch: Patch, passive: Passive, half: float, raised: float) -> None:
    """The two end caps of a resistor or capacitor, or the pads below them."""
    for end in (-0.0165, 0.0165):
        patch.metal(half, half, *((0.0, end) if passive.upright else (end, 0.0)), raised=raised)
