"""A filled glass bottle of juice with a printed paper label, before a bright studio sweep; three flavours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    blend,
    blur,
    clouds,
    cut_pieces,
    lettering,
    paint,
    smoothstep,
    stamp,
)

TOP, CAP_BOTTOM, BASE = -0.445, -0.372, 0.425
BODY, NECK, CAP = 0.158, 0.062, 0.073  # half widths
LABEL_TOP, LABEL_BOTTOM = -0.055, 0.315
PAPER = (0.70, 0.67, 0.60)
DARK_INK = (0.035, 0.045, 0.04)


@dataclass(frozen=True)
class _Flavour:
    name: str
    juice: tuple[float, float, float]  # what light keeps of its colour after one bottle's depth
    print: tuple[float, float, float]


FLAVOURS = (
    _Flavour("ORANGE", (0.72, 0.27, 0.012), (0.75, 0.22, 0.015)),
    _Flavour("CHERRY", (0.27, 0.012, 0.022), (0.42, 0.012, 0.035)),
    _Flavour("GREEN APPLE", (0.36, 0.44, 0.045), (0.12, 0.28, 0.025)),
)

_STUDIO = Studio(towards_key=(-0.80, -0.16, 0.58), room=0.60, softbox=0.20, crispness=5, glare=0.95)


def build(canvas: Canvas, variant: int, rng: np.random.Generator) -> Part:
    """One bottle of flavour `variant`; pieces: the cap, then what is printed on the label."""
    flavour = FLAVOURS[variant]
    glass = _filled_glass(canvas, flavour, fill_level=-0.255 + float(rng.normal(0, 0.004)))
    label = _Label(canvas, rng)
    full, bare = glass.copy(), glass
    _cap(canvas, full)
    boxes = label.stick(full, label.artwork(flavour))
    label.stick(bare, label.unprinted(flavour))
    pieces = cut_pieces(full, bare, [_cap_box(canvas), *boxes])
    ripples = clouds((canvas.height, canvas.width), rng, roughness=0.5, smallest=2.0)
    return Part(full, ripples, pieces, core=(0.52, 0.56, 0.55), fracture=0.75)


def _cap_box(canvas: Canvas) -> tuple[float, float, float, float]:
    column, row, reach = canvas.width / 2, canvas.height / 2, (CAP + 0.012) * canvas.side
    top, bottom = row + (TOP - 0.006) * canvas.side, row + (CAP_BOTTOM + 0.002) * canvas.side
    return column - reach, top, column + reach, bottom


def sweep(canvas: Canvas, rng: np.random.Generator) -> Field:
    """(3, H, W): a paper sweep, bright behind the bottle, that turns into the table without an edge."""
    x, y = canvas.x, canvas.y
    glow = 0.60 + 0.22 * np.exp(-((x / 0.42) ** 2 + ((y + 0.08) / 0.5) ** 2))
    floor = smoothstep(y, 0.24, 0.42)
    tone = blend(glow, np.full_like(glow, 0.60), floor)
    tone = tone * (1 + 0.006 * clouds(tone.shape, rng, roughness=0.9))
    return np.array([0.99, 1.0, 1.01], np.float32)[:, None, None] * tone


def _half_width(y: Field) -> Field:
    """Half the bottle's width (H, 1) at each height, the cap left out."""
    shoulder = smoothstep(y, -0.305, -0.105)
    width = NECK + (BODY - NECK) * shoulder
    width = width + 0.010 * np.exp(-(((y - CAP_BOTTOM - 0.010) / 0.008) ** 2))  # the neck's ring
    foot = np.maximum(0, y - BASE + 0.030)
    rounded: Field = width - 0.030 + np.sqrt(np.maximum(0.030**2 - foot**2, 0))
    return rounded


def _round_slope(x: Field, half: Field) -> tuple[Field, Field]:
    """Position across a body of revolution, -1 to 1, and the slope dz/dx there (z towards the camera)."""
    across = np.clip(x / np.maximum(half, 1e-4), -0.995, 0.995)
    return across, -across / np.sqrt(1 - across * across)


