"""A small circuit board: chips, passives, a connector, traces and silkscreen, on a dark antistatic mat."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .board_layout import (
    CANS,
    CHIPS,
    CORNER,
    CRYSTAL_AT,
    CRYSTAL_SIZE,
    HALF_HEIGHT,
    HALF_WIDTH,
    HEADER_AT,
    HEADER_PINS,
    HEADER_PITCH,
    MOUNTING_HOLES,
    PASSIVES,
    PIN_PLACES,
)
from .board_parts import (
    GOLD,
    Patch,
    draw_can,
    draw_chip,
    draw_crystal,
    draw_ends,
    draw_header,
    draw_legs,
    draw_passive,
    rounded_box,
)
from .layers import (
    COLOUR,
    COVER,
    GLOSS,
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
    stamp,
)

MASK_GREEN, COPPER_GREEN = (0.012, 0.085, 0.036), (0.022, 0.135, 0.055)
INK = (0.72, 0.73, 0.70)

_STUDIO = Studio(towards_key=(-0.40, -0.46, 0.79), room=0.48, softbox=0.15, crispness=2, glare=1.1)


def build(canvas: Canvas, variant: int, rng: np.random.Generator) -> Part:
    """One board; there is a single variant. Pieces: every mounted component."""
    del variant
    maker = _Assembly(canvas, rng)
    bare = maker.layers.copy()
    maker.mount()
    full = maker.finished(maker.layers, maker.height)
    bare = maker.finished(bare, np.zeros_like(maker.height))
    texture = _weave(canvas, rng)
    return Part(full, texture, cut_pieces(full, bare, maker.boxes), core=(0.42, 0.38, 0.22))


def mat(canvas: Canvas, rng: np.random.Generator) -> Field:
    """(3, H, W): a blue-grey rubber mat with fine grain."""
    shape = (canvas.height, canvas.width)
    grain = clouds(shape, rng, roughness=1.25, smallest=1.3)
    wear = clouds(shape, rng, roughness=0.3)
    tone = (1 + 0.06 * grain + 0.04 * wear) * (1.05 - 0.25 * canvas.y - 0.15 * canvas.x)
    rubber: Field = np.array([0.115, 0.135, 0.165], np.float32)[:, None, None] * tone
    return rubber


def _weave(canvas: Canvas, rng: np.random.Generator) -> Field:
    """The glass cloth under the solder mask, faintly: (H, W)."""
    shape = (canvas.height, canvas.width)
    wobble = 0.4 * clouds(shape, rng, roughness=0.4)
    cloth = np.sin(2 * np.pi * 85 * canvas.x + wobble) * np.sin(2 * np.pi * 85 * canvas.y + wobble)
    weave: Field = 0.5 * cloth + 0.5 * clouds(shape, rng, roughness=1.0, smallest=2.0)
    return weave


class _Assembly:
    """A board under construction: its layers, how high its parts stand, and the boxes of components."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator) -> None:
        self.canvas, self.rng = canvas, rng
        self.layers = canvas.blank()
        self.height = np.zeros((canvas.height, canvas.width), np.float32)
        self.relief = np.zeros_like(self.height)
        self.boxes: list[tuple[float, float, float, float]] = []
        self._bare_board()

    # Coordinates below are in shares of the side; these two turn them into samples.
    def _column(self, x: float) -> float:
        return self.canvas.width / 2 + x * self.canvas.side

    def _row(self, y: float) -> float:
        return self.canvas.height / 2 + y * self.canvas.side

    def mount(self) -> None:
        """Place every component."""
        for chip in CHIPS:
            patch = self._component(chip.x, chip.y, chip.width / 2 + 0.024, chip.height / 2 + 0.024)
            draw_chip(patch, chip)
        for passive in PASSIVES:
            half_w, half_h = (0.021, 0.030) if passive.upright else (0.030, 0.021)
            patch = self._component(passive.x, passive.y, half_w, half_h)
            draw_passive(patch, passive, fired=self.rng.uniform(0.92, 1.08))
        for can in CANS:
            reach = 1.16 * can.radius + 0.012  # with most of its shadow
            draw_can(self._component(can.x, can.y, reach, reach), can)
        draw_crystal(self._component(*CRYSTAL_AT, CRYSTAL_SIZE[0] / 2 + 0.006, CRYSTAL_SIZE[1] / 2 + 0.006))
        draw_header(self._component(*HEADER_AT, HEADER_PINS * HEADER_PITCH / 2 + 0.008, 0.030))

    def finished(self, layers: Field, height: Field) -> Field:
        """Slopes from relief and component heights, and the shade components throw on the board."""
        layers[SLOPE] = 0.85 * self.canvas.slope_of(blur(height, 1.6) + self.relief)
        key = _STUDIO.towards_key
        reach = 0.028 * self.canvas.side
        shift = (round(-key[1] * 0.75 * reach), round(-key[0] * 0.75 * reach))
        above = np.roll(blur(height, 0.22 * reach), shift, (0, 1)) - height
        crowded = blur(height, 0.3 * reach) - height
        light = 1 - np.clip(26 * above, 0, 0.55) - np.clip(18 * crowded, 0, 0.3)
        layers[COLOUR] *= light
        layers[GLOSS] *= light
        return layers

    def _bare_board(self) -> None:
        canvas, layers = self.canvas, self.layers
        edge = rounded_box(canvas.x, canvas.y, HALF_WIDTH, HALF_HEIGHT, CORNER)
        layers[COVER] = canvas.fill(edge)
        copper = self._copper()
        paint(layers, MASK_GREEN, np.ones_like(copper))
        paint(layers, COPPER_GREEN, copper)
        layers[GLOSS] = 0.10
        self.relief += 0.0011 * blur(copper, 1.0) - 0.25 * np.maximum(0, 0.004 - edge)
        paint(layers, (0.20, 0.19, 0.10), np.exp(-np.maximum(edge, 0) / 0.0016) * 0.6)
        self._vias()
        self._silkscreen()
        for x, y in MOUNTING_HOLES:
            self._mounting_hole(x, y)
        self._pads()
        layers[SHADOW] = cast_shadow(canvas, layers[COVER], _STUDIO.towards_key, 0.026)

    def _copper(self) -> Field:
        """Traces and a ground pour (H, W), as a router lays them: straight runs with 45 degree corners."""
        page = Image.new("L", (self.canvas.width, self.canvas.height))
        draw = ImageDraw.Draw(page)
        pen = np.random.default_rng(11)  # the layout is the product's: the same on every board
        thick = max(1, round(0.0048 * self.canvas.side))
        for i in range(14):
            offset = (i - 6.5) * 0.0118
            for sx, sy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                reach, bend = pen.uniform(0.12, 0.24), pen.uniform(0.03, 0.09) * np.sign(offset)
                out = [(0.105, offset), (0.125 + abs(bend) * 0.4, offset)]
                out += [(out[1][0] + abs(bend), offset + bend), (0.105 + reach + abs(bend), offset + bend)]
                turned = [(sx * a - sy * b - 0.075, sy * a + sx * b - 0.02) for a, b in out]
                draw.line([(self._column(a), self._row(b)) for a, b in turned], 255, thick, joint="curve")
        for y in (0.225, -0.262, -0.275, 0.238):
            ends = (self._column(-0.34), self._row(y)), (self._column(0.33), self._row(y))
            draw.line(ends, 255, thick)
        for left, top, right, bottom in ((0.205, 0.055, 0.405, 0.25), (-0.405, -0.27, -0.30, -0.14)):
            box = self._column(left), self._row(top), self._column(right), self._row(bottom)
            draw.rounded_rectangle(box, 0.01 * self.canvas.side, fill=255)
        return blur(np.asarray(page, np.float32) / 255, 0.6)

    def _patch(self, x: float, y: float, reach_x: float, reach_y: float) -> Patch:
        column, row = self._column(x), self._row(y)
        left, right = (max(0, round(column + sign * reach_x * self.canvas.side)) for sign in (-1, 1))
        top, bottom = (max(0, round(row + sign * reach_y * self.canvas.side)) for sign in (-1, 1))
        rows, columns = slice(top, bottom), slice(left, right)
        return Patch(
            self.canvas,
            self.canvas.x[:, columns] - x,
            self.canvas.y[rows] - y,
            self.layers[:, rows, columns],
            self.height[rows, columns],
            self.relief[rows, columns],
        )

    def _component(self, x: float, y: float, reach_x: float, reach_y: float) -> Patch:
        """A patch for something that can be missing."""
        left, top = self._column(x - reach_x), self._row(y - reach_y)
        self.boxes.append((left, top, self._column(x + reach_x), self._row(y + reach_y)))
        dx, dy = self.rng.normal(0, 0.0009, 2)  # pick-and-place machines are a hair off
        return self._patch(x + float(dx), y + float(dy), reach_x, reach_y)

    def _vias(self) -> None:
        pen = np.random.default_rng(5)
        for _ in range(46):
            patch = self._patch(pen.uniform(-0.37, 0.37), pen.uniform(-0.28, 0.22), 0.012, 0.012)
            ring = self.canvas.fill(0.0052 - patch.radius())
            paint(patch.layers, (0.03, 0.17, 0.075), ring)
            paint(patch.layers, (0.006, 0.02, 0.012), self.canvas.fill(0.0021 - patch.radius()))
            patch.relief[:] += 0.0012 * ring

    def _mounting_hole(self, x: float, y: float) -> None:
        patch = self._patch(x, y, 0.035, 0.035)
        radius = patch.radius()
        patch.put(0.027 - radius, GOLD, 0.5, 0.0)
        patch.layers[COVER] = np.minimum(patch.layers[COVER], self.canvas.fill(radius - 0.0165))
        patch.relief[:] += 0.002 * np.exp(-(((radius - 0.0195) / 0.003) ** 2))

    def _silkscreen(self) -> None:
        ink = np.zeros_like(self.height)
        side = self.canvas.side

        def write(text: str, x: float, y: float, height: float) -> None:
            stamp(ink, lettering(text, max(4, round(height * side))), self._column(x), self._row(y))

        write("MERIDIAN", -0.19, -0.290, 0.026)
        write("SENSOR HUB  REV C", 0.06, -0.288, 0.0135)
        for chip in CHIPS:
            write(chip.reference, chip.x - chip.height / 2 - 0.032, chip.y - chip.height / 2 - 0.012, 0.013)
        for passive in PASSIVES:
            dx, dy = (0.033, 0.0) if passive.upright else (0.0, 0.026)
            write(passive.reference, passive.x + dx, passive.y + dy, 0.0105)
        write("J1", -0.23, 0.27, 0.015)
        write("GND", 0.205, 0.292, 0.0125)
        for can in CANS:
            distance = np.hypot(self.canvas.x - can.x, self.canvas.y - can.y)
            np.maximum(ink, self.canvas.fill(0.0014 - np.abs(distance - can.radius - 0.011)), out=ink)
        worn = 0.92 - 0.05 * np.clip(clouds(ink.shape, self.rng, roughness=0.9), -1, 2)
        paint(self.layers, INK, ink * worn)
        self.layers[GLOSS] *= 1 - 0.5 * ink
        self.relief += 0.0004 * ink

    def _pads(self) -> None:
        """Bare tinned pads below all components: what shows when one is missing."""
        for chip in CHIPS:
            draw_legs(self._patch(chip.x, chip.y, chip.width, chip.height), chip, raised=0.0)
        for passive in PASSIVES:
            draw_ends(self._patch(passive.x, passive.y, 0.035, 0.035), passive, 0.011, raised=0.0)
        for can in CANS:
            for end in (-0.6, 0.6):
                self._patch(can.x, can.y, 0.08, 0.08).metal(0.024, 0.012, end * can.radius)
        for end in (-0.28, 0.28):
            self._patch(*CRYSTAL_AT, 0.08, 0.08).metal(0.014, 0.010, end * CRYSTAL_SIZE[0])
        for pin in PIN_PLACES:
            self._patch(*HEADER_AT, 0.22, 0.03).metal(0.010, 0.010, pin, colour=GOLD)


PRODUCT = Product(build=build, table=mat, studio=_STUDIO, tilt=3.0)
