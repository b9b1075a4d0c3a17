"""Where a prompt model can learn from: a finished run, a folder of pseudo-masks, or photos whose truth is known.

It knows folders and what their photos are labelled; nothing of models. Pixels are made when they are asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from blemish import verdict_file
from blemish.errors import InputError
from blemish.extending import Earlier
from blemish.inputs.images import PhotoFile
from blemish.inputs.layouts import list_photos
from blemish.inputs.truth import Truth, fit_mask, read_mask, read_truth
from blemish.learning import pseudo_tree
from blemish.learning.pseudo_calls import Recipe
from blemish.learning.pseudo_masks import PixelLabels, pixel_labels, pseudo_labels
from blemish.paths import RUN_MANIFEST, RUN_VERDICT
from blemish.sinks.families import read as read_families

__all__ = ["Item", "Kind", "Source", "read_source", "require_both"]

Kind = Literal["run", "tree", "truth"]
Shape = tuple[int, int]
Float32 = npt.NDArray[np.float32]

EXPECTED = (
    "Give a finished run, a folder of pseudo-masks, or photos whose truth is known: a tree with test/good, "
    "test/<defect> and ground_truth/<defect>, one class of VisA, or a CSV with the columns image_path, label and "
    "mask_path"
)
LONGEST = 200  # characters of what was typed, in messages
NAMELESS = {"data", "images", "imgs", "labels", "photos", "test", "train", "truth"}  # names that say nothing


@dataclass(frozen=True, slots=True)
class Item:
    """One photo. ``confidence``: 0 = the label could as well be wrong, 1 = sure. ``pixels``: what is known of them at
    a size (H, W) that the photo is stretched to, None for a good one, where all are sure to be sound."""

    photo: PhotoFile
    label: bool  # True = defective
    confidence: float
    pixels: Callable[[Shape], PixelLabels | None]


@dataclass(frozen=True)
class Source:
    """``words``: what the photos show. ``left_out``: path -> why. ``notes``: what a user should know before trusting
    it."""

    words: str
    path: Path
    kind: Kind
    items: tuple[Item, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def defective(self) -> int:
        return sum(item.label for item in self.items)


def read_source(text: str, recipe: Recipe | None = None) -> Source:
    """``text``: a path, or ``metal nut=PATH``; without words the scanned folder's name is taken. ``recipe``: how a run
    becomes masks; those of a folder are made already.

    Raises ``InputError`` if there is no such place, or it is none of the three, or a run from which nothing can be
    learned."""
    words, _, place = text.partition("=")
    if not place or _exists(text):
        words, place = "", text
    if not _exists(place):
        raise InputError(f"There is no {place[:LONGEST]!r}. {EXPECTED}.")
    path = Path(place).expanduser().resolve()
    if (path / RUN_MANIFEST).is_file():
        return _of_run(path, words.strip(), recipe)
    if (path / pseudo_tree.FACTS).is_file():
        return _of_tree(path, words.strip())
    return _of_truth(path, words.strip())


def require_both(sources: Sequence[Source]) -> None:
    """Raises ``InputError`` unless there are defective and good photos in ``sources`` together."""
    defective = sum(source.defective for source in sources)
    good = sum(len(source.items) for source in sources) - defective
    if defective and good:
        return
    names = ", ".join(repr(str(source.path)) for source in sources)
    lacking, why = ("good", "tells a defect from the part itself") if defective else ("defective", "can be learned")
    hint = "Give more sources."
    if not defective and any(source.kind == "run" for source in sources):
        hint = (
            "Give more sources, decide about the families of a run, or say how many defects to expect in it: "
            "`blemish verdict RUN --expect-defects 5%`"
        )
    raise InputError(f"No photo in {names} is {lacking} ({defective} defective, {good} good), so nothing {why}. {hint}")


def _of_run(path: Path, words: str, recipe: Recipe | None) -> Source:
    labels = pseudo_labels(path, recipe, both=False)  # what one run lacks, another may have
    earlier = Earlier.read(path, to="learned from")
    earlier.require_all()

    def pixels(of: str, shape: Shape) -> PixelLabels:
        return pixel_labels(labels.grids[of], shape, labels.level, labels.recipe)

    items = tuple(
        Item(
            PhotoFile(photo.path, earlier.files[photo.path]),
            photo.label,
            photo.confidence,
            partial(pixels, photo.path) if photo.label else _nothing,
        )
        for photo in labels.photos
    )
    notes = []
    if verdict_file.read(path / RUN_VERDICT).estimated.at_least:
        notes.append(
            f"{path.name}: good and bad scores overlap, so more photos may be defective than are called so; some of "
            "those learned as good may be"
        )
    if asked := sum(bool(family.asks) for family in read_families(path / "families.json")):
        wait = "families wait" if asked > 1 else "family waits"
        notes.append(f"{path.name}: {asked} {wait} for a decision (blemish decide); they teach nothing yet")
    return _source(words or _named(earlier.source), path, "run", items, labels.left_out, notes)


def _of_tree(path: Path, words: str) -> Source:
    def pixels(one: pseudo_tree.Labelled, shape: Shape) -> PixelLabels:
        assert one.mask and one.soft and one.certainty
        soft, sure = (_fitted(pseudo_tree.read_share(file), shape) for file in (one.soft, one.certainty))
        return PixelLabels(fit_mask(read_mask(one.mask), shape), soft, sure)

    items = tuple(
        Item(PhotoFile(one.path, one.photo), one.label, one.confidence, partial(pixels, one) if one.label else _nothing)
        for one in pseudo_tree.read(path)
    )
    return _source(words or _named(_run_of(path)), path, "tree", items, {}, [])


def _of_truth(path: Path, words: str) -> Source:
    def pixels(mask: Path, shape: Shape) -> PixelLabels:
        hard = fit_mask(read_mask(mask), shape)
        return PixelLabels(hard, hard.astype(np.float32), np.ones(shape, np.float32))

    try:
        listing = list_photos(path)
        paths = [photo.path for photo in listing.photos]
        truth = _of_visa(listing.root, paths) or read_truth(path, paths)
    except InputError as error:
        raise InputError(f"{str(path)!r} says nothing that could be learned: {error} {EXPECTED}.") from error
    items, left_out = [], {}
    for photo in map(_beside_photos, listing.photos):
        known = truth.get(photo.path)
        if not photo.file.is_file():
            left_out[photo.path] = f"there is no such file: {photo.file}"
        elif known is None:
            left_out[photo.path] = "its truth is not known"
        elif known.label and known.mask is None:
            left_out[photo.path] = "defective, but nobody has drawn where"
        else:
            items.append(Item(photo, known.label, 1.0, partial(pixels, known.mask) if known.mask else _nothing))
    return _source(words or _named(path), path, "truth", tuple(items), left_out, [])


def _beside_photos(photo: PhotoFile) -> PhotoFile:
    """What `blemish synth` and others write: a CSV beside the folder ``photos``, with paths in that folder."""
    parts = PurePosixPath(photo.path).parts
    above = photo.file.parents[len(parts) - 1] if len(parts) <= len(photo.file.parents) else photo.file.parent
    other = above / "photos" / photo.path
    return PhotoFile(photo.path, other) if not photo.file.exists() and other.is_file() else photo


def _of_visa(root: Path, paths: Sequence[str]) -> dict[str, Truth]:
    """The truth of one class of VisA, by path: Data/Images/{Normal,Anomaly}, Data/Masks/Anomaly; else nothing."""
    found: dict[str, Truth] = {}
    for path in paths:
        *above, images, kind, _ = ("", "", *PurePosixPath(path).parts)
        if images != "Images" or kind not in {"Normal", "Anomaly"}:
            return {}
        mask = root.joinpath(*above, "Masks", "Anomaly", f"{PurePosixPath(path).stem}.png")
        drawn = mask if kind == "Anomaly" and mask.is_file() else None
        found[path] = Truth(kind == "Anomaly", kind.lower(), drawn)
    return found


def _source(
    words: str, path: Path, kind: Kind, items: tuple[Item, ...], left_out: Mapping[str, str], notes: list[str]
) -> Source:
    source = Source(words, path, kind, items, left_out, ())
    counts = f"{source.defective} defective, {len(items) - source.defective} good, {len(left_out)} left out"
    said = {"run": "a run", "tree": "pseudo-masks", "truth": "known truth"}[kind]
    return Source(words, path, kind, items, left_out, (f"{words} ({path.name}, {said}): {counts}", *notes))


def _run_of(tree: Path) -> Path:
    """What was scanned for the pseudo-masks in ``tree``: the run may be gone, but its name says it."""
    try:
        run = Path(json.loads((tree / pseudo_tree.FACTS).read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return tree
    try:
        return Earlier.read(run).source
    except InputError:
        return run.with_name(run.name.removesuffix("-blemish") or run.name)


def _named(scanned: Path) -> str:
    """ "bottle" for .../bottle, .../bottle/test, .../bottle.csv and .../bottle/truth.csv."""
    folders = [scanned.with_suffix("") if scanned.suffix.lower() == ".csv" else scanned, *scanned.parents]
    names = [folder.name for folder in folders if folder.name and folder.name.lower() not in NAMELESS]
    return (names[0] if names else "object").replace("_", " ")


def _exists(place: str) -> bool:
    return os.path.exists(os.path.expanduser(place))  # noqa: PTH110, PTH111 - Path's raise for names that cannot be


def _nothing(_: Shape) -> None:
    return None


def _fitted(share: Float32, shape: Shape) -> Float32:
    """(h, w) -> (H, W), antialiased."""
    resized = F.interpolate(torch.from_numpy(share)[None, None], shape, mode="bilinear", antialias=True)
    return np.asarray(resized[0, 0].clamp(0, 1).numpy())
