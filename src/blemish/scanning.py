"""The story of a scan on one page: list -> look at headers -> decode and extract -> match -> score -> result.

Everything here is order of work and words for the user; the arithmetic lives in the rooms it calls.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish import batch_health, machine
from blemish.config import ScanConfig
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.estimate import estimate
from blemish.extraction import Branch, Extracted, extract
from blemish.features.cache import FeatureCache
from blemish.features.registry import Backbone, load_backbone
from blemish.inputs.images import Header, median_aspect, probe, sixteen_bit_ceiling
from blemish.inputs.layouts import Listing, list_photos
from blemish.matching.engine import match
from blemish.matching.store import Budget
from blemish.paths import cache_dir
from blemish.progress import Advance, Progress, Silent
from blemish.result import ColourScale, Photo, Result
from blemish.scoring.fusion import fuse_backbones, mean_maps
from blemish.scoring.mutual import image_scores, msm, neighbours, rscin

__all__ = ["scan"]

SCHEMA = 1  # of run.json
FEWEST = 3  # photos: with two, each is the other's only judge, and who is odd cannot be told
PER_PIXEL = 900  # bytes a pixel of the working size that a network's activations take at their peak

Float32 = npt.NDArray[np.float32]


def scan(
    source: str | Path,
    config: ScanConfig | None = None,
    *,
    progress: Progress | None = None,
    scratch: Path | None = None,
    **options: Any,
) -> Result:
    """Score every photo of a folder against all the others.

    ``source``: a folder (searched recursively), a CSV with a column ``image_path``, or one class of a published data
    set; at least 3 readable photos of one product. ``options`` are fields of ``ScanConfig`` and override ``config``.
    ``scratch``: where arrays go that do not fit the memory budget; by default the system's temporary folder.
    Nothing is written but the feature cache; ``Result.save`` writes a run folder.
    Raises ``InputError``, ``ConfigError``, ``BackboneError`` (all ``UsageError``) or ``RunError``.
    """
    config = _with_options(config or ScanConfig(), options)
    progress = progress or Silent()
    clock = _Clock(progress)
    device, device_reason = machine.choose_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)

    listing = list_photos(Path(source).expanduser())
    headers, unreadable = _probe_all(listing, clock)
    photos = [photo for photo in listing.photos if photo.path in headers]
    ceiling = sixteen_bit_ceiling([photo for photo in photos if headers[photo.path].deep])

    with clock.quiet("loading"):
        backbones = [load_backbone(name.strip(), config.layers, device) for name in config.backbone.split("+")]
        branches = [_branch(backbone, config, headers, device, ceiling) for backbone in backbones]
        budget = _budget(config, branches, scratch or Path(tempfile.gettempdir()))
    for line in _opening(listing, headers, branches, device, device_reason):
        progress.note(line)
    progress.note(estimate(branches, len(photos), budget))

    batch = 1 if device == "cpu" else 16
    with clock.stage("reading photos", len(photos)) as advance:
        extracted = extract(photos, branches, budget, deep_ceiling=ceiling, batch=batch, progress=advance)
    unreadable |= extracted.unreadable
    _require_enough(len(extracted.photos), unreadable, listing)
    for branch in branches:
        if branch.cache:
            branch.cache.prune()

    k = neighbours(config.k, len(extracted.photos))
    pairs = len(extracted.photos) * (len(extracted.photos) - 1) // 2
    passes = sum(len(branch.token_sets) for branch in branches)
    with clock.stage("comparing photos", pairs * passes) as advance:
        scored = [_score_branch(branch, k, budget, advance) for branch in branches]
    grids = fuse_backbones([maps for maps, _ in scored])
    shape = branches[0].shape
    scores = image_scores(grids, shape, config.image_score)
    if config.rscin:
        scores = rscin(scores, np.stack(branches[0].embeddings), config.rscin)

    rows, order = _rank(listing, extracted, scores, headers, unreadable)
    warnings = batch_health.warnings(
        [headers[photo.path] for photo in extracted.photos],
        [photo.path for photo in extracted.photos],
        rows,
        scored[0][1],
        ceiling,
        [branch.cache.broken for branch in branches if branch.cache],
    )
    for warning in warnings:
        progress.note(f"Note: {warning}")
    grids = grids[order]
    scale = ColourScale.of(grids)
    return Result(
        photos=rows,
        grids=grids,
        shape=shape,
        pixels=lambda row: extracted.pixels.read(int(order[row]), int(order[row]) + 1)[0],
        scale=scale,
        warnings=warnings,
        manifest={
            "schema": SCHEMA,
            "blemish": version("blemish"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": str(Path(source).expanduser().resolve()),
            "note": listing.note,
            "config": config.as_dict(),
            "resolved": {
                "k": k,
                "working_size": {"height": shape[0], "width": shape[1]},
                "smallest_flaw_px": batch_health.smallest_flaw(
                    headers, branches[0].shape, branches[0].token_sets[0].grid
                ),
                "device": f"{device}: {device_reason}",
                "deep_ceiling": ceiling,
            },
            "backbones": [_describe(branch) for branch in branches],
            "colour_scale": {"low": scale.low, "high": scale.high},
            "versions": _versions(),
            "counts": {
                "found": len(rows),
                "scored": len(extracted.photos),
                "unreadable": len(unreadable),
                "duplicates": sum(1 for row in rows if row.duplicate_of),
                "from_cache": extracted.from_cache,
            },
            "timings_s": clock.timings,
            "warnings": list(warnings),
        },
    )


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


def _with_options(config: ScanConfig, options: dict[str, Any]) -> ScanConfig:
    try:
        return config.updated(**options)
    except TypeError as error:
        known = ", ".join(config.as_dict())
        raise ConfigError(f"Unknown option among {', '.join(options)}; known are {known}.") from error


def _probe_all(listing: Listing, clock: _Clock) -> tuple[dict[str, Header], dict[str, str]]:
    headers: dict[str, Header] = {}
    unreadable: dict[str, str] = {}
    with clock.quiet("listing"):
        for photo in listing.photos:
            try:
                headers[photo.path] = probe(photo)
            except UnreadablePhoto as error:
                unreadable[photo.path] = str(error)
    _require_enough(len(headers), unreadable, listing)
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


def _branch(backbone: Backbone, config: ScanConfig, headers: dict[str, Header], device: str, ceiling: int) -> Branch:
    facts = backbone.facts
    branch = Branch(
        backbone=backbone,
        shape=_working_shape(config, facts.size, facts.patch, headers),
        radii=config.radii or facts.radii,
        join=facts.join if config.join is None else config.join,
        device=device,
    )
    if config.cache:
        branch.cache = FeatureCache(cache_dir(), branch.cache_settings(ceiling))
    return branch


def _working_shape(config: ScanConfig, size: int, patch: int, headers: dict[str, Header]) -> tuple[int, int]:
    """(height, width): the area of a ``size`` square in the batch's median aspect ratio, in whole patches."""
    size = config.size or size
    aspect = median_aspect(headers.values()) if config.fit == "keep" else 1.0
    aspect = min(max(aspect, 1 / 8), 8)  # a batch of ribbons still gets some width
    height, width = size * aspect**0.5, size / aspect**0.5
    return max(4, round(height / patch)) * patch, max(4, round(width / patch)) * patch


