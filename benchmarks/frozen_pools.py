"""Pools of photos from which `frozen.py` draws what is frozen and what is judged: matched once, so a batch is a part of
one table.

    BLEMISH_DATA=../shared/data python benchmarks/frozen_pools.py FOLDER [NAME ...]

builds them ahead (a minute or two each on a free core). A cached pool is not compared with the code that makes it:
delete it after a change.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import recurrence_photos
from batches import data_folder, synthetic
from blemish.inputs.images import PhotoFile, read_photo
from recurrence_photos import Example, listed, pasted_tiles, rendered, tinted_aliens
from verdict_pools import extracted, matched

GOOD, OF_A_KIND = 130, 14  # magnetic tiles of one half
RECURRING = {"GROUPS": (24, 12, 12), "GOOD": 54, "SPORADIC": 8}  # photos of a pool with recurring flaws
FLAW_SIZE = (0.03, 0.2)

Float32 = npt.NDArray[np.float32]
Source = Callable[[Path], Iterator[Example]]


@dataclass
class Pool:
    name: str
    tokens: Float32  # (P, N, C)
    nearest: npt.NDArray[np.float16]  # (P, P, N)
    index: npt.NDArray[np.int16]  # the same
    kinds: npt.NDArray[np.str_]
    specimens: npt.NDArray[np.intp]
    grid: tuple[int, int]


def _files(name: str, part: int = 0) -> Source:
    """A real set as it is; of magnetic_tile, which is large, photos taken evenly (part 0) or from the others (1)."""

    def make(data: Path) -> Iterator[Example]:
        files = []
        for kind in sorted(folder.name for folder in (data / name / "test").iterdir()):
            of_kind = listed(data / name / "test" / kind)
            if name == "magnetic_tile":
                count = GOOD if kind == "good" else OF_A_KIND
                of_kind = _evenly(of_kind, count) if part == 0 else _evenly(_others(of_kind, count), count)
            files += [(kind, file) for file in of_kind]
        for specimen, (kind, file) in enumerate(files):
            pixels = read_photo(PhotoFile(file.name, file)).pixels
            yield Example(pixels, np.zeros(pixels.shape[:2], bool), kind, 0, specimen)

    return make


def _evenly(files: list[Path], count: int) -> list[Path]:
    return [files[at] for at in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]


def _others(files: list[Path], count: int) -> list[Path]:
    taken = set(_evenly(files, count))
    return [file for file in files if file not in taken]


def _sporadic(product: str, seed: int) -> Source:
    def make(_: Path) -> Iterator[Example]:
        batch = synthetic(product, 110, flaw_size=FLAW_SIZE, sporadic=30, size=512, seed=seed)
        for specimen, (photo, flawed) in enumerate(zip(batch.photos, batch.labels, strict=True)):
            yield Example(photo, np.zeros(photo.shape[:2], bool), "sporadic" if flawed else "good", 0, specimen)

    return make


def _recurring(source: Source) -> Source:
    """With groups of flaws that are large enough to stand in what is frozen and in what is judged."""

    def make(data: Path) -> Iterator[Example]:
        for name, value in RECURRING.items():
            setattr(recurrence_photos, name, value)
        flawed_and_good = sum(recurrence_photos.GROUPS) + recurrence_photos.SPORADIC + recurrence_photos.GOOD
        yield from islice(source(data), flawed_and_good)

    return make


SOURCES: dict[str, Source] = {
    "cookies": _files("cookies"),
    "tiles1": _files("magnetic_tile", 0),
    "washer": _sporadic("washer", 501),
    "aliens": _files("toy_aliens"),
    "tiles2": _files("magnetic_tile", 1),
    "board": _sporadic("board", 502),
    "washer-r": _recurring(lambda _: rendered("washer", 1, 601)),
    "tiles5-r": _recurring(lambda data: pasted_tiles(data / "magnetic_tile", 605)),
    "board-r": _recurring(lambda _: rendered("board", 1, 602)),
    "tiles-r": _recurring(lambda data: pasted_tiles(data / "magnetic_tile", 607)),
    "tinted-r": lambda data: tinted_aliens(data / "toy_aliens", 608),
}
NEED_NO_DATA = ("washer", "board", "washer-r", "board-r")


def get_pool(name: str, folder: Path) -> Pool | None:
    """The pool from ``folder``, or built and kept there. None where its photos are not at hand."""
    file = folder / f"{name}.npz"
    if not file.exists():
        data = data_folder()
        if data is None and name not in NEED_NO_DATA:
            print(f"{name}: left out, BLEMISH_DATA is not set", file=sys.stderr)
            return None
        start = time.perf_counter()
        _build(file, SOURCES[name](data or Path()))
        print(f"{name}: pool built in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    with np.load(file) as stored:
        arrays = {field: stored[field] for field in ("tokens", "nearest", "index", "kinds", "specimens")}
        return Pool(name=name, grid=(int(stored["grid"][0]), int(stored["grid"][1])), **arrays)


def _build(file: Path, examples: Iterator[Example]) -> None:
    photos, kinds, specimens = [], [], []
    for example in examples:
        photos.append(example.pixels)
        kinds.append(example.kind)
        specimens.append(example.specimen)
    tokens, _ = extracted(photos)
    table = matched(tokens)
    keep(
        file,
        tokens=tokens.reshape(len(tokens), -1, tokens.shape[-1]),
        nearest=table.store.read(0, len(tokens)).astype(np.float16),
        index=table.index_store.read(0, len(tokens)).astype(np.int16),
        kinds=np.array(kinds),
        specimens=np.array(specimens),
        grid=np.array(tokens.shape[1:3]),
    )


def keep(file: Path, **arrays: npt.NDArray[np.generic]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(unfinished, **arrays)  # type: ignore[arg-type]
    unfinished.replace(file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:] or list(SOURCES):
        get_pool(wanted, Path(sys.argv[1]))