def _filled_glass(canvas: Canvas, flavour: _Flavour, fill_level: float) -> Field:
    """Layers of the bottle without cap and label: the sweep's light, coloured on its way through."""
    x, y = canvas.x, canvas.y
    half = _half_width(y)
    layers = canvas.blank()
    inside = np.minimum(half - np.abs(x), np.minimum(y - TOP - 0.006, BASE - y))
    layers[COVER] = canvas.fill(inside)
    across, slope = _round_slope(x, half)
    layers[SLOPE][0] = slope
    layers[SLOPE][1] = -0.6 * np.gradient(half[:, 0], 1 / canvas.side)[:, None] * np.sqrt(1 - across**2)
    layers[GRAIN][1] = 0.97  # the softboxes are tall strips
    layers[GLOSS] = 0.75
    layers[COLOUR] = _through(canvas, flavour, across, fill_level)
    layers[SHADOW] = _shadow_on_table(canvas)
    return layers


def _through(canvas: Canvas, flavour: _Flavour, across: Field, fill_level: float) -> Field:
    """Colour (3, H, W) of the filled bottle by Beer's law: thin at the sides, deep in the middle."""
    y = canvas.y
    deep = np.sqrt(1 - across * across)
    surface = fill_level + 0.007 * deep  # seen a little from above, the meniscus is an arc
    filled = smoothstep(y - surface, -0.5 / canvas.side, 0.5 / canvas.side) * smoothstep(BASE - y, 0.012, 0.022)
    juice = np.array(flavour.juice, np.float32)[:, None, None]
    kept = juice ** (0.35 + 0.65 * deep)
    light = 0.92 + 0.32 * np.exp(-(((across - 0.30) / 0.36) ** 2)) - 0.16 * smoothstep(y, 0.0, BASE)
    empty = np.array([0.66, 0.68, 0.68], np.float32)[:, None, None] * (0.80 + 0.2 * deep)
    colour = blend(empty, 0.95 * kept * light, filled)
    meniscus = np.exp(-(((y - surface + 0.0015) / 0.0030) ** 2))
    colour = colour * (1 - 0.45 * meniscus)
    # Glass bends the dark sides of the studio into its rim and its thick base.
    wall = smoothstep(np.abs(across), 0.86, 0.985)
    base = smoothstep(y, BASE - 0.022, BASE - 0.013) * (0.55 + 0.45 * np.cos(across * 9) ** 2)
    dark: Field = colour * (1 - 0.62 * wall) * (1 - 0.45 * base)
    return dark.astype(np.float32)


def _shadow_on_table(canvas: Canvas) -> Field:
    """Light (H, W) left on the sweep: a dark contact line and a soft pool to the right."""
    x, y = canvas.x, canvas.y
    contact = np.exp(-(((x / (BODY * 0.98)) ** 6) + ((y - BASE - 0.002) / 0.010) ** 2))
    pool = np.exp(-(((x - 0.07) / 0.21) ** 2 + ((y - BASE - 0.010) / 0.030) ** 2))
    return np.clip(1 - 0.62 * contact - 0.38 * pool, 0, 1).astype(np.float32)


def _cap(canvas: Canvas, layers: Field) -> None:
    """A white-lacquered screw cap with knurled sides, put on in place."""
    x, y = canvas.x, canvas.y
    half = CAP - 0.012 + np.sqrt(np.maximum(0.012**2 - np.maximum(0, TOP + 0.012 - y) ** 2, 0))
    cover = canvas.fill(np.minimum(half - np.abs(x), np.minimum(y - TOP, CAP_BOTTOM - y)))
    across, slope = _round_slope(x, half)
    knurled = smoothstep(y, TOP + 0.016, TOP + 0.022) * (1 - smoothstep(y, CAP_BOTTOM - 0.012, CAP_BOTTOM - 0.009))
    ribs = np.sin(np.arcsin(across) * 38) * knurled
    paint(layers, np.array([0.055, 0.10, 0.075], np.float32)[:, None, None] * (1 + 0.28 * ribs), cover)
    seam = np.exp(-(((y - CAP_BOTTOM + 0.0105) / 0.0016) ** 2))
    layers[COLOUR] *= 1 - 0.5 * cover * seam
    layers[SLOPE][0] += cover * (slope + 0.35 * ribs - layers[SLOPE][0])
    lip = -1.2 * (1 - smoothstep(y, TOP, TOP + 0.012))
    layers[SLOPE][1] += cover * (lip - layers[SLOPE][1])
    layers[GLOSS] += cover * (0.28 - layers[GLOSS])
    layers[COVER] = np.maximum(layers[COVER], cover)


