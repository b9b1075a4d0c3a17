"""Photos for `batch_health.py`: one set under changing light, colour, focus and turn; and parts photographed again.

Extracted once and kept in a folder. A kept pool is not compared with the code that makes it: delete it after a change.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageFilter

from batches import RGB, LabelledBatch, data_folder, real, synthetic
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.images import resize
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from blemish.verdict.duplicates import small_grey

WORKING_SIZE = 320  # not the default, 512: a thousand extractions a set
PHOTOS = 100  # of a shift
COPIED = 12  # photos that are in the folder again

Float32 = npt.NDArray[np.float32]


def _rendered(product: str, seed: int, variants: int = 1) -> Callable[[Path], LabelledBatch]:
    return lambda _: synthetic(
        product, PHOTOS, flaw_size=(0.03, 0.2), sporadic=8, variants=variants, size=384, seed=seed
    )


def _real(name: str, part: int = 0, parts: int = 1) -> Callable[[Path], LabelledBatch]:
    return lambda data: real(data, name, good=92, bad=10, part=part, parts=parts)


SOURCES: dict[str, Callable[[Path], LabelledBatch]] = {
    "tiles1": _real("magnetic_tile", 0, 2),
    "washer": _rendered("washer", 401),
    "cookies": _real("cookies"),
    "tiles2": _real("magnetic_tile", 1, 2),
    "bottle": _rendered("bottle", 402),
    "aliens": _real("toy_aliens"),
    "board": _rendered("board", 403),
}
TOGETHER = 24  # photos of each set in a mixture
VARIANTS = {"bottle-variants": _rendered("bottle", 404, variants=3)}


def brighter(photo: Image.Image, share: float) -> Image.Image:
    """25 % more light at ``share`` 1."""
    return ImageEnhance.Brightness(photo).enhance(1 + 0.25 * share)


def warmer(photo: Image.Image, share: float) -> Image.Image:
    """White balance: 15 % more red and 15 % less blue at 1."""
    gains = np.array([1 + 0.15 * share, 1, 1 - 0.15 * share])
    return Image.fromarray(np.clip(np.asarray(photo) * gains, 0, 255).round().astype(np.uint8))


def softer(photo: Image.Image, share: float) -> Image.Image:
    """Out of focus: a Gaussian of 0.4 % of the photo's side at 1."""
    return photo.filter(ImageFilter.GaussianBlur(0.004 * min(photo.size) * share))


def turned(photo: Image.Image, share: float) -> Image.Image:
    """8 degrees at 1, cut so that no corner is empty."""
    angle = np.deg2rad(8 * share)
    width, height = photo.size
    shrink = 1 / (np.cos(angle) + np.sin(angle) * max(width / height, height / width))
    left, top = width * (1 - shrink) / 2, height * (1 - shrink) / 2
    box = (round(left), round(top), round(width - left), round(height - top))
    return photo.rotate(np.rad2deg(angle), Image.Resampling.BICUBIC).crop(box)


Change = Callable[[Image.Image, float], Image.Image]
CHANGES: dict[str, tuple[Change, tuple[float, ...]]] = {
    "light": (brighter, (1 / 3, 2 / 3, 1.0)),
    "colour": (warmer, (0.5, 1.0)),
    "focus": (softer, (0.5, 1.0)),
    "turn": (turned, (0.5, 1.0)),
}


def jpeg(photo: Image.Image, quality: int) -> Image.Image:
    kept = BytesIO()
    photo.save(kept, "JPEG", quality=quality)
    return Image.open(kept).convert("RGB")


