"""Judged runs on the mock backbone and detectors made of them, for tests of teaching, freezing, checking, watching."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish import cli
from blemish.config import ScanConfig
from blemish.scanning import scan

GRADED = (0.0,) * 20 + (0.15, 0.3, 0.5, 0.8)  # flaws of a batch, each of its own strength
THIRD = (0.0,) * 16 + (1.0,) * 8  # one flaw on a third of the photos, which hides it
BOX = (8, 32, 24, 48)  # where the flaw is: left, top, right, bottom


def stained(seed: int, strength: float = 0.0, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """(H, W, 3) uint8: a wavy surface with grain; ``strength`` 1 is a flaw as strong as can be."""
    rng = np.random.default_rng(seed)
    rows, columns = np.linspace(0, 1, size[0])[:, None], np.linspace(0, 1, size[1])[None]
    wave = 120 + 50 * np.sin(6 * columns + 4 * rows) + rng.normal(0, 6, size) + rng.normal(0, 2)
    photo = np.stack([wave, 0.8 * wave + 20 * rows, 0.9 * wave[::-1]], axis=2)
    height, width = size
    photo[height // 2 : height * 3 // 4, width // 8 : width * 3 // 8] += strength * np.array([130, -90, -70])
    return np.clip(photo, 0, 255).astype(np.uint8)


def write_stained(folder: Path, strengths: Sequence[float] = GRADED) -> Path:
    """``0.png`` and so on."""
    folder.mkdir(parents=True)
    for at, strength in enumerate(strengths):
        Image.fromarray(stained(at, strength)).save(folder / f"{at}.png")
    return folder


def scanned(photos: Path, run: Path, **settings: object) -> Path:
    """``photos`` judged by the mock backbone, without families if nothing else is said."""
    settings = {"backbone": "mock", "families": "off", "cache": False} | settings
    return scan(photos, ScanConfig(**settings)).save(run)  # type: ignore[arg-type]  # as on the command line


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
