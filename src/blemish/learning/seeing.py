"""The frozen tower sees the photos of all sources once, and what it says is kept with their labels and pixels.

It joins sources to a training set and settles size and memory before; nothing of what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from blemish import machine
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.extraction import Branch, Failed, each
from blemish.features.cache import LIMIT, FeatureCache
from blemish.features.clip import ClipPair
from blemish.inputs.images import Header, PhotoFile, probe, sixteen_bit_ceiling
from blemish.learning.prompt_view import PromptModel, view
from blemish.learning.sources import Source, require_both
from blemish.learning.training_set import Filling, TrainingSet
from blemish.matching.store import Budget
from blemish.paths import cache_dir
from blemish.progress import Progress

__all__ = ["Room", "SeenPhotos", "room_for", "see", "working_size"]

PUBLISHED = 518  # pixels a side
LEAST_NATIVE = 224  # pixels that a CLIP must have been trained on for that; smaller ones are seen at their own
PER_PIXEL = 100  # bytes a layer and photo of a batch, for maps, losses and gradients (80 to 88 measured)
PER_CHANNEL = 8  # bytes a token of the same, for patches before and after the layer that is learned (8 measured)
PER_DECODED_PIXEL = 10  # bytes, as a scan reckons with
LEAST_FOR_ARRAYS = 2**26
GPU_BATCH = 16  # photos a call


@dataclass(frozen=True)
class Room:
    """Memory for what is kept, and how many photos are decoded at the same time beside that."""

    budget: Budget
    decoders: int


@dataclass(frozen=True)
class SeenPhotos:
    """``unreadable``: path -> why. ``again``: photos whose bytes had been seen before; each counts once, or one that is
    held out would have been learned from. ``disputed``: those of them that had the other label then."""

    data: TrainingSet
    unreadable: dict[str, str]
    again: int
    disputed: int


def working_size(asked: int | None, pair: ClipPair) -> tuple[int, int]:
    """(H, W): a square of whole patches, to which photos are stretched, as published."""
    native, patch = pair.facts.native, pair.facts.patch
    side = asked or (PUBLISHED if native >= LEAST_NATIVE else native)
    side = max(1, round(side / patch)) * patch
    return side, side


def room_for(
    sources: Sequence[Source], memory: int | None, model: PromptModel, size: tuple[int, int], batch: int, scratch: Path
) -> Room:
    """``memory``: bytes in all, None takes half of what is free; ``batch``: photos a step; ``scratch``: a folder for
    what does not fit. Raises ``ConfigError`` if it is too little."""
    total = memory or machine.available_memory() // 2
    pixels = size[0] * size[1]
    tokens = pixels // model.pair.facts.patch**2
    in_step = pixels * PER_PIXEL + tokens * sum(model.pair.vision.proj.shape) * PER_CHANNEL
    in_step *= batch * len(model.settings.layers)
    sizes = [_header(item.photo) for source in sources for item in source.items]
    decoding = max((one.width * one.height for one in sizes if one), default=0) * PER_DECODED_PIXEL
    left = total - machine.resident_memory() - max(pixels * view(model).facts.activations, in_step)
    decoders = 2 if 2 * decoding < left // 4 else 1
    left -= decoders * decoding
    if left < LEAST_FOR_ARRAYS:
        needed = (total - left + LEAST_FOR_ARRAYS) / 2**20
        raise ConfigError(
            f"{total / 2**20:.0f} MiB of memory are too little to train at {size[1]} x {size[0]} pixels with batches "
            f"of {batch} photos: allow --memory {needed:.0f}MiB, or reduce --size or --batch."
        )
    return Room(Budget(left, scratch), decoders)


def see(
    model: PromptModel,
    sources: Sequence[Source],
    size: tuple[int, int],
    room: Room,
    *,
    device: str,
    cache: bool,
    progress: Progress,
) -> SeenPhotos:
    """One stage, a step a photo. ``cache``: take features from the user's cache, and leave them there.

    Raises ``InputError`` if a mask cannot be read, or no good or no defective photo is left."""
    photos = sum(len(source.items) for source in sources)
    filling, unreadable = Filling(photos, size, room.budget), {}
    known: dict[str, bool] = {}  # digest -> label
    again = disputed = 0
    eyes = Branch(view(model, size[0]), size, radii=(), join=False, device=device)
    kept: list[Source] = []
    with progress.stage("seeing photos", photos) as advance:
        for number, source in enumerate(sources):
            files = [item.photo for item in source.items]
            ceiling = sixteen_bit_ceiling([photo for photo in files if (one := _header(photo)) and one.deep])
            stored = FeatureCache(cache_dir(), eyes.cache_settings(size, ceiling)) if cache else None
            if stored and not number:  # what a training that goes on will need again is not thrown out
                stored.prune(max(LIMIT, 2 * photos * _bytes_a_photo(model, size)))
            branch = replace(eyes, cache=stored)
            batch = 1 if device == "cpu" else GPU_BATCH
            steps = each(files, [branch], room.budget, deep_ceiling=ceiling, batch=batch, decoders=room.decoders)
            readable = []
            with closing(steps):
                for item, done in zip(source.items, steps, strict=True):
                    if isinstance(done, Failed):
                        unreadable[str(item.photo.file)] = done.reason
                    elif done.ready.sha256 in known:
                        again += 1
                        disputed += known[done.ready.sha256] != item.label
                    else:
                        known[done.ready.sha256] = item.label
                        readable.append(item)
                        (seen,) = done.seen
                        filling.add(
                            seen.grids,
                            seen.embedding,
                            label=item.label,
                            pixels=item.pixels(size),
                            confidence=item.confidence,
                            words=source.words,
                            group=number,
                        )
                    advance(1)
            kept.append(replace(source, items=tuple(readable)))
    try:
        require_both(kept)
    except InputError as error:
        why = ""
        if unreadable:
            first, reason = next(iter(unreadable.items()))
            why = f" {len(unreadable)} photos cannot be read, first {first!r}: {reason}."
        if disputed:
            why += f" {disputed} are good in one source and defective in another; the first source counts."
        raise InputError(f"{error}{why}") from error
    return SeenPhotos(filling.done(), unreadable, again, disputed)


def _bytes_a_photo(model: PromptModel, size: tuple[int, int]) -> int:
    """Of its features, in half precision."""
    vision, facts = model.pair.vision, model.pair.facts
    channels = max(len(vision.class_embedding), vision.proj.shape[1])
    return 2 * channels * len(model.settings.layers) * (size[0] // facts.patch) * (size[1] // facts.patch)


def _header(photo: PhotoFile) -> Header | None:
    try:
        return probe(photo)
    except UnreadablePhoto:
        return None
    except Exception:  # what no decoder has foreseen: it is told when its turn comes
        return None