def _budget(config: ScanConfig, branches: Sequence[Branch], scratch: Path) -> Budget:
    """What of ``--memory`` is left once the interpreter, the weights and the network's activations have theirs."""
    total = config.memory or machine.available_memory() // 2
    activations = max(branch.shape[0] * branch.shape[1] for branch in branches) * PER_PIXEL
    left = total - machine.resident_memory() - activations
    if left < 2**26:
        needed = (total - left + 2**27) / 2**20
        raise ConfigError(
            f"{total / 2**20:.0f} MiB of memory are too little for {config.backbone} at "
            f"{branches[0].shape[1]} x {branches[0].shape[0]} pixels: allow --memory {needed:.0f}MiB or reduce --size."
        )
    return Budget(left, scratch)


def _opening(
    listing: Listing, headers: dict[str, Header], branches: Sequence[Branch], device: str, reason: str
) -> Iterator[str]:
    yield f"{len(headers)} photos in {listing.root}" + (f" ({listing.note})" if listing.note else "")
    for branch in branches:
        name, (height, width) = branch.backbone.facts.name, branch.shape
        layers = ", ".join(map(str, branch.backbone.layers))
        yield f"{name} at {width} x {height} pixels, layers {layers}; {device}: {reason}"


def _score_branch(branch: Branch, k: int, budget: Budget, advance: Advance) -> tuple[Float32, Float32]:
    """Maps (B, h, w) of one backbone, and the mean distance (B, B) between its photos."""
    maps = []
    images = branch.token_sets[0].store.shape[0]
    between = np.zeros((images, images), dtype=np.float32)
    for tokens in branch.token_sets:
        table = match(tokens.store, budget, progress=advance)
        grids = np.empty((images, *tokens.grid), dtype=np.float32)
        for i in range(images):
            nearest = table.row(i)
            grids[i] = msm(nearest, k).reshape(tokens.grid)
            between[i] += nearest.mean(axis=1) / len(branch.token_sets)
        budget.release(table.store)
        budget.release(tokens.store)
        maps.append(grids)
    np.fill_diagonal(between, 0)
    return mean_maps(maps), between


def _rank(
    listing: Listing,
    extracted: Extracted,
    scores: Float32,
    headers: dict[str, Header],
    unreadable: dict[str, str],
) -> tuple[tuple[Photo, ...], npt.NDArray[np.intp]]:
    """Rows of the result, most anomalous first, unreadable last; and the order of the scored ones."""
    order = np.argsort(-scores, kind="stable")
    ascending = np.sort(scores)
    firsts: dict[str, str] = {}
    duplicate_of = {}
    for photo, digest in zip(extracted.photos, extracted.sha256, strict=True):
        first = firsts.setdefault(digest, photo.path)
        duplicate_of[photo.path] = "" if first == photo.path else first
    rows = []
    for rank, at in enumerate(order, start=1):
        path = extracted.photos[at].path
        not_higher = int(np.searchsorted(ascending, scores[at], side="right"))
        rows.append(
            Photo(
                path=path,
                status="ok",
                score=float(scores[at]),
                rank=rank,
                percentile=round(100 * not_higher / len(scores), 2),
                width=headers[path].width,
                height=headers[path].height,
                duplicate_of=duplicate_of[path],
            )
        )
    rows += [
        Photo(path=photo.path, status="unreadable", reason=unreadable[photo.path])
        for photo in listing.photos
        if photo.path in unreadable
    ]
    return tuple(rows), order


def _describe(branch: Branch) -> dict[str, Any]:
    facts = branch.backbone.facts
    return {
        "name": facts.name,
        "source": facts.source,
        "licence": facts.licence,
        "weights_sha256": branch.backbone.weights_sha256,
        "layers": list(branch.backbone.layers),
        "working_size": {"height": branch.shape[0], "width": branch.shape[1]},
        "radii": list(branch.radii),
        "join": branch.join,
        "grids": [list(tokens.grid) for tokens in branch.token_sets],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "pillow", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
