"""Pseudo labels as a folder that any trainer can read: an MVTec-like tree, complete or not there.

    train/good/..                          the good photos
    test/good/.., test/<kind>/..           the same good photos, and the defective ones; kinds are families or "defect"
    ground_truth/<kind>/<stem>_mask.png    0 and 255, at the photo's own size
    soft/<kind>/<stem>.png                 16 bits, 65535 = surely defective; of good photos it would be 0 everywhere
    confidence/<kind>/<stem>.png           16 bits, 65535 = sure: a weight for each pixel; of good photos 1 everywhere
    labels.csv                             image_path as in the run, label, mask_path: `blemish eval RUN --truth` it
    pseudo.json                            recipe, and each photo's label, confidence and why

Good photos stand in both splits because some trainers read only ``test`` and others want ``train/good``; nothing here
is held back: what is learnt is tested on other products. Photos are links to the originals where the disk has them;
those that a camera has marked as turned are written upright, as their masks are, since many trainers do not look at
that mark. It knows files, not how labels were found (``pseudo_masks``).
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.errors import InputError, RunError, UnreadablePhoto
from blemish.extending import Earlier
from blemish.inputs.images import PhotoFile, read_photo
from blemish.learning.pseudo_calls import PseudoPhoto
from blemish.learning.pseudo_masks import IGNORE_WITHIN, PixelLabels, PseudoLabels
from blemish.progress import Progress, Silent
from blemish.run import link
from blemish.run_folder import check_out, staging, why_not_written

__all__ = ["Labelled", "read", "read_share", "write"]

Float32 = npt.NDArray[np.float32]

SCHEMA = 1
FACTS, TABLE = "pseudo.json", "labels.csv"
ORIENTATION = 0x0112  # EXIF
FULL = 65535  # 1.0 in 16 bits
LONGEST = 200  # bytes of a stem, so that names with "_mask.png" stay below the 255 that file systems allow
MEANING = (
    "confidence: 0 = could as well be wrong, 1 = sure; a weight for training, of photos here and of pixels in "
    "confidence/, where a good photo's pixels are all 1. Pixels below ignore_below are best ignored."
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One photo of a tree. The files of a good photo's pixels are None: nothing is defective, and all are sure."""

    photo: Path
    path: str  # in the run
    label: bool  # True = defective
    kind: str
    confidence: float
    mask: Path | None
    soft: Path | None  # for ``read_share``, as is
    certainty: Path | None  # the confidence of each pixel


def write(labels: PseudoLabels, out: Path, *, copy: bool = False, progress: Progress | None = None) -> Path:
    """Write the tree to ``out``, a new or empty folder, and return its path. ``copy``: photos instead of links, for a
    trainer that changes its photos. ``progress`` hears of one stage, a step a photo.

    Raises ``InputError`` if the run's photos are not there any more, ``OutputError`` if ``out`` is occupied,
    ``RunError`` if it cannot be written; nothing is left behind then."""
    earlier = Earlier.read(labels.run, to="learnt from")
    earlier.require_all()
    out = check_out(out, earlier.source, overwrite=False)
    files = {photo.path: earlier.files[photo.path].resolve() for photo in labels.photos}
    turned = {path for path, file in files.items() if _is_turned(file)}
    names = {
        path: str(PurePosixPath(name).with_suffix(".png")) if path in turned else name
        for path, name in _names(files).items()
    }
    progress = progress or Silent()
    with staging(out) as folder:
        try:
            with progress.stage("writing pseudo-masks", len(labels.photos)) as advance:
                for photo in labels.photos:
                    for split in ("test",) if photo.label else ("test", "train"):
                        place = folder / split / photo.kind / names[photo.path]
                        place.parent.mkdir(parents=True, exist_ok=True)
                        _put(files[photo.path], place, upright=photo.path in turned, copy=copy)
                    if photo.label:
                        _write_pixels(labels.pixels(photo), photo, names[photo.path], folder)
                    advance(1)
            _write_table(labels.photos, names, folder / TABLE)
            text = json.dumps(_facts(labels, names), indent=1, ensure_ascii=False) + "\n"
            (folder / FACTS).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise RunError(why_not_written(error, out)) from error
    return out


def read(tree: Path) -> tuple[Labelled, ...]:
    """The photos of a tree that ``write`` has written. Raises ``InputError`` if it is not one, or incomplete."""
    file = tree / FACTS
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["schema"] != SCHEMA:
            raise ValueError(f"its schema is {stored['schema']!r}, this blemish reads {SCHEMA}")
        found = tuple(_labelled(tree, row) for row in stored["photos"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(tree)!r} is not a folder of pseudo-masks ({error}). Give the folder that they were written to, or "
            "write them anew from a run."
        ) from error
    files = [file for one in found for file in (one.photo, one.mask, one.soft, one.certainty) if file]
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(
            f"{len(missing)} files of {str(tree)!r} are missing, first {str(missing[0])!r}. Write it anew."
        )
    return found