def _smaller(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    return photo.resize((round(width * 0.6), round(height * 0.6)), Image.Resampling.LANCZOS)


def _shifted(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    by = max(2, round(0.01 * min(width, height)))
    return jpeg(photo.crop((by, by, width, height)), 90)


AGAIN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 90": lambda photo: jpeg(photo, 90),
    "JPEG 50": lambda photo: jpeg(photo, 50),
    "60 % of the size": _smaller,
    "6 % brighter": lambda photo: brighter(photo, 0.25),
    "1 % shifted, JPEG 90": _shifted,
}


@dataclass
class Pool:
    """``shift[kind]``: (levels, n, E) embeddings from no change to the full one. ``again``: kinds of copies; photo
    ``i`` < ``COPIED`` was taken again as row n + kind * COPIED + i of ``between`` and ``embeddings``."""

    between: Float32  # (n + copies, the same)
    embeddings: Float32  # (n + copies, E)
    small: Float32  # (n + copies, SIDE, SIDE)
    shift: dict[str, Float32]
    photos: int


def get_pool(name: str, folder: Path) -> Pool | None:
    """The pool from ``folder``, or built and kept there. None where its photos are not at hand."""
    file = folder / f"{name}.npz"
    if not file.exists():
        data = data_folder()
        source = (SOURCES | VARIANTS)[name]
        if data is None and name in ("tiles1", "tiles2", "cookies", "aliens"):
            print(f"{name}: left out, BLEMISH_DATA is not set", file=sys.stderr)
            return None
        start = time.perf_counter()
        _build(file, source(data or Path()).photos, changes=name in SOURCES)
        print(f"{name}: pool built in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    with np.load(file) as arrays:
        shift = {kind: arrays[f"shift {kind}"] for kind in CHANGES if f"shift {kind}" in arrays}
        return Pool(arrays["between"], arrays["embeddings"], arrays["small"], shift, int(arrays["photos"]))


class Extractor:
    """The default backbone at the default working size, for photos of one shape."""

    def __init__(self, photos: Sequence[RGB]) -> None:
        self.backbone = load_backbone("effnet-lite2", None, "cpu")
        facts = self.backbone.facts
        aspect = float(np.median([photo.shape[0] / photo.shape[1] for photo in photos]))
        height, width = (round(WORKING_SIZE * a / facts.patch) * facts.patch for a in (aspect**0.5, aspect**-0.5))
        self.branch = Branch(self.backbone, (height, width), facts.radii, facts.join)

    def features(self, photo: RGB) -> Features:
        resized = np.array(resize(photo, self.branch.shape, self.backbone.facts.resize))
        features = half(self.backbone.extract(torch.from_numpy(resized).permute(2, 0, 1)[None]))
        return Features([grid[0] for grid in features.grids], features.embedding[0])

    def embedding(self, photo: RGB) -> Float32:
        return np.asarray(self.features(photo).embedding, np.float32)


def between_of(extractor: Extractor, photos: Sequence[RGB]) -> tuple[Float32, Float32]:
    """(n, n) mean token distances and (n, E) embeddings of photos."""
    nearest, embeddings = table_of(extractor, photos)
    between = nearest.mean(axis=2)
    np.fill_diagonal(between, 0)
    return between, embeddings


def table_of(extractor: Extractor, photos: Sequence[RGB]) -> tuple[Float32, Float32]:
    """(n, n, N) distances of tokens to photos and (n, E) embeddings."""
    features = [extractor.features(photo) for photo in photos]
    tokens = np.stack([extractor.branch.tokens(one)[0] for one in features])
    store = ArrayStore((len(tokens), tokens.shape[1] * tokens.shape[2], tokens.shape[3]), np.float32)
    store.write(0, tokens.reshape(store.shape))
    table = match(store, Budget(2**33, Path(tempfile.gettempdir())))
    embeddings = np.stack([np.asarray(one.embedding, np.float32) for one in features])
    return np.stack([table.row(i) for i in range(len(tokens))]), embeddings


@dataclass
class Mixture:
    """Photos of all sets, ``TOGETHER`` each, and after them ``TRIP`` that have little in common."""

    nearest: npt.NDArray[np.float16]  # (n, n, N) distance of each photo's tokens to each other photo
    embeddings: Float32  # (n, E)
    of: npt.NDArray[np.intp]  # (n,) number of the set, -1 where there is none


def get_mixture(folder: Path) -> Mixture | None:
    """The mixture from ``folder``, or built and kept there. None without real sets."""
    file, data = folder / "mixture.npz", data_folder()
    if not file.exists():
        if data is None:
            return None
        sets = [
            *(synthetic(name, TOGETHER, flaw_size=(0.03, 0.2), sporadic=2, size=384, seed=405) for name in PRODUCTS),
            *(real(data, name, good=TOGETHER - 2, bad=2 if name != "magnetic_tile" else 5) for name in REAL),
        ]
        photos = [photo for one in sets for photo in one.photos[:TOGETHER]]
        of = [at for at, one in enumerate(sets) for _ in one.photos[:TOGETHER]] + [-1] * TRIP
        rng = np.random.default_rng(406)
        chosen = rng.permutation(len(photos))[:TRIP]
        every = photos + [_snapshot(photos[at], rng) for at in chosen]
        table, embeddings = table_of(Extractor([np.zeros((8, 8, 3), np.uint8)]), every)
        np.savez(file, nearest=table.astype(np.float16), embeddings=embeddings, of=np.array(of))
    with np.load(file) as arrays:
        return Mixture(arrays["nearest"], arrays["embeddings"], arrays["of"])


PRODUCTS, REAL = ("washer", "bottle", "board"), ("magnetic_tile", "cookies", "toy_aliens")
TRIP = 60


def _snapshot(photo: RGB, rng: np.random.Generator) -> RGB:
    """Some of a photo, at any size, turn and tint."""
    image = Image.fromarray(photo).rotate(float(rng.uniform(0, 360)), Image.Resampling.BICUBIC, expand=False)
    width, height = image.size
    side = float(rng.uniform(0.2, 0.7))
    left, top = rng.uniform(0.05, 0.95 - side, 2)
    box = (round(left * width), round(top * height), round((left + side) * width), round((top + side) * height))
    pixels = np.asarray(image.crop(box), float)[..., rng.permutation(3)] / 255
    toned = np.clip(pixels ** rng.uniform(0.4, 2.5) * rng.uniform(0.5, 1.4, 3), 0, 1)
    return (255 * (toned if rng.random() < 0.5 else 1 - toned)).astype(np.uint8)


def _build(file: Path, photos: list[RGB], changes: bool) -> None:
    extractor = Extractor(photos)
    copies = [np.asarray(make(Image.fromarray(photo))) for make in AGAIN.values() for photo in photos[:COPIED]]
    between, embeddings = between_of(extractor, photos + copies)
    plain = embeddings[: len(photos)]
    shift = {}
    for kind, (change, levels) in CHANGES.items() if changes else ():
        changed = [
            [extractor.embedding(np.asarray(change(Image.fromarray(photo), level))) for photo in photos]
            for level in levels
        ]
        shift[f"shift {kind}"] = np.stack([plain, *map(np.stack, changed)])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    small = np.stack([small_grey(photo) for photo in photos + copies])
    np.savez(unfinished, between=between, embeddings=embeddings, small=small, photos=np.array(len(photos)), **shift)
    unfinished.replace(file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:] or [*SOURCES, *VARIANTS]:
        get_pool(wanted, Path(sys.argv[1]))
    if not sys.argv[2:]:
        get_mixture(Path(sys.argv[1]))
