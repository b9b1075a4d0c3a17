"""The story of a scan on one page: list -> look at headers -> decode and extract -> match -> score -> result.

Everything here is order of work and words for the user; the arithmetic lives in the rooms it calls.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish import batch_health, machine, manifest, run_cache
from blemish.comparing import Compared, compare, match_all
from blemish.config import ScanConfig, with_options
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.estimate import estimate
from blemish.extraction import Branch, Extracted, extract, largest_shape
from blemish.family_facts import family_of
from blemish.features.cache import FeatureCache
from blemish.features.registry import Backbone, load_backbone
from blemish.inputs.images import Header, PhotoFile, median_aspect, probe, sixteen_bit_ceiling
from blemish.inputs.layouts import Listing, list_photos
from blemish.matching.store import Budget
from blemish.paths import cache_dir
from blemish.progress import Advance, Progress, Silent
from blemish.result import ColourScale, Decision, Photo, Result, ranked

__all__ = ["scan"]

FEWEST = 3  # photos: with two, each is the other's only judge, and who is odd cannot be told
PER_PIXEL = 900  # bytes a pixel of the working size that a network's activations take at their peak
PER_DECODED_PIXEL = 10  # bytes: the decoder's own buffer, the array and a copy while converting or turning
LEAST_FOR_ARRAYS = 2**26

Float32 = npt.NDArray[np.float32]


def scan(
    source: str | Path,
    config: ScanConfig | None = None,
    *,
    progress: Progress | None = None,
    scratch: Path | None = None,
    decisions: Sequence[Decision] = (),
    **options: Any,
) -> Result:
    """Score every photo of a folder against all the others.

    ``source``: a folder (searched recursively), a CSV with a column ``image_path``, or one class of a published data
    set; at least 3 readable photos of one product. ``options`` are fields of ``ScanConfig`` and override ``config``.
    ``decisions``: what was said about families before, see ``blemish.decisions``; families are recognised by their
    photos' bytes or their look.
    ``scratch``: where arrays go that do not fit the memory budget; by default the system's temporary folder.
    Nothing is written but the feature cache; ``Result.save`` writes a run folder.
    Raises ``InputError``, ``ConfigError``, ``BackboneError`` (all ``UsageError``) or ``RunError``.
    """
    config = with_options(config or ScanConfig(), options)
    progress = progress or Silent()
    clock = _Clock(progress)
    with _threads(config.threads):
        plan = _plan(Path(source).expanduser(), config, scratch or Path(tempfile.gettempdir()), clock)
        for line in plan.opening():
            progress.note(line)
        progress.note(estimate(plan.branches, len(plan.photos), plan.budget, config.families.rule != "off"))
        with clock.stage("reading photos", len(plan.photos)) as advance:
            extracted = extract(
                plan.photos,
                plan.branches,
                plan.budget,
                deep_ceiling=plan.deep_ceiling,
                batch=1 if plan.device == "cpu" else 16,
                decoders=plan.decoders,
                progress=advance,
            )
        plan.unreadable |= extracted.unreadable
        _require_enough(len(extracted.photos), plan.unreadable, plan.listing)
        progress.note(plan.sees())
        compared = _compare(plan, extracted, decisions, clock)
    return replace(_result(plan, extracted, compared, clock, progress), decisions=tuple(decisions))


@dataclass
class _Plan:
    """Everything that is settled before the first photo is decoded."""

    source: Path
    config: ScanConfig
    listing: Listing
    headers: dict[str, Header]  # of the photos whose header can be read
    unreadable: dict[str, str]  # path -> reason
    deep_ceiling: int  # white level of 16-bit photos
    device: str
    device_reason: str
    branches: list[Branch]
    decoders: int  # photos that are decoded at the same time
    budget: Budget

    @property
    def photos(self) -> list[PhotoFile]:
        return [photo for photo in self.listing.photos if photo.path in self.headers]

    def opening(self) -> Iterator[str]:
        """What is about to be done, for the user."""
        note = f" ({self.listing.note})" if self.listing.note else ""
        yield f"{len(self.headers)} photos in {self.listing.root}{note}"
        for branch in self.branches:
            name, (height, width) = branch.backbone.facts.name, branch.shape
            layers = ", ".join(map(str, branch.backbone.layers))
            yield f"{name} at {width} x {height} pixels, layers {layers}; {self.device}: {self.device_reason}"

    def sees(self) -> str:
        """The smallest flaw, for the user; known once tokens are."""
        extent = batch_health.smallest_flaw(self.headers, self.branches[0].token_sets[0].grid)
        side = (self.branches[0].shape[0] * self.branches[0].shape[1]) ** 0.5
        twice = 64 * round(side / 32)
        return f"Flaws under about {extent} pixels are likely to be missed; --size {twice} sees half of that, slower"


def _plan(source: Path, config: ScanConfig, scratch: Path, clock: _Clock) -> _Plan:
    device, device_reason = machine.choose_device(config.device)
    with clock.quiet("listing"):
        listing = list_photos(source)
        headers, unreadable = _probe_all(listing)
        _require_enough(len(headers), unreadable, listing)
        deep = [photo for photo in listing.photos if photo.path in headers and headers[photo.path].deep]
        ceiling = sixteen_bit_ceiling(deep)
    with clock.quiet("loading"):
        backbones = [load_backbone(name.strip(), config.layers, device) for name in config.backbone.split("+")]
        branches = [_branch(backbone, config, headers, device) for backbone in backbones]
        if config.cache:
            for branch in branches:
                settings = branch.cache_settings(largest_shape(branches), ceiling)
                branch.cache = FeatureCache(cache_dir(), settings)
        decoders, budget = _budget(config, branches, headers, scratch)
    return _Plan(
        source=source,
        config=config,
        listing=listing,
        headers=headers,
        unreadable=unreadable,
        deep_ceiling=ceiling,
        device=device,
        device_reason=device_reason,
        branches=branches,
        decoders=decoders,
        budget=budget,
    )


def _compare(plan: _Plan, extracted: Extracted, decisions: Sequence[Decision], clock: _Clock) -> Compared:
    """Compare all photos, find families and score; tables and tokens are released on the way."""
    config, images = plan.config, len(extracted.photos)
    passes = sum(len(branch.token_sets) for branch in plan.branches)
    with clock.stage("comparing photos", images * (images - 1) // 2 * passes) as advance:
        tables = match_all(plan.branches, plan.budget, config.families.rule != "off", advance)
    with clock.stage("finding families" if config.families.rule != "off" else "scoring", passes) as advance:
        return compare(plan.branches, extracted, tables, config, plan.budget, decisions, advance)


def _result(plan: _Plan, extracted: Extracted, compared: Compared, clock: _Clock, progress: Progress) -> Result:
    rows, order = _rows(plan, extracted, compared)
    paths = [photo.path for photo in extracted.photos]
    cache_problems = [branch.cache.broken for branch in plan.branches if branch.cache]
    warnings = batch_health.warnings(
        [plan.headers[path] for path in paths], paths, rows, compared.between, cache_problems
    ) + batch_health.white_level(plan.headers.values(), plan.deep_ceiling, extracted.clipped)
    for warning in warnings:
        progress.note(f"Note: {warning}")
    for branch in plan.branches:
        if branch.cache:
            branch.cache.prune()
    first = plan.branches[0]
    grids = compared.grids[order]
    scale = ColourScale.of(grids)
    return Result(
        photos=rows,
        grids=grids,
        shape=first.shape,
        pixels=lambda row: extracted.pixels.read(int(order[row]), int(order[row]) + 1)[0],
        families=compared.families,
        diagnosis=compared.diagnosis,
        keep=partial(run_cache.write, extracted.paths, compared.rescoring, compared.looks, extracted.pixels)
        if compared.families
        else None,
        scale=scale,
        warnings=warnings,
        manifest=manifest.build(
            source=str(plan.source.resolve()),
            note=plan.listing.note,
            config=plan.config,
            resolved={
                "k": compared.k,
                "working_size": {"height": first.shape[0], "width": first.shape[1]},
                "smallest_flaw_px": batch_health.smallest_flaw(plan.headers, first.token_sets[0].grid),
                "families_searched": compared.searched,
                "device": f"{plan.device}: {plan.device_reason}",
                "deep_ceiling": plan.deep_ceiling,
            },
            branches=plan.branches,
            scale=scale,
            photos=rows,
            from_cache=extracted.from_cache,
            timings=clock.timings,
            warnings=warnings,
        ),
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Use ``count`` threads for a while; the caller's setting comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Clock:
    """Times the stages while they are shown."""

    def __init__(self, progress: Progress) -> None:
        self.timings: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        start = time.perf_counter()
        with self._progress.stage(name, total) as advance:
            yield advance
        self.timings[name] = round(time.perf_counter() - start, 3)

    @contextmanager
    def quiet(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings[name] = round(time.perf_counter() - start, 3)


def _probe_all(listing: Listing) -> tuple[dict[str, Header], dict[str, str]]:
    """Headers of the photos, and the reasons of those that have none: path -> header, path -> reason."""
    headers: dict[str, Header] = {}
    unreadable: dict[str, str] = {}
    for photo in listing.photos:
        try:
            headers[photo.path] = probe(photo)
        except UnreadablePhoto as error:
            unreadable[photo.path] = str(error)
        except Exception as error:  # whatever a decoder has not foreseen: one file never ends a scan
            unreadable[photo.path] = f"damaged: {error}"
    return headers, unreadable


def _require_enough(readable: int, unreadable: dict[str, str], listing: Listing) -> None:
    if readable >= FEWEST:
        return
    first = next(iter(unreadable.items()), None)
    detail = f" ({len(unreadable)} cannot be read, first {first[0]}: {first[1]})" if first else ""
    raise InputError(
        f"{readable} readable photo{'' if readable == 1 else 's'} in {str(listing.root)!r}{detail}; at least {FEWEST} "
        "are needed: photos are judged by comparing them with each other, and of two nobody can say which is odd."
    )


def _branch(backbone: Backbone, config: ScanConfig, headers: dict[str, Header], device: str) -> Branch:
    facts = backbone.facts
    return Branch(
        backbone=backbone,
        shape=_working_shape(config, facts.size, facts.patch, headers),
        radii=config.radii or facts.radii,
        join=facts.join if config.join is None else config.join,
        device=device,
    )


def _working_shape(config: ScanConfig, size: int, patch: int, headers: dict[str, Header]) -> tuple[int, int]:
    """(height, width): the area of a ``size`` square in the batch's median aspect ratio, in whole patches."""
    size = config.size or size
    aspect = median_aspect(headers.values()) if config.fit == "keep" else 1.0
    aspect = min(max(aspect, 1 / 8), 8)  # a batch of ribbons still gets some width
    height, width = size * aspect**0.5, size / aspect**0.5
    return max(4, round(height / patch)) * patch, max(4, round(width / patch)) * patch


