"""The story of a scan of volumes on one page: list -> look at each: brain, box -> one frame for all (or each
registered to one) -> tokens -> cells against cells near their own place -> families, scores -> verdict -> result.

The rooms that score and judge are those of photos; only how tokens are made and compared is another. The arithmetic
lives in the rooms it calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish import machine, manifest, run_cache, verdict_file, volume_file
from blemish.comparing import Compared, ComparedPart, compare, searched, together
from blemish.config import PHOTOS_ONLY, ScanConfig
from blemish.errors import ConfigError, InputError
from blemish.extraction import Branch
from blemish.family_facts import excluded, family_of
from blemish.features.registry import load_backbone
from blemish.inputs.volume_checks import Placing, differences, other_scanners, place
from blemish.inputs.volume_grid import Box
from blemish.inputs.volume_layouts import VolumeListing, find_brain_masks, find_volumes
from blemish.inputs.volume_register import require_library
from blemish.judging import estimate_of, judged_volumes, seed_level
from blemish.matching.engine import NearestTable, match
from blemish.matching.nearby import match_nearby
from blemish.matching.store import Budget
from blemish.paths import RUN_CACHE, RUN_VERDICT, RUN_VOLUMES
from blemish.progress import Progress
from blemish.result import ColourScale, Decision, Photo, Result, ranked
from blemish.scoring.mutual import neighbours
from blemish.stages import Clock, threads
from blemish.volume_aligning import aligned
from blemish.volume_estimate import estimated, room
from blemish.volume_extraction import Looked, SeenVolumes, look, open_cache, see
from blemish.volume_space import Volumes

__all__ = ["scan_volumes"]

Float32 = npt.NDArray[np.float32]

FEWEST = 3  # volumes: with two, each is the other's only judge
SHARE = 0.1  # of the other volumes that vote, as published for volumes: of a dozen the nearest alone


@dataclass(frozen=True)
class _Batch:
    """Volumes that were looked at, in the order of the listing."""

    listing: VolumeListing
    looked: list[Looked]
    placing: Placing
    unreadable: dict[str, str]  # path -> reason
    differences: list[str]


def scan_volumes(
    source: Path, config: ScanConfig, progress: Progress, scratch: Path, decisions: Sequence[Decision] = ()
) -> Result:
    """Compare every volume of a folder with all the others. Arguments and errors as for ``scanning.scan``."""
    _check(config)
    clock = Clock(progress)
    with threads(config.threads):
        with clock.quiet("listing and loading"):
            listing = find_volumes(source, config.volumes.modality)
            if config.volumes.masks is not None:
                listing = find_brain_masks(Path(config.volumes.masks).expanduser(), listing)
            device, device_reason = machine.choose_device(config.device)
            branch = _branch(config, device)
        progress.note(f"{len(listing.volumes)} volumes in {listing.root}{_noted(listing)}")
        side, layers = config.volumes.cube, ", ".join(map(str, branch.backbone.layers))
        progress.note(
            f"{branch.backbone.facts.name} on slices of {side} x {side}, layers {layers}; {device}: {device_reason}"
        )
        batch = _looked(listing, config, clock, progress)
        workers, budget = room(config, branch, batch.looked, scratch)
        progress.note(estimated(branch, config, len(batch.looked), budget, workers))
        if config.volumes.align == "affine":
            batch = _registered(batch, workers, clock, progress)
        seen = _seen(batch, branch, config, budget, workers, clock)
        tables = _tables(branch, seen, config, budget, clock)
        part = _compared(branch, seen, tables, config, budget, clock)
        compared = together(
            [part],
            [branch],
            [one.file.path for one in seen.natives],
            seen.sha256,
            np.stack(seen.embeddings),
            config,
            decisions,
            inside=np.stack([one.inside for one in seen.natives]),
        )
    facts = {"device": f"{device}: {device_reason}", **_facts(batch, config, part)}
    return replace(
        _result(batch, seen, branch, part, compared, config, facts, clock, progress), decisions=tuple(decisions)
    )


def _check(config: ScanConfig) -> None:
    """Raises ``ConfigError`` for what only photos have a use for, ``InputError`` for a library that is missing."""
    usual = ScanConfig()
    unused = [name for name in PHOTOS_ONLY if getattr(config, name) != getattr(usual, name)]
    if unused:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ConfigError(
            f"{options} is for photos, and this folder holds volumes. Leave it out; what sets how finely volumes are "
            "seen is --grid."
        )
    if set(config.exports) - {"masks"}:
        raise ConfigError("--export coco and labelstudio are for photos; masks of volumes are written as NIfTI anyway.")
    if "+" in config.backbone:
        raise ConfigError(f"Volumes are seen with one backbone; received {config.backbone!r}.")
    if config.volumes.align == "affine":
        require_library()


def _branch(config: ScanConfig, device: str) -> Branch:
    backbone = load_backbone(config.backbone.strip(), config.layers, device)
    side = config.volumes.cube
    if side % backbone.facts.patch:
        raise ConfigError(
            f"Slices of {side} pixels do not fit {backbone.facts.name}: set cube in [volumes] to a multiple of "
            f"{backbone.facts.patch} and of --grid."
        )
    branch = Branch(backbone, (side, side), (), config.join is not False, device)
    if config.cache:
        branch.cache = open_cache(branch, config.volumes)
        branch.cache.prune()
    return branch


def _noted(listing: VolumeListing) -> str:
    return f" ({'; '.join(listing.notes)})" if listing.notes else ""


def _looked(listing: VolumeListing, config: ScanConfig, clock: Clock, progress: Progress) -> _Batch:
    """The first look: what can be read, what does not belong here, and one frame for the rest."""
    unreadable: dict[str, str] = {}
    with clock.stage("looking at volumes", len(listing.volumes)) as advance:
        looked = look(listing.volumes, unreadable, torch.get_num_threads(), advance)
    odd = other_scanners([one.facts for one in looked])
    looked = [one for one in looked if one.file.path not in odd]
    unreadable |= odd
    _require_enough(len(looked), unreadable, listing)
    facts = [one.facts for one in looked]
    placing = place(facts, config.volumes.align)
    if config.volumes.align != "affine":  # what that was aligned by is known later
        progress.note(f"Aligned by {placing.reason}")
    return _Batch(listing, looked, placing, unreadable, differences(facts, config.volumes.align))


def _registered(batch: _Batch, workers: int, clock: Clock, progress: Progress) -> _Batch:
    """The same batch, each brain brought to one of them; what could not be is among the differences."""
    boxes = [box for box in batch.placing.boxes if isinstance(box, Box)]
    with clock.stage("registering volumes", 2 * len(batch.looked)) as advance:
        found = aligned(batch.looked, boxes, workers, advance)
    progress.note(f"Aligned by {found.placing.reason}")
    return replace(batch, placing=found.placing, differences=[*batch.differences, *filter(None, [found.warning])])


def _require_enough(count: int, unreadable: dict[str, str], listing: VolumeListing) -> None:
    if count >= FEWEST:
        return
    first = next(iter(unreadable.items()), None)
    detail = f" ({len(unreadable)} cannot be used, first {first[0]}: {first[1]})" if first else ""
    raise InputError(
        f"{count} readable volume{'s' * (count != 1)} in {str(listing.root)!r}{detail}; at least {FEWEST} are needed: "
        "volumes are judged by comparing them with each other."
    )


def _seen(batch: _Batch, branch: Branch, config: ScanConfig, budget: Budget, workers: int, clock: Clock) -> SeenVolumes:
    with clock.stage("reading volumes", len(batch.looked)) as advance:
        seen = see(
            batch.looked, batch.placing.boxes, branch, config.volumes, budget, batch.unreadable, workers, advance
        )
    _require_enough(len(seen.natives), batch.unreadable, batch.listing)
    return seen


def _tables(branch: Branch, seen: SeenVolumes, config: ScanConfig, budget: Budget, clock: Clock) -> list[NearestTable]:
    """Cells against cells: near their own place, or anywhere."""
    count = len(seen.natives)
    inside = np.stack([one.inside.reshape(-1) for one in seen.natives])
    tables = []
    with clock.stage("comparing volumes", count * (count - 1) // 2 * len(branch.token_sets)) as advance:
        for tokens in branch.token_sets:
            if config.volumes.radius < 0:
                tables.append(match(tokens.store, budget, progress=advance))
                continue
            table = match_nearby(
                tokens.store, tokens.grid, budget, radius=config.volumes.radius, inside=inside, progress=advance
            )
            tables.append(table)
    return tables


def _compared(
    branch: Branch, seen: SeenVolumes, tables: list[NearestTable], config: ScanConfig, budget: Budget, clock: Clock
) -> ComparedPart:
    count, radius = len(seen.natives), config.volumes.radius
    share = SHARE if config.k == ScanConfig().k else config.k
    with clock.stage("finding families" if config.families.rule != "off" else "scoring", len(tables)) as advance:
        return compare(
            [branch],
            [one.file.path for one in seen.natives],
            tables,
            config,
            budget,
            k=neighbours(share, count),
            references=count - 1,
            inside=np.stack([one.inside.reshape(-1) for one in seen.natives]),
            radius=None if radius < 0 else radius,
            advance=advance,
        )


def _facts(batch: _Batch, config: ScanConfig, part: ComparedPart) -> dict[str, Any]:
    """What was chosen, for ``run.json``."""
    pairs = zip(batch.placing.boxes, batch.looked, strict=True)
    sides = np.median([box.sides(one.geometry.spacing) for box, one in pairs], axis=0)
    cube = config.volumes.cube
    return {
        "volumes": len(part.scores[0]),
        "k": part.k,
        "image_score": "the mean of its highest thousandth" if config.image_score == "max" else config.image_score,
        "compared_with": len(part.scores[0]) - 1,
        "placing": batch.placing.reason,
        "brain_masks": sorted({one.how for one in batch.looked}),
        "cell_mm": [round(float(side), 2) for side in sides / config.volumes.grid],
        "working_size": {"height": cube, "width": cube, "depth": cube},
        "families_searched": searched(config, len(part.scores[0])),
    }


def _rows(batch: _Batch, seen: SeenVolumes, compared: Compared) -> tuple[list[Photo], npt.NDArray[np.intp]]:
    """Rows of the result, most anomalous first, unreadable ones last; and the order of the scored ones."""
    firsts: dict[str, str] = {}
    photos = []
    for one, digest in zip(seen.natives, seen.sha256, strict=True):
        first = firsts.setdefault(digest, one.file.path)
        x, y, z = one.geometry.shape
        copy = "" if first == one.file.path else first
        photos.append(Photo(one.file.path, "ok", width=x, height=y, depth=z, duplicate_of=copy))
    rows, order = ranked(photos, compared.scores, family_of(compared.families))
    rows += [
        Photo(path=one.path, status="unreadable", reason=batch.unreadable[one.path])
        for one in batch.listing.volumes
        if one.path in batch.unreadable
    ]
    return rows, order


def _result(
    batch: _Batch,
    seen: SeenVolumes,
    branch: Branch,
    part: ComparedPart,
    compared: Compared,
    config: ScanConfig,
    facts: dict[str, Any],
    clock: Clock,
    progress: Progress,
) -> Result:
    rows, order = _rows(batch, seen, compared)
    warnings = _warnings(batch, branch, rows)
    for warning in warnings:
        progress.note(f"Note: {warning}")
    volumes = Volumes(
        {one.file.path: one for one in seen.natives},
        (batch.listing.root / "dataset_description.json").is_file(),
    )
    grids = compared.grids[order]
    scored = rows[: len(order)]
    inside = np.stack([seen.natives[at].inside for at in order])
    # weighed by place, half of the cells are at 0, which says nothing of how usual values spread
    scale = ColourScale.of(grids[inside & (grids > 0)])
    with clock.quiet("deciding"):
        evidence = compared.rescoring.evidence(excluded(compared.families)).ordered(order)
        learnt = estimate_of(scored, grids, evidence, compared.families)
        level = seed_level(learnt, grids)
        verdict = judged_volumes(volumes, scored, grids, learnt, level, compared.families, config.verdict, {})
    keep = {
        RUN_VERDICT: partial(verdict_file.write, learnt, grids, evidence.maxima, level, (), verdict.regions),
        RUN_VOLUMES: partial(volume_file.write, volumes),
    }
    if compared.families:
        paths = [one.file.path for one in seen.natives]
        keep[RUN_CACHE] = partial(run_cache.write, paths, compared.rescoring, compared.looks, None)
    return Result(
        photos=(*verdict.photos, *rows[len(order) :]),
        judgement=verdict.judgement,
        lesions=verdict.regions,
        volumes=volumes,
        grids=grids,
        shape=grids.shape[1:],
        pixels=_no_pixels,
        families=compared.families,
        keep=keep,
        scale=scale,
        warnings=warnings,
        manifest=manifest.build(
            source=str(batch.listing.root.resolve()),
            note="; ".join(batch.listing.notes),
            config=config,
            resolved=facts,
            branches=[branch],
            grids=part.grids,
            scale=scale,
            photos=rows,
            from_cache=seen.from_cache,
            timings=clock.timings,
            warnings=warnings,
        ),
    )


def _warnings(batch: _Batch, branch: Branch, rows: Sequence[Photo]) -> tuple[str, ...]:
    """Is the batch what this assumes: volumes of one kind at one place, none twice?"""
    found = list(batch.differences)
    copies = [photo for photo in rows if photo.duplicate_of]
    if copies:
        found.append(
            f"{len(copies)} of the volumes have the same bytes as another, for example {copies[0].path}; what is "
            "unusual in both finds itself in the other and scores low"
        )
    if branch.cache and branch.cache.broken:
        found.append(f"tokens could not be cached ({branch.cache.broken})")
    return tuple(found)


def _no_pixels(row: int) -> Any:
    raise NotImplementedError(f"row {row}: a volume has no picture of its own; its voxels are read again")