class _Label:
    """The paper label: artwork on a flat page, then wrapped round the bottle, a hair askew on each."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator) -> None:
        self.canvas = canvas
        self.height = round((LABEL_BOTTOM - LABEL_TOP) * canvas.side)
        self.width = round(np.pi * BODY * canvas.side)  # the visible half of the circumference
        self.turned, self.lifted = rng.normal(0, 0.006), rng.normal(0, 0.0012)
        self.fibres = clouds((self.height, self.width), rng, roughness=1.1, smallest=1.5)
        self.inked: list[tuple[float, float, float, float]] = []

    def unprinted(self, flavour: _Flavour) -> Field:
        """The paper as the label maker delivers it, with its coloured bands only, (3, h, w)."""
        page = np.array(PAPER, np.float32)[:, None, None] * (1 + 0.018 * self.fibres)
        self._band(page, flavour)
        return page

    def artwork(self, flavour: _Flavour) -> Field:
        """The printed paper, (3, h, w); remembers the box of each element."""
        page = self.unprinted(flavour)
        self._text(page, "ORCHARD", (0.5, 0.125), 0.100, DARK_INK)
        self._text(page, "& SONS   EST. 1931", (0.5, 0.225), 0.036, DARK_INK)
        self._fruit(page, flavour)
        self._text(page, flavour.name, (0.5, 0.72), 0.062, PAPER)
        self._text(page, "COLD PRESSED JUICE", (0.5, 0.80), 0.032, PAPER)
        self._text(page, "330 ml", (0.31, 0.925), 0.036, DARK_INK)
        self._text(page, "NOT FROM", (0.645, 0.905), 0.027, DARK_INK)
        self._text(page, "CONCENTRATE", (0.645, 0.948), 0.027, DARK_INK)
        self._seal(page)
        return page

    def stick(self, layers: Field, page: Field) -> list[tuple[float, float, float, float]]:
        """Wrap a page round the bottle in place; returns the boxes of its printed elements in samples."""
        x, y = self.canvas.x, self.canvas.y
        across, slope = _round_slope(x, np.full_like(y, BODY))
        column = (np.arcsin(across) / np.pi + 0.5 + 0.06 * self.turned) * self.width
        row = (y - LABEL_TOP - self.lifted) * self.canvas.side
        page = blur(page, 0.7)  # ink spreads, and the nearest-sample lookup below needs it
        wrapped = page[:, np.clip(row, 0, self.height - 1).astype(int), np.clip(column, 0, self.width - 1).astype(int)]
        cover = self.canvas.fill(np.minimum(row, self.height - row) / self.canvas.side) * layers[COVER]
        shade = 0.74 + 0.26 * np.sqrt(1 - across * across)
        edge = np.exp(-np.abs(np.minimum(row, self.height - row) / self.canvas.side + 0.002) / 0.003)
        layers[COLOUR] *= 1 - 0.35 * edge * (1 - cover)
        paint(layers, wrapped * shade, cover)
        layers[SLOPE][0] += cover * (slope - layers[SLOPE][0])
        layers[SLOPE][1] *= 1 - cover
        layers[GLOSS] += cover * (0.075 - layers[GLOSS])
        return [self._wrapped_box(box) for box in self.inked]

    def _wrapped_box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        left, top, right, bottom = box
        margin = 0.004 * self.canvas.side
        columns = [
            self.canvas.width / 2
            + np.sin((column / self.width - 0.5 - 0.06 * self.turned) * np.pi) * BODY * self.canvas.side
            for column in (left, right)
        ]
        first = self.canvas.height / 2 + (LABEL_TOP + self.lifted) * self.canvas.side
        return columns[0] - margin, first + top - margin, columns[1] + margin, first + bottom + margin

    def _text(
        self, page: Field, text: str, at: tuple[float, float], size: float, ink: tuple[float, float, float]
    ) -> None:
        """Text centred at (x, y), in shares of the page; size is a share of its height."""
        mark = lettering(text, max(4, round(size * self.height * 0.8)))
        mask = np.zeros(page.shape[1:], np.float32)
        self.inked.append(stamp(mask, mark, at[0] * self.width, at[1] * self.height))
        paint(page, ink, 0.95 * mask)

    def _band(self, page: Field, flavour: _Flavour) -> None:
        y = np.arange(self.height, dtype=np.float32)[:, None] / self.height
        wide = smoothstep(y, 0.648, 0.652) * (1 - smoothstep(y, 0.848, 0.852))
        thin = smoothstep(y, 0.030, 0.033) * (1 - smoothstep(y, 0.043, 0.046))
        thin = thin + smoothstep(y, 0.975, 0.978) * (1 - smoothstep(y, 0.988, 0.991))
        paint(page, flavour.print, 0.96 * np.broadcast_to(wide + thin, page.shape[1:]))

    def _fruit(self, page: Field, flavour: _Flavour) -> None:
        """A round fruit with a leaf, printed as halftone-free shading."""
        row = np.arange(self.height, dtype=np.float32)[:, None] - 0.46 * self.height
        column = np.arange(self.width, dtype=np.float32)[None, :] - 0.5 * self.width
        radius = 0.135 * self.height
        distance = np.hypot(row, column)
        light = np.clip(1.15 - np.hypot(row + 0.4 * radius, column + 0.4 * radius) / (1.9 * radius), 0.35, 1.1)
        body = np.array(flavour.print, np.float32)[:, None, None] * light + 0.25 * np.clip(light - 0.9, 0, 1)
        paint(page, body, np.clip(radius - distance, 0, 1))
        leaf_row, leaf_column = row + 1.12 * radius, column - 0.48 * radius
        u, v = 0.87 * leaf_column - 0.5 * leaf_row, 0.5 * leaf_column + 0.87 * leaf_row
        leaf = 1 - (u / (0.55 * radius)) ** 2 - np.abs(v) / (0.22 * radius)
        paint(page, (0.05, 0.19, 0.03), np.clip(leaf * 0.2 * radius, 0, 1))
        stem = np.minimum(
            0.05 * radius - np.abs(column - 0.1 * (row + radius)), 0.22 * radius - np.abs(row + 1.1 * radius)
        )
        paint(page, (0.12, 0.07, 0.03), np.clip(stem, 0, 1))
        middle_row, middle_column = 0.46 * self.height, 0.5 * self.width
        self.inked.append(
            (
                middle_column - 1.1 * radius,
                middle_row - 1.5 * radius,
                middle_column + 1.1 * radius,
                middle_row + 1.1 * radius,
            )
        )

    def _seal(self, page: Field) -> None:
        """A small round quality seal at the right of the fruit."""
        x, y, radius = 0.735 * self.width, 0.345 * self.height, 0.058 * self.height
        row = np.arange(self.height, dtype=np.float32)[:, None] - y
        column = np.arange(self.width, dtype=np.float32)[None, :] - x
        distance = np.hypot(row, column) + 0.03 * radius * np.cos(24 * np.arctan2(row, column))
        paint(page, DARK_INK, np.clip(radius - distance, 0, 1))
        mask = np.zeros(page.shape[1:], np.float32)
        stamp(mask, lettering("BIO", max(4, round(0.75 * radius))), x, y)
        paint(page, PAPER, mask)
        self.inked.append((x - radius, y - radius, x + radius, y + radius))


PRODUCT = Product(build=build, table=sweep, studio=_STUDIO, variants=3, width=0.75, tilt=1.5)