def _budget(
    config: ScanConfig, branches: Sequence[Branch], headers: dict[str, Header], scratch: Path
) -> tuple[int, Budget]:
    """How many photos to decode at once, and what of ``--memory`` is left for arrays once the interpreter, the
    weights, the network's activations and the decoders have theirs."""
    total = config.memory or machine.available_memory() // 2
    activations = max(branch.shape[0] * branch.shape[1] for branch in branches) * PER_PIXEL
    largest = max(headers.values(), key=lambda header: header.width * header.height)
    decoding = largest.width * largest.height * PER_DECODED_PIXEL
    left = total - machine.resident_memory() - activations
    decoders = 2 if 2 * decoding < left // 4 else 1
    left -= decoders * decoding
    if left < LEAST_FOR_ARRAYS:
        needed = (total - left + LEAST_FOR_ARRAYS) / 2**20
        raise ConfigError(
            f"{total / 2**20:.0f} MiB of memory are too little for {config.backbone} at "
            f"{branches[0].shape[1]} x {branches[0].shape[0]} pixels and photos of {largest.width} x {largest.height}: "
            f"allow --memory {needed:.0f}MiB or reduce --size."
        )
    return decoders, Budget(left, scratch)


def _rows(plan: _Plan, extracted: Extracted, compared: Compared) -> tuple[tuple[Photo, ...], npt.NDArray[np.intp]]:
    """Rows of the result, most anomalous first, unreadable last; and the order of the scored ones."""
    firsts: dict[str, str] = {}
    photos = []
    for photo, digest in zip(extracted.photos, extracted.sha256, strict=True):
        first = firsts.setdefault(digest, photo.path)
        header = plan.headers[photo.path]
        photos.append(
            Photo(
                path=photo.path,
                status="ok",
                width=header.width,
                height=header.height,
                duplicate_of="" if first == photo.path else first,
            )
        )
    rows, order = ranked(photos, compared.scores, family_of(compared.families))
    rows += [
        Photo(path=photo.path, status="unreadable", reason=plan.unreadable[photo.path])
        for photo in plan.listing.photos
        if photo.path in plan.unreadable
    ]
    return tuple(rows), order