def read_share(file: Path) -> Float32:
    """A 16-bit picture of a tree -> (H, W) in [0, 1]. Raises ``InputError`` if it cannot be read."""
    try:
        with Image.open(file) as image:
            if image.mode not in {"I;16", "I"}:
                raise ValueError(f"its mode is {image.mode}, not 16 bits")
            return np.asarray(np.asarray(image, dtype=np.float32) / FULL)
    except (OSError, ValueError) as error:
        raise InputError(f"{str(file)!r} cannot be read ({error}). Write the pseudo-masks anew.") from error


def _is_turned(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return Image.Image.getexif(image).get(ORIENTATION, 1) not in {0, 1}
    except Exception:  # damaged metadata, or a picture that only our own reader knows: nothing says that it is turned
        return False


def _put(file: Path, place: Path, *, upright: bool, copy: bool) -> None:
    if not upright:
        (shutil.copyfile if copy else link)(file, place)
        return
    try:
        pixels = read_photo(PhotoFile(file.name, file)).pixels
    except UnreadablePhoto as error:
        raise InputError(f"{str(file)!r} cannot be read any more: {error}. Restore it, or scan again.") from error
    Image.fromarray(pixels).save(place, compress_level=1)


def _write_pixels(pixels: PixelLabels, photo: PseudoPhoto, name: str, folder: Path) -> None:
    pictures = {
        _mask(photo, name): Image.fromarray(pixels.mask.view(np.uint8) * np.uint8(255)),
        _soft(photo, name): _sixteen_bits(pixels.soft),
        _certainty(photo, name): _sixteen_bits(pixels.confidence),
    }
    for where, picture in pictures.items():
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / where, compress_level=1)


def _sixteen_bits(share: Float32) -> Image.Image:
    return Image.fromarray(np.round(share * FULL).astype(np.uint16))


def _mask(photo: PseudoPhoto, name: str) -> str:
    return f"ground_truth/{photo.kind}/{PurePosixPath(name).stem}_mask.png"


def _soft(photo: PseudoPhoto, name: str) -> str:
    return f"soft/{photo.kind}/{PurePosixPath(name).stem}.png"


def _certainty(photo: PseudoPhoto, name: str) -> str:
    return f"confidence/{photo.kind}/{PurePosixPath(name).stem}.png"


def _names(paths: Iterable[str]) -> dict[str, str]:
    """Path in the run -> name in the tree. Folders become part of the name, since trainers do not look into them, and
    no two stems are the same, not even where capitals make no difference."""
    taken: set[str] = set()
    names = {}
    for path in paths:
        flat = PurePosixPath(path.replace("/", "__"))
        stem = flat.stem
        if len(stem.encode("utf-8", "surrogateescape")) > LONGEST:
            digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
            kept = stem.encode("utf-8", "surrogateescape")[: LONGEST - 13]
            stem = f"{kept.decode(errors='ignore')}~{digest}"
        unique, number = stem, 1
        while unique.casefold() in taken:
            number += 1
            unique = f"{stem}~{number}"
        taken.add(unique.casefold())
        names[path] = f"{unique}{flat.suffix}"
    return names


def _write_table(photos: Iterable[PseudoPhoto], names: dict[str, str], file: Path) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(("image_path", "label", "mask_path"))
        for photo in photos:
            table.writerow((photo.path, photo.kind, _mask(photo, names[photo.path]) if photo.label else ""))


def _facts(labels: PseudoLabels, names: dict[str, str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run": str(labels.run),
        "recipe": asdict(labels.recipe),
        "level": labels.level,
        "meaning": MEANING,
        "ignore_below": IGNORE_WITHIN,
        "counts": {**Counter(photo.kind for photo in labels.photos), "left out": len(labels.left_out)},
        "photos": [_row(photo, names[photo.path]) for photo in labels.photos],
        "left_out": dict(labels.left_out),
    }


def _row(photo: PseudoPhoto, name: str) -> dict[str, Any]:
    row = {**asdict(photo), "file": f"test/{photo.kind}/{name}"}
    if photo.label:
        row |= {"mask": _mask(photo, name), "soft": _soft(photo, name), "pixel_confidence": _certainty(photo, name)}
    return row


def _labelled(tree: Path, row: dict[str, Any]) -> Labelled:
    mask, soft, certainty = (
        tree / row[name] if row["label"] else None for name in ("mask", "soft", "pixel_confidence")
    )
    return Labelled(
        tree / row["file"],
        str(row["path"]),
        bool(row["label"]),
        str(row["kind"]),
        float(row["confidence"]),
        mask,
        soft,
        certainty,
    )
