"""Small photo folders for tests: a grey part with texture, one of them with a red stain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def part(seed: int, flawed: bool = False, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """(H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    shade = np.linspace(90, 150, size[1])[None] + rng.normal(0, 4, size)
    photo = np.clip(shade, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    if flawed:
        photo[size[0] // 2 : size[0] // 2 + 16, 8:24] = (250, 60, 40)
    return photo


def write_parts(folder: Path, photos: int = 8, flawed: tuple[int, ...] = (5,)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(photos):
        Image.fromarray(part(at, at in flawed)).save(folder / f"{at}.png")
    return folder
