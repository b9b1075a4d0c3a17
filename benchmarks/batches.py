"""The batches that benchmarks run on: synthetic parts rendered on the spot, and the real sets in BLEMISH_DATA."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.inputs.images import PhotoFile, natural_key, read_photo
from blemish.inputs.synthetic import render_batch
from blemish.inputs.truth import read_mask

RGB = npt.NDArray[np.uint8]


@dataclass
class LabelledBatch:
    """Photos with their truth. ``masks`` is None where a set has labels only."""

    name: str
    photos: list[RGB]
    labels: npt.NDArray[np.bool_]
    masks: list[npt.NDArray[np.bool_]] | None


def data_folder() -> Path | None:
    """The folder of real sets, or None when BLEMISH_DATA is not set."""
    folder = os.environ.get("BLEMISH_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


def synthetic(
    product: str,
    photos: int,
    *,
    flaw_size: tuple[float, float],
    sporadic: int,
    size: int = 1024,
    variants: int = 1,
    recurring: tuple[int, ...] = (),
    seed: int = 0,
    name: str = "",
) -> LabelledBatch:
    rendered = list(
        render_batch(
            product,
            photos,
            size=size,
            seed=seed,
            sporadic=sporadic,
            recurring=recurring,
            variants=variants,
            flaw_size=flaw_size,
        )
    )
    return LabelledBatch(
        name or product,
        [photo.pixels for photo in rendered],
        np.array([photo.kind != "good" for photo in rendered]),
        [photo.mask for photo in rendered],
    )


def real(data: Path, name: str, *, good: int, bad: int, part: int = 0, parts: int = 1) -> LabelledBatch:
    """``good`` and ``bad`` photos of a set, taken evenly from one of ``parts`` disjoint parts of it."""
    root = data / name
    kinds = sorted(folder.name for folder in (root / "test").iterdir())
    chosen: list[tuple[Path, str]] = []
    of_kind = {kind: _photos(root / "test" / kind)[part::parts] for kind in kinds}
    chosen += [(file, "good") for file in _evenly(of_kind.pop("good"), good)]
    for kind, files in of_kind.items():
        chosen += [(file, kind) for file in _evenly(files, bad // len(of_kind))]
    photos = [read_photo(PhotoFile(file.name, file)).pixels for file, _ in chosen]
    labels = np.array([kind != "good" for _, kind in chosen])
    masks = None
    if (root / "ground_truth").is_dir():
        masks = [
            np.zeros(photo.shape[:2], bool)
            if kind == "good"
            else read_mask(root / "ground_truth" / kind / f"{file.stem}.png")
            for photo, (file, kind) in zip(photos, chosen, strict=True)
        ]
    return LabelledBatch(name if parts == 1 else f"{name} {part + 1}/{parts}", photos, labels, masks)


def _photos(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda file: natural_key(file.name))


def _evenly(files: list[Path], count: int) -> list[Path]:
    return [files[at] for at in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
