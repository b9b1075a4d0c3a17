"""What the hottest places of every photo are nearest to: the answer to "what was it compared with?", and its file.

A few places a photo and a few other photos a place, taken from the tables of a scan before they are let go. A score
averages over many more photos; these are the first of them. It knows tables, grids and the file, not photos.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.rescoring import write_arrays
from blemish.scoring.families import Pass

__all__ = ["Nearest", "arrays", "joined", "nearest_of", "of_arrays", "read", "write"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

PLACES, OTHERS = 3, 6  # hottest places of a photo, and photos for each
APART = 2  # tokens between two places: one hot spot is one place
THREADS = 2
NAMES = ("token", "photo", "there", "distance")


@dataclass(frozen=True)
class Nearest:
    """``token: (B, P)`` places of each photo on ``grid`` (h, w), hottest first. ``photo``, ``there``, ``distance``:
    (B, P, R) the photos whose token ``there`` is nearest to it; photo -1 where there are fewer. ``paths``: of the
    photos, empty until they are known."""

    grid: tuple[int, int]
    token: Int32
    photo: Int32
    there: Int32
    distance: Float32
    paths: tuple[str, ...] = ()


def nearest_of(one: Pass, scores: Float32) -> Nearest | None:
    """From the table of one pass. ``scores: (b, h, w)`` of it. None for volumes."""
    if len(one.grid) != 2:
        return None
    height, width = one.grid
    images, others = one.images, min(OTHERS, one.images - 1)
    token = np.zeros((images, PLACES), np.int32)
    photo = np.full((images, PLACES, others), -1, np.int32)
    there = np.zeros((images, PLACES, others), np.int32)
    distance = np.full((images, PLACES, others), np.inf, np.float32)

    def fill(i: int) -> None:
        places = _hottest(scores[i])
        token[i] = places
        distances, index = one.matches.row(i)[:, places], one.matches.index(i)[:, places]  # (b, P)
        order = np.argsort(distances, axis=0, kind="stable")[:others]
        found = np.take_along_axis(distances, order, axis=0)
        photo[i] = np.where(np.isfinite(found), order, -1).T
        there[i] = np.take_along_axis(index, order, axis=0).T
        distance[i] = found.T

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(images)))
    return Nearest((height, width), token, photo, there, distance)


def _hottest(scores: Float32) -> list[int]:
    left = np.array(scores, dtype=np.float32)
    height, width = left.shape
    places = []
    for _ in range(PLACES):
        at = int(left.argmax())
        places.append(at)
        y, x = divmod(at, width)
        left[max(y - APART, 0) : min(y + APART + 1, height), max(x - APART, 0) : min(x + APART + 1, width)] = -np.inf
        if not np.isfinite(left).any():  # fewer tokens than places: the last one counts again
            left[:] = scores
    return places


def joined(parts: Sequence[Nearest | None], paths: Sequence[str]) -> Nearest | None:
    """Those of a batch whose parts know only their own photos, with the names of all. ``paths``: one part after the
    other. None if some part has none."""
    if not parts or any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    others = min(part.photo.shape[2] for part in known)
    starts = np.cumsum([0, *(len(part.token) for part in known[:-1])])
    photos = [
        np.where(part.photo >= 0, part.photo + np.int32(start), np.int32(-1))[..., :others]
        for part, start in zip(known, starts, strict=True)
    ]
    return Nearest(
        grid=known[0].grid,
        token=np.concatenate([part.token for part in known]),
        photo=np.concatenate(photos),
        there=np.concatenate([part.there[..., :others] for part in known]),
        distance=np.concatenate([part.distance[..., :others] for part in known]),
        paths=tuple(paths),
    )


def arrays(found: Nearest) -> dict[str, npt.NDArray[Any]]:
    """For a file."""
    return {"grid": np.array(found.grid), **{name: getattr(found, name) for name in NAMES}}


def of_arrays(stored: dict[str, npt.NDArray[Any]], paths: Sequence[str] = ()) -> Nearest:
    """What ``arrays`` gave. Raises ``KeyError`` or ``ValueError``."""
    height, width = (int(side) for side in stored["grid"])
    named = {name: stored[name] for name in NAMES}
    found = Nearest((height, width), **named, paths=tuple(paths))
    if found.photo.shape != found.distance.shape or found.photo.shape[:2] != found.token.shape:
        raise ValueError("its arrays do not fit together")
    return found


def write(found: Nearest, file: Path) -> None:
    paths = np.frombuffer(json.dumps(found.paths).encode(), dtype=np.uint8)
    write_arrays(file, [("paths", paths), *arrays(found).items()])


def read(file: Path) -> Nearest:
    """Raises ``InputError`` if it is absent or damaged."""
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            paths = json.loads(stored["paths"].tobytes())
            found = of_arrays({name: stored[name] for name in ("grid", *NAMES)}, paths)
        if len(found.paths) != len(found.token) or found.photo.max(initial=-1) >= len(found.paths):
            raise ValueError("it is of other photos")
        return found
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise InputError(f"{str(file)!r} is missing or damaged ({error}). Scan again to have it.") from error
