"""What a part is made of before light falls on it: a stack of layers, and the strokes that draw them.

Layers are drawn at twice the photo's resolution, part by part and once per batch; `camera` poses and lights
them. Lengths and coordinates are shares of the photo's height, the origin is the photo's centre, x grows
to the right and y downwards. Colours are linear light, not sRGB. This file knows no product and no flaw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Field = NDArray[np.floating[Any]]  # float32 once it is a layer; float64 may pass through on the way

SUPERSAMPLING = 2

# The channels of a stack of layers, (10, H, W) float32.
COLOUR = slice(0, 3)  # diffuse reflectance
SLOPE = slice(3, 5)  # dz/dx, dz/dy of the surface that faces the camera
GLOSS = 5  # strength of mirror-like reflection
GRAIN = slice(6, 8)  # direction across which brushing smears reflections; its length is how much, 0 to 1
COVER = 8  # 1 where the part is, 0 where the table shows
SHADOW = 9  # share of the light that reaches the table
CHANNELS = 10


@dataclass(frozen=True)
class Canvas:
    """A grid of `height` by `width` samples, `side` of which make one unit of length."""

    height: int
    width: int
    side: int

    @property
    def x(self) -> Field:
        """(1, W) horizontal coordinates."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.side)[None, :]

    @property
    def y(self) -> Field:
        """(H, 1) vertical coordinates."""
        return ((np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / self.side)[:, None]

    def blank(self) -> Field:
        return np.zeros((CHANNELS, self.height, self.width), np.float32)

    def fill(self, distance: Field) -> Field:
        """Antialiased cover, (H, W), of the shape whose signed distance is positive inside."""
        cover: Field = np.clip(0.5 + distance * self.side, 0, 1)
        return cover

    def slope_of(self, height: Field) -> Field:
        """(2, H, W) slopes of a height field (H, W) given in units of length."""
        dy, dx = np.gradient(height, 1.0 / self.side)
        return np.stack([dx, dy]).astype(np.float32)


@dataclass(frozen=True)
class Piece:
    """Something that can be missing: the layers that show when it is, and the top left corner they go to."""

    top: int
    left: int
    without: Field

    @property
    def extent(self) -> int:
        """Longer side in samples."""
        return int(max(self.without.shape[1:]))

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column of the centre, in samples."""
        _, height, width = self.without.shape
        return self.top + height / 2, self.left + width / 2


@dataclass(frozen=True)
class Part:
    """One specimen: its layers, a surface texture (H, W) of mean 0, and what may be broken on it."""

    layers: Field
    texture: Field
    pieces: tuple[Piece, ...]
    core: tuple[float, float, float]  # colour of the material below the surface
    fracture: float = 0.28  # share of a chip's radius that is fractured material, before the table shows


@dataclass(frozen=True)
class Studio:
    """How a product is lit: a key softbox, a weaker fill opposite, and the room."""

    towards_key: tuple[float, float, float]
    room: float  # ambient light; the key gives the rest
    softbox: float  # half width of its reflection, as a slope
    crispness: int  # 1 fades like a satin surface, 4 cuts off like glass
    glare: float  # brightness of the softbox itself


@dataclass(frozen=True)
class Product:
    """A kind of part: how to build a specimen (canvas, variant, rng) and what it stands on (canvas, rng)."""

    build: Callable[[Canvas, int, np.random.Generator], Part]
    table: Callable[[Canvas, np.random.Generator], Field]
    studio: Studio
    variants: int = 1
    width: float = 1.0  # photo width over its height
    tilt: float = 4.0  # largest rotation in degrees
    turned: bool = False  # the texture has no preferred direction, so that each specimen turns it freely


def cut_pieces(full: Field, bare: Field, boxes: list[tuple[float, float, float, float]]) -> tuple[Piece, ...]:
    """Pieces from boxes (left, top, right, bottom) in samples: where one is missing, `bare` shows."""
    height, width = full.shape[1:]
    pieces = []
    for left, top, right, bottom in boxes:
        rows = slice(max(0, int(top)), min(height, int(np.ceil(bottom))))
        columns = slice(max(0, int(left)), min(width, int(np.ceil(right))))
        pieces.append(Piece(rows.start, columns.start, bare[:, rows, columns].copy()))
    return tuple(pieces)


def smoothstep(value: Field, low: float, high: float) -> Field:
    t = np.clip((value - low) / (high - low), 0, 1)
    eased: Field = t * t * (3 - 2 * t)
    return eased


def blend(under: Field, over: Field, alpha: Field) -> Field:
    return under + alpha * (over - under)


def paint(layers: Field, colour: tuple[float, float, float] | Field, alpha: Field) -> None:
    """Paint a colour (3,) or (3, H, W) onto the colour layers in place, alpha (H, W)."""
    over = np.asarray(colour, np.float32)
    layers[COLOUR] += alpha * ((over[:, None, None] if over.ndim == 1 else over) - layers[COLOUR])


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur over the last two axes; sigma in samples; edges wrap."""
    height, width = field.shape[-2:]
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fx * fx + fy * fy)).astype(np.float32)
    blurred: Field = np.fft.irfft2(np.fft.rfft2(field) * kernel, s=(height, width)).astype(np.float32)
    return blurred


def clouds(shape: tuple[int, int], rng: np.random.Generator, roughness: float, smallest: float = 1.0) -> Field:
    """Fractal noise (H, W) of mean 0 and deviation 1: low roughness makes large soft clouds.

    The amplitude of a frequency f falls as f^-(3 - 2 roughness); no details below `smallest` samples.
    """
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    frequency = np.maximum(np.hypot(fx, fy), 1.0 / max(shape))
    amplitude = frequency ** (2 * roughness - 3) * np.exp(-((frequency * smallest) ** 2))
    amplitude[0, 0] = 0
    spectrum = np.fft.rfft2(rng.standard_normal(shape, dtype=np.float32)) * amplitude
    noise: Field = np.fft.irfft2(spectrum, s=shape).astype(np.float32)
    noise /= noise.std() + 1e-9
    return noise


def cast_shadow(canvas: Canvas, cover: Field, towards_key: tuple[float, float, float], height: float) -> Field:
    """Light (H, W) left on the table below a part `height` thick: a contact shadow and a soft cast one."""
    shift = [round(-towards_key[axis] / towards_key[2] * height * canvas.side) for axis in (1, 0)]
    contact = blur(cover, 0.35 * height * canvas.side)
    cast = np.roll(blur(cover, 0.8 * height * canvas.side), shift, (0, 1))
    light: Field = np.clip((1 - 0.55 * contact) * (1 - 0.6 * cast), 0, 1)
    return light


def lettering(text: str, height: int) -> Field:
    """A line of text as an alpha mask (H, W) with capitals about `height` samples high, cut to its ink."""
    font = ImageFont.load_default(size=max(6.0, height * 1.4))
    left, top, right, bottom = font.getbbox(text)
    page = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(page).text((1 - left, 1 - top), text, fill=255, font=font)
    return np.asarray(page, np.float32) / 255


def stamp(field: Field, mark: Field, x: float, y: float) -> tuple[float, float, float, float]:
    """Lay a mask over a field (H, W) in place, centred on sample (x, y); returns its box in samples."""
    height, width = mark.shape
    top, left = round(y - height / 2), round(x - width / 2)
    rows, columns = slice(max(0, top), top + height), slice(max(0, left), left + width)
    target = field[rows, columns]
    inside = mark[rows.start - top :, columns.start - left :][: target.shape[0], : target.shape[1]]
    np.maximum(target, inside, out=target)
    return left, top, left + width, top + height
